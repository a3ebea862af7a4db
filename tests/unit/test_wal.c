/* Tests of wal and of what it stands on: what was persisted is there again, and the disk stays bounded. Damage
 * has a test of its own: test_wal_damage. */
#include "tests/unit/wal_kit.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <signal.h>

#include "coordinator/wal_store.h"

/* Format */

enum { SALT = 4711, AT = 4096, SIZE = 8192 };

static size_t put_three(uint8_t segment[SIZE])
{
    const struct wal_entry entries[] = {
        {.term = 1, .type = 2, .len = 5, .data = (const uint8_t *)"hello"},
        {.term = 1, .type = 1, .len = 0, .data = NULL},
        {.term = 3, .type = 1, .len = 8, .data = (const uint8_t *)"12345678"},
    };

    memset(segment, 0xee, SIZE);
    return wal_format_put_frame(segment + AT, entries, 3, 42, SALT, AT);
}

static void frame_round_trip(void **state)
{
    static uint8_t segment[SIZE];
    size_t size = put_three(segment);
    struct wal_entry e;
    struct wal_frame f;

    (void)state;
    assert_int_equal(size, WAL_FORMAT_FRAME + 24 + 16 + 24);
    assert_int_equal(wal_format_get_frame(segment, SIZE, AT, SALT, &f), WAL_FRAME_ENTRIES);
    assert_int_equal(f.size, size);
    assert_int_equal(f.first_index, 42);
    assert_int_equal(f.count, 3);
    wal_format_next(&f, &e);
    assert_int_equal(e.type, 2);
    assert_memory_equal(e.data, "hello", 5);
    wal_format_next(&f, &e);
    assert_int_equal(e.len, 0);
    wal_format_next(&f, &e);
    assert_int_equal(e.term, 3);
    assert_memory_equal(e.data, "12345678", 8);
    assert_int_equal(wal_format_get_frame(segment, SIZE, AT + size, SALT, &f), WAL_FRAME_BLANK);
    wal_format_put_frame(segment + AT, NULL, 0, 45, SALT, AT);
    assert_int_equal(wal_format_get_frame(segment, SIZE, AT, SALT, &f), WAL_FRAME_END);
}

/* No frame: any bit of it wrong, another salt, another place, too little room for it. */
static void frame_refused(void **state)
{
    static uint8_t segment[SIZE];
    size_t size = put_three(segment);
    struct wal_frame f;

    (void)state;
    for (size_t bit = 0; bit < size * 8; bit++) {
        segment[AT + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(wal_format_get_frame(segment, SIZE, AT, SALT, &f), WAL_FRAME_BAD);
        segment[AT + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t end = AT; end < AT + size; end++)
        assert_int_equal(wal_format_get_frame(segment, end, AT, SALT, &f), WAL_FRAME_BAD);
    assert_int_equal(wal_format_get_frame(segment, AT + size, AT, SALT, &f), WAL_FRAME_ENTRIES);
    assert_int_equal(wal_format_get_frame(segment, SIZE, AT, SALT + 1, &f), WAL_FRAME_BAD);
    memmove(segment + AT + 8, segment + AT, size);
    assert_int_equal(wal_format_get_frame(segment, SIZE, AT + 8, SALT, &f), WAL_FRAME_BAD);
    assert_int_equal(wal_format_find(segment, SIZE, 0, SALT), 0);
}

static void header_refused(void **state)
{
    const struct wal_segment_header h = {.group = 1, .sequence = 2, .salt = 3, .size = SIZE};
    struct wal_segment_header read;
    uint8_t start[WAL_FORMAT_START];

    (void)state;
    wal_format_put_header(start, &h);
    assert_true(wal_format_get_header(start, sizeof start, &read));
    assert_memory_equal(&read, &h, sizeof h);
    for (size_t bit = 0; bit < (size_t)56 * 8; bit++) {
        start[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(wal_format_get_header(start, sizeof start, &read));
        start[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_false(wal_format_get_header(start, 55, &read));
}

/* Round trips */

static void empty_directory(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    assert_int_not_equal(k.state.identity.group, 0);
    assert_int_equal(k.state.term, 1);
    assert_int_equal(k.state.vote, 0);
    assert_int_equal(k.state.last_index, 0);
    assert_int_equal(k.state.snapshot.index, 0);
    kit_close(&k);
    kit_release(&k);
}

/* Frames of many entries, many segments, closing and going on. */
static void many_segments(void **state)
{
    struct wal_counters c;
    uint64_t group;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    group = k.state.identity.group;
    kit_bootstrap(&k);
    for (size_t n = 1; n <= 12; n++)
        kit_append(&k, n);
    kit_close(&k);
    for (int i = 0; i < 3; i++) {
        kit_must_open(&k);
        assert_int_equal(k.state.identity.group, group);
        assert_int_equal(k.first, 1);
        assert_int_equal(k.last, 79 + (uint64_t)i * 30);
        kit_append(&k, 30);
        wal_counters(k.w, &c);
        assert_true(c.forced_writes > 0 && c.forced_writes < 30);
        kit_close(&k);
    }
    assert_true(kit_count(k.dir, "log-") > 10);
    kit_release(&k);
}

static void killed(void **state)
{
    struct kit_image image;
    struct kit k;

    (void)state;
    kit_init(&k);
    for (size_t n = 1; n < 30; n++) {
        kit_empty(k.dir);
        kit_build(&k, n, false, &image);
        kit_store(&image, k.dir);
        kit_must_open(&k);
        assert_int_equal(k.last, n);
        kit_append(&k, 3);
        kit_close(&k);
        kit_must_open(&k);
        assert_int_equal(k.last, n + 3);
        kit_close(&k);
        kit_release_image(&image);
    }
    kit_release(&k);
}

/* Before the first entry is there a crash leaves metadata, and perhaps a segment that nobody knows of. */
static void killed_at_birth(void **state)
{
    struct kit_image image;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_load(&image, k.dir);
    kit_close(&k);
    for (size_t i = 0; i < 3; i++) {
        kit_store(&image, k.dir);
        kit_write_file(k.dir, "meta.tmp", (const uint8_t *)"half", i);
        kit_write_file(k.dir, "segment.tmp", (const uint8_t *)"half", i);
        kit_write_file(k.dir, "snapshot.tmp", (const uint8_t *)"half", i);
        kit_must_open(&k);
        assert_int_equal(k.state.last_index, 0);
        kit_bootstrap(&k);
        kit_append(&k, 2);
        kit_close(&k);
        kit_must_open(&k);
        assert_int_equal(k.last, 3);
        kit_close(&k);
        assert_int_equal(kit_count(k.dir, "segment.tmp") + kit_count(k.dir, "snapshot.tmp"), 0);
    }
    kit_release_image(&image);
    kit_release(&k);
}

static void vote_is_stored(void **state)
{
    struct kit_image image;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    assert_int_equal(wal_set_vote(k.w, 7, 3, &k.error), 0);
    kit_load(&image, k.dir);
    kit_close(&k);
    kit_store(&image, k.dir);
    kit_must_open(&k);
    assert_int_equal(k.state.term, 7);
    assert_int_equal(k.state.vote, 3);
    kit_close(&k);
    kit_release_image(&image);
    kit_release(&k);
}

static void largest_entry(void **state)
{
    static uint8_t data[KIT_SEGMENT];
    struct wal_entry e = {.term = 1, .type = 1, .data = data};
    struct tx_error error;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    e.len = wal_max_entry(k.w);
    assert_true(e.len > 3900 && e.len < KIT_SEGMENT - WAL_FORMAT_FIRST);
    for (int i = 0; i < 3; i++) {
        k.appended++;
        assert_int_equal(wal_append(k.w, k.appended, &e, 1, &error), 0);
    }
    uv_run(&k.loop, UV_RUN_DEFAULT);
    assert_int_equal(k.persisted, 4);
    kit_close(&k);
    kit_release(&k);
}

static void other_segment_size(void **state)
{
    static const size_t sizes[] = {16384, 8192, 65536, 12288};
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    for (size_t i = 0; i < 4; i++) {
        kit_append(&k, 60);
        kit_snapshot(&k, k.appended - 5, k.appended - 10);
        kit_append(&k, 60);
        kit_close(&k);
        k.segment_bytes = sizes[i];
        kit_must_open(&k);
        assert_int_equal(k.last, (i + 1) * 120 + 1);
        assert_int_equal(k.state.snapshot.index, i * 120 + 56);
    }
    kit_close(&k);
    kit_release(&k);
}

/* Snapshots and recycling */

/* Many lives of the same few files: nothing of an earlier one ever comes back, whenever the power goes. */
static void recycling(void **state)
{
    struct kit_image image;
    struct wal_counters c;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    for (uint64_t round = 1; round <= 40; round++) {
        for (int i = 0; i < 10; i++)
            kit_append(&k, 1 + (size_t)(round + (uint64_t)i) % 4);
        kit_snapshot(&k, k.appended - 2, k.appended - 6);
        assert_int_equal(k.snapshotted, 1);
        kit_append(&k, round % 5 + 1);
        wal_counters(k.w, &c);
        assert_true(c.disk_bytes <= 14 * KIT_SEGMENT);
        assert_int_equal(c.disk_bytes, (kit_count(k.dir, "log-") + kit_count(k.dir, "spare-")) * KIT_SEGMENT);
        assert_int_equal(kit_count(k.dir, "snapshot-"), 1);
        kit_load(&image, k.dir);
        kit_close(&k);
        kit_store(&image, k.dir);
        kit_release_image(&image);
        kit_must_open(&k);
        assert_int_equal(k.state.snapshot.index, k.last - round % 5 - 3);
        assert_int_equal(k.state.snapshot.term, 1 + k.state.snapshot.index / 10);
        assert_true(k.first <= k.state.snapshot.index - 4);
    }
    kit_close(&k);
    kit_release(&k);
}

/* Files that a crash between two steps leaves: retired but not renamed; made ready but not known; an older
 * snapshot. */
static void leftovers(void **state)
{
    struct kit_image before, after;
    struct kit k;
    size_t i;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_bootstrap(&k);
    kit_append(&k, 40);
    kit_snapshot(&k, 20, 15);
    kit_load(&before, k.dir);
    kit_append(&k, 40);
    kit_snapshot(&k, 60, 55);
    kit_load(&after, k.dir);
    kit_close(&k);
    kit_store(&after, k.dir);
    i = kit_find(&before, "snapshot-00000020");
    kit_write_file(k.dir, before.files[i].name, before.files[i].data, before.files[i].len);
    kit_write_file(k.dir, "log-00000001", (const uint8_t *)"old", 3);
    kit_write_file(k.dir, "spare-00000099", (const uint8_t *)"half", 4);
    kit_must_open(&k);
    assert_int_equal(k.state.snapshot.index, 60);
    assert_int_equal(k.last, 81);
    assert_int_equal(kit_count(k.dir, "snapshot-"), 1);
    assert_int_equal(kit_count(k.dir, "log-00000001"), 0);
    assert_int_equal(kit_count(k.dir, "spare-00000099"), 0);
    kit_close(&k);
    kit_release_image(&before);
    kit_release_image(&after);
    kit_release(&k);
}

/* What the world does to it */

static void locked(void **state)
{
    struct kit k, other;
    char pid[32];

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    other = k;
    assert_int_equal(kit_open(&other), TX_EBUSY);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(other.error.msg, pid));
    assert_non_null(strstr(other.error.msg, k.dir));
    kit_close(&k);
    kit_must_open(&k);
    kit_close(&k);
    kit_release(&k);
}

static void no_directory(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_rmdir(k.dir);
    assert_int_equal(kit_open(&k), TX_EIO);
    assert_non_null(strstr(k.error.msg, k.dir));
    assert_non_null(strstr(k.error.msg, "No such file or directory"));
    assert_int_equal(mkdir(k.dir, 0700), 0);
    kit_release(&k);
}

static void other_node(void **state)
{
    struct wal_store store;
    struct tx_error e;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_must_open(&k);
    kit_close(&k);
    assert_int_equal(wal_store_open(&store, k.dir, 2, KIT_SEGMENT, &e), TX_EINVAL);
    assert_non_null(strstr(e.msg, "belongs to node 1"));
    kit_release(&k);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk takes no more: one failure, and nothing is reported as persisted after it. What was is there at the
 * next start. */
static void disk_full(void **state)
{
    static const rlim_t limits[] = {4200, 5000, 6000, 8000};
    uint64_t persisted;
    struct kit k;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < 4; i++) {
        kit_init(&k);
        kit_must_open(&k);
        kit_bootstrap(&k);
        limit_files(limits[i]);
        for (int j = 0; j < 20 && k.failed == 0; j++)
            kit_append(&k, 1);
        assert_int_equal(k.failed, 1);
        assert_int_equal(k.error.code, TX_EIO);
        assert_non_null(strstr(k.error.msg, "File too large"));
        persisted = k.persisted;
        kit_append(&k, 1);
        assert_int_equal(k.failed, 1);
        assert_int_equal(k.persisted, persisted);
        limit_files(RLIM_INFINITY);
        kit_close(&k);
        kit_must_open(&k);
        assert_true(k.last >= persisted);
        kit_close(&k);
        kit_release(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_round_trip), cmocka_unit_test(frame_refused),
        cmocka_unit_test(header_refused),   cmocka_unit_test(empty_directory),
        cmocka_unit_test(many_segments),    cmocka_unit_test(killed),
        cmocka_unit_test(killed_at_birth),  cmocka_unit_test(vote_is_stored),
        cmocka_unit_test(largest_entry),    cmocka_unit_test(other_segment_size),
        cmocka_unit_test(recycling),        cmocka_unit_test(leftovers),
        cmocka_unit_test(locked),           cmocka_unit_test(no_directory),
        cmocka_unit_test(other_node),       cmocka_unit_test(disk_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
