/* found: branches that agents' scans saw prepared, and what is to become of them (docs/architecture.md,
 * «Recovery»).
 *
 * Called by reports (scans) and driver; read by views and the operator's verbs; calls flights and agents.
 */
#ifndef ASSENT_FOUND_H
#define ASSENT_FOUND_H

#include "coordinator/driver_internal.h"

/* A scan saw this branch: hands out what the ledger says, or proposes ABORT where it is too old. */
void found_report(struct driver *d, const struct wire_report *r);
/* NULL where no scan saw it. */
struct found *found_get(const struct driver *d, const struct txid *id, uint16_t branch, const char *resource);
/* It is finished. True: it was here. */
bool found_done(struct driver *d, const struct txid *id, uint16_t branch, const char *resource);
/* All of the transaction, linked by `next`. */
struct found *found_of(const struct driver *d, const struct txid *id);
/* Branches of the transaction that were seen, as direct ones; at most BRANCH_LIMIT. Borrowed until one of them
 * is finished. */
size_t found_collect(const struct driver *d, const struct txid *id, struct branch_ref *out);

void found_tick(struct driver *d);
void found_clear(struct driver *d);

#endif
