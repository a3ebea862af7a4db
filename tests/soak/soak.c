/* soak: random faults under load, for as long as you like. `make soak MINUTES=n [SEED=s]`.
 *
 * Coordinators, three banks (one of them MariaDB), their agents and several kinds of clients run as processes;
 * anything is killed, stopped, restarted, taken out and put in, often several at once. Clients write down what
 * they mean to do and what they were told. A checker asks the coordinators all the time. At the end everything
 * is brought up again, and must come to rest by itself; then the banks must agree with every client's record,
 * and the coordinators with both. Exit code 0: nothing was wrong; 1: something was, and its story is told and
 * the directory kept.
 *
 * The faults follow from the seed; their moments do not, for the machine has its own pace.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/soak.h"

enum {
    TICK_MS = 20,
    PROGRESS = 5, /* commits that each client must be told of when all is well again */
    /* A client that runs and is told of no commit for so long, while others are told of so many, is cut off for
     * good: no fault lasts as long. */
    STUCK_MS = 30000,
    STUCK_OTHERS = 100,
    SECONDS_LIMIT = 7 * 24 * 3600,
};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

static void wrong(void *arg, unsigned slot, size_t number, const char *what)
{
    soak_wrong(arg, slot, number, what);
}

/* Running */

static unsigned all_committed(const struct soak *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->book.n_pages; i++)
        n += s->book.pages[i].committed;
    return n;
}

static void watch_clients(struct soak *s)
{
    unsigned all = all_committed(s);
    uint64_t now = world_now_ms();

    for (unsigned i = 0; i < s->book.n_pages; i++) {
        struct watch *w = &s->watch[i];
        unsigned own = s->book.pages[i].committed;
        bool waits = own == w->own && stage_part(s, PART_CLIENT, i)->state == PART_UP;

        if (waits && (now - w->since_ms < STUCK_MS || all - w->all < STUCK_OTHERS))
            continue;
        if (waits && w->since_ms != 0)
            soak_violation(s, "client %u is stuck: told of no commit for %llu s, while there were %u", i,
                           (unsigned long long)(now - w->since_ms) / 1000, all - w->all);
        *w = (struct watch){now, own, all};
    }
}

static void tick(struct soak *s)
{
    fault_tick(s);
    stage_tick(s);
    group_mend(s);
    book_read(&s->book);
    watch_clients(s);
    report_progress(s);
    world_sleep_ms(TICK_MS);
}

static void run(struct soak *s)
{
    uint64_t end = world_now_ms() + (uint64_t)s->options.seconds * 1000;

    while (world_now_ms() < end && !interrupted && s->n_violations == 0)
        tick(s);
}

/* No more faults: everything comes back. */
static void calm_down(struct soak *s)
{
    uint64_t end = world_now_ms() + 2 * SOAK_SETTLE_MS;

    soak_event(s, "no more faults");
    s->calm = true;
    s->rolling = 0;
    while (!stage_is_whole(s) && world_now_ms() < end)
        tick(s);
    if (!stage_is_whole(s))
        soak_violation(s, "the group is not whole again");
}

/* Nobody hangs: each client commits. (One that is left in doubt each time has no coordinator.) */
static void await_progress(struct soak *s)
{
    uint64_t end = world_now_ms() + SOAK_SETTLE_MS;
    unsigned from[BOOK_SLOTS], slow;

    book_read(&s->book);
    for (unsigned i = 0; i < s->book.n_pages; i++)
        from[i] = s->book.pages[i].committed;
    do {
        tick(s);
        for (slow = 0; slow < s->book.n_pages; slow++) {
            if (s->book.pages[slow].committed < from[slow] + PROGRESS)
                break;
        }
    } while (slow < s->book.n_pages && world_now_ms() < end);
    if (slow < s->book.n_pages)
        soak_violation(s, "client %u hangs: everything is up, and it came no further than %u commits", slow,
                       s->book.pages[slow].committed);
}

static int soak(const struct soak_options *options)
{
    static struct soak s;
    bool clean;

    s.options = *options;
    s.random = options->seed * 2862933555777941757u + 3037000493u;
    s.book.wrong = wrong;
    s.book.arg = &s;
    fprintf(options->json ? stderr : stdout, "# soak: seed %llu, %u coordinators, %u clients, %u s\n",
            (unsigned long long)options->seed, options->nodes, options->clients, options->seconds);
    fflush(stdout);
    s.started_ms = world_now_ms();
    stage_open(&s);
    s.started_ms = world_now_ms();
    stage_start_clients(&s);
    run(&s);
    calm_down(&s);
    await_progress(&s);
    verdict(&s);
    report(&s);
    if (s.n_violations > 0 && !options->forge)
        setenv("ASSENT_KEEP", "1", 1);
    clean = world_free(s.world, s.n_violations > 0);
    book_release(&s.book);
    return s.n_violations == 0 && clean ? 0 : 1;
}

/* Options */

static void usage(FILE *out)
{
    fprintf(out, "usage: soak [OPTION...]\n"
                 "Random faults under load against coordinators, three database servers and their agents.\n\n"
                 "  --coordinators N   1, 3 or 5 [3]\n"
                 "  --clients N        1 to 16 processes, of all kinds in turn [8]\n"
                 "  --minutes N        how long faults go on [1]\n"
                 "  --seconds N        the same in seconds\n"
                 "  --seed N           what is random; printed at the start [the time]\n"
                 "  --mariadb on|off   whether one of the servers is MariaDB, the others PostgreSQL [on]\n"
                 "  --pause MS         of a client between two transactions, on average [10]\n"
                 "  --json             the result for programs\n"
                 "  --verbose          each fault as it happens\n"
                 "  --forge            takes a receipt out of a bank at the end: the run must fail\n");
}

static const struct option long_options[] = {
    {"coordinators", required_argument, NULL, 'n'},
    {"clients", required_argument, NULL, 'c'},
    {"minutes", required_argument, NULL, 'm'},
    {"seconds", required_argument, NULL, 't'},
    {"seed", required_argument, NULL, 's'},
    {"pause", required_argument, NULL, 'p'},
    {"mariadb", required_argument, NULL, 'd'},
    {"json", no_argument, NULL, 'j'},
    {"verbose", no_argument, NULL, 'v'},
    {"forge", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take_switch(const char *value)
{
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
        usage(stderr);
        exit(2);
    }
    return strcmp(value, "on") == 0;
}

static void take_option(struct soak_options *o, int c)
{
    unsigned n = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;

    switch (c) {
    case 'n':
        o->nodes = n;
        break;
    case 'c':
        o->clients = n;
        break;
    case 'm':
        o->seconds = n > SECONDS_LIMIT / 60 ? SECONDS_LIMIT : n * 60;
        break;
    case 't':
        o->seconds = n;
        break;
    case 's':
        o->seed = strtoull(optarg, NULL, 10);
        break;
    case 'p':
        o->pause_ms = n;
        break;
    case 'd':
        o->mariadb = take_switch(optarg);
        break;
    case 'j':
        o->json = true;
        break;
    case 'v':
        o->verbose = true;
        break;
    case 'f':
        o->forge = true;
        break;
    case 'h':
        usage(stdout);
        exit(0);
    default:
        usage(stderr);
        exit(2);
    }
}

static bool valid(const struct soak_options *o)
{
    return (o->nodes == 1 || o->nodes == 3 || o->nodes == 5) && o->clients >= 1 && o->clients <= BOOK_SLOTS &&
           o->seconds >= 1 && o->seconds <= SECONDS_LIMIT;
}

int main(int argc, char **argv)
{
    static const struct world_job jobs[] = {
        {"client", soak_client_job}, {"checker", soak_checker_job}, {NULL, NULL}};
    struct soak_options options = {.nodes = 3, .clients = 8, .seconds = 60, .pause_ms = 10, .mariadb = true};
    int c;

    world_client_main(argc, argv, jobs);
    options.seed = (uint64_t)time(NULL);
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        take_option(&options, c);
    if (optind < argc || !valid(&options)) {
        usage(stderr);
        return 2;
    }
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    return soak(&options);
}
