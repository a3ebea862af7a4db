/* kit: see kit.h. The stage that the tests stand on. */
#include "tests/lib/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/world_impl.h"

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static void open_bank(struct kit *k, int i, bool mariadb)
{
    static const char *const names[2] = {"bank_a", "bank_b"};
    const struct world_server_options options = {.mariadb = mariadb};

    k->bank[i] = world_server_new(k->world, names[i], &options);
    world_accounts(k->bank[i], KIT_ACCOUNTS, KIT_BALANCE);
    world_sql(k->bank[i], mariadb ? "CREATE TABLE receipts (name varchar(100) PRIMARY KEY)"
                                  : "SET ROLE app;"
                                    "CREATE TABLE receipts (name text PRIMARY KEY);"
                                    "CREATE TABLE checked (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
}

/* A group of several */

void kit_new_node(struct kit *k, unsigned id, bool listed)
{
    k->node[id] = world_node_new(k->world, id, listed, k->flags);
    if (k->disk_bytes > 0)
        world_node_disk(k->world, id, k->disk_bytes);
    if (k->watched)
        world_process_watch(k->node[id]);
}

void kit_add_node(struct kit *k, unsigned id)
{
    world_node_add(k->world, k->node[id], id);
}

static void open_group(struct kit *k, unsigned n)
{
    k->n_nodes = n;
    for (unsigned id = 1; id <= n; id++)
        kit_new_node(k, id, true);
    world_node_begin(k->world, k->node[1], 1);
    for (unsigned id = 2; id <= n; id++)
        kit_add_node(k, id);
}

static bool group_is_whole(void *arg)
{
    struct kit *k = arg;

    return world_group_leader(k->world, k->n_nodes) != 0;
}

unsigned kit_await_group(struct kit *k)
{
    unsigned leader = 0;

    if (!world_wait(KIT_SETTLE_MS, group_is_whole, k))
        fail_msg("the group of %u nodes is not whole again", k->n_nodes);
    while (leader == 0)
        leader = world_group_leader(k->world, k->n_nodes);
    return leader;
}

void kit_assert_admin(struct kit *k, const char *const *args, int code, const char *part)
{
    struct world_output o = world_admin(k->world, args);

    if (o.code != code || (strstr(o.text, part) == NULL && strstr(o.error, part) == NULL))
        fail_msg("txadmin %s %s: exit code %d, not %d with «%s»: %s%s", args[0], args[1] != NULL ? args[1] : "",
                 o.code, code, part, o.text, o.error);
    world_output_release(&o);
}

void kit_make_leader(struct kit *k, unsigned id)
{
    char number[16];

    snprintf(number, sizeof number, "%u", id);
    for (int i = 0; i < 10 && kit_await_group(k) != id; i++) {
        struct world_output o = world_admin(k->world, WORLD_ARGS("node", "transfer", number));

        world_output_release(&o);
        world_sleep_ms(100);
    }
    assert_int_equal(kit_await_group(k), id);
}

void kit_remove_node(struct kit *k, unsigned id)
{
    char number[16];

    snprintf(number, sizeof number, "%u", id);
    kit_assert_admin(k, WORLD_ARGS("node", "remove", number), 0, "no member any more");
    world_process_kill(k->node[id]);
    world_node_wipe(k->world, id);
}

/* All of it */

void kit_open(struct kit *k, const char *name, const struct kit_options *options)
{
    static const struct kit_options defaults;
    static const char *const eager[] = {"--scan_interval", "500ms", NULL};
    static const char *const names[2] = {"agent_a", "agent_b"};
    struct world_options world = {.name = name, .fail = fail_test};

    if (options == NULL)
        options = &defaults;
    memset(k, 0, sizeof *k);
    world.network = options->network;
    world.disorder = options->disorder;
    world.relays = options->relays;
    k->world = world_new(&world);
    k->flags = options->coordinator_flags;
    k->disk_bytes = options->disk_bytes;
    k->watched = options->watched;
    if (options->nodes > 0) {
        open_group(k, options->nodes);
    } else {
        k->coordinator = world_coordinator_new(k->world, "coordinator", options->coordinator_flags);
        world_process_start_ready(k->coordinator, NULL);
    }
    for (int i = 0; i < 2; i++) {
        open_bank(k, i, i == 1 && options->mariadb);
        if (options->no_agents)
            continue;
        k->agent[i] = world_agent_new(k->world, names[i], &k->bank[i], 1,
                                      options->agent_flags != NULL ? options->agent_flags : eager);
        world_process_start_ready(k->agent[i], NULL);
    }
    if (options->stock)
        stock_open(&k->stock, k->world);
}

int kit_close(struct kit *k, int failed)
{
    bool sound = k->world == NULL || world_free(k->world, failed != 0);

    return failed != 0 || !sound;
}

static bool agents_are_up(void *arg)
{
    struct kit *k = arg;

    return world_resources_up(k->world, WORLD_ARGS("bank_a", "bank_b")) == 2;
}

void kit_await_agents(struct kit *k)
{
    if (!world_wait(KIT_SETTLE_MS, agents_are_up, k))
        fail_msg("the agents have not told the coordinator that they are up");
}

static void settle_process(struct world_process *p)
{
    if (p == NULL || (world_process_running(p) && !p->armed && !world_process_stopped(p)))
        return;
    world_process_kill(p);
    world_process_start_ready(p, NULL);
}

void kit_settle(struct kit *k)
{
    for (int i = 0; i < 2; i++) {
        if (!world_process_running(k->bank[i]->process))
            world_server_start(k->bank[i]);
    }
    settle_process(k->coordinator);
    for (unsigned id = 1; id <= k->n_nodes; id++)
        settle_process(k->node[id]);
    if (k->n_nodes > 0)
        (void)kit_await_group(k);
    settle_process(k->agent[0]);
    settle_process(k->agent[1]);
    if (k->agent[0] != NULL)
        kit_await_agents(k);
    for (int i = 0; i < 2; i++)
        world_sql(k->bank[i], "DELETE FROM receipts");
    if (k->stock.process != NULL) {
        settle_process(k->stock.process);
        stock_await(k->world);
        stock_fill(&k->stock);
    }
}

tx_client *kit_client(struct kit *k)
{
    struct tx_client_options options = {.coordinators = world_coordinators(k->world),
                                        .application_name = "test",
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = 4000};
    struct tx_error e;
    tx_client *client;

    if (tx_client_open(&client, &options, &e) != TX_OK)
        fail_msg("tx_client_open: %s", e.msg);
    return client;
}

PGconn *kit_connect(struct kit *k, int bank)
{
    PGconn *conn = world_server_connect(k->bank[bank], "app");

    assert_non_null(conn);
    return conn;
}

void kit_connect_both(struct kit *k, PGconn *conn[2])
{
    for (int i = 0; i < 2; i++)
        conn[i] = kit_connect(k, i);
}

void kit_disconnect_both(PGconn *conn[2])
{
    for (int i = 0; i < 2; i++)
        PQfinish(conn[i]);
}

txn *kit_begin(tx_client *client)
{
    struct tx_error e;
    txn *t;

    if (txn_begin(client, &t, &e) != TX_OK)
        fail_msg("txn_begin: %s", e.msg);
    return t;
}

void kit_enlist(txn *t, const char *resource, PGconn *conn)
{
    struct tx_error e;

    if (txn_enlist_pg(t, resource, conn, &e) != TX_OK)
        fail_msg("txn_enlist_pg: %s", e.msg);
}

MYSQL *kit_connect_mariadb(unsigned port)
{
    MYSQL *my = mysql_init(NULL);

    mysql_options(my, MYSQL_OPT_PROTOCOL, &(unsigned){MYSQL_PROTOCOL_TCP});
    if (mysql_real_connect(my, "127.0.0.1", "app", "", "bank", port, NULL, 0) != NULL)
        return my;
    mysql_close(my);
    return NULL;
}

void kit_exec(PGconn *conn, const char *sql)
{
    PGresult *r = PQexec(conn, sql);

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(r);
}

void kit_move(PGconn *conn, const char *receipt, int amount)
{
    char sql[256];

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = 1", amount);
    kit_exec(conn, sql);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    kit_exec(conn, sql);
}

long long kit_receipts(struct kit *k, const char *receipt)
{
    long long n = 0;

    for (int i = 0; i < 2; i++)
        n += world_sql_number(k->bank[i], "SELECT count(*) FROM receipts WHERE name = '%s'", receipt);
    return n;
}

void kit_assert_usable(PGconn *conn)
{
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_IDLE);
    assert_int_equal(PQpipelineStatus(conn), PQ_PIPELINE_OFF);
    kit_exec(conn, "SELECT 1");
}

char *kit_all_receipts(struct kit *k, int bank)
{
    return world_sql_text(k->bank[bank],
                          world_server_is_mariadb(k->bank[bank])
                              ? "SELECT group_concat(name ORDER BY name SEPARATOR ' ') FROM receipts"
                              : "SELECT string_agg(name, ' ' ORDER BY name COLLATE \"C\") FROM receipts");
}

static bool stock_agrees(void *arg)
{
    struct kit *k = arg;

    return stock_prepared(&k->stock) == 0 && STOCK_PIECES - stock_count(&k->stock) ==
                                                 world_sql_number(k->bank[0], "SELECT count(*) FROM receipts");
}

static void assert_stock_agrees(struct kit *k)
{
    if (!world_wait(KIT_SETTLE_MS, stock_agrees, k))
        fail_msg("%ld pieces are gone, %lld receipts are there; the service has %u branches in doubt",
                 STOCK_PIECES - stock_count(&k->stock),
                 world_sql_number(k->bank[0], "SELECT count(*) FROM receipts"), stock_prepared(&k->stock));
}

void kit_assert_sound(struct kit *k)
{
    char *receipts[2];

    if (!world_wait_nothing_prepared(k->world, KIT_SETTLE_MS))
        fail_msg("branches stay prepared: %lld in bank_a, %lld in bank_b", world_prepared_count(k->bank[0]),
                 world_prepared_count(k->bank[1]));
    for (int i = 0; i < 2; i++)
        receipts[i] = kit_all_receipts(k, i);
    if (strcmp(receipts[0], receipts[1]) != 0)
        fail_msg("half a transaction: bank_a has receipts «%s», bank_b has «%s»", receipts[0], receipts[1]);
    free(receipts[0]);
    free(receipts[1]);
    assert_int_equal(world_sum_balances(k->world), 2 * KIT_ACCOUNTS * KIT_BALANCE);
    if (k->stock.process != NULL)
        assert_stock_agrees(k);
}
