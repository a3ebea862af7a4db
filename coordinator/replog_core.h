/* replog_core: runs libraft's core: hands it events, and does what its updates say. Internal to replog.
 *
 * Called by replog, replog_net, replog_change and by the wal's callbacks; calls raft_step(), wal, replog_log,
 * and replog_net to send.
 *
 * raft_step() has no I/O: it takes an event and says in an update what to store, send and commit. An entry's
 * way:
 *
 *   replog_propose ─ end of loop turn ─▶ SUBMIT ─▶ update.entries ─▶ wal_append ─ disk ─▶ PERSISTED_ENTRIES
 *     ─▶ update.commit_index ─▶ apply, then the proposal's callback
 *
 * With several voters the same update has the messages to the followers, and the commit comes when a majority
 * has answered. A follower's entries come from its leader, and may take the place of some it had.
 */
#ifndef ASSENT_REPLOG_CORE_H
#define ASSENT_REPLOG_CORE_H

#include <raft.h>

#include "coordinator/replog_admit.h"
#include "coordinator/replog_change.h"
#include "coordinator/replog_log.h"
#include "coordinator/replog_ship.h"
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

/* How far entries were sent to a node. */
struct replog_sent {
    uint64_t id, end;
};

struct replog {
    uv_loop_t *loop;
    struct replog_callbacks cb;
    struct raft raft;
    struct wal *wal;
    struct replog_log log;
    struct wal_identity identity; /* 0: none yet */
    uint64_t term, vote;          /* as recovered */
    bool guest;                   /* taken in by a group that existed */
    unsigned election_ms;
    uv_timer_t timer; /* raft_timeout() */
    uv_idle_t turn;   /* runs once in a loop turn in which something is to be submitted */
    unsigned handles; /* to be closed */

    struct replog_proposals gathered;  /* of this loop turn */
    struct replog_proposals submitted; /* in the SUBMIT at hand, not taken into the log yet */
    struct raft_entry *batch;          /* the same, as libraft takes them */
    struct wal_entry *wal_batch;       /* as the wal takes them */
    size_t batch_cap;                  /* of both */

    enum replog_role role;
    uint64_t leader_id;                        /* as told */
    uint64_t leading_term;                     /* in which libraft leads; 0: it does not */
    uint64_t noop_index;                       /* of this term, when leader; 0: none */
    uint64_t told_committed, told_uncommitted; /* configurations' indexes when `members` was called */
    uint64_t commit, applied, snapshot_index;
    size_t snapshot_bytes, bytes_since_snapshot;
    size_t max_entry;
    uint64_t appends, snapshots, installs;

    struct snapshot recovered;     /* its state is restored; libraft gets the rest in its first event */
    uint64_t snapshot_keep;        /* first entry to keep, of the snapshot under way */
    struct replog_arrival arrival; /* a snapshot on its way to here; all there while `installing` */
    struct raft_snapshot_metadata installing_metadata;

    struct replog_sent sent[REPLOG_MESSAGE_NODES];
    struct replog_ships ships;
    struct replog_change change;
    uint64_t warned_ms[REPLOG_MESSAGE_NODES]; /* when a refused message was told last; by node, modulo */
    uint64_t strangers;
    struct replog_claim claim; /* of an empty node */
    bool receiving;            /* the entries of the step at hand are the leader's */
    bool removed;              /* the leader says that this node is no member any more */
    bool started, applying, snapshotting, installing, settling, fatal, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* libraft begins with what was recovered, once the node has a group; in replog.c. */
void replog_core_start(struct replog *r);

/* Steps, and does what follows from it. A raft error code: RAFT_NOTLEADER or RAFT_CANTCHANGE for a SUBMIT,
 * RAFT_NOTLEADER, RAFT_NOTFOUND or RAFT_BADID for a TRANSFER, else the log is fatal now. Nothing happens, and 0
 * is returned, once it is fatal. */
int replog_core_step(struct replog *r, struct raft_event *event);

/* What follows from the state that a step has left. */
void replog_core_settle(struct replog *r);

/* The first error counts. Nothing is stepped, applied or answered after it. */
void replog_core_die(struct replog *r, const struct tx_error *e);
void replog_core_die_raft(struct replog *r, int rv, const char *what);

/* Ends what waits for its commit as UNKNOWN: the next leader may commit it, or not. */
void replog_core_give_up(struct replog *r);

/* Makes room in batch and wal_batch. TX_ENOMEM. */
int replog_core_reserve(struct replog *r, size_t n);

/* Appends this term's first entry: what it commits, it commits with all before it. */
void replog_core_submit_noop(struct replog *r);
/* An entry of this leader's own. Takes the malloc'd data over. As replog_core_step(). */
int replog_core_submit(struct replog *r, enum raft_entry_type type, void *data, size_t len);

/* A snapshot's configuration. A raft error code. */
int replog_core_decode_config(const struct buf *config, struct raft_configuration *out);

/* The wal's callbacks; ctx is the replog. */
void replog_core_persisted(void *ctx, uint64_t index);
void replog_core_snapshotted(void *ctx, struct snapshot *s);
void replog_core_installed(void *ctx, uint64_t index);
void replog_core_failed(void *ctx, const struct tx_error *e);

#endif
