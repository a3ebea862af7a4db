/* test_daemons: what both daemons are to the system that they run on: without privileges, and a service that
 * tells how far it is (systemd's Type=notify).
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/kit.h"

static struct kit kit;  /* its world, two coordinators that may become a group, and an agent */
static int manager;     /* the service manager's socket */
static char told[4096]; /* what was told since the test began */

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static void open_manager(char env[2 * WORLD_PATH_SIZE])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/manager", world_dir(kit.world));
    assert_int_equal(bind(manager, (struct sockaddr *)&a, sizeof a), 0);
    snprintf(env, 2 * WORLD_PATH_SIZE, "NOTIFY_SOCKET=%s", a.sun_path);
}

static char environment[2 * WORLD_PATH_SIZE];

static int open_group(void **state)
{
    struct world_options options = {.name = "daemons", .no_fsync = true, .fail = fail_test};

    (void)state;
    kit.world = world_new(&options);
    open_manager(environment);
    kit.bank[0] = world_server_new(kit.world, "bank_a", NULL);
    kit.node[1] = world_node_new(kit.world, 1, true, NULL);
    kit.node[2] = world_node_new(kit.world, 2, true, NULL);
    kit.agent[0] = world_agent_new(kit.world, "agent", kit.bank, 1, NULL);
    return 0;
}

/* The service manager */

static bool was_told(void *text)
{
    size_t n = strlen(told);
    ssize_t more = recv(manager, told + n, sizeof told - n - 2, 0);

    if (more > 0) {
        told[n + (size_t)more] = '\n';
        told[n + (size_t)more + 1] = '\0';
    }
    return strstr(told, text) != NULL;
}

static void await_told(const char *text)
{
    if (!world_wait(KIT_SETTLE_MS, was_told, (void *)(uintptr_t)text))
        fail_msg("not told: %s; but: %s", text, told);
}

static void assert_not_told(const char *text)
{
    if (was_told((void *)(uintptr_t)text))
        fail_msg("told: %s", told);
}

/* Nothing is left over from what ran before. */
static void forget_told(void)
{
    while (recv(manager, told, sizeof told, 0) >= 0)
        ;
    told[0] = '\0';
}

/* A node that waits for a command is started; the agent waits for a coordinator, and is not. */
static void test_a_service_is_ready(void **state)
{
    struct world_process *agent = kit.agent[0], *node = kit.node[1];

    (void)state;
    forget_told();
    world_process_start(agent, environment);
    await_told("STATUS=Waits for a coordinator\n");
    world_process_start(node, environment);
    await_told("READY=1\nSTATUS=Waits to be added: txadmin node add 1 tcp://");
    assert_false(world_process_logged(agent, "event=ready"));
    kit_assert_admin(&kit, WORLD_ARGS("node", "init", "--coordinators", world_node_address(kit.world, 1)), 0,
                     "");
    await_told("STATUS=Leads its group\n");
    await_told("READY=1\nSTATUS=Serves 1 resource");
    forget_told();
    world_process_signal(node, SIGTERM);
    await_told("STOPPING=1\n");
    assert_int_equal(world_process_wait(node, KIT_SETTLE_MS), 0);
    world_process_start(node, environment);
    await_told("READY=1\n");
    forget_told();
    world_process_signal(agent, SIGTERM);
    await_told("STOPPING=1\n");
    assert_int_equal(world_process_wait(agent, KIT_SETTLE_MS), 0);
}

/* Ready is who has a leader; one that has lost it says so, and stays ready. */
static void test_a_service_without_a_leader(void **state)
{
    (void)state;
    world_process_start(kit.node[2], NULL);
    world_process_await(kit.node[2], "event=waiting", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("node", "add", "2", world_node_peer(kit.world, 2)), 0, "");
    assert_int_equal(world_process_stop(kit.node[2]), 0);
    world_process_kill(kit.node[1]);
    forget_told();
    world_process_start(kit.node[1], environment);
    world_sleep_ms(1000); /* more than an election takes */
    assert_not_told("READY=1");
    world_process_start(kit.node[2], NULL);
    await_told("READY=1\n");
    forget_told();
    world_process_kill(kit.node[2]);
    await_told("STATUS=Knows no leader");
    assert_not_told("READY=1");
    world_process_start_ready(kit.node[2], NULL);
    world_process_kill(kit.node[1]);
}

/* Privileges */

/* The value behind `name` in a file of /proc; owned by the caller. */
static char *proc_value(int pid, const char *file, const char *name)
{
    char path[300], line[256], *value = NULL;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    f = fopen(path, "r");
    while (f != NULL && value == NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strdup(line + strlen(name) + strspn(line + strlen(name), ": \t"));
    }
    if (f != NULL)
        fclose(f);
    return value != NULL ? value : strdup("not there");
}

static void assert_proc(int pid, const char *file, const char *name, const char *want)
{
    char *value = proc_value(pid, file, name);

    value[strcspn(value, "\n")] = '\0';
    if (strncmp(value, want, strlen(want)) != 0)
        fail_msg("/proc/%d/%s: %s is %s, not %s", pid, file, name, value, want);
    free(value);
}

/* Every thread, for a capability is a thread's. Returns how many there are. */
static unsigned assert_threads_unprivileged(int pid)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
    char path[64], file[300];
    unsigned n = 0;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    tasks = opendir(path);
    assert_non_null(tasks);
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        n++;
        snprintf(file, sizeof file, "task/%s/status", entry->d_name);
        assert_proc(pid, file, "NoNewPrivs", "1");
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
            assert_proc(pid, file, sets[i], "0000000000000000");
        if (geteuid() == 0)
            assert_proc(pid, file, "CapBnd", "0000000000000000");
    }
    closedir(tasks);
    return n;
}

static void assert_unprivileged(struct world_process *p)
{
    int pid = world_process_pid(p);

    assert_true(assert_threads_unprivileged(pid) > 1);
    assert_proc(pid, "status", "Umask", "0077");
    assert_proc(pid, "limits", "Max core file size", "0                    0 ");
    if (world_process_logged(p, "event=privileged") != (geteuid() == 0))
        fail_msg("%s: whoever runs it as root is to be warned, and nobody else", world_process_name(p));
}

static void test_nothing_is_kept_that_is_not_needed(void **state)
{
    (void)state;
    world_process_start_ready(kit.node[1], NULL);
    world_process_start_ready(kit.agent[0], NULL);
    assert_unprivileged(kit.node[1]);
    assert_unprivileged(kit.agent[0]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_service_is_ready),
        cmocka_unit_test(test_a_service_without_a_leader),
        cmocka_unit_test(test_nothing_is_kept_that_is_not_needed),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
