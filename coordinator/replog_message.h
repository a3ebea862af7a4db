/* replog_message: what coordinators of a group say to each other: libraft's messages and a few of our own.
 * Pure.
 *
 * Called by replog_net, replog_ship and the tests. A message is version u8, type u8, flags u8, group u64, log
 * u64, from u64, to u64, address of the sender, then what the type has; little-endian. Every length and number
 * is checked on the way in: what libraft takes for granted (and would abort at) holds for each message that was
 * decoded.
 */
#ifndef ASSENT_REPLOG_MESSAGE_H
#define ASSENT_REPLOG_MESSAGE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "libtx/shared/buf.h"

enum {
    REPLOG_MESSAGE_ADDRESS = 127,     /* bytes of an address */
    REPLOG_MESSAGE_NODES = 16,        /* of a configuration */
    REPLOG_MESSAGE_ENTRIES = 1 << 16, /* of a message */
    REPLOG_MESSAGE_CHUNK = 256 << 10, /* bytes of a chunk at most */
};

/* Types 1 to 6 are enum raft_message_type. */
enum {
    REPLOG_MESSAGE_PIECE = 16, /* of a snapshot's file: stands for RAFT_INSTALL_SNAPSHOT */
    REPLOG_MESSAGE_PIECE_ACK,
    REPLOG_MESSAGE_REMOVED,  /* the receiver is not a member any more */
    REPLOG_MESSAGE_STRANGER, /* what the receiver said is of another log than the sender's; says no more */
};

/* Bytes [offset, offset + len) of a snapshot's file of `total` bytes. */
struct replog_piece {
    uint64_t term, index, total, offset;
    const uint8_t *data; /* borrowed */
    size_t len;
};

/* The first `received` bytes have come. */
struct replog_piece_ack {
    uint64_t term, index, received;
};

struct replog_message {
    int type;
    uint64_t group, log, from, to;
    const char *address; /* the sender's; borrowed */
    bool to_voter;       /* the receiver votes, as the sender knows the configuration */
    union {
        struct raft_message raft; /* its append_entries.entries is owned, their data and no batch borrowed */
        struct replog_piece piece;
        struct replog_piece_ack ack;
        uint64_t removed_index; /* of the configuration without the receiver, committed */
    };
};

/* Appends to `out`. RAFT_INSTALL_SNAPSHOT has no form: see REPLOG_MESSAGE_PIECE. */
void replog_message_encode(struct buf *out, const struct replog_message *m);

/* Borrows from the input. False: not a message; then nothing is to be released. */
bool replog_message_decode(const void *data, size_t len, struct replog_message *m);
void replog_message_release(struct replog_message *m);

/* A configuration entry as libraft decodes it, which checks less than it should. */
bool replog_message_check_config(const void *data, size_t len);

#endif
