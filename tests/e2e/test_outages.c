/* test_outages: what is down when it is needed, and comes back or does not; and the fence that keeps a client
 * which was taken for dead from committing. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;
static PGconn *conn[2];

static int open_group(void **state)
{
    (void)state;
    kit_open(&kit, "outages", NULL);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    kit_connect_both(&kit, conn);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kit_disconnect_both(conn);
    return 0;
}

static tx_client *open_client(unsigned commit_timeout_ms)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = 4000,
                                        .commit_timeout_ms = commit_timeout_ms};
    struct tx_error e;
    tx_client *client;

    if (tx_client_open(&client, &options, &e) != TX_OK)
        fail_msg("tx_client_open: %s", e.msg);
    return client;
}

static txn *begin(tx_client *client, const char *receipt)
{
    static const char *const names[2] = {"bank_a", "bank_b"};
    txn *t = kit_begin(client);

    for (int i = 0; i < 2; i++) {
        kit_enlist(t, names[i], conn[i]);
        kit_move(conn[i], receipt, i == 0 ? -1 : 1);
    }
    return t;
}

/* The coordinator */

static void test_no_coordinator_at_open(void **state)
{
    struct tx_client_options options = {.coordinators = "tcp://127.0.0.1:1", .connect_timeout_ms = 300};
    struct tx_error e;
    tx_client *client;
    uint64_t start = world_now_ms();
    int rc = tx_client_open(&client, &options, &e);

    (void)state;
    assert_true(rc == TX_EUNREACHABLE || rc == TX_ETIMEOUT);
    assert_non_null(strstr(e.msg, "127.0.0.1:1"));
    assert_true(world_now_ms() - start < 2000);
}

/* It is down when commit is asked, and comes back: the caller notices a delay. */
static void test_commit_waits_for_the_coordinator(void **state)
{
    struct world_process *client;
    static struct kit_account account;

    (void)state;
    account.n = 0;
    client = kit_start_transfers(&kit, KIT_DIRECT, 3, "ASSENT_CRASH=client.all_prepared:2=stop");
    for (uint64_t end = world_now_ms() + KIT_SETTLE_MS; !world_process_stopped(client); world_sleep_ms(2))
        assert_true(world_now_ms() < end);
    world_process_kill(kit.coordinator);
    world_process_signal(client, SIGCONT);
    world_sleep_ms(300);
    world_process_start_ready(kit.coordinator, NULL);
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, 3);
    for (size_t i = 0; i < account.n; i++)
        assert_int_equal(account.told[i].rc, TX_OK);
    kit_assert_told(&kit, &account);
}

/* It is gone before it was asked: nothing can have been decided, and everything is rolled back. */
static void test_coordinator_gone_before_commit(void **state)
{
    tx_client *client = open_client(700);
    txn *t = begin(client, "too late");
    struct tx_error e;

    (void)state;
    world_process_kill(kit.coordinator);
    world_sleep_ms(100);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
    world_process_start_ready(kit.coordinator, NULL);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "too late"), 0);
    tx_client_close(client);
}

/* It was asked and does not answer: in doubt, with the id to ask with later. Then the agents finish what is
 * prepared. */
static void test_in_doubt_when_no_answer_comes(void **state)
{
    tx_client *client = open_client(700);
    txn *t = begin(client, "doubtful");
    enum tx_outcome outcome, again;
    char id[KIT_ID_SIZE];
    struct tx_error e;

    (void)state;
    snprintf(id, sizeof id, "%s", txn_id(t));
    world_process_signal(kit.coordinator, SIGSTOP);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EINDOUBT);
    assert_non_null(strstr(e.msg, id));
    txn_free(t);
    kit_assert_usable(conn[0]);
    kit_assert_usable(conn[1]);
    world_process_signal(kit.coordinator, SIGCONT);
    kit_assert_sound(&kit);
    assert_int_equal(tx_client_outcome(client, id, &outcome, &e), TX_OK);
    assert_true(outcome == TX_OUTCOME_COMMITTED || outcome == TX_OUTCOME_ABORTED);
    assert_int_equal(kit_receipts(&kit, "doubtful"), outcome == TX_OUTCOME_COMMITTED ? 2 : 0);
    assert_int_equal(tx_client_outcome(client, id, &again, &e), TX_OK);
    assert_int_equal(again, outcome);
    tx_client_close(client);
}

static void test_coordinator_restarts_during_a_transaction(void **state)
{
    tx_client *client = open_client(10000);
    struct tx_error e;
    txn *t;

    (void)state;
    t = begin(client, "restarted");
    assert_int_equal(world_process_stop(kit.coordinator), 0);
    world_process_start_ready(kit.coordinator, NULL);
    if (txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    txn_free(t);
    tx_client_close(client);
    kit_assert_sound(&kit);
}

/* The agents */

/* Direct branches need no agent while all goes well. */
static void test_direct_branches_without_agents(void **state)
{
    tx_client *client = open_client(5000);
    struct tx_error e;
    txn *t;

    (void)state;
    assert_int_equal(world_process_stop(kit.agent[0]), 0);
    assert_int_equal(world_process_stop(kit.agent[1]), 0);
    t = begin(client, "no agents");
    if (txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    txn_free(t);
    tx_client_close(client);
    kit_assert_sound(&kit);
}

static void test_decided_branches_wait_for_their_agent(void **state)
{
    tx_client *client = open_client(5000);
    struct tx_error e;
    txn *t;

    (void)state;
    world_process_kill(kit.agent[1]);
    t = begin(client, "waiting");
    if (txn_commit(t, TXN_DECISION_LOGGED, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    txn_free(t);
    tx_client_close(client);
    world_sleep_ms(300);
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    world_process_start_ready(kit.agent[1], NULL);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "waiting"), 2);
}

static void test_remote_branch_of_a_dead_agent(void **state)
{
    tx_client *client = open_client(5000);
    struct tx_error e;
    txn *t;
    int rc;

    (void)state;
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    assert_int_equal(txn_exec(t, "bank_a", "UPDATE accounts SET balance = balance - 1", 0, NULL, NULL, &e),
                     TX_OK);
    assert_int_equal(txn_exec(t, "bank_b", "UPDATE accounts SET balance = balance + 1", 0, NULL, NULL, &e),
                     TX_OK);
    world_process_kill(kit.agent[1]);
    world_process_start_ready(kit.agent[1], NULL);
    rc = txn_commit(t, TXN_COMPLETED, &e);
    assert_int_equal(rc, TX_EROLLBACK);
    txn_free(t);
    tx_client_close(client);
    kit_assert_sound(&kit);
}

/* The servers */

static void test_agents_survive_a_restart_of_postgresql(void **state)
{
    static struct kit_account account;
    struct world_process *client;

    (void)state;
    account.n = 0;
    world_server_stop(kit.bank[0]);
    world_sleep_ms(300);
    world_server_start(kit.bank[0]);
    /* The agent needs a moment to be back; then remote branches work as before. */
    for (int i = 0; i < 50 && (account.n == 0 || account.told[account.n - 1].rc != TX_OK); i++) {
        account.n = 0;
        client = kit_start_transfers(&kit, KIT_REMOTE, 2, NULL);
        kit_hear(client, &account, KIT_SETTLE_MS);
        assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    }
    assert_int_equal(account.told[account.n - 1].rc, TX_OK);
    kit_assert_told(&kit, &account);
}

/* A server is away when its branches are to be committed, and comes back after all others are through. */
static void test_server_away_in_phase_two(void **state)
{
    static struct kit_account account;
    struct world_process *client;

    (void)state;
    account.n = 0;
    client = kit_start_transfers(&kit, KIT_DIRECT, 1, "ASSENT_CRASH=client.decided=kill");
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), -SIGKILL);
    world_server_kill(kit.bank[1]);
    world_sleep_ms(2500);
    world_server_start(kit.bank[1]);
    kit_assert_told(&kit, &account);
    assert_int_equal(kit_receipts(&kit, account.told[0].id), 2);
}

/* The fence */

/* Stopped for longer than its session lives, with everything prepared: what it asks then is refused, for others
 * have been told already that it was rolled back. */
static void test_expired_session_cannot_commit(void **state)
{
    enum { TRANSFERS = 50 };
    static struct kit_account account;
    struct world_process *client;

    (void)state;
    account.n = 0;
    client = kit_start_transfers(&kit, KIT_DIRECT, TRANSFERS, "ASSENT_CRASH=client.all_prepared=stop");
    for (uint64_t end = world_now_ms() + KIT_SETTLE_MS; !world_process_stopped(client); world_sleep_ms(2))
        assert_true(world_now_ms() < end);
    assert_int_equal(world_prepared_count(kit.bank[0]), 1);
    assert_true(world_wait_nothing_prepared(kit.world, KIT_SETTLE_MS));
    world_process_signal(client, SIGCONT);
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, TRANSFERS);
    assert_int_equal(account.told[0].rc, TX_EROLLBACK);
    /* On a new session, opened by itself when a heartbeat has told that the old one is over. */
    assert_int_equal(account.told[TRANSFERS - 1].rc, TX_OK);
    kit_assert_told(&kit, &account);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_coordinator_at_open),
        TEST(test_commit_waits_for_the_coordinator),
        TEST(test_coordinator_gone_before_commit),
        TEST(test_in_doubt_when_no_answer_comes),
        TEST(test_coordinator_restarts_during_a_transaction),
        TEST(test_direct_branches_without_agents),
        TEST(test_decided_branches_wait_for_their_agent),
        TEST(test_remote_branch_of_a_dead_agent),
        TEST(test_agents_survive_a_restart_of_postgresql),
        TEST(test_server_away_in_phase_two),
        TEST(test_expired_session_cannot_commit),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
