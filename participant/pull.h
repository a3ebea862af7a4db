/* pull: the agent's line to the coordinator that leads: keeps one PULL open, finds the leader, reconnects for
 * ever. agent.c fills the PULLs and takes the WORK.
 *
 * A leader that has nothing to do for the agent says little, so silence is told from death by a question that
 * is answered at once (WIRE_LOCATE). Every WORK names the group's coordinators, so those that were added later
 * are tried as well.
 */
#ifndef ASSENT_PULL_H
#define ASSENT_PULL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

enum { PULL_COORDINATORS = 16 };

struct pull_options {
    uv_loop_t *loop;
    const char *coordinators; /* "tcp://host:port[,…]" */
    const char *probe;        /* name of a resource, to ask for */
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

struct pull {
    struct pull_options options;
    char addresses[PULL_COORDINATORS][ADDRESS_LIMIT + 1];
    size_t n_configured;             /* the first of them; the others are learned of */
    size_t n_addresses, next;        /* next: to be tried when the present one fails */
    char address[ADDRESS_LIMIT + 1]; /* dialled, or being so */
    struct channel channel;
    uv_poll_t *poll;
    uv_timer_t tick;
    uv_prepare_t turn;
    bool due, connected, lost_told;
    unsigned backoff_ms, hops;
    uint64_t number, dial_at_ms, dialled_ms, ready_ms, sent_ms, heard_ms, probed_ms;
    uint32_t request, pull_request; /* numbers of the newest request, and of the newest PULL's */
    size_t n_reports;               /* of the newest PULL */
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
