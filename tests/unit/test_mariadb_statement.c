/* test_mariadb_statement: which statements the agent takes for an end of a branch, whatever version of MariaDB
 * reads them: rm_mariadb_statement.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "participant/rm_mariadb_impl.h"

static void assert_all(const char *const *sql, size_t n, bool want)
{
    for (size_t i = 0; i < n; i++) {
        if (rm_mariadb_ends_transaction(sql[i]) != want)
            fail_msg("«%s» %s", sql[i], want ? "passes" : "is refused");
    }
}

static void refuses_what_ends_it(void **state)
{
    static const char *const sql[] = {
        "COMMIT",     "rollback",          "ROLLBACK WORK", "BEGIN",
        "BEGIN WORK", "START TRANSACTION", "XA END X'01'",  "xa\nrecover",
        ";; COMMIT",  "(COMMIT)",          "# x\nCOMMIT",   "-- x\nCOMMIT",
        "--\nXA END", "/* x */ XA END",    "/**/XA/**/END", "/* /* */ XA END",
    };

    (void)state;
    assert_all(sql, sizeof sql / sizeof *sql, true);
}

/* Which of these comments are executed depends on the server's version. */
static void reads_executable_comments_both_ways(void **state)
{
    static const char *const ends[] = {
        "/*!50000 XA */ END X'01'",
        "/*!XA END X'01'*/",
        "/*M!100000 XA END X'01'*/",
        "/*M! COMMIT */",
        "/*!50000 */ XA END X'01'",
        "/*!50000*//*M!*/ /* */ XA END X'01'",
        "/*!999999 SELECT */ XA END X'01'",
        "/*!999999 SELECT /* */ 1 */ XA END X'01'",
        "/*!999999 SELECT 1 */ /*!999999 SELECT 2 */ XA END X'01'",
        "/*!50000 /*!50000 XA END X'01' */ */",
        "/*!50000 /* SELECT */ XA */ END X'01'",
    };
    static const char *const plain[] = {
        "/*!40101 SET NAMES utf8mb4 */",
        "SELECT /*! XA */ 1",
        "/*!999999 SELECT /* */ XA END */",
        "/*!50000 SELECT",
        "/*!",
        "/*M!",
    };

    (void)state;
    assert_all(ends, sizeof ends / sizeof *ends, true);
    assert_all(plain, sizeof plain / sizeof *plain, false);
}

static void lets_the_rest_pass(void **state)
{
    static const char *const sql[] = {
        "SELECT 1",
        "SAVEPOINT s",
        "ROLLBACK TO s",
        "rollback work to savepoint s",
        "BEGIN NOT ATOMIC END",
        "/* XA */ SELECT 1",
        "# COMMIT",
        "-- COMMIT",
        "/* COMMIT",
        "",
        "DELIMITER //",
        "XAS",
        "/",
        "*",
        "#",
    };

    (void)state;
    assert_all(sql, sizeof sql / sizeof *sql, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_ends_it),
        cmocka_unit_test(reads_executable_comments_both_ways),
        cmocka_unit_test(lets_the_rest_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
