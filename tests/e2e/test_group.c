/* test_group: a group of three coordinators under load: its leader is killed, restarted; nodes are
 * added, removed, replaced, wiped. No transaction may be rolled back or left in doubt for any of that, as long
 * as a majority is up; and without one, nothing is answered that is not so.
 *
 * What a failover takes is printed, not asserted.
 */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;

enum {
    NODES = 3,
    SPARE = 4,
    FAILOVERS = 5,
};

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* Asks this node alone. */
static void assert_admin_at(unsigned id, const char *const *args, int code, const char *part)
{
    const char *all[9] = {"--coordinators", world_node_address(kit.world, id), "--timeout", "5s"};

    for (size_t i = 0; args[i] != NULL; i++) {
        assert_true(i + 5 < sizeof all / sizeof *all);
        all[i + 4] = args[i];
    }
    kit_assert_admin(&kit, all, code, part);
}

/* Asks with this node named before all the others. */
static void assert_admin_first(unsigned id, const char *const *args, int code, const char *part)
{
    char list[512];
    const char *all[9] = {"--coordinators", list};
    size_t at = (size_t)snprintf(list, sizeof list, "%s", world_node_address(kit.world, id));

    for (unsigned i = 1; i <= NODES; i++) {
        if (i != id)
            at += (size_t)snprintf(list + at, sizeof list - at, ",%s", world_node_address(kit.world, i));
    }
    for (size_t i = 0; args[i] != NULL; i++) {
        assert_true(i + 3 < sizeof all / sizeof *all);
        all[i + 2] = args[i];
    }
    kit_assert_admin(&kit, all, code, part);
}

/* What it says of itself is no answer about the group; the others are asked, and where they cannot be, nothing
 * passes for the truth. */
static void assert_not_believed(unsigned id, const char *says)
{
    unsigned a = id % NODES + 1, b = a % NODES + 1;

    assert_admin_first(id, WORLD_ARGS("status"), 0, "Leader");
    assert_admin_first(id, WORLD_ARGS("node", "list"), 0, "leader");
    assert_admin_first(id, WORLD_ARGS("doctor"), 0, "");
    assert_admin_first(id, WORLD_ARGS("resources"), 0, "bank_a");
    world_process_signal(kit.node[a], SIGSTOP);
    world_process_signal(kit.node[b], SIGSTOP);
    assert_admin_first(id, WORLD_ARGS("--timeout=2s", "status"), 4, says);
    world_process_signal(kit.node[a], SIGCONT);
    world_process_signal(kit.node[b], SIGCONT);
    assert_admin_first(id, WORLD_ARGS("transactions"), 0, "");
}

/* The leader goes */

static void kill_leader(enum kit_mode mode)
{
    uint64_t ms[FAILOVERS];

    kit_load_begin(&kit, mode);
    for (int i = 0; i < FAILOVERS; i++) {
        unsigned leader = kit_await_group(&kit);
        uint64_t start;

        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
        start = world_now_ms();
        world_process_kill(kit.node[leader]);
        kit_load_drain(&kit);
        kit_load_progress(&kit, 1);
        ms[i] = world_now_ms() - start;
        world_process_start_ready(kit.node[leader], NULL);
    }
    kit_load_end(&kit);
    printf("# first commit after kill -9 of the leader, ms:");
    for (int i = 0; i < FAILOVERS; i++)
        printf(" %llu", (unsigned long long)ms[i]);
    printf("\n");
}

static void test_leader_killed(void **state)
{
    (void)state;
    kill_leader(KIT_DIRECT);
}

static void test_leader_killed_with_agents_at_work(void **state)
{
    (void)state;
    kill_leader(KIT_MIXED);
}

static void test_rolling_restart(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    for (unsigned id = 1; id <= NODES; id++) {
        assert_int_equal(world_process_stop(kit.node[id]), 0);
        world_process_start_ready(kit.node[id], NULL);
        kit_assert_admin(&kit, WORLD_ARGS("node", "list", "--wait"), 0, "leader");
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end(&kit);
}

/* That a node was up a moment ago does not pass for its being up. */
static void test_waiting_for_all(void **state)
{
    unsigned dead = kit_await_group(&kit) % NODES + 1;

    (void)state;
    world_process_kill(kit.node[dead]);
    kit_assert_admin(&kit, WORLD_ARGS("node", "list", "--wait", "--timeout=1s"), 1, "not all nodes");
    kit_assert_admin(&kit, WORLD_ARGS("node", "list"), 0, "silent");
    world_process_start(kit.node[dead], NULL);
    kit_assert_admin(&kit, WORLD_ARGS("node", "list", "--wait"), 0, "leader");
    assert_int_not_equal(world_group_leader(kit.world, NODES), 0);
    kit_assert_admin(&kit, WORLD_ARGS("node", "transfer", "--wait"), 2, "goes with node list");
}

static void test_transfer(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    for (unsigned id = 1; id <= NODES; id++) {
        kit_make_leader(&kit, id);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end(&kit);
    kit_assert_admin(&kit, WORLD_ARGS("node", "transfer", "3"), 1, "leads the group already");
    kit_assert_admin(&kit, WORLD_ARGS("node", "transfer", "9"), 1, "no member");
}

/* Makes it lead until that is its end. It may come to its crash point as soon as it leads. */
static void lead_to_death(unsigned id)
{
    uint64_t end = world_now_ms() + KIT_SETTLE_MS;
    char number[16];

    snprintf(number, sizeof number, "%u", id);
    while (world_process_running(kit.node[id]) && world_now_ms() < end) {
        struct world_output o = world_admin(kit.world, WORLD_ARGS("--timeout=1s", "node", "transfer", number));

        world_output_release(&o);
        kit_load_drain(&kit);
    }
}

/* The leader dies in the middle of a commit: the next one takes it up from the client's request. */
static void leader_dies_at(const char *point, enum kit_mode mode)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;
    char env[64];

    snprintf(env, sizeof env, "ASSENT_CRASH=%s=kill", point);
    world_process_kill(kit.node[id]);
    world_process_start_ready(kit.node[id], env);
    kit_load_begin(&kit, mode);
    lead_to_death(id);
    if (world_process_wait(kit.node[id], KIT_SETTLE_MS) != -SIGKILL)
        fail_msg("the leader has not died at %s", point);
    world_process_start_ready(kit.node[id], NULL);
    kit_load_end(&kit);
}

static void test_leader_dies_during_a_commit(void **state)
{
    static const char *const points[] = {"coord.commit_received", "coord.prepare_sent",
                                         "coord.all_voted",       "coord.applied",
                                         "coord.answered",        "coord.commit_work_sent"};

    (void)state;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        leader_dies_at(points[i], KIT_MIXED);
    leader_dies_at("coord.prepare_sent", KIT_REMOTE);
    leader_dies_at("coord.all_voted", KIT_LOGGED);
    leader_dies_at("coord.applied", KIT_LOGGED);
}

/* Look-ups */

/* How many a node has answered since it was started. */
static double lookups_of(const char *address)
{
    cJSON *answer = world_admin_json(kit.world, WORLD_ARGS("--coordinators", address, "status"), NULL);
    double n = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(answer, "counters"), "lookups"));

    cJSON_Delete(answer);
    return n;
}

/* Of a commit whose client died before it heard of it: any node knows it, and each is asked in turn. */
static void test_lookups_are_spread(void **state)
{
    static struct kit_account account;
    struct world_process *client = kit_start_patient(&kit, "ASSENT_CRASH=client.decided=kill");
    char *list = strdup(world_coordinators(kit.world)), *rest = list, *address;
    enum tx_outcome outcome;
    tx_client *asking;

    (void)state;
    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), -SIGKILL);
    kit_assert_sound(&kit);
    asking = kit_client(&kit);
    for (int i = 0; i < 6 * NODES; i++) {
        assert_int_equal(tx_client_outcome(asking, account.told[0].id, &outcome, NULL), TX_OK);
        assert_int_equal(outcome, TX_OUTCOME_COMMITTED);
    }
    tx_client_close(asking);
    while ((address = strsep(&rest, ",")) != NULL) {
        if (!(lookups_of(address) > 0))
            fail_msg("%s was not asked, or did not answer", address);
    }
    free(list);
}

/* The group changes */

static void test_three_to_one_and_back(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    kit_make_leader(&kit, 1);
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", "1"), 1, "transfer");
    for (kit.n_nodes = NODES; kit.n_nodes > 1; kit.n_nodes--) {
        kit_remove_node(&kit, kit.n_nodes);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", "1"), 1, "last");
    kit_assert_admin(&kit, WORLD_ARGS("node", "transfer"), 1, "no other node");
    for (kit.n_nodes = 2; kit.n_nodes <= NODES; kit.n_nodes++) {
        kit_add_node(&kit, kit.n_nodes);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit.n_nodes = NODES;
    kit_load_end(&kit);
}

/* Its data is lost, and its vote with it: it must not simply take part again. */
static void test_wiped_node_is_refused(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;

    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    world_process_kill(kit.node[id]);
    world_node_wipe(kit.world, id);
    world_process_start(kit.node[id], NULL);
    assert_int_equal(world_process_wait(kit.node[id], KIT_SETTLE_MS), 1);
    assert_true(world_process_logged(kit.node[id], "remove this node from the group and add it again"));
    assert_false(world_process_logged(kit.node[id], "event=ready"));
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    kit_remove_node(&kit, id);
    kit_add_node(&kit, id);
    (void)kit_await_group(&kit);
    kit_load_end(&kit);
}

/* The disk of the node that began the group is replaced while the others are down: it waits for them, and
 * founds nothing of its own. */
static void test_first_node_emptied(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    for (unsigned id = 1; id <= NODES; id++)
        world_process_kill(kit.node[id]);
    world_node_wipe(kit.world, 1);
    world_process_start(kit.node[1], NULL);
    world_process_await(kit.node[1], "event=waiting", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("--timeout=1s", "node", "init"), 4, "every coordinator that is named");
    world_process_start(kit.node[2], NULL);
    kit_assert_admin(&kit, WORLD_ARGS("node", "init"), 1, "belongs to a group already");
    world_process_start(kit.node[3], NULL);
    assert_int_equal(world_process_wait(kit.node[1], KIT_SETTLE_MS), 1);
    assert_true(world_process_logged(kit.node[1], "remove this node from the group and add it again"));
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    kit_remove_node(&kit, 1);
    kit_add_node(&kit, 1);
    (void)kit_await_group(&kit);
    kit_load_end(&kit);
}

/* By one with a number that nobody knew when the clients began. */
static void test_dead_node_is_replaced(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;
    char old[16], new[16];

    (void)state;
    snprintf(old, sizeof old, "%u", id);
    snprintf(new, sizeof new, "%u", SPARE);
    kit_new_node(&kit, SPARE, false);
    kit_load_begin(&kit, KIT_MIXED);
    world_process_kill(kit.node[id]);
    world_process_start(kit.node[SPARE], NULL);
    world_process_await(kit.node[SPARE], "event=waiting", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, old, world_node_peer(kit.world, id)), 2,
                     "three steps");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, new, world_node_peer(kit.world, SPARE)), 0,
                     "in the place of");
    (void)kit_await_group(&kit);
    kit_make_leader(&kit, SPARE);
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    world_node_wipe(kit.world, id);
    kit_make_leader(&kit, kit_await_group(&kit) == SPARE ? id % NODES + 1 : kit_await_group(&kit));
    kit_remove_node(&kit, SPARE);
    kit_add_node(&kit, id);
    kit_load_end(&kit);
}

/* It has answered the leader until then, so nobody may say that it is down. */
static void test_added_node_is_up(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;
    struct world_output o;
    char number[16];

    (void)state;
    snprintf(number, sizeof number, "%u", id);
    kit_remove_node(&kit, id);
    world_process_start(kit.node[id], NULL);
    world_process_await(kit.node[id], "event=waiting", KIT_SETTLE_MS);
    assert_admin_at(id, WORLD_ARGS("node", "list"), 0, "belongs to no group yet");
    assert_admin_at(id, WORLD_ARGS("sessions"), 1, "belongs to no group yet");
    assert_admin_at(id, WORLD_ARGS("doctor"), 3, "node init");
    assert_not_believed(id, "belongs to no group yet");
    o = world_admin(kit.world, WORLD_ARGS("node", "add", number, world_node_peer(kit.world, id)));
    assert_int_equal(o.code, 0);
    if (strstr(o.text, "bring back") != NULL)
        fail_msg("a node that was added is taken for one that is down: %s", o.text);
    world_output_release(&o);
}

/* It may run on; who asks it is not told that others are down. */
static void test_removed_node_says_so(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;
    char number[16];

    (void)state;
    snprintf(number, sizeof number, "%u", id);
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", number), 0, "no member any more");
    world_process_await(kit.node[id], "event=removed", KIT_SETTLE_MS);
    world_process_kill(kit.node[id]);
    world_process_start(kit.node[id], NULL);
    world_process_await(kit.node[id], "event=removed", KIT_SETTLE_MS);
    assert_admin_at(id, WORLD_ARGS("sessions"), 1, "no member of its group any more");
    assert_admin_at(id, WORLD_ARGS("node", "list"), 0, "no member of its group any more");
    assert_admin_at(id, WORLD_ARGS("doctor"), 3, "no member of its group any more");
    assert_admin_at(id, WORLD_ARGS("backup", "removed.backup"), 1, "no member of its group any more");
    assert_not_believed(id, "no member of its group any more");
    world_process_kill(kit.node[id]);
    world_node_wipe(kit.world, id);
    kit_add_node(&kit, id);
}

/* Nobody is put out for a number, an address or a node that is none. */
static void refused_replacements(unsigned id, unsigned other)
{
    char old[16], new[16];

    snprintf(old, sizeof old, "%u", id);
    snprintf(new, sizeof new, "%u", other);
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, new, world_node_peer(kit.world, other)), 1,
                     "member already");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, "8", world_node_peer(kit.world, other)), 1,
                     "member at this address");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, "eight", "tcp://127.0.0.1:1"), 2, "number");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, "70000", "tcp://127.0.0.1:1"), 1, "number");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, "8", "nowhere"), 1, "no address");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", old, "8", "tcp://127.0.0.1:1"), 1, "did not catch up");
    (void)kit_await_group(&kit);
}

static void test_refused_changes(void **state)
{
    unsigned leader = kit_await_group(&kit), dead = leader % NODES + 1, other = dead % NODES + 1;
    char number[16];

    (void)state;
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", "2", "tcp://127.0.0.1:1"), 1, "member already");
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", "0", "tcp://127.0.0.1:1"), 2, "number");
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", "7", "nowhere"), 1, "no address");
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", "7"), 1, "no member");
    kit_assert_admin(&kit, WORLD_ARGS("node", "dance"), 2, "dance");
    kit_assert_admin(&kit, WORLD_ARGS("node", "replace", "7", "8", "tcp://127.0.0.1:1"), 1, "no member");
    refused_replacements(dead, other);
    snprintf(number, sizeof number, "%u", other);
    world_process_kill(kit.node[dead]);
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", number), 1, "no majority");
    kit_assert_admin(&kit, WORLD_ARGS("node", "list"), 0, "leader");
    world_sleep_ms(2500);
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", number), 1, "no majority");
    kit_assert_admin(&kit, WORLD_ARGS("node", "list"), 0, "down");
    world_process_kill(kit.node[other]);
    world_process_kill(kit.node[leader]);
    world_process_start(kit.node[leader], NULL);
    assert_admin_at(leader, WORLD_ARGS("backup", "stale.backup"), 0, "has no leader");
}

/* The first that txadmin knows stands still, and takes connections all the same. A change goes to the leader.
 */
static void test_change_past_frozen_node(void **state)
{
    (void)state;
    kit_make_leader(&kit, 2);
    world_process_signal(kit.node[1], SIGSTOP);
    kit_assert_admin(&kit, WORLD_ARGS("--timeout", "30s", "node", "transfer", "3"), 0, "handed over");
    /* Where nobody can lead, no longer than it was told to. */
    world_process_signal(kit.node[2], SIGSTOP);
    kit_assert_admin(&kit, WORLD_ARGS("--timeout", "3s", "node", "transfer"), 4, "within 3s");
    world_process_signal(kit.node[1], SIGCONT);
    world_process_signal(kit.node[2], SIGCONT);
    kit_make_leader(&kit, 1);
}

/* No majority */

/* Two of three are killed while a transaction is open. */
static void lose_majority(unsigned first, unsigned second)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .application_name = "test",
                                        .commit_timeout_ms = 3000,
                                        .session_timeout_ms = 60000,
                                        .transaction_timeout_ms = 5000};
    PGconn *a = kit_connect(&kit, 0), *b = kit_connect(&kit, 1);
    enum tx_outcome outcome;
    char id[KIT_ID_SIZE];
    struct tx_error e;
    tx_client *client, *late;
    txn *t;

    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    snprintf(id, sizeof id, "%s", txn_id(t));
    assert_int_equal(txn_enlist_pg(t, "bank_a", a, &e), TX_OK);
    assert_int_equal(txn_enlist_pg(t, "bank_b", b, &e), TX_OK);
    kit_move(a, id, -1);
    kit_move(b, id, 1);
    world_process_kill(kit.node[first]);
    world_process_kill(kit.node[second]);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EINDOUBT);
    txn_free(t);
    options.connect_timeout_ms = 2000;
    assert_int_not_equal(tx_client_open(&late, &options, &e), TX_OK);
    if (strstr(e.msg, "majority: 1 of 3 answers") == NULL || strstr(e.msg, "knows of no leader") == NULL)
        fail_msg("does not say what is missing: %s", e.msg);
    kit_assert_admin(&kit, WORLD_ARGS("sessions"), 4, "is unreachable, 1 of 3 reachable, 2 needed");
    kit_assert_admin(&kit, WORLD_ARGS("sessions"), 4, "cannot be reached");
    world_process_start_ready(kit.node[first], NULL);
    world_process_start_ready(kit.node[second], NULL);
    (void)kit_await_group(&kit);
    kit_assert_sound(&kit);
    assert_int_equal(tx_client_outcome(client, id, &outcome, &e), TX_OK);
    assert_int_equal(outcome == TX_OUTCOME_COMMITTED ? 2 : 0, kit_receipts(&kit, id));
    tx_client_close(client);
    PQfinish(a);
    PQfinish(b);
}

static void test_follower_left_alone(void **state)
{
    unsigned leader = kit_await_group(&kit);

    (void)state;
    lose_majority(leader, leader % NODES + 1);
}

/* It leads nobody any more, and must not keep those who ask waiting. */
static void test_leader_left_alone(void **state)
{
    unsigned leader = kit_await_group(&kit);

    (void)state;
    lose_majority(leader % NODES + 1, (leader + 1) % NODES + 1);
}

/* The group */

static int open_group(void **state)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "256k", NULL};
    struct kit_options options = {.nodes = NODES, .coordinator_flags = flags};

    (void)state;
    kit_open(&kit, "group", &options);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_leader_killed),
        TEST(test_leader_killed_with_agents_at_work),
        TEST(test_leader_dies_during_a_commit),
        TEST(test_rolling_restart),
        TEST(test_waiting_for_all),
        TEST(test_transfer),
        TEST(test_lookups_are_spread),
        TEST(test_three_to_one_and_back),
        TEST(test_wiped_node_is_refused),
        TEST(test_first_node_emptied),
        TEST(test_dead_node_is_replaced),
        TEST(test_added_node_is_up),
        TEST(test_removed_node_says_so),
        TEST(test_refused_changes),
        TEST(test_change_past_frozen_node),
        TEST(test_follower_left_alone),
        TEST(test_leader_left_alone),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
