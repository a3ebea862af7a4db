/* channel: requests and late replies over nanomsg. The only file that knows nanomsg.
 *
 * Both ends use REQ/REP in raw mode: a caller numbers its requests and may have many open on one socket,
 * nothing is resent behind its back, and a server answers each whenever it can (nn_reqrep(7)). Requests and
 * replies may be lost, doubled or late; the caller repeats with the same content, which every request allows.
 *
 * Nothing blocks: everything is «now or TX_EBUSY»; wait on channel_fd().
 *
 * With a struct channel_security every message is encrypted and authenticated (secure.h), and a server knows by
 * whose key; the handshake goes on by itself inside of these functions. A caller's end is ready when it is
 * over.
 */
#ifndef ASSENT_CHANNEL_H
#define ASSENT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"
#include "libtx/shared/secure.h"

/* As whom a program speaks, and whom it believes. Borrowed until its channels are closed. */
struct channel_security {
    const struct identity *self;
    /* Whether whoever has proved to have this key is to be believed. */
    bool (*accept)(void *ctx, const uint8_t key[KEY_SIZE]);
    /* Server: told of those who were not; may be NULL. False: it may become known, and the caller, who is told
     * nothing, asks again. */
    bool (*refused)(void *ctx, const uint8_t key[KEY_SIZE]);
    void *ctx;
    struct secure_limits limits; /* server */
};

struct channel {
    int socket;                              /* -1: closed */
    const struct channel_security *security; /* NULL: clear text */
    struct secure_server *server;            /* listening; NULL: clear text */
    struct channel_caller *caller;           /* dialled; NULL: clear text */
    bool mismatch;                           /* clear text, and the other end takes none */
    int pid;                                 /* whose it is */
};

/* Whom to answer: nanomsg's header of the request, kept as it came. Plain data, may be copied and kept. */
struct reply_to {
    uint64_t session; /* 0: clear text */
    uint8_t len;
    uint8_t header[63];
};

/* One received message; data is nanomsg's memory: channel_release() it. */
struct channel_message {
    void *data;
    size_t len;
    uint32_t id;            /* caller: number of the request that this answers */
    struct reply_to origin; /* server */
    const uint8_t *key; /* server: the caller's; NULL: clear text. Borrowed until the next one is received */
    void *chunk;        /* nanomsg's */
};

/* Caller's end. The connection is made, and made again whenever it breaks, in the background. max_bytes bounds
 * what is received. `security` NULL: clear text. TX_EINVAL: not an address («tcp://host:port», «ipc:///path»);
 * TX_ENOMEM. */
int channel_dial(struct channel *c, const char *address, size_t max_bytes,
                 const struct channel_security *security, struct tx_error *e);

/* Server's end. TX_EINVAL: not an address; TX_EIO: taken, or not this machine's; TX_ENOMEM. */
int channel_listen(struct channel *c, const char *address, size_t max_bytes,
                   const struct channel_security *security, struct tx_error *e);

/* Closes and sets to -1; allowed when it is closed. */
void channel_close(struct channel *c);

/* Readable while a message waits (level-triggered). For poll() and uv_poll; never read from it. */
int channel_fd(const struct channel *c);

/* Caller's end: there is a connection, whoever is at its other end. */
bool channel_connected(const struct channel *c);
/* Connected, and believed by each other, with room for a request. */
bool channel_ready(struct channel *c);
/* Caller's end: does what is due of its handshake. channel_send() and channel_ready() do the same; who has
 * nothing to send calls it every 100 ms or so, so that the line is ready when it is needed. */
void channel_keep(struct channel *c);
/* Caller's end: why the other end is not believed, or does not believe; "" where nothing is known. Borrowed
 * until the next call on this channel. */
const char *channel_why(const struct channel *c);
/* Caller's end: how far it is with the other one. */
struct channel_state {
    bool open;     /* they believe each other; clear text: nothing speaks against it */
    bool refused;  /* one of them does not, and no other handshake is under way: channel_why() */
    unsigned lost; /* sessions that the other end has forgotten: what was sent in them is not answered */
};
struct channel_state channel_state(const struct channel *c);
/* Server's end: nobody is believed by this key any more. */
void channel_drop(struct channel *c, const uint8_t key[KEY_SIZE]);

/* Sends one request. 0; TX_EBUSY: not connected yet, or the peer's buffers are full; TX_EIO, also from a child
 * of the process whose channel it is: two messages under one number would tell what is in them. That it went
 * says nothing about its arrival. */
int channel_send(struct channel *c, uint32_t id, const void *data, size_t len);

/* Answers one request. 0 even where the peer is gone; TX_EBUSY: dropped for full buffers, the caller will ask
 * again. */
int channel_reply(struct channel *c, const struct reply_to *to, const void *data, size_t len);

/* Takes one message, if there is one: 1, 0 (none), TX_EIO. */
int channel_receive(struct channel *c, struct channel_message *m);
void channel_release(struct channel_message *m);

#endif
