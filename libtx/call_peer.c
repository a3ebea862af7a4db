/* call_peer: whom a client talks to: see call_inside.h. The coordinators that are configured, those that the
 * leader tells of, and agents, each with its line; who is believed; which coordinator is asked next; dialling
 * anew; and forgetting who is none any more. Called by call.c and call_wait.c; calls channel.
 */
#include "libtx/call_inside.h"

#include <stdlib.h>
#include <string.h>

enum {
    PEER_DOUBT_MS = 750, /* so long, nobody is sent to one that gave no answer to the last request */
    /* A connection through a network that was cut waits for TCP's next attempt, which is up to two minutes
     * away. So after this time without a connection or an answer, a coordinator is dialled anew. */
    PEER_REDIAL_MS = 2000,
    PEER_KEEP_MS = 100,     /* a line that is not ready is looked after so often, */
    PEER_KEEP_FRESH_MS = 2, /* and while it is fresh, and most likely being connected, so often */
    PEER_FRESH_MS = 100,
    /* A coordinator that has just been started may not know of a key yet that the group has known for long; and
     * an agent may be about to hear of it. */
    PEER_REFUSED_MS = 2500,
    PEER_REFUSED_AGENT_MS = 1200, /* a second handshake has been refused */
    PEER_KEEP_NEVER_MS = 3600000,
};

/* who is there */

static struct peer *peer_find(struct calls *cs, const char *address, enum peer_kind kind)
{
    for (size_t i = 0; i < cs->n_peers; i++) {
        if (cs->peers[i]->kind == kind && strcmp(cs->peers[i]->address, address) == 0)
            return cs->peers[i];
    }
    return NULL;
}

static bool agent_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct peer *p = ctx;

    p->stranger = !key_equal(p->key, key);
    return !p->stranger;
}

static const struct channel_security *peer_security(struct calls *cs, struct peer *p)
{
    const struct channel_security *security = believed_channel(&cs->believed);

    if (security == NULL || p->kind != PEER_AGENT)
        return security;
    p->security = (struct channel_security){.self = security->self, .accept = agent_accept, .ctx = p};
    return &p->security;
}

static int peer_dial(struct calls *cs, struct peer *p, struct tx_error *e)
{
    size_t limit = p->kind == PEER_AGENT ? ROWS_LIMIT : MESSAGE_LIMIT;
    int rc = channel_dial(&p->channel, p->address, limit, peer_security(cs, p), e);

    p->fd = rc == TX_OK ? channel_fd(&p->channel) : -1;
    p->dialled_ms = call_now_ms();
    p->open = rc == TX_OK && channel_state(&p->channel).open;
    p->lost = 0;
    p->line++;
    p->stranger = false;
    return rc;
}

static int peer_add(struct calls *cs, const char *address, enum peer_kind kind, struct peer **out,
                    struct tx_error *e)
{
    bool coordinator = kind == PEER_COORDINATOR;
    struct peer *p;
    int rc;

    if (cs->n_peers == PEER_LIMIT || (coordinator && cs->n_coordinators == COORDINATOR_LIMIT))
        return err_set(e, TX_EBUSY, "too many addresses: %s is one more than a client can talk to", address);
    if (strlen(address) > ADDRESS_LIMIT)
        return err_set(e, TX_EINVAL, "an address is longer than %d bytes", ADDRESS_LIMIT);
    if (cs->security != NULL && security_check_address(cs->security, "address", address, e) != TX_OK)
        return TX_EREFUSED;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    strcpy(p->address, address);
    p->kind = kind;
    rc = peer_dial(cs, p, e);
    if (rc != TX_OK) {
        free(p);
        return rc;
    }
    p->why = "not asked yet";
    TAILQ_INIT(&p->queue);
    cs->n_coordinators += coordinator;
    cs->peers[cs->n_peers++] = p;
    waiter_look_again(cs);
    *out = p;
    return TX_OK;
}

int peer_find_or_add(struct calls *cs, const char *address, enum peer_kind kind, struct peer **out,
                     struct tx_error *e)
{
    *out = peer_find(cs, address, kind);
    return *out != NULL ? TX_OK : peer_add(cs, address, kind, out, e);
}

int calls_dial(struct calls *cs, const char *coordinators, struct tx_error *e)
{
    char *list = strdup(coordinators), *rest = list, *address;
    struct peer *p;
    int rc = list == NULL ? err_set(e, TX_ENOMEM, "out of memory") : TX_OK;

    while (rc == TX_OK && (address = strsep(&rest, ", ")) != NULL) {
        if (*address == '\0')
            continue;
        rc = peer_find_or_add(cs, address, PEER_COORDINATOR, &p, e);
        if (rc == TX_OK)
            p->configured = true;
    }
    free(list);
    if (rc == TX_OK && cs->n_coordinators == 0)
        rc = err_set(e, TX_EINVAL, "no coordinator is named; write tcp://host:port[,tcp://host:port…]");
    return rc;
}

/* From here on whoever has this key is the agent. A fresh one has had no answer yet. */
static void peer_believe(struct calls *cs, struct peer *p, const uint8_t key[KEY_SIZE])
{
    static const uint8_t nobody[KEY_SIZE];

    if (key_equal(p->key, key))
        return;
    p->redial = !key_equal(p->key, nobody);
    p->refused_ms = 0;
    memcpy(p->key, key, KEY_SIZE);
    waiter_look_again(cs);
}

int calls_agent(struct calls *cs, const char *address, const uint8_t *key, struct peer **out,
                struct tx_error *e)
{
    bool secure = believed_channel(&cs->believed) != NULL;
    int rc;

    if (secure && key == NULL)
        return err_set(e, TX_EDENIED,
                       "the agent at %s is insecure, and nobody there could be believed: give it an identity",
                       address);
    pthread_mutex_lock(&cs->mutex);
    rc = peer_find_or_add(cs, address, PEER_AGENT, out, e);
    if (rc == TX_OK && secure)
        peer_believe(cs, *out, key);
    pthread_mutex_unlock(&cs->mutex);
    return rc;
}

const char *peer_address(const struct peer *p)
{
    return p->address;
}

/* its line */

int calls_keep(struct calls *cs, uint64_t now)
{
    int ms = PEER_KEEP_NEVER_MS, its;

    for (size_t i = 0; i < cs->n_peers; i++) {
        struct peer *p = cs->peers[i];

        channel_keep(&p->channel);
        calls_look(cs, p, now);
        its = channel_state(&p->channel).open       ? PEER_KEEP_NEVER_MS
              : now - p->dialled_ms < PEER_FRESH_MS ? PEER_KEEP_FRESH_MS
                                                    : PEER_KEEP_MS;
        ms = its < ms ? its : ms;
    }
    return ms;
}

bool peer_look(struct calls *cs, struct peer *p, uint64_t now)
{
    struct channel_state state = channel_state(&p->channel);
    bool opened = state.open && (!p->open || state.lost != p->lost);

    p->line += state.lost != p->lost;
    p->lost = state.lost;
    p->open = state.open;
    if (state.open)
        p->refused_ms = 0;
    else if (state.refused && p->refused_ms == 0)
        p->refused_ms = now;
    if (state.refused)
        p->unheard_ms = 0; /* it is there, and dialling it anew would not help */
    cs->admitted = cs->admitted || (opened && p->kind == PEER_COORDINATOR);
    return opened;
}

bool peer_denies(const struct calls *cs, const struct peer *p, uint64_t now)
{
    struct channel_state state = channel_state(&p->channel);
    unsigned patience_ms = 0;

    if (p->kind == PEER_AGENT && !p->stranger)
        patience_ms = PEER_REFUSED_AGENT_MS;
    else if (p->kind != PEER_AGENT && cs->admitted)
        patience_ms = PEER_REFUSED_MS;
    return !p->redial && state.refused && !state.open && p->refused_ms != 0 &&
           now - p->refused_ms >= patience_ms;
}

const char *peer_why(const struct peer *p)
{
    const char *why = channel_why(&p->channel);

    return channel_state(&p->channel).open || *why == '\0' ? p->why : why;
}

/* whom to ask */

bool peer_doubtful(const struct peer *p, uint64_t now)
{
    return p->silent_ms != 0 && now - p->silent_ms < PEER_DOUBT_MS;
}

struct peer *peer_after(struct calls *cs, const struct peer *p)
{
    size_t i = 0;

    while (i < cs->n_peers && cs->peers[i] != p)
        i++;
    do
        i = i + 1 < cs->n_peers ? i + 1 : 0;
    while (cs->peers[i]->kind != PEER_COORDINATOR);
    return cs->peers[i];
}

struct peer *peer_next(struct calls *cs, const struct peer *p, uint64_t now)
{
    struct peer *first = peer_after(cs, p), *at = first;

    for (size_t i = 0; i < cs->n_coordinators && peer_doubtful(at, now); i++)
        at = peer_after(cs, at);
    return peer_doubtful(at, now) ? first : at;
}

struct peer *calls_turn(struct calls *cs, uint64_t now)
{
    cs->turn = peer_next(cs, cs->turn, now);
    return cs->turn;
}

/* dialling anew */

/* Never an agent, which may be at work on a long statement. */
void peer_unheard(struct calls *cs, struct peer *p, uint64_t now)
{
    if (p->unheard_ms == 0)
        p->unheard_ms = now;
    if (p->kind != PEER_COORDINATOR || now - p->unheard_ms < PEER_REDIAL_MS ||
        now - p->dialled_ms < PEER_REDIAL_MS)
        return;
    p->redial = true;
    p->dialled_ms = now;
    waiter_look_again(cs);
}

/* Where it fails it is tried again later. */
void calls_redial(struct calls *cs)
{
    for (size_t i = 0; i < cs->n_peers; i++) {
        struct peer *p = cs->peers[i];

        if (!p->redial)
            continue;
        channel_close(&p->channel);
        p->redial = peer_dial(cs, p, NULL) != TX_OK;
        p->unheard_ms = 0;
    }
}

/* who comes and goes */

static bool is_listed(const struct wire_nodes *nodes, const char *address)
{
    for (size_t i = 0; i < nodes->n; i++) {
        if (strcmp(nodes->addresses[i], address) == 0)
            return true;
    }
    return false;
}

/* Who is believed no longer may have a line yet. Whoever told this is believed. */
static void calls_believe(struct calls *cs, const struct wire_nodes *nodes)
{
    if (!believed_learn(&cs->believed, nodes))
        return;
    for (size_t i = 0; i < cs->n_peers; i++)
        cs->peers[i]->redial =
            cs->peers[i]->redial || (cs->peers[i]->kind != PEER_AGENT && cs->peers[i] != cs->leader);
    waiter_look_again(cs);
}

void calls_learn(struct calls *cs, struct wire_nodes *nodes)
{
    struct peer *p;

    calls_believe(cs, nodes);
    for (size_t i = 0; i < cs->n_peers && nodes->n > 0; i++) {
        p = cs->peers[i];
        if (p->kind != PEER_COORDINATOR || p->configured || p == cs->leader || is_listed(nodes, p->address))
            continue;
        p->kind = PEER_FORGOTTEN;
        cs->n_coordinators--;
        cs->n_forgotten++;
    }
    for (size_t i = 0; i < nodes->n; i++)
        (void)peer_find_or_add(cs, nodes->addresses[i], PEER_COORDINATOR, &p, NULL);
    nodes->n = nodes->n_keys = 0;
}

void calls_sweep(struct calls *cs)
{
    struct peer *p;

    for (size_t i = cs->n_peers; i-- > 0 && cs->n_forgotten > 0;) {
        p = cs->peers[i];
        if (p->kind != PEER_FORGOTTEN || p->outstanding > 0 || !TAILQ_EMPTY(&p->queue))
            continue;
        channel_close(&p->channel);
        free(p);
        memmove(&cs->peers[i], &cs->peers[i + 1], (--cs->n_peers - i) * sizeof p);
        cs->n_forgotten--;
    }
}
