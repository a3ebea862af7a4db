/* gate: see gate.h. */
#include "coordinator/gate.h"

#include "coordinator/access.h"

enum { SETTLE_MS = 1000 /* in which a follower hears what is committed */ };

static bool find(const struct gate *g, const uint8_t key[KEY_SIZE], struct caller *out)
{
    const struct key_entry *entry;

    if (g->driver != NULL)
        return access_caller(driver_ledger(g->driver), &g->security.ring, key, out);
    entry = keyring_find(&g->security.ring, key);
    if (entry != NULL)
        *out = (struct caller){entry->key, entry->name, entry->roles, entry->grant};
    return entry != NULL;
}

static bool accept_everybody(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct caller caller;

    return find(ctx, key, &caller);
}

static bool accept_nodes(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct caller caller;

    return find(ctx, key, &caller) && (caller.roles & ROLE_COORDINATOR) != 0;
}

static bool on_refused(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct gate *g = ctx;
    struct caller caller = {.name = NULL};
    struct audit_entry entry = {.key = key, .act = "handshake", .outcome = AUDIT_DENIED};

    bool found = find(g, key, &caller);

    if (!found && uv_now(g->loop) < g->settled_ms)
        return false;
    if (!found && g->driver != NULL)
        caller.name = access_name(driver_ledger(g->driver), key);
    entry.error = found ? "only a coordinator's key is taken here" : "this key is not known, or was revoked";
    entry.name = caller.name;
    audit_write(g->audit, uv_now(g->loop), &entry);
    return true;
}

void gate_settle(struct gate *g, bool leading, bool knows_leader)
{
    g->settled_ms = leading ? 0 : knows_leader ? uv_now(g->loop) + SETTLE_MS : UINT64_MAX;
}

int gate_open(struct gate *g, const struct gate_options *options, struct tx_error *e)
{
    *g = (struct gate){.audit = options->audit, .loop = options->loop};
    g->everybody = (struct channel_security){.self = &g->security.self,
                                             .accept = accept_everybody,
                                             .refused = on_refused,
                                             .ctx = g,
                                             .limits = options->limits};
    g->nodes = g->everybody;
    g->nodes.accept = accept_nodes;
    return security_open(&g->security, &options->security, e);
}

void gate_release(struct gate *g)
{
    security_release(&g->security);
}

const struct channel_security *gate_everybody(const struct gate *g)
{
    return g->security.insecure ? NULL : &g->everybody;
}

const struct channel_security *gate_nodes(const struct gate *g)
{
    return g->security.insecure ? NULL : &g->nodes;
}

const struct keyring *gate_file(const struct gate *g)
{
    return g->security.insecure ? NULL : &g->security.ring;
}

static bool drop_revoked(void *arg, const struct ledger_key *k)
{
    void (**drop)(const uint8_t key[KEY_SIZE]) = arg;

    if (k->revoked)
        (*drop)(k->key);
    return true;
}

void gate_look(struct gate *g, void (*drop)(const uint8_t key[KEY_SIZE]))
{
    const struct ledger *l = driver_ledger(g->driver);

    if (g->security.insecure || ledger_keys_version(l) == g->version)
        return;
    g->version = ledger_keys_version(l);
    ledger_each_key(l, drop_revoked, &drop);
}
