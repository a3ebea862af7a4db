/* wal_kit: for the tests of the log on disk: directories, and a wal with its loop.
 *
 * The directories are under /tmp and are removed at the end of a test.
 */
#ifndef ASSENT_TESTS_WAL_KIT_H
#define ASSENT_TESTS_WAL_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <dirent.h>
#include <uv.h>

#include "coordinator/wal.h"

/* Directories */

enum { KIT_PATH = 256, KIT_FILES = 64 };

/* A directory's files, in memory. */
struct kit_image {
    size_t n;
    struct {
        char name[64];
        uint8_t *data;
        size_t len;
    } files[KIT_FILES];
};

static inline void kit_mkdir(char path[KIT_PATH])
{
    snprintf(path, KIT_PATH, "/tmp/assent-wal-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void kit_path(char out[KIT_PATH * 2], const char *dir, const char *name)
{
    snprintf(out, KIT_PATH * 2, "%s/%s", dir, name);
}

static inline void kit_empty(const char *dir)
{
    char path[KIT_PATH * 2];
    struct dirent *entry;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        kit_path(path, dir, entry->d_name);
        if (entry->d_name[0] != '.')
            assert_int_equal(unlink(path), 0);
    }
    closedir(d);
}

static inline void kit_rmdir(const char *dir)
{
    kit_empty(dir);
    assert_int_equal(rmdir(dir), 0);
}

/* Number of the directory's files whose name starts so. */
static inline size_t kit_count(const char *dir, const char *prefix)
{
    struct dirent *entry;
    DIR *d = opendir(dir);
    size_t n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void kit_write_file(const char *dir, const char *name, const uint8_t *data, size_t len)
{
    char path[KIT_PATH * 2];
    FILE *f;

    kit_path(path, dir, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static inline void kit_remove(const char *dir, const char *name)
{
    char path[KIT_PATH * 2];

    kit_path(path, dir, name);
    assert_int_equal(unlink(path), 0);
}

static inline int kit_compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void kit_load(struct kit_image *image, const char *dir)
{
    char path[KIT_PATH * 2];
    struct dirent *entry;
    struct stat st;
    DIR *d = opendir(dir);
    FILE *f;

    image->n = 0;
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        assert_true(image->n < KIT_FILES && strlen(entry->d_name) < sizeof image->files[0].name);
        kit_path(path, dir, entry->d_name);
        f = fopen(path, "rb");
        if (f == NULL)
            continue; /* renamed or removed meanwhile: see kit_load_stable() */
        assert_int_equal(fstat(fileno(f), &st), 0);
        strcpy(image->files[image->n].name, entry->d_name);
        image->files[image->n].data = malloc((size_t)st.st_size + 1);
        assert_non_null(image->files[image->n].data);
        image->files[image->n].len = fread(image->files[image->n].data, 1, (size_t)st.st_size, f);
        fclose(f);
        image->n++;
    }
    closedir(d);
    qsort(image->files, image->n, sizeof image->files[0], kit_compare_names);
}

static inline void kit_store(const struct kit_image *image, const char *dir)
{
    kit_empty(dir);
    for (size_t i = 0; i < image->n; i++)
        kit_write_file(dir, image->files[i].name, image->files[i].data, image->files[i].len);
}

static inline void kit_release_image(struct kit_image *image)
{
    for (size_t i = 0; i < image->n; i++)
        free(image->files[i].data);
    image->n = 0;
}

static inline bool kit_same(const struct kit_image *a, const struct kit_image *b)
{
    for (size_t i = 0; i < a->n && a->n == b->n; i++) {
        if (strcmp(a->files[i].name, b->files[i].name) != 0 || a->files[i].len != b->files[i].len ||
            memcmp(a->files[i].data, b->files[i].data, a->files[i].len) != 0)
            return false;
    }
    return a->n == b->n;
}

/* Of a directory that is being written to: all files as they were at one moment. */
static inline void kit_load_stable(struct kit_image *image, const char *dir)
{
    struct kit_image again;
    bool same;

    kit_load(image, dir);
    do {
        kit_load(&again, dir);
        same = kit_same(image, &again);
        kit_release_image(image);
        *image = again;
    } while (!same);
}

/* Position of a file in the image; the file must be there. */
static inline size_t kit_find(const struct kit_image *image, const char *name)
{
    size_t i = 0;

    while (i < image->n && strcmp(image->files[i].name, name) != 0)
        i++;
    assert_true(i < image->n);
    return i;
}

/* A wal */

/* KIT_LATER: the term of entries that took others' places. */
enum { KIT_SEGMENT = 8192, KIT_MAX_ENTRY = 4096, KIT_LATER = 99999 };

struct kit {
    char dir[KIT_PATH];
    uv_loop_t loop;
    struct wal *w;
    struct wal_state state;
    struct tx_error error;
    size_t segment_bytes;
    uint64_t first, last; /* recovered */
    uint64_t appended, persisted;
    uint64_t installed, read_index, last_term;
    uint8_t *read_data;
    size_t read_len;
    unsigned failed, snapshotted, replaced;
    bool closed;
};

/* Every entry's length and bytes follow from its index. */
static inline uint32_t kit_entry(uint64_t index, uint8_t out[KIT_MAX_ENTRY])
{
    uint32_t len = (uint32_t)(index * 97 % 700);

    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(index * 31 + i);
    return len;
}

static inline int kit_recovered(void *ctx, uint64_t index, const struct wal_entry *entry)
{
    uint8_t expected[KIT_MAX_ENTRY];
    uint32_t len = kit_entry(index, expected);
    struct kit *k = ctx;

    if (k->first == 0 || index < k->first)
        k->first = index;
    else
        assert_true(index <= k->last + 1);
    k->replaced += k->last != 0 && index <= k->last;
    k->last_term = entry->term;
    assert_int_equal(entry->len, len);
    assert_true(entry->term == 1 + index / 10 || entry->term == KIT_LATER);
    assert_memory_equal(entry->data, expected, len);
    k->last = index;
    return 0;
}

static inline void kit_persisted(void *ctx, uint64_t index)
{
    struct kit *k = ctx;

    assert_int_equal(k->failed, 0);
    assert_true(index <= k->appended);
    if (index > k->persisted)
        k->persisted = index;
}

static inline void kit_installed(void *ctx, uint64_t index)
{
    struct kit *k = ctx;

    k->installed = k->appended = k->persisted = k->last = index;
}

static inline void kit_read(void *ctx, uint64_t index, uint8_t *data, size_t len)
{
    struct kit *k = ctx;

    k->read_index = index;
    free(k->read_data);
    k->read_data = data;
    k->read_len = len;
}

static inline void kit_snapshotted(void *ctx, struct snapshot *s)
{
    struct kit *k = ctx;

    assert_true(s->index > 0);
    k->snapshotted++;
}

static inline void kit_failed(void *ctx, const struct tx_error *e)
{
    struct kit *k = ctx;

    k->failed++;
    k->error = *e;
}

static inline void kit_on_closed(void *arg)
{
    ((struct kit *)arg)->closed = true;
}

static inline void kit_init(struct kit *k)
{
    memset(k, 0, sizeof *k);
    k->segment_bytes = KIT_SEGMENT;
    kit_mkdir(k->dir);
    assert_int_equal(uv_loop_init(&k->loop), 0);
}

static inline int kit_open(struct kit *k)
{
    const struct wal_callbacks callbacks = {
        .ctx = k,
        .recovered = kit_recovered,
        .persisted = kit_persisted,
        .snapshotted = kit_snapshotted,
        .installed = kit_installed,
        .read = kit_read,
        .failed = kit_failed,
    };
    const struct wal_options options = {k->dir, 1, k->segment_bytes};
    int rc;

    k->first = k->last = k->appended = k->persisted = 0;
    k->installed = k->read_index = 0;
    k->failed = k->snapshotted = k->replaced = 0;
    k->closed = false;
    memset(&k->error, 0, sizeof k->error);
    rc = wal_open(&k->w, &k->loop, &options, &callbacks, &k->state, &k->error);
    if (rc == 0 && k->state.identity.group == 0) {
        rc = wal_create(k->w, &k->state.identity, false, &k->error);
        k->state.term = 1;
        if (rc != 0) {
            wal_close(k->w, kit_on_closed, k);
            uv_run(&k->loop, UV_RUN_DEFAULT);
        }
    }
    if (rc != 0) {
        assert_int_equal(rc, k->error.code);
        return rc;
    }
    assert_int_equal(k->state.first_index, k->first);
    if (k->first != 0)
        assert_int_equal(k->state.last_index, k->last);
    k->last = k->state.last_index;
    k->appended = k->persisted = k->last;
    return 0;
}

static inline void kit_must_open(struct kit *k)
{
    if (kit_open(k) != 0)
        fail_msg("open: %s", k->error.msg);
}

/* Ends cleanly: the log is sealed. */
static inline void kit_close(struct kit *k)
{
    snapshot_release(&k->state.snapshot);
    wal_close(k->w, kit_on_closed, k);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    assert_true(k->closed);
    k->w = NULL;
}

static inline void kit_release(struct kit *k)
{
    free(k->read_data);
    assert_int_equal(uv_loop_close(&k->loop), 0);
    kit_rmdir(k->dir);
}

/* The entries of a test: they must outlive their write. */
static inline struct wal_entry kit_make(uint64_t index)
{
    uint8_t *data = malloc(KIT_MAX_ENTRY);
    uint32_t len = kit_entry(index, data);

    assert_non_null(data);
    return (struct wal_entry){.term = 1 + index / 10, .type = 1, .len = len, .data = data};
}

static inline void kit_bootstrap(struct kit *k)
{
    struct wal_entry e = kit_make(1);

    assert_int_equal(wal_bootstrap(k->w, &e, &k->error), 0);
    free((void *)(uintptr_t)e.data);
    k->appended = k->persisted = 1;
}

/* Appends n entries in one go, and waits until all are persisted, or the log failed. */
static inline void kit_append(struct kit *k, size_t n)
{
    struct wal_entry *entries = calloc(n, sizeof *entries);

    assert_non_null(entries);
    for (size_t i = 0; i < n; i++)
        entries[i] = kit_make(k->appended + 1 + i);
    k->appended += n;
    assert_int_equal(wal_append(k->w, k->appended - n + 1, entries, n, &k->error), 0);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    if (k->failed == 0)
        assert_int_equal(k->persisted, k->appended);
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)entries[i].data);
    free(entries);
}

static inline void kit_snapshot(struct kit *k, uint64_t index, uint64_t keep)
{
    struct snapshot s;

    snapshot_init(&s);
    s.index = index;
    s.term = 1 + index / 10;
    s.config_index = 1;
    buf_put_str(&s.config, "configuration");
    buf_put_u64(&s.data, index);
    buf_put_str(&s.data, "state");
    assert_true(wal_snapshot(k->w, &s, keep));
    snapshot_release(&s);
    uv_run(&k->loop, UV_RUN_DEFAULT);
}

/* A new log of n entries, each in a frame of its own. With `sealed` it was ended cleanly; else it is as kill -9
 * leaves it. */
static inline void kit_build(struct kit *k, size_t n, bool sealed, struct kit_image *image)
{
    kit_must_open(k);
    kit_bootstrap(k);
    for (size_t i = 1; i < n; i++)
        kit_append(k, 1);
    if (!sealed)
        kit_load(image, k->dir);
    kit_close(k);
    if (sealed)
        kit_load(image, k->dir);
}

#endif
