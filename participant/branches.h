/* branches: the branches that the agent knows, by transaction and number. A plain table; agent.c moves them.
 *
 * Bounded: when it is full the branch that ended longest ago makes room; where none has ended, nothing new gets
 * in, and whoever asked is told to ask later, or asks again by itself.
 */
#ifndef ASSENT_BRANCHES_H
#define ASSENT_BRANCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/words.h"
#include "participant/branch.h"
#include "participant/rm.h"

struct agent;
struct resource;

/* What the application does in it: statements.c's. */
struct branch_statements {
    char owner[NAME_LIMIT + 1]; /* the client whose it is; "": nobody's yet, or everybody's */
    uint32_t number;            /* of the newest statement */
    uint32_t timeout_ms;        /* idle time that the application allows itself */
    bool executing;
    struct reply_to origin; /* who asked for the newest statement */
    uint8_t *reply;         /* to it, encoded; NULL: not kept, it was too large */
    size_t reply_len;
    bool finish_asked; /* `finish` and `finish_origin` hold */
    uint8_t finish;    /* enum wire_finish_op */
    struct reply_to finish_origin;
    bool proving, proved; /* FINISH_PROOF is under way; has been answered TX_OK, with `proof` of struct held */
    struct reply_to proof_origin;
};

struct branch_key {
    struct txid id;
    uint64_t number;
};

struct held {
    UT_hash_handle hh;
    struct branch_key key;
    struct agent *agent;
    struct resource *resource;
    enum branch_state state;
    bool asked;          /* the coordinator knows of it, so it is told of its end */
    bool by_application; /* a direct branch */
    struct rm_work *work;
    uint64_t touched_ms; /* the application's last sign of life */
    uint64_t ended_ms;
    uint64_t retry_ms; /* when RETRY is due; 0: not */
    unsigned backoff_ms;
    char *proof, *text;                   /* owned; may be NULL. text: why it ended so */
    char *stuck;                          /* the reason told last, as it changes */
    struct branch_statements *statements; /* owned; NULL: none ran here */
};

struct branches {
    struct held *table;
    size_t n;
};

void branches_init(struct branches *t);
/* Frees them all; their works must have ended. */
void branches_release(struct branches *t);
struct held *branches_find(const struct branches *t, const struct txid *id, uint16_t number);
/* In state NONE. NULL: full, or out of memory. */
struct held *branches_add(struct branches *t, const struct txid *id, uint16_t number);
void branches_remove(struct branches *t, struct held *h);
/* Replaces an owned text; either may be NULL. */
void branches_set(char **to, const char *text);

#endif
