/* test_five: a group that grows from one coordinator to five and shrinks back to one, under load all the time.
 * Five survive the loss of two at once; a sixth is refused; two and four are steps on the way, and said to be.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;

enum { FIVE = 5, SIXTH = 6 };

static const char even[] = "an even number of nodes survives no more failures than one node less";

/* What list and doctor say about a group of this size whose nodes are all up. */
static void assert_told_of_size(void)
{
    struct world_output list = world_admin(kit.world, WORLD_ARGS("node", "list"));
    struct world_output doctor = world_admin(kit.world, WORLD_ARGS("doctor"));
    bool warns = kit.n_nodes % 2 == 0;

    assert_int_equal(list.code, 0);
    if ((strstr(list.text, even) != NULL) != warns || (strstr(doctor.text, even) != NULL) != warns)
        fail_msg("%u nodes: %s\n%s", kit.n_nodes, list.text, doctor.text);
    world_output_release(&list);
    world_output_release(&doctor);
}

static void grow_to(unsigned n)
{
    while (kit.n_nodes < n) {
        kit_new_node(&kit, kit.n_nodes + 1, true);
        kit_add_node(&kit, kit.n_nodes + 1);
        kit.n_nodes++;
        (void)kit_await_group(&kit);
        assert_told_of_size();
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
}

static void shrink_to(unsigned n)
{
    kit_make_leader(&kit, 1);
    while (kit.n_nodes > n) {
        kit_remove_node(&kit, kit.n_nodes--);
        (void)kit_await_group(&kit);
        assert_told_of_size();
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
}

static void assert_sixth_is_refused(void)
{
    kit_new_node(&kit, SIXTH, false);
    world_process_start(kit.node[SIXTH], NULL);
    world_process_await(kit.node[SIXTH], "event=waiting", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", "6", world_node_peer(kit.world, SIXTH)), 1,
                     "a group has 5 nodes at most: more make every commit slower and no safer");
    (void)kit_await_group(&kit);
    assert_int_equal(world_process_stop(kit.node[SIXTH]), 0);
}

/* The numbers are taken round and round. */
static unsigned behind(unsigned id, unsigned steps)
{
    return (id + steps - 1) % FIVE + 1;
}

static void lose_two(unsigned a, unsigned b)
{
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    world_process_kill(kit.node[a]);
    world_process_kill(kit.node[b]);
    kit_load_drain(&kit);
    kit_load_progress(&kit, 2 * KIT_LOAD_PROGRESS);
    world_process_start_ready(kit.node[a], NULL);
    world_process_start_ready(kit.node[b], NULL);
    (void)kit_await_group(&kit);
}

static void assert_warns_of_the_last_majority(unsigned a, unsigned b)
{
    world_process_kill(kit.node[a]);
    world_process_kill(kit.node[b]);
    world_sleep_ms(2500);
    kit_assert_admin(&kit, WORLD_ARGS("node", "list"), 0, "no node more may fail");
    kit_assert_admin(&kit, WORLD_ARGS("node", "remove", "1"), 1, "txadmin node transfer");
    world_process_start_ready(kit.node[a], NULL);
    world_process_start_ready(kit.node[b], NULL);
    (void)kit_await_group(&kit);
}

static void test_one_to_five_and_back(void **state)
{
    unsigned leader;

    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    grow_to(FIVE);
    assert_sixth_is_refused();
    leader = kit_await_group(&kit);
    lose_two(leader, behind(leader, 1));
    leader = kit_await_group(&kit);
    lose_two(behind(leader, 1), behind(leader, 3));
    kit_make_leader(&kit, 1);
    assert_warns_of_the_last_majority(2, 5);
    shrink_to(1);
    kit_load_end(&kit);
}

static int open_group(void **state)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "64k", NULL};
    struct kit_options options = {.nodes = 1, .coordinator_flags = flags};

    (void)state;
    kit_open(&kit, "five", &options);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_to_five_and_back)};

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
