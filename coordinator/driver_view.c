/* driver_view: what the leader knows, for admin's lists: transactions, resources, sessions' silence (driver.h).
 * Reads driver's tables and the ledger; changes nothing but counts that are made for a view. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/flights.h"
#include "coordinator/found.h"
#include "coordinator/namesakes.h"
#include "coordinator/seats.h"

/* One transaction as it is put together. */
struct view {
    struct driver *d;
    uint64_t now, wall;
    const struct flight *flight;
    const struct decision *decision;
    const struct session *session;
    enum standing standing;
    struct driver_transaction t;
    struct driver_branch branches[BRANCH_LIMIT];
    char next[512];
};

/* Branches */

/* As the ledger knows the branch; NULL: it does not. */
static const struct decision_branch *recorded(const struct view *v, uint16_t number)
{
    for (size_t i = 0; v->decision != NULL && i < v->decision->n_branches; i++)
        if (v->decision->branches[i].number == number)
            return &v->decision->branches[i];
    return NULL;
}

static uint8_t heuristic_of(const struct view *v, uint16_t number)
{
    const struct decision_branch *b = recorded(v, number);

    return b != NULL ? b->heuristic : HEURISTIC_NONE;
}

static const char *finished_name(enum verdict verdict, uint8_t heuristic)
{
    if (heuristic != HEURISTIC_NONE)
        return heuristic_name((enum heuristic)heuristic);
    return verdict == VERDICT_COMMIT ? "committed" : "rolled back";
}

static const char *branch_state(const struct view *v, const struct commit_branch *b, uint8_t heuristic)
{
    bool commit = v->flight->commit.verdict == VERDICT_COMMIT;

    switch ((enum commit_branch_state)b->state) {
    case BRANCH_PREPARING:
        return "preparing";
    case BRANCH_PREPARED:
        return b->kind == BRANCH_REMOTE ? "voted yes" : "prepared";
    case BRANCH_READ_ONLY:
        return "read-only";
    case BRANCH_REFUSED:
        return "rolled back";
    case BRANCH_FINISHING:
        if (heuristic != HEURISTIC_NONE)
            break;
        return commit ? "committing" : "rolling back";
    case BRANCH_DONE:
        break;
    }
    return finished_name(v->flight->commit.verdict, heuristic);
}

static struct driver_branch *branch_add(struct view *v, uint16_t number, uint8_t kind, const char *resource)
{
    struct driver_branch *b = &v->branches[v->t.n_branches++];

    *b = (struct driver_branch){
        .number = number, .kind = kind, .resource = resource, .heuristic = heuristic_of(v, number)};
    return b;
}

static void add_flight_branches(struct view *v)
{
    const struct commit *c = &v->flight->commit;

    for (size_t i = 0; i < c->n; i++) {
        const struct commit_branch *from = &c->branches[i];
        struct driver_branch *b = branch_add(v, from->number, from->kind, from->resource);

        b->state = branch_state(v, from, b->heuristic);
        b->problem = b->heuristic != HEURISTIC_NONE ? recorded(v, from->number)->heuristic_text
                                                    : v->flight->errands[i].problem;
    }
}

static void add_decision_branches(struct view *v)
{
    for (size_t i = 0; i < v->decision->n_branches; i++) {
        const struct decision_branch *from = &v->decision->branches[i];
        struct driver_branch *b = branch_add(v, from->number, from->kind, from->resource);

        b->state = finished_name(v->decision->verdict, from->heuristic);
        b->problem = from->heuristic_text;
    }
}

static struct driver_branch *branch_find(struct view *v, uint64_t number, const char *resource)
{
    for (size_t i = 0; i < v->t.n_branches; i++)
        if (v->branches[i].number == number && strcmp(v->branches[i].resource, resource) == 0)
            return &v->branches[i];
    return NULL;
}

static bool is_finished(const struct view *v, uint16_t number, const char *resource)
{
    const struct commit_branch *b =
        v->flight == NULL ? NULL : commit_find(&v->flight->commit, number, resource);

    return b != NULL && b->state == BRANCH_DONE;
}

static const char *found_state(const struct view *v)
{
    if (v->standing == STANDING_OPEN || v->standing == STANDING_LOST)
        return "prepared";
    return v->standing == STANDING_COMMIT ? "committing" : "rolling back";
}

/* What scans saw: the age of a branch that is known, or a branch that is not. A sighting from before it was
 * finished tells nothing. */
static void add_found_branches(struct view *v)
{
    for (const struct found *f = found_of(v->d, &v->t.id); f != NULL; f = f->next) {
        uint16_t number = (uint16_t)f->key.branch;
        struct driver_branch *b = branch_find(v, number, f->key.resource);

        if (is_finished(v, number, f->key.resource))
            continue;
        if (b == NULL) {
            if (v->t.n_branches == BRANCH_LIMIT)
                return;
            b = branch_add(v, number, BRANCH_DIRECT, f->key.resource);
            b->state = found_state(v);
        }
        b->prepared_ms = f->age_ms + (v->now - f->heard_ms);
        if (b->problem == NULL)
            b->problem = f->problem;
    }
}

static int compare_branch(const void *pa, const void *pb)
{
    const struct driver_branch *a = pa, *b = pb;

    return a->number < b->number ? -1 : a->number > b->number;
}

/* What happens next */

static void say(struct view *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct view *v, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(v->next, sizeof v->next, format, args);
    va_end(args);
}

static uint64_t seconds_left(uint64_t limit_ms, uint64_t gone_ms)
{
    return gone_ms >= limit_ms ? 0 : (limit_ms - gone_ms + 999) / 1000;
}

static void next_vote(struct view *v)
{
    uint64_t left = seconds_left(v->d->options.vote_timeout_ms, v->now - v->flight->since_ms);

    for (size_t i = 0; i < v->t.n_branches; i++) {
        const char *resource = v->branches[i].resource;
        const struct seat *seat = seats_first(v->d, resource);

        if (strcmp(v->branches[i].state, "preparing") != 0)
            continue;
        if (seat == NULL)
            say(v, "waits for an agent of %s to vote; in %llu s it is rolled back", resource,
                (unsigned long long)left);
        else
            say(v, "%s votes on %s's branch; without a vote it is rolled back in %llu s", seat->agent->name,
                resource, (unsigned long long)left);
        return;
    }
}

static const char *kind_of(const struct driver *d, const char *resource)
{
    const struct ledger_resource *r = ledger_resource(d->ledger, resource);

    return r == NULL ? NULL : r->kind;
}

static void next_in_branch(struct view *v, const struct driver_branch *b)
{
    bool commit = v->t.verdict == VERDICT_COMMIT;
    const struct seat *seat = seats_first(v->d, b->resource);
    uint64_t grace = v->d->options.grace_ms;
    bool with_client = v->flight != NULL && v->flight->lease != NULL && b->kind == BRANCH_DIRECT &&
                       !v->flight->commit.agents_finish && v->now - v->flight->since_ms < grace;

    if (with_client)
        say(v, "the client (session %llu) %s %s's branch; from %llu s on its agent does",
            (unsigned long long)v->t.id.session, commit ? "commits" : "rolls back", b->resource,
            (unsigned long long)seconds_left(grace, v->now - v->flight->since_ms));
    else if (seat == NULL)
        say(v, "waits for an agent of %s to %s its branch: start %s", b->resource,
            commit ? "commit" : "roll back", driver_server_of(kind_of(v->d, b->resource)));
    else if (b->problem != NULL)
        say(v, "%s tries again to %s %s's branch: %s", seat->agent->name, commit ? "commit" : "roll back",
            b->resource, b->problem);
    else
        say(v, "%s %s %s's branch", seat->agent->name, commit ? "commits" : "rolls back", b->resource);
}

/* False: no branch is left to finish. */
static bool next_finish(struct view *v)
{
    for (size_t i = 0; i < v->t.n_branches; i++) {
        const char *state = v->branches[i].state;

        if (strcmp(state, "committing") == 0 || strcmp(state, "rolling back") == 0) {
            next_in_branch(v, &v->branches[i]);
            return true;
        }
    }
    return false;
}

static void next_in_doubt(struct view *v)
{
    uint64_t timeout = v->session != NULL ? v->session->transaction_timeout_ms : 0;
    uint64_t left = seconds_left(timeout, v->t.age_ms);
    uint64_t silence = driver_session_silence(v->d, v->now, v->t.id.session);
    char id[TXID_TEXT_SIZE];

    if (v->standing == STANDING_LOST) {
        txid_format(&v->t.id, id);
        say(v,
            "its decision, if there was one, is not in the backup: look whether another branch is committed, "
            "then "
            "txadmin resolve %s",
            id);
    } else if (left == 0)
        say(v, "its timeout of %llu s is over: it is rolled back at the next scan of an agent",
            (unsigned long long)(timeout / 1000));
    else
        say(v,
            "waits for the client (session %llu, silent for %llu s) until its timeout in %llu s, or the "
            "session's "
            "at %llu s of silence; then it is rolled back",
            (unsigned long long)v->t.id.session, (unsigned long long)(silence / 1000), (unsigned long long)left,
            (unsigned long long)(v->session != NULL ? v->session->session_timeout_ms / 1000 : 0));
}

static void next_of_record(struct view *v)
{
    char id[TXID_TEXT_SIZE];

    if (next_finish(v))
        return;
    txid_format(&v->t.id, id);
    if (v->t.heuristic != HEURISTIC_NONE)
        say(v, "waits for an operator: see to the data, then txadmin forget %s", id);
    else if (v->decision != NULL && !v->decision->ended)
        say(v, "the coordinator writes down that it is finished");
    else if (v->session != NULL && v->session->state == SESSION_OPEN)
        say(v, "waits for the client (session %llu) to acknowledge it; then its record goes",
            (unsigned long long)v->t.id.session);
    else
        say(v, "its record goes when its session's retention time is over");
}

static void set_next(struct view *v)
{
    if (v->decision != NULL || v->standing == STANDING_ABORT)
        next_of_record(v);
    else if (v->flight == NULL)
        next_in_doubt(v);
    else if (v->flight->commit.state == COMMIT_PREPARING)
        next_vote(v);
    else
        say(v, "a majority of the coordinators writes the decision down");
    v->t.next = v->next;
}

/* Transactions */

static void set_decided(struct view *v)
{
    const struct decision *decision = v->decision;

    v->t.verdict = decision->verdict;
    v->t.origin = decision->origin;
    v->t.heuristic = decision->heuristic;
    v->t.reason = decision->reason;
    v->t.age_ms = v->wall > decision->at_ms ? v->wall - decision->at_ms : 0;
    if (decision->heuristic != HEURISTIC_NONE)
        v->t.state = "heuristic";
    else if (decision->ended)
        v->t.state = "finished";
    else
        v->t.state = decision->verdict == VERDICT_COMMIT ? "committing" : "aborting";
}

static void set_undecided(struct view *v)
{
    v->t.origin = v->flight != NULL ? v->flight->origin : ORIGIN_RECOVERY;
    if (v->flight != NULL) {
        v->t.state = commit_state_name(v->flight->commit.state);
        v->t.age_ms = v->now - v->flight->started_ms;
        v->t.reason = v->flight->reason;
    } else if (v->standing == STANDING_ABORT) {
        v->t.state = "aborting";
        v->t.verdict = VERDICT_ABORT;
        v->t.reason = "no decision was made before its session was over";
    } else {
        v->t.state = "in doubt";
    }
    for (size_t i = 0; v->flight == NULL && i < v->t.n_branches; i++)
        if (v->branches[i].prepared_ms > v->t.age_ms)
            v->t.age_ms = v->branches[i].prepared_ms;
}

/* False: nothing is known of it. */
static bool view_make(struct view *v, const struct txid *id)
{
    v->t = (struct driver_transaction){.id = *id, .branches = v->branches};
    v->flight = flights_find(v->d, id->session, id->sequence);
    v->decision = ledger_decision(v->d->ledger, id->session, id->sequence);
    v->session = ledger_session(v->d->ledger, id->session);
    v->standing = ledger_branch_standing(v->d->ledger, id);
    if (v->standing == STANDING_FOREIGN)
        return false;
    if (v->session != NULL) {
        v->t.session_known = true;
        v->t.session_state = v->session->state;
        v->t.application = v->session->name;
    }
    if (v->flight != NULL)
        add_flight_branches(v);
    else if (v->decision != NULL)
        add_decision_branches(v);
    if (v->decision == NULL || !v->decision->ended)
        add_found_branches(v);
    if (v->t.n_branches > 0)
        qsort(v->branches, v->t.n_branches, sizeof *v->branches, compare_branch);
    if (v->decision != NULL)
        set_decided(v);
    else
        set_undecided(v);
    set_next(v);
    return v->flight != NULL || v->decision != NULL || v->t.n_branches > 0;
}

bool driver_show(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id,
                 void (*f)(void *arg, const struct driver_transaction *t), void *arg)
{
    struct view v = {.d = d, .now = now, .wall = wall};

    if (!view_make(&v, id))
        return false;
    f(arg, &v.t);
    return true;
}

struct txid_list {
    struct txid *items; /* owned */
    size_t n, cap;
};

static void list_add(struct txid_list *l, const struct txid *id)
{
    if (l->n == l->cap) {
        struct txid *more = driver_alloc(l->cap * 2 + 64, sizeof *more);

        if (l->n > 0)
            memcpy(more, l->items, l->n * sizeof *more);
        free(l->items);
        l->items = more;
        l->cap = l->cap * 2 + 64;
    }
    l->items[l->n++] = *id;
}

static bool list_decision(void *arg, const struct decision *decision)
{
    list_add(arg, &decision->id);
    return true;
}

static int compare_txid(const void *pa, const void *pb)
{
    const struct txid *a = pa, *b = pb;

    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

static void list_all(struct driver *d, struct txid_list *l)
{
    struct flight *f, *next;
    struct doubt *doubt, *next_doubt;

    ledger_each_decision(d->ledger, list_decision, l);
    HASH_ITER(hh, d->flights, f, next)
    {
        if (ledger_decision(d->ledger, f->id.session, f->id.sequence) == NULL)
            list_add(l, &f->id);
    }
    HASH_ITER(hh, d->doubts, doubt, next_doubt)
    {
        if (ledger_decision(d->ledger, doubt->id.session, doubt->id.sequence) == NULL &&
            flights_find(d, doubt->id.session, doubt->id.sequence) == NULL)
            list_add(l, &doubt->id);
    }
    if (l->n > 0)
        qsort(l->items, l->n, sizeof *l->items, compare_txid);
}

void driver_each_transaction(struct driver *d, uint64_t now, uint64_t wall, const struct txid *after,
                             bool (*f)(void *arg, const struct driver_transaction *t), void *arg)
{
    struct view v = {.d = d, .now = now, .wall = wall};
    struct txid_list list = {0};

    list_all(d, &list);
    for (size_t i = 0; i < list.n; i++) {
        if ((i > 0 && compare_txid(&list.items[i - 1], &list.items[i]) == 0) ||
            (after != NULL && compare_txid(&list.items[i], after) <= 0))
            continue;
        if (view_make(&v, &list.items[i]) && !f(arg, &v.t))
            break;
    }
    free(list.items);
}

/* Resources and sessions */

static void count_unfinished(struct driver *d)
{
    struct served *s, *next;
    struct flight *f, *next_flight;

    HASH_ITER(hh, d->served, s, next)
    {
        s->unfinished = 0;
    }
    HASH_ITER(hh, d->flights, f, next_flight)
    {
        for (size_t i = 0; i < f->commit.n; i++) {
            const struct commit_branch *b = &f->commit.branches[i];

            if (b->state != BRANCH_PREPARING && b->state != BRANCH_FINISHING)
                continue;
            HASH_FIND_STR(d->served, b->resource, s);
            if (s != NULL)
                s->unfinished++;
        }
    }
}

struct resource_walk {
    struct driver *d;
    uint64_t now;
    bool (*f)(void *arg, const struct driver_resource *r);
    void *arg;
};

/* What its agent says of it; where all is well there, what is wrong with it at another one. */
static void tell_error(const struct driver *d, const struct served *s, const struct seat *seat,
                       struct driver_resource *r)
{
    const struct seat *other;

    r->error = seat->error[0] != '\0' ? seat->error : NULL;
    DL_FOREACH2(s->seats, other, mate_next)
    {
        if (r->error == NULL && !other->fit && agents_alive(d, other->agent) && other->error[0] != '\0')
            r->error = other->error;
    }
}

static uint32_t count_agents(const struct driver *d, const struct served *s)
{
    const struct seat *seat;
    uint32_t n = 0;

    DL_FOREACH2(s->seats, seat, mate_next)
    {
        n += agents_alive(d, seat->agent) && seat->fit;
    }
    return n;
}

static bool tell_resource(const struct resource_walk *w, struct driver_resource *r)
{
    const struct seat *seat = seats_first(w->d, r->name);
    const struct served *s;

    HASH_FIND_STR(w->d->served, r->name, s);
    if (s != NULL)
        r->unfinished = s->unfinished;
    if (seat == NULL && s != NULL)
        seat = s->seats; /* none is alive, or fit: the one that was first */
    if (seat != NULL) {
        r->agent = seat->agent->name;
        r->address = seat->agent->address[0] != '\0' ? seat->agent->address : NULL;
        r->agents = count_agents(w->d, s);
        tell_error(w->d, s, seat, r);
        r->by_registry = seat->by_registry;
        r->heard_ms = w->now - seat->agent->heard_ms;
        r->alive = r->heard_ms <= w->d->options.agent_timeout_ms;
        r->up = r->alive && seat->up && seat->fit;
        r->in_doubt = seat->in_doubt;
        r->oldest_ms = seat->oldest_ms;
        r->found = seat->found;
        r->resolved = seat->resolved;
        r->rate = seat->rate;
    }
    return w->f(w->arg, r);
}

static bool walk_resource(void *arg, const struct ledger_resource *resource)
{
    struct driver_resource r = {.name = resource->name,
                                .kind = resource->kind,
                                .settings = resource->settings,
                                .listed = true,
                                .declared = resource->declared,
                                .added_ms = resource->added_ms,
                                .altered_ms = resource->altered_ms};

    return tell_resource(arg, &r);
}

/* Names that agents are to serve and nobody has declared. */
static void walk_undeclared(struct resource_walk *w)
{
    const struct served *s, *next;

    HASH_ITER(hh, w->d->served, s, next)
    {
        struct driver_resource r = {.name = s->name};

        if (s->seats == NULL || !s->seats->by_registry || ledger_resource(w->d->ledger, s->name) != NULL)
            continue;
        if (!tell_resource(w, &r))
            return;
    }
}

void driver_each_resource(struct driver *d, uint64_t now, bool (*f)(void *arg, const struct driver_resource *r),
                          void *arg)
{
    struct resource_walk w = {.d = d, .now = now, .f = f, .arg = arg};

    d->now = now;
    count_unfinished(d);
    ledger_each_resource(d->ledger, walk_resource, &w);
    if (d->leading)
        walk_undeclared(&w);
}

const char *driver_namesake(struct driver *d, uint64_t now)
{
    struct agent *a, *next;

    d->now = now;
    HASH_ITER(hh, d->agents, a, next)
    {
        if (namesakes_are(d, a))
            return a->name;
    }
    return NULL;
}

uint64_t driver_session_silence(const struct driver *d, uint64_t now, uint64_t session)
{
    struct lease *lease;

    HASH_FIND(hh, d->leases, &session, sizeof session, lease);
    return lease == NULL ? 0 : now - lease->heard_ms;
}
