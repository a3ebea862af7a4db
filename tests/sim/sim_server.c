/* sim_server: see sim_server.h. */
#include "tests/sim/sim_server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool down;
    uint64_t epoch, xid, forced_xid; /* the last one that was handed out, and that has reached the disk */
    struct work_item *works;
} servers[SIM_SERVERS];

static const char *const state_names[] = {"active", "prepared", "committed", "rolled back"};

const char *server_name(unsigned server)
{
    static const char *const names[SIM_SERVERS] = {"bank_a", "bank_b", "bank_c"};

    return names[server];
}

bool server_up(unsigned server)
{
    return !servers[server].down;
}

/* works */

static void move(struct work_item *w, enum work_state to, const char *why)
{
    if (w->state == to)
        return;
    sim_tell(server_name(w->server), "%llu/%llu branch %u: %s -> %s (%s)", (unsigned long long)w->id.session,
             (unsigned long long)w->id.sequence, w->number, state_names[w->state], state_names[to], why);
    w->after_vote = w->state == WORK_PREPARED && to == WORK_ROLLED_BACK;
    w->state = to;
    if (to != WORK_ROLLED_BACK && w->xid > servers[w->server].forced_xid)
        servers[w->server].forced_xid = w->xid;
    w->prepared_us = sim_now_us;
    check_work(w);
}

struct work_item *server_begin(unsigned server, const struct txid *id, unsigned number)
{
    struct work_item *w = calloc(1, sizeof *w);

    assert(w != NULL);
    w->server = server;
    w->number = number;
    w->xid = ++servers[server].xid;
    w->id = *id;
    gid_format(id, number, w->gid);
    w->holder = sim_self();
    w->incarnation = w->holder->incarnation;
    w->next = servers[server].works;
    servers[server].works = w;
    return w;
}

static struct work_item *find_prepared(unsigned server, const char *gid)
{
    for (struct work_item *w = servers[server].works; w != NULL; w = w->next) {
        if (w->state == WORK_PREPARED && strcmp(w->gid, gid) == 0)
            return w;
    }
    return NULL;
}

static struct work_item *find_xid(unsigned server, const char *proof)
{
    unsigned long long xid;

    if (sscanf(proof, "x%llu", &xid) != 1 || xid == 0)
        return NULL;
    for (struct work_item *w = servers[server].works; w != NULL; w = w->next) {
        if (w->xid == xid)
            return w;
    }
    return NULL;
}

static void put_proof(struct server_request *r, const struct work_item *w)
{
    snprintf(r->answer, sizeof r->answer, "x%llu", (unsigned long long)w->xid);
}

/* operations */

static void do_work(struct server_request *r)
{
    r->outcome = r->work->state == WORK_ACTIVE ? RM_DONE : RM_REFUSED;
    if (r->outcome == RM_DONE && strcmp(r->gid, "write") == 0)
        r->work->wrote = true;
}

static void do_prepare(struct server_request *r)
{
    struct work_item *w = r->work;

    r->outcome = RM_REFUSED;
    if (w->state != WORK_ACTIVE)
        return;
    if ((!world_calm() && sim_chance(400)) || find_prepared(w->server, w->gid) != NULL) {
        sim_count(FAULT_refusal);
        move(w, WORK_ROLLED_BACK, "refuses to prepare");
        return;
    }
    /* An agent looks first whether it has written anything; the plain command prepares in any case. */
    r->outcome = w->wrote || r->from->loop == NULL ? RM_DONE : RM_READ_ONLY;
    if (r->outcome == RM_DONE)
        put_proof(r, w);
    move(w, r->outcome == RM_DONE ? WORK_PREPARED : WORK_COMMITTED, "PREPARE");
}

static void do_prove(struct server_request *r)
{
    r->outcome = r->work->state == WORK_ACTIVE ? RM_DONE : RM_REFUSED;
    if (r->outcome == RM_DONE && r->work->wrote)
        put_proof(r, r->work);
}

static void do_one_phase(struct server_request *r)
{
    r->outcome = RM_REFUSED;
    if (r->work->state != WORK_ACTIVE)
        return;
    r->outcome = RM_DONE;
    r->work->one_phase = true;
    move(r->work, WORK_COMMITTED, "COMMIT");
}

static void do_abandon(struct server_request *r)
{
    r->outcome = RM_DONE;
    if (r->work->state == WORK_ACTIVE)
        move(r->work, WORK_ROLLED_BACK, "ROLLBACK");
}

/* With the connection that prepared it: that is ended first, so that nothing is on the way any more. */
static void do_look(struct server_request *r)
{
    struct work_item *w = find_prepared(r->server, r->gid);

    r->outcome = RM_UNKNOWN;
    if (!world_calm() && sim_chance(1500))
        return;
    if (w == NULL && r->work != NULL && r->work->state == WORK_ACTIVE)
        move(r->work, WORK_ROLLED_BACK, "its connection is ended");
    r->outcome = w != NULL ? RM_DONE : RM_NOT_FOUND;
    if (w != NULL)
        put_proof(r, w);
}

/* As where its role may not finish other roles' branches any more, or another session holds the branch. */
static bool is_forbidden(struct server_request *r)
{
    if (world_calm() || !sim_chance(150))
        return false;
    r->outcome = RM_FAILED;
    r->text = sim_chance(5000) ? "forbidden" : "busy";
    return true;
}

static void do_commit(struct server_request *r)
{
    struct work_item *w = find_prepared(r->server, r->gid);

    if (is_forbidden(r))
        return;
    r->outcome = RM_DONE;
    if (w != NULL) {
        move(w, WORK_COMMITTED, "COMMIT PREPARED");
        return;
    }
    if (sim_options.sabotage == SABOTAGE_NOT_FOUND_OK)
        return;
    w = find_xid(r->server, r->proof);
    if (w == NULL || w->state == WORK_ACTIVE)
        r->outcome = w == NULL ? RM_HAZARD : RM_UNKNOWN;
    else
        r->outcome = w->state == WORK_COMMITTED ? RM_DONE : RM_HEURISTIC_ROLLBACK;
}

static void do_rollback(struct server_request *r)
{
    struct work_item *w = find_prepared(r->server, r->gid);

    if (is_forbidden(r))
        return;
    r->outcome = RM_DONE;
    if (w != NULL) {
        move(w, WORK_ROLLED_BACK, "ROLLBACK PREPARED");
        return;
    }
    w = find_xid(r->server, r->proof);
    r->outcome = w != NULL && w->state == WORK_COMMITTED ? RM_HEURISTIC_COMMIT : RM_NOT_FOUND;
}

static void do_status(struct server_request *r)
{
    struct work_item *w = find_xid(r->server, r->proof);

    r->outcome = w == NULL                      ? RM_HAZARD
                 : w->state == WORK_COMMITTED   ? RM_DONE
                 : w->state == WORK_ROLLED_BACK ? RM_REFUSED
                                                : RM_UNKNOWN;
}

static void do_list(struct server_request *r)
{
    r->outcome = RM_DONE;
    r->at_server(r);
}

/* requests */

static void answer_in_loop(void *arg)
{
    struct server_request *r = arg;

    if (!r->cancelled)
        r->done(r);
}

static void answer(void *arg, uint64_t x)
{
    struct server_request *r = arg;

    (void)x;
    if (!r->from->up || r->from->incarnation != r->incarnation || r->cancelled)
        return;
    if (r->op == SERVER_ABANDON)
        r->outcome = RM_DONE; /* its connection's end does it, at the latest */
    if (r->from->loop != NULL)
        loop_post(r->from, 0, answer_in_loop, r);
    else
        r->done(r);
}

static void execute(void *arg, uint64_t x)
{
    static void (*const ops[])(struct server_request *) = {
        [SERVER_WORK] = do_work,       [SERVER_PREPARE] = do_prepare,
        [SERVER_PROVE] = do_prove,     [SERVER_ONE_PHASE] = do_one_phase,
        [SERVER_ABANDON] = do_abandon, [SERVER_LOOK] = do_look,
        [SERVER_COMMIT] = do_commit,   [SERVER_ROLLBACK] = do_rollback,
        [SERVER_STATUS] = do_status,   [SERVER_LIST] = do_list};
    struct server_request *r = arg;
    bool alive = server_up(r->server) && servers[r->server].epoch == r->epoch;

    (void)x;
    if (alive && !(r->cancelled && r->op != SERVER_PREPARE))
        ops[r->op](r);
    if (r->answer_lost)
        return;
    if (!alive)
        r->outcome = RM_UNKNOWN;
    sim_at(50 + sim_random(300), answer, r, 0);
}

struct server_request *server_ask(unsigned server, enum server_op op, struct work_item *work, const char *gid,
                                  const char *proof)
{
    struct server_request *r = calloc(1, sizeof *r);

    assert(r != NULL);
    r->op = op;
    r->server = server;
    r->epoch = servers[server].epoch;
    r->work = work;
    r->from = sim_self();
    r->incarnation = r->from->incarnation;
    snprintf(r->gid, sizeof r->gid, "%s", gid != NULL ? gid : "");
    snprintf(r->proof, sizeof r->proof, "%s", proof != NULL ? proof : "");
    return r;
}

/* The connection breaks: the request is executed, at once or late, or not; the answer is «unknown». A work that
 * was not prepared by it is rolled back when the server notices. */
static void connection_ends(void *arg, uint64_t x)
{
    struct work_item *w = arg;

    (void)x;
    if (w->state == WORK_ACTIVE)
        move(w, WORK_ROLLED_BACK, "connection lost");
}

static void send_and_lose(struct server_request *r)
{
    uint64_t late = sim_random(3000000);
    bool reaches = sim_chance(6000);

    sim_count(FAULT_connection_lost);
    r->answer_lost = true;
    r->outcome = RM_UNKNOWN;
    if (reaches && r->op == SERVER_PREPARE)
        sim_count(FAULT_late_prepare);
    if (reaches)
        sim_at(r->op == SERVER_PREPARE ? late : 300, execute, r, 0);
    if (r->work != NULL)
        sim_at(late + 1000, connection_ends, r->work, 0);
    sim_at(1000 + sim_random(20000), answer, r, 0);
}

void server_send(struct server_request *r)
{
    uint64_t delay = 60 + sim_random(400);

    sim_point("a request to a resource");
    if (!server_up(r->server)) {
        r->outcome = RM_UNKNOWN;
        sim_at(delay, answer, r, 0);
        return;
    }
    if (!world_calm() && sim_chance(150)) {
        send_and_lose(r);
        return;
    }
    if (!world_calm() && sim_chance(r->op == SERVER_LIST ? 1000 : 150)) {
        sim_count(FAULT_slow_answer);
        delay += sim_random(2500000);
    }
    sim_at(delay, execute, r, 0);
}

/* what goes wrong */

static void comes_back(void *arg, uint64_t server)
{
    (void)arg;
    servers[server].down = false;
    sim_tell(server_name((unsigned)server), "is up again, %zu prepared", server_prepared((unsigned)server));
    agent_server_changed((unsigned)server);
}

/* An xid of which nothing has reached the disk is handed out again (facts.md). */
static void forget_xids(unsigned server)
{
    uint64_t last = servers[server].forced_xid;

    for (struct work_item *w = servers[server].works; w != NULL; w = w->next)
        w->xid = w->xid > last ? 0 : w->xid;
    servers[server].xid = last;
}

void server_crash(unsigned server, uint64_t down_us)
{
    if (servers[server].down)
        return;
    sim_tell(server_name(server), "crashes");
    servers[server].down = true;
    servers[server].epoch++;
    for (struct work_item *w = servers[server].works; w != NULL; w = w->next) {
        if (w->state == WORK_ACTIVE)
            move(w, WORK_ROLLED_BACK, "crash");
        else if (w->state == WORK_PREPARED && sim_options.sabotage == SABOTAGE_VOTE_LOST)
            move(w, WORK_ROLLED_BACK, "sabotage: the crash has lost what was prepared");
    }
    if (sim_chance(5000))
        forget_xids(server);
    agent_server_changed(server);
    sim_at(down_us, comes_back, NULL, server);
}

void server_holder_gone(struct proc *p)
{
    for (unsigned s = 0; s < SIM_SERVERS; s++) {
        for (struct work_item *w = servers[s].works; w != NULL; w = w->next) {
            if (w->holder == p && w->state == WORK_ACTIVE)
                sim_at(sim_random(1000000), connection_ends, w, 0);
        }
    }
}

bool server_meddle(void)
{
    unsigned s = (unsigned)sim_random(SIM_SERVERS);

    for (struct work_item *w = servers[s].works; w != NULL; w = w->next) {
        if (w->state != WORK_PREPARED || sim_chance(5000))
            continue;
        check_meddled(&w->id);
        move(w, sim_chance(7000) ? WORK_ROLLED_BACK : WORK_COMMITTED, "by hand");
        if (sim_chance(3000))
            w->xid = 0; /* and nothing tells it any more */
        return true;
    }
    return false;
}

bool server_set_back(void)
{
    unsigned s = (unsigned)sim_random(SIM_SERVERS);

    for (struct work_item *w = servers[s].works; w != NULL; w = w->next) {
        if (w->state < WORK_COMMITTED || w->prepared_us == 0 || w->one_phase || !w->wrote || sim_chance(9000))
            continue;
        check_meddled(&w->id);
        move(w, WORK_PREPARED, "the server is set back to its backup");
        return true;
    }
    return false;
}

bool server_pick_prepared(struct txid *id)
{
    unsigned s = (unsigned)sim_random(SIM_SERVERS);

    for (struct work_item *w = servers[s].works; w != NULL; w = w->next) {
        if (w->state != WORK_PREPARED || sim_chance(3000))
            continue;
        *id = w->id;
        return true;
    }
    return false;
}

size_t server_prepared(unsigned server)
{
    size_t n = 0;

    for (const struct work_item *w = servers[server].works; w != NULL; w = w->next)
        n += w->state == WORK_PREPARED;
    return n;
}

const struct work_item *server_next(unsigned server, const char *prefix, const char *after)
{
    struct work_item *best = NULL;

    for (struct work_item *w = servers[server].works; w != NULL; w = w->next) {
        if (w->state == WORK_PREPARED && strncmp(w->gid, prefix, strlen(prefix)) == 0 &&
            strcmp(w->gid, after) > 0 && (best == NULL || strcmp(w->gid, best->gid) < 0))
            best = w;
    }
    if (best != NULL && sim_options.sabotage == SABOTAGE_PENDING_ABORT &&
        sim_now_us - best->prepared_us > 1000000)
        move(best, WORK_ROLLED_BACK, "sabotage: its agent does not wait for an answer");
    return best;
}
