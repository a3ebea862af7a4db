/* test_commit: every row of commit's table, and every pair that it does not list. */
#include "coordinator/commit.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Two branches in these states, for the guards. */
enum mix {
    ANY,     /* whatever */
    MISSING, /* a vote is out */
    IN,      /* all votes are in */
    LEFT,    /* a branch is being finished */
    DONE,    /* all are finished */
};

struct row {
    enum commit_state state;
    enum commit_event event;
    enum mix mix;
    enum commit_state next;
    unsigned actions;
};

/* The table once more, as the protocol wants it. */
static const struct row rows[] = {
    {COMMIT_NEW, COMMIT_ASKED, MISSING, COMMIT_PREPARING, COMMIT_DO_PREPARE},
    {COMMIT_NEW, COMMIT_ASKED, IN, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_NEW, COMMIT_CHOSEN, ANY, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_NEW, COMMIT_STANDS, LEFT, COMMIT_RESOLVING, COMMIT_DO_HAND_OUT},
    {COMMIT_NEW, COMMIT_STANDS, DONE, COMMIT_ENDING, COMMIT_DO_END},
    {COMMIT_PREPARING, COMMIT_ASKED, ANY, COMMIT_PREPARING, 0},
    {COMMIT_PREPARING, COMMIT_CHOSEN, ANY, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_PREPARING, COMMIT_VOTED, MISSING, COMMIT_PREPARING, 0},
    {COMMIT_PREPARING, COMMIT_VOTED, IN, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_PREPARING, COMMIT_REFUSED, ANY, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_PREPARING, COMMIT_OVERDUE, ANY, COMMIT_DECIDING, COMMIT_DO_PROPOSE},
    {COMMIT_PREPARING, COMMIT_STANDS, LEFT, COMMIT_RESOLVING, COMMIT_DO_ANSWER | COMMIT_DO_HAND_OUT},
    {COMMIT_PREPARING, COMMIT_STANDS, DONE, COMMIT_ENDING, COMMIT_DO_ANSWER | COMMIT_DO_END},
    {COMMIT_PREPARING, COMMIT_PRESUMED, ANY, COMMIT_OVER, COMMIT_DO_ANSWER | COMMIT_DO_DROP},
    {COMMIT_PREPARING, COMMIT_REPORTED, ANY, COMMIT_PREPARING, 0},
    {COMMIT_DECIDING, COMMIT_ASKED, ANY, COMMIT_DECIDING, 0},
    {COMMIT_DECIDING, COMMIT_CHOSEN, ANY, COMMIT_DECIDING, 0},
    {COMMIT_DECIDING, COMMIT_VOTED, ANY, COMMIT_DECIDING, 0},
    {COMMIT_DECIDING, COMMIT_REFUSED, ANY, COMMIT_DECIDING, 0},
    {COMMIT_DECIDING, COMMIT_OVERDUE, ANY, COMMIT_DECIDING, 0},
    {COMMIT_DECIDING, COMMIT_STANDS, LEFT, COMMIT_RESOLVING, COMMIT_DO_ANSWER | COMMIT_DO_HAND_OUT},
    {COMMIT_DECIDING, COMMIT_STANDS, DONE, COMMIT_ENDING, COMMIT_DO_ANSWER | COMMIT_DO_END},
    {COMMIT_DECIDING, COMMIT_PRESUMED, ANY, COMMIT_OVER, COMMIT_DO_ANSWER | COMMIT_DO_DROP},
    {COMMIT_DECIDING, COMMIT_LOST, ANY, COMMIT_OVER, COMMIT_DO_DROP},
    {COMMIT_DECIDING, COMMIT_REPORTED, ANY, COMMIT_DECIDING, 0},
    {COMMIT_RESOLVING, COMMIT_ASKED, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_CHOSEN, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_VOTED, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_REFUSED, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_OVERDUE, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_STANDS, ANY, COMMIT_RESOLVING, 0},
    {COMMIT_RESOLVING, COMMIT_REPORTED, LEFT, COMMIT_RESOLVING, COMMIT_DO_COMPLETE},
    {COMMIT_RESOLVING, COMMIT_REPORTED, DONE, COMMIT_ENDING, COMMIT_DO_COMPLETE | COMMIT_DO_END},
    {COMMIT_RESOLVING, COMMIT_ENDED, ANY, COMMIT_OVER, COMMIT_DO_COMPLETE | COMMIT_DO_DROP},
    {COMMIT_ENDING, COMMIT_ASKED, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_CHOSEN, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_VOTED, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_REFUSED, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_OVERDUE, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_STANDS, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_REPORTED, ANY, COMMIT_ENDING, 0},
    {COMMIT_ENDING, COMMIT_LOST, ANY, COMMIT_ENDING, COMMIT_DO_END},
    {COMMIT_ENDING, COMMIT_ENDED, ANY, COMMIT_OVER, COMMIT_DO_DROP},
};

enum { N_ROWS = sizeof rows / sizeof *rows };

static void set_up(struct commit *c, struct commit_branch branches[2], enum commit_state state, enum mix mix)
{
    static const uint8_t states[][2] = {
        [ANY] = {BRANCH_PREPARED, BRANCH_PREPARED}, [MISSING] = {BRANCH_PREPARED, BRANCH_PREPARING},
        [IN] = {BRANCH_PREPARED, BRANCH_READ_ONLY}, [LEFT] = {BRANCH_DONE, BRANCH_FINISHING},
        [DONE] = {BRANCH_DONE, BRANCH_DONE},
    };

    for (int i = 0; i < 2; i++) {
        const struct branch_ref ref = {
            .number = (uint16_t)(i + 1), .kind = BRANCH_REMOTE, .resource = i == 0 ? "a" : "b"};

        commit_branch_init(&branches[i], &ref, (enum commit_branch_state)states[mix][i]);
    }
    commit_init(c, VERDICT_COMMIT, false, branches, 2);
    c->state = state;
}

static void test_every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        struct commit_branch branches[2];
        struct commit c;

        set_up(&c, branches, rows[i].state, rows[i].mix);
        assert_int_equal(commit_step(&c, rows[i].event), rows[i].actions);
        assert_int_equal(c.state, rows[i].next);
        assert_true(strlen(c.why) > 0);
    }
}

static bool listed(enum commit_state state, enum commit_event event)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].state == state && rows[i].event == event)
            return true;
    return false;
}

/* Runs the step in a child, which must die of it. */
static bool step_dies(enum commit_state state, enum commit_event event)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        struct commit_branch branches[2];
        struct commit c;

        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        set_up(&c, branches, state, ANY);
        (void)commit_step(&c, event);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_every_illegal_pair(void **state)
{
    (void)state;
    for (int s = 0; s < COMMIT_STATES; s++) {
        for (int e = 0; e < COMMIT_EVENTS; e++) {
            assert_int_equal(commit_allowed((enum commit_state)s, (enum commit_event)e),
                             listed((enum commit_state)s, (enum commit_event)e));
            if (!listed((enum commit_state)s, (enum commit_event)e))
                assert_true(step_dies((enum commit_state)s, (enum commit_event)e));
        }
    }
}

/* Whatever leaves the votes but the last yes leaves them with an abort. */
static void test_doubt_means_abort(void **state)
{
    static const enum commit_event events[] = {COMMIT_CHOSEN, COMMIT_REFUSED, COMMIT_OVERDUE};
    struct commit_branch branches[2];
    struct commit c;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        set_up(&c, branches, COMMIT_PREPARING, MISSING);
        (void)commit_step(&c, events[i]);
        assert_int_equal(c.verdict, VERDICT_ABORT);
    }
    set_up(&c, branches, COMMIT_PREPARING, MISSING);
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_PREPARED, "p"), COMMIT_DO_PROPOSE);
    assert_int_equal(c.verdict, VERDICT_COMMIT);
    (void)commit_step(&c, COMMIT_CHOSEN);
    assert_int_equal(c.verdict, VERDICT_COMMIT);
}

static void test_votes(void **state)
{
    struct commit_branch branches[2];
    struct branch_ref out[2];
    struct commit c;

    (void)state;
    set_up(&c, branches, COMMIT_PREPARING, MISSING);
    assert_int_equal(commit_vote(&c, &branches[0], BRANCH_REFUSED, NULL), 0); /* its yes was first */
    assert_int_equal(branches[0].state, BRANCH_PREPARED);
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_READ_ONLY, NULL), COMMIT_DO_PROPOSE);
    assert_int_equal(commit_decided_branches(&c, out), 1);
    assert_int_equal(out[0].number, 1);
    assert_null(out[0].proof);
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_REFUSED, NULL), 0); /* late */
    assert_int_equal(c.verdict, VERDICT_COMMIT);

    set_up(&c, branches, COMMIT_RESOLVING, LEFT);
    c.verdict = VERDICT_ABORT;
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_PREPARED, "p"),
                     0); /* it is still to be rolled back */
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_REFUSED, NULL), COMMIT_DO_COMPLETE | COMMIT_DO_END);

    set_up(&c, branches, COMMIT_RESOLVING, LEFT); /* a commit stands: a no proves nothing */
    assert_int_equal(commit_vote(&c, &branches[1], BRANCH_REFUSED, NULL), 0);
    assert_int_equal(branches[1].state, BRANCH_FINISHING);
}

static void test_completion(void **state)
{
    struct commit_branch branches[2];
    struct commit c;

    (void)state;
    set_up(&c, branches, COMMIT_RESOLVING, LEFT);
    assert_false(commit_completed(&c));
    branches[1].kind = BRANCH_DIRECT; /* the client's own */
    assert_true(commit_completed(&c));
    c.agents_finish = true;
    assert_false(commit_completed(&c));
    assert_int_equal(commit_report_direct(&c), COMMIT_DO_COMPLETE | COMMIT_DO_END);
    assert_true(commit_completed(&c));
    set_up(&c, branches, COMMIT_DECIDING, ANY);
    assert_false(commit_completed(&c));
    assert_ptr_equal(commit_find(&c, 2, "b"), &branches[1]);
    assert_null(commit_find(&c, 2, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row),         cmocka_unit_test(test_every_illegal_pair),
        cmocka_unit_test(test_doubt_means_abort), cmocka_unit_test(test_votes),
        cmocka_unit_test(test_completion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
