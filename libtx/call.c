/* call: see call.h. Sending, answers, and the life of one call. */
#include "libtx/call_inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CALL_FIRST_PAUSE_MS = 250, /* without an answer, until it is sent again; doubled up to the next */
    CALL_LAST_PAUSE_MS = 1000,
    CALL_LOOK_MS = 50,        /* while it waits: is the connection still there */
    CALL_SHORT_MS = 5,        /* nobody leads, or the leader is too busy: ask again after, */
    CALL_ELECTION_MS = 40,    /* doubled up to this */
    CALL_UNREACHABLE_MS = 25, /* not connected to anybody: try again after */
    REDIRECT_LIMIT = 4,       /* «he leads» followed at once; more of them wait for the election's end */
    RECEIVE_LIMIT = 256,      /* messages taken from one socket before the others have their turn */
};

static void call_place(struct call *c, struct peer *p, uint64_t now);

uint64_t call_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int calls_new(struct calls **out, const char *coordinators, const struct security *security, struct tx_error *e)
{
    struct calls *cs = calloc(1, sizeof *cs);
    int rc;

    if (cs == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    pthread_mutex_init(&cs->mutex, NULL);
    TAILQ_INIT(&cs->asleep);
    TAILQ_INIT(&cs->idle);
    cs->security = security;
    believed_init(&cs->believed, security);
    rc = calls_dial(cs, coordinators, e);
    if (rc != TX_OK) {
        calls_free(cs);
        return rc;
    }
    cs->leader = cs->peers[0];
    cs->turn = cs->peers[call_now_ms() % cs->n_peers]; /* not the same one for all clients */
    *out = cs;
    return TX_OK;
}

void calls_free(struct calls *cs)
{
    if (cs == NULL)
        return;
    for (size_t i = 0; i < cs->n_peers; i++) {
        channel_close(&cs->peers[i]->channel);
        free(cs->peers[i]);
    }
    waiters_free(&cs->idle);
    pthread_mutex_destroy(&cs->mutex);
    free(cs);
}

/* sending */

/* Gives the place back, if it has one, to those that wait for it. */
static void call_leave(struct call *c, uint64_t now)
{
    struct peer *p = c->at;

    c->at = NULL;
    if (p == NULL)
        return;
    if (c->queued)
        TAILQ_REMOVE(&p->queue, c, queue);
    else
        p->outstanding--;
    c->queued = false;
    while (p->outstanding < OUTSTANDING_LIMIT && (c = TAILQ_FIRST(&p->queue)) != NULL) {
        TAILQ_REMOVE(&p->queue, c, queue);
        c->queued = false;
        c->at = NULL;
        call_place(c, p, now);
        waiter_wake(c->waiter); /* it has another time to wait for now */
    }
}

/* Sends to this peer, or queues for it. False: not connected. */
static bool call_send_to(struct call *c, struct peer *p, uint64_t now)
{
    if (p->outstanding >= OUTSTANDING_LIMIT) {
        c->at = p;
        c->queued = true;
        c->again_ms = c->deadline_ms;
        TAILQ_INSERT_TAIL(&p->queue, c, queue);
        return true;
    }
    if (p->redial || channel_send(&p->channel, c->id, c->request.data, c->request.len) != TX_OK) {
        p->why = "cannot be reached";
        p->answers = false;
        peer_unheard(c->calls, p, now);
        return false;
    }
    p->outstanding++;
    c->at = p;
    c->sent_before = c->sent;
    c->sent = true;
    c->line = p->line;
    c->again_ms = now + c->pause_ms;
    c->look_ms = now + CALL_LOOK_MS;
    return true;
}

/* Sends it to p or, where that is not connected, to the first coordinator that is. */
static void call_place(struct call *c, struct peer *p, uint64_t now)
{
    size_t n = c->fixed != NULL ? 1 : c->calls->n_coordinators;

    c->unplaced = false;
    for (size_t i = 0; i < n; i++) {
        if (call_send_to(c, p, now))
            return;
        if (c->fixed == NULL)
            p = peer_after(c->calls, p);
    }
    c->unplaced = true;
    c->again_ms = now + CALL_UNREACHABLE_MS;
}

/* A line to this peer is there: what waits for one takes it, and what was sent on the line before it, and is
 * not answered any more, follows. */
static void call_opened(struct call *c, struct peer *p, uint64_t now)
{
    if (c->unplaced && (c->fixed == p || (c->fixed == NULL && p->kind == PEER_COORDINATOR))) {
        call_place(c, p, now);
    } else if (c->at == p && !c->queued && c->line != p->line) {
        (void)channel_send(&p->channel, c->id, c->request.data, c->request.len);
        c->line = p->line;
        c->again_ms = now + c->pause_ms;
    } else {
        return;
    }
    waiter_wake(c->waiter); /* it has another time to wait for now */
}

/* It takes no clear text: it has not taken this. */
static void call_mismatched(struct call *c, struct peer *p, uint64_t now)
{
    if (c->at != p || c->queued)
        return;
    c->sent = c->sent_before;
    c->again_ms = now + CALL_UNREACHABLE_MS;
    waiter_wake(c->waiter);
}

/* Whatever has become of the peer may concern any of them. */
static void calls_each(struct calls *cs, struct peer *p, uint64_t now,
                       void (*f)(struct call *c, struct peer *p, uint64_t now))
{
    struct call *c;

    for (size_t i = 0; i < CALL_BUCKETS; i++) {
        LIST_FOREACH(c, &cs->pending[i], pending)
        f(c, p, now);
    }
}

/* No answer, or none that helps, in time: asks again, and the next one, who knows at least who leads. */
static void call_again(struct call *c, uint64_t now)
{
    struct peer *last = c->at;

    if (last != NULL && !c->queued) {
        last->why = last->garbled                   ? "its answer cannot be read; is it another version?"
                    : channel_ready(&last->channel) ? "no answer"
                                                    : "the connection was lost";
        last->answers = false;
        peer_unheard(c->calls, last, now);
        if (last->silent_ms == 0)
            last->silent_ms = now;
        c->pause_ms = c->pause_ms * 2 < CALL_LAST_PAUSE_MS ? c->pause_ms * 2 : CALL_LAST_PAUSE_MS;
    }
    c->redirects = 0;
    call_leave(c, now);
    if (c->fixed != NULL)
        call_place(c, c->fixed, now);
    else
        call_place(c, last != NULL ? peer_next(c->calls, last, now) : c->calls->leader, now);
}

/* It waits for a coordinator whose connection is gone, and with it the answer. */
static bool call_cut_off(struct call *c, uint64_t now)
{
    if (c->at == NULL || c->queued || c->fixed != NULL || now < c->look_ms)
        return false;
    c->look_ms = now + CALL_LOOK_MS;
    return !channel_ready(&c->at->channel);
}

/* answers */

static void call_finish(struct call *c, uint64_t now)
{
    c->done = true;
    LIST_REMOVE(c, pending);
    call_leave(c, now);
    waiter_wake(c->waiter);
}

/* After a pause: the same again, to whoever is thought to lead then. */
static void call_pause(struct call *c, uint64_t now)
{
    call_leave(c, now);
    c->again_ms = now + c->election_ms;
    c->election_ms = c->election_ms * 2 < CALL_ELECTION_MS ? c->election_ms * 2 : CALL_ELECTION_MS;
    waiter_wake(c->waiter);
}

/* A follower answered. */
static void call_redirect(struct call *c, struct peer *from, const char *leader, uint64_t now)
{
    struct calls *cs = c->calls;
    struct peer *p;

    from->leaderless = leader == NULL;
    from->answers = true;
    if (leader == NULL || peer_find_or_add(cs, leader, PEER_COORDINATOR, &p, NULL) != TX_OK) {
        from->why = "knows of no leader";
        if (cs->leader == from)
            cs->leader = peer_next(cs, from, now);
        call_pause(c, now);
        return;
    }
    from->why = "does not lead";
    if (peer_doubtful(p, now)) {
        cs->leader = peer_next(cs, from, now); /* it stands still, most likely, and another is being elected */
        call_pause(c, now);
        return;
    }
    p->silent_ms = 0;
    cs->leader = p;
    if (p == from || ++c->redirects > REDIRECT_LIMIT) {
        call_pause(c, now);
        return;
    }
    call_leave(c, now);
    call_place(c, p, now);
    waiter_wake(c->waiter);
}

/* Errors that say «not now»: the same request may well be served later. */
static bool call_passing(int code)
{
    return code == TX_EBUSY || code == TX_ETIMEOUT || code == TX_EUNREACHABLE || code == TX_EUNKNOWN;
}

/* Takes the message over, if the call has an end with it. */
static void call_answer(struct call *c, struct peer *from, struct channel_message *m,
                        const struct wire_message *reply, uint64_t now)
{
    const struct wire_error *err = &reply->error;

    if (reply->type == WIRE_ERROR && (err->code == TX_ENOTLEADER || call_passing(err->code))) {
        if (from != c->at)
            return; /* from before it was asked elsewhere */
        if (err->code == TX_ENOTLEADER && c->fixed == NULL) {
            call_redirect(c, from, err->leader, now);
            return;
        }
        from->why = tx_strerror(err->code);
        from->answers = true;
        call_pause(c, now);
        return;
    }
    if (reply->type == WIRE_ERROR)
        err_set(&c->error, err->code, "%s", err->text != NULL ? err->text : tx_strerror(err->code));
    else if (reply->type != c->want)
        err_set(&c->error, TX_EPROTO, "%s answered a request with «%s»; is it another version?", from->address,
                wire_type_name(reply->type));
    if (c->fixed == NULL && !c->spread && from->kind == PEER_COORDINATOR) {
        c->calls->leader = from;
        from->leaderless = false;
    }
    c->message = *m;
    c->reply = *reply;
    if (reply->type == WIRE_SESSION)
        calls_learn(c->calls, &c->reply.session.nodes);
    else if (reply->type == WIRE_HEARTBEAT_OK)
        calls_learn(c->calls, &c->reply.heartbeat_ok.nodes);
    m->data = NULL;
    call_finish(c, now);
}

static struct call *calls_find(struct calls *cs, uint32_t id)
{
    struct call *c;

    LIST_FOREACH(c, &cs->pending[id % CALL_BUCKETS], pending)
    {
        if (c->id == id)
            return c;
    }
    return NULL;
}

void calls_look(struct calls *cs, struct peer *p, uint64_t now)
{
    if (peer_look(cs, p, now))
        calls_each(cs, p, now, call_opened);
}

/* A message that does not decode counts as lost, and the call asks again. */
void calls_receive(struct calls *cs, struct peer *p, uint64_t now)
{
    struct channel_message m;
    struct wire_message reply;
    struct call *c;

    for (int i = 0; i < RECEIVE_LIMIT && channel_receive(&p->channel, &m) == 1; i++) {
        p->silent_ms = p->unheard_ms = 0;
        c = calls_find(cs, m.id);
        if (c == NULL) /* late, or a double */
            channel_release(&m);
        else if (wire_decode(&reply, m.data, m.len, &cs->scratch, NULL) != TX_OK)
            p->garbled = true;
        else
            call_answer(c, p, &m, &reply, now);
        if (m.data != NULL)
            channel_release(&m);
    }
    calls_look(cs, p, now);
    if (!p->open && believed_channel(&cs->believed) == NULL)
        calls_each(cs, p, now, call_mismatched);
}

/* one call */

static int call_encode(struct call *c, const struct wire_message *m, size_t limit, struct tx_error *e)
{
    int rc = wire_encode(m, &c->request);

    if (rc == TX_OK && c->request.len > limit)
        rc = TX_ETOOBIG;
    if (rc == TX_OK)
        return TX_OK;
    buf_release(&c->request);
    return err_set(e, rc, "%s message: %s", wire_type_name(m->type), tx_strerror(rc));
}

int call_start(struct call *c, struct calls *cs, struct waiter *w, const struct wire_message *m,
               struct peer *agent, enum wire_type want, uint64_t deadline_ms, struct tx_error *e)
{
    uint64_t now = call_now_ms();
    int rc;

    memset(c, 0, sizeof *c);
    rc = call_encode(c, m, agent != NULL ? ROWS_LIMIT : MESSAGE_LIMIT, e);
    if (rc != TX_OK)
        return rc;
    c->calls = cs;
    c->waiter = w;
    c->want = want;
    c->fixed = agent;
    c->spread = m->type == WIRE_OUTCOME;
    c->started_ms = now;
    c->deadline_ms = deadline_ms;
    c->pause_ms = CALL_FIRST_PAUSE_MS;
    c->election_ms = CALL_SHORT_MS;
    pthread_mutex_lock(&cs->mutex);
    c->id = ++cs->last_id & 0x7fffffff;
    LIST_INSERT_HEAD(&cs->pending[c->id % CALL_BUCKETS], c, pending);
    call_place(c, agent != NULL ? agent : c->spread ? calls_turn(cs, now) : cs->leader, now);
    pthread_mutex_unlock(&cs->mutex);
    return TX_OK;
}

/* Of those that could be asked; NULL: none says so. */
static const struct peer *call_leaderless(const struct calls *cs)
{
    for (size_t i = 0; i < cs->n_peers; i++) {
        if (cs->peers[i]->kind == PEER_COORDINATOR && cs->peers[i]->leaderless)
            return cs->peers[i];
    }
    return NULL;
}

static size_t calls_answering(const struct calls *cs)
{
    size_t n = 0;

    for (size_t i = 0; i < cs->n_peers; i++) {
        struct peer *p = cs->peers[i];

        n += p->kind == PEER_COORDINATOR && p->silent_ms == 0 && channel_ready(&p->channel);
    }
    return n;
}

/* Why each of those asked did not help; first those that say nothing at all, as the text may be cut short. */
static void call_list(const struct call *c, char *list, size_t size)
{
    const struct calls *cs = c->calls;
    size_t n = 0;

    for (int answers = 0; answers <= 1; answers++) {
        for (size_t i = 0; i < cs->n_peers && n < size; i++) {
            const struct peer *p = cs->peers[i];

            if ((c->fixed != NULL ? p == c->fixed : p->kind == PEER_COORDINATOR) && p->answers == answers)
                n += (size_t)snprintf(list + n, size - n, "%s%s (%s)", n > 0 ? ", " : "", p->address,
                                      peer_why(p));
        }
    }
}

/* «no coordinator answered within 5000 ms: tcp://a:1 (cannot be reached), tcp://b:1 (no answer)»
 * «no coordinator led within 5000 ms, for want of a majority: 1 of 3 answers: tcp://a:1 (cannot be reached),
 * tcp://b:1 (no answer), tcp://c:1 (knows of no leader)» */
static void call_give_up(struct call *c, uint64_t now)
{
    const struct calls *cs = c->calls;
    bool leaderless = c->fixed == NULL && call_leaderless(cs) != NULL;
    char list[sizeof c->error.msg] = "", majority[64] = "";

    call_list(c, list, sizeof list);
    if (leaderless)
        snprintf(majority, sizeof majority, ", for want of a majority: %zu of %zu answers", calls_answering(cs),
                 cs->n_coordinators);
    err_set(&c->error, c->sent ? TX_ETIMEOUT : TX_EUNREACHABLE, "no %s within %llu ms%s: %s",
            c->fixed != NULL ? "agent answered"
            : leaderless     ? "coordinator led"
                             : "coordinator answered",
            (unsigned long long)(now - c->started_ms), majority, list);
}

/* With nobody whom it could go to is there a line, nor will be. */
static bool call_denied(const struct call *c, uint64_t now)
{
    const struct calls *cs = c->calls;
    bool denied = true;

    if (c->fixed != NULL)
        return peer_denies(cs, c->fixed, now);
    for (size_t i = 0; i < cs->n_peers && denied; i++)
        denied = cs->peers[i]->kind != PEER_COORDINATOR || peer_denies(cs, cs->peers[i], now);
    return denied;
}

static void call_deny(struct call *c)
{
    char list[sizeof c->error.msg] = "";

    call_list(c, list, sizeof list);
    err_set(&c->error, TX_EDENIED, "no %s lets this program in, or is believed: %s",
            c->fixed != NULL ? "agent" : "coordinator", list);
}

bool call_step(struct call *c)
{
    uint64_t now = call_now_ms();
    bool over;

    pthread_mutex_lock(&c->calls->mutex);
    if (!c->done && now >= c->deadline_ms) {
        call_give_up(c, now);
        call_finish(c, now);
    } else if (!c->done && call_denied(c, now)) {
        call_deny(c);
        call_finish(c, now);
    }
    if (!c->done && (now >= c->again_ms || call_cut_off(c, now)))
        call_again(c, now);
    over = c->done;
    pthread_mutex_unlock(&c->calls->mutex);
    return over;
}

uint64_t call_due_ms(const struct call *c)
{
    uint64_t due;

    pthread_mutex_lock(&c->calls->mutex);
    due = c->done ? UINT64_MAX : c->again_ms < c->deadline_ms ? c->again_ms : c->deadline_ms;
    if (!c->done && c->at != NULL && !c->queued && c->fixed == NULL && c->look_ms < due)
        due = c->look_ms;
    pthread_mutex_unlock(&c->calls->mutex);
    return due;
}

int call_result(struct call *c, const struct wire_message **reply, struct tx_error *e)
{
    assert(c->done);
    if (c->error.code != TX_OK) {
        if (e != NULL)
            *e = c->error;
        return c->error.code;
    }
    *reply = &c->reply;
    return TX_OK;
}

void call_end(struct call *c)
{
    struct calls *cs = c->calls;

    if (cs == NULL)
        return;
    pthread_mutex_lock(&cs->mutex);
    if (!c->done) {
        LIST_REMOVE(c, pending);
        call_leave(c, call_now_ms());
    }
    pthread_mutex_unlock(&cs->mutex);
    if (c->message.data != NULL)
        channel_release(&c->message);
    buf_release(&c->request);
    c->calls = NULL;
}

int call_sync(struct call *c, struct calls *cs, const struct wire_message *m, struct peer *agent,
              enum wire_type want, uint64_t deadline_ms, const struct wire_message **reply, struct tx_error *e)
{
    struct waiter *w = calls_waiter_take(cs);
    int rc;

    c->calls = NULL;
    if (w == NULL)
        return err_set(e, TX_ENOMEM, "out of memory or file descriptors");
    rc = call_start(c, cs, w, m, agent, want, deadline_ms, e);
    if (rc == TX_OK) {
        while (!call_step(c))
            calls_wait(cs, w, NULL, 0, call_due_ms(c));
        rc = call_result(c, reply, e);
    }
    calls_waiter_give(cs, w);
    return rc;
}
