/* decisions: load for coordinators alone: commits of two branches each, as a client asks for that has prepared
 * them itself, through libtx's own calls and sessions, and without any database.
 *
 * Used by tests/e2e and tests/bench; calls libtx's client, session and call.
 */
#ifndef ASSENT_DECISIONS_H
#define ASSENT_DECISIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "tests/lib/world.h"

struct decisions_options {
    const char *coordinators;
    unsigned outstanding; /* commits asked for at the same time */
    uint64_t count;       /* so many in all; 0: until *stop */
    const int *stop;      /* atomic; may be NULL where there is a count */
    /* Called for each, from one of several threads, one at a time. NULL: nobody. */
    void (*decided)(void *arg, double seconds);
    void *arg;
};

/* Makes the resources known to the world's group as an agent does, where none is there to do it. */
int decisions_register(const struct world *w, struct tx_error *e);

/* Runs to the end. *done is how many were decided to commit. Not 0: one of them was not, or had no answer
 * within a minute. */
int decisions_run(const struct decisions_options *options, uint64_t *done, struct tx_error *e);

#endif
