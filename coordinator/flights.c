/* flights: see flights.h. */
#include "coordinator/flights.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/found.h"
#include "libtx/shared/crash.h"

/* The table */

struct flight *flights_find(const struct driver *d, uint64_t session, uint64_t sequence)
{
    struct flight_key key = {.session = session, .sequence = sequence};
    struct flight *f;

    HASH_FIND(hh, d->flights, &key, sizeof key, f);
    return f;
}

bool flights_full(const struct driver *d)
{
    return HASH_COUNT(d->flights) >= d->options.max_transactions;
}

/* Looks at it again after a quarter of the shortest time that anything may be due in. One constant for all
 * keeps driver.due sorted by appending. */
static void schedule(struct driver *d, struct flight *f)
{
    uint64_t step = RESEND_MS;

    if (d->options.grace_ms < step)
        step = d->options.grace_ms;
    if (d->options.vote_timeout_ms < step)
        step = d->options.vote_timeout_ms;
    f->due_ms = d->now + step / 4;
    DL_APPEND(d->due, f);
}

static void release_errands(struct flight *f)
{
    for (size_t i = 0; i < f->commit.n; i++) {
        agents_cancel(&f->errands[i].work);
        free(f->errands[i].problem);
        free(f->errands[i].holder);
        memset(&f->errands[i], 0, sizeof f->errands[i]);
    }
}

/* Room for n branches; what was there is gone. */
static void make_room(struct flight *f, size_t n)
{
    release_errands(f);
    f->commit.n = 0;
    if (n <= f->capacity)
        return;
    free(f->commit.branches);
    free(f->errands);
    f->commit.branches = driver_alloc(n, sizeof *f->commit.branches);
    f->errands = driver_alloc(n, sizeof *f->errands);
    f->capacity = n;
}

static void set_holder(struct errand *errand, const struct branch_ref *b)
{
    if (b->kind != BRANCH_REMOTE || b->agent == NULL)
        return;
    errand->holder = driver_alloc(1, strlen(b->agent) + 1);
    strcpy(errand->holder, b->agent);
}

struct flight *flights_add(struct driver *d, const struct flight_start *start)
{
    struct flight *f = driver_alloc(1, sizeof *f);
    struct lease *lease;

    f->key = (struct flight_key){.session = start->id.session, .sequence = start->id.sequence};
    f->id = start->id;
    f->origin = start->origin;
    f->started_ms = f->since_ms = d->now;
    make_room(f, start->n);
    commit_init(&f->commit, start->verdict, start->agents_finish, f->commit.branches, start->n);
    for (size_t i = 0; i < start->n; i++) {
        commit_branch_init(&f->commit.branches[i], &start->branches[i],
                           start->branches[i].kind == BRANCH_REMOTE ? BRANCH_PREPARING : BRANCH_PREPARED);
        set_holder(&f->errands[i], &start->branches[i]);
    }
    HASH_ADD(hh, d->flights, key, sizeof f->key, f);
    schedule(d, f);
    HASH_FIND(hh, d->leases, &f->id.session, sizeof f->id.session, lease);
    f->lease = lease;
    if (lease != NULL)
        DL_APPEND2(lease->flights, f, mate_prev, mate_next);
    return f;
}

static void leave_lease(struct flight *f)
{
    if (f->lease != NULL)
        DL_DELETE2(f->lease->flights, f, mate_prev, mate_next);
    f->lease = NULL;
}

static void drop(struct driver *d, struct flight *f)
{
    leave_lease(f);
    DL_DELETE(d->due, f);
    if (f->ending_queued)
        DL_DELETE2(d->ends, f, end_prev, end_next);
    HASH_DEL(d->flights, f);
    release_errands(f);
    free(f->commit.branches);
    free(f->errands);
    free(f->reason);
    free(f);
}

void flights_reason(struct flight *f, const char *format, ...)
{
    char text[TEXT_LIMIT + 1];
    va_list args;

    if (f->reason != NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->reason = driver_alloc(1, strlen(text) + 1);
    strcpy(f->reason, text);
}

/* Answers */

void flights_wait(struct flight *f, const struct reply_to *to, uint8_t wait)
{
    if (f->n_waiters == WAITER_LIMIT) {
        memmove(&f->waiters[0], &f->waiters[1], (WAITER_LIMIT - 1) * sizeof f->waiters[0]);
        f->n_waiters--;
    }
    f->waiters[f->n_waiters++] = (struct waiter){.to = *to, .wait = wait};
}

static const char *over_reason(const struct driver *d, uint64_t session)
{
    const struct session *s = ledger_session(d->ledger, session);

    /* One that was closed may be gone from the ledger at once. */
    return s != NULL && s->state == SESSION_EXPIRED ? "session expired" : "session closed";
}

/* What stands for it; f may be NULL. Without record or flight it is presumed. */
static enum verdict what_stands(const struct decision *decision, const struct flight *f)
{
    if (decision != NULL)
        return decision->verdict;
    if (f != NULL && (f->commit.state == COMMIT_RESOLVING || f->commit.state == COMMIT_ENDING))
        return f->commit.verdict; /* an operator has just forgotten its record */
    return VERDICT_ABORT;
}

void flights_answer(struct driver *d, const struct txid *id, const struct flight *f, const struct reply_to *to)
{
    const struct decision *decision = ledger_decision(d->ledger, id->session, id->sequence);
    struct wire_message m = {.type = WIRE_DECIDED};

    m.decided.verdict = (uint8_t)what_stands(decision, f);
    m.decided.completed = f == NULL || commit_completed(&f->commit);
    if (decision != NULL) {
        m.decided.heuristic = (uint8_t)decision->heuristic;
        m.decided.reason = decision->reason;
    } else if (m.decided.verdict == VERDICT_ABORT) {
        m.decided.reason = over_reason(d, id->session);
    }
    driver_reply(d, to, &m);
    crash_point(CRASH_COORD_ANSWERED);
}

/* Those who waited for the decision, and the others too where it is completed. */
static void answer_waiters(struct driver *d, struct flight *f)
{
    bool completed = commit_completed(&f->commit);
    size_t left = 0;

    for (size_t i = 0; i < f->n_waiters; i++) {
        if (completed || f->waiters[i].wait == WAIT_DECIDED)
            flights_answer(d, &f->id, f, &f->waiters[i].to);
        else
            f->waiters[left++] = f->waiters[i];
    }
    f->n_waiters = left;
}

/* Work */

static void queue_branch(struct driver *d, struct flight *f, size_t i, enum work_kind kind)
{
    const struct commit_branch *b = &f->commit.branches[i];
    struct work *w = &f->errands[i].work;

    if (!agents_due(d, w))
        return;
    f->errands[i].noted = false;
    w->first_only = kind == WORK_PREPARE; /* the branch is in that agent's connection */
    w->holder = kind == WORK_PREPARE ? f->errands[i].holder : NULL;
    w->item = (struct wire_work_item){.kind = (uint8_t)kind,
                                      .id = f->id,
                                      .branch = b->number,
                                      .branch_kind = b->kind,
                                      .resource = b->resource,
                                      .proof = b->has_proof ? b->proof : NULL};
    agents_queue(d, w);
}

/* A direct branch is its client's for a while: it is faster, having the connection. */
static bool for_agents(const struct driver *d, const struct flight *f, const struct commit_branch *b)
{
    return b->kind == BRANCH_REMOTE || f->commit.agents_finish || f->lease == NULL ||
           d->now - f->since_ms >= d->options.grace_ms;
}

static void hand_out(struct driver *d, struct flight *f)
{
    enum work_kind kind = f->commit.verdict == VERDICT_COMMIT ? WORK_COMMIT : WORK_ROLLBACK;

    for (size_t i = 0; i < f->commit.n; i++) {
        const struct commit_branch *b = &f->commit.branches[i];

        if (b->state == BRANCH_FINISHING && for_agents(d, f, b))
            queue_branch(d, f, i, kind);
    }
}

static void ask_votes(struct driver *d, struct flight *f)
{
    for (size_t i = 0; i < f->commit.n; i++)
        if (f->commit.branches[i].state == BRANCH_PREPARING)
            queue_branch(d, f, i, WORK_PREPARE);
}

void flights_agents_finish(struct driver *d, struct flight *f)
{
    f->commit.agents_finish = true;
    if (f->commit.state == COMMIT_RESOLVING)
        hand_out(d, f);
}

void flights_seen(struct driver *d, struct flight *f, struct commit_branch *b)
{
    if (f->commit.state == COMMIT_RESOLVING && b->state == BRANCH_FINISHING && for_agents(d, f, b))
        queue_branch(d, f, (size_t)(b - f->commit.branches),
                     f->commit.verdict == VERDICT_COMMIT ? WORK_COMMIT : WORK_ROLLBACK);
}

/* Proposals */

/* Nobody would ever report on a branch of a resource without agents, and its record could not go. Should one
 * turn up later, its scan asks. */
static size_t leave_unknown_out(struct driver *d, size_t n)
{
    size_t left = 0;

    for (size_t i = 0; i < n; i++)
        if (ledger_resource(d->ledger, d->branches[i].resource) != NULL)
            d->branches[left++] = d->branches[i];
    return left;
}

static void propose(struct driver *d, struct flight *f)
{
    size_t n = commit_decided_branches(&f->commit, d->branches);
    struct record r = {.type = RECORD_DECIDE, .session = f->id.session, .sequence = f->id.sequence};

    if (f->commit.verdict == VERDICT_ABORT)
        n = leave_unknown_out(d, n);
    else
        crash_point(CRASH_COORD_ALL_VOTED);
    r.decide.verdict = (uint8_t)f->commit.verdict;
    r.decide.origin = (uint8_t)f->origin;
    r.decide.agents_finish = f->commit.agents_finish;
    r.decide.reason = f->commit.verdict == VERDICT_ABORT ? f->reason : NULL;
    r.decide.n_branches = n;
    r.decide.branches = d->branches;
    f->ticket = driver_log(d, &r);
}

static void queue_end(struct driver *d, struct flight *f)
{
    if (f->ending_queued)
        return;
    f->ending_queued = true;
    DL_APPEND2(d->ends, f, end_prev, end_next);
    driver_lazily(d);
}

void flights_flush(struct driver *d)
{
    struct flight *f, *next;

    DL_FOREACH_SAFE2(d->ends, f, next, end_next)
    {
        struct record r = {.type = RECORD_END, .session = f->id.session, .sequence = f->id.sequence};

        crash_point(CRASH_COORD_BEFORE_END);
        f->ticket = driver_log(d, &r);
        f->ending_queued = false;
        DL_DELETE2(d->ends, f, end_prev, end_next);
    }
}

void flights_note_heuristic(struct driver *d, struct flight *f, struct commit_branch *b, enum heuristic kind,
                            const char *text)
{
    struct errand *errand = &f->errands[b - f->commit.branches];
    struct record r = {.type = RECORD_HEURISTIC, .session = f->id.session, .sequence = f->id.sequence};

    if (errand->noted || b->state != BRANCH_FINISHING)
        return;
    errand->noted = true;
    r.heuristic.branch = b->number;
    r.heuristic.kind = (uint8_t)kind;
    r.heuristic.resource = b->resource;
    r.heuristic.text = text;
    (void)driver_log(d, &r);
}

void flights_problem(struct flight *f, const struct commit_branch *b, const char *text)
{
    struct errand *errand = &f->errands[b - f->commit.branches];

    free(errand->problem);
    errand->problem = NULL;
    if (text == NULL)
        return;
    errand->problem = driver_alloc(1, strlen(text) + 1);
    strcpy(errand->problem, text);
}

/* Steps */

void flights_do(struct driver *d, struct flight *f, unsigned actions)
{
    if (actions & COMMIT_DO_PREPARE)
        ask_votes(d, f);
    if (actions & COMMIT_DO_PROPOSE)
        propose(d, f);
    if (actions & COMMIT_DO_ANSWER)
        answer_waiters(d, f);
    if (actions & COMMIT_DO_HAND_OUT)
        hand_out(d, f);
    if ((actions & COMMIT_DO_COMPLETE) && commit_completed(&f->commit))
        answer_waiters(d, f);
    if (actions & COMMIT_DO_END)
        queue_end(d, f);
    if (actions & COMMIT_DO_DROP)
        drop(d, f);
}

static void step(struct driver *d, struct flight *f, enum commit_event event)
{
    flights_do(d, f, commit_step(&f->commit, event));
}

/* What stands replaces what was asked for: the branches, too, may be another proposal's. */
static void take_over(struct driver *d, struct flight *f, const struct decision *decision)
{
    make_room(f, decision->n_branches);
    for (size_t i = 0; i < decision->n_branches; i++) {
        const struct decision_branch *from = &decision->branches[i];
        const struct branch_ref ref = {
            .number = from->number, .kind = from->kind, .resource = from->resource, .proof = from->proof};

        commit_branch_init(&f->commit.branches[i], &ref,
                           from->heuristic == HEURISTIC_NONE ? BRANCH_FINISHING : BRANCH_DONE);
    }
    f->commit.n = decision->n_branches;
    f->commit.verdict = decision->verdict;
    f->commit.agents_finish = f->commit.agents_finish || decision->agents_finish;
    f->origin = decision->origin;
    f->since_ms = d->now;
}

void flights_adopt(struct driver *d, const struct decision *decision)
{
    struct flight_start start = {.id = decision->id, .agents_finish = decision->agents_finish};
    struct flight *f = flights_add(d, &start);

    take_over(d, f, decision);
    step(d, f, COMMIT_STANDS);
}

void flights_decided(struct driver *d, const struct record *r, const struct ledger_result *result)
{
    const struct decision *decision = ledger_decision(d->ledger, r->session, r->sequence);
    struct flight *f = flights_find(d, r->session, r->sequence);

    crash_point(CRASH_COORD_APPLIED);
    if (f == NULL) {
        if (decision != NULL && !decision->ended)
            flights_adopt(d, decision);
        return;
    }
    if (f->commit.state != COMMIT_PREPARING && f->commit.state != COMMIT_DECIDING)
        return;
    if (result->verdict == VERDICT_NONE)
        f->n_waiters = 0; /* acknowledged: nobody waits for it any more */
    if (result->verdict == VERDICT_NONE || decision == NULL) {
        step(d, f, COMMIT_PRESUMED);
        return;
    }
    take_over(d, f, decision);
    step(d, f, COMMIT_STANDS);
}

void flights_ended(struct driver *d, const struct record *r)
{
    struct flight *f = flights_find(d, r->session, r->sequence);

    if (f == NULL || (f->commit.state != COMMIT_RESOLVING && f->commit.state != COMMIT_ENDING))
        return;
    for (size_t i = 0; i < f->commit.n; i++)
        (void)found_done(d, &f->id, f->commit.branches[i].number, f->commit.branches[i].resource);
    step(d, f, COMMIT_ENDED);
}

void flights_heuristic(struct driver *d, const struct record *r)
{
    const struct decision *decision = ledger_decision(d->ledger, r->session, r->sequence);
    struct flight *f = flights_find(d, r->session, r->sequence);
    struct commit_branch *b;

    if (f == NULL) {
        if (decision != NULL && !decision->ended)
            flights_adopt(d, decision);
        return;
    }
    b = commit_find(&f->commit, r->heuristic.branch, r->heuristic.resource);
    if (b != NULL && b->state == BRANCH_FINISHING && f->errands[b - f->commit.branches].noted) {
        agents_cancel(&f->errands[b - f->commit.branches].work);
        flights_do(d, f, commit_report(&f->commit, b));
    }
}

/* Sessions */

/* Nobody else finishes its branches now. One that is not decided never will be committed: the fence. */
void flights_session_over(struct driver *d, struct lease *lease)
{
    struct flight *f, *next;

    DL_FOREACH_SAFE2(lease->flights, f, next, mate_next)
    {
        leave_lease(f);
        if (f->commit.state == COMMIT_PREPARING)
            step(d, f, COMMIT_PRESUMED);
        else if (f->commit.state == COMMIT_RESOLVING)
            hand_out(d, f);
    }
}

static void resolved(struct driver *d, struct flight *f)
{
    if (f->commit.state != COMMIT_RESOLVING || f->origin == ORIGIN_OPERATOR)
        return;
    for (size_t i = 0; i < f->commit.n; i++)
        if (f->commit.branches[i].kind == BRANCH_DIRECT)
            agents_cancel(&f->errands[i].work);
    flights_do(d, f, commit_report_direct(&f->commit));
}

/* By whichever is shorter, the range or the session's flights. */
void flights_resolved(struct driver *d, struct lease *lease, const struct range *range)
{
    struct flight *f, *next;

    if (range->from <= range->to && range->to - range->from < 16) {
        for (uint64_t i = 0; i <= range->to - range->from; i++) {
            f = flights_find(d, lease->id, range->from + i);
            if (f != NULL)
                resolved(d, f);
        }
        return;
    }
    DL_FOREACH_SAFE2(lease->flights, f, next, mate_next)
    {
        if (f->key.sequence >= range->from && f->key.sequence <= range->to)
            resolved(d, f);
    }
}

/* Time */

static const char *voteless(const struct flight *f)
{
    for (size_t i = 0; i < f->commit.n; i++)
        if (f->commit.branches[i].state == BRANCH_PREPARING)
            return f->commit.branches[i].resource;
    return "";
}

static void look(struct driver *d, struct flight *f)
{
    if (f->commit.state == COMMIT_RESOLVING) {
        hand_out(d, f);
    } else if (f->commit.state == COMMIT_PREPARING) {
        if (d->now - f->since_ms < d->options.vote_timeout_ms) {
            ask_votes(d, f);
            return;
        }
        flights_reason(f, "resource %s did not vote within %u ms", voteless(f), d->options.vote_timeout_ms);
        f->origin = ORIGIN_COORDINATOR;
        step(d, f, COMMIT_OVERDUE);
    }
}

void flights_tick(struct driver *d)
{
    while (d->due != NULL && d->due->due_ms <= d->now) {
        struct flight *f = d->due;

        DL_DELETE(d->due, f);
        schedule(d, f);
        look(d, f);
    }
}

void flights_lost(struct driver *d, uint64_t ticket)
{
    struct flight *f, *next;

    HASH_ITER(hh, d->flights, f, next)
    {
        if (f->ticket != ticket)
            continue;
        for (size_t i = 0; f->commit.state == COMMIT_DECIDING && i < f->n_waiters; i++)
            driver_reply_unknown(d, &f->waiters[i].to);
        if (f->commit.state == COMMIT_DECIDING || (f->commit.state == COMMIT_ENDING && !f->ending_queued))
            step(d, f, COMMIT_LOST);
    }
}

void flights_clear(struct driver *d, bool tell)
{
    struct flight *f, *next;

    HASH_ITER(hh, d->flights, f, next)
    {
        for (size_t i = 0; tell && i < f->n_waiters; i++)
            driver_reply_error(d, &f->waiters[i].to, TX_ENOTLEADER, "this coordinator has lost the lead");
        drop(d, f);
    }
}
