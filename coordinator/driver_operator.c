/* driver_operator: what an operator asks the leader to do: resolve, forget, add, alter and remove resources,
 * add and revoke keys, inquire at an agent (driver.h). Called by admin; calls flights, found, agents; asks
 * knows who waits for what.
 */
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/asks.h"
#include "coordinator/flights.h"
#include "coordinator/found.h"
#include "coordinator/seats.h"
#include "coordinator/sessions.h"
#include "coordinator/trust.h"

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
    if (sessions_ending(d, id->session))
        return err_set(e, TX_EREFUSED, "its session is just ending, and it will be aborted with that");
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

/* Forget */

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

/* What is not finished */

static bool has_branch_in(const struct decision *decision, const char *resource)
{
    for (size_t i = 0; i < decision->n_branches; i++)
        if (strcmp(decision->branches[i].resource, resource) == 0)
            return true;
    return false;
}

struct unfinished_search {
    const char *resource;
    const struct decision *seen;
};

static bool search_unfinished(void *arg, const struct decision *decision)
{
    struct unfinished_search *s = arg;

    if (!decision->ended && has_branch_in(decision, s->resource))
        s->seen = decision;
    return s->seen == NULL;
}

static const struct flight *flight_in(const struct driver *d, const char *resource)
{
    for (const struct flight *f = d->flights; f != NULL; f = f->hh.next)
        for (size_t i = 0; i < f->commit.n; i++)
            if (f->commit.state < COMMIT_RESOLVING && strcmp(f->commit.branches[i].resource, resource) == 0)
                return f;
    return NULL;
}

/* A living agent's that serves it by its own configuration, or (`prepared`) has seen branches prepared in it.
 */
static const struct seat *seat_in_way(const struct driver *d, const char *resource, bool prepared)
{
    const struct served *s;
    const struct seat *seat;

    HASH_FIND_STR(d->served, resource, s);
    if (s == NULL)
        return NULL;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        if (agents_alive(d, seat->agent) && (prepared ? seat->in_doubt > 0 : !seat->by_registry))
            return seat;
    }
    return NULL;
}

/* The one that was seen last: what is finished is forgotten only after a while. Where an agent is there and
 * sees nothing, nothing is. */
static const struct found *found_in(const struct driver *d, const char *resource)
{
    const struct found *last = NULL;

    if (seats_first(d, resource) != NULL && seat_in_way(d, resource, true) == NULL)
        return NULL;
    for (const struct found *f = d->found; f != NULL; f = f->hh.next) {
        if (strcmp(f->key.resource, resource) == 0 && (last == NULL || f->heard_ms > last->heard_ms))
            last = f;
    }
    return last;
}

/* A transaction with a branch in the resource that is not finished: decided, being decided, or only seen
 * prepared. NULL: there is none. */
static const struct txid *unfinished_in(const struct driver *d, const char *resource)
{
    struct unfinished_search search = {.resource = resource};
    const struct flight *flight = flight_in(d, resource);
    const struct found *found = found_in(d, resource);

    ledger_each_decision(d->ledger, search_unfinished, &search);
    if (search.seen != NULL)
        return &search.seen->id;
    if (flight != NULL)
        return &flight->id;
    return found != NULL ? &found->key.id : NULL;
}

/* The registry */

static int not_registered(const char *name, struct tx_error *e)
{
    return err_set(e, TX_ENOTFOUND, "no resource %s is registered; txadmin resource list shows those that are",
                   name);
}

int driver_add_resource(struct driver *d, uint64_t now, uint64_t wall,
                        const struct driver_declaration *declaration, driver_done_cb done, void *arg,
                        struct tx_error *e)
{
    const struct ledger_resource *known = ledger_resource(d->ledger, declaration->name);
    struct record r = {.type = RECORD_DECLARE_RESOURCE};
    int rc = admit(d, now, wall, e);

    if (rc != 0)
        return rc;
    if (known != NULL)
        return err_set(
            e, TX_EREFUSED,
            "resource %s is there already, as %s%s; for other settings: txadmin resource alter %s SETTINGS",
            known->name, known->kind, known->declared ? "" : ", brought by an agent", known->name);
    r.resource.name = declaration->name;
    r.resource.kind = declaration->kind;
    r.resource.settings = declaration->settings;
    (void)asks_add(d, driver_log(d, &r), done, arg);
    return 0;
}

int driver_alter_resource(struct driver *d, uint64_t now, uint64_t wall,
                          const struct driver_declaration *declaration, driver_done_cb done, void *arg,
                          struct tx_error *e)
{
    struct record r = {.type = RECORD_ALTER_RESOURCE};
    int rc = admit(d, now, wall, e);

    if (rc != 0)
        return rc;
    if (ledger_resource(d->ledger, declaration->name) == NULL)
        return not_registered(declaration->name, e);
    r.resource.name = declaration->name;
    r.resource.settings = declaration->settings;
    (void)asks_add(d, driver_log(d, &r), done, arg);
    return 0;
}

/* Why it must stay, or 0. */
static int may_remove(const struct driver *d, const char *name, struct tx_error *e)
{
    const struct seat *seat = seat_in_way(d, name, false);
    const struct txid *id = unfinished_in(d, name);
    char text[TXID_TEXT_SIZE];

    if (ledger_resource(d->ledger, name) == NULL)
        return not_registered(name, e);
    if (seat != NULL)
        return err_set(
            e, TX_EREFUSED,
            "agent %s serves %s by its own configuration: take --resource.%s out there, restart it, and "
            "remove the resource then",
            seat->agent->name, name, name);
    if (id != NULL) {
        txid_format(id, text);
        return err_set(
            e, TX_EREFUSED,
            "transaction %s has a branch in %s that is not finished: txadmin show %s says what it waits "
            "for",
            text, name, text);
    }
    seat = seat_in_way(d, name, true);
    if (seat == NULL)
        return 0;
    return err_set(
        e, TX_EREFUSED,
        "agent %s has seen %u prepared branches in %s: txadmin transactions --resource %s shows them; "
        "try again when they are finished",
        seat->agent->name, (unsigned)seat->in_doubt, name, name);
}

int driver_remove_resource(struct driver *d, uint64_t now, uint64_t wall, const char *name, driver_done_cb done,
                           void *arg, struct tx_error *e)
{
    struct record r = {.type = RECORD_REMOVE_RESOURCE};
    int rc = admit(d, now, wall, e);

    if (rc == 0)
        rc = may_remove(d, name, e);
    if (rc != 0)
        return rc;
    r.resource.name = name;
    (void)asks_add(d, driver_log(d, &r), done, arg);
    return 0;
}

/* Keys */

static int admit_key_change(struct driver *d, uint64_t now, uint64_t wall, struct tx_error *e)
{
    int rc = admit(d, now, wall, e);

    if (rc == 0 && trust_busy(d))
        return err_set(e, TX_EBUSY, "another change of the keys is under way; try again");
    return rc;
}

struct key_count {
    unsigned role;
    const uint8_t *but; /* not counted; NULL: none */
    size_t n;
};

static bool count_key(void *arg, const struct ledger_key *k)
{
    struct key_count *c = arg;

    c->n += !k->revoked && (k->roles & c->role) != 0 && (c->but == NULL || !key_equal(k->key, c->but));
    return true;
}

static size_t active_keys(const struct driver *d, unsigned role, const uint8_t *but)
{
    struct key_count c = {.role = role, .but = but};

    ledger_each_key(d->ledger, count_key, &c);
    return c.n;
}

/* How many a ledger holds has a bound, and revoked ones stay in it. */
static int room_for_key(const struct driver *d, struct tx_error *e)
{
    struct ledger_counts c;

    ledger_count(d->ledger, &c);
    if (c.keys < KEY_LIMIT)
        return 0;
    return err_set(e, TX_EBUSY,
                   "the group knows %d keys, the revoked ones among them, and that is the limit; let programs "
                   "that may do the same share a key",
                   KEY_LIMIT);
}

static int may_add_key(const struct driver *d, const struct key_entry *entry, struct tx_error *e)
{
    const struct ledger_key *known = ledger_key(d->ledger, entry->key);

    if (known != NULL && known->revoked)
        return err_set(e, TX_EREFUSED,
                       "this key, of %s, was revoked, and that is for good: make another one (txadmin keygen)",
                       known->name);
    if (known != NULL)
        return err_set(e, TX_EREFUSED, "this key is there already, as %s", known->name);
    if (!ledger_key_fits(d->ledger, entry->name, entry->roles, entry->grant))
        return err_set(e, TX_EREFUSED,
                       "the name %s has a key with other roles or resources: choose another name, or revoke "
                       "that key first",
                       entry->name);
    if ((entry->roles & ROLE_COORDINATOR) != 0 && active_keys(d, ROLE_COORDINATOR, NULL) >= NODE_KEY_LIMIT)
        return err_set(e, TX_EBUSY,
                       "%d keys of coordinators are in use, and that is the limit; revoke those of nodes that "
                       "are gone",
                       NODE_KEY_LIMIT);
    return room_for_key(d, e);
}

static void log_key_change(struct driver *d, struct record *r, const uint8_t key[KEY_SIZE], driver_done_cb done,
                           void *arg)
{
    memcpy(r->key.key, key, KEY_SIZE);
    asks_add(d, driver_log(d, r), done, arg)->changes_keys = true;
}

int driver_add_key(struct driver *d, uint64_t now, uint64_t wall, const struct key_entry *entry,
                   driver_done_cb done, void *arg, struct tx_error *e)
{
    struct record r = {.type = RECORD_ADD_KEY,
                       .key = {.name = entry->name, .roles = (uint8_t)entry->roles, .grant = entry->grant}};
    int rc = admit_key_change(d, now, wall, e);

    if (rc == 0)
        rc = may_add_key(d, entry, e);
    if (rc == 0)
        log_key_change(d, &r, entry->key, done, arg);
    return rc;
}

/* Nobody could add another one without an operator; and who has lost the last key must be able to say so. */
static int leaves_operators(const struct driver *d, const struct driver_revocation *revocation,
                            const char *name, struct tx_error *e)
{
    if (revocation->force || active_keys(d, ROLE_OPERATOR, revocation->key) > 0)
        return TX_OK;
    return err_set(e, TX_EREFUSED,
                   "this key, of %s, is the last one of an operator: add another first, or force it, and every "
                   "node will need a new key in its keys file",
                   name);
}

/* Which node has which key nobody knows here. But nodes without one cannot speak to the others; and where a
 * majority cannot, nothing is ever committed again, a new key neither. */
static int leaves_coordinators(const struct driver *d, const struct driver_revocation *revocation,
                               const char *name, struct tx_error *e)
{
    size_t left = active_keys(d, ROLE_COORDINATOR, revocation->key);

    if (left >= d->n_members)
        return TX_OK;
    if (left < d->n_members / 2 + 1)
        return err_set(
            e, TX_EREFUSED,
            "without this key, of %s, the group's %zu nodes would have %zu keys, and no majority that "
            "could commit anything, for good: first add the node's new key",
            name, d->n_members, left);
    if (revocation->force)
        return TX_OK;
    return err_set(
        e, TX_EREFUSED,
        "without this key, of %s, the group's %zu nodes would have %zu keys: first add the node's new "
        "key, or remove the node (txadmin node remove), or force it",
        name, d->n_members, left);
}

static int may_revoke_key(const struct driver *d, const struct driver_revocation *revocation,
                          struct tx_error *e)
{
    const struct ledger_key *known = ledger_key(d->ledger, revocation->key);
    int rc = TX_OK;

    if (known == NULL)
        return room_for_key(d, e);
    if (known->revoked)
        return err_set(e, TX_EREFUSED, "this key, of %s, is revoked already", known->name);
    if ((known->roles & ROLE_COORDINATOR) != 0)
        rc = leaves_coordinators(d, revocation, known->name, e);
    if (rc == TX_OK && (known->roles & ROLE_OPERATOR) != 0)
        rc = leaves_operators(d, revocation, known->name, e);
    return rc;
}

int driver_revoke_key(struct driver *d, uint64_t now, uint64_t wall, const struct driver_revocation *revocation,
                      driver_done_cb done, void *arg, struct tx_error *e)
{
    struct record r = {.type = RECORD_REVOKE_KEY, .key = {.name = revocation->name}};
    char text[KEY_TEXT_SIZE];
    int rc = admit_key_change(d, now, wall, e);

    if (rc == 0)
        rc = may_revoke_key(d, revocation, e);
    if (rc != 0)
        return rc;
    key_format(revocation->key, text);
    if (r.key.name == NULL || *r.key.name == '\0')
        r.key.name = text;
    log_key_change(d, &r, revocation->key, done, arg);
    return 0;
}

/* Inquire */

static bool can_answer(const struct driver *d, const struct driver_inquiry *q)
{
    const struct agent *a;

    if (q->agent == NULL)
        return seats_first(d, q->resource) != NULL;
    HASH_FIND_STR(d->agents, q->agent, a);
    return a != NULL && agents_alive(d, a);
}

int driver_inquire(struct driver *d, uint64_t now, const struct driver_inquiry *q, driver_answer_cb answer,
                   void *arg, struct tx_error *e)
{
    d->now = now;
    if (!d->leading)
        return not_leader(d, e);
    if (!can_answer(d, q))
        return err_set(e, TX_ENOTFOUND, "no living agent serves resource %s", q->resource);
    if (asks_full(d))
        return too_many(e);
    asks_inquire(d, q, answer, arg);
    return 0;
}

const char *driver_server_of(const char *kind)
{
    return kind != NULL && strcmp(kind, KIND_SERVICE) == 0 ? "the service itself" : "txagentd for it";
}

const char *driver_local_agent(struct driver *d, uint64_t now, const char *resource)
{
    const struct seat *seat;

    d->now = now;
    seat = seat_in_way(d, resource, false);
    return seat == NULL ? NULL : seat->agent->name;
}

void driver_each_agent(struct driver *d, uint64_t now, const char *resource,
                       void (*f)(void *arg, const char *agent), void *arg)
{
    const struct served *s;
    const struct seat *seat;

    d->now = now;
    HASH_FIND_STR(d->served, resource, s);
    if (s == NULL)
        return;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        if (agents_alive(d, seat->agent))
            f(arg, seat->agent->name);
    }
}
