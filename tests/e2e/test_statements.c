/* test_statements: what applications may execute at an agent, and who: statements by name, none at all, another
 * client's branch, a key that comes and one that goes. */
#include "tests/e2e/keys_kit.h"

#include "libtx/client.h"
#include "libtx/libtx_pg.h"

enum { SETTLE_MS = 30000, ACCOUNTS = 10, BALANCE = 1000 };

static struct world_server *bank;

/* Agents of one database: what each lets be executed is its resource's name. */
enum { NAMED, NONE, ANY, AGENTS };

static const char *const resources[AGENTS] = {[NAMED] = "named", [NONE] = "none", [ANY] = "any"};
static struct world_process *agents[AGENTS];

/* set up */

static const char *write_statements(const char *name, const char *text, char path[WORLD_PATH_SIZE])
{
    FILE *f;

    snprintf(path, WORLD_PATH_SIZE, "%s/%s", world_dir(world), name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static struct world_process *new_agent(const char *name, const char *statements)
{
    char conninfo[WORLD_PATH_SIZE], resource[2 * WORLD_PATH_SIZE];

    snprintf(resource, sizeof resource, "--resource.%s=postgresql %s", name,
             world_server_conninfo(bank, "assent_agent", conninfo));
    return world_agent_new(world, name, NULL, 0, WORLD_ARGS(resource, "--statements", statements));
}

static int open_group(void **state)
{
    char path[WORLD_PATH_SIZE];

    (void)state;
    open_world("statements");
    bank = world_server_new(world, "bank_a", NULL);
    write_statements("statements",
                     "# all that the shop needs\n"
                     "debit = UPDATE accounts SET balance = balance - $2 WHERE id = $1\n"
                     "look = SELECT balance FROM accounts WHERE id = $1\n",
                     path);
    for (int i = 0; i < AGENTS; i++) {
        agents[i] = new_agent(resources[i], i == NAMED ? path : resources[i]);
        world_process_start_ready(agents[i], NULL);
    }
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

static int exec(txn *t, int agent, const char *statement, struct tx_error *e)
{
    static const char *const values[] = {"1", "10"};
    int n = strstr(statement, "$2") != NULL || strcmp(statement, "@debit") == 0 ? 2 : 1;

    return txn_exec(t, resources[agent], statement, n, values, NULL, e);
}

/* In a transaction of its own, which is committed where it can be. */
static int exec_alone(tx_client *client, int agent, const char *statement, struct tx_error *e)
{
    txn *t = begin(client);
    int rc = exec(t, agent, statement, e);

    if (rc == TX_OK)
        rc = txn_commit(t, TXN_COMPLETED, e);
    txn_free(t);
    return rc;
}

struct trial {
    tx_client *client;
    int agent;
};

static bool is_found(void *arg)
{
    struct trial *trial = arg;
    struct tx_error e;

    return exec_alone(trial->client, trial->agent, "@look", &e) != TX_ENOTFOUND;
}

/* The coordinator has heard of the agent. */
static tx_client *open_client_of(int agent)
{
    struct trial trial = {open_client("client"), agent};

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
    client = open_client_of(NAMED);
    if (exec_alone(client, NAMED, "@debit", &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_balance(BALANCE - 10);
    assert_int_equal(exec_alone(client, NAMED, "UPDATE accounts SET balance = 0 WHERE id = $1", &e),
                     TX_EDENIED);
    assert_non_null(strstr(e.msg, "named statements alone"));
    assert_int_equal(exec_alone(client, NAMED, "@credit", &e), TX_EDENIED);
    assert_balance(BALANCE - 10);
    world_process_await(agents[NAMED], "event=audit name=client", 1000);
    world_process_await(agents[NAMED], "act=exec resource=named outcome=denied", 1000);
    tx_client_close(client);
}

/* One that is refused ends the transaction, as any other statement that fails. */
static void a_denied_statement_leaves_rollback(void **state)
{
    tx_client *client;
    struct tx_error e;
    txn *t;

    (void)state;
    client = open_client_of(NAMED);
    t = begin(client);
    assert_int_equal(exec(t, NAMED, "@debit", &e), TX_OK);
    assert_int_equal(exec(t, NAMED, "DELETE FROM accounts WHERE id = $1", &e), TX_EDENIED);
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
    client = open_client_of(NONE);
    assert_int_equal(exec_alone(client, NONE, "SELECT $1", &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "executes no statements"));
    assert_int_equal(exec_alone(client, NONE, "@debit", &e), TX_EDENIED);
    conn = PQconnectdb(world_server_conninfo(bank, "app", conninfo));
    t = begin(client);
    (void)txn_id(t);
    if (txn_enlist_pg(t, resources[NONE], conn, &e) != TX_OK)
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
    struct world_process *agent;

    (void)state;
    agent = new_agent("bad", write_statements("bad", "look = SELECT 1\nDROP TABLE accounts\n", path));
    world_process_start(agent, NULL);
    assert_int_equal(world_process_wait(agent, SETTLE_MS), 1);
    assert_true(world_process_logged(agent, "bad:2: write NAME = SQL"));
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
    assert_int_equal(client_locate(other, "any", call_now_ms() + SETTLE_MS, &peer, e), TX_OK);
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
        .exec = {.branch = 1, .number = 2, .timeout_ms = 20000, .resource = "any", .statement = "SELECT 1"}};
    const struct wire_message roll_back = {.type = WIRE_FINISH,
                                           .finish = {.op = FINISH_ROLLBACK, .branch = 1, .resource = "any"}};
    tx_client *client, *other;
    struct tx_error e;
    txn *t;

    (void)state;
    add_key("other", "other", "client", NULL);
    client = open_client_of(ANY);
    other = open_client("other");
    t = begin(client);
    assert_int_equal(exec(t, ANY, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    assert_int_equal(ask_as(other, txn_id(t), &statement, WIRE_ROWS, &e), TX_EDENIED);
    assert_int_equal(ask_as(other, txn_id(t), &roll_back, WIRE_FINISHED, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "another client"));
    world_process_await(agents[ANY], "event=audit name=other", 1000);
    if (txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_balance(BALANCE - 10);
    txn_free(t);
    tx_client_close(other);
    tx_client_close(client);
}

/* The agent has forgotten who was at work: what another client sends it then under the transaction's name is
 * not what is committed. */
static void another_clients_work_after_a_restart(void **state)
{
    const struct wire_message statement = {.type = WIRE_EXEC,
                                           .exec = {.branch = 1,
                                                    .number = 1,
                                                    .timeout_ms = 20000,
                                                    .resource = "any",
                                                    .statement = "UPDATE accounts SET balance = 0"}};
    tx_client *client, *other;
    struct tx_error e;
    txn *t;

    (void)state;
    add_key("thief", "thief", "client", NULL);
    client = open_client_of(ANY);
    other = open_client("thief");
    t = begin(client);
    assert_true(*txn_id(t) != '\0'); /* and so the coordinator decides */
    assert_int_equal(exec(t, ANY, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    world_process_kill(agents[ANY]);
    world_process_start_ready(agents[ANY], NULL);
    if (ask_as(other, txn_id(t), &statement, WIRE_ROWS, &e) != TX_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    assert_non_null(strstr(e.msg, "begun by another client"));
    txn_free(t);
    assert_balance(BALANCE);
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
    return rc == TX_EDENIED && strstr(e.msg, "this key is not known, or was revoked") != NULL;
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
    tx_client_close(open_client_of(ANY));
    add_key("guest", "guest", "client", NULL);
    client = open_client("guest");
    if (exec_alone(client, ANY, "SELECT $1", &e) != TX_OK)
        fail_msg("%s", e.msg);
    t = begin(client);
    assert_int_equal(exec(t, ANY, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
    assert_admin(WORLD_ARGS("key", "revoke", key_of("guest", text), "--yes"), DONE, "guest");
    begun = call_now_ms();
    assert_int_not_equal(exec(t, ANY, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", &e), TX_OK);
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

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(named_statements_alone),     TEST(a_denied_statement_leaves_rollback),
        TEST(no_statements_but_recovery), TEST(a_bad_file_ends_the_agent),
        TEST(another_clients_branch),     TEST(another_clients_work_after_a_restart),
        TEST(a_key_comes_and_goes),       TEST(an_unknown_key_is_told_so),
    };

    return cmocka_run_group_tests(tests, open_group, close_group);
}
