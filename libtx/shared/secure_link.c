/* secure_link: see secure_inside.h. */
#include <string.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/secure_inside.h"

/* Bytes */

void secure_put_u64(uint8_t *out, uint64_t v)
{
    le_put(out, v, 8);
}

uint64_t secure_get_u64(const uint8_t *in)
{
    return le_get(in, 8);
}

void secure_head(uint8_t *out, enum secure_kind kind)
{
    out[0] = 'S';
    out[1] = SECURE_VERSION;
    out[2] = (uint8_t)kind;
    out[3] = 0;
}

unsigned secure_kind_of(const uint8_t *message, size_t len)
{
    if (len < HEAD || message[0] != 'S' || message[1] != SECURE_VERSION || message[3] != 0)
        return 0;
    return message[2];
}

/* Signatures */

enum { SWORN_MAX = 16 + 4 * KEY_SIZE };

/* Fields of fixed length, and the signer's role first, so that no signature serves as another. */
static size_t sworn(uint8_t out[SWORN_MAX], const struct secure_parties *p)
{
    size_t n = 16;

    memcpy(out, p->caller_key == NULL ? "assent-1 welcome" : "assent-1 auth   ", 16);
    memcpy(out + n, p->caller_ephemeral, KEY_SIZE);
    n += KEY_SIZE;
    memcpy(out + n, p->server_ephemeral, KEY_SIZE);
    n += KEY_SIZE;
    memcpy(out + n, p->server_key, KEY_SIZE);
    n += KEY_SIZE;
    if (p->caller_key != NULL) {
        memcpy(out + n, p->caller_key, KEY_SIZE);
        n += KEY_SIZE;
    }
    return n;
}

void secure_sign(uint8_t out[SIGNATURE], const struct secure_parties *p, const struct identity *self)
{
    uint8_t text[SWORN_MAX];
    size_t n = sworn(text, p);

    crypto_sign_detached(out, NULL, text, n, self->secret_key);
}

bool secure_verify(const uint8_t signature[SIGNATURE], const struct secure_parties *p)
{
    const uint8_t *signer = p->caller_key == NULL ? p->server_key : p->caller_key;
    uint8_t text[SWORN_MAX];
    size_t n = sworn(text, p);

    return crypto_sign_verify_detached(signature, text, n, signer) == 0;
}

/* Encryption. A key of the handshake encrypts one message of a kind, a session's key each number once: no nonce
 * is used twice. */

enum { NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES };

static void nonce_make(uint8_t nonce[NONCE], enum secure_kind kind, uint64_t number)
{
    memset(nonce, 0, NONCE);
    nonce[0] = (uint8_t)kind;
    secure_put_u64(nonce + NONCE - 8, number);
}

void secure_wrap(uint8_t *message, size_t clear, const uint8_t *secret, size_t len, const uint8_t key[32])
{
    uint8_t nonce[NONCE];

    nonce_make(nonce, (enum secure_kind)message[2], 0);
    crypto_aead_xchacha20poly1305_ietf_encrypt(message + clear, NULL, secret, len, message, clear, NULL, nonce,
                                               key);
}

bool secure_unwrap(const uint8_t *message, size_t clear, uint8_t *secret, size_t len, const uint8_t key[32])
{
    uint8_t nonce[NONCE];

    nonce_make(nonce, (enum secure_kind)message[2], 0);
    return crypto_aead_xchacha20poly1305_ietf_decrypt(secret, NULL, NULL, message + clear, len + TAG, message,
                                                      clear, nonce, key) == 0;
}

/* Sessions */

void secure_link_begin(struct secure_link *l, uint64_t id, const uint8_t rx[32], const uint8_t tx[32])
{
    *l = (struct secure_link){.id = id};
    crypto_kdf_derive_from_key(l->rx, sizeof l->rx, SECURE_KIND_DATA, "assentDT", rx);
    crypto_kdf_derive_from_key(l->tx, sizeof l->tx, SECURE_KIND_DATA, "assentDT", tx);
}

/* What is authenticated with the content: the message's clear part, and the request that it belongs to. */
static void bind(uint8_t out[DATA_CLEAR + 4], const uint8_t *clear, uint32_t request)
{
    memcpy(out, clear, DATA_CLEAR);
    le_put(out + DATA_CLEAR, request, 4);
}

size_t secure_link_seal(struct secure_link *l, uint32_t request, const void *data, size_t len, uint8_t *out)
{
    uint8_t nonce[NONCE], bound[DATA_CLEAR + 4];

    l->sent++;
    secure_head(out, SECURE_KIND_DATA);
    secure_put_u64(out + HEAD, l->id);
    secure_put_u64(out + HEAD + 8, l->sent);
    bind(bound, out, request);
    nonce_make(nonce, SECURE_KIND_DATA, l->sent);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + DATA_CLEAR, NULL, data, len, bound, sizeof bound, NULL,
                                               nonce, l->tx);
    return len + SECURE_OVERHEAD;
}

enum { WORDS = sizeof((struct secure_window *)0)->bits / sizeof(uint64_t) };

/* Not seen, and not older than the window. Numbers count from 1. */
static bool is_new(const struct secure_window *w, uint64_t number)
{
    if (number == 0 || number + SECURE_WINDOW <= w->top)
        return false;
    return number > w->top || (w->bits[number / 64 % WORDS] >> (number % 64) & 1) == 0;
}

/* The window is one word shorter than the ring, so that the word which the top enters can be emptied (RFC
 * 6479).
 */
static void note(struct secure_window *w, uint64_t number)
{
    if (number > w->top) {
        uint64_t from = w->top / 64, to = number / 64;

        for (uint64_t i = from + 1; i <= to && i <= from + WORDS; i++)
            w->bits[i % WORDS] = 0;
        w->top = number;
    }
    w->bits[number / 64 % WORDS] |= (uint64_t)1 << (number % 64);
}

enum secure_opened secure_link_open(struct secure_link *l, uint32_t request, uint8_t *message, size_t len,
                                    size_t *n)
{
    uint8_t nonce[NONCE], bound[DATA_CLEAR + 4], *content = message + DATA_CLEAR;
    uint64_t number;

    if (len < SECURE_OVERHEAD)
        return SECURE_FORGED;
    number = secure_get_u64(message + HEAD + 8);
    if (!is_new(&l->seen, number))
        return SECURE_DOUBLE;
    bind(bound, message, request);
    nonce_make(nonce, SECURE_KIND_DATA, number);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(content, NULL, NULL, content, len - DATA_CLEAR, bound,
                                                   sizeof bound, nonce, l->rx) != 0)
        return SECURE_FORGED;
    note(&l->seen, number);
    *n = len - SECURE_OVERHEAD;
    return SECURE_GENUINE;
}
