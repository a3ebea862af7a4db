/* wal_meta: the small facts beside the log: who this node is, its term and vote, and which files make up the
 * log.
 *
 * Called by wal; calls wal_dir. The file is always replaced as a whole (written, synced, renamed, directory
 * synced), so that a damaged one is damage and never the trace of a crash: a node that forgot its vote could
 * vote twice. It names the first and the last segment and the snapshot, so that a missing file is noticed at
 * either end.
 */
#ifndef ASSENT_WAL_META_H
#define ASSENT_WAL_META_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/wal_dir.h"

/* What a log is of. Random, never 0; both 0 in memory: there is no file yet. */
struct wal_identity {
    uint64_t group; /* a name for ever: prepared transactions carry it */
    uint64_t log;   /* another one when the group begins anew, from a backup */
};

struct wal_meta {
    struct wal_identity identity;
    uint64_t node_id;        /* whose directory this is */
    uint64_t term, vote;     /* Raft's, durable before any message of that term */
    uint64_t first_segment;  /* lower ones are no part of the log */
    uint64_t last_segment;   /* made ready; higher ones were never written to. 0: none yet */
    uint64_t snapshot_index; /* a snapshot at least this new must be there; 0: none needed */
    uint64_t base_index;     /* where it replaced the log: no entry up to here may be there; else 0 */
    bool guest;              /* taken in by a group that existed: is given its log, never makes one */
    bool sealed;             /* ended cleanly at exactly the place below */
    uint64_t sealed_segment, sealed_offset, sealed_index;
};

/* *m is all zero where there is no file. TX_ECORRUPT, TX_EIO, TX_ENOMEM. */
int wal_meta_read(const struct wal_dir *d, struct wal_meta *m, struct tx_error *e);
int wal_meta_write(const struct wal_dir *d, const struct wal_meta *m, struct tx_error *e);

#endif
