/* recovery: how fast branches in doubt are resolved, beside what the server allows. In each round the same
 * server gets the same number of prepared transactions twice: once they are finished by a program that does
 * nothing else, on as many connections as an agent has, COMMIT PREPARED and ROLLBACK PREPARED one after the
 * other on each (the floor); once they are in doubt, a half of them with a decision in the ledger and a half of
 * expired sessions, and an agent is started.
 *
 * `make bench-recovery` runs it. Calls world and doubts.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/conf.h"
#include "tests/bench/bench.h"
#include "tests/lib/doubts.h"

enum { ROUNDS_MAX = 99, CONNECTIONS_MAX = 128, RESOLVE_MS = 600000, LOOK_MS = 20 };

static struct settings {
    unsigned branches, connections, rounds;
    bool json, fsync;
} set;

static const struct conf_key keys[] = {
    {"branches", CONF_UINT, &set.branches, "10000", "N", "branches in doubt in each round", 2, 100000, NULL},
    {"connections", CONF_UINT, &set.connections, "16", "N", "of the agent, and of the floor", 4,
     CONNECTIONS_MAX, NULL},
    {"rounds", CONF_UINT, &set.rounds, "5", "N", "the median is printed", 1, ROUNDS_MAX, NULL},
    {"fsync", CONF_BOOL, &set.fsync, "true", "BOOL", "of the server", 0, 0, NULL},
    {"json", CONF_BOOL, &set.json, "false", "BOOL", "print JSON", 0, 0, NULL},
    {NULL, CONF_STRING, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

struct stage {
    struct world *world;
    struct world_server *bank;
    struct world_process *coordinator, *agent;
};

static void stage_open(struct stage *s)
{
    struct world_options options = {.name = "recovery", .no_fsync = !set.fsync};
    struct world_server_options server = {.max_prepared_transactions = set.branches + 100};
    static char connections[32];

    snprintf(connections, sizeof connections, "--connections=%u", set.connections);
    s->world = world_new(&options);
    s->coordinator = world_coordinator_new(s->world, "coordinator", NULL);
    world_process_start_ready(s->coordinator, NULL);
    s->bank = world_server_new(s->world, "bank", &server);
    s->agent = world_agent_new(s->world, "agent", &s->bank, 1, WORLD_ARGS(connections));
    /* Its first start registers the resource. */
    world_process_start_ready(s->agent, NULL);
    world_process_await(s->agent, "event=resource name=bank state=up", 10000);
    world_sleep_ms(500);
    world_process_stop(s->agent);
}

/* The floor. Its branches have names of the same form, and are finished in the same order, as the agent's: the
 * server finds each by comparing its name with those of all that were prepared before it. */

#define FLOOR_PREFIX "assent-00000000000000ff-1-"

struct finisher {
    pthread_t thread;
    PGconn *conn;
    unsigned first;
    bool failed;
};

static void *finisher_run(void *arg)
{
    struct finisher *f = arg;
    unsigned aborts = set.branches - set.branches / 2;
    char sql[96];

    for (unsigned i = f->first; i <= set.branches && !f->failed; i += set.connections) {
        bool commit = i <= set.branches / 2;
        PGresult *r;

        snprintf(sql, sizeof sql, "%s PREPARED '" FLOOR_PREFIX "%u'", commit ? "COMMIT" : "ROLLBACK",
                 commit ? aborts + i : i - set.branches / 2);
        r = PQexec(f->conn, sql);
        f->failed = PQresultStatus(r) != PGRES_COMMAND_OK;
        PQclear(r);
    }
    return NULL;
}

/* Seconds. Connecting counts, as it does for the agent. */
static double floor_run(struct stage *s)
{
    static struct finisher finishers[CONNECTIONS_MAX];
    uint64_t start;

    doubts_prepare(s->world, s->bank, FLOOR_PREFIX, set.branches);
    world_sql(s->bank, "CHECKPOINT");
    start = world_now_ms();
    for (unsigned i = 0; i < set.connections; i++) {
        finishers[i] = (struct finisher){.conn = world_server_connect(s->bank, "app"), .first = i + 1};
        if (finishers[i].conn == NULL ||
            pthread_create(&finishers[i].thread, NULL, finisher_run, &finishers[i]) != 0)
            world_fail(s->world, "cannot connect or start a thread");
    }
    for (unsigned i = 0; i < set.connections; i++) {
        pthread_join(finishers[i].thread, NULL);
        if (finishers[i].failed)
            world_fail(s->world, "floor: %s", PQerrorMessage(finishers[i].conn));
        PQfinish(finishers[i].conn);
    }
    return (double)(world_now_ms() - start) / 1000;
}

/* The agent */

/* Without the joins of the view, which cost more the more is prepared. */
static void await_nothing_prepared(struct stage *s)
{
    PGconn *conn = world_server_connect(s->bank, "postgres");
    uint64_t end = world_now_ms() + RESOLVE_MS;
    bool none = false;

    while (!none && conn != NULL && world_now_ms() < end) {
        PGresult *r = PQexec(conn, "SELECT FROM pg_prepared_xact() LIMIT 1");

        none = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 0;
        PQclear(r);
        world_sleep_ms(none ? 0 : LOOK_MS);
    }
    PQfinish(conn);
    if (!none)
        world_fail(s->world, "not everything is resolved");
}

static double agent_run(struct stage *s)
{
    const struct doubts d = {.commits = set.branches / 2, .aborts = set.branches - set.branches / 2};
    uint64_t start;
    double seconds;

    doubts_make(s->world, s->bank, &d);
    world_sql(s->bank, "CHECKPOINT");
    start = world_now_ms();
    world_process_start(s->agent, NULL);
    await_nothing_prepared(s);
    seconds = (double)(world_now_ms() - start) / 1000;
    if (!doubts_are_resolved(s->bank, &d))
        world_fail(s->world, "branches were not resolved as decided");
    world_process_stop(s->agent);
    return seconds;
}

/* Figures */

struct result {
    double floor, agent, ratio; /* seconds; ratio: of the rates, median of the rounds' ratios */
};

static struct result measure(struct stage *s)
{
    double floor[ROUNDS_MAX], agent[ROUNDS_MAX], ratio[ROUNDS_MAX];

    for (unsigned i = 0; i < set.rounds; i++) {
        floor[i] = floor_run(s);
        agent[i] = agent_run(s);
        ratio[i] = floor[i] / agent[i];
        if (!set.json)
            fprintf(stderr, "round %u of %u: floor %.2f s, agent %.2f s, ratio %.2f\n", i + 1, set.rounds,
                    floor[i], agent[i], ratio[i]);
    }
    return (struct result){bench_median(floor, set.rounds), bench_median(agent, set.rounds),
                           bench_median(ratio, set.rounds)};
}

static void print_text(const struct result *r)
{
    printf("%-7s %10s %12s %8s\n", "mode", "seconds", "branches/s", ": floor");
    printf("%-7s %10.2f %12.0f %8.2f\n", "floor", r->floor, set.branches / r->floor, 1.0);
    printf("%-7s %10.2f %12.0f %8.2f\n", "agent", r->agent, set.branches / r->agent, r->ratio);
}

static void print_json(const struct result *r)
{
    cJSON *o = cJSON_CreateObject();
    char *text;

    cJSON_AddNumberToObject(o, "branches", set.branches);
    cJSON_AddNumberToObject(o, "connections", set.connections);
    cJSON_AddNumberToObject(o, "floor_seconds", r->floor);
    cJSON_AddNumberToObject(o, "agent_seconds", r->agent);
    cJSON_AddNumberToObject(o, "rate_to_floor", r->ratio);
    text = cJSON_Print(o);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(o);
}

int main(int argc, char **argv)
{
    struct result r;
    struct stage s;
    struct tx_error e;

    if (conf_load(keys, "recovery", "Measures how fast an agent resolves branches in doubt.", NULL, argc, argv,
                  &e) != TX_OK) {
        fprintf(stderr, "recovery: %s\n", e.msg);
        return 2;
    }
    stage_open(&s);
    r = measure(&s);
    if (set.json)
        print_json(&r);
    else
        print_text(&r);
    world_free(s.world, false);
    conf_release(keys);
    return 0;
}
