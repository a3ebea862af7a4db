/* test_log: what a coordinator does about its log of decisions when it starts: a torn tail is cut; anything
 * else that is not as it was written stops the start, and says what to do. (Every record boundary is gone
 * through in tests/unit.) */
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/decisions.h"
#include "tests/lib/kit.h"

static struct kit kit; /* its world and one coordinator */

enum {
    SESSIONS = 20,
    SNAPSHOT_SESSIONS = 1920,
    THREADS = 16,
    HISTORY = 100000, /* transactions */
    HISTORY_BYTES = 16 << 20,
    OUTSTANDING = 64,
};

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static int open_group(void **state)
{
    struct world_options options = {.name = "log", .fail = fail_test};

    (void)state;
    kit.world = world_new(&options);
    kit.coordinator = world_coordinator_new(kit.world, "coordinator",
                                            WORLD_ARGS("--segment_size", "2M", "--snapshot_size", "64k"));
    return 0;
}

/* Helpers */

static const char *in_data(const char *name, char out[2 * WORLD_PATH_SIZE])
{
    snprintf(out, 2 * WORLD_PATH_SIZE, "%s/coordinator.data/%s", world_dir(kit.world), name);
    return out;
}

/* Each test begins with an empty data directory. */
static int set_up(void **state)
{
    char pattern[2 * WORLD_PATH_SIZE];
    glob_t files;

    (void)state;
    world_process_kill(kit.coordinator);
    if (glob(in_data("*", pattern), 0, NULL, &files) == 0) {
        for (size_t i = 0; i < files.gl_pathc; i++)
            assert_int_equal(unlink(files.gl_pathv[i]), 0);
        globfree(&files);
    }
    return 0;
}

static void *open_and_close(void *n)
{
    for (int i = *(int *)n; i > 0; i--)
        tx_client_close(kit_client(&kit));
    return NULL;
}

/* Makes log entries, in many threads where there are many to make. */
static void open_sessions(int n)
{
    pthread_t threads[THREADS];
    int each = n / THREADS;

    if (n < 10 * THREADS) {
        open_and_close(&n);
        return;
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &each), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void run_and_kill(int sessions)
{
    world_process_start_ready(kit.coordinator, NULL);
    open_sessions(sessions);
    world_process_kill(kit.coordinator);
}

/* Numbers of the sessions ever opened, as the next one tells. */
static unsigned long newest_session(void)
{
    tx_client *client = kit_client(&kit);
    unsigned long session = 0;
    struct tx_error e;
    txn *t;

    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    assert_int_equal(sscanf(txn_id(t), "%*[^-]-%lu", &session), 1);
    txn_free(t);
    tx_client_close(client);
    return session;
}

/* Offset of the last byte of a file that is not zero. */
static long last_byte(const char *name)
{
    char path[2 * WORLD_PATH_SIZE];
    FILE *f = fopen(in_data(name, path), "r");
    long last = -1;
    int c;

    assert_non_null(f);
    for (long at = 0; (c = fgetc(f)) != EOF; at++) {
        if (c != 0)
            last = at;
    }
    fclose(f);
    return last;
}

static void flip(const char *name, long at)
{
    char path[2 * WORLD_PATH_SIZE];
    FILE *f = fopen(in_data(name, path), "r+");
    int c;

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    fputc(c ^ 0x40, f);
    fclose(f);
}

static void remove_file(const char *name)
{
    char path[2 * WORLD_PATH_SIZE];

    assert_int_equal(unlink(in_data(name, path)), 0);
}

/* Refuses to start, for this file, and says what to do. */
static void assert_refuses(const char *file)
{
    world_process_start(kit.coordinator, NULL);
    assert_int_equal(world_process_wait(kit.coordinator, 20000), 1);
    assert_true(world_process_logged(kit.coordinator, file));
    assert_true(world_process_logged(kit.coordinator, "restore the data directory"));
    assert_false(world_process_logged(kit.coordinator, "event=ready"));
}

/* Tests */

static void test_nothing_is_lost_by_kill(void **state)
{
    unsigned long first, second;

    (void)state;
    run_and_kill(SESSIONS);
    world_process_start_ready(kit.coordinator, NULL);
    first = newest_session();
    world_process_kill(kit.coordinator);
    world_process_start_ready(kit.coordinator, NULL);
    second = newest_session();
    assert_true(first > SESSIONS);
    assert_true(second > first);
}

static void test_nothing_is_lost_by_a_stop(void **state)
{
    (void)state;
    world_process_start_ready(kit.coordinator, NULL);
    open_sessions(SESSIONS);
    assert_int_equal(world_process_stop(kit.coordinator), 0);
    world_process_start_ready(kit.coordinator, NULL);
    assert_true(newest_session() > SESSIONS);
    assert_int_equal(world_process_stop(kit.coordinator), 0);
}

static void test_torn_tail_is_cut(void **state)
{
    (void)state;
    run_and_kill(SESSIONS);
    flip("log-00000001", last_byte("log-00000001"));
    world_process_start_ready(kit.coordinator, NULL);
    assert_true(world_process_logged(kit.coordinator, "event=log_tail_cut"));
    assert_true(newest_session() > SESSIONS - 2);
    /* Once and for all. */
    world_process_kill(kit.coordinator);
    world_process_start_ready(kit.coordinator, NULL);
    assert_false(world_process_logged(kit.coordinator, "event=log_tail_cut"));
}

static void test_damage_in_the_middle(void **state)
{
    (void)state;
    run_and_kill(SESSIONS);
    flip("log-00000001", 4096 + (last_byte("log-00000001") - 4096) / 2);
    assert_refuses("log-00000001");
    assert_refuses("log-00000001"); /* and does not heal by asking again */
}

static void test_damage_in_a_header(void **state)
{
    (void)state;
    run_and_kill(SESSIONS);
    flip("log-00000001", 3);
    assert_refuses("log-00000001");
}

static void test_tail_that_a_clean_stop_left(void **state)
{
    (void)state;
    world_process_start_ready(kit.coordinator, NULL);
    open_sessions(SESSIONS);
    assert_int_equal(world_process_stop(kit.coordinator), 0);
    flip("log-00000001", last_byte("log-00000001"));
    assert_refuses("log-00000001");
}

static void test_missing_log_file(void **state)
{
    (void)state;
    run_and_kill(SESSIONS);
    remove_file("log-00000001");
    assert_refuses("log-00000001");
}

static void test_damaged_metadata(void **state)
{
    (void)state;
    run_and_kill(SESSIONS);
    flip("meta", 20);
    assert_refuses("meta");
}

/* Name of the one snapshot there is. */
static void find_snapshot(char out[64])
{
    char pattern[2 * WORLD_PATH_SIZE];
    glob_t files;

    assert_int_equal(glob(in_data("snapshot-*", pattern), 0, NULL, &files), 0);
    snprintf(out, 64, "%s", strrchr(files.gl_pathv[files.gl_pathc - 1], '/') + 1);
    globfree(&files);
}

static void test_snapshot_takes_the_place_of_the_log(void **state)
{
    char name[64];
    long middle;

    (void)state;
    run_and_kill(SNAPSHOT_SESSIONS);
    find_snapshot(name);
    world_process_start_ready(kit.coordinator, NULL);
    assert_true(newest_session() > SNAPSHOT_SESSIONS);
    world_process_kill(kit.coordinator);
    find_snapshot(name);
    middle = last_byte(name) / 2;
    flip(name, middle);
    assert_refuses(name);
    flip(name, middle);
    world_process_start_ready(kit.coordinator, NULL);
    world_process_kill(kit.coordinator);
    find_snapshot(name);
    remove_file(name);
    assert_refuses(name);
}

/* Of the log's files, and of its snapshots. */
static size_t bytes_of_data(void)
{
    char pattern[2 * WORLD_PATH_SIZE];
    struct stat st;
    size_t sum = 0;
    glob_t files;

    assert_int_equal(glob(in_data("*", pattern), 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        sum += stat(files.gl_pathv[i], &st) == 0 ? (size_t)st.st_size : 0;
    globfree(&files);
    return sum;
}

static void decide(uint64_t count)
{
    struct decisions_options options = {
        .coordinators = world_coordinators(kit.world), .outstanding = OUTSTANDING, .count = count};
    uint64_t done;
    struct tx_error e;

    if (decisions_run(&options, &done, &e) != TX_OK || done != count)
        fail_msg("%llu of %llu: %s", (unsigned long long)done, (unsigned long long)count, e.msg);
}

/* What is over leaves nothing behind, in memory or on the disk, however many there were. */
static void test_history_takes_no_room(void **state)
{
    struct tx_error e;
    long peak_kib;
    size_t bytes;

    (void)state;
    world_process_start_ready(kit.coordinator, NULL);
    assert_int_equal(decisions_register(kit.world, &e), TX_OK);
    decide(HISTORY / 5);
    peak_kib = world_process_peak_kib(kit.coordinator);
    decide(HISTORY);
    bytes = bytes_of_data();
    printf("# %ld KiB, then %ld KiB; %zu KiB on the disk\n", peak_kib, world_process_peak_kib(kit.coordinator),
           bytes >> 10);
#ifndef __SANITIZE_ADDRESS__ /* it keeps what was freed */
    assert_true(world_process_peak_kib(kit.coordinator) < peak_kib + peak_kib / 4);
#endif
    assert_true(bytes < HISTORY_BYTES);
    world_process_kill(kit.coordinator);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_lost_by_kill),
        TEST(test_nothing_is_lost_by_a_stop),
        TEST(test_torn_tail_is_cut),
        TEST(test_damage_in_the_middle),
        TEST(test_damage_in_a_header),
        TEST(test_tail_that_a_clean_stop_left),
        TEST(test_missing_log_file),
        TEST(test_damaged_metadata),
        TEST(test_snapshot_takes_the_place_of_the_log),
        TEST(test_history_takes_no_room),
    };

    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
