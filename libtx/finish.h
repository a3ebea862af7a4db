/* finish: how a transaction ends: commit and rollback as one state machine.
 *
 * It never blocks: finish_step() does what can be done now, finish_wants() says what to poll for. txn_commit()
 * is a loop around the two.
 *
 * Used by txn; uses the branches' drivers, session (news) and call (the decision).
 */
#ifndef LIBTX_FINISH_H
#define LIBTX_FINISH_H

#include "libtx/txn.h"

/* The phases of the end, in the order in which a commit passes them. Every phase but the first is entered when
 * all that the one before has begun is over; a phase has one deadline. */
enum finish_phase {
    PHASE_VOTE,      /* direct branches say whether they wrote, and prepare; readers are committed */
    PHASE_SINGLE,    /* one writer: it commits in one phase, no decision is logged */
    PHASE_DECIDE,    /* the coordinator is asked to log the decision */
    PHASE_CARRY_OUT, /* committed: COMMIT PREPARED on the direct branches */
    PHASE_AWAIT,     /* committed: agents finish the rest */
    PHASE_ROLLBACK,  /* rolled back: every branch is told */
    PHASE_HAND_OVER, /* rolled back: a branch that may be prepared cannot be reached; agents are to see to it */
    PHASE_OVER,
};

struct finish {
    struct txn *txn;
    enum finish_phase phase;
    enum txn_return when;
    uint64_t deadline_ms;
    int code; /* what txn_commit() returns */
    struct tx_error error;
    enum verdict verdict;     /* that stands, or is presumed; NONE: not known */
    enum heuristic heuristic; /* the worst that the coordinator told of */
    bool probed;              /* PHASE_SINGLE: what became of the commit has been asked */
    bool asked;               /* a request to decide has left this process */
    bool completed;           /* the coordinator said so */
    bool agents_finish;       /* as last asked */
    bool calling;
    enum wire_wait wait; /* of the open call */
    uint64_t again_ms;   /* PHASE_AWAIT: asks again then; 0: nothing */
    size_t n_prepared, n_committed;
    struct call call;
    struct news news;
};

/* Begins to commit, or to roll back. t->waiter is set. */
void finish_commit(struct finish *f, struct txn *t, enum txn_return when);
void finish_rollback(struct finish *f, struct txn *t);

/* Does what can be done without waiting. True: it is over; f->code and f->error are set, the connections are
 * free, and finish_release() is due. */
bool finish_step(struct finish *f);

/* What finish_step() waits for besides its waiter: descriptors (at most BRANCH_LIMIT) and a time. Gives their
 * number. *calling: answers of coordinator or agents are awaited too. */
size_t finish_wants(struct finish *f, struct pollfd *fds, uint64_t *until_ms, bool *calling);

/* Tells the session what it owes the group, and ends the calls. */
void finish_release(struct finish *f);

#endif
