/* rm_mariadb_conn: one MariaDB connection on the loop: connecting, giving back, parking, closing; see
 * rm_mariadb_impl.h. Called by the pool and by jobs; calls rm_mariadb_io.c.
 *
 * host looked up ─▶ connect ─▶ the session is checked ─▶ idle ⇄ working for a job ─▶ cleaning ─▶ idle
 *                                                                └─▶ parked with a prepared branch ─▶ working
 * Whenever it breaks it goes, with its job dropped; the pool opens another. A parked one's branch stays
 * prepared.
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "participant/rm_mariadb_impl.h"

/* the socket */

static void conn_poll_freed(uv_handle_t *handle)
{
    struct rm *rm = handle->data;

    free(handle);
    rm->open_handles--;
}

static void conn_poll_close(struct maria_conn *c)
{
    if (c->poll == NULL)
        return;
    c->poll->data = c->rm;
    uv_close((uv_handle_t *)c->poll, conn_poll_freed);
    c->poll = NULL;
    c->events = 0;
}

static void conn_connected(struct maria_conn *c);

static void conn_poll(uv_poll_t *handle, int status, int events)
{
    struct maria_conn *c = handle->data;
    bool connecting = c->state == MARIA_CONNECTING;

    /* While it connects the library may close this socket and open another with the same number. */
    if (connecting) {
        uv_poll_stop(c->poll);
        c->events = 0;
    }
    rm_mariadb_io_ready(c, status != 0 ? UV_READABLE | UV_WRITABLE : events);
}

bool rm_mariadb_conn_watch(struct maria_conn *c, int events)
{
    int fd = (int)mysql_get_socket(c->my);

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
        /* Inherited by a child it would outlive the library's close, and the loop would hear of it for ever. */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        c->rm->open_handles++;
        c->poll->data = c;
        c->fd = fd;
    }
    if (c->events == events)
        return true;
    c->events = events;
    return uv_poll_start(c->poll, events, conn_poll) == 0;
}

/* A server that is gone without a word is noticed within half a minute. */
static void conn_keep_alive(const struct maria_conn *c)
{
    static const struct {
        int level, name, value;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},   {IPPROTO_TCP, TCP_KEEPIDLE, 10},
                   {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
                   {IPPROTO_TCP, TCP_NODELAY, 1},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000}};

    for (size_t i = 0; c->rm->settings.unix_socket == NULL && i < sizeof options / sizeof *options; i++)
        setsockopt(c->fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

/* opening and closing */

static bool conn_is_connecting(const struct maria_conn *c)
{
    return c->state == MARIA_RESOLVING || c->state == MARIA_CONNECTING || c->state == MARIA_PREPARING_SESSION;
}

static void conn_free(struct maria_conn *c)
{
    struct rm *rm = c->rm;

    rm_mariadb_resolve_cancel(c);
    conn_poll_close(c);
    rm_mariadb_io_release(c);
    if (conn_is_connecting(c))
        rm->n_connecting--;
    if (c->state == MARIA_WORKING && c->job->holds)
        rm->n_held--;
    if (c->state == MARIA_PARKED)
        rm->n_parked--;
    DL_DELETE(rm->conns, c);
    rm->n_conns--;
    free(c);
}

static void connect_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    (void)job;
    (void)reply;
    conn_connected(c);
}

struct maria_conn *rm_mariadb_conn_open(struct rm *rm)
{
    struct maria_conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->rm = rm;
    c->fd = -1;
    c->state = MARIA_RESOLVING;
    c->own.replied = connect_replied;
    c->job = &c->own;
    c->since_ms = uv_now(rm->options.loop);
    DL_APPEND(rm->conns, c);
    rm->n_conns++;
    rm->n_connecting++;
    if (!rm_mariadb_resolve(c))
        rm_mariadb_io_connect(c, rm->settings.host);
    return c;
}

void rm_mariadb_conn_resolved(struct maria_conn *c, const char *address, const char *error)
{
    if (address == NULL)
        rm_mariadb_conn_lost(c, error);
    else
        rm_mariadb_io_connect(c, address);
}

void rm_mariadb_conn_lost(struct maria_conn *c, const char *why)
{
    bool connecting = conn_is_connecting(c);
    struct maria_job *job = c->state == MARIA_WORKING ? c->job : NULL;
    struct rm *rm = c->rm;
    char text[TEXT_LIMIT + 1];

    snprintf(text, sizeof text, "%s", why);
    conn_free(c);
    if (connecting)
        rm_mariadb_pool_failed(rm, text);
    if (job != NULL)
        job->dropped(job, TX_EUNKNOWN, text);
    rm_mariadb_pool_kick(rm);
}

static void conn_connected(struct maria_conn *c)
{
    conn_keep_alive(c);
    c->state = MARIA_PREPARING_SESSION;
    rm_mariadb_session_begin(c);
}

void rm_mariadb_conn_ready(struct maria_conn *c)
{
    c->job = NULL;
    c->state = MARIA_IDLE;
    c->rm->n_connecting--;
    rm_mariadb_pool_connected(c->rm);
}

/* giving back, parking, cancelling */

static void clean_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    (void)job;
    if (rm_mariadb_failure(reply) != NULL || !rm_mariadb_writes(reply, 2, &c->writes)) {
        rm_mariadb_conn_lost(c, "the session cannot be cleaned");
        return;
    }
    c->job = NULL;
    c->state = MARIA_IDLE;
    rm_mariadb_pool_kick(c->rm);
}

/* Variables, temporary tables, locks and the database of one application are none of the next one's. Without a
 * database in the settings there is no way back to none. */
static void conn_clean(struct maria_conn *c)
{
    char use[272];
    const char *const sql[] = {MARIA_SESSION_SQL, use, MARIA_WRITES_SQL};

    snprintf(use, sizeof use, "USE `%.256s`", c->rm->settings.dbname);
    c->state = MARIA_CLEANING;
    c->since_ms = uv_now(c->rm->options.loop);
    c->own.replied = clean_replied;
    c->job = &c->own;
    rm_mariadb_send_reset(c, sql, 3);
}

void rm_mariadb_conn_release(struct maria_conn *c, bool clean)
{
    assert(c->state == MARIA_WORKING && !c->in_flight);
    if (c->job->holds)
        c->rm->n_held--;
    c->job = NULL;
    c->state = MARIA_IDLE;
    c->broken = c->broken || c->cancelled || (!clean && c->rm->settings.dbname == NULL);
    if (clean || c->broken)
        rm_mariadb_pool_kick(c->rm);
    else
        conn_clean(c);
}

void rm_mariadb_conn_park(struct maria_conn *c, const char *gid)
{
    assert(c->state == MARIA_WORKING && !c->in_flight);
    if (c->job->holds)
        c->rm->n_held--;
    c->rm->n_parked++;
    c->job = NULL;
    c->state = MARIA_PARKED;
    snprintf(c->gid, sizeof c->gid, "%s", gid);
    rm_mariadb_pool_kick(c->rm);
}

struct maria_cancel {
    struct maria_job job; /* first */
    uint64_t thread;
};

static void cancel_start(struct maria_job *job, struct maria_conn *c)
{
    const struct maria_cancel *k = (struct maria_cancel *)job;
    char sql[48];
    const char *const batch[] = {sql};

    snprintf(sql, sizeof sql, "KILL QUERY %" PRIu64, k->thread);
    job->deadline_ms = uv_now(c->rm->options.loop) + MARIA_ABANDON_TIMEOUT_MS;
    rm_mariadb_send(c, batch, 1, false);
}

static void cancel_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    (void)reply;
    rm_mariadb_conn_release(c, true);
    free(job);
}

static void cancel_dropped(struct maria_job *job, int code, const char *text)
{
    (void)code;
    (void)text;
    free(job);
}

/* The agent's own session, so it needs no right for it. */
void rm_mariadb_conn_cancel(struct maria_conn *c)
{
    struct maria_cancel *k = calloc(1, sizeof *k);

    c->cancelled = true;
    if (k == NULL)
        return;
    k->thread = c->thread;
    k->job.start = cancel_start;
    k->job.replied = cancel_replied;
    k->job.dropped = cancel_dropped;
    rm_mariadb_pool_submit(c->rm, &k->job);
}
