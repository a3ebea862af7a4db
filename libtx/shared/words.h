/* words: the protocol's vocabulary and its bounds, shared by messages, log records and state machines. */
#ifndef ASSENT_WORDS_H
#define ASSENT_WORDS_H

#include <stdint.h>

/* All bounds of the protocol in one block; full means TX_EBUSY. */
enum {
    NAME_LIMIT = 63,         /* bytes of a resource's, agent's or application's name */
    ADDRESS_LIMIT = 127,     /* bytes of a nanomsg address */
    TEXT_LIMIT = 255,        /* bytes of a reason or an error in a message or record */
    SETTINGS_LIMIT = 1023,   /* bytes of a resource's settings in the registry */
    PROOF_LIMIT = 127,       /* bytes of a resource manager's proof */
    BRANCH_LIMIT = 64,       /* branches of a transaction */
    RANGE_LIMIT = 64,        /* ranges of sequence numbers in a message */
    REPORT_LIMIT = 256,      /* reports or items of work in a message */
    RESOURCE_LIMIT = 64,     /* resources of an agent */
    NODE_LIMIT = 16,         /* coordinators that a message or a ledger names; a group has five at most */
    NODE_KEY_LIMIT = 64,     /* keys of coordinators that a message names */
    OUTSTANDING_LIMIT = 64,  /* unanswered requests of one connection (nanomsg drops replies above) */
    VALUE_LIMIT = 65535,     /* parameters of a statement */
    MESSAGE_LIMIT = 1 << 20, /* bytes of a message to or from a coordinator */
    ROWS_LIMIT = 16 << 20,   /* bytes of a message between application and agent */
};

/* The kind of resource that serves itself: a program with libtx's participant inside. All others are opened by
 * txagentd. */
#define KIND_SERVICE "service"

enum verdict { VERDICT_NONE, VERDICT_COMMIT, VERDICT_ABORT };

/* Who proposed what stands. */
enum origin {
    ORIGIN_CLIENT,      /* the application's commit or hand-over */
    ORIGIN_COORDINATOR, /* a vote no, or none in time, or a request that cannot be granted */
    ORIGIN_RECOVERY, /* a branch in doubt older than the transaction's timeout, or of a session that is gone */
    ORIGIN_OPERATOR, /* txadmin resolve: heuristic */
};

/* Whose connection works in a branch. */
enum branch_kind { BRANCH_DIRECT, BRANCH_REMOTE };

/* How a branch differs, or may differ, from its transaction's verdict (X/Open XA: XA_HEURCOM, XA_HEURRB,
 * XA_HEURHAZ). */
enum heuristic { HEURISTIC_NONE, HEURISTIC_COMMIT, HEURISTIC_ROLLBACK, HEURISTIC_HAZARD };

/* A branch as messages and records carry it. Strings are borrowed. */
struct branch_ref {
    uint16_t number; /* within the transaction, from 1 */
    uint8_t kind;    /* enum branch_kind */
    const char *resource;
    const char *proof; /* what the resource manager needs to tell the outcome after «not found»; opaque
                          elsewhere; may be NULL */
    const char *agent; /* remote, in a request: the address of the agent that holds its connection, or NULL */
};

/* Sequence numbers from..to, both included. */
struct range {
    uint64_t from, to;
};

const char *verdict_name(enum verdict v);
const char *origin_name(enum origin o);
const char *branch_kind_name(enum branch_kind k);
const char *heuristic_name(enum heuristic h);

#endif
