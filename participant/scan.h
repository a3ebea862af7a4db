/* scan: looks what is prepared in a resource, and asks the coordinator about what should not be any more
 * (docs/architecture.md, «Recovery»). Page by page, so that memory does not grow with what is in doubt; the
 * next page is read when the coordinator has received the reports of the one before.
 *
 * agent.c says when; calls rm's list(), and tells recovery.c what it saw.
 */
#ifndef ASSENT_SCAN_H
#define ASSENT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "libtx/shared/txid.h"
#include "participant/rm.h"

struct resource;

/* Names of this group that are no branches: how many, and the first few with their ages, for the operator. */
struct scan_strange {
    uint32_t n;
    char text[640];
};

struct scan {
    bool due, running, waiting; /* waiting: for the coordinator to receive this page */
    bool all;                   /* young branches, too: nobody else may know of them */
    uint64_t next_ms, asked_ms, mark;
    bool fresh; /* begun since whoever needs to know set this to false, as he did `clear` */
    bool clear; /* it was complete, and saw nothing of the group */
    char after[GID_SIZE];
    uint32_t in_doubt; /* prepared branches of this group, and the age of the oldest, as last seen */
    uint64_t oldest_ms;
    struct scan_strange strange, strange_seen; /* by the last complete scan; so far on this one */
};

/* Scan this resource soon; all: also what was prepared a moment ago. */
void scan_request(struct resource *r, bool all);
/* What the resource has prepared of this group, from the one after `after` on. */
void scan_list(struct resource *r, const char *after, unsigned limit, rm_list_cb done);
/* Takes the figures of a list that began with the first one. */
void scan_seen(struct resource *r, const struct rm_list *list);
/* Begins what is due and goes on where the coordinator has received a page. */
void scan_turn(struct resource *r);

#endif
