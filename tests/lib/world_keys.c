/* world_keys: see world.h. Everybody's keys, made with the world; or clear text. */
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"
#include "tests/lib/world_impl.h"

struct world_security {
    char who[WORLD_NAME_SIZE];
    struct security security;
    struct channel_security channel;
};

static const struct {
    const char *who;
    unsigned roles;
    const char *grant;
} everybody[] = {
    {"client", ROLE_CLIENT, ""},
    {"agent", ROLE_AGENT, "*"},
    {"service", ROLE_AGENT | ROLE_CLIENT, "*"},
    {"operator", ROLE_OPERATOR, ""},
    {"observer", ROLE_OBSERVER, ""},
    {"node_0", ROLE_COORDINATOR, ""},
    {"node_1", ROLE_COORDINATOR, ""},
    {"node_2", ROLE_COORDINATOR, ""},
    {"node_3", ROLE_COORDINATOR, ""},
    {"node_4", ROLE_COORDINATOR, ""},
    {"node_5", ROLE_COORDINATOR, ""},
    {"node_6", ROLE_COORDINATOR, ""},
    {"node_7", ROLE_COORDINATOR, ""},
    {"node_8", ROLE_COORDINATOR, ""},
    {"node_9", ROLE_COORDINATOR, ""},
};

const char *world_identity(const struct world *w, const char *who, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%.*s/%s.key", WORLD_PATH_SIZE - WORLD_NAME_SIZE, w->dir, who);
    return out;
}

const char *world_keys(const struct world *w, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%.*s/keys", WORLD_PATH_SIZE - WORLD_NAME_SIZE, w->dir);
    return out;
}

static void make(struct world *w, const char *who, struct identity *i)
{
    char path[WORLD_PATH_SIZE];
    struct tx_error e;

    identity_generate(i);
    if (identity_write(i, world_identity(w, who, path), &e) != TX_OK)
        world_fail(w, "%s", e.msg);
}

void world_identity_make(struct world *w, const char *who, char *text)
{
    struct identity i;

    make(w, who, &i);
    key_format(i.public_key, text);
}

static void make_everybody(struct world *w)
{
    char path[WORLD_PATH_SIZE], line[1024];
    FILE *f = fopen(world_keys(w, path), "w");
    struct identity i;

    if (f == NULL)
        world_fail(w, "cannot write %s", path);
    for (size_t n = 0; n < sizeof everybody / sizeof *everybody; n++) {
        struct key_entry entry = {.roles = everybody[n].roles};

        make(w, everybody[n].who, &i);
        memcpy(entry.key, i.public_key, KEY_SIZE);
        snprintf(entry.name, sizeof entry.name, "%s", everybody[n].who);
        snprintf(entry.grant, sizeof entry.grant, "%s", everybody[n].grant);
        key_entry_format(&entry, line, sizeof line);
        fprintf(f, "%s\n", line);
    }
    fclose(f);
}

/* The program's own environment and its child's. */
static void be(const struct world *w, const char *who)
{
    char path[WORLD_PATH_SIZE];

    if (w->options.insecure) {
        setenv("ASSENT_INSECURE", "1", 1);
        return;
    }
    unsetenv("ASSENT_INSECURE");
    setenv("ASSENT_IDENTITY", world_identity(w, who, path), 1);
    setenv("ASSENT_KEYS", world_keys(w, path), 1);
}

void world_keys_open(struct world *w)
{
    if (sodium_init() < 0)
        world_fail(w, "libsodium cannot be used on this machine");
    if (!w->options.insecure)
        make_everybody(w);
    be(w, "client");
}

void world_keys_close(struct world *w)
{
    for (size_t i = 0; i < w->n_securities; i++) {
        security_release(&w->securities[i]->security);
        free(w->securities[i]);
    }
    w->n_securities = 0;
}

void world_keys_enter(const struct world *w, const char *program)
{
    const char *name = strrchr(program, '/');

    name = name != NULL ? name + 1 : program;
    be(w, strcmp(name, "txadmin") == 0 ? "operator" : strcmp(name, "service") == 0 ? "service" : "client");
}

size_t world_keys_flags(const struct world *w, const char *who, const char **argv, size_t n)
{
    static char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE]; /* copied before the next call */

    if (w->options.insecure) {
        argv[n++] = "--insecure=true";
        return n;
    }
    argv[n++] = "--identity";
    argv[n++] = world_identity(w, who, identity);
    argv[n++] = "--keys";
    argv[n++] = world_keys(w, keys);
    return n;
}

static bool believes(void *ctx, const uint8_t key[KEY_SIZE])
{
    const struct key_entry *k = keyring_find(&((struct world_security *)ctx)->security.ring, key);

    return k != NULL && (k->roles & (ROLE_COORDINATOR | ROLE_AGENT)) != 0;
}

static int open_security(struct world_security *s, const char *identity, const char *keys, struct tx_error *e)
{
    const struct security_options options = {.identity = identity, .keys = keys, .purpose = "the test"};

    s->channel = (struct channel_security){.self = &s->security.self, .accept = believes, .ctx = s};
    return security_open(&s->security, &options, e);
}

const struct channel_security *world_security(struct world *w, const char *who)
{
    char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];
    struct world_security *s;
    struct tx_error e;

    if (w->options.insecure)
        return NULL;
    for (size_t i = 0; i < w->n_securities; i++) {
        if (strcmp(w->securities[i]->who, who) == 0)
            return &w->securities[i]->channel;
    }
    s = calloc(1, sizeof *s);
    assert(s != NULL && w->n_securities < WORLD_SECURITY_LIMIT);
    snprintf(s->who, sizeof s->who, "%s", who);
    if (open_security(s, world_identity(w, who, identity), world_keys(w, keys), &e) != TX_OK)
        world_fail(w, "%s", e.msg);
    w->securities[w->n_securities++] = s;
    return &s->channel;
}

const struct channel_security *world_client_security(void)
{
    static struct world_security s; /* for as long as the process lives */
    struct tx_error e;

    if (getenv("ASSENT_INSECURE") != NULL)
        return NULL;
    if (s.security.ring.n == 0 &&
        open_security(&s, getenv("ASSENT_IDENTITY"), getenv("ASSENT_KEYS"), &e) != TX_OK) {
        fprintf(stderr, "%s\n", e.msg);
        exit(3);
    }
    return &s.channel;
}
