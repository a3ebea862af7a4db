/* test_statements: what applications may execute at an agent, and who: statements by name, none at all, another
 * client's branch, a key that comes and one that goes. */
#include "tests/e2e/keys_kit.h"

#include "libtx/client.h"
#include "libtx/libtx_pg.h"

enum { SETTLE_MS = 30000, ACCOUNTS = 10, BALANCE = 1000 };

static struct world_server *bank;
static struct world_process *agent;

/* set up */

static void start_agent(const char *name, const char *statements)
{
    agent = world_agent_new(world, name, &bank, 1, WORLD_ARGS("--statements", statements));
    world_process_start_ready(agent, NULL);
}

static int open_group(void **state)
{
    const struct world_server_options options = {0};

    (void)state;
    open_world("statements");
    bank = world_server_new(world, "bank_a", &options);
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    return world_free(world, false) ? 0 : -1;
}

static int set_up(void **state)
{
    (void)state;
    world_accounts(bank, ACCOUNTS, BALANCE);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_process_kill(agent);
    return 0;
}

static const char *write_statements(const char *text, char path[WORLD_PATH_SIZE])
{
    FILE *f;

    snprintf(path, WORLD_PATH_SIZE, "%s/statements", world_dir(world));
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void start_named_agent(void)
{
    char path[WORLD_PATH_SIZE];

    start_agent("named", write_statements("# all that the shop needs\n"
                                          "debit = UPDATE accounts SET balance = balance - $2 WHERE id = $1\n"
                                          "look = SELECT balance FROM accounts WHERE id = $1\n",
                                          path));
}

/* clients */

static tx_client *open_client(const char *who)
{
    char identity[WORLD_PATH_SIZE];
    const struct tx_client_options options = {.coordinators = world_coordinators(world),
                                              .identity = world_identity(world, who, identity),
                                              .transaction_timeout_ms = 20000};
    tx_client *client;
    struct tx_error e;

    if (tx_client_open(&client, &options, &e) != TX_OK)
        fail_msg("%s: %s", who, e.msg);
    return client;
}

static txn *begin(tx_client *client)
{
    struct tx_error e;
    txn *t;

    if (txn_begin(client, &t, &e) != TX_OK)
        fail_msg("%s", e.msg);
    return t;
}

static int exec(txn *t, const char *statement, struct tx_error *e)
{
    static const char *const values[] = {"1", "10"};
    int n = strstr(statement, "$2") != NULL || strcmp(statement, "@debit") == 0 ? 2 : 1;

    return txn_exec(t, "bank_a", statement, n, values, NULL, e);
}

/* In a transaction of its own, which is committed where it can be. */
static int exec_alone(tx_client *client, const char *statement, struct tx_error *e)
{
    txn *t = begin(client);
    int rc = exec(t, statement, e);

    if (rc == TX_OK)
        rc = txn_commit(t, TXN_COMPLETED, e);
    txn_free(t);
    return rc;
}

struct trial {
    tx_client *client;
    const char *statement;
};

static bool is_found(void *arg)
{
    struct trial *trial = arg;
    struct tx_error e;

    return exec_alone(trial->client, trial->statement, &e) != TX_ENOTFOUND;
}

/* The coordinator has heard of the agent. */
static tx_client *open_client_of_agent(const char *who, const char *statement)
{
    struct trial trial = {open_client(who), statement};

    if (!world_wait(SETTLE_MS, is_found, &trial))
        fail_msg("no coordinator knows the agent");
    return trial.client;
}

static void assert_balance(long long balance)
{
    assert_int_equal(world_sql_number(bank, "SELECT balance FROM accounts WHERE id = 1"), balance);
}

/* what may be executed */

static void named_statements_alone(void **state)
{
    tx_client *client;
    struct tx_error e;

    (void)state;
    start_named_agent();
    client = open_client_of_agent("client", "@look");
    if (exec_alone(client, "@debit", &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_balance(BALANCE - 10);
    assert_int_equal(exec_alone(client, "UPDATE accounts SET balance = 0 WHERE id = $1", &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "named statements alone"));
    assert_int_equal(exec_alone(client, "@credit", &e), TX_EDENIED);
    assert_balance(BALANCE - 10);
    world_process_await(agent, "event=audit name=client", 1000);
    world_process_await(agent, "act=exec resource=bank_a outcome=denied", 1000);
    tx_client_close(client);
}

/* One that is refused ends the transaction, as any other statement that fails. */
static void a_denied_statement_leaves_rollback(void **state)
{
    tx_client *client;
    struct tx_error e;
    txn *t;

    (void)state;
    start_named_agent();
    client = open_client_of_agent("client", "@look");
    t = begin(client);
    assert_int_equal(exec(t, "@debit", &e), TX_OK);
    assert_int_equal(exec(t, "DELETE FROM accounts WHERE id = $1", &e), TX_EDENIED);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    assert_balance(BALANCE);
    tx_client_close(client);
}

/* An agent that only finishes what is prepared. */
static void no_statements_but_recovery(void **state)
{
    char conninfo[WORLD_PATH_SIZE];
    tx_client *client;
    struct tx_error e;
    PGconn *conn;
    txn *t;

    (void)state;
    start_agent("recovery", "none");
    client = open_client_of_agent("client", "SELECT $1");
    assert_int_equal(exec_alone(client, "SELECT $1", &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "executes no statements"));
    assert_int_equal(exec_alone(client, "@debit", &e), TX_EDENIED);
    conn = PQconnectdb(world_server_conninfo(bank, "app", conninfo));
    t = begin(client);
    (void)txn_id(t);
    if (txn_enlist_pg(t, "bank_a", conn, &e) != TX_OK)
        fail_msg("%s", e.msg);
    PQclear(PQexec(conn, "UPDATE accounts SET balance = balance - 10 WHERE id = 1"));
    if (txn_commit(t, TXN_DECISION_LOGGED, &e) != TX_OK)
        fail_msg("%s", e.msg);
    txn_free(t);
    PQfinish(conn);
    assert_true(world_wait_nothing_prepared(world, SETTLE_MS));
    assert_balance(BALANCE - 10);
    tx_client_close(client);
}

static void a_bad_file_ends_the_agent(void **state)
{
    char path[WORLD_PATH_SIZE];

    (void)state;
    agent = world_agent_new(
        world, "bad", &bank, 1,
        WORLD_ARGS("--statements", write_statements("look = SELECT 1\nDROP TABLE accounts\n", path)));
    world_process_start(agent, NULL);
    assert_int_equal(world_process_wait(agent, SETTLE_MS), 1);
    assert_true(world_process_logged(agent, "statements:2: write NAME = SQL"));
}

/* who may */

/* What another client sends for a branch that is not his. */
static int ask_as(tx_client *other, const char *id, const struct wire_message *what, enum wire_type want,
                  struct tx_error *e)
{
    struct wire_message m = *what;
    struct txid txid;
    const struct wire_message *reply;
    struct peer *peer;
    struct call call;
    int rc;

    assert_true(txid_parse(id, &txid));
    m.exec.id = m.type == WIRE_EXEC ? txid : m.exec.id;
    m.finish.id = m.type == WIRE_FINISH ? txid : m.finish.id;
    assert_int_equal(client_locate(other, "bank_a", call_now_ms() + SETTLE_MS, &peer, e), TX_OK);
    rc = call_sync(&call, other->calls, &m, peer, want, call_now_ms() + SETTLE_MS, &reply, e);
    if (rc == TX_OK && want == WIRE_ROWS)
        rc = reply->rows.code;
    call_end(&call);
    return rc;
}

static void another_clients_branch(void **state)
{
    const struct wire_message statement = {
        .type = WIRE_EXEC,
        .exec = {.branch = 1, .number = 2, .timeout_ms = 20000, .resource = "bank_a", .statement = "SELECT 1"}};
    const struct wire_message roll_back = {
        .type = WIRE_FINISH, .finish = {.op = FINISH_ROLLBACK, .branch = 1, .resource = "bank_a"}};
    tx_client *client, *other;
    struct tx_error e;
    txn *t;

    (void)state;
    start_agent("any", "any");
    add_key("other", "other", "client", NULL);
    client = open_client_of_agent("client", "SELECT $1");
    other = open_client("other");
    t = begin(client);
    assert_int_equal(exec(t, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    assert_int_equal(ask_as(other, txn_id(t), &statement, WIRE_ROWS, &e), TX_EDENIED);
    assert_int_equal(ask_as(other, txn_id(t), &roll_back, WIRE_FINISHED, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "another client"));
    world_process_await(agent, "event=audit name=other", 1000);
    if (txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_balance(BALANCE - 10);
    txn_free(t);
    tx_client_close(other);
    tx_client_close(client);
}

static bool is_told(void *client)
{
    struct tx_error e;
    txn *t;
    int rc = txn_begin(client, &t, &e);

    if (rc == TX_OK)
        txn_free(t);
    return rc == TX_EDENIED && strstr(e.msg, "does not know this program's key") != NULL;
}

/* A key that is added at run time is good at once at the agent, too; and worth nothing once it is revoked. */
static void a_key_comes_and_goes(void **state)
{
    char text[KEY_TEXT_SIZE];
    tx_client *client;
    struct tx_error e;
    uint64_t begun;
    txn *t;

    (void)state;
    start_agent("keys", "any");
    tx_client_close(open_client_of_agent("client", "SELECT $1"));
    add_key("guest", "guest", "client", NULL);
    client = open_client("guest");
    if (exec_alone(client, "SELECT $1", &e) != TX_OK)
        fail_msg("%s", e.msg);
    t = begin(client);
    assert_int_equal(exec(t, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    assert_admin(WORLD_ARGS("key", "revoke", key_of("guest", text), "--yes"), DONE, "guest");
    begun = call_now_ms();
    assert_int_not_equal(exec(t, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    assert_int_not_equal(txn_commit(t, TXN_COMPLETED, &e), TX_OK);
    txn_free(t);
    assert_in_range(call_now_ms() - begun, 0, 10000);
    assert_true(world_wait(SETTLE_MS, is_told, client)); /* by the next heartbeat */
    tx_client_close(client);
    assert_balance(BALANCE);
}

static void an_unknown_key_is_told_so(void **state)
{
    char text[KEY_TEXT_SIZE], identity[WORLD_PATH_SIZE];
    struct tx_client_options options = {.coordinators = world_coordinators(world)};
    uint64_t begun = call_now_ms();
    tx_client *client;
    struct tx_error e;

    (void)state;
    start_agent("unknown", "any");
    world_identity_make(world, "eve", text);
    options.identity = world_identity(world, "eve", identity);
    assert_int_equal(tx_client_open(&client, &options, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "txadmin key add"));
    options.identity = NULL;
    options.insecure = 1;
    assert_int_equal(tx_client_open(&client, &options, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "it takes no clear text"));
    options.insecure = 0;
    options.identity = "/nonexistent/key";
    assert_int_equal(tx_client_open(&client, &options, &e), TX_EIO);
    assert_in_range(call_now_ms() - begun, 0, 3000);
    options.insecure = 1;
    options.identity = NULL;
    options.coordinators = "tcp://192.0.2.1:7401";
    assert_int_equal(tx_client_open(&client, &options, &e), TX_EREFUSED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(named_statements_alone),     TEST(a_denied_statement_leaves_rollback),
        TEST(no_statements_but_recovery), TEST(a_bad_file_ends_the_agent),
        TEST(another_clients_branch),     TEST(a_key_comes_and_goes),
        TEST(an_unknown_key_is_told_so),
    };

    return cmocka_run_group_tests(tests, open_group, close_group);
}
