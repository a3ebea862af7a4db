/* rm_pg: PostgreSQL as a resource manager: the table of operations, opening and closing, the list of what is
 * prepared, and helpers of its other files; see rm_pg.h.
 */
#include "participant/rm_pg.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* helpers */

void rm_pg_error_text(const PGresult *r, char *out, size_t size)
{
    const char *state = r == NULL ? NULL : PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *message = r == NULL ? NULL : PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = r == NULL ? NULL : PQresultErrorField(r, PG_DIAG_MESSAGE_HINT);

    if (message == NULL)
        snprintf(out, size, "unexpected answer %s", r == NULL ? "(none)" : PQresStatus(PQresultStatus(r)));
    else
        snprintf(out, size, "%s: %s%s%s", state == NULL ? "?????" : state, message,
                 hint == NULL ? "" : "; hint: ", hint == NULL ? "" : hint);
}

bool rm_pg_is_sqlstate(const PGresult *r, const char *state)
{
    const char *have = r == NULL ? NULL : PQresultErrorField(r, PG_DIAG_SQLSTATE);

    return have != NULL && strcmp(have, state) == 0;
}

bool rm_pg_is_tag(const PGresult *r, const char *tag)
{
    return r != NULL && PQresultStatus(r) == PGRES_COMMAND_OK &&
           strcmp(PQcmdStatus((PGresult *)(uintptr_t)r), tag) == 0;
}

const char *rm_pg_value(const PGresult *r, int column)
{
    if (r == NULL || PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) == 0 || PQgetisnull(r, 0, column))
        return NULL;
    return PQgetvalue(r, 0, column);
}

static struct pg_proof proof_here(const struct pg_conn *c)
{
    struct pg_proof p = {.timeline = c->timeline};

    snprintf(p.system, sizeof p.system, "%s", c->system);
    return p;
}

void rm_pg_proof_of_vote(const struct pg_conn *c, const PGresult *r, char out[PROOF_LIMIT + 1])
{
    struct pg_proof p = proof_here(c);
    const char *xid = rm_pg_value(r, 1);

    snprintf(p.xid, sizeof p.xid, "%s", xid == NULL ? "" : xid);
    p.lsn = pg_lsn_parse(rm_pg_value(r, 2));
    pg_proof_format(&p, out);
}

void rm_pg_proof_format_one_phase(const char *xid, const char *epoch, char out[PROOF_LIMIT + 1])
{
    out[0] = '\0';
    if (xid != NULL)
        snprintf(out, PROOF_LIMIT + 1, "xid=%.20s", xid);
    if (xid != NULL && epoch != NULL)
        snprintf(out + strlen(out), PG_EPOCH_SIZE + 8, " epoch=%.*s", PG_EPOCH_SIZE - 1, epoch);
}

bool rm_pg_proof_parse_one_phase(const char *proof, char xid[PG_XID_SIZE], char epoch[PG_EPOCH_SIZE])
{
    int end = 0;

    epoch[0] = '\0';
    if (sscanf(proof, "xid=%20[0-9]%n epoch=%39[0-9./A-F]%n", xid, &end, epoch, &end) < 1)
        return false;
    return proof[end] == '\0';
}

void rm_pg_proof_of_prepared(const struct pg_conn *c, const char *xid32, const char *snapshot_end,
                             char out[PROOF_LIMIT + 1])
{
    struct pg_proof p = proof_here(c);
    uint64_t end;

    out[0] = '\0';
    if (xid32 == NULL || snapshot_end == NULL)
        return;
    end = strtoull(snapshot_end, NULL, 10);
    /* Less than 2^31 before the snapshot's end, as every xid that is still running. */
    end -= (uint32_t)((uint32_t)end - (uint32_t)strtoul(xid32, NULL, 10));
    snprintf(p.xid, sizeof p.xid, "%" PRIu64, end);
    pg_proof_format(&p, out);
}

/* the list */

struct pg_list {
    struct pg_job job; /* first */
    struct rm *rm;
    rm_list_cb done;
    void *arg;
    unsigned limit;
    char prefix[GID_SIZE], after[GID_SIZE];
};

static void list_dropped(struct pg_job *job, int code, const char *text)
{
    struct pg_list *l = (struct pg_list *)job;

    const struct rm_list unknown = {.n = -1};

    (void)code;
    (void)text;
    l->done(l->arg, &unknown);
    free(l);
}

static void list_start(struct pg_job *job, struct pg_conn *c)
{
    struct pg_list *l = (struct pg_list *)job;
    char limit[16], young[16];
    const char *values[] = {l->prefix, l->after, limit, young};
    const struct rm_statement s = {
        "SELECT gid, age, transaction, (SELECT pg_snapshot_xmax(pg_current_snapshot())), count(*) OVER (),"
        " count(*) FILTER (WHERE age >= $4::bigint) OVER (), max(age) OVER ()"
        " FROM (SELECT gid, transaction,"
        "   greatest(0, extract(epoch FROM clock_timestamp() - prepared) * 1000)::bigint AS age"
        "  FROM pg_prepared_xacts"
        "  WHERE database = current_database() AND starts_with(gid, $1) AND gid COLLATE \"C\" > $2) p"
        " ORDER BY gid COLLATE \"C\" LIMIT $3::int",
        4, values};

    snprintf(young, sizeof young, "%d", RM_YOUNG_MS);
    snprintf(limit, sizeof limit, "%u", l->limit);
    job->deadline_ms = uv_now(l->rm->options.loop) + PG_FINISH_TIMEOUT_MS;
    rm_pg_send_statement(c, &s, false);
}

static void list_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    struct pg_list *l = (struct pg_list *)job;
    const PGresult *r = reply->n > 0 ? reply->results[0] : NULL;
    bool good = PQresultStatus(r) == PGRES_TUPLES_OK;
    int n = good ? PQntuples(r) : 0;
    struct rm_found *found = calloc((size_t)n + 1, sizeof *found);
    char(*proofs)[PROOF_LIMIT + 1] = calloc((size_t)n + 1, sizeof *proofs);
    struct rm_list list = {.found = found, .n = good && found != NULL && proofs != NULL ? n : -1};

    if (n > 0) {
        list.total = (uint32_t)strtoul(PQgetvalue(r, 0, 4), NULL, 10);
        list.in_doubt = (uint32_t)strtoul(PQgetvalue(r, 0, 5), NULL, 10);
        list.oldest_ms = strtoull(PQgetvalue(r, 0, 6), NULL, 10);
    }
    for (int i = 0; i < list.n; i++) {
        rm_pg_proof_of_prepared(c, PQgetvalue(r, i, 2), PQgetvalue(r, i, 3), proofs[i]);
        found[i].gid = PQgetvalue(r, i, 0);
        found[i].age_ms = strtoull(PQgetvalue(r, i, 1), NULL, 10);
        found[i].proof = proofs[i];
    }
    rm_pg_conn_release(c, true);
    l->done(l->arg, &list);
    free(found);
    free(proofs);
    free(l);
}

static void rm_pg_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                       void *arg)
{
    struct pg_list *l = calloc(1, sizeof *l);

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
    rm_pg_pool_submit(rm, &l->job);
}

/* opening and closing */

/* libpq's own message could quote a piece of a password that was not quoted, so it is not passed on. */
static int rm_pg_check_settings(const char *settings, struct tx_error *e)
{
    PQconninfoOption *parsed = PQconninfoParse(settings, NULL);

    if (parsed == NULL)
        return err_set(
            e, TX_EINVAL,
            "the settings are no libpq connection string; write postgresql host=… dbname=… user=…, and "
            "values with blanks in single quotes");
    PQconninfoFree(parsed);
    return TX_OK;
}

static int rm_pg_open(struct rm **out, const struct rm_options *options, struct tx_error *e)
{
    struct rm *rm;
    int rc = rm_pg_check_settings(options->settings, e);

    if (rc != TX_OK)
        return rc;
    if (options->connections < PG_CONNECTIONS_MIN || options->connections > PG_CONNECTIONS_MAX)
        return err_set(e, TX_EINVAL, "%u connections; from %d to %d are possible", options->connections,
                       PG_CONNECTIONS_MIN, PG_CONNECTIONS_MAX);
    rm = calloc(1, sizeof *rm);
    if (rm == NULL)
        return err_set(e, TX_ENOMEM, "no memory");
    rm->options = *options;
    rm->settings = strdup(options->settings);
    if (rm->settings == NULL) {
        free(rm);
        return err_set(e, TX_ENOMEM, "no memory");
    }
    rm_pg_pool_open(rm);
    *out = rm;
    return TX_OK;
}

void rm_pg_closed(struct rm *rm)
{
    void (*closed)(void *arg) = rm->closed;
    void *arg = rm->closed_arg;

    free(rm->settings);
    free(rm);
    closed(arg);
}

static void rm_pg_close(struct rm *rm, void (*closed)(void *arg), void *arg)
{
    rm->closed = closed;
    rm->closed_arg = arg;
    rm_pg_pool_close(rm);
}

const struct rm_ops rm_pg_ops = {
    .kind = "postgresql",
    .by_hand = "sql/in-doubt-postgresql.sql",
    .open = rm_pg_open,
    .close = rm_pg_close,
    .begin = rm_pg_work_begin,
    .exec = rm_pg_work_exec,
    .prepare = rm_pg_work_prepare,
    .prove = rm_pg_work_prove,
    .one_phase = rm_pg_work_one_phase,
    .abandon = rm_pg_work_abandon,
    .end = rm_pg_work_end,
    .look = rm_pg_look,
    .commit = rm_pg_commit,
    .rollback = rm_pg_rollback,
    .status = rm_pg_status,
    .list = rm_pg_list,
    .inspect = rm_pg_inspect,
    .diagnose = rm_pg_diagnose,
    .test = rm_pg_test,
};
