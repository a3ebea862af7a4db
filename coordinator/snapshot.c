/* snapshot: see snapshot.h. */
#include "coordinator/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/crash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SNAPSHOT_TMP "snapshot.tmp"
#define SNAPSHOT_MAGIC 0x50414e53544e5341ULL /* "ASNTSNAP" */
#define SNAPSHOT_VERSION 1

void snapshot_init(struct snapshot *s)
{
    memset(s, 0, sizeof *s);
    buf_init(&s->config);
    buf_init(&s->data);
}

void snapshot_release(struct snapshot *s)
{
    buf_release(&s->config);
    buf_release(&s->data);
    s->index = 0;
}

static void encode(struct buf *b, uint64_t group, const struct snapshot *s)
{
    buf_put_u64(b, SNAPSHOT_MAGIC);
    buf_put_u64(b, SNAPSHOT_VERSION);
    buf_put_u64(b, group);
    buf_put_u64(b, s->index);
    buf_put_u64(b, s->term);
    buf_put_u64(b, s->config_index);
    buf_put_u64(b, s->config.len);
    buf_put_bytes(b, s->config.data, s->config.len);
    buf_put_u64(b, s->data.len);
    buf_put_bytes(b, s->data.data, s->data.len);
    if (!b->failed)
        buf_put_u64(b, XXH3_64bits(b->data, b->len));
}

int snapshot_write(const struct wal_dir *d, uint64_t group, const struct snapshot *s, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    struct buf b;
    int rc;

    buf_init(&b);
    encode(&b, group, s);
    wal_dir_name(name, SNAPSHOT_PREFIX, s->index);
    rc = b.failed ? err_set(e, TX_ENOMEM, "no memory for a snapshot")
                  : wal_dir_write(d, SNAPSHOT_TMP, b.data, b.len, e);
    buf_release(&b);
    if (rc != 0)
        return rc;
    crash_point(CRASH_COORD_SNAPSHOT_WRITTEN);
    rc = wal_dir_publish(d, SNAPSHOT_TMP, name, e);
    crash_point(CRASH_COORD_SNAPSHOT_RENAMED);
    return rc;
}

/* Bytes with their length in front; false where out of memory or out of input. */
static bool take_bytes(struct cur *c, struct buf *out)
{
    uint64_t len = cur_u64(c);
    const uint8_t *p = cur_bytes(c, len);

    if (p == NULL)
        return false;
    buf_put_bytes(out, p, len);
    return !out->failed;
}

static bool decode(const uint8_t *data, size_t len, uint64_t group, struct snapshot *s)
{
    struct cur c;
    bool known;

    if (len < sizeof(uint64_t))
        return false;
    cur_init(&c, data, len);
    known = cur_u64(&c) == SNAPSHOT_MAGIC;
    known = cur_u64(&c) == SNAPSHOT_VERSION && known;
    known = cur_u64(&c) == group && known;
    s->index = cur_u64(&c);
    s->term = cur_u64(&c);
    s->config_index = cur_u64(&c);
    if (!take_bytes(&c, &s->config) || !take_bytes(&c, &s->data))
        return false;
    known = cur_u64(&c) == XXH3_64bits(data, len - sizeof(uint64_t)) && known;
    return known && cur_done(&c);
}

int snapshot_decode(const uint8_t *data, size_t len, uint64_t group, struct snapshot *s)
{
    int rc = 0;

    snapshot_init(s);
    if (!decode(data, len, group, s))
        rc = s->config.failed || s->data.failed ? TX_ENOMEM : TX_ECORRUPT;
    if (rc != 0)
        snapshot_release(s);
    return rc;
}

int snapshot_read(const struct wal_dir *d, uint64_t index, uint8_t **data, size_t *len, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];

    wal_dir_name(name, SNAPSHOT_PREFIX, index);
    return wal_dir_read(d, name, data, len, e);
}

int snapshot_write_incoming(const struct wal_dir *d, uint64_t index, const struct buf *file, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    int rc = wal_dir_write(d, SNAPSHOT_TMP, file->data, file->len, e);

    if (rc != 0)
        return rc;
    crash_point(CRASH_COORD_SNAPSHOT_WRITTEN);
    wal_dir_name(name, SNAPSHOT_INCOMING_PREFIX, index);
    return wal_dir_publish(d, SNAPSHOT_TMP, name, e);
}

int snapshot_publish_incoming(const struct wal_dir *d, uint64_t index, struct tx_error *e)
{
    char from[WAL_DIR_NAME_SIZE], to[WAL_DIR_NAME_SIZE];

    wal_dir_name(from, SNAPSHOT_INCOMING_PREFIX, index);
    wal_dir_name(to, SNAPSHOT_PREFIX, index);
    return wal_dir_publish(d, from, to, e);
}

/* What a crash left: named by the metadata already, or an attempt that counts for nothing. */
static int settle_incoming(const struct wal_dir *d, uint64_t needed, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    uint64_t *numbers;
    size_t n;
    int rc = wal_dir_list(d, SNAPSHOT_INCOMING_PREFIX, &numbers, &n, e);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        wal_dir_name(name, SNAPSHOT_INCOMING_PREFIX, numbers[i]);
        rc = numbers[i] == needed ? snapshot_publish_incoming(d, needed, e) : wal_dir_remove(d, name, e);
    }
    free(numbers);
    return rc;
}

static int load(const struct wal_dir *d, uint64_t group, uint64_t index, struct snapshot *s, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    uint8_t *data;
    size_t len;
    int rc;

    wal_dir_name(name, SNAPSHOT_PREFIX, index);
    rc = snapshot_read(d, index, &data, &len, e);
    if (rc != 0)
        return rc;
    rc = data == NULL ? TX_ECORRUPT : snapshot_decode(data, len, group, s);
    if (rc == 0 && s->index != index) {
        snapshot_release(s);
        rc = TX_ECORRUPT;
    }
    if (rc != 0)
        rc = rc == TX_ENOMEM ? err_set(e, rc, "no memory for %s", name)
                             : wal_dir_damaged(d, name, "the snapshot is damaged", e);
    free(data);
    return rc;
}

int snapshot_open(const struct wal_dir *d, uint64_t group, uint64_t needed, struct snapshot *s,
                  struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    uint64_t *numbers, newest;
    size_t n;
    int rc;

    snapshot_init(s);
    rc = settle_incoming(d, needed, e);
    if (rc == 0)
        rc = wal_dir_list(d, SNAPSHOT_PREFIX, &numbers, &n, e);
    if (rc != 0)
        return rc;
    newest = n == 0 ? 0 : numbers[n - 1];
    free(numbers);
    if (newest < needed) {
        wal_dir_name(name, SNAPSHOT_PREFIX, needed);
        return wal_dir_damaged(d, name, "this snapshot is missing", e);
    }
    if (newest != 0)
        rc = load(d, group, newest, s, e);
    if (rc == 0)
        rc = wal_dir_remove(d, SNAPSHOT_TMP, e);
    if (rc == 0)
        rc = snapshot_remove_older(d, newest, e);
    return rc;
}

int snapshot_remove_older(const struct wal_dir *d, uint64_t index, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    uint64_t *numbers;
    size_t n;
    int rc = wal_dir_list(d, SNAPSHOT_PREFIX, &numbers, &n, e);

    for (size_t i = 0; rc == 0 && i < n && numbers[i] < index; i++) {
        wal_dir_name(name, SNAPSHOT_PREFIX, numbers[i]);
        rc = wal_dir_remove(d, name, e);
    }
    free(numbers);
    return rc;
}
