/* replog: the replicated log. It alone, with its inner half replog_core, knows libraft.
 *
 * Called by driver (propose) and main (open, close); calls wal (disk) and libraft's core, raft_step(). A group
 * of one works as a group of five does: everything is proposed, written, committed, applied.
 */
#ifndef ASSENT_REPLOG_H
#define ASSENT_REPLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"

struct replog;

enum replog_role {
    REPLOG_FOLLOWER, /* also while a new leader's first entry is not committed yet */
    REPLOG_LEADER,   /* the no-op of this term is committed and applied: may act */
};

/* How a proposal ended. */
enum replog_result {
    REPLOG_COMMITTED, /* applied at `index`; the apply callback has run for it just before */
    REPLOG_REFUSED,   /* never appended: not leader */
    REPLOG_UNKNOWN,   /* leadership lost meanwhile: ask the ledger */
};

typedef void (*replog_propose_cb)(void *arg, enum replog_result result, uint64_t index);

struct replog_callbacks {
    void *ctx;
    /* A committed entry, in log order, each once since the last restore. Data is borrowed. An entry that cannot
     * be applied is damage or a bug: return an error and the node stops. */
    int (*apply)(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e);
    /* Replaces the state by the snapshot's (at start, or from the leader). Data is borrowed. */
    int (*restore)(void *ctx, const void *data, size_t len, struct tx_error *e);
    /* Writes the state as of the last applied entry. */
    void (*snapshot)(void *ctx, struct buf *out);
    /* Role changes; leader_id is 0 where not known. */
    void (*role)(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id);
    /* The log cannot go on (disk full, I/O error, damage): nothing more will be acknowledged; the program must
     * exit. */
    void (*fatal)(void *ctx, const struct tx_error *e);
};

struct replog_options {
    const char *data_dir;  /* exists and is locked by this process until replog_close() */
    uint64_t node_id;      /* from 1 */
    const char *address;   /* this node's, for its peers */
    size_t segment_bytes;  /* of a log file [8 MiB] */
    size_t snapshot_bytes; /* log written since the last snapshot that makes the next one due [16 MiB] */
};

struct replog_status {
    enum replog_role role;
    uint64_t term, leader_id, node_id;
    uint64_t last_index, commit_index, applied_index, snapshot_index;
    uint64_t appends, forced_writes, snapshots; /* since start */
    uint64_t log_bytes;                         /* on disk, segments in use and spare */
};

/* Opens data_dir: bootstraps a group of one where it is empty, else recovers snapshot and log (a torn tail is
 * cut, with a log line; anything else that is not as written: TX_ECORRUPT, and msg says what to do). Callbacks
 * run from the loop only, restore alone already from here. `callbacks` is copied. TX_EIO, TX_ECORRUPT, TX_EBUSY
 * (locked by another process), TX_ENOMEM. */
int replog_open(struct replog **out, uv_loop_t *loop, const struct replog_options *options,
                const struct replog_callbacks *callbacks, struct tx_error *e);

/* Random, non-zero, made when the group was bootstrapped; the same on every node for ever. */
uint64_t replog_group(const struct replog *r);

/* Proposes one entry. Takes `data` (malloc'd) in any case; it must fit into a segment: len < segment_bytes - 8
 * KiB. Proposals made in one loop turn share a write. cb is called exactly once, never from inside this call,
 * unless the log turned fatal or was being closed before. */
void replog_propose(struct replog *r, uint8_t *data, size_t len, replog_propose_cb cb, void *arg);

void replog_status(const struct replog *r, struct replog_status *out);

/* Finishes the write in flight, seals the log as cleanly ended, and calls `closed` when all memory is gone. */
void replog_close(struct replog *r, void (*closed)(void *arg), void *arg);

#endif
