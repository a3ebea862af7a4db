/* named: see named.h. */
#include "participant/named.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/textfile.h"
#include "libtx/shared/wire.h"

static const char blanks[] = " \t\r\n";

static const struct named_statement *find(const struct named *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->list[i].name, name) == 0)
            return &t->list[i];
    }
    return NULL;
}

static int add(struct named *t, const char *name, const char *sql, struct tx_error *e)
{
    struct named_statement *more;

    if (t->n == NAMED_LIMIT)
        return err_set(e, TX_EBUSY, "more than %d statements", NAMED_LIMIT);
    more = realloc(t->list, (t->n + 1) * sizeof *more);
    if (more == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    t->list = more;
    more = &t->list[t->n];
    snprintf(more->name, sizeof more->name, "%s", name);
    more->sql = strdup(sql);
    if (more->sql == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    t->n++;
    return TX_OK;
}

/* Without the blanks at both ends. */
static char *strip(char *s)
{
    size_t n;

    s += strspn(s, blanks);
    for (n = strlen(s); n > 0 && strchr(blanks, s[n - 1]) != NULL; n--)
        s[n - 1] = '\0';
    return s;
}

/* A # begins a comment at the beginning of a line only: SQL has its own use for it. */
static int named_line(void *arg, char *line, unsigned number, struct tx_error *e)
{
    struct named *t = arg;
    char *name = strip(line), *sql = strchr(name, '=');

    (void)number;
    if (*name == '\0' || *name == '#')
        return TX_OK;
    if (sql == NULL)
        return err_set(e, TX_EINVAL, "write NAME = SQL, in one line");
    *sql++ = '\0';
    name = strip(name);
    sql = strip(sql);
    if (!wire_name_valid(name))
        return err_set(e, TX_EINVAL,
                       "«%.80s» is no name for a statement; 1 to %d of a-z A-Z 0-9 _ . -, then = and its SQL",
                       name, NAME_LIMIT);
    if (*sql == '\0')
        return err_set(e, TX_EINVAL, "%s has no SQL behind its =", name);
    if (find(t, name) != NULL)
        return err_set(e, TX_EINVAL, "%s is there twice; choose another name", name);
    return add(t, name, sql, e);
}

static int named_read(struct named *t, FILE *f, const char *path, struct tx_error *e)
{
    int rc = textfile_each_line(f, path, named_line, t, e);

    if (rc == TX_OK && t->n == 0)
        rc = err_set(e, TX_EINVAL, "%s: has no statement; write none where none is to be executed", path);
    return rc;
}

int named_load(struct named *t, const char *setting, struct tx_error *e)
{
    FILE *f;
    int rc;

    *t = (struct named){.restricted = strcmp(setting, "any") != 0};
    if (!t->restricted || strcmp(setting, "none") == 0)
        return TX_OK;
    f = fopen(setting, "re");
    if (f == NULL)
        return err_set(e, TX_EIO, "statements: %s: %s; write a file with lines NAME = SQL, any, or none",
                       setting, strerror(errno));
    rc = named_read(t, f, setting, e);
    fclose(f);
    if (rc != TX_OK) {
        err_wrap(e, rc, "statements");
        named_release(t);
    }
    return rc;
}

const char *named_resolve(const struct named *t, const char *statement, struct tx_error *e)
{
    const struct named_statement *s;

    if (t == NULL || !t->restricted)
        return statement;
    s = find(t, statement + (*statement == '@'));
    if (s != NULL)
        return s->sql;
    if (t->n == 0)
        err_set(e, TX_EDENIED, "this agent executes no statements; its setting statements says so");
    else if (*statement == '@')
        err_set(
            e, TX_EDENIED,
            "this agent has no statement of this name; the file that its setting statements names has them");
    else
        err_set(
            e, TX_EDENIED,
            "this agent executes named statements alone, «@name»; the file that its setting statements names "
            "has them");
    return NULL;
}

void named_release(struct named *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->list[i].sql);
    free(t->list);
    *t = (struct named){0};
}
