/* pg_query: see pg_query.h. PostgreSQL 15 manual, libpq, «Asynchronous Command Processing». */
#include "libtx/pg_query.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void pg_take_error(struct pg_reply *r, const PGresult *res)
{
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    if (*r->sqlstate != '\0' || *r->text != '\0')
        return;
    if (sqlstate != NULL)
        snprintf(r->sqlstate, sizeof r->sqlstate, "%s", sqlstate);
    pg_first_line(r->text, sizeof r->text, text != NULL ? text : PQresultErrorMessage(res));
}

static void pg_take_row(struct pg_reply *r, const PGresult *res)
{
    if (PQntuples(res) == 0)
        return;
    r->rows = true;
    for (int i = 0; i < PG_COLUMNS && i < PQnfields(res); i++)
        snprintf(r->column[i], PG_COLUMN_SIZE, "%s", PQgetvalue(res, 0, i));
}

static void pg_take(struct pg_reply *r, PGresult *res)
{
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
        pg_take_row(r, res);
        break;
    case PGRES_COMMAND_OK:
        snprintf(r->tag, sizeof r->tag, "%s", PQcmdStatus(res));
        break;
    default:
        pg_take_error(r, res);
        break;
    }
    PQclear(res);
}

static bool pg_query_over(struct pg_query *q)
{
    q->reply.lost = PQstatus(q->conn) != CONNECTION_OK;
    if (q->reply.lost && *q->reply.text == '\0')
        pg_first_line(q->reply.text, sizeof q->reply.text, PQerrorMessage(q->conn));
    if (!q->was_nonblocking)
        (void)PQsetnonblocking(q->conn, 0);
    q->conn = NULL;
    return true;
}

void pg_query_start(struct pg_query *q, PGconn *conn, const char *sql)
{
    memset(q, 0, sizeof *q);
    q->conn = conn;
    q->was_nonblocking = PQisnonblocking(conn);
    (void)PQsetnonblocking(conn, 1);
    if (PQsendQuery(conn, sql) == 0) {
        pg_first_line(q->reply.text, sizeof q->reply.text, PQerrorMessage(conn));
        return; /* nothing is on the way, so the first step reads «no more results» */
    }
    q->unsent = PQflush(conn) == 1;
}

bool pg_query_step(struct pg_query *q)
{
    bool lost;
    PGresult *res;

    if (q->unsent)
        q->unsent = PQflush(q->conn) == 1;
    lost = PQconsumeInput(q->conn) == 0 || PQstatus(q->conn) != CONNECTION_OK;
    /* On a lost connection PQgetResult() gives what came before, then the error, and never blocks. */
    while (lost || PQisBusy(q->conn) == 0) {
        res = PQgetResult(q->conn);
        if (res == NULL)
            return pg_query_over(q);
        pg_take(&q->reply, res);
    }
    return false;
}

void pg_query_wants(const struct pg_query *q, struct pollfd *fd)
{
    short events = q->unsent ? POLLIN | POLLOUT : POLLIN;

    *fd = (struct pollfd){PQsocket(q->conn), events, 0};
}

void pg_query_abandon(struct pg_query *q)
{
    int fd = PQsocket(q->conn);

    if (fd >= 0)
        (void)shutdown(fd, SHUT_RDWR);
    while (!pg_query_step(q))
        ;
}
