/* bench_modes: the transfer, in each of the four ways. Called by a client's thread in txbench.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_pg.h"
#include "tests/bench/bench.h"

const char *const bench_mode_names[BENCH_MODES] = {"floor", "plain", "direct", "remote", "clear"};

bool bench_client_open(struct bench_client *c, const struct bench_setup *setup, unsigned id)
{
    memset(c, 0, sizeof *c);
    c->setup = setup;
    c->id = id;
    c->seed = id * 7919 + 1;
    for (int i = 0; i < 2; i++) {
        c->conn[i] = PQconnectdb(setup->conninfo[i]);
        if (PQstatus(c->conn[i]) != CONNECTION_OK) {
            snprintf(c->error, sizeof c->error, "%s", PQerrorMessage(c->conn[i]));
            return false;
        }
    }
    return true;
}

void bench_client_close(struct bench_client *c)
{
    for (int i = 0; i < 2; i++)
        PQfinish(c->conn[i]);
}

static bool fail(struct bench_client *c, const char *what, const char *why)
{
    snprintf(c->error, sizeof c->error, "%s: %s", what, why);
    return false;
}

/* Sends a statement to each database at once, then waits for both. */
static bool both(struct bench_client *c, const char *a, const char *b)
{
    const char *sql[2] = {a, b};
    bool ok = true;

    for (int i = 0; i < 2; i++) {
        if (!PQsendQuery(c->conn[i], sql[i]))
            return fail(c, sql[i], PQerrorMessage(c->conn[i]));
    }
    for (int i = 0; i < 2; i++) {
        PGresult *r;

        while ((r = PQgetResult(c->conn[i])) != NULL) {
            if (PQresultStatus(r) != PGRES_COMMAND_OK)
                ok = fail(c, sql[i], PQresultErrorMessage(r));
            PQclear(r);
        }
    }
    return ok;
}

struct transfer {
    int amount;
    unsigned account[2];
};

static struct transfer choose(struct bench_client *c)
{
    struct transfer t;

    t.amount = rand_r(&c->seed) % 100;
    for (int i = 0; i < 2; i++)
        t.account[i] = (unsigned)rand_r(&c->seed) % c->setup->accounts + 1;
    return t;
}

static bool work(struct bench_client *c)
{
    struct transfer t = choose(c);
    char sql[2][128];

    for (int i = 0; i < 2; i++)
        snprintf(sql[i], sizeof sql[i], "UPDATE accounts SET balance = balance %c %d WHERE id = %u",
                 i == 0 ? '-' : '+', t.amount, t.account[i]);
    return both(c, "BEGIN", "BEGIN") && both(c, sql[0], sql[1]);
}

static bool floor_transfer(struct bench_client *c)
{
    char prepare[2][96], commit[2][96];

    for (int i = 0; i < 2; i++) {
        snprintf(prepare[i], sizeof prepare[i], "PREPARE TRANSACTION 'floor_%u_%llu_%d'", c->id, c->count, i);
        snprintf(commit[i], sizeof commit[i], "COMMIT PREPARED 'floor_%u_%llu_%d'", c->id, c->count, i);
    }
    return work(c) && both(c, prepare[0], prepare[1]) && both(c, commit[0], commit[1]);
}

static bool plain_transfer(struct bench_client *c)
{
    return work(c) && both(c, "COMMIT", "COMMIT");
}

static bool transfer_by(struct bench_client *c, tx_client *client)
{
    struct tx_error e = {0, ""};
    txn *t;
    bool ok;

    if (txn_begin(client, &t, &e) != TX_OK)
        return fail(c, "txn_begin", e.msg);
    ok = work(c);
    for (int i = 0; ok && i < 2; i++) {
        if (txn_enlist_pg(t, c->setup->resource[i], c->conn[i], &e) != TX_OK)
            ok = fail(c, "txn_enlist_pg", e.msg);
    }
    if (ok && txn_commit(t, c->setup->when, &e) != TX_OK)
        ok = fail(c, "txn_commit", e.msg);
    txn_free(t);
    return ok;
}

static bool direct_transfer(struct bench_client *c)
{
    return transfer_by(c, c->setup->client);
}

static bool clear_transfer(struct bench_client *c)
{
    return transfer_by(c, c->setup->clear);
}

static bool remote_transfer(struct bench_client *c)
{
    static const char *const sql[2] = {"UPDATE accounts SET balance = balance - $1 WHERE id = $2",
                                       "UPDATE accounts SET balance = balance + $1 WHERE id = $2"};
    struct tx_error e = {0, ""};
    struct transfer x = choose(c);
    txn *t;
    bool ok = true;

    if (txn_begin(c->setup->client, &t, &e) != TX_OK)
        return fail(c, "txn_begin", e.msg);
    for (int i = 0; ok && i < 2; i++) {
        char amount[16], account[16];
        const char *values[2] = {amount, account};

        snprintf(amount, sizeof amount, "%d", x.amount);
        snprintf(account, sizeof account, "%u", x.account[i]);
        if (txn_exec(t, c->setup->resource[i], sql[i], 2, values, NULL, &e) != TX_OK)
            ok = fail(c, "txn_exec", e.msg);
    }
    if (ok && txn_commit(t, c->setup->when, &e) != TX_OK)
        ok = fail(c, "txn_commit", e.msg);
    txn_free(t);
    return ok;
}

bool bench_transfer(struct bench_client *c, enum bench_mode mode)
{
    static bool (*const ways[BENCH_MODES])(struct bench_client *) = {
        floor_transfer, plain_transfer, direct_transfer, remote_transfer, clear_transfer};

    c->count++;
    return ways[mode](c);
}
