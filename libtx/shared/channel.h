/* channel: requests and late replies over nanomsg. The only file that knows nanomsg.
 *
 * Both ends use REQ/REP in raw mode: a caller numbers its requests and may have many open on one socket,
 * nothing is resent behind its back, and a server answers each whenever it can (nn_reqrep(7)). Requests and
 * replies may be lost, doubled or late; the caller repeats with the same content, which every request allows.
 *
 * Nothing blocks: everything is «now or TX_EBUSY»; wait on channel_fd().
 */
#ifndef ASSENT_CHANNEL_H
#define ASSENT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"

struct channel {
    int socket; /* -1: closed */
};

/* Whom to answer: nanomsg's header of the request, kept as it came. Plain data, may be copied and kept. */
struct reply_to {
    uint8_t len;
    uint8_t header[63];
};

/* One received message; data is nanomsg's memory: channel_release() it. */
struct channel_message {
    void *data;
    size_t len;
    uint32_t id;            /* caller: number of the request that this answers */
    struct reply_to origin; /* server */
};

/* Caller's end. The connection is made, and made again whenever it breaks, in the background. max_bytes bounds
 * what is received. TX_EINVAL: not an address («tcp://host:port», «ipc:///path»). */
int channel_dial(struct channel *c, const char *address, size_t max_bytes, struct tx_error *e);

/* Server's end. TX_EINVAL: not an address; TX_EIO: taken, or not this machine's. */
int channel_listen(struct channel *c, const char *address, size_t max_bytes, struct tx_error *e);

/* Closes and sets to -1; allowed when it is closed. */
void channel_close(struct channel *c);

/* Readable while a message waits (level-triggered). For poll() and uv_poll; never read from it. */
int channel_fd(const struct channel *c);

/* Connected, with room for a request. */
bool channel_ready(const struct channel *c);

/* Sends one request. 0; TX_EBUSY: not connected yet, or the peer's buffers are full; TX_EIO. That it went says
 * nothing about its arrival. */
int channel_send(struct channel *c, uint32_t id, const void *data, size_t len);

/* Answers one request. 0 even where the peer is gone; TX_EBUSY: dropped for full buffers, the caller will ask
 * again. */
int channel_reply(struct channel *c, const struct reply_to *to, const void *data, size_t len);

/* Takes one message, if there is one: 1, 0 (none), TX_EIO. */
int channel_receive(struct channel *c, struct channel_message *m);
void channel_release(struct channel_message *m);

#endif
