/* ledger_table: where the ledger keeps its sessions, decisions, resources, nodes and keys. Finds, adds,
 * removes; knows no rule of the protocol but the two that say what may go. Internal to the ledger's own files.
 *
 * Every table is walked in the order in which its items were added. That order follows from the records alone,
 * not from hashes or addresses, and a snapshot keeps it; so it is the same on every node.
 */
#ifndef ASSENT_LEDGER_TABLE_H
#define ASSENT_LEDGER_TABLE_H

/* uthash then leaves hh.tbl NULL where memory ran out, instead of calling exit(). */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "coordinator/ledger.h"
#include "libtx/shared/ranges.h"

struct decision_entry;

struct session_entry {
    struct session s; /* s.name and s.acknowledged point into this entry */
    struct ranges acknowledged;
    /* The session itself is gone; this stands in for it as the home of a record that an operator or an agent
     * made afterwards. Its nonce is no longer known (s.nonce is 0): any is taken for right. CLOSED, retention
     * over; goes with its last record. */
    bool gone;
    struct decision_entry *decisions; /* its records, in the order in which they were added */
    UT_hash_handle hh, hh_nonce;      /* by s.id; by s.nonce while open */
    char name[];
};

struct decision_entry {
    struct decision d; /* its strings and d.branches are in this one allocation */
    struct session_entry *session;
    /* Made by RECORD_HEURISTIC when the outcome was no longer known: an ABORT for branches, but no answer to
     * who asks for the outcome. */
    bool presumed;
    struct decision_entry *prev, *next;
    UT_hash_handle hh; /* by d.id.session, d.id.sequence */
    struct decision_branch branches[];
};

struct resource_entry {
    struct ledger_resource r;
    char name[NAME_LIMIT + 1], kind[NAME_LIMIT + 1], settings[SETTINGS_LIMIT + 1];
    UT_hash_handle hh;
};

struct node_entry {
    struct ledger_node n;
    char address[ADDRESS_LIMIT + 1];
    UT_hash_handle hh; /* by n.id */
};

struct known_key {
    struct ledger_key k; /* its strings are in this one allocation */
    UT_hash_handle hh;   /* by k.key */
    char text[];
};

struct ledger {
    uint64_t group, next_session;
    struct session_entry *sessions, *open_by_nonce;
    struct decision_entry *decisions;
    struct resource_entry *resources;
    struct node_entry *nodes;
    struct known_key *keys;
    uint64_t keys_version;
    size_t n_heuristic;  /* decisions with a heuristic outcome */
    struct ranges lost;  /* sessions whose decisions may be missing: they lived on after the backup */
    struct buf incoming; /* of a restore that is not complete */
};

/* Empties the tables; group and next_session stay. */
void ledger_clear(struct ledger *l);

struct session_entry *ledger_find_session(const struct ledger *l, uint64_t id);
struct session_entry *ledger_find_open(const struct ledger *l, uint64_t nonce);
/* Adds a copy of *s with nothing acknowledged. The id, and if open the nonce, are new. NULL: out of memory,
 * nothing changed. */
struct session_entry *ledger_add_session(struct ledger *l, const struct session *s, bool gone);
/* Takes an open session to `state`. */
void ledger_end_session(struct ledger *l, struct session_entry *s, enum session_state state, uint64_t ended_ms);
/* Removes it with its records. */
void ledger_remove_session(struct ledger *l, struct session_entry *s);

struct decision_entry *ledger_find_decision(const struct ledger *l, uint64_t session, uint64_t sequence);
/* Adds a copy of *d, with its branches and strings, to session s. Whose it is, whether acknowledged and the
 * worst heuristic outcome are worked out here. The sequence number has no record yet. NULL: out of memory,
 * nothing changed. */
struct decision_entry *ledger_add_decision(struct ledger *l, struct session_entry *s, const struct decision *d,
                                           bool presumed);
/* Puts a copy of *d, which may borrow from e, in the place of e; it becomes the last in order. NULL: out of
 * memory; e may be lost. */
struct decision_entry *ledger_replace_decision(struct ledger *l, struct decision_entry *e,
                                               const struct decision *d);
/* Takes the heuristic outcomes off its branches. */
void ledger_clear_heuristic(struct ledger *l, struct decision_entry *e);
void ledger_remove_decision(struct ledger *l, struct decision_entry *e);

struct resource_entry *ledger_find_resource(const struct ledger *l, const char *name);
/* Adds it, or replaces the kind of the one that is there. NULL: out of memory, nothing changed. */
struct resource_entry *ledger_put_resource(struct ledger *l, const struct ledger_resource *r);
void ledger_remove_resource(struct ledger *l, struct resource_entry *r);

struct node_entry *ledger_find_node(const struct ledger *l, uint64_t id);
/* Adds it, or replaces the address of the one that is there. NULL: out of memory, nothing changed. */
struct node_entry *ledger_put_node(struct ledger *l, const struct ledger_node *n);
void ledger_remove_node(struct ledger *l, struct node_entry *n);

struct known_key *ledger_find_key(const struct ledger *l, const uint8_t key[KEY_SIZE]);
/* Adds a copy of it; it is not there. NULL: out of memory, nothing changed. */
struct known_key *ledger_put_key(struct ledger *l, const struct ledger_key *k);
void ledger_remove_key(struct ledger *l, struct known_key *e);
/* Applies RECORD_ADD_KEY. Known already, revoked or not; or its name is another's; or there are KEY_LIMIT:
 * nothing. */
int ledger_add_key(struct ledger *l, uint64_t index, const struct record *r);
/* Applies RECORD_REVOKE_KEY to the keys. Revoked already, or never heard of and there are KEY_LIMIT: nothing.
 */
int ledger_revoke_key(struct ledger *l, uint64_t index, const struct record *r);

bool ledger_never_opened(const struct ledger *l, uint64_t session);
/* The session, but NULL where its outcomes are no longer known: gone, or its retention time is over. */
struct session_entry *ledger_known_session(const struct ledger *l, uint64_t id);
/* Its decisions may have been lost with the log behind a backup. What was acknowledged before is not. */
bool ledger_is_lost(const struct ledger *l, uint64_t session, uint64_t sequence);

/* What is in a snapshot takes this ledger's place, as the ledger of a group that lost what came later. */
int ledger_adopt(struct ledger *l, const void *data, size_t len, uint64_t at_ms);

/* Protocol.md, «When a record may go». */
bool ledger_decision_may_go(const struct decision_entry *e);
bool ledger_session_may_go(const struct session_entry *s);

#endif
