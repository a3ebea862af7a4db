/* rm_pg_test: tries a PostgreSQL resource out for the operator; see rm_pg.h.
 *
 * One way through all that a branch needs, on a new connection with the resource's settings: connect, rights,
 * slots, history, and an empty transaction prepared and rolled back. It runs in a thread: it shares nothing
 * with the pool but the settings, and a pool that cannot connect is just what it is to explain. Every wait ends
 * at one deadline. Called through rm_pg_ops.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_pg.h"

enum { TEST_MS = 6000, TEST_TEXT = 512 };

struct pg_test {
    uv_work_t work;
    struct rm *rm;
    char *settings;
    char gid[GID_SIZE];
    rm_json_cb done;
    void *arg;
    /* the thread's */
    PGconn *pg;
    uint64_t deadline_ms;
    cJSON *checks;
    char *json;
};

/* checks */

static void test_add(struct pg_test *t, const char *check, const char *text, const char *remedy)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "check", check);
    cJSON_AddBoolToObject(o, "ok", remedy == NULL);
    cJSON_AddStringToObject(o, "text", text);
    cJSON_AddStringToObject(o, "remedy", remedy == NULL ? "" : remedy);
    cJSON_AddItemToArray(t->checks, o);
}

/* libpq's message in one line. */
static void test_message(const PGconn *pg, char out[TEST_TEXT])
{
    const char *said = PQerrorMessage(pg);
    size_t n = 0;

    for (; *said != '\0' && n + 1 < TEST_TEXT; said++) {
        char ch = *said == '\n' || *said == '\t' ? ' ' : *said;

        if (ch != ' ' || (n > 0 && out[n - 1] != ' '))
            out[n++] = ch;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

/* waiting */

static uint64_t test_now(void)
{
    return uv_hrtime() / 1000000;
}

/* False: the deadline has passed. */
static bool test_wait(const struct pg_test *t, short events)
{
    uint64_t now = test_now();
    struct pollfd p = {.fd = PQsocket(t->pg), .events = events};
    int n;

    if (now >= t->deadline_ms)
        return false;
    n = poll(&p, 1, (int)(t->deadline_ms - now));
    return n > 0 || (n < 0 && errno == EINTR);
}

/* The statement's last result; NULL: none in time, or the connection is gone. PQclear() it. */
static PGresult *test_exec(struct pg_test *t, const char *sql)
{
    PGresult *last = NULL, *r;

    if (PQsendQuery(t->pg, sql) != 1)
        return NULL;
    for (;;) {
        while (PQisBusy(t->pg) == 1) {
            if (!test_wait(t, POLLIN) || PQconsumeInput(t->pg) != 1) {
                PQclear(last);
                return NULL;
            }
        }
        r = PQgetResult(t->pg);
        if (r == NULL)
            return last;
        PQclear(last);
        last = r;
    }
}

/* Why a statement did not do what it should. */
static void test_why(const struct pg_test *t, const PGresult *r, char out[TEST_TEXT])
{
    if (r != NULL)
        rm_pg_error_text(r, out, TEST_TEXT);
    else if (PQstatus(t->pg) != CONNECTION_OK)
        test_message(t->pg, out);
    else
        snprintf(out, TEST_TEXT, "no answer within %d s", TEST_MS / 1000);
}

/* connection */

static bool test_connected(struct pg_test *t)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED || PQstatus(t->pg) == CONNECTION_BAD ||
            !test_wait(t, status == PGRES_POLLING_READING ? POLLIN : POLLOUT))
            return false;
        status = PQconnectPoll(t->pg);
    }
    return true;
}

/* What is to be done about a connection that was refused, by the words that server and libpq use; untranslated
 * words, or others, get the general remedy. */
static const char *connect_remedy(const char *why)
{
    static const struct {
        const char *part, *remedy;
    } known[] = {
        {"certificate verify failed",
         "its certificate is not signed by what sslrootcert names: correct sslrootcert (txadmin resource "
         "alter), or the server's ssl_cert_file; where neither was changed, somebody may stand between"},
        {"does not match host name",
         "name the server in host as its certificate does (hostaddr may say where it is), or give it a "
         "certificate for this name"},
        {"does not support SSL", "switch TLS on in the server (ssl, ssl_cert_file, ssl_key_file), for the "
                                 "settings ask for it (sslmode)"},
        {"no encryption",
         "the server takes this role with TLS alone, or not at all: write sslmode=verify-full and "
         "sslrootcert=FILE (txadmin resource alter), or see its pg_hba.conf"},
        {"root certificate file", "put the certificate that the server's is signed by where sslrootcert says "
                                  "(~/.postgresql/root.crt), for the agent's user to read"},
        {"certificate file", "let the agent's user read it (sslcert; ~/.postgresql/postgresql.crt)"},
        {"client certificate", "give the agent a certificate for its role (sslcert, sslkey), signed by what "
                               "the server's ssl_ca_file has"},
        {"private key file", "let the agent's user alone read it (chmod 600)"},
        {"password",
         "put the role's password into the agent's passfile (passfile=…, PGPASSFILE or ~/.pgpass), for "
         "this host, port, database and user"},
        {"pg_hba.conf", "let the agent's role in: a line for it in the server's pg_hba.conf, and reload"},
        {"does not exist", "correct dbname or user (txadmin resource alter), or make them: "
                           "sql/setup-postgresql.sql makes the role"},
        {"Connection refused", "start the server, or correct host and port (txadmin resource alter)"},
        {"No such file", "start the server, or correct host and port (txadmin resource alter)"},
        {"translate host name", "correct host (txadmin resource alter)"},
        {"too many", "raise the server's max_connections, or lower --connections of the agents"},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strstr(why, known[i].part) != NULL)
            return known[i].remedy;
    }
    return "start the server, or correct the settings (txadmin resource alter)";
}

static bool test_connect(struct pg_test *t)
{
    const char *keywords[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
    const char *values[] = {t->settings, "txagentd test", "UTF8", NULL};
    char text[TEST_TEXT];

    t->pg = PQconnectStartParams(keywords, values, 1);
    if (t->pg != NULL && test_connected(t)) {
        snprintf(text, sizeof text, "%.100s as %.100s, server version %d", PQdb(t->pg), PQuser(t->pg),
                 PQserverVersion(t->pg) / 10000);
        test_add(t, "connection", text, NULL);
        return true;
    }
    if (t->pg == NULL)
        snprintf(text, sizeof text, "out of memory");
    else
        test_message(t->pg, text);
    if (text[0] == '\0')
        snprintf(text, sizeof text, "no answer within %d s", TEST_MS / 1000);
    test_add(t, "connection", text, connect_remedy(text));
    return false;
}

/* rights, slots, history */

enum test_fact {
    TEST_USER,
    TEST_SUPERUSER,
    TEST_MEMBER, /* of some role that may be an application's */
    TEST_OWNERS, /* of prepared branches of the group that it can't finish */
    TEST_SLOTS,
    TEST_TAKEN,
    TEST_HISTORY, /* may be executed */
    TEST_STANDBY,
    TEST_DATABASE,
};

static bool is_true(const PGresult *r, enum test_fact f)
{
    const char *v = rm_pg_value(r, (int)f);

    return v != NULL && (strcmp(v, "t") == 0 || strcmp(v, "on") == 0);
}

static const char *fact(const PGresult *r, enum test_fact f)
{
    const char *v = rm_pg_value(r, (int)f);

    return v == NULL ? "" : v;
}

static PGresult *test_facts(struct pg_test *t)
{
    char sql[1600];

    snprintf(sql, sizeof sql,
             "SELECT quote_ident(current_user), current_setting('is_superuser'),"
             " EXISTS (SELECT FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') AND rolname <> current_user"
             "   AND pg_has_role(oid, 'MEMBER')),"
             " (SELECT string_agg(DISTINCT quote_ident(owner), ', ') FROM pg_prepared_xacts"
             "   WHERE database = current_database() AND starts_with(gid, '%.*s')"
             "   AND NOT pg_has_role(owner, 'MEMBER')),"
             " current_setting('max_prepared_transactions'), (SELECT count(*) FROM pg_prepared_xacts),"
             " EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
             "   WHERE n.nspname = 'assent' AND p.proname = 'timeline_history'"
             "   AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')),"
             " pg_is_in_recovery(), quote_ident(current_database())",
             (int)(sizeof GID_PREFIX - 1 + 17), t->gid);
    return test_exec(t, sql);
}

static void check_role(struct pg_test *t, const PGresult *r)
{
    char text[TEST_TEXT], remedy[TEST_TEXT];

    if (is_true(r, TEST_SUPERUSER)) {
        test_add(t, "role", "a superuser; it needs less", NULL);
    } else if (*fact(r, TEST_OWNERS) != '\0') {
        snprintf(text, sizeof text, "branches of %.100s cannot be finished by %.100s", fact(r, TEST_OWNERS),
                 fact(r, TEST_USER));
        snprintf(remedy, sizeof remedy, "GRANT %.100s TO %.100s", fact(r, TEST_OWNERS), fact(r, TEST_USER));
        test_add(t, "role", text, remedy);
    } else if (!is_true(r, TEST_MEMBER)) {
        snprintf(text, sizeof text,
                 "%.100s is a member of no application's role: what one prepares stays in doubt",
                 fact(r, TEST_USER));
        snprintf(remedy, sizeof remedy,
                 "GRANT the applications' roles TO %.100s, as sql/setup-postgresql.sql does",
                 fact(r, TEST_USER));
        test_add(t, "role", text, remedy);
    } else {
        test_add(t, "role", "may finish what applications prepare", NULL);
    }
}

static void check_slots(struct pg_test *t, const PGresult *r)
{
    long slots = strtol(fact(r, TEST_SLOTS), NULL, 10), taken = strtol(fact(r, TEST_TAKEN), NULL, 10);
    char text[TEST_TEXT];

    if (slots == 0) {
        test_add(t, "max_prepared_transactions", "is 0: nothing can be prepared",
                 "ALTER SYSTEM SET max_prepared_transactions = 200, on standbys first, and restart the server");
        return;
    }
    snprintf(text, sizeof text, "%ld of %ld slots are taken", taken, slots);
    test_add(t, "max_prepared_transactions", text,
             taken < slots ? NULL
                           : "raise it and restart the server; see pg_prepared_xacts for what nobody finishes");
}

static void check_history(struct pg_test *t, const PGresult *r)
{
    PGresult *history;
    char text[TEST_TEXT], remedy[TEST_TEXT];

    snprintf(remedy, sizeof remedy, "run sql/setup-postgresql.sql in database %.100s", fact(r, TEST_DATABASE));
    if (!is_true(r, TEST_HISTORY) && !is_true(r, TEST_SUPERUSER)) {
        test_add(t, "timeline history",
                 "cannot be read: after a failover, branches committed before it would be reported as hazards",
                 remedy);
        return;
    }
    /* The first timeline has no history, and so no file. */
    history = is_true(r, TEST_HISTORY) ? test_exec(t, "SELECT assent.timeline_history()") : NULL;
    if (!is_true(r, TEST_HISTORY) || rm_pg_value(history, 0) != NULL || rm_pg_is_sqlstate(history, "58P01")) {
        test_add(t, "timeline history", "can be read", NULL);
    } else {
        test_why(t, history, text);
        test_add(t, "timeline history", text, remedy);
    }
    PQclear(history);
}

/* the trial */

static const char *prepare_remedy(const PGresult *r)
{
    if (rm_pg_is_sqlstate(r, "55000"))
        return "set max_prepared_transactions and restart the server";
    if (rm_pg_is_sqlstate(r, "25006"))
        return "name the primary in the settings: this server takes no writes";
    if (rm_pg_is_sqlstate(r, "53400") || rm_pg_is_sqlstate(r, "53200"))
        return "raise max_prepared_transactions and restart the server";
    return "see the server's log";
}

static void check_rollback(struct pg_test *t)
{
    char sql[GID_SIZE + 32], text[TEST_TEXT];
    PGresult *r;

    snprintf(sql, sizeof sql, "ROLLBACK PREPARED '%s'", t->gid);
    r = test_exec(t, sql);
    /* An agent's scan may have come first: it rolls such a branch back. */
    if (rm_pg_is_tag(r, "ROLLBACK PREPARED") || rm_pg_is_sqlstate(r, "42704")) {
        test_add(t, "prepare and roll back", "done with an empty transaction", NULL);
    } else {
        test_why(t, r, text);
        test_add(t, "prepare and roll back", text, "see the server's log; recovery rolls it back");
    }
    PQclear(r);
}

static void check_prepare(struct pg_test *t)
{
    char sql[GID_SIZE + 32], text[TEST_TEXT];
    PGresult *r;

    PQclear(test_exec(t, "BEGIN"));
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION '%s'", t->gid);
    r = test_exec(t, sql);
    if (rm_pg_is_tag(r, "PREPARE TRANSACTION")) {
        check_rollback(t);
    } else {
        test_why(t, r, text);
        test_add(t, "prepare and roll back", text, prepare_remedy(r));
    }
    PQclear(r);
}

static void test_all(struct pg_test *t)
{
    PGresult *r;
    char text[TEST_TEXT];

    if (!test_connect(t))
        return;
    r = test_facts(t);
    if (rm_pg_value(r, TEST_USER) == NULL) {
        test_why(t, r, text);
        test_add(t, "catalogs", text, "PostgreSQL 13 or later is needed; see the server's log");
    } else if (is_true(r, TEST_STANDBY)) {
        test_add(t, "primary", "the server is a standby",
                 "name the primary in the settings (txadmin resource alter)");
    } else {
        check_role(t, r);
        check_slots(t, r);
        check_history(t, r);
        check_prepare(t);
    }
    PQclear(r);
}

/* the thread */

static void test_run(uv_work_t *work)
{
    struct pg_test *t = work->data;
    cJSON *o = cJSON_CreateObject();

    t->checks = cJSON_AddArrayToObject(o, "checks");
    t->deadline_ms = test_now() + TEST_MS;
    test_all(t);
    PQfinish(t->pg);
    t->json = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
}

static void test_ran(uv_work_t *work, int status)
{
    struct pg_test *t = work->data;

    t->rm->open_handles--;
    t->done(t->arg, t->json, status == 0 && t->json != NULL ? NULL : "the test could not be run");
    free(t->json);
    free(t->settings);
    free(t);
}

void rm_pg_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    struct pg_test *t = calloc(1, sizeof *t);

    if (t == NULL || (t->settings = strdup(rm->settings)) == NULL)
        abort();
    t->rm = rm;
    t->done = done;
    t->arg = arg;
    t->work.data = t;
    snprintf(t->gid, sizeof t->gid, "%s", gid);
    rm->open_handles++;
    if (uv_queue_work(rm->options.loop, &t->work, test_run, test_ran) != 0)
        abort();
}
