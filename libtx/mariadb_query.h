/* mariadb_query: one statement on a MYSQL, without blocking. Used by mariadb and mariadb_status.
 *
 * The statement is sent with mysql_send_query(), and the socket is watched until something has come. What comes
 * is then read at once: an answer of one packet, or of a single short row, which the server sends together. So
 * no statement may bring rows and then go on to work: the socket would say nothing of what the library has read
 * ahead. Several commands are one statement, a compound one, which ends at the first that fails: no connection
 * has to have multi-statements switched on for it.
 */
#ifndef LIBTX_MARIADB_QUERY_H
#define LIBTX_MARIADB_QUERY_H

#include <poll.h>

#include "libtx/mariadb_calls.h"
#include "libtx/mariadb_reply.h"

struct mariadb_query {
    MYSQL *conn; /* borrowed */
    struct mariadb_reply reply;
};

/* Sends. What goes wrong comes out of mariadb_query_step(). */
void mariadb_query_start(struct mariadb_query *q, MYSQL *conn, const char *sql);
/* True: over; q->reply is complete and the connection free. */
bool mariadb_query_step(struct mariadb_query *q);
/* What step() waits for. */
void mariadb_query_wants(const struct mariadb_query *q, struct pollfd *fd);
/* Breaks the connection, for nobody knows when, and as what, its answer would come. Then as after step(). */
void mariadb_query_abandon(struct mariadb_query *q);

/* Sends and waits. */
void mariadb_query_run(struct mariadb_query *q, MYSQL *conn, const char *sql);

/* Ends the session without a word to it; the application's next call on the connection fails. */
void mariadb_break(MYSQL *conn);

#endif
