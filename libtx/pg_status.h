/* pg_status: what became of a COMMIT whose answer was lost, asked on a connection of its own until it is known.
 *
 * pg_xact_status(xid) tells, but an xid that had not reached the disk is handed out again after a crash of the
 * server or a failover, and «committed» may then be another transaction's. So the xid is taken together with
 * the server's incarnation (pg_proof.h); «committed» is believed in the same one alone. «Aborted» is true in
 * any.
 *
 * Used by pg.
 */
#ifndef LIBTX_PG_STATUS_H
#define LIBTX_PG_STATUS_H

#include <libpq-fe.h>
#include <poll.h>

#include "libtx/txn_branch.h"

struct pg_status;

/* Connects to where `lost` was connected. incarnation "": not known. TX_ENOMEM. */
int pg_status_start(struct pg_status **out, const PGconn *lost, const char *xid, const char *incarnation);
/* True: *answer is YES (committed), NO (not committed and never will be) or LOST (cannot be told). */
bool pg_status_step(struct pg_status *s, enum branch_answer *answer);
size_t pg_status_wants(struct pg_status *s, struct pollfd *fd, uint64_t *until_ms);
/* NULL is allowed. */
void pg_status_free(struct pg_status *s);

#endif
