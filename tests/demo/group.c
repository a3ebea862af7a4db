/* group: what a decision costs the coordinators: rates, and what a leader and a follower use of CPU, disk and
 * network under full load. `make bench-group`.
 *
 * Groups of one and of three nodes on this machine; clients ask for commits of transactions whose two branches
 * they say are prepared (tests/lib/decisions.h). No database is involved.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"
#include "tests/demo/demo.h"
#include "tests/lib/decisions.h"

enum { NODES = 3, SECONDS = 5, STEPS = 3 };

static const unsigned outstanding[STEPS] = {1, 32, 256};

/* What a node has used since its start. */
struct use {
    double cpu_ms, written, forced, sent, received;
    double rss; /* bytes, now */
};

struct node {
    struct world_process *process;
    struct use before, after;
};

struct group {
    struct world *world;
    struct node nodes[NODES];
    unsigned n;
};

/* Looking at a node */

static double cpu_ms(pid_t pid)
{
    struct timespec t = {0, 0};
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The number behind `name` in a file of /proc; 0 where it is not there. */
static double proc_number(pid_t pid, const char *file, const char *name)
{
    char path[64], line[256];
    double n = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            n = strtod(line + strlen(name), NULL);
    }
    if (f != NULL)
        fclose(f);
    return n;
}

static double member(const cJSON *status, const char *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(status, object), name));
}

static struct use look(struct group *g, unsigned i)
{
    pid_t pid = world_process_pid(g->nodes[i].process);
    char address[128];
    cJSON *status;
    struct use u;

    snprintf(address, sizeof address, "%s", world_node_address(g->world, i + 1));
    status = world_admin_json(g->world, WORLD_ARGS("--coordinators", address, "status"), NULL);
    u = (struct use){.cpu_ms = cpu_ms(pid),
                     .written = proc_number(pid, "io", "wchar:"),
                     .rss = proc_number(pid, "status", "VmRSS:") * 1024,
                     .forced = member(status, "log", "forced_writes"),
                     .sent = member(status, "peers", "sent_bytes"),
                     .received = member(status, "peers", "received_bytes")};
    cJSON_Delete(status);
    return u;
}

/* Runs */

static void take_sample(void *arg, double seconds)
{
    (void)bench_sample(arg, seconds);
}

/* Stops the load after its time. */
static void *stop_later(void *stop)
{
    world_sleep_ms(SECONDS * 1000);
    __atomic_store_n((int *)stop, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* So many commits in flight for so long. Returns how many were decided. */
static double load(struct group *g, unsigned in_flight, struct bench_samples *samples)
{
    int stop = 0;
    struct decisions_options options = {.coordinators = world_coordinators(g->world),
                                        .outstanding = in_flight,
                                        .stop = &stop,
                                        .decided = take_sample,
                                        .arg = samples};
    pthread_t timer;
    struct tx_error e;
    uint64_t done;

    if (pthread_create(&timer, NULL, stop_later, &stop) != 0)
        world_fail(g->world, "no thread");
    if (decisions_run(&options, &done, &e) != TX_OK)
        world_fail(g->world, "%s", e.msg);
    pthread_join(timer, NULL);
    return (double)done;
}

/* Sum over the nodes from `from` to before `to`, for a thousand decisions of one of them. */
static void print_use(const struct group *g, unsigned from, unsigned to, double done)
{
    double each = (to - from) * done / 1000;
    struct use u = {0, 0, 0, 0, 0, 0};
    char written[32] = "for root"; /* what a node writes the system tells nobody else */

    for (unsigned i = from; i < to; i++) {
        const struct use *a = &g->nodes[i].before, *b = &g->nodes[i].after;

        u.cpu_ms += (b->cpu_ms - a->cpu_ms) / each;
        u.written += (b->written - a->written) / each;
        u.forced += (b->forced - a->forced) / each;
        u.sent += (b->sent - a->sent) / each;
        u.received += (b->received - a->received) / each;
        u.rss += b->rss / (to - from);
    }
    if (u.written > 0)
        snprintf(written, sizeof written, "%.0f KiB", u.written / 1024);
    printf("  %-8s %7.1f %8.8s %7.1f %8.0f %9.0f %7.0f\n", from == 0 ? "leader" : "follower", u.cpu_ms, written,
           u.forced, u.sent / 1024, u.received / 1024, u.rss / (1 << 20));
}

static void measure(struct group *g, unsigned in_flight)
{
    struct bench_samples samples = {NULL, 0, 0};
    struct bench_figures f;
    double done;

    for (unsigned i = 0; i < g->n; i++)
        g->nodes[i].before = look(g, i);
    done = load(g, in_flight, &samples);
    for (unsigned i = 0; i < g->n; i++)
        g->nodes[i].after = look(g, i);
    f = bench_figures_of(&samples, SECONDS);
    printf("%5u %11u %11.0f %7.2f %7.2f", g->n, in_flight, f.per_second, f.p50_ms, f.p99_ms);
    print_use(g, 0, 1, done);
    if (g->n > 1) {
        printf("%45s", "");
        print_use(g, 1, g->n, done);
    }
    fflush(stdout);
    free(samples.items);
}

/* Groups */

/* Node 1 leads it, as nothing happens to it. */
static void open_group(struct group *g, unsigned n)
{
    struct world_options options = {.name = "group"};
    struct tx_error e;

    g->world = world_new(&options);
    g->n = n;
    for (unsigned i = 0; i < n; i++) {
        g->nodes[i].process = world_node_new(g->world, i + 1, true, NULL);
        if (i == 0)
            world_node_begin(g->world, g->nodes[i].process, 1);
        else
            world_node_add(g->world, g->nodes[i].process, i + 1);
    }
    if (decisions_register(g->world, &e) != TX_OK)
        world_fail(g->world, "%s", e.msg);
}

int group_bench(void)
{
    struct group g;
    bool sound = true;

    printf("%57s for 1,000 decisions\n", "");
    printf("nodes outstanding decisions/s  p50 ms  p99 ms  %-8s %7s %8s %7s %8s %9s %7s\n", "", "CPU ms",
           "written", "forced", "sent KiB", "recvd KiB", "RSS MiB");
    for (unsigned n = 1; n <= NODES; n += NODES - 1) {
        open_group(&g, n);
        for (unsigned i = 0; i < STEPS; i++)
            measure(&g, outstanding[i]);
        sound = world_free(g.world, false) && sound;
    }
    return sound ? 0 : 1;
}
