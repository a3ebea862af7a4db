/* sim_node: a coordinator: what main.c does, for many of them in one process: log, driver, server and the line
 * to the others are the daemon's own. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/driver.h"
#include "coordinator/group.h"
#include "coordinator/replog.h"
#include "coordinator/server.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_world.h"

struct node {
    struct proc *proc;
    uv_loop_t loop;
    struct audit *audit;
    struct server *server;
    struct group *group;
    struct replog *replog;
    struct driver *driver;
    struct buf snapshot;
    bool has_snapshot, leading;
    uint64_t applied, restores;
    char listen[64], peer[64], dir[32];
};

struct place places[SIM_NODES];
int node_change_rc = TX_OK;

/* what the log calls */

static struct node *self(void)
{
    return sim_self()->data;
}

static void learn_group(struct node *n)
{
    uint64_t group = replog_group(n->replog);

    if (group != 0 && ledger_group(driver_ledger(n->driver)) == 0)
        driver_name(n->driver, group);
}

static void check_state(struct node *n)
{
    struct buf state;
    uint64_t digest = 0xcbf29ce484222325ULL;

    buf_init(&state);
    driver_snapshot(n->driver, &state);
    for (size_t i = 0; i < state.len; i++)
        digest = (digest ^ state.data[i]) * 0x100000001b3ULL;
    check_applied(n->applied, digest);
    buf_release(&state);
}

static int on_apply(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e)
{
    struct node *n = self();
    int rc = TX_OK;

    (void)ctx;
    learn_group(n);
    if (sim_options.sabotage != SABOTAGE_UNORDERED || n->proc->number != 1 || index % 50 != 49)
        rc = driver_apply(n->driver, uv_now(&n->loop), index, data, len, e);
    n->applied = index;
    if (index % 4 == 0)
        check_state(n);
    check_bounds(driver_ledger(n->driver));
    return rc;
}

static int on_restore(void *ctx, const void *data, size_t len, struct tx_error *e)
{
    struct node *n = self();
    struct replog_status status;

    (void)ctx;
    if (n->driver != NULL) {
        learn_group(n);
        replog_status(n->replog, &status);
        sim_tell(n->proc->name, "is given a snapshot of %zu bytes", len);
        sim_count(FAULT_install);
        return driver_restore(n->driver, data, len, e);
    }
    buf_reset(&n->snapshot);
    buf_put_bytes(&n->snapshot, data, len);
    n->has_snapshot = true;
    return TX_OK;
}

static void on_snapshot(void *ctx, struct buf *out)
{
    (void)ctx;
    sim_count(FAULT_snapshot);
    driver_snapshot(self()->driver, out);
}

static void on_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id)
{
    struct node *n = self();

    (void)ctx;
    learn_group(n);
    n->leading = role == REPLOG_LEADER;
    sim_tell(n->proc->name, "%s in term %" PRIu64 ", the leader is %" PRIu64, n->leading ? "leads" : "follows",
             term, leader_id);
    if (n->leading)
        check_leader(term, places[n->proc->number].id);
    driver_role(n->driver, uv_now(&n->loop), n->leading, leader_id);
}

/* It may stop for its disk, and for nothing else. */
static void stop(const char *what, const struct tx_error *e)
{
    struct proc *p = sim_self();

    if (!p->disk_failed)
        sim_fail("%s %s: %s", p->name, what, e->msg);
    sim_tell(p->name, "%s: %s", what, e->msg);
    proc_kill(p);
}

static void on_fatal(void *ctx, const struct tx_error *e)
{
    (void)ctx;
    stop("has lost its log", e);
}

/* what the driver calls */

static void on_proposed(void *arg, enum replog_result result, uint64_t index)
{
    struct node *n = self();

    (void)index;
    driver_proposed(n->driver, uv_now(&n->loop), (uintptr_t)arg, result == REPLOG_COMMITTED);
}

static void on_propose(void *ctx, uint8_t *entry, size_t len, uint64_t ticket)
{
    struct node *n = ctx;

    replog_propose(n->replog, entry, len, on_proposed, (void *)(uintptr_t)ticket);
}

static void on_reply(void *ctx, const struct reply_to *to, const struct wire_message *m)
{
    struct node *n = ctx;

    if (m->type == WIRE_WORK)
        check_orders(n->proc->name, &m->work);
    server_reply(n->server, to, m);
}

/* start */

static void open_log(struct node *n)
{
    const struct replog_options options = {.data_dir = n->dir,
                                           .node_id = places[n->proc->number].id,
                                           .address = n->peer,
                                           .found = places[n->proc->number].founds,
                                           .group = 0x5157,
                                           .heartbeat_ms = world_election_ms() / 6,
                                           .election_ms = world_election_ms(),
                                           .segment_bytes = 32768,
                                           .snapshot_bytes = 16384};
    const struct replog_callbacks callbacks = {.ctx = n->group,
                                               .send = group_send,
                                               .members = group_members,
                                               .apply = on_apply,
                                               .restore = on_restore,
                                               .snapshot = on_snapshot,
                                               .role = on_role,
                                               .fatal = on_fatal};
    struct tx_error e;

    if (replog_open(&n->replog, &n->loop, &options, &callbacks, &e) != TX_OK)
        stop("does not start", &e);
}

static void open_driver(struct node *n)
{
    const struct driver_options options = {.vote_timeout_ms = 1500,
                                           .grace_ms = 500,
                                           .agent_timeout_ms = 2000,
                                           .retention_ms = 4000,
                                           .node_id = places[n->proc->number].id,
                                           .address = n->listen};
    const struct driver_ops ops = {.ctx = n, .reply = on_reply, .propose = on_propose};
    struct tx_error e;
    int rc = driver_new(&n->driver, replog_group(n->replog), &options, &ops, &e);

    if (rc == TX_OK && n->has_snapshot)
        rc = driver_restore(n->driver, n->snapshot.data, n->snapshot.len, &e);
    if (rc != TX_OK)
        sim_fail("%s: %s", n->proc->name, e.msg);
}

static void open_lines(struct node *n)
{
    struct server_options server = {.address = n->listen};
    const struct group_options group = {.node_id = places[n->proc->number].id,
                                        .peer_listen = n->peer,
                                        .peer_address = n->peer,
                                        .clients = n->listen};
    struct tx_error e;

    int rc = audit_open(&n->audit, NULL, &e);

    server.audit = n->audit;
    if (rc == TX_OK)
        rc = server_new(&n->server, &n->loop, &server, &e);
    if (rc == TX_OK)
        rc = group_open(&n->group, &n->loop, &group, &e);
    if (rc != TX_OK)
        sim_fail("%s: %s", n->proc->name, e.msg);
}

void node_main(void *arg)
{
    struct proc *p = arg;
    struct node *n = calloc(1, sizeof *n);

    assert(n != NULL);
    n->proc = p;
    p->data = n;
    buf_init(&n->snapshot);
    loop_new(p, &n->loop);
    snprintf(n->listen, sizeof n->listen, "tcp://127.0.0.%u:7401", p->number + 1);
    snprintf(n->peer, sizeof n->peer, "tcp://127.0.0.%u:7402", p->number + 1);
    snprintf(n->dir, sizeof n->dir, "/sim/%u", p->number);
    open_lines(n);
    open_log(n);
    open_driver(n);
    group_start(n->group, n->replog, n->driver);
    server_start(n->server, n->driver, NULL);
    uv_run(&n->loop, UV_RUN_DEFAULT);
}

/* for the world */

static struct node *node_of(const struct proc *p)
{
    return p->up && p->loop != NULL ? p->data : NULL;
}

bool node_leads(const struct proc *p)
{
    const struct node *n = node_of(p);

    return n != NULL && n->leading;
}

const struct ledger *node_ledger(const struct proc *p)
{
    const struct node *n = node_of(p);

    return n == NULL || n->driver == NULL ? NULL : driver_ledger(n->driver);
}

uint64_t node_applied(const struct proc *p)
{
    const struct node *n = node_of(p);
    struct replog_status s;

    if (n == NULL || n->replog == NULL)
        return 0;
    replog_status(n->replog, &s);
    return s.applied_index;
}

bool node_has_member(const struct proc *leader, uint64_t id, bool voter)
{
    const struct node *n = node_of(leader);
    const struct group_node *member = n == NULL || n->replog == NULL ? NULL : group_find(n->group, id);

    return member != NULL && (member->voter || !voter);
}

/* Orders are given in the leader's loop. */
struct order {
    struct proc *proc;
    bool add;
    unsigned place;
};

static struct order *newest_order;

static void on_changed(void *arg, int rc, const char *why)
{
    struct order *o = arg;

    sim_tell(o->proc->name, "%s node %" PRIu64 ": %s %s", o->add ? "adds" : "removes", places[o->place].id,
             tx_strerror(rc), why != NULL ? why : "");
    if (o == newest_order)
        node_change_rc = rc;
}

static void run_change(void *arg)
{
    struct order *o = arg;
    struct node *n = self();
    char address[64];
    const struct replog_newcomer newcomer = {.id = places[o->place].id, .address = address};

    snprintf(address, sizeof address, "tcp://127.0.0.%u:7402", o->place + 1);
    if (o->add)
        replog_add(n->replog, &newcomer, on_changed, o);
    else
        replog_remove(n->replog, places[o->place].id, on_changed, o);
}

void node_change(struct proc *leader, bool add, unsigned place)
{
    struct order *o = malloc(sizeof *o);

    assert(o != NULL);
    *o = (struct order){leader, add, place};
    newest_order = o;
    node_change_rc = 1;
    loop_post(leader, 0, run_change, o);
}

static void on_transferred(void *arg, int rc, const char *why)
{
    (void)why;
    sim_tell(((struct proc *)arg)->name, "has handed over: %s", tx_strerror(rc));
}

static void run_transfer(void *arg)
{
    replog_transfer(self()->replog, 0, on_transferred, arg);
}

void node_transfer(struct proc *leader)
{
    loop_post(leader, 0, run_transfer, leader);
}

/* An operator decides what is in doubt. */
static bool pick_doubt(void *arg, const struct driver_transaction *t)
{
    struct txid *id = arg;

    if (t->verdict == VERDICT_NONE && sim_chance(5000))
        *id = t->id;
    return id->session == 0;
}

static void on_resolved(void *arg, int rc, enum verdict stands)
{
    sim_tell(((struct proc *)arg)->name, "operator's decision: %s, %s stands", tx_strerror(rc),
             verdict_name(stands));
}

static void run_resolve(void *arg)
{
    struct node *n = self();
    struct txid id = {0};
    struct tx_error e;

    driver_each_transaction(n->driver, uv_now(&n->loop), sim_now_us / 1000, NULL, pick_doubt, &id);
    if (id.session == 0)
        return;
    check_meddled(&id);
    sim_count(FAULT_resolve);
    (void)driver_resolve(n->driver, uv_now(&n->loop), sim_now_us / 1000, &id,
                         sim_chance(5000) ? VERDICT_COMMIT : VERDICT_ABORT, on_resolved, arg, &e);
}

void node_resolve(struct proc *leader)
{
    loop_post(leader, 0, run_resolve, leader);
}

static void ignore_end(void *arg, enum replog_result result, uint64_t index)
{
    (void)arg;
    (void)result;
    (void)index;
}

/* What recovery may propose at any time, an abort; or either verdict for what is decided. */
static bool pick_late(struct record *r)
{
    enum verdict stands;

    r->decide.verdict = VERDICT_ABORT;
    if (sim_chance(3000) && check_pick_undecided(&r->session, &r->sequence))
        return true;
    if (!check_pick_decided(&r->session, &r->sequence, &stands))
        return false;
    if (stands == VERDICT_ABORT || sim_chance(3000))
        r->decide.verdict = VERDICT_COMMIT;
    return true;
}

static void run_propose_late(void *arg)
{
    struct node *n = self();
    struct record r = {.type = RECORD_DECIDE, .at_ms = sim_now_us / 1000};
    struct buf entry;

    r.decide.origin = ORIGIN_RECOVERY;
    if (!n->leading || !pick_late(&r))
        return;
    sim_tell(((struct proc *)arg)->name, "%" PRIu64 "/%" PRIu64 " is proposed by another: %s", r.session,
             r.sequence, verdict_name((enum verdict)r.decide.verdict));
    sim_count(FAULT_late_proposal);
    buf_init(&entry);
    record_begin(&entry);
    record_append(&entry, &r);
    replog_propose(n->replog, entry.data, entry.len, ignore_end, NULL);
}

void node_propose_late(struct proc *leader)
{
    loop_post(leader, 0, run_propose_late, leader);
}
