/* keys: see keys.h. */
#include "tests/lib/keys.h"

#include <stdlib.h>
#include <string.h>

void keys_add(struct keys *k, long long key)
{
    if (k->n == k->cap) {
        k->cap = k->cap == 0 ? 4096 : k->cap * 2;
        k->items = realloc(k->items, k->cap * sizeof *k->items);
        if (k->items == NULL)
            abort();
    }
    k->items[k->n++] = key;
}

void keys_load(struct keys *k, struct world_server *server)
{
    PGconn *conn = world_server_connect(server, "app");
    PGresult *r = PQexec(conn, "SELECT key FROM receipts ORDER BY key");

    for (int i = 0; i < PQntuples(r); i++)
        keys_add(k, atoll(PQgetvalue(r, i, 0)));
    PQclear(r);
    PQfinish(conn);
}

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;

    return (x > y) - (x < y);
}

void keys_sort(struct keys *k)
{
    if (k->n > 0)
        qsort(k->items, k->n, sizeof *k->items, compare);
}

bool keys_contain(const struct keys *k, long long key)
{
    return k->n > 0 && bsearch(&key, k->items, k->n, sizeof *k->items, compare) != NULL;
}

void keys_release(struct keys *k)
{
    free(k->items);
    memset(k, 0, sizeof *k);
}
