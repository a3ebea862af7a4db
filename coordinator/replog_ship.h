/* replog_ship: a snapshot's way from the leader to a follower that is too far behind for the log.
 *
 * Called by replog_net and replog_core; calls wal (which reads the file) and replog_net (to send). Internal to
 * replog. The file is larger than a message may be, so it goes in pieces: a few on their way at a time, each
 * acknowledged with how much is there; what is lost is sent again. The follower takes one snapshot at a time
 * and hands it to libraft as the one message it would have been (RAFT_INSTALL_SNAPSHOT). A snapshot that is on
 * its way is brought to its end although there are newer ones: under load there always are.
 */
#ifndef ASSENT_REPLOG_SHIP_H
#define ASSENT_REPLOG_SHIP_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "coordinator/replog_message.h"
#include "coordinator/snapshot.h"

struct replog;
struct replog_cargo; /* a file in memory, shared by all it is on its way to */

struct replog_ship {
    uint64_t to;
    char address[REPLOG_MESSAGE_ADDRESS + 1];
    struct replog_cargo *cargo; /* NULL: being read */
    size_t next, acked;
    uint64_t progress_ms; /* when it last got further */
    uint64_t sent_ms;     /* when it was last sent from `acked` on */
};

struct replog_ships {
    struct replog_ship items[REPLOG_MESSAGE_NODES];
    size_t n;
    uint64_t term;
    uv_timer_t timer;
};

/* The receiving end. */
struct replog_arrival {
    uint64_t from, term, index, total; /* from 0: none on its way */
    struct buf file;
    struct snapshot snapshot; /* what the complete file says */
};

/* libraft wants node m->to to have the snapshot. */
void replog_ship_send(struct replog *r, uint64_t to, const char *address);
void replog_ship_acked(struct replog *r, const struct replog_message *m);
/* The wal has read a file. */
void replog_ship_read(void *ctx, uint64_t index, uint8_t *data, size_t len);
void replog_ship_arrived(struct replog *r, const struct replog_message *m);
/* Another term, or the end: nothing is sent any more. */
void replog_ship_stop(struct replog *r);
void replog_ship_forget_arrival(struct replog *r);

#endif
