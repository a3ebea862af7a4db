/* namesakes: two agents under one name. Called by agents.c and driver_view.c; implements what driver.h says of
 * them for the log. */
#ifndef ASSENT_NAMESAKES_H
#define ASSENT_NAMESAKES_H

#include "coordinator/driver_internal.h"

/* A PULL of another start of agent `a` than the newest. True: it takes the name over. False: it is one from
 * whom the name was taken, so two agents run under it, and the one that was started first is to be refused. */
bool namesakes_take_over(struct driver *d, struct agent *a, uint64_t instance);
/* Two have been heard under this name lately. */
bool namesakes_are(const struct driver *d, const struct agent *a);

#endif
