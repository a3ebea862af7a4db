/* ledger_read: what the ledger says to those who ask; the other half of ledger.h. The table at the top of
 * ledger.c says what an absent record means.
 */
#include "coordinator/ledger.h"

#include "coordinator/ledger_table.h"

static enum standing verdict_standing(enum verdict v)
{
    return v == VERDICT_COMMIT ? STANDING_COMMIT : STANDING_ABORT;
}

/* The nonce of a session that is gone is no longer known; any is right. */
static bool foreign(const struct ledger *l, const struct txid *id)
{
    const struct session_entry *s = ledger_find_session(l, id->session);

    return id->group != l->group || ledger_never_opened(l, id->session) ||
           (s != NULL && !s->gone && s->s.nonce != id->nonce);
}

enum standing ledger_branch_standing(const struct ledger *l, const struct txid *id)
{
    const struct session_entry *s = ledger_known_session(l, id->session);
    const struct decision_entry *e = ledger_find_decision(l, id->session, id->sequence);

    if (id->group == l->group && id->sequence == TXID_TRIAL)
        return STANDING_ABORT;
    if (foreign(l, id))
        return STANDING_FOREIGN;
    if (e != NULL)
        return verdict_standing(e->d.verdict);
    if (ledger_is_lost(l, id->session, id->sequence))
        return STANDING_LOST;
    if (s == NULL || s->s.state != SESSION_OPEN || ranges_contains(&s->acknowledged, id->sequence))
        return STANDING_ABORT;
    return STANDING_OPEN;
}

enum standing ledger_outcome(const struct ledger *l, const struct txid *id)
{
    const struct session_entry *s = ledger_known_session(l, id->session);
    const struct decision_entry *e = ledger_find_decision(l, id->session, id->sequence);

    if (foreign(l, id))
        return STANDING_FOREIGN;
    if (e != NULL && !e->presumed)
        return verdict_standing(e->d.verdict);
    if (s == NULL || ranges_contains(&s->acknowledged, id->sequence) || ranges_contains(&l->lost, id->session))
        return STANDING_FORGOTTEN;
    return s->s.state == SESSION_OPEN ? STANDING_OPEN : STANDING_ABORT;
}

uint64_t ledger_group(const struct ledger *l)
{
    return l->group;
}

const struct session *ledger_session(const struct ledger *l, uint64_t id)
{
    const struct session_entry *s = ledger_find_session(l, id);

    return s == NULL ? NULL : &s->s;
}

const struct decision *ledger_decision(const struct ledger *l, uint64_t session, uint64_t sequence)
{
    const struct decision_entry *e = ledger_find_decision(l, session, sequence);

    return e == NULL ? NULL : &e->d;
}

const struct ledger_resource *ledger_resource(const struct ledger *l, const char *name)
{
    const struct resource_entry *r = ledger_find_resource(l, name);

    return r == NULL ? NULL : &r->r;
}

const struct ledger_node *ledger_node(const struct ledger *l, uint64_t id)
{
    const struct node_entry *n = ledger_find_node(l, id);

    return n == NULL ? NULL : &n->n;
}

void ledger_each_session(const struct ledger *l, bool (*f)(void *arg, const struct session *s), void *arg)
{
    for (const struct session_entry *s = l->sessions; s != NULL; s = s->hh.next) {
        if (!f(arg, &s->s))
            return;
    }
}

void ledger_each_decision(const struct ledger *l, bool (*f)(void *arg, const struct decision *d), void *arg)
{
    for (const struct decision_entry *e = l->decisions; e != NULL; e = e->hh.next) {
        if (!f(arg, &e->d))
            return;
    }
}

void ledger_each_resource(const struct ledger *l, bool (*f)(void *arg, const struct ledger_resource *r),
                          void *arg)
{
    for (const struct resource_entry *r = l->resources; r != NULL; r = r->hh.next) {
        if (!f(arg, &r->r))
            return;
    }
}

void ledger_each_node(const struct ledger *l, bool (*f)(void *arg, const struct ledger_node *n), void *arg)
{
    for (const struct node_entry *n = l->nodes; n != NULL; n = n->hh.next) {
        if (!f(arg, &n->n))
            return;
    }
}

void ledger_count(const struct ledger *l, struct ledger_counts *out)
{
    *out = (struct ledger_counts){.sessions = HASH_CNT(hh, l->sessions),
                                  .open_sessions = HASH_CNT(hh_nonce, l->open_by_nonce),
                                  .decisions = HASH_COUNT(l->decisions),
                                  .resources = HASH_COUNT(l->resources),
                                  .heuristic = l->n_heuristic,
                                  .keys = HASH_COUNT(l->keys),
                                  .next_session = l->next_session};
}
