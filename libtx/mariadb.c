/* mariadb: direct branches on the application's libmariadb connections (libtx_mariadb.h): the driver for
 * finish.c.
 *
 * One operation is one statement on the connection, see mariadb_sql(): a compound one where it has several
 * parts, which ends at the first that fails. A branch writes its receipt (xa_xid.h) last of all; everybody sees
 * it if and only if the branch is committed.
 *
 * - The server would prepare a branch of which a statement has failed, for only the statement was undone. What
 *   the engine has undone is counted (Handler_rollback), and the branch votes no. Whether it wrote is counted,
 *   too.
 * - The session that prepared a branch finishes it. Where that fails the session is ended, for as long as it is
 *   there the agent can do nothing.
 * - An error is no proof that XA COMMIT … ONE PHASE did nothing (the query can have been killed behind it): it
 *   is rolled back, or the receipt is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_mariadb.h"
#include "libtx/mariadb_query.h"
#include "libtx/mariadb_status.h"
#include "libtx/shared/err.h"
#include "libtx/txn.h"

enum { MARIADB_SQL_SIZE = 1536, MARIADB_OLDEST = 100600 };

/* What a session has written, and how often an engine had to undo a statement. Internal temporary tables have
 * counters of their own. */
#define COUNTERS                                                     \
    " FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME IN" \
    " ('HANDLER_DELETE', 'HANDLER_ROLLBACK', 'HANDLER_UPDATE', 'HANDLER_WRITE')"
#define WRITES "CAST(SUM(IF(VARIABLE_NAME = 'HANDLER_ROLLBACK', 0, VARIABLE_VALUE)) AS UNSIGNED)"
#define UNDONE "CAST(SUM(IF(VARIABLE_NAME = 'HANDLER_ROLLBACK', VARIABLE_VALUE, 0)) AS UNSIGNED)"

_Static_assert((int)MARIADB_ENDED == (int)XA_ENDED, "what XA_WHILE_IN_BRANCH answers");

struct mariadb_link {
    MYSQL *conn;      /* the application's */
    bool over;        /* the answer came without a question to the server */
    unsigned tries;   /* statements of the operation that failed, and left more to be tried */
    bool rolled_back; /* by OP_COMMIT, which failed */
    bool counted;     /* OP_ASK has found that it wrote, and that no statement had failed */
    struct mariadb_query query;
    struct mariadb_reply failure; /* OP_COMMIT: why it is rolled back */
    struct mariadb_origin origin;
    uint64_t writes, undone; /* as the branch began */
    char xid[XA_XID_SQL_SIZE], receipt[XA_RECEIPT_SQL_SIZE], key[XA_KEY_SQL_SIZE];
    struct mariadb_status *status; /* OP_STATUS */
};

static const struct branch_driver mariadb_driver;

/* enlisting */

static int mariadb_check_server(MYSQL *conn, struct tx_error *e)
{
    if (!mariadb_connection(conn) || mysql_get_server_version(conn) < (unsigned long)MARIADB_OLDEST)
        return err_set(e, TX_EINVAL, "the server is %.40s; MariaDB 10.6 or later is needed",
                       mysql_get_server_info(conn));
    return TX_OK;
}

/* A library that reconnects by itself would go on outside of the branch. */
static int mariadb_check_free(MYSQL *conn, struct tx_error *e)
{
    my_bool reconnects = 0;

    if (mysql_send_query == NULL || mariadb_connection == NULL)
        return err_set(e, TX_EINVAL, "the program is not linked with libmariadb");
    if (conn == NULL || mysql_get_socket(conn) < 0)
        return err_set(e, TX_EINVAL, "the connection is closed");
    if (conn->status != MYSQL_STATUS_READY || (conn->server_status & SERVER_MORE_RESULTS_EXIST) != 0)
        return err_set(e, TX_EINVAL, "the connection is busy: read its results first");
    if (mysql_get_optionv(conn, MYSQL_OPT_RECONNECT, &reconnects) != 0 || reconnects)
        return err_set(e, TX_EINVAL, "the connection has MYSQL_OPT_RECONNECT; switch it off");
    return mariadb_check_server(conn, e);
}

static int mariadb_check_enlisted(const struct txn *t, const MYSQL *conn, struct tx_error *e)
{
    for (size_t i = 0; i < t->n_branches; i++) {
        const struct mariadb_link *l = t->branches[i]->link;

        if (t->branches[i]->driver == &mariadb_driver && l->conn == conn)
            return err_set(e, TX_EINVAL, "the connection is enlisted already, for %s",
                           t->branches[i]->resource);
    }
    return TX_OK;
}

static int mariadb_check_idle(const MYSQL *conn, struct tx_error *e)
{
    if ((conn->server_status & SERVER_STATUS_IN_TRANS) != 0)
        return err_set(
            e, TX_EINVAL,
            "the connection is in a transaction; send COMMIT or ROLLBACK first, or enlist before it");
    return TX_OK;
}

static int mariadb_check_durable(const struct mariadb_reply *r, struct tx_error *e)
{
    if (strcmp(r->column[3], "1") != 0)
        return err_set(e, TX_EINVAL,
                       "innodb_flush_log_at_trx_commit is %s: prepared branches can be lost; set it to 1",
                       r->column[3]);
    if (strcmp(r->column[4], "1") != 0)
        return err_set(
            e, TX_EINVAL,
            "the binary log is on and sync_binlog is not 1: prepared branches can be lost; set it to 1");
    return TX_OK;
}

/* Counts, and begins the branch. */
static int mariadb_begin(struct mariadb_link *l, struct tx_error *e)
{
    const struct mariadb_reply *r = &l->query.reply;
    char sql[MARIADB_SQL_SIZE];

    snprintf(sql, sizeof sql,
             "BEGIN NOT ATOMIC SELECT " WRITES ", " UNDONE ", @@server_id, @@innodb_flush_log_at_trx_commit,"
             " NOT @@log_bin OR @@sync_binlog = 1" COUNTERS "; XA START %s; END",
             l->xid);
    l->origin.tls = mysql_get_ssl_cipher(l->conn) != NULL;
    l->origin.thread = mysql_thread_id(l->conn);
    l->origin.enlisted_ms = call_now_ms();
    mariadb_query_run(&l->query, l->conn, sql);
    if (r->error != 0)
        return err_set(e, TX_EINVAL, "XA START failed: %u %s", r->error, r->text);
    l->writes = strtoull(r->column[0], NULL, 10);
    l->undone = strtoull(r->column[1], NULL, 10);
    snprintf(l->origin.server_id, sizeof l->origin.server_id, "%.15s", r->column[2]);
    return mariadb_check_durable(r, e);
}

static void mariadb_end_sql(const struct mariadb_link *l, const char *verb, char sql[MARIADB_SQL_SIZE])
{
    snprintf(sql, MARIADB_SQL_SIZE, "BEGIN NOT ATOMIC XA END %s; XA %s %s; END", l->xid, verb, l->xid);
}

/* The branch's number names it, so it is in the transaction before it has begun; it leaves it again where it
 * cannot. */
static int mariadb_join(struct txn *t, const char *resource, struct mariadb_link *l, struct tx_error *e)
{
    char sql[MARIADB_SQL_SIZE];
    struct txn_branch *b;
    int rc = txn_add_branch(t, BRANCH_DIRECT, resource, &mariadb_driver, l, &b, e);

    if (rc != TX_OK)
        return rc;
    xa_xid_format(&t->id, b->number, l->xid);
    xa_xid_receipt(&t->id, b->number, l->receipt);
    xa_xid_key(&t->id, b->number, l->key);
    rc = mariadb_begin(l, e);
    if (rc == TX_OK)
        return rc;
    mariadb_end_sql(l, "ROLLBACK", sql);
    mariadb_query_run(&l->query, l->conn, sql);
    txn_drop_branch(t, b);
    return rc;
}

int txn_enlist_mariadb(txn *t, const char *resource, MYSQL *conn, struct tx_error *error)
{
    struct mariadb_link *l = NULL;
    int rc = mariadb_check_free(conn, error);

    if (rc == TX_OK)
        rc = mariadb_check_enlisted(t, conn, error);
    if (rc == TX_OK)
        rc = mariadb_check_idle(conn, error);
    if (rc == TX_OK && (l = calloc(1, sizeof *l)) == NULL)
        rc = err_set(error, TX_ENOMEM, "out of memory");
    if (rc == TX_OK) {
        l->conn = conn;
        rc = mariadb_join(t, resource, l, error);
    }
    if (rc != TX_OK)
        free(l);
    return rc != TX_OK ? err_wrap(error, rc, "enlist %.63s", resource != NULL ? resource : "NULL") : TX_OK;
}

/* the driver */

static bool mariadb_no(struct txn_branch *b, const char *why)
{
    err_set(&b->cause, TX_EROLLBACK, "%s: %s", b->resource, why);
    return false;
}

/* Whether something can be sent on the connection, and to the session that the branch is in. */
static bool mariadb_can_speak(struct txn_branch *b)
{
    const struct mariadb_link *l = b->link;

    if (mysql_get_socket(l->conn) < 0)
        return mariadb_no(b, "the connection is lost");
    if (l->conn->status != MYSQL_STATUS_READY || (l->conn->server_status & SERVER_MORE_RESULTS_EXIST) != 0)
        return mariadb_no(b, "the connection is busy: a result was not read before the commit");
    if (mysql_thread_id(l->conn) != l->origin.thread)
        return mariadb_no(b, "the connection was made anew since it was enlisted");
    return true;
}

/* What the connection's last answer said; the server is asked again where it matters. */
static bool mariadb_ready(struct txn_branch *b)
{
    const struct mariadb_link *l = b->link;

    if (!mariadb_can_speak(b))
        return false;
    if ((l->conn->server_status & SERVER_STATUS_IN_TRANS) == 0)
        return mariadb_no(b,
                          "the branch on the connection was ended by somebody else (XA was sent on it, or the "
                          "session was reset)");
    return true;
}

/* Unless it is known that it wrote and that all went well, the server looks before it prepares. */
static void mariadb_prepare_sql(const struct mariadb_link *l, bool counted, char sql[MARIADB_SQL_SIZE])
{
    if (counted) {
        snprintf(sql, MARIADB_SQL_SIZE,
                 "BEGIN NOT ATOMIC " XA_WHILE_IN_BRANCH "%s; XA END %s; XA PREPARE %s; END", l->receipt, l->xid,
                 l->xid);
        return;
    }
    snprintf(sql, MARIADB_SQL_SIZE,
             "BEGIN NOT ATOMIC " XA_WHILE_IN_BRANCH "CASE (SELECT IF(" UNDONE " <> %llu, 'failed', IF(" WRITES
             " = %llu, 'nothing', 'wrote'))" COUNTERS ")"
             " WHEN 'failed' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = %d, MESSAGE_TEXT = 'failed';"
             " WHEN 'nothing' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = %d, MESSAGE_TEXT = 'nothing';"
             " ELSE %s; XA END %s; XA PREPARE %s; END CASE; END",
             (unsigned long long)l->undone, (unsigned long long)l->writes, MARIADB_FAILED, MARIADB_READ_ONLY,
             l->receipt, l->xid, l->xid);
}

static void mariadb_sql(const struct mariadb_link *l, enum branch_op op, char sql[MARIADB_SQL_SIZE])
{
    switch (op) {
    case OP_ASK:
        snprintf(sql, MARIADB_SQL_SIZE, "SELECT " WRITES ", " UNDONE COUNTERS);
        return;
    case OP_COMMIT_READ_ONLY:
        snprintf(sql, MARIADB_SQL_SIZE, "BEGIN NOT ATOMIC XA END %s; XA COMMIT %s ONE PHASE; END", l->xid,
                 l->xid);
        return;
    case OP_PREPARE:
        mariadb_prepare_sql(l, l->counted, sql);
        return;
    case OP_COMMIT:
        snprintf(sql, MARIADB_SQL_SIZE,
                 "BEGIN NOT ATOMIC " XA_WHILE_IN_BRANCH "%s; XA END %s; XA COMMIT %s ONE PHASE; END",
                 l->receipt, l->xid, l->xid);
        return;
    case OP_COMMIT_PREPARED:
        snprintf(sql, MARIADB_SQL_SIZE, "XA COMMIT %s", l->xid);
        return;
    case OP_ROLLBACK_PREPARED:
        snprintf(sql, MARIADB_SQL_SIZE, "XA ROLLBACK %s", l->xid);
        return;
    default:
        mariadb_end_sql(l, "ROLLBACK", sql);
        return;
    }
}

/* True: nothing is to be sent. A connection that cannot be spoken on is ended: its server rolls back. */
static bool mariadb_nothing_to_roll_back(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;

    b->answer = ANSWER_YES;
    if (l->rolled_back)
        return true;
    if (mariadb_can_speak(b))
        return false;
    mariadb_break(l->conn);
    b->answer = ANSWER_LOST;
    return true;
}

static void mariadb_start(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms)
{
    struct mariadb_link *l = b->link;
    char sql[MARIADB_SQL_SIZE];

    (void)deadline_ms; /* finish abandons what lasts too long */
    l->tries = 0;
    l->over = op == OP_ROLLBACK && mariadb_nothing_to_roll_back(b);
    if (l->over)
        return;
    if (op == OP_STATUS) {
        l->over = mariadb_status_start(&l->status, l->conn, &l->origin, l->key) != TX_OK;
        b->answer = ANSWER_LOST;
        return;
    }
    mariadb_sql(l, op, sql);
    mariadb_query_start(&l->query, l->conn, sql);
}

static void mariadb_voted(struct txn_branch *b, bool wrote)
{
    const struct mariadb_link *l = b->link;

    b->wrote = wrote;
    snprintf(b->proof, sizeof b->proof, "thread=%lu", l->origin.thread);
}

/* What the counters say; the reply becomes an error where a statement had failed. */
static void mariadb_take_ask(struct txn_branch *b, struct mariadb_reply *r)
{
    struct mariadb_link *l = b->link;

    if (r->error == 0 && (!r->rows || strtoull(r->column[1], NULL, 10) != l->undone))
        r->error = MARIADB_FAILED;
    b->answer = mariadb_judge(OP_ASK, r);
    if (b->answer != ANSWER_YES)
        return;
    l->counted = strtoull(r->column[0], NULL, 10) != l->writes;
    if (l->counted)
        mariadb_voted(b, true);
    else
        b->answer = ANSWER_READ_ONLY;
}

/* What is tried behind a statement that failed; false: nothing. A branch that wrote nothing is prepared like
 * others. XA END fails where it was sent before, or the server has rolled back: XA ROLLBACK tells. Where there
 * is no branch any more a ROLLBACK leaves the session clean. */
static bool mariadb_next_sql(const struct txn_branch *b, unsigned error, char sql[MARIADB_SQL_SIZE])
{
    const struct mariadb_link *l = b->link;
    unsigned tries = b->op == OP_ROLLBACK ? l->tries + 1 : l->tries;

    if (error == 0 || error == MARIADB_ENDED || mariadb_is_lost(error))
        return false;
    if (b->op == OP_PREPARE && error == MARIADB_READ_ONLY)
        mariadb_prepare_sql(l, true, sql);
    else if (b->op != OP_COMMIT && b->op != OP_ROLLBACK)
        return false;
    else if (tries == 0)
        mariadb_sql(l, OP_ROLLBACK, sql);
    else if (tries == 1)
        mariadb_sql(l, OP_ROLLBACK_PREPARED, sql);
    else if (tries == 2 && b->op == OP_ROLLBACK && error == MARIADB_NOTA)
        strcpy(sql, "ROLLBACK");
    else
        return false;
    return true;
}

/* True: one more statement was sent. */
static bool mariadb_go_on(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;
    char sql[MARIADB_SQL_SIZE];

    if (l->tries == 0)
        l->failure = l->query.reply;
    if (!mariadb_next_sql(b, l->query.reply.error, sql))
        return false;
    l->tries++;
    mariadb_query_start(&l->query, l->conn, sql);
    return true;
}

/* It failed, and was rolled back: refused. Else nobody knows, and the receipt can be asked when the session is
 * gone. */
static void mariadb_settle_commit(struct txn_branch *b, struct mariadb_reply *r)
{
    struct mariadb_link *l = b->link;

    if (l->tries > 0 && mariadb_is_rolled_back(r->error)) {
        *r = l->failure;
        l->rolled_back = true;
        b->answer = ANSWER_NO;
    } else if (r->error == 0 || r->error == MARIADB_ENDED) {
        b->answer = mariadb_judge(OP_COMMIT, r);
    } else {
        b->answer = ANSWER_LOST;
    }
}

/* In doubt, a person is told where and how to look. */
static void mariadb_explain_answer(struct txn_branch *b, const struct mariadb_reply *r)
{
    const struct mariadb_link *l = b->link;

    if (b->op == OP_COMMIT && b->answer == ANSWER_LOST)
        err_set(
            &b->cause, TX_EINDOUBT,
            "%s: connection lost during XA COMMIT; it is committed if there is a row of assent.receipt with "
            "gid = %s",
            b->resource, l->key);
    else if (b->answer == ANSWER_NO || b->answer == ANSWER_LOST)
        mariadb_explain(&b->cause, b->resource, b->op, r);
}

/* A session that may still hold a branch which it cannot finish is ended, and so is one whose answer nobody
 * waits for any more. */
static void mariadb_end_session(const struct txn_branch *b)
{
    const struct mariadb_link *l = b->link;
    bool finishing = b->op == OP_ROLLBACK || b->op == OP_COMMIT_PREPARED || b->op == OP_ROLLBACK_PREPARED;

    if (b->answer == ANSWER_LOST || (finishing && b->answer == ANSWER_NO))
        mariadb_break(l->conn);
}

static void mariadb_settle(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;
    struct mariadb_reply *r = &l->query.reply;

    if (b->op == OP_ASK) {
        mariadb_take_ask(b, r);
    } else if (b->op == OP_COMMIT) {
        mariadb_settle_commit(b, r);
    } else {
        b->answer = mariadb_judge(b->op, r);
        if (b->op == OP_PREPARE && b->answer == ANSWER_YES)
            mariadb_voted(b, l->tries == 0);
    }
    mariadb_explain_answer(b, r);
    mariadb_end_session(b);
}

static bool mariadb_step_status(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;

    if (!mariadb_status_step(l->status, &b->answer))
        return false;
    if (b->answer == ANSWER_NO)
        err_set(&b->cause, TX_EROLLBACK, "%s: connection lost during XA COMMIT, the server did not commit",
                b->resource);
    mariadb_status_free(l->status);
    l->status = NULL;
    return true;
}

static bool mariadb_step(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;

    if (l->over)
        return true;
    if (b->op == OP_STATUS)
        return mariadb_step_status(b);
    while (mariadb_query_step(&l->query)) {
        if (mariadb_go_on(b))
            continue;
        mariadb_settle(b);
        return true;
    }
    return false;
}

static size_t mariadb_wants(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms)
{
    struct mariadb_link *l = b->link;

    if (b->op == OP_STATUS)
        return mariadb_status_wants(l->status, fd, until_ms);
    mariadb_query_wants(&l->query, fd);
    return 1;
}

static void mariadb_abandon(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;

    if (l->over)
        return;
    if (b->op == OP_STATUS) {
        mariadb_status_free(l->status);
        l->status = NULL;
        b->answer = ANSWER_LOST; /* the cause is the one of the commit */
        return;
    }
    mariadb_query_abandon(&l->query);
    mariadb_settle(b);
}

static void mariadb_leave(struct txn_branch *b)
{
    const struct mariadb_link *l = b->link;

    mariadb_break(l->conn);
}

static void mariadb_release(struct txn_branch *b)
{
    struct mariadb_link *l = b->link;

    mariadb_status_free(l->status);
    free(l);
}

static const struct branch_driver mariadb_driver = {
    mariadb_ready, mariadb_start, mariadb_step, mariadb_wants, mariadb_abandon, mariadb_release, mariadb_leave,
};
