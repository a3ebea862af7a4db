/* replog: see replog.h. Opening, closing, proposing; what happens in between is in replog_core.c. */
#include "coordinator/replog.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/replog_core.h"
#include "libtx/shared/log.h"

static void start(struct replog *r);

enum { MAX_INFLIGHT = 1 << 20 }; /* entries that a peer has not acknowledged */

/* --- Proposals ---------------------------------------------------------------------------------------- */

static void refuse(struct replog_proposal *p)
{
    free(p->data);
    p->cb(p->arg, REPLOG_REFUSED, 0);
}

/* What was gathered becomes `submitted`, in libraft's form. */
static int prepare_batch(struct replog *r)
{
    struct replog_proposals empty = r->submitted;

    assert(empty.n == 0);
    r->submitted = r->gathered;
    r->gathered = empty;
    if (replog_core_reserve(r, r->submitted.n) != 0)
        return TX_ENOMEM;
    for (size_t i = 0; i < r->submitted.n; i++) {
        struct replog_proposal *p = &r->submitted.items[i];

        r->batch[i] = (struct raft_entry){.term = raft_current_term(&r->raft),
                                          .type = RAFT_COMMAND,
                                          .buf = {.base = p->data, .len = p->len},
                                          .batch = p->data};
    }
    return 0;
}

static void submit_gathered(struct replog *r)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    size_t n = r->gathered.n;
    struct tx_error e;

    if (prepare_batch(r) != 0) {
        err_set(&e, TX_ENOMEM, "out of memory");
        replog_core_die(r, &e);
        return;
    }
    event.submit.entries = r->batch;
    event.submit.n = (unsigned)n;
    if ((r->role == REPLOG_LEADER && replog_core_step(r, &event) == 0) || r->fatal)
        return;
    r->submitted.n = 0;
    for (size_t i = 0; i < n; i++)
        refuse(&r->submitted.items[i]);
}

/* After the callbacks of this turn, and before the loop waits for the next events. */
static void on_turn(uv_idle_t *turn)
{
    struct replog *r = turn->data;

    uv_idle_stop(turn);
    if (!r->started)
        start(r);
    if (r->gathered.n > 0 && !r->fatal)
        submit_gathered(r);
}

static int grow(struct replog_proposals *g)
{
    size_t cap = g->cap == 0 ? 64 : g->cap * 2;
    struct replog_proposal *grown;

    if (g->n < g->cap)
        return 0;
    grown = realloc(g->items, cap * sizeof *grown);
    if (grown == NULL)
        return TX_ENOMEM;
    g->items = grown;
    g->cap = cap;
    return 0;
}

void replog_propose(struct replog *r, uint8_t *data, size_t len, replog_propose_cb cb, void *arg)
{
    struct replog_proposals *g = &r->gathered;
    struct tx_error e;

    assert(data != NULL && len <= r->max_entry);
    if (r->fatal || r->closing) {
        free(data);
        return;
    }
    if (grow(g) != 0) {
        free(data);
        err_set(&e, TX_ENOMEM, "out of memory");
        replog_core_die(r, &e);
        return;
    }
    g->items[g->n++] = (struct replog_proposal){.data = data, .len = len, .cb = cb, .arg = arg};
    /* An idle handle runs before the loop waits, after all else of the turn that could propose. */
    uv_idle_start(&r->turn, on_turn);
}

/* --- Opening ------------------------------------------------------------------------------------------ */

static int on_recovered(void *ctx, uint64_t index, const struct wal_entry *entry)
{
    struct replog *r = ctx;
    struct replog_entry e = {.term = entry->term, .type = entry->type, .len = entry->len};

    if (r->log.n == 0)
        r->log.first = index;
    e.data = malloc(entry->len + 1);
    if (e.data == NULL)
        return TX_ENOMEM;
    memcpy(e.data, entry->data, entry->len);
    return replog_log_add(&r->log, &e);
}

/* The first entry of a group: itself, with this node as its one voter. */
static int bootstrap(struct replog *r, const struct replog_options *options, uint64_t term, struct tx_error *e)
{
    struct replog_entry entry = {.term = term, .type = RAFT_CHANGE};
    struct raft_configuration c;
    struct raft_buffer b;
    struct wal_entry w;
    int rv;

    raft_configuration_init(&c);
    rv = raft_configuration_add(&c, options->node_id, options->address, RAFT_VOTER);
    if (rv == 0)
        rv = raft_configuration_encode(&c, &b);
    raft_configuration_close(&c);
    if (rv != 0)
        return err_set(e, rv == RAFT_NOMEM ? TX_ENOMEM : TX_EINVAL, "configuration: %s", raft_strerror(rv));
    entry.data = b.base;
    entry.len = (uint32_t)b.len;
    w = (struct wal_entry){term, RAFT_CHANGE, entry.len, b.base};
    if (replog_log_add(&r->log, &entry) != 0)
        return err_set(e, TX_ENOMEM, "out of memory");
    log_line(LOG_INFO, "bootstrap", "group=%016" PRIx64 " node=%" PRIu64, r->group, options->node_id);
    return wal_bootstrap(r->wal, &w, e);
}

/* As the recovered snapshot and log stand. */
static int fill_start(struct replog *r, struct raft_event *event, struct raft_snapshot_metadata *m)
{
    int rv;

    if (r->recovered.index > 0) {
        m->index = r->recovered.index;
        m->term = r->recovered.term;
        m->configuration_index = r->recovered.config_index;
        rv = replog_core_decode_config(&r->recovered.config, &m->configuration);
        if (rv != 0)
            return rv;
        event->start.metadata = m;
    }
    event->start.entries = calloc(r->log.n, sizeof *event->start.entries);
    if (event->start.entries == NULL)
        return RAFT_NOMEM;
    event->start.start_index = r->log.first;
    event->start.n_entries = (unsigned)r->log.n;
    for (size_t i = 0; i < r->log.n; i++) {
        const struct replog_entry *e = &r->log.entries[i];

        event->start.entries[i] =
            (struct raft_entry){.term = e->term, .type = e->type, .buf = {e->data, e->len}, .batch = e->data};
    }
    return 0;
}

static void start(struct replog *r)
{
    struct raft_event event = {.type = RAFT_START, .start = {.term = r->term, .voted_for = r->vote}};
    struct raft_snapshot_metadata m;
    int rv = fill_start(r, &event, &m);

    r->started = true;
    if (rv != 0) {
        replog_core_die_raft(r, rv, "start");
        return;
    }
    /* On an error libraft may have freed the entries, or not: they are left to the end of the process, which is
     * near. */
    if (replog_core_step(r, &event) == 0)
        free(event.start.entries);
    else
        r->log.n = 0;
}

static int restore(struct replog *r, struct wal_state *state, struct tx_error *e)
{
    struct snapshot *s = &r->recovered;
    int rc;

    *s = state->snapshot;
    if (s->index > 0) {
        rc = r->cb.restore(r->cb.ctx, s->data.data, s->data.len, e);
        if (rc != 0)
            return err_wrap(e, rc, "snapshot %" PRIu64, s->index);
        buf_release(&s->data);
    }
    r->commit = r->applied = r->snapshot_index = s->index;
    replog_log_drop_before(&r->log, replog_core_keep_from(s->index));
    r->bytes_since_snapshot = 0;
    for (uint64_t i = s->index + 1; i <= replog_log_last(&r->log); i++)
        r->bytes_since_snapshot += wal_format_entry_size(replog_log_at(&r->log, i)->len);
    return 0;
}

static int open_wal(struct replog *r, const struct replog_options *options, struct tx_error *e)
{
    const struct wal_options wo = {options->data_dir, options->node_id, options->segment_bytes};
    const struct wal_callbacks callbacks = {r, on_recovered, replog_core_persisted, replog_core_snapshotted,
                                            replog_core_failed};
    struct wal_state state;
    int rc = wal_open(&r->wal, r->loop, &wo, &callbacks, &state, e);

    if (rc != 0)
        return rc;
    r->max_entry = wal_max_entry(r->wal);
    r->group = state.group;
    r->term = state.term;
    r->vote = state.vote;
    rc = restore(r, &state, e);
    if (rc == 0 && r->log.n == 0)
        rc = bootstrap(r, options, state.term, e);
    if (rc == 0)
        log_line(LOG_INFO, "recovered", "term=%" PRIu64 " snapshot=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64,
                 r->term, r->snapshot_index, r->log.first, replog_log_last(&r->log));
    return rc;
}

static int open_raft(struct replog *r, const struct replog_options *options, struct tx_error *e)
{
    unsigned seed;

    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return err_set(e, TX_EIO, "getrandom gives no random bytes");
    if (raft_init(&r->raft, NULL, NULL, options->node_id, options->address) != 0)
        return err_set(e, TX_ENOMEM, "out of memory");
    raft_seed(&r->raft, seed);
    raft_set_pre_vote(&r->raft, true);
    raft_set_max_inflight_entries(&r->raft, MAX_INFLIGHT);
    return 0;
}

static void release(struct replog *r)
{
    for (size_t i = 0; i < r->gathered.n; i++)
        free(r->gathered.items[i].data);
    for (size_t i = 0; i < r->submitted.n; i++)
        free(r->submitted.items[i].data);
    replog_log_release(&r->log);
    free(r->gathered.items);
    free(r->submitted.items);
    free(r->batch);
    free(r->wal_batch);
    snapshot_release(&r->recovered);
    raft_close(&r->raft, NULL);
    free(r);
}

static void ignore_closed(void *arg)
{
    (void)arg;
}

int replog_open(struct replog **out, uv_loop_t *loop, const struct replog_options *options,
                const struct replog_callbacks *callbacks, struct tx_error *e)
{
    struct replog *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    r->loop = loop;
    r->cb = *callbacks;
    replog_log_init(&r->log);
    r->snapshot_bytes = options->snapshot_bytes;
    rc = open_raft(r, options, e);
    if (rc != 0) {
        free(r);
        return rc;
    }
    rc = open_wal(r, options, e);
    if (rc != 0) {
        /* The caller learns it from the return value. */
        r->fatal = true;
        if (r->wal != NULL)
            wal_close(r->wal, ignore_closed, NULL);
        release(r);
        return rc;
    }
    uv_timer_init(loop, &r->timer);
    uv_idle_init(loop, &r->turn);
    r->timer.data = r->turn.data = r;
    uv_idle_start(&r->turn, on_turn);
    *out = r;
    return 0;
}

/* --- Status and end ------------------------------------------------------------------------------------ */

uint64_t replog_group(const struct replog *r)
{
    return r->group;
}

void replog_status(const struct replog *r, struct replog_status *out)
{
    struct wal_counters c;

    wal_counters(r->wal, &c);
    *out = (struct replog_status){.role = r->role,
                                  .term = raft_current_term(&r->raft),
                                  .leader_id = r->leader_id,
                                  .node_id = r->raft.id,
                                  .last_index = replog_log_last(&r->log),
                                  .commit_index = r->commit,
                                  .applied_index = r->applied,
                                  .snapshot_index = r->snapshot_index,
                                  .appends = r->appends,
                                  .forced_writes = c.forced_writes,
                                  .snapshots = r->snapshots,
                                  .log_bytes = c.disk_bytes};
}

/* Every proposal has its end, but after an error: then nobody may be told anything. */
static void on_wal_closed(void *arg)
{
    struct replog *r = arg;
    void (*closed)(void *) = r->closed;
    void *closed_arg = r->closed_arg;

    if (!r->fatal) {
        replog_core_give_up(r);
        for (size_t i = 0; i < r->gathered.n; i++)
            refuse(&r->gathered.items[i]);
        r->gathered.n = 0;
    }
    release(r);
    closed(closed_arg);
}

/* From the loop: no function of replog or wal is on the stack, however close was called. */
static void on_handle_closed(uv_handle_t *handle)
{
    struct replog *r = handle->data;

    if (--r->handles == 0)
        wal_close(r->wal, on_wal_closed, r);
}

void replog_close(struct replog *r, void (*closed)(void *arg), void *arg)
{
    assert(!r->closing);
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    r->handles = 2;
    uv_close((uv_handle_t *)&r->timer, on_handle_closed);
    uv_close((uv_handle_t *)&r->turn, on_handle_closed);
}
