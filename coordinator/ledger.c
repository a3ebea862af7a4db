/* ledger: see ledger.h. The rules are here; who asks is answered in ledger_read.c, the tables are in
 * ledger_table.c, the keys in ledger_keys.c, the snapshot in ledger_snapshot.c.
 *
 * A session's life, and what an absent record of it means:
 *
 *   (never opened) --open--> OPEN --close--> CLOSED --+-- drop, or no record left --> gone
 *                                \--expire-> EXPIRED -+-- drop, and no record left --> gone
 *
 *                      for a branch   for who asks the outcome
 *   OPEN               open           open
 *   CLOSED, EXPIRED    abort          abort
 *   retention over     abort          forgotten
 *   gone               abort          forgotten
 *   acknowledged       abort          forgotten      (in every state above)
 *   never opened       foreign        foreign
 *
 * An absent record may mean ABORT to a branch, since a record of COMMIT goes only when every branch is
 * resolved; to somebody who asks for the outcome it may mean so only as long as no COMMIT of that session can
 * have gone.
 */
#include "coordinator/ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "coordinator/ledger_table.h"

struct ledger *ledger_new(uint64_t group)
{
    struct ledger *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    l->group = group;
    l->next_session = 1;
    l->keys_version = 1;
    ranges_init(&l->lost);
    buf_init(&l->incoming);
    return l;
}

void ledger_name(struct ledger *l, uint64_t group)
{
    assert(l->group == 0);
    l->group = group;
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    ledger_clear(l);
    ranges_release(&l->lost);
    buf_release(&l->incoming);
    free(l);
}

/* Applying */

static void session_settle(struct ledger *l, struct session_entry *s)
{
    if (ledger_session_may_go(s))
        ledger_remove_session(l, s);
}

/* To be called whenever a decision may have become one that goes. Either may be gone afterwards. */
static void decision_settle(struct ledger *l, struct decision_entry *e)
{
    struct session_entry *s = e->session;

    if (!ledger_decision_may_go(e))
        return;
    ledger_remove_decision(l, e);
    session_settle(l, s);
}

static void session_settle_all(struct ledger *l, struct session_entry *s)
{
    struct decision_entry *e, *next;

    DL_FOREACH_SAFE(s->decisions, e, next)
    {
        if (ledger_decision_may_go(e))
            ledger_remove_decision(l, e);
    }
    session_settle(l, s);
}

/* The session's entry, or for one that is gone a stand-in (see ledger_table.h). NULL: out of memory. */
static struct session_entry *session_home(struct ledger *l, const struct record *r)
{
    struct session_entry *s = ledger_find_session(l, r->session);
    const struct session gone = {.id = r->session,
                                 .state = SESSION_CLOSED,
                                 .opened_ms = r->at_ms,
                                 .ended_ms = r->at_ms,
                                 .retention_over = true,
                                 .name = ""};

    return s != NULL ? s : ledger_add_session(l, &gone, true);
}

/* Repeated while the session is open: the same number, so that a client that lost the answer gets it. It may
 * have been proposed before its owner's key was revoked: none is opened then. */
static int apply_open_session(struct ledger *l, uint64_t index, const struct record *r,
                              struct ledger_result *result)
{
    const struct session_entry *same = ledger_find_open(l, r->open_session.nonce);
    const struct ledger_key *k = ledger_key(l, r->open_session.owner);
    struct session s = {.id = l->next_session,
                        .nonce = r->open_session.nonce,
                        .state = SESSION_OPEN,
                        .session_timeout_ms = r->open_session.session_timeout_ms,
                        .transaction_timeout_ms = r->open_session.transaction_timeout_ms,
                        .opened_ms = r->at_ms,
                        .name = r->open_session.name};

    (void)index;
    memcpy(s.owner, r->open_session.owner, KEY_SIZE);
    if (k != NULL && k->revoked)
        return 0;
    if (same != NULL) {
        if (!ledger_session_owned(&same->s) || memcmp(same->s.owner, s.owner, KEY_SIZE) == 0)
            result->session = same->s.id;
        return 0;
    }
    if (ledger_add_session(l, &s, false) == NULL)
        return TX_ENOMEM;
    result->session = l->next_session++;
    return 0;
}

/* CLOSE and EXPIRE. Unknown or ended already: too late, nothing. */
static int apply_end_session(struct ledger *l, uint64_t index, const struct record *r,
                             struct ledger_result *result)
{
    struct session_entry *s = ledger_find_session(l, r->session);

    (void)index;
    (void)result;
    if (s == NULL || s->s.state != SESSION_OPEN)
        return 0;
    ledger_end_session(l, s, r->type == RECORD_CLOSE_SESSION ? SESSION_CLOSED : SESSION_EXPIRED, r->at_ms);
    session_settle_all(l, s);
    return 0;
}

/* Unknown, open or dropped already: nothing. */
static int apply_drop_session(struct ledger *l, uint64_t index, const struct record *r,
                              struct ledger_result *result)
{
    struct session_entry *s = ledger_find_session(l, r->session);

    (void)index;
    (void)result;
    if (s == NULL || s->s.state == SESSION_OPEN)
        return 0;
    s->s.retention_over = true;
    session_settle_all(l, s);
    return 0;
}

static int decision_make(struct ledger *l, uint64_t index, const struct record *r)
{
    struct decision_branch branches[BRANCH_LIMIT];
    struct session_entry *s = session_home(l, r);
    struct decision d = {.id = {.sequence = r->sequence},
                         .verdict = (enum verdict)r->decide.verdict,
                         .origin = (enum origin)r->decide.origin,
                         .agents_finish = r->decide.agents_finish != 0,
                         .at_ms = r->at_ms,
                         .index = index,
                         .reason = r->decide.reason,
                         .n_branches = r->decide.n_branches,
                         .branches = branches};

    assert(d.n_branches <= BRANCH_LIMIT);
    for (size_t i = 0; i < d.n_branches; i++) {
        const struct branch_ref *from = &r->decide.branches[i];

        branches[i] = (struct decision_branch){
            .number = from->number, .kind = from->kind, .resource = from->resource, .proof = from->proof};
    }
    return s == NULL || ledger_add_decision(l, s, &d, false) == NULL ? TX_ENOMEM : 0;
}

/* The fence: nothing of an ended session can become committed, not by an operator either, so an absent record
 * may be called ABORT by every node, and may have been. An ABORT is written down only as work for agents. */
static bool decide_makes_record(const struct ledger *l, const struct record *r)
{
    const struct session_entry *s = ledger_known_session(l, r->session);

    if (s != NULL && s->s.state == SESSION_OPEN)
        return true;
    return s != NULL && r->decide.verdict == VERDICT_ABORT && r->decide.n_branches > 0;
}

/* Answers NONE for what was acknowledged, and for a session whose retention is over: a COMMIT of it may have
 * stood and gone, so ABORT could be untrue. */
static int apply_decide(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    const struct session_entry *s = ledger_known_session(l, r->session);
    const struct decision_entry *e = ledger_find_decision(l, r->session, r->sequence);

    if (e != NULL) {
        result->verdict = e->presumed ? VERDICT_NONE : e->d.verdict;
        return 0;
    }
    if (s != NULL && ranges_contains(&s->acknowledged, r->sequence))
        return 0;
    if (ledger_is_lost(l, r->session, r->sequence)) {
        if (r->decide.origin != ORIGIN_OPERATOR)
            return 0;
        result->verdict = (enum verdict)r->decide.verdict;
        result->first = true;
        return decision_make(l, index, r);
    }
    if (decide_makes_record(l, r)) {
        result->verdict = (enum verdict)r->decide.verdict;
        result->first = true;
        return decision_make(l, index, r);
    }
    if (s != NULL || ledger_never_opened(l, r->session)) {
        result->verdict = VERDICT_ABORT;
        result->fenced = r->decide.verdict == VERDICT_COMMIT;
    }
    return 0;
}

static void acknowledge_one(struct ledger *l, struct decision_entry *e)
{
    e->d.acknowledged = true;
    if (ledger_decision_may_go(e))
        ledger_remove_decision(l, e);
}

/* Finds the records of a range by whichever is shorter, the range or the session's list. */
static void acknowledge_range(struct ledger *l, struct session_entry *s, const struct range *range)
{
    uint64_t width = range->to - range->from;
    struct decision_entry *e, *next;

    if (width < s->s.n_decisions) {
        for (uint64_t i = 0; i <= width; i++) {
            e = ledger_find_decision(l, s->s.id, range->from + i);
            if (e != NULL)
                acknowledge_one(l, e);
        }
        return;
    }
    DL_FOREACH_SAFE(s->decisions, e, next)
    {
        if (e->d.id.sequence >= range->from && e->d.id.sequence <= range->to)
            acknowledge_one(l, e);
    }
}

/* Session no longer known: nothing; its numbers cannot be decided anew. */
static int apply_acknowledge(struct ledger *l, uint64_t index, const struct record *r,
                             struct ledger_result *result)
{
    struct session_entry *s = ledger_known_session(l, r->session);

    (void)index;
    (void)result;
    if (s == NULL)
        return 0;
    for (size_t i = 0; i < r->acknowledge.n_ranges; i++) {
        const struct range *range = &r->acknowledge.ranges[i];

        if (range->from > range->to)
            continue;
        if (!ranges_add(&s->acknowledged, range->from, range->to))
            return TX_ENOMEM;
        acknowledge_range(l, s, range);
    }
    session_settle(l, s);
    return 0;
}

/* No record: nothing. */
static int apply_end(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    struct decision_entry *e = ledger_find_decision(l, r->session, r->sequence);

    (void)index;
    (void)result;
    if (e == NULL)
        return 0;
    e->d.ended = true;
    decision_settle(l, e);
    return 0;
}

static struct decision_branch heuristic_branch(const struct record *r)
{
    return (struct decision_branch){.number = r->heuristic.branch,
                                    .kind = BRANCH_DIRECT,
                                    .heuristic = r->heuristic.kind,
                                    .resource = r->heuristic.resource,
                                    .heuristic_text = r->heuristic.text};
}

/* The transaction has no record: it is ABORT to its branches, so that is what this branch differs from. In an
 * open session this decides it. Where the outcome is no longer known, the record must not claim to know it. */
static int heuristic_make(struct ledger *l, uint64_t index, const struct record *r)
{
    struct session_entry *s = session_home(l, r);
    struct decision_branch branch = heuristic_branch(r);
    struct decision d = {.id = {.sequence = r->sequence},
                         .verdict = VERDICT_ABORT,
                         .origin = ORIGIN_RECOVERY,
                         .ended = true,
                         .at_ms = r->at_ms,
                         .index = index,
                         .reason = "no decision stood when a heuristic outcome was reported",
                         .n_branches = 1,
                         .branches = &branch};
    bool presumed;

    if (s == NULL)
        return TX_ENOMEM;
    presumed = ledger_known_session(l, r->session) == NULL || ranges_contains(&s->acknowledged, r->sequence);
    return ledger_add_decision(l, s, &d, presumed) == NULL ? TX_ENOMEM : 0;
}

static bool is_branch(const struct decision_branch *b, const struct record *r)
{
    return b->number == r->heuristic.branch && strcmp(b->resource, r->heuristic.resource) == 0;
}

/* What is known for certain stands; a hazard gives way to it. A branch that is not in the record is added,
 * unless the record is full: no transaction has so many, so the report is not of one of its branches. */
static int heuristic_note(struct ledger *l, struct decision_entry *e, const struct record *r)
{
    struct decision_branch branches[BRANCH_LIMIT];
    struct decision d = e->d;
    size_t i;

    memcpy(branches, e->branches, d.n_branches * sizeof *branches);
    d.branches = branches;
    for (i = 0; i < d.n_branches && !is_branch(&branches[i], r); i++)
        ;
    if (i == BRANCH_LIMIT)
        return 0;
    if (i == d.n_branches) {
        branches[d.n_branches++] = heuristic_branch(r);
    } else {
        if (branches[i].heuristic != HEURISTIC_NONE &&
            (branches[i].heuristic != HEURISTIC_HAZARD || r->heuristic.kind == HEURISTIC_HAZARD))
            return 0;
        branches[i].heuristic = r->heuristic.kind;
        branches[i].heuristic_text = r->heuristic.text;
    }
    return ledger_replace_decision(l, e, &d) == NULL ? TX_ENOMEM : 0;
}

/* Of a session never opened, or one that the restored ledger knows too little of: nothing. */
static int apply_heuristic(struct ledger *l, uint64_t index, const struct record *r,
                           struct ledger_result *result)
{
    struct decision_entry *e = ledger_find_decision(l, r->session, r->sequence);

    (void)result;
    if (e != NULL)
        return heuristic_note(l, e, r);
    if (ledger_never_opened(l, r->session) || ledger_is_lost(l, r->session, r->sequence))
        return 0;
    return heuristic_make(l, index, r);
}

static bool all_heuristic(const struct decision *d)
{
    for (size_t i = 0; i < d->n_branches; i++) {
        if (d->branches[i].heuristic == HEURISTIC_NONE)
            return false;
    }
    return true;
}

/* No record, or none with a heuristic outcome: nothing. A branch with a heuristic outcome is resolved, so the
 * record has ended if all have one; if another branch may still be prepared, it needs the record and END is
 * awaited. Where the session is over nobody else will acknowledge, so the operator does; the number joins the
 * set, or a COMMIT would now pass for an ABORT. */
static int apply_forget(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    struct decision_entry *e = ledger_find_decision(l, r->session, r->sequence);
    struct session_entry *s = ledger_known_session(l, r->session);

    (void)index;
    (void)result;
    if (e == NULL || e->d.heuristic == HEURISTIC_NONE)
        return 0;
    if (s != NULL && s->s.state != SESSION_OPEN) {
        if (!ranges_add(&s->acknowledged, r->sequence, r->sequence))
            return TX_ENOMEM;
        e->d.acknowledged = true;
    }
    e->d.ended = e->d.ended || all_heuristic(&e->d);
    ledger_clear_heuristic(l, e);
    decision_settle(l, e);
    return 0;
}

static int put_resource(struct ledger *l, const struct ledger_resource *r)
{
    return ledger_put_resource(l, r) == NULL ? TX_ENOMEM : 0;
}

/* There already: its kind is replaced; but what an operator declared stays as it is. */
static int apply_add_resource(struct ledger *l, uint64_t index, const struct record *r,
                              struct ledger_result *result)
{
    const struct ledger_resource *known = ledger_resource(l, r->resource.name);
    struct ledger_resource resource = {
        .name = r->resource.name, .kind = r->resource.kind, .settings = "", .added_ms = r->at_ms};

    (void)index;
    (void)result;
    if (known != NULL && known->declared)
        return 0;
    if (known != NULL)
        resource.added_ms = known->added_ms;
    return put_resource(l, &resource);
}

/* There already: nothing; the first one stands. */
static int apply_declare_resource(struct ledger *l, uint64_t index, const struct record *r,
                                  struct ledger_result *result)
{
    const struct ledger_resource resource = {.name = r->resource.name,
                                             .kind = r->resource.kind,
                                             .settings = r->resource.settings,
                                             .declared = true,
                                             .added_ms = r->at_ms};

    (void)index;
    (void)result;
    return ledger_resource(l, resource.name) != NULL ? 0 : put_resource(l, &resource);
}

/* Not there: nothing. */
static int apply_alter_resource(struct ledger *l, uint64_t index, const struct record *r,
                                struct ledger_result *result)
{
    const struct ledger_resource *known = ledger_resource(l, r->resource.name);
    struct ledger_resource resource;

    (void)index;
    (void)result;
    if (known == NULL)
        return 0;
    resource = *known;
    resource.settings = r->resource.settings;
    resource.declared = true;
    resource.altered_ms = r->at_ms;
    return put_resource(l, &resource);
}

/* Not there: nothing. */
static int apply_remove_resource(struct ledger *l, uint64_t index, const struct record *r,
                                 struct ledger_result *result)
{
    struct resource_entry *e = ledger_find_resource(l, r->resource.name);

    (void)index;
    (void)result;
    if (e != NULL)
        ledger_remove_resource(l, e);
    return 0;
}

/* There already: its address is replaced. More than a ledger names: nothing; a group is bounded elsewhere. */
static int apply_add_node(struct ledger *l, uint64_t index, const struct record *r,
                          struct ledger_result *result)
{
    const struct ledger_node node = {r->node.id, r->node.address};

    (void)index;
    (void)result;
    if (ledger_find_node(l, node.id) == NULL && HASH_COUNT(l->nodes) >= NODE_LIMIT)
        return 0;
    return ledger_put_node(l, &node) == NULL ? TX_ENOMEM : 0;
}

/* Not there: nothing. */
static int apply_remove_node(struct ledger *l, uint64_t index, const struct record *r,
                             struct ledger_result *result)
{
    struct node_entry *e = ledger_find_node(l, r->node.id);

    (void)index;
    (void)result;
    if (e != NULL)
        ledger_remove_node(l, e);
    return 0;
}

static int apply_add_key(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    (void)result;
    return ledger_add_key(l, index, r);
}

/* The fence: what was opened with the key commits nothing behind this record. */
static int apply_revoke_key(struct ledger *l, uint64_t index, const struct record *r,
                            struct ledger_result *result)
{
    struct session_entry *s, *next;

    HASH_ITER(hh, l->sessions, s, next)
    {
        if (s->s.state != SESSION_OPEN || memcmp(s->s.owner, r->key.key, KEY_SIZE) != 0)
            continue;
        ledger_end_session(l, s, SESSION_EXPIRED, r->at_ms);
        session_settle_all(l, s);
        result->n_expired++;
    }
    return ledger_revoke_key(l, index, r);
}

/* Out of order or twice: nothing. */
static int apply_restore(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    int rc;

    (void)index;
    (void)result;
    if (r->restore.at == 0)
        buf_reset(&l->incoming);
    if (r->restore.at != l->incoming.len)
        return 0;
    buf_put_bytes(&l->incoming, r->restore.data, r->restore.len);
    if (l->incoming.failed)
        return TX_ENOMEM;
    if (l->incoming.len < r->restore.total)
        return 0;
    rc = ledger_adopt(l, l->incoming.data, l->incoming.len, r->at_ms);
    buf_release(&l->incoming);
    buf_init(&l->incoming);
    return rc == TX_ENOMEM ? rc : 0; /* what is no backup changes nothing; it was looked at before */
}

int ledger_apply(struct ledger *l, uint64_t index, const struct record *r, struct ledger_result *result)
{
    static int (*const apply[])(struct ledger *, uint64_t, const struct record *, struct ledger_result *) = {
        [RECORD_OPEN_SESSION] = apply_open_session,
        [RECORD_CLOSE_SESSION] = apply_end_session,
        [RECORD_EXPIRE_SESSION] = apply_end_session,
        [RECORD_DROP_SESSION] = apply_drop_session,
        [RECORD_DECIDE] = apply_decide,
        [RECORD_ACKNOWLEDGE] = apply_acknowledge,
        [RECORD_END] = apply_end,
        [RECORD_HEURISTIC] = apply_heuristic,
        [RECORD_FORGET] = apply_forget,
        [RECORD_ADD_RESOURCE] = apply_add_resource,
        [RECORD_REMOVE_RESOURCE] = apply_remove_resource,
        [RECORD_ADD_NODE] = apply_add_node,
        [RECORD_REMOVE_NODE] = apply_remove_node,
        [RECORD_RESTORE] = apply_restore,
        [RECORD_DECLARE_RESOURCE] = apply_declare_resource,
        [RECORD_ALTER_RESOURCE] = apply_alter_resource,
        [RECORD_ADD_KEY] = apply_add_key,
        [RECORD_REVOKE_KEY] = apply_revoke_key,
    };

    assert((size_t)r->type < sizeof apply / sizeof apply[0] && apply[r->type] != NULL);
    memset(result, 0, sizeof *result);
    return apply[r->type](l, index, r, result);
}
