/* test_mariadb_direct: transactions over PostgreSQL and MariaDB on the application's own connections.
 * Connections and servers that are lost stand in test_mariadb_direct_lost, the crash points of the client in
 * test_crash.
 */
#include "libtx/shared/xa_xid.h"
#include "tests/e2e/mariadb_direct_kit.h"

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
        txn *t = kit_begin(client);

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
    t = kit_begin(client);
    assert_int_equal(txn_enlist_pg(t, "bank_a", pg, &e), TX_OK);
    enlist(t, "bank_b", my);
    kit_exec(pg, "UPDATE accounts SET balance = balance WHERE id = 1");
    query(my, "SELECT * FROM accounts");
    assert_committed(t);
    assert_usable();
    kit_assert_sound(&kit);
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

/* The documents warn of both. */
static void test_what_does_not_poison(void **state)
{
    struct tx_error e;
    txn *t = begin_both("refused");

    (void)state;
    assert_int_not_equal(mysql_query(my, "UPDATE nothing_of_that_name SET id = 1"), 0);
    assert_committed(t);
    assert_int_equal(kit_receipts(&kit, "refused"), 2);
    query(my, "CREATE TABLE stays (id int) ENGINE = MyISAM");
    t = begin_single();
    query(my, "INSERT INTO stays VALUES (1)");
    assert_int_equal(txn_rollback(t, &e), TX_OK);
    txn_free(t);
    assert_int_equal(world_sql_number(kit.bank[1], "SELECT COUNT(*) FROM stays"), 1);
    query(my, "DROP TABLE stays");
    assert_nothing_happened("alone");
}

static void test_deadlock(void **state)
{
    txn *t = kit_begin(client);
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
    txn *t = kit_begin(client);
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
    txn *t = kit_begin(client);

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
    txn *t = kit_begin(client);

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
    txn *t = kit_begin(client);

    (void)state;
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    assert_refused(t, "bank_b", my, "innodb_flush_log_at_trx_commit");
    assert_usable();
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    enlist(t, "bank_b", my);
    txn_free(t);
    assert_usable();
}

/* A receipt that seems old is deleted early. */
static void test_clock_of_the_application(void **state)
{
    static const char past[] = "SET timestamp = UNIX_TIMESTAMP() - 8 * 86400, time_zone = '-05:00'";
    txn *t = begin_both("past");

    (void)state;
    query(my, past);
    assert_committed(t);
    t = begin_single();
    query(my, past);
    assert_committed(t);
    assert_int_equal(world_sql_number(kit.bank[1], "SELECT COUNT(*) FROM assent.receipt"
                                                   " WHERE ABS(TIMESTAMPDIFF(SECOND, at, NOW())) > 600"),
                     0);
}

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
        TEST(test_what_does_not_poison),
        TEST(test_deadlock),
        TEST(test_ended_by_the_application),
        TEST(test_reset_by_the_application),
        TEST(test_busy_at_commit),
        TEST(test_no_grant),
        TEST(test_refusals),
        TEST(test_refused_by_the_server),
        TEST(test_server_that_forgets),
        TEST(test_clock_of_the_application),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
