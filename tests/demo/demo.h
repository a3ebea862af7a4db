/* demo: what the parts of the demonstration share. */
#ifndef ASSENT_DEMO_H
#define ASSENT_DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/keys.h"
#include "tests/lib/world.h"

enum { DEMO_ACCOUNTS = 10000, DEMO_BALANCE = 1000, DEMO_APPLICATIONS = 4 };

/* The servers and daemons of a demonstration, all running. */
struct stage {
    struct world *world;
    struct world_server *bank[2];
    struct world_process *coordinator, *agent[2];
};

/* agent_flags: more of them for the agents; NULL: none. */
void stage_open(struct stage *s, const char *name, const char *const *agent_flags);

/* The application: transfers money from bank_a to bank_b until it is killed or told to stop, and tells a line
 * for each transfer: «committed KEY», «aborted KEY» or «in-doubt KEY». argv: name, number, conninfo a, conninfo
 * b. */
int transfer_job(int argc, char **argv);

/* What a decision costs coordinators, as a table; the exit code. */
int group_bench(void);

#endif
