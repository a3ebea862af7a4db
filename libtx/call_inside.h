/* call_inside: what call.c (requests), call_peer.c (whom they go to) and call_wait.c (sleeping) share, and
 * nobody else sees. One mutex guards all of it, and every open call's fields.
 */
#ifndef LIBTX_CALL_INSIDE_H
#define LIBTX_CALL_INSIDE_H

#include <pthread.h>

#include "libtx/call.h"
#include "libtx/shared/believed.h"

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
    const char *why;      /* last reason for not getting an answer, once the line was open; a literal */
    bool answers;         /* that reason is its own answer */
    bool garbled;         /* has answered what cannot be read */
    bool leaderless;      /* has said last that it knows of no leader */
    uint64_t silent_ms;   /* since when a request waits for its answer, and nothing came; 0: it answers */
    uint64_t unheard_ms;  /* the same, also when it is asked again as if nothing were wrong */
    uint64_t dialled_ms;
    bool redial; /* before it is polled again */
    uint64_t
        refused_ms; /* since when one of the two has not believed the other; 0: nothing speaks against it */
    bool open;      /* as channel_state() was last, and so is the next */
    unsigned lost;
    unsigned line; /* goes up when what was sent on the line before will not be answered */
    /* Of an agent: the only key that is believed, and whether somebody with another has answered. */
    uint8_t key[KEY_SIZE];
    bool stranger;
    struct channel_security security;
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
    struct peer *leader;             /* whom to ask first */
    struct peer *turn;               /* who was asked last what any of them may know */
    const struct security *security; /* NULL: clear text */
    struct believed believed;
    bool admitted; /* a coordinator has let this program in before */
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

/* call_peer.c: the mutex is held, or nobody else knows of cs yet */

/* Dials the coordinators of a list «address[,…]», which are never forgotten. */
int calls_dial(struct calls *cs, const char *coordinators, struct tx_error *e);
/* The peer at this address, dialled at the first time. TX_EINVAL, TX_EBUSY, TX_ENOMEM, TX_EIO. */
int peer_find_or_add(struct calls *cs, const char *address, enum peer_kind kind, struct peer **out,
                     struct tx_error *e);
/* Does what is due of its handshakes; how long poll() may last before there is more of it. Nobody polls. */
int calls_keep(struct calls *cs, uint64_t now);
/* Takes in how its line is; true: it has just been opened. */
bool peer_look(struct calls *cs, struct peer *p, uint64_t now);
/* No line to it will come of waiting longer: it refuses, or is not believed. */
bool peer_denies(const struct calls *cs, const struct peer *p, uint64_t now);
/* Why it is of no help. Borrowed until the next call on its channel. */
const char *peer_why(const struct peer *p);
/* It stands still, or its connection is gone: there is better to ask. */
bool peer_doubtful(const struct peer *p, uint64_t now);
/* The next coordinator in the list, round and round. */
struct peer *peer_after(struct calls *cs, const struct peer *p);
/* The next one that is not in doubt; where all are, simply the next. */
struct peer *peer_next(struct calls *cs, const struct peer *p, uint64_t now);
/* Whom to ask what any coordinator may know: each in turn. */
struct peer *calls_turn(struct calls *cs, uint64_t now);
/* It cannot be reached, or gave no answer in time; one that stays so is dialled anew. */
void peer_unheard(struct calls *cs, struct peer *p, uint64_t now);
/* Makes the connections anew that are to be. Nobody polls. */
void calls_redial(struct calls *cs);
/* The group's coordinators, as its leader tells: whoever else is not configured is none any more. Empties the
 * list, which is gone with the next message. */
void calls_learn(struct calls *cs, struct wire_nodes *nodes);
/* Frees those that are forgotten. Nobody polls. */
void calls_sweep(struct calls *cs);

/* call.c: the mutex is held */

/* Takes in what has come from this peer and wakes those whom it concerns. */
void calls_receive(struct calls *cs, struct peer *p, uint64_t now);
/* Likewise what has become of its line. */
void calls_look(struct calls *cs, struct peer *p, uint64_t now);

#endif
