/* recovery: how far a resource is with its branches in doubt: one line in the log where it begins, one every
 * few seconds, one where it ends, and the figures that txadmin shows. Only looks; scan.c and the rules of
 * branches do the work.
 *
 * A recovery begins when branches are seen that have been prepared for longer than they should (RM_YOUNG_MS),
 * and ends when there are none. All its figures come from the resource, which other agents may work on, too.
 * Called by scan.c and agent.c; calls rm's list().
 */
#ifndef ASSENT_RECOVERY_H
#define ASSENT_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

struct resource;

struct recovery {
    bool running, looking, moves; /* moves: the last look saw fewer than the one before */
    uint32_t found;               /* branches in doubt since it began */
    uint32_t remaining;           /* of them, at the last look */
    uint32_t rate;                /* resolved in a second, between the last two looks */
    uint32_t logged;              /* remaining, in the last line */
    uint64_t began_ms, looked_ms, logged_ms;
};

/* The resource was seen to have so many branches in doubt, the oldest prepared so long ago. */
void recovery_seen(struct resource *r, uint32_t in_doubt, uint64_t oldest_ms);
/* Looks again where one is under way and moves. */
void recovery_turn(struct resource *r);

#endif
