/* replog: see replog.h. Opening, closing, proposing; what happens in between is in replog_core.c. */
#include "coordinator/replog.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_net.h"
#include "libtx/shared/log.h"

enum {
    INSTALL_ELECTIONS = 4,
    CATCH_UP_ROUNDS = 50,
    HEARTBEAT_MS = 50,
    ELECTION_MS = 500,
};

/* Proposals */

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
    if (r->role == REPLOG_LEADER && !replog_change_refuses(r) && replog_core_step(r, &event) == 0)
        return;
    if (r->fatal)
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
    if (!r->started && r->identity.group != 0)
        replog_core_start(r);
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

/* Opening */

static int on_recovered(void *ctx, uint64_t index, const struct wal_entry *entry)
{
    struct replog *r = ctx;
    struct replog_entry e = {.term = entry->term, .type = entry->type, .len = entry->len};

    if (r->log.n > 0 && index <= replog_log_last(&r->log) &&
        replog_log_truncate(&r->log, index > r->log.first ? index : r->log.first) != 0)
        return TX_ENOMEM;
    replog_log_free_replaced(&r->log);
    if (r->log.n == 0)
        r->log.first = index;
    e.data = malloc(entry->len + 1);
    if (e.data == NULL)
        return TX_ENOMEM;
    memcpy(e.data, entry->data, entry->len);
    return replog_log_add(&r->log, &e);
}

/* The first entry of a group: it has this node alone. */
static int begin_log(struct replog *r, struct tx_error *e)
{
    struct replog_entry entry = {.term = 1, .type = RAFT_CHANGE};
    struct raft_configuration c;
    struct raft_buffer b;
    struct wal_entry w;
    int rv;

    raft_configuration_init(&c);
    rv = raft_configuration_add(&c, r->raft.id, r->raft.address, RAFT_VOTER);
    if (rv == 0)
        rv = raft_configuration_encode(&c, &b);
    raft_configuration_close(&c);
    if (rv != 0)
        return err_set(e, TX_ENOMEM, "out of memory");
    entry.data = b.base;
    entry.len = (uint32_t)b.len;
    w = (struct wal_entry){entry.term, RAFT_CHANGE, entry.len, b.base};
    if (replog_log_add(&r->log, &entry) != 0)
        return err_set(e, TX_ENOMEM, "out of memory");
    log_line(LOG_INFO, "bootstrap", "group=%016" PRIx64 " log=%016" PRIx64 " node=%llu", r->identity.group,
             r->identity.log, r->raft.id);
    return wal_bootstrap(r->wal, &w, e);
}

static int begin_group(struct replog *r, struct tx_error *e)
{
    int rc = wal_create(r->wal, &r->identity, false, e);

    r->term = 1;
    return rc == 0 ? begin_log(r, e) : rc;
}

/* By itself, which nobody may have meant. */
static void tell_founded(const struct replog *r, const char *data_dir)
{
    log_line(
        LOG_WARN, "founded",
        "group=%016" PRIx64 " data_dir=%s text=\"the data directory was empty, so a new group begins here. "
        "If this coordinator has run before, its data are lost, or their disk is not mounted: stop it, and "
        "bring them back\"",
        r->identity.group, data_dir);
}

int replog_found(struct replog *r, struct tx_error *e)
{
    int rc;

    if (r->identity.group != 0)
        return err_set(e, TX_EREFUSED, "this node belongs to group %016" PRIx64, r->identity.group);
    if (r->fatal || r->closing)
        return err_set(e, TX_EREFUSED, "this node is being stopped");
    rc = replog_admit_founding(r, e);
    if (rc != 0)
        return rc;
    rc = begin_group(r, e);
    if (rc != 0)
        replog_core_die(r, e);
    else
        uv_idle_start(&r->turn, on_turn);
    return rc;
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
    event->start.entries = calloc(r->log.n + 1, sizeof *event->start.entries);
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

void replog_core_start(struct replog *r)
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
    if (r->log.n == 0)
        r->log.first = s->index + 1;
    r->bytes_since_snapshot = 0;
    for (uint64_t i = s->index + 1; i <= replog_log_last(&r->log); i++)
        r->bytes_since_snapshot += wal_format_entry_size(replog_log_at(&r->log, i)->len);
    return 0;
}

static int open_wal(struct replog *r, const struct replog_options *options, struct tx_error *e)
{
    const struct wal_options wo = {options->data_dir, options->node_id, options->segment_bytes};
    const struct wal_callbacks callbacks = {
        .ctx = r,
        .recovered = on_recovered,
        .persisted = replog_core_persisted,
        .snapshotted = replog_core_snapshotted,
        .installed = replog_core_installed,
        .read = replog_ship_read,
        .failed = replog_core_failed,
    };
    struct wal_state state;
    int rc = wal_open(&r->wal, r->loop, &wo, &callbacks, &state, e);

    if (rc != 0)
        return rc;
    r->max_entry = wal_max_entry(r->wal);
    if (r->max_entry > REPLOG_ENTRY_BYTES)
        r->max_entry = REPLOG_ENTRY_BYTES;
    r->identity = state.identity;
    r->guest = state.guest;
    r->term = state.term;
    r->vote = state.vote;
    rc = restore(r, &state, e);
    if (rc == 0 && r->identity.group == 0 && options->found) {
        r->identity.group = options->group;
        rc = begin_group(r, e);
        if (rc == 0 && options->group == 0)
            tell_founded(r, options->data_dir);
    } else if (rc == 0 && r->identity.group != 0 && !r->guest && r->log.n == 0 && r->snapshot_index == 0) {
        /* It crashed when the directory was made, and the first entry not written. */
        rc = begin_log(r, e);
    }
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
    raft_set_max_catch_up_rounds(&r->raft, CATCH_UP_ROUNDS);
    r->election_ms = options->election_ms != 0 ? options->election_ms : ELECTION_MS;
    raft_set_election_timeout(&r->raft, r->election_ms);
    /* When it has passed libraft asks whether the follower still needs one: what is on its way goes on, what
     * was lost when the follower crashed is sent again. */
    raft_set_install_snapshot_timeout(&r->raft, INSTALL_ELECTIONS * r->election_ms);
    raft_set_heartbeat_timeout(&r->raft, options->heartbeat_ms != 0 ? options->heartbeat_ms : HEARTBEAT_MS);
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
    replog_ship_forget_arrival(r);
    raft_configuration_close(&r->installing_metadata.configuration);
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
    uv_timer_init(loop, &r->ships.timer);
    r->timer.data = r->turn.data = r->ships.timer.data = r;
    uv_idle_start(&r->turn, on_turn);
    *out = r;
    return 0;
}

/* Status and end */

uint64_t replog_group(const struct replog *r)
{
    return r->identity.group;
}

uint64_t replog_log_id(const struct replog *r)
{
    return r->identity.log;
}

void replog_status(const struct replog *r, struct replog_status *out)
{
    struct wal_counters c;

    wal_counters(r->wal, &c);
    *out = (struct replog_status){.role = r->role,
                                  .removed = r->removed,
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
                                  .installs = r->installs,
                                  .strangers = r->strangers,
                                  .log_bytes = c.disk_bytes};
}

size_t replog_members(const struct replog *r, struct replog_member *out, size_t cap)
{
    const struct raft_configuration *c = &r->raft.configuration;
    raft_index match;
    size_t n = 0;

    for (; n < c->n && n < cap; n++) {
        out[n] = (struct replog_member){.id = c->servers[n].id,
                                        .address = c->servers[n].address,
                                        .voter = c->servers[n].role == RAFT_VOTER};
        if (r->leading_term != 0 && raft_match_index(&r->raft, out[n].id, &match) == 0)
            out[n].match_index = match;
    }
    return n;
}

bool replog_receive(struct replog *r, const void *data, size_t len)
{
    return replog_net_receive(r, data, len);
}

/* Every proposal has its end, but after an error: then nobody may be told anything. */
static void on_wal_closed(void *arg)
{
    struct replog *r = arg;
    void (*closed)(void *) = r->closed;
    void *closed_arg = r->closed_arg;

    if (!r->fatal) {
        replog_change_abandon(r);
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
    r->handles = 3;
    replog_ship_stop(r);
    uv_close((uv_handle_t *)&r->timer, on_handle_closed);
    uv_close((uv_handle_t *)&r->turn, on_handle_closed);
    uv_close((uv_handle_t *)&r->ships.timer, on_handle_closed);
}
