/* rm_mariadb_pool: a MariaDB resource's connections and the jobs that wait for one; see rm_mariadb_impl.h.
 * Called by every rm_mariadb file; calls rm_mariadb_conn.c.
 *
 * Jobs start in pool_turn(), a timer of 0 ms, never from inside a call. A resource is up while it has a usable
 * connection; when the last one broke and no new one can be made it is down, waiting jobs are dropped, and it
 * is tried again for ever.
 *
 * Prepared branches keep their connections. While they have all of those that works may hold, a new work waits,
 * and is told TX_EBUSY after MARIA_WAIT_TIMEOUT_MS. Finishing never waits for a work: a parked branch is
 * finished on its own connection, and others on the reserved ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "participant/rm_mariadb_impl.h"

static void pool_turn(uv_timer_t *timer);

static uint64_t pool_now(const struct rm *rm)
{
    return uv_now(rm->options.loop);
}

void rm_mariadb_pool_kick(struct rm *rm)
{
    if (!rm->closing)
        uv_timer_start(&rm->kick, pool_turn, 0, 0);
}

/* jobs */

static void pool_reject(struct rm *rm, struct maria_job *job, int code)
{
    job->code = code;
    DL_APPEND(rm->rejected, job);
}

void rm_mariadb_pool_submit(struct rm *rm, struct maria_job *job)
{
    if (!job->holds && job->first) {
        DL_PREPEND(rm->finishing, job);
    } else if (!job->holds) {
        DL_APPEND(rm->finishing, job);
    } else if (rm->n_waiting == MARIA_WAITING_LIMIT) {
        pool_reject(rm, job, TX_EBUSY);
    } else {
        job->deadline_ms = pool_now(rm) + MARIA_WAIT_TIMEOUT_MS;
        DL_APPEND(rm->waiting, job);
        rm->n_waiting++;
    }
    rm_mariadb_pool_kick(rm);
}

void rm_mariadb_pool_withdraw(struct rm *rm, struct maria_job *job, int code)
{
    DL_DELETE(rm->waiting, job);
    rm->n_waiting--;
    pool_reject(rm, job, code);
    rm_mariadb_pool_kick(rm);
}

static const char *pool_rejection(const struct rm *rm, int code)
{
    switch (code) {
    case TX_EBUSY:
        return "all connections of the resource are taken, by other branches or by prepared ones that wait for "
               "their coordinator; try again later, or raise --connections";
    case TX_EROLLBACK:
        return "rolled back while it waited for a connection; --connections of the agent bounds them";
    default:
        return rm->error;
    }
}

static void pool_drop_rejected(struct rm *rm)
{
    struct maria_job *job;

    while ((job = rm->rejected) != NULL) {
        DL_DELETE(rm->rejected, job);
        job->dropped(job, job->code, pool_rejection(rm, job->code));
    }
}

static void pool_reject_all(struct rm *rm)
{
    struct maria_job *job;

    while ((job = rm->finishing) != NULL) {
        DL_DELETE(rm->finishing, job);
        pool_reject(rm, job, TX_EUNREACHABLE);
    }
    while ((job = rm->waiting) != NULL) {
        DL_DELETE(rm->waiting, job);
        pool_reject(rm, job, TX_EUNREACHABLE);
    }
    rm->n_waiting = 0;
}

static struct maria_conn *pool_idle(struct rm *rm)
{
    struct maria_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->state == MARIA_IDLE && !c->broken)
            return c;
    }
    return NULL;
}

static void pool_start(struct rm *rm, struct maria_conn *c, struct maria_job *job)
{
    c->state = MARIA_WORKING;
    c->job = job;
    job->deadline_ms = 0;
    if (job->holds)
        rm->n_held++;
    job->start(job, c);
}

static unsigned pool_holdable(const struct rm *rm)
{
    unsigned most = rm->options.connections - MARIA_RESERVED;

    unsigned taken = rm->n_held + rm->n_parked;

    return taken < most ? most - taken : 0;
}

static void pool_start_jobs(struct rm *rm)
{
    struct maria_conn *c;
    struct maria_job *job;

    while ((job = rm->finishing) != NULL && (c = pool_idle(rm)) != NULL) {
        DL_DELETE(rm->finishing, job);
        pool_start(rm, c, job);
    }
    while ((job = rm->waiting) != NULL && pool_holdable(rm) > 0 && (c = pool_idle(rm)) != NULL) {
        DL_DELETE(rm->waiting, job);
        rm->n_waiting--;
        pool_start(rm, c, job);
    }
}

/* Works that have waited for too long. They stand in the order in which they came. */
static void pool_reject_overdue(struct rm *rm)
{
    while (rm->waiting != NULL && rm->waiting->deadline_ms <= pool_now(rm))
        rm_mariadb_pool_withdraw(rm, rm->waiting, TX_EBUSY);
}

bool rm_mariadb_pool_unpark(struct rm *rm, const char *gid, struct maria_job *job)
{
    struct maria_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->state == MARIA_PARKED && !c->broken && strcmp(c->gid, gid) == 0) {
            rm->n_parked--;
            pool_start(rm, c, job);
            return true;
        }
    }
    return false;
}

/* connections */

static void pool_tell(struct rm *rm, bool up, const char *error)
{
    if (rm->told && rm->up == up && (up || strcmp(rm->told_error, error) == 0))
        return;
    rm->told = true;
    rm->up = up;
    snprintf(rm->told_error, sizeof rm->told_error, "%s", up ? "" : error);
    rm->options.status(rm->options.arg, up, error);
}

void rm_mariadb_pool_connected(struct rm *rm)
{
    rm->backoff_ms = MARIA_BACKOFF_MS;
    rm->retry_at_ms = 0;
    pool_tell(rm, true, NULL);
    rm_mariadb_pool_kick(rm);
}

/* A connection could not be made. Where others work, the server may only be out of slots. */
void rm_mariadb_pool_failed(struct rm *rm, const char *why)
{
    snprintf(rm->error, sizeof rm->error, "%s", why);
    rm->address++;
    rm->retry_at_ms = pool_now(rm) + rm->backoff_ms;
    rm->backoff_ms = rm->backoff_ms * 2 < MARIA_BACKOFF_MAX_MS ? rm->backoff_ms * 2 : MARIA_BACKOFF_MAX_MS;
    if (rm->n_conns > rm->n_connecting)
        return;
    pool_tell(rm, false, why);
    pool_reject_all(rm);
}

/* How many connections the queues could use at once, at least one in all. */
static unsigned pool_wanted(const struct rm *rm)
{
    const struct maria_job *job;
    unsigned finishing, wanted;

    DL_COUNT(rm->finishing, job, finishing);
    wanted = rm->n_waiting < pool_holdable(rm) ? rm->n_waiting : pool_holdable(rm);
    wanted += finishing;
    return wanted == 0 && rm->n_conns == 0 ? 1 : wanted;
}

static void pool_connect(struct rm *rm)
{
    unsigned wanted = pool_wanted(rm);

    if (rm->retry_at_ms > pool_now(rm))
        return;
    /* Only one knocks at a server that was not reached. */
    if (!rm->up && wanted > 1)
        wanted = 1;
    while (rm->n_connecting < wanted && rm->n_conns < rm->options.connections) {
        if (rm_mariadb_conn_open(rm) == NULL) {
            rm_mariadb_pool_failed(rm, "out of memory");
            return;
        }
    }
}

static struct maria_conn *pool_broken(struct rm *rm)
{
    struct maria_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->broken)
            return c;
    }
    return NULL;
}

static void pool_remove_broken(struct rm *rm)
{
    struct maria_conn *c;

    while ((c = pool_broken(rm)) != NULL)
        rm_mariadb_conn_lost(c, c->why[0] != '\0' ? c->why : "connection lost");
}

static void pool_turn(uv_timer_t *timer)
{
    struct rm *rm = timer->data;

    pool_drop_rejected(rm);
    pool_remove_broken(rm);
    pool_start_jobs(rm);
    if (!rm->up && rm->told && rm->retry_at_ms > pool_now(rm))
        pool_reject_all(rm);
    pool_connect(rm);
    if (rm->rejected != NULL)
        rm_mariadb_pool_kick(rm);
}

static bool conn_overdue(const struct maria_conn *c, uint64_t now)
{
    if (c->state != MARIA_IDLE && c->state != MARIA_WORKING && c->state != MARIA_PARKED)
        return now - c->since_ms >= MARIA_CONNECT_TIMEOUT_MS;
    return c->state == MARIA_WORKING && c->job->deadline_ms != 0 && now >= c->job->deadline_ms;
}

static void pool_tick(uv_timer_t *timer)
{
    struct rm *rm = timer->data;
    struct maria_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (conn_overdue(c, pool_now(rm)))
            c->broken = true;
    }
    pool_reject_overdue(rm);
    if (rm->up && !rm->pruning && rm->prune_at_ms <= pool_now(rm))
        rm_mariadb_prune(rm);
    rm_mariadb_pool_kick(rm);
}

/* opening and closing */

int rm_mariadb_pool_open(struct rm *rm)
{
    rm->backoff_ms = MARIA_BACKOFF_MS;
    uv_timer_init(rm->options.loop, &rm->kick);
    uv_timer_init(rm->options.loop, &rm->tick);
    rm->kick.data = rm;
    rm->tick.data = rm;
    rm->open_handles = 2;
    rm_mariadb_pool_kick(rm);
    return uv_timer_start(&rm->tick, pool_tick, MARIA_TICK_MS, MARIA_TICK_MS) == 0 ? TX_OK : TX_EIO;
}

static void pool_handle_closed(uv_handle_t *handle)
{
    struct rm *rm = handle->data;

    if (--rm->open_handles == 0)
        rm_mariadb_closed(rm);
}

/* Connections' own handles and cancels end at their own pace. */
static void pool_wait_closed(uv_timer_t *timer)
{
    struct rm *rm = timer->data;

    if (rm->open_handles > 2)
        return;
    uv_close((uv_handle_t *)&rm->kick, pool_handle_closed);
    uv_close((uv_handle_t *)&rm->tick, pool_handle_closed);
}

void rm_mariadb_pool_close(struct rm *rm)
{
    rm->closing = true;
    while (rm->conns != NULL)
        rm_mariadb_conn_lost(rm->conns, "the agent stops");
    pool_reject_all(rm);
    pool_drop_rejected(rm);
    uv_timer_stop(&rm->kick);
    uv_timer_start(&rm->tick, pool_wait_closed, 0, 10);
}
