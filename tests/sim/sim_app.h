/* sim_app: what an application is told, for sim_check. */
#ifndef ASSENT_SIM_APP_H
#define ASSENT_SIM_APP_H

#include <stdbool.h>

#include "libtx/libtx.h"
#include "libtx/shared/txid.h"

/* What txn_commit() or txn_rollback() returned, or tx_client_outcome(): TX_OK everywhere, TX_ETIMEOUT
 * committed, TX_EROLLBACK, TX_EINDOUBT, … */
void check_told(const struct txid *id, int code);
/* It is no longer known. */
void check_forgotten(const struct txid *id);

/* A transaction that is decided, of any application; false: none. */
bool check_pick_asked(struct txid *id);
/* What whoever asked for it was told. */
void check_outcome(const struct txid *id, bool committed);

#endif
