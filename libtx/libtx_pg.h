/* libtx for PostgreSQL: direct branches on the application's own libpq connections.
 *
 * PostgreSQL 15 manual: «PREPARE TRANSACTION», «COMMIT PREPARED»; libpq, «Asynchronous Command Processing».
 */
#ifndef LIBTX_PG_H
#define LIBTX_PG_H

#include <libpq-fe.h>

#include "libtx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes `conn` the transaction's branch on `resource` (a name that an agent serves, for recovery). An idle
 * connection gets a BEGIN; one inside a transaction block is taken as it is, so that several can begin at once
 * or with options of their own. The connection stays the caller's: it works on it as always, but leaves COMMIT
 * and ROLLBACK to txn_commit() and txn_rollback(), and must not close it before. Borrowed until the transaction
 * is over. A connection or a resource can be enlisted once in a transaction. TX_EINVAL: connection closed,
 * failed, busy, in pipeline mode, in the middle of a COPY, or enlisted twice. */
TX_API TX_MUST_USE int txn_enlist_pg(txn *t, const char *resource, PGconn *conn, struct tx_error *error);

#ifdef __cplusplus
}
#endif

#endif
