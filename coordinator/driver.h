/* driver: the leader's work. Requests of applications and agents come in, records go into the log, answers and
 * work go out.
 *
 * server.c hands it decoded requests and sends what it answers; replog calls it back with committed entries. It
 * owns the ledger and one struct commit for each transaction in flight, and turns their steps into messages and
 * records. Everything proposed in a loop turn goes into one log entry (driver_flush). What it holds beside the
 * ledger is lost with leadership and told again by clients and agents. No I/O, clock or log in it: time comes
 * as an argument, in milliseconds; `now` is monotonic, `wall` is since 1970. (The daemon and a simulator run
 * the same code.)
 */
#ifndef ASSENT_DRIVER_H
#define ASSENT_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/access.h"
#include "coordinator/ledger.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/err.h"
#include "libtx/shared/wire.h"

struct driver;

struct driver_options {
    unsigned vote_timeout_ms;    /* an agent's vote on a remote branch [10000] */
    unsigned grace_ms;           /* a client's report on its direct branches, before agents get them [1000] */
    unsigned agent_timeout_ms;   /* silence after which an agent is taken for gone [10000] */
    unsigned retention_ms;       /* unacknowledged commits of an expired session are kept [1 day] */
    size_t max_sessions;         /* open at once; and so many that have ended are kept for look-ups [10000] */
    size_t max_sessions_per_key; /* open at once by the keys of one name [1000] */
    size_t max_transactions;     /* decided and not finished, or preparing [100000] */
    size_t max_agents;           /* [1000] */
    uint64_t node_id;            /* this node's */
    const char *address;         /* where it listens for clients, as they are told; borrowed */
    const struct keyring *bootstrap; /* this node's keys file, for what the ledger has never heard of; borrowed;
                                        NULL: none */
};

struct driver_ops {
    void *ctx;
    /* Sends an answer, now or never: the caller repeats a request whose answer is lost. */
    void (*reply)(void *ctx, const struct reply_to *to, const struct wire_message *m);
    /* Proposes one entry (takes it); driver_proposed(ticket) must follow, after driver_apply() where it was
     * committed. */
    void (*propose)(void *ctx, uint8_t *entry, size_t len, uint64_t ticket);
};

/* Zero fields of options get the defaults. group 0: not known yet; driver_name() then comes before anything is
 * applied or restored. */
int driver_new(struct driver **out, uint64_t group, const struct driver_options *options,
               const struct driver_ops *ops, struct tx_error *e);
void driver_free(struct driver *d);
void driver_name(struct driver *d, uint64_t group);

/* Driven by server and replog */

/* Any request but WIRE_ADMIN, that the caller may send (access_check()). Where this node does not lead:
 * WIRE_ERROR TX_ENOTLEADER with the leader's address, but for a WIRE_OUTCOME that the applied log answers for
 * ever. */
void driver_request(struct driver *d, uint64_t now, uint64_t wall, const struct caller *caller,
                    const struct reply_to *from, const struct wire_message *m);
/* Timeouts, resends, expiry. Call it every 100 ms or so. */
void driver_tick(struct driver *d, uint64_t now, uint64_t wall);
/* End of a loop turn: proposes what has gathered as one entry, and answers parked PULLs that have work. */
void driver_flush(struct driver *d, uint64_t now);
/* A committed entry, on every node. TX_ECORRUPT, TX_EPROTO, TX_ENOMEM: the node must stop. */
int driver_apply(struct driver *d, uint64_t now, uint64_t index, const void *data, size_t len,
                 struct tx_error *e);
/* How the proposal `ticket` ended: committed (and applied just before), or not known / refused. */
void driver_proposed(struct driver *d, uint64_t now, uint64_t ticket, bool committed);
void driver_snapshot(const struct driver *d, struct buf *out);
int driver_restore(struct driver *d, const void *data, size_t len, struct tx_error *e);
/* Leading from now on (every session gets a fresh lease, every unfinished decision is driven on), or no longer.
 * leader_id: 0 where not known. */
void driver_role(struct driver *d, uint64_t now, bool leading, uint64_t leader_id);
/* The group's members now; the leader takes others off the ledger. */
void driver_members(struct driver *d, uint64_t now, const uint64_t *ids, size_t n);
/* A node has told where it listens for clients; the leader has the ledger say so where it is a member. */
void driver_node_told(struct driver *d, uint64_t now, uint64_t id, const char *address);

/* For admin */

const struct ledger *driver_ledger(const struct driver *d);
bool driver_leading(const struct driver *d);
const char *driver_leader(const struct driver *d); /* its address for clients; "" where not known */
uint64_t driver_leader_id(const struct driver *d); /* 0 where not known */

/* A branch of a transaction as far as the leader knows. */
struct driver_branch {
    uint16_t number;
    uint8_t kind;      /* enum branch_kind */
    uint8_t heuristic; /* enum heuristic */
    const char *resource;
    const char *state;   /* "preparing", "voted yes", "read-only", "prepared" (seen by its agent), "committing",
                            "committed",   "rolling back", "rolled back", "heuristic …" */
    const char *problem; /* last error an agent reported; may be NULL */
    uint64_t prepared_ms; /* age as its agent's scan saw it; 0: not seen */
};

/* A transaction: one that is preparing or deciding, one with a record in the ledger, or one that agents found
 * prepared without any (in doubt, waiting for its client). Borrowed during the callback. */
struct driver_transaction {
    struct txid id;
    const char
        *state; /* "preparing", "deciding", "in doubt", "committing", "aborting", "finished", "heuristic" */
    enum verdict verdict; /* NONE: not decided */
    enum origin origin;
    enum heuristic heuristic;
    uint64_t age_ms;
    const char *reason;      /* of an abort; may be NULL */
    const char *application; /* the session's; may be NULL */
    enum session_state session_state;
    bool session_known;
    const char *next; /* what will happen next and who does it, one sentence */
    size_t n_branches;
    const struct driver_branch *branches; /* by number */
};

/* By session and sequence number, from the first one behind `after` (NULL: from the first); stops when the
 * callback returns false. */
void driver_each_transaction(struct driver *d, uint64_t now, uint64_t wall, const struct txid *after,
                             bool (*f)(void *arg, const struct driver_transaction *t), void *arg);
/* That one alone; false where nothing is known of it. */
bool driver_show(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id,
                 void (*f)(void *arg, const struct driver_transaction *t), void *arg);

struct driver_resource {
    const char *name, *kind, *settings, *agent, *address,
        *error;                    /* agent NULL: none has told of it since this node leads */
    bool listed, declared;         /* in the ledger at all; by an operator */
    bool by_registry;              /* the agent serves it as the registry defines it */
    uint64_t added_ms, altered_ms; /* wall clock; altered 0: never */
    bool alive, up;
    uint32_t agents; /* that are alive and serve it; `agent` is the first of them */
    uint32_t in_doubt;
    uint64_t oldest_ms, heard_ms;   /* heard: since the agent's last message */
    uint32_t found, resolved, rate; /* of the recovery under way, see struct wire_resource */
    size_t unfinished;              /* branches this leader has work for and no report on */
};
/* What has to be started to serve a resource of this kind (NULL: not known), for messages: «start %s». */
const char *driver_server_of(const char *kind);
/* A name that two agents use at once; NULL: none. */
const char *driver_namesake(struct driver *d, uint64_t now);
struct driver_namesake {
    const char *name, *address; /* of the newer one; until the driver is called again */
};
/* The next such name that is to be logged; each is given once, until there was one agent of the name for a
 * while. False: none. */
bool driver_take_namesake(struct driver *d, struct driver_namesake *out);
void driver_each_resource(struct driver *d, uint64_t now, bool (*f)(void *arg, const struct driver_resource *r),
                          void *arg);

/* Milliseconds since a session was last heard of by this leader. */
uint64_t driver_session_silence(const struct driver *d, uint64_t now, uint64_t session);

/* Operator's decision. `done` comes once, later: TX_OK with the verdict that stands (maybe not the one asked
 * for), or TX_EUNKNOWN. Refused at once (return value, done is not called): TX_EREFUSED where the ledger
 * already knows the decision or the transaction is still being worked on by its living client, TX_ENOTFOUND,
 * TX_ENOTLEADER. */
typedef void (*driver_done_cb)(void *arg, int rc, enum verdict stands);
int driver_resolve(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id, enum verdict verdict,
                   driver_done_cb done, void *arg, struct tx_error *e);
/* Forgets a heuristic outcome. TX_ENOTFOUND, TX_EREFUSED (no heuristic outcome stands), TX_ENOTLEADER. */
int driver_forget(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id, driver_done_cb done,
                  void *arg, struct tx_error *e);

/* The registry of resources. `declaration` is borrowed for the call; its strings are checked by the caller. */
struct driver_declaration {
    const char *name, *kind, *settings; /* kind: to add only */
};
/* TX_EREFUSED: there is one of this name. */
int driver_add_resource(struct driver *d, uint64_t now, uint64_t wall,
                        const struct driver_declaration *declaration, driver_done_cb done, void *arg,
                        struct tx_error *e);
/* Other settings; what an agent brought is the registry's from then on. TX_ENOTFOUND. */
int driver_alter_resource(struct driver *d, uint64_t now, uint64_t wall,
                          const struct driver_declaration *declaration, driver_done_cb done, void *arg,
                          struct tx_error *e);
/* Agents that serve it as the registry defines it close it. TX_EREFUSED: one serves it by its own
 * configuration, or it has branches that are not finished; TX_ENOTFOUND. */
int driver_remove_resource(struct driver *d, uint64_t now, uint64_t wall, const char *name, driver_done_cb done,
                           void *arg, struct tx_error *e);

/* The group's keys; one change at a time (TX_EBUSY). The entry is borrowed for the call; its strings are
 * checked by the caller. TX_EREFUSED: the key is there, or was revoked, or another key of its name has other
 * roles or another grant; TX_EBUSY: KEY_LIMIT. */
int driver_add_key(struct driver *d, uint64_t now, uint64_t wall, const struct key_entry *entry,
                   driver_done_cb done, void *arg, struct tx_error *e);

struct driver_revocation {
    const uint8_t *key; /* KEY_SIZE bytes */
    const char *name;   /* for a key that the ledger has never heard of; NULL or "": what it is called then is
                           the key as text */
    bool force;
};
/* For good; sessions opened with it expire, and an agent that has it is cut off. TX_EREFUSED: it is revoked;
 * or, but for `force`, it is the last one of an operator, or one that leaves fewer coordinators' keys than
 * members; or fewer than a majority of them, whatever is forced. TX_EBUSY: KEY_LIMIT. */
int driver_revoke_key(struct driver *d, uint64_t now, uint64_t wall, const struct driver_revocation *revocation,
                      driver_done_cb done, void *arg, struct tx_error *e);

/* Asks an agent of the resource (WORK_INQUIRE). `answer` comes once, later: the agent's JSON, or NULL where
 * none came in time. TX_ENOTFOUND: no living agent serves it, and answer is not called. */
typedef void (*driver_answer_cb)(void *arg, const char *json);
struct driver_inquiry {
    const char *resource, *question;
    const char *agent;   /* NULL: the first one */
    unsigned timeout_ms; /* 0: 3 s */
};
int driver_inquire(struct driver *d, uint64_t now, const struct driver_inquiry *q, driver_answer_cb answer,
                   void *arg, struct tx_error *e);

/* A living agent that serves it by its own configuration; NULL: none does. */
const char *driver_local_agent(struct driver *d, uint64_t now, const char *resource);
/* Calls f with the name of each living agent that serves the resource, or tries to. */
void driver_each_agent(struct driver *d, uint64_t now, const char *resource,
                       void (*f)(void *arg, const char *agent), void *arg);

struct driver_counters {
    uint64_t requests, lookups, committed, aborted, entries, records, sessions_opened, sessions_expired,
        recovered, heuristic;
    uint64_t strangers, stranger_group; /* who spoke of transactions of another group, and of which one last */
    size_t in_flight, agents;
};
void driver_count(const struct driver *d, struct driver_counters *out);

#endif
