/* test_log: whatever is told, a line of the log is one (log.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/log.h"

static char last[2048];

static void on_line(void *arg, const char *line)
{
    (void)arg;
    strcpy(last, line);
}

static void test_a_line_is_one_line(void **state)
{
    (void)state;
    log_divert(on_line, NULL);
    log_line(LOG_WARN, "resource", "error=\"%s\"",
             "no such table\nLINE 1: a\r\n2026-11-27 event=forged \x1b[2J\x7f");
    log_divert(NULL, NULL);
    assert_non_null(
        strstr(last, " event=resource error=\"no such table LINE 1: a  2026-11-27 event=forged  [2J \""));
}

static void test_text_stays(void **state)
{
    (void)state;
    log_divert(on_line, NULL);
    log_line(LOG_WARN, "resource", "error=\"%s\"", "«ä» – 😀");
    log_divert(NULL, NULL);
    assert_non_null(strstr(last, "error=\"«ä» – 😀\""));
}

/* What is left of standard error, of a process that logs errors alone. */
static void test_audit_is_always_written(void **state)
{
    char text[1024] = "";
    int ends[2], before = dup(STDERR_FILENO);

    (void)state;
    assert_int_equal(log_level_parse("audit"), -1);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_line(LOG_AUDIT, "audit", "too=early"); /* a library is silent */
    log_init("test", LOG_ERROR);
    log_line(LOG_WARN, "resource", "left=out");
    log_line(LOG_AUDIT, "audit", "name=ops");
    dup2(before, STDERR_FILENO);
    close(before);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    close(ends[1]);
    assert_non_null(strstr(text, "Z test audit event=audit name=ops\n"));
    assert_null(strstr(text, "left=out"));
    assert_null(strstr(text, "too=early"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_one_line),
        cmocka_unit_test(test_text_stays),
        cmocka_unit_test(test_audit_is_always_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
