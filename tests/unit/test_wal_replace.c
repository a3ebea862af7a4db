/* Tests of what only a follower's log sees: entries that take others' places, and a snapshot that takes the
 * place of the whole log; cut off at any moment. */
#include "tests/unit/wal_kit.h"

#include "libtx/shared/log.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* n entries from `index` on, of a later term; waits for the disk. */
static void replace(struct kit *k, uint64_t index, size_t n)
{
    struct wal_entry *entries = calloc(n, sizeof *entries);

    assert_non_null(entries);
    for (size_t i = 0; i < n; i++) {
        entries[i] = kit_make(index + i);
        entries[i].term = KIT_LATER;
    }
    k->appended = index + n - 1;
    k->persisted = 0;
    assert_int_equal(wal_append(k->w, index, entries, n, &k->error), 0);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    assert_int_equal(k->failed, 0);
    assert_int_equal(k->persisted, k->appended);
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)entries[i].data);
    free(entries);
}

static void shorter_tail(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    kit_append(&k, 9);
    replace(&k, 5, 2);
    kit_append(&k, 1);
    for (int i = 0; i < 2; i++) {
        kit_close(&k);
        kit_must_open(&k);
        assert_int_equal(k.last, 7);
        assert_int_equal(k.replaced, 1);
    }
    kit_close(&k);
    kit_release(&k);
}

/* Over several segments, again and again, below and above what was replaced before. */
static void many_tails(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    for (uint64_t round = 1; round <= 30; round++) {
        kit_append(&k, 20);
        replace(&k, k.appended - round % 17, 1 + round % 5);
        if (round % 10 == 0) {
            uint64_t last = k.appended;

            kit_close(&k);
            kit_must_open(&k);
            assert_int_equal(k.last, last);
        }
    }
    kit_snapshot(&k, k.appended - 30, k.appended - 40);
    replace(&k, k.appended - 20, 3);
    kit_close(&k);
    kit_must_open(&k);
    assert_int_equal(k.last_term, KIT_LATER);
    kit_close(&k);
    kit_release(&k);
}

/* Before the write ends, and twice: the bytes of those in flight stay borrowed, the queued ones never go out.
 */
static void replaced_in_flight(void **state)
{
    struct wal_entry e[12];
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    for (uint64_t i = 0; i < 12; i++) {
        e[i] = kit_make(2 + i % 6);
        e[i].term = KIT_LATER;
    }
    k.appended = 7;
    assert_int_equal(wal_append(k.w, 2, e, 3, &k.error), 0); /* 2 to 4 in flight */
    assert_int_equal(wal_append(k.w, 5, e + 3, 3, &k.error), 0);
    assert_int_equal(wal_append(k.w, 4, e + 2, 2, &k.error), 0);
    assert_int_equal(wal_append(k.w, 3, e + 7, 1, &k.error), 0);
    uv_run(&k.loop, UV_RUN_DEFAULT);
    assert_int_equal(k.persisted, 3);
    kit_close(&k);
    kit_must_open(&k);
    assert_int_equal(k.last, 3);
    kit_close(&k);
    for (int i = 0; i < 12; i++)
        free((void *)(uintptr_t)e[i].data);
    kit_release(&k);
}

/* A snapshot in place of the log */

/* Bytes of a snapshot file of this log's group. */
static void make_file(struct kit *k, uint64_t index, struct buf *out)
{
    struct wal_dir d;
    struct snapshot s;
    uint8_t *data;
    char dir[KIT_PATH];
    size_t len;

    kit_mkdir(dir);
    assert_int_equal(wal_dir_open(&d, dir, &k->error), 0);
    snapshot_init(&s);
    s.index = index;
    s.term = 77;
    s.config_index = 1;
    buf_put_str(&s.config, "configuration");
    buf_put_u64(&s.data, index);
    assert_int_equal(snapshot_write(&d, k->state.identity.group, &s, &k->error), 0);
    assert_int_equal(snapshot_read(&d, index, &data, &len, &k->error), 0);
    snapshot_release(&s);
    wal_dir_close(&d);
    kit_rmdir(dir);
    buf_init(out);
    buf_put_bytes(out, data, len);
    free(data);
}

static void install(struct kit *k, uint64_t index)
{
    struct buf file;

    make_file(k, index, &file);
    wal_install(k->w, index, &file);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    assert_int_equal(k->installed, index);
}

static void installed_log_goes_on(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    for (int i = 0; i < 5; i++)
        kit_append(&k, 20);
    install(&k, 500);
    assert_int_equal(kit_count(k.dir, "log-"), 1);
    for (int i = 0; i < 2; i++) {
        kit_close(&k);
        kit_must_open(&k);
        assert_int_equal(k.state.snapshot.index, 500);
        assert_int_equal(k.state.snapshot.term, 77);
        assert_int_equal(k.state.first_index, 0);
        assert_int_equal(k.state.last_index, 500);
    }
    assert_true(wal_read_snapshot(k.w));
    uv_run(&k.loop, UV_RUN_DEFAULT);
    assert_int_equal(k.read_index, 500);
    kit_append(&k, 60);
    kit_append(&k, 60);
    replace(&k, 501, 1); /* even the very first one behind it */
    kit_append(&k, 60);
    kit_close(&k);
    kit_must_open(&k);
    assert_int_equal(k.first, 501);
    assert_int_equal(k.last, 561);
    install(&k, 900);
    kit_append(&k, 10);
    kit_snapshot(&k, 905, 901);
    kit_close(&k);
    kit_must_open(&k);
    assert_int_equal(k.state.snapshot.index, 905);
    assert_int_equal(k.last, 910);
    kit_close(&k);
    kit_release(&k);
}

/* While entries are being written and a snapshot of its own is: it waits for them. */
static void install_in_between(void **state)
{
    struct wal_entry e = kit_make(2);
    struct snapshot s;
    struct buf file;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    make_file(&k, 300, &file);
    k.appended = 2;
    assert_int_equal(wal_append(k.w, 2, &e, 1, &k.error), 0);
    snapshot_init(&s);
    s.index = s.config_index = s.term = 1;
    buf_put_u64(&s.data, 1);
    assert_true(wal_snapshot(k.w, &s, 1));
    wal_install(k.w, 300, &file);
    assert_false(wal_snapshot(k.w, &s, 1));
    uv_run(&k.loop, UV_RUN_DEFAULT);
    assert_int_equal(k.installed, 300);
    kit_append(&k, 3);
    kit_close(&k);
    kit_must_open(&k);
    assert_int_equal(k.last, 303);
    kit_close(&k);
    free((void *)(uintptr_t)e.data);
    kit_release(&k);
}

static void put_file(struct kit *k, const struct kit_image *image, const char *from, const char *to)
{
    size_t i = kit_find(image, from);

    kit_write_file(k->dir, to, image->files[i].data, image->files[i].len);
}

/* Each state that a crash can leave: the old log before the metadata are replaced, the new one after. */
static void install_cut_off(void **state)
{
    struct kit_image before, after;
    struct kit k;
    size_t old;

    (void)state;
    kit_init(&k);
    kit_build(&k, 40, false, &before);
    kit_store(&before, k.dir);
    kit_must_open(&k);
    install(&k, 500);
    kit_load(&after, k.dir);
    kit_close(&k);

    for (int step = 0; step < 6; step++) {
        kit_store(step < 3 ? &before : &after, k.dir);
        if (step == 1 || step == 2)
            put_file(&k, &after, "snapshot-00000500", "incoming-00000500");
        if (step == 2) {
            /* The new segment's file, of which the metadata do not know. */
            for (old = 0; strncmp(after.files[old].name, "log-", 4) != 0; old++)
                ;
            put_file(&k, &after, after.files[old].name, after.files[old].name);
        }
        if (step == 4) {
            put_file(&k, &after, "snapshot-00000500", "incoming-00000500");
            kit_remove(k.dir, "snapshot-00000500");
        }
        if (step == 5)
            put_file(&k, &before, "log-00000001", "log-00000001");
        kit_must_open(&k);
        assert_int_equal(k.state.snapshot.index, step < 3 ? 0 : 500);
        assert_int_equal(k.last, step < 3 ? 40 : 500);
        kit_append(&k, 5);
        kit_close(&k);
        assert_int_equal(kit_count(k.dir, "incoming-"), 0);
    }
    kit_release_image(&before);
    kit_release_image(&after);
    kit_release(&k);
}

static void empty_log_without_its_snapshot(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    install(&k, 500);
    kit_close(&k);
    kit_remove(k.dir, "snapshot-00000500");
    assert_int_equal(kit_open(&k), TX_ECORRUPT);
    kit_release(&k);
}

/* The metadata's first format */

/* It ended before base_index; such a directory is opened as a member's. */
static void first_format(void **state)
{
    enum { V1 = 96 };
    struct kit_image image;
    uint64_t sum;
    uint8_t *meta;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_build(&k, 10, true, &image);
    meta = image.files[kit_find(&image, "meta")].data;
    meta[8] = 1;
    sum = XXH3_64bits(meta, V1);
    memcpy(meta + V1, &sum, sizeof sum);
    kit_write_file(k.dir, "meta", meta, V1 + sizeof sum);
    for (int i = 0; i < 2; i++) {
        kit_must_open(&k);
        assert_int_equal(k.last, 10);
        assert_false(k.state.guest);
        assert_int_equal(k.state.identity.log, k.state.identity.group);
        kit_close(&k);
    }
    kit_release_image(&image);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_format),
        cmocka_unit_test(shorter_tail),
        cmocka_unit_test(many_tails),
        cmocka_unit_test(replaced_in_flight),
        cmocka_unit_test(installed_log_goes_on),
        cmocka_unit_test(install_in_between),
        cmocka_unit_test(install_cut_off),
        cmocka_unit_test(empty_log_without_its_snapshot),
    };

    log_init("test_wal_replace", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
