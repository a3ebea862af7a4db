/* test_txid: the names of transactions and branches (txid.h), and the two small modules below: buf.h and err.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"
#include "libtx/shared/txid.h"

/* txid */

static const struct txid ids[] = {
    {1, 1, 1, 0},
    {0x00000000deadbeef, 12, 345678, 0x0123456789abcdef},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
};

static void ids_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char text[TXID_TEXT_SIZE];
        struct txid back;

        txid_format(&ids[i], text);
        assert_true(txid_parse(text, &back));
        assert_true(txid_equal(&ids[i], &back));
    }
}

static void gids_come_back(void **state)
{
    static const unsigned branches[] = {1, 64, UINT16_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        for (size_t j = 0; j < 3; j++) {
            char gid[GID_SIZE];
            struct txid back;
            unsigned branch;

            gid_format(&ids[i], branches[j], gid);
            assert_true(gid_parse(gid, &back, &branch));
            assert_true(txid_equal(&ids[i], &back));
            assert_int_equal(branch, branches[j]);
        }
    }
}

/* Other programs and people read these; PostgreSQL allows 199 bytes, XA 64 + 64. */
static void spelling_is_fixed(void **state)
{
    char text[TXID_TEXT_SIZE], gid[GID_SIZE];

    (void)state;
    txid_format(&ids[1], text);
    assert_string_equal(text, "00000000deadbeef-12-345678-0123456789abcdef");
    gid_format(&ids[1], 7, gid);
    assert_string_equal(gid, "assent-00000000deadbeef-12-345678-0123456789abcdef-7");
    gid_format(&ids[2], UINT16_MAX, gid);
    assert_in_range(strlen(gid), 1, 127);
}

static void malformed_ids_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "-",
        "---",
        "00000000deadbeef",
        "00000000deadbeef-12-345678",
        "00000000deadbeef-12-345678-",
        "00000000deadbeef-12--0123456789abcdef",
        "00000000deadbeef--345678-0123456789abcdef",
        "-12-345678-0123456789abcdef",
        "00000000deadbeef-12-345678-0123456789abcdef-",
        "00000000deadbeef-12-345678-0123456789abcdef ",
        " 00000000deadbeef-12-345678-0123456789abcdef",
        "00000000deadbeef-12-345678-0123456789abcdefX",
        "00000000deadbeef-012-345678-0123456789abcdef",
        "00000000deadbeef-12-0345678-0123456789abcdef",
        "00000000deadbeef-+12-345678-0123456789abcdef",
        "00000000deadbeef-12- 345678-0123456789abcdef",
        "deadbeef-12-345678-0123456789abcdef",
        "0x000000deadbeef-12-345678-0123456789abcdef",
        "000000000deadbeef-12-345678-0123456789abcdef",
        "00000000DEADBEEF-12-345678-0123456789abcdef",
        "00000000deadbeef-12-345678-0123456789ABCDEF",
        "00000000deadbeeg-12-345678-0123456789abcdef",
        "00000000deadbeef-1a-345678-0123456789abcdef",
        "00000000deadbeef-18446744073709551616-345678-0123456789abcdef",
        "00000000deadbeef-12-99999999999999999999-0123456789abcdef",
        "00000000deadbeef-12-345678-10123456789abcdef",
        "0000000000000000-12-345678-0123456789abcdef",
        "00000000deadbeef-0-345678-0123456789abcdef",
        "00000000deadbeef-12-0-0123456789abcdef",
        "00000000deadbeef-12-345678-0123456789abcdef-1",
        "assent-00000000deadbeef-12-345678-0123456789abcdef",
    };
    struct txid id;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (txid_parse(bad[i], &id))
            fail_msg("«%s» was taken for an id", bad[i]);
    }
}

static void malformed_gids_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "a",
        "assent",
        "assent-",
        "assent--",
        "assent-1",
        "00000000deadbeef-12-345678-0123456789abcdef-7",
        "Assent-00000000deadbeef-12-345678-0123456789abcdef-7",
        "xassent-00000000deadbeef-12-345678-0123456789abcdef-7",
        "assent-00000000deadbeef-12-345678-0123456789abcdef",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-0",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-07",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-7 ",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-7x",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-7-7",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-+7",
        "assent-00000000deadbeef-12-345678-0123456789abcdef--7",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-65536",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-4294967303",
        "assent-00000000deadbeef-12-345678-0123456789abcdef-18446744073709551623",
        "assent-00000000DEADBEEF-12-345678-0123456789abcdef-7",
        "assent-0000000000000000-12-345678-0123456789abcdef-7",
        "assent-00000000deadbeef-12-7",
    };
    struct txid id;
    unsigned branch;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (gid_parse(bad[i], &id, &branch))
            fail_msg("«%s» was taken for a gid", bad[i]);
    }
}

static void every_part_tells_ids_apart(void **state)
{
    const struct txid id = {1, 2, 3, 4}, others[] = {{9, 2, 3, 4}, {1, 9, 3, 4}, {1, 2, 9, 4}, {1, 2, 3, 9}};

    (void)state;
    assert_true(txid_equal(&id, &id));
    for (size_t i = 0; i < 4; i++)
        assert_false(txid_equal(&id, &others[i]));
}

/* buf */

static void numbers_and_strings_come_back(void **state)
{
    struct buf b;
    struct cur c;

    (void)state;
    buf_init(&b);
    buf_put_u32(&b, 0);
    buf_put_u8(&b, 0xFE);
    buf_put_u16(&b, 0xFEDC);
    buf_put_u64(&b, 0xFEDCBA9876543210);
    buf_put_str(&b, NULL);
    buf_put_str(&b, "");
    buf_put_str(&b, "text");
    buf_put_bytes(&b, NULL, 0);
    buf_put_bytes(&b, "raw", 3);
    buf_patch_u32(&b, 0, 0x89ABCDEF);
    assert_false(b.failed);
    assert_memory_equal(b.data, "\xEF\xCD\xAB\x89\xFE\xDC\xFE\x10", 8); /* little-endian */
    cur_init(&c, b.data, b.len);
    assert_int_equal(cur_u32(&c), 0x89ABCDEF);
    assert_int_equal(cur_u8(&c), 0xFE);
    assert_int_equal(cur_u16(&c), 0xFEDC);
    assert_true(cur_u64(&c) == 0xFEDCBA9876543210);
    assert_null(cur_str(&c, 10));
    assert_string_equal(cur_str(&c, 0), "");
    assert_string_equal(cur_str_required(&c, 4), "text");
    assert_false(cur_done(&c));
    assert_memory_equal(cur_bytes(&c, 3), "raw", 3);
    assert_true(cur_done(&c));
    buf_release(&b);
}

static void memory_is_kept_or_handed_over(void **state)
{
    struct buf b;
    uint8_t *data;
    size_t len, cap;

    (void)state;
    buf_init(&b);
    for (uint32_t i = 0; i < 1000; i++)
        buf_put_u32(&b, i);
    cap = b.cap;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    buf_put_u8(&b, 7);
    data = buf_detach(&b, &len);
    assert_int_equal(len, 1);
    assert_int_equal(data[0], 7);
    assert_null(b.data);
    free(data);
    buf_release(&b);
}

static void cursor_stops_at_the_end(void **state)
{
    struct cur c;

    (void)state;
    cur_init(&c, "\1\2\3", 3);
    assert_int_equal(cur_u16(&c), 0x0201);
    assert_int_equal(cur_u16(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cur_u8(&c), 0); /* one is left, but bad stays bad */
    assert_null(cur_bytes(&c, 0));
    assert_null(cur_str(&c, 10));
    assert_false(cur_done(&c));
    cur_init(&c, NULL, 0);
    assert_true(cur_done(&c));
}

static void malformed_strings_are_bad(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {"\4\0\0\0abc", 7},  /* too short */
        {"\4\0\0\0abcd", 8}, /* no NUL */
        {"\4\0\0\0a\0b", 8}, /* a NUL inside */
        {"\5\0\0\0abcd", 9}, /* longer than three */
        {"\xFF\xFF\xFF\xFF"
         "abc",
         8}, /* a length that wraps a careless sum */
    };
    struct cur c;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cur_init(&c, cases[i].bytes, cases[i].n);
        assert_null(cur_str(&c, 3));
        assert_true(c.bad);
    }
    cur_init(&c, "\0\0\0\0", 4);
    assert_null(cur_str_required(&c, 3));
    assert_true(c.bad);
}

/* err */

static void errors_are_set_and_wrapped(void **state)
{
    struct tx_error e = {0};

    (void)state;
    assert_int_equal(err_set(&e, TX_EIO, "open %s", "wal"), TX_EIO);
    assert_int_equal(e.code, TX_EIO);
    assert_string_equal(e.msg, "open wal");
    assert_int_equal(err_wrap(&e, TX_EIO, "node %d", 3), TX_EIO);
    assert_string_equal(e.msg, "node 3: open wal");
    assert_int_equal(err_set(NULL, TX_EIO, "nobody asks"), TX_EIO);
    assert_int_equal(err_wrap(NULL, TX_EIO, "nobody asks"), TX_EIO);
}

static void long_errors_are_cut(void **state)
{
    struct tx_error e = {0};
    char text[600];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)err_set(&e, TX_EIO, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    (void)err_wrap(&e, TX_EIO, "outer");
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_memory_equal(e.msg, "outer: xxx", 10);
    (void)err_wrap(&e, TX_EIO, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void every_code_has_its_text(void **state)
{
    (void)state;
#define CHECK(name, code, text)   \
    assert_int_equal(name, code); \
    assert_string_equal(tx_strerror(name), text);
    TX_ERROR_LIST(CHECK)
#undef CHECK
    assert_string_equal(tx_strerror(1), "unknown error");
    assert_string_equal(tx_strerror(TX_EDENIED - 1), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_back),
        cmocka_unit_test(gids_come_back),
        cmocka_unit_test(spelling_is_fixed),
        cmocka_unit_test(malformed_ids_are_refused),
        cmocka_unit_test(malformed_gids_are_refused),
        cmocka_unit_test(every_part_tells_ids_apart),
        cmocka_unit_test(numbers_and_strings_come_back),
        cmocka_unit_test(memory_is_kept_or_handed_over),
        cmocka_unit_test(cursor_stops_at_the_end),
        cmocka_unit_test(malformed_strings_are_bad),
        cmocka_unit_test(errors_are_set_and_wrapped),
        cmocka_unit_test(long_errors_are_cut),
        cmocka_unit_test(every_code_has_its_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
