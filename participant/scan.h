/* scan: looks what is prepared in a resource, and asks the coordinator about what should not be any more
 * (protocol.md, «Recovery»). Page by page, so that memory does not grow with what is in doubt; the next page
 * is read when the coordinator has received the reports of the one before.
 *
 * agent.c says when; calls rm's list().
 */
#ifndef ASSENT_SCAN_H
#define ASSENT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "libtx/shared/txid.h"

struct resource;

struct scan {
    bool due, running, waiting; /* waiting: for the coordinator to receive this page */
    bool all;                   /* young branches, too: nobody else may know of them */
    uint64_t next_ms, asked_ms, mark;
    unsigned pages;
    uint32_t n;
    uint64_t oldest_ms;
    char after[GID_SIZE];
    uint32_t in_doubt; /* as the last complete scan saw it */
    uint64_t in_doubt_oldest_ms;
};

/* Scan this resource soon; all: also what was prepared a moment ago. */
void scan_request(struct resource *r, bool all);
/* Begins what is due and goes on where the coordinator has received a page. */
void scan_turn(struct resource *r);

#endif
