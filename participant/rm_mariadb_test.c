/* rm_mariadb_test: tries a MariaDB resource out for the operator; see rm_mariadb_impl.h.
 *
 * One way through all that a branch needs, on one of the pool's connections, whose session the pool has looked
 * at: that the server forces its log, that the receipt can be written, and that a branch with nothing but its
 * receipt is prepared and rolled back. What the pool says that has no connection is the answer, too.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

enum test_statement {
    IN_SERVER,
    IN_START,
    IN_RECEIPT,
    IN_END,
    IN_PREPARE,
    IN_ROLLBACK,
    IN_PAST, /* says another time than it is, as an application may */
    IN_CLOCK,
    TEST_STATEMENTS
};

struct maria_test {
    struct maria_job job; /* first */
    struct rm *rm;
    rm_json_cb done;
    void *arg;
    cJSON *answer, *checks;
    char gid[GID_SIZE];
};

/* remedy NULL: it is as it should be. */
static void test_add(struct maria_test *t, const char *check, const char *text, const char *remedy)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "check", check);
    cJSON_AddBoolToObject(o, "ok", remedy == NULL);
    cJSON_AddStringToObject(o, "text", text);
    cJSON_AddStringToObject(o, "remedy", remedy == NULL ? "" : remedy);
    cJSON_AddItemToArray(t->checks, o);
}

static void test_end(struct maria_test *t)
{
    char *json = cJSON_PrintUnformatted(t->answer);

    t->done(t->arg, json, json == NULL ? "out of memory" : NULL);
    free(json);
    cJSON_Delete(t->answer);
    free(t);
}

/* What is to be done, by the words of the client library and of the session's check; others get the general
 * remedy. */
static const char *connect_remedy(const char *why)
{
    static const struct {
        const char *part, *remedy;
    } known[] = {
        {"does not support", "switch TLS on in the server (ssl-cert, ssl-key), for the settings ask for it"},
        {"does not offer TLS", "switch TLS on in the server (ssl-cert, ssl-key), for the settings ask for it"},
        {"SSL",
         "let ssl-ca name the certificate that the server's is signed by, and host the name that it is issued "
         "for (txadmin resource alter); where neither was changed, somebody may stand between"},
        {"Access denied",
         "put the user's password into the agent's passfile (passfile=…, MYSQL_PWD), and let the user "
         "in from the agent's host; REQUIRE SSL wants ssl-ca=FILE"},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strstr(why, known[i].part) != NULL)
            return known[i].remedy;
    }
    return "start the server, or correct what is named (txadmin resource alter)";
}

static void test_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_test *t = (struct maria_test *)job;

    (void)code;
    test_add(t, "connection", text, connect_remedy(text));
    test_end(t);
}

/* Every statement is sent, whatever became of those before it: so nothing is left open. */
static void test_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_test *t = (struct maria_test *)job;
    char insert[XA_RECEIPT_SQL_SIZE], receipt[XA_RECEIPT_SQL_SIZE + sizeof XA_WHILE_IN_BRANCH + 32];
    char xa[TEST_STATEMENTS][XA_XID_SQL_SIZE + 16], xid[XA_XID_SQL_SIZE];
    static const char *const verbs[TEST_STATEMENTS] = {
        [IN_START] = "START", [IN_END] = "END", [IN_PREPARE] = "PREPARE", [IN_ROLLBACK] = "ROLLBACK"};
    const char *sql[TEST_STATEMENTS] = {
        [IN_SERVER] = "SELECT VERSION(), DATABASE(), CURRENT_USER(), @@innodb_flush_log_at_trx_commit = 1 AND"
                      " (NOT @@log_bin OR @@sync_binlog = 1)",
        [IN_RECEIPT] = receipt,
        [IN_PAST] = "SET timestamp = 1",
        [IN_CLOCK] = "SELECT SYSDATE() <> NOW()"};
    struct txid id;
    unsigned branch;

    if (!gid_parse(t->gid, &id, &branch))
        abort();
    xa_xid_receipt(&id, branch, insert);
    snprintf(receipt, sizeof receipt, "BEGIN NOT ATOMIC " XA_WHILE_IN_BRANCH "%s; END", insert);
    rm_mariadb_xid(t->gid, xid);
    for (int i = 0; i < TEST_STATEMENTS; i++) {
        if (verbs[i] == NULL)
            continue;
        snprintf(xa[i], sizeof xa[i], "XA %s %s", verbs[i], xid);
        sql[i] = xa[i];
    }
    job->deadline_ms = uv_now(t->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    rm_mariadb_send(c, sql, TEST_STATEMENTS, true);
}

static const char *test_value(const struct maria_reply *reply, unsigned column)
{
    const char *value = rm_mariadb_value(reply, IN_SERVER, column);

    return value == NULL ? "" : value;
}

static void check_server(struct maria_test *t, const struct maria_reply *reply)
{
    char text[256];

    snprintf(text, sizeof text, "MariaDB %.60s, database %.60s, as %.100s", test_value(reply, 0),
             test_value(reply, 1), test_value(reply, 2));
    test_add(t, "connection", text, NULL);
    if (strcmp(test_value(reply, 3), "1") == 0)
        test_add(t, "forced log", "what is prepared is on the disk", NULL);
    else
        test_add(t, "forced log", "prepared branches can be lost in a crash",
                 "SET GLOBAL innodb_flush_log_at_trx_commit = 1, sync_binlog = 1, and in the server's "
                 "configuration");
}

/* The first of these statements that failed; `text` is why. False: none did. */
static bool find_failure(const struct maria_reply *reply, const enum test_statement *of, size_t n,
                         char text[TEXT_LIMIT + 1])
{
    for (size_t i = 0; i < n; i++) {
        const struct maria_result *r = (unsigned)of[i] < reply->n ? &reply->results[of[i]] : NULL;

        if (r != NULL && r->error == 0)
            continue;
        rm_mariadb_error_text(r, text, TEXT_LIMIT + 1);
        return true;
    }
    return false;
}

/* A receipt that seems older than it is goes early, and with it the proof of a commit. */
static void check_clock(struct maria_test *t, const struct maria_reply *reply)
{
    const char *own = rm_mariadb_value(reply, IN_CLOCK, 0);

    if (own != NULL && strcmp(own, "1") == 0)
        test_add(t, "receipts", "can be written", NULL);
    else
        test_add(t, "receipts", "their age is whatever an application says with SET timestamp",
                 "take sysdate-is-now out of the server's options, and restart it");
}

static void check_branch(struct maria_test *t, const struct maria_reply *reply)
{
    static const enum test_statement receipt[] = {IN_RECEIPT},
                                     branch[] = {IN_START, IN_END, IN_PREPARE, IN_ROLLBACK};
    char text[TEXT_LIMIT + 1];

    if (find_failure(reply, receipt, 1, text))
        test_add(t, "receipts", text, "run sql/setup-mariadb.sql for the user that the settings name");
    else
        check_clock(t, reply);
    if (find_failure(reply, branch, sizeof branch / sizeof *branch, text))
        test_add(t, "prepare and roll back", text, "see the server's log; recovery rolls back what is left");
    else
        test_add(t, "prepare and roll back", "done with an empty branch", NULL);
}

static void test_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_test *t = (struct maria_test *)job;

    check_server(t, reply);
    check_branch(t, reply);
    rm_mariadb_conn_release(c, false); /* it has counted writes */
    test_end(t);
}

void rm_mariadb_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    struct maria_test *t = calloc(1, sizeof *t);

    if (t == NULL)
        abort();
    t->rm = rm;
    t->done = done;
    t->arg = arg;
    t->answer = cJSON_CreateObject();
    t->checks = cJSON_AddArrayToObject(t->answer, "checks");
    snprintf(t->gid, sizeof t->gid, "%s", gid);
    t->job.first = true;
    t->job.start = test_start;
    t->job.replied = test_replied;
    t->job.dropped = test_dropped;
    rm_mariadb_pool_submit(rm, &t->job);
}
