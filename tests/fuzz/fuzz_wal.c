/* fuzz_wal: the log on disk: frames, segments, and what recovery makes of damaged ones (wal_format.h,
 * wal_recover.h, wal_meta.h).
 *
 * Input: what is tried, then
 *   frame   a segment's frames, as bytes; the first one's checksum is put right
 *   meta    the metadata's file, without its checksum
 *   log     a log to be written as wal does, and damage to it. Checked: what is delivered was written, in this
 * order and without a gap; undamaged, all of it; damaged at one place, no more than the last frame is missing,
 *           and nothing where the log was sealed; what is taken once is taken again.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/wal_recover.h"
#include "tests/fuzz/targets.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FRAME, META, LOG, KINDS };
enum { GROUP = 7, SEGMENT = WAL_FORMAT_MIN_SEGMENT, SEGMENTS = 3, ENTRIES = 256, FRAMES = 128, PATCH = 8 };

/* Frames */

static void read_frames(const uint8_t *segment, uint64_t size)
{
    struct wal_entry entry;
    struct wal_frame f;
    uint64_t at = 0;

    while (wal_format_get_frame(segment, size, at, 0, &f) == WAL_FRAME_ENTRIES) {
        fuzz_check(f.count > 0 && f.size <= size - at);
        for (uint32_t i = 0; i < f.count; i++) {
            wal_format_next(&f, &entry);
            fuzz_check(entry.data >= segment && entry.data + entry.len <= segment + size);
        }
        at += f.size;
    }
}

static void try_frame(struct cur *c)
{
    size_t n = (size_t)(c->end - c->p), length;
    uint8_t *segment = fuzz_bytes(c, &n);
    struct wal_segment_header h;
    uint64_t sum;

    if (n >= WAL_FORMAT_FRAME) {
        length = (size_t)segment[12] | (size_t)segment[13] << 8;
        length = length < n - WAL_FORMAT_FRAME ? length : n - WAL_FORMAT_FRAME;
        memcpy(segment + 8, "FRAM", 4);
        sum = XXH3_64bits_withSeed(segment + 8, WAL_FORMAT_FRAME + length - 8, 0);
        memcpy(segment, &sum, sizeof sum);
    }
    read_frames(segment, n);
    fuzz_check(wal_format_find(segment, n, 0, 0) < n + 1);
    (void)wal_format_get_header(segment, n, &h);
    free(segment);
}

/* Metadata */

static void try_meta(struct cur *c)
{
    size_t n = (size_t)(c->end - c->p);
    const char *path = fuzz_directory();
    struct wal_meta m, again;
    struct tx_error e = {0};
    struct wal_dir d;
    struct buf b;

    buf_init(&b);
    buf_put_bytes(&b, c->p, n);
    buf_put_u64(&b, XXH3_64bits(c->p, n));
    fuzz_directory_put(path, "meta", b.data, b.len);
    buf_release(&b);
    fuzz_check(wal_dir_open(&d, path, &e) == 0);
    if (wal_meta_read(&d, &m, &e) == 0) {
        fuzz_check(wal_meta_write(&d, &m, &e) == 0 && wal_meta_read(&d, &again, &e) == 0);
        fuzz_check(memcmp(&m.identity, &again.identity, sizeof m.identity) == 0 && m.term == again.term &&
                   m.vote == again.vote && m.base_index == again.base_index && m.guest == again.guest &&
                   m.sealed == again.sealed && m.sealed_index == again.sealed_index);
    } else {
        fuzz_check(e.code == TX_ECORRUPT);
    }
    wal_dir_close(&d);
}

/* A log */

struct frame {
    unsigned segment;
    uint64_t offset, size;
    size_t first_entry, n;
};

struct model {
    struct wal_meta meta;
    uint8_t segments[SEGMENTS][SEGMENT];
    unsigned n_segments;
    uint64_t offset; /* in the last one */
    size_t n_frames;
    struct frame frames[FRAMES];
    size_t n_entries;
    struct {
        uint64_t index;
        uint32_t len;
        uint8_t fill;
    } entries[ENTRIES];
    uint64_t last_index;
    unsigned patches;
    const struct frame *hit; /* the only patch is inside of this one; NULL: elsewhere */
    size_t delivered;
};

static uint64_t salt_of(unsigned segment)
{
    return 0x1000 + segment;
}

static void add_segment(struct model *m)
{
    const struct wal_segment_header h = {GROUP, m->n_segments + 1, salt_of(m->n_segments), SEGMENT};

    wal_format_put_header(m->segments[m->n_segments++], &h);
    m->offset = WAL_FORMAT_FIRST;
}

/* True: there is a next segment, and the log goes on there. */
static bool end_segment(struct model *m)
{
    unsigned s = m->n_segments - 1;

    if (m->n_segments == SEGMENTS)
        return false;
    (void)wal_format_put_frame(m->segments[s] + m->offset, NULL, 0, m->last_index + 1, salt_of(s), m->offset);
    add_segment(m);
    return true;
}

static uint64_t make_entries(struct model *m, struct cur *c, uint64_t first, struct wal_entry *entries,
                             unsigned n)
{
    static uint8_t data[4][256];
    uint64_t size = 0;

    for (unsigned i = 0; i < n; i++) {
        uint8_t len = cur_u8(c), fill = (uint8_t)(m->n_entries + i);

        memset(data[i], fill, sizeof data[i]);
        entries[i] = (struct wal_entry){.term = 1, .type = 1, .len = len, .data = data[i]};
        m->entries[m->n_entries + i].index = first + i;
        m->entries[m->n_entries + i].len = len;
        m->entries[m->n_entries + i].fill = fill;
        size += wal_format_entry_size(len);
    }
    return size;
}

/* A frame of one to four entries, perhaps in the place of some that were there. False: there is no room. */
static bool add_frame(struct model *m, struct cur *c, uint8_t op)
{
    unsigned n = 1 + (op >> 2 & 3), back = op >> 4 & 3;
    struct wal_entry entries[4];
    uint64_t size, first = m->last_index + 1 - (back < m->last_index ? back : 0);
    struct frame *f = &m->frames[m->n_frames];

    if (m->n_frames == FRAMES || m->n_entries + n > ENTRIES)
        return false;
    size = make_entries(m, c, first, entries, n);
    if (size > wal_format_room(SEGMENT, m->offset) && !end_segment(m))
        return false;
    *f = (struct frame){m->n_segments - 1, m->offset, 0, m->n_entries, n};
    f->size = wal_format_put_frame(m->segments[f->segment] + f->offset, entries, n, first, salt_of(f->segment),
                                   f->offset);
    m->offset += f->size;
    m->last_index = first + n - 1;
    m->n_entries += n;
    m->n_frames++;
    return true;
}

static void add_patch(struct model *m, struct cur *c)
{
    unsigned segment = cur_u8(c) % m->n_segments, n = 1 + cur_u8(c) % PATCH;
    uint64_t at = (uint64_t)(cur_u16(c) % (SEGMENT - PATCH));

    for (unsigned i = 0; i < n; i++)
        m->segments[segment][at + i] ^= cur_u8(c);
    m->patches++;
    m->hit = NULL;
    for (size_t i = 0; i < m->n_frames; i++) {
        const struct frame *f = &m->frames[i];

        if (f->segment == segment && at >= f->offset && at + n <= f->offset + f->size)
            m->hit = f;
    }
}

static void build(struct model *m, struct cur *c)
{
    uint8_t flags = cur_u8(c), op;

    m->meta = (struct wal_meta){.identity = {GROUP, GROUP}, .node_id = 1, .term = 1, .first_segment = 1};
    m->meta.sealed = (flags & 1) != 0;
    add_segment(m);
    while (!c->bad && ((op = cur_u8(c)) & 1) == 0 && !c->bad)
        if (!add_frame(m, c, op))
            break;
    m->meta.sealed_segment = m->n_segments;
    m->meta.sealed_offset = m->offset;
    m->meta.sealed_index = m->last_index;
    if ((flags & 2) != 0 && m->n_segments < SEGMENTS)
        add_segment(m); /* made ready, and not written to yet */
    m->meta.last_segment = m->n_segments;
    while (!c->bad && c->p < c->end)
        add_patch(m, c);
}

static int deliver(void *ctx, uint64_t index, const struct wal_entry *entry)
{
    struct model *m = ctx;
    size_t i = m->delivered++;

    fuzz_check(i < m->n_entries && m->entries[i].index == index && m->entries[i].len == entry->len);
    for (uint32_t at = 0; at < entry->len; at++)
        fuzz_check(entry->data[at] == m->entries[i].fill);
    return 0;
}

static void store(const struct model *m, const char *path)
{
    char name[WAL_DIR_NAME_SIZE];

    for (unsigned i = 0; i < m->n_segments; i++) {
        wal_dir_name(name, WAL_SEGMENT_PREFIX, i + 1);
        fuzz_directory_put(path, name, m->segments[i], SEGMENT);
    }
}

static int recover(struct model *m, const struct wal_dir *d, struct tx_error *e)
{
    struct wal_log log;
    int rc;

    m->delivered = 0;
    rc = wal_recover(d, &m->meta, deliver, m, &log, e);
    if (rc == 0)
        wal_log_release(&log);
    return rc;
}

static void check_recovered(const struct model *m)
{
    const struct frame *last = m->n_frames > 0 ? &m->frames[m->n_frames - 1] : NULL;

    if (m->patches == 0 || (m->meta.sealed && m->patches == 1))
        fuzz_check(m->delivered == m->n_entries);
    if (m->patches == 1 && m->hit != NULL && m->hit != last)
        fuzz_check(m->delivered == m->n_entries);
    if (m->patches == 1 && m->hit == last && last != NULL)
        fuzz_check(m->delivered >= m->n_entries - last->n);
}

static void try_log(struct cur *c)
{
    struct model *m = calloc(1, sizeof *m);
    const char *path = fuzz_directory();
    struct tx_error e = {0};
    struct wal_dir d;
    size_t delivered;
    int rc;

    fuzz_check(m != NULL);
    build(m, c);
    store(m, path);
    fuzz_check(wal_dir_open(&d, path, &e) == 0);
    rc = recover(m, &d, &e);
    fuzz_check(rc == 0 || (rc == TX_ECORRUPT && e.code == rc && m->patches > 0));
    if (rc == 0) {
        check_recovered(m);
        delivered = m->delivered;
        fuzz_check(recover(m, &d, &e) == 0 && m->delivered == delivered);
    }
    wal_dir_close(&d);
    free(m);
}

void fuzz_wal_run(const uint8_t *data, size_t len)
{
    struct cur c;

    cur_init(&c, data, len);
    switch (cur_u8(&c) % KINDS) {
    case FRAME:
        try_frame(&c);
        break;
    case META:
        try_meta(&c);
        break;
    case LOG:
        try_log(&c);
        break;
    }
}

static void seed_frame(struct fuzz_sink *to)
{
    const struct wal_entry entries[] = {{1, 1, 5, (const uint8_t *)"hello"}, {2, 1, 0, NULL}};
    uint8_t frame[256] = {FRAME};
    size_t n = wal_format_put_frame(frame + 1, entries, 2, 1, 0, 0);

    fuzz_put(to, frame, 1 + n + WAL_FORMAT_BLANK);
}

static void seed_meta(struct fuzz_sink *to)
{
    struct wal_meta m = {.identity = {GROUP, GROUP}, .node_id = 1, .term = 3, .vote = 2, .first_segment = 1};
    const char *path = fuzz_directory();
    uint8_t *data = NULL;
    struct wal_dir d;
    struct buf b;
    size_t n = 0;

    fuzz_check(wal_dir_open(&d, path, NULL) == 0 && wal_meta_write(&d, &m, NULL) == 0);
    fuzz_check(wal_dir_read(&d, "meta", &data, &n, NULL) == 0 && data != NULL);
    wal_dir_close(&d);
    buf_init(&b);
    buf_put_u8(&b, META);
    buf_put_bytes(&b, data, n - sizeof(uint64_t));
    fuzz_put_buf(to, &b);
    free(data);
}

void fuzz_wal_seed(struct fuzz_sink *to)
{
    /* flags; frames, each with its entries' lengths; an odd byte; damage: segment, bytes, place, what is turned
     */
    static const uint8_t torn[] = {LOG, 0, 0, 9, 4, 9, 9, 0, 9, 1, 0, 0, 0x48, 0x10, 1};
    static const uint8_t sealed[] = {LOG, 1, 8, 20, 30, 40, 16, 5, 0, 8, 1};
    static const uint8_t ready[] = {LOG, 2,   12,  250, 250, 250, 250, 12,  250, 250, 250, 250, 12,
                                    250, 250, 250, 250, 12,  250, 250, 250, 250, 0,   7,   1};

    seed_frame(to);
    seed_meta(to);
    fuzz_put(to, torn, sizeof torn);
    fuzz_put(to, sealed, sizeof sealed);
    fuzz_put(to, ready, sizeof ready);
}
