/* fuzz_wire: messages out of a fuzz target's input, and into its seeds. */
#ifndef ASSENT_TESTS_FUZZ_WIRE_H
#define ASSENT_TESTS_FUZZ_WIRE_H

#include "libtx/shared/wire.h"
#include "tests/fuzz/fuzz.h"

/* Header and body, to be freed; type 0: the body is a whole message. */
uint8_t *fuzz_wire_message(uint8_t type, const uint8_t *body, size_t len, size_t *total);
/* Appends type and body. */
void fuzz_wire_put_body(struct buf *to, const struct wire_message *m);

#endif
