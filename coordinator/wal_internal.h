/* wal_internal: the log on disk as its two files see it: wal.c writes entries, wal_snapshot.c the snapshots.
 *
 * Four kinds of work run in the thread pool, each at most once at a time: the write, making the next segment
 * ready, storing a snapshot (with what it makes obsolete, or in place of the whole log), and reading one. The
 * write owns the current segment while it runs. What replaces the whole log runs alone. The others share the
 * metadata file and the spares, under the store's lock. All else belongs to the loop's thread.
 */
#ifndef ASSENT_WAL_INTERNAL_H
#define ASSENT_WAL_INTERNAL_H

#include "coordinator/wal.h"
#include "coordinator/wal_store.h"

struct write_job {
    uv_work_t req;
    bool running;
    struct wal_segment ended; /* gets its end frame first; fd -1: none */
    uint64_t ended_offset;
    struct wal_segment segment;
    uint64_t offset, first_index;
    uint64_t valid_last; /* lower than its last one where entries were replaced meanwhile */
    struct wal_entry *entries;
    size_t n, cap;
    uint8_t *frame; /* reused */
    size_t frame_cap, frame_size;
    unsigned forced; /* syncs */
    int rc;
    struct tx_error error;
};

struct ready_job {
    uv_work_t req;
    bool running;
    struct wal_segment segment;
    int rc;
    struct tx_error error;
};

struct snapshot_job {
    uv_work_t req;
    bool running;
    struct snapshot snapshot;
    uint64_t first; /* segment; lower ones are obsolete after it */
    int rc;
    struct tx_error error;
};

struct install_job {
    uv_work_t req;
    bool wanted, running; /* wanted: until all else is idle */
    uint64_t index;
    struct buf file;
    struct wal_segment segment;
    int rc;
    struct tx_error error;
};

struct read_job {
    uv_work_t req;
    bool running;
    uint64_t index;
    uint8_t *data;
    size_t len;
    int rc;
    struct tx_error error;
};

struct wal {
    uv_loop_t *loop;
    struct wal_callbacks callbacks;
    struct wal_store store;

    struct wal_log log;
    struct wal_entry *queue; /* appended, not in flight: [head, n) */
    size_t head, n, cap;
    uint64_t next_index; /* of queue[head] */
    uint64_t forced_writes;
    uint64_t node_id;
    uint64_t snapshot_index; /* of the newest one that is durable */

    struct write_job write;
    struct ready_job ready;
    struct snapshot_job snap;
    struct install_job install;
    struct read_job read;
    bool failed, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* The first error counts: the log has failed. */
void wal_fail(struct wal *w, const struct tx_error *e);
/* At the end of each work: goes on with what waited for it. */
void wal_work_ended(struct wal *w);

/* In wal_snapshot.c: starts what is to replace the log once nothing else runs. */
void wal_install_when_idle(struct wal *w);

#endif
