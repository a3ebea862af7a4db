/* rm_pg_statement: what the agent has to know of a statement's text; see rm_pg.h. Called by rm_pg_work.c; pure.
 */
#include <ctype.h>
#include <string.h>

#include "participant/rm_pg.h"

/* The next word of the statement behind blanks and comments, in upper case; *p moves behind it. */
static void statement_word(const char **p, char *word, size_t size)
{
    const char *s = *p, *end;
    size_t n = 0;

    for (;;) {
        while (isspace((unsigned char)*s) || *s == ';')
            s++;
        if (s[0] == '-' && s[1] == '-')
            s += strcspn(s, "\n");
        else if (s[0] == '/' && s[1] == '*' && (end = strstr(s + 2, "*/")) != NULL)
            s = end + 2;
        else
            break;
    }
    for (; isalpha((unsigned char)*s); s++) {
        if (n + 1 < size)
            word[n++] = (char)toupper((unsigned char)*s);
    }
    word[n] = '\0';
    *p = s;
}

bool rm_pg_ends_transaction(const char *sql)
{
    static const char *const words[] = {"BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "PREPARE"};
    char first[16], second[16];

    statement_word(&sql, first, sizeof first);
    statement_word(&sql, second, sizeof second);
    if (strcmp(first, "ROLLBACK") == 0 && (strcmp(second, "WORK") == 0 || strcmp(second, "TRANSACTION") == 0))
        statement_word(&sql, second, sizeof second);
    if (strcmp(first, "ROLLBACK") == 0 && strcmp(second, "TO") == 0)
        return false;
    if (strcmp(first, "PREPARE") == 0)
        return strcmp(second, "TRANSACTION") == 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(first, words[i]) == 0)
            return true;
    }
    return false;
}
