/* secure_caller: the caller's end of a line. See secure.h. */
#include <stdio.h>
#include <string.h>

#include "libtx/shared/secure_inside.h"

void secure_caller_init(struct secure_caller *c, const struct identity *self,
                        bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]), void *ctx)
{
    *c = (struct secure_caller){.self = self, .accept = accept, .ctx = ctx};
}

void secure_caller_wipe(struct secure_caller *c)
{
    sodium_memzero(c, sizeof *c);
}

size_t secure_caller_hello(struct secure_caller *c, uint8_t out[SECURE_HANDSHAKE_MAX])
{
    crypto_kx_keypair(c->public_key, c->secret_key);
    c->greeting = true;
    c->authenticating = false;
    secure_head(out, SECURE_KIND_HELLO);
    memcpy(out + HEAD, c->public_key, EPHEMERAL);
    return HELLO_BYTES;
}

size_t secure_caller_seal(struct secure_caller *c, uint32_t request, const void *data, size_t len, uint8_t *out)
{
    return c->open ? secure_link_seal(&c->link, request, data, len, out) : 0;
}

static enum secure_event give_up(struct secure_caller *c, const char *why)
{
    c->greeting = c->authenticating = false;
    sodium_memzero(c->secret_key, sizeof c->secret_key);
    sodium_memzero(c->rx, sizeof c->rx);
    sodium_memzero(c->tx, sizeof c->tx);
    snprintf(c->why, sizeof c->why, "%s", why);
    return SECURE_REFUSED;
}

/* The session before the present one goes: its answers have come, or never will. */
static void authenticate(struct secure_caller *c, const uint8_t *welcome, struct secure_result *r)
{
    const struct secure_parties parties = {.caller_ephemeral = c->public_key,
                                           .server_ephemeral = welcome + HEAD + 8,
                                           .server_key = c->peer,
                                           .caller_key = c->self->public_key};
    uint8_t secret[AUTH_SECRET];

    memcpy(secret, c->self->public_key, KEY_SIZE);
    secure_sign(secret + KEY_SIZE, &parties, c->self);
    secure_put_u64(secret + KEY_SIZE + SIGNATURE, c->has_old ? c->old.id : 0);
    secure_head(r->out, SECURE_KIND_AUTH);
    memcpy(r->out + HEAD, welcome + HEAD, 8);
    secure_wrap(r->out, AUTH_CLEAR, secret, AUTH_SECRET, c->tx);
    r->out_len = AUTH_BYTES;
    c->greeting = false;
    c->authenticating = true;
}

/* What is not by the holder of the ephemeral key is no answer; what is, and not believed, ends the handshake.
 */
static enum secure_event take_welcome(struct secure_caller *c, const uint8_t *message, size_t len,
                                      struct secure_result *r)
{
    const uint8_t *ephemeral = message + HEAD + 8;
    uint8_t secret[WELCOME_SECRET];
    const struct secure_parties parties = {
        .caller_ephemeral = c->public_key, .server_ephemeral = ephemeral, .server_key = secret};

    if (!c->greeting || len != WELCOME_BYTES)
        return SECURE_NOTHING;
    if (crypto_kx_client_session_keys(c->rx, c->tx, c->public_key, c->secret_key, ephemeral) != 0 ||
        !secure_unwrap(message, WELCOME_CLEAR, secret, WELCOME_SECRET, c->rx))
        return SECURE_NOTHING;
    if (!secure_verify(secret + KEY_SIZE, &parties))
        return give_up(c, "its signature is wrong: somebody is between");
    memcpy(c->peer, secret, KEY_SIZE);
    if (!c->accept(c->ctx, c->peer)) {
        char text[KEY_TEXT_SIZE], why[sizeof c->why];

        key_format(c->peer, text);
        snprintf(why, sizeof why, "its key %s is not in the keys file, or not with the role needed", text);
        return give_up(c, why);
    }
    authenticate(c, message, r);
    return SECURE_ANSWER;
}

static enum secure_event take_ready(struct secure_caller *c, const uint8_t *message, size_t len)
{
    uint8_t secret[READY_SECRET];

    if (!c->authenticating || len != READY_BYTES || !secure_unwrap(message, HEAD, secret, READY_SECRET, c->rx))
        return SECURE_NOTHING;
    if (secret[0] != 1)
        return give_up(c, "it does not know this program's key; an operator adds it: txadmin key add");
    if (c->open) {
        c->old = c->link;
        c->has_old = true;
    }
    secure_link_begin(&c->link, secure_get_u64(secret + 1), c->rx, c->tx);
    c->open = true;
    c->authenticating = false;
    c->why[0] = '\0';
    sodium_memzero(c->secret_key, sizeof c->secret_key);
    sodium_memzero(c->rx, sizeof c->rx);
    sodium_memzero(c->tx, sizeof c->tx);
    return SECURE_OPENED;
}

static enum secure_event take_data(struct secure_caller *c, uint32_t request, uint8_t *message, size_t len,
                                   struct secure_result *r)
{
    uint64_t id = len < DATA_CLEAR ? 0 : secure_get_u64(message + HEAD);
    struct secure_link *l = c->open && c->link.id == id ? &c->link : &c->old;

    if (id == 0 || l->id != id || secure_link_open(l, request, message, len, &r->len) != SECURE_GENUINE)
        return SECURE_NOTHING;
    r->data = message + DATA_CLEAR;
    return SECURE_DATA;
}

static enum secure_event take_reset(struct secure_caller *c, const uint8_t *message, size_t len)
{
    if (len != RESET_BYTES || !c->open || secure_get_u64(message + HEAD) != c->link.id)
        return SECURE_NOTHING;
    c->open = c->has_old = false;
    sodium_memzero(&c->link, sizeof c->link);
    sodium_memzero(&c->old, sizeof c->old);
    return SECURE_CLOSED;
}

enum secure_event secure_caller_take(struct secure_caller *c, uint32_t request, uint8_t *message, size_t len,
                                     struct secure_result *r)
{
    switch (secure_kind_of(message, len)) {
    case SECURE_KIND_WELCOME:
        return take_welcome(c, message, len, r);
    case SECURE_KIND_READY:
        return take_ready(c, message, len);
    case SECURE_KIND_DATA:
        return take_data(c, request, message, len, r);
    case SECURE_KIND_RESET:
        return take_reset(c, message, len);
    default:
        return SECURE_NOTHING;
    }
}
