/* sim_check: what must hold (protocol.md, «What must hold, always»), looked at whenever something happens to
 * it: a branch changes in its resource, an application is told something, a record is applied, a leader gives
 * orders.
 */
#ifndef ASSENT_SIM_CHECK_H
#define ASSENT_SIM_CHECK_H

#include "coordinator/ledger.h"
#include "libtx/shared/wire.h"
#include "tests/sim/sim.h"

/* An operator has acted on it: its branches may differ, and somebody must be told of it. */
void check_meddled(const struct txid *id);
/* What a leader tells an agent to do. */
void check_orders(const char *node, const struct wire_work *work);
/* The ledger is no larger than what is in flight. */
void check_bounds(const struct ledger *l);
/* A transaction that is decided, by chance; false: none. */
bool check_pick_decided(uint64_t *session, uint64_t *sequence, enum verdict *stands);
/* A transaction of which something is prepared, and no decision stands; false: none. */
bool check_pick_undecided(uint64_t *session, uint64_t *sequence);
/* A record was applied, on any node. */
void check_record(const struct record *r, const struct ledger_result *result);
/* A node votes for another one, or leads. */
void check_vote(uint64_t node, uint64_t term, uint64_t vote);
void check_leader(uint64_t term, uint64_t node);

#endif
