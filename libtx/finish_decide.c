/* finish_decide: the decision of the coordinator, and phase two of a commit. See finish.h. */
#include <stdio.h>

#include "libtx/finish_inside.h"
#include "libtx/shared/crash.h"

enum {
    DECIDED_MS = 1000, /* kept back from waiting for completion, to ask at least for the decision */
    AWAIT_PAUSE_MS = 100,
};

/* asking the coordinator */

/* A direct branch that has, or may have, been prepared. */
static bool finish_was_prepared(const struct txn_branch *b)
{
    return b->kind == BRANCH_DIRECT && (b->state == BRANCH_PREPARED || b->state == BRANCH_UNKNOWN ||
                                        b->state == BRANCH_COMMITTED || b->state == BRANCH_LEFT);
}

/* Believed only with a vote: the transaction id of an unknown one may be another's after a crash. */
static const char *finish_proof(const struct txn_branch *b)
{
    return b->state == BRANCH_UNKNOWN || *b->proof == '\0' ? NULL : b->proof;
}

/* To an abort go the direct branches, and the remote ones whose agent nobody knows here: another remote one has
 * been told by itself, and its agent rolls back what it hears nothing of. */
static size_t finish_refs(const struct finish *f, enum verdict verdict, struct branch_ref *refs)
{
    size_t n = 0;

    for (size_t i = 0; i < f->txn->n_branches; i++) {
        const struct txn_branch *b = finish_branch(f, i);

        if (!finish_was_prepared(b) && !b->untold && (b->kind == BRANCH_DIRECT || verdict == VERDICT_ABORT))
            continue;
        refs[n++] = (struct branch_ref){b->number, b->kind, b->resource, finish_proof(b), b->agent};
    }
    return n;
}

int finish_ask(struct finish *f, enum verdict verdict, enum wire_wait wait, bool agents_finish,
               uint64_t deadline_ms, struct tx_error *e)
{
    struct app_session *s = &f->txn->client->session;
    struct wire_message m = {.type = WIRE_DECIDE};
    struct branch_ref refs[BRANCH_LIMIT];
    int rc;

    m.decide.id = f->txn->id;
    m.decide.verdict = (uint8_t)verdict;
    m.decide.wait = (uint8_t)wait;
    m.decide.agents_finish = agents_finish;
    m.decide.n_branches = finish_refs(f, verdict, refs);
    m.decide.branches = refs;
    f->wait = wait;
    f->agents_finish = agents_finish;
    session_news_take(s, f->txn->id.session, &f->news, &m.decide.news);
    rc = call_start(&f->call, s->calls, f->txn->waiter, &m, NULL, WIRE_DECIDED, deadline_ms, e);
    f->calling = rc == TX_OK;
    if (rc != TX_OK)
        session_news_missed(s, &f->news);
    return rc;
}

void finish_asked(struct finish *f, int rc)
{
    struct app_session *s = &f->txn->client->session;

    call_end(&f->call);
    f->asked |= f->call.sent;
    f->calling = false;
    if (rc == TX_OK)
        session_news_told(s, &f->news);
    else
        session_news_missed(s, &f->news);
}

int finish_answer(struct finish *f, char *reason, struct tx_error *e)
{
    const struct wire_message *reply;
    int rc = call_result(&f->call, &reply, e);

    if (rc == TX_OK) {
        f->verdict = (enum verdict)reply->decided.verdict;
        f->completed = reply->decided.completed;
        if (reply->decided.heuristic > f->heuristic)
            f->heuristic = (enum heuristic)reply->decided.heuristic;
        snprintf(reason, TEXT_LIMIT + 1, "%s",
                 reply->decided.reason != NULL ? reply->decided.reason : "the coordinator's decision");
    }
    finish_asked(f, rc);
    return rc;
}

/* PHASE_DECIDE */

/* With direct branches the decision is waited for and no more, for they are committed here; without any, one
 * request brings decision and completion. */
void finish_enter_decide(struct finish *f)
{
    bool direct = finish_count(f, BRANCH_DIRECT, BRANCH_PREPARED) > 0;
    bool logged = f->when == TXN_DECISION_LOGGED;
    enum wire_wait wait = direct || logged ? WAIT_DECIDED : WAIT_COMPLETED;
    uint64_t deadline_ms = f->deadline_ms;
    struct tx_error e;

    crash_point(CRASH_CLIENT_ALL_PREPARED);
    if (wait == WAIT_COMPLETED && deadline_ms > call_now_ms() + 2 * DECIDED_MS)
        deadline_ms -= DECIDED_MS;
    if (finish_ask(f, VERDICT_COMMIT, wait, logged, deadline_ms, &e) == TX_OK) {
        crash_point(CRASH_CLIENT_COMMIT_SENT);
        return;
    }
    f->code = err_set(&f->error, TX_EROLLBACK, "rolled back: %s", e.msg);
    finish_enter(f, PHASE_ROLLBACK);
}

/* A session that expired is answered with the abort that its end decided. One that this group never knew is
 * another group's, or the coordinator has lost its data: whether it was committed there nobody here can tell.
 */
static void finish_session_gone(struct finish *f)
{
    session_lost(&f->txn->client->session, f->txn->id.session);
    f->code =
        err_set(&f->error, TX_EINDOUBT,
                "the coordinator does not know this session: it is another group's, or has lost its data; the "
                "prepared branches of %s are left as they are",
                f->txn->text);
    finish_enter(f, PHASE_OVER);
}

/* No decision came back. Never sent: nobody can have decided to commit. Not in time for completion: asks for
 * the decision alone. Else the outcome stays in doubt. */
static void finish_undecided(struct finish *f, int rc, const struct tx_error *e)
{
    if (rc == TX_ESESSION) {
        finish_session_gone(f);
    } else if (!f->asked) {
        f->code = err_set(&f->error, TX_EROLLBACK, "rolled back: %s", e->msg);
        finish_enter(f, PHASE_ROLLBACK);
    } else if (rc != TX_ETIMEOUT || f->wait != WAIT_COMPLETED || call_now_ms() >= f->deadline_ms ||
               finish_ask(f, VERDICT_COMMIT, WAIT_DECIDED, f->agents_finish, f->deadline_ms, NULL) != TX_OK) {
        f->code =
            err_set(&f->error, TX_EINDOUBT, "the outcome of %s is not known yet, ask tx_client_outcome(): %s",
                    f->txn->text, e->msg);
        finish_enter(f, PHASE_OVER);
    }
}

/* The reason may be that another agent of the resource is in charge by now: the next transaction asks anew. */
static void finish_forget_agents(struct finish *f)
{
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        if (finish_branch(f, i)->kind == BRANCH_REMOTE)
            client_forget_agent(f->txn->client, finish_branch(f, i)->resource);
    }
}

bool finish_step_decide(struct finish *f)
{
    char reason[TEXT_LIMIT + 1];
    struct tx_error e;
    int rc;

    if (!call_step(&f->call))
        return false;
    rc = finish_answer(f, reason, &e);
    if (rc != TX_OK) {
        finish_undecided(f, rc, &e);
    } else if (f->verdict == VERDICT_COMMIT) {
        crash_point(CRASH_CLIENT_DECIDED);
        finish_enter(f, PHASE_CARRY_OUT);
    } else {
        f->code = err_set(&f->error, TX_EROLLBACK, "rolled back: %s", reason);
        finish_forget_agents(f);
        finish_enter(f, PHASE_ROLLBACK);
    }
    return true;
}

/* PHASE_CARRY_OUT and PHASE_AWAIT */

/* A session that must finish its branch itself does so, whatever the caller waits for. */
static void finish_carry_out(struct finish *f, struct txn_branch *b)
{
    if (f->when == TXN_DECISION_LOGGED && b->driver->leave == NULL)
        b->state = BRANCH_LEFT;
    else
        finish_start(f, b, OP_COMMIT_PREPARED);
}

void finish_enter_carry_out(struct finish *f)
{
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        if (finish_branch(f, i)->state == BRANCH_PREPARED)
            finish_carry_out(f, finish_branch(f, i));
    }
    if (f->when == TXN_DECISION_LOGGED)
        return;
    if (finish_remote(f) > 0 && !f->completed)
        (void)finish_ask(f, VERDICT_COMMIT, WAIT_COMPLETED, false, f->deadline_ms, NULL);
}

bool finish_step_carry_out(struct finish *f)
{
    bool left = finish_count(f, BRANCH_DIRECT, BRANCH_LEFT) > 0;

    if (f->when == TXN_DECISION_LOGGED) {
        finish_enter(f, PHASE_OVER);
        return true;
    }
    if (!left)
        crash_point(CRASH_CLIENT_ALL_COMMITTED);
    if (!left && (f->completed || finish_remote(f) == 0))
        finish_enter(f, PHASE_OVER);
    else
        finish_enter(f, PHASE_AWAIT);
    return true;
}

/* A call that CARRY_OUT began goes on, unless agents now have direct branches to finish, too. */
void finish_enter_await(struct finish *f)
{
    bool left = finish_count(f, BRANCH_DIRECT, BRANCH_LEFT) > 0;

    f->again_ms = 0;
    if (f->calling && (!left || f->agents_finish))
        return;
    if (f->calling)
        finish_asked(f, TX_ETIMEOUT);
    (void)finish_ask(f, VERDICT_COMMIT, WAIT_COMPLETED, left, f->deadline_ms, NULL);
}

/* The decision is certain, the time is up. */
static void finish_unfinished(struct finish *f)
{
    const char *resource = "another resource";

    for (size_t i = 0; i < f->txn->n_branches; i++) {
        const struct txn_branch *b = finish_branch(f, i);

        if (b->state == BRANCH_LEFT || b->kind == BRANCH_REMOTE)
            resource = b->resource;
    }
    f->code = err_set(&f->error, TX_ETIMEOUT,
                      "committed; the branch on %s is not finished yet, its agent will finish it", resource);
    finish_enter(f, PHASE_OVER);
}

static void finish_answered(struct finish *f)
{
    char reason[TEXT_LIMIT + 1];
    struct tx_error e;
    int rc = finish_answer(f, reason, &e);

    if (rc == TX_OK && f->completed)
        finish_enter(f, PHASE_OVER);
    else if (call_now_ms() < f->deadline_ms && (rc == TX_OK || rc == TX_ETIMEOUT || rc == TX_EUNREACHABLE))
        f->again_ms = call_now_ms() + AWAIT_PAUSE_MS;
    else
        finish_unfinished(f);
}

bool finish_step_await(struct finish *f)
{
    if (f->calling && call_step(&f->call))
        finish_answered(f);
    else if (!f->calling && f->again_ms == 0)
        finish_unfinished(f); /* the question could not even be asked */
    else if (!f->calling && call_now_ms() >= f->again_ms)
        finish_enter_await(f);
    else
        return false;
    return true;
}
