/* peer: the line between the coordinators of a group: one-way messages that may be lost, doubled or reordered.
 *
 * main opens it; replog's messages go out through peer_send() and come in through the receive callback. Uses
 * channel: one that listens, and one for each peer, dialled when the first message goes there. A message is a
 * request that is never answered, so that of the way back the handshake alone makes use. Nothing blocks: what
 * the channel does not take at once waits in a queue, and what does not fit into that, or goes nowhere for too
 * long, is dropped, and Raft says it again.
 *
 * With security a message counts that comes by the key of a coordinator, looked up each time. A node's number
 * belongs to the key that it was heard with first, as long as that is believed.
 *
 * Every message carries its sender's number and address, so a node that has moved is found again by those of
 * its group that it speaks to. By greetings, which go to all members again and again, nodes learn where the
 * others listen for clients, and who is there at all.
 */
#ifndef ASSENT_PEER_H
#define ASSENT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/err.h"

enum { PEER_NODES = 16 /* that are spoken to or heard of */ };

struct peers;

/* «Here I am.» Sender and address are filled in on the way. */
struct peer_greeting {
    uint64_t id, group, log;
    uint64_t last_index; /* of its log */
    const char *address; /* for peers */
    const char *clients; /* for clients */
};

struct peer_options {
    uint64_t node_id;
    const char *listen;  /* NULL: no line at all; sends nothing, hears nothing */
    const char *address; /* what others reach it by; borrowed */
    /* False: the sender is none of this group. */
    bool (*receive)(void *ctx, uint64_t from, const void *data, size_t len);
    bool (*greeted)(void *ctx, const struct peer_greeting *greeting);
    /* Told of a message that another key than the node's own has sent in its name; may be NULL. */
    void (*impersonated)(void *ctx, uint64_t id, const uint8_t key[KEY_SIZE]);
    void *ctx;
    const struct channel_security *security; /* borrowed; NULL: clear text */
};

/* TX_EINVAL (not an address), TX_EIO (taken, or not this machine's), TX_ENOMEM. */
int peers_open(struct peers **out, uv_loop_t *loop, const struct peer_options *options, struct tx_error *e);
/* Hears nothing from now on. */
void peers_stop(struct peers *p);
/* Closes all; frees `p` in a later turn of the loop. */
void peers_close(struct peers *p);

/* To node `to`, at the address that it was heard from last, else at this one. */
void peer_send(struct peers *p, uint64_t to, const char *address, const void *data, size_t len);
/* Closes the line to every node that is not among these, and forgets where it was. */
void peers_keep(struct peers *p, const uint64_t *ids, size_t n);
/* Nobody is heard by this key any more. */
void peers_drop(struct peers *p, const uint8_t key[KEY_SIZE]);
/* Bytes of messages sent and received since the start, without what encryption adds. */
struct peer_traffic {
    uint64_t sent, received;
};
struct peer_traffic peers_traffic(const struct peers *p);
void peer_greet(struct peers *p, uint64_t to, const char *address, const struct peer_greeting *greeting);

#endif
