/* secure_inside: what secure_caller.c and secure_server.c share, and nobody else sees: messages, keys and
 * signatures of the handshake, and DATA. See secure.h.
 */
#ifndef ASSENT_SECURE_INSIDE_H
#define ASSENT_SECURE_INSIDE_H

#include <sodium.h>

#include "libtx/shared/secure.h"

enum { SECURE_VERSION = 1 };

enum secure_kind {
    SECURE_KIND_HELLO = 1, /* ephemeral key */
    SECURE_KIND_WELCOME,   /* handshake, ephemeral key; encrypted: key, signature */
    SECURE_KIND_AUTH,      /* handshake; encrypted: key, signature, session to be forgotten */
    SECURE_KIND_READY,     /* encrypted: 1 or 0, session */
    SECURE_KIND_DATA,      /* session, number; encrypted: content */
    SECURE_KIND_RESET,     /* session */
    SECURE_KIND_MISMATCH,  /* one end speaks in clear text, and the other does not: channel.c's alone */
};

/* Bytes. */
enum {
    HEAD = 4, /* 'S', version, kind, 0 */
    EPHEMERAL = crypto_kx_PUBLICKEYBYTES,
    SIGNATURE = crypto_sign_BYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    HELLO_BYTES = HEAD + EPHEMERAL,
    WELCOME_CLEAR = HEAD + 8 + EPHEMERAL,
    WELCOME_SECRET = KEY_SIZE + SIGNATURE,
    WELCOME_BYTES = WELCOME_CLEAR + WELCOME_SECRET + TAG,
    AUTH_CLEAR = HEAD + 8,
    AUTH_SECRET = KEY_SIZE + SIGNATURE + 8,
    AUTH_BYTES = AUTH_CLEAR + AUTH_SECRET + TAG,
    READY_SECRET = 1 + 8,
    READY_BYTES = HEAD + READY_SECRET + TAG,
    DATA_CLEAR = HEAD + 16,
    RESET_BYTES = HEAD + 8,
};

_Static_assert((int)SECURE_OVERHEAD == (int)DATA_CLEAR + (int)TAG, "what secure.h promises");
_Static_assert((int)WELCOME_BYTES <= (int)SECURE_HANDSHAKE_MAX, "what secure.h promises");
_Static_assert((int)EPHEMERAL == (int)KEY_SIZE && crypto_sign_PUBLICKEYBYTES == (int)KEY_SIZE,
               "keys of one size");

/* What both ends have sworn to. */
struct secure_parties {
    const uint8_t *caller_ephemeral, *server_ephemeral;
    const uint8_t *server_key;
    const uint8_t *caller_key; /* NULL: not yet, the server signs */
};
void secure_sign(uint8_t out[SIGNATURE], const struct secure_parties *p, const struct identity *self);
bool secure_verify(const uint8_t signature[SIGNATURE], const struct secure_parties *p);

void secure_head(uint8_t *out, enum secure_kind kind);
/* The kind of a message of this version; 0: it is none. */
unsigned secure_kind_of(const uint8_t *message, size_t len);
void secure_put_u64(uint8_t *out, uint64_t v);
uint64_t secure_get_u64(const uint8_t *in);

/* A handshake's message: `clear` bytes of it are there, `secret` ones are put behind them, encrypted. */
void secure_wrap(uint8_t *message, size_t clear, const uint8_t *secret, size_t len, const uint8_t key[32]);
/* And back, into `secret`. False: not by the holder of the key. */
bool secure_unwrap(const uint8_t *message, size_t clear, uint8_t *secret, size_t len, const uint8_t key[32]);

/* A session from the keys that the handshake has agreed upon. */
void secure_link_begin(struct secure_link *l, uint64_t id, const uint8_t rx[32], const uint8_t tx[32]);
size_t secure_link_seal(struct secure_link *l, uint32_t request, const void *data, size_t len, uint8_t *out);

/* How a message of the session was found. */
enum secure_opened { SECURE_GENUINE, SECURE_DOUBLE, SECURE_FORGED };
/* In place: the content is at message + DATA_CLEAR, *n bytes. */
enum secure_opened secure_link_open(struct secure_link *l, uint32_t request, uint8_t *message, size_t len,
                                    size_t *n);

#endif
