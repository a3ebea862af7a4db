/* driver_internal: what the leader holds beside the ledger, for driver.c and the files it is made of:
 *
 *   flights   transactions that are being decided or finished   decide   requests about transactions
 *   sessions  who lives, and what clients tell by the way        agents   who they are; work for them
 *   seats     which agents serve which resource                  namesakes   two agents of one name
 *   found     branches that agents saw prepared                  reports  what agents report
 *   asks      what operators wait for                            driver_operator, driver_view   for admin
 *   nodes     where the group's coordinators listen              lookups   questions for outcomes
 *   trust     keys: who is to be believed, told to others        definitions   of resources, for agents
 *
 * Everything is lost with leadership (driver_role) and is told again by clients and agents, or made again from
 * the ledger. Tables are walked in the order in which their items came, so that the same input gives the same
 * output. Out of memory ends the program: another node then leads, and nothing here is missed.
 */
#ifndef ASSENT_DRIVER_INTERNAL_H
#define ASSENT_DRIVER_INTERNAL_H

#include <uthash.h>
#include <utlist.h>

#include "coordinator/commit.h"
#include "coordinator/driver.h"
#include "coordinator/record.h"

/* Bounds, and times in milliseconds that no option sets. */
enum {
    WAITER_LIMIT = 4,         /* requests that wait for one transaction; the newest count */
    LOOKUP_LIMIT = 1024,      /* questions for outcomes that wait for the log */
    ASK_LIMIT = 256,          /* operator's proposals, and inquiries to agents, under way */
    ENTRY_LIMIT = 1 << 17,    /* bytes gathered after which an entry is proposed at once */
    LAZY_MS = 100,            /* ends and acknowledgements wait for an entry to ride on */
    RESEND_MS = 1000,         /* work that nobody reported on is handed out again */
    KEEPALIVE_MS = 1000,      /* a parked PULL is answered without work */
    APPEAR_MS = 3000,         /* by then every living agent has found a new leader */
    INQUIRY_MS = 3000,        /* an agent's answer to an inquiry */
    FOUND_MS = 30000,         /* a found branch that no scan sees any more is forgotten */
    STANDSTILL_MS = 2000,     /* between two ticks: the process was stopped, or its machine slept */
    RETENTION_LOOK_MS = 1000, /* between two looks for sessions whose retention is over */
};

/* An errand for an agent: waits in its resource's queue, is sent, and is queued again by its owner where no
 * report came. Strings in `item` are its owner's. */
struct work {
    struct work *prev, *next;
    struct served *served; /* where it is queued; NULL: it is not */
    bool first_only;       /* for the resource's first agent alone, or for the one that holds the branch: */
    const char *holder;    /* its address, its owner's; NULL: not known */
    const char *agent;     /* for the agent of this name alone, its owner's; NULL: any */
    unsigned tries;        /* times sent */
    uint64_t sent_ms;
    struct wire_work_item item;
};

struct waiter {
    struct reply_to to;
    uint8_t wait; /* enum wire_wait */
};

/* What belongs to a branch of a flight beside struct commit_branch. */
struct errand {
    struct work work;
    char *holder;  /* address of the agent that has its connection; may be NULL */
    char *problem; /* as last reported; may be NULL */
    bool noted;    /* a heuristic outcome is proposed for the log; applied, it finishes the branch */
};

struct flight_key {
    uint64_t session, sequence;
};

/* A transaction that is being decided or finished. */
struct flight {
    struct flight_key key;
    struct txid id;
    struct commit commit;
    size_t capacity; /* of commit.branches and errands */
    struct errand *errands;
    enum origin origin;
    char *reason;        /* of a proposed abort; may be NULL */
    uint64_t started_ms; /* by `now` */
    uint64_t since_ms;   /* when it was asked for; then when its decision was seen to stand */
    uint64_t due_ms;     /* when to look at it again */
    uint64_t ticket;     /* of its last proposal */
    struct lease *lease; /* its session's; NULL: the session is over */
    bool ending_queued;  /* is in driver.ends */
    size_t n_waiters;
    struct waiter waiters[WAITER_LIMIT];
    struct flight *prev, *next;           /* driver.due */
    struct flight *end_prev, *end_next;   /* driver.ends */
    struct flight *mate_prev, *mate_next; /* lease.flights */
    UT_hash_handle hh;
};

/* An open session as this leader hears of it. */
struct lease {
    uint64_t id, nonce;
    uint64_t heard_ms;
    uint32_t timeout_ms;
    struct owner *owner; /* NULL: nobody was asked */
    struct flight *flights;
    struct ranges news; /* acknowledged numbers that are not proposed yet */
    bool in_news;       /* is in driver.news */
    bool expiring, closing, heartbeat_waits, heartbeat_sent;
    uint64_t ticket;           /* of EXPIRE or CLOSE */
    uint64_t heartbeat_ticket; /* where heartbeat_sent: of the entry its news is in */
    struct reply_to closer, heartbeat;
    struct lease *news_prev, *news_next;
    struct lease *beat_prev, *beat_next; /* driver.heartbeats */
    UT_hash_handle hh;
};

/* How many sessions are open, or being opened, by the keys of one name. */
struct owner {
    char name[NAME_LIMIT + 1];
    size_t n;
    UT_hash_handle hh;
};

/* A session whose opening is proposed. */
struct opening {
    uint64_t nonce, ticket;
    uint8_t key[KEY_SIZE]; /* zeros: nobody was asked */
    struct owner *owner;
    struct reply_to to;
    UT_hash_handle hh;
};

/* An agent's seat at a resource. */
struct seat {
    struct agent *agent;
    struct served *served;
    bool up, told;             /* told: still among the agent's resources */
    bool by_registry;          /* served as the registry defines it */
    bool fit;                  /* open there as a resource of the kind that the registry knows it as */
    bool define;               /* the agent is to be given the definition */
    char kind[NAME_LIMIT + 1]; /* as it is open there; "": not open */
    uint64_t definition;       /* the mark of what it was given last */
    uint32_t in_doubt;
    uint64_t oldest_ms;
    uint32_t found, resolved, rate; /* of the recovery under way, see struct wire_resource */
    char error[TEXT_LIMIT + 1];
    struct seat *prev, *next;           /* agent.seats */
    struct seat *mate_prev, *mate_next; /* served.seats, in the order of registration */
};

enum { NAMESAKE_LIMIT = 4 };

/* See namesakes.h. */
struct namesakes {
    uint64_t earlier[NAMESAKE_LIMIT]; /* instances that had the name, the newest first; 0: none */
    uint64_t since_ms;                /* when the present one took it */
    uint64_t heard_ms;                /* when an earlier one was last heard; 0: never */
    bool untold;                      /* heard, and not taken for the log yet */
};

struct agent {
    char name[NAME_LIMIT + 1], address[ADDRESS_LIMIT + 1];
    uint64_t instance, number; /* number: of its newest PULL */
    bool keyed;                /* it was asked for its key: */
    uint8_t key[KEY_SIZE];
    char key_name[NAME_LIMIT + 1]; /* "": not keyed */
    uint64_t keys_version,
        keys_told; /* of the clients' keys: what it says that it has; what it was sent last */
    uint64_t heard_ms;
    bool introduced; /* its resources are known */
    bool parked;     /* a PULL waits for work */
    struct reply_to to;
    uint64_t due_ms; /* when the parked PULL is answered even without work */
    struct seat *seats;
    struct namesakes namesakes;
    UT_hash_handle hh;
};

/* A resource as agents serve it. */
struct served {
    char name[NAME_LIMIT + 1];
    bool adding; /* RECORD_ADD_RESOURCE is under way */
    uint64_t ticket;
    struct seat *seats;
    struct work *first; /* for the first living agent */
    struct work *any;   /* tried before: for whoever comes */
    size_t unfinished;  /* counted for a view */
    UT_hash_handle hh;
};

/* The resource belongs to it: what an agent says of a branch in its own resource must not pass for a branch of
 * that number in another's. */
struct found_key {
    struct txid id;
    uint64_t branch;
    char resource[NAME_LIMIT + 1]; /* all bytes behind it are 0 */
};

/* A transaction of which scans saw branches prepared. */
struct doubt {
    struct txid id;
    struct found *branches;
    UT_hash_handle hh;
};

/* A branch that an agent's scan saw prepared. */
struct found {
    struct found_key key;
    struct doubt *doubt;
    struct found *prev, *next; /* doubt.branches */
    char proof[PROOF_LIMIT + 1];
    uint64_t age_ms, heard_ms; /* age: when it was reported */
    char *problem;
    struct work work; /* where no flight takes care of it */
    UT_hash_handle hh;
};

/* An operator's proposal under way. */
struct ask {
    uint64_t ticket;
    bool changes_keys;
    bool resolve; /* the verdict is looked up when it is applied */
    struct flight_key key;
    enum verdict stands;
    driver_done_cb done;
    void *arg;
    struct ask *prev, *next;
};

/* A question for an outcome, and the entry whose commit lets it be answered. */
struct lookup {
    uint64_t ticket;
    struct txid id;
    struct reply_to to;
    struct lookup *prev, *next;
};

struct inquiry {
    uint64_t number, since_ms;
    char resource[NAME_LIMIT + 1], agent[NAME_LIMIT + 1]; /* agent "": the first */
    unsigned timeout_ms;
    char *question;
    driver_answer_cb answer;
    void *arg;
    struct work work;
    struct inquiry *prev, *next;
};

struct driver {
    uint64_t group;
    struct driver_options options;
    struct driver_ops ops;
    struct ledger *ledger;
    struct driver_counters counters;

    bool leading;
    uint64_t leader_id;
    uint64_t members[NODE_LIMIT];
    size_t n_members;
    const char *nodes[NODE_LIMIT]; /* of the message being made */
    uint8_t node_keys[NODE_KEY_LIMIT * KEY_SIZE];
    size_t n_node_keys;
    uint64_t node_keys_version;       /* of the ledger's keys, when those above were gathered; 0: never */
    bool trust_due;                   /* keys of this node's file may be missing in the ledger */
    uint64_t trust_first, trust_last; /* tickets of those that are proposed; 0: none are */
    uint64_t leading_since, ticked;
    uint64_t now, wall, wall_seen; /* wall: as of `now` == wall_seen */

    struct buf entry; /* being gathered */
    size_t n_records;
    uint64_t ticket;     /* that it will have */
    uint64_t lazy_since; /* since when something lazy waits; 0: nothing does */

    struct flight *flights, *due, *ends;
    struct lease *leases, *news, *heartbeats;
    struct opening *openings;
    struct owner *owners;
    uint64_t retention_looked;
    size_t ended_too_many; /* ended sessions above the bound, while they are looked at */
    struct agent *agents;
    struct served *served;
    bool work_dirty;       /* a queue or a parked PULL is new */
    bool namesakes_untold; /* an agent has some */
    struct found *found;
    struct doubt *doubts;
    struct ask *asks;
    struct lookup *lookups;
    size_t n_lookups;
    struct inquiry *inquiries;
    uint64_t inquiry_number;

    struct record_reader reader;
    struct branch_ref branches[BRANCH_LIMIT];
    struct wire_work_item items[REPORT_LIMIT];
    struct wire_definition definitions[RESOURCE_LIMIT];
    struct wire_client_key clients[KEY_LIMIT];
};

/* driver.c: what all of them use */

/* The transaction is of this group. Else it is noted that somebody thinks so. */
bool driver_ours(struct driver *d, const struct txid *id);

/* Zeroed memory; never NULL. */
void *driver_alloc(size_t n, size_t size);
/* Adds a record to the entry being gathered; gives its ticket. Fills in at_ms. */
uint64_t driver_log(struct driver *d, struct record *r);
/* The entry being gathered is proposed, with records or without; gives its ticket. */
uint64_t driver_barrier(struct driver *d);
/* Something waits that need not hurry. */
void driver_lazily(struct driver *d);
/* Wall clock at d->now. */
uint64_t driver_wall(const struct driver *d);
void driver_reply(struct driver *d, const struct reply_to *to, const struct wire_message *m);
void driver_reply_error(struct driver *d, const struct reply_to *to, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* What it asked for was proposed, and nobody knows whether it is in the log: it is to ask again. */
void driver_reply_unknown(struct driver *d, const struct reply_to *to);

#endif
