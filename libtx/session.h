/* session: the application's session with the coordinator group: opened, kept alive, opened again when it was
 * lost, closed; and the news that it owes the group.
 *
 * News are the sequence numbers that the client will never ask about again (acknowledged) and those whose
 * direct branches it has finished itself (resolved). They ride on every request and are told again until a
 * request that carried them is answered; where no request comes by, a background thread sends them in a
 * heartbeat.
 *
 * Used by client, txn and finish; uses call.
 */
#ifndef LIBTX_SESSION_H
#define LIBTX_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libtx/call.h"
#include "libtx/shared/ranges.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/wire.h"

/* What one request carries. */
struct news {
    uint64_t session, taken_ms;
    size_t n_acknowledged, n_resolved;
    struct range acknowledged[RANGE_LIMIT], resolved[RANGE_LIMIT];
};

/* Its fields are session.c's, but for the settings, which are fixed before session_open(). */
struct app_session {
    struct calls *calls;
    char name[NAME_LIMIT + 1];
    uint32_t connect_timeout_ms, session_timeout_ms, transaction_timeout_ms;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t keeper;
    bool opening, lost, closing;
    bool doubt;  /* a transaction of it ended in doubt */
    bool dozing; /* the keeper sleeps for longer than news may wait */
    uint64_t group, id, nonce, sequence;
    struct tx_error failure; /* why the last attempt to open one failed */
    uint64_t heard_ms;       /* when the last request that was answered was sent */
    uint64_t beat_ms;  /* when the last heartbeat was sent; requests alone don't tell of new coordinators */
    uint64_t news_ms;  /* since when there is news that no request has carried; 0: none */
    uint64_t retry_ms; /* no heartbeat before */
    struct ranges acknowledged, resolved;
    struct ranges
        over; /* of this session, acknowledged or about to be: as few ranges as transactions are open */
};

/* Opens the first session and starts the thread. TX_EUNREACHABLE, TX_ETIMEOUT, TX_EBUSY, TX_ENOMEM: nothing is
 * left to close. */
int session_open(struct app_session *s, struct tx_error *e);
/* Tells the remaining news and closes, within two seconds. */
void session_close(struct app_session *s);

/* A new transaction's id; in a new session if the last was lost. Errors as session_open(). */
int session_begin(struct app_session *s, struct txid *id, struct tx_error *e);
/* The transaction is over and its outcome told. resolved: it was handed to the coordinator with direct
 * branches, and this client has finished all of them. */
void session_over(struct app_session *s, const struct txid *id, bool resolved);

/* Whether that was said of it, in the present session. */
bool session_is_over(struct app_session *s, const struct txid *id);

/* Fills in what a request of this session may carry (none if it is not the present one) and lets `wire` borrow
 * it. Then exactly one of the next two, when the request is over: */
void session_news_take(struct app_session *s, uint64_t session, struct news *out, struct wire_news *wire);
void session_news_told(struct app_session *s, const struct news *n);
void session_news_missed(struct app_session *s, const struct news *n);

/* A transaction of it has ended in doubt: the session is not closed but left to expire, as what is known of an
 * expired session's transactions is kept, and somebody will ask. */
void session_doubt(struct app_session *s, uint64_t session);
/* The group has said that it does not know the session; the next transaction opens another. */
void session_lost(struct app_session *s, uint64_t session);

#endif
