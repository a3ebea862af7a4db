/* nodes: where the group's coordinators listen for clients: kept in the ledger, told to clients and agents.
 *
 * Every node tells every other one its address again and again (main); here the leader compares that with the
 * ledger and has it corrected. Called by driver; sessions and agents put the list into their answers. With it
 * go the coordinators' keys (trust).
 */
#ifndef ASSENT_NODES_H
#define ASSENT_NODES_H

#include "coordinator/driver_internal.h"

/* This node leads from now on. */
void nodes_begin(struct driver *d);
/* For a message; borrowed until the next one. */
struct wire_nodes nodes_list(struct driver *d);

#endif
