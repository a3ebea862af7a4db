/* test_backup: a backup of a group of three coordinators, and a group that is restored from it beside one that
 * is left of the old group: what the backup is too old to know of is left to an operator. */
#include <cjson/cJSON.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"
#include "tests/lib/kit.h"

static struct kit kit;

enum { NODES = 3 };

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* Prepared in both banks, and its client is gone for good; its session lasts for an hour. */
static void leave_in_doubt(char id[KIT_ID_SIZE])
{
    static struct kit_account account;
    struct world_process *client = kit_start_patient(&kit, "ASSENT_CRASH=client.all_prepared=kill");

    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), -SIGKILL);
    assert_int_equal(account.n, 1);
    snprintf(id, KIT_ID_SIZE, "%s", account.told[0].id);
}

static bool in_doubt(void *arg)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("transactions", "--in-doubt"));
    bool listed = o.code == 0 && strstr(o.text, arg) != NULL;

    world_output_release(&o);
    return listed;
}

/* At the address of node 1, where the agents look for it. */
static struct world_process *restored_node(const char *file)
{
    static char program[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE + 32], listen[64];
    char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];

    snprintf(data, sizeof data, "%s/restored.data", world_dir(kit.world));
    snprintf(listen, sizeof listen, "%.*s", (int)strcspn(world_coordinators(kit.world), ","),
             world_coordinators(kit.world));
    return world_process_new(
        kit.world, "restored",
        WORLD_ARGS(world_program(kit.world, "txcoordd", program), "--data_dir", data, "--listen", listen,
                   "--peer_listen", world_node_peer(kit.world, 1), "--restore", file, "--identity",
                   world_identity(kit.world, "node_1", identity), "--keys", world_keys(kit.world, keys)));
}

/* Prepared in both banks without touching an account, in a session that lives for an hour. */
static tx_client *prepare_by_hand(char id[KIT_ID_SIZE])
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .application_name = "test",
                                        .session_timeout_ms = 3600000,
                                        .transaction_timeout_ms = 3600000};
    tx_client *client;
    struct tx_error e;
    char sql[256];
    txn *t;

    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    snprintf(id, KIT_ID_SIZE, "%s", txn_id(t));
    for (int i = 0; i < 2; i++) {
        PGconn *conn = kit_connect(&kit, i);

        kit_exec(conn, "BEGIN");
        snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", id);
        kit_exec(conn, sql);
        snprintf(sql, sizeof sql, "PREPARE TRANSACTION 'assent-%s-%d'", id, i + 1);
        kit_exec(conn, sql);
        PQfinish(conn);
    }
    txn_free(t);
    return client;
}

static void assert_both_stay_prepared(void)
{
    world_sleep_ms(2000); /* scans of the agents go by */
    assert_int_equal(world_prepared_count(kit.bank[0]), 2);
    assert_int_equal(world_prepared_count(kit.bank[1]), 2);
}

/* A node of the lost majority's group, at an address that the restored group knows. */
static void assert_survivor_is_refused(struct world_process *restored, unsigned id)
{
    char number[16];

    snprintf(number, sizeof number, "%u", id);
    world_process_await(restored, "different logs of one group", KIT_SETTLE_MS);
    world_process_await(kit.node[id], "different logs of one group", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", number, world_node_peer(kit.world, id)), 1,
                     "empty its data directory");
    world_process_kill(kit.node[id]);
    world_node_wipe(kit.world, id);
    kit_add_node(&kit, id);
}

/* Begins a backup at this node, and returns the number that the next pieces are asked for with. */
static double begin_backup_at(unsigned id)
{
    struct wire_message m = {.type = WIRE_ADMIN, .admin = {.json = "{\"verb\": \"backup\"}"}}, reply;
    static struct wire_scratch scratch;
    struct channel_message in;
    struct channel channel;
    struct pollfd p;
    struct buf out;
    cJSON *answer;
    double number;

    buf_init(&out);
    assert_int_equal(wire_encode(&m, &out), TX_OK);
    assert_int_equal(channel_dial(&channel, world_node_address(kit.world, id), MESSAGE_LIMIT,
                                  world_security(kit.world, "operator"), NULL),
                     TX_OK);
    while (channel_send(&channel, 1, out.data, out.len) != TX_OK)
        world_sleep_ms(10);
    p = (struct pollfd){.fd = channel_fd(&channel), .events = POLLIN};
    while (channel_receive(&channel, &in) != 1)
        assert_int_equal(poll(&p, 1, KIT_SETTLE_MS), 1);
    assert_int_equal(wire_decode(&reply, in.data, in.len, &scratch, NULL), TX_OK);
    assert_int_equal(reply.type, WIRE_ADMIN_REPLY);
    answer = cJSON_Parse(reply.admin.json);
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(answer, "number")));
    number = cJSON_GetNumberValue(cJSON_GetObjectItem(answer, "number"));
    cJSON_Delete(answer);
    channel_release(&in);
    channel_close(&channel);
    buf_release(&out);
    return number;
}

/* A backup comes in pieces, and the next may be asked of another node, which may hold a backup of its own. */
static void test_backups_of_two_nodes_are_not_mixed(void **state)
{
    unsigned leader = kit_await_group(&kit), other = leader % NODES + 1;
    double first;

    (void)state;
    world_process_kill(kit.node[leader]);
    world_process_kill(kit.node[other]);
    world_process_start(kit.node[leader], NULL);
    world_process_start(kit.node[other], NULL);
    (void)kit_await_group(&kit);
    first = begin_backup_at(leader);
    assert_true(begin_backup_at(other) != first);
}

/* One in doubt at the time of the backup, and one that began after it: the ledger knows too little of either to
 * decide. Neither is touched until an operator says what to do. */
static void test_backup_and_restore(void **state)
{
    char file[WORLD_PATH_SIZE + 32], before[KIT_ID_SIZE], after[KIT_ID_SIZE];
    struct world_process *restored;
    tx_client *client;

    (void)state;
    snprintf(file, sizeof file, "%s/backup", world_dir(kit.world));
    leave_in_doubt(before);
    kit_assert_admin(&kit, WORLD_ARGS("backup", file), 0, "log index");
    client = prepare_by_hand(after);
    for (unsigned id = 1; id < NODES; id++)
        world_process_kill(kit.node[id]);
    restored = restored_node(file);
    world_process_start_ready(restored, NULL);
    assert_survivor_is_refused(restored, NODES);
    assert_true(world_wait(KIT_SETTLE_MS, in_doubt, before));
    assert_true(world_wait(KIT_SETTLE_MS, in_doubt, after));
    assert_both_stay_prepared();
    kit_assert_admin(&kit, WORLD_ARGS("resolve", before, "commit", "--yes"), 0, "commit");
    kit_assert_admin(&kit, WORLD_ARGS("resolve", after, "abort", "--yes"), 0, "abort");
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, before), 2);
    assert_int_equal(kit_receipts(&kit, after), 0);
    tx_client_close(client);
    assert_int_equal(world_process_stop(restored), 0);
    world_process_start(restored, NULL);
    assert_int_equal(world_process_wait(restored, KIT_SETTLE_MS), 1);
    assert_true(world_process_logged(restored, "is not empty"));
}

/* The group */

static int open_group(void **state)
{
    struct kit_options options = {.nodes = NODES};

    (void)state;
    kit_open(&kit, "backup", &options);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_backups_of_two_nodes_are_not_mixed, set_up),
        cmocka_unit_test_setup(test_backup_and_restore, set_up),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
