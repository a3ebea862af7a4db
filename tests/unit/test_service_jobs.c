/* test_service_jobs: the calls that a resource manager gets, on their way to a program's callbacks and back
 * (service.h), without an agent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/service.h"

enum { LISTED = 7 };

#define BRANCH "assent-00000000000000ab-7-9-00000000000000cd-1"
#define OTHER "assent-00000000000000ab-7-9-00000000000000cd-2"

static uv_loop_t loop;
static struct service service;
static struct rm *rm;

/* The program */

static int answers[8], n_answers; /* what callbacks return, in order; then TX_OK */
static char calls[256];
static size_t n_listed;

static int called(const char *what, const char *branch)
{
    size_t n = strlen(calls);

    snprintf(calls + n, sizeof calls - n, "%s%s%c", n > 0 ? " " : "", what, branch[strlen(branch) - 1]);
    return n_answers > 0 ? answers[--n_answers] : TX_OK;
}

static int on_prepare(void *arg, const char *branch)
{
    (void)arg;
    return called("prepare", branch);
}

static int on_commit(void *arg, const char *branch)
{
    (void)arg;
    return called("commit", branch);
}

static int on_rollback(void *arg, const char *branch)
{
    (void)arg;
    return called("rollback", branch);
}

static int on_list(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list)
{
    char gid[GID_SIZE];

    (void)arg;
    for (size_t i = n_listed; i > 0; i--) {
        snprintf(gid, sizeof gid, "assent-00000000000000ab-7-9-00000000000000cd-%zu", i);
        found(list, gid, i * 1000);
    }
    found(list, "strange", 5000);
    return n_answers > 0 ? answers[--n_answers] : TX_OK;
}

static int on_exec(void *arg, const char *branch, const char *statement, int n_values,
                   const char *const *values, char *result, size_t size)
{
    (void)arg;
    (void)statement;
    (void)n_values;
    (void)values;
    memset(result, 'x', size); /* without an end */
    return called("exec", branch);
}

static void may_wake(void *arg)
{
    (void)arg;
}

/* The agent */

static struct rm_answer told;
static char told_text[TEXT_LIMIT + 1];
static unsigned n_told;

static void on_told(void *arg, const struct rm_answer *a)
{
    (void)arg;
    told = *a;
    snprintf(told_text, sizeof told_text, "%s", a->text != NULL ? a->text : "");
    n_told++;
}

static unsigned n_status;
static bool is_up;

static void on_status(void *arg, bool up, const char *error)
{
    (void)arg;
    is_up = up;
    n_status++;
    assert_true(up == (error == NULL));
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Runs one job; false: none can be run now. */
static bool run_one(uint64_t now_ms)
{
    struct service_job *job = service_take(&service, now_ms);
    int rc;

    if (job == NULL)
        return false;
    rc = service_call(&service, job);
    if (rc == TX_PARTICIPANT_LATER)
        return true;
    job->answer = rc;
    job->answered = true;
    service_done(&service, job);
    return true;
}

static void run_all(void)
{
    while (run_one(UINT64_MAX - 1)) {
    }
}

static int set_up(void **state)
{
    struct rm_options options = {.loop = &loop, .name = "stock", .context = &service, .status = on_status};
    struct tx_error e;

    (void)state;
    uv_loop_init(&loop);
    service_init(&service);
    service.callbacks = (struct tx_participant_callbacks){.prepare = on_prepare,
                                                          .commit = on_commit,
                                                          .rollback = on_rollback,
                                                          .list_in_doubt = on_list,
                                                          .exec = on_exec};
    service.wake = may_wake;
    n_answers = 0;
    n_listed = n_told = 0;
    calls[0] = '\0';
    if (service_ops.open(&rm, &options, &e) != TX_OK)
        return -1;
    run_all(); /* the first list */
    return 0;
}

static int tear_down(void **state)
{
    bool closed = false;

    (void)state;
    if (rm != NULL)
        service_ops.close(rm, on_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    service_close(&service);
    return uv_loop_close(&loop);
}

/* Tests */

static void close_and_run(void)
{
    bool closed = false;

    service_ops.close(rm, on_closed, &closed);
    rm = NULL;
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
}

static struct rm_finish finish_of(const char *branch)
{
    return (struct rm_finish){.gid = branch};
}

static void one_of_a_branch_at_a_time(void **state)
{
    struct rm_finish f = finish_of(BRANCH), g = finish_of(OTHER);

    (void)state;
    answers[n_answers++] = TX_PARTICIPANT_LATER;
    service_ops.commit(rm, &f, on_told, NULL);
    service_ops.inspect(rm, BRANCH, NULL, NULL);
    service_ops.commit(rm, &g, on_told, NULL);
    assert_true(run_one(0));
    assert_true(run_one(0)); /* the other branch's */
    assert_string_equal(calls, "commit1 commit2");
    assert_false(run_one(0));
    assert_int_equal(n_told, 1);
    /* Nobody can do anything before the answer, so nobody is to be woken for it. */
    assert_true(service_due_ms(&service) == UINT64_MAX);
    service_close(&service);
}

static void answered_later(void **state)
{
    struct rm_finish f = finish_of(BRANCH);
    struct service_job *job;

    (void)state;
    answers[n_answers++] = TX_PARTICIPANT_LATER;
    service_ops.commit(rm, &f, on_told, NULL);
    run_all();
    service_answer(&service, OTHER, TX_OK, NULL); /* no such branch is with the program */
    assert_int_equal(n_told, 0);
    service_answer(&service, BRANCH, TX_ENOTFOUND, NULL);
    service_answer(&service, BRANCH, TX_OK, NULL); /* the first one stands */
    job = service_find(&service, BRANCH);
    assert_true(job->answered);
    service_done(&service, job);
    assert_int_equal(told.outcome, RM_HAZARD);
}

/* A list has no later answer: neither is one waited for, nor does one that was meant for something else hit it.
 */
static void a_list_is_not_answered_later(void **state)
{
    struct service_job *job;

    (void)state;
    answers[n_answers++] = TX_PARTICIPANT_LATER;
    service_ops.look(rm, BRANCH, NULL, on_told, NULL);
    run_all();
    assert_int_equal(n_told, 1);
    assert_int_equal(told.outcome, RM_UNKNOWN);
    service_ops.look(rm, BRANCH, NULL, on_told, NULL);
    job = service_take(&service, 0);
    service_answer(&service, BRANCH, TX_OK, NULL);
    assert_false(job->answered);
    job->answer = service_call(&service, job);
    service_done(&service, job);
    assert_int_equal(told.outcome, RM_NOT_FOUND);
}

static char row[SERVICE_TEXT + 8];
static int row_code;

static void on_rows(void *arg, const struct wire_rows *rows, bool lost)
{
    struct cur c;
    const char *text;

    (void)arg;
    assert_false(lost);
    row_code = rows->code;
    if (rows->code != TX_OK)
        return;
    cur_init(&c, rows->cells, rows->cells_len);
    assert_string_equal(cur_str(&c, ROWS_LIMIT), "result");
    text = cur_str(&c, ROWS_LIMIT);
    snprintf(row, sizeof row, "%s", text);
}

/* A text without an end, and a code that is no statement's. */
static void a_statement_s_result_is_bounded(void **state)
{
    struct rm_statement s = {.text = "take"};
    struct tx_error e;
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    assert_int_equal(service_ops.exec(w, &s, on_rows, NULL, &e), TX_OK);
    run_all();
    assert_int_equal(row_code, TX_OK);
    assert_int_equal(strlen(row), SERVICE_TEXT - 1);
    answers[n_answers++] = TX_PARTICIPANT_READ_ONLY;
    assert_int_equal(service_ops.exec(w, &s, on_rows, NULL, &e), TX_OK);
    run_all();
    assert_int_equal(row_code, TX_ESTATEMENT);
    service_ops.end(w);
}

static size_t n_page;
static char first[GID_SIZE], last[GID_SIZE];
static struct rm_list page;

static void on_page(void *arg, const struct rm_list *list)
{
    (void)arg;
    page = *list;
    n_page = list->n < 0 ? 0 : (size_t)list->n;
    first[0] = last[0] = '\0';
    if (n_page > 0) {
        snprintf(first, sizeof first, "%s", list->found[0].gid);
        snprintf(last, sizeof last, "%s", list->found[n_page - 1].gid);
    }
}

/* In order, in pages, without what is another's, with figures of all that comes after. */
static void lists_come_in_pages(void **state)
{
    (void)state;
    n_listed = LISTED;
    service_ops.list(rm, "assent-00000000000000ab-", "", 4, on_page, NULL);
    run_all();
    assert_int_equal(n_page, 4);
    assert_string_equal(first, BRANCH);
    assert_int_equal(page.total, LISTED);
    assert_int_equal(page.in_doubt, LISTED);
    assert_int_equal(page.oldest_ms, LISTED * 1000);
    service_ops.list(rm, "assent-00000000000000ab-", last, 4, on_page, NULL);
    run_all();
    assert_int_equal(n_page, LISTED - 4);
    assert_int_equal(last[strlen(last) - 1], '0' + LISTED);
    service_ops.list(rm, "assent-00000000000000ab-", last, 4, on_page, NULL);
    run_all();
    assert_int_equal(n_page, 0);
    answers[n_answers++] = TX_EIO;
    service_ops.list(rm, "", "", 4, on_page, NULL);
    run_all();
    assert_true(page.n < 0);
}

static void a_rollback_goes_on_until_it_is_done(void **state)
{
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    answers[n_answers++] = TX_EIO;
    answers[n_answers++] = TX_EBUSY;
    answers[n_answers++] = TX_OK; /* the list */
    uv_update_time(&loop);
    service_ops.abandon(w, on_told, NULL);
    assert_true(run_one(uv_now(&loop)));
    assert_true(run_one(uv_now(&loop)));
    assert_false(run_one(uv_now(&loop))); /* after a pause */
    assert_true(service_due_ms(&service) > uv_now(&loop));
    assert_int_equal(n_told, 0);
    run_all();
    assert_int_equal(n_told, 1);
    assert_int_equal(told.outcome, RM_DONE);
    assert_string_equal(calls, "rollback1 rollback1 rollback1");
    service_ops.end(w);
}

/* By its name the program cannot tell a double's work from the prepared branch. */
static void a_double_does_not_end_a_prepared_branch(void **state)
{
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    n_listed = 1;
    answers[n_answers++] = TX_EIO; /* the list */
    service_ops.abandon(w, on_told, NULL);
    run_all();
    assert_string_equal(calls, "");
    assert_int_equal(n_told, 1);
    assert_int_equal(told.outcome, RM_UNKNOWN);
    service_ops.end(w);
}

/* Nor a committed one; and that is an end. */
static void a_double_of_a_committed_branch_ends(void **state)
{
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    answers[n_answers++] = TX_EHEURISTIC;
    answers[n_answers++] = TX_OK; /* the list */
    service_ops.abandon(w, on_told, NULL);
    run_all();
    assert_string_equal(calls, "rollback1");
    assert_int_equal(n_told, 1);
    assert_int_equal(told.outcome, RM_HEURISTIC_COMMIT);
    service_ops.end(w);
}

static int admitted(const char *branch)
{
    struct tx_error e = {0};
    int rc = service_ops.admit(rm, branch, &e);

    assert_true((rc == TX_OK) == (*e.msg == '\0'));
    return rc;
}

/* No branch begins under the name of a prepared one, and none at all before those are known. */
static void a_name_in_doubt_is_not_taken_again(void **state)
{
    (void)state;
    assert_int_equal(admitted(BRANCH), TX_OK);
    n_listed = 1;
    service_ops.list(rm, "assent-00000000000000ab-", "", 4, on_page, NULL);
    run_all();
    assert_int_equal(admitted(BRANCH), TX_EREFUSED);
    assert_int_equal(admitted(OTHER), TX_OK);
    n_listed = 0;
    service_ops.list(rm, "assent-00000000000000ac-", "", 4, on_page, NULL); /* another group's */
    run_all();
    assert_int_equal(admitted(BRANCH), TX_EREFUSED);
    service_ops.list(rm, "assent-00000000000000ab-", "", 4, on_page, NULL);
    run_all();
    assert_int_equal(admitted(BRANCH), TX_OK);
}

static void nothing_is_taken_before_the_first_list(void **state)
{
    struct rm_options options = {.loop = &loop, .name = "stock", .context = &service, .status = on_status};
    struct tx_error e;

    (void)state;
    close_and_run();
    n_status = 0;
    assert_int_equal(service_ops.open(&rm, &options, &e), TX_OK);
    assert_int_equal(admitted(OTHER), TX_EUNREACHABLE);
    answers[n_answers++] = TX_EIO;
    answers[n_answers++] = TX_EIO;
    n_listed = 1;
    assert_true(run_one(uv_now(&loop)));
    assert_int_equal(admitted(OTHER), TX_EUNREACHABLE);
    assert_int_equal(n_status, 1);
    assert_false(is_up);
    run_all();
    assert_int_equal(n_status, 2);
    assert_true(is_up);
    assert_int_equal(admitted(OTHER), TX_OK);
    assert_int_equal(admitted(BRANCH), TX_EREFUSED);
}

/* The coordinator does not know of it: nobody else would finish it. */
static void a_commit_in_one_phase_goes_on_until_it_is_done(void **state)
{
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    answers[n_answers++] = TX_EIO;
    answers[n_answers++] = TX_OK; /* prepare */
    service_ops.one_phase(w, on_told, NULL);
    run_all();
    assert_string_equal(calls, "prepare1 commit1 commit1");
    assert_int_equal(n_told, 1);
    assert_int_equal(told.outcome, RM_DONE);
    service_ops.end(w);
}

static void answers_mean(void **state)
{
    static const struct {
        bool commit;
        int answer;
        enum rm_outcome outcome;
    } rows[] = {
        {true, TX_OK, RM_DONE},
        {true, TX_ENOTFOUND, RM_HAZARD},
        {true, TX_EHEURISTIC, RM_HEURISTIC_ROLLBACK},
        {true, TX_EIO, RM_FAILED},
        {true, 99, RM_FAILED},
        {false, TX_OK, RM_DONE},
        {false, TX_ENOTFOUND, RM_FAILED},
        {false, TX_EHEURISTIC, RM_HEURISTIC_COMMIT},
        {false, TX_EIO, RM_FAILED},
    };
    struct rm_finish f = finish_of(BRANCH);

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answers[n_answers++] = rows[i].answer;
        (rows[i].commit ? service_ops.commit : service_ops.rollback)(rm, &f, on_told, NULL);
        run_all();
        assert_int_equal(told.outcome, rows[i].outcome);
    }
}

/* A proof that names no branch makes no call: the program is not asked to commit it. */
static void a_strange_proof_commits_nothing(void **state)
{
    static const char *const proofs[] = {"", "statements=3", "branch=", "branch=strange", "pg 17"};

    (void)state;
    for (size_t i = 0; i < sizeof proofs / sizeof *proofs; i++) {
        service_ops.status(rm, proofs[i], on_told, NULL);
        run_all();
        assert_int_equal(told.outcome, RM_HAZARD);
    }
    assert_string_equal(calls, "");
}

static void a_proof_tells(void **state)
{
    struct rm_work *w;

    (void)state;
    answers[n_answers++] = TX_ENOTFOUND;
    answers[n_answers++] = TX_OK; /* the list */
    service_ops.status(rm, "branch=" BRANCH, on_told, NULL);
    run_all();
    assert_int_equal(told.outcome, RM_REFUSED);
    service_ops.status(rm, "branch=" BRANCH, on_told, NULL);
    run_all();
    assert_int_equal(told.outcome, RM_DONE);
    assert_string_equal(calls, "commit1 commit1");
    w = service_ops.begin(rm, BRANCH, NULL, NULL);
    service_ops.status(rm, "branch=" BRANCH, on_told, NULL);
    run_all();
    assert_int_equal(told.outcome, RM_UNKNOWN);
    service_ops.end(w);
    n_listed = 1;
    service_ops.status(rm, "branch=" BRANCH, on_told, NULL);
    run_all();
    assert_int_equal(told.outcome, RM_UNKNOWN);
    assert_string_equal(calls, "commit1 commit1"); /* neither of the last two */
}

/* Only what is at work is rolled back: of another it may stand in the log that it is committed. */
static void closing_rolls_back_what_is_at_work(void **state)
{
    struct rm_work *idle = service_ops.begin(rm, OTHER, NULL, NULL);
    struct rm_work *busy = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    answers[n_answers++] = TX_PARTICIPANT_LATER; /* the commit */
    answers[n_answers++] = TX_OK;
    service_ops.one_phase(busy, on_told, NULL);
    run_all();
    assert_string_equal(calls, "prepare1 commit1");
    calls[0] = '\0';
    close_and_run();
    assert_string_equal(calls, "rollback2");
    assert_int_equal(n_told, 1); /* what was outstanding */
    assert_int_equal(told.outcome, RM_UNKNOWN);
    service_ops.end(idle);
    service_ops.end(busy);
}

/* A double of a request can have begun a work that is called as a prepared branch is. */
static void closing_spares_what_is_prepared(void **state)
{
    struct rm_work *doubled = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    n_listed = 1;
    close_and_run();
    assert_string_equal(calls, "");
    service_ops.end(doubled);
}

/* Prepared for one phase, and its commit has not been called yet: it stays, and is found in doubt. */
static void closing_between_the_phases(void **state)
{
    struct rm_work *w = service_ops.begin(rm, BRANCH, NULL, NULL);

    (void)state;
    service_ops.one_phase(w, on_told, NULL);
    assert_true(run_one(0));
    close_and_run();
    assert_string_equal(calls, "prepare1");
    service_ops.end(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_of_a_branch_at_a_time),
        TEST(answered_later),
        TEST(a_list_is_not_answered_later),
        TEST(a_statement_s_result_is_bounded),
        TEST(lists_come_in_pages),
        TEST(a_rollback_goes_on_until_it_is_done),
        TEST(a_double_does_not_end_a_prepared_branch),
        TEST(a_double_of_a_committed_branch_ends),
        TEST(a_name_in_doubt_is_not_taken_again),
        TEST(nothing_is_taken_before_the_first_list),
        TEST(a_commit_in_one_phase_goes_on_until_it_is_done),
        TEST(answers_mean),
        TEST(a_strange_proof_commits_nothing),
        TEST(a_proof_tells),
        TEST(closing_rolls_back_what_is_at_work),
        TEST(closing_spares_what_is_prepared),
        TEST(closing_between_the_phases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
