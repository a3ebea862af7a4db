/* test_partition: a group of three coordinators whose network fails: cuts between nodes, in both directions or
 * in one, clients and agents that reach a minority only, lost packets; and a leader that stands still. Every
 * daemon has a host of its own (world_net.h).
 *
 * While a majority is together and can be reached, no transaction may be rolled back or left in doubt. In every
 * case: what was told is what happened, a node that lost touch gives no wrong answer, and everything is settled
 * when the network is whole again.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"
#include "tests/lib/world_net.h"

static struct kit kit;
static struct world_host *edge; /* of a client that is cut off */

enum {
    NODES = 3,
    FREEZES = 2,
    QUESTIONS = 10, /* asked at a node that lost touch */
    LOSS_MS = 5000, /* how long the network is bad */
    LOSS_PERCENT = 20,
};

typedef void cut(struct world_host *h, const struct world_host *other);

static int set_up(void **state)
{
    (void)state;
    world_heal(kit.world);
    world_clients_at(kit.world, NULL);
    kit_settle(&kit);
    return 0;
}

static struct world_host *host(unsigned id)
{
    return world_process_host(kit.node[id]);
}

static void from_peers(unsigned id, cut *how)
{
    for (unsigned other = 1; other <= NODES; other++) {
        if (other != id)
            how(host(id), host(other));
    }
}

/* What operators are told */

struct saying {
    const char *const *args;
    const char *part;
};

static bool admin_says(void *arg)
{
    const struct saying *s = arg;
    struct world_output o = world_admin(kit.world, s->args);
    bool said = strstr(o.text, s->part) != NULL || strstr(o.error, s->part) != NULL;

    world_output_release(&o);
    return said;
}

/* Nodes do not notice at once that they hear nothing any more. */
static void await_admin(const char *const *args, const char *part)
{
    struct saying s = {.args = args, .part = part};

    if (!world_wait(KIT_SETTLE_MS, admin_says, &s))
        fail_msg("txadmin %s does not say «%s»", args[0], part);
}

/* Asked itself, it says so. */
static void await_stepped_down(unsigned id)
{
    char part[32];

    snprintf(part, sizeof part, "node %u, follower", id);
    await_admin(WORLD_ARGS("--coordinators", world_node_address(kit.world, id), "status"), part);
}

/* Answers of a node that lost touch */

/* About the newest transfers, from number `first` on, that were told committed. Returns how many. */
static uint32_t send_questions(struct kit_asker *a, size_t first)
{
    size_t last = kit_load_told(&kit);

    if (last > first + QUESTIONS)
        first = last - QUESTIONS;
    for (size_t i = first; i < last; i++)
        kit_ask_send(a, (uint32_t)i, kit.load.account.told[i].id);
    return (uint32_t)(last - first);
}

/* It may know of them, or decline to answer. (FORGOTTEN: it has learned that all of it is over.) */
static void assert_no_wrong_answer(struct kit_asker *a, uint32_t n)
{
    struct kit_answer answer;

    for (; n > 0 && kit_ask_answer(a, &answer); n--) {
        const struct kit_told *t = &kit.load.account.told[answer.number];

        if (answer.code == TX_OK && answer.outcome != TX_OUTCOME_COMMITTED &&
            answer.outcome != TX_OUTCOME_FORGOTTEN)
            fail_msg("%s was told %d, and the outcome is said to be %d", t->id, t->rc, answer.outcome);
        if (answer.code != TX_OK && answer.code != TX_ENOTLEADER && answer.code != TX_EUNKNOWN)
            fail_msg("the question for %s was answered with «%s»", t->id, tx_strerror(answer.code));
    }
}

/* The leader */

/* It wakes up believing that it leads, alone in its network, and questions wait for it. */
static void test_leader_frozen(void **state)
{
    struct kit_asker asker;
    unsigned leader;
    size_t before;
    uint32_t asked;

    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    for (int i = 0; i < FREEZES; i++) {
        leader = kit_await_group(&kit);
        kit_ask_open(&kit, leader, &asker);
        world_process_signal(kit.node[leader], SIGSTOP);
        from_peers(leader, world_host_cut);
        kit_load_drain(&kit);
        before = kit_load_told(&kit) + 1;
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
        asked = send_questions(&asker, before);
        assert_true(asked > 0);
        world_process_signal(kit.node[leader], SIGCONT);
        assert_no_wrong_answer(&asker, asked);
        kit_ask_close(&asker);
        await_stepped_down(leader);
        world_heal(kit.world);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end(&kit);
}

/* The leader loses its peers; clients and agents reach everybody. */
static void cut_leader(enum kit_mode mode, cut *how)
{
    struct kit_asker asker;
    unsigned leader;
    size_t before;

    kit_load_begin(&kit, mode);
    leader = kit_await_group(&kit);
    kit_ask_open(&kit, leader, &asker);
    from_peers(leader, how);
    kit_load_drain(&kit);
    before = kit_load_told(&kit);
    kit_load_progress(&kit, 1);
    assert_no_wrong_answer(&asker, send_questions(&asker, before));
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    assert_no_wrong_answer(&asker, send_questions(&asker, before));
    kit_ask_close(&asker);
    await_stepped_down(leader);
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    world_heal(kit.world);
    (void)kit_await_group(&kit);
    kit_load_end(&kit);
}

static void test_leader_cut_off(void **state)
{
    (void)state;
    cut_leader(KIT_DIRECT, world_host_cut);
    cut_leader(KIT_MIXED, world_host_cut);
}

static void test_leader_hears_and_cannot_speak(void **state)
{
    (void)state;
    cut_leader(KIT_MIXED, world_host_mute);
    cut_leader(KIT_MIXED, world_host_mute_lines);
}

static void test_leader_speaks_and_cannot_hear(void **state)
{
    (void)state;
    cut_leader(KIT_MIXED, world_host_deafen);
    cut_leader(KIT_MIXED, world_host_deafen_lines);
}

/* A minority */

/* Without an answer in this time the client of the load goes on to the next transfer. */
static void begin_impatient_load(enum kit_mode mode, struct world_host *at)
{
    setenv("KIT_ANSWER_MS", "1500", 1);
    world_clients_at(kit.world, at);
    kit_load_begin(&kit, mode);
    world_clients_at(kit.world, NULL);
    unsetenv("KIT_ANSWER_MS");
}

static void hear_for(unsigned ms)
{
    for (uint64_t end = world_now_ms() + ms; world_now_ms() < end;)
        kit_hear(kit.load.client, &kit.load.account, 50);
}

static size_t count_told(size_t first, int rc)
{
    size_t n = 0;

    for (size_t i = first; i < kit_load_told(&kit); i++)
        n += kit.load.account.told[i].rc == rc;
    return n;
}

static void await_told(int rc)
{
    for (uint64_t end = world_now_ms() + KIT_SETTLE_MS; count_told(0, rc) == 0;) {
        if (world_now_ms() > end)
            fail_msg("the client was not told «%s»", tx_strerror(rc));
        kit_hear(kit.load.client, &kit.load.account, 50);
    }
}

/* Every node is alone. What was asked for after that is not committed, whoever asks. */
static void test_no_majority(void **state)
{
    size_t before;

    (void)state;
    begin_impatient_load(KIT_MIXED, NULL);
    for (unsigned id = 1; id <= NODES; id++)
        from_peers(id, world_host_mute);
    kit_load_drain(&kit);
    before = kit.load.account.n;
    await_told(TX_EINDOUBT);
    assert_int_equal(count_told(before, TX_OK), 0);
    assert_true(world_process_logged(kit.load.client, "for want of a majority"));
    await_admin(WORLD_ARGS("node", "list"), "no majority");
    await_admin(WORLD_ARGS("status"), "no leader is known");
    await_admin(WORLD_ARGS("doctor"), "bring a majority of the group's nodes up");
    assert_false(admin_says(&(struct saying){WORLD_ARGS("doctor"), "start txagentd"})); /* it runs */
    await_admin(WORLD_ARGS("--timeout", "1s", "transactions"), "majority");
    world_heal(kit.world);
    (void)kit_await_group(&kit);
    kit_load_end_mixed(&kit);
}

/* A client that reaches one node only. Its transactions stay undecided, until recovery rolls them back; those
 * of another client go on. */
static void client_reaches(unsigned node, const char *complaint)
{
    begin_impatient_load(KIT_CROWD, edge);
    for (unsigned id = 1; id <= NODES; id++) {
        if (id != node)
            world_host_cut(edge, host(id));
    }
    await_told(TX_EINDOUBT);
    if (!world_process_logged(kit.load.client, complaint))
        fail_msg("the client does not say «%s»", complaint);
    world_heal(kit.world);
    (void)kit_await_group(&kit);
    kit_load_end_mixed(&kit);
}

/* The node is fine, but it is not the one that decides. */
static void test_client_reaches_no_leader(void **state)
{
    unsigned leader = kit_await_group(&kit);
    char complaint[WORLD_LINE_SIZE];

    (void)state;
    snprintf(complaint, sizeof complaint, "%s (", world_node_address(kit.world, leader));
    client_reaches(leader % NODES + 1, complaint);
}

static void test_client_reaches_minority(void **state)
{
    unsigned leader = kit_await_group(&kit);

    (void)state;
    from_peers(leader, world_host_cut);
    client_reaches(leader, "for want of a majority");
}

/* An agent that reaches one node only: what it has prepared waits. */
static void agent_reaches(unsigned node, const char *const *complaints)
{
    struct world_host *h = world_process_host(kit.agent[1]);

    begin_impatient_load(KIT_MIXED, NULL);
    for (unsigned id = 1; id <= NODES; id++) {
        if (id != node)
            world_host_cut(h, host(id));
    }
    for (size_t i = 0; complaints[i] != NULL; i++)
        world_process_await(kit.agent[1], complaints[i], KIT_SETTLE_MS);
    world_heal(kit.world);
    (void)kit_await_group(&kit);
    kit_await_agents(&kit);
    kit_load_end_mixed(&kit);
}

static void test_agent_reaches_no_leader(void **state)
{
    unsigned leader = kit_await_group(&kit);
    char complaint[WORLD_LINE_SIZE];

    (void)state;
    snprintf(complaint, sizeof complaint, "%s (", world_node_address(kit.world, leader));
    agent_reaches(leader % NODES + 1, WORLD_ARGS("state=none", complaint));
}

static void test_agent_reaches_minority(void **state)
{
    unsigned leader = kit_await_group(&kit);

    (void)state;
    from_peers(leader, world_host_cut);
    agent_reaches(leader, WORLD_ARGS("state=none", "no leader"));
}

/* Packet loss */

static void test_loss(void **state)
{
    size_t before;

    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    before = kit_load_told(&kit);
    for (unsigned id = 1; id <= NODES; id++) {
        for (unsigned other = 1; other <= NODES; other++) {
            if (other != id)
                world_host_lose(host(id), host(other), LOSS_PERCENT);
        }
    }
    hear_for(LOSS_MS);
    printf("# transfers told in %d s with %d %% of the packets lost: %zu\n", LOSS_MS / 1000, LOSS_PERCENT,
           kit_load_told(&kit) - before);
    world_heal(kit.world);
    (void)kit_await_group(&kit);
    kit_load_end_mixed(&kit);
}

/* The group */

static int open_group(void **state)
{
    struct kit_options options = {.nodes = NODES, .network = true};

    (void)state;
    kit_open(&kit, "partition", &options);
    edge = world_host_new(kit.world);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_leader_frozen),
        TEST(test_leader_cut_off),
        TEST(test_leader_hears_and_cannot_speak),
        TEST(test_leader_speaks_and_cannot_hear),
        TEST(test_no_majority),
        TEST(test_client_reaches_no_leader),
        TEST(test_client_reaches_minority),
        TEST(test_agent_reaches_no_leader),
        TEST(test_agent_reaches_minority),
        TEST(test_loss),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
