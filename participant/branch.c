/* branch: see branch.h. The table is the whole behaviour; the rest of the file looks things up. */
#include "participant/branch.h"

#include "libtx/shared/wire.h"

/* The table's words, short. */
#define ROW(state, event, next, actions, reason)               \
    {                                                          \
        AT_##state, ON_##event, AT_##next, (actions), (reason) \
    }
#define EXEC DO_EXEC
#define PREPARE DO_PREPARE
#define ONE_PHASE_COMMIT DO_ONE_PHASE
#define ABANDON DO_ABANDON
#define LOOK DO_LOOK
#define COMMIT DO_COMMIT
#define ROLLBACK DO_ROLLBACK
#define REPORT DO_REPORT
#define REPORT_NO DO_REPORT_NO
#define ASK DO_REPORT_FOUND
#define STUCK DO_REPORT_STUCK
#define LATER DO_RETRY_LATER
#define ANSWER DO_ANSWER

static const struct branch_rule branch_table[] = {
    ROW(NONE, STATEMENT, ACTIVE, EXEC, "its first statement begins it"),
    ROW(NONE, WORK_PREPARE, LOOKING, LOOK,
        "worked in before a restart, or rolled back: maybe prepared all the same"),
    ROW(NONE, WORK_COMMIT, COMMITTING, COMMIT, "a direct branch, or prepared before a restart"),
    ROW(NONE, WORK_ROLLBACK, ROLLING_BACK, ROLLBACK, "a direct branch, or prepared before a restart"),
    ROW(NONE, FINISH_ROLLBACK, ROLLED_BACK, ANSWER, "no work is left of it"),

    ROW(ACTIVE, STATEMENT, ACTIVE, EXEC, "the next statement"),
    ROW(ACTIVE, WORK_PREPARE, PREPARING, PREPARE, "phase one"),
    ROW(ACTIVE, WORK_COMMIT, COMMIT_PENDING, ABANDON, "its vote came before a restart: this is a double"),
    ROW(ACTIVE, WORK_ROLLBACK, LEAVING, ABANDON, "the transaction is aborted"),
    ROW(ACTIVE, FINISH_ROLLBACK, LEAVING, ABANDON, "the application rolls back"),
    ROW(ACTIVE, FINISH_ONE_PHASE, ONE_PHASE, ONE_PHASE_COMMIT, "the only branch of its transaction"),
    ROW(ACTIVE, TIMEOUT, LEAVING, ABANDON, "the application is taken for gone"),
    ROW(ACTIVE, INCOMPLETE, LEAVING, ABANDON | REPORT_NO, "a double of its first statement began it anew"),
    ROW(ACTIVE, LOST, ROLLED_BACK, 0, "the server rolls back what was not prepared"),
    ROW(ACTIVE, FOUND, DOUBLE, ABANDON, "prepared before a restart: this is a double"),

    ROW(DOUBLE, DONE, PREPARED, ASK, "the double is gone; the branch is in doubt"),
    ROW(DOUBLE, UNKNOWN, PREPARED, ASK, "the double is gone; the branch is in doubt"),
    ROW(DOUBLE, ANSWERED_HEURISTIC_COMMIT, PREPARED, ASK, "finished meanwhile; the coordinator knows"),
    ROW(DOUBLE, WORK_PREPARE, DOUBLE, 0, "votes when it is asked again"),
    ROW(DOUBLE, WORK_COMMIT, COMMIT_PENDING, 0, "as soon as the double is gone"),
    ROW(DOUBLE, WORK_ROLLBACK, ROLLBACK_PENDING, 0, "as soon as the double is gone"),
    ROW(DOUBLE, FOUND, DOUBLE, 0, "it is known"),

    ROW(LEAVING, DONE, ROLLED_BACK, REPORT | ANSWER, "rolled back"),
    ROW(LEAVING, UNKNOWN, PREPARED, ASK | ANSWER, "it was a double; the branch itself is prepared"),
    ROW(LEAVING, ANSWERED_HEURISTIC_COMMIT, HEURISTIC_COMMIT, REPORT | ANSWER,
        "it was a double of one that is committed, or somebody committed it"),
    ROW(LEAVING, WORK_COMMIT, COMMIT_PENDING, 0, "its vote came before a restart: this is a double"),
    ROW(LEAVING, STATEMENT, LEAVING, ANSWER, "too late"),
    ROW(LEAVING, WORK_PREPARE, LEAVING, REPORT_NO, "it can no longer be prepared"),
    ROW(LEAVING, WORK_ROLLBACK, LEAVING, 0, "under way"),
    ROW(LEAVING, FINISH_ROLLBACK, LEAVING, 0, "under way; answered at its end"),
    ROW(LEAVING, FINISH_ONE_PHASE, LEAVING, 0, "answered at its end: rolled back"),

    ROW(ONE_PHASE, DONE, COMMITTED, ANSWER, "committed"),
    ROW(ONE_PHASE, ANSWERED_REFUSED, ROLLED_BACK, ANSWER, "the resource rolled it back"),
    ROW(ONE_PHASE, UNKNOWN, ONE_PHASE_UNKNOWN, ANSWER, "the connection broke; the proof will tell"),
    ROW(ONE_PHASE, FINISH_ONE_PHASE, ONE_PHASE, 0, "a double; answered at its end"),
    ROW(ONE_PHASE_UNKNOWN, FINISH_ONE_PHASE, ONE_PHASE_UNKNOWN, ANSWER, "still not known; the proof will tell"),

    ROW(PREPARING, DONE, PREPARED, REPORT, "votes yes"),
    ROW(PREPARING, ANSWERED_READ_ONLY, READ_ONLY, REPORT, "votes read-only"),
    ROW(PREPARING, ANSWERED_REFUSED, REFUSED, REPORT, "votes no"),
    ROW(PREPARING, UNKNOWN, LOOKING, LOOK, "the connection broke: it may be prepared"),
    ROW(PREPARING, WORK_PREPARE, PREPARING, 0, "a double; its vote is under way"),
    ROW(PREPARING, WORK_ROLLBACK, ROLLBACK_PENDING, 0,
        "aborted without this vote; first see what prepare does"),
    ROW(PREPARING, FOUND, PREPARING, 0, "its vote is under way"),

    ROW(LOOKING, DONE, PREPARED, REPORT, "is prepared: votes yes"),
    ROW(LOOKING, ANSWERED_NOT_FOUND, REFUSED, REPORT, "is not, and cannot become so: votes no"),
    ROW(LOOKING, UNKNOWN, LOOKING, LATER, "no vote before it is known"),
    ROW(LOOKING, RETRY, LOOKING, LOOK, "looks again"),
    ROW(LOOKING, WORK_PREPARE, LOOKING, 0, "a double; its vote is under way"),
    ROW(LOOKING, WORK_ROLLBACK, ROLLBACK_PENDING, 0, "aborted without this vote"),
    ROW(LOOKING, WORK_COMMIT, COMMIT_PENDING, 0, "its vote was counted before a restart"),
    ROW(LOOKING, FOUND, LOOKING, 0, "its vote is under way"),

    ROW(PREPARED, WORK_PREPARE, PREPARED, REPORT, "a double: votes again"),
    ROW(PREPARED, WORK_COMMIT, COMMITTING, COMMIT, "phase two"),
    ROW(PREPARED, WORK_ROLLBACK, ROLLING_BACK, ROLLBACK, "phase two"),
    ROW(PREPARED, FOUND, PREPARED, ASK, "in doubt for a while: asks"),

    ROW(ROLLBACK_PENDING, DONE, ROLLING_BACK, ROLLBACK, "is prepared"),
    ROW(ROLLBACK_PENDING, ANSWERED_READ_ONLY, ROLLED_BACK, REPORT, "it wrote nothing"),
    ROW(ROLLBACK_PENDING, ANSWERED_REFUSED, ROLLED_BACK, REPORT, "rolled back already"),
    ROW(ROLLBACK_PENDING, ANSWERED_NOT_FOUND, ROLLED_BACK, REPORT, "rolled back already"),
    ROW(ROLLBACK_PENDING, ANSWERED_HEURISTIC_COMMIT, HEURISTIC_COMMIT, REPORT, "somebody committed it"),
    ROW(ROLLBACK_PENDING, UNKNOWN, ROLLING_BACK, ROLLBACK, "may be prepared; a later scan sees what turns up"),
    ROW(ROLLBACK_PENDING, RETRY, ROLLING_BACK, ROLLBACK, "may be prepared; a later scan sees what turns up"),
    ROW(ROLLBACK_PENDING, WORK_PREPARE, ROLLBACK_PENDING, 0, "a late double; it is aborted"),
    ROW(ROLLBACK_PENDING, WORK_ROLLBACK, ROLLBACK_PENDING, 0, "a double"),
    ROW(ROLLBACK_PENDING, FOUND, ROLLBACK_PENDING, 0, "about to be rolled back"),

    ROW(COMMIT_PENDING, DONE, COMMITTING, COMMIT, "is prepared, or what a double began is gone"),
    ROW(COMMIT_PENDING, ANSWERED_NOT_FOUND, COMMITTING, COMMIT,
        "committing tells by the proof what became of it"),
    ROW(COMMIT_PENDING, ANSWERED_HEURISTIC_COMMIT, COMMITTING, COMMIT,
        "a double was in the way; it is committed"),
    ROW(COMMIT_PENDING, UNKNOWN, COMMITTING, COMMIT, "committing finds out"),
    ROW(COMMIT_PENDING, RETRY, COMMITTING, COMMIT, "committing finds out"),
    ROW(COMMIT_PENDING, WORK_PREPARE, COMMIT_PENDING, 0, "a late double"),
    ROW(COMMIT_PENDING, WORK_COMMIT, COMMIT_PENDING, 0, "a double"),
    ROW(COMMIT_PENDING, FOUND, COMMIT_PENDING, 0, "about to be committed"),

    ROW(COMMITTING, DONE, COMMITTED, REPORT, "committed"),
    ROW(COMMITTING, ANSWERED_HEURISTIC_ROLLBACK, HEURISTIC_ROLLBACK, REPORT, "somebody rolled it back"),
    ROW(COMMITTING, ANSWERED_HAZARD, HAZARD, REPORT, "not there, and no proof"),
    ROW(COMMITTING, UNKNOWN, COMMITTING, LATER, "in doubt; tries again"),
    ROW(COMMITTING, FAILED, COMMITTING, LATER | STUCK, "tries for ever, and tells why"),
    ROW(COMMITTING, RETRY, COMMITTING, COMMIT, "tries again"),
    ROW(COMMITTING, WORK_COMMIT, COMMITTING, 0, "a double; it is under way"),
    ROW(COMMITTING, WORK_PREPARE, COMMITTING, 0, "a late double"),
    ROW(COMMITTING, FOUND, COMMITTING, 0, "it is under way"),

    ROW(ROLLING_BACK, DONE, ROLLED_BACK, REPORT, "rolled back"),
    ROW(ROLLING_BACK, ANSWERED_NOT_FOUND, ROLLED_BACK, REPORT, "never prepared, or rolled back before"),
    ROW(ROLLING_BACK, ANSWERED_HEURISTIC_COMMIT, HEURISTIC_COMMIT, REPORT, "somebody committed it"),
    ROW(ROLLING_BACK, UNKNOWN, ROLLING_BACK, LATER, "in doubt; tries again"),
    ROW(ROLLING_BACK, FAILED, ROLLING_BACK, LATER | STUCK, "tries for ever, and tells why"),
    ROW(ROLLING_BACK, RETRY, ROLLING_BACK, ROLLBACK, "tries again"),
    ROW(ROLLING_BACK, WORK_ROLLBACK, ROLLING_BACK, 0, "a double; it is under way"),
    ROW(ROLLING_BACK, WORK_PREPARE, ROLLING_BACK, 0, "a late double"),
    ROW(ROLLING_BACK, FOUND, ROLLING_BACK, 0, "it is under way"),

    ROW(READ_ONLY, WORK_PREPARE, READ_ONLY, REPORT, "a double: votes again"),
    ROW(READ_ONLY, WORK_COMMIT, COMMITTED, REPORT, "it was committed in phase one"),
    ROW(READ_ONLY, WORK_ROLLBACK, ROLLED_BACK, REPORT, "it wrote nothing"),
    ROW(READ_ONLY, FINISH_ROLLBACK, READ_ONLY, ANSWER, "it wrote nothing"),

    ROW(REFUSED, WORK_PREPARE, REFUSED, REPORT, "a double: votes again"),
    ROW(REFUSED, FINISH_ROLLBACK, REFUSED, ANSWER, "rolled back already"),
    ROW(REFUSED, WORK_ROLLBACK, ROLLING_BACK, ROLLBACK, "it may have turned up prepared since"),
    ROW(REFUSED, WORK_COMMIT, COMMITTING, COMMIT, "a vote before a restart was counted; the proof tells"),
    ROW(REFUSED, FOUND, PREPARED, ASK, "it turned up prepared after all"),

    ROW(COMMITTED, WORK_COMMIT, COMMITTED, REPORT, "a double: told again"),
    ROW(COMMITTED, WORK_PREPARE, COMMITTED, 0, "a late double"),
    ROW(COMMITTED, FINISH_ONE_PHASE, COMMITTED, ANSWER, "a double: told again"),
    ROW(COMMITTED, FOUND, PREPARED, ASK, "the resource went back in time: asks"),

    ROW(ROLLED_BACK, WORK_ROLLBACK, ROLLING_BACK, ROLLBACK, "it may have turned up prepared since"),
    ROW(ROLLED_BACK, WORK_COMMIT, COMMITTING, COMMIT, "a vote before a restart was counted; the proof tells"),
    ROW(ROLLED_BACK, WORK_PREPARE, ROLLED_BACK, REPORT_NO, "its work is gone: votes no"),
    ROW(ROLLED_BACK, STATEMENT, ROLLED_BACK, ANSWER, "too late"),
    ROW(ROLLED_BACK, FINISH_ROLLBACK, ROLLED_BACK, ANSWER, "a double: told again"),
    ROW(ROLLED_BACK, FINISH_ONE_PHASE, ROLLED_BACK, ANSWER, "too late"),
    ROW(ROLLED_BACK, FOUND, PREPARED, ASK, "its prepare was still on the way: asks"),

    ROW(HEURISTIC_COMMIT, WORK_COMMIT, COMMITTING, COMMIT, "a double of it was given up; committing tells"),
    ROW(HEURISTIC_COMMIT, WORK_ROLLBACK, HEURISTIC_COMMIT, REPORT, "a double: told again"),
    ROW(HEURISTIC_COMMIT, FOUND, PREPARED, ASK, "the resource went back in time: asks"),
    ROW(HEURISTIC_ROLLBACK, WORK_COMMIT, HEURISTIC_ROLLBACK, REPORT, "a double: told again"),
    ROW(HEURISTIC_ROLLBACK, FOUND, PREPARED, ASK, "the resource went back in time: asks"),
    ROW(HAZARD, WORK_COMMIT, COMMITTING, COMMIT, "looks again; it may have turned up"),
    ROW(HAZARD, FOUND, PREPARED, ASK, "it turned up prepared after all"),
};

enum { BRANCH_RULES = sizeof branch_table / sizeof *branch_table };

const struct branch_rule *branch_on(enum branch_state state, enum branch_event event)
{
    for (size_t i = 0; i < BRANCH_RULES; i++) {
        if (branch_table[i].state == state && branch_table[i].event == event)
            return &branch_table[i];
    }
    return NULL;
}

const struct branch_rule *branch_rules(size_t *n)
{
    *n = BRANCH_RULES;
    return branch_table;
}

int branch_report(enum branch_state state)
{
    static const int kinds[AT_COUNT] = {
        [AT_PREPARED] = REPORT_PREPARED,
        [AT_READ_ONLY] = REPORT_READ_ONLY,
        [AT_REFUSED] = REPORT_REFUSED,
        [AT_COMMITTED] = REPORT_COMMITTED,
        [AT_ROLLED_BACK] = REPORT_ROLLED_BACK,
        [AT_HEURISTIC_COMMIT] = REPORT_HEURISTIC_COMMIT,
        [AT_HEURISTIC_ROLLBACK] = REPORT_HEURISTIC_ROLLBACK,
        [AT_HAZARD] = REPORT_HAZARD,
    };

    return kinds[state];
}

int branch_answer(enum branch_state state)
{
    switch (state) {
    case AT_COMMITTED:
        return TX_OK;
    case AT_LEAVING:
    case AT_READ_ONLY:
    case AT_REFUSED:
    case AT_ROLLED_BACK:
        return TX_EROLLBACK;
    default:
        return TX_EINDOUBT;
    }
}

bool branch_is_final(enum branch_state state)
{
    return state == AT_ONE_PHASE_UNKNOWN || state >= AT_READ_ONLY;
}

bool branch_event_is_foreign(enum branch_event event)
{
    enum { W = true, A = true, I = false };
    static const bool foreign[] = {
#define BRANCH_EVENT_FROM(name, from) from,
        BRANCH_EVENT_LIST(BRANCH_EVENT_FROM)
#undef BRANCH_EVENT_FROM
    };

    return foreign[event];
}

const char *branch_state_name(enum branch_state state)
{
    static const char *const names[] = {
#define BRANCH_STATE_NAME(name) #name,
        BRANCH_STATE_LIST(BRANCH_STATE_NAME)
#undef BRANCH_STATE_NAME
    };

    return names[state];
}

const char *branch_event_name(enum branch_event event)
{
    static const char *const names[] = {
#define BRANCH_EVENT_NAME(name, from) #name,
        BRANCH_EVENT_LIST(BRANCH_EVENT_NAME)
#undef BRANCH_EVENT_NAME
    };

    return names[event];
}
