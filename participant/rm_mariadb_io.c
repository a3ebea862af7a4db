/* rm_mariadb_io: what is sent on a MariaDB connection and what comes back; see rm_mariadb_impl.h. Called by
 * rm_mariadb_conn.c and the jobs; the one file that calls the client library's functions that wait.
 *
 * Each of them is a pair, _start and _cont, that tells what it waits for. A request is a chain of them:
 *
 *   RESET ─▶ QUERY ─▶ STORE ─▶ QUERY … one for each statement of our own, its rows kept
 *   QUERY ─▶ FETCH … ─▶ NEXT …        the application's statement without values: row by row to the job
 *   STMT_PREPARE ─▶ STMT_EXECUTE ─▶ STMT_FETCH … ─▶ STMT_CLOSE     with values
 *
 * A request begins when the socket can be written, so never from inside the call that sends.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "participant/rm_mariadb_impl.h"

/* the library's calls */

static const char *io_sql(const struct maria_conn *c)
{
    return c->request.statement_sent ? c->request.statement->text : c->request.sql[c->request.next];
}

static int io_start(struct maria_conn *c, enum maria_op op)
{
    c->op = op;
    switch (op) {
    case MARIA_RESET:
        return mysql_reset_connection_start(&c->status, c->my);
    case MARIA_QUERY:
        return mysql_real_query_start(&c->status, c->my, io_sql(c), strlen(io_sql(c)));
    case MARIA_STORE:
        return mysql_store_result_start(&c->rows, c->my);
    case MARIA_FETCH:
        return mysql_fetch_row_start(&c->row, c->rows);
    case MARIA_NEXT:
        return mysql_next_result_start(&c->status, c->my);
    case MARIA_STMT_PREPARE:
        return mysql_stmt_prepare_start(&c->status, c->stmt, io_sql(c), strlen(io_sql(c)));
    case MARIA_STMT_EXECUTE:
        return mysql_stmt_execute_start(&c->status, c->stmt);
    case MARIA_STMT_FETCH:
        return mysql_stmt_fetch_start(&c->status, c->stmt);
    case MARIA_STMT_NEXT:
        return mysql_stmt_next_result_start(&c->status, c->stmt);
    case MARIA_STMT_CLOSE:
        return mysql_stmt_close_start(&c->flag, c->stmt);
    case MARIA_CONNECT: /* rm_mariadb_io_connect() */
    case MARIA_NOTHING:
        break;
    }
    assert(!"begun");
    return 0;
}

static int io_continue(struct maria_conn *c, int ready)
{
    switch (c->op) {
    case MARIA_CONNECT:
        return mysql_real_connect_cont(&c->connected, c->my, ready);
    case MARIA_RESET:
        return mysql_reset_connection_cont(&c->status, c->my, ready);
    case MARIA_QUERY:
        return mysql_real_query_cont(&c->status, c->my, ready);
    case MARIA_STORE:
        return mysql_store_result_cont(&c->rows, c->my, ready);
    case MARIA_FETCH:
        return mysql_fetch_row_cont(&c->row, c->rows, ready);
    case MARIA_NEXT:
        return mysql_next_result_cont(&c->status, c->my, ready);
    case MARIA_STMT_PREPARE:
        return mysql_stmt_prepare_cont(&c->status, c->stmt, ready);
    case MARIA_STMT_EXECUTE:
        return mysql_stmt_execute_cont(&c->status, c->stmt, ready);
    case MARIA_STMT_FETCH:
        return mysql_stmt_fetch_cont(&c->status, c->stmt, ready);
    case MARIA_STMT_NEXT:
        return mysql_stmt_next_result_cont(&c->status, c->stmt, ready);
    case MARIA_STMT_CLOSE:
        return mysql_stmt_close_cont(&c->flag, c->stmt, ready);
    case MARIA_NOTHING:
        break;
    }
    assert(!"continued");
    return 0;
}

/* results */

/* Errors after which the session is not there any more: the library's own, and the server's farewells. */
static bool io_is_broken(unsigned error)
{
    return (error >= 2000 && error < 3000) || error == 1053 || error == 1152 || error == 1927 || error == 4031;
}

static struct maria_result *io_result(struct maria_conn *c)
{
    assert(c->reply.n > 0);
    return &c->reply.results[c->reply.n - 1];
}

/* Notes the error of the statement under way; marks the connection where there is none any more. */
static void io_error(struct maria_conn *c, unsigned error, const char *text)
{
    struct maria_result *r = io_result(c);

    r->error = error;
    snprintf(r->text, sizeof r->text, "%s", text);
    c->broken = c->broken || io_is_broken(error);
}

static void io_query_error(struct maria_conn *c)
{
    io_error(c, mysql_errno(c->my), mysql_error(c->my));
}

static void io_stmt_error(struct maria_conn *c)
{
    io_error(c, mysql_stmt_errno(c->stmt), mysql_stmt_error(c->stmt));
}

bool rm_mariadb_io_in_transaction(const struct maria_conn *c)
{
    unsigned status = 0;

    return mariadb_get_infov(c->my, MARIADB_CONNECTION_SERVER_STATUS, &status) == 0 &&
           (status & SERVER_STATUS_IN_TRANS) != 0;
}

static bool io_failed(struct maria_conn *c)
{
    return c->reply.n > 0 && io_result(c)->error != 0;
}

/* the chain: each says what comes next; MARIA_NOTHING: the request is done */

static enum maria_op io_next_statement(struct maria_conn *c)
{
    struct maria_request *q = &c->request;

    if (io_failed(c) && !q->tolerant)
        return MARIA_NOTHING;
    if (q->next < q->n_sql) {
        memset(&c->reply.results[c->reply.n++], 0, sizeof *c->reply.results);
        return MARIA_QUERY;
    }
    if (q->statement == NULL || q->statement_sent)
        return MARIA_NOTHING;
    q->statement_sent = true;
    memset(&c->reply.results[c->reply.n++], 0, sizeof *c->reply.results);
    if (q->statement->n_values == 0)
        return MARIA_QUERY;
    c->stmt = mysql_stmt_init(c->my);
    if (c->stmt == NULL)
        abort();
    return MARIA_STMT_PREPARE;
}

/* The end of one statement of our own. */
static enum maria_op io_own_done(struct maria_conn *c)
{
    free(c->request.sql[c->request.next]);
    c->request.sql[c->request.next++] = NULL;
    return io_next_statement(c);
}

/* A further set of rows, of a procedure's, is read and not passed on. */
static void io_columns(struct maria_conn *c, const MYSQL_FIELD *fields, unsigned n)
{
    if (c->request.sets++ == 0)
        c->job->columns(c->job, fields, n);
}

static enum maria_op io_more(struct maria_conn *c)
{
    return !io_failed(c) && mysql_more_results(c->my) ? MARIA_NEXT : MARIA_NOTHING;
}

/* The application's statement, or a further result of it, was executed. */
static enum maria_op io_executed(struct maria_conn *c)
{
    unsigned n = mysql_field_count(c->my);

    if (n == 0) {
        io_result(c)->affected += mysql_affected_rows(c->my);
        return io_more(c);
    }
    c->rows = mysql_use_result(c->my);
    if (c->rows == NULL) {
        io_query_error(c);
        return MARIA_NOTHING;
    }
    io_columns(c, mysql_fetch_fields(c->rows), n);
    return MARIA_FETCH;
}

static enum maria_op io_queried(struct maria_conn *c)
{
    if (c->status != 0)
        io_query_error(c);
    if (c->request.statement_sent)
        return c->status != 0 ? MARIA_NOTHING : io_executed(c);
    if (c->status == 0 && mysql_field_count(c->my) > 0)
        return MARIA_STORE;
    if (c->status == 0)
        io_result(c)->affected = mysql_affected_rows(c->my);
    return io_own_done(c);
}

static enum maria_op io_stored(struct maria_conn *c)
{
    if (c->rows == NULL)
        io_query_error(c);
    io_result(c)->rows = c->rows;
    c->rows = NULL;
    return io_own_done(c);
}

static enum maria_op io_fetched(struct maria_conn *c)
{
    if (c->row != NULL) {
        if (c->request.sets == 1)
            c->job->row(c->job, (const char *const *)c->row, mysql_num_fields(c->rows));
        return MARIA_FETCH;
    }
    if (mysql_errno(c->my) != 0)
        io_query_error(c);
    mysql_free_result(c->rows);
    c->rows = NULL;
    return io_more(c);
}

/* A result of a prepared statement. */
static enum maria_op io_stmt_result(struct maria_conn *c)
{
    MYSQL_RES *names = mysql_stmt_result_metadata(c->stmt);

    if (names == NULL) {
        io_result(c)->affected += mysql_stmt_affected_rows(c->stmt);
        return mysql_stmt_more_results(c->stmt) ? MARIA_STMT_NEXT : MARIA_STMT_CLOSE;
    }
    io_columns(c, mysql_fetch_fields(names), mysql_num_fields(names));
    rm_mariadb_bind_columns(&c->bind, mysql_num_fields(names));
    mysql_free_result(names);
    if (mysql_stmt_bind_result(c->stmt, c->bind.binds) != 0) {
        io_stmt_error(c);
        return MARIA_STMT_CLOSE;
    }
    return MARIA_STMT_FETCH;
}

static enum maria_op io_stmt_prepared(struct maria_conn *c)
{
    const struct rm_statement *s = c->request.statement;
    unsigned long wanted = mysql_stmt_param_count(c->stmt);
    char text[128];

    if (c->status != 0) {
        io_stmt_error(c);
        return MARIA_STMT_CLOSE;
    }
    if (wanted != (unsigned long)s->n_values) {
        snprintf(text, sizeof text, "the statement has %lu placeholders (?), and %d values came with it",
                 wanted, s->n_values);
        io_error(c, 1210, text);
        return MARIA_STMT_CLOSE;
    }
    rm_mariadb_bind_values(&c->bind, s);
    if (mysql_stmt_bind_param(c->stmt, c->bind.binds) == 0)
        return MARIA_STMT_EXECUTE;
    io_stmt_error(c);
    return MARIA_STMT_CLOSE;
}

static enum maria_op io_stmt_fetched(struct maria_conn *c)
{
    const char *const *row;

    if (c->status == MYSQL_NO_DATA)
        return mysql_stmt_more_results(c->stmt) ? MARIA_STMT_NEXT : MARIA_STMT_CLOSE;
    if (c->status != 0 && c->status != MYSQL_DATA_TRUNCATED) {
        io_stmt_error(c);
        return MARIA_STMT_CLOSE;
    }
    row = rm_mariadb_bind_row(&c->bind, c->stmt);
    if (row == NULL) {
        io_stmt_error(c);
        return MARIA_STMT_CLOSE;
    }
    if (c->request.sets == 1)
        c->job->row(c->job, row, c->bind.n);
    return MARIA_STMT_FETCH;
}

/* What follows when the call under way has ended. */
static enum maria_op io_ended(struct maria_conn *c)
{
    switch (c->op) {
    case MARIA_CONNECT:
        explicit_bzero(c->password, sizeof c->password);
        c->broken = c->connected == NULL;
        return MARIA_NOTHING;
    case MARIA_RESET:
        c->broken = c->status != 0;
        return c->broken ? MARIA_NOTHING : io_next_statement(c);
    case MARIA_QUERY:
        return io_queried(c);
    case MARIA_STORE:
        return io_stored(c);
    case MARIA_FETCH:
        return io_fetched(c);
    case MARIA_NEXT:
        if (c->status > 0)
            io_query_error(c);
        return c->status != 0 ? MARIA_NOTHING : io_executed(c);
    case MARIA_STMT_PREPARE:
        return io_stmt_prepared(c);
    case MARIA_STMT_EXECUTE:
    case MARIA_STMT_NEXT:
        if (c->status == 0)
            return io_stmt_result(c);
        io_stmt_error(c);
        return MARIA_STMT_CLOSE;
    case MARIA_STMT_FETCH:
        return io_stmt_fetched(c);
    case MARIA_STMT_CLOSE:
        c->stmt = NULL;
        return MARIA_NOTHING;
    case MARIA_NOTHING:
        break;
    }
    assert(!"ended");
    return MARIA_NOTHING;
}

/* going on */

static void io_free_results(struct maria_reply *reply)
{
    for (unsigned i = 0; i < reply->n; i++)
        mysql_free_result(reply->results[i].rows);
    reply->n = 0;
}

static void io_free_request(struct maria_conn *c)
{
    for (unsigned i = 0; i < c->request.n_sql; i++)
        free(c->request.sql[i]);
    memset(&c->request, 0, sizeof c->request);
    rm_mariadb_bind_release(&c->bind);
}

/* The job may send again, give the connection back or lose it from inside. */
static void io_complete(struct maria_conn *c)
{
    struct maria_reply reply = c->reply;

    c->reply.n = 0;
    c->in_flight = false;
    c->op = MARIA_NOTHING;
    io_free_request(c);
    if (!rm_mariadb_conn_watch(c, UV_READABLE))
        rm_mariadb_conn_lost(c, "cannot watch its socket");
    else
        c->job->replied(c->job, c, &reply);
    io_free_results(&reply);
}

static void io_broken(struct maria_conn *c)
{
    char text[TEXT_LIMIT + 1];

    snprintf(text, sizeof text, "%s", mysql_errno(c->my) != 0 ? mysql_error(c->my) : "connection lost");
    rm_mariadb_conn_lost(c, text);
}

/* status: what the library waits for. */
static bool io_watch(struct maria_conn *c, int status)
{
    return rm_mariadb_conn_watch(c, ((status & MYSQL_WAIT_READ) != 0 ? UV_READABLE : 0) |
                                        ((status & MYSQL_WAIT_WRITE) != 0 ? UV_WRITABLE : 0));
}

/* status: likewise; 0: the call under way has ended. */
static void io_go_on(struct maria_conn *c, int status)
{
    enum maria_op next;

    while (status == 0) {
        next = io_ended(c);
        if (c->broken) {
            io_broken(c);
            return;
        }
        if (next == MARIA_NOTHING) {
            io_complete(c);
            return;
        }
        status = io_start(c, next);
    }
    if (!io_watch(c, status))
        rm_mariadb_conn_lost(c, "cannot watch its socket");
}

static enum maria_op io_first(struct maria_conn *c)
{
    return c->request.reset ? MARIA_RESET : io_next_statement(c);
}

void rm_mariadb_io_ready(struct maria_conn *c, int events)
{
    int ready = ((events & UV_READABLE) != 0 ? MYSQL_WAIT_READ : 0) |
                ((events & UV_WRITABLE) != 0 ? MYSQL_WAIT_WRITE : 0);

    if (!c->in_flight)
        rm_mariadb_conn_lost(c, "the server closed the connection");
    else if (c->op == MARIA_CONNECT && c->connected != NULL) /* at once */
        io_go_on(c, 0);
    else if (c->op != MARIA_NOTHING)
        io_go_on(c, io_continue(c, ready));
    else
        io_go_on(c, io_start(c, io_first(c)));
}

/* sending */

static void io_send(struct maria_conn *c, const char *const *sql, unsigned n)
{
    assert(!c->in_flight && n <= MARIA_RESULTS);
    c->in_flight = true;
    c->request.n_sql = n;
    for (unsigned i = 0; i < n; i++) {
        c->request.sql[i] = strdup(sql[i]);
        if (c->request.sql[i] == NULL)
            abort();
    }
    if (!rm_mariadb_conn_watch(c, UV_WRITABLE)) {
        c->broken = true;
        rm_mariadb_pool_kick(c->rm);
    }
}

void rm_mariadb_send(struct maria_conn *c, const char *const *sql, unsigned n, bool tolerant)
{
    c->request = (struct maria_request){.tolerant = tolerant};
    io_send(c, sql, n);
}

void rm_mariadb_send_statement(struct maria_conn *c, const char *before, const struct rm_statement *s)
{
    c->request = (struct maria_request){.statement = s};
    io_send(c, &before, before == NULL ? 0 : 1);
}

void rm_mariadb_send_reset(struct maria_conn *c, const char *const *sql, unsigned n)
{
    c->request = (struct maria_request){.reset = true};
    io_send(c, sql, n);
}

/* connecting and closing */

static void io_options(MYSQL *my, const struct maria_settings *s)
{
    my_bool verify = s->ssl_verify && s->ssl_ca != NULL, no = 0;

    mysql_options(my, MYSQL_OPT_NONBLOCK, NULL);
    mysql_options(my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options(my, MYSQL_OPT_RECONNECT, &no);
    mysql_options(my, MYSQL_OPT_LOCAL_INFILE, &(unsigned){0});
    mysql_options4(my, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "txagentd");
    if (s->unix_socket != NULL)
        mysql_options(my, MYSQL_OPT_PROTOCOL, &(unsigned){MYSQL_PROTOCOL_SOCKET});
    else
        mysql_options(my, MYSQL_OPT_PROTOCOL, &(unsigned){MYSQL_PROTOCOL_TCP});
    if (!s->tls)
        return;
    mysql_ssl_set(my, s->ssl_key, s->ssl_cert, s->ssl_ca, NULL, NULL);
    mysql_options(my, MYSQL_OPT_SSL_ENFORCE, &(my_bool){1});
    mysql_options(my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
}

void rm_mariadb_io_connect(struct maria_conn *c, const char *host)
{
    const struct maria_settings *s = &c->rm->settings;
    struct tx_error e;
    int status;

    c->my = mysql_init(NULL);
    if (c->my == NULL)
        abort();
    if (rm_mariadb_settings_password(s, c->password, &e) != TX_OK) {
        snprintf(c->why, sizeof c->why, "%.*s", TEXT_LIMIT, e.msg);
        c->broken = true;
        rm_mariadb_pool_kick(c->rm);
        return;
    }
    snprintf(c->host, sizeof c->host, "%s", host == NULL ? "" : host);
    io_options(c->my, s);
    c->state = MARIA_CONNECTING;
    c->in_flight = true;
    c->op = MARIA_CONNECT;
    status = mysql_real_connect_start(&c->connected, c->my, host == NULL ? NULL : c->host, s->user, c->password,
                                      s->dbname, s->port, s->unix_socket, 0);
    if (status == 0 && c->connected == NULL)
        snprintf(c->why, sizeof c->why, "%s", mysql_error(c->my));
    else if (io_watch(c, status == 0 ? MYSQL_WAIT_WRITE : status))
        return;
    c->broken = true;
    rm_mariadb_pool_kick(c->rm);
}

/* The library would read the rest of what the server still sends, so the socket is shut and the rows are taken
 * out of its hands. A branch that is prepared stays so; another is rolled back by the server. */
void rm_mariadb_io_release(struct maria_conn *c)
{
    int fd;

    io_free_results(&c->reply);
    io_free_request(c);
    if (c->my == NULL)
        return;
    fd = (int)mysql_get_socket(c->my);
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
    if (c->rows != NULL)
        c->rows->handle = NULL;
    mysql_free_result(c->rows);
    mysql_close(c->my);
    if (c->stmt != NULL)
        mysql_stmt_close(c->stmt);
}
