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
    replog_log_free_replaced(log);
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
    log->bytes += e->len;
    return 0;
}

/* Reserves first: afterwards nothing can fail. */
static int set_aside(struct replog_log *log, size_t from)
{
    size_t need = log->n_replaced + (log->n - from);
    uint8_t **grown = realloc(log->replaced, (need + 1) * sizeof *grown);

    if (grown == NULL)
        return TX_ENOMEM;
    log->replaced = grown;
    for (size_t i = from; i < log->n; i++) {
        log->replaced[log->n_replaced++] = log->entries[i].data;
        log->bytes -= log->entries[i].len;
    }
    log->n = from;
    return 0;
}

int replog_log_truncate(struct replog_log *log, uint64_t index)
{
    assert(index >= log->first && index <= replog_log_last(log));
    return set_aside(log, (size_t)(index - log->first));
}

int replog_log_restart(struct replog_log *log, uint64_t first)
{
    int rc = set_aside(log, 0);

    log->first = first;
    return rc;
}

void replog_log_free_replaced(struct replog_log *log)
{
    for (size_t i = 0; i < log->n_replaced; i++)
        free(log->replaced[i]);
    free(log->replaced);
    log->replaced = NULL;
    log->n_replaced = 0;
}

void replog_log_drop_before(struct replog_log *log, uint64_t keep)
{
    size_t gone = keep > log->first ? (size_t)(keep - log->first) : 0;

    if (gone == 0)
        return;
    assert(gone <= log->n);
    for (size_t i = 0; i < gone; i++) {
        log->bytes -= log->entries[i].len;
        free(log->entries[i].data);
    }
    log->n -= gone;
    log->first += gone;
    memmove(log->entries, log->entries + gone, log->n * sizeof *log->entries);
}
