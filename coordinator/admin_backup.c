/* admin_backup: the verb backup: the ledger as a file, in pieces. The node keeps one backup until the next is
 * begun. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/admin_task.h"
#include "coordinator/backup.h"

enum { PIECE = 192 << 10 /* bytes; twice as long in the answer, in hexadecimal */ };

/* Taken now: this node's applied state. */
static int begin(struct admin_task *t, struct admin_backup *b, struct tx_error *e)
{
    struct replog_status log;
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return err_set(e, TX_EIO, "getrandom gives no random bytes");
    replog_status(t->with->replog, &log);
    buf_release(&b->file);
    buf_init(&b->file);
    b->number = number >> 12; /* a double in JSON takes it; no other node's is the same */
    b->index = log.applied_index;
    backup_make(driver_ledger(t->with->driver), b->index, &b->file);
    return b->file.failed ? err_set(e, TX_ENOMEM, "no memory for a backup") : TX_OK;
}

static int add_piece(struct admin_task *t, const struct admin_backup *b, size_t at, struct tx_error *e)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = b->file.len - at < PIECE ? b->file.len - at : PIECE;
    char *text = malloc(2 * n + 1);

    if (text == NULL)
        return err_set(e, TX_ENOMEM, "no memory for the answer");
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[b->file.data[at + i] >> 4];
        text[2 * i + 1] = digits[b->file.data[at + i] & 15];
    }
    text[2 * n] = '\0';
    cJSON_AddStringToObject(t->answer, "data", text);
    free(text);
    return TX_OK;
}

/* Without a leader nobody tells how much of the log is committed, so some of that may be missing. */
static void add_warning(struct admin_task *t)
{
    struct replog_status log;
    char text[TEXT_LIMIT + 1];

    if (*driver_leader(t->with->driver) != '\0')
        return;
    replog_status(t->with->replog, &log);
    snprintf(text, sizeof text,
             "node %" PRIu64 " has no leader: what was decided after index %" PRIu64
             " is not in it, and its log goes on to %" PRIu64 " at least",
             log.node_id, admin_task_backup(t)->index, log.last_index);
    cJSON_AddStringToObject(t->answer, "warning", text);
}

/* {at, number} -> number, index, size, data (hexadecimal), warning. at 0 begins a new one; number as answered
 * to that. */
int admin_backup(struct admin_task *t, struct tx_error *e)
{
    struct admin_backup *b = admin_task_backup(t);
    uint64_t at = admin_task_number(t, "at", 0);
    const char *remedy, *outside = admin_outside(t->with->replog, &remedy);
    int rc = TX_OK;

    t->quiet = at != 0;
    if (outside != NULL)
        return err_set(e, TX_EREFUSED, "%s: %s", outside, remedy);
    if (at == 0)
        rc = begin(t, b, e);
    else if (admin_task_number(t, "number", 0) != b->number || at >= b->file.len)
        rc = err_set(e, TX_EREFUSED,
                     "another backup was begun at this node meanwhile, or its lead went; begin again");
    if (rc == TX_OK)
        rc = add_piece(t, b, (size_t)at, e);
    if (rc != TX_OK)
        return rc;
    admin_add_number(t->answer, "number", b->number);
    admin_add_number(t->answer, "index", b->index);
    admin_add_number(t->answer, "size", b->file.len);
    add_warning(t);
    return TX_OK;
}
