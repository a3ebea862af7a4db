/* call_inside: what call.c (requests) and call_wait.c (sleeping) share, and nobody else sees. One mutex guards
 * all of it, and every open call's fields.
 */
#ifndef LIBTX_CALL_INSIDE_H
#define LIBTX_CALL_INSIDE_H

#include <pthread.h>

#include "libtx/call.h"

enum { CALL_BUCKETS = 256 };

enum peer_kind {
    PEER_COORDINATOR,
    PEER_AGENT,
    PEER_FORGOTTEN, /* was a coordinator; is freed when no call is there any more */
};

struct peer {
    char address[ADDRESS_LIMIT + 1];
    struct channel channel;
    int fd;
    enum peer_kind kind;
    bool configured;      /* never forgotten */
    unsigned outstanding; /* calls that hold one of its places */
    const char *why;      /* last reason for not getting an answer; a literal */
    bool answers;         /* that reason is its own answer */
    bool garbled;         /* has answered what cannot be read */
    bool leaderless;      /* has said last that it knows of no leader */
    uint64_t silent_ms;   /* since when a request waits for its answer, and nothing came; 0: it answers */
    uint64_t unheard_ms;  /* the same, also when it is asked again as if nothing were wrong */
    uint64_t dialled_ms;
    bool redial; /* before it is polled again */
    TAILQ_HEAD(, call) queue;
};

struct waiter {
    int fd;     /* eventfd: readable when it is to look again */
    bool woken; /* one of its calls has changed */
    bool asleep;
    TAILQ_ENTRY(waiter) link; /* of the idle, or of those asleep without polling for all */
};

TAILQ_HEAD(waiters, waiter);

struct calls {
    pthread_mutex_t mutex;
    struct peer *peers[PEER_LIMIT];
    size_t n_peers, n_coordinators, n_forgotten;
    struct peer *leader; /* whom to ask first */
    struct peer *turn;   /* who was asked last what any of them may know */
    struct waiter *poller;
    struct waiters asleep, idle;
    uint32_t last_id;
    LIST_HEAD(, call) pending[CALL_BUCKETS];
    struct wire_scratch scratch;
};

/* call_wait.c: the mutex is held */

/* Something has changed for it: calls_wait() returns. */
void waiter_wake(struct waiter *w);
/* A descriptor was added: whoever polls begins anew. */
void waiter_look_again(struct calls *cs);
void waiters_free(struct waiters *idle);

/* call.c: the mutex is held */

/* Makes the connections anew that are to be. Nobody polls. */
void calls_redial(struct calls *cs);
/* Takes in what has come from this peer and wakes those whom it concerns. */
void calls_receive(struct calls *cs, struct peer *p, uint64_t now);
/* Frees those that are forgotten. Nobody polls. */
void calls_sweep(struct calls *cs);

#endif
