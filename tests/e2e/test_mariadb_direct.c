/* test_mariadb_direct: transactions over PostgreSQL and MariaDB on the application's own connections. The crash
 * points of the client stand in test_crash.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/xa_xid.h"
#include "tests/lib/kit.h"

static struct kit kit;
static tx_client *client;
static PGconn *pg;
static MYSQL *my;

static int open_group(void **state)
{
    struct kit_options options = {.mariadb = true};

    (void)state;
    kit_open(&kit, "mariadb-direct", &options);
    return 0;
}

static void connect_mariadb(void)
{
    my = kit_connect_mariadb(world_server_port(kit.bank[1]));
    assert_non_null(my);
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = kit_client(&kit);
    pg = kit_connect(&kit, 0);
    connect_mariadb();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mysql_close(my);
    PQfinish(pg);
    tx_client_close(client);
    return 0;
}

/* helpers */

static void query(MYSQL *conn, const char *sql)
{
    if (mysql_query(conn, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(conn));
    mysql_free_result(mysql_store_result(conn));
}

static void move(MYSQL *conn, const char *receipt, int amount)
{
    char sql[128];

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = 1", amount);
    query(conn, sql);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    query(conn, sql);
}

static txn *begin(void)
{
    struct tx_error e;
    txn *t;

    if (txn_begin(client, &t, &e) != TX_OK)
        fail_msg("txn_begin: %s", e.msg);
    return t;
}

static void enlist(txn *t, const char *resource, MYSQL *conn)
{
    struct tx_error e;

    if (txn_enlist_mariadb(t, resource, conn, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

/* Both branches, with their work done. */
static txn *begin_both(const char *receipt)
{
    txn *t = begin();
    struct tx_error e;

    assert_int_equal(txn_enlist_pg(t, "bank_a", pg, &e), TX_OK);
    enlist(t, "bank_b", my);
    kit_move(pg, receipt, -1);
    move(my, receipt, 1);
    return t;
}

static int commit(txn *t, struct tx_error *e)
{
    int rc = txn_commit(t, TXN_COMPLETED, e);

    txn_free(t);
    return rc;
}

static void assert_committed(txn *t)
{
    struct tx_error e;

    if (commit(t, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
}

/* The reason names all of it. */
static void assert_rolled_back(txn *t, const char *reason)
{
    struct tx_error e;

    assert_int_equal(commit(t, &e), TX_EROLLBACK);
    if (strstr(e.msg, reason) == NULL)
        fail_msg("«%s» does not tell of «%s»", e.msg, reason);
}

/* The connection is outside of a transaction and answers. */
static void assert_usable(void)
{
    query(my, "SELECT 1 FROM accounts");
    assert_false((my->server_status & SERVER_STATUS_IN_TRANS) != 0);
    query(my, "BEGIN");
    query(my, "COMMIT");
}

static void assert_nothing_happened(const char *receipt)
{
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, receipt), 0);
}

static long long proofs(void)
{
    return world_sql_number(kit.bank[1], "SELECT COUNT(*) FROM assent.receipt");
}

/* commit and rollback */

static void test_commit(void **state)
{
    long long before = proofs();

    (void)state;
    for (int i = 0; i < 3; i++) { /* the second is prepared without being asked first */
        char receipt[32];

        snprintf(receipt, sizeof receipt, "both %d", i);
        assert_committed(begin_both(receipt));
        assert_int_equal(kit_receipts(&kit, receipt), 2);
        assert_usable();
    }
    assert_int_equal(proofs(), before + 3);
    kit_assert_usable(pg);
    kit_assert_sound(&kit);
}

static void test_decision_logged(void **state)
{
    txn *t = begin_both("logged");
    struct tx_error e;

    (void)state;
    assert_int_equal(txn_commit(t, TXN_DECISION_LOGGED, &e), TX_OK);
    txn_free(t);
    assert_usable(); /* its session has finished it */
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "logged"), 2);
}

static void test_rollback(void **state)
{
    txn *t = begin_both("none");

    (void)state;
    assert_int_equal(txn_rollback(t, NULL), TX_OK);
    txn_free(t);
    assert_usable();
    assert_nothing_happened("none");
}

/* The other branch votes no, when this one is prepared. */
static void test_other_refuses(void **state)
{
    txn *t = begin_both("refused");

    (void)state;
    kit_exec(pg, "INSERT INTO checked VALUES (1), (1)");
    assert_rolled_back(t, "23505");
    assert_usable();
    assert_nothing_happened("refused");
}

/* A session may have autocommit off, as long as nothing is open. */
static void test_autocommit_off(void **state)
{
    (void)state;
    query(my, "SET autocommit = 0");
    assert_committed(begin_both("off"));
    assert_int_equal(kit_receipts(&kit, "off"), 2);
    kit_assert_sound(&kit);
}

static void test_read_only(void **state)
{
    long long before = proofs();
    struct tx_error e;

    (void)state;
    for (int i = 0; i < 2; i++) {
        txn *t = begin();

        assert_int_equal(txn_enlist_pg(t, "bank_a", pg, &e), TX_OK);
        enlist(t, "bank_b", my);
        kit_exec(pg, "UPDATE accounts SET balance = balance WHERE id = 1");
        query(my, "SELECT * FROM accounts LOCK IN SHARE MODE");
        assert_committed(t);
        assert_usable();
    }
    assert_int_equal(proofs(), before);
    kit_assert_sound(&kit);
}

/* Expected to write, and did not: prepared all the same. */
static void test_read_only_against_expectation(void **state)
{
    txn *t;
    struct tx_error e;

    (void)state;
    assert_committed(begin_both("expected"));
    t = begin();
    assert_int_equal(txn_enlist_pg(t, "bank_a", pg, &e), TX_OK);
    enlist(t, "bank_b", my);
    kit_exec(pg, "UPDATE accounts SET balance = balance WHERE id = 1");
    query(my, "SELECT * FROM accounts");
    assert_committed(t);
    assert_usable();
    kit_assert_sound(&kit);
}

static txn *begin_single(void)
{
    txn *t = begin();

    enlist(t, "bank_b", my);
    query(my, "INSERT INTO receipts VALUES ('alone')");
    return t;
}

static void test_one_phase(void **state)
{
    long long before = proofs();

    (void)state;
    assert_committed(begin_single());
    assert_usable();
    assert_int_equal(proofs(), before + 1);
    assert_int_equal(kit_receipts(&kit, "alone"), 1);
}

/* examples/mariadb.c */
static void test_example(void **state)
{
    char program[WORLD_PATH_SIZE], conninfo[WORLD_PATH_SIZE], port[16];
    struct world_output o;

    (void)state;
    snprintf(port, sizeof port, "%u", world_server_port(kit.bank[1]));
    world_server_conninfo(kit.bank[0], "app", conninfo);
    o = world_run(kit.world, WORLD_ARGS(world_program(kit.world, "examples/mariadb", program), conninfo,
                                        "127.0.0.1", port, "app", "", "bank"));
    assert_string_equal(o.text, "committed: moved 10\n");
    assert_int_equal(o.code, 0);
    world_output_release(&o);
    kit_assert_sound(&kit);
}

/* votes */

/* MariaDB itself would go on. */
static void test_failed_statement(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        txn *t = begin_both("failed");

        assert_int_not_equal(mysql_query(my, "INSERT INTO receipts VALUES ('failed')"), 0);
        assert_rolled_back(t, "bank_b: ");
        assert_usable();
        assert_nothing_happened("failed");
        assert_committed(begin_both("so that it is prepared without being asked"));
        kit_settle(&kit);
    }
}

static void test_deadlock(void **state)
{
    txn *t = begin();
    MYSQL *other = kit_connect_mariadb(world_server_port(kit.bank[1]));

    (void)state;
    enlist(t, "bank_b", my);
    query(my, "UPDATE accounts SET balance = balance WHERE id = 1");
    query(other, "BEGIN");
    for (int i = 10; i < 60; i++) { /* has changed more, so it is not the victim */
        char sql[96];

        snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + 1 WHERE id = %d", i);
        query(other, sql);
    }
    assert_int_equal(mysql_send_query(other, "UPDATE accounts SET balance = 0 WHERE id = 1", 44), 0);
    while (mysql_query(my, "UPDATE accounts SET balance = balance + 1 WHERE id = 10") == 0)
        fail_msg("no deadlock");
    assert_int_equal(mysql_errno(my), 1213);
    assert_rolled_back(t, "bank_b");
    mysql_close(other);
    assert_usable();
    assert_nothing_happened("deadlock");
}

/* Nothing of the end is sent into the void: a receipt would be committed there by itself. */
static void end_by_hand(const char *end)
{
    txn *t = begin();
    char xid[XA_XID_SQL_SIZE], sql[XA_XID_SQL_SIZE + 32];
    struct txid id;

    assert_true(txid_parse(txn_id(t), &id));
    xa_xid_format(&id, 1, xid);
    enlist(t, "bank_b", my);
    query(my, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    query(my, "UPDATE accounts SET balance = balance - 1 WHERE id = 1");
    assert_int_not_equal(mysql_query(my, "COMMIT"), 0);
    snprintf(sql, sizeof sql, "XA END %s", xid);
    query(my, sql);
    snprintf(sql, sizeof sql, end, xid);
    query(my, sql);
    assert_rolled_back(t, "ended by somebody else");
    assert_usable();
}

static void test_ended_by_the_application(void **state)
{
    long long before = proofs();

    (void)state;
    end_by_hand("XA ROLLBACK %s");
    end_by_hand("XA COMMIT %s ONE PHASE");
    assert_int_equal(proofs(), before);
    assert_nothing_happened("ended");
}

/* A session that was reset has no branch, and the library does not know. */
static void test_reset_by_the_application(void **state)
{
    long long before = proofs();
    struct tx_error e;
    txn *t = begin_both("reset");

    (void)state;
    assert_int_equal(mysql_reset_connection(my), 0);
    my->server_status |= SERVER_STATUS_IN_TRANS;
    assert_int_equal(commit(t, &e), TX_EROLLBACK);
    assert_nothing_happened("reset");
    mysql_close(my);
    connect_mariadb();
    t = begin_single();
    assert_int_equal(mysql_reset_connection(my), 0);
    query(my, "UPDATE accounts SET balance = balance + 1 WHERE id = 2");
    query(my, "UPDATE accounts SET balance = balance - 1 WHERE id = 2");
    my->server_status |= SERVER_STATUS_IN_TRANS;
    assert_rolled_back(t, "ended by somebody else");
    assert_nothing_happened("alone");
    assert_int_equal(proofs(), before);
}

static void test_busy_at_commit(void **state)
{
    txn *t = begin_both("busy");

    (void)state;
    assert_int_equal(mysql_query(my, "SELECT * FROM accounts"), 0);
    assert_rolled_back(t, "busy");
    assert_nothing_happened("busy");
}

/* No grant: told with what to do, and one phase does not commit without a receipt either. */
static void test_no_grant(void **state)
{
    (void)state;
    world_sql(kit.bank[1], "REVOKE INSERT ON assent.receipt FROM app@'127.0.0.1'");
    assert_rolled_back(begin_both("no grant"), "setup-mariadb.sql");
    assert_usable();
    assert_rolled_back(begin_single(), "setup-mariadb.sql");
    assert_usable();
    world_sql(kit.bank[1], "GRANT INSERT ON assent.receipt TO app@'127.0.0.1'");
    assert_nothing_happened("no grant");
    assert_int_equal(kit_receipts(&kit, "alone"), 0);
}

/* refusals */

static void assert_refused(txn *t, const char *resource, MYSQL *conn, const char *reason)
{
    struct tx_error e;

    assert_int_equal(txn_enlist_mariadb(t, resource, conn, &e), TX_EINVAL);
    if (strstr(e.msg, reason) == NULL)
        fail_msg("«%s» does not tell of «%s»", e.msg, reason);
}

static void test_refusals(void **state)
{
    MYSQL *fresh = mysql_init(NULL);
    my_bool yes = 1, no = 0;
    txn *t = begin();

    (void)state;
    assert_refused(t, "bank_b", NULL, "closed");
    assert_refused(t, "bank_b", fresh, "closed");
    mysql_close(fresh);
    assert_int_equal(mysql_query(my, "SELECT * FROM accounts"), 0);
    assert_refused(t, "bank_b", my, "busy");
    mysql_free_result(mysql_store_result(my));
    query(my, "BEGIN");
    assert_refused(t, "bank_b", my, "in a transaction");
    query(my, "ROLLBACK");
    mysql_options(my, MYSQL_OPT_RECONNECT, &yes);
    assert_refused(t, "bank_b", my, "MYSQL_OPT_RECONNECT");
    mysql_options(my, MYSQL_OPT_RECONNECT, &no);
    assert_refused(t, "no name!", my, "resource");
    enlist(t, "bank_b", my);
    assert_refused(t, "bank_c", my, "enlisted already");
    txn_free(t);
    assert_usable();
}

/* The name is taken: the connection stays as it was, and so does the transaction. */
static void test_refused_by_the_server(void **state)
{
    MYSQL *other = kit_connect_mariadb(world_server_port(kit.bank[1]));
    char xid[XA_XID_SQL_SIZE], sql[XA_XID_SQL_SIZE + 32];
    struct txid id;
    txn *t = begin();

    (void)state;
    assert_true(txid_parse(txn_id(t), &id));
    xa_xid_format(&id, 1, xid);
    snprintf(sql, sizeof sql, "XA START %s", xid);
    query(other, sql);
    assert_refused(t, "bank_b", my, "1440");
    assert_usable();
    mysql_close(other);
    txn_free(t);
}

static void test_server_that_forgets(void **state)
{
    txn *t = begin();

    (void)state;
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    assert_refused(t, "bank_b", my, "innodb_flush_log_at_trx_commit");
    assert_usable();
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    enlist(t, "bank_b", my);
    txn_free(t);
    assert_usable();
}

/* connection and server lost */

struct commit {
    pthread_t thread;
    txn *t;
    int rc;
    struct tx_error e;
};

static void *run_commit(void *arg)
{
    struct commit *c = arg;

    c->rc = txn_commit(c->t, TXN_COMPLETED, &c->e);
    return NULL;
}

/* Holds up what is about to be committed or prepared, in the server; and lets it go. */
static MYSQL *block_commits(void)
{
    MYSQL *blocker = mysql_init(NULL);

    if (mysql_real_connect(blocker, "127.0.0.1", "root", "", "bank", world_server_port(kit.bank[1]), NULL, 0) ==
        NULL)
        fail_msg("%s", mysql_error(blocker));
    query(blocker, "BACKUP STAGE START");
    query(blocker, "BACKUP STAGE BLOCK_COMMIT");
    return blocker;
}

static bool is_blocked(void *arg)
{
    unsigned long thread = *(unsigned long *)arg;

    return world_sql_number(kit.bank[1],
                            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %lu AND STATE LIKE "
                            "'Waiting for backup lock'",
                            thread) > 0;
}

/* Commits, and is in the middle of it at the server's when it returns. */
static MYSQL *start_blocked_commit(struct commit *c, txn *t)
{
    MYSQL *blocker = block_commits();
    unsigned long thread = mysql_thread_id(my);

    c->t = t;
    assert_int_equal(pthread_create(&c->thread, NULL, run_commit, c), 0);
    if (!world_wait(KIT_SETTLE_MS, is_blocked, &thread))
        fail_msg("the commit is not held up");
    return blocker;
}

static int end_commit(struct commit *c)
{
    pthread_join(c->thread, NULL);
    txn_free(c->t);
    return c->rc;
}

static void test_killed_while_preparing(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_both("killed"));
    int rc;

    (void)state;
    world_sql(kit.bank[1], "KILL CONNECTION %lu", mysql_thread_id(my));
    rc = end_commit(&c);
    mysql_close(blocker);
    assert_int_equal(rc, TX_EROLLBACK);
    if (strstr(c.e.msg, "bank_b: prepare: connection lost") == NULL)
        fail_msg("%s", c.e.msg);
    assert_nothing_happened("killed");
}

static void test_query_killed_while_preparing(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_both("killed"));
    int rc;

    (void)state;
    world_sql(kit.bank[1], "KILL QUERY %lu", mysql_thread_id(my));
    rc = end_commit(&c);
    mysql_close(blocker);
    assert_int_equal(rc, TX_EROLLBACK);
    assert_usable();
    assert_nothing_happened("killed");
}

/* The receipt tells what became of it. */
static void test_killed_in_one_phase(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_single());
    int rc;

    (void)state;
    world_sql(kit.bank[1], "KILL CONNECTION %lu", mysql_thread_id(my));
    mysql_close(blocker);
    rc = end_commit(&c);
    assert_true(rc == TX_OK || rc == TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "alone"), rc == TX_OK);
}

static void test_query_killed_in_one_phase(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_single());
    int rc;

    (void)state;
    world_sql(kit.bank[1], "KILL QUERY %lu", mysql_thread_id(my));
    mysql_close(blocker);
    rc = end_commit(&c);
    assert_true(rc == TX_OK || rc == TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "alone"), rc == TX_OK);
}

static void test_server_dies_in_one_phase(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_single());
    int rc;

    (void)state;
    world_server_kill(kit.bank[1]);
    world_server_start(kit.bank[1]);
    mysql_close(blocker);
    rc = end_commit(&c);
    assert_true(rc == TX_OK || rc == TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "alone"), rc == TX_OK);
}

static void test_server_dies_while_preparing(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_both("dies"));

    (void)state;
    world_server_kill(kit.bank[1]);
    world_server_start(kit.bank[1]);
    mysql_close(blocker);
    assert_int_equal(end_commit(&c), TX_EROLLBACK);
    assert_nothing_happened("dies");
}

/* It hangs: the deadline of the transaction ends it, and the session. */
static void test_preparing_takes_too_long(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_both("hangs"));
    int rc;

    (void)state;
    rc = end_commit(&c);
    mysql_close(blocker);
    assert_int_equal(rc, TX_EROLLBACK);
    assert_int_not_equal(mysql_ping(my), 0);
    assert_nothing_happened("hangs");
}

/* No decision can be had in time. The session ends, so that the agent can finish the branch. */
static void test_in_doubt(void **state)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = 4000,
                                        .commit_timeout_ms = 1000};
    struct tx_error e;
    long long receipts;
    txn *t;

    (void)state;
    tx_client_close(client);
    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    t = begin_both("in doubt");
    world_process_signal(kit.coordinator, SIGSTOP);
    assert_int_equal(commit(t, &e), TX_EINDOUBT);
    world_process_signal(kit.coordinator, SIGCONT);
    assert_int_not_equal(mysql_ping(my), 0);
    kit_assert_sound(&kit);
    receipts = kit_receipts(&kit, "in doubt");
    assert_true(receipts == 0 || receipts == 2);
}

/* The same with one phase: what the session still does must not be overlooked. */
static void test_one_phase_takes_too_long(void **state)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = 4000,
                                        .commit_timeout_ms = 1000};
    struct tx_error e;
    struct commit c;
    MYSQL *blocker;
    int rc;

    (void)state;
    tx_client_close(client);
    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    blocker = start_blocked_commit(&c, begin_single());
    rc = end_commit(&c);
    mysql_close(blocker);
    assert_int_equal(rc, TX_EINDOUBT);
    assert_non_null(strstr(c.e.msg, "assent.receipt"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commit),
        TEST(test_decision_logged),
        TEST(test_rollback),
        TEST(test_other_refuses),
        TEST(test_autocommit_off),
        TEST(test_read_only),
        TEST(test_read_only_against_expectation),
        TEST(test_one_phase),
        TEST(test_example),
        TEST(test_failed_statement),
        TEST(test_deadlock),
        TEST(test_ended_by_the_application),
        TEST(test_reset_by_the_application),
        TEST(test_busy_at_commit),
        TEST(test_no_grant),
        TEST(test_refusals),
        TEST(test_refused_by_the_server),
        TEST(test_server_that_forgets),
        TEST(test_killed_while_preparing),
        TEST(test_query_killed_while_preparing),
        TEST(test_killed_in_one_phase),
        TEST(test_query_killed_in_one_phase),
        TEST(test_server_dies_in_one_phase),
        TEST(test_server_dies_while_preparing),
        TEST(test_preparing_takes_too_long),
        TEST(test_in_doubt),
        TEST(test_one_phase_takes_too_long),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
