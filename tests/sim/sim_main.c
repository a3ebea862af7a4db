/* sim: runs seeds, each in a child process of its own, and tells what they came through. See sim.h. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

enum { SEED_SECONDS = 120 };

static const struct sabotage_row {
    const char *name, *text;
    unsigned seeds;
} sabotages[] = {
#define SABOTAGE_ROW(name, text, seeds) {#name, text, seeds},
    SABOTAGE_LIST(SABOTAGE_ROW)
#undef SABOTAGE_ROW
};

static const char *const fault_names[] = {
#define FAULT_NAME(name) #name,
    FAULT_LIST(FAULT_NAME)
#undef FAULT_NAME
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    "committed", "rolled back", "committed, not everywhere yet", "in doubt", "heuristic", "failed", "untold"};

static struct {
    uint64_t seeds, from;
    double minutes;
    bool twice, all, quiet, rows;
    const char *program, *story;
} run = {.seeds = 100, .from = 1, .rows = true};

/* one seed */

static void child(uint64_t seed)
{
    signal(SIGALRM, SIG_DFL);
    alarm(SEED_SECONDS);
    sim_options.seed = seed;
    sim_options.story = run.story;
    sim_start(seed);
    world_run();
    sim_tally->seeds = 1;
    fflush(stdout);
    _exit(0);
}

/* True: it held. */
static bool run_seed(uint64_t seed, struct tally *t)
{
    int status;
    pid_t pid;

    memset(t, 0, sizeof *t);
    fflush(NULL);
    pid = fork();
    if (pid < 0)
        exit(2);
    if (pid == 0)
        child(seed);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!t->failed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        t->failed = true;
        snprintf(t->why, sizeof t->why, "the program ended: %s",
                 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "by itself");
    }
    return !t->failed;
}

static void add(struct tally *sum, const struct tally *t)
{
    sum->seeds += 1;
    sum->steps += t->steps;
    sum->simulated_ms += t->simulated_ms;
    sum->messages += t->messages;
    sum->forced_writes += t->forced_writes;
    sum->transactions += t->transactions;
    for (int i = 0; i < FAULT_COUNT; i++)
        sum->faults[i] += t->faults[i];
    for (int i = 0; i < OUTCOME_COUNT; i++)
        sum->outcomes[i] += t->outcomes[i];
    for (int i = 0; i < COVER_ROWS; i++) {
        sum->commit_rows[i] |= t->commit_rows[i];
        sum->agent_rows[i] |= t->agent_rows[i];
        sum->client_rows[i] |= t->client_rows[i];
    }
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* what is told */

static void print_counts(const struct tally *sum, double took)
{
    printf("seeds             %llu in %.1f s\n", (unsigned long long)sum->seeds, took);
    printf("steps             %llu, %.0f a second\n", (unsigned long long)sum->steps,
           (double)sum->steps / took);
    printf("simulated         %.2f hours\n", (double)sum->simulated_ms / 3600e3);
    printf("messages          %llu\n", (unsigned long long)sum->messages);
    printf("forced writes     %llu\n", (unsigned long long)sum->forced_writes);
    printf("transactions      %llu\n", (unsigned long long)sum->transactions);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        printf("  %-30s %llu\n", outcome_names[i], (unsigned long long)sum->outcomes[i]);
    printf("faults\n");
    for (int i = 0; i < FAULT_COUNT; i++)
        printf("  %-30s %llu\n", fault_names[i], (unsigned long long)sum->faults[i]);
}

static void print_failure(uint64_t seed, const struct tally *t)
{
    printf("seed %llu FAILED: %s\n", (unsigned long long)seed, t->why);
    printf("  its last lines are in %s; again, with all of them:\n  %s --from %llu --seeds 1 --trace",
           run.story, run.program, (unsigned long long)seed);
    if (sim_options.nodes != 0)
        printf(" --nodes %u", sim_options.nodes);
    if (sim_options.sabotage != SABOTAGE_NONE)
        printf(" --sabotage %s", sabotages[sim_options.sabotage].name);
    printf("\n");
}

/* many seeds */

static bool same_twice(uint64_t seed, struct tally *t)
{
    uint64_t digest = t->digest;

    if (!run_seed(seed, t))
        return false;
    if (t->digest == digest)
        return true;
    t->failed = true;
    snprintf(t->why, sizeof t->why, "two runs of the same seed differ");
    return false;
}

/* The seed that failed; 0: none. */
static uint64_t run_seeds(struct tally *sum, uint64_t seeds)
{
    double end = seconds() + run.minutes * 60;

    for (uint64_t i = 0; run.minutes > 0 ? seconds() < end : i < seeds; i++) {
        uint64_t seed = run.from + i;
        bool held = run_seed(seed, sim_tally) && (!run.twice || same_twice(seed, sim_tally));

        add(sum, sim_tally);
        if (!held)
            return seed;
        if (!run.quiet && (i + 1) % 100 == 0)
            fprintf(stderr, "%llu seeds\n", (unsigned long long)(i + 1));
    }
    return 0;
}

static int run_plain(void)
{
    struct tally *sum = calloc(1, sizeof *sum);
    double begin = seconds();
    uint64_t failed;

    if (sum == NULL)
        return 2;
    failed = run_seeds(sum, run.seeds);
    print_counts(sum, seconds() - begin);
    if (run.rows) {
        cover_print(stdout, sum);
        cover_print_agent(stdout, sum);
        cover_print_client(stdout, sum);
    }
    if (failed != 0)
        print_failure(failed, sim_tally);
    else
        printf("digest of the last seed %016llx\nall seeds held\n", (unsigned long long)sim_tally->digest);
    free(sum);
    return failed == 0 ? 0 : 1;
}

/* Every switch must be caught within its number of seeds. */
static int run_sabotages(void)
{
    struct tally *sum = calloc(1, sizeof *sum);
    int missed = 0;

    if (sum == NULL)
        return 2;
    run.story = "/dev/null";
    for (int s = 1; s < SABOTAGE_COUNT; s++) {
        uint64_t seed;

        sim_options.sabotage = (enum sabotage)s;
        seed = run_seeds(sum, sabotages[s].seeds);
        missed += seed == 0;
        printf("%-20s %s", sabotages[s].name, seed == 0 ? "NOT CAUGHT" : "caught");
        if (seed != 0)
            printf(" after %llu of %u seeds: %.120s", (unsigned long long)(seed - run.from + 1),
                   sabotages[s].seeds, sim_tally->why);
        printf("\n");
    }
    free(sum);
    return missed == 0 ? 0 : 1;
}

/* options */

static void usage(void)
{
    printf("usage: sim [--seeds N] [--from SEED] [--minutes M | --hours H] [--nodes 1|3|5] [--trace] [--twice] "
           "[--story "
           "FILE]\n"
           "           [--quiet] [--no-rows] [--sabotage NAME|all]\n\nSabotage:\n");
    for (int s = 1; s < SABOTAGE_COUNT; s++)
        printf("  %-20s %s\n", sabotages[s].name, sabotages[s].text);
    exit(2);
}

static void choose_sabotage(const char *name)
{
    run.all = strcmp(name, "all") == 0;
    for (int s = 1; s < SABOTAGE_COUNT; s++) {
        if (strcasecmp(name, sabotages[s].name) == 0)
            sim_options.sabotage = (enum sabotage)s;
    }
    if (!run.all && sim_options.sabotage == SABOTAGE_NONE)
        usage();
}

static void take_option(int option)
{
    switch (option) {
    case 'n':
        run.seeds = strtoull(optarg, NULL, 10);
        break;
    case 'f':
        run.from = strtoull(optarg, NULL, 10);
        break;
    case 'm':
        run.minutes = strtod(optarg, NULL);
        break;
    case 'h':
        run.minutes = strtod(optarg, NULL) * 60;
        break;
    case 'N':
        sim_options.nodes = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 's':
        choose_sabotage(optarg);
        break;
    case 't':
        sim_options.trace = true;
        break;
    case 'w':
        run.twice = true;
        break;
    case 'o':
        run.story = optarg;
        break;
    case 'q':
        run.quiet = true;
        break;
    case 'r':
        run.rows = false;
        break;
    default:
        usage();
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},   {"from", required_argument, NULL, 'f'},
        {"minutes", required_argument, NULL, 'm'}, {"hours", required_argument, NULL, 'h'},
        {"nodes", required_argument, NULL, 'N'},   {"sabotage", required_argument, NULL, 's'},
        {"trace", no_argument, NULL, 't'},         {"twice", no_argument, NULL, 'w'},
        {"story", required_argument, NULL, 'o'},   {"quiet", no_argument, NULL, 'q'},
        {"no-rows", no_argument, NULL, 'r'},       {NULL, 0, NULL, 0}};
    static char story[4096];
    int option;

    run.program = argv[0];
    snprintf(story, sizeof story, "%s-story.txt", argv[0]);
    run.story = story;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        take_option(option);
    unsetenv("ASSENT_CRASH");
    sim_tally = mmap(NULL, sizeof *sim_tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sim_tally == MAP_FAILED)
        return 2;
    return run.all ? run_sabotages() : run_plain();
}
