/* test_xa_xid: branches' names in XA (xa_xid.h): spelling, and what is not taken for one of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "libtx/shared/xa_xid.h"

static const struct txid ids[] = {
    {1, 1, 1, 0},
    {0x00000000deadbeef, 12, 345678, 0x0123456789abcdef},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
};

/* The bytes of two hex literals in a row: "X'…'" or "X'…',X'…',n". */
static size_t bytes_of(const char *sql, unsigned char *out)
{
    size_t n = 0;

    for (; *sql != '\0' && *sql != '1'; sql++) {
        if (*sql != 'X')
            continue;
        for (sql += 2; *sql != '\''; sql += 2) {
            unsigned byte;

            assert_int_equal(sscanf(sql, "%2x", &byte), 1);
            out[n++] = (unsigned char)byte;
        }
    }
    return n;
}

static void xids_come_back(void **state)
{
    static const unsigned branches[] = {1, 258, UINT16_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        for (size_t j = 0; j < 3; j++) {
            char sql[XA_XID_SQL_SIZE], key[XA_KEY_SQL_SIZE];
            unsigned char bytes[XA_XID_SQL_SIZE];
            struct txid back;
            unsigned branch;

            xa_xid_format(&ids[i], branches[j], sql);
            assert_int_equal(bytes_of(sql, bytes), XA_KEY_SIZE);
            assert_true(xa_xid_parse(XA_FORMAT_ID, 32, 2, bytes, XA_KEY_SIZE, &back, &branch));
            assert_true(txid_equal(&ids[i], &back));
            assert_int_equal(branch, branches[j]);
            xa_xid_key(&ids[i], branches[j], key);
            assert_int_equal(bytes_of(key, bytes), XA_KEY_SIZE);
            assert_true(xa_xid_parse_key(bytes, XA_KEY_SIZE, &back, &branch));
            assert_true(txid_equal(&ids[i], &back));
        }
    }
}

/* Servers keep it on their disks, and people type it. */
static void spelling_is_fixed(void **state)
{
    char sql[XA_XID_SQL_SIZE], key[XA_KEY_SQL_SIZE], receipt[XA_RECEIPT_SQL_SIZE];

    (void)state;
    xa_xid_format(&ids[1], 3, sql);
    assert_string_equal(sql, "X'00000000deadbeef000000000000000c000000000005464e0123456789abcdef',"
                             "X'0003',1095979860");
    xa_xid_key(&ids[1], 3, key);
    assert_string_equal(key, "X'00000000deadbeef000000000000000c000000000005464e0123456789abcdef0003'");
    xa_xid_receipt(&ids[1], 3, receipt);
    assert_string_equal(
        receipt, "SET STATEMENT time_zone = '+00:00' FOR INSERT INTO assent.receipt (gid, thread, at) VALUES "
                 "(X'00000000deadbeef000000000000000c000000000005464e0123456789abcdef0003', "
                 "CONNECTION_ID(), SYSDATE(3))");
}

static void others_are_refused(void **state)
{
    char sql[XA_XID_SQL_SIZE];
    unsigned char good[XA_XID_SQL_SIZE], bad[XA_KEY_SIZE];
    struct txid id;
    unsigned branch;

    (void)state;
    xa_xid_format(&ids[1], 3, sql);
    bytes_of(sql, good);
    assert_true(xa_xid_parse(XA_FORMAT_ID, 32, 2, good, 34, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID + 1, 32, 2, good, 34, &id, &branch));
    assert_false(xa_xid_parse(1, 32, 2, good, 34, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID, 31, 3, good, 34, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID, 34, 0, good, 34, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID, 32, 2, good, 33, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID, 32, 2, good, 35, &id, &branch));
    assert_false(xa_xid_parse(XA_FORMAT_ID, 32, 2, good, 0, &id, &branch));
    assert_false(xa_xid_parse((unsigned long long)XA_FORMAT_ID << 32, 32, 2, good, 34, &id, &branch));
    for (size_t part = 0; part < 5;
         part++) { /* group, session, sequence, nonce, branch: only a nonce may be 0 */
        memcpy(bad, good, sizeof bad);
        memset(bad + part * 8, 0, part == 4 ? 2 : 8);
        assert_int_equal(xa_xid_parse(XA_FORMAT_ID, 32, 2, bad, 34, &id, &branch), part == 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xids_come_back),
        cmocka_unit_test(spelling_is_fixed),
        cmocka_unit_test(others_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
