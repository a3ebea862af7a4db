/* ledger_keys: the keys of the group as the ledger has them: table, rules, and answers to those who ask.
 *
 * A key is added once and revoked once. A revoked one stays, so that no keys file can bring it back. What its
 * sessions come to is ledger.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/ledger_table.h"

/* The table */

struct known_key *ledger_find_key(const struct ledger *l, const uint8_t key[KEY_SIZE])
{
    struct known_key *e;

    HASH_FIND(hh, l->keys, key, KEY_SIZE, e);
    return e;
}

struct known_key *ledger_put_key(struct ledger *l, const struct ledger_key *k)
{
    size_t name_size = strlen(k->name) + 1, grant_size = strlen(k->grant) + 1;
    struct known_key *e = calloc(1, sizeof *e + name_size + grant_size);

    if (e == NULL)
        return NULL;
    e->k = *k;
    e->k.name = memcpy(e->text, k->name, name_size);
    e->k.grant = memcpy(e->text + name_size, k->grant, grant_size);
    HASH_ADD(hh, l->keys, k.key, KEY_SIZE, e);
    if (e->hh.tbl == NULL) {
        free(e);
        return NULL;
    }
    return e;
}

void ledger_remove_key(struct ledger *l, struct known_key *e)
{
    HASH_DELETE(hh, l->keys, e);
    free(e);
}

/* The rules */

/* Rises with every change; after a restore, too, whose log begins anew (see ledger_adopt()). */
static void keys_changed(struct ledger *l, uint64_t index)
{
    l->keys_version = l->keys_version < index ? index : l->keys_version + 1;
}

int ledger_add_key(struct ledger *l, uint64_t index, const struct record *r)
{
    struct ledger_key k = {
        .name = r->key.name, .grant = r->key.grant, .roles = r->key.roles, .added_ms = r->at_ms};

    if (ledger_find_key(l, r->key.key) != NULL || HASH_COUNT(l->keys) >= KEY_LIMIT ||
        !ledger_key_fits(l, k.name, k.roles, k.grant))
        return 0;
    memcpy(k.key, r->key.key, KEY_SIZE);
    if (ledger_put_key(l, &k) == NULL)
        return TX_ENOMEM;
    keys_changed(l, index);
    return 0;
}

int ledger_revoke_key(struct ledger *l, uint64_t index, const struct record *r)
{
    struct ledger_key k = {.name = r->key.name, .grant = "", .revoked = true, .revoked_ms = r->at_ms};
    struct known_key *e = ledger_find_key(l, r->key.key);

    if (e != NULL ? e->k.revoked : HASH_COUNT(l->keys) >= KEY_LIMIT)
        return 0;
    if (e != NULL) {
        e->k.revoked = true;
        e->k.revoked_ms = r->at_ms;
    } else {
        memcpy(k.key, r->key.key, KEY_SIZE);
        if (ledger_put_key(l, &k) == NULL)
            return TX_ENOMEM;
    }
    keys_changed(l, index);
    return 0;
}

/* Who asks */

const struct ledger_key *ledger_key(const struct ledger *l, const uint8_t key[KEY_SIZE])
{
    const struct known_key *e = ledger_find_key(l, key);

    return e == NULL ? NULL : &e->k;
}

void ledger_each_key(const struct ledger *l, bool (*f)(void *arg, const struct ledger_key *k), void *arg)
{
    for (const struct known_key *e = l->keys; e != NULL; e = e->hh.next) {
        if (!f(arg, &e->k))
            return;
    }
}

uint64_t ledger_keys_version(const struct ledger *l)
{
    return l->keys_version;
}

bool ledger_key_fits(const struct ledger *l, const char *name, unsigned roles, const char *grant)
{
    for (const struct known_key *e = l->keys; e != NULL; e = e->hh.next) {
        if (!e->k.revoked && strcmp(e->k.name, name) == 0)
            return e->k.roles == roles && strcmp(e->k.grant, grant) == 0;
    }
    return true;
}

bool ledger_session_owned(const struct session *s)
{
    static const uint8_t nobody[KEY_SIZE];

    return memcmp(s->owner, nobody, KEY_SIZE) != 0;
}
