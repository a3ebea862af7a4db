/* test_mariadb_errors: what MariaDB's answers mean to a branch, and what people are told: mariadb_reply.c and
 * the table of txn_branch.c, without a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libtx/mariadb_reply.h"

static const enum branch_op ops[] = {OP_ASK,      OP_COMMIT_READ_ONLY, OP_PREPARE,          OP_COMMIT,
                                     OP_ROLLBACK, OP_COMMIT_PREPARED,  OP_ROLLBACK_PREPARED};
enum { OPS = sizeof ops / sizeof ops[0] };

static enum branch_answer judge(enum branch_op op, unsigned error)
{
    struct mariadb_reply r = {.error = error};

    return mariadb_judge(op, &r);
}

/* A branch that is finished, one that never was and one that another session holds answer it alike. */
static void not_found_is_never_success(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPS; i++)
        assert_int_equal(judge(ops[i], MARIADB_NOTA), ANSWER_NO);
}

static void no_answer_is_not_a_refusal(void **state)
{
    static const unsigned lost[] = {2006, 2013, 2055, 1053, 1152, 1927, 4031};

    (void)state;
    for (size_t i = 0; i < OPS; i++) {
        for (size_t k = 0; k < sizeof lost / sizeof lost[0]; k++)
            assert_int_equal(judge(ops[i], lost[k]), ANSWER_LOST);
    }
    assert_int_equal(branch_next(OP_PREPARE, judge(OP_PREPARE, 1927)), BRANCH_UNKNOWN);
}

static void a_deadlock_is_rolled_back(void **state)
{
    (void)state;
    assert_int_equal(branch_next(OP_PREPARE, judge(OP_PREPARE, 1213)), BRANCH_REFUSED);
    assert_int_equal(judge(OP_ROLLBACK, MARIADB_RB_DEADLOCK), ANSWER_YES);
    assert_int_equal(judge(OP_COMMIT_PREPARED, MARIADB_RB_DEADLOCK), ANSWER_NO);
    assert_int_equal(judge(OP_COMMIT, MARIADB_RB_DEADLOCK), ANSWER_NO);
}

/* A prepared branch that its session cannot finish is left to the agents. */
static void leaves_what_it_cannot_finish(void **state)
{
    (void)state;
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, judge(OP_COMMIT_PREPARED, 0)), BRANCH_COMMITTED);
    assert_int_equal(branch_next(OP_COMMIT_PREPARED, judge(OP_COMMIT_PREPARED, MARIADB_NOTA)), BRANCH_LEFT);
    assert_int_equal(branch_next(OP_ROLLBACK_PREPARED, judge(OP_ROLLBACK_PREPARED, 2013)), BRANCH_LEFT);
}

static void assert_told(unsigned error, const char *text, const char *message)
{
    struct mariadb_reply r = {.error = error};
    struct tx_error e;

    snprintf(r.text, sizeof r.text, "%s", text);
    mariadb_explain(&e, "bank_b", OP_PREPARE, &r);
    assert_int_equal(e.code, TX_EROLLBACK);
    assert_string_equal(e.msg, message);
}

static void tells_what_to_do(void **state)
{
    (void)state;
    assert_told(
        1142, "INSERT command denied",
        "bank_b: prepare: 1142 INSERT command denied; run sql/setup-mariadb.sql with the connection's user "
        "among its @applications");
    assert_told(1213, "Deadlock found", "bank_b: prepare: 1213 Deadlock found; retry the transaction");
    assert_told(1021, "Disk full", "bank_b: prepare: 1021 Disk full");
    assert_told(2013, "gone", "bank_b: prepare: connection lost: 2013 gone");
    assert_told(MARIADB_FAILED, "failed", "bank_b: prepare: a statement on its connection had failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_found_is_never_success), cmocka_unit_test(no_answer_is_not_a_refusal),
        cmocka_unit_test(a_deadlock_is_rolled_back),  cmocka_unit_test(leaves_what_it_cannot_finish),
        cmocka_unit_test(tells_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
