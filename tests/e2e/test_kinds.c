/* test_kinds: transactions over the three kinds of resources, PostgreSQL (bank_a), MariaDB (bank_b) and a
 * service (stock), with direct and remote branches mixed. Any of them refuses, and any of them is killed under
 * load: then what was told is what happened in all three, and nothing is left prepared in any.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/kit.h"

struct mix {
    const char *name;
    bool direct[2]; /* the banks' branches; the service's are never */
    enum kit_mode mode;
    const char *crash; /* of a client that has one branch prepared, or has asked for it */
};

static const struct mix mixes[] = {
    {"both direct", {true, true}, KIT_DIRECT, "ASSENT_CRASH=client.one_prepared:2=kill"},
    {"both remote", {false, false}, KIT_REMOTE, "ASSENT_CRASH=client.commit_sent:2=kill"},
    {"direct and remote", {true, false}, KIT_MIXED, "ASSENT_CRASH=client.one_prepared:2=kill"},
};

enum { MIXES = sizeof mixes / sizeof *mixes, DOWN_MS = 100 };

enum refuser { NOBODY, POSTGRESQL, MARIADB, SERVICE };

static struct kit kit;
static tx_client *client;
static PGconn *pg;
static MYSQL *my;

static int open_group(void **state)
{
    static const char *const hasty[] = {"--vote_timeout", "2s", NULL};
    const struct kit_options options = {.mariadb = true, .stock = true, .coordinator_flags = hasty};

    (void)state;
    kit_open(&kit, "kinds", &options);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = kit_client(&kit);
    pg = kit_connect(&kit, 0);
    my = kit_connect_mariadb(world_server_port(kit.bank[1]));
    assert_non_null(my);
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

/* one transaction */

/* One statement in the bank's branch. */
static int run(const struct mix *m, txn *t, int bank, const char *sql)
{
    static const char *const names[2] = {"bank_a", "bank_b"};
    struct tx_error e;
    PGresult *r;
    int rc;

    if (!m->direct[bank])
        return txn_exec(t, names[bank], sql, 0, NULL, NULL, &e);
    if (bank == 1)
        return mysql_query(my, sql) == 0 ? TX_OK : TX_ESTATEMENT;
    r = PQexec(pg, sql);
    rc = PQresultStatus(r) == PGRES_COMMAND_OK ? TX_OK : TX_ESTATEMENT;
    PQclear(r);
    return rc;
}

/* All three branches, with their work done. */
static txn *begin_all(const struct mix *m)
{
    struct tx_error e;
    txn *t = kit_begin(client);

    if (m->direct[0])
        kit_enlist(t, "bank_a", pg);
    if (m->direct[1] && txn_enlist_mariadb(t, "bank_b", my, &e) != TX_OK)
        fail_msg("txn_enlist_mariadb: %s", e.msg);
    for (int bank = 0; bank < 2; bank++) {
        char sql[128];

        snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = 1", 2 * bank - 1);
        assert_int_equal(run(m, t, bank, sql), TX_OK);
        snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", txn_id(t));
        assert_int_equal(run(m, t, bank, sql), TX_OK);
    }
    assert_int_equal(stock_take(kit.stock.port, t, 1, &e), TX_OK);
    return t;
}

/* One of the three will vote no: a constraint that is checked late, a statement that failed, a request that
 * never reached the service. */
static void refuse(const struct mix *m, txn *t, enum refuser who)
{
    char context[TXN_CONTEXT_SIZE], sql[128];
    struct tx_error e;

    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", txn_id(t));
    if (who == POSTGRESQL)
        assert_int_equal(run(m, t, 0, "INSERT INTO checked VALUES (1), (1)"), TX_OK);
    if (who == MARIADB)
        assert_int_equal(run(m, t, 1, sql), TX_ESTATEMENT);
    if (who == SERVICE)
        assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
}

/* It is the same in all three. */
static void assert_everywhere(const char *id, bool done)
{
    char *journal;

    kit_assert_sound(&kit);
    journal = stock_journal(&kit.stock);
    assert_int_equal(kit_receipts(&kit, id), done ? 2 : 0);
    assert_int_equal(stock_committed(journal, id), done);
    free(journal);
}

static void commit(const struct mix *m, enum refuser who)
{
    txn *t = begin_all(m);
    char id[KIT_ID_SIZE];
    struct tx_error e = {0};
    int rc;

    snprintf(id, sizeof id, "%s", txn_id(t));
    refuse(m, t, who);
    rc = txn_commit(t, TXN_COMPLETED, &e);
    txn_free(t);
    if (rc != (who == NOBODY ? TX_OK : TX_EROLLBACK))
        fail_msg("%s: txn_commit: %s: %s", m->name, tx_strerror(rc), e.msg);
    assert_everywhere(id, who == NOBODY);
}

static void test_commit(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * MIXES; i++) /* what wrote before is prepared without being asked first */
        commit(&mixes[i % MIXES], NOBODY);
}

static void test_rollback(void **state)
{
    (void)state;
    for (int i = 0; i < MIXES; i++) {
        txn *t = begin_all(&mixes[i]);
        char id[KIT_ID_SIZE];

        snprintf(id, sizeof id, "%s", txn_id(t));
        assert_int_equal(txn_rollback(t, NULL), TX_OK);
        txn_free(t);
        assert_everywhere(id, false);
    }
}

static void test_one_refuses(void **state)
{
    (void)state;
    for (int i = 0; i < MIXES; i++) {
        for (enum refuser who = POSTGRESQL; who <= SERVICE; who++)
            commit(&mixes[i], who);
    }
}

/* kill -9 */

static void kill_server(struct world_server *s)
{
    world_server_kill(s);
    world_sleep_ms(DOWN_MS);
    world_server_start(s);
}

static void kill_process(struct world_process *p)
{
    world_process_kill(p);
    world_sleep_ms(DOWN_MS);
    world_process_start_ready(p, NULL);
}

/* Everything in turn, in the middle of the load of one client. */
static void kill_all_under_load(const struct mix *m)
{
    struct world_process *const victims[] = {kit.stock.process, kit.agent[0], kit.agent[1]};

    print_message("# %s\n", m->name);
    kit_load_begin(&kit, m->mode);
    for (int i = 0; i < 2; i++) {
        kill_server(kit.bank[i]);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    for (size_t i = 0; i < sizeof victims / sizeof *victims; i++) {
        kill_process(victims[i]);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end_mixed(&kit);
}

static void test_killed_both_direct(void **state)
{
    (void)state;
    kill_all_under_load(&mixes[0]);
}

static void test_killed_both_remote(void **state)
{
    (void)state;
    kill_all_under_load(&mixes[1]);
}

static void test_killed_direct_and_remote(void **state)
{
    (void)state;
    kill_all_under_load(&mixes[2]);
}

/* The second transfer is left behind with one branch prepared; where all are remote, while they are. */
static void test_client_killed_between_the_prepares(void **state)
{
    static struct kit_account account;

    (void)state;
    for (int i = 0; i < MIXES; i++) {
        struct world_process *p = kit_start_transfers(&kit, mixes[i].mode, 4, mixes[i].crash);

        account.n = 0;
        kit_hear(p, &account, KIT_SETTLE_MS);
        assert_int_equal(world_process_wait(p, KIT_SETTLE_MS), -SIGKILL);
        assert_int_equal(account.n, 2);
        assert_int_equal(account.told[0].rc, TX_OK);
        assert_int_equal(account.told[1].rc, 1);
        kit_assert_told(&kit, &account);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commit),
        TEST(test_rollback),
        TEST(test_one_refuses),
        TEST(test_killed_both_direct),
        TEST(test_killed_both_remote),
        TEST(test_killed_direct_and_remote),
        TEST(test_client_killed_between_the_prepares),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
