/* decide: see decide.h. */
#include "coordinator/decide.h"

#include "coordinator/flights.h"
#include "coordinator/lookups.h"
#include "coordinator/seats.h"
#include "coordinator/sessions.h"
#include "libtx/shared/crash.h"

static void no_longer_known(struct driver *d, const struct reply_to *to)
{
    driver_reply_error(d, to, TX_ENOTFOUND,
                       "the outcome is no longer known: finished and acknowledged, or past the retention time");
}

/* True: answered, as the ledger has it. */
static bool answer_from_ledger(struct driver *d, const struct reply_to *from, const struct txid *id)
{
    switch (ledger_outcome(d->ledger, id)) {
    case STANDING_COMMIT:
    case STANDING_ABORT:
        flights_answer(d, id, NULL, from);
        return true;
    case STANDING_LOST:
    case STANDING_FORGOTTEN:
        no_longer_known(d, from);
        return true;
    case STANDING_FOREIGN:
        driver_reply_error(d, from, TX_ESESSION, "session %llu is not known to this group",
                           (unsigned long long)id->session);
        return true;
    case STANDING_OPEN:
        break;
    }
    return false;
}

/* Once more for one that is being decided or finished. */
static void join(struct driver *d, struct flight *f, const struct reply_to *from, const struct wire_decide *m)
{
    bool decided = f->commit.state == COMMIT_RESOLVING || f->commit.state == COMMIT_ENDING;

    if (m->agents_finish && !f->commit.agents_finish)
        flights_agents_finish(d, f);
    if (decided && (m->wait == WAIT_DECIDED || commit_completed(&f->commit)))
        flights_answer(d, &f->id, f, from);
    else
        flights_wait(f, from, m->wait);
    if (m->verdict == VERDICT_ABORT)
        flights_reason(f, "rolled back by the application");
    flights_do(d, f, commit_step(&f->commit, m->verdict == VERDICT_ABORT ? COMMIT_CHOSEN : COMMIT_ASKED));
}

static bool well_formed(const struct wire_decide *m)
{
    for (size_t i = 0; i < m->n_branches; i++)
        for (size_t k = 0; k < i; k++)
            if (m->branches[i].number == m->branches[k].number)
                return false;
    return m->id.sequence > 0 && m->id.sequence != TXID_TRIAL;
}

/* Directly after a change of leaders agents may not have found this one yet; they have as long as a vote. */
static bool agents_known(const struct driver *d)
{
    return d->now - d->leading_since >= d->options.agent_timeout_ms;
}

/* Sets the reason where the commit cannot be granted. */
static void check(struct driver *d, struct flight *f, const struct wire_decide *m)
{
    for (size_t i = 0; i < m->n_branches && f->reason == NULL; i++) {
        const char *resource = m->branches[i].resource;

        if (ledger_resource(d->ledger, resource) == NULL)
            flights_reason(f,
                           "no resource %s: txadmin resource add %s KIND SETTINGS, or start its agent, or "
                           "correct the name",
                           resource, resource);
        else if (m->branches[i].kind == BRANCH_REMOTE && agents_known(d) && seats_first(d, resource) == NULL)
            flights_reason(f, "no living agent serves resource %s", resource);
    }
}

static void start(struct driver *d, const struct reply_to *from, const struct wire_decide *m)
{
    const struct flight_start with = {.id = m->id,
                                      .verdict = (enum verdict)m->verdict,
                                      .origin = ORIGIN_CLIENT,
                                      .agents_finish = m->agents_finish != 0,
                                      .n = m->n_branches,
                                      .branches = m->branches};
    struct flight *f = flights_add(d, &with);

    flights_wait(f, from, m->wait);
    if (m->verdict == VERDICT_COMMIT)
        check(d, f, m);
    else
        flights_reason(f, "rolled back by the application");
    if (m->verdict == VERDICT_COMMIT && f->reason != NULL) {
        f->commit.verdict = VERDICT_ABORT;
        f->origin = ORIGIN_COORDINATOR;
    }
    flights_do(d, f, commit_step(&f->commit, f->reason == NULL ? COMMIT_ASKED : COMMIT_CHOSEN));
}

void decide_request(struct driver *d, const struct reply_to *from, const struct wire_decide *m)
{
    struct lease *lease = sessions_touch(d, m->id.session, m->id.nonce);
    struct flight *f;

    crash_point(CRASH_COORD_COMMIT_RECEIVED);
    if (!driver_ours(d, &m->id)) {
        driver_reply_error(d, from, TX_ENOTLEADER, "this coordinator belongs to another group");
        return;
    }
    if (lease != NULL)
        (void)sessions_news(d, lease, &m->news);
    f = flights_find(d, m->id.session, m->id.sequence);
    if (f != NULL && txid_equal(&f->id, &m->id))
        join(d, f, from, m);
    else if (answer_from_ledger(d, from, &m->id))
        return;
    else if (!well_formed(m))
        driver_reply_error(d, from, TX_EINVAL, "a branch's number is used twice, or the transaction has none");
    else if (flights_full(d))
        driver_reply_error(d, from, TX_EBUSY, "%zu transactions are under way, and that is the limit",
                           d->options.max_transactions);
    else
        start(d, from, m);
}

void decide_answer_outcome(struct driver *d, const struct reply_to *to, const struct txid *id)
{
    static const enum tx_outcome outcomes[] = {
        [STANDING_COMMIT] = TX_OUTCOME_COMMITTED,    [STANDING_ABORT] = TX_OUTCOME_ABORTED,
        [STANDING_OPEN] = TX_OUTCOME_PENDING,        [STANDING_LOST] = TX_OUTCOME_FORGOTTEN,
        [STANDING_FORGOTTEN] = TX_OUTCOME_FORGOTTEN,
    };
    struct wire_message answer = {.type = WIRE_OUTCOME_IS};
    enum standing standing = ledger_outcome(d->ledger, id);

    if (!driver_ours(d, id) || standing == STANDING_FOREIGN) {
        driver_reply_error(d, to, TX_ENOTFOUND, "no such transaction was ever begun in this group");
        return;
    }
    answer.outcome_is.outcome = (uint8_t)outcomes[standing];
    d->counters.lookups++;
    driver_reply(d, to, &answer);
}

bool decide_outcome_for_ever(struct driver *d, const struct reply_to *from, const struct wire_outcome *m)
{
    enum standing standing = ledger_outcome(d->ledger, &m->id);

    if (standing != STANDING_COMMIT && standing != STANDING_ABORT)
        return false;
    decide_answer_outcome(d, from, &m->id);
    return true;
}

void decide_outcome(struct driver *d, const struct reply_to *from, const struct wire_outcome *m)
{
    if (d->n_members < 2)
        decide_answer_outcome(d, from, &m->id); /* nobody else could have decided */
    else if (!decide_outcome_for_ever(d, from, m))
        lookups_add(d, from, &m->id);
}
