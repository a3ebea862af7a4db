/* pull: the agent's line to the coordinator that leads: keeps one PULL open, finds the leader, for ever.
 * agent.c fills the PULLs and takes the WORK.
 *
 * There is a connection to every coordinator, so that looking for the leader is one question to all of them
 * (WIRE_LOCATE): who answers it leads, for a follower refuses. They are asked when the leader says that it
 * leads no more, when its connection breaks, and when it does not answer that question itself. A leader that is
 * silent is left only for another one that has answered, or for good after a longer time.
 *
 * Every WORK names the group's coordinators, so those that were added later are asked as well; and the keys
 * that they prove themselves with (believed.h). All lines are kept ready, so that a failover costs no
 * handshake.
 */
#ifndef ASSENT_PULL_H
#define ASSENT_PULL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/believed.h"
#include "libtx/shared/buf.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

enum { PULL_COORDINATORS = 16 };

struct pull_options {
    uv_loop_t *loop;
    const char *coordinators;        /* "tcp://host:port[,…]" */
    const struct security *security; /* NULL: clear text */
    const char *probe;               /* name of a resource, to ask for */
    /* Fills in everything but number. */
    void (*fill)(void *arg, struct wire_pull *pull);
    /* The PULL just filled has been handed over to be sent. */
    void (*sent)(void *arg, const struct wire_pull *pull);
    void (*work)(void *arg, const struct wire_work *work);
    /* The newest PULL, with so many reports, is malformed to the leader. True: the next will be another. */
    bool (*refused)(void *arg, size_t n_reports, const char *why);
    /* A leader was found that was not the one before, or before a break. */
    void (*met)(void *arg);
    void *arg;
};

struct pull;

/* To one coordinator. */
struct pull_line {
    struct pull *pull;
    char address[ADDRESS_LIMIT + 1];
    bool configured; /* the others are learned of */
    bool gone;       /* no member any more; to be freed */
    uint64_t dialled_ms, heard_ms;
    char said[64]; /* why it does not lead, as it said last */
    bool open;     /* as channel_state() was last, and so is the next */
    unsigned lost;
    bool refusal_told; /* that one of the two does not believe the other */
    struct channel channel;
    uv_poll_t *poll; /* NULL: not dialled */
};

struct pull {
    struct pull_options options;
    struct pull_line *lines[PULL_COORDINATORS]; /* owned */
    size_t n_lines;
    struct pull_line *leader; /* NULL: it is being looked for */
    uv_timer_t tick, search;
    uv_prepare_t turn;
    bool due, lost_told, none_told;
    unsigned pause_ms; /* between two questions to all */
    uint64_t number;
    uint64_t ready_ms, sent_ms, heard_ms, asked_ms; /* of the leader */
    uint64_t worked_ms;                             /* when it last had work */
    uint32_t request, pull_request; /* numbers of the newest request, and of the newest PULL's */
    size_t n_reports;               /* of the newest PULL */
    struct believed believed;
    struct buf out;
    struct wire_scratch *scratch;
    char reason[TEXT_LIMIT + 1]; /* why the last one was given up */
};

/* TX_EINVAL: no address, too many, or not addresses; TX_ENOMEM. Options' strings are borrowed until the end. */
int pull_open(struct pull *p, const struct pull_options *options, struct tx_error *e);
/* Sends a PULL at the end of this turn of the loop. */
void pull_wake(struct pull *p);
bool pull_connected(const struct pull *p);
/* Stops; its handles close on the loop. Allowed where pull_open() failed or was not reached (all zero).
 * pull_release() when the loop has ended. */
void pull_close(struct pull *p);
void pull_release(struct pull *p);

#endif
