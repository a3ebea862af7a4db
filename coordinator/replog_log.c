/* replog_log: see replog_log.h. */
#include "coordinator/replog_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void replog_log_init(struct replog_log *log)
{
    *log = (struct replog_log){.first = 1};
}

void replog_log_release(struct replog_log *log)
{
    for (size_t i = 0; i < log->n; i++)
        free(log->entries[i].data);
    free(log->entries);
    replog_log_init(log);
}

uint64_t replog_log_last(const struct replog_log *log)
{
    return log->first + log->n - 1;
}

struct replog_entry *replog_log_at(const struct replog_log *log, uint64_t index)
{
    assert(index >= log->first && index - log->first < log->n);
    return &log->entries[index - log->first];
}

int replog_log_add(struct replog_log *log, const struct replog_entry *e)
{
    size_t cap = log->cap == 0 ? 1024 : log->cap * 2;
    struct replog_entry *grown;

    if (log->n == log->cap) {
        grown = realloc(log->entries, cap * sizeof *grown);
        if (grown == NULL) {
            free(e->data);
            return TX_ENOMEM;
        }
        log->entries = grown;
        log->cap = cap;
    }
    log->entries[log->n++] = *e;
    return 0;
}

void replog_log_drop_before(struct replog_log *log, uint64_t keep)
{
    size_t gone = keep > log->first ? (size_t)(keep - log->first) : 0;

    if (gone == 0)
        return;
    assert(gone <= log->n);
    for (size_t i = 0; i < gone; i++)
        free(log->entries[i].data);
    log->n -= gone;
    log->first += gone;
    memmove(log->entries, log->entries + gone, log->n * sizeof *log->entries);
}
