/* wal_format: see wal_format.h. */
#include "coordinator/wal_format.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SEGMENT_MAGIC 0x474f4c544e535341ULL /* "ASSNTLOG" */
#define SEGMENT_VERSION 1
#define FRAME_MAGIC 0x4d415246U /* "FRAM" */

enum { HEADER_SIZE = 56 };
enum { KIND_ENTRIES = 1, KIND_END = 2 };

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

void wal_format_put_header(uint8_t out[WAL_FORMAT_START], const struct wal_segment_header *h)
{
    memset(out, 0, WAL_FORMAT_START);
    put64(out + 8, SEGMENT_MAGIC);
    put32(out + 16, SEGMENT_VERSION);
    put64(out + 24, h->group);
    put64(out + 32, h->sequence);
    put64(out + 40, h->salt);
    put64(out + 48, h->size);
    put64(out, XXH3_64bits(out + 8, HEADER_SIZE - 8));
}

bool wal_format_get_header(const uint8_t *segment, size_t len, struct wal_segment_header *h)
{
    if (len < HEADER_SIZE || get64(segment) != XXH3_64bits(segment + 8, HEADER_SIZE - 8))
        return false;
    if (get64(segment + 8) != SEGMENT_MAGIC || get32(segment + 16) != SEGMENT_VERSION)
        return false;
    h->group = get64(segment + 24);
    h->sequence = get64(segment + 32);
    h->salt = get64(segment + 40);
    h->size = get64(segment + 48);
    return h->size >= WAL_FORMAT_MIN_SEGMENT && h->size <= WAL_FORMAT_MAX_SEGMENT;
}

static uint64_t padded(uint64_t len)
{
    return (len + 7) & ~(uint64_t)7;
}

uint64_t wal_format_entry_size(uint32_t len)
{
    return WAL_FORMAT_ENTRY + padded(len);
}

uint64_t wal_format_room(uint64_t size, uint64_t offset)
{
    /* The end frame and the blank behind it must still fit. */
    const uint64_t taken = 2 * WAL_FORMAT_FRAME + WAL_FORMAT_BLANK;

    return offset + taken >= size ? 0 : (size - offset - taken) & ~(uint64_t)7;
}

static uint8_t *put_entry(uint8_t *p, const struct wal_entry *entry)
{
    uint64_t size = padded(entry->len);

    put64(p, entry->term);
    put32(p + 8, entry->type);
    put32(p + 12, entry->len);
    p += WAL_FORMAT_ENTRY;
    if (entry->len > 0)
        memcpy(p, entry->data, entry->len);
    memset(p + entry->len, 0, size - entry->len);
    return p + size;
}

size_t wal_format_put_frame(uint8_t *out, const struct wal_entry *entries, uint32_t n, uint64_t first_index,
                            uint64_t salt, uint64_t offset)
{
    uint8_t *p = out + WAL_FORMAT_FRAME;
    size_t size;

    for (uint32_t i = 0; i < n; i++)
        p = put_entry(p, &entries[i]);
    memset(p, 0, WAL_FORMAT_BLANK);
    size = (size_t)(p - out);
    assert(size - WAL_FORMAT_FRAME <= UINT32_MAX);
    put32(out + 8, FRAME_MAGIC);
    put32(out + 12, (uint32_t)(size - WAL_FORMAT_FRAME));
    put64(out + 16, first_index);
    put32(out + 24, n);
    put32(out + 28, n == 0 ? KIND_END : KIND_ENTRIES);
    put64(out, XXH3_64bits_withSeed(out + 8, size - 8, salt + offset));
    return size;
}

/* The entries fill their frame exactly. */
static bool entries_fit(const uint8_t *p, uint64_t left, uint32_t count)
{
    uint64_t size;

    for (uint32_t i = 0; i < count; i++) {
        if (left < WAL_FORMAT_ENTRY)
            return false;
        size = wal_format_entry_size(get32(p + 12));
        if (size > left)
            return false;
        p += size;
        left -= size;
    }
    return left == 0;
}

static bool is_blank(const uint8_t *p)
{
    static const uint8_t zero[WAL_FORMAT_BLANK];

    return memcmp(p, zero, sizeof zero) == 0;
}

enum wal_frame_kind wal_format_get_frame(const uint8_t *segment, uint64_t size, uint64_t offset, uint64_t salt,
                                         struct wal_frame *f)
{
    const uint8_t *p = segment + offset;
    uint64_t length;
    uint32_t kind;

    if (offset > size || size - offset < WAL_FORMAT_FRAME)
        return WAL_FRAME_BAD;
    if (is_blank(p))
        return WAL_FRAME_BLANK;
    length = get32(p + 12);
    if (get32(p + 8) != FRAME_MAGIC || length > size - offset - WAL_FORMAT_FRAME)
        return WAL_FRAME_BAD;
    f->size = WAL_FORMAT_FRAME + length;
    if (get64(p) != XXH3_64bits_withSeed(p + 8, f->size - 8, salt + offset))
        return WAL_FRAME_BAD;
    f->first_index = get64(p + 16);
    f->count = get32(p + 24);
    f->next = p + WAL_FORMAT_FRAME;
    kind = get32(p + 28);
    if (!entries_fit(f->next, length, f->count))
        return WAL_FRAME_BAD;
    if (kind == KIND_ENTRIES && f->count > 0)
        return WAL_FRAME_ENTRIES;
    return kind == KIND_END && f->count == 0 ? WAL_FRAME_END : WAL_FRAME_BAD;
}

void wal_format_next(struct wal_frame *f, struct wal_entry *entry)
{
    entry->term = get64(f->next);
    entry->type = get32(f->next + 8);
    entry->len = get32(f->next + 12);
    entry->data = f->next + WAL_FORMAT_ENTRY;
    f->next += wal_format_entry_size(entry->len);
}

uint64_t wal_format_find(const uint8_t *segment, uint64_t size, uint64_t offset, uint64_t salt)
{
    struct wal_frame f;
    enum wal_frame_kind kind;

    for (; offset + WAL_FORMAT_FRAME <= size; offset += 8) {
        if (get32(segment + offset + 8) != FRAME_MAGIC)
            continue;
        kind = wal_format_get_frame(segment, size, offset, salt, &f);
        if (kind == WAL_FRAME_ENTRIES || kind == WAL_FRAME_END)
            return offset;
    }
    return 0;
}
