/* trust: see trust.h. */
#include "coordinator/trust.h"

#include "coordinator/access.h"

static bool find(const struct trust *t, const uint8_t key[KEY_SIZE], struct caller *out)
{
    const struct key_entry *entry;

    if (t->driver != NULL)
        return access_caller(driver_ledger(t->driver), &t->security.ring, key, out);
    entry = keyring_find(&t->security.ring, key);
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

static void on_refused(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct trust *t = ctx;
    struct caller caller = {.name = NULL};
    struct audit_entry entry = {.key = key, .act = "handshake", .outcome = AUDIT_DENIED};

    entry.error = find(t, key, &caller) ? "only a coordinator's key is taken here"
                                        : "this key is not known, or was revoked";
    entry.name = caller.name;
    audit_write(t->audit, uv_now(t->loop), &entry);
}

int trust_open(struct trust *t, const struct trust_options *options, struct tx_error *e)
{
    *t = (struct trust){.audit = options->audit, .loop = options->loop};
    t->everybody = (struct channel_security){.self = &t->security.self,
                                             .accept = accept_everybody,
                                             .refused = on_refused,
                                             .ctx = t,
                                             .limits = options->limits};
    t->nodes = t->everybody;
    t->nodes.accept = accept_nodes;
    return security_open(&t->security, &options->security, e);
}

void trust_release(struct trust *t)
{
    security_release(&t->security);
}

const struct channel_security *trust_everybody(const struct trust *t)
{
    return t->security.insecure ? NULL : &t->everybody;
}

const struct channel_security *trust_nodes(const struct trust *t)
{
    return t->security.insecure ? NULL : &t->nodes;
}

const struct keyring *trust_file(const struct trust *t)
{
    return t->security.insecure ? NULL : &t->security.ring;
}

static bool drop_revoked(void *arg, const struct ledger_key *k)
{
    void (**drop)(const uint8_t key[KEY_SIZE]) = arg;

    if (k->revoked)
        (*drop)(k->key);
    return true;
}

void trust_look(struct trust *t, void (*drop)(const uint8_t key[KEY_SIZE]))
{
    const struct ledger *l = driver_ledger(t->driver);

    if (t->security.insecure || ledger_keys_version(l) == t->version)
        return;
    t->version = ledger_keys_version(l);
    ledger_each_key(l, drop_revoked, &drop);
}
