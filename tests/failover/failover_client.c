/* failover_client: the application of the failover measurement: some threads that move money all the time, and
 * tell of each transfer when it began, when its commit was asked for and when that was answered.
 *
 * It knows nothing of coordinators that come and go. What took long it asks for once more, as an application
 * would that doubts what it was told: a second answer that differs is counted.
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libtx/libtx_pg.h"
#include "tests/failover/failover.h"

enum { PAUSE_US = 2000, SLOW_US = 50000, FAILURES_MAX = 100 };

static const char *const resources[2] = {"bank_a", "bank_b"};

static volatile sig_atomic_t stopping;

struct mover {
    pthread_t thread;
    unsigned number;
    enum failover_mode mode;
    tx_client *client;
    const char *conninfo[2];
    PGconn *conn[2];
    long long key;
};

static void stop(int sig)
{
    (void)sig;
    stopping = 1;
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The money and a receipt, in one statement; each thread has an account of its own. */
static int work(struct mover *m, txn *t, int bank, long long key, struct tx_error *e)
{
    bool remote = m->mode == FAILOVER_REMOTE || (m->mode == FAILOVER_MIXED && bank == 1);
    PGresult *r;
    char sql[256];
    int rc;

    snprintf(sql, sizeof sql,
             "WITH money AS (UPDATE accounts SET balance = balance + (%d) WHERE id = %u) "
             "INSERT INTO receipts VALUES (%lld)",
             bank == 0 ? -1 : 1, m->number + 1, key);
    if (remote)
        return txn_exec(t, resources[bank], sql, 0, NULL, NULL, e);
    rc = txn_enlist_pg(t, resources[bank], m->conn[bank], e);
    if (rc != TX_OK)
        return rc;
    r = PQexec(m->conn[bank], sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        snprintf(e->msg, sizeof e->msg, "%s", PQerrorMessage(m->conn[bank]));
        rc = e->code = TX_ESTATEMENT;
    }
    PQclear(r);
    return rc;
}

static int ask_again(struct mover *m, const char *id)
{
    enum tx_outcome outcome;
    struct tx_error e;

    return tx_client_outcome(m->client, id, &outcome, &e) == TX_OK ? (int)outcome : -1;
}

/* False: it failed, and the reason is told on standard error. */
static bool transfer(struct mover *m)
{
    struct told told = {.thread = m->number, .key = ++m->key, .again = -1, .begin_us = now_us()};
    struct tx_error e = {0};
    char id[128];
    txn *t;

    told.rc = txn_begin(m->client, &t, &e);
    if (told.rc != TX_OK)
        goto out;
    snprintf(id, sizeof id, "%s", txn_id(t));
    for (int i = 0; told.rc == TX_OK && i < 2; i++)
        told.rc = work(m, t, i, told.key, &e);
    told.commit_us = now_us();
    if (told.rc == TX_OK)
        told.rc = txn_commit(t, m->mode == FAILOVER_LOGGED ? TXN_DECISION_LOGGED : TXN_COMPLETED, &e);
    told.end_us = now_us();
    txn_free(t);
    if (told.rc != TX_OK || told.end_us - told.commit_us > SLOW_US)
        told.again = ask_again(m, id);

out:
    if (told.end_us == 0)
        told.commit_us = told.end_us = now_us();
    if (told.rc != TX_OK)
        fprintf(stderr, "transfer %lld: %s: %s\n", told.key, tx_strerror(told.rc), e.msg);
    world_client_tell("%u %lld %d %d %" PRIu64 " %" PRIu64 " %" PRIu64, told.thread, told.key, told.rc,
                      told.again, told.begin_us, told.commit_us, told.end_us);
    return told.rc == TX_OK;
}

bool failover_parse(const char *line, struct told *out)
{
    return sscanf(line, "%u %lld %d %d %" SCNu64 " %" SCNu64 " %" SCNu64, &out->thread, &out->key, &out->rc,
                  &out->again, &out->begin_us, &out->commit_us, &out->end_us) == 7 &&
           out->thread < FAILOVER_THREADS;
}

static void *mover_run(void *arg)
{
    struct mover *m = arg;
    unsigned failures = 0;

    for (int i = 0; i < 2; i++)
        m->conn[i] = PQconnectdb(m->conninfo[i]);
    while (!stopping && failures < FAILURES_MAX) {
        failures += !transfer(m);
        usleep(PAUSE_US);
    }
    for (int i = 0; i < 2; i++)
        PQfinish(m->conn[i]);
    return NULL;
}

int failover_job(int argc, char **argv)
{
    struct tx_client_options options = {.application_name = "failover"};
    struct mover movers[FAILOVER_THREADS];
    struct tx_error e;
    tx_client *client;

    if (argc != 5)
        return 2;
    signal(SIGTERM, stop);
    if (tx_client_open(&client, &options, &e) != TX_OK) {
        fprintf(stderr, "tx_client_open: %s\n", e.msg);
        return 1;
    }
    for (unsigned i = 0; i < FAILOVER_THREADS; i++) {
        movers[i] = (struct mover){.number = i,
                                   .mode = (enum failover_mode)atoi(argv[1]),
                                   .client = client,
                                   .conninfo = {argv[3], argv[4]},
                                   .key = (atoll(argv[2]) * FAILOVER_THREADS + i) * 1000000000};
        if (pthread_create(&movers[i].thread, NULL, mover_run, &movers[i]) != 0)
            return 1;
    }
    for (unsigned i = 0; i < FAILOVER_THREADS; i++)
        pthread_join(movers[i].thread, NULL);
    tx_client_close(client);
    return 0;
}
