/* restore: a backup becomes the ledger of a group that begins anew under its old name.
 *
 * main calls it where txcoordd was started with --restore. The backup goes through the new group's log, piece
 * by piece; nobody is served before the last piece is applied. A mark in the data directory says so to a
 * process that is started after this one died in the middle: what is there is not to be used.
 */
#ifndef ASSENT_RESTORE_H
#define ASSENT_RESTORE_H

#include "coordinator/backup.h"
#include "coordinator/replog.h"

struct restore;

/* An unfinished restore in this directory: TX_EREFUSED, and msg says what to do. */
int restore_check(const char *data_dir, struct tx_error *e);

/* Reads the file; makes the mark in data_dir, which must be empty. TX_EREFUSED (not empty), TX_EIO,
 * TX_ECORRUPT, TX_EPROTO, TX_ENOMEM. */
int restore_open(struct restore **out, const char *path, const char *data_dir, struct tx_error *e);
/* What the new group is to be called. */
uint64_t restore_group(const struct restore *r);
/* This node leads: proposes the pieces. `done` when all stand and the mark is gone, or with what went wrong. */
void restore_run(struct restore *r, struct replog *replog, uint64_t wall,
                 void (*done)(void *arg, int rc, const struct tx_error *e), void *arg);
/* NULL is allowed. */
void restore_free(struct restore *r);

#endif
