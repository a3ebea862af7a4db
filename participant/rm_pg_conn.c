/* rm_pg_conn: one PostgreSQL connection on the loop; see rm_pg.h. Called by the pool and by jobs; calls libpq
 * and libuv.
 *
 * connect ──▶ the session's facts are asked ──▶ idle ⇄ working for a job (⇄ cleaning after a branch's work)
 * Whenever it breaks it goes, with its job dropped; the pool opens another.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "participant/rm_pg.h"

static void conn_poll(uv_poll_t *handle, int status, int events);

/* opening and closing */

static void conn_ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* What stands before "dbname" can be overridden by the operator's settings, what stands behind cannot. hosts,
 * addresses: as looked up; NULL: as the settings say. */
static PGconn *conn_start(const char *settings, const char *hosts, const char *addresses)
{
    const char *keys[] = {"fallback_application_name",
                          "keepalives_idle",
                          "keepalives_interval",
                          "keepalives_count",
                          "tcp_user_timeout",
                          "dbname",
                          "client_encoding",
                          hosts == NULL ? NULL : "host",
                          "hostaddr",
                          NULL};
    const char *values[] = {"txagentd", "10", "5", "3", "30000", settings, "UTF8", hosts, addresses, NULL};

    return PQconnectStartParams(keys, values, 1);
}

static void conn_poll_freed(uv_handle_t *handle)
{
    struct rm *rm = handle->data;

    free(handle);
    rm->open_handles--;
}

static void conn_poll_close(struct pg_conn *c)
{
    if (c->poll == NULL)
        return;
    c->poll->data = c->rm;
    uv_close((uv_handle_t *)c->poll, conn_poll_freed);
    c->poll = NULL;
    c->events = 0;
}

/* Listens on the socket that libpq uses now, which can be another after each step of connecting. */
static bool conn_watch(struct pg_conn *c, int events)
{
    int fd = PQsocket(c->pg);

    if (fd < 0)
        return false;
    if (c->poll != NULL && c->fd != fd)
        conn_poll_close(c);
    if (c->poll == NULL) {
        c->poll = malloc(sizeof *c->poll);
        if (c->poll == NULL)
            return false;
        if (uv_poll_init(c->rm->options.loop, c->poll, fd) != 0) {
            free(c->poll);
            c->poll = NULL;
            return false;
        }
        c->rm->open_handles++;
        c->poll->data = c;
        c->fd = fd;
    }
    if (c->events == events)
        return true;
    c->events = events;
    return uv_poll_start(c->poll, events, conn_poll) == 0;
}

static void conn_free(struct pg_conn *c)
{
    struct rm *rm = c->rm;

    for (int i = 0; i < c->reply.n; i++)
        PQclear(c->reply.results[i]);
    rm_pg_resolve_cancel(c);
    conn_poll_close(c);
    PQfinish(c->pg);
    if (c->state == PG_CONNECTING || c->state == PG_PREPARING_SESSION)
        rm->n_connecting--;
    if (c->job != NULL && c->job->holds)
        rm->n_held--;
    DL_DELETE(rm->conns, c);
    rm->n_conns--;
    free(c);
}

static void conn_connect(struct pg_conn *c, const char *hosts, const char *addresses)
{
    c->pg = conn_start(c->rm->settings, hosts, addresses);
    if (c->pg != NULL)
        PQsetNoticeProcessor(c->pg, conn_ignore_notice, NULL);
    if (c->pg != NULL && PQstatus(c->pg) != CONNECTION_BAD && conn_watch(c, UV_WRITABLE))
        return;
    c->broken = true;
    rm_pg_pool_kick(c->rm);
}

struct pg_conn *rm_pg_conn_open(struct rm *rm)
{
    struct pg_conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->rm = rm;
    c->fd = -1;
    c->state = PG_CONNECTING;
    c->since_ms = uv_now(rm->options.loop);
    DL_APPEND(rm->conns, c);
    rm->n_conns++;
    rm->n_connecting++;
    if (!rm_pg_resolve(c))
        conn_connect(c, NULL, NULL);
    return c;
}

void rm_pg_conn_resolved(struct pg_conn *c, const char *hosts, const char *addresses, const char *error)
{
    if (error != NULL)
        rm_pg_conn_lost(c, error);
    else
        conn_connect(c, hosts, addresses);
}

/* libpq's message in one line; `why` where it has none. */
static void conn_message(const struct pg_conn *c, const char *why, char *out, size_t size)
{
    const char *said = c->pg == NULL ? "" : PQerrorMessage(c->pg);
    size_t n = 0;

    for (said = *said == '\0' ? why : said; *said != '\0' && n + 1 < size; said++) {
        char ch = *said == '\n' || *said == '\t' ? ' ' : *said;

        if (ch != ' ' || (n > 0 && out[n - 1] != ' '))
            out[n++] = ch;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

void rm_pg_conn_lost(struct pg_conn *c, const char *why)
{
    bool connecting = c->state == PG_CONNECTING || c->state == PG_PREPARING_SESSION;
    struct pg_job *job = c->state == PG_WORKING ? c->job : NULL;
    struct rm *rm = c->rm;
    char text[TEXT_LIMIT + 1];

    conn_message(c, why, text, sizeof text);
    conn_free(c);
    if (connecting)
        rm_pg_pool_failed(rm, text);
    if (job != NULL)
        job->dropped(job, TX_EUNKNOWN, text);
    rm_pg_pool_kick(rm);
}

/* the session's facts */

/* Why this server cannot be used, or NULL. */
static const char *session_refusal(const PGresult *r)
{
    if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) != 1)
        return PQresultErrorMessage(r);
    if (strcmp(PQgetvalue(r, 0, 4), "t") == 0)
        return "the server is a standby (in recovery); name the primary";
    return NULL;
}

static void session_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    const PGresult *r = reply->n > 0 ? reply->results[0] : NULL;
    const char *refusal = session_refusal(r);

    (void)job;
    if (refusal != NULL) {
        rm_pg_conn_lost(c, refusal);
        return;
    }
    snprintf(c->backend, sizeof c->backend, "pid = %s AND backend_start = '%s'", PQgetvalue(r, 0, 0),
             PQgetvalue(r, 0, 1));
    snprintf(c->rm->user, sizeof c->rm->user, "%s", PQgetvalue(r, 0, 2));
    c->rm->superuser = strcmp(PQgetvalue(r, 0, 3), "t") == 0;
    c->rm->version = PQserverVersion(c->pg);
    snprintf(c->system, sizeof c->system, "%s", PQgetvalue(r, 0, 5));
    c->timeline = pg_timeline_parse(PQgetvalue(r, 0, 6));
    c->job = NULL;
    c->state = PG_IDLE;
    c->rm->n_connecting--;
    rm_pg_pool_connected(c->rm, c);
}

static void conn_connected(struct pg_conn *c)
{
    if (PQserverVersion(c->pg) < PG_VERSION_MIN) {
        rm_pg_conn_lost(c, "the server is older than PostgreSQL 13");
        return;
    }
    if (PQsetnonblocking(c->pg, 1) != 0) {
        rm_pg_conn_lost(c, "cannot be made non-blocking");
        return;
    }
    c->state = PG_PREPARING_SESSION;
    c->own.replied = session_replied;
    c->job = &c->own;
    rm_pg_send(c, "SELECT pid, backend_start AT TIME ZONE 'UTC' || '+00', current_user,"
                  " current_setting('is_superuser') = 'on', pg_is_in_recovery()," PG_PROOF_SYSTEM ","
                  " CASE WHEN NOT pg_is_in_recovery() THEN " PG_PROOF_TIMELINE " END"
                  " FROM pg_stat_activity WHERE pid = pg_backend_pid()");
}

static void conn_connect_step(struct pg_conn *c)
{
    /* libpq may close this socket and open another with the same number, unseen by the loop. */
    uv_poll_stop(c->poll);
    c->events = 0;
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        if (!conn_watch(c, UV_READABLE))
            rm_pg_conn_lost(c, "cannot watch its socket");
        return;
    case PGRES_POLLING_WRITING:
        if (!conn_watch(c, UV_WRITABLE))
            rm_pg_conn_lost(c, "cannot watch its socket");
        return;
    case PGRES_POLLING_OK:
        conn_connected(c);
        return;
    default:
        rm_pg_conn_lost(c, "cannot connect");
    }
}

/* results */

/* All results are there. The job may send again, give the connection back or lose it from inside. */
static void conn_complete(struct pg_conn *c)
{
    struct pg_reply reply = c->reply;

    c->in_flight = false;
    c->reply.n = 0;
    c->job->replied(c->job, c, &reply);
    for (int i = 0; i < reply.n; i++)
        PQclear(reply.results[i]);
}

static void conn_keep(struct pg_conn *c, PGresult *r)
{
    if (c->reply.n == PG_RESULTS)
        PQclear(c->reply.results[--c->reply.n]);
    c->reply.results[c->reply.n++] = r;
}

/* One result. False: there was none to be had now, or the connection is gone. */
static bool conn_take(struct pg_conn *c)
{
    PGresult *r = PQgetResult(c->pg);

    if (r == NULL && PQstatus(c->pg) == CONNECTION_BAD) {
        rm_pg_conn_lost(c, "connection lost");
        return false;
    }
    if (r == NULL && c->syncs == 0) {
        conn_complete(c);
        return false;
    }
    if (r == NULL) { /* the end of one statement of a pipeline */
        if (c->one_row && --c->statements == 1)
            PQsetSingleRowMode(c->pg);
        return true;
    }
    switch (PQresultStatus(r)) {
    case PGRES_SINGLE_TUPLE:
        c->job->row(c->job, r);
        PQclear(r);
        return true;
    case PGRES_PIPELINE_SYNC:
        PQclear(r);
        if (--c->syncs > 0)
            return true;
        PQexitPipelineMode(c->pg);
        conn_complete(c);
        return false;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        PQclear(r);
        rm_pg_conn_lost(c, "COPY is not possible through an agent");
        return false;
    default:
        conn_keep(c, r);
        return true;
    }
}

static void conn_read(struct pg_conn *c)
{
    PGnotify *notify;

    if (!PQconsumeInput(c->pg)) {
        /* What came before the end may hold the answer that matters: take it first. */
        if (!c->in_flight || PQisBusy(c->pg)) {
            rm_pg_conn_lost(c, "connection lost");
            return;
        }
    }
    while ((notify = PQnotifies(c->pg)) != NULL)
        PQfreemem(notify);
    if (!c->in_flight) {
        if (PQstatus(c->pg) == CONNECTION_BAD)
            rm_pg_conn_lost(c, "connection lost");
        return;
    }
    while (!PQisBusy(c->pg)) {
        if (!conn_take(c))
            return;
    }
}

/* Sends what libpq holds back; watches for room where the socket is full. */
static bool conn_flush(struct pg_conn *c)
{
    int rc = PQflush(c->pg);

    return rc >= 0 && conn_watch(c, rc == 0 ? UV_READABLE : UV_READABLE | UV_WRITABLE);
}

static void conn_poll(uv_poll_t *handle, int status, int events)
{
    struct pg_conn *c = handle->data;

    if (c->state == PG_CONNECTING) {
        conn_connect_step(c);
        return;
    }
    if (status == 0 && (events & UV_WRITABLE) != 0 && !conn_flush(c)) {
        rm_pg_conn_lost(c, "connection lost");
        return;
    }
    if (status != 0 || (events & UV_READABLE) != 0)
        conn_read(c);
}

/* sending */

static void conn_sent(struct pg_conn *c, int ok)
{
    c->in_flight = true;
    if (ok == 1 && conn_flush(c))
        return;
    c->broken = true;
    rm_pg_pool_kick(c->rm);
}

void rm_pg_send(struct pg_conn *c, const char *sql)
{
    c->one_row = false;
    conn_sent(c, PQsendQuery(c->pg, sql));
}

void rm_pg_send_statement(struct pg_conn *c, const struct rm_statement *s, bool row_by_row)
{
    int ok = PQsendQueryParams(c->pg, s->text, s->n_values, NULL, s->values, NULL, NULL, 0);

    c->one_row = false;
    if (ok == 1 && row_by_row)
        ok = PQsetSingleRowMode(c->pg);
    conn_sent(c, ok);
}

void rm_pg_send_batch(struct pg_conn *c, const char *const *sql, unsigned n)
{
    int ok = PQenterPipelineMode(c->pg);

    c->one_row = false;
    c->syncs = n;
    for (unsigned i = 0; i < n && ok == 1; i++) {
        ok = PQsendQueryParams(c->pg, sql[i], 0, NULL, NULL, NULL, NULL, 0);
        if (ok == 1)
            ok = PQpipelineSync(c->pg);
    }
    conn_sent(c, ok);
}

void rm_pg_send_begin(struct pg_conn *c, const struct rm_statement *s)
{
    int ok = PQenterPipelineMode(c->pg);

    c->one_row = true;
    c->statements = 2;
    c->syncs = 1;
    if (ok == 1)
        ok = PQsendQueryParams(c->pg, "BEGIN", 0, NULL, NULL, NULL, NULL, 0);
    if (ok == 1)
        ok = PQsendQueryParams(c->pg, s->text, s->n_values, NULL, s->values, NULL, NULL, 0);
    if (ok == 1)
        ok = PQpipelineSync(c->pg);
    conn_sent(c, ok);
}

/* giving back, cancelling */

static void clean_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    (void)job;
    if (reply->n == 0 ||
        !(rm_pg_is_tag(reply->results[0], "DISCARD ALL") || rm_pg_is_tag(reply->results[0], "RESET"))) {
        rm_pg_conn_lost(c, "the session cannot be cleaned");
        return;
    }
    c->role[0] = '\0';
    c->job = NULL;
    c->state = PG_IDLE;
    rm_pg_pool_kick(c->rm);
}

static void conn_clean(struct pg_conn *c, const char *sql)
{
    c->state = PG_CLEANING;
    c->since_ms = uv_now(c->rm->options.loop);
    c->own.replied = clean_replied;
    c->job = &c->own;
    rm_pg_send(c, sql);
}

void rm_pg_conn_reset_role(struct pg_conn *c)
{
    conn_clean(c, "RESET ROLE");
}

void rm_pg_conn_release(struct pg_conn *c, bool clean)
{
    assert(c->state == PG_WORKING && !c->in_flight);
    if (c->job->holds)
        c->rm->n_held--;
    c->job = NULL;
    if (PQtransactionStatus(c->pg) != PQTRANS_IDLE || c->cancelled)
        c->broken = true;
    if (clean || c->broken) {
        c->state = PG_IDLE;
        rm_pg_pool_kick(c->rm);
        return;
    }
    /* SET, temporary tables, LISTEN and session locks of one application are none of the next one's. */
    conn_clean(c, "DISCARD ALL");
}

struct pg_cancel {
    uv_work_t work;
    PGcancel *cancel;
    struct rm *rm;
};

static void cancel_run(uv_work_t *work)
{
    struct pg_cancel *k = work->data;
    char error[256];

    PQcancel(k->cancel, error, sizeof error);
}

static void cancel_ran(uv_work_t *work, int status)
{
    struct pg_cancel *k = work->data;

    (void)status;
    k->rm->open_handles--;
    PQfreeCancel(k->cancel);
    free(k);
}

void rm_pg_conn_cancel(struct pg_conn *c)
{
    struct pg_cancel *k = calloc(1, sizeof *k);

    c->cancelled = true;
    if (k == NULL)
        return;
    k->work.data = k;
    k->rm = c->rm;
    k->cancel = PQgetCancel(c->pg);
    if (k->cancel == NULL || uv_queue_work(c->rm->options.loop, &k->work, cancel_run, cancel_ran) != 0) {
        PQfreeCancel(k->cancel);
        free(k);
        return;
    }
    c->rm->open_handles++;
}
