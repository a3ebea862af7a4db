/* driver_operator: what an operator asks the leader to do: resolve, forget, remove a resource, inquire at an
 * agent (driver.h). Called by admin; calls flights, found, agents; asks knows who waits for what. */
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/asks.h"
#include "coordinator/flights.h"
#include "coordinator/found.h"

static int not_leader(const struct driver *d, struct tx_error *e)
{
    const char *leader = driver_leader(d);

    return err_set(e, TX_ENOTLEADER, "this coordinator does not lead its group%s%s",
                   *leader != '\0' ? "; the leader is " : "", leader);
}

static int too_many(struct tx_error *e)
{
    return err_set(e, TX_EBUSY, "%d requests of operators are under way, and that is the limit", ASK_LIMIT);
}

/* May an operator start another one? */
static int admit(struct driver *d, uint64_t now, uint64_t wall, struct tx_error *e)
{
    d->now = d->wall_seen = now;
    d->wall = wall;
    if (!d->leading)
        return not_leader(d, e);
    return asks_full(d) ? too_many(e) : 0;
}

/* Resolve */

/* What an operator may decide is in doubt: prepared somewhere, undecided, and not being worked on. */
static int may_resolve(const struct driver *d, const struct txid *id, size_t n_found, struct tx_error *e)
{
    const struct decision *decision = ledger_decision(d->ledger, id->session, id->sequence);
    enum standing standing = ledger_branch_standing(d->ledger, id);

    if (standing == STANDING_FOREIGN)
        return err_set(e, TX_ENOTFOUND, "no such transaction was ever begun in this group");
    if (decision != NULL)
        return err_set(e, TX_EREFUSED, "it is decided already: %s, by the %s", verdict_name(decision->verdict),
                       origin_name(decision->origin));
    if (flights_find(d, id->session, id->sequence) != NULL)
        return err_set(e, TX_EREFUSED, "its client has asked for the commit, and it is being decided");
    if (standing == STANDING_ABORT && n_found > 0)
        return err_set(e, TX_EREFUSED,
                       "its session is over or has acknowledged it, so it is aborted: its agents "
                       "roll back what is prepared");
    if (n_found == 0)
        return err_set(e, TX_ENOTFOUND, "no agent sees a prepared branch of it");
    return flights_full(d) ? err_set(e, TX_EBUSY, "too many transactions are under way") : 0;
}

int driver_resolve(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id, enum verdict verdict,
                   driver_done_cb done, void *arg, struct tx_error *e)
{
    struct branch_ref branches[BRANCH_LIMIT];
    struct flight_start start = {
        .id = *id, .verdict = verdict, .origin = ORIGIN_OPERATOR, .agents_finish = true, .branches = branches};
    struct flight *f;
    struct ask *a;
    int rc = admit(d, now, wall, e);

    if (rc != 0)
        return rc;
    start.n = found_collect(d, id, branches);
    rc = may_resolve(d, id, start.n, e);
    if (rc != 0)
        return rc;
    f = flights_add(d, &start);
    flights_reason(f, "decided by the operator");
    flights_do(d, f, commit_step(&f->commit, COMMIT_CHOSEN));
    a = asks_add(d, f->ticket, done, arg);
    a->resolve = true;
    a->key = f->key;
    return 0;
}

/* Forget, remove */

int driver_forget(struct driver *d, uint64_t now, uint64_t wall, const struct txid *id, driver_done_cb done,
                  void *arg, struct tx_error *e)
{
    const struct decision *decision = ledger_decision(d->ledger, id->session, id->sequence);
    struct record r = {.type = RECORD_FORGET, .session = id->session, .sequence = id->sequence};
    int rc = admit(d, now, wall, e);

    if (rc != 0)
        return rc;
    if (decision == NULL || ledger_branch_standing(d->ledger, id) == STANDING_FOREIGN)
        return err_set(e, TX_ENOTFOUND, "no decision of this transaction stands");
    if (decision->heuristic == HEURISTIC_NONE)
        return err_set(e, TX_EREFUSED, "it has no heuristic outcome; its record goes by itself");
    asks_add(d, driver_log(d, &r), done, arg)->stands = decision->verdict;
    return 0;
}

static bool has_branch_in(const struct decision *decision, const char *resource)
{
    for (size_t i = 0; i < decision->n_branches; i++)
        if (strcmp(decision->branches[i].resource, resource) == 0)
            return true;
    return false;
}

struct unfinished_search {
    const char *resource;
    bool seen;
};

static bool search_unfinished(void *arg, const struct decision *decision)
{
    struct unfinished_search *s = arg;

    s->seen = !decision->ended && has_branch_in(decision, s->resource);
    return !s->seen;
}

static bool flight_uses(const struct driver *d, const char *resource)
{
    for (const struct flight *f = d->flights; f != NULL; f = f->hh.next)
        for (size_t i = 0; i < f->commit.n; i++)
            if (f->commit.state < COMMIT_RESOLVING && strcmp(f->commit.branches[i].resource, resource) == 0)
                return true;
    return false;
}

int driver_remove_resource(struct driver *d, uint64_t now, uint64_t wall, const char *name, driver_done_cb done,
                           void *arg, struct tx_error *e)
{
    struct record r = {.type = RECORD_REMOVE_RESOURCE};
    struct unfinished_search search = {.resource = name};
    const struct seat *seat;
    int rc = admit(d, now, wall, e);

    if (rc != 0)
        return rc;
    seat = agents_first(d, name);
    if (ledger_resource(d->ledger, name) == NULL)
        return err_set(e, TX_ENOTFOUND, "no resource %s is registered", name);
    if (seat != NULL)
        return err_set(e, TX_EREFUSED, "agent %s serves %s; stop it first", seat->agent->name, name);
    ledger_each_decision(d->ledger, search_unfinished, &search);
    if (search.seen || flight_uses(d, name))
        return err_set(e, TX_EREFUSED, "transactions with a branch on %s are not finished", name);
    r.resource.name = name;
    (void)asks_add(d, driver_log(d, &r), done, arg);
    return 0;
}

/* Inquire */

int driver_inquire(struct driver *d, uint64_t now, const char *resource, const char *question,
                   driver_answer_cb answer, void *arg, struct tx_error *e)
{
    d->now = now;
    if (!d->leading)
        return not_leader(d, e);
    if (agents_first(d, resource) == NULL)
        return err_set(e, TX_ENOTFOUND, "no living agent serves resource %s", resource);
    if (asks_full(d))
        return too_many(e);
    asks_inquire(d, resource, question, answer, arg);
    return 0;
}
