/* driver: see driver.h. What it is made of: driver_internal.h. */
#include "coordinator/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/asks.h"
#include "coordinator/decide.h"
#include "coordinator/driver_internal.h"
#include "coordinator/flights.h"
#include "coordinator/found.h"
#include "coordinator/lookups.h"
#include "coordinator/nodes.h"
#include "coordinator/seats.h"
#include "coordinator/sessions.h"
#include "coordinator/trust.h"

/* What all parts use */

bool driver_ours(struct driver *d, const struct txid *id)
{
    if (id->group == d->group)
        return true;
    d->counters.strangers++;
    d->counters.stranger_group = id->group;
    return false;
}

void *driver_alloc(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (p == NULL)
        abort();
    return p;
}

uint64_t driver_wall(const struct driver *d)
{
    return d->wall + (d->now - d->wall_seen);
}

static void send_entry(struct driver *d)
{
    size_t len;
    uint8_t *data;

    if (d->entry.failed)
        abort();
    data = buf_detach(&d->entry, &len);
    d->n_records = 0;
    d->ops.propose(d->ops.ctx, data, len, d->ticket++);
}

uint64_t driver_log(struct driver *d, struct record *r)
{
    r->at_ms = driver_wall(d);
    if (d->n_records > 0 && d->entry.len > ENTRY_LIMIT)
        send_entry(d);
    if (d->n_records++ == 0)
        record_begin(&d->entry);
    record_append(&d->entry, r);
    return d->ticket;
}

uint64_t driver_barrier(struct driver *d)
{
    if (d->n_records++ == 0)
        record_begin(&d->entry);
    return d->ticket;
}

void driver_lazily(struct driver *d)
{
    if (d->lazy_since == 0)
        d->lazy_since = d->now + 1; /* 0 says that nothing waits */
}

void driver_reply(struct driver *d, const struct reply_to *to, const struct wire_message *m)
{
    d->ops.reply(d->ops.ctx, to, m);
}

void driver_reply_error(struct driver *d, const struct reply_to *to, int code, const char *format, ...)
{
    struct wire_message m = {.type = WIRE_ERROR};
    char text[TEXT_LIMIT + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    m.error = (struct wire_error){.code = code, .text = text};
    if (code == TX_ENOTLEADER && !d->leading && *driver_leader(d) != '\0')
        m.error.leader = driver_leader(d);
    driver_reply(d, to, &m);
}

void driver_reply_unknown(struct driver *d, const struct reply_to *to)
{
    driver_reply_error(d, to, TX_EUNKNOWN, "it is not known whether the log has taken it; ask again");
}

/* Begin and end */

static void set_defaults(struct driver_options *o)
{
    if (o->vote_timeout_ms == 0)
        o->vote_timeout_ms = 10000;
    if (o->grace_ms == 0)
        o->grace_ms = 1000;
    if (o->agent_timeout_ms == 0)
        o->agent_timeout_ms = 10000;
    if (o->retention_ms == 0)
        o->retention_ms = 24 * 60 * 60 * 1000;
    if (o->max_sessions == 0)
        o->max_sessions = 10000;
    if (o->max_sessions_per_key == 0)
        o->max_sessions_per_key = 1000;
    if (o->max_transactions == 0)
        o->max_transactions = 100000;
    if (o->max_agents == 0)
        o->max_agents = 1000;
}

int driver_new(struct driver **out, uint64_t group, const struct driver_options *options,
               const struct driver_ops *ops, struct tx_error *e)
{
    struct driver *d = calloc(1, sizeof *d);
    struct ledger *ledger = ledger_new(group);

    if (d == NULL || ledger == NULL) {
        free(d);
        ledger_free(ledger);
        return err_set(e, TX_ENOMEM, "out of memory");
    }
    d->group = group;
    d->ledger = ledger;
    d->options = *options;
    set_defaults(&d->options);
    d->ops = *ops;
    d->ticket = 1;
    buf_init(&d->entry);
    *out = d;
    return 0;
}

/* Everything but the ledger. */
static void clear(struct driver *d, bool tell)
{
    flights_clear(d, tell);
    sessions_clear(d, tell);
    found_clear(d);
    asks_clear(d, tell);
    lookups_clear(d, tell);
    agents_clear(d, tell);
    trust_clear(d);
    buf_reset(&d->entry);
    d->n_records = 0;
    d->lazy_since = 0;
}

void driver_name(struct driver *d, uint64_t group)
{
    d->group = group;
    ledger_name(d->ledger, group);
}

void driver_free(struct driver *d)
{
    if (d == NULL)
        return;
    clear(d, false);
    buf_release(&d->entry);
    ledger_free(d->ledger);
    free(d);
}

/* Requests and time */

static void set_time(struct driver *d, uint64_t now, uint64_t wall)
{
    d->now = d->wall_seen = now;
    d->wall = wall;
}

static void not_leading(struct driver *d, const struct reply_to *from)
{
    if (d->leader_id != 0)
        driver_reply_error(d, from, TX_ENOTLEADER, "node %llu does not lead its group",
                           (unsigned long long)d->options.node_id);
    else
        driver_reply_error(d, from, TX_ENOTLEADER, "node %llu knows of no leader: its group lacks a majority",
                           (unsigned long long)d->options.node_id);
}

void driver_request(struct driver *d, uint64_t now, uint64_t wall, const struct caller *caller,
                    const struct reply_to *from, const struct wire_message *m)
{
    set_time(d, now, wall);
    d->counters.requests++;
    if (!d->leading) {
        if (m->type != WIRE_OUTCOME || !decide_outcome_for_ever(d, from, &m->outcome))
            not_leading(d, from);
        return;
    }
    switch (m->type) {
    case WIRE_OPEN_SESSION:
        sessions_open(d, caller, from, &m->open_session);
        break;
    case WIRE_DECIDE:
        decide_request(d, from, &m->decide);
        break;
    case WIRE_HEARTBEAT:
        sessions_heartbeat(d, from, &m->heartbeat);
        break;
    case WIRE_CLOSE_SESSION:
        sessions_close(d, from, &m->heartbeat);
        break;
    case WIRE_OUTCOME:
        decide_outcome(d, from, &m->outcome);
        break;
    case WIRE_LOCATE:
        agents_locate(d, from, &m->locate);
        break;
    case WIRE_PULL:
        agents_pull(d, caller, from, &m->pull);
        break;
    default:
        driver_reply_error(d, from, TX_EPROTO, "a coordinator takes no %s", wire_type_name(m->type));
        break;
    }
}

void driver_tick(struct driver *d, uint64_t now, uint64_t wall)
{
    set_time(d, now, wall);
    if (!d->leading)
        return;
    if (now - d->ticked > STANDSTILL_MS) {
        sessions_refresh(d);
        agents_refresh(d);
    }
    d->ticked = now;
    sessions_tick(d);
    flights_tick(d);
    found_tick(d);
    asks_tick(d);
    agents_tick(d);
    trust_tick(d);
}

void driver_flush(struct driver *d, uint64_t now)
{
    d->now = now;
    if (!d->leading)
        return;
    if (d->lazy_since != 0 && (d->n_records > 0 || now + 1 - d->lazy_since >= LAZY_MS)) {
        d->lazy_since = 0;
        sessions_flush(d);
        flights_flush(d);
    }
    if (d->n_records > 0)
        send_entry(d);
    agents_flush(d);
}

/* The log */

static void count(struct driver *d, const struct record *r, const struct ledger_result *result)
{
    struct driver_counters *c = &d->counters;

    c->records++;
    switch (r->type) {
    case RECORD_OPEN_SESSION:
        c->sessions_opened += result->session != 0;
        break;
    case RECORD_REVOKE_KEY:
        c->sessions_expired += result->n_expired;
        break;
    case RECORD_EXPIRE_SESSION:
        c->sessions_expired++;
        break;
    case RECORD_HEURISTIC:
        c->heuristic++;
        break;
    case RECORD_DECIDE:
        if (!result->first)
            break;
        if (result->verdict == VERDICT_COMMIT)
            c->committed++;
        else
            c->aborted++;
        if (r->decide.origin == ORIGIN_RECOVERY)
            c->recovered++;
        break;
    default:
        break;
    }
}

/* What the leader does about a record that is applied now. */
static void follow_up(struct driver *d, const struct record *r, const struct ledger_result *result)
{
    switch (r->type) {
    case RECORD_OPEN_SESSION:
        sessions_opened(d, r, result->session);
        break;
    case RECORD_CLOSE_SESSION:
    case RECORD_EXPIRE_SESSION:
        sessions_ended(d, r->session);
        break;
    case RECORD_DECIDE:
        flights_decided(d, r, result);
        break;
    case RECORD_END:
        flights_ended(d, r);
        break;
    case RECORD_HEURISTIC:
        flights_heuristic(d, r);
        break;
    case RECORD_ADD_RESOURCE:
        seats_resource_added(d, r->resource.name);
        break;
    case RECORD_DECLARE_RESOURCE:
    case RECORD_ALTER_RESOURCE:
        seats_resource_changed(d, r->resource.name);
        break;
    case RECORD_REMOVE_RESOURCE:
        seats_resource_removed(d, r->resource.name);
        break;
    case RECORD_DROP_SESSION:
    case RECORD_ACKNOWLEDGE:
    case RECORD_FORGET:
    case RECORD_ADD_NODE:
    case RECORD_REMOVE_NODE:
        break;
    case RECORD_ADD_KEY:
        agents_keys_changed(d);
        break;
    case RECORD_REVOKE_KEY:
        sessions_revoked(d);
        agents_revoked(d, r->key.key);
        break;
    case RECORD_RESTORE:
        trust_restored(d);
        break;
    }
}

int driver_apply(struct driver *d, uint64_t now, uint64_t index, const void *data, size_t len,
                 struct tx_error *e)
{
    struct ledger_result result;
    struct record r;
    int rc;

    d->now = now;
    d->counters.entries++;
    rc = record_open(&d->reader, data, len, e);
    if (rc != 0)
        return rc;
    while ((rc = record_next(&d->reader, &r, e)) > 0) {
        if (ledger_apply(d->ledger, index, &r, &result) != 0)
            return err_set(e, TX_ENOMEM, "apply entry %llu: out of memory", (unsigned long long)index);
        count(d, &r, &result);
        if (d->leading)
            follow_up(d, &r, &result);
    }
    return rc;
}

void driver_proposed(struct driver *d, uint64_t now, uint64_t ticket, bool committed)
{
    d->now = now;
    if (!d->leading)
        return;
    if (committed) {
        sessions_proposed(d, ticket);
    } else {
        flights_lost(d, ticket);
        sessions_lost(d, ticket);
        seats_lost(d, ticket);
    }
    trust_proposed(d, ticket, committed);
    asks_proposed(d, ticket, committed);
    lookups_proposed(d, ticket, committed);
}

void driver_snapshot(const struct driver *d, struct buf *out)
{
    ledger_snapshot(d->ledger, out);
}

int driver_restore(struct driver *d, const void *data, size_t len, struct tx_error *e)
{
    return ledger_restore(d->ledger, data, len, e);
}

static bool adopt_one(void *arg, const struct decision *decision)
{
    struct driver *d = arg;

    if (!decision->ended)
        flights_adopt(d, decision);
    return true;
}

void driver_role(struct driver *d, uint64_t now, bool leading, uint64_t leader_id)
{
    d->now = now;
    d->leader_id = leader_id;
    if (leading == d->leading)
        return;
    d->leading = leading;
    if (!leading) {
        clear(d, true);
        return;
    }
    d->leading_since = d->ticked = now;
    sessions_begin(d);
    ledger_each_decision(d->ledger, adopt_one, d);
    nodes_begin(d);
    trust_begin(d);
}

/* For admin */

const struct ledger *driver_ledger(const struct driver *d)
{
    return d->ledger;
}

bool driver_leading(const struct driver *d)
{
    return d->leading;
}

uint64_t driver_leader_id(const struct driver *d)
{
    return d->leader_id;
}

const char *driver_leader(const struct driver *d)
{
    const struct ledger_node *n = ledger_node(d->ledger, d->leader_id);

    if (d->leader_id != 0 && d->leader_id == d->options.node_id && d->options.address != NULL)
        return d->options.address;
    return n != NULL ? n->address : "";
}

void driver_count(const struct driver *d, struct driver_counters *out)
{
    *out = d->counters;
    out->in_flight = HASH_COUNT(d->flights);
    out->agents = HASH_COUNT(d->agents);
}
