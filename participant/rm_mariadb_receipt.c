/* rm_mariadb_receipt: the receipt of a commit in one phase; and old receipts go, in small batches; see
 * rm_mariadb_impl.h. Called by rm_mariadb_work.c, and by the pool once in a while.
 *
 * Before a batch is deleted the mark moves: the row with the empty key tells how old a receipt can be without
 * having been deleted. So one that is missing can be told from one that was never committed, and a deleted one
 * leads to a hazard, never to a wrong answer. Only what everybody sees is deleted, by its key, so that the
 * locks of branches in doubt hold nothing up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "participant/rm_mariadb_impl.h"

void rm_mariadb_receipt_one_phase(char key[MARIA_RECEIPT_SIZE], char *sql, size_t size)
{
    unsigned char token[MARIA_TOKEN_SIZE];
    char *tail = key + strlen(key) - 1; /* at the quote */

    if (getrandom(token, sizeof token, 0) != (ssize_t)sizeof token)
        abort();
    for (size_t i = 0; i < sizeof token; i++)
        tail += sprintf(tail, "%02x", token[i]);
    strcpy(tail, "'");
    snprintf(sql, size, XA_RECEIPT_INSERT " RETURNING UNIX_TIMESTAMP(at)", key);
}

struct maria_prune {
    struct maria_job job; /* first */
    struct rm *rm;
    struct maria_conn *conn;
    bool deleting, more;
};

static void prune_end(struct maria_prune *p)
{
    struct rm *rm = p->rm;

    rm->pruning = false;
    rm->prune_at_ms = uv_now(rm->options.loop) + (p->more ? 0 : MARIA_PRUNE_MS);
    /* What it wrote is not to be taken for a write of the next branch there. */
    if (p->conn != NULL)
        rm_mariadb_conn_release(p->conn, !p->deleting);
    free(p);
}

static void prune_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_prune *p = (struct maria_prune *)job;

    (void)code;
    (void)text;
    p->conn = NULL;
    p->more = false;
    prune_end(p);
}

static void prune_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_prune *p = (struct maria_prune *)job;
    char sql[256];
    const char *const batch[] = {"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", sql};

    p->conn = c;
    job->deadline_ms = uv_now(p->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    snprintf(sql, sizeof sql,
             "SELECT HEX(gid), at FROM assent.receipt WHERE gid <> '' AND at < NOW(3) - INTERVAL %u SECOND"
             " ORDER BY at LIMIT %d",
             p->rm->settings.receipts_ms / 1000, MARIA_PRUNE_BATCH);
    rm_mariadb_send(c, batch, 2, false);
}

/* Joined, row by row in this order, so that each is found by its key, whatever the optimizer thinks: a scan
 * would wait for the receipts of branches in doubt. */
static const char delete[] = "DELETE r FROM (SELECT NULL AS gid";
static const char delete_end[] = ") k STRAIGHT_JOIN assent.receipt r ON r.gid = k.gid";

static void prune_delete(struct maria_prune *p, MYSQL_RES *rows)
{
    char mark[192] = "";
    const char *batch[3];
    struct buf sql;
    MYSQL_ROW row;

    buf_init(&sql);
    buf_put_bytes(&sql, delete, sizeof delete - 1);
    while ((row = mysql_fetch_row(rows)) != NULL) {
        buf_put_bytes(&sql, " UNION ALL SELECT X'", 20);
        buf_put_bytes(&sql, row[0], strlen(row[0]));
        buf_put_bytes(&sql, "'", 1);
        snprintf(mark, sizeof mark,
                 "INSERT INTO assent.receipt (gid, thread, at) VALUES ('', 0, '%.30s')"
                 " ON DUPLICATE KEY UPDATE at = GREATEST(at, VALUES(at))",
                 row[1]);
    }
    buf_put_bytes(&sql, delete_end, sizeof delete_end);
    if (sql.failed)
        abort();
    p->deleting = true;
    p->more = mysql_num_rows(rows) == MARIA_PRUNE_BATCH;
    batch[0] = mark;
    batch[1] = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
    batch[2] = (const char *)sql.data;
    rm_mariadb_send(p->conn, batch, 3, false);
    buf_release(&sql);
}

static void prune_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_prune *p = (struct maria_prune *)job;

    (void)c;
    p->more = p->more && rm_mariadb_failure(reply) == NULL;
    if (!p->deleting && rm_mariadb_all_done(reply, 2) && mysql_num_rows(reply->results[1].rows) > 0)
        prune_delete(p, reply->results[1].rows);
    else
        prune_end(p);
}

void rm_mariadb_prune(struct rm *rm)
{
    struct maria_prune *p = calloc(1, sizeof *p);

    if (p == NULL)
        return;
    rm->pruning = true;
    p->rm = rm;
    p->job.start = prune_start;
    p->job.replied = prune_replied;
    p->job.dropped = prune_dropped;
    rm_mariadb_pool_submit(rm, &p->job);
}
