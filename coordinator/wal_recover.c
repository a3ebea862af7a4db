/* wal_recover: see wal_recover.h. */
#include "coordinator/wal_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/log.h"

struct recovery {
    const struct wal_dir *d;
    const struct wal_meta *meta;
    wal_recover_cb each;
    void *ctx;
    struct wal_log *log;
    struct tx_error *e;

    /* The segment at hand. */
    char name[WAL_DIR_NAME_SIZE];
    uint8_t *data;
    struct wal_segment_header header;
};

static int damaged(const struct recovery *r, const char *what)
{
    return wal_dir_damaged(r->d, r->name, what, r->e);
}

static int damaged_at(const struct recovery *r, uint64_t offset, const char *what)
{
    char text[96];

    snprintf(text, sizeof text, "damaged at offset %" PRIu64 ", %s", offset, what);
    return damaged(r, text);
}

static int check_header(struct recovery *r, size_t len, uint64_t sequence)
{
    if (len < WAL_FORMAT_START)
        return damaged(r, "shorter than it was made, cut by another program");
    if (!wal_format_get_header(r->data, len, &r->header) || r->header.sequence != sequence)
        return damaged(r, "its header is damaged");
    if (r->header.group != r->meta->identity.group)
        return damaged(r, "it belongs to another group");
    if (len < r->header.size)
        return damaged(r, "shorter than it was made, cut by another program");
    return len == r->header.size ? 0 : damaged(r, "longer than it was made");
}

/* Reads a segment whole into r->data. */
static int load(struct recovery *r, uint64_t sequence)
{
    size_t len;
    int rc;

    free(r->data);
    wal_dir_name(r->name, WAL_SEGMENT_PREFIX, sequence);
    rc = wal_dir_read(r->d, r->name, &r->data, &len, r->e);
    if (rc != 0)
        return rc;
    return r->data == NULL ? damaged(r, "this log file is missing") : check_header(r, len, sequence);
}

static int deliver(struct recovery *r, struct wal_frame *f, uint64_t offset)
{
    struct wal_log *log = r->log;
    struct wal_entry entry;
    int rc = 0;

    if (log->first_index != 0 && f->first_index > log->last_index + 1)
        return damaged_at(r, offset, "entries are missing before it");
    if (log->first_index == 0 || f->first_index < log->first_index)
        log->first_index = f->first_index;
    log->last_index = f->first_index - 1;
    for (uint32_t i = 0; rc == 0 && i < f->count; i++) {
        wal_format_next(f, &entry);
        rc = r->each(r->ctx, ++log->last_index, &entry);
    }
    return rc == TX_ENOMEM ? err_set(r->e, rc, "no memory for the log") : rc;
}

/* Delivers the good frames from the start; *kind is what stands at log->offset, behind them. */
static int read_frames(struct recovery *r, enum wal_frame_kind *kind)
{
    uint64_t *offset = &r->log->offset;
    struct wal_frame f;
    int rc;

    for (*offset = WAL_FORMAT_FIRST;; *offset += f.size) {
        *kind = wal_format_get_frame(r->data, r->header.size, *offset, r->header.salt, &f);
        if (*kind != WAL_FRAME_ENTRIES)
            return 0;
        rc = deliver(r, &f, *offset);
        if (rc != 0)
            return rc;
    }
}

static bool has_frames(const struct recovery *r, uint64_t offset)
{
    return wal_format_find(r->data, r->header.size, offset, r->header.salt) != 0;
}

/* The last segment with frames is at hand, and did not end: nothing may stand behind. */
static int check_tail(struct recovery *r, enum wal_frame_kind kind)
{
    struct wal_log *log = r->log;

    if (has_frames(r, log->offset + 8))
        return damaged_at(r, log->offset, "with good data behind it");
    if (!r->meta->sealed)
        return 0;
    if (kind == WAL_FRAME_BLANK && r->header.sequence == r->meta->sealed_segment &&
        log->offset == r->meta->sealed_offset && log->last_index == r->meta->sealed_index)
        return 0;
    return damaged_at(r, log->offset, "not as the clean shutdown left it");
}

/* What was read came from memory, perhaps of a write that was never synced, or whose sync failed: the kernel
 * tells of that once, and from then on the pages pass for written. So it is written again, and synced, before
 * anybody is told. */
static int write_again(struct recovery *r, enum wal_frame_kind kind)
{
    uint64_t end = r->log->offset + (kind == WAL_FRAME_END ? WAL_FORMAT_FRAME : 0);
    struct wal_segment s;
    int rc = wal_segment_open(r->d, &r->header, &s, r->e);

    if (rc != 0)
        return rc;
    errno = wal_dir_pwrite(s.fd, r->data + WAL_FORMAT_FIRST, end - WAL_FORMAT_FIRST, WAL_FORMAT_FIRST);
    if (errno != 0 || fdatasync(s.fd) != 0)
        rc = wal_dir_error(r->d, r->name, r->e);
    wal_segment_close(&s);
    return rc;
}

/* Goes on to write where the last good frame ended. */
static int open_current(struct recovery *r, enum wal_frame_kind kind)
{
    struct wal_log *log = r->log;
    int rc = wal_segment_open(r->d, &r->header, &log->current, r->e);

    if (rc != 0 || kind == WAL_FRAME_BLANK)
        return rc;
    log_line(LOG_WARN, "log_tail_cut", "file=%s offset=%" PRIu64 " last_index=%" PRIu64, r->name, log->offset,
             log->last_index);
    return wal_segment_clear(r->d, &log->current, log->offset, r->e);
}

/* At most one segment may stand behind the current one, and it must be blank: it is written to only once the
 * end frame before it is durable. */
static int open_next(struct recovery *r, uint64_t sequence)
{
    const struct wal_segment_header header = r->header;
    char name[WAL_DIR_NAME_SIZE];
    struct wal_frame f;
    bool blank = false;
    int rc;

    if (sequence > r->meta->last_segment)
        return 0;
    memcpy(name, r->name, sizeof name);
    rc = load(r, sequence);
    if (rc != 0)
        return rc;
    if (sequence == r->meta->last_segment && !has_frames(r, WAL_FORMAT_FIRST))
        blank = wal_format_get_frame(r->data, r->header.size, WAL_FORMAT_FIRST, r->header.salt, &f) ==
                WAL_FRAME_BLANK;
    if (blank)
        rc = wal_segment_open(r->d, &r->header, &r->log->next, r->e);
    r->header = header;
    memcpy(r->name, name, sizeof name);
    return blank ? rc : damaged_at(r, r->log->offset, "with good data in the next file");
}

static int add_part(struct wal_log *log, uint64_t sequence, uint64_t size, struct tx_error *e)
{
    struct wal_part *grown;

    if (log->n == log->cap) {
        log->cap = log->cap == 0 ? 16 : log->cap * 2;
        grown = realloc(log->parts, log->cap * sizeof *grown);
        if (grown == NULL)
            return err_set(e, TX_ENOMEM, "out of memory");
        log->parts = grown;
    }
    log->parts[log->n++] = (struct wal_part){.sequence = sequence, .last_index = log->last_index, .size = size};
    return 0;
}

/* Segments from the first one to the one that did not end. */
static int read_segments(struct recovery *r)
{
    enum wal_frame_kind kind;
    int rc;

    for (uint64_t s = r->meta->first_segment; s <= r->meta->last_segment; s++) {
        rc = load(r, s);
        if (rc == 0)
            rc = read_frames(r, &kind);
        /* The last write was to one of the last three: to `next`, to the current one, or an end frame before
         * that. */
        if (rc == 0 && !r->meta->sealed && s + 2 >= r->meta->last_segment)
            rc = write_again(r, kind);
        if (rc == 0)
            rc = add_part(r->log, s, r->header.size, r->e);
        if (rc != 0)
            return rc;
        if (kind == WAL_FRAME_END)
            continue;
        rc = check_tail(r, kind);
        if (rc == 0)
            rc = open_next(r, s + 1);
        return rc == 0 ? open_current(r, kind) : rc;
    }
    return r->meta->last_segment == 0 ? 0 : damaged(r, "the log file after it is missing");
}

/* A segment that no metadata speaks of: retired, or made ready, when a crash came in between. */
static int remove_leftover(struct recovery *r, uint64_t sequence)
{
    int rc;

    if (sequence > r->meta->last_segment) {
        rc = load(r, sequence);
        if (rc != 0)
            return rc;
        if (has_frames(r, WAL_FORMAT_FIRST))
            return damaged(r, "the log's metadata do not know of this file, but it was written to");
    }
    wal_dir_name(r->name, WAL_SEGMENT_PREFIX, sequence);
    return wal_dir_remove(r->d, r->name, r->e);
}

static int remove_leftovers(struct recovery *r)
{
    uint64_t *numbers;
    size_t n;
    int rc = wal_dir_list(r->d, WAL_SEGMENT_PREFIX, &numbers, &n, r->e);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (numbers[i] < r->meta->first_segment || numbers[i] > r->meta->last_segment)
            rc = remove_leftover(r, numbers[i]);
    }
    free(numbers);
    return rc;
}

int wal_recover(const struct wal_dir *d, const struct wal_meta *meta, wal_recover_cb each, void *ctx,
                struct wal_log *log, struct tx_error *e)
{
    struct recovery r = {.d = d, .meta = meta, .each = each, .ctx = ctx, .log = log, .e = e};
    int rc;

    memset(log, 0, sizeof *log);
    log->current.fd = log->next.fd = -1;
    log->last_index = meta->base_index;
    rc = remove_leftovers(&r);
    if (rc == 0)
        rc = read_segments(&r);
    if (rc == 0)
        rc = wal_dir_sync(d, e);
    if (rc != 0)
        wal_log_release(log);
    free(r.data);
    return rc;
}

void wal_log_release(struct wal_log *log)
{
    wal_segment_close(&log->current);
    wal_segment_close(&log->next);
    free(log->parts);
    log->parts = NULL;
    log->n = log->cap = 0;
}

int wal_log_advance(struct wal_log *log, struct wal_segment *s, struct tx_error *e)
{
    int rc = add_part(log, s->sequence, s->size, e);

    if (rc != 0)
        return rc;
    log->current = *s;
    log->offset = WAL_FORMAT_FIRST;
    s->fd = -1;
    return 0;
}
