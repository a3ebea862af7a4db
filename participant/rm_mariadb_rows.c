/* rm_mariadb_rows: a statement's rows, as a message carries them; see rm_mariadb_impl.h. Called by
 * rm_mariadb_work.c.
 */
#include <string.h>

#include "participant/rm_mariadb_impl.h"

void rm_mariadb_rows_init(struct maria_rows *r)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->cells);
}

void rm_mariadb_rows_release(struct maria_rows *r)
{
    buf_release(&r->cells);
}

void rm_mariadb_rows_reset(struct maria_rows *r)
{
    r->n_rows = 0;
    r->n_columns = 0;
    r->too_big = false;
    buf_reset(&r->cells);
}

void rm_mariadb_rows_columns(struct maria_rows *r, const MYSQL_FIELD *fields, unsigned n)
{
    r->n_columns = (uint16_t)n;
    for (unsigned i = 0; i < n; i++)
        buf_put_str(&r->cells, fields[i].name);
}

/* What would not fit into a message is read away. */
bool rm_mariadb_rows_add(struct maria_rows *r, const char *const *values, unsigned n)
{
    if (r->too_big)
        return true;
    r->n_rows++;
    for (unsigned i = 0; i < n; i++)
        buf_put_str(&r->cells, values[i]);
    r->too_big = r->cells.failed || r->cells.len > ROWS_LIMIT - 1024;
    if (r->too_big)
        buf_release(&r->cells);
    return !r->too_big;
}

bool rm_mariadb_rows_result(const struct maria_rows *r, const struct maria_result *result,
                            struct wire_rows *rows, char text[TEXT_LIMIT + 1])
{
    *rows = (struct wire_rows){.code = TX_OK};
    if (r->too_big) {
        rows->code = TX_ETOOBIG;
        rows->text = "the rows are more than a message may carry; ask for fewer at a time";
    } else if (result->error != 0) {
        rm_mariadb_error_text(result, text, TEXT_LIMIT + 1);
        rows->code = TX_ESTATEMENT;
        rows->text = text;
    } else {
        rows->affected = result->affected;
        rows->n_rows = r->n_rows;
        rows->n_columns = r->n_columns;
        rows->cells = r->cells.data;
        rows->cells_len = r->cells.len;
    }
    return rows->code == TX_OK;
}
