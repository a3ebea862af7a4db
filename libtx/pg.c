/* pg: direct branches on the application's libpq connections (libtx_pg.h): the driver for finish.c.
 *
 * One operation is one string of SQL on the connection, see the table in pg_sql(). The proof of a branch
 * (pg_proof.h) is taken in one string with the PREPARE and believed once that has succeeded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_pg.h"
#include "libtx/pg_query.h"
#include "libtx/pg_status.h"
#include "libtx/pg_system.h"
#include "libtx/shared/err.h"
#include "libtx/shared/pg_proof.h"
#include "libtx/txn.h"

enum { PG_SQL_SIZE = 512, PG_OLDEST = 130000, PG_STATS_SINCE = 150000 };

#define PROOF_PREFIX "xid="

struct pg_link {
    PGconn *conn; /* the application's */
    bool over;    /* the answer came without a question to the server */
    struct pg_query query;
    char incarnation[PG_COLUMN_SIZE]; /* of the server when it gave the xid, see pg_proof.h */
    struct pg_status *status;         /* OP_STATUS */
    struct pg_system system;          /* of the server; OP_PREPARE asks for it where it is not known */
};

static const struct branch_driver pg_driver;

/* enlisting */

static int pg_check_free(const PGconn *conn, struct tx_error *e)
{
    if (conn == NULL || PQstatus(conn) != CONNECTION_OK)
        return err_set(e, TX_EINVAL, "the connection is closed");
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF)
        return err_set(e, TX_EINVAL, "the connection is in pipeline mode; leave it with PQexitPipelineMode()");
    if (PQserverVersion(conn) < PG_OLDEST)
        return err_set(e, TX_EINVAL, "the server is older than PostgreSQL 13");
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_IDLE:
    case PQTRANS_INTRANS:
        return TX_OK;
    case PQTRANS_INERROR:
        return err_set(e, TX_EINVAL, "the connection's transaction has failed; send ROLLBACK first");
    case PQTRANS_ACTIVE:
        return err_set(e, TX_EINVAL, "the connection is busy: read its results, or end its COPY, first");
    default:
        return err_set(e, TX_EINVAL, "the connection is lost");
    }
}

static int pg_check_enlisted(const struct txn *t, const PGconn *conn, struct tx_error *e)
{
    for (size_t i = 0; i < t->n_branches; i++) {
        const struct pg_link *l = t->branches[i]->link;

        if (t->branches[i]->driver == &pg_driver && l->conn == conn)
            return err_set(e, TX_EINVAL, "the connection is enlisted already, for %s",
                           t->branches[i]->resource);
    }
    return TX_OK;
}

/* *begun: there was no transaction block, and now there is. */
static int pg_begin(PGconn *conn, bool *begun, struct tx_error *e)
{
    char why[200];
    PGresult *res;
    int rc = TX_OK;

    *begun = PQtransactionStatus(conn) == PQTRANS_IDLE;
    if (!*begun)
        return TX_OK;
    res = PQexec(conn, "BEGIN");
    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        pg_first_line(why, sizeof why, PQerrorMessage(conn));
        rc = err_set(e, TX_EINVAL, "BEGIN failed: %s", why);
    }
    PQclear(res);
    return rc;
}

int txn_enlist_pg(txn *t, const char *resource, PGconn *conn, struct tx_error *error)
{
    struct pg_link *l = NULL;
    struct txn_branch *b;
    bool begun = false;
    int rc = pg_check_free(conn, error);

    if (rc == TX_OK)
        rc = pg_check_enlisted(t, conn, error);
    if (rc == TX_OK && (l = calloc(1, sizeof *l)) == NULL)
        rc = err_set(error, TX_ENOMEM, "out of memory");
    if (rc == TX_OK)
        rc = pg_begin(conn, &begun, error);
    if (rc == TX_OK) {
        l->conn = conn;
        rc = txn_add_branch(t, BRANCH_DIRECT, resource, &pg_driver, l, &b, error);
        if (rc != TX_OK && begun)
            PQclear(PQexec(conn, "ROLLBACK"));
    }
    if (rc != TX_OK)
        free(l);
    return rc != TX_OK ? err_wrap(error, rc, "enlist %.63s", resource != NULL ? resource : "NULL") : TX_OK;
}

/* the driver */

static bool pg_no(struct txn_branch *b, const char *why)
{
    err_set(&b->cause, TX_EROLLBACK, "%s: %s", b->resource, why);
    return false;
}

static bool pg_ready(struct txn_branch *b)
{
    const struct pg_link *l = b->link;
    char text[150], why[200];

    if (PQpipelineStatus(l->conn) != PQ_PIPELINE_OFF)
        return pg_no(b, "the connection is in pipeline mode; leave it before the commit");
    switch (PQtransactionStatus(l->conn)) {
    case PQTRANS_INTRANS:
        return true;
    case PQTRANS_INERROR:
        pg_first_line(text, sizeof text, PQerrorMessage(l->conn));
        snprintf(why, sizeof why, "a statement had failed: %s", text);
        return pg_no(b, why);
    case PQTRANS_ACTIVE:
        return pg_no(b, "the connection is busy: a result was not read or a COPY not ended before the commit");
    case PQTRANS_IDLE:
        return pg_no(b, "the transaction on the connection was ended by somebody else (COMMIT or ROLLBACK was "
                        "sent on it)");
    default:
        return pg_no(b, "the connection is lost");
    }
}

/* The SQL of an operation. A branch that is prepared is given an xid if it has none, as PREPARE would. */
static void pg_sql(const struct txn_branch *b, enum branch_op op, char out[PG_SQL_SIZE])
{
    const struct pg_link *l = b->link;
    char gid[GID_SIZE];

    gid_format(&b->txn->id, b->number, gid);
    if (op == OP_ASK && PQserverVersion(l->conn) >= PG_STATS_SINCE)
        snprintf(out, PG_SQL_SIZE, "SELECT pg_catalog.pg_current_xact_id_if_assigned(), " PG_INCARNATION);
    else if (op == OP_ASK)
        snprintf(out, PG_SQL_SIZE, "SELECT pg_catalog.pg_current_xact_id_if_assigned()");
    else if (op == OP_PREPARE)
        snprintf(out, PG_SQL_SIZE,
                 "SELECT " PG_PROOF_COLUMNS ", " PG_PROOF_TIMELINE "%s; PREPARE TRANSACTION '%s'",
                 *l->system.system == '\0' ? ", " PG_PROOF_SYSTEM : "", gid);
    else if (op == OP_COMMIT_PREPARED || op == OP_ROLLBACK_PREPARED)
        snprintf(out, PG_SQL_SIZE, "%s PREPARED '%s'", op == OP_COMMIT_PREPARED ? "COMMIT" : "ROLLBACK", gid);
    else
        snprintf(out, PG_SQL_SIZE, "%s", op == OP_ROLLBACK ? "ROLLBACK" : "COMMIT");
}

/* A connection that the application left in the middle of something is brought to where ROLLBACK can be sent.
 * Blocks for as long as the server takes to cancel. */
static void pg_quiesce(PGconn *conn)
{
    PGcancel *cancel = PQgetCancel(conn);
    bool pipeline = PQpipelineStatus(conn) != PQ_PIPELINE_OFF;
    char why[256];

    if (cancel != NULL)
        (void)PQcancel(cancel, why, sizeof why);
    PQfreeCancel(cancel);
    if (!pipeline) {
        PQclear(PQexec(conn, "")); /* ends a COPY and reads all results first */
        return;
    }
    (void)PQpipelineSync(conn);
    while (PQexitPipelineMode(conn) == 0 && PQstatus(conn) == CONNECTION_OK)
        PQclear(PQgetResult(conn)); /* everything up to the synchronisation point */
}

/* ROLLBACK is sent where there is something to roll back. True: nothing is to be sent. */
static bool pg_nothing_to_roll_back(struct txn_branch *b)
{
    struct pg_link *l = b->link;

    if (PQtransactionStatus(l->conn) == PQTRANS_ACTIVE || PQpipelineStatus(l->conn) != PQ_PIPELINE_OFF)
        pg_quiesce(l->conn);
    b->answer = PQstatus(l->conn) == CONNECTION_OK ? ANSWER_YES : ANSWER_LOST;
    return PQtransactionStatus(l->conn) == PQTRANS_IDLE || b->answer == ANSWER_LOST;
}

/* What is known of this client's connections; NULL: nothing. The client's mutex is held. */
static struct pg_systems *pg_systems(struct tx_client *client)
{
    return client_memory(client, &pg_driver, sizeof(struct pg_systems));
}

static void pg_find_system(struct txn_branch *b)
{
    struct tx_client *client = b->txn->client;
    struct pg_link *l = b->link;
    const struct pg_systems *systems;

    l->system = (struct pg_system){.conn = l->conn, .pid = PQbackendPID(l->conn), .fd = PQsocket(l->conn)};
    pthread_mutex_lock(&client->mutex);
    systems = pg_systems(client);
    if (systems != NULL)
        pg_system_find(systems, &l->system, call_now_ms());
    pthread_mutex_unlock(&client->mutex);
}

static void pg_learn_system(struct txn_branch *b, const char *system)
{
    struct tx_client *client = b->txn->client;
    struct pg_link *l = b->link;
    struct pg_systems *systems;

    if (*l->system.system != '\0')
        return;
    snprintf(l->system.system, sizeof l->system.system, "%.20s", system);
    pthread_mutex_lock(&client->mutex);
    systems = pg_systems(client);
    if (systems != NULL)
        pg_system_note(systems, &l->system, call_now_ms());
    pthread_mutex_unlock(&client->mutex);
}

static void pg_start(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms)
{
    struct pg_link *l = b->link;
    char sql[PG_SQL_SIZE];

    (void)deadline_ms; /* finish abandons what lasts too long */
    l->over = op == OP_ROLLBACK && pg_nothing_to_roll_back(b);
    if (l->over)
        return;
    if (op == OP_STATUS) {
        l->over =
            pg_status_start(&l->status, l->conn, b->proof + strlen(PROOF_PREFIX), l->incarnation) != TX_OK;
        b->answer = ANSWER_LOST;
        return;
    }
    if (op == OP_PREPARE)
        pg_find_system(b);
    pg_sql(b, op, sql);
    pg_query_start(&l->query, l->conn, sql);
}

/* Remembers what a SELECT brought: the proof, and whether the branch has written. */
static void pg_learn(struct txn_branch *b, const struct pg_reply *r)
{
    struct pg_link *l = b->link;
    struct pg_proof p = {.timeline = 0};

    if (!r->rows || (b->op != OP_ASK && b->op != OP_PREPARE))
        return;
    b->wrote = *r->column[0] != '\0';
    if (b->op == OP_ASK) {
        memcpy(l->incarnation, r->column[1], sizeof l->incarnation);
        snprintf(p.xid, sizeof p.xid, "%.20s", r->column[0]);
    } else {
        snprintf(p.xid, sizeof p.xid, "%.20s", r->column[1]);
        p.lsn = pg_lsn_parse(r->column[2]);
        p.timeline = pg_timeline_parse(r->column[3]);
        pg_learn_system(b, r->column[4]);
        memcpy(p.system, l->system.system, sizeof p.system);
    }
    pg_proof_format(&p, b->proof);
}

/* In doubt, a person is told where and how to look. */
static void pg_explain_answer(struct txn_branch *b, const struct pg_reply *r)
{
    if (b->op == OP_COMMIT && b->answer == ANSWER_LOST)
        err_set(&b->cause, TX_EINDOUBT,
                "%s: connection lost during COMMIT; whether it is committed tells SELECT pg_xact_status('%s') "
                "there",
                b->resource, b->proof + strlen(PROOF_PREFIX));
    else if (b->answer != ANSWER_YES && b->answer != ANSWER_READ_ONLY)
        pg_explain(&b->cause, b->resource, b->op, r);
}

static void pg_settle(struct txn_branch *b)
{
    const struct pg_reply *r = &((struct pg_link *)b->link)->query.reply;

    pg_learn(b, r);
    b->answer = pg_judge(b->op, r);
    pg_explain_answer(b, r);
}

static bool pg_step_status(struct txn_branch *b)
{
    struct pg_link *l = b->link;

    if (!pg_status_step(l->status, &b->answer))
        return false;
    if (b->answer == ANSWER_NO)
        err_set(&b->cause, TX_EROLLBACK, "%s: connection lost during COMMIT, the server did not commit",
                b->resource);
    else if (b->answer == ANSWER_LOST)
        err_set(&b->cause, TX_EINDOUBT,
                "%s: connection lost during COMMIT, and the server crashed or was replaced: its xid %s tells "
                "nothing "
                "any more, only the data tells whether it is committed",
                b->resource, b->proof + strlen(PROOF_PREFIX));
    pg_status_free(l->status);
    l->status = NULL;
    return true;
}

static bool pg_step(struct txn_branch *b)
{
    struct pg_link *l = b->link;

    if (l->over)
        return true;
    if (b->op == OP_STATUS)
        return pg_step_status(b);
    if (!pg_query_step(&l->query))
        return false;
    pg_settle(b);
    return true;
}

static size_t pg_wants(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms)
{
    struct pg_link *l = b->link;

    if (b->op == OP_STATUS)
        return pg_status_wants(l->status, fd, until_ms);
    pg_query_wants(&l->query, fd);
    return 1;
}

static void pg_abandon(struct txn_branch *b)
{
    struct pg_link *l = b->link;

    if (l->over)
        return;
    if (b->op == OP_STATUS) {
        pg_status_free(l->status);
        l->status = NULL;
        b->answer = ANSWER_LOST; /* the cause is the one of the COMMIT */
        return;
    }
    pg_query_abandon(&l->query);
    pg_settle(b);
}

static void pg_release(struct txn_branch *b)
{
    struct pg_link *l = b->link;

    pg_status_free(l->status);
    free(l);
}

static const struct branch_driver pg_driver = {pg_ready,   pg_start,   pg_step, pg_wants,
                                               pg_abandon, pg_release, NULL};
