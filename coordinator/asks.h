/* asks: what operators wait for: proposals of theirs that are under way, and inquiries to agents. Each is
 * called back once.
 *
 * Called by driver_operator (to add), driver (entries, time) and reports (agents' answers); calls agents.
 */
#ifndef ASSENT_ASKS_H
#define ASSENT_ASKS_H

#include "coordinator/driver_internal.h"

/* A change of the keys is under way. */
bool asks_change_keys(const struct driver *d);
/* As many as may be are under way. */
bool asks_full(const struct driver *d);
/* Calls back when the entry `ticket` is applied, or lost. The caller may still fill in what stands. */
struct ask *asks_add(struct driver *d, uint64_t ticket, driver_done_cb done, void *arg);
void asks_proposed(struct driver *d, uint64_t ticket, bool committed);

/* Sends the question to the agent that it names, or to the first one of the resource. */
void asks_inquire(struct driver *d, const struct driver_inquiry *q, driver_answer_cb answer, void *arg);
/* From an agent of whom it was asked: the others are not believed. */
void asks_answered(struct driver *d, const struct agent *a, const struct wire_report *r);
/* Asks again, or gives up. */
void asks_tick(struct driver *d);

/* Ends all; calls back, where `tell`. */
void asks_clear(struct driver *d, bool tell);

#endif
