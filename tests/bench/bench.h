/* bench: one transfer between two databases in four ways, and what a run of it measured. */
#ifndef ASSENT_BENCH_H
#define ASSENT_BENCH_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "libtx/libtx.h"

enum bench_mode {
    BENCH_FLOOR,  /* hand-written two-phase commit, pipelined over both databases, no decision logged: unsafe */
    BENCH_PLAIN,  /* two separate commits, no atomicity: what a user pays today */
    BENCH_DIRECT, /* Assent, on the application's own connections */
    BENCH_REMOTE, /* Assent, statements through agents */
    BENCH_CLEAR,  /* as BENCH_DIRECT, by a coordinator that is insecure: what encryption costs */
    BENCH_MODES
};

extern const char *const bench_mode_names[BENCH_MODES];

/* What every client of a run shares. */
struct bench_setup {
    const char *conninfo[2]; /* the application's connections */
    const char *resource[2];
    enum txn_return when;
    unsigned accounts;
    tx_client *client; /* NULL where only floor and plain run */
    tx_client *clear;  /* NULL where BENCH_CLEAR does not run */
};

/* One client: a thread's own connections and random numbers. */
struct bench_client {
    const struct bench_setup *setup;
    PGconn *conn[2];
    unsigned id, seed;
    unsigned long long count; /* transactions ever, for names */
    char error[512];          /* of the failed transaction */
};

bool bench_client_open(struct bench_client *c, const struct bench_setup *setup, unsigned id);
void bench_client_close(struct bench_client *c);

/* One transfer. False: error says why; the run ends. */
bool bench_transfer(struct bench_client *c, enum bench_mode mode);

/* Latencies of one run, in seconds. */
struct bench_samples {
    double *items;
    size_t n, cap;
};

struct bench_figures {
    double per_second, p50_ms, p99_ms;
};

bool bench_sample(struct bench_samples *s, double seconds);
/* Sorts the samples. */
struct bench_figures bench_figures_of(struct bench_samples *s, double elapsed);
/* Median of n numbers, which it sorts. */
double bench_median(double *values, size_t n);

#endif
