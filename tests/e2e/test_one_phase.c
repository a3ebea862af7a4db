/* test_one_phase: a transaction whose only writer is a remote branch commits in one phase, with no decision in
 * the log. Whatever dies on the way, the client is told what is true: committed or rolled back where the agent
 * dies, and at worst «in doubt» where the server crashes with it. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

enum { COMMIT_MS = 15000, BACKEND_SIZE = 24 };

static struct kit kit;
static tx_client *client;

static int open_group(void **state)
{
    (void)state;
    kit_open(&kit, "one_phase", NULL);
    /* Nothing but a commit brings the log to the disk, so that an xid is forgotten in a crash. */
    world_sql(kit.bank[0], "ALTER SYSTEM SET wal_writer_delay = '10s'");
    world_sql(kit.bank[0], "SELECT pg_reload_conf()");
    return 0;
}

static tx_client *open_client(unsigned transaction_ms, unsigned commit_ms)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = transaction_ms,
                                        .commit_timeout_ms = commit_ms};
    struct tx_error e;
    tx_client *opened;

    if (tx_client_open(&opened, &options, &e) != TX_OK)
        fail_msg("tx_client_open: %s", e.msg);
    return opened;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = open_client(4000, COMMIT_MS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tx_client_close(client);
    return 0;
}

/* Helpers */

/* One statement in bank_a; the value that it gives goes into `out`, where that is not NULL. */
static void exec(txn *t, const char *sql, char *out, size_t size)
{
    struct tx_error e;
    txn_rows *rows;

    if (txn_exec(t, "bank_a", sql, 0, NULL, &rows, &e) != TX_OK)
        fail_msg("%s: %s", sql, e.msg);
    if (out != NULL)
        snprintf(out, size, "%s", txn_rows_value(rows, 0, 0));
    txn_rows_free(rows);
}

/* Whoever does not ask for its id gets a transaction that is not logged. */
static txn *begin(const char *receipt)
{
    txn *t = kit_begin(client);
    char sql[96];

    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    exec(t, sql, NULL, 0);
    return t;
}

/* A commit in a thread of its own: processes are started by the first thread only. */
struct commit {
    pthread_t thread;
    txn *t;
    int rc;
    struct tx_error e;
    uint64_t took_ms;
};

static void *run_commit(void *arg)
{
    struct commit *c = arg;
    uint64_t start = world_now_ms();

    c->rc = txn_commit(c->t, TXN_COMPLETED, &c->e);
    c->took_ms = world_now_ms() - start;
    return NULL;
}

static void start_commit(struct commit *c, txn *t)
{
    c->t = t;
    assert_int_equal(pthread_create(&c->thread, NULL, run_commit, c), 0);
}

static int end_commit(struct commit *c)
{
    pthread_join(c->thread, NULL);
    txn_free(c->t);
    return c->rc;
}

static void arm_agent(const char *env)
{
    world_process_kill(kit.agent[0]);
    world_process_start_ready(kit.agent[0], env);
    kit_await_agents(&kit);
}

static void await_stop(struct world_process *p)
{
    for (uint64_t end = world_now_ms() + KIT_SETTLE_MS; !world_process_stopped(p); world_sleep_ms(2))
        assert_true(world_now_ms() < end);
}

static void restart_server(void)
{
    world_server_kill(kit.bank[0]);
    world_server_start(kit.bank[0]);
}

static void assert_told(const struct commit *c, int want)
{
    if (c->rc != want)
        fail_msg("told %s (%s), not %s", tx_strerror(c->rc), c->e.msg, tx_strerror(want));
    assert_true(c->took_ms < COMMIT_MS);
}

/* The agent dies */

static void crash_agent(struct commit *c, const char *env, const char *receipt, bool crash_server)
{
    arm_agent(env);
    start_commit(c, begin(receipt));
    assert_int_equal(world_process_wait(kit.agent[0], KIT_SETTLE_MS), -SIGKILL);
    if (crash_server)
        restart_server();
    world_process_start_ready(kit.agent[0], NULL);
    end_commit(c);
}

static void test_agent_dies_before_commit(void **state)
{
    struct commit c;

    (void)state;
    crash_agent(&c, "ASSENT_CRASH=agent.before_commit=kill", "before", false);
    assert_told(&c, TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "before"), 0);
}

static void test_agent_dies_when_committed(void **state)
{
    struct commit c;

    (void)state;
    crash_agent(&c, "ASSENT_CRASH=agent.committed=kill", "after", false);
    assert_told(&c, TX_OK);
    assert_int_equal(kit_receipts(&kit, "after"), 1);
}

/* It has not even given a proof, so nothing was committed. */
static void test_agent_dies_before_it_is_asked(void **state)
{
    txn *t = begin("unasked");
    struct commit c;

    (void)state;
    world_process_signal(kit.agent[0], SIGSTOP);
    await_stop(kit.agent[0]);
    start_commit(&c, t);
    world_sleep_ms(100);
    world_process_kill(kit.agent[0]);
    world_process_start_ready(kit.agent[0], NULL);
    end_commit(&c);
    assert_told(&c, TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "unasked"), 0);
}

static void test_agent_never_comes_back(void **state)
{
    struct commit c;
    txn *t;

    (void)state;
    tx_client_close(client);
    client = open_client(4000, 1000);
    t = begin("alone");
    world_process_kill(kit.agent[0]);
    start_commit(&c, t);
    assert_int_equal(end_commit(&c), TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "alone"), 0);
}

static void test_agent_dies_in_a_branch_that_read(void **state)
{
    struct commit c;
    struct tx_error e;
    txn *t;

    (void)state;
    arm_agent("ASSENT_CRASH=agent.before_commit=kill");
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    exec(t, "SELECT count(*) FROM accounts", NULL, 0);
    start_commit(&c, t);
    assert_int_equal(world_process_wait(kit.agent[0], KIT_SETTLE_MS), -SIGKILL);
    world_process_start_ready(kit.agent[0], NULL);
    end_commit(&c);
    assert_told(&c, TX_EROLLBACK);
}

/* The server crashes with it */

static void test_both_die_before_commit(void **state)
{
    struct commit c;

    (void)state;
    crash_agent(&c, "ASSENT_CRASH=agent.before_commit=kill", "both before", true);
    if (c.rc != TX_EINDOUBT)
        assert_told(&c, TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "both before"), 0);
}

static void test_both_die_when_committed(void **state)
{
    struct commit c;

    (void)state;
    crash_agent(&c, "ASSENT_CRASH=agent.committed=kill", "both after", true);
    if (c.rc != TX_OK)
        assert_told(&c, TX_EINDOUBT);
    assert_int_equal(kit_receipts(&kit, "both after"), 1);
}

/* The server has forgotten the branch's xid, and gives it to others, until one of them has committed. */
static bool reuse_xid(const char *xid)
{
    for (int i = 0; i < 20; i++)
        world_sql(kit.bank[0], "UPDATE accounts SET balance = balance WHERE id = 2");
    return world_sql_number(kit.bank[0],
                            "SELECT coalesce(pg_xact_status('%s'::xid8) = 'committed', false)::int", xid) == 1;
}

/* The agent stands before COMMIT; the server crashes, and the xid is another transaction's. */
static bool crash_and_reuse(struct commit *c, bool kill_agent)
{
    char xid[BACKEND_SIZE];
    bool reused;
    txn *t;

    arm_agent("ASSENT_CRASH=agent.before_commit=stop");
    t = begin("reused");
    exec(t, "SELECT pg_current_xact_id()", xid, sizeof xid);
    start_commit(c, t);
    await_stop(kit.agent[0]);
    restart_server();
    reused = reuse_xid(xid);
    if (kill_agent) {
        world_process_kill(kit.agent[0]);
        world_process_start_ready(kit.agent[0], NULL);
    } else {
        world_process_signal(kit.agent[0], SIGCONT);
    }
    end_commit(c);
    assert_int_not_equal(c->rc, TX_OK);
    assert_int_equal(kit_receipts(&kit, "reused"), 0);
    return reused;
}

/* The log may have come to the disk by chance, so the crash is tried a few times. */
static void check_reuse(bool kill_agent)
{
    struct commit c;

    for (int i = 0; i < 4; i++) {
        if (crash_and_reuse(&c, kill_agent)) {
            assert_told(&c, TX_EINDOUBT);
            assert_non_null(strstr(c.e.msg, "the server crashed or was replaced"));
            return;
        }
    }
    fail_msg("the server never gave an xid out again");
}

static void test_xid_is_given_out_again(void **state)
{
    (void)state;
    check_reuse(false);
}

static void test_xid_is_given_out_again_and_agent_dies(void **state)
{
    (void)state;
    check_reuse(true);
}

/* The server refuses, or is silent */

static void test_commit_is_refused(void **state)
{
    txn *t = begin("refused");
    struct tx_error e;

    (void)state;
    exec(t, "INSERT INTO checked VALUES (1), (1)", NULL, 0);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_non_null(strstr(e.msg, "23505"));
    txn_free(t);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

/* The branch's backend stands still, so that FINISH_PROOF is under way until it goes on. */
static pid_t stop_backend(txn *t)
{
    char pid[BACKEND_SIZE];

    exec(t, "SELECT pg_backend_pid()", pid, sizeof pid);
    assert_int_equal(kill((pid_t)atoi(pid), SIGSTOP), 0);
    return (pid_t)atoi(pid);
}

static void assert_agent_serves(void)
{
    txn *t = begin("next");
    struct tx_error e;

    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_OK);
    txn_free(t);
    assert_int_equal(kit_receipts(&kit, "next"), 1);
    assert_true(world_process_running(kit.agent[0]));
}

static void rolls_back_while_proving(bool terminate)
{
    struct commit c;
    pid_t backend;
    txn *t;

    tx_client_close(client);
    client = open_client(4000, 500);
    t = begin("proving");
    backend = stop_backend(t);
    start_commit(&c, t);
    world_sleep_ms(1000); /* longer than a commit: the client asks to roll back by now */
    if (terminate)
        world_sql(kit.bank[0], "SELECT pg_terminate_backend(%d)", (int)backend);
    kill(backend, SIGCONT);
    assert_int_equal(end_commit(&c), TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "proving"), 0);
    assert_agent_serves();
}

static void test_rolled_back_while_proving(void **state)
{
    (void)state;
    rolls_back_while_proving(false);
}

static void test_connection_lost_while_rolled_back(void **state)
{
    (void)state;
    rolls_back_while_proving(true);
}

static void test_connection_lost_while_proving(void **state)
{
    txn *t = begin("lost");
    pid_t backend = stop_backend(t);
    struct commit c;

    (void)state;
    start_commit(&c, t);
    world_sleep_ms(100);
    world_sql(kit.bank[0], "SELECT pg_terminate_backend(%d)", (int)backend);
    kill(backend, SIGCONT);
    end_commit(&c);
    /* The backend may have answered before it went, and COMMIT may have reached it. */
    if (c.rc != TX_OK)
        assert_told(&c, TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "lost"), c.rc == TX_OK);
    assert_agent_serves();
}

static void test_times_out_while_proving(void **state)
{
    struct commit c;
    pid_t backend;
    txn *t;

    (void)state;
    tx_client_close(client);
    client = open_client(1000, COMMIT_MS);
    t = begin("silent");
    backend = stop_backend(t);
    start_commit(&c, t);
    end_commit(&c);
    kill(backend, SIGCONT);
    assert_told(&c, TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "silent"), 0);
    assert_agent_serves();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_agent_dies_before_commit),
        TEST(test_agent_dies_when_committed),
        TEST(test_agent_dies_before_it_is_asked),
        TEST(test_agent_never_comes_back),
        TEST(test_agent_dies_in_a_branch_that_read),
        TEST(test_both_die_before_commit),
        TEST(test_both_die_when_committed),
        TEST(test_xid_is_given_out_again),
        TEST(test_xid_is_given_out_again_and_agent_dies),
        TEST(test_commit_is_refused),
        TEST(test_rolled_back_while_proving),
        TEST(test_connection_lost_while_rolled_back),
        TEST(test_connection_lost_while_proving),
        TEST(test_times_out_while_proving),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
