/* service_seen: the branches that the program has named as prepared, and when it named each first.
 *
 * Two uses. No request may begin a branch of such a name: what ends that work would end the prepared branch.
 * And a program without a clock of its own says an age of 0 for ever; since when it has named a branch is known
 * here.
 *
 * Used by service_rm.c. Times are the loop's.
 */
#ifndef LIBTX_SERVICE_SEEN_H
#define LIBTX_SERVICE_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "participant/rm.h"

struct seen_branch;

/* All zero: nothing yet. */
struct service_seen {
    struct seen_branch *branches;
    bool complete; /* a list has been taken; before, nothing is known */
};

/* Takes a whole list of the branches whose names begin with `prefix`: those of before that are not on it are
 * forgotten. Ages that are too low are raised. False: out of memory; some may not be known. */
bool service_seen_take(struct service_seen *s, const char *prefix, struct rm_found *found, size_t n,
                       uint64_t now_ms);
bool service_seen_has(const struct service_seen *s, const char *gid);
void service_seen_release(struct service_seen *s);

#endif
