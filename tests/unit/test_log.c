/* test_log: whatever is told, a line of the log is one (log.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_one_line),
        cmocka_unit_test(test_text_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
