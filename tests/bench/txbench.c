/* txbench: what atomicity costs. Runs the same transfer in several modes, interleaved in one process and on one
 * set of connections, so that the ratios can be trusted where the absolute figures can't.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libtx/shared/conf.h"
#include "tests/bench/bench.h"

enum { LIST_MAX = 16, ROUNDS_MAX = 99, CLIENTS_MAX = 1000 };

static struct settings {
    char *coordinators, *clear_coordinators, *conninfo[2], *resource[2], *modes, *base, *clients, *when;
    unsigned seconds, rounds, accounts;
    bool json, init;
} set;

static const struct conf_key keys[] = {
    {"database_a", CONF_STRING, &set.conninfo[0], "host=127.0.0.1 port=5432 dbname=bank", "CONNINFO",
     "first database (libpq connection string)", 0, 0, NULL},
    {"database_b", CONF_STRING, &set.conninfo[1], "host=127.0.0.1 port=5433 dbname=bank", "CONNINFO",
     "second database", 0, 0, NULL},
    {"resource_a", CONF_STRING, &set.resource[0], "bank_a", "NAME", "the first database's resource name", 0, 0,
     NULL},
    {"resource_b", CONF_STRING, &set.resource[1], "bank_b", "NAME", "the second database's resource name", 0, 0,
     NULL},
    {"coordinators", CONF_STRING, &set.coordinators, NULL, "LIST",
     "coordinators (default: $ASSENT_COORDINATORS, else tcp://127.0.0.1:7401)", 0, 0, NULL},
    {"clear_coordinators", CONF_STRING, &set.clear_coordinators, NULL, "LIST",
     "insecure coordinators, for the mode clear", 0, 0, NULL},
    {"modes", CONF_STRING, &set.modes, "floor,plain,direct,remote", "LIST",
     "what to run: floor, plain, direct, remote, clear", 0, 0, NULL},
    {"base", CONF_STRING, &set.base, "floor", "MODE", "what the others are compared with", 0, 0, NULL},
    {"clients", CONF_STRING, &set.clients, "1,8,32", "LIST", "numbers of clients to run with", 0, 0, NULL},
    {"commit_returns", CONF_STRING, &set.when, "completed", "WHEN", "completed or decision_logged", 0, 0, NULL},
    {"seconds", CONF_UINT, &set.seconds, "3", "N", "length of one run", 1, 3600, NULL},
    {"rounds", CONF_UINT, &set.rounds, "5", "N", "runs of each mode; their median is printed", 1, ROUNDS_MAX,
     NULL},
    {"accounts", CONF_UINT, &set.accounts, "100000", "N", "rows of the table accounts", 2, 100000000, NULL},
    {"init", CONF_BOOL, &set.init, "false", "BOOL", "first create the table accounts anew in both databases", 0,
     0, NULL},
    {"json", CONF_BOOL, &set.json, "false", "BOOL", "print JSON", 0, 0, NULL},
    {NULL, CONF_STRING, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

struct worker {
    pthread_t thread;
    struct bench_client client;
    struct bench_samples samples;
    enum bench_mode mode;
    int *stop; /* atomic */
    bool failed;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;

    w->samples.n = 0;
    while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
        double start = now();

        if (!bench_transfer(&w->client, w->mode) || !bench_sample(&w->samples, now() - start)) {
            w->failed = true;
            break;
        }
    }
    return NULL;
}

/* One run of one mode. False: a transfer failed, and the message has been printed. */
static bool run(struct worker *workers, unsigned n, enum bench_mode mode, struct bench_figures *out)
{
    struct timespec length = {(time_t)set.seconds, 0};
    struct bench_samples all = {NULL, 0, 0};
    double start = now(), elapsed;
    int stop = 0;
    bool ok = true;

    for (unsigned i = 0; i < n; i++) {
        workers[i].mode = mode;
        workers[i].stop = &stop;
        workers[i].failed = pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0;
    }
    nanosleep(&length, NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    elapsed = now() - start;
    for (unsigned i = 0; i < n; i++) {
        if (workers[i].failed) {
            fprintf(stderr, "txbench: %s: %s\n", bench_mode_names[mode], workers[i].client.error);
            ok = false;
        }
        for (size_t k = 0; k < workers[i].samples.n; k++)
            ok = bench_sample(&all, workers[i].samples.items[k]) && ok;
    }
    *out = bench_figures_of(&all, elapsed);
    free(all.items);
    return ok;
}

/* Medians of one mode over the rounds. */
static struct bench_figures median_of(const struct bench_figures *rounds, size_t n)
{
    double v[3][ROUNDS_MAX];

    for (size_t i = 0; i < n; i++) {
        v[0][i] = rounds[i].per_second;
        v[1][i] = rounds[i].p50_ms;
        v[2][i] = rounds[i].p99_ms;
    }
    return (struct bench_figures){bench_median(v[0], n), bench_median(v[1], n), bench_median(v[2], n)};
}

struct row {
    unsigned clients;
    enum bench_mode mode;
    struct bench_figures figures;
    double ratio_throughput,
        ratio_p50; /* to the base of the same rounds: medians of the ratios; 0 without one */
};

/* The median of round-by-round ratios: what shakes the machine in one round shakes both. */
static void ratios(struct row *row, struct bench_figures figures[BENCH_MODES][ROUNDS_MAX], int base)
{
    double throughput[ROUNDS_MAX], p50[ROUNDS_MAX];

    row->figures = median_of(figures[row->mode], set.rounds);
    if (base < 0)
        return;
    for (unsigned r = 0; r < set.rounds; r++) {
        throughput[r] = figures[row->mode][r].per_second / figures[base][r].per_second;
        p50[r] = figures[row->mode][r].p50_ms / figures[base][r].p50_ms;
    }
    row->ratio_throughput = bench_median(throughput, set.rounds);
    row->ratio_p50 = bench_median(p50, set.rounds);
}

/* All modes with n clients, interleaved round by round. */
static bool measure(const struct bench_setup *setup, unsigned n, const enum bench_mode *modes, size_t n_modes,
                    struct row *rows)
{
    static struct bench_figures figures[BENCH_MODES][ROUNDS_MAX];
    struct worker *workers = calloc(n, sizeof *workers);
    bool ok = workers != NULL;
    int base = -1;

    for (unsigned i = 0; ok && i < n; i++) {
        ok = bench_client_open(&workers[i].client, setup, i);
        if (!ok)
            fprintf(stderr, "txbench: cannot connect: %s", workers[i].client.error);
    }
    for (unsigned r = 0; ok && r < set.rounds; r++) {
        for (size_t m = 0; ok && m < n_modes; m++) {
            if (!set.json)
                fprintf(stderr, "\r%u clients, round %u of %u: %-8s", n, r + 1, set.rounds,
                        bench_mode_names[modes[m]]);
            ok = run(workers, n, modes[m], &figures[modes[m]][r]);
        }
    }
    if (!set.json)
        fprintf(stderr, "\r%60s\r", "");
    for (size_t m = 0; m < n_modes; m++)
        base = strcmp(bench_mode_names[modes[m]], set.base) == 0 ? (int)modes[m] : base;
    for (size_t m = 0; ok && m < n_modes; m++) {
        rows[m] = (struct row){n, modes[m], {0, 0, 0}, 0, 0};
        ratios(&rows[m], figures, base);
    }
    for (unsigned i = 0; workers != NULL && i < n; i++) {
        bench_client_close(&workers[i].client);
        free(workers[i].samples.items);
    }
    free(workers);
    return ok;
}

static void print_text(const struct row *rows, size_t n)
{
    printf("%7s  %-7s %10s %9s %9s %6s:%6s %6s:%6s\n", "clients", "mode", "tx/s", "p50 ms", "p99 ms", "tx/s ",
           set.base, "p50 ", set.base);
    for (size_t i = 0; i < n; i++) {
        printf("%7u  %-7s %10.0f %9.3f %9.3f", rows[i].clients, bench_mode_names[rows[i].mode],
               rows[i].figures.per_second, rows[i].figures.p50_ms, rows[i].figures.p99_ms);
        if (rows[i].ratio_throughput > 0)
            printf(" %13.2f %13.2f", rows[i].ratio_throughput, rows[i].ratio_p50);
        printf("\n");
    }
}

static void print_json(const struct row *rows, size_t n)
{
    cJSON *list = cJSON_CreateArray();
    char *text;

    for (size_t i = 0; i < n; i++) {
        cJSON *o = cJSON_CreateObject();

        cJSON_AddNumberToObject(o, "clients", rows[i].clients);
        cJSON_AddStringToObject(o, "mode", bench_mode_names[rows[i].mode]);
        cJSON_AddNumberToObject(o, "transactions_per_second", rows[i].figures.per_second);
        cJSON_AddNumberToObject(o, "p50_ms", rows[i].figures.p50_ms);
        cJSON_AddNumberToObject(o, "p99_ms", rows[i].figures.p99_ms);
        if (rows[i].ratio_throughput > 0) {
            cJSON_AddStringToObject(o, "base", set.base);
            cJSON_AddNumberToObject(o, "throughput_to_base", rows[i].ratio_throughput);
            cJSON_AddNumberToObject(o, "p50_to_base", rows[i].ratio_p50);
        }
        cJSON_AddItemToArray(list, o);
    }
    text = cJSON_Print(list);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(list);
}

/* The names of a comma-separated list, as indexes of bench_mode_names. 0: a name is not one of them. */
static size_t parse_modes(char *list, enum bench_mode out[BENCH_MODES])
{
    size_t n = 0;

    for (char *save, *name = strtok_r(list, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
        int m = 0;

        while (m < BENCH_MODES && strcmp(bench_mode_names[m], name) != 0)
            m++;
        if (m == BENCH_MODES || n == BENCH_MODES) {
            fprintf(stderr, "txbench: modes: «%s» is not one of floor, plain, direct, remote, clear\n", name);
            return 0;
        }
        out[n++] = (enum bench_mode)m;
    }
    return n;
}

static size_t parse_clients(char *list, unsigned out[LIST_MAX])
{
    size_t n = 0;

    for (char *save, *item = strtok_r(list, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        char *end;
        unsigned long v = strtoul(item, &end, 10);

        if (*end != '\0' || v < 1 || v > CLIENTS_MAX || n == LIST_MAX) {
            fprintf(stderr, "txbench: clients: «%s» is not a number from 1 to %d\n", item, CLIENTS_MAX);
            return 0;
        }
        out[n++] = (unsigned)v;
    }
    return n;
}

static bool init_database(const char *conninfo)
{
    PGconn *c = PQconnectdb(conninfo);
    char sql[256];
    PGresult *r;
    bool ok;

    snprintf(
        sql, sizeof sql,
        "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);"
        "INSERT INTO accounts SELECT i, 1000 FROM generate_series(1, %u) i; ANALYZE accounts",
        set.accounts);
    r = PQexec(c, sql);
    ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    if (!ok)
        fprintf(stderr, "txbench: cannot create the table accounts: %s", PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return ok;
}

static bool open_one(tx_client **out, const struct tx_client_options *options)
{
    struct tx_error e;

    if (*out != NULL || tx_client_open(out, options, &e) == TX_OK)
        return true;
    fprintf(stderr, "txbench: %s\n", e.msg);
    return false;
}

static bool open_clients(struct bench_setup *setup, const enum bench_mode *modes, size_t n)
{
    const struct tx_client_options secured = {.coordinators = set.coordinators, .application_name = "txbench"};
    const struct tx_client_options clear = {
        .coordinators = set.clear_coordinators, .application_name = "txbench", .insecure = true};
    bool ok = true;

    for (size_t i = 0; ok && i < n; i++) {
        if (modes[i] == BENCH_CLEAR)
            ok = open_one(&setup->clear, &clear);
        else if (modes[i] >= BENCH_DIRECT)
            ok = open_one(&setup->client, &secured);
    }
    return ok;
}

int main(int argc, char **argv)
{
    struct bench_setup setup = {{NULL, NULL}, {NULL, NULL}, TXN_COMPLETED, 0, NULL, NULL};
    struct row rows[LIST_MAX * BENCH_MODES];
    enum bench_mode modes[BENCH_MODES];
    unsigned clients[LIST_MAX];
    size_t n_modes, n_clients, n_rows = 0;
    struct tx_error e;
    bool ok;

    if (conf_load(keys, "txbench",
                  "Measures what atomicity costs: one transfer between two databases, in several modes.", NULL,
                  argc, argv, &e) != TX_OK) {
        fprintf(stderr, "txbench: %s\n", e.msg);
        return 2;
    }
    n_modes = parse_modes(set.modes, modes);
    n_clients = parse_clients(set.clients, clients);
    if (n_modes == 0 || n_clients == 0)
        return 2;
    setup.accounts = set.accounts;
    setup.when = strcmp(set.when, "decision_logged") == 0 ? TXN_DECISION_LOGGED : TXN_COMPLETED;
    for (int i = 0; i < 2; i++) {
        setup.conninfo[i] = set.conninfo[i];
        setup.resource[i] = set.resource[i];
    }
    ok = (!set.init || (init_database(set.conninfo[0]) && init_database(set.conninfo[1]))) &&
         open_clients(&setup, modes, n_modes);
    for (size_t i = 0; ok && i < n_clients; i++, n_rows += n_modes)
        ok = measure(&setup, clients[i], modes, n_modes, rows + n_rows);
    if (ok && set.json)
        print_json(rows, n_rows);
    else if (ok)
        print_text(rows, n_rows);
    tx_client_close(setup.client);
    tx_client_close(setup.clear);
    conf_release(keys);
    return ok ? 0 : 1;
}
