/* session: see session.h. */
#include "libtx/session.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    NEWS_MS = 200,       /* how long news may wait for a request to ride on */
    HEARTBEAT_MS = 1000, /* patience of one heartbeat; then the next */
    HEARTBEAT_RETRY_MS = 200,
    CLOSE_MS = 2000,
    KEEPALIVES = 4,           /* heartbeats per session timeout, and */
    HEARTBEAT_MOST_MS = 5000, /* not less often than this */
};

/* opening */

/* Asks for a session under a fresh nonce. The mutex is not held. */
static int session_ask(struct app_session *s, uint64_t *nonce, struct wire_session *out, struct tx_error *e)
{
    struct wire_message m = {.type = WIRE_OPEN_SESSION};
    uint64_t now = call_now_ms();
    const struct wire_message *reply;
    struct call call;
    int rc;

    if (getrandom(nonce, sizeof *nonce, 0) != sizeof *nonce)
        return err_set(e, TX_EIO, "no random numbers from the system");
    m.open_session = (struct wire_open_session){.nonce = *nonce,
                                                .session_timeout_ms = s->session_timeout_ms,
                                                .transaction_timeout_ms = s->transaction_timeout_ms,
                                                .name = s->name};
    rc = call_sync(&call, s->calls, &m, NULL, WIRE_SESSION, now + s->connect_timeout_ms, &reply, e);
    if (rc == TX_OK)
        *out = reply->session;
    else
        err_wrap(e, rc, "open a session");
    call_end(&call);
    return rc;
}

/* A new session begins without news: what the old one owed is settled by its end. */
static void session_adopt(struct app_session *s, const struct wire_session *w, uint64_t nonce)
{
    s->group = w->group;
    s->id = w->session;
    s->nonce = nonce;
    s->sequence = 0;
    s->heard_ms = s->beat_ms = call_now_ms();
    s->news_ms = 0;
    s->lost = false;
    s->doubt = false;
    ranges_release(&s->acknowledged);
    ranges_release(&s->resolved);
    ranges_init(&s->acknowledged);
    ranges_init(&s->resolved);
}

/* Another thread is opening: its result is this one's. */
static int session_join(struct app_session *s, struct tx_error *e)
{
    while (s->opening)
        pthread_cond_wait(&s->changed, &s->mutex);
    if (!s->lost)
        return TX_OK;
    return err_set(e, s->failure.code, "%s", s->failure.msg);
}

/* Opens a session where there is none. Entered and left with the mutex held. */
static int session_renew(struct app_session *s, struct tx_error *e)
{
    struct wire_session w = {0};
    struct tx_error failure;
    uint64_t nonce;
    int rc;

    if (s->opening)
        return session_join(s, e);
    if (!s->lost)
        return TX_OK;
    s->opening = true;
    pthread_mutex_unlock(&s->mutex);
    rc = session_ask(s, &nonce, &w, &failure);
    pthread_mutex_lock(&s->mutex);
    s->opening = false;
    if (rc == TX_OK)
        session_adopt(s, &w, nonce);
    else
        s->failure = failure;
    pthread_cond_broadcast(&s->changed);
    return rc == TX_OK ? TX_OK : err_set(e, rc, "%s", failure.msg);
}

int session_begin(struct app_session *s, struct txid *id, struct tx_error *e)
{
    int rc;

    pthread_mutex_lock(&s->mutex);
    rc = session_renew(s, e);
    if (rc == TX_OK)
        *id = (struct txid){s->group, s->id, ++s->sequence, s->nonce};
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

void session_doubt(struct app_session *s, uint64_t session)
{
    pthread_mutex_lock(&s->mutex);
    if (session == s->id)
        s->doubt = true;
    pthread_mutex_unlock(&s->mutex);
}

void session_lost(struct app_session *s, uint64_t session)
{
    pthread_mutex_lock(&s->mutex);
    if (session == s->id)
        s->lost = true;
    pthread_mutex_unlock(&s->mutex);
}

/* news */

/* There is something to tell. The keeper is woken only from a long sleep: while transactions come and go it
 * looks every NEWS_MS by itself. */
static void session_has_news(struct app_session *s)
{
    if (s->news_ms == 0)
        s->news_ms = call_now_ms();
    if (s->dozing)
        pthread_cond_broadcast(&s->changed);
    s->dozing = false;
}

/* Without memory a number is not told: its record then stays until the session ends. */
void session_over(struct app_session *s, const struct txid *id, bool resolved)
{
    pthread_mutex_lock(&s->mutex);
    if (id->session == s->id && !s->lost) {
        (void)ranges_add(&s->acknowledged, id->sequence, id->sequence);
        if (resolved)
            (void)ranges_add(&s->resolved, id->sequence, id->sequence);
        session_has_news(s);
    }
    pthread_mutex_unlock(&s->mutex);
}

static size_t news_copy(struct range *to, const struct ranges *from)
{
    size_t n = from->n < RANGE_LIMIT ? from->n : RANGE_LIMIT;

    if (n > 0)
        memcpy(to, from->items, n * sizeof *to);
    return n;
}

void session_news_take(struct app_session *s, uint64_t session, struct news *out, struct wire_news *wire)
{
    out->n_acknowledged = out->n_resolved = 0;
    out->session = session;
    out->taken_ms = call_now_ms();
    pthread_mutex_lock(&s->mutex);
    if (session == s->id && !s->lost) {
        out->n_acknowledged = news_copy(out->acknowledged, &s->acknowledged);
        out->n_resolved = news_copy(out->resolved, &s->resolved);
        if (s->acknowledged.n <= RANGE_LIMIT && s->resolved.n <= RANGE_LIMIT)
            s->news_ms = 0;
    }
    pthread_mutex_unlock(&s->mutex);
    *wire = (struct wire_news){out->n_acknowledged, out->n_resolved, out->acknowledged, out->resolved};
}

static void news_remove(struct ranges *from, const struct range *told, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)ranges_remove(from, told[i].from, told[i].to); /* without memory: told once more */
}

void session_news_told(struct app_session *s, const struct news *n)
{
    pthread_mutex_lock(&s->mutex);
    if (n->session == s->id && !s->lost) {
        news_remove(&s->acknowledged, n->acknowledged, n->n_acknowledged);
        news_remove(&s->resolved, n->resolved, n->n_resolved);
        if (n->taken_ms > s->heard_ms)
            s->heard_ms = n->taken_ms;
    }
    pthread_mutex_unlock(&s->mutex);
}

void session_news_missed(struct app_session *s, const struct news *n)
{
    pthread_mutex_lock(&s->mutex);
    if (n->session == s->id && n->n_acknowledged + n->n_resolved > 0)
        session_has_news(s);
    pthread_mutex_unlock(&s->mutex);
}

/* keeping alive */

/* One heartbeat, or the end of the session. The mutex is not held. */
static int session_tell(struct app_session *s, uint64_t session, uint64_t nonce, enum wire_type type,
                        uint64_t deadline_ms)
{
    struct wire_message m = {.type = type};
    enum wire_type want = type == WIRE_HEARTBEAT ? WIRE_HEARTBEAT_OK : WIRE_CLOSED;
    const struct wire_message *reply;
    struct news news;
    struct call call;
    int rc;

    m.heartbeat.session = session;
    m.heartbeat.nonce = nonce;
    session_news_take(s, session, &news, &m.heartbeat.news);
    rc = call_sync(&call, s->calls, &m, NULL, want, deadline_ms, &reply, NULL);
    call_end(&call);
    if (rc == TX_OK)
        session_news_told(s, &news);
    else
        session_news_missed(s, &news);
    /* Who is not let in any more has no session left. The next transaction asks for one, and is told why not.
     */
    if (rc == TX_ESESSION || rc == TX_EDENIED)
        session_lost(s, session);
    return rc;
}

/* When the next heartbeat is due; far away while there is no session. */
static uint64_t session_due(const struct app_session *s)
{
    uint32_t period = s->session_timeout_ms / KEEPALIVES;
    uint64_t due = s->beat_ms + (period < HEARTBEAT_MOST_MS ? period : HEARTBEAT_MOST_MS);

    if (s->lost)
        return UINT64_MAX;
    if (s->news_ms != 0 && s->news_ms + NEWS_MS < due)
        due = s->news_ms + NEWS_MS;
    return due > s->retry_ms ? due : s->retry_ms;
}

static void session_doze(struct app_session *s, uint64_t now, uint64_t due)
{
    struct timespec until = {(time_t)(due / 1000), (long)(due % 1000) * 1000000};

    /* After news it sleeps no longer than news may wait, once; so a busy client wakes it NEWS_MS apart. */
    s->dozing = due - now > NEWS_MS;
    if (due == UINT64_MAX)
        pthread_cond_wait(&s->changed, &s->mutex);
    else
        pthread_cond_timedwait(&s->changed, &s->mutex, &until);
    s->dozing = false;
}

static void *session_keep(void *arg)
{
    struct app_session *s = arg;
    uint64_t now, due, id, nonce;
    int rc;

    pthread_mutex_lock(&s->mutex);
    while (!s->closing) {
        now = call_now_ms();
        due = session_due(s);
        if (now < due) {
            session_doze(s, now, due);
            continue;
        }
        id = s->id;
        nonce = s->nonce;
        s->beat_ms = now;
        pthread_mutex_unlock(&s->mutex);
        rc = session_tell(s, id, nonce, WIRE_HEARTBEAT, now + HEARTBEAT_MS);
        pthread_mutex_lock(&s->mutex);
        if (rc != TX_OK)
            s->retry_ms = call_now_ms() + HEARTBEAT_RETRY_MS;
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void session_init(struct app_session *s)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    ranges_init(&s->acknowledged);
    ranges_init(&s->resolved);
    s->lost = true;
}

static void session_release(struct app_session *s)
{
    ranges_release(&s->acknowledged);
    ranges_release(&s->resolved);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
}

int session_open(struct app_session *s, struct tx_error *e)
{
    int rc;

    session_init(s);
    pthread_mutex_lock(&s->mutex);
    rc = session_renew(s, e);
    pthread_mutex_unlock(&s->mutex);
    if (rc == TX_OK && pthread_create(&s->keeper, NULL, session_keep, s) != 0)
        rc = err_set(e, TX_ENOMEM, "cannot start a thread");
    if (rc != TX_OK)
        session_release(s);
    return rc;
}

/* More ranges than one message may carry go ahead in heartbeats. */
static void session_end(struct app_session *s)
{
    uint64_t deadline = call_now_ms() + CLOSE_MS;

    while (s->acknowledged.n > RANGE_LIMIT || s->resolved.n > RANGE_LIMIT) {
        if (session_tell(s, s->id, s->nonce, WIRE_HEARTBEAT, deadline) != TX_OK)
            return;
    }
    if (!s->lost)
        (void)session_tell(s, s->id, s->nonce, s->doubt ? WIRE_HEARTBEAT : WIRE_CLOSE_SESSION, deadline);
}

void session_close(struct app_session *s)
{
    int rc;

    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    rc = pthread_join(s->keeper, NULL);
    assert(rc == 0);
    session_end(s);
    session_release(s);
}
