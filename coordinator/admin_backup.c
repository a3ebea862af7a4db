/* admin_backup: the verb backup: the ledger as a file, in pieces. The node keeps one backup until its last
 * piece is fetched, or until the next is begun. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"
#include "coordinator/backup.h"

enum { PIECE = 192 << 10 /* bytes; twice as long in the answer, in hexadecimal */ };

/* Taken now: this node's applied state. */
static int begin(struct admin_task *t, struct admin_backup *b, struct tx_error *e)
{
    struct replog_status log;

    replog_status(t->with->replog, &log);
    buf_release(&b->file);
    buf_init(&b->file);
    b->number++;
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

/* {at, number} -> number, index, size, data (hexadecimal). at 0 begins a new one; number as answered to that.
 */
int admin_backup(struct admin_task *t, struct tx_error *e)
{
    struct admin_backup *b = admin_task_backup(t);
    uint64_t at = admin_task_number(t, "at", 0);
    int rc = TX_OK;

    if (ledger_group(driver_ledger(t->with->driver)) == 0)
        return err_set(e, TX_EREFUSED, "this node waits to be added to a group");
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
    return TX_OK;
}
