/* doubts: branches in doubt by the thousand, for the tests and the benchmark of recovery.
 *
 * Used by tests/e2e and tests/recovery; calls world, and speaks the protocol itself: no application could make
 * so many in so short a time. What it leaves behind is what applications leave that die after their PREPAREs:
 * for one part of the transactions a decision stands in the ledger, the sessions of the others expire.
 */
#ifndef ASSENT_DOUBTS_H
#define ASSENT_DOUBTS_H

#include "tests/lib/world.h"

enum { DOUBTS_SESSION_MS = 3000 /* after its last message, a session expires */ };

struct doubts {
    unsigned commits; /* transactions whose decision stands: COMMIT */
    unsigned aborts;  /* transactions that nobody asked to commit */
};

/* Prepares one branch of each transaction, as role app, in this server, which is the resource of its name. The
 * agents of the resource must not run: they would begin to finish them. Each branch writes a row into the table
 * doubts, which is made anew, with 1 for a transaction that is decided and 0 for the others. Returns when the
 * sessions have expired. */
void doubts_make(struct world *w, struct world_server *s, const struct doubts *d);
/* Prepares as many branches that belong to no coordinator: under these gids, «prefix» and numbers from 1. */
void doubts_prepare(struct world *w, struct world_server *s, const char *prefix, unsigned n);
/* All of them have ended as they had to: the rows of the decided transactions are there, and no others. */
bool doubts_are_resolved(struct world_server *s, const struct doubts *d);

#endif
