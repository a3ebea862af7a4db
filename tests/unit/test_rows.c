/* test_rows: what an agent's answer is to an application (rows.h); an agent may say anything that wire_decode()
 * lets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>

#include "libtx/rows.h"

static txn_rows *take(const struct wire_rows *w)
{
    struct channel_message none = {.data = NULL};
    txn_rows *rows = rows_take(w, &none);

    assert_non_null(rows);
    return rows;
}

static void test_values(void **state)
{
    struct buf cells;
    txn_rows *rows;

    (void)state;
    buf_init(&cells);
    buf_put_str(&cells, "name");
    buf_put_str(&cells, "x");
    buf_put_str(&cells, NULL);
    rows = take(&(struct wire_rows){
        .n_rows = 2, .n_columns = 1, .cells = cells.data, .cells_len = cells.len, .affected = 3});
    assert_int_equal(txn_rows_count(rows), 2);
    assert_int_equal(txn_rows_columns(rows), 1);
    assert_string_equal(txn_rows_name(rows, 0), "name");
    assert_null(txn_rows_name(rows, 1));
    assert_null(txn_rows_name(rows, -1));
    assert_string_equal(txn_rows_value(rows, 0, 0), "x");
    assert_null(txn_rows_value(rows, 1, 0));
    assert_null(txn_rows_value(rows, 2, 0));
    assert_int_equal(txn_rows_affected(rows), 3);
    free(rows);
    buf_release(&cells);
}

/* Rows without a column take no room in the message, so there may be more of them than an int counts. */
static void test_no_count_is_negative(void **state)
{
    txn_rows *rows = take(&(struct wire_rows){.n_rows = UINT32_MAX, .affected = UINT64_MAX});

    (void)state;
    assert_int_equal(txn_rows_count(rows), INT_MAX);
    assert_true(txn_rows_affected(rows) == LLONG_MAX);
    assert_null(txn_rows_value(rows, 0, 0));
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_no_count_is_negative),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
