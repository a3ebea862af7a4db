/* context: what one request to a service carries of its transaction (libtx.h, txn_export()), as text:
 *
 *   assent1:<transaction>:<branch>:<number>:<timeout, ms>:<resource>
 *
 * Written by remote, read by participant.
 */
#ifndef ASSENT_CONTEXT_H
#define ASSENT_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "libtx/libtx.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/words.h"

struct context {
    struct txid id;
    uint16_t branch;
    uint32_t number; /* of the request in its branch, from 1 */
    uint32_t timeout_ms;
    char resource[NAME_LIMIT + 1];
};

void context_format(const struct context *c, char out[TXN_CONTEXT_SIZE]);
/* False where the text is not exactly what context_format() writes. */
bool context_parse(const char *text, struct context *out);

#endif
