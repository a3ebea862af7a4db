/* wire: every message between application, agent, operator and coordinator: struct, encode and decode side by
 * side.
 *
 * Requests and replies travel over nanomsg's REQ/REP in raw mode; which reply answers which request is in
 * nanomsg's header, so a message carries none. Every request is idempotent: it may be lost, doubled, or arrive
 * late. First bytes of a message: 'A', version, type, 0.
 *
 * Decoding borrows: strings point into the input, arrays into the caller's struct wire_scratch.
 */
#ifndef ASSENT_WIRE_H
#define ASSENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/words.h"

enum { WIRE_VERSION = 5 };

enum wire_type {
    /* application -> coordinator, and the answer */
    WIRE_OPEN_SESSION = 1,
    WIRE_SESSION,
    WIRE_DECIDE,
    WIRE_DECIDED,
    WIRE_HEARTBEAT,
    WIRE_HEARTBEAT_OK,
    WIRE_CLOSE_SESSION,
    WIRE_CLOSED,
    WIRE_OUTCOME,
    WIRE_OUTCOME_IS,
    WIRE_LOCATE,
    WIRE_LOCATED,
    /* agent -> coordinator */
    WIRE_PULL,
    WIRE_WORK,
    /* txadmin -> coordinator */
    WIRE_ADMIN,
    WIRE_ADMIN_REPLY,
    /* application -> agent */
    WIRE_EXEC,
    WIRE_ROWS,
    WIRE_FINISH,
    WIRE_FINISHED,
    /* the answer to any request that cannot be served */
    WIRE_ERROR,
};

/* What a session tells by the way: numbers it will never ask about again, and numbers whose direct branches it
 * has all finished. Told again until the request that carried it is answered. */
struct wire_news {
    size_t n_acknowledged, n_resolved; /* at most RANGE_LIMIT each */
    const struct range *acknowledged, *resolved;
};

struct wire_open_session {
    uint64_t nonce; /* random; a repeated request with the same nonce gets the same session while it is open */
    uint32_t session_timeout_ms, transaction_timeout_ms;
    const char *name; /* the application's */
};

/* Where the coordinators of the group listen for clients, so that whoever knows one learns of all; and the keys
 * that prove them to be coordinators of it. */
struct wire_nodes {
    size_t n; /* at most NODE_LIMIT; 0: not known yet */
    const char *const *addresses;
    size_t n_keys;       /* at most NODE_KEY_LIMIT; 0: those known already are good */
    const uint8_t *keys; /* n_keys times KEY_SIZE bytes */
};

struct wire_session {
    uint64_t group, session;
    struct wire_nodes nodes;
};

struct wire_heartbeat_ok {
    struct wire_nodes nodes;
};

/* When a WIRE_DECIDE is answered. */
enum wire_wait {
    WAIT_DECIDED,   /* as soon as the decision stands in the log */
    WAIT_COMPLETED, /* when every remote branch is finished too */
};

struct wire_decide {
    struct txid id;
    uint8_t verdict;       /* COMMIT, or ABORT: hand-over of prepared branches that could not be reached */
    uint8_t wait;          /* enum wire_wait */
    uint8_t agents_finish; /* 1: agents finish the direct branches too, at once (DECISION_LOGGED, hand-over) */
    size_t n_branches;
    const struct branch_ref *branches; /* direct: prepared; remote: still to be prepared, with "statements=<n>",
                                          how many it consists of, for a proof */
    struct wire_news news;
};

struct wire_decided {
    uint8_t verdict;    /* what stands; never NONE */
    uint8_t completed;  /* 1: every remote branch is finished */
    uint8_t heuristic;  /* enum heuristic: the worst of all branches so far */
    const char *reason; /* of an ABORT; may be NULL */
};

/* Keeps the session alive, and carries news that has no commit to ride on. Also WIRE_CLOSE_SESSION. */
struct wire_heartbeat {
    uint64_t session, nonce;
    struct wire_news news;
};

struct wire_outcome {
    struct txid id;
};

struct wire_outcome_is {
    uint8_t outcome; /* enum tx_outcome */
};

/* Where the agents of a resource listen for statements. */
struct wire_locate {
    const char *resource;
};

struct wire_located {
    const char *address; /* of an agent that is alive */
    const uint8_t
        *key; /* KEY_SIZE bytes: the agent's, and nobody else is to be believed there; NULL: insecure */
};

/* agents */

enum report_kind {
    REPORT_PREPARED = 1, /* vote yes; proof */
    REPORT_READ_ONLY,    /* vote read-only: committed, forgotten */
    REPORT_REFUSED,      /* vote no: rolled back; text says why */
    REPORT_COMMITTED,    /* asked to commit: is committed, known for sure */
    REPORT_ROLLED_BACK,  /* asked to roll back: is, or was never prepared */
    REPORT_FOUND,        /* the scan sees it prepared since age_ms and asks what to do */
    REPORT_HEURISTIC_COMMIT,
    REPORT_HEURISTIC_ROLLBACK,
    REPORT_HAZARD, /* asked to commit: not there, and no proof of what became of it */
    REPORT_STUCK,  /* finishing fails and is being retried; text says why */
    REPORT_ANSWER, /* to WORK_INQUIRE: number in id.sequence, JSON in text (up to MESSAGE_LIMIT / 2) */
};

struct wire_report {
    uint8_t kind; /* enum report_kind */
    struct txid id;
    uint16_t branch;
    const char *resource;
    uint64_t age_ms;
    const char *proof; /* may be NULL */
    const char *text;  /* may be NULL */
};

/* State of one resource as its agent sees it; all of them in the first PULL to a leader and whenever one
 * changes. */
struct wire_resource {
    const char *name;
    const char *kind;    /* as it is open, as rm_find() takes it; NULL: by_registry, and it is not open */
    uint8_t by_registry; /* 1: served as the registry defines it; 0: as the agent's own configuration does */
    uint64_t definition; /* the mark of the definition that the agent was given last; 0: none yet */
    uint8_t up;
    uint32_t in_doubt;  /* branches of this group that are prepared, as last seen */
    uint64_t oldest_ms; /* age of the oldest of them */
    /* Of the recovery that is under way; 0: none is. */
    uint32_t found;    /* branches that should have been finished by then, since it began */
    uint32_t resolved; /* of them */
    uint32_t rate;     /* resolved in a second, of late */
    const char *error; /* why it is down, or what is wrong with its definition; may be NULL */
};

/* «What is there to do?», with what is done. The newest PULL of an agent supersedes its older ones, which are
 * never answered. */
struct wire_pull {
    uint64_t instance;   /* random, one per start of the agent */
    uint64_t number;     /* of this PULL, rising; an older one than seen is ignored */
    const char *name;    /* the agent's */
    const char *address; /* where it listens for statements; may be NULL: none */
    size_t n_resources;
    const struct wire_resource *resources; /* none: as told before */
    size_t n_reports;
    const struct wire_report
        *reports;          /* told again in the next PULL until a WORK with `received` >= this number came */
    uint64_t keys_version; /* of the clients' keys that it has; 0: none */
};

enum work_kind { WORK_PREPARE = 1, WORK_COMMIT, WORK_ROLLBACK, WORK_INQUIRE };

struct wire_work_item {
    uint8_t kind;   /* enum work_kind */
    struct txid id; /* WORK_INQUIRE: id.sequence is the inquiry's number */
    uint16_t branch;
    uint8_t branch_kind; /* enum branch_kind */
    const char *resource;
    const char *proof; /* as the vote brought it; may be NULL */
    const char *text;  /* WORK_INQUIRE: JSON of the question; else NULL */
    const char *owner; /* WORK_PREPARE: the client whose session it is; NULL: insecure, anybody's */
};

/* What the registry says of a resource that the agent serves by name, or by its own configuration as another
 * kind. */
struct wire_definition {
    const char *name;
    uint64_t mark;    /* tells this definition from another; never 0 */
    const char *kind; /* NULL: the registry has no such resource, or an agent's own configuration defines it */
    const char *settings; /* NULL where kind is */
};

/* A client that may execute statements at an agent. */
struct wire_client_key {
    const uint8_t *key; /* KEY_SIZE bytes */
    const char *name;
};

struct wire_work {
    uint64_t group;    /* branches of any other group are not to be touched */
    uint64_t received; /* number of the newest PULL whose reports the leader has taken in */
    uint8_t introduce; /* 1: the leader does not know this agent; send the resources */
    size_t n_items;
    const struct wire_work_item
        *items;           /* told again after a while until reported; so the agent must know doubles */
    size_t n_definitions; /* at most RESOURCE_LIMIT */
    const struct wire_definition *definitions;
    struct wire_nodes nodes;
    uint64_t keys_version; /* of the clients' keys that follow, all there are; 0: they are as told before */
    size_t n_clients;      /* at most KEY_LIMIT; 0 without keys_version */
    const struct wire_client_key *clients;
};

/* operator */

struct wire_admin {
    const char *json; /* {"verb": "…", …} */
};

/* application to agent */

struct wire_exec {
    struct txid id;
    uint16_t branch;
    uint32_t number; /* of the statement in its branch, from 1 (1 begins the branch); a double is not executed
                        again */
    uint32_t timeout_ms; /* idle time after which the agent rolls the branch back: the transaction's timeout */
    const char *resource, *statement;
    uint16_t n_values;
    const uint8_t *values; /* n_values strings as buf_put_str() writes them, NULL for null */
    size_t values_len;
};

struct wire_rows {
    int32_t code; /* TX_OK, or TX_ESTATEMENT, TX_EREFUSED … and text says why */
    const char *text;
    uint64_t affected;
    uint32_t n_rows;
    uint16_t n_columns;
    const uint8_t *cells; /* n_columns names, then n_rows * n_columns values, as buf_put_str() writes them */
    size_t cells_len;
};

enum wire_finish_op {
    FINISH_ROLLBACK = 1,
    FINISH_ONE_PHASE, /* commit, the transaction's only branch: no decision is logged */
    FINISH_STATUS,    /* what became of a one-phase commit whose answer was lost; proof tells */
    FINISH_PROOF,     /* before ONE_PHASE: what will tell its outcome if the answer is lost */
};

/* WIRE_FINISH, to the agent that executed the statements; FINISH_STATUS to any agent of the resource. */
struct wire_finish {
    uint8_t op;
    struct txid id;
    uint16_t branch;
    const char *resource;
    /* FINISH_PROOF: "statements=<n>", how many it consists of. FINISH_ONE_PHASE, FINISH_STATUS: as FINISH_PROOF
     * brought it; NULL: it has written nothing. FINISH_ONE_PHASE commits no branch that has given another one.
     */
    const char *proof;
};

struct wire_finished {
    /* TX_OK: done as asked. TX_EROLLBACK: rolled back, or (FINISH_PROOF) can only be rolled back. TX_EINDOUBT:
     * not known; FINISH_STATUS may tell later, but will not where it answers so without a proof. */
    int32_t code;
    const char *text, *proof;
};

struct wire_error {
    int32_t code; /* enum tx_err */
    const char *text;
    const char *leader; /* address of the leader, with TX_ENOTLEADER; may be NULL */
};

struct wire_message {
    enum wire_type type;
    union {
        struct wire_open_session open_session;
        struct wire_session session;
        struct wire_decide decide;
        struct wire_decided decided;
        struct wire_heartbeat heartbeat; /* and close_session */
        struct wire_heartbeat_ok heartbeat_ok;
        struct wire_outcome outcome;
        struct wire_outcome_is outcome_is;
        struct wire_locate locate;
        struct wire_located located;
        struct wire_pull pull;
        struct wire_work work;
        struct wire_admin admin; /* and admin_reply */
        struct wire_exec exec;
        struct wire_rows rows;
        struct wire_finish finish;
        struct wire_finished finished;
        struct wire_error error;
    };
};

/* Where decode puts arrays; reused from message to message. */
struct wire_scratch {
    struct branch_ref branches[BRANCH_LIMIT];
    struct range acknowledged[RANGE_LIMIT], resolved[RANGE_LIMIT];
    struct wire_resource resources[RESOURCE_LIMIT];
    struct wire_report reports[REPORT_LIMIT];
    struct wire_work_item items[REPORT_LIMIT];
    struct wire_definition definitions[RESOURCE_LIMIT];
    const char *nodes[NODE_LIMIT];
    struct wire_client_key clients[KEY_LIMIT];
};

/* Appends the message to `out`. TX_ENOMEM; TX_ETOOBIG where a bound of words.h is exceeded. */
int wire_encode(const struct wire_message *m, struct buf *out);

/* Reads one message, all of it. TX_EPROTO with a message that names what is malformed. Never reads outside
 * data, never trusts a length or count in it. Enumerated fields are checked. */
int wire_decode(struct wire_message *m, const void *data, size_t len, struct wire_scratch *scratch,
                struct tx_error *e);

/* A name of a resource, agent or application: 1 to NAME_LIMIT of a–z A–Z 0–9 _ . - */
bool wire_name_valid(const char *name);

const char *wire_type_name(enum wire_type t);

#endif
