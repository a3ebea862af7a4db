/* finish: see finish.h. The machine itself, what branches do in it, and rolling back. */
#include <stdio.h>
#include <string.h>

#include "libtx/finish_inside.h"
#include "libtx/shared/crash.h"

enum {
    BUSY_PAUSE_MS = 10,
    BUSY_MS = 1000,      /* then a busy branch is left to its agents */
    HAND_OVER_MS = 5000, /* agents find what could not be handed over by themselves, only later */
};

/* branches */

struct txn_branch *finish_branch(const struct finish *f, size_t i)
{
    return f->txn->branches[i];
}

size_t finish_count(const struct finish *f, enum branch_kind kind, enum branch_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < f->txn->n_branches; i++) {
        const struct txn_branch *b = finish_branch(f, i);

        n += b->kind == kind && b->state == state;
    }
    return n;
}

size_t finish_remote(const struct finish *f)
{
    return finish_count(f, BRANCH_REMOTE, BRANCH_ACTIVE);
}

void finish_start(struct finish *f, struct txn_branch *b, enum branch_op op)
{
    b->op = op;
    b->driver->start(b, op, f->deadline_ms);
}

void finish_fail(struct finish *f, int code, const char *why)
{
    if (f->code != TX_OK)
        return;
    f->code = code;
    err_set(&f->error, code, "%s", why);
}

void finish_fail_branch(struct finish *f, const struct txn_branch *b)
{
    char why[sizeof b->cause.msg + 32];

    snprintf(why, sizeof why, "rolled back: %s", b->cause.msg);
    finish_fail(f, TX_EROLLBACK, why);
}

/* Busy: another session, as a rule an agent, holds the prepared branch this very moment. */
static void finish_busy(struct txn_branch *b, enum branch_op op)
{
    uint64_t now = call_now_ms();

    if (b->busy_ms == 0)
        b->busy_ms = now;
    if (now - b->busy_ms >= BUSY_MS) {
        b->state = BRANCH_LEFT;
        return;
    }
    b->again_op = op;
    b->again_ms = now + BUSY_PAUSE_MS + (now - b->busy_ms);
}

/* An operation is over: the branch's new state, and what follows from it at once. */
static void finish_settle(struct finish *f, struct txn_branch *b)
{
    enum branch_op op = b->op;

    b->op = OP_NONE;
    b->state = branch_next(op, b->answer);
    if (b->answer == ANSWER_BUSY)
        finish_busy(b, op);
    /* At once, for it is a vote: its COMMIT can still be refused (40001). */
    if (op == OP_ASK && b->answer == ANSWER_READ_ONLY)
        finish_start(f, b, OP_COMMIT_READ_ONLY);
    if ((op == OP_ASK || op == OP_PREPARE) && (b->answer == ANSWER_YES || b->answer == ANSWER_READ_ONLY))
        client_note_write(f->txn->client, b->resource, b->wrote);
    if (op == OP_PREPARE && b->state == BRANCH_PREPARED && f->n_prepared++ == 0)
        crash_point(CRASH_CLIENT_ONE_PREPARED);
    if (op == OP_COMMIT_PREPARED && b->state == BRANCH_COMMITTED && f->n_committed++ == 0)
        crash_point(CRASH_CLIENT_ONE_COMMITTED);
}

static void finish_run_branch(struct finish *f, struct txn_branch *b, uint64_t now)
{
    if (b->again_ms != 0 && now >= b->again_ms) {
        b->again_ms = 0;
        finish_start(f, b, b->again_op);
    }
    while (b->op != OP_NONE && b->driver->step(b))
        finish_settle(f, b);
    if (now < f->deadline_ms)
        return;
    if (b->again_ms != 0)
        b->state = BRANCH_LEFT;
    b->again_ms = 0;
    while (b->op != OP_NONE) {
        b->driver->abandon(b);
        finish_settle(f, b);
    }
}

/* True while an operation of any branch is in progress. */
static bool finish_run_branches(struct finish *f)
{
    uint64_t now = call_now_ms();
    bool running = false;

    for (size_t i = 0; i < f->txn->n_branches; i++) {
        struct txn_branch *b = finish_branch(f, i);

        finish_run_branch(f, b, now);
        running |= b->op != OP_NONE || b->again_ms != 0;
    }
    return running;
}

/* PHASE_ROLLBACK and PHASE_HAND_OVER */

static void finish_enter_rollback(struct finish *f)
{
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        struct txn_branch *b = finish_branch(f, i);

        if (b->state == BRANCH_PREPARED)
            finish_start(f, b, OP_ROLLBACK_PREPARED);
        else if (b->state == BRANCH_ACTIVE || b->state == BRANCH_WRITER || b->state == BRANCH_REFUSED)
            finish_start(f, b, OP_ROLLBACK);
    }
}

static size_t finish_untold(const struct finish *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->txn->n_branches; i++)
        n += finish_branch(f, i)->untold;
    return n;
}

static bool finish_step_rollback(struct finish *f)
{
    size_t lost = finish_count(f, BRANCH_DIRECT, BRANCH_LEFT) + finish_count(f, BRANCH_DIRECT, BRANCH_UNKNOWN) +
                  finish_untold(f);

    finish_enter(f, lost > 0 && f->verdict == VERDICT_NONE ? PHASE_HAND_OVER : PHASE_OVER);
    return true;
}

static void finish_enter_hand_over(struct finish *f)
{
    if (finish_ask(f, VERDICT_ABORT, WAIT_DECIDED, true, f->deadline_ms, NULL) != TX_OK)
        finish_enter(f, PHASE_OVER);
}

/* Whether it was answered or not: commit was never asked for, so what stands, or is presumed, is an abort. But
 * an operator may have committed it by force meanwhile. */
static bool finish_step_hand_over(struct finish *f)
{
    char reason[TEXT_LIMIT + 1];
    struct tx_error e;

    if (!call_step(&f->call))
        return false;
    if (finish_answer(f, reason, &e) == TX_OK && f->verdict == VERDICT_COMMIT)
        f->code = err_set(&f->error, TX_EHEURISTIC,
                          "%s was committed by force while it was rolled back here; see txadmin", f->txn->text);
    finish_enter(f, PHASE_OVER);
    return true;
}

/* the machine */

static void finish_enter_over(struct finish *f)
{
    bool commit = f->verdict == VERDICT_COMMIT;

    if (f->code != TX_OK && f->code != TX_EROLLBACK && f->code != TX_ETIMEOUT)
        return;
    if (f->heuristic == HEURISTIC_HAZARD)
        f->code = err_set(&f->error, TX_EHAZARD,
                          "decided: %s; a branch may have been finished otherwise, see txadmin show %s",
                          commit ? "commit" : "rollback", f->txn->text);
    else if (f->heuristic == (commit ? HEURISTIC_ROLLBACK : HEURISTIC_COMMIT))
        f->code = err_set(&f->error, TX_EHEURISTIC,
                          "decided: %s; a branch was finished otherwise, see txadmin show %s",
                          commit ? "commit" : "rollback", f->txn->text);
}

/* What a phase begins with, and what it does when no branch is busy any more; false: it waits for an answer. */
static const struct {
    void (*enter)(struct finish *f);
    bool (*step)(struct finish *f);
} phases[] = {
    [PHASE_VOTE] = {finish_enter_vote, finish_step_vote},
    [PHASE_SINGLE] = {finish_enter_single, finish_step_single},
    [PHASE_DECIDE] = {finish_enter_decide, finish_step_decide},
    [PHASE_CARRY_OUT] = {finish_enter_carry_out, finish_step_carry_out},
    [PHASE_AWAIT] = {finish_enter_await, finish_step_await},
    [PHASE_ROLLBACK] = {finish_enter_rollback, finish_step_rollback},
    [PHASE_HAND_OVER] = {finish_enter_hand_over, finish_step_hand_over},
    [PHASE_OVER] = {finish_enter_over, NULL},
};

/* How long a phase may take. */
static uint32_t finish_patience_ms(const struct finish *f, enum finish_phase phase)
{
    const struct tx_client *client = f->txn->client;

    switch (phase) {
    case PHASE_VOTE:
        return client->transaction_timeout_ms;
    case PHASE_CARRY_OUT:
    case PHASE_AWAIT:
        return client->commit_timeout_ms / 2; /* one after the other */
    case PHASE_HAND_OVER:
        return client->commit_timeout_ms < HAND_OVER_MS ? client->commit_timeout_ms : HAND_OVER_MS;
    default:
        return client->commit_timeout_ms;
    }
}

void finish_enter(struct finish *f, enum finish_phase phase)
{
    f->phase = phase;
    f->deadline_ms = call_now_ms() + finish_patience_ms(f, phase);
    phases[phase].enter(f);
}

bool finish_step(struct finish *f)
{
    for (;;) {
        if (f->calling)
            (void)call_step(&f->call); /* sends again what is due, also while branches are busy */
        if (finish_run_branches(f))
            return false;
        if (f->phase == PHASE_OVER)
            return true;
        if (!phases[f->phase].step(f))
            return false;
    }
}

static void finish_init(struct finish *f, struct txn *t)
{
    memset(f, 0, sizeof *f);
    f->txn = t;
}

void finish_commit(struct finish *f, struct txn *t, enum txn_return when)
{
    finish_init(f, t);
    f->when = when;
    finish_enter(f, PHASE_VOTE);
}

void finish_rollback(struct finish *f, struct txn *t)
{
    finish_init(f, t);
    finish_enter(f, PHASE_ROLLBACK);
}

size_t finish_wants(struct finish *f, struct pollfd *fds, uint64_t *until_ms, bool *calling)
{
    size_t n = 0;
    uint64_t due;

    *until_ms = f->deadline_ms;
    *calling = f->calling;
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        struct txn_branch *b = finish_branch(f, i);

        if (b->again_ms != 0 && b->again_ms < *until_ms)
            *until_ms = b->again_ms;
        if (b->op == OP_NONE)
            continue;
        *calling |= b->kind == BRANCH_REMOTE;
        n += b->driver->wants(b, &fds[n], until_ms);
    }
    due = f->calling ? call_due_ms(&f->call) : f->again_ms;
    if (due != 0 && due < *until_ms)
        *until_ms = due;
    return n;
}

/* Agents can do nothing for a branch whose session has to finish it, as long as that is there. */
static void finish_leave(struct finish *f)
{
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        struct txn_branch *b = finish_branch(f, i);

        if (b->state == BRANCH_PREPARED && b->driver->leave != NULL)
            b->driver->leave(b);
    }
}

/* Acknowledged is whatever the caller knows the outcome of; and a commit in one phase, known or not: the ledger
 * has nothing on it, and had better say so than presume an abort. Resolved is what the coordinator knows of and
 * this client has finished. */
void finish_release(struct finish *f)
{
    bool prepared = f->asked && f->n_prepared > 0;
    size_t open = finish_count(f, BRANCH_DIRECT, BRANCH_LEFT) + finish_count(f, BRANCH_DIRECT, BRANCH_UNKNOWN) +
                  finish_count(f, BRANCH_DIRECT, BRANCH_PREPARED);

    finish_leave(f);
    if (f->calling)
        finish_asked(f, TX_ETIMEOUT);
    f->txn->unlogged = !f->asked && f->code != TX_EROLLBACK;
    if (f->code == TX_EINDOUBT && f->asked)
        session_doubt(&f->txn->client->session, f->txn->id.session);
    else
        session_over(&f->txn->client->session, &f->txn->id, prepared && open == 0);
}
