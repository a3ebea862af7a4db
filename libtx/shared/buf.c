/* buf: see buf.h. */
#include "libtx/shared/buf.h"

#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b)
{
    memset(b, 0, sizeof *b);
}

void buf_release(struct buf *b)
{
    free(b->data);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

uint8_t *buf_detach(struct buf *b, size_t *len)
{
    uint8_t *data = b->data;

    *len = b->len;
    buf_init(b);
    return data;
}

/* Room for n more bytes, or NULL and failed. */
static uint8_t *buf_room(struct buf *b, size_t n)
{
    size_t cap = b->cap;
    uint8_t *data;

    if (b->failed)
        return NULL;
    if (b->cap - b->len >= n)
        return b->data + b->len;
    while (cap - b->len < n)
        cap = cap == 0 ? 256 : cap * 2;
    data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

static void buf_put_le(struct buf *b, uint64_t v, size_t n)
{
    uint8_t *p = buf_room(b, n);

    if (p == NULL)
        return;
    le_put(p, v, n);
    b->len += n;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put_le(b, v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    buf_put_le(b, v, 2);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    buf_put_le(b, v, 4);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    buf_put_le(b, v, 8);
}

void buf_put_bytes(struct buf *b, const void *p, size_t n)
{
    uint8_t *to;

    if (n == 0)
        return;
    to = buf_room(b, n);
    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->len += n;
}

void buf_put_str(struct buf *b, const char *s)
{
    size_t n = s == NULL ? 0 : strlen(s) + 1;

    if (n > UINT32_MAX) {
        b->failed = true;
        return;
    }
    buf_put_u32(b, (uint32_t)n);
    buf_put_bytes(b, s, n);
}

void buf_patch_u32(struct buf *b, size_t at, uint32_t v)
{
    if (!b->failed)
        le_put(b->data + at, v, 4);
}

void cur_init(struct cur *c, const void *p, size_t n)
{
    c->p = p;
    c->end = c->p + n;
    c->bad = false;
}

const uint8_t *cur_bytes(struct cur *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return NULL;
    }
    c->p += n;
    return p;
}

static uint64_t cur_le(struct cur *c, size_t n)
{
    const uint8_t *p = cur_bytes(c, n);

    return p == NULL ? 0 : le_get(p, n);
}

uint8_t cur_u8(struct cur *c)
{
    return (uint8_t)cur_le(c, 1);
}

uint16_t cur_u16(struct cur *c)
{
    return (uint16_t)cur_le(c, 2);
}

uint32_t cur_u32(struct cur *c)
{
    return (uint32_t)cur_le(c, 4);
}

uint64_t cur_u64(struct cur *c)
{
    return cur_le(c, 8);
}

const char *cur_str(struct cur *c, size_t max)
{
    uint32_t n = cur_u32(c);
    const uint8_t *p;

    if (c->bad || n == 0)
        return NULL;
    p = cur_bytes(c, n);
    if (p == NULL)
        return NULL;
    if (n - 1 > max || memchr(p, 0, n) != p + n - 1) {
        c->bad = true;
        return NULL;
    }
    return (const char *)p;
}

const char *cur_str_required(struct cur *c, size_t max)
{
    const char *s = cur_str(c, max);

    if (s == NULL)
        c->bad = true;
    return s;
}

bool cur_done(const struct cur *c)
{
    return !c->bad && c->p == c->end;
}
