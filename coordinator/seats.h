/* seats: which agents serve which resource, in the order in which they came. Called by agents (PULL), driver
 * (what the log says), and whoever looks for a resource's agent; calls definitions.
 */
#ifndef ASSENT_SEATS_H
#define ASSENT_SEATS_H

#include "coordinator/driver_internal.h"

/* The resource as agents serve it; made where nobody has spoken of it yet. */
struct served *seats_of(struct driver *d, const char *resource);
/* The seat of the agent that a resource's first work goes to; NULL: no agent of it is alive. One that listens
 * for statements comes before one that does not: only there can a branch be prepared. */
const struct seat *seats_first(const struct driver *d, const char *resource);
struct seat *seats_first_of(const struct driver *d, const struct served *s);

/* One name for resources of two kinds is a mistake in a configuration, and would mix up their branches: false,
 * and the PULL is refused. What an operator declared is another matter: the agent is told, and gets no work for
 * it (definitions_judge()). */
bool seats_agree(struct driver *d, const struct reply_to *from, const struct wire_pull *m);
/* The resources that it tells; others that it had, it leaves. Nothing where it tells none. */
void seats_take(struct driver *d, struct agent *a, const struct wire_pull *m);
/* Behind the agents that took its place while it was silent: clients execute statements there by now, and that
 * is where their branches are to be prepared. */
void seats_step_back(struct agent *a);
void seats_leave(struct agent *a);

void seats_resource_added(struct driver *d, const char *name);
/* Declared, or its settings are others: those who serve it by name are told. */
void seats_resource_changed(struct driver *d, const char *name);
/* Asks those who serve it to tell their resources again. */
void seats_resource_removed(struct driver *d, const char *name);
/* The entry with this ticket will not come. */
void seats_lost(struct driver *d, uint64_t ticket);
void seats_clear(struct driver *d);

#endif
