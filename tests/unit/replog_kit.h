/* replog_kit: for the tests of groups: several replogs on one loop, with real directories, and a network in
 * memory that drops, delays, doubles, reorders and cuts.
 *
 * Every entry carries a number of its own. What the first node applies at a place is what all others must apply
 * there: the history. A node's state is the history's first `applied` numbers; its snapshot is these numbers
 * and as much padding as the test wants.
 */
#ifndef ASSENT_TESTS_REPLOG_KIT_H
#define ASSENT_TESTS_REPLOG_KIT_H

#include "tests/unit/wal_kit.h"

#include <inttypes.h>
#include <time.h>

#include "coordinator/replog.h"
#include "libtx/shared/log.h"

enum {
    NET_NODES = 6, /* numbers 1 to 5 */
    NET_HISTORY = 400000,
    NET_PACKETS = 8192,
    NET_SEGMENT = 16384,
    NET_SNAPSHOT = 32768,
    NET_ENTRY = 100,
    NET_HEARTBEAT = 15,
    NET_ELECTION = 100,
    NET_PATIENCE = 30000, /* ms that anything may take */
};

struct net;

struct net_proposal {
    struct net *net;
    uint64_t number, node;
};

struct net_node {
    struct net *net;
    uint64_t id;
    char dir[KIT_PATH], address[32];
    struct replog *r;
    struct replog_options options;
    size_t applied; /* of the history */
    unsigned restores, fatals, members;
    enum replog_role role;
    uint64_t leader, term;
    struct tx_error error;
    bool up, closed, deaf; /* deaf: up, but the network does not reach it */
};

struct net_packet {
    uint64_t at, to;
    uint8_t *data;
    size_t len;
};

struct net {
    uv_loop_t loop;
    uv_timer_t tick;
    struct net_node nodes[NET_NODES];
    struct net_packet packets[NET_PACKETS];
    size_t n_packets;
    bool cut[NET_NODES][NET_NODES]; /* from, to */
    bool any_address;               /* of receivers: a test lies about them */
    unsigned drop, twice;           /* percent */
    unsigned delay;                 /* ms, up to */
    uint64_t random, group;
    size_t padding; /* of snapshots */
    size_t entry;   /* bytes */

    uint64_t *history;
    size_t n_history;
    uint64_t next;                  /* number */
    struct net_proposal *proposals; /* by number; what a failed node was given never ends */
    uint8_t *acked;                 /* by number */
    size_t committed, refused, unknown, waiting;
    void (*spy)(struct net *net, uint64_t from, uint64_t to, const void *data, size_t len);
    int change_rc; /* of the last change of membership; 1: under way */
    char change_why[128];
};

static inline uint64_t net_random(struct net *net, uint64_t below)
{
    net->random = net->random * 6364136223846793005u + 1442695040888963407u;
    return (net->random >> 33) % below;
}

/* The network */

static inline void net_queue(struct net *net, uint64_t to, const void *data, size_t len)
{
    struct net_packet *p = &net->packets[net->n_packets];

    if (net->n_packets == NET_PACKETS)
        return;
    p->at = uv_now(&net->loop) + (net->delay == 0 ? 0 : net_random(net, net->delay + 1));
    p->to = to;
    p->len = len;
    p->data = malloc(len);
    assert_non_null(p->data);
    memcpy(p->data, data, len);
    net->n_packets++;
}

static inline void net_send(void *ctx, uint64_t to, const char *address, const void *data, size_t len)
{
    struct net_node *n = ctx;
    struct net *net = n->net;

    assert_true(to > 0 && to < NET_NODES && len < 1 << 20);
    if (!net->any_address)
        assert_string_equal(address, net->nodes[to].address);
    if (!n->up)
        return;
    if (net->spy != NULL)
        net->spy(net, n->id, to, data, len);
    if (net->cut[n->id][to] || net_random(net, 100) < net->drop)
        return;
    net_queue(net, to, data, len);
    if (net_random(net, 100) < net->twice)
        net_queue(net, to, data, len);
}

static inline void net_deliver(struct net *net)
{
    struct net_packet p;

    for (size_t i = 0; i < net->n_packets;) {
        p = net->packets[i];
        if (p.at > uv_now(&net->loop)) {
            i++;
            continue;
        }
        net->n_packets--;
        memmove(&net->packets[i], &net->packets[i + 1], (net->n_packets - i) * sizeof p);
        if (net->nodes[p.to].up && !net->nodes[p.to].deaf)
            replog_receive(net->nodes[p.to].r, p.data, p.len);
        free(p.data);
    }
}

static inline void net_on_tick(uv_timer_t *tick)
{
    net_deliver(tick->data);
}

/* A node and the others hear nothing from each other. */
static inline void net_isolate(struct net *net, uint64_t id, bool cut)
{
    for (uint64_t i = 1; i < NET_NODES; i++)
        net->cut[id][i] = net->cut[i][id] = cut;
}

/* The nodes */

static inline int net_apply(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e)
{
    struct net_node *n = ctx;
    uint64_t number;

    (void)index;
    (void)e;
    assert_true(len >= sizeof number);
    if (!n->up && n->r != NULL)
        return 0;
    memcpy(&number, data, sizeof number);
    if (n->applied == n->net->n_history) {
        assert_true(n->net->n_history < NET_HISTORY);
        n->net->history[n->net->n_history++] = number;
    }
    if (n->net->history[n->applied] != number)
        fail_msg("node %" PRIu64 " applies %" PRIu64 " at place %zu, another applied %" PRIu64, n->id, number,
                 n->applied, n->net->history[n->applied]);
    n->applied++;
    return 0;
}

static inline int net_restore(void *ctx, const void *data, size_t len, struct tx_error *e)
{
    struct net_node *n = ctx;
    struct cur c;
    uint64_t count;

    (void)e;
    cur_init(&c, data, len);
    count = cur_u64(&c);
    assert_true(!c.bad && count <= n->net->n_history);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(cur_u64(&c), n->net->history[i]);
    assert_false(c.bad);
    n->applied = count;
    n->restores++;
    return 0;
}

static inline void net_snapshot(void *ctx, struct buf *out)
{
    struct net_node *n = ctx;
    uint8_t *padding = calloc(1, n->net->padding + 1);

    assert_non_null(padding);
    buf_put_u64(out, n->applied);
    for (size_t i = 0; i < n->applied; i++)
        buf_put_u64(out, n->net->history[i]);
    for (size_t i = 0; i < n->net->padding; i++)
        padding[i] = (uint8_t)(i * 2654435761u >> 13);
    buf_put_bytes(out, padding, n->net->padding);
    free(padding);
}

static inline void net_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader)
{
    struct net_node *n = ctx;

    n->role = role;
    n->term = term;
    n->leader = leader;
}

static inline void net_members(void *ctx, const struct replog_member *members, size_t count)
{
    struct net_node *n = ctx;

    (void)members;
    n->members = (unsigned)count;
}

static inline void net_fatal(void *ctx, const struct tx_error *e)
{
    struct net_node *n = ctx;

    n->fatals++;
    n->error = *e;
}

static inline void net_closed(void *arg)
{
    ((struct net_node *)arg)->closed = true;
}

static inline void net_run(struct net *net, unsigned ms)
{
    uint64_t end = uv_now(&net->loop) + ms;

    while (uv_now(&net->loop) < end)
        uv_run(&net->loop, UV_RUN_ONCE);
}

static inline void net_open(struct net *net)
{
    memset(net, 0, sizeof *net);
    net->history = calloc(NET_HISTORY, sizeof *net->history);
    net->acked = calloc(NET_HISTORY, 1);
    net->proposals = calloc(NET_HISTORY, sizeof *net->proposals);
    assert_true(net->history != NULL && net->acked != NULL && net->proposals != NULL);
    net->next = 1;
    net->entry = NET_ENTRY;
    net->random = 42;
    net->group = 0x1122334455667788;
    assert_int_equal(uv_loop_init(&net->loop), 0);
    uv_timer_init(&net->loop, &net->tick);
    net->tick.data = net;
    uv_timer_start(&net->tick, net_on_tick, 1, 1);
    for (uint64_t i = 1; i < NET_NODES; i++) {
        struct net_node *n = &net->nodes[i];

        n->net = net;
        n->id = i;
        kit_mkdir(n->dir);
        snprintf(n->address, sizeof n->address, "tcp://10.0.0.%" PRIu64 ":1", i);
        n->options = (struct replog_options){.data_dir = n->dir,
                                             .node_id = i,
                                             .address = n->address,
                                             .heartbeat_ms = NET_HEARTBEAT,
                                             .election_ms = NET_ELECTION,
                                             .segment_bytes = NET_SEGMENT,
                                             .snapshot_bytes = NET_SNAPSHOT};
    }
}

static inline int net_try_start(struct net *net, uint64_t id)
{
    struct net_node *n = &net->nodes[id];
    const struct replog_callbacks callbacks = {
        .ctx = n,
        .send = net_send,
        .members = net_members,
        .apply = net_apply,
        .restore = net_restore,
        .snapshot = net_snapshot,
        .role = net_role,
        .fatal = net_fatal,
    };
    int rc;

    assert_false(n->up);
    n->applied = 0;
    n->restores = n->fatals = n->members = 0;
    n->role = REPLOG_FOLLOWER;
    n->leader = n->term = 0;
    n->closed = n->deaf = false;
    rc = replog_open(&n->r, &net->loop, &n->options, &callbacks, &n->error);
    n->up = rc == 0;
    return rc;
}

static inline void net_start(struct net *net, uint64_t id)
{
    if (net_try_start(net, id) != 0)
        fail_msg("node %" PRIu64 ": %s", id, net->nodes[id].error.msg);
}

/* Starts it as the first node of a group; that is done once. */
static inline void net_found(struct net *net, uint64_t id)
{
    net->nodes[id].options.found = true;
    net->nodes[id].options.group = net->group;
    net_start(net, id);
    net->nodes[id].options.found = false;
}

static inline void net_stop(struct net *net, uint64_t id)
{
    struct net_node *n = &net->nodes[id];

    n->up = false;
    n->role = REPLOG_FOLLOWER;
    replog_close(n->r, net_closed, n);
    while (!n->closed)
        uv_run(&net->loop, UV_RUN_ONCE);
    n->r = NULL;
}

/* As kill -9 would: what is on disk at this moment is all that is left. What the replog does until it is closed
 * nobody hears of. */
static inline void net_kill(struct net *net, uint64_t id)
{
    struct kit_image image;

    kit_load_stable(&image, net->nodes[id].dir);
    net_stop(net, id);
    kit_store(&image, net->nodes[id].dir);
    kit_release_image(&image);
}

static inline void net_close(struct net *net)
{
    for (uint64_t i = 1; i < NET_NODES; i++) {
        if (net->nodes[i].up)
            net_stop(net, i);
        kit_rmdir(net->nodes[i].dir);
    }
    for (size_t i = 0; i < net->n_packets; i++)
        free(net->packets[i].data);
    uv_close((uv_handle_t *)&net->tick, NULL);
    uv_run(&net->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&net->loop), 0);
    free(net->history);
    free(net->acked);
    free(net->proposals);
}

/* Waiting */

/* The node that may act, of the newest term; 0: none. */
static inline uint64_t net_leader(const struct net *net)
{
    uint64_t found = 0;

    for (uint64_t i = 1; i < NET_NODES; i++) {
        const struct net_node *n = &net->nodes[i];

        if (n->up && n->fatals == 0 && n->role == REPLOG_LEADER &&
            (found == 0 || n->term > net->nodes[found].term))
            found = i;
    }
    return found;
}

static inline void net_dump(const struct net *net)
{
    struct replog_status s;

    for (uint64_t i = 1; i < NET_NODES; i++) {
        const struct net_node *n = &net->nodes[i];

        if (!n->up)
            continue;
        replog_status(n->r, &s);
        print_error("node %" PRIu64 ": role %d term %" PRIu64 " leader %" PRIu64 " last %" PRIu64
                    " commit %" PRIu64 " applied %" PRIu64 " snapshot %" PRIu64
                    " machine %zu of %zu fatals %u\n",
                    i, (int)s.role, s.term, s.leader_id, s.last_index, s.commit_index, s.applied_index,
                    s.snapshot_index, n->applied, net->n_history, n->fatals);
    }
}

#define NET_WAIT(net, condition)                                              \
    do {                                                                      \
        uint64_t net_end_ = uv_now(&(net)->loop) + NET_PATIENCE;              \
                                                                              \
        while (!(condition)) {                                                \
            if (uv_now(&(net)->loop) > net_end_) {                            \
                net_dump(net);                                                \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
            }                                                                 \
            uv_run(&(net)->loop, UV_RUN_ONCE);                                \
        }                                                                     \
    } while (0)

static inline uint64_t net_wait_leader(struct net *net)
{
    NET_WAIT(net, net_leader(net) != 0);
    return net_leader(net);
}

static inline bool net_all_applied(const struct net *net)
{
    for (uint64_t i = 1; i < NET_NODES; i++) {
        if (net->nodes[i].up && net->nodes[i].applied != net->n_history)
            return false;
    }
    return true;
}

/* Proposing */

static inline void net_on_end(void *arg, enum replog_result result, uint64_t index)
{
    struct net_proposal *p = arg;

    (void)index;
    p->net->waiting--;
    if (!p->net->nodes[p->node].up) /* killed: nobody was told */
        result = REPLOG_UNKNOWN;
    p->net->committed += result == REPLOG_COMMITTED;
    p->net->refused += result == REPLOG_REFUSED;
    p->net->unknown += result == REPLOG_UNKNOWN;
    p->net->acked[p->number] = result == REPLOG_COMMITTED ? 1 : result == REPLOG_REFUSED ? 2 : 0;
}

static inline void net_propose(struct net *net, uint64_t id, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct net_proposal *p = &net->proposals[net->next];
        uint8_t *data = calloc(1, net->entry);

        assert_true(data != NULL && net->next < NET_HISTORY);
        *p = (struct net_proposal){net, net->next++, id};
        memcpy(data, &p->number, sizeof p->number);
        net->waiting++;
        replog_propose(net->nodes[id].r, data, net->entry, net_on_end, p);
    }
}

/* Through whoever leads; all of them are committed in the end. A group that refuses for ever fails. */
static inline void net_commit(struct net *net, size_t count)
{
    uint64_t end = uv_now(&net->loop) + NET_PATIENCE;
    size_t goal = net->committed + count;

    while (net->committed < goal) {
        if (uv_now(&net->loop) > end) {
            net_dump(net);
            fail_msg("%zu of %zu are not committed: %zu refused, %zu unknown", goal - net->committed, count,
                     net->refused, net->unknown);
        }
        net_propose(net, net_wait_leader(net), goal - net->committed);
        NET_WAIT(net, net->waiting == 0);
        if (net->committed < goal)
            net_run(net, 5); /* it is handing over, or has just lost its role */
    }
}

/* What was acknowledged is in the history, what was refused is not. */
static inline void net_check(const struct net *net)
{
    uint8_t *there = calloc(NET_HISTORY, 1);

    assert_non_null(there);
    for (size_t i = 0; i < net->n_history; i++) {
        assert_int_equal(there[net->history[i]], 0); /* none twice */
        there[net->history[i]] = 1;
    }
    for (uint64_t n = 1; n < net->next; n++) {
        if (net->acked[n] == 1 && !there[n])
            fail_msg("%" PRIu64 " was acknowledged, and is lost", n);
        if (net->acked[n] == 2 && there[n])
            fail_msg("%" PRIu64 " was refused, and is there", n);
    }
    free(there);
}

/* Changing */

static inline void net_changed(void *arg, int rc, const char *why)
{
    struct net *net = arg;

    net->change_rc = rc;
    snprintf(net->change_why, sizeof net->change_why, "%s", why == NULL ? "" : why);
}

/* In the place of another, or of nobody for 0. */
static inline int net_replace(struct net *net, uint64_t old, uint64_t id)
{
    const struct replog_newcomer newcomer = {id, net->nodes[id].address, old};

    net->change_rc = 1;
    replog_add(net->nodes[net_wait_leader(net)].r, &newcomer, net_changed, net);
    NET_WAIT(net, net->change_rc != 1);
    return net->change_rc;
}

static inline int net_add(struct net *net, uint64_t id)
{
    return net_replace(net, 0, id);
}

static inline int net_remove(struct net *net, uint64_t id)
{
    net->change_rc = 1;
    replog_remove(net->nodes[net_wait_leader(net)].r, id, net_changed, net);
    NET_WAIT(net, net->change_rc != 1);
    return net->change_rc;
}

static inline int net_transfer(struct net *net, uint64_t id)
{
    net->change_rc = 1;
    replog_transfer(net->nodes[net_wait_leader(net)].r, id, net_changed, net);
    NET_WAIT(net, net->change_rc != 1);
    return net->change_rc;
}

/* Node 1 begins a group, and 2 to `count` join it. */
static inline void net_group(struct net *net, uint64_t count)
{
    net_found(net, 1);
    for (uint64_t i = 2; i <= count; i++) {
        net_start(net, i);
        assert_int_equal(net_add(net, i), TX_OK);
    }
}

#endif
