/* trust: see trust.h. */
#include "coordinator/trust.h"

#include <string.h>

#include "coordinator/asks.h"

/* This node's file */

static void propose(struct driver *d, const struct key_entry *entry)
{
    struct record r = {.type = RECORD_ADD_KEY,
                       .key = {.name = entry->name, .roles = (uint8_t)entry->roles, .grant = entry->grant}};

    if (ledger_key(d->ledger, entry->key) != NULL ||
        !ledger_key_fits(d->ledger, entry->name, entry->roles, entry->grant))
        return;
    memcpy(r.key.key, entry->key, KEY_SIZE);
    d->trust_last = driver_log(d, &r);
    if (d->trust_first == 0)
        d->trust_first = d->trust_last;
}

/* Coordinators first: who is told of some of them believes no others, so they must come in one entry. */
void trust_begin(struct driver *d)
{
    const struct keyring *file = d->options.bootstrap;

    d->trust_due = false;
    for (size_t i = 0; file != NULL && i < file->n; i++)
        if (file->entries[i].roles & ROLE_COORDINATOR)
            propose(d, &file->entries[i]);
    for (size_t i = 0; file != NULL && i < file->n; i++)
        if ((file->entries[i].roles & ROLE_COORDINATOR) == 0)
            propose(d, &file->entries[i]);
}

void trust_tick(struct driver *d)
{
    if (d->trust_due && d->trust_last == 0)
        trust_begin(d);
}

void trust_proposed(struct driver *d, uint64_t ticket, bool committed)
{
    if (d->trust_last == 0 || ticket < d->trust_first || ticket > d->trust_last)
        return;
    if (!committed)
        d->trust_due = true;
    if (ticket == d->trust_last)
        d->trust_first = d->trust_last = 0;
}

void trust_clear(struct driver *d)
{
    d->trust_due = false;
    d->trust_first = d->trust_last = 0;
}

void trust_restored(struct driver *d)
{
    d->trust_due = true;
    d->work_dirty = true;
}

bool trust_busy(const struct driver *d)
{
    return d->trust_last != 0 || asks_change_keys(d);
}

/* Told */

static bool take_node(void *arg, const struct ledger_key *k)
{
    struct driver *d = arg;

    if (k->revoked || (k->roles & ROLE_COORDINATOR) == 0)
        return true;
    memcpy(d->node_keys + d->n_node_keys++ * KEY_SIZE, k->key, KEY_SIZE);
    return d->n_node_keys < NODE_KEY_LIMIT;
}

void trust_nodes(struct driver *d, struct wire_nodes *nodes)
{
    if (d->node_keys_version != ledger_keys_version(d->ledger)) {
        d->n_node_keys = 0;
        ledger_each_key(d->ledger, take_node, d);
        d->node_keys_version = ledger_keys_version(d->ledger);
    }
    nodes->n_keys = d->n_node_keys;
    nodes->keys = d->node_keys;
}

struct clients {
    struct driver *d;
    size_t n;
};

static bool take_client(void *arg, const struct ledger_key *k)
{
    struct clients *c = arg;

    if (!k->revoked && (k->roles & ROLE_CLIENT) != 0)
        c->d->clients[c->n++] = (struct wire_client_key){k->key, k->name};
    return c->n < KEY_LIMIT;
}

size_t trust_clients(struct driver *d)
{
    struct clients c = {.d = d};

    ledger_each_key(d->ledger, take_client, &c);
    return c.n;
}
