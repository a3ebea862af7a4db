/* sim_check: see sim_check.h. */
#include "tests/sim/sim_check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "tests/sim/sim_app.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/sim_world.h"

enum { BRANCHES = 4, DECISIONS_MOST = 400, RETENTION_US = 3500000, RECENT = 64 };

struct branch_truth {
    bool wrote, committed, rolled_back; /* rolled_back: after it was prepared */
};

/* What really happened to a transaction, and what was said of it. */
struct truth {
    UT_hash_handle hh;
    struct {
        uint64_t session, sequence;
    } key;
    struct branch_truth branches[BRANCHES]; /* by number */
    struct txid id;                         /* once a branch of it is known */
    enum verdict stands;
    bool meddled, heuristic;
    bool told_commit, told_rollback, told_doubt;
};

/* Sessions that are over, and since when. */
static struct {
    uint64_t *ended_us;
    size_t n;
} sessions;

static struct truth *truths;

/* The last ones that were decided. */
static struct {
    struct truth *list[RECENT];
    size_t n;
} decided;

/* Of the state at an index: what the first node had there. */
static struct {
    uint64_t *digests;
    size_t n;
} applied;

static struct truth *truth_of(uint64_t session, uint64_t sequence)
{
    struct truth *t, probe;

    memset(&probe.key, 0, sizeof probe.key);
    probe.key.session = session;
    probe.key.sequence = sequence;
    HASH_FIND(hh, truths, &probe.key, sizeof probe.key, t);
    if (t != NULL)
        return t;
    t = calloc(1, sizeof *t);
    assert(t != NULL);
    t->key.session = session;
    t->key.sequence = sequence;
    HASH_ADD(hh, truths, key, sizeof t->key, t);
    return t;
}

static void fail_of(const struct truth *t, const char *property, const char *what)
{
    sim_fail("%s: transaction %llu/%llu: %s", property, (unsigned long long)t->key.session,
             (unsigned long long)t->key.sequence, what);
}

/* 1 and 2 */

static bool any_committed(const struct truth *t)
{
    for (unsigned i = 0; i < BRANCHES; i++) {
        if (t->branches[i].wrote && t->branches[i].committed)
            return true;
    }
    return false;
}

static bool any_rolled_back(const struct truth *t)
{
    for (unsigned i = 0; i < BRANCHES; i++) {
        if (t->branches[i].rolled_back && !t->branches[i].committed)
            return true;
    }
    return false;
}

static bool all_committed(const struct truth *t)
{
    for (unsigned i = 0; i < BRANCHES; i++) {
        if (t->branches[i].wrote && !t->branches[i].committed)
            return false;
    }
    return true;
}

static void look(const struct truth *t)
{
    bool committed = any_committed(t), rolled_back = any_rolled_back(t);

    if (t->meddled)
        return;
    if (committed && rolled_back)
        fail_of(t, "atomicity", "one branch is committed and another rolled back");
    if (committed && t->told_rollback)
        fail_of(t, "truth", "the application was told «rolled back», and a branch is committed");
    if (rolled_back && t->told_commit)
        fail_of(t, "truth", "the application was told «committed», and a branch is rolled back");
    if (committed && t->stands == VERDICT_ABORT)
        fail_of(t, "decision", "ABORT stands, and a branch is committed");
    if (rolled_back && t->stands == VERDICT_COMMIT)
        fail_of(t, "decision", "COMMIT stands, and a branch is rolled back");
    if (t->told_commit && t->told_rollback)
        fail_of(t, "one answer", "it was told «committed» and «rolled back»");
    if (t->told_commit && t->stands == VERDICT_ABORT)
        fail_of(t, "truth", "the application was told «committed», and ABORT stands");
    if (t->told_rollback && t->stands == VERDICT_COMMIT)
        fail_of(t, "truth", "the application was told «rolled back», and COMMIT stands");
}

void check_work(const struct work_item *w)
{
    struct truth *t = truth_of(w->id.session, w->id.sequence);
    struct branch_truth *b = &t->branches[w->number];

    assert(w->number < BRANCHES);
    t->id = w->id;
    b->wrote = b->wrote || (w->wrote && w->state != WORK_ROLLED_BACK);
    b->committed = b->committed || (w->wrote && w->state == WORK_COMMITTED);
    b->rolled_back = b->rolled_back || w->after_vote;
    look(t);
}

void check_meddled(const struct txid *id)
{
    truth_of(id->session, id->sequence)->meddled = true;
}

void check_told(const struct txid *id, int code)
{
    struct truth *t = truth_of(id->session, id->sequence);

    t->told_commit = t->told_commit || code == TX_OK || code == TX_ETIMEOUT;
    t->told_rollback = t->told_rollback || code == TX_EROLLBACK;
    t->told_doubt = t->told_doubt || code == TX_EINDOUBT;
    look(t);
    if ((code == TX_EHEURISTIC || code == TX_EHAZARD) && !t->meddled)
        fail_of(t, "truth", "told of a heuristic outcome that nobody has caused");
}

bool check_pick_undecided(uint64_t *session, uint64_t *sequence)
{
    struct txid id;

    if (!server_pick_prepared(&id) || truth_of(id.session, id.sequence)->stands != VERDICT_NONE)
        return false;
    *session = id.session;
    *sequence = id.sequence;
    return true;
}

/* A client that was left in doubt has not acknowledged it, so it must be known for the time of retention. */
void check_forgotten(const struct txid *id)
{
    struct truth *t = truth_of(id->session, id->sequence);
    uint64_t ended = id->session < sessions.n ? sessions.ended_us[id->session] : 0;

    if (t->told_doubt && !t->told_commit && !t->told_rollback && !t->meddled &&
        (ended == 0 || sim_now_us - ended < RETENTION_US))
        fail_of(t, "truth", "it is forgotten, and the application has never been told");
}

bool check_pick_asked(struct txid *id)
{
    uint64_t session, sequence;
    enum verdict stands;

    if (!check_pick_decided(&session, &sequence, &stands))
        return false;
    *id = truth_of(session, sequence)->id;
    return id->session != 0;
}

void check_outcome(const struct txid *id, bool committed)
{
    struct truth *t = truth_of(id->session, id->sequence);

    if (!t->meddled && committed != (t->stands == VERDICT_COMMIT))
        fail_of(t, "one answer",
                committed ? "somebody was told «committed», and ABORT stands"
                          : "somebody was told «rolled back», and COMMIT stands");
}

/* As the leader that proposed it noted; it may be applied much later. */
static void session_ended(uint64_t session, uint64_t at_ms)
{
    size_t n = sessions.n;

    if (session >= n) {
        sessions.n = session * 2 + 16;
        sessions.ended_us = realloc(sessions.ended_us, sessions.n * sizeof *sessions.ended_us);
        assert(sessions.ended_us != NULL);
        memset(sessions.ended_us + n, 0, (sessions.n - n) * sizeof *sessions.ended_us);
    }
    if (sessions.ended_us[session] == 0)
        sessions.ended_us[session] = at_ms * 1000;
}

/* 4: the first decision, in the order of the log, for ever and on every node */

static void check_decide(const struct record *r, const struct ledger_result *result)
{
    struct truth *t;

    if (result->verdict == VERDICT_NONE)
        return;
    t = truth_of(r->session, r->sequence);
    if (t->stands != VERDICT_NONE && t->stands != result->verdict && !t->meddled)
        fail_of(t, "one answer", "a decision stood, and another one stands now");
    if (t->stands == VERDICT_NONE) {
        t->stands = result->verdict;
        decided.list[decided.n++ % RECENT] = t;
    }
    look(t);
}

bool check_pick_decided(uint64_t *session, uint64_t *sequence, enum verdict *stands)
{
    const struct truth *t;

    if (decided.n == 0)
        return false;
    t = decided.list[sim_random(decided.n < RECENT ? decided.n : RECENT)];
    *session = t->key.session;
    *sequence = t->key.sequence;
    *stands = t->stands;
    return !t->meddled;
}

void check_record(const struct record *r, const struct ledger_result *result)
{
    if (r->type == RECORD_DECIDE) {
        check_decide(r, result);
    } else if (r->type == RECORD_EXPIRE_SESSION || r->type == RECORD_CLOSE_SESSION) {
        session_ended(r->session, r->at_ms);
    } else if (r->type == RECORD_HEURISTIC) {
        struct truth *t = truth_of(r->session, r->sequence);

        t->heuristic = true;
        if (!t->meddled)
            fail_of(t, "decision", "a branch ended otherwise, and nobody has meddled");
    }
}

/* An order to roll back what was committed, ended and acknowledged may be late: the resource has nothing to
 * roll back any more, and what it does roll back is looked at there. */
void check_orders(const char *node, const struct wire_work *work)
{
    for (size_t i = 0; i < work->n_items; i++) {
        const struct wire_work_item *item = &work->items[i];
        const struct truth *t =
            item->kind == WORK_COMMIT ? truth_of(item->id.session, item->id.sequence) : NULL;

        if (t == NULL || t->meddled)
            continue;
        if (t->stands != VERDICT_COMMIT)
            sim_fail("orders: %s has %llu/%llu committed, and COMMIT does not stand", node,
                     (unsigned long long)item->id.session, (unsigned long long)item->id.sequence);
    }
}

/* elections: Raft's own rules, at the points where a node would break them */

static struct {
    uint64_t *votes; /* by term, node and VOTERS */
    size_t n;
} elections;

enum { VOTERS = 64 }; /* numbers of nodes in a run */

static uint64_t *election(uint64_t term, uint64_t node)
{
    size_t n = elections.n, at = term * VOTERS + node % VOTERS;

    if (at >= n) {
        elections.n = (at + VOTERS) * 2;
        elections.votes = realloc(elections.votes, elections.n * sizeof *elections.votes);
        assert(elections.votes != NULL);
        memset(elections.votes + n, 0, (elections.n - n) * sizeof *elections.votes);
    }
    return &elections.votes[at];
}

void check_vote(uint64_t node, uint64_t term, uint64_t vote)
{
    uint64_t *before = election(term, node);

    if (vote == 0)
        return;
    if (*before != 0 && *before != vote)
        sim_fail("elections: node %llu votes for %llu and %llu in term %llu", (unsigned long long)node,
                 (unsigned long long)*before, (unsigned long long)vote, (unsigned long long)term);
    *before = vote;
}

/* In the place of node 0, which is none. */
void check_leader(uint64_t term, uint64_t node)
{
    uint64_t *before = election(term, 0);

    if (*before != 0 && *before != node)
        sim_fail("elections: nodes %llu and %llu lead in term %llu", (unsigned long long)*before,
                 (unsigned long long)node, (unsigned long long)term);
    *before = node;
}

/* the ledger */

void check_applied(uint64_t index, uint64_t digest)
{
    size_t n = applied.n;

    if (index >= n) {
        applied.n = index * 2 + 256;
        applied.digests = realloc(applied.digests, applied.n * sizeof *applied.digests);
        assert(applied.digests != NULL);
        memset(applied.digests + n, 0, (applied.n - n) * sizeof *applied.digests);
    }
    if (applied.digests[index] != 0 && applied.digests[index] != digest)
        sim_fail("ledgers: two nodes differ at index %llu", (unsigned long long)index);
    applied.digests[index] = digest;
}

void check_bounds(const struct ledger *l)
{
    struct ledger_counts c;

    ledger_count(l, &c);
    if (c.decisions > DECISIONS_MOST)
        sim_fail("bounds: %zu decisions are kept", c.decisions);
}

/* 3: the end */

static bool count_unfinished(void *arg, const struct decision *d)
{
    if (d->heuristic == HEURISTIC_NONE)
        ++*(size_t *)arg;
    return true;
}

static const char *check_ledger_rest(const struct ledger *l)
{
    static char text[96];
    size_t unfinished = 0;

    ledger_each_decision(l, count_unfinished, &unfinished);
    if (unfinished > 0)
        snprintf(text, sizeof text, "%zu records are left in the ledger", unfinished);
    return unfinished > 0 ? text : NULL;
}

static const char *check_truths(void)
{
    static char text[128];
    struct truth *t, *next;
    const char *what = NULL;

    HASH_ITER(hh, truths, t, next)
    {
        if (!t->meddled && (any_committed(t) || t->told_commit) && !all_committed(t))
            what = "is not committed in every branch";
        else if (t->meddled && t->stands == VERDICT_COMMIT && any_rolled_back(t) && !t->heuristic)
            what = "was rolled back by hand in a branch, and nobody was told";
        if (what == NULL)
            continue;
        snprintf(text, sizeof text, "transaction %llu/%llu %s", (unsigned long long)t->key.session,
                 (unsigned long long)t->key.sequence, what);
        return text;
    }
    return NULL;
}

const char *check_rest(const struct ledger *leader)
{
    static char text[96];
    size_t prepared;

    for (unsigned s = 0; s < SIM_SERVERS; s++) {
        prepared = server_prepared(s);
        if (prepared == 0)
            continue;
        snprintf(text, sizeof text, "%zu branches are in doubt in %s", prepared, server_name(s));
        return text;
    }
    return leader == NULL                      ? "nobody leads"
           : check_ledger_rest(leader) != NULL ? check_ledger_rest(leader)
                                               : check_truths();
}
