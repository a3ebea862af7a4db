/* lookups: questions for the outcome of a transaction that may still change: answered when an entry that was
 * proposed behind the question is committed, so that a leader that is one no more, and does not know it yet,
 * calls nothing pending that another has decided (linearizable reads; Ongaro 2014, 6.4).
 *
 * Called by decide (questions) and driver (ends of proposals).
 */
#ifndef ASSENT_LOOKUPS_H
#define ASSENT_LOOKUPS_H

#include "coordinator/driver_internal.h"

void lookups_add(struct driver *d, const struct reply_to *from, const struct txid *id);
void lookups_proposed(struct driver *d, uint64_t ticket, bool committed);
void lookups_clear(struct driver *d, bool tell);

#endif
