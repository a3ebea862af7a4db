/* test_commit: what an application does every day, on two real servers: commit and roll back, direct, remote
 * and mixed branches, the short ways, and looking outcomes up. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;
static tx_client *client;
static PGconn *conn[2];

static int open_group(void **state)
{
    (void)state;
    kit_open(&kit, "commit", NULL);
    for (int i = 0; i < 2; i++)
        world_sql(kit.bank[i], "ALTER SYSTEM SET log_statement = 'all'");
    for (int i = 0; i < 2; i++)
        world_sql(kit.bank[i], "SELECT pg_reload_conf()");
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

/* Helpers */

static txn *begin_direct(void)
{
    txn *t = kit_begin(client);

    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    return t;
}

static void commit(txn *t, enum txn_return when)
{
    struct tx_error e;

    if (txn_commit(t, when, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
}

static txn_rows *exec_rows(txn *t, const char *resource, const char *sql, const char *value)
{
    struct tx_error e;
    txn_rows *rows;

    if (txn_exec(t, resource, sql, value != NULL, &value, &rows, &e) != TX_OK)
        fail_msg("txn_exec: %s", e.msg);
    return rows;
}

static void move_remote(txn *t, const char *resource, const char *receipt, int amount)
{
    char number[16];

    snprintf(number, sizeof number, "%d", amount);
    txn_rows_free(exec_rows(t, resource, "UPDATE accounts SET balance = balance + $1 WHERE id = 1", number));
    txn_rows_free(exec_rows(t, resource, "INSERT INTO receipts VALUES ($1)", receipt));
}

static void assert_outcome(const char *id, enum tx_outcome want)
{
    enum tx_outcome outcome;
    struct tx_error e;

    if (tx_client_outcome(client, id, &outcome, &e) != TX_OK)
        fail_msg("tx_client_outcome: %s", e.msg);
    assert_int_equal(outcome, want);
}

/* Direct branches */

static void test_commits_direct_branches(void **state)
{
    txn *t = begin_direct();

    (void)state;
    kit_move(conn[0], "direct", -5);
    kit_move(conn[1], "direct", 5);
    commit(t, TXN_COMPLETED);
    /* COMPLETED: it reads its own writes, at once. */
    assert_int_equal(kit_receipts(&kit, "direct"), 2);
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
    txn_free(t);
    kit_assert_sound(&kit);
}

static void test_rolls_direct_branches_back(void **state)
{
    txn *t = begin_direct();
    struct tx_error e;

    (void)state;
    kit_move(conn[0], "undone", -5);
    kit_move(conn[1], "undone", 5);
    assert_int_equal(txn_rollback(t, &e), TX_OK);
    assert_int_equal(kit_receipts(&kit, "undone"), 0);
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EINVAL);
    assert_int_equal(txn_rollback(t, &e), TX_EINVAL);
    txn_free(t);
}

static void test_free_rolls_back(void **state)
{
    txn *t = begin_direct();

    (void)state;
    kit_move(conn[0], "freed", -5);
    kit_move(conn[1], "freed", 5);
    txn_free(t);
    txn_free(NULL);
    assert_int_equal(kit_receipts(&kit, "freed"), 0);
    kit_assert_usable(conn[0]);
}

static void test_takes_a_transaction_block_as_it_is(void **state)
{
    PGresult *r;
    txn *t;

    (void)state;
    kit_exec(conn[0], "BEGIN ISOLATION LEVEL SERIALIZABLE");
    kit_move(conn[0], "block", -5);
    t = begin_direct();
    r = PQexec(conn[0], "SHOW transaction_isolation");
    assert_string_equal(PQgetvalue(r, 0, 0), "serializable");
    PQclear(r);
    kit_move(conn[1], "block", 5);
    commit(t, TXN_COMPLETED);
    txn_free(t);
    assert_int_equal(kit_receipts(&kit, "block"), 2);
}

static void test_connections_serve_again_and_again(void **state)
{
    char receipt[32];

    (void)state;
    for (int i = 0; i < 50; i++) {
        txn *t = begin_direct();

        snprintf(receipt, sizeof receipt, "again %d", i);
        kit_move(conn[0], receipt, -1);
        kit_move(conn[1], receipt, 1);
        if (i % 5 == 4)
            assert_int_equal(txn_rollback(t, NULL), TX_OK);
        else
            commit(t, TXN_COMPLETED);
        txn_free(t);
    }
    assert_int_equal(world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts"), 40);
    kit_assert_sound(&kit);
}

static void test_decision_logged_is_finished_by_agents(void **state)
{
    txn *t = begin_direct();

    (void)state;
    kit_move(conn[0], "logged", -5);
    kit_move(conn[1], "logged", 5);
    commit(t, TXN_DECISION_LOGGED);
    txn_free(t);
    kit_assert_usable(conn[0]);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "logged"), 2);
}

/* The short ways */

static void test_read_only_branch_is_not_prepared(void **state)
{
    txn *t = kit_begin(client);
    char gid[128];

    (void)state;
    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    kit_exec(conn[0], "SELECT * FROM accounts WHERE id = 7");
    kit_exec(conn[1], "UPDATE accounts SET balance = balance WHERE id = 7");
    snprintf(gid, sizeof gid, "assent-%s", txn_id(t));
    commit(t, TXN_COMPLETED);
    txn_free(t);
    assert_false(world_server_logged(kit.bank[0], gid));
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
}

static void test_single_writer_commits_in_one_phase(void **state)
{
    txn *t = begin_direct();

    (void)state;
    kit_exec(conn[0], "SELECT * FROM accounts WHERE id = 7");
    kit_exec(conn[1], "UPDATE accounts SET balance = balance WHERE id = 8");
    commit(t, TXN_COMPLETED);
    assert_string_equal(txn_id(t), ""); /* the coordinator was not asked, so there is nothing to look up */
    txn_free(t);
    kit_assert_usable(conn[1]);
}

static void test_all_read_only(void **state)
{
    txn *t = begin_direct();

    (void)state;
    kit_exec(conn[0], "SELECT 1");
    commit(t, TXN_COMPLETED);
    assert_string_equal(txn_id(t), "");
    txn_free(t);
    t = kit_begin(client);
    commit(t, TXN_COMPLETED); /* no branch at all */
    txn_free(t);
    kit_assert_usable(conn[0]);
}

/* Remote branches */

static void test_commits_remote_branches(void **state)
{
    txn *t = kit_begin(client);
    txn_rows *rows;

    (void)state;
    move_remote(t, "bank_a", "remote", -5);
    move_remote(t, "bank_b", "remote", 5);
    rows = exec_rows(t, "bank_a", "SELECT name, NULL AS nothing FROM receipts WHERE name = $1", "remote");
    assert_int_equal(txn_rows_count(rows), 1);
    assert_int_equal(txn_rows_columns(rows), 2);
    assert_string_equal(txn_rows_name(rows, 1), "nothing");
    assert_string_equal(txn_rows_value(rows, 0, 0), "remote");
    assert_null(txn_rows_value(rows, 0, 1));
    assert_null(txn_rows_value(rows, 1, 0));
    assert_null(txn_rows_value(rows, 0, 2));
    txn_rows_free(rows);
    commit(t, TXN_COMPLETED);
    assert_int_equal(kit_receipts(&kit, "remote"), 2);
    txn_free(t);
    kit_assert_sound(&kit);
}

static void test_rows_affected_and_null_parameters(void **state)
{
    const char *values[2] = {NULL, "3"};
    struct tx_error e;
    txn_rows *rows;
    txn *t = kit_begin(client);

    (void)state;
    rows = exec_rows(t, "bank_a", "UPDATE accounts SET balance = balance WHERE id <= $1", "10");
    assert_int_equal(txn_rows_affected(rows), 10);
    assert_int_equal(txn_rows_count(rows), 0);
    txn_rows_free(rows);
    assert_int_equal(txn_exec(t, "bank_a", "SELECT $1::text IS NULL, $2::int + 1", 2, values, &rows, &e),
                     TX_OK);
    assert_string_equal(txn_rows_value(rows, 0, 0), "t");
    assert_string_equal(txn_rows_value(rows, 0, 1), "4");
    txn_rows_free(rows);
    assert_int_equal(txn_rollback(t, &e), TX_OK);
    txn_free(t);
}

static void test_rolls_remote_branches_back(void **state)
{
    txn *t = kit_begin(client);

    (void)state;
    move_remote(t, "bank_a", "remote undone", -5);
    move_remote(t, "bank_b", "remote undone", 5);
    assert_int_equal(txn_rollback(t, NULL), TX_OK);
    txn_free(t);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "remote undone"), 0);
}

static void test_commits_mixed_branches(void **state)
{
    txn *t = kit_begin(client);

    (void)state;
    kit_enlist(t, "bank_a", conn[0]);
    kit_move(conn[0], "mixed", -5);
    move_remote(t, "bank_b", "mixed", 5);
    commit(t, TXN_COMPLETED);
    assert_int_equal(kit_receipts(&kit, "mixed"), 2);
    kit_assert_usable(conn[0]);
    txn_free(t);
    kit_assert_sound(&kit);
}

static void test_single_remote_writer_commits_in_one_phase(void **state)
{
    txn *t = kit_begin(client);

    (void)state;
    txn_rows_free(exec_rows(t, "bank_a", "UPDATE accounts SET balance = balance WHERE id = 9", NULL));
    commit(t, TXN_COMPLETED);
    assert_string_equal(txn_id(t), "");
    txn_free(t);
}

static void test_a_refused_statement_leaves_only_rollback(void **state)
{
    struct tx_error e;
    txn *t = kit_begin(client);

    (void)state;
    move_remote(t, "bank_a", "refused", -5);
    assert_int_equal(txn_exec(t, "bank_b", "SELECT 1 / 0", 0, NULL, NULL, &e), TX_ESTATEMENT);
    assert_non_null(strstr(e.msg, "22012"));
    assert_non_null(strstr(e.msg, "division by zero"));
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

/* Nothing of it stays: neither committed, as COMMIT would, nor prepared under the application's own name. */
static void test_a_statement_cannot_end_the_transaction(void **state)
{
    static const char *const sql[] = {"COMMIT", "/* /* */ */ COMMIT AND CHAIN", "-- x\rCOMMIT",
                                      "/* /* */ */ PREPARE TRANSACTION 'foo'"};

    (void)state;
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        struct tx_error e;
        txn *t = kit_begin(client);

        move_remote(t, "bank_a", "ended", -5);
        assert_int_equal(txn_exec(t, "bank_a", sql[i], 0, NULL, NULL, &e), TX_EREFUSED);
        assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
        txn_free(t);
    }
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "ended"), 0);
}

static void test_unknown_resource(void **state)
{
    struct tx_error e;
    txn *t = kit_begin(client);

    (void)state;
    assert_int_equal(txn_exec(t, "bank_z", "SELECT 1", 0, NULL, NULL, &e), TX_ENOTFOUND);
    assert_non_null(strstr(e.msg, "bank_z"));
    txn_free(t);
}

/* Outcomes */

static void test_outcomes(void **state)
{
    char id[KIT_ID_SIZE];
    txn *t = begin_direct();

    (void)state;
    snprintf(id, sizeof id, "%s", txn_id(t));
    assert_outcome(id, TX_OUTCOME_PENDING);
    kit_move(conn[0], "looked up", -5);
    kit_move(conn[1], "looked up", 5);
    assert_outcome(id, TX_OUTCOME_PENDING);
    commit(t, TXN_COMPLETED);
    assert_outcome(id, TX_OUTCOME_COMMITTED);
    txn_free(t);
}

/* Once its client has acknowledged it, the record goes; nobody says «aborted» then. */
static void test_outcome_of_what_is_finished_and_acknowledged(void **state)
{
    char id[KIT_ID_SIZE];
    txn *t = begin_direct();

    (void)state;
    snprintf(id, sizeof id, "%s", txn_id(t));
    kit_move(conn[0], "acknowledged", -5);
    kit_move(conn[1], "acknowledged", 5);
    commit(t, TXN_COMPLETED);
    txn_free(t);
    tx_client_close(client);
    client = kit_client(&kit);
    assert_outcome(id, TX_OUTCOME_FORGOTTEN);
}

/* What has left no record is not pending as soon as its call has returned, though the coordinators hear of that
 * later.
 */
static void test_outcome_of_what_left_no_record(void **state)
{
    char id[3][KIT_ID_SIZE];
    txn *t = begin_direct();

    (void)state;
    snprintf(id[0], KIT_ID_SIZE, "%s", txn_id(t));
    kit_move(conn[0], "never", -5);
    assert_int_equal(txn_rollback(t, NULL), TX_OK);
    assert_outcome(id[0], TX_OUTCOME_FORGOTTEN);
    txn_free(t);
    t = kit_begin(client);
    snprintf(id[1], KIT_ID_SIZE, "%s", txn_id(t));
    commit(t, TXN_COMPLETED);
    assert_outcome(id[1], TX_OUTCOME_FORGOTTEN);
    txn_free(t);
    t = begin_direct();
    snprintf(id[2], KIT_ID_SIZE, "%s", txn_id(t));
    kit_exec(conn[0], "SELECT 1");
    commit(t, TXN_COMPLETED);
    for (int i = 0; i < 3; i++)
        assert_outcome(id[i], TX_OUTCOME_FORGOTTEN);
    txn_free(t);
}

static void test_outcome_of_what_never_was(void **state)
{
    enum tx_outcome outcome;
    struct tx_error e;
    txn *t = kit_begin(client);
    char id[KIT_ID_SIZE];

    (void)state;
    assert_int_equal(tx_client_outcome(client, "no id", &outcome, &e), TX_EINVAL);
    snprintf(id, sizeof id, "%s", txn_id(t));
    id[0] = id[0] == 'a' ? 'b' : 'a'; /* another group's */
    assert_int_equal(tx_client_outcome(client, id, &outcome, &e), TX_ENOTFOUND);
    snprintf(id, sizeof id, "%s", txn_id(t));
    id[strlen(id) - 1] = id[strlen(id) - 1] == 'a' ? 'b' : 'a'; /* a wrong nonce */
    assert_int_equal(tx_client_outcome(client, id, &outcome, &e), TX_ENOTFOUND);
    txn_free(t);
}

static void test_single_writer_whose_id_was_asked_for_is_logged(void **state)
{
    txn *t = kit_begin(client);
    char id[KIT_ID_SIZE];

    (void)state;
    snprintf(id, sizeof id, "%s", txn_id(t));
    kit_enlist(t, "bank_a", conn[0]);
    kit_exec(conn[0], "UPDATE accounts SET balance = balance WHERE id = 9");
    commit(t, TXN_COMPLETED);
    assert_outcome(id, TX_OUTCOME_COMMITTED);
    txn_free(t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commits_direct_branches),
        TEST(test_rolls_direct_branches_back),
        TEST(test_free_rolls_back),
        TEST(test_takes_a_transaction_block_as_it_is),
        TEST(test_connections_serve_again_and_again),
        TEST(test_decision_logged_is_finished_by_agents),
        TEST(test_read_only_branch_is_not_prepared),
        TEST(test_single_writer_commits_in_one_phase),
        TEST(test_all_read_only),
        TEST(test_commits_remote_branches),
        TEST(test_rows_affected_and_null_parameters),
        TEST(test_rolls_remote_branches_back),
        TEST(test_commits_mixed_branches),
        TEST(test_single_remote_writer_commits_in_one_phase),
        TEST(test_a_refused_statement_leaves_only_rollback),
        TEST(test_a_statement_cannot_end_the_transaction),
        TEST(test_unknown_resource),
        TEST(test_outcomes),
        TEST(test_outcome_of_what_is_finished_and_acknowledged),
        TEST(test_outcome_of_what_left_no_record),
        TEST(test_outcome_of_what_never_was),
        TEST(test_single_writer_whose_id_was_asked_for_is_logged),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
