/* sim_uv: as much of libuv as the daemons use, under virtual time. A turn of the loop is as libuv's: timers,
 * idle, prepare, then what has come in, check, closing (libuv's design overview). Work for the thread pool runs
 * at a time of its own between two turns, as a disk is slow now and then.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "tests/sim/sim.h"

struct handle {
    uv_handle_t *h;
    enum { TIMER, IDLE, PREPARE, CHECK, POLL } type;
    bool active, gone;
    void *cb;
    uint64_t due, order, repeat;
    int fd;
};

struct posted {
    struct proc *proc;
    unsigned incarnation;
    void (*fn)(void *arg);
    void *arg;
    struct posted *next;
};

struct closing {
    uv_handle_t *h;
    uv_close_cb cb;
    struct closing *next;
};

struct loop {
    struct fiber *fiber;
    struct handle **handles;
    size_t n, cap;
    uint64_t now, order;
    struct posted *first, **last;
    struct closing *closing;
};

/* posting */

static void posted_due(void *arg, uint64_t x)
{
    struct posted *p = arg;
    struct loop *l = p->proc->loop;

    (void)x;
    if (l == NULL || !p->proc->up || p->proc->incarnation != p->incarnation) {
        free(p);
        return;
    }
    p->next = NULL;
    *l->last = p;
    l->last = &p->next;
    loop_wake(p->proc);
}

void loop_post(struct proc *p, uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
    struct posted *posted = malloc(sizeof *posted);

    assert(posted != NULL);
    *posted = (struct posted){p, p->incarnation, fn, arg, NULL};
    sim_at(delay_us, posted_due, posted, 0);
}

void loop_wake(struct proc *p)
{
    if (p->loop != NULL && p->loop->fiber != NULL)
        fiber_wake(p->loop->fiber);
}

/* handles */

static struct loop *loop_of(const uv_loop_t *uv)
{
    return uv->data;
}

static struct handle *handle_of(const uv_handle_t *h)
{
    return h->u.reserved[3];
}

static void handle_init(uv_loop_t *uv, void *handle, int type)
{
    uv_handle_t *h = handle;
    struct loop *l = loop_of(uv);
    struct handle *own = calloc(1, sizeof *own);

    assert(own != NULL);
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 32 : l->cap * 2;
        l->handles = realloc(l->handles, l->cap * sizeof *l->handles);
        assert(l->handles != NULL);
    }
    own->h = h;
    own->type = type;
    h->loop = uv;
    h->u.reserved[3] = own;
    l->handles[l->n++] = own;
}

static int handle_start(void *handle, void *cb)
{
    struct handle *own = handle_of(handle);

    own->active = true;
    own->cb = cb;
    return 0;
}

static int handle_stop(void *handle)
{
    handle_of(handle)->active = false;
    return 0;
}

void loop_new(struct proc *p, void *uv_loop)
{
    struct loop *l = calloc(1, sizeof *l);

    assert(l != NULL);
    memset(uv_loop, 0, sizeof(uv_loop_t));
    ((uv_loop_t *)uv_loop)->data = l;
    l->last = &l->first;
    l->now = sim_now_us / 1000;
    l->fiber = fiber_current();
    p->loop = l;
}

uint64_t uv_now(const uv_loop_t *uv)
{
    return loop_of(uv)->now;
}

int uv_timer_init(uv_loop_t *uv, uv_timer_t *t)
{
    handle_init(uv, t, TIMER);
    return 0;
}

int uv_timer_start(uv_timer_t *t, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    struct handle *own = handle_of((uv_handle_t *)t);
    struct loop *l = loop_of(t->loop);

    own->due = l->now + timeout;
    own->repeat = repeat;
    own->order = l->order++;
    return handle_start(t, (void *)cb);
}

int uv_timer_stop(uv_timer_t *t)
{
    return handle_of((uv_handle_t *)t) == NULL ? 0 : handle_stop(t);
}

#define SIM_UV_SIMPLE(name, type)                              \
    int uv_##name##_init(uv_loop_t *uv, uv_##name##_t *h)      \
    {                                                          \
        handle_init(uv, h, type);                              \
        return 0;                                              \
    }                                                          \
    int uv_##name##_start(uv_##name##_t *h, uv_##name##_cb cb) \
    {                                                          \
        return handle_start(h, (void *)cb);                    \
    }                                                          \
    int uv_##name##_stop(uv_##name##_t *h)                     \
    {                                                          \
        return handle_stop(h);                                 \
    }

SIM_UV_SIMPLE(idle, IDLE)
SIM_UV_SIMPLE(prepare, PREPARE)
SIM_UV_SIMPLE(check, CHECK)

int uv_poll_init(uv_loop_t *uv, uv_poll_t *h, int fd)
{
    handle_init(uv, h, POLL);
    handle_of((uv_handle_t *)h)->fd = fd;
    return 0;
}

int uv_poll_start(uv_poll_t *h, int events, uv_poll_cb cb)
{
    (void)events;
    return handle_start(h, (void *)cb);
}

int uv_poll_stop(uv_poll_t *h)
{
    return handle_stop(h);
}

int uv_is_active(const uv_handle_t *h)
{
    return handle_of(h)->active;
}

void uv_close(uv_handle_t *h, uv_close_cb cb)
{
    struct loop *l = loop_of(h->loop);
    struct closing *c = malloc(sizeof *c);

    assert(c != NULL && !handle_of(h)->gone);
    handle_of(h)->active = false;
    handle_of(h)->gone = true;
    *c = (struct closing){h, cb, l->closing};
    l->closing = c;
}

const char *uv_strerror(int error)
{
    (void)error;
    return "simulated";
}

int uv_mutex_init(uv_mutex_t *m)
{
    (void)m;
    return 0;
}

void uv_mutex_destroy(uv_mutex_t *m)
{
    (void)m;
}

void uv_mutex_lock(uv_mutex_t *m)
{
    (void)m;
}

void uv_mutex_unlock(uv_mutex_t *m)
{
    (void)m;
}

/* the thread pool */

static void work_done(void *arg)
{
    uv_work_t *w = arg;

    w->after_work_cb(w, 0);
}

static void work_run(void *arg)
{
    uv_work_t *w = arg;

    sim_point("a disk's work");
    w->work_cb(w);
    loop_post(sim_self(), sim_random(60), work_done, w);
}

int uv_queue_work(uv_loop_t *uv, uv_work_t *w, uv_work_cb work, uv_after_work_cb after)
{
    uint64_t delay = 80 + sim_random(120);

    if (!world_calm() && sim_chance(100))
        delay += sim_random(50000);
    w->loop = uv;
    w->work_cb = work;
    w->after_work_cb = after;
    loop_post(sim_self(), delay, work_run, w);
    return 0;
}

/* the loop */

static struct handle *next_timer(const struct loop *l)
{
    struct handle *next = NULL;

    for (size_t i = 0; i < l->n; i++) {
        struct handle *h = l->handles[i];

        if (h->type == TIMER && h->active &&
            (next == NULL || h->due < next->due || (h->due == next->due && h->order < next->order)))
            next = h;
    }
    return next;
}

static void run_timers(struct loop *l)
{
    struct handle *h;
    uint64_t last = l->order; /* what is started now waits for the next turn */

    while ((h = next_timer(l)) != NULL && h->due <= l->now && h->order < last) {
        h->active = h->repeat != 0;
        h->due = l->now + h->repeat;
        h->order = l->order++;
        ((uv_timer_cb)h->cb)((uv_timer_t *)h->h);
    }
}

static void run_all(struct loop *l, int type)
{
    for (size_t i = 0, n = l->n; i < n; i++) {
        if ((int)l->handles[i]->type == type && l->handles[i]->active)
            ((uv_prepare_cb)l->handles[i]->cb)((uv_prepare_t *)l->handles[i]->h);
    }
}

static bool is_idle(const struct loop *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->handles[i]->active &&
            (l->handles[i]->type == IDLE || (l->handles[i]->type == POLL && net_readable(l->handles[i]->fd))))
            return false;
    }
    return l->first == NULL && l->closing == NULL;
}

static void run_input(struct loop *l)
{
    struct posted *p = l->first;

    l->first = NULL;
    l->last = &l->first;
    for (struct posted *next; p != NULL; p = next) {
        next = p->next;
        p->fn(p->arg);
        free(p);
    }
    for (size_t i = 0, n = l->n; i < n; i++) {
        if (l->handles[i]->type == POLL && l->handles[i]->active && net_readable(l->handles[i]->fd))
            ((uv_poll_cb)l->handles[i]->cb)((uv_poll_t *)l->handles[i]->h, 0, UV_READABLE);
    }
}

static void run_closing(struct loop *l)
{
    struct closing *c = l->closing;
    size_t kept = 0;

    l->closing = NULL;
    for (size_t i = 0; i < l->n; i++) {
        if (l->handles[i]->gone)
            free(l->handles[i]);
        else
            l->handles[kept++] = l->handles[i];
    }
    l->n = kept;
    for (struct closing *next; c != NULL; c = next) {
        next = c->next;
        if (c->cb != NULL)
            c->cb(c->h);
        free(c);
    }
}

static void loop_sleep(struct loop *l)
{
    struct handle *timer = next_timer(l);

    if (!is_idle(l))
        fiber_wait(sim_now_us + 1); /* a turn takes its time */
    else if (timer == NULL)
        fiber_wait(UINT64_MAX);
    else
        fiber_wait(timer->due * 1000);
}

int uv_run(uv_loop_t *uv, uv_run_mode mode)
{
    struct loop *l = loop_of(uv);

    (void)mode;
    for (;;) {
        l->now = sim_now_us / 1000;
        run_timers(l);
        run_all(l, IDLE);
        run_all(l, PREPARE);
        loop_sleep(l);
        l->now = sim_now_us / 1000;
        run_input(l);
        run_all(l, CHECK);
        run_closing(l);
    }
}
