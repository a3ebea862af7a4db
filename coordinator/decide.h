/* decide: requests about a transaction: DECIDE and OUTCOME. Called by driver; calls flights and sessions. */
#ifndef ASSENT_DECIDE_H
#define ASSENT_DECIDE_H

#include "coordinator/driver_internal.h"

void decide_request(struct driver *d, const struct reply_to *from, const struct wire_decide *m);
/* Where the applied log has the verdict, whoever leads: answers it. False: it has not, and nothing is sent. */
bool decide_outcome_for_ever(struct driver *d, const struct reply_to *from, const struct wire_outcome *m);
/* As the ledger has it now. */
void decide_answer_outcome(struct driver *d, const struct reply_to *to, const struct txid *id);
void decide_outcome(struct driver *d, const struct reply_to *from, const struct wire_outcome *m);

#endif
