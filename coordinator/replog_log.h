/* replog_log: the log's entries in memory, from a little before the last snapshot on.
 *
 * Called by replog and replog_core. The wal reads the entries from here while it writes them.
 */
#ifndef ASSENT_REPLOG_LOG_H
#define ASSENT_REPLOG_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/replog.h"

struct replog_entry {
    uint64_t term;
    uint32_t type; /* an enum raft_entry_type */
    uint32_t len;
    uint8_t *data;        /* owned */
    replog_propose_cb cb; /* of the proposal that waits for it, or NULL */
    void *arg;
};

struct replog_log {
    struct replog_entry *entries; /* [i] has index first + i */
    uint64_t first;
    size_t n, cap;
    size_t bytes;       /* of all entries' data */
    uint8_t **replaced; /* bytes of entries that were taken away */
    size_t n_replaced;
};

void replog_log_init(struct replog_log *log);
void replog_log_release(struct replog_log *log);

/* Index of the last entry; first - 1 where there is none. */
uint64_t replog_log_last(const struct replog_log *log);
/* Borrowed until the next change; the entry must be there. */
struct replog_entry *replog_log_at(const struct replog_log *log, uint64_t index);
/* Appends; takes e->data over in any case. TX_ENOMEM. */
int replog_log_add(struct replog_log *log, const struct replog_entry *e);
/* Takes away all entries from `index` on. The wal may still be writing them: their bytes live until
 * replog_log_free_replaced(). TX_ENOMEM. */
int replog_log_truncate(struct replog_log *log, uint64_t index);
void replog_log_free_replaced(struct replog_log *log);
/* Takes all away, likewise; the next entry has the index `first`. */
int replog_log_restart(struct replog_log *log, uint64_t first);
/* Frees all entries below `keep`; the wal must have written them. */
void replog_log_drop_before(struct replog_log *log, uint64_t keep);

#endif
