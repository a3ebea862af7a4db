/* proxy: a bad line to one coordinator: what the others say to it comes late, twice, not at all, or in another
 * order.
 *
 * A client program of the world, started by world_assent before each node where the world's options ask for it.
 * It speaks nanomsg, so that it always has whole messages; the node's peers know its address alone.
 */
#ifndef ASSENT_PROXY_H
#define ASSENT_PROXY_H

#include "tests/lib/world.h"

/* In the table of jobs: {"proxy", proxy_job}. */
int proxy_job(int argc, char **argv);
/* From `listen` to `target`, a node's peer address. Returns when it listens. */
void proxy_start(struct world *w, unsigned node, const char *listen, const char *target);

#endif
