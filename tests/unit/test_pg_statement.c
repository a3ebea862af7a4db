/* test_pg_statement: which statements, and which answers, the agent takes for an end of a branch's transaction:
 * rm_pg_statement.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "participant/rm_pg.h"

static void assert_all(const char *const *sql, size_t n, enum pg_statement want)
{
    for (size_t i = 0; i < n; i++) {
        if (rm_pg_statement(sql[i]) != want)
            fail_msg("«%s»: %d", sql[i], (int)rm_pg_statement(sql[i]));
    }
}

static void refuses_what_ends_it(void **state)
{
    static const char *const sql[] = {
        "COMMIT",
        "commit and chain",
        "END",
        "ABORT",
        "BEGIN",
        "START TRANSACTION",
        "ROLLBACK",
        "ROLLBACK AND CHAIN",
        "ROLLBACK WORK",
        "ROLLBACK TRANSACTION AND CHAIN",
        "PREPARE TRANSACTION 'foo'",
        "PREPARE/**/TRANSACTION 'foo'",
        "COMMIT PREPARED 'foo'",
        " ;;\t\r\n\f COMMIT",
        "-- x\nCOMMIT",
    };

    (void)state;
    assert_all(sql, sizeof sql / sizeof *sql, PG_STATEMENT_ENDS);
}

/* One comment may stand within another, and CR ends a line as LF does. */
static void reads_comments_as_the_server_does(void **state)
{
    static const char *const ends[] = {
        "/* x */ COMMIT",
        "/* /* */ */ COMMIT",
        "/* /* */ */ COMMIT AND CHAIN",
        "/*/**//**/*/COMMIT",
        "/* /* */ */ PREPARE TRANSACTION 'foo'",
        "PREPARE /* /* */ */ TRANSACTION 'foo'",
        "-- x\rCOMMIT",
        "--\r--\nCOMMIT AND CHAIN",
        "/***/ COMMIT",
        "/* -- */ COMMIT",
        "-- /*\nCOMMIT",
        "ROLLBACK /* /* */ TO */ AND CHAIN",
        "ROLLBACK -- TO\r AND CHAIN",
    };
    static const char *const plain[] = {
        "/* /* */ COMMIT", "/* COMMIT */ SELECT 1", "-- COMMIT", "/*/ COMMIT", "/* COMMIT", "", "/", "-",
    };

    (void)state;
    assert_all(ends, sizeof ends / sizeof *ends, PG_STATEMENT_ENDS);
    assert_all(plain, sizeof plain / sizeof *plain, PG_STATEMENT_PLAIN);
}

static void lets_savepoints_and_the_rest_pass(void **state)
{
    static const char *const savepoint[] = {"ROLLBACK TO x", "rollback work to savepoint x",
                                            "ROLLBACK TRANSACTION /* /* */ */ TO x"};
    static const char *const plain[] = {"SAVEPOINT x",           "RELEASE x", "SELECT 1",
                                        "PREPARE p AS SELECT 1", "COMMITS",   "UPDATE t SET a = 'COMMIT'",
                                        "DO $$ BEGIN END $$"};

    (void)state;
    assert_all(savepoint, sizeof savepoint / sizeof *savepoint, PG_STATEMENT_SAVEPOINT);
    assert_all(plain, sizeof plain / sizeof *plain, PG_STATEMENT_PLAIN);
}

/* Rolling back to a savepoint and rolling back answer with one and the same tag. */
static void knows_an_end_by_its_tag(void **state)
{
    static const char *const ends[] = {"BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK",
                                       "PREPARE TRANSACTION"};
    static const char *const others[] = {"SAVEPOINT", "RELEASE", "SELECT 1",     "INSERT 0 1",
                                         "PREPARE",   "DO",      "CREATE TABLE", ""};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        assert_true(rm_pg_tag_ends(PG_STATEMENT_PLAIN, ends[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(rm_pg_tag_ends(PG_STATEMENT_PLAIN, others[i]));
    assert_false(rm_pg_tag_ends(PG_STATEMENT_SAVEPOINT, "ROLLBACK"));
    assert_true(rm_pg_tag_ends(PG_STATEMENT_SAVEPOINT, "COMMIT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_ends_it),
        cmocka_unit_test(reads_comments_as_the_server_does),
        cmocka_unit_test(lets_savepoints_and_the_rest_pass),
        cmocka_unit_test(knows_an_end_by_its_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
