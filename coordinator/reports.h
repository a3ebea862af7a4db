/* reports: what an agent's PULL carries, one by one, to those whom it concerns: flights, found, inquiries.
 * Called by agents. What is late, double or about something unknown is absorbed. */
#ifndef ASSENT_REPORTS_H
#define ASSENT_REPORTS_H

#include "coordinator/driver_internal.h"

void reports_take(struct driver *d, const struct agent *a, const struct wire_report *r);

#endif
