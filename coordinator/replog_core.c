/* replog_core: see replog_core.h. */
#include "coordinator/replog_core.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/replog_net.h"
#include "libtx/shared/log.h"

enum {
    TRAILING = 64, /* entries kept in front of a snapshot at least */
    /* On their way to a peer that has not acknowledged them: bytes, which must fit into the line's buffer
     * (peer.c) with room to spare, and entries. */
    WINDOW_BYTES = 4 << 20,
    WINDOW_MIN = 8,
    WINDOW_MAX = 4096,
    NOOP_BYTES = 8,
};

void replog_core_die(struct replog *r, const struct tx_error *e)
{
    if (r->fatal)
        return;
    r->fatal = true;
    uv_timer_stop(&r->timer);
    uv_idle_stop(&r->turn);
    r->cb.fatal(r->cb.ctx, e);
}

void replog_core_die_raft(struct replog *r, int rv, const char *what)
{
    struct tx_error e;

    err_set(&e, rv == RAFT_NOMEM ? TX_ENOMEM : TX_EIO, "%s: %s (%s)", what, raft_strerror(rv),
            raft_errmsg(&r->raft));
    replog_core_die(r, &e);
}

/* What the program is told */

/* 0 also while this node leads but may not act yet. */
static uint64_t known_leader(struct replog *r)
{
    const char *address;
    raft_id leader;

    if (r->role == REPLOG_LEADER)
        return r->raft.id;
    raft_leader(&r->raft, &leader, &address);
    return leader == r->raft.id ? 0 : leader;
}

static void tell_role(struct replog *r, enum replog_role role)
{
    uint64_t leader;

    r->role = role;
    r->leader_id = leader = known_leader(r);
    log_line(LOG_INFO, "role", "state=%s term=%llu leader=%" PRIu64,
             role == REPLOG_LEADER ? "leader" : "follower", raft_current_term(&r->raft), leader);
    r->cb.role(r->cb.ctx, role, raft_current_term(&r->raft), leader);
}

void replog_core_give_up(struct replog *r)
{
    struct replog_entry *e;
    replog_propose_cb cb;

    uint64_t first = r->applied < r->log.first ? r->log.first : r->applied + 1;

    for (uint64_t i = first; i <= replog_log_last(&r->log); i++) {
        e = replog_log_at(&r->log, i);
        cb = e->cb;
        e->cb = NULL;
        if (cb != NULL)
            cb(e->arg, REPLOG_UNKNOWN, 0);
    }
}

static void tell_members(struct replog *r)
{
    const struct raft *raft = &r->raft;
    struct replog_member members[REPLOG_MESSAGE_NODES];

    if (r->cb.members == NULL || (r->told_committed == raft->configuration_committed_index &&
                                  r->told_uncommitted == raft->configuration_uncommitted_index))
        return;
    r->told_committed = raft->configuration_committed_index;
    r->told_uncommitted = raft->configuration_uncommitted_index;
    r->cb.members(r->cb.ctx, members, replog_members(r, members, REPLOG_MESSAGE_NODES));
}

/* Leading */

int replog_core_submit(struct replog *r, enum raft_entry_type type, void *data, size_t len)
{
    struct raft_entry entry = {.term = raft_current_term(&r->raft), .type = type};
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &entry, .n = 1}};
    int rv;

    entry.buf.len = len;
    entry.buf.base = entry.batch = data;
    rv = r->fatal ? RAFT_NOTLEADER : replog_core_step(r, &event);
    if (rv != 0)
        free(data);
    return rv;
}

void replog_core_submit_noop(struct replog *r)
{
    void *data = calloc(1, NOOP_BYTES);
    struct tx_error e;

    if (data == NULL) {
        err_set(&e, TX_ENOMEM, "out of memory");
        replog_core_die(r, &e);
        return;
    }
    r->noop_index = raft_last_index(&r->raft) + 1;
    replog_core_submit(r, RAFT_BARRIER, data, NOOP_BYTES);
}

/* With several voters libraft appends a no-op in the same update, where it has entries that may be uncommitted.
 */
static void begin_leading(struct replog *r, const struct raft_update *u)
{
    r->leading_term = raft_current_term(&r->raft);
    if (u->flags & RAFT_UPDATE_ENTRIES)
        r->noop_index = u->entries.index;
    else
        replog_core_submit_noop(r);
}

static void end_leading(struct replog *r)
{
    r->leading_term = r->noop_index = 0;
    replog_ship_stop(r);
    replog_core_give_up(r);
}

/* Once the lead is lost. */
static void leave_lead(struct replog *r)
{
    bool leads = raft_state(&r->raft) == RAFT_LEADER;

    if (r->leading_term != 0 && (!leads || r->leading_term != raft_current_term(&r->raft)))
        end_leading(r);
}

static void handle_state(struct replog *r, const struct raft_update *u)
{
    bool leads = raft_state(&r->raft) == RAFT_LEADER;

    leave_lead(r);
    if (leads && r->leading_term == 0)
        begin_leading(r, u);
}

/* Snapshots */

/* First entry to keep beside a snapshot of this index, for peers that are slow or were away for a moment: as
 * much as goes between two snapshots where there are peers. */
static uint64_t keep_from(const struct replog *r, uint64_t index)
{
    uint64_t keep = index < TRAILING ? 1 : index - TRAILING + 1;
    size_t bytes = 0;

    if (r->raft.configuration.n > 1) {
        for (uint64_t i = index; i >= r->log.first && bytes <= r->snapshot_bytes; i--) {
            bytes += wal_format_entry_size(replog_log_at(&r->log, i)->len);
            keep = i < keep ? i : keep;
        }
    }
    return keep < r->log.first ? r->log.first : keep;
}

static int encode_config(struct replog *r, struct buf *out)
{
    struct raft_buffer b;
    int rv = raft_configuration_encode(&r->raft.configuration_committed, &b);

    if (rv != 0)
        return TX_ENOMEM;
    buf_put_bytes(out, b.base, b.len);
    raft_free(b.base);
    return out->failed ? TX_ENOMEM : 0;
}

static void maybe_snapshot(struct replog *r)
{
    struct snapshot s;
    struct tx_error e;

    if (r->bytes_since_snapshot < r->snapshot_bytes || r->applied == r->snapshot_index)
        return;
    if (r->snapshotting || r->installing || r->fatal || r->closing)
        return;
    /* A majority may have an entry that is not on this node's disk yet. The log must reach as far as the
     * snapshot. */
    if (r->applied > r->raft.last_stored)
        return;
    snapshot_init(&s);
    s.index = r->applied;
    s.term = replog_log_at(&r->log, r->applied)->term;
    s.config_index = r->raft.configuration_committed_index;
    r->cb.snapshot(r->cb.ctx, &s.data);
    if (s.data.failed || encode_config(r, &s.config) != 0) {
        err_set(&e, TX_ENOMEM, "no memory for a snapshot");
        replog_core_die(r, &e);
    } else {
        r->snapshot_keep = keep_from(r, s.index);
        r->snapshotting = wal_snapshot(r->wal, &s, r->snapshot_keep);
        r->bytes_since_snapshot = 0;
    }
    snapshot_release(&s);
}

int replog_core_decode_config(const struct buf *config, struct raft_configuration *out)
{
    struct raft_buffer b = {.base = config->data, .len = config->len};

    return raft_configuration_decode(&b, out);
}

/* The wal has stored it: libraft and the memory may forget what is in it. */
void replog_core_snapshotted(void *ctx, struct snapshot *s)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    struct replog *r = ctx;
    int rv;

    /* One from the leader may have come meanwhile: it is newer. */
    if (r->fatal || r->installing || s->index <= r->snapshot_index) {
        r->snapshotting = false;
        return;
    }
    event.snapshot.trailing = (unsigned)(s->index - r->snapshot_keep + 1);
    event.snapshot.metadata.index = s->index;
    event.snapshot.metadata.term = s->term;
    event.snapshot.metadata.configuration_index = s->config_index;
    rv = replog_core_decode_config(&s->config, &event.snapshot.metadata.configuration);
    if (rv != 0) {
        replog_core_die_raft(r, rv, "snapshot");
        return;
    }
    replog_core_step(r, &event);
    /* Not before: that step might start the next one. */
    r->snapshotting = false;
    r->snapshot_index = s->index;
    r->snapshots++;
    replog_log_drop_before(&r->log, r->snapshot_keep);
    log_line(LOG_INFO, "snapshot", "index=%" PRIu64 " bytes=%zu", s->index, s->data.len);
}

/* A snapshot from the leader takes the place of state and log. libraft has forgotten its log already. */
static void handle_snapshot(struct replog *r, const struct raft_update *u)
{
    struct tx_error e;

    r->installing = true;
    r->installing_metadata = u->snapshot.metadata;
    raft_free(u->snapshot.chunk.base);
    log_line(LOG_INFO, "snapshot_install", "index=%llu bytes=%zu", u->snapshot.metadata.index,
             r->arrival.file.len);
    if (replog_log_restart(&r->log, u->snapshot.metadata.index + 1) != 0) {
        err_set(&e, TX_ENOMEM, "out of memory");
        replog_core_die(r, &e);
        return;
    }
    wal_install(r->wal, u->snapshot.metadata.index, &r->arrival.file);
}

void replog_core_installed(void *ctx, uint64_t index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT, .persisted_snapshot = {.last = true}};
    struct replog *r = ctx;
    struct snapshot *s = &r->arrival.snapshot;
    struct tx_error e;
    int rc;

    if (r->fatal || r->closing)
        return;
    rc = r->cb.restore(r->cb.ctx, s->data.data, s->data.len, &e);
    if (rc != 0) {
        err_wrap(&e, rc, "snapshot %" PRIu64 " from the leader", index);
        replog_core_die(r, &e);
        return;
    }
    replog_ship_forget_arrival(r);
    r->installing = false;
    r->commit = r->applied = r->snapshot_index = index;
    r->bytes_since_snapshot = 0;
    r->installs++;
    event.persisted_snapshot.metadata = r->installing_metadata;
    memset(&r->installing_metadata, 0, sizeof r->installing_metadata);
    replog_core_step(r, &event);
}

/* Applying */

static void apply_config(struct replog *r, uint64_t index, const struct replog_entry *entry)
{
    struct raft_buffer b = {.base = entry->data, .len = entry->len};
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    int rv = raft_configuration_decode(&b, &event.configuration.conf);

    if (rv != 0) {
        replog_core_die_raft(r, rv, "configuration entry");
        return;
    }
    event.configuration.index = index;
    /* A leader that is not in it leads no more after this step; still the change was its own, and is done. */
    r->settling = true;
    replog_core_step(r, &event);
    r->settling = false;
    if (!r->fatal)
        replog_change_committed(r, index);
}

static void apply_one(struct replog *r, uint64_t index)
{
    const struct replog_entry entry = *replog_log_at(&r->log, index);
    struct tx_error e;
    int rc;

    replog_log_at(&r->log, index)->cb = NULL;
    if (entry.type == RAFT_COMMAND) {
        rc = r->cb.apply(r->cb.ctx, index, entry.data, entry.len, &e);
        if (rc != 0) {
            err_wrap(&e, rc, "log entry %" PRIu64, index);
            replog_core_die(r, &e);
        }
    } else if (entry.type == RAFT_CHANGE) {
        apply_config(r, index, &entry);
    }
    if (r->fatal)
        return;
    r->applied = index;
    if (entry.cb != NULL)
        entry.cb(entry.arg, REPLOG_COMMITTED, index);
    if (index == r->noop_index && r->leading_term != 0)
        tell_role(r, REPLOG_LEADER);
}

/* A step from inside an apply may commit more: the loop that runs already takes it along. */
static void apply_committed(struct replog *r)
{
    /* What is committed while a snapshot is being installed is in it. */
    if (r->applying || r->installing)
        return;
    r->applying = true;
    while (r->applied < r->commit && !r->fatal)
        apply_one(r, r->applied + 1);
    r->applying = false;
    maybe_snapshot(r);
}

int replog_core_reserve(struct replog *r, size_t n)
{
    struct raft_entry *batch;
    struct wal_entry *wal_batch;

    if (n <= r->batch_cap)
        return 0;
    batch = realloc(r->batch, 2 * n * sizeof *batch);
    if (batch != NULL)
        r->batch = batch;
    wal_batch = realloc(r->wal_batch, 2 * n * sizeof *wal_batch);
    if (wal_batch != NULL)
        r->wal_batch = wal_batch;
    if (batch == NULL || wal_batch == NULL)
        return TX_ENOMEM;
    r->batch_cap = 2 * n;
    return 0;
}

/* Steps */

/* The i-th of an update's entries, which owns its bytes. While `submitted` has proposals the entries are these;
 * a leader's entries that were received lie in its message. */
static int own_entry(struct replog *r, const struct raft_entry *from, size_t i, struct replog_entry *out)
{
    *out = (struct replog_entry){
        .term = from->term, .type = from->type, .data = from->buf.base, .len = (uint32_t)from->buf.len};
    if (r->submitted.n > 0) {
        out->cb = r->submitted.items[i].cb;
        out->arg = r->submitted.items[i].arg;
    }
    if (!r->receiving)
        return 0;
    out->data = malloc(from->buf.len + 1);
    if (out->data == NULL)
        return TX_ENOMEM;
    memcpy(out->data, from->buf.base, from->buf.len);
    return 0;
}

static int add_entries(struct replog *r, const struct raft_entry *entries, size_t n)
{
    struct replog_entry entry;
    int rc = replog_core_reserve(r, n);

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = own_entry(r, &entries[i], i, &entry);
        if (rc == 0) {
            r->wal_batch[i] = (struct wal_entry){entry.term, entry.type, entry.len, entry.data};
            r->bytes_since_snapshot += wal_format_entry_size(entry.len);
            rc = replog_log_add(&r->log, &entry);
        }
    }
    return rc;
}

/* Behind the last one; or, on a follower, in place of some that were never committed. Those wait for nothing:
 * who proposed them knows since this node led no more. */
static void handle_entries(struct replog *r, uint64_t index, const struct raft_entry *entries, size_t n)
{
    struct tx_error e;
    int rc = 0;

    assert(index > r->applied && index <= replog_log_last(&r->log) + 1);
    assert(r->submitted.n == 0 || n == r->submitted.n);
    if (index <= replog_log_last(&r->log)) {
        log_line(LOG_INFO, "log_replaced", "from=%" PRIu64 " to=%" PRIu64, index, replog_log_last(&r->log));
        rc = replog_log_truncate(&r->log, index);
    }
    if (rc == 0)
        rc = add_entries(r, entries, n);
    r->submitted.n = 0;
    r->appends += n;
    if (r->receiving)
        raft_free(entries[0].batch);
    rc = rc != 0 ? err_set(&e, rc, "no memory for the log") : wal_append(r->wal, index, r->wal_batch, n, &e);
    if (rc != 0)
        replog_core_die(r, &e);
}

static void arm_timer(struct replog *r);

/* The order is libraft's: term and vote are durable before anything that follows from them leaves this
 * function; what is committed comes last. A leader's entries go to its followers while it writes them: only
 * what is on its own disk counts for it. A follower answers when they are on disk (RAFT_PERSISTED_ENTRIES). */
static void handle_update(struct replog *r, const struct raft_update *u)
{
    struct tx_error e;
    raft_index commit;

    if (u->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) {
        if (wal_set_vote(r->wal, raft_current_term(&r->raft), raft_voted_for(&r->raft), &e) != 0) {
            replog_core_die(r, &e);
            return;
        }
    }
    /* The message that ended the lead may replace the entries of those who wait: they are told before. */
    if (u->flags & (RAFT_UPDATE_ENTRIES | RAFT_UPDATE_SNAPSHOT))
        leave_lead(r);
    if (u->flags & RAFT_UPDATE_ENTRIES)
        handle_entries(r, u->entries.index, u->entries.batch, u->entries.n);
    if ((u->flags & RAFT_UPDATE_SNAPSHOT) && !r->fatal)
        handle_snapshot(r, u);
    if ((u->flags & RAFT_UPDATE_MESSAGES) && !r->fatal)
        replog_net_send_all(r, u->messages.batch, u->messages.n);
    if (r->fatal)
        return;
    commit = raft_commit_index(&r->raft);
    /* It can go back in libraft; what is applied stays applied. */
    if ((u->flags & RAFT_UPDATE_COMMIT_INDEX) && commit > r->commit)
        r->commit = commit;
    apply_committed(r);
    if ((u->flags & RAFT_UPDATE_STATE) && !r->fatal)
        handle_state(r, u);
}

void replog_core_settle(struct replog *r)
{
    if (r->fatal)
        return;
    if (r->leading_term == 0 && (r->role == REPLOG_LEADER || r->leader_id != known_leader(r)))
        tell_role(r, REPLOG_FOLLOWER);
    tell_members(r);
    arm_timer(r);
    if (r->settling)
        return;
    r->settling = true;
    replog_change_settle(r);
    r->settling = false;
}

static bool is_refusal(const struct raft_event *event, int rv)
{
    if (event->type == RAFT_SUBMIT)
        return rv == RAFT_NOTLEADER || rv == RAFT_CANTCHANGE;
    return event->type == RAFT_TRANSFER && (rv == RAFT_NOTLEADER || rv == RAFT_NOTFOUND || rv == RAFT_BADID);
}

/* Any error but a refusal is final. */
/* libraft counts entries, whose sizes differ a hundredfold from load to load. More than the line's buffer takes
 * is lost, and sent again from the first that was. */
static unsigned window(const struct replog *r)
{
    size_t each = r->log.n > 0 ? r->log.bytes / r->log.n + 1 : 1, n = WINDOW_BYTES / each;

    return n < WINDOW_MIN ? WINDOW_MIN : n > WINDOW_MAX ? WINDOW_MAX : (unsigned)n;
}

int replog_core_step(struct replog *r, struct raft_event *event)
{
    struct raft_update update;
    int rv;

    if (r->fatal)
        return 0;
    event->time = uv_now(r->loop);
    event->capacity = UINT16_MAX;
    raft_set_max_inflight_entries(&r->raft, window(r));
    rv = raft_step(&r->raft, event, &update);
    if (rv == 0) {
        handle_update(r, &update);
        replog_core_settle(r);
    } else if (!is_refusal(event, rv)) {
        replog_core_die_raft(r, rv, "raft");
    }
    return rv;
}

static void on_timer(uv_timer_t *timer)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};
    struct replog *r = timer->data;

    /* A removed node stays a follower, and asks nobody for a vote. */
    if (!r->removed)
        replog_core_step(r, &event);
}

static void arm_timer(struct replog *r)
{
    uint64_t now = uv_now(r->loop), due = raft_timeout(&r->raft);

    if (!r->fatal && !r->closing)
        uv_timer_start(&r->timer, on_timer, due > now ? due - now : 1, 0);
}

void replog_core_persisted(void *ctx, uint64_t index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries = {.index = index}};
    struct replog *r = ctx;

    replog_log_free_replaced(&r->log);
    /* Nothing new where all that was written has been replaced meanwhile, or the whole log is about to be. */
    if (!r->installing && index > r->raft.last_stored)
        replog_core_step(r, &event);
}

void replog_core_failed(void *ctx, const struct tx_error *e)
{
    replog_core_die(ctx, e);
}
