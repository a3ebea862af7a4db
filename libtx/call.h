/* call: requests to coordinators and agents from many threads, each answered once.
 *
 * A call is one encoded request that is sent again, always with the same content and number, until its answer
 * or its deadline has come: to the coordinator that leads, to the one that a follower names, or round the list
 * while none answers. A question for an outcome goes to each coordinator in turn, for any may know. One that
 * gave no answer lately, or whose connection broke, is passed over while there are others. The list is what was
 * configured and what the leader tells of the others. All of resending, leader search and deadlines is here and
 * nowhere else.
 *
 * Every line begins with a handshake (channel.h), and a call waits until one is ready. Lines to all
 * coordinators are kept ready while anybody polls. A coordinator that was restarted does not know the line any
 * more: what was sent on it is sent again as soon as there is another.
 *
 * There is no I/O thread. Whoever waits for an answer polls the sockets if nobody does, hands the answers of
 * others to them, and hands the polling over when its own is in (leader/followers, Schmidt et al. 2000). Every
 * waiter sleeps in poll(), so it can watch descriptors of its own at the same time, and a caller with an event
 * loop can be served in the same way.
 *
 * Used by session, client, commit and remote; uses channel and wire.
 */
#ifndef LIBTX_CALL_H
#define LIBTX_CALL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/err.h"
#include "libtx/shared/security.h"
#include "libtx/shared/wire.h"

enum {
    COORDINATOR_LIMIT = 16, /* addresses: configured, listed by the leader, or named by a follower */
    PEER_LIMIT = 128,       /* coordinators and agents together */
};

struct calls;
struct peer;
struct waiter;

/* On the caller's storage; its fields are call.c's. */
struct call {
    struct calls *calls; /* NULL: not started, or ended */
    struct waiter *waiter;
    bool done;           /* reply or error is there */
    enum wire_type want; /* type of the answer */
    uint32_t id;
    struct peer *fixed; /* the agent to ask; NULL: whichever coordinator leads */
    bool spread;        /* any coordinator may have the answer; who has not names the leader */
    struct peer *at;    /* where it is, sent or queued; NULL: nowhere reachable */
    bool queued;        /* waits for one of the peer's OUTSTANDING_LIMIT places */
    bool sent;          /* has left this process at least once, and may have been taken */
    bool sent_before;   /* likewise before it was sent last */
    bool unplaced;      /* nobody could be reached */
    unsigned line;      /* of `at`: the one that it was sent on */
    unsigned redirects; /* taken at once since the last pause */
    unsigned pause_ms, election_ms;
    uint64_t started_ms, deadline_ms, again_ms;
    uint64_t look_ms; /* when to see next whether the connection is still there */
    struct buf request;
    struct channel_message message; /* holds what reply borrows */
    struct wire_message reply;
    struct tx_error error;
    LIST_ENTRY(call) pending;
    TAILQ_ENTRY(call) queue;
};

/* Monotonic clock, milliseconds. */
uint64_t call_now_ms(void);

/* Dials the coordinators of a list «address[,…]». `security` is borrowed; NULL: clear text. TX_EINVAL: an
 * address is none; TX_EREFUSED: insecure, and not this machine's; TX_ENOMEM; TX_EIO. */
int calls_new(struct calls **out, const char *coordinators, const struct security *security,
              struct tx_error *e);
/* No call may be open. NULL is allowed. */
void calls_free(struct calls *cs);

/* The agent at this address, dialled at the first time; lives as long as cs. Whoever proves another key than
 * this one is not believed; where it was another before, that agent has gone, and this one is dialled anew.
 * TX_EINVAL, TX_EBUSY (PEER_LIMIT); TX_EDENIED: it has no key, and clear text is not spoken here. */
int calls_agent(struct calls *cs, const char *address, const uint8_t *key, struct peer **out,
                struct tx_error *e);
const char *peer_address(const struct peer *p);

/* What a thread, or a commit, sleeps with. Pooled. NULL: out of descriptors or memory. */
struct waiter *calls_waiter_take(struct calls *cs);
void calls_waiter_give(struct calls *cs, struct waiter *w);

/* Sends the request and returns at once; answers wake `w`. `agent` NULL: to the leader. The message is encoded
 * here and not borrowed afterwards. Not 0 (TX_ENOMEM, TX_ETOOBIG): nothing started. Otherwise call_end() is
 * due. */
int call_start(struct call *c, struct calls *cs, struct waiter *w, const struct wire_message *m,
               struct peer *agent, enum wire_type want, uint64_t deadline_ms, struct tx_error *e);

/* Does what is due: sends again, gives up at the deadline. True when the call is over. */
bool call_step(struct call *c);

/* When call_step() is due again at the latest; never, when it is over. */
uint64_t call_due_ms(const struct call *c);

/* The answer of a call that is over; *reply is borrowed until call_end(). Errors: those that the peer answered;
 * TX_EUNREACHABLE: it was never sent, hence has had no effect; TX_EDENIED: nobody who could be asked is
 * believed and lets this program in; c->sent tells whether it may have had an effect before; TX_ETIMEOUT: sent,
 * and no answer; TX_EPROTO. */
int call_result(struct call *c, const struct wire_message **reply, struct tx_error *e);

/* Forgets the call, whatever its state; later answers are dropped. Twice is allowed. */
void call_end(struct call *c);

/* call_start() and waiting for the end. call_end() is due when 0 is returned, and allowed otherwise. */
int call_sync(struct call *c, struct calls *cs, const struct wire_message *m, struct peer *agent,
              enum wire_type want, uint64_t deadline_ms, const struct wire_message **reply, struct tx_error *e);

/* Sleeps until a call of `w` may be over, one of the caller's fds has events (revents are set), or until_ms. */
void calls_wait(struct calls *cs, struct waiter *w, struct pollfd *fds, size_t n, uint64_t until_ms);

/* The time left until then, as poll() takes it; never negative, never for ever. */
int calls_poll_ms(uint64_t until_ms);

#endif
