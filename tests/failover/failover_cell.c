/* failover_cell: one mode under one fault: the fault, again and again, while a client is at work, and what the
 * client and the databases say of it. Called by failover.c.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libtx/libtx.h"
#include "tests/failover/failover.h"
#include "tests/lib/keys.h"

enum {
    SETTLE_MS = 60000, /* more than any of it takes */
    WARM_US = 300000,  /* of undisturbed work in front of a fault */
    HEAR_MS = 5,
};

/* A cell being measured. */
struct run {
    struct stage *stage;
    struct cell *cell;
    struct world_process *client;
    struct keys committed, rolled_back;
    uint64_t fault_us;                 /* 0: none yet */
    uint64_t new_us[FAILOVER_THREADS]; /* end of each thread's first transfer that began behind the fault */
    uint64_t first_us, slowest_us;
    unsigned leader;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What the client tells */

static void count(struct run *r, const struct told *t)
{
    struct cell *c = r->cell;
    bool committed = t->rc == TX_OK || t->rc == TX_ETIMEOUT;

    if (committed)
        keys_add(&r->committed, t->key);
    else if (t->rc != TX_EINDOUBT)
        keys_add(&r->rolled_back, t->key);
    c->committed += committed;
    c->rolled_back += t->rc == TX_EROLLBACK;
    c->in_doubt += t->rc == TX_EINDOUBT;
    c->failures += !committed && t->rc != TX_EROLLBACK && t->rc != TX_EINDOUBT;
    if (t->again < 0)
        return;
    c->asked_again++;
    if (t->again != TX_OUTCOME_FORGOTTEN && t->rc != TX_EINDOUBT)
        c->otherwise += (t->again == TX_OUTCOME_COMMITTED) != committed;
}

static void take(struct run *r, const struct told *t)
{
    count(r, t);
    if (r->fault_us == 0 || t->end_us < r->fault_us)
        return;
    if (t->begin_us >= r->fault_us) {
        if (r->new_us[t->thread] == 0)
            r->new_us[t->thread] = t->end_us;
        if (t->rc == TX_OK && (r->first_us == 0 || t->end_us < r->first_us))
            r->first_us = t->end_us;
    } else if (t->commit_us < r->fault_us) {
        r->cell->in_flight++;
        if (t->end_us - t->commit_us > r->slowest_us)
            r->slowest_us = t->end_us - t->commit_us;
    }
}

static void hear(struct run *r, unsigned timeout_ms)
{
    char line[WORLD_LINE_SIZE];
    struct told t;

    while (world_client_hear(r->client, line, timeout_ms)) {
        if (failover_parse(line, &t))
            take(r, &t);
    }
}

static void hear_for(struct run *r, uint64_t us)
{
    for (uint64_t until = now_us() + us; now_us() < until;)
        hear(r, HEAR_MS);
}

/* Every thread has ended a transfer that it began behind the fault: what was in flight is told of, too. */
static bool all_new(const struct run *r)
{
    for (size_t i = 0; i < FAILOVER_THREADS; i++) {
        if (r->new_us[i] == 0)
            return false;
    }
    return r->first_us != 0;
}

static void await_new(struct run *r)
{
    uint64_t until = now_us() + SETTLE_MS * 1000ull;

    while (!all_new(r)) {
        hear(r, HEAR_MS);
        if (now_us() > until)
            world_fail(r->stage->world, "%s, %s: the client has come to a standstill",
                       failover_mode_names[r->cell->mode], failover_fault_names[r->cell->fault]);
    }
}

/* The group */

/* The client is heard all the while, so that it never waits to be. */
static void await_group(struct run *r)
{
    uint64_t until = now_us() + SETTLE_MS * 1000ull;

    while ((r->leader = world_group_leader(r->stage->world, FAILOVER_NODES)) == 0) {
        if (now_us() > until)
            world_fail(r->stage->world, "the group is not whole again");
        hear_for(r, 20000);
    }
}

/* Faults */

static void transfer_lead(struct run *r)
{
    char number[16];
    struct world_output o;

    snprintf(number, sizeof number, "%u", r->leader % FAILOVER_NODES + 1);
    o = world_admin(r->stage->world, WORLD_ARGS("node", "transfer", number));
    if (o.code != 0)
        world_fail(r->stage->world, "txadmin node transfer: %s", o.error);
    world_output_release(&o);
}

static void fault(struct run *r)
{
    static const int signals[FAILOVER_FAULTS] = {SIGKILL, SIGSTOP, SIGTERM, 0};
    int signal = signals[r->cell->fault];

    memset(r->new_us, 0, sizeof r->new_us);
    r->first_us = r->slowest_us = 0;
    r->fault_us = now_us();
    if (signal != 0)
        world_process_signal(r->stage->node[r->leader], signal);
    else
        transfer_lead(r);
}

static void mend(struct run *r)
{
    struct world_process *leader = r->stage->node[r->leader];

    switch (r->cell->fault) {
    case FAILOVER_FREEZE:
        world_process_signal(leader, SIGCONT);
        break;
    case FAILOVER_KILL:
    case FAILOVER_STOP:
        (void)world_process_wait(leader, SETTLE_MS);
        world_process_start_ready(leader, NULL);
        break;
    default:
        break;
    }
}

static void one_failover(struct run *r)
{
    struct cell *c = r->cell;

    await_group(r);
    hear_for(r, WARM_US);
    fault(r);
    await_new(r);
    c->first_ms[c->n] = (double)(r->first_us - r->fault_us) / 1000;
    c->slowest_ms[c->n] = (double)r->slowest_us / 1000;
    c->n++;
    r->fault_us = 0;
    mend(r);
}

/* The books */

static void check_books(struct run *r)
{
    struct keys in[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    struct cell *c = r->cell;

    if (!world_wait_nothing_prepared(r->stage->world, SETTLE_MS))
        world_fail(r->stage->world, "branches stay prepared");
    for (int b = 0; b < 2; b++) {
        keys_load(&in[b], r->stage->bank[b]);
        keys_sort(&in[b]);
    }
    for (size_t i = 0; i < r->committed.n; i++)
        c->lost += !keys_contain(&in[0], r->committed.items[i]) || !keys_contain(&in[1], r->committed.items[i]);
    for (size_t i = 0; i < r->rolled_back.n; i++)
        c->otherwise += keys_contain(&in[0], r->rolled_back.items[i]);
    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; i < in[b].n; i++)
            c->half += !keys_contain(&in[1 - b], in[b].items[i]);
        world_sql(r->stage->bank[b], "TRUNCATE receipts");
    }
    keys_release(&in[0]);
    keys_release(&in[1]);
}

void cell_measure(struct stage *s, struct cell *c, size_t n)
{
    static unsigned generation;
    struct run r = {.stage = s, .cell = c};
    char a[WORLD_PATH_SIZE], b[WORLD_PATH_SIZE], name[32], mode[16], number[16];

    snprintf(name, sizeof name, "application%u", ++generation);
    snprintf(number, sizeof number, "%u", generation);
    snprintf(mode, sizeof mode, "%d", (int)c->mode);
    r.client =
        world_client_start(s->world, name, NULL,
                           WORLD_ARGS("failover", mode, number, world_server_conninfo(s->bank[0], "app", a),
                                      world_server_conninfo(s->bank[1], "app", b)));
    for (size_t i = 0; i < n; i++)
        one_failover(&r);
    await_group(&r);
    world_process_signal(r.client, SIGTERM);
    hear(&r, 1000);
    (void)world_process_wait(r.client, SETTLE_MS);
    hear(&r, 0);
    check_books(&r);
    keys_release(&r.committed);
    keys_release(&r.rolled_back);
}

bool cell_sound(const struct cell *c)
{
    return c->lost + c->half + c->in_doubt + c->rolled_back + c->otherwise + c->failures == 0 &&
           c->committed > 0;
}
