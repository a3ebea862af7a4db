/* agents: who serves which resource, and the queues of work for them.
 *
 * Called by driver (PULL, time), flights, found and driver_operator (work); calls reports for what a PULL
 * carries. Work for a resource goes to its first living agent, which is also the one that statements went to;
 * work that was tried before goes to whichever agent of the resource comes first.
 */
#ifndef ASSENT_AGENTS_H
#define ASSENT_AGENTS_H

#include "coordinator/driver_internal.h"

void agents_pull(struct driver *d, const struct caller *caller, const struct reply_to *from,
                 const struct wire_pull *m);
void agents_locate(struct driver *d, const struct reply_to *from, const struct wire_locate *m);

/* The seat of the agent that a resource's first work goes to; NULL: no agent of it is alive. */
const struct seat *agents_first(const struct driver *d, const char *resource);
bool agents_alive(const struct driver *d, const struct agent *a);

/* Queues w, whose item is filled in and stays its owner's until agents_cancel(). Nothing where it is queued. */
void agents_queue(struct driver *d, struct work *w);
void agents_cancel(struct work *w);
/* Not queued, and never sent or so long ago that it may go again. */
bool agents_due(const struct driver *d, const struct work *w);

void agents_resource_added(struct driver *d, const char *name);
/* Declared, or its settings are others: those who serve it by name are told. */
void agents_resource_changed(struct driver *d, const char *name);
/* Asks those who serve it to tell their resources again. */
void agents_resource_removed(struct driver *d, const char *name);
/* Those who wait are told of the clients' keys. */
void agents_keys_changed(struct driver *d);
/* An agent with this key is one no more; what it was to do is the next one's. Tells the others, too. */
void agents_revoked(struct driver *d, const uint8_t key[KEY_SIZE]);
/* Takes all for alive as of now. */
void agents_refresh(struct driver *d);
void agents_tick(struct driver *d);
/* Answers parked PULLs that have work. */
void agents_flush(struct driver *d);
void agents_lost(struct driver *d, uint64_t ticket);
void agents_clear(struct driver *d, bool tell);

#endif
