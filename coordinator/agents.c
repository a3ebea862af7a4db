/* agents: see agents.h. */
#include "coordinator/agents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/definitions.h"
#include "coordinator/namesakes.h"
#include "coordinator/nodes.h"
#include "coordinator/reports.h"
#include "coordinator/seats.h"
#include "coordinator/trust.h"
#include "libtx/shared/crash.h"

bool agents_alive(const struct driver *d, const struct agent *a)
{
    return d->now - a->heard_ms <= d->options.agent_timeout_ms;
}

void agents_locate(struct driver *d, const struct reply_to *from, const struct wire_locate *m)
{
    const struct seat *seat = seats_first(d, m->resource);
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

static void agent_free(struct driver *d, struct agent *a)
{
    seats_leave(a);
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
    w->served = seats_of(d, w->item.resource);
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
        return seats_first_of(d, seat->served) == seat;
    if (strcmp(w->holder, seat->agent->address) == 0)
        return true;
    return d->now - d->leading_since >= APPEAR_MS && seats_first_of(d, seat->served) == seat &&
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

/* Whoever knows a transaction's name can send an agent statements under it; only what its own client has sent
 * is to be prepared. */
static void add_owners(const struct driver *d, struct wire_work_item *items, size_t n)
{
    struct caller owner;

    for (size_t i = 0; i < n; i++) {
        const struct session *s = ledger_session(d->ledger, items[i].id.session);

        items[i].owner = NULL;
        if (items[i].kind == WORK_PREPARE && s != NULL && ledger_session_owned(s) &&
            access_caller(d->ledger, d->options.bootstrap, s->owner, &owner))
            items[i].owner = owner.name;
    }
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

    add_owners(d, d->items, n);
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
        if (!namesakes_take_over(d, a, m->instance)) {
            driver_reply_error(
                d, from, TX_EREFUSED,
                "the name %s is used by two agents, and the other one was started later; give each a "
                "name of its own (--name)",
                m->name);
            return NULL;
        }
        a->keys_told = 0;
    } else if (m->number < a->number) {
        return NULL;
    }
    if (!agents_alive(d, a))
        seats_step_back(a);
    take_key(a, caller);
    return a;
}

void agents_pull(struct driver *d, const struct caller *caller, const struct reply_to *from,
                 const struct wire_pull *m)
{
    struct agent *a;

    if (!seats_agree(d, from, m))
        return;
    a = agent_get(d, caller, from, m);
    if (a == NULL)
        return;
    a->number = m->number;
    a->keys_version = m->keys_version;
    a->heard_ms = d->now;
    snprintf(a->address, sizeof a->address, "%s", m->address != NULL ? m->address : "");
    seats_take(d, a, m);
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

void agents_clear(struct driver *d, bool tell)
{
    struct agent *a, *next;

    HASH_ITER(hh, d->agents, a, next)
    {
        if (tell && a->parked)
            driver_reply_error(d, &a->to, TX_ENOTLEADER, "this coordinator has lost the lead");
        agent_free(d, a);
    }
    seats_clear(d);
}
