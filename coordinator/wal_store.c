/* wal_store: see wal_store.h. */
#include "coordinator/wal_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "coordinator/snapshot.h"

/* Writes the changed copy, and makes it the one in memory once it is durable. */
static int store_meta(struct wal_store *s, const struct wal_meta *changed, struct tx_error *e)
{
    int rc = wal_meta_write(&s->dir, changed, e);

    if (rc == 0)
        s->meta = *changed;
    return rc;
}

/* Files of a log without its metadata are a log that lost its vote. */
static int check_empty(const struct wal_store *s, struct tx_error *e)
{
    static const char *const prefixes[] = {WAL_SEGMENT_PREFIX, SNAPSHOT_PREFIX};
    char name[WAL_DIR_NAME_SIZE];
    uint64_t *numbers;
    size_t n;
    int rc = 0;

    for (int i = 0; rc == 0 && i < 2; i++) {
        rc = wal_dir_list(&s->dir, prefixes[i], &numbers, &n, e);
        if (rc == 0 && n > 0) {
            wal_dir_name(name, prefixes[i], numbers[0]);
            rc =
                wal_dir_damaged(&s->dir, name, "the file «meta», with the node's term and vote, is missing", e);
        }
        free(numbers);
    }
    return rc;
}

/* From here on the directory is a log, though still without an entry. */
int wal_store_create(struct wal_store *s, uint64_t node_id, struct wal_identity identity, bool guest,
                     struct tx_error *e)
{
    struct wal_meta m = {
        .identity = identity, .node_id = node_id, .term = 1, .first_segment = 1, .guest = guest};
    int rc = check_empty(s, e);
    uint64_t random;

    if (rc != 0)
        return rc;
    while (m.identity.group == 0 || m.identity.log == 0) {
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return err_set(e, TX_EIO, "getrandom gives no random bytes");
        if (m.identity.group == 0)
            m.identity.group = random;
        else
            m.identity.log = random;
    }
    rc = store_meta(s, &m, e);
    s->identity = s->meta.identity;
    return rc;
}

int wal_store_open(struct wal_store *s, const char *path, uint64_t node_id, uint64_t segment_bytes,
                   struct tx_error *e)
{
    int rc;

    *s = (struct wal_store){.segment_bytes = segment_bytes};
    if (uv_mutex_init(&s->lock) != 0)
        return err_set(e, TX_ENOMEM, "out of memory");
    rc = wal_dir_open(&s->dir, path, e);
    if (rc == 0)
        rc = wal_meta_read(&s->dir, &s->meta, e);
    if (rc == 0 && s->meta.identity.group != 0 && s->meta.node_id != node_id)
        rc = err_set(e, TX_EINVAL, "%s belongs to node %" PRIu64 ", not to node %" PRIu64, s->dir.path,
                     s->meta.node_id, node_id);
    if (rc != 0)
        wal_store_close(s);
    s->identity = s->meta.identity;
    return rc;
}

void wal_store_close(struct wal_store *s)
{
    wal_dir_close(&s->dir);
    uv_mutex_destroy(&s->lock);
}

/* A next segment that was made under another setting might be too small for an entry: another takes its place.
 */
static int check_next_size(struct wal_store *s, struct wal_log *log, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    struct wal_meta m = s->meta;
    int rc;

    if (log->next.fd < 0 || log->next.size == s->segment_bytes)
        return 0;
    wal_dir_name(name, WAL_SEGMENT_PREFIX, log->next.sequence);
    wal_segment_close(&log->next);
    m.last_segment--;
    rc = store_meta(s, &m, e);
    return rc == 0 ? wal_dir_remove(&s->dir, name, e) : rc;
}

static uint64_t count_bytes(const struct wal_store *s, const struct wal_log *log)
{
    uint64_t bytes = ((log->next.fd >= 0) + s->spares.n) * s->segment_bytes;

    for (size_t i = 0; i < log->n; i++)
        bytes += log->parts[i].size;
    return bytes;
}

int wal_store_begin(struct wal_store *s, struct wal_log *log, struct tx_error *e)
{
    struct wal_meta m = s->meta;
    struct wal_segment first;
    int rc;

    m.sealed = false;
    rc = store_meta(s, &m, e);
    if (rc == 0)
        rc = check_next_size(s, log, e);
    if (rc == 0)
        rc = wal_segment_find_spares(&s->dir, s->segment_bytes, &s->spares, e);
    if (rc != 0)
        return rc;
    s->disk_bytes = count_bytes(s, log);
    if (log->n > 0)
        return 0;
    rc = wal_store_make(s, s->meta.last_segment + 1, &first, e);
    return rc == 0 ? wal_log_advance(log, &first, e) : rc;
}

int wal_store_seal(struct wal_store *s, const struct wal_log *log, struct tx_error *e)
{
    struct wal_meta m = s->meta;

    m.sealed = true;
    m.sealed_segment = log->current.sequence;
    m.sealed_offset = log->offset;
    m.sealed_index = log->last_index;
    return store_meta(s, &m, e);
}

int wal_store_set_vote(struct wal_store *s, uint64_t term, uint64_t vote, struct tx_error *e)
{
    struct wal_meta m;
    int rc;

    uv_mutex_lock(&s->lock);
    m = s->meta;
    m.term = term;
    m.vote = vote;
    rc = store_meta(s, &m, e);
    uv_mutex_unlock(&s->lock);
    return rc;
}

/* A new file, not named in the metadata yet. */
static int create_segment(struct wal_store *s, uint64_t sequence, struct wal_segment *out, struct tx_error *e)
{
    struct wal_segment_header h = {.group = s->identity.group, .sequence = sequence, .size = s->segment_bytes};
    uint64_t spare;
    int rc;

    uv_mutex_lock(&s->lock);
    spare = s->spares.n > 0 ? s->spares.numbers[--s->spares.n] : 0;
    uv_mutex_unlock(&s->lock);
    rc = wal_segment_create(&s->dir, spare, h, out, e);
    if (rc == 0 && spare == 0)
        s->disk_bytes += h.size;
    return rc;
}

int wal_store_make(struct wal_store *s, uint64_t sequence, struct wal_segment *out, struct tx_error *e)
{
    struct wal_meta m;
    int rc = create_segment(s, sequence, out, e);

    if (rc != 0)
        return rc;
    uv_mutex_lock(&s->lock);
    m = s->meta;
    m.last_segment = sequence;
    rc = store_meta(s, &m, e);
    uv_mutex_unlock(&s->lock);
    if (rc != 0)
        wal_segment_close(out);
    return rc;
}

/* Once the metadata say so the files are no part of the log, whatever a crash leaves of them. Under lock. */
static int cut_front(struct wal_store *s, const struct wal_meta *m, struct tx_error *e)
{
    uint64_t old = s->meta.first_segment, freed;
    int rc = store_meta(s, m, e);

    for (; rc == 0 && old < m->first_segment; old++) {
        rc = wal_segment_retire(&s->dir, &s->spares, old, s->segment_bytes, &freed, e);
        s->disk_bytes -= freed;
    }
    return rc;
}

int wal_store_drop(struct wal_store *s, uint64_t snapshot_index, uint64_t first, struct tx_error *e)
{
    struct wal_meta m;
    int rc;

    uv_mutex_lock(&s->lock);
    m = s->meta;
    m.snapshot_index = snapshot_index;
    m.first_segment = first;
    rc = cut_front(s, &m, e);
    uv_mutex_unlock(&s->lock);
    return rc;
}

int wal_store_replace(struct wal_store *s, uint64_t snapshot_index, struct wal_segment *out, struct tx_error *e)
{
    uint64_t sequence = s->meta.last_segment + 1;
    struct wal_meta m;
    int rc = create_segment(s, sequence, out, e);

    if (rc != 0)
        return rc;
    uv_mutex_lock(&s->lock);
    m = s->meta;
    m.snapshot_index = m.base_index = snapshot_index;
    m.first_segment = m.last_segment = sequence;
    rc = cut_front(s, &m, e);
    uv_mutex_unlock(&s->lock);
    if (rc != 0)
        wal_segment_close(out);
    return rc;
}
