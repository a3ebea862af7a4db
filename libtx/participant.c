/* participant: a C program as a participant (libtx_participant.h): an agent (participant/agent.c) inside the
 * program, whose only resource is the program's callbacks (service).
 *
 * One lock guards the agent, its loop and the jobs. Nobody sleeps with it: who waits polls the loop's
 * descriptor without it, and the program's callbacks are called without it.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_participant.h"
#include "libtx/service.h"
#include "libtx/settings.h"
#include "libtx/shared/context.h"
#include "libtx/shared/err.h"
#include "libtx/shared/log.h"
#include "participant/agent.h"

enum { PARTICIPANT_SCAN_MS = 5000 };

struct tx_participant {
    pthread_mutex_t mutex; /* recursive: options.log may be called with it */
    uv_loop_t loop;
    uv_async_t wake; /* another thread has changed something */
    struct agent agent;
    struct security security;
    struct agent_resource resource;
    char *coordinators, *name, *listen; /* owned, and the resource's name */
    struct service service;
    struct service_job *calling; /* its callback is being called */
    void (*log)(void *arg, const char *line);
    void *log_arg;
    pthread_t thread;
    bool threaded, stopping;
};

/* The agent's log lines are the program's, if it wants them. */
static void participant_lock(tx_participant *p)
{
    pthread_mutex_lock(&p->mutex);
    log_divert(p->log, p->log_arg);
}

static void participant_unlock(tx_participant *p)
{
    log_divert(NULL, NULL);
    pthread_mutex_unlock(&p->mutex);
}

/* opening */

static void participant_woken(uv_async_t *async)
{
    (void)async; /* its purpose is the end of a wait */
}

static void participant_wake(void *arg)
{
    tx_participant *p = arg;

    uv_async_send(&p->wake);
}

static char *participant_copy(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

static int participant_check(const struct tx_participant_options *o, const struct tx_participant_callbacks *cb,
                             struct tx_error *e)
{
    if (o == NULL || o->resource == NULL || !wire_name_valid(o->resource))
        return err_set(e, TX_EINVAL, "options.resource: 1 to %d of a-z A-Z 0-9 _ . -", NAME_LIMIT);
    if (o->name != NULL && !wire_name_valid(o->name))
        return err_set(e, TX_EINVAL, "options.name: 1 to %d of a-z A-Z 0-9 _ . -", NAME_LIMIT);
    if (cb == NULL || cb->prepare == NULL || cb->commit == NULL || cb->rollback == NULL ||
        cb->list_in_doubt == NULL)
        return err_set(e, TX_EINVAL, "a callback is missing: prepare, commit, rollback and list_in_doubt");
    return TX_OK;
}

static int participant_copy_options(tx_participant *p, const struct tx_participant_options *o)
{
    p->coordinators = participant_copy(settings_coordinators(o->coordinators));
    p->name = participant_copy(o->name != NULL ? o->name : o->resource);
    p->listen = participant_copy(o->listen);
    p->log = o->log;
    p->log_arg = o->log_arg;
    p->resource.name = participant_copy(o->resource);
    p->resource.ops = &service_ops;
    p->resource.context = &p->service;
    return p->coordinators == NULL || p->name == NULL || p->resource.name == NULL ||
                   (o->listen != NULL && p->listen == NULL)
               ? TX_ENOMEM
               : TX_OK;
}

static void participant_stopped(void *arg)
{
    tx_participant *p = arg;

    uv_close((uv_handle_t *)&p->wake, NULL);
}

static void participant_free(tx_participant *p)
{
    service_close(&p->service);
    security_release(&p->security);
    pthread_mutex_destroy(&p->mutex);
    free(p->coordinators);
    free(p->name);
    free(p->listen);
    free((char *)(uintptr_t)p->resource.name);
    free(p);
}

/* Ends the agent, and runs the loop until it is empty. */
static void participant_end(tx_participant *p)
{
    log_divert(p->log, p->log_arg);
    agent_stop(&p->agent, participant_stopped, p);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    agent_release(&p->agent);
    uv_loop_close(&p->loop);
    log_divert(NULL, NULL);
    participant_free(p);
}

static tx_participant *participant_new(void)
{
    tx_participant *p = calloc(1, sizeof *p);
    pthread_mutexattr_t attributes;

    if (p == NULL)
        return NULL;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&p->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    service_init(&p->service);
    p->service.wake = participant_wake;
    p->service.wake_arg = p;
    return p;
}

static int participant_open_loop(tx_participant *p, struct tx_error *e)
{
    if (uv_loop_init(&p->loop) != 0)
        return err_set(e, TX_EIO, "out of file descriptors");
    if (uv_async_init(&p->loop, &p->wake, participant_woken) == 0)
        return TX_OK;
    uv_loop_close(&p->loop);
    return err_set(e, TX_EIO, "out of file descriptors");
}

static int participant_begin(tx_participant *p, unsigned scan_interval_ms, struct tx_error *e)
{
    const struct agent_options options = {
        .name = p->name,
        .coordinators = p->coordinators,
        .listen = p->listen,
        .security = &p->security,
        .scan_interval_ms = scan_interval_ms != 0 ? scan_interval_ms : PARTICIPANT_SCAN_MS,
        .n_resources = 1,
        .resources = &p->resource,
    };

    int rc;

    log_divert(p->log, p->log_arg);
    rc = agent_open(&p->agent, &p->loop, &options, e);
    log_divert(NULL, NULL);
    return rc;
}

int tx_participant_open(tx_participant **out, const struct tx_participant_options *options,
                        const struct tx_participant_callbacks *callbacks, struct tx_error *error)
{
    int rc = participant_check(options, callbacks, error);
    struct tx_error e = {0};
    struct settings settings;
    tx_participant *p;

    if (rc != TX_OK)
        return rc;
    settings = (struct settings){options->coordinators, options->identity, options->keys, options->insecure};
    p = participant_new();
    if (p == NULL)
        return err_set(error, TX_ENOMEM, "out of memory");
    p->service.callbacks = *callbacks;
    rc = participant_copy_options(p, options) == TX_OK ? settings_security(&settings, &p->security, &e)
                                                       : err_set(&e, TX_ENOMEM, "out of memory");
    if (rc == TX_OK)
        rc = participant_open_loop(p, &e);
    if (rc != TX_OK) {
        participant_free(p);
        return err_set(error, rc, "%s", e.msg);
    }
    rc = participant_begin(p, options->scan_interval_ms, &e);
    if (rc != TX_OK) {
        participant_end(p);
        return err_set(error, rc, "%s", e.msg);
    }
    *out = p;
    return TX_OK;
}

/* serving */

static void participant_answered(tx_participant *p)
{
    struct service_job *job, *next;

    for (job = TAILQ_FIRST(&p->service.running); job != NULL; job = next) {
        next = TAILQ_NEXT(job, link);
        if (job->answered && job != p->calling)
            service_done(&p->service, job);
    }
}

/* One callback, without the lock. */
static void participant_call(tx_participant *p, struct service_job *job)
{
    int rc;

    p->calling = job;
    participant_unlock(p);
    rc = service_call(&p->service, job);
    participant_lock(p);
    p->calling = NULL;
    if (rc != TX_PARTICIPANT_LATER) {
        job->answer = rc;
        job->answered = true;
        job->later = false;
    }
}

/* From inside a callback, or beside another thread that is in one, there is nothing to do: that one goes on.
 * When stopping, the last turn is over. */
void tx_participant_dispatch(tx_participant *p)
{
    struct service_job *job;

    participant_lock(p);
    if (p->calling != NULL || p->stopping) {
        participant_unlock(p);
        return;
    }
    do {
        participant_answered(p);
        uv_run(&p->loop, UV_RUN_NOWAIT);
        job = p->stopping ? NULL : service_take(&p->service, uv_now(&p->loop));
        if (job != NULL)
            participant_call(p, job);
    } while (job != NULL);
    participant_unlock(p);
}

int tx_participant_fd(const tx_participant *p)
{
    return uv_backend_fd(&p->loop);
}

int tx_participant_timeout_ms(tx_participant *p)
{
    uint64_t due;
    int ms;

    pthread_mutex_lock(&p->mutex);
    uv_update_time(&p->loop);
    ms = uv_backend_timeout(&p->loop);
    due = service_due_ms(&p->service);
    if (due <= uv_now(&p->loop))
        ms = 0;
    else if (due != UINT64_MAX && (ms < 0 || due - uv_now(&p->loop) < (uint64_t)ms))
        ms = (int)(due - uv_now(&p->loop));
    pthread_mutex_unlock(&p->mutex);
    return ms;
}

static void *participant_thread(void *arg)
{
    tx_participant *p = arg;
    struct pollfd fd = {.fd = tx_participant_fd(p), .events = POLLIN};
    bool stopping;

    do {
        (void)poll(&fd, 1, tx_participant_timeout_ms(p));
        tx_participant_dispatch(p);
        pthread_mutex_lock(&p->mutex);
        stopping = p->stopping;
        pthread_mutex_unlock(&p->mutex);
    } while (!stopping);
    return NULL;
}

/* The program's signals are for its own threads. */
int tx_participant_start(tx_participant *p, struct tx_error *error)
{
    sigset_t all, before;
    int rc;

    if (p->threaded || p->stopping)
        return err_set(error, TX_EINVAL, p->stopping ? "stopped already" : "started before");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&p->thread, NULL, participant_thread, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->threaded = rc == 0;
    return rc == 0 ? TX_OK : err_set(error, TX_ENOMEM, "no thread: %s", strerror(rc));
}

void tx_participant_stop(tx_participant *p)
{
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_mutex_unlock(&p->mutex);
    participant_wake(p);
    if (p->threaded)
        pthread_join(p->thread, NULL);
    p->threaded = false;
}

void tx_participant_close(tx_participant *p)
{
    if (p == NULL)
        return;
    tx_participant_stop(p);
    participant_end(p);
}

/* what the program tells */

int tx_participant_join(tx_participant *p, const char *context, char branch[TX_BRANCH_SIZE],
                        struct tx_error *error)
{
    struct wire_exec x = {.number = 0};
    struct context c;
    struct tx_error e = {0};
    int rc;

    if (context == NULL || !context_parse(context, &c))
        return err_set(error, TX_EINVAL, "not a transaction's context");
    if (strcmp(c.resource, p->resource.name) != 0)
        return err_set(error, TX_EINVAL, "the context is for %s, and this is %s", c.resource, p->resource.name);
    x.id = c.id;
    x.branch = c.branch;
    x.number = c.number;
    x.timeout_ms = c.timeout_ms;
    x.resource = c.resource;
    participant_lock(p);
    uv_update_time(&p->loop);
    rc = p->stopping ? err_set(&e, TX_EROLLBACK, "this service is being stopped")
                     : statements_join(&p->agent.statements, &x, &e);
    participant_unlock(p);
    participant_wake(p);
    if (rc != TX_OK)
        return err_set(error, rc, "%s", e.msg);
    gid_format(&c.id, c.branch, branch);
    return TX_OK;
}

void tx_participant_answer(tx_participant *p, const char *branch, int answer, const char *result)
{
    participant_lock(p);
    service_answer(&p->service, branch, answer, result);
    participant_unlock(p);
    participant_wake(p);
}
