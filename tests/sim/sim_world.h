/* sim_world: who is in the world; see sim.h. */
#ifndef ASSENT_SIM_WORLD_H
#define ASSENT_SIM_WORLD_H

#include "tests/sim/sim.h"

struct ledger;

void node_main(void *arg);
void agent_main(void *arg);
void app_main(void *arg);

/* It crashes in a moment, and comes back at once. */
void world_stumble(struct proc *p);
/* Of this seed; small: many nodes stand for election at the same time. */
unsigned world_election_ms(void);

/* «address,…» of all nodes' places */
const char *world_coordinators(void);

/* A coordinator's place. The node in it has a number of its own, another one after it was wiped. */
struct place {
    uint64_t id;
    bool founds;
};
extern struct place places[SIM_NODES];

/* sim_node. Of a node that is not up: nothing. */
bool node_leads(const struct proc *p);
const struct ledger *node_ledger(const struct proc *p);
uint64_t node_applied(const struct proc *p);
/* Asks the leader, in its loop; the newest result: 1 while it is under way. */
void node_change(struct proc *leader, bool add, unsigned place);
void node_transfer(struct proc *leader);
void node_resolve(struct proc *leader);
/* What another leader, or recovery, may have proposed before it knew: the other verdict for what is decided. */
void node_propose_late(struct proc *leader);
/* Whether the leader takes this node for a member, with a vote where that is asked for. */
bool node_has_member(const struct proc *leader, uint64_t id, bool voter);
extern int node_change_rc;

/* sim_app */
bool app_finished(const struct proc *p);

/* sim_check */
/* Everything has come to its end; NULL, or what has not. */
const char *check_rest(const struct ledger *leader);
void check_applied(uint64_t index, uint64_t digest);

#endif
