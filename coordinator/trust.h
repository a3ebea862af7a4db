/* trust: the group's keys at work. Those of this node's own file go into the ledger when it leads; who is to be
 * believed is told to clients and agents.
 *
 * Called by driver (time, entries), driver_operator, nodes and agents.
 */
#ifndef ASSENT_TRUST_H
#define ASSENT_TRUST_H

#include "coordinator/driver_internal.h"

/* This node leads from now on. */
void trust_begin(struct driver *d);
void trust_tick(struct driver *d);
void trust_proposed(struct driver *d, uint64_t ticket, bool committed);
void trust_clear(struct driver *d);
/* The keys are other ones now, all at once (RECORD_RESTORE). */
void trust_restored(struct driver *d);
/* A change of the keys is under way, an operator's or this node's. What is decided by looking at them waits:
 * two at once might each take an operator's key for not the last. */
bool trust_busy(const struct driver *d);

/* Adds the coordinators' keys; borrowed until the ledger's keys change. */
void trust_nodes(struct driver *d, struct wire_nodes *nodes);
/* Puts all clients' keys into d->clients; how many. Borrowed until the next record is applied. */
size_t trust_clients(struct driver *d);

#endif
