/* rm_pg_inspect: PostgreSQL for the operator: one prepared branch with its locks and those who wait for it, and
 * what is right and wrong with the resource; see rm_pg.h.
 *
 * The server itself writes the JSON of a branch. The locks of a prepared transaction have no pid; they are
 * found through its transactionid lock (the '-1/xid' of the manual holds after a restart of the server only).
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_pg.h"

enum inspect_what { INSPECT_BRANCH, INSPECT_RESOURCE };

struct pg_inspect {
    struct pg_job job; /* first */
    struct rm *rm;
    enum inspect_what what;
    rm_json_cb done;
    void *arg;
    char name[GID_SIZE]; /* gid, or the group's prefix */
};

static const char branch_query[] =
    "WITH p AS (SELECT * FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database()),"
    " v AS (SELECT l.virtualtransaction AS vx FROM pg_locks l JOIN p ON l.transactionid = p.transaction"
    "   WHERE l.locktype = 'transactionid' AND l.pid IS NULL AND l.granted),"
    " held AS (SELECT l.* FROM pg_locks l JOIN v ON l.virtualtransaction = v.vx WHERE l.pid IS NULL),"
    " waiting AS (SELECT DISTINCT w.pid FROM pg_locks w JOIN held h ON NOT w.granted"
    "   AND (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid,"
    "        w.objid, w.objsubid) IS NOT DISTINCT FROM"
    "       (h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid,"
    "        h.objid, h.objsubid))"
    " SELECT json_build_object('prepared', EXISTS (SELECT FROM p),"
    "  'prepared_at', (SELECT to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM "
    "p),"
    "  'owner', (SELECT owner FROM p),"
    "  'locks', coalesce((SELECT json_agg(json_strip_nulls(json_build_object('mode', mode, 'type', locktype,"
    "     'relation', relation::regclass::text, 'granted', granted)))"
    "     FROM (SELECT * FROM held ORDER BY relation, mode LIMIT 100) s), '[]'),"
    "  'blocked', coalesce((SELECT json_agg(json_build_object('pid', a.pid, 'user', a.usename,"
    "     'application', a.application_name, 'query', left(a.query, 200),"
    "     'waiting_ms', coalesce((extract(epoch FROM clock_timestamp() - a.state_change) * 1000)::bigint, 0)))"
    "     FROM (SELECT * FROM waiting LIMIT 50) s JOIN pg_stat_activity a USING (pid)), '[]'))";

/* One row of facts; findings_of() reads it by these numbers. */
enum fact {
    FACT_VERSION,
    FACT_USER,
    FACT_SUPERUSER,
    FACT_MAX_PREPARED,
    FACT_PREPARED,
    FACT_READ_STATS,
    FACT_SIGNAL,
    FACT_FOREIGN_OWNERS,
    FACT_OLD,
    FACT_ORPHANS,
    FACT_DATABASE,
    FACT_MEMBER, /* of some role that may be an application's */
    FACT_HISTORY,
};

static const char resource_query[] =
    "WITH mine AS (SELECT * FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, "
    "$1))"
    " SELECT current_setting('server_version'), quote_ident(current_user), current_setting('is_superuser'),"
    " current_setting('max_prepared_transactions'), (SELECT count(*) FROM pg_prepared_xacts),"
    " pg_has_role('pg_read_all_stats', 'USAGE'), pg_has_role('pg_signal_backend', 'USAGE'),"
    " (SELECT string_agg(DISTINCT quote_ident(owner), ', ') FROM mine"
    "   WHERE NOT pg_has_role(owner, 'MEMBER')),"
    " (SELECT string_agg(gid || ' (' || date_trunc('second', clock_timestamp() - prepared) || ')', ', ')"
    "   FROM (SELECT * FROM mine WHERE prepared < clock_timestamp() - interval '1 hour'"
    "         ORDER BY prepared LIMIT 10) s),"
    " (SELECT string_agg(gid || ' (' || date_trunc('second', clock_timestamp() - prepared) || ')', ', ')"
    "   FROM (SELECT * FROM pg_prepared_xacts WHERE database = current_database()"
    "         AND starts_with(gid, 'assent-') AND NOT starts_with(gid, $1) ORDER BY prepared LIMIT 10) s),"
    " current_database(),"
    " EXISTS (SELECT FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') AND rolname <> current_user"
    "   AND pg_has_role(oid, 'MEMBER')),"
    " EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    "   WHERE n.nspname = 'assent' AND p.proname = 'timeline_history'"
    "   AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))";

/* findings */

static void finding(cJSON *list, const char *level, const char *check, const char *text, const char *remedy)
{
    cJSON *f = cJSON_CreateObject();

    cJSON_AddStringToObject(f, "level", level);
    cJSON_AddStringToObject(f, "check", check);
    cJSON_AddStringToObject(f, "text", text);
    cJSON_AddStringToObject(f, "remedy", remedy == NULL ? "" : remedy);
    cJSON_AddItemToArray(list, f);
}

static const char *fact(const PGresult *r, enum fact f)
{
    const char *v = rm_pg_value(r, f);

    return v == NULL ? "" : v;
}

static bool fact_true(const PGresult *r, enum fact f)
{
    return strcmp(fact(r, f), "t") == 0 || strcmp(fact(r, f), "on") == 0;
}

static void find_slots(cJSON *list, const PGresult *r)
{
    long max = atol(fact(r, FACT_MAX_PREPARED)), used = atol(fact(r, FACT_PREPARED));
    char text[128];

    snprintf(text, sizeof text, "%ld of %ld slots are in use", used, max);
    if (max == 0)
        finding(list, "error", "max_prepared_transactions",
                "max_prepared_transactions = 0: nothing can be prepared",
                "set it to at least the number of connections that commit at once, and restart the server");
    else if (used * 10 >= max * 8)
        finding(list, "warning", "max_prepared_transactions", text,
                "raise max_prepared_transactions (on standbys first), restart the server; look for branches in "
                "doubt");
    else
        finding(list, "ok", "max_prepared_transactions", text, NULL);
}

static void find_rights(cJSON *list, const PGresult *r)
{
    char text[512], remedy[512];

    if (fact_true(r, FACT_SUPERUSER)) {
        finding(list, "warning", "role", "the agent's role is a superuser; it needs less",
                "sql/setup-postgresql.sql makes a role with just the rights it needs");
    } else if (*fact(r, FACT_FOREIGN_OWNERS) != '\0') {
        snprintf(text, sizeof text, "branches of %s cannot be finished by %s", fact(r, FACT_FOREIGN_OWNERS),
                 fact(r, FACT_USER));
        snprintf(remedy, sizeof remedy, "GRANT %s TO %s", fact(r, FACT_FOREIGN_OWNERS), fact(r, FACT_USER));
        finding(list, "error", "role", text, remedy);
    } else if (!fact_true(r, FACT_MEMBER)) {
        snprintf(text, sizeof text, "%s is a member of no application's role: what one prepares stays in doubt",
                 fact(r, FACT_USER));
        snprintf(remedy, sizeof remedy, "GRANT the applications' roles TO %s, as sql/setup-postgresql.sql does",
                 fact(r, FACT_USER));
        finding(list, "warning", "role", text, remedy);
    } else {
        finding(list, "ok", "role", "every branch that is prepared now can be finished", NULL);
    }
    snprintf(remedy, sizeof remedy, "GRANT pg_read_all_stats TO %s", fact(r, FACT_USER));
    if (fact_true(r, FACT_READ_STATS))
        finding(list, "ok", "pg_read_all_stats", "sessions of all roles can be seen", NULL);
    else
        finding(list, "warning", "pg_read_all_stats",
                "queries of sessions that wait for a branch cannot be shown", remedy);
}

static void find_history(cJSON *list, const PGresult *r)
{
    char remedy[512];

    snprintf(remedy, sizeof remedy, "run sql/setup-postgresql.sql in database %s", fact(r, FACT_DATABASE));
    if (fact_true(r, FACT_SUPERUSER) || fact_true(r, FACT_HISTORY))
        finding(list, "ok", "failover", "the history of timelines can be read", NULL);
    else
        finding(
            list, "warning", "failover",
            "the history of timelines cannot be read: after a failover, branches that were committed before it "
            "would be reported as hazards",
            remedy);
}

static void find_branches(cJSON *list, const PGresult *r)
{
    char text[2048];

    if (*fact(r, FACT_OLD) != '\0') {
        snprintf(text, sizeof text, "prepared for more than an hour: %s", fact(r, FACT_OLD));
        finding(list, "warning", "in doubt", text,
                "they hold locks and hold up VACUUM; txadmin show <transaction> tells what they wait for");
    } else {
        finding(list, "ok", "in doubt", "nothing has been prepared for more than an hour", NULL);
    }
    if (*fact(r, FACT_ORPHANS) != '\0') {
        snprintf(text, sizeof text, "prepared by another coordinator group: %s", fact(r, FACT_ORPHANS));
        finding(list, "warning", "orphans", text,
                "nobody here finishes them; was the coordinator's data directory lost? Then bring it back. "
                "If that group is gone for good, see sql/in-doubt-postgresql.sql");
    } else {
        finding(list, "ok", "orphans", "no branches of other coordinator groups", NULL);
    }
}

static char *findings_of(const PGresult *r)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "findings");
    char text[256], *json;

    snprintf(text, sizeof text, "PostgreSQL %s, database %s, as %s", fact(r, FACT_VERSION),
             fact(r, FACT_DATABASE), fact(r, FACT_USER));
    finding(list, "ok", "connection", text, NULL);
    find_slots(list, r);
    find_rights(list, r);
    find_history(list, r);
    find_branches(list, r);
    json = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return json;
}

static char *findings_unreachable(const char *why)
{
    cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "findings");
    char *json;

    finding(list, "error", "connection", why,
            "start the server, or correct its settings (txadmin resource alter, or the agent's --resource)");
    json = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return json;
}

/* the job */

static void inspect_start(struct pg_job *job, struct pg_conn *c)
{
    struct pg_inspect *i = (struct pg_inspect *)job;
    const char *value = i->name;
    struct rm_statement s = {i->what == INSPECT_BRANCH ? branch_query : resource_query, 1, &value};

    job->deadline_ms = uv_now(i->rm->options.loop) + PG_FINISH_TIMEOUT_MS;
    rm_pg_send_statement(c, &s, false);
}

static void inspect_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    struct pg_inspect *i = (struct pg_inspect *)job;
    const PGresult *r = reply->n > 0 ? reply->results[0] : NULL;
    char error[TEXT_LIMIT + 1] = "";
    char *json = NULL;

    if (rm_pg_value(r, 0) == NULL)
        rm_pg_error_text(r, error, sizeof error);
    else
        json = i->what == INSPECT_BRANCH ? strdup(rm_pg_value(r, 0)) : findings_of(r);
    rm_pg_conn_release(c, true);
    i->done(i->arg, json, error);
    free(json);
    free(i);
}

static void inspect_dropped(struct pg_job *job, int code, const char *text)
{
    struct pg_inspect *i = (struct pg_inspect *)job;
    char *json = i->what == INSPECT_RESOURCE ? findings_unreachable(text) : NULL;

    (void)code;
    i->done(i->arg, json, text);
    free(json);
    free(i);
}

static void inspect_submit(struct rm *rm, enum inspect_what what, const char *name, rm_json_cb done, void *arg)
{
    struct pg_inspect *i = calloc(1, sizeof *i);

    if (i == NULL)
        abort();
    i->rm = rm;
    i->what = what;
    i->done = done;
    i->arg = arg;
    i->job.first = true;
    i->job.start = inspect_start;
    i->job.replied = inspect_replied;
    i->job.dropped = inspect_dropped;
    snprintf(i->name, sizeof i->name, "%s", name);
    rm_pg_pool_submit(rm, &i->job);
}

void rm_pg_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    inspect_submit(rm, INSPECT_BRANCH, gid, done, arg);
}

void rm_pg_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg)
{
    inspect_submit(rm, INSPECT_RESOURCE, prefix, done, arg);
}
