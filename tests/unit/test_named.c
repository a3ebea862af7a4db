/* test_named: the statements that an agent may be restricted to: the file, and what is taken for a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "participant/named.h"

static char path[] = "/tmp/assent-named-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    int fd = mkstemp(strcpy(path, "/tmp/assent-named-XXXXXX"));

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void assert_denied(const struct named *t, const char *statement, const char *why)
{
    struct tx_error e = {0};

    assert_null(named_resolve(t, statement, &e));
    assert_int_equal(e.code, TX_EDENIED);
    if (strstr(e.msg, why) == NULL)
        fail_msg("«%s»", e.msg);
}

static void any_lets_everything_through(void **state)
{
    const char *sql = "DELETE FROM accounts";
    struct named t;
    struct tx_error e;

    (void)state;
    assert_int_equal(named_load(&t, "any", &e), TX_OK);
    assert_ptr_equal(named_resolve(&t, sql, &e), sql);
    assert_ptr_equal(named_resolve(NULL, sql, &e), sql);
    named_release(&t);
}

static void none_lets_nothing_through(void **state)
{
    struct named t;
    struct tx_error e;

    (void)state;
    assert_int_equal(named_load(&t, "none", &e), TX_OK);
    assert_denied(&t, "SELECT 1", "executes no statements");
    assert_denied(&t, "@debit", "executes no statements");
    assert_denied(&t, "", "executes no statements");
    named_release(&t);
}

static void a_file_lets_its_names_through(void **state)
{
    struct named t;
    struct tx_error e;

    (void)state;
    write_file("# comment = no statement\n"
               "\n"
               "debit = UPDATE accounts SET balance = balance - $2 WHERE id = $1\r\n"
               "  look\t=\tSELECT '#' || name FROM accounts -- all\n"
               "last = SELECT 1"); /* without a newline */
    assert_int_equal(named_load(&t, path, &e), TX_OK);
    assert_string_equal(named_resolve(&t, "@debit", &e),
                        "UPDATE accounts SET balance = balance - $2 WHERE id = $1");
    assert_string_equal(named_resolve(&t, "debit", &e), named_resolve(&t, "@debit", &e));
    assert_string_equal(named_resolve(&t, "@look", &e), "SELECT '#' || name FROM accounts -- all");
    assert_string_equal(named_resolve(&t, "@last", &e), "SELECT 1");
    assert_denied(&t, "@credit", "no statement of this name");
    assert_denied(&t, "@", "no statement of this name");
    assert_denied(&t, "@@debit", "no statement of this name");
    assert_denied(&t, "@debit ", "no statement of this name");
    assert_denied(&t, "SELECT 1", "named statements alone");
    assert_denied(&t, "debit; DROP TABLE accounts", "named statements alone");
    assert_denied(&t, "", "named statements alone");
    named_release(&t);
}

static void assert_refused(const char *text, const char *why)
{
    struct named t;
    struct tx_error e;

    write_file(text);
    assert_int_equal(named_load(&t, path, &e), TX_EINVAL);
    if (strstr(e.msg, why) == NULL || strstr(e.msg, path) == NULL)
        fail_msg("«%s»", e.msg);
    assert_int_equal(t.n, 0);
    assert_null(t.list);
}

static void a_bad_file_is_refused(void **state)
{
    struct named t;
    struct tx_error e;

    (void)state;
    assert_refused("debit = SELECT 1\nSELECT 1\n", ":2: write NAME = SQL");
    assert_refused("a b = SELECT 1\n", ":1: «a b» is no name");
    assert_refused("@debit = SELECT 1\n", "is no name");
    assert_refused("= SELECT 1\n", "is no name");
    assert_refused("debit =   \n", "debit has no SQL");
    assert_refused("debit = SELECT 1\n\ndebit = SELECT 2\n", ":3: debit is there twice");
    assert_refused("# nothing\n", "has no statement");
    assert_int_equal(named_load(&t, "/nonexistent/statements", &e), TX_EIO);
    assert_non_null(strstr(e.msg, "any, or none"));
    assert_int_equal(named_load(&t, "/tmp", &e), TX_EIO);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* What stands behind it may be the better part of a WHERE. */
static void a_nul_byte_ends_no_statement(void **state)
{
    FILE *f = fopen(path, "w");
    struct tx_error e;
    struct named t;

    (void)state;
    assert_non_null(f);
    fprintf(f, "a = DELETE FROM a%c WHERE id = $1\n", '\0');
    fclose(f);
    assert_int_equal(named_load(&t, path, &e), TX_EINVAL);
    assert_non_null(strstr(e.msg, ":1: a NUL byte"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_lets_everything_through),   TEST(none_lets_nothing_through),
        TEST(a_file_lets_its_names_through), TEST(a_bad_file_is_refused),
        TEST(a_nul_byte_ends_no_statement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
