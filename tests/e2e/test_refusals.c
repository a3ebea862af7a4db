/* test_refusals: what PostgreSQL cannot prepare, and what applications do wrong: each gives an error that names
 * the cause and the remedy, everything is rolled back, and the connections can be used again. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;
static struct world_server *bank_0; /* max_prepared_transactions = 0 */
static struct world_server *bank_1; /* max_prepared_transactions = 1 */
static tx_client *client;
static PGconn *conn[2];

static int open_group(void **state)
{
    struct world_server_options none = {.no_prepared_transactions = true},
                                one = {.max_prepared_transactions = 1};

    (void)state;
    kit_open(&kit, "refusals", NULL);
    bank_0 = world_server_new(kit.world, "bank_0", &none);
    bank_1 = world_server_new(kit.world, "bank_1", &one);
    world_accounts(bank_0, 1, 0);
    world_accounts(bank_1, 1, 0);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = kit_client(&kit);
    kit_connect_both(&kit, conn);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kit_disconnect_both(conn);
    tx_client_close(client);
    return 0;
}

static txn *begin_both(void)
{
    txn *t = kit_begin(client);

    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    kit_move(conn[0], "refused", -5);
    kit_move(conn[1], "refused", 5);
    return t;
}

/* Each word, in whatever case, stands in the message; words are separated by «|». */
static void assert_says(const struct tx_error *e, const char *words)
{
    char copy[256], *rest = copy, *word;

    snprintf(copy, sizeof copy, "%s", words);
    while ((word = strsep(&rest, "|")) != NULL) {
        if (strcasestr(e->msg, word) == NULL)
            fail_msg("«%s» does not say «%s»", e->msg, word);
    }
}

/* The commit is refused with these words, and no trace of it is left. */
static void assert_refused(txn *t, const char *words)
{
    struct tx_error e;

    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_int_equal(e.code, TX_EROLLBACK);
    assert_says(&e, words);
    txn_free(t);
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

/* What PostgreSQL cannot prepare */

static void refuse_after(const char *sql, const char *words)
{
    txn *t = begin_both();

    kit_exec(conn[1], sql);
    assert_refused(t, words);
}

static void test_temporary_table(void **state)
{
    (void)state;
    refuse_after("CREATE TEMP TABLE scratch (x int)", "bank_b|temporary");
}

static void test_notify(void **state)
{
    (void)state;
    refuse_after("NOTIFY news", "bank_b|NOTIFY");
}

static void test_listen(void **state)
{
    (void)state;
    refuse_after("LISTEN news", "bank_b|LISTEN");
}

static void test_cursor_with_hold(void **state)
{
    (void)state;
    refuse_after("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "bank_b|WITH HOLD");
}

static void test_exported_snapshot(void **state)
{
    (void)state;
    refuse_after("SELECT pg_export_snapshot()", "bank_b|snapshot");
}

static void test_advisory_locks(void **state)
{
    (void)state;
    refuse_after("SELECT pg_advisory_lock(1), pg_advisory_xact_lock(1)", "bank_b|the session's advisory locks");
}

static void test_deferred_constraint(void **state)
{
    (void)state;
    refuse_after("INSERT INTO checked VALUES (1), (1)", "bank_b|23505");
}

static void test_serialization_failure(void **state)
{
    txn *t;

    (void)state;
    kit_exec(conn[1], "BEGIN ISOLATION LEVEL SERIALIZABLE");
    t = begin_both();
    /* The other transaction read what this one wrote, and this one reads what the other writes. */
    kit_exec(conn[1], "SELECT * FROM checked");
    world_sql(kit.bank[1], "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM accounts;"
                           "INSERT INTO checked VALUES (77); COMMIT");
    assert_refused(t, "bank_b|40001");
}

static void test_failed_transaction(void **state)
{
    txn *t = begin_both();

    (void)state;
    PQclear(PQexec(conn[1], "SELECT 1 / 0"));
    assert_refused(t, "bank_b|failed");
}

/* Slots */

/* A transaction over bank_a and one of the special servers. */
static txn *begin_with(PGconn *special, const char *name)
{
    txn *t = kit_begin(client);

    assert_non_null(special);
    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, name, special);
    kit_move(conn[0], "refused", -5);
    kit_exec(special, "UPDATE accounts SET balance = balance + 5");
    return t;
}

static void test_prepared_transactions_switched_off(void **state)
{
    PGconn *special = world_server_connect(bank_0, "app");

    (void)state;
    assert_refused(begin_with(special, "bank_0"), "bank_0|max_prepared_transactions|restart");
    kit_assert_usable(special);
    PQfinish(special);
}

static void test_slots_full(void **state)
{
    PGconn *special = world_server_connect(bank_1, "app"), *other = world_server_connect(bank_1, "app");
    struct tx_error e;
    txn *t = begin_with(special, "bank_1");

    (void)state;
    kit_exec(other, "BEGIN");
    kit_exec(other, "CREATE TABLE occupied ()");
    kit_exec(other, "PREPARE TRANSACTION 'somebody else''s'");
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_says(&e, "bank_1|max_prepared_transactions");
    txn_free(t);
    kit_assert_usable(special);
    /* Not ours: not touched. */
    world_sleep_ms(1000);
    assert_int_equal(world_prepared_count(bank_1), 1);
    kit_exec(other, "ROLLBACK PREPARED 'somebody else''s'");
    PQfinish(other);
    PQfinish(special);
    kit_assert_sound(&kit);
}

/* Connections in the wrong state */

static void test_connection_in_copy(void **state)
{
    txn *t = begin_both();
    struct tx_error e;

    (void)state;
    PQclear(PQexec(conn[1], "COPY checked FROM STDIN"));
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_says(&e, "bank_b|COPY");
    txn_free(t);
    kit_assert_sound(&kit);
    kit_assert_usable(conn[0]);
}

static void test_connection_busy(void **state)
{
    txn *t = begin_both();
    struct tx_error e;

    (void)state;
    assert_int_equal(PQsendQuery(conn[1], "SELECT pg_sleep(0.1)"), 1);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_says(&e, "bank_b");
    txn_free(t);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

static void test_connection_in_pipeline_mode(void **state)
{
    txn *t = begin_both();
    struct tx_error e;

    (void)state;
    assert_int_equal(PQenterPipelineMode(conn[1]), 1);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_says(&e, "bank_b|pipeline");
    txn_free(t);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

static void test_connection_lost(void **state)
{
    txn *t = begin_both();
    struct tx_error e;

    (void)state;
    world_sql(kit.bank[1], "SELECT pg_terminate_backend(%d, 5000)", PQbackendPID(conn[1]));
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_says(&e, "bank_b");
    txn_free(t);
    kit_assert_usable(conn[0]);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

/* The application did what only txn_commit() may do. That branch cannot be undone; the error says what
 * happened. */
static void end_by_application(const char *sql)
{
    txn *t = kit_begin(client);

    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    for (int i = 0; i < 2; i++)
        kit_exec(conn[i], "UPDATE accounts SET balance = balance WHERE id = 60");
    kit_exec(conn[1], sql);
    assert_refused(t, "bank_b|COMMIT");
}

static void test_somebody_else_rolled_back(void **state)
{
    (void)state;
    end_by_application("ROLLBACK");
}

static void test_somebody_else_committed(void **state)
{
    (void)state;
    end_by_application("COMMIT");
}

/* Enlisting */

static void assert_not_enlisted(txn *t, const char *resource, PGconn *c, const char *words)
{
    struct tx_error e;

    assert_int_equal(txn_enlist_pg(t, resource, c, &e), TX_EINVAL);
    assert_says(&e, words);
}

static void test_enlisting_in_a_wrong_state(void **state)
{
    PGconn *closed = PQconnectdb("host=127.0.0.1 port=1");
    txn *t = kit_begin(client), *other;

    (void)state;
    assert_not_enlisted(t, "bank_a", NULL, "");
    assert_not_enlisted(t, "bank a!", conn[0], "");
    assert_not_enlisted(t, "bank_a", closed, "bank_a");
    PQfinish(closed);
    kit_enlist(t, "bank_a", conn[0]);
    assert_not_enlisted(t, "bank_a", conn[1], "bank_a");
    assert_not_enlisted(t, "bank_b", conn[0], "enlisted already, for bank_a");
    other = kit_begin(client);
    assert_not_enlisted(other, "bank_a", conn[0], "another transaction");
    txn_free(other);
    assert_int_equal(PQenterPipelineMode(conn[1]), 1);
    assert_not_enlisted(t, "bank_b", conn[1], "pipeline");
    assert_int_equal(PQexitPipelineMode(conn[1]), 1);
    kit_exec(conn[1], "BEGIN");
    PQclear(PQexec(conn[1], "SELECT 1 / 0"));
    assert_not_enlisted(t, "bank_b", conn[1], "failed");
    kit_exec(conn[1], "ROLLBACK");
    PQclear(PQexec(conn[1], "COPY checked TO STDOUT"));
    assert_not_enlisted(t, "bank_b", conn[1], "COPY");
    txn_free(t);
    kit_assert_usable(conn[0]);
}

/* Nothing has happened: it can still be committed, as it should be. */
static void test_committing_in_no_known_way(void **state)
{
    txn *t = begin_both(), *next = kit_begin(client);
    struct tx_error e;

    (void)state;
    assert_int_equal(txn_commit(t, (enum txn_return)77, &e), TX_EINVAL);
    assert_says(&e, "TXN_COMPLETED");
    assert_int_equal(txn_rollback(t, &e), TX_OK);
    kit_enlist(next, "bank_a", conn[0]); /* that one is over, though not freed */
    txn_free(next);
    txn_free(t);
    kit_assert_sound(&kit);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_temporary_table),
        TEST(test_notify),
        TEST(test_listen),
        TEST(test_cursor_with_hold),
        TEST(test_exported_snapshot),
        TEST(test_advisory_locks),
        TEST(test_deferred_constraint),
        TEST(test_serialization_failure),
        TEST(test_failed_transaction),
        TEST(test_prepared_transactions_switched_off),
        TEST(test_slots_full),
        TEST(test_connection_in_copy),
        TEST(test_connection_busy),
        TEST(test_connection_in_pipeline_mode),
        TEST(test_connection_lost),
        TEST(test_somebody_else_rolled_back),
        TEST(test_somebody_else_committed),
        TEST(test_enlisting_in_a_wrong_state),
        TEST(test_committing_in_no_known_way),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
