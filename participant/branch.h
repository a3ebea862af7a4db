/* branch: one branch at its agent, from the first statement, or from the first word of the coordinator, to its
 * end. Pure: events in, actions out; work.c does what they say.
 *
 *                 statement          prepare                 commit
 *      NONE ───────────────▶ ACTIVE ─────────▶ PREPARING ──▶ PREPARED ──▶ COMMITTING ──▶ COMMITTED
 *       │ │ prepare            │ │                │ lost        │  ▲           HEURISTIC_ROLLBACK, HAZARD
 *       │ └──────▶ LOOKING ◀───┼─┼────────────────┘             │  └── found again by the scan
 *       │ commit     │         │ └─▶ ONE_PHASE ─▶ COMMITTED     │ rollback
 *       └─▶ COMMITTING         ▼                                ▼
 *         (rollback likewise) LEAVING ─▶ ROLLED_BACK ◀── ROLLING_BACK ─▶ HEURISTIC_COMMIT
 *
 * A statement that comes twice, with a restart of the agent in between, makes an ACTIVE branch of one that was
 * prepared, or committed, before: a double. What becomes of it must never be taken for what becomes of the
 * branch: see the rows of DOUBLE, and what abandoning answers in others.
 *
 * What the coordinator tells may come twice, late, or after a restart of the agent that forgot everything; each
 * such case is a row of the table. A result that is not known leaves the branch where it is, to be retried.
 */
#ifndef ASSENT_BRANCH_H
#define ASSENT_BRANCH_H

#include <stdbool.h>
#include <stddef.h>

#define BRANCH_STATE_LIST(X)                                                             \
    X(NONE)              /* nothing is known of it */                                    \
    X(ACTIVE)            /* statements run on its connection */                          \
    X(LEAVING)           /* its connection is rolling back */                            \
    X(DOUBLE)            /* so is a double's; the branch itself was found prepared */    \
    X(ONE_PHASE)         /* commit in one phase is under way */                          \
    X(ONE_PHASE_UNKNOWN) /* and what became of it is not known; the proof tells */       \
    X(PREPARING)         /* prepare is under way */                                      \
    X(LOOKING)           /* not known whether it is prepared; the resource is asked */   \
    X(PREPARED)          /* voted yes, or found prepared */                              \
    X(ROLLBACK_PENDING)  /* to be rolled back as soon as prepare or look has answered */ \
    X(COMMIT_PENDING)    /* to be committed as soon as look, or leaving, has answered */ \
    X(COMMITTING)        /* prepared work is being committed, until it is done */        \
    X(ROLLING_BACK)      /* prepared work is being rolled back, until it is done */      \
    X(READ_ONLY)         /* voted so: committed and forgotten in phase one */            \
    X(REFUSED)           /* voted no: rolled back */                                     \
    X(COMMITTED)                                                                         \
    X(ROLLED_BACK)                                                                       \
    X(HEURISTIC_COMMIT)                                                                  \
    X(HEURISTIC_ROLLBACK)                                                                \
    X(HAZARD)

enum branch_state {
#define BRANCH_STATE_ENUM(name) AT_##name,
    BRANCH_STATE_LIST(BRANCH_STATE_ENUM)
#undef BRANCH_STATE_ENUM
        AT_COUNT
};

/* X(name, from): W from the coordinator, A from the application, I from inside. */
#define BRANCH_EVENT_LIST(X)                                                       \
    X(WORK_PREPARE, W)                                                             \
    X(WORK_COMMIT, W)                                                              \
    X(WORK_ROLLBACK, W)                                                            \
    X(STATEMENT, A)                                                                \
    X(FINISH_ROLLBACK, A)                                                          \
    X(FINISH_ONE_PHASE, A)                                                         \
    X(TIMEOUT, I)    /* no statement for too long */                               \
    X(INCOMPLETE, I) /* to be prepared or committed, but statements are missing */ \
    X(LOST, I)       /* the connection broke outside prepare and commit */         \
    X(RETRY, I)      /* the time that RETRY asked for is over */                   \
    X(FOUND, I)      /* the scan saw it prepared, later than it ended */           \
    X(DONE, I)       /* the resource's answers: see enum rm_outcome */             \
    X(ANSWERED_READ_ONLY, I)                                                       \
    X(ANSWERED_REFUSED, I)                                                         \
    X(ANSWERED_NOT_FOUND, I)                                                       \
    X(ANSWERED_HEURISTIC_COMMIT, I)                                                \
    X(ANSWERED_HEURISTIC_ROLLBACK, I)                                              \
    X(ANSWERED_HAZARD, I)                                                          \
    X(UNKNOWN, I)                                                                  \
    X(FAILED, I)

enum branch_event {
#define BRANCH_EVENT_ENUM(name, from) ON_##name,
    BRANCH_EVENT_LIST(BRANCH_EVENT_ENUM)
#undef BRANCH_EVENT_ENUM
        ON_COUNT
};

/* What is to be done, or-ed together. At most one of the first group. */
enum branch_action {
    DO_EXEC = 1 << 0,      /* execute the statement */
    DO_PREPARE = 1 << 1,   /* on its own connection */
    DO_ONE_PHASE = 1 << 2, /* on its own connection */
    DO_ABANDON = 1 << 3,   /* roll its own connection back */
    DO_LOOK = 1 << 4,      /* ask the resource whether the gid is prepared */
    DO_COMMIT = 1 << 5,    /* the gid, on any connection */
    DO_ROLLBACK = 1 << 6,  /* the gid, on any connection */

    DO_REPORT = 1 << 7,        /* tell the coordinator the state: branch_report() */
    DO_REPORT_NO = 1 << 8,     /* tell the coordinator REFUSED, whatever the state */
    DO_REPORT_FOUND = 1 << 9,  /* ask the coordinator what is to become of it */
    DO_REPORT_STUCK = 1 << 10, /* tell the coordinator why it cannot be finished */
    DO_RETRY_LATER = 1 << 11,  /* RETRY after a pause that grows */
    DO_ANSWER = 1 << 12,       /* tell the application: branch_answer() */
};

/* A row of the table: in this state, on this event. */
struct branch_rule {
    enum branch_state state;
    enum branch_event event;
    enum branch_state next;
    unsigned actions;
    const char *reason;
};

/* What the event means in this state, or NULL: from the wire a protocol error, from inside our own. */
const struct branch_rule *branch_on(enum branch_state state, enum branch_event event);

/* All of them, for tests. */
const struct branch_rule *branch_rules(size_t *n);

/* The report that tells this state, as an enum report_kind; 0: it is not one to tell. */
int branch_report(enum branch_state state);
/* What the application is told, as an enum tx_err. */
int branch_answer(enum branch_state state);

/* Over: nothing is under way and nothing more will happen by itself. */
bool branch_is_final(enum branch_state state);

/* Whether the event comes from the wire, so that it may be nonsense. */
bool branch_event_is_foreign(enum branch_event event);

const char *branch_state_name(enum branch_state state);
const char *branch_event_name(enum branch_event event);

#endif
