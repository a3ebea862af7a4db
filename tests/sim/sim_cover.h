/* sim_cover: which rows of the tables of transitions a run has come through. */
#ifndef ASSENT_SIM_COVER_H
#define ASSENT_SIM_COVER_H

#include "coordinator/commit.h"
#include "tests/sim/sim.h"

/* It has just taken a step. */
void cover_commit(enum commit_state before, enum commit_event event, const struct commit *c);
#endif
