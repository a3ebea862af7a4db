/* mariadb_query: see mariadb_query.h. MariaDB Connector/C, «mysql_send_query», «mysql_read_query_result». */
#include "libtx/mariadb_query.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void query_error(struct mariadb_query *q)
{
    unsigned error = mysql_errno(q->conn);

    q->reply.error = error != 0 ? error : MARIADB_CONNECTION_LOST;
    snprintf(q->reply.text, sizeof q->reply.text, "%s", mysql_error(q->conn));
}

static void query_row(struct mariadb_query *q, MYSQL_RES *rows)
{
    MYSQL_ROW row = mysql_fetch_row(rows);

    q->reply.rows = row != NULL;
    for (unsigned i = 0; row != NULL && i < MARIADB_COLUMNS && i < mysql_num_fields(rows); i++)
        snprintf(q->reply.column[i], MARIADB_COLUMN_SIZE, "%s", row[i] != NULL ? row[i] : "");
}

/* Rows, if the statement has brought any; false: an error. */
static bool query_rows(struct mariadb_query *q)
{
    MYSQL_RES *rows;

    if (mysql_field_count(q->conn) == 0)
        return true;
    rows = mysql_store_result(q->conn);
    if (rows != NULL)
        query_row(q, rows);
    mysql_free_result(rows);
    return rows != NULL;
}

/* The answer is there, its row, if it has one, with it. */
static void query_read(struct mariadb_query *q)
{
    int more;

    if (mysql_read_query_result(q->conn) != 0) {
        query_error(q);
        return;
    }
    do {
        if (!query_rows(q)) {
            query_error(q);
            return;
        }
        more = mysql_next_result(q->conn);
    } while (more == 0);
    if (more > 0)
        query_error(q);
}

void mariadb_query_start(struct mariadb_query *q, MYSQL *conn, const char *sql)
{
    memset(q, 0, sizeof *q);
    q->conn = conn;
    if (mysql_send_query(conn, sql, strlen(sql)) != 0)
        query_error(q);
}

bool mariadb_query_step(struct mariadb_query *q)
{
    struct pollfd fd;

    if (q->reply.error != 0)
        return true; /* it could not be sent */
    mariadb_query_wants(q, &fd);
    if (fd.fd >= 0 && poll(&fd, 1, 0) <= 0)
        return false;
    query_read(q);
    return true;
}

void mariadb_query_wants(const struct mariadb_query *q, struct pollfd *fd)
{
    *fd = (struct pollfd){mysql_get_socket(q->conn), POLLIN, 0};
}

void mariadb_query_abandon(struct mariadb_query *q)
{
    mariadb_break(q->conn);
    while (!mariadb_query_step(q))
        ;
}

void mariadb_query_run(struct mariadb_query *q, MYSQL *conn, const char *sql)
{
    mariadb_query_start(q, conn, sql);
    if (q->reply.error == 0)
        query_read(q);
}

void mariadb_break(MYSQL *conn)
{
    int fd = mysql_get_socket(conn);

    if (fd >= 0)
        (void)shutdown(fd, SHUT_RDWR);
}
