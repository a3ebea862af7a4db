/* test_crash: every crash point of libtx/shared/crash.h. The process that the point is in dies there, during
 * transfers, and is started again; then the four properties of docs/protocol must hold: both branches or
 * neither, what the client was told is what happened, nothing stays prepared, and asking again gives the same
 * answer.
 *
 * The table has a row a point, so a point without a test does not compile into a passing one.
 */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "tests/lib/kit.h"

static struct kit kit;
static bool mariadb; /* bank_b is, and its agent is the one that dies */

enum load {
    A_FEW = 12,
    MANY = 600,   /* enough for a snapshot of the smallest size */
    MORE = 14000, /* enough to fill a log file of the smallest size */
};

struct crash_case {
    enum kit_mode mode;
    int passage; /* the n-th; never 0 */
    int count;   /* transfers; 0: A_FEW */
    bool expiry; /* a client is killed besides, so that a session expires */
};

/* A coordinator passes the points of its log at its start already, so a later passage is taken there. */
static const struct crash_case cases[CRASH_POINT_COUNT] = {
    [CRASH_CLIENT_BEFORE_PREPARE] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_ONE_PREPARED] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_ALL_PREPARED] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_COMMIT_SENT] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_DECIDED] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_ONE_COMMITTED] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_ALL_COMMITTED] = {KIT_DIRECT, 3},
    [CRASH_CLIENT_ONE_PHASE_SENT] = {KIT_SINGLE, 3},
    [CRASH_COORD_COMMIT_RECEIVED] = {KIT_DIRECT, 3},
    [CRASH_COORD_PREPARE_SENT] = {KIT_REMOTE, 3},
    [CRASH_COORD_ALL_VOTED] = {KIT_REMOTE, 3},
    [CRASH_COORD_BEFORE_WRITE] = {KIT_DIRECT, 5},
    [CRASH_COORD_WRITTEN] = {KIT_MIXED, 5},
    [CRASH_COORD_SYNCED] = {KIT_DIRECT, 5},
    [CRASH_COORD_APPLIED] = {KIT_MIXED, 5},
    [CRASH_COORD_ANSWERED] = {KIT_DIRECT, 3},
    [CRASH_COORD_COMMIT_WORK_SENT] = {KIT_REMOTE, 3},
    [CRASH_COORD_BEFORE_END] = {KIT_MIXED, 2},
    [CRASH_COORD_SESSION_OPENED] = {KIT_DIRECT, 1},
    [CRASH_COORD_BEFORE_EXPIRE] = {KIT_DIRECT, 1, .expiry = true},
    [CRASH_COORD_SNAPSHOT_WRITTEN] = {KIT_CROWD, 1, .count = MANY},
    [CRASH_COORD_SNAPSHOT_RENAMED] = {KIT_CROWD, 1, .count = MANY},
    [CRASH_COORD_SEGMENT_RECYCLED] = {KIT_CROWD, 1, .count = MORE},
    [CRASH_AGENT_EXEC_DONE] = {KIT_REMOTE, 3},
    [CRASH_AGENT_BEFORE_PREPARE] = {KIT_REMOTE, 3},
    [CRASH_AGENT_PREPARED] = {KIT_REMOTE, 3},
    [CRASH_AGENT_VOTED] = {KIT_REMOTE, 3},
    [CRASH_AGENT_BEFORE_COMMIT] = {KIT_LOGGED, 3},
    [CRASH_AGENT_COMMITTED] = {KIT_REMOTE, 3},
    [CRASH_AGENT_REPORTED] = {KIT_LOGGED, 3},
    [CRASH_AGENT_BEFORE_ROLLBACK] = {KIT_REFUSED, 1},
    [CRASH_AGENT_ROLLED_BACK] = {KIT_REFUSED, 1},
    [CRASH_AGENT_SCANNED] = {KIT_DIRECT, 2},
};

static const char *const names[CRASH_POINT_COUNT] = {
#define CRASH_NAME(symbol, name) name,
    CRASH_POINT_LIST(CRASH_NAME)
#undef CRASH_NAME
};

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* kill -9 at the point */

/* Dies at the point, and is not merely still alive. */
static void await_crash(struct world_process *p, const char *point)
{
    char line[64];

    if (world_process_wait(p, KIT_SETTLE_MS) != -SIGKILL)
        fail_msg("%s ended by itself before it came to %s", world_process_name(p), point);
    snprintf(line, sizeof line, "crash point %s", point);
    assert_true(world_process_logged(p, line));
}

/* One whose session will expire: it stays silent from now on. */
static void lose_a_client(void)
{
    struct world_process *p =
        kit_start_transfers(&kit, KIT_DIRECT, 1, "ASSENT_CRASH=client.before_prepare=kill");

    await_crash(p, "client.before_prepare");
}

static void crash_client(const struct crash_case *c, const char *point, const char *env,
                         struct kit_account *account)
{
    struct world_process *client = kit_start_transfers(&kit, c->mode, A_FEW, env);

    kit_hear(client, account, KIT_SETTLE_MS);
    await_crash(client, point);
}

/* Hears the client meanwhile: it would stop for a full pipe. */
static void await_crash_of_daemon(struct world_process *daemon, const char *point, struct world_process *client,
                                  struct kit_account *account)
{
    uint64_t end = world_now_ms() + 4 * KIT_SETTLE_MS; /* some need many transfers */

    while (world_process_running(daemon) && world_now_ms() < end) {
        kit_hear(client, account, 50);
        world_sleep_ms(5);
    }
    if (world_process_running(daemon))
        fail_msg("%s never came to %s", world_process_name(daemon), point);
    await_crash(daemon, point);
}

static void crash_daemon(const struct crash_case *c, const char *point, const char *env,
                         struct kit_account *account)
{
    struct world_process *daemon = strncmp(point, "coord", 5) == 0 ? kit.coordinator : kit.agent[mariadb],
                         *client;

    world_process_kill(daemon);
    world_process_start(daemon, env);
    client = kit_start_transfers(&kit, c->mode, c->count != 0 ? c->count : A_FEW, NULL);
    await_crash_of_daemon(daemon, point, client, account);
    world_process_start_ready(daemon, NULL);
    kit_hear(client, account, 4 * KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
}

static void test_kill(void **state)
{
    const struct crash_case *c = *state;
    const char *point = names[c - cases];
    static struct kit_account account;
    char env[96];

    account.n = 0;
    assert_int_not_equal(c->passage, 0); /* a point without a row */
    snprintf(env, sizeof env, "ASSENT_CRASH=%s:%d=kill", point, c->passage);
    if (c->expiry)
        lose_a_client();
    if (strncmp(point, "client", 6) == 0)
        crash_client(c, point, env, &account);
    else
        crash_daemon(c, point, env, &account);
    assert_true(account.n > 0);
    kit_assert_told(&kit, &account);
}

/* A client stops at the point, and a server is killed meanwhile */

static void stop_and_kill_server(const char *point, enum kit_mode mode)
{
    static struct kit_account account;
    struct world_process *client;
    char env[96];

    account.n = 0;
    snprintf(env, sizeof env, "ASSENT_CRASH=%s:2=stop", point);
    client = kit_start_transfers(&kit, mode, 4, env);
    for (uint64_t end = world_now_ms() + KIT_SETTLE_MS; !world_process_stopped(client); world_sleep_ms(2))
        assert_true(world_now_ms() < end);
    world_server_kill(kit.bank[1]);
    world_server_start(kit.bank[1]);
    world_process_signal(client, SIGCONT);
    kit_hear(client, &account, 2 * KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_true(account.n >= 4);
    kit_assert_told(&kit, &account);
}

static void test_server_dies_before_prepare(void **state)
{
    (void)state;
    stop_and_kill_server("client.before_prepare", KIT_DIRECT);
}

static void test_server_dies_between_prepares(void **state)
{
    (void)state;
    stop_and_kill_server("client.one_prepared", KIT_DIRECT);
}

static void test_server_dies_when_all_are_prepared(void **state)
{
    (void)state;
    stop_and_kill_server("client.all_prepared", KIT_MIXED);
}

static void test_server_dies_when_decided(void **state)
{
    (void)state;
    stop_and_kill_server("client.decided", KIT_DIRECT);
}

static void test_server_dies_between_commits(void **state)
{
    (void)state;
    stop_and_kill_server("client.one_committed", KIT_DIRECT);
}

/* What is left after all this */

static double status_of(const char *part, const char *name)
{
    cJSON *status = world_admin_json(kit.world, WORLD_ARGS("status"), NULL);
    double value = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(status, part), name));

    cJSON_Delete(status);
    return value;
}

/* The ledger's size follows what is in flight, and the disk's what has come since the snapshot: not history. */
static void test_ledger_and_disk_stay_small(void **state)
{
    static struct kit_account account;
    struct world_process *client = kit_start_transfers(&kit, KIT_DIRECT, MANY, NULL);
    double decisions, bytes;

    (void)state;
    account.n = 0;
    decisions = status_of("ledger", "decisions");
    kit_hear(client, &account, 2 * KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, MANY);
    assert_true(status_of("ledger", "decisions") <= decisions);
    bytes = status_of("log", "bytes");
    if (bytes > 8 << 20)
        fail_msg("the log takes %.0f bytes", bytes);
}

/* The groups */

static int open_group(void **state)
{
    struct kit_options options = {
        .coordinator_flags = WORLD_ARGS("--segment_size", "2M", "--snapshot_size", "64k"), .mariadb = mariadb};

    (void)state;
    kit_open(&kit, mariadb ? "crash-mariadb" : "crash", &options);
    return 0;
}

/* Where the database makes a difference. */
static bool is_for_mariadb(const struct crash_case *c)
{
    bool coordinator = strncmp(names[c - cases], "coord", 5) == 0;

    return (c->mode == KIT_DIRECT && !coordinator) || c->mode == KIT_SINGLE || c->mode == KIT_REMOTE ||
           c->mode == KIT_REFUSED || c->mode == KIT_MIXED || c->mode == KIT_LOGGED;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test_setup(test_server_dies_before_prepare, set_up),
        cmocka_unit_test_setup(test_server_dies_between_prepares, set_up),
        cmocka_unit_test_setup(test_server_dies_when_all_are_prepared, set_up),
        cmocka_unit_test_setup(test_server_dies_when_decided, set_up),
        cmocka_unit_test_setup(test_server_dies_between_commits, set_up),
        cmocka_unit_test_setup(test_ledger_and_disk_stay_small, set_up),
    };
    enum { OTHERS = sizeof others / sizeof *others };
    struct CMUnitTest tests[CRASH_POINT_COUNT + OTHERS];
    size_t n = 0;
    int failed;

    kit_main(argc, argv);
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        tests[i] = (struct CMUnitTest){names[i], test_kill, set_up, NULL, (void *)&cases[i]};
    memcpy(tests + CRASH_POINT_COUNT, others, sizeof others);
    failed = kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
    mariadb = true;
    for (int i = 0; i < CRASH_POINT_COUNT; i++) {
        if (is_for_mariadb(&cases[i]))
            tests[n++] = (struct CMUnitTest){names[i], test_kill, set_up, NULL, (void *)&cases[i]};
    }
    memcpy(tests + n, others, 5 * sizeof *others);
    return kit_close(&kit, _cmocka_run_group_tests("mariadb", tests, n + 5, open_group, NULL)) | failed;
}
