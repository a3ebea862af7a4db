/* sessions: see sessions.h. */
#include "coordinator/sessions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/flights.h"
#include "coordinator/nodes.h"
#include "libtx/shared/crash.h"

static struct lease *lease_find(const struct driver *d, uint64_t session)
{
    struct lease *lease;

    HASH_FIND(hh, d->leases, &session, sizeof session, lease);
    return lease;
}

/* Owners */

/* What the key is called; as text where nobody here knows it. */
static void name_key(const struct driver *d, const uint8_t key[KEY_SIZE], char name[NAME_LIMIT + 1])
{
    const struct ledger_key *known = ledger_key(d->ledger, key);
    const struct keyring *file = d->options.bootstrap;
    const struct key_entry *entry = known == NULL && file != NULL ? keyring_find(file, key) : NULL;
    char text[KEY_TEXT_SIZE];

    key_format(key, text);
    snprintf(name, NAME_LIMIT + 1, "%s", known != NULL ? known->name : entry != NULL ? entry->name : text);
}

/* The one of this key's name; with n 0 where it is new. */
static struct owner *owner_get(struct driver *d, const uint8_t key[KEY_SIZE])
{
    char name[NAME_LIMIT + 1];
    struct owner *o;

    name_key(d, key, name);
    HASH_FIND_STR(d->owners, name, o);
    if (o != NULL)
        return o;
    o = driver_alloc(1, sizeof *o);
    strcpy(o->name, name);
    HASH_ADD_STR(d->owners, name, o);
    return o;
}

/* NULL is allowed. */
static void owner_leave(struct driver *d, struct owner *o)
{
    if (o == NULL || --o->n > 0)
        return;
    HASH_DEL(d->owners, o);
    free(o);
}

static void lease_add(struct driver *d, const struct session *s)
{
    struct lease *lease = driver_alloc(1, sizeof *lease);

    lease->id = s->id;
    lease->nonce = s->nonce;
    lease->timeout_ms = s->session_timeout_ms;
    lease->heard_ms = d->now;
    if (ledger_session_owned(s)) {
        lease->owner = owner_get(d, s->owner);
        lease->owner->n++;
    }
    ranges_init(&lease->news);
    HASH_ADD(hh, d->leases, id, sizeof lease->id, lease);
}

/* News */

static bool covered(const struct ranges *set, const struct range *r)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->items[i].from <= r->from && set->items[i].to >= r->to)
            return true;
    return false;
}

static void stop_news(struct driver *d, struct lease *lease)
{
    if (lease->in_news)
        DL_DELETE2(d->news, lease, news_prev, news_next);
    lease->in_news = false;
}

static void log_news(struct driver *d, struct lease *lease)
{
    struct record r = {.type = RECORD_ACKNOWLEDGE, .session = lease->id};
    uint64_t ticket;

    r.acknowledge.n_ranges = lease->news.n;
    r.acknowledge.ranges = lease->news.items;
    ticket = driver_log(d, &r);
    if (lease->heartbeat_waits && !lease->heartbeat_sent) {
        lease->heartbeat_sent = true;
        lease->heartbeat_ticket = ticket;
    }
    lease->news.n = 0;
    stop_news(d, lease);
}

bool sessions_news(struct driver *d, struct lease *lease, const struct wire_news *news)
{
    const struct session *s = ledger_session(d->ledger, lease->id);

    for (size_t i = 0; i < news->n_resolved; i++)
        flights_resolved(d, lease, &news->resolved[i]);
    for (size_t i = 0; i < news->n_acknowledged; i++) {
        const struct range *r = &news->acknowledged[i];

        if (r->from > r->to || (s != NULL && covered(s->acknowledged, r)))
            continue;
        if (lease->news.n >= RANGE_LIMIT)
            log_news(d, lease);
        if (ranges_add(&lease->news, r->from, r->to) && !lease->in_news) {
            lease->in_news = true;
            DL_APPEND2(d->news, lease, news_prev, news_next);
            driver_lazily(d);
        }
    }
    return lease->in_news;
}

void sessions_flush(struct driver *d)
{
    while (d->news != NULL)
        log_news(d, d->news);
}

/* Requests */

struct lease *sessions_touch(struct driver *d, uint64_t session, uint64_t nonce)
{
    struct lease *lease = lease_find(d, session);

    if (lease == NULL || lease->nonce != nonce)
        return NULL;
    lease->heard_ms = d->now;
    return lease;
}

static void reply_session(struct driver *d, const struct reply_to *to, uint64_t session)
{
    struct wire_message m = {.type = WIRE_SESSION};

    m.session = (struct wire_session){.group = d->group, .session = session, .nodes = nodes_list(d)};
    driver_reply(d, to, &m);
}

static struct lease *lease_of_nonce(struct driver *d, uint64_t nonce)
{
    struct lease *lease, *next;

    HASH_ITER(hh, d->leases, lease, next)
    {
        if (lease->nonce == nonce)
            return lease;
    }
    return NULL;
}

static void propose_open(struct driver *d, const struct caller *caller, const struct reply_to *from,
                         const struct wire_open_session *m)
{
    struct opening *o = driver_alloc(1, sizeof *o);
    struct record r = {.type = RECORD_OPEN_SESSION};

    r.open_session.nonce = m->nonce;
    r.open_session.session_timeout_ms = m->session_timeout_ms;
    r.open_session.transaction_timeout_ms = m->transaction_timeout_ms;
    r.open_session.name = m->name;
    if (caller->key != NULL) {
        memcpy(r.open_session.owner, caller->key, KEY_SIZE);
        memcpy(o->key, caller->key, KEY_SIZE);
        o->owner = owner_get(d, caller->key);
        o->owner->n++;
    }
    o->nonce = m->nonce;
    o->to = *from;
    o->ticket = driver_log(d, &r);
    HASH_ADD(hh, d->openings, nonce, sizeof o->nonce, o);
}

static void opening_free(struct driver *d, struct opening *o)
{
    owner_leave(d, o->owner);
    HASH_DEL(d->openings, o);
    free(o);
}

/* Why no other session may be opened, told to who asked; false: one may. */
static bool no_room(struct driver *d, const struct caller *caller, const struct reply_to *from)
{
    const struct owner *o = NULL;
    char name[NAME_LIMIT + 1];

    if (HASH_COUNT(d->leases) + HASH_COUNT(d->openings) >= d->options.max_sessions) {
        driver_reply_error(d, from, TX_EBUSY, "%zu sessions are open, and that is the limit",
                           d->options.max_sessions);
        return true;
    }
    if (caller->key != NULL) {
        name_key(d, caller->key, name);
        HASH_FIND_STR(d->owners, name, o);
    }
    if (o == NULL || o->n < d->options.max_sessions_per_key)
        return false;
    driver_reply_error(d, from, TX_EBUSY, "%zu sessions of client %s are open, and that is the limit for one",
                       d->options.max_sessions_per_key, o->name);
    return true;
}

/* The nonce is that of a session, or of one being opened, which is not the caller's. */
static bool is_anothers(const struct driver *d, const struct caller *caller, const struct lease *lease,
                        const struct opening *o)
{
    const struct session *s = lease == NULL ? NULL : ledger_session(d->ledger, lease->id);

    if (caller->key == NULL)
        return false;
    return s != NULL ? !access_owns(d->ledger, caller, s) : o != NULL && !key_equal(o->key, caller->key);
}

static void reply_anothers(struct driver *d, const struct reply_to *to)
{
    driver_reply_error(d, to, TX_EDENIED,
                       "no session is opened: its nonce is another's, or the key is revoked");
}

void sessions_open(struct driver *d, const struct caller *caller, const struct reply_to *from,
                   const struct wire_open_session *m)
{
    struct lease *lease = lease_of_nonce(d, m->nonce);
    struct opening *o;

    HASH_FIND(hh, d->openings, &m->nonce, sizeof m->nonce, o);
    if (is_anothers(d, caller, lease, o)) {
        reply_anothers(d, from);
    } else if (lease != NULL) {
        lease->heard_ms = d->now;
        reply_session(d, from, lease->id);
    } else if (o != NULL) {
        o->to = *from; /* the answer to the first request will be this one's */
    } else if (m->session_timeout_ms == 0 || m->transaction_timeout_ms == 0) {
        driver_reply_error(d, from, TX_EINVAL, "a session's timeouts must not be 0");
    } else if (!no_room(d, caller, from)) {
        propose_open(d, caller, from, m);
    }
}

static void reply_not_open(struct driver *d, const struct reply_to *to, uint64_t session)
{
    driver_reply_error(d, to, TX_ESESSION, "session %llu has expired or is not known",
                       (unsigned long long)session);
}

static void stop_heartbeat(struct driver *d, struct lease *lease)
{
    if (lease->heartbeat_waits)
        DL_DELETE2(d->heartbeats, lease, beat_prev, beat_next);
    lease->heartbeat_waits = lease->heartbeat_sent = false;
}

/* Answered when what it tells is logged: the client then forgets it. */
void sessions_heartbeat(struct driver *d, const struct reply_to *from, const struct wire_heartbeat *m)
{
    struct lease *lease = sessions_touch(d, m->session, m->nonce);
    struct wire_message ok = {.type = WIRE_HEARTBEAT_OK, .heartbeat_ok = {nodes_list(d)}};

    if (lease == NULL) {
        reply_not_open(d, from, m->session);
        return;
    }
    if (!sessions_news(d, lease, &m->news)) {
        driver_reply(d, from, &ok);
        return;
    }
    if (!lease->heartbeat_waits)
        DL_APPEND2(d->heartbeats, lease, beat_prev, beat_next);
    lease->heartbeat_waits = true;
    lease->heartbeat_sent = false;
    lease->heartbeat = *from;
}

void sessions_close(struct driver *d, const struct reply_to *from, const struct wire_heartbeat *m)
{
    const struct session *s = ledger_session(d->ledger, m->session);
    struct lease *lease = sessions_touch(d, m->session, m->nonce);
    struct wire_message closed = {.type = WIRE_CLOSED};
    struct record r = {.type = RECORD_CLOSE_SESSION, .session = m->session};

    if (lease == NULL) {
        if (s != NULL && s->state == SESSION_OPEN)
            reply_not_open(d, from, m->session); /* another's */
        else
            driver_reply(d, from, &closed);
        return;
    }
    if (sessions_news(d, lease, &m->news))
        log_news(d, lease);
    lease->closer = *from;
    if (lease->closing)
        return;
    lease->closing = true;
    lease->ticket = driver_log(d, &r);
}

/* Applied records, and proposals that ended */

static bool begin_one(void *arg, const struct session *s)
{
    if (s->state == SESSION_OPEN)
        lease_add(arg, s);
    return true;
}

void sessions_begin(struct driver *d)
{
    ledger_each_session(d->ledger, begin_one, d);
}

void sessions_opened(struct driver *d, const struct record *r, uint64_t session)
{
    const struct session *s = ledger_session(d->ledger, session);
    struct opening *o;

    if (s != NULL && lease_find(d, session) == NULL)
        lease_add(d, s);
    HASH_FIND(hh, d->openings, &r->open_session.nonce, sizeof r->open_session.nonce, o);
    if (o == NULL)
        return;
    crash_point(CRASH_COORD_SESSION_OPENED);
    if (session != 0)
        reply_session(d, &o->to, session);
    else
        reply_anothers(d, &o->to);
    opening_free(d, o);
}

static void lease_free(struct driver *d, struct lease *lease)
{
    stop_news(d, lease);
    stop_heartbeat(d, lease);
    ranges_release(&lease->news);
    owner_leave(d, lease->owner);
    HASH_DEL(d->leases, lease);
    free(lease);
}

bool sessions_ending(const struct driver *d, uint64_t session)
{
    const struct lease *lease = lease_find(d, session);

    return lease != NULL && (lease->expiring || lease->closing);
}

void sessions_ended(struct driver *d, uint64_t session)
{
    struct lease *lease = lease_find(d, session);
    struct wire_message closed = {.type = WIRE_CLOSED};

    if (lease == NULL)
        return;
    flights_session_over(d, lease);
    if (lease->closing)
        driver_reply(d, &lease->closer, &closed);
    if (lease->heartbeat_waits)
        reply_not_open(d, &lease->heartbeat, session);
    lease_free(d, lease);
}

void sessions_revoked(struct driver *d)
{
    struct lease *lease, *next;

    HASH_ITER(hh, d->leases, lease, next)
    {
        const struct session *s = ledger_session(d->ledger, lease->id);

        if (s == NULL || s->state != SESSION_OPEN)
            sessions_ended(d, lease->id);
    }
}

void sessions_proposed(struct driver *d, uint64_t ticket)
{
    struct wire_message ok = {.type = WIRE_HEARTBEAT_OK, .heartbeat_ok = {nodes_list(d)}};
    struct lease *lease, *next;

    DL_FOREACH_SAFE2(d->heartbeats, lease, next, beat_next)
    {
        if (!lease->heartbeat_sent || lease->heartbeat_ticket != ticket)
            continue;
        driver_reply(d, &lease->heartbeat, &ok);
        stop_heartbeat(d, lease);
    }
}

/* Whoever asked asks again; what was told is told again with it. */
void sessions_lost(struct driver *d, uint64_t ticket)
{
    struct lease *lease, *next;
    struct opening *o, *next_opening;

    HASH_ITER(hh, d->leases, lease, next)
    {
        if (lease->closing && lease->ticket == ticket)
            driver_reply_unknown(d, &lease->closer);
        if ((lease->closing || lease->expiring) && lease->ticket == ticket)
            lease->closing = lease->expiring = false;
        if (lease->heartbeat_sent && lease->heartbeat_ticket == ticket) {
            driver_reply_unknown(d, &lease->heartbeat);
            stop_heartbeat(d, lease);
        }
    }
    HASH_ITER(hh, d->openings, o, next_opening)
    {
        if (o->ticket != ticket)
            continue;
        driver_reply_unknown(d, &o->to);
        opening_free(d, o);
    }
}

/* Time */

/* Those whose time is over; and the oldest that left nothing behind, where more have ended than may be open: a
 * client that dies and comes back all day must not fill the ledger. */
static bool drop_one(void *arg, const struct session *s)
{
    struct driver *d = arg;
    struct record r = {.type = RECORD_DROP_SESSION, .session = s->id};
    uint64_t wall = driver_wall(d);

    bool old = wall > s->ended_ms && wall - s->ended_ms > d->options.retention_ms;
    bool spare = d->ended_too_many > 0 && s->n_decisions == 0;

    if (s->state == SESSION_OPEN || s->retention_over || !(old || spare))
        return true;
    if (d->ended_too_many > 0)
        d->ended_too_many--;
    (void)driver_log(d, &r);
    return true;
}

static void look_at_ended(struct driver *d)
{
    struct ledger_counts c;

    ledger_count(d->ledger, &c);
    d->ended_too_many = c.sessions - c.open_sessions;
    d->ended_too_many -=
        d->ended_too_many < d->options.max_sessions ? d->ended_too_many : d->options.max_sessions;
    ledger_each_session(d->ledger, drop_one, d);
}

/* This process stood still, and what it has not heard says nothing about its clients. */
void sessions_refresh(struct driver *d)
{
    struct lease *lease, *next;

    HASH_ITER(hh, d->leases, lease, next)
    {
        lease->heard_ms = d->now;
    }
}

void sessions_tick(struct driver *d)
{
    struct lease *lease, *next;

    HASH_ITER(hh, d->leases, lease, next)
    {
        struct record r = {.type = RECORD_EXPIRE_SESSION, .session = lease->id};

        if (lease->expiring || lease->closing || d->now - lease->heard_ms <= lease->timeout_ms)
            continue;
        crash_point(CRASH_COORD_BEFORE_EXPIRE);
        lease->expiring = true;
        lease->ticket = driver_log(d, &r);
    }
    if (d->now - d->retention_looked >= RETENTION_LOOK_MS) {
        d->retention_looked = d->now;
        look_at_ended(d);
    }
}

void sessions_clear(struct driver *d, bool tell)
{
    static const char *const why = "this coordinator has lost the lead";
    struct lease *lease, *next;
    struct opening *o, *next_opening;

    HASH_ITER(hh, d->leases, lease, next)
    {
        if (tell && lease->closing)
            driver_reply_error(d, &lease->closer, TX_ENOTLEADER, "%s", why);
        if (tell && lease->heartbeat_waits)
            driver_reply_error(d, &lease->heartbeat, TX_ENOTLEADER, "%s", why);
        lease_free(d, lease);
    }
    HASH_ITER(hh, d->openings, o, next_opening)
    {
        if (tell)
            driver_reply_error(d, &o->to, TX_ENOTLEADER, "%s", why);
        opening_free(d, o);
    }
}
