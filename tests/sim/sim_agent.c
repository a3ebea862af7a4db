/* sim_agent: an agent: the real agent.c with all its parts, over a simulated resource (struct rm_ops). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/agent.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/sim_world.h"

struct rm {
    struct rm_options options;
    struct proc *proc;
    unsigned incarnation, server;
    bool told;
};

struct rm_work {
    struct rm *rm;
    struct work_item *work;
    struct server_request *pending;
    void (*lost)(void *arg, const char *why);
    void *arg;
    bool ended, over;
    struct rm_work *next;
};

enum { LIST_MOST = 64 };

/* A list that was asked for. */
struct listing {
    struct rm *rm;
    char prefix[GID_SIZE], after[GID_SIZE];
    unsigned limit;
    rm_list_cb done;
    void *arg;
    struct rm_list list;
    struct rm_found found[LIST_MOST];
    char proofs[LIST_MOST][24], gids[LIST_MOST][GID_SIZE];
};

static struct rm *open_rms[SIM_AGENTS];
static struct rm_work *works; /* of all agents, alive or not */

/* answers */

static void answered(struct server_request *r)
{
    struct rm_answer a = {.outcome = r->outcome,
                          .text = r->outcome == RM_UNKNOWN ? "connection lost" : r->text,
                          .proof = r->answer[0] != '\0' ? r->answer : NULL};

    ((rm_answer_cb)r->callback)(r->arg, &a);
}

static void work_answered(struct server_request *r)
{
    struct rm_work *w = NULL;

    for (w = works; w != NULL && w->pending != r; w = w->next)
        ;
    if (w != NULL)
        w->pending = NULL;
    answered(r);
}

static void rows_answered(struct server_request *r)
{
    struct wire_rows rows = {.code = TX_OK, .affected = 1};
    struct rm_work *w;
    bool lost = r->outcome != RM_DONE;

    for (w = works; w != NULL && w->pending != r; w = w->next)
        ;
    if (w != NULL) {
        w->pending = NULL;
        w->over = lost;
    }
    if (lost) {
        rows.code = TX_EUNREACHABLE;
        rows.text = "connection lost";
    }
    ((rm_rows_cb)r->callback)(r->arg, &rows, lost);
}

/* operations on a work */

static struct rm_work *sim_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                 void *arg)
{
    struct rm_work *w = calloc(1, sizeof *w);
    struct txid id;
    unsigned number;

    if (w == NULL || !gid_parse(gid, &id, &number))
        abort();
    w->rm = rm;
    w->work = server_begin(rm->server, &id, number);
    w->lost = lost;
    w->arg = arg;
    w->next = works;
    works = w;
    return w;
}

static void ask_work(struct rm_work *w, enum server_op op, const char *gid, rm_answer_cb done, void *arg)
{
    struct server_request *r = server_ask(w->rm->server, op, w->work, gid, NULL);

    r->done = work_answered;
    r->callback = (void *)done;
    r->arg = arg;
    w->pending = r;
    server_send(r);
}

static int sim_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                    struct tx_error *e)
{
    struct server_request *r = server_ask(w->rm->server, SERVER_WORK, w->work, s->text, NULL);

    (void)e;
    r->done = rows_answered;
    r->callback = (void *)done;
    r->arg = arg;
    w->pending = r;
    server_send(r);
    return TX_OK;
}

static void sim_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg)
{
    ask_work(w, SERVER_PREPARE, gid, done, arg);
}

static void sim_prove(struct rm_work *w, rm_answer_cb done, void *arg)
{
    ask_work(w, SERVER_PROVE, NULL, done, arg);
}

static void sim_one_phase(struct rm_work *w, rm_answer_cb done, void *arg)
{
    ask_work(w, SERVER_ONE_PHASE, NULL, done, arg);
}

static void answer_pending(void *arg)
{
    struct server_request *r = arg;

    r->outcome = RM_REFUSED;
    if (r->op == SERVER_WORK)
        rows_answered(r);
    else
        answered(r);
}

/* What is under way is answered first. */
static void sim_abandon(struct rm_work *w, rm_answer_cb done, void *arg)
{
    struct server_request *r = server_ask(w->rm->server, SERVER_ABANDON, w->work, NULL, NULL);

    if (w->pending != NULL) {
        w->pending->cancelled = true;
        loop_post(w->rm->proc, 0, answer_pending, w->pending);
        w->pending = NULL;
    }
    r->done = answered;
    r->callback = (void *)done;
    r->arg = arg;
    server_send(r);
}

static void sim_end(struct rm_work *w)
{
    w->ended = true;
}

/* operations by gid */

static void ask_gid(struct rm *rm, enum server_op op, struct work_item *work, const struct rm_finish *f,
                    rm_answer_cb done, void *arg)
{
    struct server_request *r = server_ask(rm->server, op, work, f->gid, f->proof);

    r->done = answered;
    r->callback = (void *)done;
    r->arg = arg;
    server_send(r);
}

static void sim_look(struct rm *rm, const char *gid, struct rm_work *work, rm_answer_cb done, void *arg)
{
    const struct rm_finish f = {.gid = gid};

    ask_gid(rm, SERVER_LOOK, work != NULL ? work->work : NULL, &f, done, arg);
}

static void sim_commit(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg)
{
    ask_gid(rm, SERVER_COMMIT, NULL, f, done, arg);
}

static void sim_rollback(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg)
{
    ask_gid(rm, SERVER_ROLLBACK, NULL, f, done, arg);
}

static void sim_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg)
{
    const struct rm_finish f = {.gid = "", .proof = proof};

    ask_gid(rm, SERVER_STATUS, NULL, &f, done, arg);
}

/* lists */

static void list_figures(const struct listing *l, struct rm_list *out)
{
    uint64_t age;

    for (const struct work_item *w = server_next(l->rm->server, l->prefix, l->after); w != NULL;
         w = server_next(l->rm->server, l->prefix, w->gid)) {
        age = (sim_now_us - w->prepared_us) / 1000;
        out->total++;
        out->in_doubt += age >= RM_YOUNG_MS;
        out->oldest_ms = age > out->oldest_ms ? age : out->oldest_ms;
    }
}

/* At the server. The answer may be old when it comes. */
static void list_make(struct server_request *r)
{
    struct listing *l = r->arg;
    const struct work_item *w;
    unsigned limit = l->limit < LIST_MOST ? l->limit : LIST_MOST;
    int n = 0;

    if (sim_options.sabotage == SABOTAGE_NO_SCAN)
        return;
    list_figures(l, &l->list);
    for (w = server_next(l->rm->server, l->prefix, l->after); w != NULL && (unsigned)n < limit;
         w = server_next(l->rm->server, l->prefix, w->gid)) {
        snprintf(l->proofs[n], sizeof l->proofs[0], "x%llu", (unsigned long long)w->xid);
        snprintf(l->gids[n], sizeof l->gids[0], "%s", w->gid);
        l->found[n] = (struct rm_found){l->gids[n], (sim_now_us - w->prepared_us) / 1000, l->proofs[n]};
        n++;
    }
    l->list.n = n;
}

static void list_answered(struct server_request *r)
{
    struct listing *l = r->arg;

    if (r->outcome != RM_DONE)
        l->list = (struct rm_list){.n = -1};
    l->list.found = l->found;
    l->done(l->arg, &l->list);
    free(l);
}

static void sim_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                     void *arg)
{
    struct server_request *r = server_ask(rm->server, SERVER_LIST, NULL, NULL, NULL);
    struct listing *l = calloc(1, sizeof *l);

    assert(l != NULL);
    l->rm = rm;
    l->limit = limit;
    l->done = done;
    l->arg = arg;
    snprintf(l->prefix, sizeof l->prefix, "%s", prefix);
    snprintf(l->after, sizeof l->after, "%s", after);
    r->at_server = list_make;
    r->done = list_answered;
    r->arg = l;
    server_send(r);
}

/* the resource comes and goes */

static void tell_status(void *arg)
{
    struct rm *rm = arg;
    bool up = server_up(rm->server);

    rm->options.status(rm->options.arg, up, up ? NULL : "the server is down");
}

static void tell_lost(void *arg)
{
    struct rm_work *w = arg;

    if (!w->ended && !w->over && w->pending == NULL)
        w->lost(w->arg, "the server has gone");
    w->over = true;
}

void agent_server_changed(unsigned server)
{
    for (unsigned i = 0; i < SIM_AGENTS; i++) {
        struct rm *rm = open_rms[i];

        if (rm == NULL || rm->server != server || !rm->proc->up || rm->proc->incarnation != rm->incarnation)
            continue;
        for (struct rm_work *w = works; w != NULL && !server_up(server); w = w->next) {
            if (w->rm == rm && !w->ended && !w->over && w->pending == NULL &&
                w->work->state == WORK_ROLLED_BACK)
                loop_post(rm->proc, 0, tell_lost, w);
        }
        loop_post(rm->proc, sim_random(5000), tell_status, rm);
    }
}

static int sim_open(struct rm **out, const struct rm_options *options, struct tx_error *e)
{
    struct rm *rm = calloc(1, sizeof *rm);

    (void)e;
    assert(rm != NULL);
    rm->options = *options;
    rm->proc = sim_self();
    rm->incarnation = rm->proc->incarnation;
    rm->server = (unsigned)atoi(options->settings);
    open_rms[rm->proc->number] = rm;
    loop_post(rm->proc, 1000, tell_status, rm);
    *out = rm;
    return TX_OK;
}

static void sim_close(struct rm *rm, void (*closed)(void *arg), void *arg)
{
    loop_post(rm->proc, 0, closed, arg);
}

static const struct rm_ops sim_ops = {
    .kind = "simulated",
    .open = sim_open,
    .close = sim_close,
    .begin = sim_begin,
    .exec = sim_exec,
    .prepare = sim_prepare,
    .prove = sim_prove,
    .one_phase = sim_one_phase,
    .abandon = sim_abandon,
    .end = sim_end,
    .look = sim_look,
    .commit = sim_commit,
    .rollback = sim_rollback,
    .status = sim_status,
    .list = sim_list,
};

void agent_main(void *arg)
{
    struct proc *p = arg;
    uv_loop_t *loop = calloc(1, sizeof *loop);
    struct agent *a = calloc(1, sizeof *a);
    char settings[8], listen[ADDRESS_LIMIT];
    struct agent_resource resource = {.ops = &sim_ops, .settings = settings};
    const struct security security = {.insecure = true};
    struct agent_options options = {.name = p->name,
                                    .coordinators = world_coordinators(),
                                    .listen = listen,
                                    .advertise = listen,
                                    .security = &security,
                                    .connections = 8,
                                    .scan_interval_ms = 500,
                                    .n_resources = 1,
                                    .resources = &resource};
    struct tx_error e;

    assert(loop != NULL && a != NULL);
    loop_new(p, loop);
    snprintf(listen, sizeof listen, "tcp://127.0.0.%u:7501", 20 + p->number);
    snprintf(settings, sizeof settings, "%u", p->number % SIM_SERVERS);
    resource.name = server_name(p->number % SIM_SERVERS);
    if (agent_open(a, loop, &options, &e) != TX_OK)
        sim_fail("agent does not start: %s", e.msg);
    uv_run(loop, UV_RUN_DEFAULT);
}
