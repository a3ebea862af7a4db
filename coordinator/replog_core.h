/* replog_core: runs libraft's core: hands it events, and does what its updates say. Internal to replog.
 *
 * Called by replog and by the wal's callbacks; calls raft_step(), wal, replog_log.
 *
 * raft_step() has no I/O: it takes an event and says in an update what to store, send and commit. An entry's
 * way:
 *
 *   replog_propose ─ end of loop turn ─▶ SUBMIT ─▶ update.entries ─▶ wal_append ─ disk ─▶ PERSISTED_ENTRIES
 *     ─▶ update.commit_index ─▶ apply, then the proposal's callback
 */
#ifndef ASSENT_REPLOG_CORE_H
#define ASSENT_REPLOG_CORE_H

#include <raft.h>

#include "coordinator/replog_log.h"
#include "coordinator/wal.h"

struct replog_proposal {
    uint8_t *data; /* owned */
    size_t len;
    replog_propose_cb cb;
    void *arg;
};

struct replog_proposals {
    struct replog_proposal *items;
    size_t n, cap;
};

struct replog {
    uv_loop_t *loop;
    struct replog_callbacks cb;
    struct raft raft;
    struct wal *wal;
    struct replog_log log;
    uint64_t group, term, vote; /* the last two as recovered */
    uv_timer_t timer;           /* raft_timeout() */
    uv_idle_t turn;             /* runs once in a loop turn in which something is to be submitted */
    unsigned handles;           /* to be closed */

    struct replog_proposals gathered;  /* of this loop turn */
    struct replog_proposals submitted; /* in the SUBMIT at hand, not taken into the log yet */
    struct raft_entry *batch;          /* the same, as libraft takes them */
    struct wal_entry *wal_batch;       /* as the wal takes them */
    size_t batch_cap;                  /* of both */

    enum replog_role role;
    uint64_t leader_id;
    uint64_t noop_index; /* of this term, when leader; 0: none */
    uint64_t commit, applied, snapshot_index;
    size_t snapshot_bytes, bytes_since_snapshot;
    size_t max_entry;
    uint64_t appends, snapshots;

    struct snapshot recovered; /* its state is restored; libraft gets the rest in its first event */
    bool started, applying, snapshotting, fatal, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Steps, and does what follows from it. A raft error code: RAFT_NOTLEADER for a SUBMIT, else the log is fatal
 * now. Nothing happens, and 0 is returned, once it is fatal. */
int replog_core_step(struct replog *r, struct raft_event *event);

/* The first error counts. Nothing is stepped, applied or answered after it. */
void replog_core_die(struct replog *r, const struct tx_error *e);
void replog_core_die_raft(struct replog *r, int rv, const char *what);

/* Ends what waits for its commit as UNKNOWN: the next leader may commit it, or not. */
void replog_core_give_up(struct replog *r);

/* Makes room in batch and wal_batch. TX_ENOMEM. */
int replog_core_reserve(struct replog *r, size_t n);

/* First entry to keep beside a snapshot of this index: a few more than needed, for peers that are slow. */
uint64_t replog_core_keep_from(uint64_t snapshot_index);

/* A snapshot's configuration. A raft error code. */
int replog_core_decode_config(const struct buf *config, struct raft_configuration *out);

/* The wal's callbacks; ctx is the replog. */
void replog_core_persisted(void *ctx, uint64_t index);
void replog_core_snapshotted(void *ctx, struct snapshot *s);
void replog_core_failed(void *ctx, const struct tx_error *e);

#endif
