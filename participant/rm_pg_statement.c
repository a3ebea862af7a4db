/* rm_pg_statement: what the agent has to know of a statement's text; see rm_pg.h. Called by rm_pg_work.c; pure.
 *
 * Blanks and comments are read as the server does (PostgreSQL 15 manual, «Lexical Structure»; scan.l):
 * one comment may stand within another, and either of CR and LF ends a line. What still got past would end the
 * transaction, so the tag of its answer is looked at, too.
 */
#include <ctype.h>
#include <string.h>

#include "participant/rm_pg.h"

/* Behind a comment that begins at s; at the end of the text where it has none. */
static const char *statement_skip_comment(const char *s)
{
    unsigned depth = 0;

    while (*s != '\0') {
        if (s[0] == '/' && s[1] == '*') {
            depth++;
            s += 2;
        } else if (s[0] == '*' && s[1] == '/') {
            s += 2;
            if (--depth == 0)
                return s;
        } else {
            s++;
        }
    }
    return s;
}

static const char *statement_skip(const char *s)
{
    for (;;) {
        while (isspace((unsigned char)*s) || *s == ';')
            s++;
        if (s[0] == '-' && s[1] == '-')
            s += strcspn(s, "\r\n");
        else if (s[0] == '/' && s[1] == '*')
            s = statement_skip_comment(s);
        else
            return s;
    }
}

/* The next word of the statement, in upper case; *p moves behind it. */
static void statement_word(const char **p, char *word, size_t size)
{
    const char *s = statement_skip(*p);
    size_t n = 0;

    for (; isalpha((unsigned char)*s); s++) {
        if (n + 1 < size)
            word[n++] = (char)toupper((unsigned char)*s);
    }
    word[n] = '\0';
    *p = s;
}

enum pg_statement rm_pg_statement(const char *sql)
{
    static const char *const words[] = {"BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK"};
    char first[16], second[16];

    statement_word(&sql, first, sizeof first);
    statement_word(&sql, second, sizeof second);
    if (strcmp(first, "ROLLBACK") == 0 && (strcmp(second, "WORK") == 0 || strcmp(second, "TRANSACTION") == 0))
        statement_word(&sql, second, sizeof second);
    if (strcmp(first, "ROLLBACK") == 0 && strcmp(second, "TO") == 0)
        return PG_STATEMENT_SAVEPOINT;
    if (strcmp(first, "PREPARE") == 0 && strcmp(second, "TRANSACTION") == 0)
        return PG_STATEMENT_ENDS;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(first, words[i]) == 0)
            return PG_STATEMENT_ENDS;
    }
    return PG_STATEMENT_PLAIN;
}

bool rm_pg_tag_ends(enum pg_statement statement, const char *tag)
{
    static const char *const tags[] = {"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"};

    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (strcmp(tag, tags[i]) == 0)
            return true;
    }
    /* the one word for the whole and for a part of it */
    return strcmp(tag, "ROLLBACK") == 0 && statement != PG_STATEMENT_SAVEPOINT;
}
