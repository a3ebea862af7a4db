/* sim_app: an application on the real libtx: a client, a thread or two, transactions over one to three
 * resources, direct and remote. It dies where the world lets it, and another one comes in its place.
 */
#include "tests/sim/sim_app.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/txn.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/sim_world.h"

enum { DOUBTS = 256 };

/* Transactions whose outcome is to be asked for. */
struct app {
    struct proc *proc;
    tx_client *client;
    char doubts[DOUBTS][TXID_TEXT_SIZE];
    struct txid doubt_ids[DOUBTS];
    size_t n_doubts;
    bool asking, finished;
};

/* the driver of direct branches */

struct direct {
    struct work_item *work;
    struct server_request *request;
    struct txn_branch *branch;
    bool over, lost;
};

static void direct_answered(struct server_request *r)
{
    struct direct *d = r->arg;

    if (d == NULL)
        return;
    d->over = true;
    for (struct fiber *f = r->from->fibers; f != NULL; f = f->next)
        fiber_wake(f);
}

static bool direct_ready(struct txn_branch *b)
{
    struct direct *d = b->link;

    if (!d->lost)
        return true;
    err_set(&b->cause, TX_EUNREACHABLE, "connection lost");
    return false;
}

static void direct_start(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms)
{
    static const enum server_op ops[] = {[OP_ASK] = SERVER_PROVE,
                                         [OP_COMMIT_READ_ONLY] = SERVER_ONE_PHASE,
                                         [OP_PREPARE] = SERVER_PREPARE,
                                         [OP_COMMIT] = SERVER_ONE_PHASE,
                                         [OP_STATUS] = SERVER_STATUS,
                                         [OP_ROLLBACK] = SERVER_ABANDON,
                                         [OP_COMMIT_PREPARED] = SERVER_COMMIT,
                                         [OP_ROLLBACK_PREPARED] = SERVER_ROLLBACK};
    struct direct *d = b->link;

    (void)deadline_ms;
    d->over = false;
    d->request = server_ask(d->work->server, ops[op], d->work, d->work->gid, b->proof);
    d->request->done = direct_answered;
    d->request->arg = d;
    server_send(d->request);
}

static enum branch_answer direct_answer(struct txn_branch *b, const struct server_request *r)
{
    bool reads = b->op == OP_ASK || b->op == OP_PREPARE;

    if (r->outcome == RM_UNKNOWN)
        return ANSWER_LOST;
    if (reads && r->outcome == RM_DONE)
        b->wrote = r->answer[0] != '\0';
    if (reads && b->wrote)
        snprintf(b->proof, sizeof b->proof, "%s", r->answer);
    switch (r->outcome) {
    case RM_READ_ONLY:
        return ANSWER_YES;
    case RM_DONE:
        return b->op == OP_ASK && !b->wrote ? ANSWER_READ_ONLY : ANSWER_YES;
    case RM_NOT_FOUND:
        return b->op == OP_ROLLBACK_PREPARED ? ANSWER_YES : ANSWER_NO;
    case RM_FAILED:
        return strcmp(r->text, "busy") == 0 ? ANSWER_BUSY : ANSWER_NO;
    case RM_HAZARD:
        return b->op == OP_STATUS ? ANSWER_LOST : ANSWER_NO;
    default:
        return ANSWER_NO;
    }
}

static bool direct_step(struct txn_branch *b)
{
    struct direct *d = b->link;

    if (!d->over)
        return false;
    b->answer = direct_answer(b, d->request);
    if (b->answer == ANSWER_NO || b->answer == ANSWER_LOST)
        err_set(&b->cause, TX_EROLLBACK, "%s: %s", b->resource, b->answer == ANSWER_NO ? "refused" : "lost");
    d->lost = d->lost || b->answer == ANSWER_LOST;
    if (b->op == OP_PREPARE && d->request->outcome == RM_READ_ONLY)
        b->wrote = false;
    return true;
}

static size_t direct_wants(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms)
{
    uint64_t soon = call_now_ms() + 5;

    (void)b;
    (void)fd;
    if (soon < *until_ms)
        *until_ms = soon;
    return 0;
}

static void direct_abandon(struct txn_branch *b)
{
    struct direct *d = b->link;

    d->request->arg = NULL;
    d->lost = true;
    b->answer = ANSWER_LOST;
    err_set(&b->cause, TX_ETIMEOUT, "%s: no answer", b->resource);
}

static void direct_release(struct txn_branch *b)
{
    struct direct *d = b->link;

    if (d->request != NULL)
        d->request->arg = NULL;
    free(d);
}

static const struct branch_driver direct_driver = {direct_ready,   direct_start,   direct_step, direct_wants,
                                                   direct_abandon, direct_release, NULL};

/* Statements on a connection of the application's. */
static bool direct_enlist(struct txn *t, unsigned server, bool writes)
{
    struct direct *d = calloc(1, sizeof *d);
    struct server_request *r;
    struct txn_branch *b;
    struct tx_error e;

    assert(d != NULL);
    if (txn_add_branch(t, BRANCH_DIRECT, server_name(server), &direct_driver, d, &b, &e) != TX_OK)
        sim_fail("a direct branch is refused: %s", e.msg);
    d->branch = b;
    d->work = server_begin(server, &t->id, b->number);
    r = server_ask(server, SERVER_WORK, d->work, writes ? "write" : "read", NULL);
    r->done = direct_answered;
    r->arg = d;
    d->request = r;
    server_send(r);
    for (uint64_t end = sim_now_us + 3000000; !d->over && sim_now_us < end;)
        fiber_wait(end);
    d->lost = !d->over || r->outcome != RM_DONE;
    if (d->lost)
        txn_poison(b, &(struct tx_error){TX_ESTATEMENT, "the statement failed"});
    return !d->lost;
}

/* one transaction */

static enum outcome outcome_of(int code)
{
    switch (code) {
    case TX_OK:
        return OUTCOME_COMMITTED;
    case TX_EROLLBACK:
        return OUTCOME_ROLLED_BACK;
    case TX_ETIMEOUT:
        return OUTCOME_LATE;
    case TX_EINDOUBT:
        return OUTCOME_DOUBT;
    case TX_EHEURISTIC:
    case TX_EHAZARD:
        return OUTCOME_HEURISTIC;
    default:
        return OUTCOME_FAILED;
    }
}

static bool work_on(struct txn *t, unsigned server)
{
    bool direct = sim_chance(5000), writes = sim_chance(8500), good = true;

    if (direct)
        return direct_enlist(t, server, writes);
    for (uint64_t i = 0, n = 1 + sim_random(3); i < n && good; i++)
        good =
            txn_exec(t, server_name(server), writes && i == 0 ? "write" : "read", 0, NULL, NULL, NULL) == TX_OK;
    return good;
}

static bool do_work(struct txn *t)
{
    unsigned first = (unsigned)sim_random(SIM_SERVERS), n = 1 + (unsigned)sim_random(SIM_SERVERS);
    bool good = true;

    for (unsigned i = 0; i < n && good; i++) {
        good = work_on(t, (first + i) % SIM_SERVERS);
        if (sim_chance(1000))
            fiber_sleep(sim_random(300000));
    }
    return good;
}

static void remember_doubt(struct app *a, struct txn *t)
{
    const char *id = txn_id(t);

    if (*id == '\0' || a->n_doubts == DOUBTS)
        return;
    snprintf(a->doubts[a->n_doubts], TXID_TEXT_SIZE, "%s", id);
    a->doubt_ids[a->n_doubts++] = t->id;
}

static void tell_result(struct app *a, struct txn *t, int code, const char *what, const struct tx_error *e)
{
    sim_tell(a->proc->name, "%llu/%llu %s -> %s%s%s", (unsigned long long)t->id.session,
             (unsigned long long)t->id.sequence, what, tx_strerror(code), code == TX_OK ? "" : ": ",
             code == TX_OK ? "" : e->msg);
    sim_tally->outcomes[outcome_of(code)]++;
    check_told(&t->id, code);
}

static void one_transaction(struct app *a)
{
    struct tx_error e = {0};
    struct txn *t;
    bool logged = sim_chance(1500);
    int rc;

    if (txn_begin(a->client, &t, &e) != TX_OK) {
        fiber_sleep(50000);
        return;
    }
    sim_tally->transactions++;
    sim_tally->outcomes[OUTCOME_UNTOLD]++; /* until it is told */
    sim_tell(a->proc->name, "%llu/%llu begins", (unsigned long long)t->id.session,
             (unsigned long long)t->id.sequence);
    if (logged)
        (void)txn_id(t);
    if (!do_work(t) && sim_chance(7000)) {
        rc = txn_rollback(t, &e);
        tell_result(a, t, rc == TX_OK ? TX_EROLLBACK : rc, "rollback", &e);
    } else {
        rc = txn_commit(t, sim_chance(2500) ? TXN_DECISION_LOGGED : TXN_COMPLETED, &e);
        tell_result(a, t, rc, "commit", &e);
        if (rc == TX_EINDOUBT || logged)
            remember_doubt(a, t);
    }
    sim_tally->outcomes[OUTCOME_UNTOLD]--;
    txn_free(t);
}

/* Outcomes that were in doubt, asked for until they are known. */
static bool ask_doubt(struct app *a, size_t i)
{
    enum tx_outcome outcome;
    struct tx_error e;

    if (tx_client_outcome(a->client, a->doubts[i], &outcome, &e) != TX_OK)
        return false;
    sim_tell(a->proc->name, "%s: outcome %d", a->doubts[i], (int)outcome);
    if (outcome == TX_OUTCOME_PENDING)
        return false;
    if (outcome == TX_OUTCOME_FORGOTTEN)
        check_forgotten(&a->doubt_ids[i]);
    else
        check_told(&a->doubt_ids[i], outcome == TX_OUTCOME_COMMITTED ? TX_ETIMEOUT : TX_EROLLBACK);
    return true;
}

static void ask_doubts(struct app *a)
{
    if (a->asking)
        return;
    a->asking = true;
    for (size_t i = 0; i < a->n_doubts;) {
        if (!ask_doubt(a, i)) {
            i++;
            continue;
        }
        memcpy(a->doubts[i], a->doubts[--a->n_doubts], TXID_TEXT_SIZE);
        a->doubt_ids[i] = a->doubt_ids[a->n_doubts];
    }
    a->asking = false;
}

/* What became of another one's transaction. */
static void ask_other(struct app *a)
{
    char text[TXID_TEXT_SIZE];
    enum tx_outcome outcome;
    struct tx_error e;
    struct txid id;

    if (!check_pick_asked(&id))
        return;
    txid_format(&id, text);
    if (tx_client_outcome(a->client, text, &outcome, &e) == TX_OK && outcome <= TX_OUTCOME_ABORTED)
        check_outcome(&id, outcome == TX_OUTCOME_COMMITTED);
}

/* life */

static void *work_loop(void *arg)
{
    struct app *a = arg;

    while (!world_calm()) {
        one_transaction(a);
        fiber_sleep(sim_random(sim_chance(500) ? 3000000 : 60000));
        if (sim_chance(2000))
            ask_doubts(a);
        if (sim_chance(1000))
            ask_other(a);
    }
    return NULL;
}

static void open_client(struct app *a)
{
    const struct tx_client_options options = {.coordinators = world_coordinators(),
                                              .application_name = a->proc->name,
                                              .insecure = 1,
                                              .connect_timeout_ms = 1500,
                                              .session_timeout_ms = sim_chance(5000) ? 2000 : 700,
                                              .transaction_timeout_ms = 4000,
                                              .commit_timeout_ms = 3000};
    struct tx_error e;

    while (tx_client_open(&a->client, &options, &e) != TX_OK)
        fiber_sleep(100000);
}

void app_main(void *arg)
{
    struct proc *p = arg;
    struct app *a = calloc(1, sizeof *a);
    pthread_t second;
    bool two = sim_chance(5000);

    assert(a != NULL);
    a->proc = p;
    p->data = a;
    open_client(a);
    if (two && pthread_create(&second, NULL, work_loop, a) != 0)
        abort();
    work_loop(a);
    if (two)
        pthread_join(second, NULL);
    for (int i = 0; i < 100 && a->n_doubts > 0; i++) {
        ask_doubts(a);
        fiber_sleep(200000);
    }
    tx_client_close(a->client);
    a->finished = true;
    sim_tell(p->name, "has finished");
}

bool app_finished(const struct proc *p)
{
    const struct app *a = p->data;

    return p->up && a != NULL && a->finished;
}
