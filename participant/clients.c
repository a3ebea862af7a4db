/* clients: see clients.h. */
#include "participant/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct client_key {
    UT_hash_handle hh;
    uint8_t key[KEY_SIZE];
    char name[NAME_LIMIT + 1];
};

static struct client_key *find(struct client_key *table, const uint8_t key[KEY_SIZE])
{
    struct client_key *k;

    HASH_FIND(hh, table, key, KEY_SIZE, k);
    return k;
}

static void free_table(struct client_key **table)
{
    struct client_key *k, *next;

    HASH_ITER(hh, *table, k, next)
    {
        HASH_DELETE(hh, *table, k);
        free(k);
    }
}

/* False: out of memory. */
static bool add(struct client_key **table, const struct wire_client_key *from)
{
    struct client_key *k;

    if (find(*table, from->key) != NULL)
        return true;
    k = calloc(1, sizeof *k);
    if (k == NULL)
        return false;
    memcpy(k->key, from->key, KEY_SIZE);
    snprintf(k->name, sizeof k->name, "%s", from->name);
    HASH_ADD(hh, *table, key, KEY_SIZE, k);
    return true;
}

int clients_take(struct clients *c, const struct wire_work *work,
                 void (*gone)(void *arg, const uint8_t key[KEY_SIZE]), void *arg, struct tx_error *e)
{
    struct client_key *old = c->table, *table = NULL, *k, *next;

    if (work->keys_version == 0)
        return TX_OK;
    for (size_t i = 0; i < work->n_clients; i++) {
        if (add(&table, &work->clients[i]))
            continue;
        free_table(&table);
        return err_set(e, TX_ENOMEM, "no memory for the keys of %zu clients", work->n_clients);
    }
    c->table = table;
    c->version = work->keys_version;
    HASH_ITER(hh, old, k, next)
    {
        if (find(table, k->key) == NULL)
            gone(arg, k->key);
    }
    free_table(&old);
    return TX_OK;
}

const char *clients_name(const struct clients *c, const uint8_t key[KEY_SIZE])
{
    const struct client_key *k = find(c->table, key);

    return k != NULL ? k->name : NULL;
}

void clients_release(struct clients *c)
{
    free_table(&c->table);
}
