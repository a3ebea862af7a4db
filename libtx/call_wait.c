/* call_wait: how threads sleep until their calls are over; one of them polls for all (see call.h). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libtx/call_inside.h"

/* waiters */

static void waiter_rouse(struct waiter *w)
{
    uint64_t one = 1;

    if (w->asleep && write(w->fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN); /* the counter is full: it is readable anyway */
}

void waiter_wake(struct waiter *w)
{
    w->woken = true;
    waiter_rouse(w);
}

struct waiter *calls_waiter_take(struct calls *cs)
{
    struct waiter *w;

    pthread_mutex_lock(&cs->mutex);
    w = TAILQ_FIRST(&cs->idle);
    if (w != NULL)
        TAILQ_REMOVE(&cs->idle, w, link);
    pthread_mutex_unlock(&cs->mutex);
    if (w != NULL)
        return w;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->fd < 0) {
        free(w);
        return NULL;
    }
    return w;
}

void calls_waiter_give(struct calls *cs, struct waiter *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&cs->mutex);
    w->woken = false;
    TAILQ_INSERT_HEAD(&cs->idle, w, link);
    pthread_mutex_unlock(&cs->mutex);
}

void waiter_look_again(struct calls *cs)
{
    if (cs->poller != NULL)
        waiter_rouse(cs->poller);
}

void waiters_free(struct waiters *idle)
{
    struct waiter *w;

    while ((w = TAILQ_FIRST(idle)) != NULL) {
        TAILQ_REMOVE(idle, w, link);
        close(w->fd);
        free(w);
    }
}

/* waiting */

/* What one sleep watches: its own descriptor, the caller's, and, if it polls for all, the channels. */
struct watch {
    struct pollfd fds[1 + BRANCH_LIMIT + PEER_LIMIT];
    struct peer *peers[PEER_LIMIT];
    size_t n_own, n;
};

static void watch_channels(struct watch *watch, const struct calls *cs)
{
    for (size_t i = 0; i < cs->n_peers; i++) {
        watch->peers[i] = cs->peers[i];
        watch->fds[watch->n++] = (struct pollfd){cs->peers[i]->fd, POLLIN, 0};
    }
}

static void watch_receive(struct watch *watch, struct calls *cs)
{
    uint64_t now = call_now_ms();

    for (size_t i = watch->n_own; i < watch->n; i++) {
        if (watch->fds[i].revents != 0)
            calls_receive(cs, watch->peers[i - watch->n_own], now);
    }
}

int calls_poll_ms(uint64_t until_ms)
{
    uint64_t now = call_now_ms();

    if (until_ms <= now)
        return 0;
    return until_ms - now > 3600000 ? 3600000 : (int)(until_ms - now);
}

/* One poll(), entered and left with the mutex held; for all if nobody else does. False: the time is over. */
static bool wait_once(struct calls *cs, struct waiter *w, struct watch *watch, uint64_t until_ms)
{
    bool polls = cs->poller == NULL;
    int ready, left_ms = calls_poll_ms(until_ms), ms = left_ms, keep_ms;
    uint64_t count;

    watch->n = watch->n_own;
    if (polls) {
        calls_redial(cs);
        keep_ms = calls_keep(cs, call_now_ms());
        ms = w->woken ? 0 : keep_ms < left_ms ? keep_ms : left_ms;
        cs->poller = w;
        watch_channels(watch, cs);
    } else {
        TAILQ_INSERT_TAIL(&cs->asleep, w, link);
    }
    w->asleep = true;
    pthread_mutex_unlock(&cs->mutex);
    ready = poll(watch->fds, (nfds_t)watch->n, ms);
    if (ready > 0 && watch->fds[0].revents != 0 && read(w->fd, &count, sizeof count) < 0)
        assert(errno == EAGAIN);
    pthread_mutex_lock(&cs->mutex);
    w->asleep = false;
    if (!polls) {
        TAILQ_REMOVE(&cs->asleep, w, link);
        return ready != 0;
    }
    cs->poller = NULL;
    if (ready > 0)
        watch_receive(watch, cs);
    calls_sweep(cs);
    return ready != 0 || ms < left_ms;
}

static bool fds_ready(const struct watch *watch)
{
    for (size_t i = 1; i < watch->n_own; i++) {
        if (watch->fds[i].revents != 0)
            return true;
    }
    return false;
}

void calls_wait(struct calls *cs, struct waiter *w, struct pollfd *fds, size_t n, uint64_t until_ms)
{
    struct watch watch;
    bool timeout = false;

    assert(n <= BRANCH_LIMIT);
    watch.fds[0] = (struct pollfd){w->fd, POLLIN, 0};
    if (n > 0)
        memcpy(&watch.fds[1], fds, n * sizeof *fds);
    watch.n_own = 1 + n;
    pthread_mutex_lock(&cs->mutex);
    while (!w->woken && !timeout && (watch.n_own == 1 || !fds_ready(&watch)))
        timeout = !wait_once(cs, w, &watch, until_ms);
    w->woken = false;
    if (cs->poller == NULL && !TAILQ_EMPTY(&cs->asleep))
        waiter_rouse(TAILQ_FIRST(&cs->asleep)); /* the polling goes to another */
    pthread_mutex_unlock(&cs->mutex);
    if (n > 0)
        memcpy(fds, &watch.fds[1], n * sizeof *fds);
}
