/* commit: one transaction's way through prepare, decide, resolve, at the leader. Pure.
 *
 * flights feeds it what happened (a vote, a decision that stands, a report) and does what it gives back, a set
 * of enum commit_action. Nothing in it outlives the leader: what must is in the ledger, and a new leader starts
 * again from there with COMMIT_STANDS.
 */
#ifndef ASSENT_COMMIT_H
#define ASSENT_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/words.h"

enum commit_state {
    COMMIT_NEW,
    COMMIT_PREPARING, /* remote branches are asked for their votes */
    COMMIT_DECIDING,  /* a verdict is proposed */
    COMMIT_RESOLVING, /* a decision stands; its branches are being finished */
    COMMIT_ENDING,    /* every branch is finished; the record's end is to be logged */
    COMMIT_OVER,
};

enum commit_event {
    COMMIT_ASKED,    /* commit was asked for, and nothing speaks against it */
    COMMIT_CHOSEN,   /* the verdict needs no votes: an abort, or an operator's decision */
    COMMIT_VOTED,    /* a branch voted yes or read-only */
    COMMIT_REFUSED,  /* a branch voted no */
    COMMIT_OVERDUE,  /* a vote is missing for too long */
    COMMIT_STANDS,   /* a decision stands in the ledger, and its branches are taken over from it */
    COMMIT_PRESUMED, /* none stands and none ever will: abort */
    COMMIT_LOST,     /* how a proposal ended is not known */
    COMMIT_REPORTED, /* a branch is finished, one way or another */
    COMMIT_ENDED,    /* the end is logged */
};

enum { COMMIT_STATES = COMMIT_OVER + 1, COMMIT_EVENTS = COMMIT_ENDED + 1 };

/* What to do after a step, in this order. */
enum commit_action {
    COMMIT_DO_PREPARE = 1,   /* ask the remote branches for their votes */
    COMMIT_DO_PROPOSE = 2,   /* propose the verdict */
    COMMIT_DO_ANSWER = 4,    /* tell those who wait for the decision */
    COMMIT_DO_HAND_OUT = 8,  /* have agents finish branches */
    COMMIT_DO_COMPLETE = 16, /* tell those who wait for completion, if it is there */
    COMMIT_DO_END = 32,      /* have the end logged, lazily */
    COMMIT_DO_DROP = 64,     /* forget the transaction */
};

enum commit_branch_state {
    BRANCH_PREPARING, /* remote: its vote is awaited */
    BRANCH_PREPARED,  /* direct: by its client; remote: voted yes */
    BRANCH_READ_ONLY, /* wrote nothing and is over */
    BRANCH_REFUSED,   /* voted no, and has rolled back */
    BRANCH_FINISHING, /* a decision stands and is to be carried out */
    BRANCH_DONE,      /* carried out, or finished otherwise (heuristic) */
};

struct commit_branch {
    uint16_t number;
    uint8_t kind;  /* enum branch_kind */
    uint8_t state; /* enum commit_branch_state */
    bool has_proof;
    char resource[NAME_LIMIT + 1];
    char proof[PROOF_LIMIT + 1];
};

struct commit {
    enum commit_state state;
    enum verdict verdict; /* asked for, then proposed, then what stands */
    bool agents_finish;   /* agents finish direct branches too */
    size_t n;
    struct commit_branch *branches; /* borrowed from the caller; may be exchanged before COMMIT_STANDS */
    const char *why;                /* the last step's reason: a string constant */
};

/* branches[0..n) are filled in by the caller. */
void commit_init(struct commit *c, enum verdict verdict, bool agents_finish, struct commit_branch *branches,
                 size_t n);
void commit_branch_init(struct commit_branch *b, const struct branch_ref *ref, enum commit_branch_state state);

/* Makes one step and gives its actions. A pair of state and event that the table does not list is a bug and
 * ends the program; what comes from outside goes through the functions below, and they absorb what is late or
 * double. */
unsigned commit_step(struct commit *c, enum commit_event event);
/* Whether the table lists the pair. */
bool commit_allowed(enum commit_state state, enum commit_event event);
/* The table row by row, for tests: false behind the last one. struct commit's `why` is the reason of the row
 * that it came through last. */
struct commit_row {
    enum commit_state state, next;
    enum commit_event event;
    const char *reason;
};
bool commit_row(size_t i, struct commit_row *out);

/* Branch `number` of that resource; NULL where there is none. */
struct commit_branch *commit_find(const struct commit *c, uint16_t number, const char *resource);

/* A vote came in: BRANCH_PREPARED (with proof, may be NULL), BRANCH_READ_ONLY or BRANCH_REFUSED. Gives the
 * actions. A vote on an abort that stands already tells, where it is «no», that the branch is finished. */
unsigned commit_vote(struct commit *c, struct commit_branch *b, enum commit_branch_state vote,
                     const char *proof);
/* A branch is finished. */
unsigned commit_report(struct commit *c, struct commit_branch *b);
/* The client has finished all direct branches. */
unsigned commit_report_direct(struct commit *c);

/* Whether a WAIT_COMPLETED may be answered: a decision stands and all that agents finish is finished. */
bool commit_completed(const struct commit *c);

/* Writes the branches that the proposed verdict is about to `out`, of at least c->n, and gives their number:
 * those that voted read-only or no are over and left out. */
size_t commit_decided_branches(const struct commit *c, struct branch_ref *out);

const char *commit_state_name(enum commit_state s);

#endif
