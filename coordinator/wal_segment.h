/* wal_segment: the log's files: made ready ahead of time, used once, recycled.
 *
 * Called by wal and wal_recover; calls wal_dir and wal_format. A segment has its full size, zero-filled and
 * synced, before the first frame goes in: a forced write then moves no metadata. A retired one becomes a spare,
 * and keeps its blocks for its next life.
 */
#ifndef ASSENT_WAL_SEGMENT_H
#define ASSENT_WAL_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/wal_dir.h"
#include "coordinator/wal_format.h"

#define WAL_SEGMENT_PREFIX "log-"
#define WAL_SEGMENT_SPARE_PREFIX "spare-"

/* Open for writing. fd is -1 where there is none. */
struct wal_segment {
    int fd;
    uint64_t sequence, salt, size;
};

/* The numbers of the spare files; each is a file of segment size. More are removed than kept. */
enum { WAL_SEGMENT_SPARES = 4 };
struct wal_spares {
    uint64_t numbers[WAL_SEGMENT_SPARES];
    size_t n;
};

/* Makes segment h->sequence of h->size bytes: of spare file `spare`, or from nothing where that is 0. The salt
 * is made here. When it returns, file and name are durable. TX_EIO, TX_ENOMEM. */
int wal_segment_create(const struct wal_dir *d, uint64_t spare, struct wal_segment_header h,
                       struct wal_segment *out, struct tx_error *e);
/* Opens an existing one for writing; h is its header. TX_EIO. */
int wal_segment_open(const struct wal_dir *d, const struct wal_segment_header *h, struct wal_segment *out,
                     struct tx_error *e);
void wal_segment_close(struct wal_segment *s);

/* Zeroes all from offset on, durably. TX_EIO. */
int wal_segment_clear(const struct wal_dir *d, const struct wal_segment *s, uint64_t offset,
                      struct tx_error *e);

/* Makes a spare of a segment that the log does not need any more; or removes it, where there are enough or it
 * is not `size` bytes long. *freed: bytes given back. Does not sync the directory. Crash point:
 * COORD_SEGMENT_RECYCLED. */
int wal_segment_retire(const struct wal_dir *d, struct wal_spares *spares, uint64_t sequence, uint64_t size,
                       uint64_t *freed, struct tx_error *e);
/* Finds the spares of an earlier run; those of another size than `size` and half-made files are removed. */
int wal_segment_find_spares(const struct wal_dir *d, uint64_t size, struct wal_spares *spares,
                            struct tx_error *e);

#endif
