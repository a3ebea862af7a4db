/* backup: the ledger in a file. admin makes it for txadmin; restore reads it. Pure but for backup_load().
 *
 * Magic, version (u32 each), group, index, length (u64 each), a snapshot of the ledger as of that index of the
 * log, and a checksum (u64) of all before it.
 */
#ifndef ASSENT_BACKUP_H
#define ASSENT_BACKUP_H

#include <stdint.h>

#include "coordinator/ledger.h"
#include "libtx/shared/buf.h"
#include "libtx/shared/err.h"

struct backup {
    uint64_t group, index;
    const uint8_t *ledger; /* borrowed from `file` */
    size_t len;
    struct buf file;
};

void backup_make(const struct ledger *l, uint64_t index, struct buf *out);

/* Reads and checks the whole file; the snapshot in it can be restored. TX_EIO, TX_ECORRUPT, TX_EPROTO,
 * TX_ENOMEM; backup_release() in any case. */
int backup_load(struct backup *b, const char *path, struct tx_error *e);
void backup_release(struct backup *b);

#endif
