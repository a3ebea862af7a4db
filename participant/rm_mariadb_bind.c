/* rm_mariadb_bind: a prepared statement's parameters and columns, all of them strings; see rm_mariadb_impl.h.
 * Called by rm_mariadb_io.c.
 */
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

/* Room for any number or time; longer values are fetched once more. */
enum { BIND_ROOM = 128 };

static void *bind_alloc(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);

    if (p == NULL)
        abort();
    return p;
}

void rm_mariadb_bind_release(struct maria_bind *b)
{
    for (unsigned i = 0; b->big != NULL && i < b->n; i++)
        free(b->big[i]);
    free(b->binds);
    free(b->lengths);
    free(b->nulls);
    free(b->values);
    free(b->memory);
    free(b->big);
    memset(b, 0, sizeof *b);
}

static void bind_make(struct maria_bind *b, unsigned n)
{
    rm_mariadb_bind_release(b);
    b->n = n;
    b->binds = bind_alloc(n, sizeof *b->binds);
    b->lengths = bind_alloc(n, sizeof *b->lengths);
    b->nulls = bind_alloc(n, sizeof *b->nulls);
    for (unsigned i = 0; i < n; i++) {
        b->binds[i].buffer_type = MYSQL_TYPE_STRING;
        b->binds[i].length = &b->lengths[i];
        b->binds[i].is_null = &b->nulls[i];
    }
}

void rm_mariadb_bind_values(struct maria_bind *b, const struct rm_statement *s)
{
    bind_make(b, (unsigned)s->n_values);
    for (unsigned i = 0; i < b->n; i++) {
        b->nulls[i] = s->values[i] == NULL;
        b->lengths[i] = s->values[i] == NULL ? 0 : strlen(s->values[i]);
        b->binds[i].buffer = (void *)(uintptr_t)(s->values[i] == NULL ? "" : s->values[i]);
        b->binds[i].buffer_length = b->lengths[i];
    }
}

void rm_mariadb_bind_columns(struct maria_bind *b, unsigned n)
{
    bind_make(b, n);
    b->memory = bind_alloc(n, BIND_ROOM);
    b->values = bind_alloc(n, sizeof *b->values);
    b->big = bind_alloc(n, sizeof *b->big);
    for (unsigned i = 0; i < n; i++) {
        b->binds[i].buffer = b->memory + (size_t)i * BIND_ROOM;
        b->binds[i].buffer_length = BIND_ROOM - 1;
    }
}

/* A value that had no room. */
static bool bind_fetch_big(struct maria_bind *b, MYSQL_STMT *stmt, unsigned i)
{
    unsigned long length = b->lengths[i];
    MYSQL_BIND one = {.buffer_type = MYSQL_TYPE_STRING, .length = &length, .buffer_length = length};

    free(b->big[i]);
    b->big[i] = bind_alloc(length, 1);
    one.buffer = b->big[i];
    b->values[i] = b->big[i];
    return mysql_stmt_fetch_column(stmt, &one, i, 0) == 0;
}

const char *const *rm_mariadb_bind_row(struct maria_bind *b, MYSQL_STMT *stmt)
{
    for (unsigned i = 0; i < b->n; i++) {
        char *room = b->memory + (size_t)i * BIND_ROOM;

        b->values[i] = b->nulls[i] ? NULL : room;
        if (b->nulls[i])
            continue;
        if (b->lengths[i] >= BIND_ROOM) {
            if (!bind_fetch_big(b, stmt, i))
                return NULL;
        } else {
            room[b->lengths[i]] = '\0';
        }
    }
    return (const char *const *)b->values;
}
