/* test_mariadb: transactions over PostgreSQL and MariaDB, bank_a and bank_b, whose branches in bank_b are
 * remote ones. What the resource manager does by itself stands in test_rm_mariadb, and the crash points in
 * test_crash; here is what takes the coordinator, too.
 */
#include <cjson/cJSON.h>
#include <mysql.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/xa_xid.h"
#include "tests/lib/kit.h"

static struct kit kit;
static tx_client *client;

static int open_group(void **state)
{
    struct kit_options options = {.mariadb = true};

    (void)state;
    kit_open(&kit, "mariadb", &options);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    client = kit_client(&kit);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tx_client_close(client);
    return 0;
}

/* helpers */

static void exec(txn *t, const char *bank, const char *sql)
{
    struct tx_error e;

    if (txn_exec(t, bank, sql, 0, NULL, NULL, &e) != TX_OK)
        fail_msg("%s: %s", sql, e.msg);
}

static void move(txn *t, const char *bank, const char *receipt, int amount)
{
    char sql[128];

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = 1", amount);
    exec(t, bank, sql);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    exec(t, bank, sql);
}

static txn *begin_both(const char *receipt)
{
    txn *t = kit_begin(client);

    move(t, "bank_a", receipt, -1);
    move(t, "bank_b", receipt, 1);
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

static long long proofs(void)
{
    return world_sql_number(kit.bank[1], "SELECT COUNT(*) FROM assent.receipt");
}

/* both databases */

static void test_commit(void **state)
{
    (void)state;
    assert_committed(begin_both("both"));
    assert_int_equal(kit_receipts(&kit, "both"), 2);
    kit_assert_sound(&kit);
}

static void test_rollback(void **state)
{
    txn *t = begin_both("none");

    (void)state;
    assert_int_equal(txn_rollback(t, NULL), TX_OK);
    txn_free(t);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "none"), 0);
}

static void test_refused_statement(void **state)
{
    txn *t = begin_both("refused");
    struct tx_error e;

    (void)state;
    assert_int_equal(txn_exec(t, "bank_b", "INSERT INTO receipts VALUES ('refused')", 0, NULL, NULL, &e),
                     TX_ESTATEMENT);
    assert_non_null(strstr(e.msg, "1062"));
    assert_int_equal(commit(t, &e), TX_EROLLBACK);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

/* MariaDB votes no: the receipt that the agent is about to write is there already. */
static void test_refused_vote(void **state)
{
    txn *t = begin_both("voted no");
    char sql[XA_RECEIPT_SQL_SIZE];
    struct tx_error e;
    struct txid id;

    (void)state;
    assert_true(txid_parse(txn_id(t), &id));
    xa_xid_receipt(&id, 2, sql);
    world_sql(kit.bank[1], "%s", sql);
    assert_int_equal(commit(t, &e), TX_EROLLBACK);
    assert_non_null(strstr(e.msg, "1062"));
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, "voted no"), 0);
}

static void test_read_only(void **state)
{
    long long before = proofs();
    txn *t = kit_begin(client);

    (void)state;
    exec(t, "bank_a", "INSERT INTO receipts VALUES ('writer')");
    exec(t, "bank_b", "SELECT * FROM accounts LOCK IN SHARE MODE");
    assert_committed(t);
    assert_int_equal(proofs(), before);
    world_sql(kit.bank[0], "DELETE FROM receipts");
    kit_assert_sound(&kit);
}

static void test_values(void **state)
{
    const char *const values[] = {"a'b\"c\\d", NULL};
    txn *t = kit_begin(client);
    struct tx_error e;
    txn_rows *rows;

    (void)state;
    if (txn_exec(t, "bank_b", "SELECT ? AS quoted, ? AS none", 2, values, &rows, &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_string_equal(txn_rows_name(rows, 0), "quoted");
    assert_string_equal(txn_rows_value(rows, 0, 0), values[0]);
    assert_null(txn_rows_value(rows, 0, 1));
    txn_rows_free(rows);
    assert_int_equal(txn_rollback(t, NULL), TX_OK);
    txn_free(t);
}

/* Sessions are used again and again, and none takes a commit for done that is not. */
static void test_many_at_once(void **state)
{
    static struct kit_account account;
    struct world_process *p = kit_start_transfers(&kit, KIT_CROWD, 600, NULL);

    (void)state;
    account.n = 0;
    kit_hear(p, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(p, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, 600);
    for (size_t i = 0; i < account.n; i++)
        assert_int_equal(account.told[i].rc, TX_OK);
    kit_assert_told(&kit, &account);
}

/* one phase */

static void test_one_phase(void **state)
{
    long long before = proofs();
    txn *t = kit_begin(client);

    (void)state;
    exec(t, "bank_b", "INSERT INTO receipts VALUES ('alone')");
    assert_committed(t);
    assert_int_equal(proofs(), before + 1);
    assert_int_equal(kit_receipts(&kit, "alone"), 1);
    world_sql(kit.bank[1], "DELETE FROM receipts");
}

/* A commit in a thread of its own: processes are started by the first thread only. */
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
    world_process_kill(kit.agent[1]);
    world_process_start_ready(kit.agent[1], env);
    kit_await_agents(&kit);
}

/* The agent dies in the commit, and its server, too; the next one tells by the receipt what became of it. */
static int one_phase_dies(const char *env, bool with_server, const char *receipt)
{
    struct commit c;
    char sql[96];
    txn *t;

    arm_agent(env);
    t = kit_begin(client);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    exec(t, "bank_b", sql);
    start_commit(&c, t);
    assert_int_equal(world_process_wait(kit.agent[1], KIT_SETTLE_MS), -SIGKILL);
    if (with_server) {
        world_server_kill(kit.bank[1]);
        world_server_start(kit.bank[1]);
    }
    world_process_start_ready(kit.agent[1], NULL);
    return end_commit(&c);
}

static void test_one_phase_and_the_agent_dies(void **state)
{
    (void)state;
    assert_int_equal(one_phase_dies("ASSENT_CRASH=agent.before_commit=kill", false, "before"), TX_EROLLBACK);
    assert_int_equal(one_phase_dies("ASSENT_CRASH=agent.committed=kill", false, "after"), TX_OK);
    assert_int_equal(kit_receipts(&kit, "before"), 0);
    assert_int_equal(kit_receipts(&kit, "after"), 1);
    world_sql(kit.bank[1], "DELETE FROM receipts");
}

/* The receipt outlives the server, so even then it is known. */
static void test_one_phase_and_both_die(void **state)
{
    int rc;

    (void)state;
    rc = one_phase_dies("ASSENT_CRASH=agent.before_commit=kill", true, "before");
    assert_true(rc == TX_EROLLBACK || rc == TX_EINDOUBT);
    rc = one_phase_dies("ASSENT_CRASH=agent.committed=kill", true, "after");
    assert_true(rc == TX_OK || rc == TX_EINDOUBT);
    assert_int_equal(kit_receipts(&kit, "before"), 0);
    assert_int_equal(kit_receipts(&kit, "after"), 1);
    world_sql(kit.bank[1], "DELETE FROM receipts");
}

/* recovery */

/* An acknowledged XA ROLLBACK is not forced to the disk: what reappears after a crash is rolled back again. */
static void test_rollback_is_not_durable(void **state)
{
    static struct kit_account account;
    struct world_process *p;

    (void)state;
    account.n = 0;
    p = kit_start_transfers(&kit, KIT_REFUSED, 1, NULL);
    kit_hear(p, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(p, KIT_SETTLE_MS), 0);
    assert_int_equal(account.told[0].rc, TX_EROLLBACK);
    world_server_kill(kit.bank[1]);
    world_server_start(kit.bank[1]);
    kit_assert_told(&kit, &account);
}

/* The agent is gone for good when the branches are decided; another finishes what it had prepared. */
static void test_prepared_branch_of_a_dead_agent(void **state)
{
    struct commit c;

    (void)state;
    arm_agent("ASSENT_CRASH=agent.before_commit=kill");
    start_commit(&c, begin_both("left behind"));
    assert_int_equal(world_process_wait(kit.agent[1], KIT_SETTLE_MS), -SIGKILL);
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    world_process_start_ready(kit.agent[1], NULL);
    assert_int_equal(end_commit(&c), TX_OK);
    assert_int_equal(kit_receipts(&kit, "left behind"), 2);
    kit_assert_sound(&kit);
}

/* A session of somebody's with a prepared branch of a transaction that is over. */
static MYSQL *prepare_by_hand(const char *id_text, unsigned branch)
{
    char xid[XA_XID_SQL_SIZE], sql[XA_RECEIPT_SQL_SIZE + XA_XID_SQL_SIZE];
    static const char *const verbs[] = {"XA START", "UPDATE accounts SET balance = 0 WHERE id = 50", NULL,
                                        "XA END", "XA PREPARE"};
    MYSQL *my = mysql_init(NULL);
    struct txid id;

    assert_true(txid_parse(id_text, &id));
    xa_xid_format(&id, branch, xid);
    if (mysql_real_connect(my, "127.0.0.1", "app", "", "bank", world_server_port(kit.bank[1]), NULL, 0) == NULL)
        fail_msg("connect: %s", mysql_error(my));
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (verbs[i] == NULL)
            xa_xid_receipt(&id, branch, sql);
        else
            snprintf(sql, sizeof sql, "%s %s", verbs[i], strncmp(verbs[i], "XA", 2) == 0 ? xid : "");
        if (mysql_query(my, sql) != 0)
            fail_msg("%s: %s", sql, mysql_error(my));
    }
    return my;
}

/* While its session is connected nobody can finish it; afterwards the agent does, within its scans. */
static void test_branch_of_a_session_that_lives(void **state)
{
    char id[KIT_ID_SIZE];
    txn *t = kit_begin(client);
    MYSQL *my;

    (void)state;
    world_process_stop(kit.agent[1]);
    snprintf(id, sizeof id, "%s", txn_id(t));
    txn_free(t);
    tx_client_close(client); /* so nothing of this session can be committed any more */
    client = kit_client(&kit);
    my = prepare_by_hand(id, 7);
    world_process_start_ready(kit.agent[1], NULL);
    world_sleep_ms(1500);
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    mysql_close(my);
    kit_assert_sound(&kit);
}

/* the operator */

static cJSON *finding_of(cJSON *answer, const char *check)
{
    cJSON *r, *f;

    cJSON_ArrayForEach(r, cJSON_GetObjectItem(answer, "subjects"))
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(r, "subject")), "bank_b") != 0)
            continue;
        cJSON_ArrayForEach(f, cJSON_GetObjectItem(r, "findings"))
        {
            if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(f, "check")), check) == 0)
                return f;
        }
    }
    fail_msg("bank_b has no finding «%s»: %s", check, cJSON_PrintUnformatted(answer));
    return NULL;
}

static void assert_finding(const char *check, const char *level)
{
    cJSON *answer = world_admin_json(kit.world, WORLD_ARGS("doctor"), NULL);

    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(finding_of(answer, check), "level")), level);
    cJSON_Delete(answer);
}

static void test_doctor(void **state)
{
    (void)state;
    assert_finding("connection", "ok");
    assert_finding("in doubt", "ok");
    assert_finding("innodb_flush_log_at_trx_commit", "ok");
    assert_finding("engines", "ok");
    world_sql(kit.bank[1], "CREATE TABLE stays (id int) ENGINE = MyISAM;"
                           "GRANT SELECT ON bank.* TO assent_agent@'127.0.0.1'");
    assert_finding("engines", "warning");
    world_sql(kit.bank[1], "DROP TABLE stays");
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    assert_finding("innodb_flush_log_at_trx_commit", "error");
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
}

/* txadmin resource test: all is well, the receipt may not be written, the server is down. */
static void test_resource_test(void **state)
{
    const char *const *test = WORLD_ARGS("resource", "test", "bank_b");
    long long before = proofs();

    (void)state;
    kit_assert_admin(&kit, test, 0, "done with an empty branch");
    kit_assert_admin(&kit, test, 0, "can be written");
    assert_int_equal(world_prepared_count(kit.bank[1]), 0);
    assert_int_equal(proofs(), before);
    world_sql(kit.bank[1], "REVOKE INSERT ON assent.receipt FROM assent_agent@'127.0.0.1'");
    kit_assert_admin(&kit, test, 3, "run sql/setup-mariadb.sql");
    world_sql(kit.bank[1], "GRANT INSERT ON assent.receipt TO assent_agent@'127.0.0.1'");
    kit_assert_admin(&kit, test, 0, "can be written");
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    kit_assert_admin(&kit, test, 3, "innodb_flush_log_at_trx_commit = 1");
    world_sql(kit.bank[1], "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    world_server_kill(kit.bank[1]);
    kit_assert_admin(&kit, test, 3, "start the server");
    world_server_start(kit.bank[1]);
    kit_await_agents(&kit);
    kit_assert_sound(&kit);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commit),
        TEST(test_rollback),
        TEST(test_refused_statement),
        TEST(test_refused_vote),
        TEST(test_read_only),
        TEST(test_values),
        TEST(test_many_at_once),
        TEST(test_one_phase),
        TEST(test_one_phase_and_the_agent_dies),
        TEST(test_one_phase_and_both_die),
        TEST(test_rollback_is_not_durable),
        TEST(test_prepared_branch_of_a_dead_agent),
        TEST(test_branch_of_a_session_that_lives),
        TEST(test_doctor),
        TEST(test_resource_test),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
