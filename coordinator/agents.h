/* agents: who they are, and the queues of work for them; seats has who serves which resource.
 *
 * Called by driver (PULL, time), flights, found and driver_operator (work); calls seats and reports for
 * what a PULL carries. Work for a resource goes to its first living agent, which is also the one that
 * statements went to; work that was tried before goes to whichever agent of the resource comes first.
 */
#ifndef ASSENT_AGENTS_H
#define ASSENT_AGENTS_H

#include "coordinator/driver_internal.h"

void agents_pull(struct driver *d, const struct caller *caller, const struct reply_to *from,
                 const struct wire_pull *m);
void agents_locate(struct driver *d, const struct reply_to *from, const struct wire_locate *m);

bool agents_alive(const struct driver *d, const struct agent *a);

/* Queues w, whose item is filled in and stays its owner's until agents_cancel(). Nothing where it is queued. */
void agents_queue(struct driver *d, struct work *w);
void agents_cancel(struct work *w);
/* Not queued, and never sent or so long ago that it may go again. */
bool agents_due(const struct driver *d, const struct work *w);

/* Those who wait are told of the clients' keys. */
void agents_keys_changed(struct driver *d);
/* An agent with this key is one no more; what it was to do is the next one's. Tells the others, too. */
void agents_revoked(struct driver *d, const uint8_t key[KEY_SIZE]);
/* Takes all for alive as of now. */
void agents_refresh(struct driver *d);
void agents_tick(struct driver *d);
/* Answers parked PULLs that have work. */
void agents_flush(struct driver *d);
void agents_clear(struct driver *d, bool tell);

#endif
