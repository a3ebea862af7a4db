/* reports: see reports.h. */
#include "coordinator/reports.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/asks.h"
#include "coordinator/flights.h"
#include "coordinator/found.h"

static void take_vote(struct driver *d, const struct wire_report *r, enum commit_branch_state vote)
{
    struct flight *f = flights_find(d, r->id.session, r->id.sequence);
    struct commit_branch *b = f == NULL ? NULL : commit_find(&f->commit, r->branch, r->resource);

    if (b == NULL || b->kind != BRANCH_REMOTE || !txid_equal(&f->id, &r->id))
        return;
    if (vote == BRANCH_REFUSED && f->commit.state == COMMIT_PREPARING) {
        flights_reason(f, "branch %u on %s voted no: %s", (unsigned)r->branch, r->resource,
                       r->text != NULL ? r->text : "no reason given");
        f->origin = ORIGIN_COORDINATOR;
    }
    flights_do(d, f, commit_vote(&f->commit, b, vote, r->proof));
}

/* An abort was presumed where the ledger has forgotten: the branch had been seen prepared, and the transaction
 * was committed, acknowledged and dropped before its agent was told to roll it back. */
static bool was_forgotten(const struct driver *d, const struct wire_report *r, enum heuristic kind)
{
    return kind == HEURISTIC_COMMIT && ledger_outcome(d->ledger, &r->id) == STANDING_FORGOTTEN;
}

/* Of a branch that no flight takes care of. An outcome of a transaction that may still become either is
 * nobody's to report. What an operator must look at has a bound: agents can name transactions of sessions that
 * are gone without end. */
static void log_heuristic(struct driver *d, const struct wire_report *r, enum heuristic kind)
{
    enum standing standing = ledger_branch_standing(d->ledger, &r->id);
    struct record record = {.type = RECORD_HEURISTIC, .session = r->id.session, .sequence = r->id.sequence};
    struct ledger_counts c;

    ledger_count(d->ledger, &c);
    if (c.heuristic >= d->options.max_transactions)
        return;
    if (standing == STANDING_FOREIGN || standing == STANDING_OPEN || standing == STANDING_LOST ||
        was_forgotten(d, r, kind))
        return;
    record.heuristic.branch = r->branch;
    record.heuristic.kind = (uint8_t)kind;
    record.heuristic.resource = r->resource;
    record.heuristic.text = r->text;
    (void)driver_log(d, &record);
}

/* The flight whose branch the report is about, and that is finishing it. */
static struct flight *finishing(const struct driver *d, const struct wire_report *r, struct commit_branch **b)
{
    struct flight *f = flights_find(d, r->id.session, r->id.sequence);

    if (f == NULL || f->commit.state != COMMIT_RESOLVING || !txid_equal(&f->id, &r->id))
        return NULL;
    *b = commit_find(&f->commit, r->branch, r->resource);
    return *b != NULL && (*b)->state == BRANCH_FINISHING ? f : NULL;
}

static void take_heuristic(struct driver *d, const struct wire_report *r, enum heuristic kind)
{
    struct commit_branch *b;
    struct flight *f = finishing(d, r, &b);

    if (f != NULL)
        flights_note_heuristic(d, f, b, kind, r->text);
    else if (flights_find(d, r->id.session, r->id.sequence) == NULL)
        log_heuristic(d, r, kind);
    (void)found_done(d, &r->id, r->branch, r->resource);
}

/* As asked, or, though nobody asked for it, against the decision: then it is heuristic. What an operator
 * decided is heuristic in any case, and stays visible (docs/architecture.md, «Recovery»). */
static void take_finished(struct driver *d, const struct wire_report *r, enum verdict as)
{
    enum heuristic kind = as == VERDICT_COMMIT ? HEURISTIC_COMMIT : HEURISTIC_ROLLBACK;
    struct commit_branch *b;
    struct flight *f = finishing(d, r, &b);

    if (found_done(d, &r->id, r->branch, r->resource) && f == NULL)
        d->counters.recovered++;
    if (f == NULL)
        return;
    if (f->commit.verdict != as)
        flights_note_heuristic(d, f, b, kind, "finished against the decision");
    else if (f->origin == ORIGIN_OPERATOR)
        flights_note_heuristic(d, f, b, kind, "decided by the operator");
    else
        flights_do(d, f, commit_report(&f->commit, b));
}

static void take_stuck(struct driver *d, const struct wire_report *r)
{
    struct commit_branch *b;
    struct flight *f = finishing(d, r, &b);
    struct found *seen = found_get(d, &r->id, r->branch, r->resource);

    if (f != NULL)
        flights_problem(f, b, r->text);
    if (seen == NULL)
        return;
    free(seen->problem);
    seen->problem = NULL;
    if (r->text != NULL) {
        seen->problem = driver_alloc(1, strlen(r->text) + 1);
        strcpy(seen->problem, r->text);
    }
}

void reports_take(struct driver *d, const struct agent *a, const struct wire_report *r)
{
    if (r->kind != REPORT_ANSWER && !driver_ours(d, &r->id))
        return;
    switch ((enum report_kind)r->kind) {
    case REPORT_PREPARED:
        take_vote(d, r, BRANCH_PREPARED);
        break;
    case REPORT_READ_ONLY:
        take_vote(d, r, BRANCH_READ_ONLY);
        break;
    case REPORT_REFUSED:
        take_vote(d, r, BRANCH_REFUSED);
        break;
    case REPORT_COMMITTED:
        take_finished(d, r, VERDICT_COMMIT);
        break;
    case REPORT_ROLLED_BACK:
        take_finished(d, r, VERDICT_ABORT);
        break;
    case REPORT_FOUND:
        found_report(d, r);
        break;
    case REPORT_HEURISTIC_COMMIT:
        take_heuristic(d, r, HEURISTIC_COMMIT);
        break;
    case REPORT_HEURISTIC_ROLLBACK:
        take_heuristic(d, r, HEURISTIC_ROLLBACK);
        break;
    case REPORT_HAZARD:
        take_heuristic(d, r, HEURISTIC_HAZARD);
        break;
    case REPORT_STUCK:
        take_stuck(d, r);
        break;
    case REPORT_ANSWER:
        asks_answered(d, a, r);
        break;
    }
}
