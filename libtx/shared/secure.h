/* secure: authenticated and encrypted messages. Pure: no I/O, no clock; channel.c carries what it makes.
 *
 * Handshake, after SIGMA-I (Krawczyk, «SIGMA: the ‹SIGn-and-MAc› approach to authenticated Diffie-Hellman»,
 * CRYPTO 2003), of libsodium's documented constructions: crypto_kx (X25519, BLAKE2b), crypto_sign (Ed25519),
 * crypto_aead_xchacha20poly1305_ietf, crypto_kdf.
 *
 *     caller                                            server
 *     HELLO    caller's ephemeral key            ──▶
 *                                                ◀──   WELCOME  server's ephemeral key, handshake;
 *                                                               encrypted: server's key, its signature
 *     AUTH     handshake;                        ──▶
 *              encrypted: caller's key, its signature, session that this one replaces
 *                                                ◀──   READY    encrypted: session, or why not
 *     DATA     session, number; encrypted        ◀─▶   DATA
 *                                                ◀──   RESET    session: not known here (any more)
 *
 * Signatures cover both ephemeral keys, the signer's role and the server's key (the caller's both). Every
 * handshake has keys of its own, each direction another; what was recorded cannot be read with the long-term
 * keys. A handshake can be answered once.
 *
 * DATA is numbered in each direction; a window of SECURE_WINDOW numbers (as RFC 6479) takes each number once,
 * and nothing that is older. Its header, and the number of the request that it belongs to, are authenticated
 * with it: an answer cannot be put under another question.
 *
 * RESET and HELLO are in clear text and can be forged by whoever can drop messages, too: they cost a handshake.
 *
 * First bytes of a message: 'S', version, kind, 0.
 */
#ifndef ASSENT_SECURE_H
#define ASSENT_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"

enum {
    SECURE_OVERHEAD = 36,       /* bytes of DATA beside its content */
    SECURE_HANDSHAKE_MAX = 512, /* bytes of any other message */
    SECURE_WINDOW = 1024,
};

/* What became of a message that came. */
enum secure_event {
    SECURE_NOTHING, /* malformed, forged, a double, or none of this end's business: dropped */
    SECURE_ANSWER,  /* `out` is to be sent back */
    SECURE_OPENED,  /* caller: the session is there */
    SECURE_DATA,    /* content */
    SECURE_CLOSED,  /* caller: the session is not known at the other end any more */
    SECURE_REFUSED, /* caller: the other end is not believed, or refuses; why is told */
};

/* Numbers seen; zeroed is empty. */
struct secure_window {
    uint64_t top, bits[SECURE_WINDOW / 64 + 1];
};

/* A session, at either end. */
struct secure_link {
    uint64_t id, sent;
    uint8_t rx[32], tx[32];
    struct secure_window seen;
};

/* The caller's end of one line */

struct secure_caller {
    const struct identity *self; /* borrowed */
    bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]);
    void *ctx;
    bool greeting, authenticating; /* under way: HELLO, then AUTH is sent */
    bool open;
    bool has_old; /* answers to what was sent in the session before */
    struct secure_link link, old;
    uint8_t public_key[32], secret_key[32]; /* of the handshake under way */
    uint8_t rx[32], tx[32];
    uint8_t peer[KEY_SIZE]; /* who answered */
    char why[128];          /* why the last handshake failed; "" */
};

/* accept says whom to believe at the other end. */
void secure_caller_init(struct secure_caller *c, const struct identity *self,
                        bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]), void *ctx);
void secure_caller_wipe(struct secure_caller *c);
/* Begins a handshake; a session that is open stays so meanwhile. Bytes of the HELLO in `out`. */
size_t secure_caller_hello(struct secure_caller *c, uint8_t out[SECURE_HANDSHAKE_MAX]);
/* Bytes in `out`, which has room for len + SECURE_OVERHEAD; 0: no session is open. `request`: its number. */
size_t secure_caller_seal(struct secure_caller *c, uint32_t request, const void *data, size_t len,
                          uint8_t *out);

/* What a message that came has brought. */
struct secure_result {
    uint8_t *data; /* SECURE_DATA: content, inside the message, which is decrypted in place */
    size_t len;
    uint8_t out[SECURE_HANDSHAKE_MAX]; /* SECURE_ANSWER */
    size_t out_len;
    uint64_t session;   /* server, SECURE_DATA: whose */
    const uint8_t *key; /* server, SECURE_DATA: the caller's; borrowed until the next call */
};
enum secure_event secure_caller_take(struct secure_caller *c, uint32_t request, uint8_t *message, size_t len,
                                     struct secure_result *r);

/* The server's end of all its lines */

struct secure_server;

/* Zero: the default in brackets. */
struct secure_limits {
    unsigned handshakes; /* begun in a second, of all [1000] */
    unsigned of_one;     /* begun in a second on one connection [20] */
    unsigned sessions;   /* open at once; the one that was silent for longest makes room [20000] */
    unsigned per_key;    /* open at once with one key, likewise [1000] */
};

struct secure_counts {
    uint64_t handshakes, opened, limited, refused, replayed, forged;
    size_t sessions;
};

/* `refused` is told of each key that has proved itself and is not accepted; may be NULL. NULL: out of memory.
 */
struct secure_server *secure_server_new(const struct identity *self, const struct secure_limits *limits,
                                        bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]),
                                        bool (*refused)(void *ctx, const uint8_t key[KEY_SIZE]), void *ctx);
void secure_server_free(struct secure_server *s);
/* `connection`: on which it came. now: milliseconds, monotonic. */
enum secure_event secure_server_take(struct secure_server *s, uint64_t now_ms, uint32_t connection,
                                     uint32_t request, uint8_t *message, size_t len, struct secure_result *r);
/* As secure_caller_seal(); 0: there is no such session any more. */
size_t secure_server_seal(struct secure_server *s, uint64_t session, uint32_t request, const void *data,
                          size_t len, uint8_t *out);
/* Ends every session of this key. */
void secure_server_drop(struct secure_server *s, const uint8_t key[KEY_SIZE]);
void secure_server_count(const struct secure_server *s, struct secure_counts *out);

#endif
