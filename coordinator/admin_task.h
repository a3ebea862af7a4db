/* admin_task: one question of an operator while it is being answered. Shared by admin.c and the files of its
 * verbs (admin_*.c); nobody else uses it.
 *
 * A verb adds to the answer; where it has to wait for the log or for agents it holds the task, and releases it
 * when the last of that is there, which sends the answer.
 */
#ifndef ASSENT_ADMIN_TASK_H
#define ASSENT_ADMIN_TASK_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "coordinator/admin.h"
#include "coordinator/audit.h"

/* An answer has room for MESSAGE_LIMIT / 2 bytes; this much of it for a list, or for what agents tell. */
enum { ADMIN_LIST_BYTES = MESSAGE_LIMIT / 2 - 32768 };

struct admin_awaited;
struct admin_task;

/* TX_OK, or the error that is the answer. */
typedef int (*admin_run)(struct admin_task *t, struct tx_error *e);

struct admin_verb {
    const char *name;
    admin_run run;
    bool by_leader;  /* only the leader can answer */
    unsigned roles;  /* of which the asker needs one; without the observer's it is an act, and audited */
    const char *act; /* in words: «may not …» */
    const char
        *subject; /* of an act: the question's field that names what it is done to; NULL: there is none */
};

/* Who asks, as it was then: an answer may come when his key is revoked. */
struct admin_asker {
    bool known; /* else nobody is asked who he is (insecure) */
    uint8_t key[KEY_SIZE];
    char name[NAME_LIMIT + 1];
};

struct admin_task {
    struct admin *admin;
    const struct admin_options *with; /* the parts that are read and driven */
    const struct admin_verb *verb;
    struct admin_asker asker;
    cJSON *noted; /* for the audit: "what", and what else the verb has noted */
    bool quiet;   /* goes on with an act whose beginning was audited */
    struct reply_to from;
    uint64_t now, wall;
    const cJSON *question; /* while the verb runs; NULL later */
    cJSON *answer;         /* an object, with "ok" in it */
    struct tx_error error; /* code other than TX_OK: the answer is this error */
    unsigned holds;
    void (*finish)(struct admin_task *t); /* just before the answer goes; may be NULL */
    struct admin_awaited *awaited;        /* of agents */
    size_t inquired_bytes;                /* that agents have told */
    struct admin_task *prev, *next;
};

/* A backup that is being fetched; belongs to admin. */
struct admin_backup {
    struct buf file;
    uint64_t number, index;
};

struct admin_backup *admin_task_backup(const struct admin_task *t);

void admin_task_hold(struct admin_task *t);
/* The last one sends the answer and frees the task. */
void admin_task_release(struct admin_task *t);

/* A string of the question; TX_EINVAL where it is missing or no string. Borrowed while the verb runs. */
int admin_task_string(const struct admin_task *t, const char *name, const char **out, struct tx_error *e);
/* A number of the question that is not negative; `missing` where it isn't there. */
uint64_t admin_task_number(const struct admin_task *t, const char *name, uint64_t missing);
/* A transaction's id under "id"; TX_EINVAL. */
int admin_task_id(const struct admin_task *t, struct txid *id, struct tx_error *e);

/* A list in an answer, or a page of one. Items are printed as they come, so that the answer's size is known and
 * bounded. Question: {limit, after}; `after` is the "next" of the page before. Answer: the items, "truncated",
 * "next" where it is, and on the first page "total", what would have been taken without a bound. */
struct admin_list {
    struct buf text;
    uint64_t limit, taken, total;
    bool first;                /* the first page, for which everything is counted */
    char next[TXID_TEXT_SIZE]; /* key of the last item taken */
};

void admin_list_init(struct admin_list *list, const struct admin_task *t);
/* The list takes no more items, and admin_list_add() only counts. */
bool admin_list_full(const struct admin_list *list);
/* Takes the item (which may be NULL: out of memory, or the list is full) with its key, in the order of keys.
 * False: no more are wanted, nor to be counted. */
bool admin_list_add(struct admin_list *list, cJSON *item, const char *key);
/* Puts the list into the answer under `name`, and releases it. TX_ENOMEM. */
int admin_list_end(struct admin_list *list, cJSON *answer, const char *name, struct tx_error *e);

/* Adds a string, or null. */
void admin_add_text(cJSON *object, const char *name, const char *text);
void admin_add_number(cJSON *object, const char *name, uint64_t v);

/* Asks an agent of the resource. Its answer, an object, is added to `into` (which lives as long as the task)
 * under `name`; where none comes, the reason under "unanswered". Holds the task meanwhile. The question is
 * taken in any case. TX_ENOMEM. */
struct admin_inquiry {
    const char *resource, *name;
    const char *agent;   /* NULL: the first one of the resource */
    unsigned timeout_ms; /* 0: 3 s */
    cJSON *question, *into;
};
int admin_inquire(struct admin_task *t, const struct admin_inquiry *q, struct tx_error *e);

/* The verbs, by file */

int admin_status(struct admin_task *t, struct tx_error *e);
const char *admin_session_state(enum session_state s);
int admin_sessions(struct admin_task *t, struct tx_error *e);
/* A recovery's figures under "recovery", or null where none is under way. */
struct admin_recovery {
    uint64_t found, resolved, rate;
};
void admin_add_recovery(cJSON *to, const struct admin_recovery *r);

int admin_transactions(struct admin_task *t, struct tx_error *e);
int admin_show(struct admin_task *t, struct tx_error *e);

int admin_resolve(struct admin_task *t, struct tx_error *e);
int admin_forget(struct admin_task *t, struct tx_error *e);
/* What an act's answer says first: the verb, and what it is done to. TX_ENOMEM. */
int admin_act_note(struct admin_task *t, const char *verb, const char *name, const char *value,
                   struct tx_error *e);
/* Holds the task where driver has begun the act; returns rc. */
int admin_act_begin(struct admin_task *t, int rc);
/* Notes how it ended, and releases the task. */
void admin_act_end(struct admin_task *t, int rc);
/* Has the audit's lines on this act say so; what is secret is not for them. */
void admin_act_tell(struct admin_task *t, const char *name, const char *value);
/* Writes a line on it. */
void admin_act_audit(const struct admin_task *t, enum audit_outcome outcome);

int admin_resources(struct admin_task *t, struct tx_error *e);
int admin_add_resource(struct admin_task *t, struct tx_error *e);
int admin_alter_resource(struct admin_task *t, struct tx_error *e);
int admin_remove_resource(struct admin_task *t, struct tx_error *e);
int admin_test_resource(struct admin_task *t, struct tx_error *e);

int admin_keys(struct admin_task *t, struct tx_error *e);
int admin_key_add(struct admin_task *t, struct tx_error *e);
int admin_key_revoke(struct admin_task *t, struct tx_error *e);

int admin_doctor(struct admin_task *t, struct tx_error *e);
int admin_backup(struct admin_task *t, struct tx_error *e);
int admin_nodes(struct admin_task *t, struct tx_error *e);
int admin_node_init(struct admin_task *t, struct tx_error *e);
int admin_node_add(struct admin_task *t, struct tx_error *e);
int admin_node_remove(struct admin_task *t, struct tx_error *e);
int admin_node_transfer(struct admin_task *t, struct tx_error *e);

/* Adds the members to the answer, and what is to be mended about them. */
void admin_add_nodes(struct admin_task *t);
/* What is to be mended about the group as a whole; NULL: nothing. */
/* Why this node takes no part in any group, and what to do; NULL: it does. */
const char *admin_outside(const struct replog *r, const char **remedy);
const char *admin_group_warning(const struct group *g);

#endif
