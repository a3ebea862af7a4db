/* mutate: small changes to an input, made by a number: the same each time. What libFuzzer does for long,
 * without it. */
#ifndef ASSENT_TESTS_MUTATE_H
#define ASSENT_TESTS_MUTATE_H

#include "libtx/shared/buf.h"

/* Puts a changed copy of `from` into `to`; `other` may give pieces. At most `limit` bytes. */
void mutate(struct buf *to, const struct buf *from, const struct buf *other, uint64_t number, size_t limit);

#endif
