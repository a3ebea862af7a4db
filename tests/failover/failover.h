/* failover: what the parts of the failover measurement share (`make bench-failover`). */
#ifndef ASSENT_FAILOVER_H
#define ASSENT_FAILOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/world.h"

enum { FAILOVER_THREADS = 4, FAILOVER_NODES = 3, FAILOVER_ROUNDS_MAX = 200 };

/* How the two branches of a transfer work; LOGGED: direct, and the commit returns when it is decided. */
enum failover_mode { FAILOVER_DIRECT, FAILOVER_REMOTE, FAILOVER_MIXED, FAILOVER_LOGGED, FAILOVER_MODES };
/* What becomes of the leader. */
enum failover_fault { FAILOVER_KILL, FAILOVER_FREEZE, FAILOVER_STOP, FAILOVER_TRANSFER, FAILOVER_FAULTS };

extern const char *const failover_mode_names[FAILOVER_MODES];
extern const char *const failover_fault_names[FAILOVER_FAULTS];

/* The servers and daemons, all running. */
struct stage {
    struct world *world;
    struct world_server *bank[2];
    struct world_process *node[FAILOVER_NODES + 1], *agent[2]; /* nodes by number */
    const char *const *flags;                                  /* of coordinators; borrowed */
};

/* One transfer, as the client told of it. Times are microseconds of the machine's monotonic clock. */
struct told {
    unsigned thread;
    long long key; /* the receipt's */
    int rc;        /* of txn_commit(), or of the work in front of it */
    int again;     /* enum tx_outcome, when it was asked for once more; -1: it was not, or nobody knew */
    uint64_t begin_us, commit_us, end_us;
};

/* A mode under a fault. */
struct cell {
    enum failover_mode mode;
    enum failover_fault fault;
    size_t n;                                                      /* failovers */
    double first_ms[FAILOVER_ROUNDS_MAX];                          /* from the fault to the first new commit */
    double slowest_ms[FAILOVER_ROUNDS_MAX];                        /* of the commits under way at the fault */
    size_t in_flight, committed, asked_again;                      /* asked_again: by tx_client_outcome() */
    size_t lost, half, in_doubt, rolled_back, otherwise, failures; /* all but committed must be 0 */
};

/* failover_client.c: the application. argv: name, mode, number, conninfo a, conninfo b. */
int failover_job(int argc, char **argv);
/* False: the line is no transfer's. */
bool failover_parse(const char *line, struct told *out);

/* failover_cell.c */

/* n failovers under load, and the books behind them. */
void cell_measure(struct stage *s, struct cell *c, size_t n);
/* Nothing was lost, left in doubt, rolled back, or answered in two ways. */
bool cell_sound(const struct cell *c);

/* failover_print.c */
void failover_print_head(void);
void failover_print_row(const struct cell *c);
void failover_print_foot(const char *election, const char *heartbeat);
void failover_print_json(const struct cell *cells, size_t n);

#endif
