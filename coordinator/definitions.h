/* definitions: what the registry says of the resources that an agent serves: which agents are to be told, what,
 * and who may work there. Called by agents and seats.
 */
#ifndef ASSENT_DEFINITIONS_H
#define ASSENT_DEFINITIONS_H

#include "coordinator/driver_internal.h"

/* Whether the agent in this seat may be given work there, and is to be told of the definition; to be called
 * whenever one of the two says something new. */
void definitions_judge(struct driver *d, struct seat *seat);
bool definitions_due(const struct agent *a);
/* Puts those that are due into d->definitions; how many. Lost on the way they are due again when the agent
 * tells its resources the next time. */
size_t definitions_take(struct driver *d, struct agent *a);

#endif
