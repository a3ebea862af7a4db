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

/* A node of the group. */
struct replog_member {
    uint64_t id;          /* from 1 */
    const char *address;  /* where it listens for its peers; borrowed */
    bool voter;           /* false: still catching up */
    uint64_t match_index; /* what this leader knows to be on its disk; 0 where it does not lead */
};

enum {
    REPLOG_VOTERS = 5,              /* at most */
    REPLOG_ENTRY_BYTES = 768 << 10, /* of an entry at most; a message to a peer stays below 1 MiB */
};

struct replog_callbacks {
    void *ctx;
    /* Sends Raft messages' bytes to a peer; they may be lost, doubled, reordered. Never blocks. */
    void (*send)(void *ctx, uint64_t to, const char *address, const void *data, size_t len);
    /* The membership that is in force has changed (also at start). */
    void (*members)(void *ctx, const struct replog_member *members, size_t n);
    /* A committed entry, in log order, each once since the last restore. Data is borrowed. An entry that cannot
     * be applied is damage or a bug: return an error and the node stops. */
    int (*apply)(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e);
    /* Replaces the state by the snapshot's (at start, or from the leader). Data is borrowed. */
    int (*restore)(void *ctx, const void *data, size_t len, struct tx_error *e);
    /* Writes the state as of the last applied entry. */
    void (*snapshot)(void *ctx, struct buf *out);
    /* The role, or who leads, has changed. leader_id is 0 where that is not known, and while
     * this node leads but may not act yet. */
    void (*role)(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id);
    /* The log cannot go on (disk full, I/O error, damage): nothing more will be acknowledged; the program must
     * exit. */
    void (*fatal)(void *ctx, const struct tx_error *e);
};

struct replog_options {
    const char *data_dir; /* exists and is locked by this process until replog_close() */
    uint64_t node_id;     /* from 1 */
    const char *address;  /* this node's, for its peers */
    bool found;     /* an empty data_dir: begins a group, of this node alone; else waits to be added to one */
    uint64_t group; /* the id of a group that is begun; 0: a random one */
    unsigned heartbeat_ms, election_ms; /* [50, 500] */
    size_t segment_bytes;               /* of a log file [8 MiB] */
    size_t snapshot_bytes; /* log written since the last snapshot that makes the next one due [16 MiB] */
};

struct replog_status {
    enum replog_role role;
    bool removed; /* a leader has said that this node is no member any more */
    uint64_t term, leader_id, node_id;
    uint64_t last_index, commit_index, applied_index, snapshot_index;
    uint64_t appends, forced_writes, snapshots; /* since start */
    uint64_t installs;                          /* snapshots that came from a leader, since start */
    uint64_t strangers;                         /* messages of other logs that were refused, since start */
    uint64_t log_bytes;                         /* on disk, segments in use and spare */
};

/* Opens data_dir: where it is empty begins a group, or waits to be added to one; else recovers snapshot and log
 * (a torn tail is cut, with a log line; anything else that is not as written: TX_ECORRUPT, and msg says what to
 * do). Callbacks run from the loop only, restore alone already from here. `callbacks` is copied. TX_EINVAL:
 * another node's directory. TX_EIO, TX_ECORRUPT, TX_EBUSY (locked by another process), TX_ENOMEM. */
int replog_open(struct replog **out, uv_loop_t *loop, const struct replog_options *options,
                const struct replog_callbacks *callbacks, struct tx_error *e);

/* Made when the group was founded; the same on every node for ever. 0: this node waits to be added to a group;
 * once it is, and before anything is applied or restored, it is the group's. */
uint64_t replog_group(const struct replog *r);
/* Where this node waits to be added: begins a group of this node alone, as `found` does. TX_EREFUSED: it has a
 * group, or has just heard from a node that takes it for a member. After another error the log is fatal. */
int replog_found(struct replog *r, struct tx_error *e);
/* Made when the group was founded, and again when it began anew from a backup; the same on every node, or 0 as
 * above. Nodes of different logs have nothing to say to each other. */
uint64_t replog_log_id(const struct replog *r);

/* Proposes one entry. Takes `data` (malloc'd) in any case; it must fit into a segment (len < segment_bytes - 8
 * KiB) and into a message (len <= REPLOG_ENTRY_BYTES). Proposals made in one loop turn share a write. cb is
 * called exactly once, never from inside this call, unless the log turned fatal or was being closed before. */
void replog_propose(struct replog *r, uint8_t *data, size_t len, replog_propose_cb cb, void *arg);

/* Bytes that a peer's send callback gave. False: garbage, for another node, or of another log; then dropped.
 * Not from inside a callback of replog. */
bool replog_receive(struct replog *r, const void *data, size_t len);

/* Membership, one change at a time, by the leader. `done`: TX_OK; TX_EREFUSED (with the reason), TX_EBUSY
 * (another change is under way), TX_ENOTLEADER, TX_ETIMEOUT (the new node did not catch up), TX_EUNKNOWN
 * (leadership lost meanwhile). */
typedef void (*replog_change_cb)(void *arg, int rc, const char *why);
struct replog_newcomer {
    uint64_t id;
    const char *address;
    uint64_t replaces; /* 0: nobody */
};
/* Adds a node that has an empty data directory: it catches up first (by snapshot and log), then votes. One that
 * is a member without a vote already, left by an addition that was broken off, begins anew; so does one that
 * loses its data on the way. A voter whose place it takes, and who is not the leader, is removed when it has
 * caught up, as by replog_remove(); where that is refused it is no member. */
void replog_add(struct replog *r, const struct replog_newcomer *n, replog_change_cb done, void *arg);
/* TX_EREFUSED, and nothing has changed, where no majority of those that stay has answered since the request.
 * The removed node is told, and stays a follower that asks for no votes. The leader may remove itself, and
 * leads no more then. */
void replog_remove(struct replog *r, uint64_t id, replog_change_cb done, void *arg);
/* Hands leadership over, to `id`, or to the best follower for 0; until done, or failed, new proposals are
 * refused. */
void replog_transfer(struct replog *r, uint64_t id, replog_change_cb done, void *arg);

void replog_status(const struct replog *r, struct replog_status *out);
/* The members now, `cap` at most; addresses are borrowed until the loop's next turn. Returns how many. */
size_t replog_members(const struct replog *r, struct replog_member *out, size_t cap);

/* Finishes the write in flight, seals the log as cleanly ended, and calls `closed` when all memory is gone. */
void replog_close(struct replog *r, void (*closed)(void *arg), void *arg);

#endif
