/* buf: a growing byte buffer to write to, a bounded cursor to read from. Little-endian, fixed width.
 * Both remember the first failure, so that a codec checks once at its end. */
#ifndef ASSENT_BUF_H
#define ASSENT_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The lowest n bytes of v, at most 8, to memory of n bytes; and read from there. */
static inline void le_put(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t le_get(const uint8_t *in, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)in[i] << (8 * i);
    return v;
}

struct buf {
    uint8_t *data; /* malloc'd; owned */
    size_t len, cap;
    bool failed; /* out of memory, or a string too long: content is not to be used */
};

void buf_init(struct buf *b);
void buf_release(struct buf *b);
/* Empties it and keeps its memory. */
void buf_reset(struct buf *b);
/* Hands the memory over to the caller, who free()s it; the buffer is empty afterwards. */
uint8_t *buf_detach(struct buf *b, size_t *len);

void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_bytes(struct buf *b, const void *p, size_t n);
/* Length (u32, with the final NUL), bytes, NUL. NULL is written as length 0 and read back as NULL. */
void buf_put_str(struct buf *b, const char *s);
/* Overwrites four bytes written before, for lengths known late. */
void buf_patch_u32(struct buf *b, size_t at, uint32_t v);

struct cur {
    const uint8_t *p, *end;
    bool bad; /* something ran past the end or was malformed; every later read gives 0 or NULL */
};

void cur_init(struct cur *c, const void *p, size_t n);
uint8_t cur_u8(struct cur *c);
uint16_t cur_u16(struct cur *c);
uint32_t cur_u32(struct cur *c);
uint64_t cur_u64(struct cur *c);
/* Borrowed from the input; NULL when too short. */
const uint8_t *cur_bytes(struct cur *c, size_t n);
/* Borrowed from the input and NUL-terminated there; may be NULL (see buf_put_str). Longer than max, or with a
 * NUL inside: bad. */
const char *cur_str(struct cur *c, size_t max);
/* As cur_str, but NULL is malformed too: never NULL unless bad. */
const char *cur_str_required(struct cur *c, size_t max);
/* All read, and nothing bad. */
bool cur_done(const struct cur *c);

#endif
