/* test_mariadb_direct_lost: what becomes of direct MariaDB branches when connection, server or coordinator fail
 * in the middle of a commit, which is held up in the server for that.
 */
#include <pthread.h>
#include <signal.h>

#include "tests/e2e/mariadb_direct_kit.h"

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

/* Where receipts as old as its own may have been deleted, none tells nothing. */
static void test_killed_while_receipts_go(void **state)
{
    struct commit c;
    MYSQL *blocker = start_blocked_commit(&c, begin_single());
    int rc;

    (void)state;
    world_sql(kit.bank[1], "KILL CONNECTION %lu", mysql_thread_id(my));
    mysql_close(blocker);
    world_sql(kit.bank[1],
              "INSERT INTO assent.receipt VALUES ('', 0, NOW(3)) ON DUPLICATE KEY UPDATE at = NOW(3)");
    rc = end_commit(&c);
    world_sql(kit.bank[1], "DELETE FROM assent.receipt WHERE gid = ''");
    assert_int_equal(rc, kit_receipts(&kit, "alone") == 1 ? TX_OK : TX_EINDOUBT);
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_while_preparing),   TEST(test_query_killed_while_preparing),
        TEST(test_killed_in_one_phase),      TEST(test_query_killed_in_one_phase),
        TEST(test_server_dies_in_one_phase), TEST(test_server_dies_while_preparing),
        TEST(test_preparing_takes_too_long), TEST(test_in_doubt),
        TEST(test_one_phase_takes_too_long), TEST(test_killed_while_receipts_go),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
