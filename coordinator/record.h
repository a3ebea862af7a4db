/* record: what stands in the log. The codec of log entries, versioned; pure.
 *
 * One log entry carries many records, so that everything that gathered in a loop turn is one write. Written by
 * driver, read by ledger_apply()'s callers. Times are facts noted by the leader that proposed (wall clock, ms
 * since 1970); nothing is decided by them.
 */
#ifndef ASSENT_RECORD_H
#define ASSENT_RECORD_H

#include <stdint.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"
#include "libtx/shared/words.h"

/* 2: DECLARE_RESOURCE, ALTER_RESOURCE. 3: ADD_KEY, REVOKE_KEY, a session's owner. */
enum { RECORD_VERSION = 3 };

enum record_type {
    RECORD_OPEN_SESSION = 1,
    RECORD_CLOSE_SESSION,  /* by its client */
    RECORD_EXPIRE_SESSION, /* by the leader: the fence */
    RECORD_DROP_SESSION,   /* by the leader: its retention time is over */
    RECORD_DECIDE,
    RECORD_ACKNOWLEDGE,
    RECORD_END,          /* every branch of a decided transaction is resolved */
    RECORD_HEURISTIC,    /* a branch was, or may have been, finished otherwise */
    RECORD_FORGET,       /* an operator has seen the heuristic outcome */
    RECORD_ADD_RESOURCE, /* an agent serves it by its own configuration */
    RECORD_REMOVE_RESOURCE,
    RECORD_ADD_NODE,         /* where a coordinator of the group listens for clients */
    RECORD_REMOVE_NODE,      /* it is no member any more */
    RECORD_RESTORE,          /* a piece of a backup, into a group that has just begun */
    RECORD_DECLARE_RESOURCE, /* by an operator, for agents that serve it by name */
    RECORD_ALTER_RESOURCE,   /* its settings; what an agent brought becomes declared */
    RECORD_ADD_KEY,
    RECORD_REVOKE_KEY, /* for good; its open sessions expire */
};

struct record {
    enum record_type type;
    uint64_t session, sequence; /* all but OPEN_SESSION, the resources', the nodes', the keys', RESTORE */
    uint64_t at_ms;
    union {
        struct {
            uint64_t nonce;
            uint32_t session_timeout_ms, transaction_timeout_ms;
            const char *name;
            uint8_t owner[KEY_SIZE]; /* its client's key; zeros: nobody was asked for one */
        } open_session;
        struct {
            uint8_t verdict;       /* enum verdict: COMMIT or ABORT */
            uint8_t origin;        /* enum origin */
            uint8_t agents_finish; /* agents finish direct branches too */
            const char *reason;    /* may be NULL */
            size_t n_branches;
            const struct branch_ref *branches;
        } decide;
        struct {
            size_t n_ranges;
            const struct range *ranges;
        } acknowledge;
        struct {
            uint16_t branch;
            uint8_t kind; /* enum heuristic, not NONE */
            const char *resource;
            const char *text; /* may be NULL */
        } heuristic;
        struct {
            const char *name, *kind;
            const char *settings; /* DECLARE, ALTER: without secrets, may be empty */
        } resource;
        struct {
            uint64_t id;
            const char *address;
        } node;
        struct {
            uint64_t at, total; /* offset of the piece, and length of the whole */
            uint32_t len;
            const uint8_t *data;
        } restore;
        struct {
            uint8_t key[KEY_SIZE]; /* not zeros */
            const char *name;      /* REVOKE: of a key that the ledger has never heard of */
            uint8_t roles;         /* ADD */
            const char *grant;     /* ADD: as grant_has() takes it; may be empty */
        } key;
    };
};

/* Starts an entry in an empty buffer; appends records to it. */
void record_begin(struct buf *entry);
void record_append(struct buf *entry, const struct record *r);

/* Reads an entry record by record: record_open() once, then record_next() until it gives 0 (end); 1 = a record;
 * TX_ECORRUPT. Strings are borrowed from the entry, arrays from the reader. A version newer than this program's
 * is TX_EPROTO. */
struct record_reader {
    struct cur cur;
    uint8_t version; /* the entry's */
    struct branch_ref branches[BRANCH_LIMIT];
    struct range ranges[RANGE_LIMIT];
};

int record_open(struct record_reader *reader, const void *data, size_t len, struct tx_error *e);
int record_next(struct record_reader *reader, struct record *r, struct tx_error *e);

const char *record_type_name(enum record_type t);

#endif
