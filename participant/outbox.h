/* outbox: what the agent has to tell the coordinator, first in, first out, kept until it was taken in. Used by
 * agent.c, scan.c and inquire.c; the PULL carries them.
 *
 * A PULL carries the oldest reports that are not yet received, always from the front, so that any PULL with a
 * number as high as the first that carried a report has carried it too (wire.h, struct wire_pull).
 *
 * A leader that calls a PULL malformed says nothing of which report it means. PULLs then carry fewer and fewer,
 * down to none: where that one is taken in, the oldest report is what was refused, and is dropped, so that it
 * holds up no other. Where a PULL without reports is refused as well, none of them is to blame.
 */
#ifndef ASSENT_OUTBOX_H
#define ASSENT_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/wire.h"

struct held_report;

struct outbox {
    struct held_report *list;
    size_t n, bytes;
    uint64_t last;              /* serial number of the newest */
    size_t most;                /* that a PULL may carry: fewer while the one is looked for that is refused */
    uint64_t trial;             /* the first PULL that carried none, with most == 0 */
    struct wire_report refused; /* the last that was dropped so, without its strings */
    uint64_t received;          /* every report up to this serial number has been taken in, or dropped */
};

void outbox_init(struct outbox *r);
void outbox_release(struct outbox *r);
/* Copies it. False where the queue is full: the coordinator will ask again. */
bool outbox_put(struct outbox *r, const struct wire_report *report);
/* The oldest ones, up to REPORT_LIMIT and what a message may carry, borrowed until the next call; returns their
 * number. They are marked as carried by the PULL `number`. */
size_t outbox_fill(struct outbox *r, uint64_t number, struct wire_report out[REPORT_LIMIT]);
/* The leader has taken in the PULL `number` and all before. */
void outbox_received(struct outbox *r, uint64_t number);
/* A PULL that carried n of them was refused, with this reason. True: the next one will be another. */
bool outbox_refused(struct outbox *r, size_t n, const char *why);
/* Something waits that no PULL has carried yet and the next one would. */
bool outbox_fresh(const struct outbox *r);

#endif
