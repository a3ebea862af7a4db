/* rm_mariadb_statement: what the agent has to know of a statement's text; see rm_mariadb_impl.h. Called by
 * rm_mariadb_work.c; pure.
 *
 * Inside a branch the server itself refuses what commits, and whatever implies a commit (XAER_RMFAIL); the text
 * is looked at for a message that helps, and for XA, which it allows. Text that a statement makes and executes
 * is the application's own affair.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

/* Behind the comment whose text begins at s; NULL: it does not end. One that the server may execute can have
 * others within. */
static const char *statement_behind(const char *s, bool nests)
{
    for (; *s != '\0'; s++) {
        if (s[0] == '*' && s[1] == '/')
            return s + 2;
        if (nests && s[0] == '/' && s[1] == '*') {
            s = statement_behind(s + 2, false);
            if (s == NULL)
                return NULL;
            s--;
        }
    }
    return NULL;
}

/* The text of a comment that the server executes where it is not too old for it; NULL: there is none at s. */
static const char *statement_executable(const char *s)
{
    if (strncmp(s, "/*!", 3) == 0)
        s += 3;
    else if (strncmp(s, "/*M!", 4) == 0)
        s += 4;
    else
        return NULL;
    return s + strspn(s, "0123456789");
}

/* Blanks and comments, and the ends of those that are executed, whose text counts. */
static const char *statement_skip(const char *s)
{
    const char *end;

    for (;;) {
        while (isspace((unsigned char)*s) || *s == ';' || *s == '(')
            s++;
        if (*s == '#' || (s[0] == '-' && s[1] == '-'))
            s += strcspn(s, "\n");
        else if (s[0] == '*' && s[1] == '/')
            s += 2;
        else if (statement_executable(s) == NULL && s[0] == '/' && s[1] == '*' &&
                 (end = statement_behind(s + 2, false)) != NULL)
            s = end;
        else
            return s;
    }
}

/* The next word, in upper case; *p moves behind it. */
static void statement_word(const char **p, char *word, size_t size)
{
    const char *s = statement_skip(*p), *inside;
    size_t n = 0;

    while ((inside = statement_executable(s)) != NULL)
        s = statement_skip(inside);
    for (; isalpha((unsigned char)*s); s++) {
        if (n + 1 < size)
            word[n++] = (char)toupper((unsigned char)*s);
    }
    word[n] = '\0';
    *p = s;
}

/* With the comments in front of it executed, all of them. */
static bool statement_ends(const char *sql)
{
    static const char *const words[] = {"XA", "START", "COMMIT", "ROLLBACK"};
    char first[16], second[16];

    statement_word(&sql, first, sizeof first);
    statement_word(&sql, second, sizeof second);
    if (strcmp(first, "BEGIN") == 0) /* a block of statements is BEGIN NOT ATOMIC */
        return strcmp(second, "NOT") != 0;
    if (strcmp(first, "ROLLBACK") == 0 && strcmp(second, "WORK") == 0)
        statement_word(&sql, second, sizeof second);
    if (strcmp(first, "ROLLBACK") == 0 && strcmp(second, "TO") == 0)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(first, words[i]) == 0)
            return true;
    }
    return false;
}

/* Which comments are executed depends on the server's version, so it must hold for either reading of each. */
bool rm_mariadb_ends_transaction(const char *sql)
{
    const char *inside;

    for (sql = statement_skip(sql); (inside = statement_executable(sql)) != NULL; sql = statement_skip(sql)) {
        if (statement_ends(sql))
            return true;
        sql = statement_behind(inside, true);
        if (sql == NULL)
            return false;
    }
    return statement_ends(sql);
}

/* Pointers first, then the bytes. */
void *rm_mariadb_statement_copy(const struct rm_statement *s, struct rm_statement *copy)
{
    size_t size = (size_t)s->n_values * sizeof(char *) + strlen(s->text) + 1;
    const char **values;
    char *p;

    for (int i = 0; i < s->n_values; i++)
        size += s->values[i] == NULL ? 0 : strlen(s->values[i]) + 1;
    values = malloc(size);
    if (values == NULL)
        return NULL;
    p = (char *)(values + s->n_values);
    for (int i = 0; i < s->n_values; i++) {
        values[i] = s->values[i] == NULL ? NULL : p;
        if (s->values[i] != NULL)
            p = stpcpy(p, s->values[i]) + 1;
    }
    *copy = (struct rm_statement){strcpy(p, s->text), s->n_values, values};
    return values;
}
