/* rm_mariadb: MariaDB as a resource manager: the table of operations, opening and closing, and helpers of its
 * other files; see rm_mariadb_impl.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

/* helpers */

void rm_mariadb_error_text(const struct maria_result *r, char *out, size_t size)
{
    if (r == NULL)
        snprintf(out, size, "unexpected answer");
    else
        snprintf(out, size, "%u: %s", r->error, r->text);
}

const char *rm_mariadb_value(const struct maria_reply *reply, unsigned i, unsigned column)
{
    MYSQL_RES *rows = i < reply->n ? reply->results[i].rows : NULL;
    MYSQL_ROW row;

    if (rows == NULL || column >= mysql_num_fields(rows))
        return NULL;
    mysql_data_seek(rows, 0);
    row = mysql_fetch_row(rows);
    return row == NULL ? NULL : row[column];
}

const struct maria_result *rm_mariadb_failure(const struct maria_reply *reply)
{
    for (unsigned i = 0; i < reply->n; i++) {
        if (reply->results[i].error != 0)
            return &reply->results[i];
    }
    return NULL;
}

bool rm_mariadb_all_done(const struct maria_reply *reply, unsigned n)
{
    return reply->n == n && rm_mariadb_failure(reply) == NULL;
}

void rm_mariadb_xid(const char *gid, char xid[XA_XID_SQL_SIZE])
{
    struct txid id;
    unsigned branch;

    if (!gid_parse(gid, &id, &branch))
        abort();
    xa_xid_format(&id, branch, xid);
}

void rm_mariadb_key(const char *gid, char key[XA_KEY_SQL_SIZE])
{
    struct txid id;
    unsigned branch;

    if (!gid_parse(gid, &id, &branch))
        abort();
    xa_xid_key(&id, branch, key);
}

bool rm_mariadb_next_gid(MYSQL_RES *rows, char gid[GID_SIZE])
{
    unsigned long *lengths;
    struct txid id;
    unsigned branch;
    MYSQL_ROW row;

    while (rows != NULL && (row = mysql_fetch_row(rows)) != NULL) {
        lengths = mysql_fetch_lengths(rows);
        if (!xa_xid_parse(strtoull(row[0], NULL, 10), strtoull(row[1], NULL, 10), strtoull(row[2], NULL, 10),
                          row[3], lengths[3], &id, &branch))
            continue;
        gid_format(&id, branch, gid);
        return true;
    }
    return false;
}

bool rm_mariadb_listed(const struct maria_reply *reply, unsigned i, const char *gid)
{
    MYSQL_RES *rows = i < reply->n ? reply->results[i].rows : NULL;
    char listed[GID_SIZE];

    if (rows != NULL)
        mysql_data_seek(rows, 0);
    while (rm_mariadb_next_gid(rows, listed)) {
        if (strcmp(listed, gid) == 0)
            return true;
    }
    return false;
}

/* opening and closing */

static int rm_mariadb_open(struct rm **out, const struct rm_options *options, struct tx_error *e)
{
    struct rm *rm;
    int rc;

    if (options->connections < MARIA_CONNECTIONS_MIN || options->connections > MARIA_CONNECTIONS_MAX)
        return err_set(e, TX_EINVAL, "%u connections; from %d to %d are possible", options->connections,
                       MARIA_CONNECTIONS_MIN, MARIA_CONNECTIONS_MAX);
    rm = calloc(1, sizeof *rm);
    if (rm == NULL)
        return err_set(e, TX_ENOMEM, "no memory");
    rm->options = *options;
    rc = rm_mariadb_settings_parse(&rm->settings, options->settings, e);
    if (rc != TX_OK) {
        rm_mariadb_settings_release(&rm->settings);
        free(rm);
        return rc;
    }
    rm_mariadb_pool_open(rm);
    *out = rm;
    return TX_OK;
}

void rm_mariadb_closed(struct rm *rm)
{
    void (*closed)(void *arg) = rm->closed;
    void *arg = rm->closed_arg;

    rm_mariadb_settings_release(&rm->settings);
    free(rm);
    closed(arg);
}

static void rm_mariadb_close(struct rm *rm, void (*closed)(void *arg), void *arg)
{
    rm->closed = closed;
    rm->closed_arg = arg;
    rm_mariadb_pool_close(rm);
}

const struct rm_ops rm_mariadb_ops = {
    .kind = "mariadb",
    .by_hand = "sql/in-doubt-mariadb.sql",
    .open = rm_mariadb_open,
    .close = rm_mariadb_close,
    .begin = rm_mariadb_work_begin,
    .exec = rm_mariadb_work_exec,
    .prepare = rm_mariadb_work_prepare,
    .prove = rm_mariadb_work_prove,
    .one_phase = rm_mariadb_work_one_phase,
    .abandon = rm_mariadb_work_abandon,
    .end = rm_mariadb_work_end,
    .look = rm_mariadb_look,
    .commit = rm_mariadb_commit,
    .rollback = rm_mariadb_rollback,
    .status = rm_mariadb_status,
    .list = rm_mariadb_list,
    .inspect = rm_mariadb_inspect,
    .diagnose = rm_mariadb_diagnose,
    .test = rm_mariadb_test,
};
