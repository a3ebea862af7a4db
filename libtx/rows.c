/* rows: see rows.h, and libtx.h for the public functions. The values stay where they came, in the message;
 * there is an index into it.
 */
#include "libtx/rows.h"

#include <limits.h>
#include <stdlib.h>

#include "libtx/libtx.h"

struct txn_rows {
    struct channel_message message;
    int n_rows, n_columns;
    long long affected;
    const char *cells[]; /* n_columns names, then the values row by row */
};

/* wire_decode() has made sure that the cells are there, all of them. */
struct txn_rows *rows_take(const struct wire_rows *w, struct channel_message *message)
{
    size_t n = (size_t)w->n_columns * (w->n_rows + (size_t)1);
    struct txn_rows *rows = malloc(sizeof *rows + n * sizeof rows->cells[0]);
    struct cur c;

    if (rows == NULL)
        return NULL;
    cur_init(&c, w->cells, w->cells_len);
    for (size_t i = 0; i < n; i++)
        rows->cells[i] = cur_str(&c, ROWS_LIMIT);
    /* Without columns there can be any number of rows: they take no room. */
    rows->n_rows = w->n_rows > INT_MAX ? INT_MAX : (int)w->n_rows;
    rows->n_columns = w->n_columns;
    rows->affected = w->affected > LLONG_MAX ? LLONG_MAX : (long long)w->affected;
    rows->message = *message;
    message->data = NULL;
    return rows;
}

int txn_rows_count(const txn_rows *rows)
{
    return rows->n_rows;
}

int txn_rows_columns(const txn_rows *rows)
{
    return rows->n_columns;
}

const char *txn_rows_name(const txn_rows *rows, int column)
{
    return column >= 0 && column < rows->n_columns ? rows->cells[column] : NULL;
}

const char *txn_rows_value(const txn_rows *rows, int row, int column)
{
    if (row < 0 || row >= rows->n_rows || column < 0 || column >= rows->n_columns)
        return NULL;
    return rows->cells[((size_t)row + 1) * (size_t)rows->n_columns + (size_t)column];
}

long long txn_rows_affected(const txn_rows *rows)
{
    return rows->affected;
}

void txn_rows_free(txn_rows *rows)
{
    if (rows == NULL)
        return;
    channel_release(&rows->message);
    free(rows);
}
