/* wal_format: what stands in a segment file of the log. Pure: bytes in memory, no file.
 *
 * Called by wal (to write) and wal_recover (to read).
 *
 *   offset 0      header of the segment, in a block of its own: no later write touches it
 *   offset 4096   frame, frame, …, end frame | blank
 *
 * A frame is what one write brought in: checksum u64, magic u32, length u32 (of what follows the header), first
 * index u64, count u32, kind u32; then its entries: term u64, type u32, length u32, bytes, padded to 8. All
 * little-endian. The checksum (XXH3) covers the rest of the frame and is seeded with the segment's random salt
 * and the frame's place, so that nothing of a recycled file's former life, and nothing copied to another place,
 * ever counts as a frame. Blank (sixteen zero bytes) stands behind the last frame; every write puts it there,
 * as a recycled file is not zeroed.
 */
#ifndef ASSENT_WAL_FORMAT_H
#define ASSENT_WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WAL_FORMAT_FIRST = 4096,       /* offset of the first frame */
    WAL_FORMAT_BLANK = 16,         /* zero bytes that end the frames */
    WAL_FORMAT_FRAME = 32,         /* frame header */
    WAL_FORMAT_ENTRY = 16,         /* entry header */
    WAL_FORMAT_MIN_SEGMENT = 8192, /* bounds of a segment's size */
    WAL_FORMAT_MAX_SEGMENT = 1 << 30,
};

struct wal_entry {
    uint64_t term;
    uint32_t type; /* the caller's */
    uint32_t len;
    const uint8_t *data;
};

struct wal_segment_header {
    uint64_t group;    /* the group's random id */
    uint64_t sequence; /* number of the segment, from 1 */
    uint64_t salt;     /* random, new whenever the file starts a new life */
    uint64_t size;     /* of the file */
};

/* What a new segment starts with: header and blank. */
enum { WAL_FORMAT_START = WAL_FORMAT_FIRST + WAL_FORMAT_BLANK };
void wal_format_put_header(uint8_t out[WAL_FORMAT_START], const struct wal_segment_header *h);
/* False where that is no header, or damaged. */
bool wal_format_get_header(const uint8_t *segment, size_t len, struct wal_segment_header *h);

/* Bytes that an entry takes in a frame. */
uint64_t wal_format_entry_size(uint32_t len);
/* Bytes for a frame's entries in a segment of this size when the frame starts at offset; room for the end frame
 * is left. */
uint64_t wal_format_room(uint64_t size, uint64_t offset);

/* Writes a frame of these entries, then blank, to `out`, which has room for both. Returns the frame's size,
 * without the blank. No entries: the end frame, behind which the next segment goes on. */
size_t wal_format_put_frame(uint8_t *out, const struct wal_entry *entries, uint32_t n, uint64_t first_index,
                            uint64_t salt, uint64_t offset);

enum wal_frame_kind {
    WAL_FRAME_BAD,     /* not a frame, or damaged */
    WAL_FRAME_BLANK,   /* no frame yet */
    WAL_FRAME_ENTRIES, /* one or more entries */
    WAL_FRAME_END,     /* the log goes on in the next segment */
};

struct wal_frame {
    uint64_t first_index;
    uint32_t count;
    uint64_t size;       /* header included */
    const uint8_t *next; /* of the entries; moved by wal_format_next() */
};

/* The frame at `offset` of a segment that is `size` bytes long in memory. Every length is checked before it is
 * used. */
enum wal_frame_kind wal_format_get_frame(const uint8_t *segment, uint64_t size, uint64_t offset, uint64_t salt,
                                         struct wal_frame *f);
/* The next entry of a frame that was found good; call it `count` times. Data is borrowed from the segment. */
void wal_format_next(struct wal_frame *f, struct wal_entry *entry);

/* Offset of the first good frame at or behind `offset`, 0 where there is none. */
uint64_t wal_format_find(const uint8_t *segment, uint64_t size, uint64_t offset, uint64_t salt);

#endif
