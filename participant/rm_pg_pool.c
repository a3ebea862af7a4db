/* rm_pg_pool: a PostgreSQL resource's connections and the jobs that wait for one; see rm_pg.h. Called by every
 * rm_pg file; calls rm_pg_conn.c.
 *
 * Jobs start in pool_turn(), a timer of 0 ms, never from inside a call. A resource is up while it has a usable
 * connection; when the last one broke and no new one can be made it is down, waiting jobs are dropped, and it
 * is tried again for ever.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "participant/rm_pg.h"

static void pool_turn(uv_timer_t *timer);

static uint64_t pool_now(const struct rm *rm)
{
    return uv_now(rm->options.loop);
}

void rm_pg_pool_kick(struct rm *rm)
{
    if (!rm->closing)
        uv_timer_start(&rm->kick, pool_turn, 0, 0);
}

/* jobs */

static void pool_reject(struct rm *rm, struct pg_job *job, int code)
{
    job->code = code;
    DL_APPEND(rm->rejected, job);
}

void rm_pg_pool_submit(struct rm *rm, struct pg_job *job)
{
    if (!job->holds) {
        rm->n_finishing++;
        if (job->first)
            DL_PREPEND(rm->finishing, job);
        else
            DL_APPEND(rm->finishing, job);
    } else if (rm->n_waiting == PG_WAITING_LIMIT) {
        pool_reject(rm, job, TX_EBUSY);
    } else {
        DL_APPEND(rm->waiting, job);
        rm->n_waiting++;
    }
    rm_pg_pool_kick(rm);
}

struct pg_job *rm_pg_pool_take(struct rm *rm)
{
    struct pg_job *job = rm->finishing;

    if (job == NULL)
        return NULL;
    DL_DELETE(rm->finishing, job);
    rm->n_finishing--;
    return job;
}

void rm_pg_pool_withdraw(struct rm *rm, struct pg_job *job, int code)
{
    DL_DELETE(rm->waiting, job);
    rm->n_waiting--;
    pool_reject(rm, job, code);
    rm_pg_pool_kick(rm);
}

static const char *pool_rejection(const struct rm *rm, int code)
{
    switch (code) {
    case TX_EBUSY:
        return "all connections of the resource are taken and many branches wait; try again later, or raise "
               "--connections";
    case TX_EROLLBACK:
        return "rolled back while it waited for a connection; --connections of the agent bounds them";
    default:
        return rm->error;
    }
}

static void pool_drop_rejected(struct rm *rm)
{
    struct pg_job *job;

    while ((job = rm->rejected) != NULL) {
        DL_DELETE(rm->rejected, job);
        job->dropped(job, job->code, pool_rejection(rm, job->code));
    }
}

static void pool_reject_all(struct rm *rm)
{
    struct pg_job *job;

    while ((job = rm_pg_pool_take(rm)) != NULL)
        pool_reject(rm, job, TX_EUNREACHABLE);
    while ((job = rm->waiting) != NULL) {
        DL_DELETE(rm->waiting, job);
        pool_reject(rm, job, TX_EUNREACHABLE);
    }
    rm->n_waiting = 0;
}

/* One that is fit for the job. On the way those that speak as somebody else, and so are not, are sent to be. */
static struct pg_conn *pool_idle(struct rm *rm, const struct pg_job *job)
{
    struct pg_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->state != PG_IDLE || c->broken)
            continue;
        if (c->role[0] == '\0' || job->sets_role)
            return c;
        rm_pg_conn_reset_role(c);
    }
    return NULL;
}

/* None waits idly with another's rights. */
static void pool_reset_roles(struct rm *rm)
{
    struct pg_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->state == PG_IDLE && !c->broken && c->role[0] != '\0')
            rm_pg_conn_reset_role(c);
    }
}

static void pool_start(struct rm *rm, struct pg_conn *c, struct pg_job *job)
{
    c->state = PG_WORKING;
    c->job = job;
    if (job->holds)
        rm->n_held++;
    job->start(job, c);
}

static unsigned pool_holdable(const struct rm *rm)
{
    unsigned most = rm->options.connections - PG_RESERVED;

    return rm->n_held < most ? most - rm->n_held : 0;
}

static void pool_start_jobs(struct rm *rm)
{
    struct pg_conn *c;
    struct pg_job *job;

    while ((job = rm->finishing) != NULL && (c = pool_idle(rm, job)) != NULL)
        pool_start(rm, c, rm_pg_pool_take(rm));
    while ((job = rm->waiting) != NULL && pool_holdable(rm) > 0 && (c = pool_idle(rm, job)) != NULL) {
        DL_DELETE(rm->waiting, job);
        rm->n_waiting--;
        pool_start(rm, c, job);
    }
    pool_reset_roles(rm);
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

void rm_pg_pool_connected(struct rm *rm, struct pg_conn *c)
{
    (void)c;
    rm->backoff_ms = PG_BACKOFF_MS;
    rm->retry_at_ms = 0;
    pool_tell(rm, true, NULL);
    rm_pg_pool_kick(rm);
}

/* A connection could not be made. Where others work, the server may only be out of slots. */
void rm_pg_pool_failed(struct rm *rm, const char *why)
{
    snprintf(rm->error, sizeof rm->error, "%s", why);
    rm->retry_at_ms = pool_now(rm) + rm->backoff_ms;
    rm->backoff_ms = rm->backoff_ms * 2 < PG_BACKOFF_MAX_MS ? rm->backoff_ms * 2 : PG_BACKOFF_MAX_MS;
    if (rm->n_conns > rm->n_connecting)
        return;
    pool_tell(rm, false, why);
    pool_reject_all(rm);
}

/* How many connections the queues could use at once, at least one in all. */
static unsigned pool_wanted(const struct rm *rm)
{
    unsigned wanted = rm->n_waiting < pool_holdable(rm) ? rm->n_waiting : pool_holdable(rm);

    wanted += rm->n_finishing;
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
        if (rm_pg_conn_open(rm) == NULL) {
            rm_pg_pool_failed(rm, "out of memory");
            return;
        }
    }
}

static struct pg_conn *pool_broken(struct rm *rm)
{
    struct pg_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (c->broken)
            return c;
    }
    return NULL;
}

static void pool_remove_broken(struct rm *rm)
{
    struct pg_conn *c;

    while ((c = pool_broken(rm)) != NULL)
        rm_pg_conn_lost(c, "connection lost");
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
        rm_pg_pool_kick(rm);
}

static bool conn_overdue(const struct pg_conn *c, uint64_t now)
{
    if (c->state == PG_CONNECTING || c->state == PG_PREPARING_SESSION || c->state == PG_CLEANING)
        return now - c->since_ms >= PG_CONNECT_TIMEOUT_MS;
    return c->state == PG_WORKING && c->job->deadline_ms != 0 && now >= c->job->deadline_ms;
}

static void pool_tick(uv_timer_t *timer)
{
    struct rm *rm = timer->data;
    struct pg_conn *c;

    DL_FOREACH(rm->conns, c)
    {
        if (conn_overdue(c, pool_now(rm)))
            c->broken = true;
    }
    rm_pg_pool_kick(rm);
}

/* opening and closing */

int rm_pg_pool_open(struct rm *rm)
{
    rm->backoff_ms = PG_BACKOFF_MS;
    uv_timer_init(rm->options.loop, &rm->kick);
    uv_timer_init(rm->options.loop, &rm->tick);
    rm->kick.data = rm;
    rm->tick.data = rm;
    rm->open_handles = 2;
    rm_pg_pool_kick(rm);
    return uv_timer_start(&rm->tick, pool_tick, PG_TICK_MS, PG_TICK_MS) == 0 ? TX_OK : TX_EIO;
}

static void pool_handle_closed(uv_handle_t *handle)
{
    struct rm *rm = handle->data;

    if (--rm->open_handles == 0)
        rm_pg_closed(rm);
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

void rm_pg_pool_close(struct rm *rm)
{
    rm->closing = true;
    while (rm->conns != NULL)
        rm_pg_conn_lost(rm->conns, "the agent stops");
    pool_reject_all(rm);
    pool_drop_rejected(rm);
    uv_timer_stop(&rm->kick);
    uv_timer_start(&rm->tick, pool_wait_closed, 0, 10);
}
