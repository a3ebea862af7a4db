/* secure_server: the server's end of all lines: handshakes that are under way, and sessions. See secure.h.
 *
 * Whoever has not proved who he is costs a place in a ring of fixed size, which the next ones take from him,
 * and as much work as the limits of handshakes allow.
 */
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#include "libtx/shared/secure_inside.h"

enum {
    IDLE_MS = 2 * 3600000, /* of a session, until it ends; callers begin another every hour */
    PENDING = 4096,        /* handshakes begun and not ended */
    CONNECTIONS = 1024,    /* counters of handshakes; connections may share one */
    FIRST_SESSIONS = 64,
    DEFAULT_HANDSHAKES = 1000,
    DEFAULT_OF_ONE = 20,
    DEFAULT_SESSIONS = 20000,
    DEFAULT_PER_KEY = 1000,
};

struct pending {
    uint64_t id;                        /* 0: free */
    uint8_t public_key[32], caller[32]; /* both ephemeral keys */
    uint8_t rx[32], tx[32];             /* what they have agreed upon */
};

/* One whose key is believed. */
struct holder {
    uint8_t key[KEY_SIZE];
    struct session *sessions; /* the one that was silent for longest first */
    size_t n;
    UT_hash_handle hh;
};

struct session {
    struct secure_link link; /* id 0: free */
    struct holder *holder;
    uint64_t heard_ms;
    struct session *prev, *next;           /* server.sessions */
    struct session *mate_prev, *mate_next; /* holder.sessions */
};

struct counter {
    uint64_t second;
    unsigned n;
};

struct secure_server {
    const struct identity *self;
    struct secure_limits limits;
    bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]);
    bool (*refused)(void *ctx, const uint8_t key[KEY_SIZE]);
    void *ctx;
    struct pending pending[PENDING];
    size_t next_pending;
    struct counter all, of_one[CONNECTIONS];
    struct session **slots;
    size_t n_slots, free_hint;
    struct session *sessions; /* the one that was silent for longest first */
    size_t n_sessions;
    struct holder *holders;
    struct secure_counts counts;
};

static unsigned limit_or(unsigned given, unsigned otherwise)
{
    return given != 0 ? given : otherwise;
}

struct secure_server *secure_server_new(const struct identity *self, const struct secure_limits *limits,
                                        bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]),
                                        bool (*refused)(void *ctx, const uint8_t key[KEY_SIZE]), void *ctx)
{
    struct secure_server *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->self = self;
    s->limits = (struct secure_limits){.handshakes = limit_or(limits->handshakes, DEFAULT_HANDSHAKES),
                                       .of_one = limit_or(limits->of_one, DEFAULT_OF_ONE),
                                       .sessions = limit_or(limits->sessions, DEFAULT_SESSIONS),
                                       .per_key = limit_or(limits->per_key, DEFAULT_PER_KEY)};
    s->accept = accept;
    s->refused = refused;
    s->ctx = ctx;
    return s;
}

/* Sessions. An id is a random number above the slot's, so that nobody's is another's after a restart. */

static void session_end(struct secure_server *s, struct session *n)
{
    struct holder *h = n->holder;

    DL_DELETE(s->sessions, n);
    DL_DELETE2(h->sessions, n, mate_prev, mate_next);
    s->n_sessions--;
    s->free_hint = (uint32_t)n->link.id - 1;
    s->slots[s->free_hint] = NULL;
    sodium_memzero(n, sizeof *n);
    free(n);
    if (--h->n > 0)
        return;
    HASH_DEL(s->holders, h);
    free(h);
}

static struct session *session_find(const struct secure_server *s, uint64_t id)
{
    uint32_t slot = (uint32_t)id - 1;
    struct session *n = slot < s->n_slots ? s->slots[slot] : NULL;

    return n != NULL && n->link.id == id ? n : NULL;
}

/* What was recorded can be read with keys that are still there: those of callers that are gone go. */
static void sessions_age(struct secure_server *s, uint64_t now_ms)
{
    while (s->sessions != NULL && now_ms - s->sessions->heard_ms >= IDLE_MS)
        session_end(s, s->sessions);
}

static void session_touch(struct secure_server *s, struct session *n, uint64_t now_ms)
{
    n->heard_ms = now_ms;
    if (n->next != NULL) {
        DL_DELETE(s->sessions, n);
        DL_APPEND(s->sessions, n);
    }
    if (n->mate_next != NULL) {
        DL_DELETE2(n->holder->sessions, n, mate_prev, mate_next);
        DL_APPEND2(n->holder->sessions, n, mate_prev, mate_next);
    }
}

/* n_slots where there is none, and no memory for more. */
static size_t slot_find(struct secure_server *s)
{
    size_t n = s->n_slots == 0 ? FIRST_SESSIONS : s->n_slots * 2;
    struct session **more;

    for (size_t i = 0; s->n_sessions < s->n_slots && i < s->n_slots; i++) {
        size_t at = (s->free_hint + i) % s->n_slots;

        if (s->slots[at] == NULL)
            return at;
    }
    more = realloc(s->slots, n * sizeof(struct session *));
    if (more == NULL)
        return s->n_slots;
    memset(more + s->n_slots, 0, (n - s->n_slots) * sizeof(struct session *));
    s->slots = more;
    s->free_hint = s->n_slots;
    s->n_slots = n;
    return s->free_hint;
}

static struct holder *holder_get(struct secure_server *s, const uint8_t key[KEY_SIZE])
{
    struct holder *h;

    HASH_FIND(hh, s->holders, key, KEY_SIZE, h);
    if (h != NULL)
        return h;
    h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    memcpy(h->key, key, KEY_SIZE);
    HASH_ADD(hh, s->holders, key, KEY_SIZE, h);
    return h;
}

static struct session *session_add(struct secure_server *s, struct holder *h)
{
    struct session *n = calloc(1, sizeof *n);
    size_t slot = n != NULL ? slot_find(s) : s->n_slots;

    if (slot == s->n_slots) {
        free(n);
        return NULL;
    }
    n->holder = h;
    n->link.id = (uint64_t)randombytes_random() << 32 | (slot + 1);
    s->slots[slot] = n;
    s->n_sessions++;
    h->n++;
    DL_APPEND(s->sessions, n);
    DL_APPEND2(h->sessions, n, mate_prev, mate_next);
    return n;
}

/* The one silent for longest, of its key or of all, makes room. NULL: out of memory. */
static struct session *session_new(struct secure_server *s, const uint8_t key[KEY_SIZE])
{
    struct holder *h;
    struct session *n;

    HASH_FIND(hh, s->holders, key, KEY_SIZE, h);
    if (h != NULL && h->n >= s->limits.per_key)
        session_end(s, h->sessions);
    else if (s->n_sessions >= s->limits.sessions)
        session_end(s, s->sessions);
    h = holder_get(s, key);
    n = h != NULL ? session_add(s, h) : NULL;
    if (n == NULL && h != NULL && h->n == 0) {
        HASH_DEL(s->holders, h);
        free(h);
    }
    return n;
}

void secure_server_drop(struct secure_server *s, const uint8_t key[KEY_SIZE])
{
    struct holder *h;

    HASH_FIND(hh, s->holders, key, KEY_SIZE, h);
    for (size_t n = h != NULL ? h->n : 0; n > 0; n--)
        session_end(s, h->sessions);
}

void secure_server_free(struct secure_server *s)
{
    if (s == NULL)
        return;
    while (s->sessions != NULL)
        session_end(s, s->sessions);
    free(s->slots);
    sodium_memzero(s, sizeof *s);
    free(s);
}

void secure_server_count(const struct secure_server *s, struct secure_counts *out)
{
    *out = s->counts;
    out->sessions = s->n_sessions;
}

/* The handshake */

static bool count_one(struct counter *c, uint64_t second, unsigned limit)
{
    if (c->second != second)
        *c = (struct counter){.second = second};
    if (c->n >= limit)
        return false;
    c->n++;
    return true;
}

/* Half of what all may begin is kept for those who have begun none in this second, so that a few who begin as
 * many as they may do not shut out everybody else. */
static bool may_begin(struct secure_server *s, uint64_t now_ms, uint32_t connection)
{
    uint64_t second = now_ms / 1000 + 1;
    struct counter *one = &s->of_one[connection * 2654435761U >> 16 & (CONNECTIONS - 1)];

    if (count_one(one, second, s->limits.of_one) &&
        count_one(&s->all, second, one->n == 1 ? s->limits.handshakes : s->limits.handshakes / 2))
        return true;
    s->counts.limited++;
    return false;
}

/* The keys are agreed upon here, once: what comes under this handshake and is forged costs next to nothing.
 * NULL: the caller's is none.
 */
static struct pending *pending_new(struct secure_server *s, const uint8_t *caller)
{
    size_t at = s->next_pending++ % PENDING;
    struct pending *p = &s->pending[at];
    uint8_t secret_key[crypto_kx_SECRETKEYBYTES];
    int rc;

    crypto_kx_keypair(p->public_key, secret_key);
    memcpy(p->caller, caller, EPHEMERAL);
    rc = crypto_kx_server_session_keys(p->rx, p->tx, p->public_key, secret_key, p->caller);
    p->id = rc == 0 ? (uint64_t)randombytes_random() << 32 | (at + 1) : 0;
    sodium_memzero(secret_key, sizeof secret_key);
    return rc == 0 ? p : NULL;
}

static struct pending *pending_find(struct secure_server *s, uint64_t id)
{
    uint32_t at = (uint32_t)id - 1;

    return at < PENDING && s->pending[at].id == id ? &s->pending[at] : NULL;
}

static enum secure_event take_hello(struct secure_server *s, const uint8_t *message, struct secure_result *r)
{
    struct pending *p = pending_new(s, message + HEAD);
    struct secure_parties parties = {.server_key = s->self->public_key};
    uint8_t secret[WELCOME_SECRET];

    s->counts.handshakes++;
    if (p == NULL)
        return SECURE_NOTHING;
    parties.caller_ephemeral = p->caller;
    parties.server_ephemeral = p->public_key;
    memcpy(secret, s->self->public_key, KEY_SIZE);
    secure_sign(secret + KEY_SIZE, &parties, s->self);
    secure_head(r->out, SECURE_KIND_WELCOME);
    secure_put_u64(r->out + HEAD, p->id);
    memcpy(r->out + HEAD + 8, p->public_key, EPHEMERAL);
    secure_wrap(r->out, WELCOME_CLEAR, secret, WELCOME_SECRET, p->tx);
    r->out_len = WELCOME_BYTES;
    return SECURE_ANSWER;
}

/* The session that the caller names is his own, or it stays. */
static void session_replace(struct secure_server *s, const uint8_t key[KEY_SIZE], uint64_t id)
{
    struct session *n = session_find(s, id);

    if (n != NULL && key_equal(n->holder->key, key))
        session_end(s, n);
}

static void ready(struct secure_result *r, uint64_t session, const uint8_t tx[32])
{
    uint8_t secret[READY_SECRET];

    secret[0] = session != 0;
    secure_put_u64(secret + 1, session);
    secure_head(r->out, SECURE_KIND_READY);
    secure_wrap(r->out, HEAD, secret, READY_SECRET, tx);
    r->out_len = READY_BYTES;
}

/* Who has proved to have a key. */
static enum secure_event admit(struct secure_server *s, uint64_t now_ms, const uint8_t secret[AUTH_SECRET],
                               const uint8_t rx[32], const uint8_t tx[32], struct secure_result *r)
{
    struct session *n;

    if (!s->accept(s->ctx, secret)) {
        s->counts.refused++;
        if (s->refused != NULL && !s->refused(s->ctx, secret))
            return SECURE_NOTHING;
        ready(r, 0, tx);
        return SECURE_ANSWER;
    }
    session_replace(s, secret, secure_get_u64(secret + KEY_SIZE + SIGNATURE));
    n = session_new(s, secret);
    if (n == NULL)
        return SECURE_NOTHING;
    s->counts.opened++;
    n->heard_ms = now_ms;
    secure_link_begin(&n->link, n->link.id, rx, tx);
    ready(r, n->link.id, tx);
    return SECURE_ANSWER;
}

/* Once: the handshake is used up by whoever has the keys. */
static enum secure_event take_auth(struct secure_server *s, uint64_t now_ms, const uint8_t *message,
                                   struct secure_result *r)
{
    struct pending *p = pending_find(s, secure_get_u64(message + HEAD)), was;
    uint8_t secret[AUTH_SECRET];
    const struct secure_parties parties = {.caller_ephemeral = was.caller,
                                           .server_ephemeral = was.public_key,
                                           .server_key = s->self->public_key,
                                           .caller_key = secret};
    enum secure_event event = SECURE_NOTHING;

    if (p == NULL)
        return SECURE_NOTHING;
    was = *p;
    if (secure_unwrap(message, AUTH_CLEAR, secret, AUTH_SECRET, was.rx)) {
        sodium_memzero(p, sizeof *p);
        if (secure_verify(secret + KEY_SIZE, &parties))
            event = admit(s, now_ms, secret, was.rx, was.tx, r);
    }
    if (event == SECURE_NOTHING)
        s->counts.forged++;
    sodium_memzero(&was, sizeof was);
    return event;
}

/* Data */

static enum secure_event reset(uint64_t id, struct secure_result *r)
{
    secure_head(r->out, SECURE_KIND_RESET);
    secure_put_u64(r->out + HEAD, id);
    r->out_len = RESET_BYTES;
    return SECURE_ANSWER;
}

static enum secure_event take_data(struct secure_server *s, uint64_t now_ms, uint32_t request, uint8_t *message,
                                   size_t len, struct secure_result *r)
{
    uint64_t id = secure_get_u64(message + HEAD);
    struct session *n = session_find(s, id);

    if (n == NULL)
        return reset(id, r);
    switch (secure_link_open(&n->link, request, message, len, &r->len)) {
    case SECURE_DOUBLE:
        s->counts.replayed++;
        return SECURE_NOTHING;
    case SECURE_FORGED:
        s->counts.forged++;
        return SECURE_NOTHING;
    case SECURE_GENUINE:
        break;
    }
    session_touch(s, n, now_ms);
    r->data = message + DATA_CLEAR;
    r->session = id;
    r->key = n->holder->key;
    return SECURE_DATA;
}

enum secure_event secure_server_take(struct secure_server *s, uint64_t now_ms, uint32_t connection,
                                     uint32_t request, uint8_t *message, size_t len, struct secure_result *r)
{
    sessions_age(s, now_ms);
    switch (secure_kind_of(message, len)) {
    case SECURE_KIND_HELLO:
        if (len != HELLO_BYTES || !may_begin(s, now_ms, connection))
            return SECURE_NOTHING;
        return take_hello(s, message, r);
    case SECURE_KIND_AUTH:
        return len == AUTH_BYTES ? take_auth(s, now_ms, message, r) : SECURE_NOTHING;
    case SECURE_KIND_DATA:
        return len >= SECURE_OVERHEAD ? take_data(s, now_ms, request, message, len, r) : SECURE_NOTHING;
    default:
        return SECURE_NOTHING;
    }
}

size_t secure_server_seal(struct secure_server *s, uint64_t session, uint32_t request, const void *data,
                          size_t len, uint8_t *out)
{
    struct session *n = session_find(s, session);

    return n != NULL ? secure_link_seal(&n->link, request, data, len, out) : 0;
}
