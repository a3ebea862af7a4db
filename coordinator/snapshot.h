/* snapshot: snapshot files: the whole state as of one log index, checksummed.
 *
 * Called by wal and replog; calls wal_dir. A file «snapshot-<index>» is complete and durable: it is written
 * under another name first. A leader sends a file's bytes as they are to a follower that is too far behind, and
 * there they are «incoming-<index>» until the log is replaced by them.
 */
#ifndef ASSENT_SNAPSHOT_H
#define ASSENT_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/wal_dir.h"
#include "libtx/shared/buf.h"

#define SNAPSHOT_PREFIX "snapshot-"
#define SNAPSHOT_INCOMING_PREFIX "incoming-"

struct snapshot {
    uint64_t index, term;  /* of the last entry in it; index 0: no snapshot */
    uint64_t config_index; /* of the group's configuration in it */
    struct buf config;     /* the configuration, as replog encodes it */
    struct buf data;       /* the state */
};

void snapshot_init(struct snapshot *s);
void snapshot_release(struct snapshot *s);

/* Writes the file. Crash points: COORD_SNAPSHOT_WRITTEN, COORD_SNAPSHOT_RENAMED. TX_EIO, TX_ENOMEM. */
int snapshot_write(const struct wal_dir *d, uint64_t group, const struct snapshot *s, struct tx_error *e);

/* A file's bytes; *data is malloc'd, and NULL where there is no such file. TX_EIO, TX_ENOMEM. */
int snapshot_read(const struct wal_dir *d, uint64_t index, uint8_t **data, size_t *len, struct tx_error *e);
/* What a file's bytes say; *s is made here. TX_ECORRUPT: damaged, or another group's. TX_ENOMEM. */
int snapshot_decode(const uint8_t *data, size_t len, uint64_t group, struct snapshot *s);

/* A file's bytes from elsewhere, made durable. Crash point: COORD_SNAPSHOT_WRITTEN. TX_EIO. */
int snapshot_write_incoming(const struct wal_dir *d, uint64_t index, const struct buf *file,
                            struct tx_error *e);
/* The log's metadata name it now: it takes its final name. */
int snapshot_publish_incoming(const struct wal_dir *d, uint64_t index, struct tx_error *e);

/* The newest one, which must be good and must not be older than `needed`: an older one is never taken in its
 * place, as the log behind it may be gone. If it came from elsewhere and has not got its name yet, it gets it.
 * s->index is 0 where there is none and none is needed. Leftovers of an interrupted write and older snapshots
 * are removed. TX_ECORRUPT, TX_EIO, TX_ENOMEM. */
int snapshot_open(const struct wal_dir *d, uint64_t group, uint64_t needed, struct snapshot *s,
                  struct tx_error *e);

/* Removes all that are older than `index`, and does not sync the directory. */
int snapshot_remove_older(const struct wal_dir *d, uint64_t index, struct tx_error *e);

#endif
