/* test_disorder: a group of three coordinators whose messages to each other come up to 100 ms late, twice, in
 * another order, or not at all (tests/lib/proxy.h), under load, while leaders are killed and frozen.
 */
#include <signal.h>
#include <stdio.h>

#include "tests/lib/kit.h"

static struct kit kit;

enum {
    NODES = 3,
    FAILOVERS = 3,
    FREEZES = 2,
};

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

static void test_undisturbed(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_CROWD);
    kit_load_progress(&kit, 10 * KIT_LOAD_PROGRESS);
    kit_load_end(&kit);
}

static void test_leader_killed(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    for (int i = 0; i < FAILOVERS; i++) {
        unsigned leader = kit_await_group(&kit);

        world_process_kill(kit.node[leader]);
        kit_load_drain(&kit);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
        world_process_start_ready(kit.node[leader], NULL);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end(&kit);
}

static void test_leader_frozen(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    for (int i = 0; i < FREEZES; i++) {
        unsigned leader = kit_await_group(&kit);

        world_process_signal(kit.node[leader], SIGSTOP);
        kit_load_drain(&kit);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
        world_process_signal(kit.node[leader], SIGCONT);
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end(&kit);
}

/* The group */

static int open_group(void **state)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "256k", NULL};
    struct kit_options options = {.nodes = NODES, .disorder = true, .coordinator_flags = flags};

    (void)state;
    kit_open(&kit, "disorder", &options);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_undisturbed),
        TEST(test_leader_killed),
        TEST(test_leader_frozen),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
