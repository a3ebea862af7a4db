/* call_peer: whom a client talks to: see call_inside.h. The coordinators that are configured, those that the
 * leader tells of, and agents, each with its connection; which coordinator is asked next; dialling anew; and
 * forgetting who is none any more. Called by call.c and call_wait.c; calls channel.
 */
#include "libtx/call_inside.h"

#include <stdlib.h>
#include <string.h>

enum {
    PEER_DOUBT_MS = 750, /* so long, nobody is sent to one that gave no answer to the last request */
    /* A connection through a network that was cut waits for TCP's next attempt, which is up to two minutes
     * away. So after this time without a connection or an answer, a coordinator is dialled anew. */
    PEER_REDIAL_MS = 2000,
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
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    rc = channel_dial(&p->channel, address, coordinator ? MESSAGE_LIMIT : ROWS_LIMIT, NULL, e);
    if (rc != TX_OK) {
        free(p);
        return rc;
    }
    strcpy(p->address, address);
    p->fd = channel_fd(&p->channel);
    p->kind = kind;
    p->dialled_ms = call_now_ms();
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

int calls_agent(struct calls *cs, const char *address, struct peer **out, struct tx_error *e)
{
    int rc;

    pthread_mutex_lock(&cs->mutex);
    rc = peer_find_or_add(cs, address, PEER_AGENT, out, e);
    pthread_mutex_unlock(&cs->mutex);
    return rc;
}

const char *peer_address(const struct peer *p)
{
    return p->address;
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
        p->fd = channel_dial(&p->channel, p->address, MESSAGE_LIMIT, NULL, NULL) == TX_OK
                    ? channel_fd(&p->channel)
                    : -1;
        p->redial = false;
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

void calls_learn(struct calls *cs, struct wire_nodes *nodes)
{
    struct peer *p;

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
    nodes->n = 0;
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
