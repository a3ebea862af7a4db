/* ledger: the state machine that the log replicates: sessions, decisions, resources, nodes. Pure: no clock, no
 * I/O, no log; the same records in the same order give the same state on every node, byte for byte in a
 * snapshot.
 *
 * A decision is a write-once register: the first RECORD_DECIDE of a transaction wins, every later one returns
 * it. Its record goes when every branch is resolved (RECORD_END) and the client has acknowledged it, and no
 * heuristic outcome waits to be forgotten; so the size follows what is in flight (protocol.md, «When a record
 * may go»).
 *
 * Written by driver_apply() alone; read by driver and admin.
 */
#ifndef ASSENT_LEDGER_H
#define ASSENT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/record.h"
#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"
#include "libtx/shared/ranges.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/words.h"

struct ledger;

enum session_state { SESSION_OPEN, SESSION_CLOSED, SESSION_EXPIRED };

/* Borrowed until the next ledger_apply(). */
struct session {
    uint64_t id, nonce;
    enum session_state state;
    uint32_t session_timeout_ms, transaction_timeout_ms;
    uint64_t opened_ms, ended_ms; /* wall clock, as noted by the leader; ended: closed or expired */
    bool retention_over;
    const char *name;
    size_t n_decisions; /* records of it that stand */
    const struct ranges *acknowledged;
};

struct decision_branch {
    uint16_t number;
    uint8_t kind;                                  /* enum branch_kind */
    uint8_t heuristic;                             /* enum heuristic */
    const char *resource, *proof, *heuristic_text; /* proof, text may be NULL */
};

/* Borrowed until the next ledger_apply(). */
struct decision {
    struct txid id; /* group is filled in */
    enum verdict verdict;
    enum origin origin;
    bool agents_finish;
    bool ended, acknowledged;
    uint64_t at_ms, index;    /* when decided; log index of the entry */
    const char *reason;       /* may be NULL */
    enum heuristic heuristic; /* the worst of the branches' */
    size_t n_branches;
    const struct decision_branch *branches;
};

struct ledger_resource {
    const char *name, *kind;
    const char *settings;          /* what agents open it with; "" where not declared */
    bool declared;                 /* by an operator; else an agent brought it */
    uint64_t added_ms, altered_ms; /* altered: 0 where it never was */
};

/* A coordinator of the group, as clients reach it. */
struct ledger_node {
    uint64_t id;
    const char *address;
};

struct ledger *ledger_new(uint64_t group);
void ledger_free(struct ledger *l);
/* Names the group of a ledger that was made with group 0, by a node that did not know it yet. */
void ledger_name(struct ledger *l, uint64_t group);

/* What a record did. */
struct ledger_result {
    uint64_t session;     /* OPEN_SESSION: its number (an open session with the same nonce: that one) */
    enum verdict verdict; /* DECIDE: what stands for the transaction. NONE: acknowledged before (a late double),
                             or retention is over */
    bool first;           /* DECIDE: this record made it so */
    bool fenced;          /* DECIDE: asked COMMIT, is ABORT because the session is over; no record was made */
};

/* Applies one record of the entry at `index`. Every record can be applied in every state: one that comes too
 * late or twice changes nothing (each case is stated at its code). TX_ENOMEM only, and then the node must stop.
 */
int ledger_apply(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result);

/* How a transaction stands. The nonce counts: with a wrong one it is FOREIGN. */
enum standing {
    STANDING_COMMIT, /* decided so, the record stands */
    STANDING_ABORT,  /* decided so; or no record and the session is over or the number acknowledged: presumed */
    STANDING_OPEN,   /* no record, session open: may become either */
    STANDING_FORGOTTEN, /* only from ledger_outcome(): finished and acknowledged, or past retention */
    STANDING_FOREIGN,   /* another group, a session never opened, a wrong nonce: not ours to touch */
    STANDING_LOST,      /* only from ledger_branch_standing(): of the time after the backup that this ledger was
                           restored from; only an operator may decide */
};

/* For a branch found prepared: what must become of it. (protocol.md, «Recovery») */
enum standing ledger_branch_standing(const struct ledger *l, const struct txid *id);
/* For somebody who asks for the outcome: never «aborted» where it is only no longer known. */
enum standing ledger_outcome(const struct ledger *l, const struct txid *id);

uint64_t ledger_group(const struct ledger *l);
/* NULL: never opened, or gone. A record made after its session is gone (a heuristic outcome's, an operator's of
 * a lost one) has a stand-in for it: CLOSED, retention over, no name. */
const struct session *ledger_session(const struct ledger *l, uint64_t id);
const struct decision *ledger_decision(const struct ledger *l, uint64_t session, uint64_t sequence);
const struct ledger_node *ledger_node(const struct ledger *l, uint64_t id);
const struct ledger_resource *ledger_resource(const struct ledger *l, const char *name);

/* Walks in a fixed order; stops when the callback returns false. */
void ledger_each_session(const struct ledger *l, bool (*f)(void *arg, const struct session *s), void *arg);
void ledger_each_decision(const struct ledger *l, bool (*f)(void *arg, const struct decision *d), void *arg);
void ledger_each_resource(const struct ledger *l, bool (*f)(void *arg, const struct ledger_resource *r),
                          void *arg);
void ledger_each_node(const struct ledger *l, bool (*f)(void *arg, const struct ledger_node *n), void *arg);

struct ledger_counts {
    size_t sessions, open_sessions, decisions, resources, heuristic;
    uint64_t next_session;
};
void ledger_count(const struct ledger *l, struct ledger_counts *out);

/* Whole state to bytes and back, versioned. restore replaces the state; on TX_ECORRUPT, TX_EPROTO, TX_ENOMEM
 * nothing has changed. */
void ledger_snapshot(const struct ledger *l, struct buf *out);
int ledger_restore(struct ledger *l, const void *data, size_t len, struct tx_error *e);

#endif
