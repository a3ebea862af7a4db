/* txn_branch: one branch of a transaction as its client sees it, and what every driver (pg, remote) does with
 * it.
 *
 * A driver performs one operation on a branch at a time, without blocking, and answers. What an answer makes of
 * the branch is the table in txn_branch.c: pure, and the only place where a branch changes its state.
 */
#ifndef LIBTX_TXN_BRANCH_H
#define LIBTX_TXN_BRANCH_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "libtx/libtx.h"
#include "libtx/shared/words.h"

struct txn;
struct txn_branch;

enum branch_state {
    BRANCH_ACTIVE,      /* the application works in it. Its connection's end rolls it back */
    BRANCH_WRITER,      /* as ACTIVE; has written, so it has to be prepared or committed in one phase */
    BRANCH_PREPARED,    /* voted yes: obeys nothing but the verdict, outlives connection and server */
    BRANCH_UNKNOWN,     /* connection lost while it prepared: is prepared, will be, or is rolled back */
    BRANCH_REFUSED,     /* voted no: rolled back, or its block failed and waits for ROLLBACK */
    BRANCH_READ_ONLY,   /* wrote nothing; committed and over, whatever becomes of the others */
    BRANCH_COMMITTED,   /* over */
    BRANCH_ROLLED_BACK, /* over */
    BRANCH_LEFT,        /* prepared, and could not be finished here: its agents do it */
    BRANCH_IN_DOUBT,    /* committed in one phase, and the answer was lost */
};

enum branch_op {
    OP_NONE,
    OP_ASK,              /* has it written? Brings the proof */
    OP_COMMIT_READ_ONLY, /* it has not */
    OP_PREPARE,
    OP_COMMIT, /* in one phase */
    OP_STATUS, /* what became of OP_COMMIT, asked on a new connection until the deadline */
    OP_ROLLBACK,
    OP_COMMIT_PREPARED,
    OP_ROLLBACK_PREPARED,
};

enum branch_answer {
    ANSWER_YES,       /* done. ASK: it has written. STATUS: it is committed */
    ANSWER_READ_ONLY, /* ASK: it has written nothing */
    ANSWER_NO,        /* refused, see cause. STATUS, COMMIT: it is rolled back */
    ANSWER_BUSY,      /* *_PREPARED: another session holds it; try again soon */
    ANSWER_LOST,      /* connection or answer lost: done or not. STATUS: cannot be told */
};

struct branch_driver {
    /* Whether the branch can be prepared or committed at all; false: b->cause says why not. Sends nothing. */
    bool (*ready)(struct txn_branch *b);
    /* Begins an operation that must be over by deadline_ms. Whatever goes wrong is an answer. */
    void (*start)(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms);
    /* Goes on with it. True: it is over, b->answer is set, and b->cause where that is NO, BUSY or LOST. */
    bool (*step)(struct txn_branch *b);
    /* What step() waits for: fills in at most one descriptor, and lowers *until_ms. Gives the number. */
    size_t (*wants)(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms);
    /* The deadline is over: ends the operation with an answer (mostly LOST) at once. */
    void (*abandon)(struct txn_branch *b);
    void (*release)(struct txn_branch *b);
    /* The session that prepared a branch must finish it itself, or end. NULL: anybody can finish it. Else: the
     * end is over, and the prepared branch is left to its agents: ends the session. */
    void (*leave)(struct txn_branch *b);
};

struct txn_branch {
    struct txn *txn;
    uint16_t number;
    uint8_t kind; /* enum branch_kind */
    char resource[NAME_LIMIT + 1];
    enum branch_state state;
    enum branch_op op; /* in progress */
    enum branch_answer answer;
    bool wrote;            /* after ASK and PREPARE: it has written */
    bool poisoned;         /* can only be rolled back; cause says why */
    bool untold;           /* remote, and its agent has not been told to roll it back */
    struct tx_error cause; /* code 0: none */
    char proof[PROOF_LIMIT + 1];
    const char *agent;       /* remote: the address of the agent that has its connection; NULL: none yet */
    enum branch_op again_op; /* after ANSWER_BUSY: to be tried again … */
    uint64_t again_ms;       /* … then; 0: nothing */
    uint64_t busy_ms;        /* since when it is busy; 0: it is not */
    const struct branch_driver *driver;
    void *link; /* the driver's */
};

/* What an answer to an operation makes of a branch. A pair that no driver may produce is an assert. */
enum branch_state branch_next(enum branch_op op, enum branch_answer answer);

const char *branch_op_name(enum branch_op op);

#endif
