/* admin_status: the verbs status and sessions: what the coordinator knows by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"

/* status: {} -> node, log, peers, ledger, counters, resources */

static void add_node(struct admin_task *t, const struct replog_status *log)
{
    const struct admin_options *with = t->with;
    char group[17];

    snprintf(group, sizeof group, "%016" PRIx64, replog_group(with->replog));
    cJSON_AddStringToObject(t->answer, "version", TX_VERSION);
    cJSON_AddStringToObject(t->answer, "group", group);
    admin_add_number(t->answer, "node", log->node_id);
    cJSON_AddStringToObject(t->answer, "role", driver_leading(with->driver) ? "leader" : "follower");
    cJSON_AddStringToObject(t->answer, "leader", driver_leader(with->driver));
    cJSON_AddStringToObject(t->answer, "listen", with->listen);
    cJSON_AddStringToObject(t->answer, "data_dir", with->data_dir);
    admin_add_number(t->answer, "uptime_ms", t->now - with->started);
}

static void add_log(cJSON *answer, const struct replog_status *log)
{
    cJSON *o = cJSON_AddObjectToObject(answer, "log");

    admin_add_number(o, "term", log->term);
    admin_add_number(o, "last_index", log->last_index);
    admin_add_number(o, "commit_index", log->commit_index);
    admin_add_number(o, "applied_index", log->applied_index);
    admin_add_number(o, "snapshot_index", log->snapshot_index);
    admin_add_number(o, "appends", log->appends);
    admin_add_number(o, "forced_writes", log->forced_writes);
    admin_add_number(o, "snapshots", log->snapshots);
    admin_add_number(o, "bytes", log->log_bytes);
}

/* Between the nodes. */
static void add_traffic(struct admin_task *t)
{
    cJSON *o = cJSON_AddObjectToObject(t->answer, "peers");
    struct peer_traffic n = group_traffic(t->with->group);

    admin_add_number(o, "sent_bytes", n.sent);
    admin_add_number(o, "received_bytes", n.received);
}

static void add_ledger(struct admin_task *t)
{
    cJSON *o = cJSON_AddObjectToObject(t->answer, "ledger");
    struct ledger_counts n;

    ledger_count(driver_ledger(t->with->driver), &n);
    admin_add_number(o, "sessions", n.sessions);
    admin_add_number(o, "open_sessions", n.open_sessions);
    admin_add_number(o, "decisions", n.decisions);
    admin_add_number(o, "resources", n.resources);
    admin_add_number(o, "heuristic", n.heuristic);
}

static void add_counters(struct admin_task *t)
{
    cJSON *o = cJSON_AddObjectToObject(t->answer, "counters");
    struct driver_counters n;

    driver_count(t->with->driver, &n);
    admin_add_number(o, "requests", n.requests);
    admin_add_number(o, "lookups", n.lookups);
    admin_add_number(o, "committed", n.committed);
    admin_add_number(o, "aborted", n.aborted);
    admin_add_number(o, "entries", n.entries);
    admin_add_number(o, "records", n.records);
    admin_add_number(o, "sessions_opened", n.sessions_opened);
    admin_add_number(o, "sessions_expired", n.sessions_expired);
    admin_add_number(o, "recovered", n.recovered);
    admin_add_number(o, "heuristic", n.heuristic);
    admin_add_number(o, "in_flight", n.in_flight);
    admin_add_number(o, "agents", n.agents);
}

struct resource_sum {
    uint64_t total, up, in_doubt, oldest_ms, found, resolved, rate;
};

static bool sum_resource(void *arg, const struct driver_resource *r)
{
    struct resource_sum *sum = arg;

    sum->total++;
    sum->up += r->alive && r->up;
    sum->in_doubt += r->in_doubt;
    sum->found += r->found;
    sum->resolved += r->resolved;
    sum->rate += r->rate;
    if (r->in_doubt > 0 && r->oldest_ms > sum->oldest_ms)
        sum->oldest_ms = r->oldest_ms;
    return true;
}

void admin_add_recovery(cJSON *to, const struct admin_recovery *r)
{
    cJSON *o;

    if (r->found == 0) {
        cJSON_AddNullToObject(to, "recovery");
        return;
    }
    o = cJSON_AddObjectToObject(to, "recovery");
    admin_add_number(o, "found", r->found);
    admin_add_number(o, "resolved", r->resolved);
    admin_add_number(o, "remaining", r->found > r->resolved ? r->found - r->resolved : 0);
    admin_add_number(o, "rate", r->rate);
}

static void add_resources(struct admin_task *t)
{
    cJSON *o = cJSON_AddObjectToObject(t->answer, "resources");
    struct resource_sum sum = {0};

    driver_each_resource(t->with->driver, t->now, sum_resource, &sum);
    admin_add_number(o, "total", sum.total);
    admin_add_number(o, "up", sum.up);
    admin_add_number(o, "in_doubt", sum.in_doubt);
    admin_add_number(o, "oldest_ms", sum.oldest_ms);
    admin_add_recovery(o, &(struct admin_recovery){sum.found, sum.resolved, sum.rate});
}

int admin_status(struct admin_task *t, struct tx_error *e)
{
    struct replog_status log;

    (void)e;
    replog_status(t->with->replog, &log);
    add_node(t, &log);
    add_log(t->answer, &log);
    add_traffic(t);
    add_ledger(t);
    add_counters(t);
    add_resources(t);
    admin_add_nodes(t);
    return TX_OK;
}

/* sessions: {limit, after} -> sessions, a page */

const char *admin_session_state(enum session_state s)
{
    static const char *const names[] = {"open", "closed", "expired"};

    return names[s];
}

struct session_walk {
    struct admin_task *task;
    struct admin_list list;
    uint64_t after;
};

static bool add_session(void *arg, const struct session *s)
{
    struct session_walk *walk = arg;
    struct admin_task *t = walk->task;
    cJSON *o;
    char key[24];

    if (s->id <= walk->after)
        return true;
    o = cJSON_CreateObject();
    snprintf(key, sizeof key, "%" PRIu64, s->id);
    admin_add_number(o, "session", s->id);
    cJSON_AddStringToObject(o, "state", admin_session_state(s->state));
    admin_add_text(o, "application", s->name);
    admin_add_number(o, "age_ms", t->wall > s->opened_ms ? t->wall - s->opened_ms : 0);
    if (s->state == SESSION_OPEN)
        admin_add_number(o, "silence_ms", driver_session_silence(t->with->driver, t->now, s->id));
    else
        admin_add_number(o, "ended_ms", t->wall > s->ended_ms ? t->wall - s->ended_ms : 0);
    admin_add_number(o, "session_timeout_ms", s->session_timeout_ms);
    admin_add_number(o, "transaction_timeout_ms", s->transaction_timeout_ms);
    admin_add_number(o, "decisions", s->n_decisions);
    return admin_list_add(&walk->list, o, key);
}

int admin_sessions(struct admin_task *t, struct tx_error *e)
{
    struct session_walk walk = {.task = t};
    const char *after = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "after"));

    walk.after = after == NULL ? 0 : strtoull(after, NULL, 10);
    admin_list_init(&walk.list, t);
    ledger_each_session(driver_ledger(t->with->driver), add_session, &walk);
    return admin_list_end(&walk.list, t->answer, "sessions", e);
}
