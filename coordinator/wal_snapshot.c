/* wal_snapshot: the wal's snapshots: storing one beside the log, in place of the log, and reading one.
 *
 * See wal.h, whose functions these are, and wal_internal.h for what may run at the same time.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/wal_internal.h"

/* Beside the log */

static void snapshot_work(uv_work_t *req)
{
    struct wal *w = req->data;
    struct snapshot_job *job = &w->snap;

    job->rc = snapshot_write(&w->store.dir, w->store.identity.group, &job->snapshot, &job->error);
    if (job->rc == 0)
        job->rc = wal_store_drop(&w->store, job->snapshot.index, job->first, &job->error);
    if (job->rc == 0)
        job->rc = snapshot_remove_older(&w->store.dir, job->snapshot.index, &job->error);
    if (job->rc == 0)
        job->rc = wal_dir_sync(&w->store.dir, &job->error);
}

static void forget_parts(struct wal_log *log, uint64_t first)
{
    size_t gone = 0;

    while (log->parts[gone].sequence < first)
        gone++;
    log->n -= gone;
    memmove(log->parts, log->parts + gone, log->n * sizeof *log->parts);
}

static void snapshot_done(uv_work_t *req, int status)
{
    struct wal *w = req->data;
    struct snapshot stored = w->snap.snapshot;

    assert(status == 0);
    /* The callback may start the next one. */
    snapshot_init(&w->snap.snapshot);
    w->snap.running = false;
    if (w->snap.rc != 0) {
        err_wrap(&w->snap.error, w->snap.rc, "snapshot");
        wal_fail(w, &w->snap.error);
    } else {
        forget_parts(&w->log, w->snap.first);
        w->snapshot_index = stored.index;
        w->callbacks.snapshotted(w->callbacks.ctx, &stored);
    }
    snapshot_release(&stored);
    wal_work_ended(w);
}

bool wal_snapshot(struct wal *w, struct snapshot *s, uint64_t keep)
{
    size_t i = 0;

    if (w->snap.running || w->install.wanted || w->install.running || w->failed || w->closing)
        return false;
    while (i + 1 < w->log.n && w->log.parts[i].last_index < keep)
        i++;
    w->snap.first = w->log.parts[i].sequence;
    w->snap.snapshot = *s;
    snapshot_init(s);
    w->snap.running = true;
    w->snap.req.data = w;
    uv_queue_work(w->loop, &w->snap.req, snapshot_work, snapshot_done);
    return true;
}

/* In place of the log */

/* The metadata are the point of no return: before it the old log stands, and the file that came is a leftover;
 * after it the old segments are. */
static void install_work(uv_work_t *req)
{
    struct wal *w = req->data;
    struct install_job *job = &w->install;

    job->rc = snapshot_write_incoming(&w->store.dir, job->index, &job->file, &job->error);
    if (job->rc == 0)
        job->rc = wal_store_replace(&w->store, job->index, &job->segment, &job->error);
    if (job->rc == 0)
        job->rc = snapshot_publish_incoming(&w->store.dir, job->index, &job->error);
    if (job->rc == 0)
        job->rc = snapshot_remove_older(&w->store.dir, job->index, &job->error);
    if (job->rc == 0)
        job->rc = wal_dir_sync(&w->store.dir, &job->error);
}

static int use_new_log(struct wal *w, struct tx_error *e)
{
    struct wal_log *log = &w->log;

    wal_segment_close(&w->write.ended);
    wal_segment_close(&log->current);
    wal_segment_close(&log->next);
    log->n = 0;
    log->first_index = 0;
    log->last_index = w->snapshot_index = w->install.index;
    w->next_index = log->last_index + 1;
    return wal_log_advance(log, &w->install.segment, e);
}

static void install_done(uv_work_t *req, int status)
{
    struct wal *w = req->data;
    struct install_job *job = &w->install;

    assert(status == 0);
    job->running = false;
    buf_release(&job->file);
    if (job->rc == 0)
        job->rc = use_new_log(w, &job->error);
    if (job->rc != 0) {
        err_wrap(&job->error, job->rc, "snapshot from the leader");
        wal_fail(w, &job->error);
    } else {
        w->callbacks.installed(w->callbacks.ctx, job->index);
    }
    wal_work_ended(w);
}

void wal_install_when_idle(struct wal *w)
{
    struct install_job *job = &w->install;

    if (!job->wanted || w->write.running || w->ready.running || w->snap.running || w->failed || w->closing)
        return;
    job->wanted = false;
    job->running = true;
    job->segment.fd = -1;
    job->req.data = w;
    uv_queue_work(w->loop, &job->req, install_work, install_done);
}

void wal_install(struct wal *w, uint64_t index, struct buf *file)
{
    struct install_job *job = &w->install;

    assert(!job->wanted && !job->running);
    w->head = w->n = 0;
    if (w->write.running && w->write.valid_last >= w->write.first_index)
        w->write.valid_last = w->write.first_index - 1;
    job->index = index;
    job->file = *file;
    buf_init(file);
    job->wanted = true;
    wal_install_when_idle(w);
}

/* Reading */

static void read_work(uv_work_t *req)
{
    struct wal *w = req->data;
    struct read_job *job = &w->read;

    job->rc = snapshot_read(&w->store.dir, job->index, &job->data, &job->len, &job->error);
}

static void read_done(uv_work_t *req, int status)
{
    struct wal *w = req->data;
    struct read_job *job = &w->read;

    assert(status == 0);
    job->running = false;
    if (job->rc != 0)
        wal_fail(w, &job->error);
    else if (!w->closing)
        w->callbacks.read(w->callbacks.ctx, job->index, job->data, job->len);
    else
        free(job->data);
    job->data = NULL;
    wal_work_ended(w);
}

bool wal_read_snapshot(struct wal *w)
{
    struct read_job *job = &w->read;

    if (job->running || w->snapshot_index == 0 || w->failed || w->closing)
        return false;
    job->running = true;
    job->index = w->snapshot_index;
    job->data = NULL;
    job->req.data = w;
    uv_queue_work(w->loop, &job->req, read_work, read_done);
    return true;
}
