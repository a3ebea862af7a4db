/* ledger: the state machine that the log replicates: sessions, decisions, resources, nodes, keys. Pure: no
 * clock, no I/O, no log; the same records in the same order give the same state on every node, byte for byte in
 * a snapshot.
 *
 * A decision is a write-once register: the first RECORD_DECIDE of a transaction wins, every later one returns
 * it. Its record goes when every branch is resolved (RECORD_END) and the client has acknowledged it, and no
 * heuristic outcome waits to be forgotten; so the size follows what is in flight (docs/architecture.md, «A
 * decision is a write-once register»).
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
    uint8_t owner[KEY_SIZE]; /* its client's key; zeros: nobody was asked for one */
    size_t n_decisions;      /* records of it that stand */
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

/* Who a key is. Once revoked it stays so. */
struct ledger_key {
    uint8_t key[KEY_SIZE];
    const char *name;
    const char *grant; /* as grant_has() takes it; "": none */
    unsigned roles;    /* 0: revoked before it was ever added */
    bool revoked;
    uint64_t added_ms, revoked_ms; /* wall clock; 0: never */
};

struct ledger *ledger_new(uint64_t group);
void ledger_free(struct ledger *l);
/* Names the group of a ledger that was made with group 0, by a node that did not know it yet. */
void ledger_name(struct ledger *l, uint64_t group);

/* What a record did. */
struct ledger_result {
    uint64_t session;     /* OPEN_SESSION: its number (an open session with the same nonce: that one). 0: its
                             owner's key is revoked, or the nonce is of another's session */
    enum verdict verdict; /* DECIDE: what stands for the transaction. NONE: acknowledged before (a late double),
                             or retention is over */
    bool first;           /* DECIDE: this record made it so */
    bool fenced;          /* DECIDE: asked COMMIT, is ABORT because the session is over; no record was made */
    size_t n_expired;     /* REVOKE_KEY: sessions that expired with it */
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

/* For a branch found prepared: what must become of it. (docs/architecture.md, «Recovery») */
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
/* NULL: never heard of. */
const struct ledger_key *ledger_key(const struct ledger *l, const uint8_t key[KEY_SIZE]);
/* The same on all nodes, and another one with every change of the keys; never 0. */
uint64_t ledger_keys_version(const struct ledger *l);
/* No key of this name that is not revoked has other roles or another grant. */
bool ledger_key_fits(const struct ledger *l, const char *name, unsigned roles, const char *grant);
bool ledger_session_owned(const struct session *s);

/* Walks in a fixed order; stops when the callback returns false. */
void ledger_each_session(const struct ledger *l, bool (*f)(void *arg, const struct session *s), void *arg);
void ledger_each_decision(const struct ledger *l, bool (*f)(void *arg, const struct decision *d), void *arg);
void ledger_each_resource(const struct ledger *l, bool (*f)(void *arg, const struct ledger_resource *r),
                          void *arg);
void ledger_each_node(const struct ledger *l, bool (*f)(void *arg, const struct ledger_node *n), void *arg);
void ledger_each_key(const struct ledger *l, bool (*f)(void *arg, const struct ledger_key *k), void *arg);

struct ledger_counts {
    size_t sessions, open_sessions, decisions, resources, heuristic;
    size_t keys; /* the revoked ones among them */
    uint64_t next_session;
};
void ledger_count(const struct ledger *l, struct ledger_counts *out);

/* Whole state to bytes and back, versioned. restore replaces the state; on TX_ECORRUPT, TX_EPROTO, TX_ENOMEM
 * nothing has changed. */
void ledger_snapshot(const struct ledger *l, struct buf *out);
/* Its numbers leave room for all that a group may come to that begins with it, as with a backup. */
bool ledger_may_begin(const struct ledger *l);
int ledger_restore(struct ledger *l, const void *data, size_t len, struct tx_error *e);

#endif
