/* ranges: a set of sequence numbers, kept as sorted closed intervals that never touch. A session's acknowledged
 * numbers are one of a handful of intervals however many transactions it ran. Used by ledger and client. */
#ifndef ASSENT_RANGES_H
#define ASSENT_RANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/shared/words.h"

struct ranges {
    struct range *items; /* owned */
    size_t n, cap;
};

void ranges_init(struct ranges *r);
void ranges_release(struct ranges *r);
/* Adds from..to; merges what touches. False: out of memory, nothing changed. */
bool ranges_add(struct ranges *r, uint64_t from, uint64_t to);
/* Takes the numbers away. False: out of memory, nothing changed. */
bool ranges_remove(struct ranges *r, uint64_t from, uint64_t to);
bool ranges_contains(const struct ranges *r, uint64_t v);

#endif
