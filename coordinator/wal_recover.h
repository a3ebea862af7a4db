/* wal_recover: reads the log at start, and tells a torn tail from damage.
 *
 * Called by wal; calls wal_segment, wal_format, wal_dir. The rule: one frame is one write, and only one write
 * is in flight. So after a crash at most the last frame may be bad, and nobody was told of it: it is cut. A bad
 * frame with a good one behind it, a file that is missing, shorter than it was made or damaged in its header, a
 * gap in the indexes, or anything else than the recorded end after a clean shutdown, is damage: the node stops,
 * as a voter that forgets what it acknowledged breaks the majority's promise.
 *
 * A frame may start at an index that an earlier frame had already: a follower's entries that were never
 * committed, replaced by a leader's. It takes the place of that entry and of all behind it, by one write.
 */
#ifndef ASSENT_WAL_RECOVER_H
#define ASSENT_WAL_RECOVER_H

#include "coordinator/wal_meta.h"
#include "coordinator/wal_segment.h"

/* A segment in use and the last index that it holds (its own or an earlier one's). */
struct wal_part {
    uint64_t sequence, last_index, size;
};

/* The log as it stands on disk. */
struct wal_log {
    struct wal_part *parts; /* ascending; the last one is `current`'s */
    size_t n, cap;
    struct wal_segment current; /* frames go in here, at `offset` */
    uint64_t offset;
    struct wal_segment next;          /* made ready, blank */
    uint64_t first_index, last_index; /* no entry: first_index 0, last_index meta->base_index */
};

/* Data is borrowed for the call. An error ends the recovery and is returned. */
typedef int (*wal_recover_cb)(void *ctx, uint64_t index, const struct wal_entry *entry);

/* Reads segments meta->first_segment to meta->last_segment and calls `each` for every entry, in order (an index
 * that was there already: this entry replaces it, and there is none behind it). Cuts a torn tail. The tail is
 * synced: what was read from memory may never have reached the disk. Segments outside of that range are
 * leftovers of a crash, and removed. TX_ECORRUPT, TX_EIO, TX_ENOMEM, or the error of `each`; then *log is
 * empty. */
int wal_recover(const struct wal_dir *d, const struct wal_meta *meta, wal_recover_cb each, void *ctx,
                struct wal_log *log, struct tx_error *e);

void wal_log_release(struct wal_log *log);

/* Makes s the current segment and takes it over; the caller has closed the one before. TX_ENOMEM. */
int wal_log_advance(struct wal_log *log, struct wal_segment *s, struct tx_error *e);

#endif
