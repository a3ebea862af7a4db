/* test_ledger_restore: a backup becomes the ledger of a group whose log is lost. It must decide nothing that
 * the lost log may have decided otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/backup.h"
#include "tests/unit/ledger_kit.h"

enum { PIECE = 100 };

#define NOW 1790000000000ULL

static struct txid id_of(uint64_t session, uint64_t sequence, uint64_t nonce)
{
    return (struct txid){GROUP, session, sequence, nonce};
}

/* Session 1 is open: 1 is decided, 2 acknowledged; session 2 is closed. */
static void fill(struct kit *k)
{
    kit_init(k);
    kit_open(k, 101);
    kit_open(k, 102);
    kit_decide(k, 1, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    kit_acknowledge(k, 1, 2, 2);
    kit_apply(k, (struct record){.type = RECORD_CLOSE_SESSION, .session = 2});
    kit_node(k, RECORD_ADD_NODE, 1, "tcp://lost:7401");
    kit_key(k, 1, "ops", ROLE_OPERATOR, "");
    kit_key(k, 2, "shop", 0, NULL);
}

static void feed(struct kit *k, const struct buf *b, size_t from, uint64_t at_ms)
{
    for (size_t at = from; at < b->len; at += PIECE) {
        struct record r = {.type = RECORD_RESTORE, .at_ms = at_ms};

        r.restore.at = at;
        r.restore.total = b->len;
        r.restore.len = (uint32_t)(b->len - at < PIECE ? b->len - at : PIECE);
        r.restore.data = b->data + at;
        kit_apply(k, r);
    }
}

/* A new group's ledger after all pieces; *k is to be released. */
static void restore_at(struct kit *k, uint64_t at_ms)
{
    struct kit before;
    struct buf b;

    fill(&before);
    buf_init(&b);
    ledger_snapshot(before.l, &b);
    kit_release(&before);
    kit_init(k);
    kit_node(k, RECORD_ADD_NODE, 1, "tcp://new:7401");
    kit_key(k, 2, "shop", ROLE_CLIENT, "");
    feed(k, &b, 0, at_ms);
    buf_release(&b);
}

static void restore(struct kit *k)
{
    restore_at(k, NOW);
}

static void test_what_the_backup_knows_stands(void **state)
{
    struct txid decided = id_of(1, 1, 101), acknowledged = id_of(1, 2, 101), closed = id_of(2, 1, 102);
    struct kit k;

    (void)state;
    restore(&k);
    assert_int_equal(ledger_branch_standing(k.l, &decided), STANDING_COMMIT);
    assert_int_equal(ledger_outcome(k.l, &decided), STANDING_COMMIT);
    assert_int_equal(ledger_branch_standing(k.l, &acknowledged), STANDING_ABORT);
    assert_int_equal(ledger_branch_standing(k.l, &closed), STANDING_ABORT);
    assert_int_equal(ledger_session(k.l, 1)->state, SESSION_EXPIRED);
    assert_string_equal(ledger_node(k.l, 1)->address, "tcp://new:7401");
    kit_release(&k);
}

/* The group's keys are the backup's, and what this group was told before is not. */
static void test_keys_go_along(void **state)
{
    struct kit k, before;

    (void)state;
    fill(&before);
    restore(&k);
    assert_int_equal(kit_known(&k, 1)->roles, ROLE_OPERATOR);
    assert_true(kit_known(&k, 2)->revoked);
    assert_int_equal(kit_counts(&k).keys, 2);
    /* no version that the lost log may have given out comes again */
    assert_true(ledger_keys_version(k.l) > ledger_keys_version(before.l) + (1 << 30));
    kit_key(&k, 3, "shop", ROLE_CLIENT, "");
    assert_true(ledger_keys_version(k.l) > ledger_keys_version(before.l) + (1 << 30));
    kit_release(&before);
    kit_release(&k);
}

static void assert_lost(struct kit *k, struct txid id)
{
    assert_int_equal(ledger_branch_standing(k->l, &id), STANDING_LOST);
    assert_int_equal(ledger_outcome(k->l, &id), STANDING_FORGOTTEN);
}

/* Neither its client nor recovery gets a verdict that the lost log may contradict. */
static void test_what_came_later_is_lost(void **state)
{
    struct kit k;

    (void)state;
    restore(&k);
    assert_lost(&k, id_of(1, 3, 101));
    assert_lost(&k, id_of(3, 1, 103));
    kit_restore(&k);
    assert_lost(&k, id_of(1, 3, 101));
    assert_lost(&k, id_of(3, 1, 103));
    kit_decide(&k, 1, 3, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    assert_int_equal(k.result.verdict, VERDICT_NONE);
    kit_decide(&k, 1, 3, VERDICT_ABORT, ORIGIN_RECOVERY, 2);
    assert_int_equal(k.result.verdict, VERDICT_NONE);
    kit_apply(&k, (struct record){.type = RECORD_HEURISTIC,
                                  .session = 3,
                                  .sequence = 1,
                                  .heuristic = {1, HEURISTIC_COMMIT, "bank_a", NULL}});
    kit_apply(&k, (struct record){.type = RECORD_DROP_SESSION, .session = 1});
    assert_lost(&k, id_of(1, 3, 101));
    assert_lost(&k, id_of(3, 1, 103));
    kit_release(&k);
}

static void test_an_operator_decides_what_is_lost(void **state)
{
    struct txid early = id_of(1, 3, 101), late = id_of(3, 1, 103);
    struct kit k;

    (void)state;
    restore(&k);
    kit_decide(&k, 1, 3, VERDICT_COMMIT, ORIGIN_OPERATOR, 2);
    assert_int_equal(k.result.verdict, VERDICT_COMMIT);
    kit_decide(&k, 3, 1, VERDICT_ABORT, ORIGIN_OPERATOR, 1);
    assert_int_equal(k.result.verdict, VERDICT_ABORT);
    kit_decide(&k, 3, 1, VERDICT_COMMIT, ORIGIN_OPERATOR, 1);
    assert_int_equal(k.result.verdict, VERDICT_ABORT);
    assert_int_equal(ledger_branch_standing(k.l, &early), STANDING_COMMIT);
    assert_int_equal(ledger_branch_standing(k.l, &late), STANDING_ABORT);
    kit_release(&k);
}

/* No number of a session is given out twice. */
static void test_new_sessions_are_far_off(void **state)
{
    struct kit k;
    struct txid id;

    (void)state;
    restore(&k);
    kit_open(&k, 201);
    assert_true(k.result.session > 1ULL << 32);
    id = id_of(k.result.session, 1, 201);
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_OPEN);
    kit_decide(&k, id.session, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 1);
    assert_int_equal(k.result.verdict, VERDICT_COMMIT);
    kit_release(&k);
}

/* The log of the first restore is lost as well: what it committed must not pass for a transaction of a session
 * that the second one opens, nor for one that has no record because it was rolled back. */
static void test_the_same_backup_twice(void **state)
{
    struct kit first, second;
    struct txid id;

    (void)state;
    restore_at(&first, NOW);
    kit_open(&first, 201);
    id = id_of(first.result.session, 1, 201);
    kit_decide(&first, id.session, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    restore_at(&second, NOW + 1);
    assert_lost(&second, id);
    kit_open(&second, 301);
    assert_true(second.result.session > id.session);
    kit_apply(&second, (struct record){.type = RECORD_CLOSE_SESSION, .session = second.result.session});
    assert_lost(&second, id);
    kit_decide(&second, id.session, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    assert_int_equal(second.result.verdict, VERDICT_NONE);
    kit_release(&first);
    kit_release(&second);
}

/* A clock that has just begun, a time that no clock shows, a counter at its end. */
static void test_numbers_grow_whatever_the_clock_says(void **state)
{
    static const uint64_t times[] = {1, NOW, UINT64_MAX >> 12, UINT64_MAX};
    struct txid id = id_of(3, 1, 103);
    struct kit k;

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        restore_at(&k, times[i]);
        assert_lost(&k, id);
        kit_open(&k, 201);
        assert_true(k.result.session > 1ULL << 32);
        kit_release(&k);
    }
}

static void test_pieces_out_of_order(void **state)
{
    struct kit k, before;
    struct buf b;

    (void)state;
    fill(&before);
    buf_init(&b);
    ledger_snapshot(before.l, &b);
    kit_init(&k);
    feed(&k, &b, PIECE, NOW);
    assert_int_equal(kit_counts(&k).sessions, 0);
    feed(&k, &b, 0, NOW);
    assert_int_equal(kit_counts(&k).sessions, 1);
    buf_release(&b);
    kit_release(&before);
    kit_release(&k);
}

/* The file */

static void write_file(const char *path, const uint8_t *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void test_the_file(void **state)
{
    char path[] = "/tmp/assent-backup-XXXXXX";
    struct backup loaded;
    struct tx_error e;
    struct kit k;
    struct buf b;

    (void)state;
    close(mkstemp(path));
    fill(&k);
    buf_init(&b);
    backup_make(k.l, 77, &b);
    write_file(path, b.data, b.len);
    assert_int_equal(backup_load(&loaded, path, &e), TX_OK);
    assert_int_equal(loaded.group, GROUP);
    assert_int_equal(loaded.index, 77);
    backup_release(&loaded);
    for (size_t n = 0; n < b.len; n += 7) {
        write_file(path, b.data, n);
        assert_int_not_equal(backup_load(&loaded, path, &e), TX_OK);
        backup_release(&loaded);
        b.data[n] ^= 0x40;
        write_file(path, b.data, b.len);
        assert_int_not_equal(backup_load(&loaded, path, &e), TX_OK);
        backup_release(&loaded);
        b.data[n] ^= 0x40;
    }
    unlink(path);
    assert_int_equal(backup_load(&loaded, path, &e), TX_EIO);
    backup_release(&loaded);
    buf_release(&b);
    kit_release(&k);
}

/* Nor can a node's own ledger be where the next session has no number, or the next change of the keys none. */
static void test_the_last_numbers(void **state)
{
    enum { AT_NEXT_SESSION = 16, BEHIND_KEYS_VERSION = 16 };
    struct kit k;
    struct buf b;

    (void)state;
    kit_init(&k);
    buf_init(&b);
    ledger_snapshot(k.l, &b);
    memset(b.data + AT_NEXT_SESSION, 0xff, 8);
    assert_int_equal(ledger_restore(k.l, b.data, b.len, NULL), TX_ECORRUPT);
    buf_reset(&b);
    ledger_snapshot(k.l, &b);
    memset(b.data + b.len - BEHIND_KEYS_VERSION, 0xff, 8);
    assert_int_equal(ledger_restore(k.l, b.data, b.len, NULL), TX_ECORRUPT);
    buf_release(&b);
    kit_release(&k);
}

/* Its checksum is right, and its numbers are none that a group can have come to: what follows would have none
 * left. */
static void test_numbers_without_an_end(void **state)
{
    enum { AT_NEXT_SESSION = 16 };
    char path[] = "/tmp/assent-backup-XXXXXX";
    struct backup loaded;
    struct tx_error e;
    struct kit k;
    struct buf b;

    (void)state;
    kit_init(&k);
    buf_init(&b);
    ledger_snapshot(k.l, &b);
    memset(b.data + AT_NEXT_SESSION, 0xff, 7);
    b.data[AT_NEXT_SESSION + 7] = 0x7f;
    feed(&k, &b, 0, 0);
    assert_int_equal(kit_counts(&k).next_session, 1);
    assert_int_equal(ledger_restore(k.l, b.data, b.len, NULL),
                     0); /* as a node's own snapshot it is as good as any */
    buf_reset(&b);
    backup_make(k.l, 77, &b);
    close(mkstemp(path));
    write_file(path, b.data, b.len);
    assert_int_equal(backup_load(&loaded, path, &e), TX_ECORRUPT);
    unlink(path);
    backup_release(&loaded);
    buf_release(&b);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_backup_knows_stands),
        cmocka_unit_test(test_keys_go_along),
        cmocka_unit_test(test_what_came_later_is_lost),
        cmocka_unit_test(test_an_operator_decides_what_is_lost),
        cmocka_unit_test(test_new_sessions_are_far_off),
        cmocka_unit_test(test_the_same_backup_twice),
        cmocka_unit_test(test_numbers_grow_whatever_the_clock_says),
        cmocka_unit_test(test_pieces_out_of_order),
        cmocka_unit_test(test_the_file),
        cmocka_unit_test(test_the_last_numbers),
        cmocka_unit_test(test_numbers_without_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
