/* libtx for MariaDB: direct branches on the application's own libmariadb connections.
 *
 * MariaDB manual: «XA Transactions». The program links libmariadb itself (-ltx -lmariadb).
 */
#ifndef LIBTX_MARIADB_H
#define LIBTX_MARIADB_H

#include <mysql.h>

#include "libtx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes `conn` the transaction's branch on `resource` (a name that an agent serves, for recovery). The
 * connection is idle and outside of a transaction, and gets an XA START. It stays the caller's: it works on it
 * as always, but leaves XA, COMMIT and ROLLBACK to txn_commit() and txn_rollback(), and must not close it
 * before. Borrowed until the transaction is over. A statement that the storage engine had to undo (duplicate
 * key, lock wait, deadlock, …) makes the branch vote no, also where MariaDB would go on. One that the server
 * refused before it began (syntax, a table that is not there, a missing right) does not: look at what
 * statements answer. What was written into a table without transactions (MyISAM, Aria) stays, whatever the
 * outcome. A connection or a resource can be enlisted once in a transaction.
 *
 * The session that prepared a branch has to finish it, or to end. So TXN_DECISION_LOGGED waits for that, too;
 * and a connection on which that cannot be done (TX_EINDOUBT, an error at the end, results that were not read
 * before it) is ended by the library: the next call on it fails, and a new one has to be opened.
 *
 * The user needs INSERT and SELECT on assent.receipt (sql/setup-mariadb.sql).
 *
 * TX_EINVAL: connection closed, busy, in a transaction, with MYSQL_OPT_RECONNECT, or enlisted twice; not
 * MariaDB 10.6 or later; a server that may lose prepared branches (innodb_flush_log_at_trx_commit,
 * sync_binlog). */
TX_API TX_MUST_USE int txn_enlist_mariadb(txn *t, const char *resource, MYSQL *conn, struct tx_error *error);

#ifdef __cplusplus
}
#endif

#endif
