/* middle: a group of three coordinators, two banks and their agents, with a man in the middle (relay.h) before
 * every daemon: before each node's callers, before its peers, and before each agent.
 *
 * Used by the tests of attacks; calls kit.
 */
#ifndef ASSENT_MIDDLE_H
#define ASSENT_MIDDLE_H

#include "tests/lib/kit.h"
#include "tests/lib/relay.h"

enum {
    MIDDLE_NODES = 3,
    MIDDLE_FIRST_AGENT = 2 * MIDDLE_NODES, /* before: callers of node 1, its peers, callers of node 2, … */
    MIDDLES = MIDDLE_FIRST_AGENT + 2,
};

struct middle {
    struct kit kit;
    struct relay *relays[MIDDLES];
};

void middle_open(struct middle *m, const char *name);
/* As kit_close(). */
int middle_close(struct middle *m, int failed);
/* Before a test: everybody lets everything pass, and kit_settle(). */
void middle_settle(struct middle *m);
struct world_process *middle_daemon(struct middle *m, int relay);
/* Plan of them all. */
void middle_plan(struct middle *m, const struct relay_plan *plan);
/* As relay_mischief(), of them all. */
size_t middle_mischief(struct middle *m);

#endif
