/* wal: see wal.h. Opening, appending, closing; the snapshots are in wal_snapshot.c. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/wal_internal.h"
#include "libtx/shared/crash.h"

static void start_write(struct wal *w);
static void maybe_finish_close(struct wal *w);

void wal_fail(struct wal *w, const struct tx_error *e)
{
    if (w->failed)
        return;
    w->failed = true;
    w->callbacks.failed(w->callbacks.ctx, e);
}

void wal_work_ended(struct wal *w)
{
    wal_install_when_idle(w);
    maybe_finish_close(w);
}

int wal_set_vote(struct wal *w, uint64_t term, uint64_t vote, struct tx_error *e)
{
    int rc = wal_store_set_vote(&w->store, term, vote, e);

    if (rc != 0)
        w->failed = true;
    return rc;
}

/* Making the next segment ready */

static void ready_work(uv_work_t *req)
{
    struct wal *w = req->data;

    w->ready.rc = wal_store_make(&w->store, w->ready.segment.sequence, &w->ready.segment, &w->ready.error);
}

static void ready_done(uv_work_t *req, int status)
{
    struct wal *w = req->data;

    assert(status == 0);
    w->ready.running = false;
    if (w->ready.rc != 0) {
        err_wrap(&w->ready.error, w->ready.rc, "prepare a log file");
        wal_fail(w, &w->ready.error);
    } else {
        w->log.next = w->ready.segment;
        start_write(w);
    }
    wal_work_ended(w);
}

/* Not while the current segment's predecessor still gets its end frame: see open_next() in wal_recover.c. */
static void start_ready(struct wal *w)
{
    if (w->ready.running || w->write.ended.fd >= 0 || w->log.next.fd >= 0 || w->failed || w->closing)
        return;
    if (w->install.wanted || w->install.running)
        return;
    w->ready.running = true;
    w->ready.req.data = w;
    w->ready.segment.sequence = w->log.current.sequence + 1;
    uv_queue_work(w->loop, &w->ready.req, ready_work, ready_done);
}

/* Writing */

static int write_error(struct wal *w, const struct wal_segment *s, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];

    wal_dir_name(name, WAL_SEGMENT_PREFIX, s->sequence);
    return wal_dir_error(&w->store.dir, name, e);
}

/* Forced before the next segment's first frame: so a frame there proves that this one was ended. */
static int write_end_frame(struct wal *w, struct write_job *job)
{
    uint8_t end[WAL_FORMAT_FRAME + WAL_FORMAT_BLANK];

    wal_format_put_frame(end, NULL, 0, job->first_index, job->ended.salt, job->ended_offset);
    errno = wal_dir_pwrite(job->ended.fd, end, sizeof end, job->ended_offset);
    if (errno != 0 || fdatasync(job->ended.fd) != 0)
        return write_error(w, &job->ended, &job->error);
    job->forced++;
    return 0;
}

static int reserve_frame(struct write_job *job)
{
    size_t need = WAL_FORMAT_FRAME + WAL_FORMAT_BLANK;
    uint8_t *grown;

    for (size_t i = 0; i < job->n; i++)
        need += wal_format_entry_size(job->entries[i].len);
    if (need <= job->frame_cap)
        return 0;
    grown = realloc(job->frame, need + need / 2);
    if (grown == NULL)
        return err_set(&job->error, TX_ENOMEM, "no memory for a log write of %zu bytes", need);
    job->frame = grown;
    job->frame_cap = need + need / 2;
    return 0;
}

static void write_work(uv_work_t *req)
{
    struct wal *w = req->data;
    struct write_job *job = &w->write;

    job->forced = 0;
    job->rc = reserve_frame(job);
    if (job->rc == 0 && job->ended.fd >= 0)
        job->rc = write_end_frame(w, job);
    if (job->rc != 0)
        return;
    job->frame_size = wal_format_put_frame(job->frame, job->entries, (uint32_t)job->n, job->first_index,
                                           job->segment.salt, job->offset);
    crash_point(CRASH_COORD_BEFORE_WRITE);
    errno = wal_dir_pwrite(job->segment.fd, job->frame, job->frame_size + WAL_FORMAT_BLANK, job->offset);
    if (errno != 0) {
        job->rc = write_error(w, &job->segment, &job->error);
        return;
    }
    crash_point(CRASH_COORD_WRITTEN);
    if (fdatasync(job->segment.fd) != 0) {
        job->rc = write_error(w, &job->segment, &job->error);
        return;
    }
    job->forced++;
    crash_point(CRASH_COORD_SYNCED);
}

/* Takes what was written into account. */
static void settle_write(struct wal *w)
{
    struct write_job *job = &w->write;

    w->log.offset = job->offset + job->frame_size;
    w->log.last_index = job->first_index + job->n - 1;
    if (w->log.first_index == 0)
        w->log.first_index = job->first_index;
    w->log.parts[w->log.n - 1].last_index = w->log.last_index;
    w->forced_writes += job->forced;
}

static void write_done(uv_work_t *req, int status)
{
    struct wal *w = req->data;
    uint64_t valid = w->write.valid_last;

    assert(status == 0);
    w->write.running = false;
    wal_segment_close(&w->write.ended);
    if (w->write.rc != 0) {
        wal_fail(w, &w->write.error);
    } else {
        settle_write(w);
        /* The disk works on while the entries are applied. */
        start_write(w);
        w->callbacks.persisted(w->callbacks.ctx, valid);
        start_ready(w);
    }
    wal_work_ended(w);
}

/* How many of the queue go into one frame in the current segment. */
static size_t count_fitting(const struct wal *w)
{
    uint64_t room = wal_format_room(w->log.current.size, w->log.offset), size;
    size_t i;

    for (i = w->head; i < w->n; i++) {
        size = wal_format_entry_size(w->queue[i].len);
        if (size > room)
            break;
        room -= size;
    }
    return i - w->head;
}

/* Goes on in the next segment. False: it is not ready yet, or there was no memory. */
static bool advance(struct wal *w)
{
    struct wal_segment ended = w->log.current;
    uint64_t offset = w->log.offset;
    struct tx_error e;

    if (w->log.next.fd < 0)
        return false;
    if (wal_log_advance(&w->log, &w->log.next, &e) != 0) {
        wal_fail(w, &e);
        return false;
    }
    w->write.ended = ended;
    w->write.ended_offset = offset;
    return true;
}

/* Copies n entries from the queue into the job: the queue may be moved while they are written. */
static int fill_job(struct wal *w, size_t n, struct tx_error *e)
{
    struct write_job *job = &w->write;
    struct wal_entry *grown;

    if (n > job->cap) {
        grown = realloc(job->entries, 2 * n * sizeof *grown);
        if (grown == NULL)
            return err_set(e, TX_ENOMEM, "out of memory");
        job->entries = grown;
        job->cap = 2 * n;
    }
    memcpy(job->entries, w->queue + w->head, n * sizeof *job->entries);
    job->n = n;
    job->first_index = w->next_index;
    job->valid_last = w->next_index + n - 1;
    job->segment = w->log.current;
    job->offset = w->log.offset;
    w->next_index += n;
    w->head += n;
    if (w->head == w->n)
        w->head = w->n = 0;
    return 0;
}

static void start_write(struct wal *w)
{
    struct tx_error e;
    size_t n;

    if (w->write.running || w->install.running || w->failed || w->closing || w->head == w->n)
        return;
    n = count_fitting(w);
    if (n == 0) {
        if (!advance(w)) {
            start_ready(w);
            return;
        }
        n = count_fitting(w);
    }
    if (fill_job(w, n, &e) != 0) {
        wal_fail(w, &e);
        return;
    }
    w->write.running = true;
    w->write.req.data = w;
    uv_queue_work(w->loop, &w->write.req, write_work, write_done);
}

static int enqueue(struct wal *w, const struct wal_entry *entries, size_t n, struct tx_error *e)
{
    struct wal_entry *grown;

    if (w->head > 0) {
        memmove(w->queue, w->queue + w->head, (w->n - w->head) * sizeof *w->queue);
        w->n -= w->head;
        w->head = 0;
    }
    if (w->n + n > w->cap) {
        grown = realloc(w->queue, 2 * (w->n + n) * sizeof *grown);
        if (grown == NULL)
            return err_set(e, TX_ENOMEM, "out of memory");
        w->queue = grown;
        w->cap = 2 * (w->n + n);
    }
    memcpy(w->queue + w->n, entries, n * sizeof *entries);
    w->n += n;
    return 0;
}

/* Forgets what was appended from `index` on. What is in flight, or on disk, is replaced by the frame that comes
 * next: see wal_recover.h. */
static void replace_from(struct wal *w, uint64_t index)
{
    if (index >= w->next_index) {
        w->n = w->head + (size_t)(index - w->next_index);
        return;
    }
    w->head = w->n = 0;
    w->next_index = index;
    if (w->write.running && w->write.valid_last >= index)
        w->write.valid_last = index - 1;
}

int wal_append(struct wal *w, uint64_t index, const struct wal_entry *entries, size_t n, struct tx_error *e)
{
    int rc;

    assert(index > w->snapshot_index && index <= w->next_index + (w->n - w->head));
    assert(!w->install.wanted && !w->install.running);
    if (index < w->next_index + (w->n - w->head))
        replace_from(w, index);
    rc = enqueue(w, entries, n, e);
    if (rc == 0)
        start_write(w);
    return rc;
}

uint32_t wal_max_entry(const struct wal *w)
{
    uint64_t room = wal_format_room(w->store.segment_bytes, WAL_FORMAT_FIRST) - WAL_FORMAT_ENTRY;

    return room > INT32_MAX ? INT32_MAX : (uint32_t)room;
}

int wal_bootstrap(struct wal *w, const struct wal_entry *entry, struct tx_error *e)
{
    int rc;

    assert(w->log.last_index == 0 && entry->len <= wal_max_entry(w));
    rc = enqueue(w, entry, 1, e);
    if (rc == 0)
        rc = fill_job(w, 1, e);
    if (rc != 0)
        return rc;
    w->write.req.data = w;
    write_work(&w->write.req);
    if (w->write.rc != 0) {
        w->failed = true;
        return err_set(e, w->write.rc, "%s", w->write.error.msg);
    }
    settle_write(w);
    return 0;
}

void wal_counters(const struct wal *w, struct wal_counters *out)
{
    out->forced_writes = w->forced_writes;
    out->disk_bytes = w->store.disk_bytes;
}

/* Opening and closing */

/* Snapshot and log must join, and the log must reach as far as the snapshot, which was taken from it. */
static int check_join(struct wal *w, const struct snapshot *s, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];

    wal_dir_name(name, WAL_SEGMENT_PREFIX, w->store.meta.first_segment);
    if (w->log.first_index > s->index + 1)
        return wal_dir_damaged(&w->store.dir, name, "entries between the snapshot and this file are missing",
                               e);
    if (w->log.last_index < s->index)
        return wal_dir_damaged(&w->store.dir, name, "the log ends before its snapshot", e);
    return 0;
}

static int open_files(struct wal *w, struct wal_state *state, struct tx_error *e)
{
    struct wal_store *store = &w->store;
    int rc;

    snapshot_init(&state->snapshot);
    if (store->identity.group == 0)
        return 0;
    rc = snapshot_open(&store->dir, store->identity.group, store->meta.snapshot_index, &state->snapshot, e);

    if (rc == 0)
        rc = wal_recover(&store->dir, &store->meta, w->callbacks.recovered, w->callbacks.ctx, &w->log, e);
    if (rc == 0)
        rc = check_join(w, &state->snapshot, e);
    if (rc == 0)
        rc = wal_store_begin(store, &w->log, e);
    state->identity = store->identity;
    state->term = store->meta.term;
    state->vote = store->meta.vote;
    state->guest = store->meta.guest;
    state->first_index = w->log.first_index;
    state->last_index = w->log.last_index;
    w->next_index = w->log.last_index + 1;
    w->snapshot_index = state->snapshot.index;
    return rc;
}

int wal_create(struct wal *w, struct wal_identity *identity, bool guest, struct tx_error *e)
{
    int rc = wal_store_create(&w->store, w->node_id, *identity, guest, e);

    assert(w->log.n == 0);
    *identity = w->store.identity;
    if (rc == 0)
        rc = wal_store_begin(&w->store, &w->log, e);
    w->next_index = 1;
    if (rc != 0)
        w->failed = true;
    return rc;
}

static void release(struct wal *w)
{
    wal_log_release(&w->log);
    wal_segment_close(&w->write.ended);
    wal_store_close(&w->store);
    buf_release(&w->install.file);
    free(w->write.entries);
    free(w->write.frame);
    free(w->queue);
    free(w);
}

int wal_open(struct wal **out, uv_loop_t *loop, const struct wal_options *options,
             const struct wal_callbacks *callbacks, struct wal_state *state, struct tx_error *e)
{
    struct wal *w = calloc(1, sizeof *w);
    int rc;

    memset(state, 0, sizeof *state);
    if (w == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    assert(options->segment_bytes >= WAL_FORMAT_MIN_SEGMENT &&
           options->segment_bytes <= WAL_FORMAT_MAX_SEGMENT);
    w->loop = loop;
    w->callbacks = *callbacks;
    w->node_id = options->node_id;
    w->log.current.fd = w->log.next.fd = w->write.ended.fd = -1;
    rc = wal_store_open(&w->store, options->dir, options->node_id, options->segment_bytes & ~(size_t)4095, e);
    if (rc != 0) {
        free(w);
        return rc;
    }
    rc = open_files(w, state, e);
    if (rc != 0) {
        snapshot_release(&state->snapshot);
        release(w);
        return rc;
    }
    *out = w;
    return 0;
}

static void maybe_finish_close(struct wal *w)
{
    void (*closed)(void *) = w->closed;
    void *arg = w->closed_arg;
    struct tx_error e;

    if (!w->closing || w->write.running || w->ready.running || w->snap.running)
        return;
    if (w->install.running || w->read.running)
        return;
    if (!w->failed && w->store.identity.group != 0 && wal_store_seal(&w->store, &w->log, &e) != 0)
        wal_fail(w, &e);
    release(w);
    closed(arg);
}

void wal_close(struct wal *w, void (*closed)(void *arg), void *arg)
{
    w->closing = true;
    w->closed = closed;
    w->closed_arg = arg;
    maybe_finish_close(w);
}
