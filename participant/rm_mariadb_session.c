/* rm_mariadb_session: what a new MariaDB session is asked before it is used, and why a server may not be fit;
 * see rm_mariadb_impl.h. Called by rm_mariadb_conn.c.
 *
 * Rights are tried rather than read: each statement touches no row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

#define RECEIPT_REMEDY "run sql/setup-mariadb.sql"

/* In the order in which they are sent; `remedy` where the statement itself fails. */
enum session_statement {
    IN_SETTINGS,
    IN_FACTS,
    IN_UPTIME,
    IN_RECEIPT,
    IN_INSERT,
    IN_DELETE,
    IN_PROCESS,
    IN_RECOVER,
    IN_WRITES
};

static const struct {
    const char *sql, *remedy;
} session_statements[] = {
    [IN_SETTINGS] = {MARIA_SESSION_SQL, "the agent's session settings are refused"},
    [IN_FACTS] = {"SELECT CONNECTION_ID(), SUBSTRING_INDEX(USER(), '@', 1), UNIX_TIMESTAMP(),"
                  " @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog",
                  "the server's settings cannot be read"},
    [IN_UPTIME] = {"SHOW GLOBAL STATUS LIKE 'Uptime'", "the server's uptime cannot be read"},
    [IN_RECEIPT] = {"SELECT gid, thread, at FROM assent.receipt WHERE FALSE", RECEIPT_REMEDY},
    [IN_INSERT] = {"INSERT INTO assent.receipt (gid, thread) SELECT '', 0 FROM DUAL WHERE FALSE"
                   " ON DUPLICATE KEY UPDATE thread = 0",
                   RECEIPT_REMEDY},
    [IN_DELETE] = {"DELETE FROM assent.receipt WHERE FALSE", RECEIPT_REMEDY},
    [IN_PROCESS] = {"SELECT trx_id FROM information_schema.INNODB_TRX LIMIT 1",
                    "GRANT PROCESS ON *.* TO the agent's user, as sql/setup-mariadb.sql does"},
    [IN_RECOVER] = {"XA RECOVER", "the agent's user may not see what is prepared"},
    [IN_WRITES] = {MARIA_WRITES_SQL, "the session's counters cannot be read"},
};

enum { SESSION_STATEMENTS = sizeof session_statements / sizeof *session_statements };
_Static_assert(SESSION_STATEMENTS <= (int)MARIA_RESULTS, "sent at once");

static bool session_is(const struct maria_reply *reply, unsigned column, const char *value)
{
    const char *have = rm_mariadb_value(reply, IN_FACTS, column);

    return have != NULL && strcmp(have, value) == 0;
}

/* Why this server cannot be used, into `out`. */
static bool session_refusal(struct maria_conn *c, const struct maria_reply *reply, char out[TEXT_LIMIT + 1])
{
    const struct maria_result *failed = rm_mariadb_failure(reply);

    out[0] = '\0';
    if (c->rm->settings.tls && mysql_get_ssl_cipher(c->my) == NULL)
        snprintf(out, TEXT_LIMIT + 1, "the server does not offer TLS, which the settings ask for");
    else if (!mariadb_connection(c->my) || mysql_get_server_version(c->my) < (unsigned long)MARIA_VERSION_MIN)
        snprintf(out, TEXT_LIMIT + 1, "the server is %.40s; MariaDB 10.6 or later is needed",
                 mysql_get_server_info(c->my));
    else if (failed != NULL)
        snprintf(out, TEXT_LIMIT + 1, "%s (%u: %.120s)", session_statements[reply->n - 1].remedy, failed->error,
                 failed->text);
    else if (!session_is(reply, 3, "1"))
        snprintf(out, TEXT_LIMIT + 1,
                 "innodb_flush_log_at_trx_commit is %s: prepared branches can be lost; set it to 1",
                 rm_mariadb_value(reply, IN_FACTS, 3));
    else if (session_is(reply, 4, "1") && !session_is(reply, 5, "1"))
        snprintf(out, TEXT_LIMIT + 1,
                 "the binary log is on and sync_binlog is %s: prepared branches can be lost; set it to 1",
                 rm_mariadb_value(reply, IN_FACTS, 5));
    else if (!rm_mariadb_writes(reply, IN_WRITES, &c->writes))
        snprintf(out, TEXT_LIMIT + 1, "the session's counters of writes are missing");
    return out[0] != '\0';
}

static void session_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    char refusal[TEXT_LIMIT + 1];

    (void)job;
    if (session_refusal(c, reply, refusal)) {
        rm_mariadb_conn_lost(c, refusal);
        return;
    }
    c->thread = strtoull(rm_mariadb_value(reply, IN_FACTS, 0), NULL, 10);
    snprintf(c->rm->user, sizeof c->rm->user, "%s", rm_mariadb_value(reply, IN_FACTS, 1));
    c->server_since = strtoull(rm_mariadb_value(reply, IN_FACTS, 2), NULL, 10) -
                      strtoull(rm_mariadb_value(reply, IN_UPTIME, 1), NULL, 10);
    rm_mariadb_conn_ready(c);
}

bool rm_mariadb_writes(const struct maria_reply *reply, unsigned i, uint64_t *n)
{
    MYSQL_RES *rows = i < reply->n ? reply->results[i].rows : NULL;
    MYSQL_ROW row;
    unsigned counters = 0;

    *n = 0;
    while (rows != NULL && (row = mysql_fetch_row(rows)) != NULL) {
        *n += strtoull(row[1], NULL, 10);
        counters++;
    }
    return counters == 3;
}

void rm_mariadb_session_begin(struct maria_conn *c)
{
    const char *sql[SESSION_STATEMENTS];

    for (unsigned i = 0; i < SESSION_STATEMENTS; i++)
        sql[i] = session_statements[i].sql;
    c->own.replied = session_replied;
    rm_mariadb_send(c, sql, SESSION_STATEMENTS, false);
}
