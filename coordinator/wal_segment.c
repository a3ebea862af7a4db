/* wal_segment: see wal_segment.h. */
#include "coordinator/wal_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtx/shared/crash.h"

#define TMP_NAME "segment.tmp"

enum { FILL_BYTES = 256 * 1024 };

static void name_of(char out[WAL_DIR_NAME_SIZE], uint64_t sequence)
{
    wal_dir_name(out, WAL_SEGMENT_PREFIX, sequence);
}

/* Zeroes [offset, size), unsynced; returns errno. */
static int fill(int fd, uint64_t offset, uint64_t size)
{
    uint8_t *zero = calloc(1, FILL_BYTES);
    int failed = zero == NULL ? ENOMEM : 0;
    uint64_t n;

    for (; failed == 0 && offset < size; offset += n) {
        n = size - offset < FILL_BYTES ? size - offset : FILL_BYTES;
        failed = wal_dir_pwrite(fd, zero, n, offset);
    }
    free(zero);
    return failed;
}

/* Opens the file that becomes the segment: `name` is what it is called until it is published. */
static int open_raw(const struct wal_dir *d, const char *name, bool fresh, uint64_t size, struct tx_error *e)
{
    int fd = openat(d->fd, name, O_RDWR | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0600);

    if (fd < 0)
        return wal_dir_error(d, name, e);
    errno = fresh ? fill(fd, WAL_FORMAT_START, size) : 0;
    if (errno != 0) {
        wal_dir_error(d, name, e);
        close(fd);
        return TX_EIO;
    }
    return fd;
}

int wal_segment_create(const struct wal_dir *d, uint64_t spare, struct wal_segment_header h,
                       struct wal_segment *out, struct tx_error *e)
{
    char from[WAL_DIR_NAME_SIZE] = TMP_NAME, to[WAL_DIR_NAME_SIZE];
    uint8_t start[WAL_FORMAT_START];
    int fd, rc = 0;

    out->fd = -1;
    if (getrandom(&h.salt, sizeof h.salt, 0) != (ssize_t)sizeof h.salt)
        return err_set(e, TX_EIO, "getrandom gives no random bytes");
    if (spare != 0)
        wal_dir_name(from, WAL_SEGMENT_SPARE_PREFIX, spare);
    fd = open_raw(d, from, spare == 0, h.size, e);
    if (fd < 0)
        return fd;
    name_of(to, h.sequence);
    wal_format_put_header(start, &h);
    errno = wal_dir_pwrite(fd, start, sizeof start, 0);
    if (errno != 0 || fsync(fd) != 0)
        rc = wal_dir_error(d, from, e);
    if (rc == 0)
        rc = wal_dir_publish(d, from, to, e);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    *out = (struct wal_segment){.fd = fd, .sequence = h.sequence, .salt = h.salt, .size = h.size};
    return 0;
}

int wal_segment_open(const struct wal_dir *d, const struct wal_segment_header *h, struct wal_segment *out,
                     struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];

    name_of(name, h->sequence);
    *out = (struct wal_segment){.sequence = h->sequence, .salt = h->salt, .size = h->size};
    out->fd = openat(d->fd, name, O_RDWR | O_CLOEXEC);
    return out->fd >= 0 ? 0 : wal_dir_error(d, name, e);
}

void wal_segment_close(struct wal_segment *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

int wal_segment_clear(const struct wal_dir *d, const struct wal_segment *s, uint64_t offset, struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];

    errno = fill(s->fd, offset, s->size);
    if (errno == 0 && fdatasync(s->fd) == 0)
        return 0;
    name_of(name, s->sequence);
    return wal_dir_error(d, name, e);
}

/* Whether the file may become a spare; *bytes is its size. */
static int judge_spare(const struct wal_dir *d, const char *name, const struct wal_spares *spares,
                       uint64_t size, uint64_t *bytes, bool *fit, struct tx_error *e)
{
    struct stat st;

    if (fstatat(d->fd, name, &st, 0) != 0)
        return wal_dir_error(d, name, e);
    *bytes = (uint64_t)st.st_size;
    *fit = *bytes == size && spares->n < WAL_SEGMENT_SPARES;
    return 0;
}

int wal_segment_retire(const struct wal_dir *d, struct wal_spares *spares, uint64_t sequence, uint64_t size,
                       uint64_t *freed, struct tx_error *e)
{
    char from[WAL_DIR_NAME_SIZE], to[WAL_DIR_NAME_SIZE];
    uint64_t bytes = 0;
    bool fit = false;
    int rc;

    *freed = 0;
    name_of(from, sequence);
    rc = judge_spare(d, from, spares, size, &bytes, &fit, e);
    if (rc != 0)
        return rc;
    if (!fit) {
        *freed = bytes;
        return wal_dir_remove(d, from, e);
    }
    wal_dir_name(to, WAL_SEGMENT_SPARE_PREFIX, sequence);
    rc = wal_dir_rename(d, from, to, e);
    if (rc == 0)
        spares->numbers[spares->n++] = sequence;
    crash_point(CRASH_COORD_SEGMENT_RECYCLED);
    return rc;
}

static int adopt_spare(const struct wal_dir *d, uint64_t number, uint64_t size, struct wal_spares *spares,
                       struct tx_error *e)
{
    char name[WAL_DIR_NAME_SIZE];
    uint64_t bytes = 0;
    bool fit = false;
    int rc;

    wal_dir_name(name, WAL_SEGMENT_SPARE_PREFIX, number);
    rc = judge_spare(d, name, spares, size, &bytes, &fit, e);
    if (rc == 0 && fit)
        spares->numbers[spares->n++] = number;
    return rc != 0 || fit ? rc : wal_dir_remove(d, name, e);
}

int wal_segment_find_spares(const struct wal_dir *d, uint64_t size, struct wal_spares *spares,
                            struct tx_error *e)
{
    uint64_t *numbers;
    size_t n;
    int rc = wal_dir_list(d, WAL_SEGMENT_SPARE_PREFIX, &numbers, &n, e);

    spares->n = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = adopt_spare(d, numbers[i], size, spares, e);
    free(numbers);
    return rc != 0 ? rc : wal_dir_remove(d, TMP_NAME, e);
}
