/* wal_dir: the data directory and the files in it.
 *
 * Called by every part of the log on disk (wal, wal_meta, wal_recover, snapshot); calls the kernel. What it
 * reports as done is durable, unless said otherwise.
 */
#ifndef ASSENT_WAL_DIR_H
#define ASSENT_WAL_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"

enum { WAL_DIR_NAME_SIZE = 40 };

struct wal_dir {
    char *path;
    int fd;      /* of the directory; -1 when not open */
    int lock_fd; /* holds the lock of its file `lock` */
};

/* Opens the directory and locks it for this process until wal_dir_close(). TX_EBUSY: another process holds the
 * lock, msg has its pid. TX_EIO: cannot be read or written. TX_ENOMEM. On an error nothing stays open. */
int wal_dir_open(struct wal_dir *d, const char *path, struct tx_error *e);
void wal_dir_close(struct wal_dir *d);

/* TX_EIO with the file's path and the text of errno. `name` may be NULL: the directory itself. Returns TX_EIO.
 */
int wal_dir_error(const struct wal_dir *d, const char *name, struct tx_error *e);
/* TX_ECORRUPT: `what` is wrong with `name`, and what to do about it. Returns TX_ECORRUPT. */
int wal_dir_damaged(const struct wal_dir *d, const char *name, const char *what, struct tx_error *e);

/* A file's name is its prefix and its number («log-00000007»). The prefix ends with «-». */
void wal_dir_name(char out[WAL_DIR_NAME_SIZE], const char *prefix, uint64_t number);
/* All numbers of the files with this prefix, ascending. *numbers is malloc'd. TX_EIO, TX_ENOMEM. */
int wal_dir_list(const struct wal_dir *d, const char *prefix, uint64_t **numbers, size_t *n,
                 struct tx_error *e);

/* A whole file; *data is malloc'd. *data is NULL where there is no such file, and that is no error. */
int wal_dir_read(const struct wal_dir *d, const char *name, uint8_t **data, size_t *len, struct tx_error *e);
/* Creates or overwrites a file, and syncs its content (not the directory). */
int wal_dir_write(const struct wal_dir *d, const char *name, const void *data, size_t len, struct tx_error *e);
/* Renames a complete, synced file over `to`, which is replaced if it is there. */
int wal_dir_publish(const struct wal_dir *d, const char *from, const char *to, struct tx_error *e);
/* Renames, and does not sync the directory. */
int wal_dir_rename(const struct wal_dir *d, const char *from, const char *to, struct tx_error *e);
/* Removes a file if it is there, and does not sync the directory. */
int wal_dir_remove(const struct wal_dir *d, const char *name, struct tx_error *e);
int wal_dir_sync(const struct wal_dir *d, struct tx_error *e);

/* Writes all of it, or says which errno kept it from that (0 = written). Does not sync. */
int wal_dir_pwrite(int fd, const void *data, size_t len, uint64_t offset);

#endif
