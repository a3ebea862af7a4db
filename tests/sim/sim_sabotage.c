/* sim_sabotage: functions of the product, seen from outside (--wrap): what the checks and the coverage learn
 * from them, and the rules that are broken on purpose. The product itself has no switch for it.
 */
#include <string.h>

#include "coordinator/commit.h"
#include "coordinator/ledger_table.h"
#include "coordinator/wal.h"
#include "libtx/call.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_cover.h"
#include "tests/sim/sim_world.h"

int __real_ledger_apply(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result);
int __wrap_ledger_apply(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result);
unsigned __real_commit_vote(struct commit *c, struct commit_branch *b, enum commit_branch_state vote,
                            const char *proof);
unsigned __wrap_commit_vote(struct commit *c, struct commit_branch *b, enum commit_branch_state vote,
                            const char *proof);
int __real_wal_set_vote(struct wal *w, uint64_t term, uint64_t vote, struct tx_error *e);
int __wrap_wal_set_vote(struct wal *w, uint64_t term, uint64_t vote, struct tx_error *e);
int __real_call_result(struct call *c, const struct wire_message **reply, struct tx_error *e);
int __wrap_call_result(struct call *c, const struct wire_message **reply, struct tx_error *e);

/* the ledger */

static void also_apply(struct ledger *l, uint64_t index, const struct record *r)
{
    struct ledger_result ignored;

    (void)__real_ledger_apply(l, index, r, &ignored);
}

static void acknowledge(struct ledger *l, uint64_t index, const struct record *end)
{
    const struct range range = {end->sequence, end->sequence};
    struct record r = {.type = RECORD_ACKNOWLEDGE, .session = end->session};

    r.acknowledge.n_ranges = 1;
    r.acknowledge.ranges = &range;
    also_apply(l, index, &r);
}

static void end_all(struct ledger *l, uint64_t index, const struct record *acknowledged)
{
    for (size_t i = 0; i < acknowledged->acknowledge.n_ranges; i++) {
        const struct range *range = &acknowledged->acknowledge.ranges[i];

        for (uint64_t sequence = range->from; sequence <= range->to; sequence++) {
            struct record r = {.type = RECORD_END, .session = acknowledged->session, .sequence = sequence};

            also_apply(l, index, &r);
        }
    }
}

/* Numbers whose records have gone are not kept either. */
static void forget_numbers(struct ledger *l, uint64_t session)
{
    struct session_entry *s = ledger_find_session(l, session);
    uint64_t last;

    if (s == NULL || s->s.state != SESSION_OPEN || s->acknowledged.n == 0)
        return;
    last = s->acknowledged.items[s->acknowledged.n - 1].to;
    for (uint64_t sequence = 1; sequence <= last; sequence++) {
        if (ledger_find_decision(l, session, sequence) == NULL)
            (void)ranges_remove(&s->acknowledged, sequence, sequence);
    }
}

/* A record that gets past the rule at hand: what is applied in its place. */
static struct record break_decide(struct ledger *l, const struct record *r)
{
    struct session_entry *s = ledger_find_session(l, r->session);
    struct decision_entry *e = ledger_find_decision(l, r->session, r->sequence);
    struct record other = *r;

    if (sim_options.sabotage == SABOTAGE_NO_FENCE && s != NULL && s->s.state != SESSION_OPEN)
        other.decide.origin = ORIGIN_OPERATOR;
    if (sim_options.sabotage == SABOTAGE_LAST_WINS && e != NULL)
        e->d.verdict = (enum verdict)r->decide.verdict;
    return other;
}

static void count_rare(const struct ledger *l, const struct record *r, const struct ledger_result *result)
{
    const struct decision *d = ledger_decision(l, r->session, r->sequence);

    if (r->type == RECORD_EXPIRE_SESSION)
        sim_count(FAULT_expired);
    if (r->type != RECORD_DECIDE)
        return;
    if (result->fenced)
        sim_count(FAULT_fenced);
    if (d != NULL && !result->first)
        sim_count(d->verdict == (enum verdict)r->decide.verdict ? FAULT_decided_twice
                                                                : FAULT_decided_otherwise);
    if (result->verdict == VERDICT_NONE)
        sim_count(FAULT_late_double);
}

static void break_after(struct ledger *l, uint64_t index, const struct record *r)
{
    enum sabotage s = sim_options.sabotage;

    if (s == SABOTAGE_DROP_UNACKNOWLEDGED && r->type == RECORD_END)
        acknowledge(l, index, r);
    if (s == SABOTAGE_DECIDED_ANEW && (r->type == RECORD_END || r->type == RECORD_ACKNOWLEDGE))
        forget_numbers(l, r->session);
}

int __wrap_ledger_apply(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    enum sabotage s = sim_options.sabotage;
    struct record other = *r;
    int rc;

    if (s == SABOTAGE_NO_END && r->type == RECORD_END)
        return TX_OK;
    if (s == SABOTAGE_DROP_UNRESOLVED && r->type == RECORD_ACKNOWLEDGE)
        end_all(l, index, r);
    if (r->type == RECORD_DECIDE)
        other = break_decide(l, r);
    rc = __real_ledger_apply(l, index, &other, result);
    count_rare(l, r, result);
    break_after(l, index, r);
    check_record(r, result);
    return rc;
}

/* the leader */

unsigned __wrap_commit_vote(struct commit *c, struct commit_branch *b, enum commit_branch_state vote,
                            const char *proof)
{
    enum commit_state before = c->state;
    unsigned actions;

    for (size_t i = 0; i < c->n && sim_options.sabotage == SABOTAGE_ONE_VOTE && vote == BRANCH_PREPARED; i++) {
        if (&c->branches[i] != b && c->branches[i].state == BRANCH_PREPARING)
            c->branches[i].state = BRANCH_PREPARED;
    }
    actions = __real_commit_vote(c, b, vote, proof);
    cover_commit(before, vote == BRANCH_REFUSED ? COMMIT_REFUSED : COMMIT_VOTED, c);
    return actions;
}

/* the log */

int __wrap_wal_set_vote(struct wal *w, uint64_t term, uint64_t vote, struct tx_error *e)
{
    int rc = __real_wal_set_vote(w, term, sim_options.sabotage == SABOTAGE_DOUBLE_VOTE ? 0 : vote, e);

    if (rc == TX_OK)
        check_vote(places[sim_self()->number].id, term, vote);
    /* Who crashes now, and is back before the election is over, shows whether it knows what it has voted. */
    if (vote != 0 && !world_calm() && sim_chance(2500))
        world_stumble(sim_self());
    return rc;
}

/* the client */

int __wrap_call_result(struct call *c, const struct wire_message **reply, struct tx_error *e)
{
    int rc = __real_call_result(c, reply, e);

    if (sim_options.sabotage == SABOTAGE_TIMEOUT_ABORT && rc == TX_ETIMEOUT && c->want == WIRE_DECIDED)
        c->sent = false;
    return rc;
}
