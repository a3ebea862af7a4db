/* wal: the log on disk: one write in flight, group commit without a timer, segments made ready ahead of time,
 * snapshots.
 *
 * Called by replog; its snapshots are in wal_snapshot.c; calls wal_recover, wal_segment, wal_meta, snapshot,
 * and libuv's thread pool for all that waits for the disk. Everything that is appended while a write is in
 * flight goes into the next one. Where segments are made, used and given up:
 *
 *   spare ──make ready──▶ next ──full──▶ current ──end frame──▶ old ──snapshot──▶ spare
 *
 * A snapshot from the leader makes an end of all segments: a new one becomes the current one.
 *
 * Any error of a write or a sync is final: `failed` is called once, and nothing is reported as persisted any
 * more.
 */
#ifndef ASSENT_WAL_H
#define ASSENT_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "coordinator/snapshot.h"
#include "coordinator/wal_format.h"
#include "coordinator/wal_meta.h"
#include "libtx/shared/err.h"

struct wal;

struct wal_options {
    const char *dir;
    uint64_t node_id;
    size_t segment_bytes; /* WAL_FORMAT_MIN_SEGMENT to _MAX_SEGMENT; rounded down to 4096 */
};

/* Called from the loop; `recovered` alone from wal_open(). */
struct wal_callbacks {
    void *ctx;
    /* An entry that was on disk, in order; data is borrowed. One whose index was there already replaces that
     * one and all behind it. 0, or TX_ENOMEM. */
    int (*recovered)(void *ctx, uint64_t index, const struct wal_entry *entry);
    /* A write has ended: all entries up to this index are durable, of those that were not replaced meanwhile.
     * It may be lower than before where some were. */
    void (*persisted)(void *ctx, uint64_t index);
    /* The snapshot that was given to wal_snapshot() is durable. It is borrowed. */
    void (*snapshotted)(void *ctx, struct snapshot *s);
    /* What was given to wal_install() is durable, and is the log now. */
    void (*installed)(void *ctx, uint64_t index);
    /* wal_read_snapshot(): its file's bytes, which are the callee's to free(); NULL: it is gone, as a newer one
     * has come. */
    void (*read)(void *ctx, uint64_t index, uint8_t *data, size_t len);
    void (*failed)(void *ctx, const struct tx_error *e);
};

/* What was found on disk. */
struct wal_state {
    struct wal_identity identity; /* 0: the directory is empty */
    uint64_t term, vote;
    bool guest;
    uint64_t first_index;     /* of the entries recovered; 0: none */
    uint64_t last_index;      /* without entries: 0, or that of the snapshot that replaced the log */
    struct snapshot snapshot; /* the caller's to release; index 0: none */
};

/* Opens the log. In an empty directory nothing is made yet: see wal_create(). TX_EINVAL: the directory is
 * another node's. TX_ECORRUPT, TX_EIO, TX_EBUSY, TX_ENOMEM. `callbacks` is copied. */
int wal_open(struct wal **out, uv_loop_t *loop, const struct wal_options *options,
             const struct wal_callbacks *callbacks, struct wal_state *state, struct tx_error *e);

/* Makes a log of term 1, without an entry, in an empty directory, and waits for the disk. What is 0
 * of *identity becomes random. TX_ECORRUPT: files of a log are there, but not its metadata. TX_EIO, TX_ENOMEM.
 */
int wal_create(struct wal *w, struct wal_identity *identity, bool guest, struct tx_error *e);

/* Writes entry 1 at once and waits for the disk. */
int wal_bootstrap(struct wal *w, const struct wal_entry *entry, struct tx_error *e);

/* Appends entries from `index` on: behind the last one, or in place of that index and all behind it, which is
 * behind the last snapshot. Their data is borrowed until `persisted` reports them; of those that were replaced,
 * until it is called next. TX_ENOMEM. */
int wal_append(struct wal *w, uint64_t index, const struct wal_entry *entries, size_t n, struct tx_error *e);
/* Largest entry there can be. */
uint32_t wal_max_entry(const struct wal *w);

/* Stores term and vote, and waits for the disk: no message of that term may go out before. */
int wal_set_vote(struct wal *w, uint64_t term, uint64_t vote, struct tx_error *e);

/* Takes *s over and stores it; then lets go of the segments that hold entries below `keep` only, and of older
 * snapshots. One at a time: false, and *s stays the caller's, while another one is on its way or the log has
 * failed. */
bool wal_snapshot(struct wal *w, struct snapshot *s, uint64_t keep);

/* Replaces the log by the snapshot of this index, whose file's bytes are taken over, when nothing else is under
 * way. Nothing may be appended until `installed`, and `persisted` reports nothing new. */
void wal_install(struct wal *w, uint64_t index, struct buf *file);
/* Reads the newest snapshot's file. One at a time: false where one is being read, or where there is none. */
bool wal_read_snapshot(struct wal *w);

struct wal_counters {
    uint64_t forced_writes;
    uint64_t disk_bytes; /* of segments in use and spare */
};
void wal_counters(const struct wal *w, struct wal_counters *out);

/* Finishes what is in flight, seals the log where it has not failed, frees all. `closed` may be called from
 * inside. No callback comes after it. What was appended and is not in flight is not written. */
void wal_close(struct wal *w, void (*closed)(void *arg), void *arg);

#endif
