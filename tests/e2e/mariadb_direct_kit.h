/* mariadb_direct_kit: what the tests of direct MariaDB branches share: both banks, a client and a connection to
 * each bank, made anew for each test. Included by one file of a program.
 */
#ifndef ASSENT_TESTS_MARIADB_DIRECT_KIT_H
#define ASSENT_TESTS_MARIADB_DIRECT_KIT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;
static tx_client *client;
static PGconn *pg;
static MYSQL *my;

static inline int open_group(void **state)
{
    struct kit_options options = {.mariadb = true};

    (void)state;
    kit_open(&kit, "mariadb-direct", &options);
    return 0;
}

static inline void connect_mariadb(void)
{
    my = kit_connect_mariadb(world_server_port(kit.bank[1]));
    assert_non_null(my);
}

static inline int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = kit_client(&kit);
    pg = kit_connect(&kit, 0);
    connect_mariadb();
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    mysql_close(my);
    PQfinish(pg);
    tx_client_close(client);
    return 0;
}

/* helpers */

static inline void query(MYSQL *conn, const char *sql)
{
    if (mysql_query(conn, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(conn));
    mysql_free_result(mysql_store_result(conn));
}

static inline void move(MYSQL *conn, const char *receipt, int amount)
{
    char sql[128];

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = 1", amount);
    query(conn, sql);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    query(conn, sql);
}

static inline void enlist(txn *t, const char *resource, MYSQL *conn)
{
    struct tx_error e;

    if (txn_enlist_mariadb(t, resource, conn, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

/* Both branches, with their work done. */
static inline txn *begin_both(const char *receipt)
{
    txn *t = kit_begin(client);
    struct tx_error e;

    assert_int_equal(txn_enlist_pg(t, "bank_a", pg, &e), TX_OK);
    enlist(t, "bank_b", my);
    kit_move(pg, receipt, -1);
    move(my, receipt, 1);
    return t;
}

static inline int commit(txn *t, struct tx_error *e)
{
    int rc = txn_commit(t, TXN_COMPLETED, e);

    txn_free(t);
    return rc;
}

static inline void assert_committed(txn *t)
{
    struct tx_error e;

    if (commit(t, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
}

/* The reason names all of it. */
static inline void assert_rolled_back(txn *t, const char *reason)
{
    struct tx_error e;

    assert_int_equal(commit(t, &e), TX_EROLLBACK);
    if (strstr(e.msg, reason) == NULL)
        fail_msg("«%s» does not tell of «%s»", e.msg, reason);
}

/* The connection is outside of a transaction and answers. */
static inline void assert_usable(void)
{
    query(my, "SELECT 1 FROM accounts");
    assert_false((my->server_status & SERVER_STATUS_IN_TRANS) != 0);
    query(my, "BEGIN");
    query(my, "COMMIT");
}

static inline void assert_nothing_happened(const char *receipt)
{
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, receipt), 0);
}

static inline long long proofs(void)
{
    return world_sql_number(kit.bank[1], "SELECT COUNT(*) FROM assent.receipt");
}

static inline txn *begin_single(void)
{
    txn *t = kit_begin(client);

    enlist(t, "bank_b", my);
    query(my, "INSERT INTO receipts VALUES ('alone')");
    return t;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
