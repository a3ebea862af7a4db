/* test_disk: disks of a group of three that are full, or fail. The node stops, says which file, which error and
 * what to do, and exits with 1; the others go on without an error to any client. While the cause lasts a start
 * fails with one line; when it is gone the node starts, catches up and votes.
 *
 * Each node's data directory is a file system of its own, in memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;

enum {
    NODES = 3,
    DISK_BYTES = 32 << 20,
};

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* What all faults have in common */

static unsigned pick(bool leader)
{
    unsigned id = kit_await_group(&kit);

    return leader ? id : id % NODES + 1;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* It said so in a line that an operator can act on, in these words. */
static void assert_said(const struct world_process *p, const char *file, const char *error, const char *remedy)
{
    char *log = world_process_output(p);

    if (strstr(log, file) == NULL || strstr(log, error) == NULL || strstr(log, remedy) == NULL)
        fail_msg("not said: «%s», «%s» and «%s»:\n%s", file, error, remedy, log);
    free(log);
}

/* Ends by itself, for what is wrong with the disk, and the others go on. */
static void assert_stops(unsigned id, const char *file, const char *error, const char *remedy)
{
    assert_int_equal(world_process_wait(kit.node[id], KIT_SETTLE_MS), 1);
    assert_true(world_process_logged(kit.node[id], "event=fatal"));
    assert_said(kit.node[id], file, error, remedy);
    kit_load_drain(&kit);
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
}

/* As its supervisor would, while the cause lasts: one line, and no half-started node. */
static void assert_start_fails(unsigned id, const char *error, const char *remedy)
{
    char *log;

    world_process_start(kit.node[id], NULL);
    assert_int_equal(world_process_wait(kit.node[id], KIT_SETTLE_MS), 1);
    assert_said(kit.node[id], "txcoordd: ", error, remedy);
    log = world_process_output(kit.node[id]);
    if (count_lines(log) != 1)
        fail_msg("more than one line: %s", log);
    free(log);
}

/* It is back, and votes: with another node down, nothing is decided without it. */
static void assert_comes_back(unsigned id)
{
    unsigned other;

    world_process_start_ready(kit.node[id], NULL);
    other = kit_await_group(&kit);
    if (other == id)
        other = id % NODES + 1;
    world_process_kill(kit.node[other]);
    kit_load_drain(&kit);
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    world_process_start_ready(kit.node[other], NULL);
    (void)kit_await_group(&kit);
    kit_load_end(&kit);
}

/* The disk is full */

static const char no_space[] = "No space left on device", make_room[] = "make room, then start this node again";

static void fill_disk(bool leader)
{
    unsigned id = pick(leader);

    kit_load_begin(&kit, KIT_MIXED);
    world_node_disk_fill(kit.world, id, 0);
    assert_stops(id, "", no_space, make_room);
    assert_start_fails(id, no_space, make_room);
    world_node_disk_free(kit.world, id);
    assert_comes_back(id);
}

static void test_disk_full_on_a_follower(void **state)
{
    (void)state;
    fill_disk(false);
}

static void test_disk_full_on_the_leader(void **state)
{
    (void)state;
    fill_disk(true);
}

/* The disk fails */

static void fail_calls(unsigned id, struct world_fault fault, const char *file, const char *remedy)
{
    kit_load_begin(&kit, KIT_MIXED);
    world_process_fault(kit.node[id], fault);
    assert_stops(id, file, strerror(fault.error), remedy);
    world_process_fault(kit.node[id], (struct world_fault){0});
    assert_comes_back(id);
}

static const char look[] = "look at the disk and the kernel's log";

static void test_forced_write_fails_on_a_follower(void **state)
{
    (void)state;
    fail_calls(pick(false), (struct world_fault){WORLD_SYNC, "/log-", EIO}, "log-0", look);
}

static void test_forced_write_fails_on_the_leader(void **state)
{
    (void)state;
    fail_calls(pick(true), (struct world_fault){WORLD_SYNC, "/log-", EIO}, "log-0", look);
}

static void test_write_fails_on_the_leader(void **state)
{
    (void)state;
    fail_calls(pick(true), (struct world_fault){WORLD_WRITE, "/log-", EIO}, "log-0", look);
}

static void test_disk_full_in_a_snapshot(void **state)
{
    (void)state;
    fail_calls(pick(false), (struct world_fault){WORLD_WRITE, "/snapshot", ENOSPC}, "snapshot", make_room);
    fail_calls(pick(true), (struct world_fault){WORLD_WRITE, "/snapshot", ENOSPC}, "snapshot", make_room);
}

/* All of the disk fails, and goes on failing. */
static void test_broken_disk(void **state)
{
    unsigned id = pick(false);

    (void)state;
    kit_load_begin(&kit, KIT_DIRECT);
    world_process_fault(kit.node[id], (struct world_fault){WORLD_WRITE | WORLD_SYNC, "/", EIO});
    assert_stops(id, "log-0", strerror(EIO), look);
    assert_start_fails(id, strerror(EIO), look);
    assert_start_fails(id, strerror(EIO), look);
    world_process_fault(kit.node[id], (struct world_fault){0});
    assert_comes_back(id);
}

/* Limits of the process */

/* A coordinator of its own under `limits`, a shell's words. */
static struct world_process *start_limited(const char *name, const char *limits)
{
    char program[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE + 32], listen[64], script[128];
    char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];
    struct world_process *p;

    snprintf(script, sizeof script, "%s && exec \"$@\"", limits);
    snprintf(data, sizeof data, "%s/%s.data", world_dir(kit.world), name);
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", world_port(kit.world));
    p = world_process_new(
        kit.world, name,
        WORLD_ARGS("/bin/sh", "-c", script, "sh", world_program(kit.world, "txcoordd", program), "--data_dir",
                   data, "--listen", listen, "--identity", world_identity(kit.world, "node_0", identity),
                   "--keys", world_keys(kit.world, keys)));
    world_process_start(p, NULL);
    return p;
}

static void assert_refuses_limit(struct world_process *p, const char *error, const char *remedy)
{
    char *log;

    assert_int_equal(world_process_wait(p, KIT_SETTLE_MS), 1);
    assert_said(p, "txcoordd: ", error, remedy);
    log = world_process_output(p);
    assert_int_equal(count_lines(log), 1);
    free(log);
}

static unsigned long open_files_limit(struct world_process *p)
{
    char path[64], line[256];
    unsigned long soft = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/limits", world_process_pid(p));
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        sscanf(line, "Max open files %lu", &soft);
    fclose(f);
    return soft;
}

/* Each connection takes one: what the process may have it takes, and too few are refused before they are short
 * in the middle of something. */
static void test_open_files(void **state)
{
    struct world_process *p;

    (void)state;
    assert_refuses_limit(start_limited("few_files", "ulimit -n 40"), "limit of open files", "LimitNOFILE");
    p = start_limited("more_files", "ulimit -Sn 40 && ulimit -Hn 400");
    world_process_await(p, "event=ready", KIT_SETTLE_MS);
    assert_int_equal(open_files_limit(p), 400);
    assert_int_equal(world_process_stop(p), 0);
}

/* Not a signal's end: a message. */
static void test_file_size_limit(void **state)
{
    struct world_process *p = start_limited("small_files", "ulimit -f 100");

    (void)state;
    assert_refuses_limit(p, strerror(EFBIG), "LimitFSIZE");
}

/* The group */

static int open_group(void **state)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "64k", NULL};
    struct kit_options options = {
        .nodes = NODES, .coordinator_flags = flags, .disk_bytes = DISK_BYTES, .watched = true};

    (void)state;
    kit_open(&kit, "disk", &options);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_disk_full_on_a_follower),
        TEST(test_disk_full_on_the_leader),
        TEST(test_forced_write_fails_on_a_follower),
        TEST(test_forced_write_fails_on_the_leader),
        TEST(test_write_fails_on_the_leader),
        TEST(test_disk_full_in_a_snapshot),
        TEST(test_broken_disk),
        TEST(test_open_files),
        TEST(test_file_size_limit),
    };

    kit_main(argc, argv);
    world_private_mounts();
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
