/* Unit tests of participant/branch: every row of its table, every pair that must not be in it, and a walk
 * through all that can happen to a branch: no operation begins while another is under way, no answer of the
 * resource comes where nothing is said about it, a decision is never turned round, and nothing stays without an
 * end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "libtx/shared/wire.h"
#include "participant/branch.h"

/* rows */

/* What is expected, a row an event, per state: "EVENT NEXT ACTIONS". Everything else is illegal. */
static const struct expected {
    enum branch_state state;
    enum branch_event event;
    enum branch_state next;
    unsigned actions;
} expected[] = {
    {AT_NONE, ON_STATEMENT, AT_ACTIVE, DO_EXEC},
    {AT_NONE, ON_WORK_PREPARE, AT_LOOKING, DO_LOOK},
    {AT_NONE, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_NONE, ON_WORK_ROLLBACK, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_NONE, ON_FINISH_ROLLBACK, AT_ROLLED_BACK, DO_ANSWER},

    {AT_ACTIVE, ON_STATEMENT, AT_ACTIVE, DO_EXEC},
    {AT_ACTIVE, ON_WORK_PREPARE, AT_PREPARING, DO_PREPARE},
    {AT_ACTIVE, ON_WORK_COMMIT, AT_COMMIT_PENDING, DO_ABANDON},
    {AT_ACTIVE, ON_WORK_ROLLBACK, AT_LEAVING, DO_ABANDON},
    {AT_ACTIVE, ON_FINISH_ROLLBACK, AT_LEAVING, DO_ABANDON},
    {AT_ACTIVE, ON_FINISH_ONE_PHASE, AT_ONE_PHASE, DO_ONE_PHASE},
    {AT_ACTIVE, ON_TIMEOUT, AT_LEAVING, DO_ABANDON},
    {AT_ACTIVE, ON_INCOMPLETE, AT_LEAVING, DO_ABANDON | DO_REPORT_NO},
    {AT_ACTIVE, ON_LOST, AT_ROLLED_BACK, 0},
    {AT_ACTIVE, ON_FOUND, AT_DOUBLE, DO_ABANDON},

    {AT_DOUBLE, ON_DONE, AT_PREPARED, DO_REPORT_FOUND},
    {AT_DOUBLE, ON_UNKNOWN, AT_PREPARED, DO_REPORT_FOUND},
    {AT_DOUBLE, ON_ANSWERED_HEURISTIC_COMMIT, AT_PREPARED, DO_REPORT_FOUND},
    {AT_DOUBLE, ON_WORK_PREPARE, AT_DOUBLE, 0},
    {AT_DOUBLE, ON_WORK_COMMIT, AT_COMMIT_PENDING, 0},
    {AT_DOUBLE, ON_WORK_ROLLBACK, AT_ROLLBACK_PENDING, 0},
    {AT_DOUBLE, ON_FOUND, AT_DOUBLE, 0},

    {AT_LEAVING, ON_DONE, AT_ROLLED_BACK, DO_REPORT | DO_ANSWER},
    {AT_LEAVING, ON_UNKNOWN, AT_PREPARED, DO_REPORT_FOUND | DO_ANSWER},
    {AT_LEAVING, ON_ANSWERED_HEURISTIC_COMMIT, AT_HEURISTIC_COMMIT, DO_REPORT | DO_ANSWER},
    {AT_LEAVING, ON_WORK_COMMIT, AT_COMMIT_PENDING, 0},
    {AT_LEAVING, ON_STATEMENT, AT_LEAVING, DO_ANSWER},
    {AT_LEAVING, ON_WORK_PREPARE, AT_LEAVING, DO_REPORT_NO},
    {AT_LEAVING, ON_WORK_ROLLBACK, AT_LEAVING, 0},
    {AT_LEAVING, ON_FINISH_ROLLBACK, AT_LEAVING, 0},
    {AT_LEAVING, ON_FINISH_ONE_PHASE, AT_LEAVING, 0},

    {AT_ONE_PHASE, ON_DONE, AT_COMMITTED, DO_ANSWER},
    {AT_ONE_PHASE, ON_ANSWERED_REFUSED, AT_ROLLED_BACK, DO_ANSWER},
    {AT_ONE_PHASE, ON_UNKNOWN, AT_ONE_PHASE_UNKNOWN, DO_ANSWER},
    {AT_ONE_PHASE, ON_FINISH_ONE_PHASE, AT_ONE_PHASE, 0},
    {AT_ONE_PHASE_UNKNOWN, ON_FINISH_ONE_PHASE, AT_ONE_PHASE_UNKNOWN, DO_ANSWER},

    {AT_PREPARING, ON_DONE, AT_PREPARED, DO_REPORT},
    {AT_PREPARING, ON_ANSWERED_READ_ONLY, AT_READ_ONLY, DO_REPORT},
    {AT_PREPARING, ON_ANSWERED_REFUSED, AT_REFUSED, DO_REPORT},
    {AT_PREPARING, ON_UNKNOWN, AT_LOOKING, DO_LOOK},
    {AT_PREPARING, ON_WORK_PREPARE, AT_PREPARING, 0},
    {AT_PREPARING, ON_WORK_ROLLBACK, AT_ROLLBACK_PENDING, 0},
    {AT_PREPARING, ON_FOUND, AT_PREPARING, 0},

    {AT_LOOKING, ON_DONE, AT_PREPARED, DO_REPORT},
    {AT_LOOKING, ON_ANSWERED_NOT_FOUND, AT_REFUSED, DO_REPORT},
    {AT_LOOKING, ON_UNKNOWN, AT_LOOKING, DO_RETRY_LATER},
    {AT_LOOKING, ON_RETRY, AT_LOOKING, DO_LOOK},
    {AT_LOOKING, ON_WORK_PREPARE, AT_LOOKING, 0},
    {AT_LOOKING, ON_WORK_ROLLBACK, AT_ROLLBACK_PENDING, 0},
    {AT_LOOKING, ON_WORK_COMMIT, AT_COMMIT_PENDING, 0},
    {AT_LOOKING, ON_FOUND, AT_LOOKING, 0},

    {AT_PREPARED, ON_WORK_PREPARE, AT_PREPARED, DO_REPORT},
    {AT_PREPARED, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_PREPARED, ON_WORK_ROLLBACK, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_PREPARED, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},

    {AT_ROLLBACK_PENDING, ON_DONE, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_ROLLBACK_PENDING, ON_ANSWERED_READ_ONLY, AT_ROLLED_BACK, DO_REPORT},
    {AT_ROLLBACK_PENDING, ON_ANSWERED_REFUSED, AT_ROLLED_BACK, DO_REPORT},
    {AT_ROLLBACK_PENDING, ON_ANSWERED_NOT_FOUND, AT_ROLLED_BACK, DO_REPORT},
    {AT_ROLLBACK_PENDING, ON_ANSWERED_HEURISTIC_COMMIT, AT_HEURISTIC_COMMIT, DO_REPORT},
    {AT_ROLLBACK_PENDING, ON_UNKNOWN, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_ROLLBACK_PENDING, ON_RETRY, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_ROLLBACK_PENDING, ON_WORK_PREPARE, AT_ROLLBACK_PENDING, 0},
    {AT_ROLLBACK_PENDING, ON_WORK_ROLLBACK, AT_ROLLBACK_PENDING, 0},
    {AT_ROLLBACK_PENDING, ON_FOUND, AT_ROLLBACK_PENDING, 0},

    {AT_COMMIT_PENDING, ON_DONE, AT_COMMITTING, DO_COMMIT},
    {AT_COMMIT_PENDING, ON_ANSWERED_NOT_FOUND, AT_COMMITTING, DO_COMMIT},
    {AT_COMMIT_PENDING, ON_ANSWERED_HEURISTIC_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_COMMIT_PENDING, ON_UNKNOWN, AT_COMMITTING, DO_COMMIT},
    {AT_COMMIT_PENDING, ON_RETRY, AT_COMMITTING, DO_COMMIT},
    {AT_COMMIT_PENDING, ON_WORK_PREPARE, AT_COMMIT_PENDING, 0},
    {AT_COMMIT_PENDING, ON_WORK_COMMIT, AT_COMMIT_PENDING, 0},
    {AT_COMMIT_PENDING, ON_FOUND, AT_COMMIT_PENDING, 0},

    {AT_COMMITTING, ON_DONE, AT_COMMITTED, DO_REPORT},
    {AT_COMMITTING, ON_ANSWERED_HEURISTIC_ROLLBACK, AT_HEURISTIC_ROLLBACK, DO_REPORT},
    {AT_COMMITTING, ON_ANSWERED_HAZARD, AT_HAZARD, DO_REPORT},
    {AT_COMMITTING, ON_UNKNOWN, AT_COMMITTING, DO_RETRY_LATER},
    {AT_COMMITTING, ON_FAILED, AT_COMMITTING, DO_RETRY_LATER | DO_REPORT_STUCK},
    {AT_COMMITTING, ON_RETRY, AT_COMMITTING, DO_COMMIT},
    {AT_COMMITTING, ON_WORK_COMMIT, AT_COMMITTING, 0},
    {AT_COMMITTING, ON_WORK_PREPARE, AT_COMMITTING, 0},
    {AT_COMMITTING, ON_FOUND, AT_COMMITTING, 0},

    {AT_ROLLING_BACK, ON_DONE, AT_ROLLED_BACK, DO_REPORT},
    {AT_ROLLING_BACK, ON_ANSWERED_NOT_FOUND, AT_ROLLED_BACK, DO_REPORT},
    {AT_ROLLING_BACK, ON_ANSWERED_HEURISTIC_COMMIT, AT_HEURISTIC_COMMIT, DO_REPORT},
    {AT_ROLLING_BACK, ON_UNKNOWN, AT_ROLLING_BACK, DO_RETRY_LATER},
    {AT_ROLLING_BACK, ON_FAILED, AT_ROLLING_BACK, DO_RETRY_LATER | DO_REPORT_STUCK},
    {AT_ROLLING_BACK, ON_RETRY, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_ROLLING_BACK, ON_WORK_ROLLBACK, AT_ROLLING_BACK, 0},
    {AT_ROLLING_BACK, ON_WORK_PREPARE, AT_ROLLING_BACK, 0},
    {AT_ROLLING_BACK, ON_FOUND, AT_ROLLING_BACK, 0},

    {AT_READ_ONLY, ON_WORK_PREPARE, AT_READ_ONLY, DO_REPORT},
    {AT_READ_ONLY, ON_WORK_COMMIT, AT_COMMITTED, DO_REPORT},
    {AT_READ_ONLY, ON_WORK_ROLLBACK, AT_ROLLED_BACK, DO_REPORT},
    {AT_READ_ONLY, ON_FINISH_ROLLBACK, AT_READ_ONLY, DO_ANSWER},

    {AT_REFUSED, ON_WORK_PREPARE, AT_REFUSED, DO_REPORT},
    {AT_REFUSED, ON_FINISH_ROLLBACK, AT_REFUSED, DO_ANSWER},
    {AT_REFUSED, ON_WORK_ROLLBACK, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_REFUSED, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_REFUSED, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},

    {AT_COMMITTED, ON_WORK_COMMIT, AT_COMMITTED, DO_REPORT},
    {AT_COMMITTED, ON_WORK_PREPARE, AT_COMMITTED, 0},
    {AT_COMMITTED, ON_FINISH_ONE_PHASE, AT_COMMITTED, DO_ANSWER},
    {AT_COMMITTED, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},

    {AT_ROLLED_BACK, ON_WORK_ROLLBACK, AT_ROLLING_BACK, DO_ROLLBACK},
    {AT_ROLLED_BACK, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_ROLLED_BACK, ON_WORK_PREPARE, AT_ROLLED_BACK, DO_REPORT_NO},
    {AT_ROLLED_BACK, ON_STATEMENT, AT_ROLLED_BACK, DO_ANSWER},
    {AT_ROLLED_BACK, ON_FINISH_ROLLBACK, AT_ROLLED_BACK, DO_ANSWER},
    {AT_ROLLED_BACK, ON_FINISH_ONE_PHASE, AT_ROLLED_BACK, DO_ANSWER},
    {AT_ROLLED_BACK, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},

    {AT_HEURISTIC_COMMIT, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_HEURISTIC_COMMIT, ON_WORK_ROLLBACK, AT_HEURISTIC_COMMIT, DO_REPORT},
    {AT_HEURISTIC_COMMIT, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},
    {AT_HEURISTIC_ROLLBACK, ON_WORK_COMMIT, AT_HEURISTIC_ROLLBACK, DO_REPORT},
    {AT_HEURISTIC_ROLLBACK, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},
    {AT_HAZARD, ON_WORK_COMMIT, AT_COMMITTING, DO_COMMIT},
    {AT_HAZARD, ON_FOUND, AT_PREPARED, DO_REPORT_FOUND},
};

enum { EXPECTED = sizeof expected / sizeof *expected };

static const struct expected *expectation(enum branch_state state, enum branch_event event)
{
    for (size_t i = 0; i < EXPECTED; i++) {
        if (expected[i].state == state && expected[i].event == event)
            return &expected[i];
    }
    return NULL;
}

static void test_every_pair(void **state)
{
    (void)state;
    for (int s = 0; s < AT_COUNT; s++) {
        for (int e = 0; e < ON_COUNT; e++) {
            const struct branch_rule *rule = branch_on((enum branch_state)s, (enum branch_event)e);
            const struct expected *want = expectation((enum branch_state)s, (enum branch_event)e);

            if ((rule == NULL) != (want == NULL))
                fail_msg("%s on %s: %s", branch_state_name((enum branch_state)s),
                         branch_event_name((enum branch_event)e), rule == NULL ? "missing" : "must not be");
            if (rule == NULL)
                continue;
            assert_int_equal(rule->next, want->next);
            assert_int_equal(rule->actions, want->actions);
            assert_true(rule->reason != NULL && *rule->reason != '\0');
        }
    }
}

static void test_no_row_twice(void **state)
{
    size_t n;
    const struct branch_rule *rules = branch_rules(&n);

    (void)state;
    assert_int_equal(n, EXPECTED);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(branch_on(rules[i].state, rules[i].event), &rules[i]);
}

/* lookups */

static void test_reports(void **state)
{
    (void)state;
    assert_int_equal(branch_report(AT_PREPARED), REPORT_PREPARED);
    assert_int_equal(branch_report(AT_READ_ONLY), REPORT_READ_ONLY);
    assert_int_equal(branch_report(AT_REFUSED), REPORT_REFUSED);
    assert_int_equal(branch_report(AT_COMMITTED), REPORT_COMMITTED);
    assert_int_equal(branch_report(AT_ROLLED_BACK), REPORT_ROLLED_BACK);
    assert_int_equal(branch_report(AT_HEURISTIC_COMMIT), REPORT_HEURISTIC_COMMIT);
    assert_int_equal(branch_report(AT_HEURISTIC_ROLLBACK), REPORT_HEURISTIC_ROLLBACK);
    assert_int_equal(branch_report(AT_HAZARD), REPORT_HAZARD);
    assert_int_equal(branch_report(AT_COMMITTING), 0);
    assert_int_equal(branch_report(AT_LOOKING), 0);
    for (size_t i = 0; i < EXPECTED; i++) {
        if ((expected[i].actions & DO_REPORT) != 0)
            assert_int_not_equal(branch_report(expected[i].next), 0);
    }
}

static void test_answers(void **state)
{
    (void)state;
    assert_int_equal(branch_answer(AT_COMMITTED), TX_OK);
    assert_int_equal(branch_answer(AT_ROLLED_BACK), TX_EROLLBACK);
    assert_int_equal(branch_answer(AT_LEAVING), TX_EROLLBACK);
    assert_int_equal(branch_answer(AT_REFUSED), TX_EROLLBACK);
    assert_int_equal(branch_answer(AT_READ_ONLY), TX_EROLLBACK);
    assert_int_equal(branch_answer(AT_ONE_PHASE_UNKNOWN), TX_EINDOUBT);
    assert_int_equal(branch_answer(AT_NONE), TX_EINDOUBT);
}

static void test_names_and_origins(void **state)
{
    (void)state;
    assert_string_equal(branch_state_name(AT_NONE), "NONE");
    assert_string_equal(branch_state_name(AT_HAZARD), "HAZARD");
    assert_string_equal(branch_event_name(ON_WORK_PREPARE), "WORK_PREPARE");
    assert_string_equal(branch_event_name(ON_FAILED), "FAILED");
    assert_true(branch_event_is_foreign(ON_WORK_ROLLBACK));
    assert_true(branch_event_is_foreign(ON_FINISH_ONE_PHASE));
    assert_false(branch_event_is_foreign(ON_TIMEOUT));
    assert_false(branch_event_is_foreign(ON_DONE));
}

/* all that can happen */

enum { OPERATIONS = DO_PREPARE | DO_ONE_PHASE | DO_ABANDON | DO_LOOK | DO_COMMIT | DO_ROLLBACK };

/* What a resource can answer to an operation (rm.h). */
static const struct {
    unsigned operation;
    enum branch_event answers[8];
    size_t n;
} operations[] = {
    {DO_PREPARE, {ON_DONE, ON_ANSWERED_READ_ONLY, ON_ANSWERED_REFUSED, ON_UNKNOWN}, 4},
    {DO_ONE_PHASE, {ON_DONE, ON_ANSWERED_REFUSED, ON_UNKNOWN}, 3},
    {DO_ABANDON, {ON_DONE, ON_UNKNOWN, ON_ANSWERED_HEURISTIC_COMMIT}, 3},
    {DO_LOOK, {ON_DONE, ON_ANSWERED_NOT_FOUND, ON_UNKNOWN}, 3},
    {DO_COMMIT, {ON_DONE, ON_ANSWERED_HEURISTIC_ROLLBACK, ON_ANSWERED_HAZARD, ON_UNKNOWN, ON_FAILED}, 5},
    {DO_ROLLBACK, {ON_DONE, ON_ANSWERED_NOT_FOUND, ON_ANSWERED_HEURISTIC_COMMIT, ON_UNKNOWN, ON_FAILED}, 5},
};

/* A branch as its agent has it: state, the operation under way (an index, -1 none), a retry ahead, and what the
 * coordinator has decided, as far as it told. */
enum decided { DECIDED_NOT, DECIDED_COMMIT, DECIDED_ROLLBACK };

static bool seen[AT_COUNT][8][2][3];

static int operation_of(unsigned actions)
{
    for (int i = 0; i < (int)(sizeof operations / sizeof *operations); i++) {
        if ((actions & operations[i].operation) != 0)
            return i;
    }
    return -1;
}

static void walk(enum branch_state s, int operation, bool retry, enum decided decided);

static void step(enum branch_state s, int operation, bool retry, enum decided decided, enum branch_event e)
{
    const struct branch_rule *rule = branch_on(s, e);

    if (rule == NULL) {
        if (!branch_event_is_foreign(e))
            fail_msg("%s on %s can happen and has no row", branch_state_name(s), branch_event_name(e));
        return;
    }
    if ((rule->actions & OPERATIONS) != 0) {
        assert_int_equal(operation, -1);
        operation = operation_of(rule->actions);
        assert_int_equal(rule->actions & OPERATIONS, operations[operation].operation);
        retry = false;
    }
    /* What was decided is done, or found out; the opposite never. */
    if (decided == DECIDED_COMMIT)
        assert_int_equal(rule->actions & DO_ROLLBACK, 0);
    if (decided == DECIDED_ROLLBACK)
        assert_int_equal(rule->actions & DO_COMMIT, 0);
    if ((rule->actions & DO_RETRY_LATER) != 0)
        retry = true;
    if (branch_is_final(rule->next))
        assert_int_equal(operation, -1);
    walk(rule->next, operation, retry, decided);
}

static void step_wire(enum branch_state s, int operation, bool retry, enum decided decided)
{
    step(s, operation, retry, decided, ON_WORK_PREPARE);
    if (decided != DECIDED_ROLLBACK)
        step(s, operation, retry, branch_on(s, ON_WORK_COMMIT) == NULL ? decided : DECIDED_COMMIT,
             ON_WORK_COMMIT);
    if (decided != DECIDED_COMMIT)
        step(s, operation, retry, branch_on(s, ON_WORK_ROLLBACK) == NULL ? decided : DECIDED_ROLLBACK,
             ON_WORK_ROLLBACK);
    step(s, operation, retry, decided, ON_STATEMENT);
    step(s, operation, retry, decided, ON_FINISH_ROLLBACK);
    step(s, operation, retry, decided, ON_FINISH_ONE_PHASE);
}

static void walk(enum branch_state s, int operation, bool retry, enum decided decided)
{
    if (seen[s][operation + 1][retry][decided])
        return;
    seen[s][operation + 1][retry][decided] = true;
    /* It goes on by itself, or it is over, or it waits for the application or the coordinator. */
    assert_true(operation >= 0 || retry || branch_is_final(s) || s == AT_NONE || s == AT_ACTIVE ||
                s == AT_PREPARED);
    step_wire(s, operation, retry, decided);
    if (s == AT_ACTIVE) {
        step(s, operation, retry, decided, ON_TIMEOUT);
        step(s, operation, retry, decided, ON_LOST);
        step(s, operation, retry, decided, ON_INCOMPLETE);
    }
    if (retry)
        step(s, operation, false, decided, ON_RETRY);
    if (branch_on(s, ON_FOUND) != NULL)
        step(s, operation, retry, decided, ON_FOUND);
    for (size_t i = 0; operation >= 0 && i < operations[operation].n; i++)
        step(s, -1, retry, decided, operations[operation].answers[i]);
}

static void test_walk(void **state)
{
    (void)state;
    memset(seen, 0, sizeof seen);
    walk(AT_NONE, -1, false, DECIDED_NOT);
    for (int s = 0; s < AT_COUNT; s++) {
        bool reached = false;

        for (int i = 0; i < 8 * 2 * 3; i++)
            reached = reached || (&seen[s][0][0][0])[i];
        if (!reached)
            fail_msg("%s is never reached", branch_state_name((enum branch_state)s));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),        cmocka_unit_test(test_no_row_twice),
        cmocka_unit_test(test_reports),           cmocka_unit_test(test_answers),
        cmocka_unit_test(test_names_and_origins), cmocka_unit_test(test_walk),
    };

    return cmocka_run_group_tests_name("branch", tests, NULL, NULL);
}
