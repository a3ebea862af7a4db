/* demo_transfer: the application of the demonstration. Runs as a process of its own and knows nothing of the
 * others' being killed: it reconnects where it has to, and believes what txn_commit() tells it.
 */
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/libtx_pg.h"
#include "tests/demo/demo.h"

static volatile sig_atomic_t stopping;

static void stop(int sig)
{
    (void)sig;
    stopping = 1;
}

/* A connection that works, or NULL for now. */
static PGconn *connected(PGconn *conn, const char *conninfo)
{
    if (conn != NULL && PQstatus(conn) == CONNECTION_OK)
        return conn;
    PQfinish(conn);
    conn = PQconnectdb(conninfo);
    if (PQstatus(conn) == CONNECTION_OK)
        return conn;
    PQfinish(conn);
    return NULL;
}

static bool execute(PGconn *conn, const char *sql)
{
    PGresult *r = PQexec(conn, sql);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;

    PQclear(r);
    return ok;
}

/* One side of a transfer: the money, and a receipt to check the story by afterwards. */
static bool move_money(PGconn *conn, long long key, int amount, int account)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "UPDATE accounts SET balance = balance + %d WHERE id = %d; INSERT INTO receipts VALUES (%lld)",
             amount, account, key);
    return execute(conn, sql);
}

static int transfer(tx_client *client, PGconn *const conn[2], long long key, unsigned *seed)
{
    static const char *const resource[2] = {"bank_a", "bank_b"};
    int amount = rand_r(seed) % 100 + 1, rc;
    struct tx_error e;
    txn *t;

    rc = txn_begin(client, &t, &e);
    if (rc != TX_OK)
        return rc;
    for (int i = 0; rc == TX_OK && i < 2; i++) {
        rc = txn_enlist_pg(t, resource[i], conn[i], &e);
        if (rc == TX_OK &&
            !move_money(conn[i], key, i == 0 ? -amount : amount, rand_r(seed) % DEMO_ACCOUNTS + 1))
            rc = TX_EROLLBACK;
    }
    if (rc == TX_OK)
        rc = txn_commit(t, TXN_COMPLETED, &e);
    txn_free(t);
    return rc;
}

static const char *told(int rc)
{
    if (rc == TX_OK || rc == TX_ETIMEOUT)
        return "committed";
    return rc == TX_EINDOUBT ? "in-doubt" : "aborted";
}

int transfer_job(int argc, char **argv)
{
    struct tx_client_options options = {.application_name = "transfer", .session_timeout_ms = 4000};
    long long key = argc == 4 ? atoll(argv[1]) * 1000000000 : 0;
    unsigned seed = (unsigned)getpid();
    PGconn *conn[2] = {NULL, NULL};
    tx_client *client = NULL;
    struct tx_error e;

    signal(SIGTERM, stop);
    while (!stopping) {
        conn[0] = connected(conn[0], argv[2]);
        conn[1] = connected(conn[1], argv[3]);
        if (client == NULL && tx_client_open(&client, &options, &e) != TX_OK)
            client = NULL;
        if (conn[0] == NULL || conn[1] == NULL || client == NULL) {
            usleep(50000);
            continue;
        }
        key++;
        world_client_tell("%s %lld", told(transfer(client, conn, key, &seed)), key);
    }
    tx_client_close(client);
    PQfinish(conn[0]);
    PQfinish(conn[1]);
    return 0;
}
