/* demo: money moves between two PostgreSQL servers while everything is killed in turn. `make demo`.
 *
 * Four applications transfer money from bank_a to bank_b. Each part gets a kill -9 and is started again: the
 * coordinator, an agent, a database, and an application between its two PREPAREs. At the end the books are
 * checked: every transfer is in both databases or in none, and is where its application was told it is.
 *
 * With --run: starts the same servers and daemons, prints their addresses, and waits for Ctrl-C. `make run`.
 * With --group: prints what a decision costs coordinators alone (group.c). `make bench-group`.
 * With --bench: starts them and runs txbench against them with the arguments that follow. `make bench`.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/demo/demo.h"

enum { STORY_END_S = 26, SETTLE_MS = 60000 };

struct story {
    struct stage stage;
    struct world_process *application[DEMO_APPLICATIONS];
    unsigned generation; /* applications started so far: part of their keys */
    struct keys committed, aborted, in_doubt;
    uint64_t started;
};

static void application_start(struct story *s, int i, const char *env)
{
    char number[16], name[32], a[WORLD_PATH_SIZE], b[WORLD_PATH_SIZE];

    snprintf(number, sizeof number, "%u", ++s->generation);
    snprintf(name, sizeof name, "application%u", s->generation);
    s->application[i] =
        world_client_start(s->stage.world, name, env,
                           WORLD_ARGS("transfer", number, world_server_conninfo(s->stage.bank[0], "app", a),
                                      world_server_conninfo(s->stage.bank[1], "app", b)));
}

/* Takes in what an application has told so far. */
static void hear(struct story *s, struct world_process *application, unsigned timeout_ms)
{
    char line[WORLD_LINE_SIZE], word[32];
    long long key;

    while (world_client_hear(application, line, timeout_ms)) {
        if (sscanf(line, "%31s %lld", word, &key) != 2)
            continue;
        if (strcmp(word, "committed") == 0)
            keys_add(&s->committed, key);
        else if (strcmp(word, "aborted") == 0)
            keys_add(&s->aborted, key);
        else
            keys_add(&s->in_doubt, key);
    }
}

static void progress(struct story *s)
{
    if (!isatty(STDOUT_FILENO))
        return;
    printf("\r  %2llu s  %6zu committed  %3zu aborted  %2lld prepared just now ",
           (unsigned long long)(world_now_ms() - s->started) / 1000, s->committed.n, s->aborted.n,
           world_prepared_count(s->stage.bank[0]));
    fflush(stdout);
}

static void say(struct story *s, const char *text)
{
    printf("%s  %2llu s  %6zu committed  %3zu aborted  %s\n", isatty(STDOUT_FILENO) ? "\r" : "",
           (unsigned long long)(world_now_ms() - s->started) / 1000, s->committed.n, s->aborted.n, text);
    fflush(stdout);
}

static void kill_coordinator(struct story *s)
{
    world_process_kill(s->stage.coordinator);
}

static void start_coordinator(struct story *s)
{
    world_process_start_ready(s->stage.coordinator, NULL);
}

static void kill_agent(struct story *s)
{
    world_process_kill(s->stage.agent[0]);
}

static void start_agent(struct story *s)
{
    world_process_start_ready(s->stage.agent[0], NULL);
}

static void kill_bank(struct story *s)
{
    world_server_kill(s->stage.bank[1]);
}

static void start_bank(struct story *s)
{
    world_server_start(s->stage.bank[1]);
}

/* A fifth application, in place of the first, that dies at its fiftieth transfer when one database is prepared,
 * the other not. */
static void doom_application(struct story *s)
{
    world_process_kill(s->application[0]);
    hear(s, s->application[0], 0);
    application_start(s, 0, "ASSENT_CRASH=client.one_prepared:50=kill");
}

static void replace_application(struct story *s)
{
    if (world_process_wait(s->application[0], 10000) != -SIGKILL)
        world_fail(s->stage.world, "the application did not die between its PREPAREs");
    hear(s, s->application[0], 0);
    application_start(s, 0, NULL);
}

/* What happens when. */
static const struct scene {
    unsigned at_s;
    void (*act)(struct story *s);
    const char *text;
} scenes[] = {
    {3, kill_coordinator, "kill -9 of the coordinator"},
    {5, start_coordinator, "the coordinator is back"},
    {8, kill_agent, "kill -9 of bank_a's agent"},
    {10, start_agent, "the agent is back"},
    {13, kill_bank, "kill -9 of bank_b's PostgreSQL"},
    {15, start_bank, "bank_b is back"},
    {18, doom_application, "kill -9 of an application; another one will die between its PREPAREs"},
    {20, replace_application, "it died, one database prepared, the other not; a new one takes over"},
};

static void play(struct story *s)
{
    size_t next = 0;

    s->started = world_now_ms();
    for (int i = 0; i < DEMO_APPLICATIONS; i++)
        application_start(s, i, NULL);
    while (world_now_ms() - s->started < STORY_END_S * 1000) {
        for (int i = 0; i < DEMO_APPLICATIONS; i++)
            hear(s, s->application[i], 0);
        world_sleep_ms(50);
        if (next < sizeof scenes / sizeof *scenes && world_now_ms() - s->started >= scenes[next].at_s * 1000) {
            scenes[next].act(s);
            say(s, scenes[next].text);
            next++;
        }
        progress(s);
    }
    for (int i = 0; i < DEMO_APPLICATIONS; i++)
        world_process_signal(s->application[i], SIGTERM);
    for (int i = 0; i < DEMO_APPLICATIONS; i++) {
        hear(s, s->application[i], 1000);
        world_process_wait(s->application[i], 40000);
        hear(s, s->application[i], 0);
    }
    say(s, "the applications have stopped");
}

/* How many of the keys are not as they should be in both databases. */
static size_t wrong(const struct keys *told, const struct keys receipts[2], bool should_be_there)
{
    size_t n = 0;

    for (size_t i = 0; i < told->n; i++) {
        for (int b = 0; b < 2; b++)
            n += keys_contain(&receipts[b], told->items[i]) != should_be_there;
    }
    return n;
}

static size_t count_mixed(const struct keys receipts[2])
{
    size_t n = 0;

    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; i < receipts[b].n; i++)
            n += !keys_contain(&receipts[1 - b], receipts[b].items[i]);
    }
    return n;
}

/* Prints the books; false where they do not balance. */
static bool check(struct story *s)
{
    long long before = 2LL * DEMO_ACCOUNTS * DEMO_BALANCE, after, prepared;
    struct keys receipts[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    size_t mixed, lies;

    world_wait_nothing_prepared(s->stage.world, SETTLE_MS);
    for (int b = 0; b < 2; b++) {
        keys_load(&receipts[b], s->stage.bank[b]);
        keys_sort(&receipts[b]);
    }
    after = world_sum_balances(s->stage.world);
    prepared = world_prepared_count(s->stage.bank[0]) + world_prepared_count(s->stage.bank[1]);
    mixed = count_mixed(receipts);
    lies = wrong(&s->committed, receipts, true) + wrong(&s->aborted, receipts, false);
    printf("\n  %-52s %12zu\n", "transfers the applications were told are committed", s->committed.n);
    printf("  %-52s %12zu\n", "transfers they were told are rolled back", s->aborted.n);
    printf("  %-52s %12zu\n", "transfers they were told are in doubt", s->in_doubt.n);
    printf("  %-52s %12zu\n", "transfers found in bank_a", receipts[0].n);
    printf("  %-52s %12zu\n", "transfers found in bank_b", receipts[1].n);
    printf("  %-52s %12zu\n", "transfers found in one bank only", mixed);
    printf("  %-52s %12zu\n", "transfers not where their application was told", lies);
    printf("  %-52s %12lld\n", "money in both banks before", before);
    printf("  %-52s %12lld\n", "money in both banks after", after);
    printf("  %-52s %12lld\n", "branches in doubt at the end", prepared);
    for (int b = 0; b < 2; b++)
        keys_release(&receipts[b]);
    return mixed == 0 && lies == 0 && before == after && prepared == 0 && s->committed.n > 0;
}

static int demo(void)
{
    struct story s;
    bool ok;

    memset(&s, 0, sizeof s);
    printf("Starting two PostgreSQL servers, a coordinator and two agents …\n");
    fflush(stdout);
    stage_open(&s.stage, "demo", NULL);
    printf("%d applications transfer money from bank_a to bank_b.\n\n", DEMO_APPLICATIONS);
    play(&s);
    ok = check(&s);
    printf(ok ? "\nThe books balance.\n" : "\nTHE BOOKS DO NOT BALANCE.\n");
    fflush(stdout);
    keys_release(&s.committed);
    keys_release(&s.aborted);
    keys_release(&s.in_doubt);
    world_free(s.stage.world, !ok);
    return ok ? 0 : 1;
}

static int run(void)
{
    char conninfo[WORLD_PATH_SIZE], program[WORLD_PATH_SIZE];
    struct stage s;
    sigset_t set;
    int sig;

    stage_open(&s, "run", NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    printf("Coordinator      %s\n", world_coordinators(s.world));
    for (int i = 0; i < 2; i++)
        printf("Resource %s  %s\n", world_server_name(s.bank[i]),
               world_server_conninfo(s.bank[i], "app", conninfo));
    printf("Logs             %s\n\n", world_dir(s.world));
    printf("Try:\n  export ASSENT_COORDINATORS=%s ASSENT_KEYS=%s\n", world_coordinators(s.world),
           world_keys(s.world, program));
    printf("  export ASSENT_IDENTITY=%s\n", world_identity(s.world, "client", program));
    printf("  %s", world_program(s.world, "txadmin", program));
    printf(" --identity %s status\n", world_identity(s.world, "operator", program));
    printf("  %s", world_program(s.world, "examples/transfer", program));
    for (int i = 0; i < 2; i++)
        printf(" \"%s\"", world_server_conninfo(s.bank[i], "app", conninfo));
    printf("\n  psql \"%s\" -c \"CREATE TABLE orders (transaction text, item text, n int)\"",
           world_server_conninfo(s.bank[0], "app", conninfo));
    printf("\n  ASSENT_IDENTITY=%s", world_identity(s.world, "service", program));
    printf(" %s stock.journal 7500 &", world_program(s.world, "examples/service", program));
    printf("\n  bash -c 'echo put bolt 100 > /dev/tcp/127.0.0.1/7500'");
    printf("\n  %s \"%s\" 7500 bolt 3", world_program(s.world, "examples/order", program),
           world_server_conninfo(s.bank[0], "app", conninfo));
    printf("\n\nCtrl-C ends it all.\n");
    fflush(stdout);
    sigwait(&set, &sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    world_free(s.world, false);
    return 0;
}

static void declare(struct world *w, const char *coordinator, const char *resource)
{
    char program[WORLD_PATH_SIZE];
    struct world_output o =
        world_run(w, WORLD_ARGS(world_program(w, "txadmin", program), "--insecure", "--coordinators",
                                coordinator, "resource", "add", resource, "postgresql", "dbname=bank"));

    if (o.code != 0)
        world_fail(w, "%s: %s", resource, o.error);
    world_output_release(&o);
}

/* A coordinator beside the stage's that is insecure, for the mode clear: its address, as a flag. */
static void start_clear(const struct stage *s, char flag[WORLD_PATH_SIZE])
{
    char program[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE + 16], listen[64];

    snprintf(data, sizeof data, "%s/clear.data", world_dir(s->world));
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", world_port(s->world));
    snprintf(flag, WORLD_PATH_SIZE, "--clear_coordinators=%s", listen);
    world_process_start_ready(
        world_process_new(s->world, "clear",
                          WORLD_ARGS(world_program(s->world, "txcoordd", program), "--insecure=true",
                                     "--data_dir", data, "--listen", listen)),
        NULL);
    for (int i = 0; i < 2; i++)
        declare(s->world, listen, world_server_name(s->bank[i]));
}

/* txbench with the stage's addresses in front of the arguments given; its exit code. */
static int bench(int argc, char **argv)
{
    char program[WORLD_PATH_SIZE], a[2 * WORLD_PATH_SIZE], b[2 * WORLD_PATH_SIZE], conninfo[WORLD_PATH_SIZE];
    char clear[WORLD_PATH_SIZE];
    const char **args = calloc((size_t)argc + 7, sizeof *args);
    int n = 0, status = 0;
    struct stage s;
    pid_t pid;

    stage_open(&s, "bench", WORLD_ARGS("--connections=40"));
    snprintf(a, sizeof a, "--database_a=%s", world_server_conninfo(s.bank[0], "app", conninfo));
    snprintf(b, sizeof b, "--database_b=%s", world_server_conninfo(s.bank[1], "app", conninfo));
    if (args == NULL)
        world_fail(s.world, "out of memory");
    args[n++] = world_program(s.world, "txbench", program);
    args[n++] = a;
    args[n++] = b;
    args[n++] = "--init=true";
    start_clear(&s, clear);
    args[n++] = clear;
    for (int i = 0; i < argc; i++)
        args[n++] = argv[i];
    setenv("ASSENT_COORDINATORS", world_coordinators(s.world), 1);
    pid = fork();
    if (pid == 0) {
        execv(program, (char *const *)(uintptr_t)args);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        world_fail(s.world, "cannot run %s", program);
    free(args);
    world_free(s.world, status != 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    static const struct world_job jobs[] = {{"transfer", transfer_job}, {NULL, NULL}};

    world_client_main(argc, argv, jobs);
    if (argc == 2 && strcmp(argv[1], "--run") == 0)
        return run();
    if (argc == 2 && strcmp(argv[1], "--group") == 0)
        return group_bench();
    if (argc >= 2 && strcmp(argv[1], "--bench") == 0)
        return bench(argc - 2, argv + 2);
    if (argc == 1)
        return demo();
    fprintf(stderr, "usage: demo [--run | --group | --bench TXBENCH-ARGUMENTS]\n");
    return 2;
}
