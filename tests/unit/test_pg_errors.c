/* test_pg_errors: what PostgreSQL's answers mean to a branch, and what people are told: pg_reply.c and the
 * table of txn_branch.c, without a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libtx/pg_reply.h"

static struct pg_reply tag(const char *text)
{
    struct pg_reply r = {.lost = false};

    snprintf(r.tag, sizeof r.tag, "%s", text);
    return r;
}

static struct pg_reply failure(const char *sqlstate, const char *text)
{
    struct pg_reply r = {.lost = false};

    snprintf(r.sqlstate, sizeof r.sqlstate, "%s", sqlstate);
    snprintf(r.text, sizeof r.text, "%s", text);
    return r;
}

static enum branch_answer judge(enum branch_op op, struct pg_reply r)
{
    return pg_judge(op, &r);
}

static void votes_yes_on_the_exact_tag_alone(void **state)
{
    (void)state;
    assert_int_equal(judge(OP_PREPARE, tag("PREPARE TRANSACTION")), ANSWER_YES);
    assert_int_equal(judge(OP_PREPARE, tag("ROLLBACK")), ANSWER_NO);
    assert_int_equal(judge(OP_PREPARE, tag("PREPARE")), ANSWER_NO);
    assert_int_equal(judge(OP_PREPARE, tag("SELECT 1")), ANSWER_NO);
    assert_int_equal(judge(OP_PREPARE, tag("")), ANSWER_NO);
    assert_int_equal(judge(OP_COMMIT, tag("COMMIT")), ANSWER_YES);
    assert_int_equal(judge(OP_COMMIT, tag("ROLLBACK")), ANSWER_NO);
    assert_int_equal(judge(OP_COMMIT, tag("COMMIT PREPARED")), ANSWER_NO);
    assert_int_equal(judge(OP_COMMIT_READ_ONLY, tag("ROLLBACK")), ANSWER_NO);
}

/* The tag came, then the connection went: the answer stands. Without it nothing is known. */
static void loses_no_answer_that_came(void **state)
{
    static const enum branch_op ops[] = {OP_PREPARE, OP_COMMIT, OP_COMMIT_PREPARED, OP_ROLLBACK_PREPARED,
                                         OP_ASK};
    struct pg_reply r = tag("PREPARE TRANSACTION");

    (void)state;
    r.lost = true;
    assert_int_equal(pg_judge(OP_PREPARE, &r), ANSWER_YES);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        r = failure("57P01", "terminating connection due to administrator command");
        r.lost = true;
        assert_int_equal(pg_judge(ops[i], &r), ANSWER_LOST);
    }
}

static void tells_writers_from_readers(void **state)
{
    struct pg_reply r = tag("SELECT 1");

    (void)state;
    r.rows = true;
    assert_int_equal(pg_judge(OP_ASK, &r), ANSWER_READ_ONLY);
    strcpy(r.column[0], "4711");
    assert_int_equal(pg_judge(OP_ASK, &r), ANSWER_YES);
    assert_int_equal(judge(OP_ASK, failure("25P02", "current transaction is aborted")), ANSWER_NO);
}

static void finishes_prepared_branches(void **state)
{
    (void)state;
    assert_int_equal(judge(OP_COMMIT_PREPARED, tag("COMMIT PREPARED")), ANSWER_YES);
    assert_int_equal(judge(OP_ROLLBACK_PREPARED, tag("ROLLBACK PREPARED")), ANSWER_YES);
    assert_int_equal(judge(OP_COMMIT_PREPARED, failure("55000", "is busy")), ANSWER_BUSY);
    assert_int_equal(judge(OP_ROLLBACK_PREPARED, failure("55000", "is busy")), ANSWER_BUSY);
    assert_int_equal(judge(OP_ROLLBACK_PREPARED, failure("42704", "does not exist")), ANSWER_YES);
    /* not there: committed by an agent, or never prepared; not for the client to guess */
    assert_int_equal(judge(OP_COMMIT_PREPARED, failure("42704", "does not exist")), ANSWER_NO);
    assert_int_equal(judge(OP_COMMIT_PREPARED, failure("42501", "permission denied")), ANSWER_NO);
    /* at PREPARE the same code says that the server is not set up for it, which waiting does not heal */
    assert_int_equal(judge(OP_PREPARE, failure("55000", "prepared transactions are disabled")), ANSWER_NO);
}

static void names_a_remedy(void **state)
{
    (void)state;
    assert_non_null(strstr(pg_remedy(OP_PREPARE, "55000"), "max_prepared_transactions"));
    assert_non_null(strstr(pg_remedy(OP_PREPARE, "53200"), "max_prepared_transactions"));
    assert_non_null(strstr(pg_remedy(OP_PREPARE, "0A000"), "temporary"));
    assert_non_null(strstr(pg_remedy(OP_PREPARE, "40001"), "retry"));
    assert_non_null(strstr(pg_remedy(OP_COMMIT, "40P01"), "retry"));
    assert_non_null(strstr(pg_remedy(OP_COMMIT, "23503"), "constraint"));
    assert_non_null(strstr(pg_remedy(OP_COMMIT, "25P02"), "failed"));
    assert_null(strstr(pg_remedy(OP_COMMIT, "53200"), "max_prepared_transactions"));
    assert_null(pg_remedy(OP_COMMIT, "55000"));
    assert_null(pg_remedy(OP_PREPARE, "22012"));
}

static void explains_cause_and_remedy(void **state)
{
    struct pg_reply r = failure("40001", "could not serialize access due to concurrent update");
    struct tx_error e;

    (void)state;
    pg_explain(&e, "bank_a", OP_PREPARE, &r);
    assert_int_equal(e.code, TX_EROLLBACK);
    assert_string_equal(e.msg,
                        "bank_a: prepare: 40001 could not serialize access due to concurrent update; retry "
                        "the transaction");
    r = failure("22012", "division by zero");
    pg_explain(&e, "bank_a", OP_COMMIT, &r);
    assert_string_equal(e.msg, "bank_a: commit: 22012 division by zero");
    r = tag("ROLLBACK");
    pg_explain(&e, "bank_a", OP_PREPARE, &r);
    assert_non_null(strstr(e.msg, "rolled back"));
    r = tag("");
    r.lost = true;
    pg_explain(&e, "bank_a", OP_PREPARE, &r);
    assert_string_equal(e.msg, "bank_a: prepare: connection lost");
}

/* The answers that mean «done or not, nobody knows» must end neither as done nor as not done. */
static void keeps_the_unknown_unknown(void **state)
{
    (void)state;
    assert_int_equal(branch_next(OP_PREPARE, ANSWER_LOST), BRANCH_UNKNOWN);
    assert_int_equal(branch_next(OP_COMMIT, ANSWER_LOST), BRANCH_IN_DOUBT);
    assert_int_equal(branch_next(OP_STATUS, ANSWER_LOST), BRANCH_IN_DOUBT);
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, ANSWER_LOST), BRANCH_LEFT);
    assert_int_equal(branch_next(OP_ROLLBACK_PREPARED, ANSWER_LOST), BRANCH_LEFT);
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, ANSWER_NO), BRANCH_LEFT);
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, ANSWER_BUSY), BRANCH_PREPARED);
}

static void moves_on_known_answers(void **state)
{
    (void)state;
    assert_int_equal(branch_next(OP_ASK, ANSWER_YES), BRANCH_WRITER);
    assert_int_equal(branch_next(OP_ASK, ANSWER_READ_ONLY), BRANCH_ACTIVE);
    assert_int_equal(branch_next(OP_ASK, ANSWER_LOST), BRANCH_ROLLED_BACK);
    assert_int_equal(branch_next(OP_COMMIT_READ_ONLY, ANSWER_YES), BRANCH_READ_ONLY);
    assert_int_equal(branch_next(OP_PREPARE, ANSWER_YES), BRANCH_PREPARED);
    assert_int_equal(branch_next(OP_PREPARE, ANSWER_NO), BRANCH_REFUSED);
    assert_int_equal(branch_next(OP_COMMIT, ANSWER_YES), BRANCH_COMMITTED);
    assert_int_equal(branch_next(OP_COMMIT, ANSWER_NO), BRANCH_REFUSED);
    assert_int_equal(branch_next(OP_STATUS, ANSWER_YES), BRANCH_COMMITTED);
    assert_int_equal(branch_next(OP_STATUS, ANSWER_NO), BRANCH_REFUSED);
    assert_int_equal(branch_next(OP_ROLLBACK, ANSWER_LOST), BRANCH_ROLLED_BACK);
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, ANSWER_YES), BRANCH_COMMITTED);
    assert_int_equal(branch_next(OP_ROLLBACK_PREPARED, ANSWER_YES), BRANCH_ROLLED_BACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_yes_on_the_exact_tag_alone),
        cmocka_unit_test(loses_no_answer_that_came),
        cmocka_unit_test(tells_writers_from_readers),
        cmocka_unit_test(finishes_prepared_branches),
        cmocka_unit_test(names_a_remedy),
        cmocka_unit_test(explains_cause_and_remedy),
        cmocka_unit_test(keeps_the_unknown_unknown),
        cmocka_unit_test(moves_on_known_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
