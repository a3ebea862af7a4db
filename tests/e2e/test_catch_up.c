/* test_catch_up: nodes that lag behind in a group of three whose log is short: away for longer than the log
 * reaches back; a new one whose data is lost on the way; and how much disk all of them take, however long the
 * load goes on. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/decisions.h"
#include "tests/lib/kit.h"

static struct kit kit;

enum {
    NODES = 3,
    MANY = 200000, /* decisions: a log of twice the limit, had none of it been dropped */
    SOME = 4000,   /* more than the log keeps */
    OUTSTANDING = 128,
    SEGMENT = 2 << 20,
    /* Segments in use and to come, and those kept ready; one that a snapshot lets go of a moment later; and
     * small files. */
    DISK_LIMIT = 6 * SEGMENT,
};

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

static void decide(uint64_t count)
{
    struct decisions_options options = {
        .coordinators = world_coordinators(kit.world), .outstanding = OUTSTANDING, .count = count};
    struct tx_error e;
    uint64_t done;

    if (decisions_run(&options, &done, &e) != TX_OK)
        fail_msg("after %llu decisions: %s", (unsigned long long)done, e.msg);
    assert_int_equal(done, count);
}

static double status_number(const char *object, const char *name)
{
    cJSON *status = world_admin_json(kit.world, WORLD_ARGS("status"), NULL);
    double n = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(status, object), name));

    cJSON_Delete(status);
    return n;
}

/* Disk */

static void *decide_many(void *arg)
{
    int *over = arg;

    decide(MANY);
    __atomic_store_n(over, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void test_disk_use_is_bounded(void **state)
{
    size_t bytes, most[NODES + 1] = {0};
    pthread_t thread;
    int over = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, decide_many, &over), 0);
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        for (unsigned id = 1; id <= NODES; id++) {
            bytes = world_node_bytes(kit.world, id);
            most[id] = bytes > most[id] ? bytes : most[id];
        }
        world_sleep_ms(5);
    }
    pthread_join(thread, NULL);
    (void)kit_await_group(&kit);
    printf("# most bytes on disk in %d decisions: %zu, %zu, %zu; snapshots: %.0f\n", MANY, most[1], most[2],
           most[3], status_number("log", "snapshots"));
    for (unsigned id = 1; id <= NODES; id++)
        assert_true(most[id] <= DISK_LIMIT);
    /* The log alone, had none of it been dropped, is larger. */
    assert_true(status_number("log", "snapshots") * (64 << 10) > DISK_LIMIT);
}

/* Away for longer than the log reaches back */

static void fall_behind(unsigned id)
{
    world_process_kill(kit.node[id]);
    kit_load_drain(&kit);
    decide(SOME);
}

static void test_away_for_long(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;

    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    fall_behind(id);
    world_process_start_ready(kit.node[id], NULL);
    world_process_await(kit.node[id], "event=snapshot_install", KIT_SETTLE_MS);
    (void)kit_await_group(&kit);
    kit_make_leader(&kit, id);
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    kit_load_end(&kit);
}

/* The disk is full of a snapshot from the leader: it dies with it, every time, until there is room. */
static void test_disk_full_of_a_snapshot_from_the_leader(void **state)
{
    unsigned id = kit_await_group(&kit) % NODES + 1;

    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    fall_behind(id);
    world_process_fault(kit.node[id], (struct world_fault){WORLD_WRITE, "/snapshot", ENOSPC});
    for (int i = 0; i < 2; i++) {
        world_process_start(kit.node[id], NULL);
        assert_int_equal(world_process_wait(kit.node[id], KIT_SETTLE_MS), 1);
        assert_true(world_process_logged(kit.node[id], "snapshot from the leader: snapshot.tmp: No space"));
        assert_true(world_process_logged(kit.node[id], "make room, then start this node again"));
    }
    world_process_fault(kit.node[id], (struct world_fault){0});
    world_process_start_ready(kit.node[id], NULL);
    world_process_await(kit.node[id], "event=snapshot_install", KIT_SETTLE_MS);
    (void)kit_await_group(&kit);
    kit_load_end(&kit);
}

/* A new node that loses its data before it votes */

static void restart_empty(unsigned id)
{
    world_process_kill(kit.node[id]);
    world_node_wipe(kit.world, id);
    world_process_start(kit.node[id], NULL);
}

/* txadmin node add, while other things happen. */
static struct world_process *start_adding(unsigned id)
{
    char program[WORLD_PATH_SIZE], number[16];
    struct world_process *p;

    snprintf(number, sizeof number, "%u", id);
    p = world_process_new(kit.world, "adding",
                          WORLD_ARGS(world_program(kit.world, "txadmin", program), "node", "add", number,
                                     world_node_peer(kit.world, id)));
    world_process_start(p, NULL);
    return p;
}

/* A node that was removed waits to be added again, for what it can only learn by a snapshot. */
static void begin_newcomer(unsigned id)
{
    kit_make_leader(&kit, id % NODES + 1);
    kit_remove_node(&kit, id);
    decide(SOME);
    world_process_start(kit.node[id], NULL);
    world_process_await(kit.node[id], "event=waiting", KIT_SETTLE_MS);
}

static void assert_added(struct world_process *adding)
{
    int code = world_process_wait(adding, 2 * KIT_SETTLE_MS);

    if (code != 0)
        fail_msg("node add: exit code %d: %s", code, world_process_output(adding));
    (void)kit_await_group(&kit);
}

/* Whether a node that was started empty is taken in. */
static bool is_taken_in(unsigned id)
{
    uint64_t end = world_now_ms() + KIT_SETTLE_MS;

    while (world_process_running(kit.node[id]) && !world_process_logged(kit.node[id], "event=ready") &&
           world_now_ms() < end)
        world_sleep_ms(20);
    return world_process_running(kit.node[id]);
}

/* While it is being added: the same command goes on with it. It has acknowledged the snapshot when it dies at
 * the first entry of its log. Where nothing came between the two it is a voter already, and is turned away. */
static void test_newcomer_is_wiped_while_it_is_added(void **state)
{
    struct world_process *adding;

    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    begin_newcomer(NODES);
    world_process_fault(kit.node[NODES], (struct world_fault){WORLD_WRITE, "/log-00000002", EIO});
    adding = start_adding(NODES);
    assert_int_equal(world_process_wait(kit.node[NODES], KIT_SETTLE_MS), 1);
    world_process_fault(kit.node[NODES], (struct world_fault){0});
    restart_empty(NODES);
    if (!is_taken_in(NODES)) {
        assert_int_equal(world_process_wait(adding, KIT_SETTLE_MS), 0);
        kit_remove_node(&kit, NODES);
        kit_add_node(&kit, NODES);
    } else {
        assert_added(adding);
    }
    kit_load_end(&kit);
}

static bool is_listed(void *arg)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("node", "list"));
    bool found = strstr(o.text, arg) != NULL;

    world_output_release(&o);
    return found;
}

/* The leader is gone before it has caught up: it is a member without a vote, and nobody goes on with it until
 * it is added once more; whatever became of its data meanwhile. */
static void test_newcomer_is_left_without_a_vote(void **state)
{
    struct world_process *adding;

    (void)state;
    begin_newcomer(NODES);
    world_process_signal(kit.node[NODES], SIGSTOP);
    adding = start_adding(NODES);
    assert_true(world_wait(KIT_SETTLE_MS, is_listed, "catching up"));
    world_process_kill(kit.node[1]);
    world_process_kill(adding);
    world_process_start_ready(kit.node[1], NULL);
    assert_true(world_wait(KIT_SETTLE_MS, is_listed, "leader"));
    assert_true(is_listed("catching up"));
    restart_empty(NODES);
    adding = start_adding(NODES);
    assert_added(adding);
}

/* The group */

static int open_group(void **state)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "64k", NULL};
    struct kit_options options = {.nodes = NODES, .coordinator_flags = flags, .watched = true};

    (void)state;
    kit_open(&kit, "catch_up", &options);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_disk_use_is_bounded),
        TEST(test_away_for_long),
        TEST(test_disk_full_of_a_snapshot_from_the_leader),
        TEST(test_newcomer_is_wiped_while_it_is_added),
        TEST(test_newcomer_is_left_without_a_vote),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
