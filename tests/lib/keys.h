/* keys: the keys of transfers, to compare what applications were told with what their databases have. Used by
 * tests/demo and tests/failover.
 */
#ifndef ASSENT_TESTS_KEYS_H
#define ASSENT_TESTS_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/lib/world.h"

/* All zero: empty. */
struct keys {
    long long *items; /* owned */
    size_t n, cap;
};

void keys_add(struct keys *k, long long key);
/* Adds all of a server's table receipts (key bigint). */
void keys_load(struct keys *k, struct world_server *server);
void keys_sort(struct keys *k);
bool keys_contain(const struct keys *k, long long key); /* sorted */
void keys_release(struct keys *k);

#endif
