/* wire_help: encoding and decoding with the checks that the wire tests share. */
#ifndef ASSENT_TESTS_WIRE_HELP_H
#define ASSENT_TESTS_WIRE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/wire.h"

static inline struct buf encoded(const struct wire_message *m)
{
    struct buf b;

    buf_init(&b);
    assert_int_equal(wire_encode(m, &b), 0);
    return b;
}

/* From a copy that is not a byte longer than it must be, so that the sanitizer sees every read beyond it. A
 * message that was understood is encoded again: that touches each of its strings and arrays. */
static inline int decode_exact(const uint8_t *data, size_t len, struct tx_error *e)
{
    static struct wire_scratch scratch;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct wire_message m;
    struct buf again;
    int rc;

    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = wire_decode(&m, copy, len, &scratch, e);
    buf_init(&again);
    if (rc == 0)
        assert_int_equal(wire_encode(&m, &again), 0);
    buf_release(&again);
    free(copy);
    return rc;
}

static inline void assert_refused(struct buf *b, const char *why)
{
    struct tx_error e = {0};

    assert_int_equal(decode_exact(b->data, b->len, &e), TX_EPROTO);
    assert_int_equal(e.code, TX_EPROTO);
    if (strstr(e.msg, why) == NULL)
        fail_msg("«%s» does not say «%s»", e.msg, why);
    buf_release(b);
}

#endif
