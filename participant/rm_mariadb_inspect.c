/* rm_mariadb_inspect: MariaDB for the operator: one prepared branch with its locks and those who wait for it,
 * and what is right and wrong with the resource; see rm_mariadb_impl.h.
 *
 * The server does not tell which InnoDB transaction belongs to which xid, but which session a transaction is
 * attached to: 0 where that is gone. So for a branch whose session is gone, those are shown who wait for any
 * such branch. Locks are known to INNODB_LOCKS only while somebody waits for them.
 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

enum { INSPECT_BRANCHES = 256, INSPECT_NAMED = 10, INSPECT_OLD_MS = 3600000 };

struct maria_inspect {
    struct maria_job job; /* first */
    struct rm *rm;
    struct maria_conn *conn;
    rm_json_cb done;
    void *arg;
    cJSON *answer;
    bool evidence_known;
    char name[GID_SIZE]; /* gid, or the group's prefix */
};

static void inspect_end(struct maria_inspect *i, const char *error)
{
    char *json = error == NULL ? cJSON_PrintUnformatted(i->answer) : NULL;

    if (i->conn != NULL)
        rm_mariadb_conn_release(i->conn, true);
    i->done(i->arg, json, error);
    cJSON_Delete(i->answer);
    free(json);
    free(i);
}

static struct maria_inspect *inspect_new(struct rm *rm, const char *name, rm_json_cb done, void *arg)
{
    struct maria_inspect *i = calloc(1, sizeof *i);

    if (i == NULL)
        abort();
    i->rm = rm;
    i->done = done;
    i->arg = arg;
    i->answer = cJSON_CreateObject();
    snprintf(i->name, sizeof i->name, "%s", name);
    i->job.first = true;
    return i;
}

/* a branch */

static void branch_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_inspect *i = (struct maria_inspect *)job;

    (void)code;
    i->conn = NULL;
    inspect_end(i, text);
}

static void branch_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_inspect *i = (struct maria_inspect *)job;
    const char *sql[MARIA_EVIDENCE + 2];
    char key[XA_KEY_SQL_SIZE], since[256];
    struct maria_evidence_sql q;

    i->conn = c;
    job->deadline_ms = uv_now(i->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    rm_mariadb_key(i->name, key);
    rm_mariadb_evidence_sql(&q, key);
    memcpy(sql, q.sql, sizeof q.sql);
    snprintf(
        since, sizeof since,
        "SELECT DATE_FORMAT(CONVERT_TZ(at, @@time_zone, '+00:00'), '%%Y-%%m-%%dT%%T.%%fZ') FROM assent.receipt"
        " WHERE gid = %s",
        key);
    sql[MARIA_EVIDENCE] = sql[1]; /* at READ UNCOMMITTED, again */
    sql[MARIA_EVIDENCE + 1] = since;
    rm_mariadb_send(c, sql, MARIA_EVIDENCE + 2, false);
}

/* Those who wait, and for which locks. */
static void branch_ask_waiting(struct maria_inspect *i, uint64_t thread)
{
    char sql[1024];
    const char *const batch[] = {sql};

    snprintf(sql, sizeof sql,
             "SELECT t.trx_mysql_thread_id, p.USER, LEFT(t.trx_query, 200),"
             " TIMESTAMPDIFF(MICROSECOND, t.trx_wait_started, NOW(6)) DIV 1000,"
             " l.lock_mode, l.lock_type, l.lock_table"
             " FROM information_schema.INNODB_LOCK_WAITS w"
             " JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id"
             " JOIN information_schema.INNODB_TRX t ON t.trx_id = w.requesting_trx_id"
             " JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.blocking_lock_id"
             " LEFT JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id"
             " WHERE b.trx_mysql_thread_id = %" PRIu64 " LIMIT 50",
             thread);
    rm_mariadb_send(i->conn, batch, 1, false);
}

static void branch_known(struct maria_inspect *i, const struct maria_reply *reply)
{
    const char *at = rm_mariadb_value(reply, MARIA_EVIDENCE + 1, 0);
    struct maria_evidence v;
    char error[TEXT_LIMIT + 1];

    if (!rm_mariadb_evidence(i->conn, reply, MARIA_EVIDENCE - 1, i->name, &v)) {
        rm_mariadb_error_text(rm_mariadb_failure(reply), error, sizeof error);
        inspect_end(i, error);
        return;
    }
    i->evidence_known = true;
    cJSON_AddBoolToObject(i->answer, "prepared", v.listed);
    cJSON_AddBoolToObject(i->answer, "committed", v.committed);
    if (v.listed && at != NULL)
        cJSON_AddStringToObject(i->answer, "prepared_at", at);
    if (v.thread != 0)
        cJSON_AddNumberToObject(i->answer, "thread", (double)v.thread);
    cJSON_AddBoolToObject(i->answer, "connected", v.connected);
    branch_ask_waiting(i, v.connected ? v.thread : 0);
}

static const char *branch_text(const char *value)
{
    return value == NULL ? "" : value;
}

static void branch_waiting_known(struct maria_inspect *i, const struct maria_reply *reply)
{
    cJSON *locks = cJSON_AddArrayToObject(i->answer, "locks");
    cJSON *blocked = cJSON_AddArrayToObject(i->answer, "blocked"), *o;
    MYSQL_RES *rows = reply->n == 1 ? reply->results[0].rows : NULL;
    MYSQL_ROW row;

    while (rows != NULL && (row = mysql_fetch_row(rows)) != NULL) {
        o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "pid", strtod(branch_text(row[0]), NULL));
        cJSON_AddStringToObject(o, "user", branch_text(row[1]));
        cJSON_AddStringToObject(o, "application", "");
        cJSON_AddStringToObject(o, "query", branch_text(row[2]));
        cJSON_AddNumberToObject(o, "waiting_ms", strtod(branch_text(row[3]), NULL));
        cJSON_AddItemToArray(blocked, o);
        o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "mode", branch_text(row[4]));
        cJSON_AddStringToObject(o, "type", branch_text(row[5]));
        cJSON_AddStringToObject(o, "relation", branch_text(row[6]));
        cJSON_AddBoolToObject(o, "granted", true);
        cJSON_AddItemToArray(locks, o);
    }
    inspect_end(i, NULL);
}

static void branch_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_inspect *i = (struct maria_inspect *)job;

    (void)c;
    if (i->evidence_known)
        branch_waiting_known(i, reply);
    else
        branch_known(i, reply);
}

void rm_mariadb_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    struct maria_inspect *i = inspect_new(rm, gid, done, arg);

    i->job.start = branch_start;
    i->job.replied = branch_replied;
    i->job.dropped = branch_dropped;
    rm_mariadb_pool_submit(rm, &i->job);
}

/* the resource */

static void finding(struct maria_inspect *i, const char *level, const char *check, const char *text,
                    const char *remedy)
{
    cJSON *list = cJSON_GetObjectItem(i->answer, "findings"), *f = cJSON_CreateObject();

    if (list == NULL)
        list = cJSON_AddArrayToObject(i->answer, "findings");
    cJSON_AddStringToObject(f, "level", level);
    cJSON_AddStringToObject(f, "check", check);
    cJSON_AddStringToObject(f, "text", text);
    cJSON_AddStringToObject(f, "remedy", remedy == NULL ? "" : remedy);
    cJSON_AddItemToArray(list, f);
}

/* The first few of those that are old, or of another group; `text` begins the line and has 2048 bytes. Returns
 * how many there are. */
static unsigned find_named(const struct rm_list *list, const char *prefix, bool foreign, char *text)
{
    const struct rm_found *found = list->found;
    unsigned many = 0;

    for (int k = 0; k < list->n; k++) {
        bool ours = strncmp(found[k].gid, prefix, strlen(prefix)) == 0;
        size_t at = strlen(text);

        if (foreign ? ours : !ours || found[k].age_ms < INSPECT_OLD_MS)
            continue;
        if (many++ < INSPECT_NAMED)
            snprintf(text + at, 2048 - at, "%s %s (%" PRIu64 " s)", many > 1 ? "," : "", found[k].gid,
                     found[k].age_ms / 1000);
    }
    return many;
}

static void find_branches(void *arg, const struct rm_list *list)
{
    struct maria_inspect *i = arg;
    char old[2048] = "prepared for more than an hour:",
         foreign[2048] = "prepared by another coordinator group:";

    if (list->n < 0)
        finding(i, "error", "in doubt", "XA RECOVER cannot be read", "see the agent's log");
    else if (find_named(list, i->name, false, old) > 0)
        finding(i, "warning", "in doubt", old,
                "they hold locks and hold up purge; txadmin show <transaction> tells what they wait for");
    else
        finding(i, "ok", "in doubt", "nothing has been prepared for more than an hour", NULL);
    if (list->n >= 0 && find_named(list, i->name, true, foreign) > 0)
        finding(i, "warning", "orphans", foreign,
                "nobody here finishes them; if that group is gone for good, see sql/in-doubt-mariadb.sql");
    else
        finding(i, "ok", "orphans", "no branches of other coordinator groups", NULL);
    inspect_end(i, NULL);
}

static void find_server(struct maria_inspect *i, const struct maria_reply *reply)
{
    char text[256];

    snprintf(text, sizeof text, "MariaDB %.60s, database %.60s, as %.100s",
             branch_text(rm_mariadb_value(reply, 0, 0)), branch_text(rm_mariadb_value(reply, 0, 1)),
             branch_text(rm_mariadb_value(reply, 0, 2)));
    finding(i, "ok", "connection", text, NULL);
    if (strcmp(branch_text(rm_mariadb_value(reply, 0, 3)), "1") == 0)
        finding(i, "ok", "innodb_flush_log_at_trx_commit", "every commit is forced to the disk", NULL);
    else
        finding(i, "error", "innodb_flush_log_at_trx_commit", "prepared branches can be lost in a crash",
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration");
    if (strcmp(branch_text(rm_mariadb_value(reply, 0, 4)), "1") == 0)
        finding(i, "ok", "sync_binlog", "the binary log is off, or forced to the disk too", NULL);
    else
        finding(i, "error", "sync_binlog", "the binary log is on and not forced to the disk",
                "SET GLOBAL sync_binlog = 1, and in the server's configuration");
    snprintf(text, sizeof text, "receipts reach back to %.40s",
             rm_mariadb_value(reply, 1, 0) == NULL ? "now" : rm_mariadb_value(reply, 1, 0));
    finding(i, "ok", "receipts", text, NULL);
}

/* Of those in the database that the settings name. */
static const char engines_sql[] =
    "SELECT COUNT(*), SUBSTRING_INDEX(GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME), ',', 5)"
    " FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND ENGINE"
    " NOT IN (SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES')";

static void find_engines(struct maria_inspect *i, const struct maria_reply *reply)
{
    const char *n = branch_text(rm_mariadb_value(reply, 2, 0));
    char text[512];

    if (strcmp(n, "0") == 0) {
        finding(i, "ok", "engines", "all tables here are transactional", NULL);
        return;
    }
    snprintf(text, sizeof text,
             "%.20s tables without transactions, which keep what a branch wrote when it is rolled"
             " back: %.400s",
             n, branch_text(rm_mariadb_value(reply, 2, 1)));
    finding(i, "warning", "engines", text,
            "ALTER TABLE ... ENGINE = InnoDB, or leave them alone in transactions");
}

static void resource_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_inspect *i = (struct maria_inspect *)job;
    char error[TEXT_LIMIT + 1];

    if (!rm_mariadb_all_done(reply, 3)) {
        rm_mariadb_error_text(rm_mariadb_failure(reply), error, sizeof error);
        inspect_end(i, error);
        return;
    }
    find_server(i, reply);
    find_engines(i, reply);
    i->conn = NULL;
    rm_mariadb_conn_release(c, true);
    rm_mariadb_list(i->rm, GID_PREFIX, "", INSPECT_BRANCHES, find_branches, i);
}

static void resource_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_inspect *i = (struct maria_inspect *)job;
    const char *const sql[] = {"SELECT VERSION(), DATABASE(), CURRENT_USER(), @@innodb_flush_log_at_trx_commit,"
                               " NOT @@log_bin OR @@sync_binlog = 1",
                               "SELECT MIN(at) FROM assent.receipt WHERE gid <> ''", engines_sql};

    i->conn = c;
    job->deadline_ms = uv_now(i->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    rm_mariadb_send(c, sql, 3, false);
}

static void resource_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_inspect *i = (struct maria_inspect *)job;

    (void)code;
    i->conn = NULL;
    finding(i, "error", "connection", text,
            "start the server, or correct its settings (txadmin resource alter, or the agent's --resource)");
    inspect_end(i, NULL);
}

void rm_mariadb_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg)
{
    struct maria_inspect *i = inspect_new(rm, prefix, done, arg);

    i->job.start = resource_start;
    i->job.replied = resource_replied;
    i->job.dropped = resource_dropped;
    rm_mariadb_pool_submit(rm, &i->job);
}
