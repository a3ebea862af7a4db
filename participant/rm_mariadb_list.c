/* rm_mariadb_list: what is prepared in a MariaDB server; see rm_mariadb_impl.h.
 *
 * XA RECOVER lists all of the server's, without order or age. The receipts, not yet to be seen by everybody,
 * tell since when and by which session; a branch that has none and is still listed afterwards is nobody's that
 * follows the rules, and old. Receipts are looked up for the page and some more, in case branches leave it
 * meanwhile; those behind are many, so they count as in doubt, for the figures.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

enum { LIST_OLD_MS = 3600000, LIST_SPARE = 1000 };

struct list_entry {
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1];
    uint64_t age_ms;
    bool written, listed; /* its receipt was seen; it was in the second list */
};

struct maria_list {
    struct maria_job job; /* first */
    struct rm *rm;
    struct maria_conn *conn;
    rm_list_cb done;
    void *arg;
    unsigned limit;
    char prefix[GID_SIZE], after[GID_SIZE];
    struct list_entry *entries;
    size_t n, looked; /* all; the first so many, whose receipts are looked up */
    bool receipts;    /* asked for */
};

static void list_count(struct rm_list *list, uint64_t age_ms)
{
    list->total++;
    list->in_doubt += age_ms >= RM_YOUNG_MS;
    if (age_ms > list->oldest_ms)
        list->oldest_ms = age_ms;
}

/* The page, and the figures. `found` has room for it. */
static void list_fill(const struct maria_list *l, struct rm_found *found, struct rm_list *list)
{
    for (size_t i = 0; i < l->looked; i++) {
        const struct list_entry *entry = &l->entries[i];

        if (!entry->written && !entry->listed)
            continue;
        list_count(list, entry->age_ms);
        if (list->n < (int)l->limit)
            found[list->n++] =
                (struct rm_found){entry->gid, entry->age_ms, entry->written ? entry->proof : NULL};
    }
    list->total += (uint32_t)(l->n - l->looked);
    list->in_doubt += (uint32_t)(l->n - l->looked);
}

static void list_end(struct maria_list *l, bool good)
{
    struct rm_found *found = good ? calloc(l->looked + 1, sizeof *found) : NULL;
    struct rm_list list = {.found = found, .n = found == NULL ? -1 : 0};

    if (found != NULL)
        list_fill(l, found, &list);
    if (l->conn != NULL)
        rm_mariadb_conn_release(l->conn, true);
    l->done(l->arg, &list);
    free(found);
    free(l->entries);
    free(l);
}

static void list_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_list *l = (struct maria_list *)job;

    (void)code;
    (void)text;
    l->conn = NULL;
    list_end(l, false);
}

static void list_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_list *l = (struct maria_list *)job;
    const char *const sql[] = {"XA RECOVER"};

    l->conn = c;
    job->deadline_ms = uv_now(l->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    rm_mariadb_send(c, sql, 1, false);
}

static int list_compare(const void *a, const void *b)
{
    return strcmp(((const struct list_entry *)a)->gid, ((const struct list_entry *)b)->gid);
}

/* What was asked for, out of all that is prepared, and how much of it is to be looked at. */
static bool list_take(struct maria_list *l, MYSQL_RES *rows)
{
    char gid[GID_SIZE];

    l->entries = calloc((size_t)mysql_num_rows(rows) + 1, sizeof *l->entries);
    if (l->entries == NULL)
        return false;
    while (rm_mariadb_next_gid(rows, gid)) {
        if (strncmp(gid, l->prefix, strlen(l->prefix)) == 0 && strcmp(gid, l->after) > 0)
            memcpy(l->entries[l->n++].gid, gid, sizeof gid);
    }
    qsort(l->entries, l->n, sizeof *l->entries, list_compare);
    l->looked = l->n < l->limit + LIST_SPARE ? l->n : l->limit + LIST_SPARE;
    return true;
}

static void list_ask_receipts(struct maria_list *l)
{
    char key[XA_KEY_SQL_SIZE];
    const char *batch[3];
    struct buf sql;

    buf_init(&sql);
    static const char select[] =
        "SELECT gid, thread, CAST((UNIX_TIMESTAMP(NOW(3)) - UNIX_TIMESTAMP(at)) * 1000 AS "
        "INTEGER) FROM assent.receipt WHERE gid IN (''";
    buf_put_bytes(&sql, select, sizeof select - 1);
    for (size_t i = 0; i < l->looked; i++) {
        rm_mariadb_key(l->entries[i].gid, key);
        buf_put_bytes(&sql, ",", 1);
        buf_put_bytes(&sql, key, strlen(key));
    }
    buf_put_bytes(&sql, ")", 2);
    if (sql.failed)
        abort();
    l->receipts = true;
    batch[0] = "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED";
    batch[1] = (const char *)sql.data;
    batch[2] = "XA RECOVER";
    rm_mariadb_send(l->conn, batch, 3, false);
    buf_release(&sql);
}

static struct list_entry *list_find(struct maria_list *l, const char *gid)
{
    struct list_entry key;

    snprintf(key.gid, sizeof key.gid, "%s", gid);
    return bsearch(&key, l->entries, l->looked, sizeof key, list_compare);
}

static void list_take_receipts(struct maria_list *l, MYSQL_RES *rows)
{
    struct list_entry *entry;
    char gid[GID_SIZE];
    struct txid id;
    unsigned branch;
    MYSQL_ROW row;

    while (rows != NULL && (row = mysql_fetch_row(rows)) != NULL) {
        if (!xa_xid_parse_key(row[0], mysql_fetch_lengths(rows)[0], &id, &branch))
            continue;
        gid_format(&id, branch, gid);
        entry = list_find(l, gid);
        if (entry == NULL)
            continue;
        entry->written = true;
        entry->age_ms = *row[2] == '-' ? 0 : strtoull(row[2], NULL, 10);
        snprintf(entry->proof, sizeof entry->proof, "thread=%.20s", row[1]);
    }
}

static void list_take_again(struct maria_list *l, MYSQL_RES *rows)
{
    struct list_entry *entry;
    char gid[GID_SIZE];

    while (rm_mariadb_next_gid(rows, gid)) {
        entry = list_find(l, gid);
        if (entry == NULL)
            continue;
        entry->listed = true;
        if (!entry->written)
            entry->age_ms = LIST_OLD_MS;
    }
}

static void list_receipts_known(struct maria_list *l, const struct maria_reply *reply)
{
    bool good = rm_mariadb_all_done(reply, 3);

    if (good) {
        list_take_receipts(l, reply->results[1].rows);
        list_take_again(l, reply->results[2].rows);
    }
    list_end(l, good);
}

static void list_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_list *l = (struct maria_list *)job;

    (void)c;
    if (l->receipts)
        list_receipts_known(l, reply);
    else if (!rm_mariadb_all_done(reply, 1) || !list_take(l, reply->results[0].rows))
        list_end(l, false);
    else if (l->n == 0)
        list_end(l, true);
    else
        list_ask_receipts(l);
}

void rm_mariadb_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                     void *arg)
{
    struct maria_list *l = calloc(1, sizeof *l);

    if (l == NULL)
        abort();
    l->rm = rm;
    l->done = done;
    l->arg = arg;
    l->limit = limit;
    l->job.first = true;
    l->job.start = list_start;
    l->job.replied = list_replied;
    l->job.dropped = list_dropped;
    snprintf(l->prefix, sizeof l->prefix, "%s", prefix);
    snprintf(l->after, sizeof l->after, "%s", after);
    rm_mariadb_pool_submit(rm, &l->job);
}
