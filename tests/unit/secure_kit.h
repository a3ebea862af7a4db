/* secure_kit: both ends of secure.h in one process, and what is between them in the test's hands. Included by
 * one file of a program.
 */
#ifndef ASSENT_TESTS_SECURE_KIT_H
#define ASSENT_TESTS_SECURE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <string.h>

#include "libtx/shared/secure_inside.h"

enum { ROOM = 1024, REQUEST = 7 };

struct message {
    uint8_t bytes[ROOM];
    size_t len;
};

struct both {
    struct identity server_identity, caller_identity;
    struct secure_server *server;
    struct secure_caller caller;
    bool server_believes, caller_believes;
    bool silent; /* who is refused is not told */
    unsigned refused;
    uint64_t now_ms;
};

static inline bool server_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct both *b = ctx;

    return b->server_believes && key_equal(key, b->caller_identity.public_key);
}

static inline bool caller_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct both *b = ctx;

    return b->caller_believes && key_equal(key, b->server_identity.public_key);
}

static inline bool on_refused(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct both *b = ctx;

    assert_true(key_equal(key, b->caller_identity.public_key));
    b->refused++;
    return !b->silent;
}

static inline void both_limited(struct both *b, const struct secure_limits *limits)
{
    *b = (struct both){.server_believes = true, .caller_believes = true, .now_ms = 1000};
    assert_true(sodium_init() >= 0);
    identity_generate(&b->server_identity);
    identity_generate(&b->caller_identity);
    b->server = secure_server_new(&b->server_identity, limits, server_accept, on_refused, b);
    assert_non_null(b->server);
    secure_caller_init(&b->caller, &b->caller_identity, caller_accept, b);
}

static inline void both_open(struct both *b)
{
    both_limited(b, &(struct secure_limits){0});
}

static inline void both_close(struct both *b)
{
    secure_server_free(b->server);
    secure_caller_wipe(&b->caller);
}

static inline enum secure_event to_server(struct both *b, struct message *m, struct secure_result *r)
{
    return secure_server_take(b->server, b->now_ms, 1, REQUEST, m->bytes, m->len, r);
}

static inline enum secure_event to_caller(struct both *b, struct message *m, struct secure_result *r)
{
    return secure_caller_take(&b->caller, REQUEST, m->bytes, m->len, r);
}

static inline void take_out(struct message *m, const struct secure_result *r)
{
    memcpy(m->bytes, r->out, r->out_len);
    m->len = r->out_len;
}

/* The four messages of a handshake, none of them delivered to its end but those before it. */
struct handshake {
    struct message hello, welcome, auth, ready;
};

static inline void copy_of(struct message *to, const struct message *from)
{
    *to = *from;
}

static inline void shake(struct both *b, struct handshake *h)
{
    struct secure_result r;
    struct message m;

    h->hello.len = secure_caller_hello(&b->caller, h->hello.bytes);
    copy_of(&m, &h->hello);
    assert_int_equal(to_server(b, &m, &r), SECURE_ANSWER);
    take_out(&h->welcome, &r);
    copy_of(&m, &h->welcome);
    assert_int_equal(to_caller(b, &m, &r), SECURE_ANSWER);
    take_out(&h->auth, &r);
    copy_of(&m, &h->auth);
    assert_int_equal(to_server(b, &m, &r), SECURE_ANSWER);
    take_out(&h->ready, &r);
}

static inline void meet(struct both *b)
{
    struct secure_result r;
    struct handshake h;

    shake(b, &h);
    assert_int_equal(to_caller(b, &h.ready, &r), SECURE_OPENED);
    assert_true(key_equal(b->caller.peer, b->server_identity.public_key));
}

static inline void ask(struct both *b, const char *text, struct message *m)
{
    m->len = secure_caller_seal(&b->caller, REQUEST, text, strlen(text), m->bytes);
    assert_int_equal(m->len, strlen(text) + SECURE_OVERHEAD);
}

static inline void assert_content(const struct secure_result *r, const char *text)
{
    assert_int_equal(r->len, strlen(text));
    assert_memory_equal(r->data, text, r->len);
}

/* Another session, with the same key. */
static inline void meet_anew(struct both *b)
{
    secure_caller_init(&b->caller, &b->caller_identity, caller_accept, b);
    meet(b);
}

static inline size_t sessions_of(const struct both *b)
{
    struct secure_counts counts;

    secure_server_count(b->server, &counts);
    return counts.sessions;
}

#endif
