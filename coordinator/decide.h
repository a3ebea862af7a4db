/* decide: requests about a transaction: DECIDE and OUTCOME. Called by driver; calls flights and sessions. */
#ifndef ASSENT_DECIDE_H
#define ASSENT_DECIDE_H

#include "coordinator/driver_internal.h"

void decide_request(struct driver *d, const struct reply_to *from, const struct wire_decide *m);
void decide_outcome(struct driver *d, const struct reply_to *from, const struct wire_outcome *m);

#endif
