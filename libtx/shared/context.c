/* context: see context.h. */
#include "libtx/shared/context.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libtx/shared/wire.h"

void context_format(const struct context *c, char out[TXN_CONTEXT_SIZE])
{
    char id[TXID_TEXT_SIZE];
    int n;

    txid_format(&c->id, id);
    n = snprintf(out, TXN_CONTEXT_SIZE, "assent1:%s:%u:%" PRIu32 ":%" PRIu32 ":%s", id, (unsigned)c->branch,
                 c->number, c->timeout_ms, c->resource);
    assert(n > 0 && n < TXN_CONTEXT_SIZE);
}

/* What was read is written again and compared, so that there is one text for each context. */
bool context_parse(const char *text, struct context *out)
{
    char id[TXID_TEXT_SIZE], again[TXN_CONTEXT_SIZE];

    memset(out, 0, sizeof *out);
    if (sscanf(text, "assent1:%79[^:]:%" SCNu16 ":%" SCNu32 ":%" SCNu32 ":%63s", id, &out->branch, &out->number,
               &out->timeout_ms, out->resource) != 5)
        return false;
    if (!txid_parse(id, &out->id) || out->branch == 0 || out->number == 0 || !wire_name_valid(out->resource))
        return false;
    context_format(out, again);
    return strcmp(again, text) == 0;
}
