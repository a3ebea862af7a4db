/* agents: see agents.h. */
#include "coordinator/agents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/definitions.h"
#include "coordinator/nodes.h"
#include "coordinator/reports.h"
#include "coordinator/trust.h"
#include "libtx/shared/crash.h"

/* Who serves what */

static struct served *served_find(const struct driver *d, const char *name)
{
    struct served *s;

    HASH_FIND_STR(d->served, name, s);
    return s;
}

static struct served *served_get(struct driver *d, const char *name)
{
    struct served *s = served_find(d, name);

    if (s != NULL)
        return s;
    s = driver_alloc(1, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    HASH_ADD_STR(d->served, name, s);
    return s;
}

bool agents_alive(const struct driver *d, const struct agent *a)
{
    return d->now - a->heard_ms <= d->options.agent_timeout_ms;
}

/* Seats */

/* One that listens for statements comes before one that does not: only there can a branch be prepared. */
static struct seat *first_seat(const struct driver *d, const struct served *s)
{
    struct seat *seat, *silent = NULL;

    DL_FOREACH2(s->seats, seat, mate_next)
    {
        if (!agents_alive(d, seat->agent) || !seat->fit)
            continue;
        if (seat->agent->address[0] != '\0')
            return seat;
        if (silent == NULL)
            silent = seat;
    }
    return silent;
}

const struct seat *agents_first(const struct driver *d, const char *resource)
{
    const struct served *s = served_find(d, resource);

    return s == NULL ? NULL : first_seat(d, s);
}

void agents_locate(struct driver *d, const struct reply_to *from, const struct wire_locate *m)
{
    const struct seat *seat = agents_first(d, m->resource);
    struct wire_message answer = {.type = WIRE_LOCATED};

    if (seat == NULL && d->now - d->leading_since < APPEAR_MS &&
        ledger_resource(d->ledger, m->resource) != NULL) {
        driver_reply_error(d, from, TX_EUNREACHABLE, "no agent of resource %s has found this new leader yet",
                           m->resource);
    } else if (seat == NULL) {
        driver_reply_error(
            d, from, TX_ENOTFOUND,
            "no living agent serves resource %s; start txagentd for it (a service serves itself), "
            "or correct the name",
            m->resource);
    } else if (seat->agent->address[0] == '\0') {
        driver_reply_error(d, from, TX_ENOTFOUND,
                           "agent %s of resource %s takes no statements; start it with an address to listen at",
                           seat->agent->name, m->resource);
    } else {
        answer.located.address = seat->agent->address;
        answer.located.key = seat->agent->keyed ? seat->agent->key : NULL;
        driver_reply(d, from, &answer);
    }
}

static void seat_free(struct seat *seat)
{
    DL_DELETE(seat->agent->seats, seat);
    DL_DELETE2(seat->served->seats, seat, mate_prev, mate_next);
    free(seat);
}

static struct seat *seat_get(struct driver *d, struct agent *a, const char *resource)
{
    struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        if (strcmp(seat->served->name, resource) == 0)
            return seat;
    }
    seat = driver_alloc(1, sizeof *seat);
    seat->agent = a;
    seat->served = served_get(d, resource);
    DL_APPEND(a->seats, seat);
    DL_APPEND2(seat->served->seats, seat, mate_prev, mate_next);
    return seat;
}

static void agent_free(struct driver *d, struct agent *a)
{
    while (a->seats != NULL)
        seat_free(a->seats);
    HASH_DEL(d->agents, a);
    free(a);
}

/* Queues */

bool agents_due(const struct driver *d, const struct work *w)
{
    return w->served == NULL && (w->tries == 0 || d->now - w->sent_ms >= RESEND_MS);
}

static struct work **queue_of(const struct work *w)
{
    return w->first_only || w->tries == 0 ? &w->served->first : &w->served->any;
}

void agents_queue(struct driver *d, struct work *w)
{
    struct work **queue;

    if (w->served != NULL)
        return;
    w->served = served_get(d, w->item.resource);
    queue = queue_of(w);
    DL_APPEND(*queue, w);
    d->work_dirty = true;
}

void agents_cancel(struct work *w)
{
    struct work **queue;

    if (w->served == NULL)
        return;
    queue = queue_of(w);
    DL_DELETE(*queue, w);
    w->served = NULL;
}

static bool holder_lives(const struct driver *d, const struct served *s, const char *address)
{
    const struct seat *seat;

    DL_FOREACH2(s->seats, seat, mate_next)
    {
        if (agents_alive(d, seat->agent) && strcmp(seat->agent->address, address) == 0)
            return true;
    }
    return false;
}

/* A branch is prepared by the agent that holds it. Where that one is gone for good the first agent is asked,
 * which can still tell whether it was prepared; a new leader first gives it the time to appear. */
static bool is_for(const struct driver *d, const struct work *w, const struct seat *seat)
{
    if (w->agent != NULL)
        return strcmp(w->agent, seat->agent->name) == 0;
    if (w->holder == NULL || !w->first_only)
        return first_seat(d, seat->served) == seat;
    if (strcmp(w->holder, seat->agent->address) == 0)
        return true;
    return d->now - d->leading_since >= APPEAR_MS && first_seat(d, seat->served) == seat &&
           !holder_lives(d, seat->served, w->holder);
}

/* Takes up to `room` errands from one of its resource's queues; all: not only what is for this seat. */
static size_t take(struct driver *d, const struct seat *seat, bool all, struct wire_work_item *items,
                   size_t room)
{
    struct work *queue = all ? seat->served->any : seat->served->first, *w, *next;
    size_t n = 0;

    DL_FOREACH_SAFE(queue, w, next)
    {
        if (n == room)
            break;
        if (all ? !seat->fit : !is_for(d, w, seat))
            continue;
        items[n++] = w->item;
        agents_cancel(w);
        w->tries++;
        w->sent_ms = d->now;
    }
    return n;
}

static size_t take_for(struct driver *d, const struct agent *a)
{
    size_t n = 0;
    struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        n += take(d, seat, false, d->items + n, REPORT_LIMIT - n);
        n += take(d, seat, true, d->items + n, REPORT_LIMIT - n);
    }
    return n;
}

static void pass_crash_points(const struct wire_work_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind == WORK_PREPARE)
            crash_point(CRASH_COORD_PREPARE_SENT);
        else if (items[i].kind == WORK_COMMIT)
            crash_point(CRASH_COORD_COMMIT_WORK_SENT);
    }
}

/* Not sent yet; one that says it has not got them is told in every answer, but not at once again. */
static bool keys_due(const struct driver *d, const struct agent *a)
{
    uint64_t version = ledger_keys_version(d->ledger);

    return a->keys_version != version && a->keys_told != version;
}

static void add_clients(struct driver *d, struct agent *a, struct wire_work *work)
{
    uint64_t version = ledger_keys_version(d->ledger);

    if (a->keys_version == version)
        return;
    a->keys_told = version;
    work->keys_version = version;
    work->n_clients = trust_clients(d);
    work->clients = d->clients;
}

static void answer_pull(struct driver *d, struct agent *a, size_t n)
{
    struct wire_message m = {.type = WIRE_WORK};

    m.work = (struct wire_work){.group = d->group,
                                .received = a->number,
                                .introduce = !a->introduced,
                                .n_items = n,
                                .items = d->items,
                                .n_definitions = definitions_take(d, a),
                                .definitions = d->definitions,
                                .nodes = nodes_list(d)};
    add_clients(d, a, &m.work);
    a->parked = false;
    driver_reply(d, &a->to, &m);
    pass_crash_points(d->items, n);
}

void agents_flush(struct driver *d)
{
    struct agent *a, *next;

    if (!d->work_dirty)
        return;
    d->work_dirty = false;
    HASH_ITER(hh, d->agents, a, next)
    {
        size_t n;

        if (!a->parked)
            continue;
        n = take_for(d, a);
        if (n > 0 || !a->introduced || definitions_due(a) || keys_due(d, a))
            answer_pull(d, a, n);
    }
}

void agents_keys_changed(struct driver *d)
{
    d->work_dirty = true;
}

void agents_revoked(struct driver *d, const uint8_t key[KEY_SIZE])
{
    struct agent *a, *next;

    d->work_dirty = true;
    HASH_ITER(hh, d->agents, a, next)
    {
        if (!a->keyed || !key_equal(a->key, key))
            continue;
        if (a->parked)
            driver_reply_error(d, &a->to, TX_EDENIED, "the key of agent %s is revoked", a->name);
        agent_free(d, a);
    }
}

void agents_refresh(struct driver *d)
{
    struct agent *a, *next;

    HASH_ITER(hh, d->agents, a, next)
    {
        a->heard_ms = d->now;
    }
}

void agents_tick(struct driver *d)
{
    struct agent *a, *next;

    d->work_dirty = true; /* an agent may have gone, and its errands are the next one's */
    HASH_ITER(hh, d->agents, a, next)
    {
        if (a->parked && d->now >= a->due_ms)
            answer_pull(d, a, take_for(d, a));
    }
}

/* PULL */

/* Room for one more: an agent that is gone makes place. */
static bool make_room(struct driver *d)
{
    struct agent *a, *next;

    if (HASH_COUNT(d->agents) < d->options.max_agents)
        return true;
    HASH_ITER(hh, d->agents, a, next)
    {
        if (!agents_alive(d, a)) {
            agent_free(d, a);
            return true;
        }
    }
    return false;
}

/* Behind the agents that took its place while it was silent: clients execute statements there by now, and that
 * is where their branches are to be prepared. */
static void step_back(struct agent *a)
{
    struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        DL_DELETE2(seat->served->seats, seat, mate_prev, mate_next);
        DL_APPEND2(seat->served->seats, seat, mate_prev, mate_next);
    }
}

/* NULL: there is no room. */
static struct agent *agent_new(struct driver *d, const struct wire_pull *m)
{
    struct agent *a;

    if (!make_room(d))
        return NULL;
    a = driver_alloc(1, sizeof *a);
    snprintf(a->name, sizeof a->name, "%s", m->name);
    a->instance = m->instance;
    HASH_ADD_STR(d->agents, name, a);
    return a;
}

/* False: its name is that of a living agent with a key of another name. One that is gone leaves its name to
 * whoever comes, but not its seats: they were granted to its key. *a is NULL afterwards where there is none. */
static bool name_is_free(struct driver *d, const struct caller *caller, const char *name, struct agent **a)
{
    HASH_FIND_STR(d->agents, name, *a);
    if (*a == NULL || strcmp((*a)->key_name, caller->key != NULL ? caller->name : "") == 0)
        return true;
    if (agents_alive(d, *a))
        return false;
    agent_free(d, *a);
    *a = NULL;
    return true;
}

static void take_key(struct agent *a, const struct caller *caller)
{
    a->keyed = caller->key != NULL;
    if (!a->keyed)
        return;
    memcpy(a->key, caller->key, KEY_SIZE);
    snprintf(a->key_name, sizeof a->key_name, "%s", caller->name);
}

/* The agent as it is now; NULL where there is no room, the name is another's, or the PULL is an old one. A new
 * start of it keeps its seats, and so its place among the agents of a resource, until it tells its resources.
 */
static struct agent *agent_get(struct driver *d, const struct caller *caller, const struct reply_to *from,
                               const struct wire_pull *m)
{
    struct agent *a;

    if (!name_is_free(d, caller, m->name, &a)) {
        driver_reply_error(d, from, TX_EREFUSED,
                           "the name %s is in use by a living agent with another key; give this one another "
                           "name",
                           m->name);
        return NULL;
    }
    if (a == NULL) {
        a = agent_new(d, m);
        if (a == NULL) {
            driver_reply_error(d, from, TX_EBUSY, "%zu agents are known, and that is the limit",
                               d->options.max_agents);
            return NULL;
        }
    } else if (a->instance != m->instance) {
        a->instance = m->instance;
        a->introduced = false;
        a->keys_told = 0;
    } else if (m->number < a->number) {
        return NULL;
    }
    if (!agents_alive(d, a))
        step_back(a);
    take_key(a, caller);
    return a;
}

static void add_resource(struct driver *d, const struct wire_resource *r)
{
    struct served *s = served_get(d, r->name);
    struct record record = {.type = RECORD_ADD_RESOURCE};

    if (s->adding || ledger_resource(d->ledger, r->name) != NULL)
        return;
    record.resource.name = r->name;
    record.resource.kind = r->kind;
    s->adding = true;
    s->ticket = driver_log(d, &record);
}

void agents_resource_added(struct driver *d, const char *name)
{
    struct served *s = served_find(d, name);

    if (s != NULL)
        s->adding = false;
    agents_resource_changed(d, name);
}

void agents_resource_removed(struct driver *d, const char *name)
{
    struct served *s = served_find(d, name);
    struct seat *seat;

    if (s == NULL)
        return;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        seat->agent->introduced = false;
        definitions_judge(d, seat);
    }
    d->work_dirty = true;
}

void agents_resource_changed(struct driver *d, const char *name)
{
    struct served *s = served_find(d, name);
    struct seat *seat;

    if (s == NULL)
        return;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        definitions_judge(d, seat);
    }
}

/* One name for resources of two kinds is a mistake in a configuration, and would mix up their branches. What an
 * operator declared is another matter: the agent is told, and gets no work for it (definitions_judge()). */
static bool kinds_agree(struct driver *d, const struct reply_to *from, const struct wire_pull *m)
{
    for (size_t i = 0; i < m->n_resources; i++) {
        const struct ledger_resource *known = ledger_resource(d->ledger, m->resources[i].name);

        if (m->resources[i].by_registry || known == NULL || known->declared)
            continue;
        if (strcmp(known->kind, m->resources[i].kind) != 0) {
            driver_reply_error(d, from, TX_EREFUSED,
                               "resource %s is registered as %s and agent %s calls it %s; give it another name "
                               "or remove the old one (txadmin)",
                               known->name, known->kind, m->name, m->resources[i].kind);
            return false;
        }
    }
    return true;
}

static void seat_take(struct driver *d, struct seat *seat, const struct wire_resource *r)
{
    seat->told = true;
    seat->up = r->up != 0;
    seat->by_registry = r->by_registry != 0;
    seat->definition = r->definition;
    seat->in_doubt = r->in_doubt;
    seat->oldest_ms = r->oldest_ms;
    seat->found = r->found;
    seat->resolved = r->resolved;
    seat->rate = r->rate;
    snprintf(seat->kind, sizeof seat->kind, "%s", r->kind != NULL ? r->kind : "");
    snprintf(seat->error, sizeof seat->error, "%s", r->error != NULL ? r->error : "");
    definitions_judge(d, seat);
}

static void take_resources(struct driver *d, struct agent *a, const struct wire_pull *m)
{
    struct seat *seat, *next;

    if (m->n_resources == 0)
        return;
    DL_FOREACH(a->seats, seat)
    {
        seat->told = false;
    }
    for (size_t i = 0; i < m->n_resources; i++) {
        const struct wire_resource *r = &m->resources[i];

        if (r->by_registry == 0)
            add_resource(d, r);
        seat_take(d, seat_get(d, a, r->name), r);
    }
    DL_FOREACH_SAFE(a->seats, seat, next)
    {
        if (!seat->told)
            seat_free(seat);
    }
    a->introduced = true;
}

void agents_pull(struct driver *d, const struct caller *caller, const struct reply_to *from,
                 const struct wire_pull *m)
{
    struct agent *a;

    if (!kinds_agree(d, from, m))
        return;
    a = agent_get(d, caller, from, m);
    if (a == NULL)
        return;
    a->number = m->number;
    a->keys_version = m->keys_version;
    a->heard_ms = d->now;
    snprintf(a->address, sizeof a->address, "%s", m->address != NULL ? m->address : "");
    take_resources(d, a, m);
    for (size_t i = 0; i < m->n_reports; i++)
        reports_take(d, a, &m->reports[i]);
    a->parked = true;
    a->to = *from;
    /* Reports are told again until they are answered for: soon, and at once where they are many. */
    a->due_ms = m->n_reports > 0 ? d->now : d->now + KEEPALIVE_MS;
    d->work_dirty = true;
    if (m->n_reports >= REPORT_LIMIT / 8)
        answer_pull(d, a, take_for(d, a));
}

/* The end */

void agents_lost(struct driver *d, uint64_t ticket)
{
    struct served *s, *next;

    HASH_ITER(hh, d->served, s, next)
    {
        if (s->ticket == ticket)
            s->adding = false;
    }
}

void agents_clear(struct driver *d, bool tell)
{
    struct agent *a, *next;
    struct served *s, *next_served;

    HASH_ITER(hh, d->agents, a, next)
    {
        if (tell && a->parked)
            driver_reply_error(d, &a->to, TX_ENOTLEADER, "this coordinator has lost the lead");
        agent_free(d, a);
    }
    HASH_ITER(hh, d->served, s, next_served)
    {
        HASH_DEL(d->served, s);
        free(s);
    }
}
