/* fuzz_secure: handshakes and encrypted messages (secure.h), with everything between the ends in the input's
 * hands.
 *
 * Two callers are believed, a third one is not, and a fourth one shows the key of the first, whose secret he
 * does not have; one server is believed, a second one is not, and a third one shows the key of the first.
 * Whatever an end makes goes into a pool; the input is a list of steps, which say what is made, and what of the
 * pool is delivered where: twice, late, with bits turned over, cut, spliced with another, or made up. Checked:
 * content that is delivered was sent, by the one whose key is named, in this direction and session, under this
 * number, and not delivered before; who is believed has the key, and has said so to this server in a handshake
 * of its own; and in the end the callers still get through.
 */
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/secure_inside.h"
#include "tests/fuzz/targets.h"

enum { CALLERS = 4, STRANGER = 2, FALSE_CALLER = 3 };
enum { SERVERS = 3, IMPOSTOR = 1, FALSE_SERVER = 2 };
enum { ROOM = 512, POOL = 64, STEPS = 48, SECRETS = 256, CONTENT = 16, REQUESTS = 4 };

struct message {
    uint8_t bytes[ROOM];
    size_t len;
};

/* What was sealed, and is delivered once at most. */
struct secret {
    bool to_server, delivered;
    unsigned caller;
    uint64_t session;
    uint32_t request;
};

struct world {
    struct identity callers[CALLERS], servers[SERVERS];
    struct secure_caller caller[CALLERS];
    struct secure_server *server[SERVERS];
    uint64_t now_ms;
    size_t n_pool; /* the newest POOL of all that were made are there */
    struct message pool[POOL];
    uint32_t n_secrets;
    struct secret secrets[SECRETS];
    unsigned vouched[SERVERS][CALLERS]; /* AUTH that this caller has made for this server */
    unsigned proved[SERVERS][CALLERS];  /* times that this server took it for proved */
    unsigned serving, calling;          /* at hand */
};

static struct world *w;

/* Whom the ends believe */

static unsigned caller_of(const uint8_t key[KEY_SIZE])
{
    unsigned i = 0;

    while (i < CALLERS && !key_equal(w->callers[i].public_key, key))
        i++;
    fuzz_check(i < CALLERS);
    return i;
}

static bool believed(unsigned caller)
{
    return caller != STRANGER && caller != FALSE_CALLER;
}

static bool server_accepts(void *ctx, const uint8_t key[KEY_SIZE])
{
    unsigned i = caller_of(key);

    (void)ctx;
    w->proved[w->serving][i]++;
    fuzz_check(w->proved[w->serving][i] <= w->vouched[w->serving][i]);
    return i != STRANGER;
}

static bool server_refuses(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    fuzz_check(caller_of(key) == STRANGER);
    return true;
}

static bool caller_accepts(void *ctx, const uint8_t key[KEY_SIZE])
{
    unsigned i = key_equal(key, w->servers[IMPOSTOR].public_key) ? IMPOSTOR : 0;

    (void)ctx;
    fuzz_check(key_equal(key, w->servers[i].public_key));
    if (i == IMPOSTOR)
        return false;
    w->vouched[i][w->calling]++;
    return true;
}

/* Made when it is needed first. */
static struct secure_server *server_at(unsigned i)
{
    const struct secure_limits limits = {.handshakes = 1000000, .of_one = 1000000, .sessions = 4, .per_key = 3};

    if (w->server[i] == NULL)
        w->server[i] = secure_server_new(&w->servers[i], &limits, server_accepts, server_refuses, NULL);
    fuzz_check(w->server[i] != NULL);
    return w->server[i];
}

/* The pool */

static struct message *pool_add(void)
{
    struct message *m = &w->pool[w->n_pool++ % POOL];

    m->len = 0;
    return m;
}

/* `back` messages before the newest. */
static struct message *pool_get(uint8_t back)
{
    size_t n = w->n_pool < POOL ? w->n_pool : POOL;

    return n == 0 ? NULL : &w->pool[(w->n_pool - 1 - back % n) % POOL];
}

/* Contents: the secret's number, and a pattern that it gives. */

static void content_make(uint8_t out[CONTENT], uint32_t number)
{
    for (unsigned i = 0; i < CONTENT; i++)
        out[i] = (uint8_t)(number >> (8 * (i % 2)) ^ i);
}

static struct secret *secret_new(bool to_server, unsigned caller, uint64_t session, uint32_t request)
{
    struct secret *s = &w->secrets[w->n_secrets];

    *s = (struct secret){to_server, false, caller, session, request};
    return s;
}

static const struct secret *secret_take(const struct secure_result *r, bool to_server, uint32_t request)
{
    uint8_t expected[CONTENT];
    uint32_t number;
    struct secret *s;

    fuzz_check(r->len == CONTENT);
    number = (uint32_t)(r->data[0] | (r->data[1] ^ 1) << 8);
    fuzz_check(number < w->n_secrets);
    content_make(expected, number);
    s = &w->secrets[number];
    fuzz_check(memcmp(r->data, expected, CONTENT) == 0);
    fuzz_check(s->to_server == to_server && s->request == request && !s->delivered);
    s->delivered = true;
    return s;
}

/* Steps */

static void step_hello(unsigned caller)
{
    struct message *m = pool_add();

    m->len = secure_caller_hello(&w->caller[caller], m->bytes);
}

static void step_ask(unsigned caller, uint32_t request)
{
    struct secure_caller *c = &w->caller[caller];
    uint8_t content[CONTENT];
    struct message *m;

    if (w->n_secrets == SECRETS || !c->open)
        return;
    m = pool_add();
    content_make(content, w->n_secrets);
    (void)secret_new(true, caller, c->link.id, request);
    m->len = secure_caller_seal(c, request, content, CONTENT, m->bytes);
    w->n_secrets++;
    fuzz_check(m->len == CONTENT + SECURE_OVERHEAD);
}

static void step_answer(unsigned caller, bool old, uint32_t request)
{
    const struct secure_caller *c = &w->caller[caller];
    uint64_t session = old ? c->old.id : c->link.id;
    uint8_t content[CONTENT];
    struct message *m;
    size_t n;

    if (w->n_secrets == SECRETS)
        return;
    m = pool_add();
    content_make(content, w->n_secrets);
    n = secure_server_seal(server_at(0), session, request, content, CONTENT, m->bytes);
    if (n == 0) {
        w->n_pool--;
        return;
    }
    m->len = n;
    (void)secret_new(false, caller, session, request);
    w->n_secrets++;
}

static void pool_answer(const struct secure_result *r)
{
    struct message *m = pool_add();

    fuzz_check(r->out_len > 0 && r->out_len <= SECURE_HANDSHAKE_MAX && r->out_len <= ROOM);
    memcpy(m->bytes, r->out, r->out_len);
    m->len = r->out_len;
}

static enum secure_event to_server(const struct message *from, unsigned server, uint32_t request)
{
    struct message m = *from;
    struct secure_result r = {0};
    const struct secret *s;
    enum secure_event event;

    w->serving = server;
    event = secure_server_take(server_at(server), w->now_ms, 1, request, m.bytes, m.len, &r);
    fuzz_check(event == SECURE_NOTHING || event == SECURE_ANSWER || event == SECURE_DATA);
    if (event == SECURE_ANSWER)
        pool_answer(&r);
    if (event == SECURE_DATA) {
        s = secret_take(&r, true, request);
        fuzz_check(server == 0 && s->session == r.session && caller_of(r.key) == s->caller);
        fuzz_check(believed(s->caller));
    }
    return event;
}

static enum secure_event to_caller(const struct message *from, unsigned caller, uint32_t request)
{
    struct secure_caller *c = &w->caller[caller];
    struct message m = *from;
    struct secure_result r = {0};
    const struct secret *s;
    enum secure_event event;

    w->calling = caller;
    event = secure_caller_take(c, request, m.bytes, m.len, &r);
    if (event == SECURE_ANSWER)
        pool_answer(&r);
    if (event == SECURE_DATA) {
        s = secret_take(&r, false, request);
        fuzz_check(s->caller == caller && (s->session == c->link.id || s->session == c->old.id));
    }
    if (event == SECURE_OPENED)
        fuzz_check(believed(caller) && c->open && key_equal(c->peer, w->servers[0].public_key));
    if (event == SECURE_REFUSED)
        fuzz_check(*c->why != '\0');
    return event;
}

/* A handshake as it should be; whatever came before cannot keep a caller from it. */
static void step_meet(unsigned caller, unsigned server)
{
    enum secure_event event;

    step_hello(caller);
    fuzz_check(to_server(pool_get(0), server, 0) == SECURE_ANSWER);
    event = to_caller(pool_get(0), caller, 0);
    fuzz_check(event == (server == 0 ? SECURE_ANSWER : SECURE_REFUSED));
    if (event != SECURE_ANSWER)
        return;
    event = to_server(pool_get(0), server, 0);
    fuzz_check(event == (caller == FALSE_CALLER ? SECURE_NOTHING : SECURE_ANSWER));
    if (event == SECURE_ANSWER)
        fuzz_check(to_caller(pool_get(0), caller, 0) == (believed(caller) ? SECURE_OPENED : SECURE_REFUSED));
}

static void step_flip(const struct message *from, uint16_t bit, uint8_t times)
{
    struct message *m = pool_add();

    *m = *from;
    for (unsigned i = 0; i <= times % 4U && m->len > 0; i++)
        m->bytes[(bit / 8U + i * 7U) % m->len] ^= (uint8_t)(1 << bit % 8);
}

/* The first bytes of one, the rest of the other. */
static void step_splice(const struct message *first, const struct message *second, uint8_t at)
{
    struct message *m = pool_add(), one = *first, other = *second;
    size_t n = at < one.len ? at : one.len;

    *m = other;
    memcpy(m->bytes, one.bytes, n);
    m->len = n > m->len ? n : m->len;
}

static void step_cut(const struct message *from, uint8_t len)
{
    struct message *m = pool_add();

    *m = *from;
    m->len = len < m->len ? len : (m->len + 1) % ROOM;
}

static void step_raw(struct cur *c, uint8_t kind)
{
    struct message *m = pool_add();
    size_t n = cur_u8(c);
    uint8_t *bytes = fuzz_bytes(c, &n);

    secure_head(m->bytes, (enum secure_kind)(kind % 8));
    memcpy(m->bytes + HEAD, bytes, n);
    m->len = HEAD + n;
    free(bytes);
}

/* An operation is a byte, who takes part in it another one, what else it needs follows. */
static void step_message(struct cur *c, uint8_t op, const struct message *m)
{
    uint8_t who = cur_u8(c);

    switch (op) {
    case 0:
        (void)to_server(m, who % SERVERS, who / SERVERS % REQUESTS);
        break;
    case 1:
        (void)to_caller(m, who % CALLERS, who / CALLERS % REQUESTS);
        break;
    case 2:
        step_flip(m, cur_u16(c), who);
        break;
    case 3:
        step_splice(m, pool_get(who), cur_u8(c));
        break;
    default:
        step_cut(m, who);
        break;
    }
}

static void step(struct cur *c)
{
    uint8_t op = cur_u8(c) % 12, who = cur_u8(c);
    const struct message *m = pool_get(who);

    if (op < 5 && m != NULL)
        step_message(c, op, m);
    else if (op < 6)
        step_hello(who % CALLERS);
    else if (op == 6)
        step_ask(who % CALLERS, who / CALLERS % REQUESTS);
    else if (op == 7)
        step_answer(who % CALLERS, who >= 128, who / CALLERS % REQUESTS);
    else if (op == 8)
        step_meet(who % CALLERS, who / CALLERS % SERVERS);
    else if (op == 9)
        step_raw(c, who);
    else if (op == 10)
        secure_server_drop(server_at(0), w->callers[who % CALLERS].public_key);
    else
        w->now_ms += who;
}

static void begin(void)
{
    w = calloc(1, sizeof *w);
    fuzz_check(w != NULL);
    fuzz_random_begin(1);
    w->now_ms = 1000;
    for (unsigned i = 0; i < SERVERS; i++)
        identity_generate(&w->servers[i]);
    memcpy(w->servers[FALSE_SERVER].public_key, w->servers[0].public_key, KEY_SIZE);
    for (unsigned i = 0; i < CALLERS; i++) {
        identity_generate(&w->callers[i]);
        secure_caller_init(&w->caller[i], &w->callers[i], caller_accepts, NULL);
    }
    memcpy(w->callers[FALSE_CALLER].public_key, w->callers[0].public_key, KEY_SIZE);
}

static void end(void)
{
    struct secure_counts counts;

    for (unsigned i = 0; i < CALLERS; i++)
        secure_caller_wipe(&w->caller[i]);
    for (unsigned i = 0; i < SERVERS; i++) {
        if (w->server[i] == NULL)
            continue;
        secure_server_count(w->server[i], &counts);
        fuzz_check(counts.sessions <= 4);
        secure_server_free(w->server[i]);
    }
    free(w);
}

void fuzz_secure_run(const uint8_t *data, size_t len)
{
    struct cur c;

    begin();
    cur_init(&c, data, len);
    for (unsigned i = 0; i < STEPS && c.p < c.end; i++)
        step(&c);
    step_meet(0, 0);
    w->n_secrets = w->n_secrets < SECRETS - 2 ? w->n_secrets : SECRETS - 2;
    step_ask(0, 1);
    fuzz_check(to_server(pool_get(0), 0, 1) == SECURE_DATA);
    step_answer(0, false, 1);
    fuzz_check(to_caller(pool_get(0), 0, 1) == SECURE_DATA);
    end();
}

void fuzz_secure_seed(struct fuzz_sink *to)
{
    /* hello, deliver by hand */
    static const uint8_t by_hand[] = {5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 6, 4, 0, 0, 3};
    /* two callers meet; each asks; doubled, to the wrong one, with another number, turned over, spliced */
    static const uint8_t two[] = {8, 0, 8, 1, 6, 0, 6, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 3,
                                  2, 0, 0, 9, 0, 0, 0, 0, 3, 1, 2, 4, 0, 0, 0, 7, 0, 1, 0, 1, 1, 0, 0};
    /* each caller meets each server */
    static const uint8_t all[] = {8, 0, 8, 1, 8, 2, 8,  3, 8,  4, 8, 5, 8, 6, 8,
                                  7, 8, 8, 8, 9, 8, 10, 8, 11, 6, 0, 0, 0, 0};
    /* the impostor, the stranger, a dropped key, bytes made up, cut ones */
    static const uint8_t others[] = {8, 4, 8, 2, 8, 0, 10, 0, 6, 0,  0, 0, 0, 1,  0,   0, 9, 5,
                                     3, 1, 2, 3, 0, 0, 0,  4, 1, 20, 0, 0, 0, 11, 200, 8, 5};

    fuzz_put(to, by_hand, sizeof by_hand);
    fuzz_put(to, two, sizeof two);
    fuzz_put(to, others, sizeof others);
    fuzz_put(to, all, sizeof all);
}
