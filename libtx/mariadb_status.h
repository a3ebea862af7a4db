/* mariadb_status: what became of an XA COMMIT … ONE PHASE whose answer was lost, asked on a connection of its
 * own until it is known.
 *
 * The receipt tells, but only when the session that sent the commit is gone from the process list (or the
 * server was started anew), for as long as it is there it may still be committing. A connection that leads to
 * another server than before tells nothing.
 *
 * Used by mariadb. Looking up a host's name may block, as in the library's own connecting.
 */
#ifndef LIBTX_MARIADB_STATUS_H
#define LIBTX_MARIADB_STATUS_H

#include <poll.h>

#include "libtx/mariadb_calls.h"
#include "libtx/shared/xa_xid.h"
#include "libtx/txn_branch.h"

struct mariadb_status;

/* What is remembered of the connection from when it was enlisted. */
struct mariadb_origin {
    unsigned long thread;
    char server_id[16]; /* @@server_id */
    bool tls;
    uint64_t enlisted_ms; /* call_now_ms() */
};

/* Connects as `lost` was connected; borrows its names and options until the end. TX_ENOMEM. */
int mariadb_status_start(struct mariadb_status **out, MYSQL *lost, const struct mariadb_origin *origin,
                         const char key[XA_KEY_SQL_SIZE]);
/* True: *answer is YES (committed), NO (not committed and never will be) or LOST (cannot be told: the user may
 * not read receipts, or one as old as this branch's may have been deleted). */
bool mariadb_status_step(struct mariadb_status *s, enum branch_answer *answer);
size_t mariadb_status_wants(struct mariadb_status *s, struct pollfd *fd, uint64_t *until_ms);
/* NULL is allowed. */
void mariadb_status_free(struct mariadb_status *s);

#endif
