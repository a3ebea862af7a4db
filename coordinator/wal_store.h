/* wal_store: what the log's threads share: the metadata, the spare files, the segments' coming and going.
 *
 * Called by wal, from the loop and from the thread pool; calls wal_meta, wal_segment, wal_dir. Every change of
 * which files make up the log is durable in the metadata before it takes effect.
 */
#ifndef ASSENT_WAL_STORE_H
#define ASSENT_WAL_STORE_H

#include <stdatomic.h>
#include <stdint.h>
#include <uv.h>

#include "coordinator/wal_meta.h"
#include "coordinator/wal_recover.h"
#include "coordinator/wal_segment.h"

struct wal_store {
    struct wal_dir dir;
    struct wal_identity identity;
    uint64_t segment_bytes;
    uv_mutex_t lock;
    struct wal_meta meta;            /* as it is on disk; under lock once threads run */
    struct wal_spares spares;        /* under lock once threads run */
    atomic_uint_fast64_t disk_bytes; /* of all segments */
};

/* Locks the directory and reads the metadata; s->identity is 0 where there are none. TX_EINVAL: another node's
 * directory. TX_ECORRUPT, TX_EIO, TX_EBUSY, TX_ENOMEM; then nothing stays open. */
int wal_store_open(struct wal_store *s, const char *path, uint64_t node_id, uint64_t segment_bytes,
                   struct tx_error *e);
/* Makes the metadata of an empty directory, at term 1. What is 0 of the identity becomes random. TX_ECORRUPT:
 * there are files of a log. TX_EIO, TX_ENOMEM. */
int wal_store_create(struct wal_store *s, uint64_t node_id, struct wal_identity identity, bool guest,
                     struct tx_error *e);
void wal_store_close(struct wal_store *s);

/* After recovery: breaks the seal, finds the spares, and sees to it that there is a segment to write to. */
int wal_store_begin(struct wal_store *s, struct wal_log *log, struct tx_error *e);
/* Marks the log as cleanly ended where it stands: from then on even a bad last frame is damage. */
int wal_store_seal(struct wal_store *s, const struct wal_log *log, struct tx_error *e);

int wal_store_set_vote(struct wal_store *s, uint64_t term, uint64_t vote, struct tx_error *e);
/* Makes segment `sequence` ready to be written to, and part of the log. Any thread. */
int wal_store_make(struct wal_store *s, uint64_t sequence, struct wal_segment *out, struct tx_error *e);
/* The snapshot of this index is durable: the log starts with segment `first` now, and those before it become
 * spares. Any thread. */
int wal_store_drop(struct wal_store *s, uint64_t snapshot_index, uint64_t first, struct tx_error *e);
/* The whole log is replaced by the snapshot of this index, which is durable: a new segment becomes the only
 * one, and all others become spares. Any thread. */
int wal_store_replace(struct wal_store *s, uint64_t snapshot_index, struct wal_segment *out,
                      struct tx_error *e);

#endif
