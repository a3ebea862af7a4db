/* sim_posix: clocks, random numbers, poll and threads for what is simulated. A thread is a fiber; it gives way
 * only where it would sleep, so that a mutex is never found taken.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"
#include "tests/sim/sim_wrap.h"

enum { EVENTS = 4096, SLEEPERS = 64 };

static struct {
    bool used;
    uint64_t count;
    struct proc *proc;
} events[EVENTS];

static struct sleeper {
    const pthread_cond_t *on;
    struct fiber *fiber; /* NULL: free */
} sleepers[SLEEPERS];

struct thread {
    void *(*run)(void *);
    void *arg;
    struct fiber *fiber, *joiner;
};

/* time and chance */

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (sim_now_us == 0)
        return __real_clock_gettime(clock, t);
    t->tv_sec = (time_t)(sim_now_us / 1000000);
    t->tv_nsec = (long)(sim_now_us % 1000000) * 1000;
    return 0;
}

ssize_t __wrap_getrandom(void *data, size_t len, unsigned flags)
{
    uint8_t *p = data;

    (void)flags;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)sim_random(256);
    return (ssize_t)len;
}

/* descriptors */

static int event_of(int fd)
{
    return fd >= SIM_FD + SIM_FD_EVENT && fd < SIM_FD + SIM_FD_EVENT + EVENTS ? fd - SIM_FD - SIM_FD_EVENT : -1;
}

static void wake_all(struct proc *p)
{
    for (struct fiber *f = p->fibers; f != NULL; f = f->next)
        fiber_wake(f);
}

int __wrap_eventfd(unsigned count, int flags)
{
    (void)flags;
    for (int i = 0; i < EVENTS; i++) {
        if (events[i].used)
            continue;
        events[i].used = true;
        events[i].count = count;
        events[i].proc = sim_self();
        return SIM_FD + SIM_FD_EVENT + i;
    }
    errno = EMFILE;
    return -1;
}

bool event_readable(int fd)
{
    int i = event_of(fd);

    return i >= 0 && events[i].count > 0;
}

ssize_t __wrap_read(int fd, void *data, size_t len)
{
    int i = event_of(fd);

    if (i < 0)
        return __real_read(fd, data, len);
    if (events[i].count == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(data, &events[i].count, sizeof events[i].count);
    events[i].count = 0;
    return sizeof events[i].count;
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    int i = event_of(fd);
    uint64_t add;

    if (i < 0)
        return __real_write(fd, data, len);
    memcpy(&add, data, sizeof add);
    events[i].count += add;
    wake_all(events[i].proc);
    return sizeof add;
}

int __wrap_close(int fd)
{
    int i = event_of(fd);

    if (fd >= SIM_FD + SIM_FD_FILE)
        return disk_close(fd);
    if (i < 0)
        return __real_close(fd);
    events[i].used = false;
    return 0;
}

static int look(struct pollfd *fds, nfds_t n)
{
    int ready = 0;

    for (nfds_t i = 0; i < n; i++) {
        fds[i].revents = net_readable(fds[i].fd) || event_readable(fds[i].fd) ? POLLIN : 0;
        ready += fds[i].revents != 0;
    }
    return ready;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    uint64_t until = timeout < 0 ? UINT64_MAX : sim_now_us + (uint64_t)timeout * 1000;
    int ready;

    while ((ready = look(fds, n)) == 0 && sim_now_us < until)
        fiber_wait(until);
    if (timeout == 0)
        fiber_wait(sim_now_us + 1);
    return ready;
}

/* threads */

static void thread_run(void *arg)
{
    struct thread *t = arg;

    t->run(t->arg);
    t->fiber->ended = true;
    if (t->joiner != NULL)
        fiber_wake(t->joiner);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    struct thread *t = calloc(1, sizeof *t);

    (void)attr;
    assert(t != NULL);
    t->run = run;
    t->arg = arg;
    t->fiber = fiber_new(sim_self(), thread_run, t);
    *thread = (pthread_t)t;
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    struct thread *t = (struct thread *)thread;

    (void)result;
    t->joiner = fiber_current();
    while (!t->fiber->ended)
        fiber_wait(UINT64_MAX);
    free(t);
    return 0;
}

static int sleep_on(const pthread_cond_t *c, pthread_mutex_t *m, uint64_t until_us)
{
    struct sleeper *s = sleepers;

    while (s < sleepers + SLEEPERS && s->fiber != NULL)
        s++;
    assert(s < sleepers + SLEEPERS);
    *s = (struct sleeper){c, fiber_current()};
    pthread_mutex_unlock(m);
    while (s->on != NULL && sim_now_us < until_us)
        fiber_wait(until_us);
    s->fiber = NULL;
    pthread_mutex_lock(m);
    return s->on == NULL ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    return sleep_on(c, m, UINT64_MAX);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    return sleep_on(c, m, (uint64_t)until->tv_sec * 1000000 + (uint64_t)until->tv_nsec / 1000);
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
    for (struct sleeper *s = sleepers; s < sleepers + SLEEPERS; s++) {
        if (s->fiber == NULL || s->on != c)
            continue;
        s->on = NULL;
        fiber_wake(s->fiber);
    }
    return 0;
}

void posix_proc_gone(struct proc *p)
{
    for (struct sleeper *s = sleepers; s < sleepers + SLEEPERS; s++) {
        if (s->fiber != NULL && s->fiber->proc == p)
            s->fiber = NULL;
    }
    for (int i = 0; i < EVENTS; i++)
        events[i].used = events[i].used && events[i].proc != p;
}
