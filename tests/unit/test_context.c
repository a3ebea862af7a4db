/* test_context: contexts written and read again, and texts that are none (context.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "libtx/shared/context.h"

static const char *const good = "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock";

static void what_is_written_is_read(void **state)
{
    struct context c = {.id = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
                        .branch = UINT16_MAX,
                        .number = UINT32_MAX,
                        .timeout_ms = UINT32_MAX},
                   back;
    char text[TXN_CONTEXT_SIZE];

    (void)state;
    memset(c.resource, 'r', NAME_LIMIT);
    context_format(&c, text);
    assert_true(context_parse(text, &back));
    assert_true(txid_equal(&c.id, &back.id));
    assert_int_equal(back.branch, c.branch);
    assert_int_equal(back.number, c.number);
    assert_int_equal(back.timeout_ms, c.timeout_ms);
    assert_string_equal(back.resource, c.resource);
}

static void parts_stand_where_they_belong(void **state)
{
    struct context c;

    (void)state;
    assert_true(context_parse(good, &c));
    assert_int_equal(c.id.group, 0xab);
    assert_int_equal(c.id.session, 7);
    assert_int_equal(c.id.sequence, 9);
    assert_int_equal(c.id.nonce, 0xcd);
    assert_int_equal(c.branch, 3);
    assert_int_equal(c.number, 4);
    assert_int_equal(c.timeout_ms, 60000);
    assert_string_equal(c.resource, "stock");
}

/* One text for each context, so nothing is read that would not be written. */
static void what_is_not_written_is_not_read(void **state)
{
    static const char *const bad[] = {
        "",
        "assent1",
        "assent2:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock",
        " assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock",
        "assent1:00000000000000AB-7-9-00000000000000cd:3:4:60000:stock",
        "assent1:00000000000000ab-07-9-00000000000000cd:3:4:60000:stock",
        "assent1:00000000000000ab-7-9:3:4:60000:stock",
        "assent1::3:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:0:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:65539:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:-3:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd: 3:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:+3:4:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:0:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4294967300:60000:stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4::stock",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:sto/ck",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock ",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock\n",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:stock more",
        "assent1:00000000000000ab-7-9-00000000000000cd:3:4:60000:"
        "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr", /* 64 */
    };
    struct context c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (context_parse(bad[i], &c))
            fail_msg("«%s» was read", bad[i]);
    }
}

static void no_beginning_is_read(void **state)
{
    char text[TXN_CONTEXT_SIZE];
    struct context c;

    (void)state;
    for (size_t n = 0; n + sizeof "stock" <= strlen(good); n++) {
        snprintf(text, sizeof text, "%.*s", (int)n, good);
        if (context_parse(text, &c))
            fail_msg("«%s» was read", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(parts_stand_where_they_belong),
        cmocka_unit_test(what_is_not_written_is_not_read),
        cmocka_unit_test(no_beginning_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
