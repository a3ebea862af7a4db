/* Tests of what wal does about damage: a log on disk is cut, flipped, zeroed, mixed up, and opened again. The
 * answer is a refusal that says what to do, or a log that holds everything but what nobody was told of: its
 * last frame. */
#include "tests/unit/wal_kit.h"

#include "coordinator/wal_recover.h"
#include "libtx/shared/log.h"

enum { MAX_FRAMES = 64 };

/* Where a frame stands in an image, and which entry it holds (0: an end frame). */
struct place {
    size_t file;
    uint64_t offset, size, index;
};

struct fixture {
    struct kit kit;
    struct kit_image image;
    struct place frames[MAX_FRAMES];
    size_t n;
    uint64_t entries; /* in the whole log */
};

static void map_segment(struct fixture *fx, size_t file)
{
    const uint8_t *data = fx->image.files[file].data;
    struct wal_segment_header h;
    enum wal_frame_kind kind;
    struct wal_frame f;
    uint64_t offset = WAL_FORMAT_FIRST;

    assert_true(wal_format_get_header(data, fx->image.files[file].len, &h));
    for (;; offset += f.size) {
        kind = wal_format_get_frame(data, h.size, offset, h.salt, &f);
        if (kind != WAL_FRAME_ENTRIES && kind != WAL_FRAME_END)
            return;
        assert_true(fx->n < MAX_FRAMES);
        fx->frames[fx->n++] = (struct place){file, offset, f.size, kind == WAL_FRAME_END ? 0 : f.first_index};
        if (kind == WAL_FRAME_END)
            return;
    }
}

/* 30 frames in four segments; recycled ones, so that there are remains of a former life behind every frame. */
static void setup(struct fixture *fx, bool sealed)
{
    memset(fx, 0, sizeof *fx);
    kit_init(&fx->kit);
    kit_must_open(&fx->kit);
    kit_bootstrap(&fx->kit);
    kit_append(&fx->kit, 50);
    kit_snapshot(&fx->kit, 50, 50);
    for (int i = 0; i < 29; i++)
        kit_append(&fx->kit, 1);
    if (!sealed)
        kit_load(&fx->image, fx->kit.dir);
    kit_close(&fx->kit);
    if (sealed)
        kit_load(&fx->image, fx->kit.dir);
    for (size_t i = 0; i < fx->image.n; i++) {
        if (strncmp(fx->image.files[i].name, "log-", 4) == 0)
            map_segment(fx, i);
    }
    assert_true(fx->n > 30);
    fx->entries = fx->frames[fx->n - 1].index;
    assert_int_equal(fx->entries, 80);
}

static void teardown(struct fixture *fx)
{
    kit_release_image(&fx->image);
    kit_release(&fx->kit);
}

/* Opens the image as it is now. -1: refused as damaged; else the last entry that is there. */
static int64_t try_open(struct fixture *fx)
{
    struct kit *k = &fx->kit;
    int rc;

    kit_store(&fx->image, k->dir);
    rc = kit_open(k);
    if (rc != 0) {
        assert_int_equal(rc, TX_ECORRUPT);
        assert_non_null(strstr(k->error.msg, "restore the data directory from a backup"));
        assert_non_null(strstr(k->error.msg, k->dir));
        return -1;
    }
    assert_int_equal(k->state.snapshot.index, 50);
    kit_close(k);
    return (int64_t)k->last;
}

static void flip(struct fixture *fx, size_t file, uint64_t offset, uint8_t mask)
{
    fx->image.files[file].data[offset] ^= mask;
}

/* A flip at this place must be refused, but in the last frame and behind it: there it is a write that did not
 * end. */
static void check_flip(struct fixture *fx, size_t file, uint64_t offset, uint8_t mask)
{
    const struct place *last = &fx->frames[fx->n - 1];
    int64_t found;

    flip(fx, file, offset, mask);
    found = try_open(fx);
    flip(fx, file, offset, mask);
    if (file == last->file && offset >= last->offset)
        assert_int_equal(found, fx->entries - (offset < last->offset + last->size));
    else
        assert_int_equal(found, -1);
}

static void flips_in_frames(void **state)
{
    static struct fixture fx;

    (void)state;
    setup(&fx, false);
    assert_int_equal(try_open(&fx), 80);
    for (size_t i = 0; i < fx.n; i++) {
        const struct place *p = &fx.frames[i];

        /* Every byte of the headers of frame and entry, with another bit each; the first, a middle and the last
         * byte of the content. The byte in front belongs to the frame before, or to nobody where the frame is
         * the segment's first. */
        for (uint64_t at = 0; at < p->size && at < WAL_FORMAT_FRAME + WAL_FORMAT_ENTRY; at++)
            check_flip(&fx, p->file, p->offset + at, (uint8_t)(1 << at % 8));
        check_flip(&fx, p->file, p->offset + p->size / 2, 0x10);
        check_flip(&fx, p->file, p->offset + p->size - 1, 0x80);
        if (p->offset > WAL_FORMAT_FIRST)
            check_flip(&fx, p->file, p->offset - 1, 0x01);
    }
    /* The blank behind the last frame: a write that did not get far. */
    for (uint64_t at = 0; at < WAL_FORMAT_BLANK; at++)
        check_flip(&fx, fx.frames[fx.n - 1].file, fx.frames[fx.n - 1].offset + fx.frames[fx.n - 1].size + at,
                   0xff);
    teardown(&fx);
}

static void flips_in_headers(void **state)
{
    static struct fixture fx;

    (void)state;
    setup(&fx, false);
    for (size_t file = 0; file < fx.image.n; file++) {
        if (strncmp(fx.image.files[file].name, "log-", 4) != 0)
            continue;
        for (uint64_t at = 0; at < 56; at++) {
            flip(&fx, file, at, (uint8_t)(1 << at % 8));
            assert_int_equal(try_open(&fx), -1);
            flip(&fx, file, at, (uint8_t)(1 << at % 8));
        }
    }
    teardown(&fx);
}

/* Once ended cleanly no part of the log may be missing, the last frame neither. */
static void flips_after_seal(void **state)
{
    static struct fixture fx;
    const struct place *last;

    (void)state;
    setup(&fx, true);
    assert_int_equal(try_open(&fx), 80);
    last = &fx.frames[fx.n - 1];
    for (uint64_t at = 0; at < last->size + WAL_FORMAT_BLANK; at++) {
        flip(&fx, last->file, last->offset + at, 0x04);
        assert_int_equal(try_open(&fx), -1);
        flip(&fx, last->file, last->offset + at, 0x04);
    }
    teardown(&fx);
}

/* Zeroes from a place on, as a lost write would leave it: all or nothing of the last frame. */
static void zeroed(void **state)
{
    static struct fixture fx;
    uint8_t saved[KIT_SEGMENT];

    (void)state;
    setup(&fx, false);
    for (size_t i = 0; i < fx.n; i++) {
        const struct place *p = &fx.frames[i];

        memcpy(saved, fx.image.files[p->file].data, KIT_SEGMENT);
        memset(fx.image.files[p->file].data + p->offset, 0, p->size);
        assert_int_equal(try_open(&fx), i == fx.n - 1 ? 79 : -1);
        memcpy(fx.image.files[p->file].data, saved, KIT_SEGMENT);
    }
    teardown(&fx);
}

/* A preallocated file cannot get shorter by a loss of power. */
static void truncated(void **state)
{
    static struct fixture fx;

    (void)state;
    setup(&fx, false);
    for (size_t i = 0; i < fx.n; i++) {
        const struct place *p = &fx.frames[i];

        for (uint64_t at = p->offset - 1; at <= p->offset + 1; at++) {
            fx.image.files[p->file].len = at;
            assert_int_equal(try_open(&fx), -1);
            assert_non_null(strstr(fx.kit.error.msg, "shorter than it was made"));
        }
        fx.image.files[p->file].len = KIT_SEGMENT;
    }
    for (size_t file = 0; file < fx.image.n; file++) {
        size_t len = fx.image.files[file].len;

        if (strcmp(fx.image.files[file].name, "lock") == 0 ||
            strncmp(fx.image.files[file].name, "spare-", 6) == 0)
            continue;
        fx.image.files[file].len = 0;
        assert_int_equal(try_open(&fx), -1);
        fx.image.files[file].len = len + 1; /* there is a byte more in memory */
        assert_int_equal(try_open(&fx), -1);
        fx.image.files[file].len = len;
    }
    teardown(&fx);
}

/* Every file of the log is needed: each segment, the one made ready, the snapshot, the metadata. */
static void missing(void **state)
{
    static struct fixture fx;
    struct kit_image all;
    unsigned checked = 0;

    (void)state;
    setup(&fx, false);
    all = fx.image;
    for (size_t file = 0; file < all.n; file++) {
        if (strcmp(all.files[file].name, "lock") == 0 || strncmp(all.files[file].name, "spare-", 6) == 0)
            continue;
        fx.image = all;
        fx.image.n--;
        memmove(&fx.image.files[file], &fx.image.files[file + 1], (all.n - file - 1) * sizeof all.files[0]);
        assert_int_equal(try_open(&fx), -1);
        checked++;
    }
    assert_true(checked >= 6);
    fx.image = all;
    assert_int_equal(try_open(&fx), 80);
    teardown(&fx);
}

static void flips_in_small_files(void **state)
{
    static const char *const names[] = {"meta", "snapshot-00000050"};
    static struct fixture fx;

    (void)state;
    setup(&fx, false);
    for (int i = 0; i < 2; i++) {
        size_t file = kit_find(&fx.image, names[i]);

        for (uint64_t at = 0; at < fx.image.files[file].len; at++) {
            flip(&fx, file, at, (uint8_t)(1 << at % 8));
            assert_int_equal(try_open(&fx), -1);
            assert_non_null(strstr(fx.kit.error.msg, names[i]));
            flip(&fx, file, at, (uint8_t)(1 << at % 8));
        }
    }
    teardown(&fx);
}

/* A file in another's place: of this log, or of another group's. */
static void mixed_up(void **state)
{
    static struct fixture fx, other;
    uint8_t *mine;
    size_t file;

    (void)state;
    setup(&fx, false);
    setup(&other, false);
    for (size_t i = 1; i < fx.n; i++) {
        if (fx.frames[i].file == fx.frames[i - 1].file)
            continue;
        mine = fx.image.files[fx.frames[i].file].data;
        fx.image.files[fx.frames[i].file].data = fx.image.files[fx.frames[i - 1].file].data;
        assert_int_equal(try_open(&fx), -1);
        fx.image.files[fx.frames[i].file].data = mine;
    }
    for (file = 0; file < fx.image.n; file++) {
        if (strcmp(fx.image.files[file].name, "lock") == 0 ||
            strncmp(fx.image.files[file].name, "spare-", 6) == 0)
            continue;
        mine = fx.image.files[file].data;
        fx.image.files[file].data = other.image.files[file].data;
        assert_int_equal(try_open(&fx), -1);
        fx.image.files[file].data = mine;
    }
    teardown(&fx);
    teardown(&other);
}

/* A segment behind the last one that the metadata name: a crash came before they were written, and it is blank.
 * If it is not, the metadata are not this log's. */
static void unknown_segment(void **state)
{
    static struct fixture fx;
    static uint8_t segment[KIT_SEGMENT];
    struct wal_segment_header h;
    struct wal_entry e;
    char name[WAL_DIR_NAME_SIZE];
    size_t i;

    (void)state;
    setup(&fx, false);
    for (i = fx.image.n - 1; strncmp(fx.image.files[i].name, "log-", 4) != 0; i--)
        continue;
    assert_true(wal_format_get_header(fx.image.files[i].data, KIT_SEGMENT, &h));
    h.sequence++;
    wal_dir_name(name, "log-", h.sequence);
    wal_format_put_header(segment, &h);
    kit_store(&fx.image, fx.kit.dir);
    kit_write_file(fx.kit.dir, name, segment, KIT_SEGMENT);
    kit_must_open(&fx.kit);
    assert_int_equal(fx.kit.last, 80);
    assert_int_equal(kit_count(fx.kit.dir, name), 0);
    kit_close(&fx.kit);
    e = kit_make(81);
    wal_format_put_frame(segment + WAL_FORMAT_FIRST, &e, 1, 81, h.salt, WAL_FORMAT_FIRST);
    free((void *)(uintptr_t)e.data);
    kit_store(&fx.image, fx.kit.dir);
    kit_write_file(fx.kit.dir, name, segment, KIT_SEGMENT);
    assert_int_equal(kit_open(&fx.kit), TX_ECORRUPT);
    teardown(&fx);
}

/* After a cut the log goes on, and what was cut never comes back. */
static void cut_and_go_on(void **state)
{
    static struct fixture fx;
    const struct place *last;
    struct kit *k = &fx.kit;

    (void)state;
    setup(&fx, false);
    last = &fx.frames[fx.n - 1];
    for (uint64_t at = 0; at < last->size; at += 9) {
        flip(&fx, last->file, last->offset + at, 0x20);
        kit_store(&fx.image, k->dir);
        flip(&fx, last->file, last->offset + at, 0x20);
        kit_must_open(k);
        assert_int_equal(k->last, 79);
        kit_append(k, 1 + at % 3);
        kit_close(k);
        kit_must_open(k);
        assert_int_equal(k->last, 80 + at % 3);
        kit_close(k);
    }
    teardown(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flips_in_frames),
        cmocka_unit_test(flips_in_headers),
        cmocka_unit_test(flips_after_seal),
        cmocka_unit_test(zeroed),
        cmocka_unit_test(truncated),
        cmocka_unit_test(missing),
        cmocka_unit_test(flips_in_small_files),
        cmocka_unit_test(mixed_up),
        cmocka_unit_test(unknown_segment),
        cmocka_unit_test(cut_and_go_on),
    };

    log_init("test_wal_damage", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
