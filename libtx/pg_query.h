/* pg_query: one string of SQL on a PGconn, without blocking. Leaves the connection as it found it: all results
 * read, blocking mode restored. Used by pg and pg_status; the only user of libpq's asynchronous calls.
 */
#ifndef LIBTX_PG_QUERY_H
#define LIBTX_PG_QUERY_H

#include <libpq-fe.h>
#include <poll.h>

#include "libtx/pg_reply.h"

struct pg_query {
    PGconn *conn; /* borrowed; NULL: idle */
    bool was_nonblocking, unsent;
    struct pg_reply reply;
};

/* Sends. What goes wrong comes out of pg_query_step(). */
void pg_query_start(struct pg_query *q, PGconn *conn, const char *sql);
/* True: over; q->reply is complete and the connection free. */
bool pg_query_step(struct pg_query *q);
/* What step() waits for. */
void pg_query_wants(const struct pg_query *q, struct pollfd *fd);
/* Breaks the connection, for nobody knows when, and as what, its answer would come. Then as after step(). */
void pg_query_abandon(struct pg_query *q);

#endif
