/* replog_core: see replog_core.h. */
#include "coordinator/replog_core.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "libtx/shared/log.h"

enum {
    TRAILING = 64, /* entries kept in front of a snapshot */
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

static void tell_role(struct replog *r, enum replog_role role)
{
    const char *address;
    raft_id leader;

    raft_leader(&r->raft, &leader, &address);
    r->role = role;
    r->leader_id = leader;
    log_line(LOG_INFO, "role", "state=%s term=%llu leader=%llu", role == REPLOG_LEADER ? "leader" : "follower",
             raft_current_term(&r->raft), leader);
    r->cb.role(r->cb.ctx, role, raft_current_term(&r->raft), leader);
}

void replog_core_give_up(struct replog *r)
{
    struct replog_entry *e;
    replog_propose_cb cb;

    for (uint64_t i = r->applied + 1; i <= replog_log_last(&r->log); i++) {
        e = replog_log_at(&r->log, i);
        cb = e->cb;
        e->cb = NULL;
        if (cb != NULL)
            cb(e->arg, REPLOG_UNKNOWN, 0);
    }
}

static void submit_noop(struct replog *r)
{
    struct raft_entry noop = {.term = raft_current_term(&r->raft), .type = RAFT_BARRIER};
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &noop, .n = 1}};
    struct tx_error e;

    noop.buf.len = NOOP_BYTES;
    noop.buf.base = noop.batch = calloc(1, NOOP_BYTES);
    if (noop.batch == NULL) {
        err_set(&e, TX_ENOMEM, "out of memory");
        replog_core_die(r, &e);
        return;
    }
    r->noop_index = raft_last_index(&r->raft) + 1;
    replog_core_step(r, &event);
}

static void handle_state(struct replog *r)
{
    if (raft_state(&r->raft) == RAFT_LEADER) {
        submit_noop(r);
        return;
    }
    r->noop_index = 0;
    replog_core_give_up(r);
    if (r->role == REPLOG_LEADER)
        tell_role(r, REPLOG_FOLLOWER);
}

uint64_t replog_core_keep_from(uint64_t snapshot_index)
{
    return snapshot_index < TRAILING ? 1 : snapshot_index - TRAILING + 1;
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
    if (r->snapshotting || r->fatal || r->closing)
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
        r->snapshotting = wal_snapshot(r->wal, &s, replog_core_keep_from(s.index));
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

    r->snapshotting = false;
    if (r->fatal)
        return;
    event.snapshot.trailing = TRAILING;
    event.snapshot.metadata.index = s->index;
    event.snapshot.metadata.term = s->term;
    event.snapshot.metadata.configuration_index = s->config_index;
    rv = replog_core_decode_config(&s->config, &event.snapshot.metadata.configuration);
    if (rv != 0) {
        replog_core_die_raft(r, rv, "snapshot");
        return;
    }
    replog_core_step(r, &event);
    r->snapshot_index = s->index;
    r->snapshots++;
    replog_log_drop_before(&r->log, replog_core_keep_from(s->index));
    log_line(LOG_INFO, "snapshot", "index=%" PRIu64 " bytes=%zu", s->index, s->data.len);
}

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
    replog_core_step(r, &event);
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
    if (index == r->noop_index)
        tell_role(r, REPLOG_LEADER);
}

/* A step from inside an apply may commit more: the loop that runs already takes it along. */
static void apply_committed(struct replog *r)
{
    if (r->applying)
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

/* All entries are of this node's own submitting: a group of one has no other leader. So each owns its bytes,
 * none replaces an earlier one, and while `submitted` has proposals they are these. */
static void handle_entries(struct replog *r, uint64_t index, const struct raft_entry *entries, size_t n)
{
    const struct replog_proposal *p = r->submitted.n > 0 ? r->submitted.items : NULL;
    struct replog_entry entry = {0};
    struct tx_error e;
    int rc;

    assert(index == replog_log_last(&r->log) + 1);
    assert(p == NULL || n == r->submitted.n);
    r->submitted.n = 0;
    rc = replog_core_reserve(r, n);
    for (size_t i = 0; i < n; i++) {
        entry.term = entries[i].term;
        entry.type = entries[i].type;
        entry.data = entries[i].buf.base;
        entry.len = (uint32_t)entries[i].buf.len;
        if (p != NULL) {
            entry.cb = p[i].cb;
            entry.arg = p[i].arg;
        }
        if (rc == 0)
            r->wal_batch[i] = (struct wal_entry){entry.term, entry.type, entry.len, entry.data};
        r->bytes_since_snapshot += wal_format_entry_size(entry.len);
        if (replog_log_add(&r->log, &entry) != 0)
            rc = TX_ENOMEM;
    }
    r->appends += n;
    rc = rc != 0 ? err_set(&e, rc, "no memory for the log") : wal_append(r->wal, r->wal_batch, n, &e);
    if (rc != 0)
        replog_core_die(r, &e);
}

/* A group of one has no peer to send to. */
static void handle_messages(const struct raft_message *messages, size_t n)
{
    (void)messages;
    (void)n;
}

static void arm_timer(struct replog *r);

/* The order is libraft's: term and vote are durable before anything that follows from them leaves this
 * function; what is committed comes last. */
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
    if (u->flags & RAFT_UPDATE_ENTRIES)
        handle_entries(r, u->entries.index, u->entries.batch, u->entries.n);
    /* Only another leader could send one. */
    assert(!(u->flags & RAFT_UPDATE_SNAPSHOT));
    if (u->flags & RAFT_UPDATE_MESSAGES)
        handle_messages(u->messages.batch, u->messages.n);
    if (r->fatal)
        return;
    commit = raft_commit_index(&r->raft);
    /* It can go back in libraft; what is applied stays applied. */
    if ((u->flags & RAFT_UPDATE_COMMIT_INDEX) && commit > r->commit)
        r->commit = commit;
    apply_committed(r);
    if ((u->flags & RAFT_UPDATE_STATE) && !r->fatal)
        handle_state(r);
    arm_timer(r);
}

/* Any error but the refusal of a SUBMIT is final. */
int replog_core_step(struct replog *r, struct raft_event *event)
{
    struct raft_update update;
    int rv;

    if (r->fatal)
        return 0;
    event->time = uv_now(r->loop);
    event->capacity = UINT16_MAX;
    rv = raft_step(&r->raft, event, &update);
    if (rv == 0)
        handle_update(r, &update);
    else if (event->type != RAFT_SUBMIT || rv != RAFT_NOTLEADER)
        replog_core_die_raft(r, rv, "raft");
    return rv;
}

static void on_timer(uv_timer_t *timer)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};

    replog_core_step(timer->data, &event);
}

static void arm_timer(struct replog *r)
{
    uint64_t now = uv_now(r->loop), due = raft_timeout(&r->raft);

    if (!r->fatal && !r->closing)
        uv_timer_start(&r->timer, on_timer, due > now ? due - now : 0, 0);
}

void replog_core_persisted(void *ctx, uint64_t index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries = {.index = index}};

    replog_core_step(ctx, &event);
}

void replog_core_failed(void *ctx, const struct tx_error *e)
{
    replog_core_die(ctx, e);
}
