/* ledger_table: see ledger_table.h. */
#include "coordinator/ledger_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

/* Two neighbours of struct txid are the key of a decision. */
enum { DECISION_KEY = 2 * sizeof(uint64_t) };
static_assert(offsetof(struct txid, sequence) == offsetof(struct txid, session) + sizeof(uint64_t),
              "session and sequence number are one key");

void ledger_clear(struct ledger *l)
{
    struct session_entry *s, *next_session;
    struct resource_entry *r, *next_resource;
    struct node_entry *n, *next_node;
    struct known_key *k, *next_key;

    HASH_ITER(hh, l->sessions, s, next_session)
    ledger_remove_session(l, s);
    HASH_ITER(hh, l->resources, r, next_resource)
    ledger_remove_resource(l, r);
    HASH_ITER(hh, l->nodes, n, next_node)
    ledger_remove_node(l, n);
    HASH_ITER(hh, l->keys, k, next_key)
    ledger_remove_key(l, k);
}

/* Sessions */

struct session_entry *ledger_find_session(const struct ledger *l, uint64_t id)
{
    struct session_entry *s;

    HASH_FIND(hh, l->sessions, &id, sizeof id, s);
    return s;
}

struct session_entry *ledger_find_open(const struct ledger *l, uint64_t nonce)
{
    struct session_entry *s;

    HASH_FIND(hh_nonce, l->open_by_nonce, &nonce, sizeof nonce, s);
    return s;
}

static struct session_entry *session_new(const struct session *s, bool gone)
{
    size_t name_size = strlen(s->name) + 1;
    struct session_entry *e = calloc(1, sizeof *e + name_size);

    if (e == NULL)
        return NULL;
    e->s = *s;
    e->s.n_decisions = 0;
    e->s.name = memcpy(e->name, s->name, name_size);
    e->s.acknowledged = &e->acknowledged;
    e->gone = gone;
    ranges_init(&e->acknowledged);
    return e;
}

static void session_free(struct session_entry *s)
{
    ranges_release(&s->acknowledged);
    free(s);
}

struct session_entry *ledger_add_session(struct ledger *l, const struct session *s, bool gone)
{
    struct session_entry *e = session_new(s, gone);

    if (e == NULL)
        return NULL;
    HASH_ADD(hh, l->sessions, s.id, sizeof e->s.id, e);
    if (e->hh.tbl == NULL)
        goto out;
    if (e->s.state == SESSION_OPEN) {
        HASH_ADD(hh_nonce, l->open_by_nonce, s.nonce, sizeof e->s.nonce, e);
        if (e->hh_nonce.tbl == NULL) {
            HASH_DELETE(hh, l->sessions, e);
            goto out;
        }
    }
    return e;
out:
    session_free(e);
    return NULL;
}

void ledger_end_session(struct ledger *l, struct session_entry *s, enum session_state state, uint64_t ended_ms)
{
    assert(s->s.state == SESSION_OPEN && state != SESSION_OPEN);
    HASH_DELETE(hh_nonce, l->open_by_nonce, s);
    s->s.state = state;
    s->s.ended_ms = ended_ms;
}

void ledger_remove_session(struct ledger *l, struct session_entry *s)
{
    while (s->decisions != NULL)
        ledger_remove_decision(l, s->decisions);
    if (s->s.state == SESSION_OPEN)
        HASH_DELETE(hh_nonce, l->open_by_nonce, s);
    HASH_DELETE(hh, l->sessions, s);
    session_free(s);
}

bool ledger_session_may_go(const struct session_entry *s)
{
    return s->s.n_decisions == 0 && (s->s.state == SESSION_CLOSED || s->s.retention_over);
}

/* Decisions */

struct decision_entry *ledger_find_decision(const struct ledger *l, uint64_t session, uint64_t sequence)
{
    const uint64_t key[2] = {session, sequence};
    struct decision_entry *e;

    HASH_FIND(hh, l->decisions, key, DECISION_KEY, e);
    return e;
}

static size_t text_size(const char *s)
{
    return s == NULL ? 0 : strlen(s) + 1;
}

/* Copies a string to *at and moves on. */
static const char *text_put(char **at, const char *s)
{
    size_t n = text_size(s);
    char *copy = *at;

    if (s == NULL)
        return NULL;
    *at += n;
    return memcpy(copy, s, n);
}

/* A branch known to differ is worse than one that may; between two of them the first one names it. */
static enum heuristic worse(enum heuristic a, enum heuristic b)
{
    if (a == HEURISTIC_NONE)
        return b;
    return a == HEURISTIC_HAZARD && b != HEURISTIC_NONE ? b : a;
}

static size_t decision_size(const struct decision *d)
{
    size_t size = sizeof(struct decision_entry) + d->n_branches * sizeof *d->branches + text_size(d->reason);

    for (size_t i = 0; i < d->n_branches; i++)
        size += text_size(d->branches[i].resource) + text_size(d->branches[i].proof) +
                text_size(d->branches[i].heuristic_text);
    return size;
}

static struct decision_entry *decision_new(const struct decision *d)
{
    struct decision_entry *e = malloc(decision_size(d));
    char *at;

    if (e == NULL)
        return NULL;
    memset(e, 0, sizeof *e);
    at = (char *)&e->branches[d->n_branches];
    e->d = *d;
    e->d.reason = text_put(&at, d->reason);
    e->d.branches = e->branches;
    e->d.heuristic = HEURISTIC_NONE;
    for (size_t i = 0; i < d->n_branches; i++) {
        const struct decision_branch *from = &d->branches[i];
        struct decision_branch *to = &e->branches[i];

        *to = *from;
        to->resource = text_put(&at, from->resource);
        to->proof = text_put(&at, from->proof);
        to->heuristic_text = text_put(&at, from->heuristic_text);
        e->d.heuristic = worse(e->d.heuristic, to->heuristic);
    }
    return e;
}

struct decision_entry *ledger_add_decision(struct ledger *l, struct session_entry *s, const struct decision *d,
                                           bool presumed)
{
    struct decision_entry *e = decision_new(d);

    if (e == NULL)
        return NULL;
    e->session = s;
    e->presumed = presumed;
    e->d.id = (struct txid){l->group, s->s.id, d->id.sequence, s->s.nonce};
    e->d.acknowledged = ranges_contains(&s->acknowledged, d->id.sequence);
    HASH_ADD(hh, l->decisions, d.id.session, DECISION_KEY, e);
    if (e->hh.tbl == NULL) {
        free(e);
        return NULL;
    }
    DL_APPEND(s->decisions, e);
    s->s.n_decisions++;
    l->n_heuristic += e->d.heuristic != HEURISTIC_NONE;
    return e;
}

/* Takes it out of the tables; the memory stays. */
static void decision_unlink(struct ledger *l, struct decision_entry *e)
{
    l->n_heuristic -= e->d.heuristic != HEURISTIC_NONE;
    e->session->s.n_decisions--;
    DL_DELETE(e->session->decisions, e);
    HASH_DELETE(hh, l->decisions, e);
}

struct decision_entry *ledger_replace_decision(struct ledger *l, struct decision_entry *e,
                                               const struct decision *d)
{
    struct decision_entry *added;

    decision_unlink(l, e);
    added = ledger_add_decision(l, e->session, d, e->presumed);
    free(e);
    return added;
}

void ledger_clear_heuristic(struct ledger *l, struct decision_entry *e)
{
    l->n_heuristic -= e->d.heuristic != HEURISTIC_NONE;
    e->d.heuristic = HEURISTIC_NONE;
    for (size_t i = 0; i < e->d.n_branches; i++) {
        e->branches[i].heuristic = HEURISTIC_NONE;
        e->branches[i].heuristic_text = NULL;
    }
}

void ledger_remove_decision(struct ledger *l, struct decision_entry *e)
{
    decision_unlink(l, e);
    free(e);
}

bool ledger_decision_may_go(const struct decision_entry *e)
{
    const struct session *s = &e->session->s;

    if (!e->d.ended || e->d.heuristic != HEURISTIC_NONE)
        return false;
    /* Once the session is over, no record means ABORT: the record of an abort then says nothing that is not
     * said without it. */
    return e->d.acknowledged || s->retention_over ||
           (e->d.verdict == VERDICT_ABORT && s->state != SESSION_OPEN);
}

/* Resources */

struct resource_entry *ledger_find_resource(const struct ledger *l, const char *name)
{
    struct resource_entry *r;

    HASH_FIND_STR(l->resources, name, r);
    return r;
}

static void text_copy(char *to, const char *from, size_t limit)
{
    size_t n = strlen(from);

    assert(n <= limit);
    memmove(to, from, n + 1);
}

static struct resource_entry *resource_new(struct ledger *l, const char *name)
{
    struct resource_entry *e = calloc(1, sizeof *e);

    if (e == NULL)
        return NULL;
    text_copy(e->name, name, NAME_LIMIT);
    HASH_ADD_STR(l->resources, name, e);
    if (e->hh.tbl == NULL) {
        free(e);
        return NULL;
    }
    return e;
}

struct resource_entry *ledger_put_resource(struct ledger *l, const struct ledger_resource *r)
{
    struct resource_entry *e = ledger_find_resource(l, r->name);

    if (e == NULL)
        e = resource_new(l, r->name);
    if (e == NULL)
        return NULL;
    text_copy(e->kind, r->kind, NAME_LIMIT);
    text_copy(e->settings, r->settings, SETTINGS_LIMIT);
    e->r = *r;
    e->r.name = e->name;
    e->r.kind = e->kind;
    e->r.settings = e->settings;
    return e;
}

void ledger_remove_resource(struct ledger *l, struct resource_entry *r)
{
    HASH_DELETE(hh, l->resources, r);
    free(r);
}

/* Nodes */

struct node_entry *ledger_find_node(const struct ledger *l, uint64_t id)
{
    struct node_entry *n;

    HASH_FIND(hh, l->nodes, &id, sizeof id, n);
    return n;
}

struct node_entry *ledger_put_node(struct ledger *l, const struct ledger_node *n)
{
    struct node_entry *e = ledger_find_node(l, n->id);
    size_t size = strlen(n->address) + 1;

    assert(size <= sizeof e->address);
    if (e != NULL) {
        memmove(e->address, n->address, size);
        return e;
    }
    e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    memcpy(e->address, n->address, size);
    e->n = (struct ledger_node){n->id, e->address};
    HASH_ADD(hh, l->nodes, n.id, sizeof e->n.id, e);
    if (e->hh.tbl == NULL) {
        free(e);
        return NULL;
    }
    return e;
}

void ledger_remove_node(struct ledger *l, struct node_entry *n)
{
    HASH_DELETE(hh, l->nodes, n);
    free(n);
}

/* What absence means */

bool ledger_never_opened(const struct ledger *l, uint64_t session)
{
    return session == 0 || session >= l->next_session;
}

struct session_entry *ledger_known_session(const struct ledger *l, uint64_t id)
{
    struct session_entry *s = ledger_find_session(l, id);

    return s == NULL || s->s.retention_over ? NULL : s;
}

bool ledger_is_lost(const struct ledger *l, uint64_t session, uint64_t sequence)
{
    const struct session_entry *s = ledger_find_session(l, session);

    return ranges_contains(&l->lost, session) && (s == NULL || !ranges_contains(&s->acknowledged, sequence));
}
