/* rm_pg_work: a branch's work on its PostgreSQL connection, from the first statement to the vote; see rm_pg.h.
 *
 * exec … exec ─┬─▶ prepare:   xid asked ─▶ none: COMMIT (read-only) / proof asked and PREPARE TRANSACTION
 *              │              or, where the resource's last branch wrote, the latter at once
 *              ├─▶ prove:     xid and epoch asked ─▶ one phase: COMMIT
 *              └─▶ abandon:   ROLLBACK
 * The proof comes before COMMIT is sent, or in one string with PREPARE, so that the outcome can be told when
 * the answer is lost. Connection lost: before PREPARE or COMMIT was sent the work is rolled back for sure;
 * afterwards it is not known (PostgreSQL 15 manual, «PREPARE TRANSACTION»).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_pg.h"

enum work_phase {
    IN_NEW,
    IN_WAITING,     /* for a connection */
    IN_READY,       /* between statements */
    IN_EXECUTING,   /* a statement */
    IN_XID,         /* prepare: asked whether it wrote */
    IN_PREPARE,     /* PREPARE is sent */
    IN_READ_COMMIT, /* it wrote nothing: COMMIT is sent */
    IN_PROVING,     /* one phase: asked for what will prove its outcome */
    IN_ONE_COMMIT,  /* one phase: COMMIT is sent */
    IN_REFUSING,    /* prepare or one phase failed: ROLLBACK is sent */
    IN_ABANDONING,  /* ROLLBACK is sent */
    IN_OVER,        /* without a connection for good */
};

struct rm_work {
    struct pg_job job; /* first: a job's functions cast back */
    struct rm *rm;
    struct pg_conn *conn; /* while it has one */
    enum work_phase phase;
    bool abandoned; /* during a statement or prove: ROLLBACK comes next */
    bool proved;    /* `proof` is the one for one phase */
    void (*lost)(void *arg, const char *why);
    void *lost_arg;
    rm_rows_cb rows_done;
    void *rows_arg;
    enum pg_statement statement;    /* the one under way */
    rm_answer_cb done, proved_done; /* an abandon can come while prove is under way */
    void *arg, *proved_arg;
    struct rm_statement first; /* a copy, while it waits */
    void *first_memory;
    struct buf cells;
    uint32_t n_rows;
    uint16_t n_columns;
    bool too_big;
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1], text[TEXT_LIMIT + 1];
    char backend[80]; /* outlives the connection: look() asks whether it is still there */
};

static struct rm_work *work_of(struct pg_job *job)
{
    return (struct rm_work *)job;
}

/* ends */

/* Gives the connection back; the work is over. */
static void work_over(struct rm_work *w)
{
    struct pg_conn *c = w->conn;

    w->phase = IN_OVER;
    w->job.deadline_ms = 0;
    w->conn = NULL;
    if (c != NULL)
        rm_pg_conn_release(c, false);
}

static void work_answer(struct rm_work *w, enum rm_outcome outcome, const char *text, const char *proof)
{
    struct rm_answer a = {outcome, text, proof};
    rm_answer_cb done = w->done;

    w->done = NULL;
    if (done != NULL)
        done(w->arg, &a);
}

/* NULL: it has written nothing. */
static const char *work_proof(const struct rm_work *w)
{
    return w->proof[0] == '\0' ? NULL : w->proof;
}

static void work_answer_proof(struct rm_work *w, enum rm_outcome outcome, const char *text)
{
    struct rm_answer a = {outcome, text, outcome == RM_DONE ? work_proof(w) : NULL};
    rm_answer_cb done = w->proved_done;

    w->proved = outcome == RM_DONE;
    w->proved_done = NULL;
    if (done != NULL)
        done(w->proved_arg, &a);
}

static void work_rows(struct rm_work *w, const struct wire_rows *rows, bool lost)
{
    rm_rows_cb done = w->rows_done;

    w->rows_done = NULL;
    if (done != NULL)
        done(w->rows_arg, rows, lost);
}

static void work_rows_error(struct rm_work *w, int code, const char *text, bool lost)
{
    struct wire_rows rows = {.code = code, .text = text};

    work_rows(w, &rows, lost);
}

static void work_rollback(struct rm_work *w, enum work_phase phase)
{
    w->phase = phase;
    w->job.deadline_ms = uv_now(w->rm->options.loop) + PG_ABANDON_TIMEOUT_MS;
    rm_pg_send(w->conn, "ROLLBACK");
}

/* Votes no, after a ROLLBACK where the transaction is still open. */
static void work_refuse(struct rm_work *w, const PGresult *r, const char *text)
{
    if (text == NULL)
        rm_pg_error_text(r, w->text, sizeof w->text);
    else
        snprintf(w->text, sizeof w->text, "%s", text);
    if (PQtransactionStatus(w->conn->pg) != PQTRANS_IDLE) {
        work_rollback(w, IN_REFUSING);
        return;
    }
    work_over(w);
    work_answer(w, RM_REFUSED, w->text, NULL);
}

/* The connection broke while prove was under way. */
static void work_dropped_proving(struct rm_work *w, const char *text)
{
    work_answer_proof(w, RM_REFUSED, text);
    if (w->abandoned)
        work_answer(w, RM_DONE, NULL, NULL);
    else
        w->lost(w->lost_arg, text);
}

static void work_dropped(struct pg_job *job, int code, const char *text)
{
    struct rm_work *w = work_of(job);
    enum work_phase phase = w->phase;
    bool abandoned = w->abandoned;
    void (*lost)(void *arg, const char *why) = w->lost;

    w->conn = NULL;
    w->phase = IN_OVER;
    switch (phase) {
    case IN_READY:
        lost(w->lost_arg, text);
        return;
    case IN_WAITING:
    case IN_EXECUTING:
        if (code == TX_EUNKNOWN)
            code = TX_EROLLBACK;
        if (w->rows_done != NULL)
            work_rows_error(w, code, text, !abandoned);
        if (abandoned)
            work_answer(w, RM_DONE, NULL, NULL);
        return;
    case IN_PREPARE:
        work_answer(w, RM_UNKNOWN, text, NULL);
        return;
    case IN_PROVING:
        work_dropped_proving(w, text);
        return;
    case IN_ONE_COMMIT:
        work_answer(w, work_proof(w) != NULL ? RM_UNKNOWN : RM_REFUSED, text, work_proof(w));
        return;
    case IN_ABANDONING:
        work_answer(w, RM_DONE, NULL, NULL);
        return;
    default: /* nothing that could keep the work was sent, or it wrote nothing */
        work_answer(w, RM_REFUSED, text, NULL);
        return;
    }
}

/* statements */

static void work_names(struct rm_work *w, const PGresult *r)
{
    w->n_columns = (uint16_t)PQnfields(r);
    for (int i = 0; i < w->n_columns; i++)
        buf_put_str(&w->cells, PQfname(r, i));
}

/* One row of the answer. What would not fit into a message is read away, and the server asked to stop. */
static void work_row(struct pg_job *job, const PGresult *r)
{
    struct rm_work *w = work_of(job);

    if (w->too_big)
        return;
    if (w->n_rows == 0)
        work_names(w, r);
    w->n_rows++;
    for (int i = 0; i < w->n_columns; i++)
        buf_put_str(&w->cells, PQgetisnull(r, 0, i) ? NULL : PQgetvalue(r, 0, i));
    if (w->cells.failed || w->cells.len > ROWS_LIMIT - 1024) {
        w->too_big = true;
        buf_release(&w->cells);
        rm_pg_conn_cancel(w->conn);
    }
}

static uint64_t work_affected(const PGresult *r)
{
    static const char *const tags[] = {"INSERT ", "UPDATE ", "DELETE ", "MERGE "};
    const char *tag = PQcmdStatus((PGresult *)(uintptr_t)r);

    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (strncmp(tag, tags[i], strlen(tags[i])) == 0)
            return strtoull(PQcmdTuples((PGresult *)(uintptr_t)r), NULL, 10);
    }
    return 0;
}

static void work_rows_result(struct rm_work *w, const PGresult *r, bool lost)
{
    struct wire_rows rows = {.code = TX_OK};
    ExecStatusType status = PQresultStatus(r);

    if (w->too_big) {
        work_rows_error(w, TX_ETOOBIG, "the rows are more than a message may carry; ask for fewer at a time",
                        lost);
        return;
    }
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
        rm_pg_error_text(r, w->text, sizeof w->text);
        work_rows_error(w, TX_ESTATEMENT, w->text, lost);
        return;
    }
    if (status == PGRES_TUPLES_OK && w->n_rows == 0)
        work_names(w, r);
    rows.affected = work_affected(r);
    rows.n_rows = w->n_rows;
    rows.n_columns = w->n_columns;
    rows.cells = w->cells.data;
    rows.cells_len = w->cells.len;
    work_rows(w, &rows, lost);
}

/* The statement has ended the transaction, though its text did not look so: what it did with the work before it
 * stands, and nothing that follows would be this branch's. */
static bool work_ended(const struct rm_work *w, const PGresult *r, bool open)
{
    ExecStatusType status = PQresultStatus(r);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        return false;
    return !open || rm_pg_tag_ends(w->statement, PQcmdStatus((PGresult *)(uintptr_t)r));
}

static void work_end_of_its_own(struct rm_work *w)
{
    w->conn->broken = true; /* the server rolls back what was begun instead */
    work_over(w);
    work_rows_error(w, TX_EHEURISTIC, RM_ENDED_TEXT, !w->abandoned);
    if (w->abandoned)
        work_answer(w, RM_DONE, NULL, NULL);
}

static void work_executed(struct rm_work *w, const struct pg_reply *reply)
{
    const PGresult *last = reply->n > 0 ? reply->results[reply->n - 1] : NULL;
    bool open = PQtransactionStatus(w->conn->pg) != PQTRANS_IDLE;

    if (work_ended(w, last, open)) {
        work_end_of_its_own(w);
        return;
    }
    if (w->abandoned) {
        work_rows_error(w, TX_EROLLBACK, "the branch was rolled back while the statement ran", false);
        if (open) {
            work_rollback(w, IN_ABANDONING);
            return;
        }
        work_over(w);
        work_answer(w, RM_DONE, NULL, NULL);
        return;
    }
    if (open)
        w->phase = IN_READY;
    else
        work_over(w);
    work_rows_result(w, last, !open);
}

static void work_start(struct pg_job *job, struct pg_conn *c)
{
    struct rm_work *w = work_of(job);

    w->conn = c;
    w->phase = IN_EXECUTING;
    snprintf(w->backend, sizeof w->backend, "%s", c->backend);
    rm_pg_send_begin(c, &w->first);
    free(w->first_memory);
    w->first_memory = NULL;
}

/* The statement has to wait for a connection, so it is copied: pointers first, then the bytes. */
static bool work_copy_first(struct rm_work *w, const struct rm_statement *s)
{
    size_t size = (size_t)s->n_values * sizeof(char *) + strlen(s->text) + 1;
    const char **values;
    char *p;

    for (int i = 0; i < s->n_values; i++)
        size += s->values[i] == NULL ? 0 : strlen(s->values[i]) + 1;
    w->first_memory = malloc(size);
    if (w->first_memory == NULL)
        return false;
    values = w->first_memory;
    p = (char *)(values + s->n_values);
    for (int i = 0; i < s->n_values; i++) {
        values[i] = s->values[i] == NULL ? NULL : p;
        if (s->values[i] != NULL)
            p = stpcpy(p, s->values[i]) + 1;
    }
    w->first = (struct rm_statement){strcpy(p, s->text), s->n_values, values};
    return true;
}

int rm_pg_work_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                    struct tx_error *e)
{
    enum pg_statement statement = rm_pg_statement(s->text);

    assert(w->phase == IN_NEW || w->phase == IN_READY);
    if (statement == PG_STATEMENT_ENDS)
        return err_set(
            e, TX_EREFUSED,
            "transactions are begun and ended by the coordinator; leave BEGIN, COMMIT, ROLLBACK and PREPARE "
            "TRANSACTION to it (savepoints are allowed)");
    if (w->phase == IN_NEW && !work_copy_first(w, s))
        return err_set(e, TX_ENOMEM, "no memory for the statement");
    w->rows_done = done;
    w->rows_arg = arg;
    w->statement = statement;
    w->proved = false;
    w->n_rows = 0;
    w->n_columns = 0;
    w->too_big = false;
    buf_reset(&w->cells);
    if (w->phase == IN_NEW) {
        w->phase = IN_WAITING;
        rm_pg_pool_submit(w->rm, &w->job);
        return TX_OK;
    }
    w->phase = IN_EXECUTING;
    rm_pg_send_statement(w->conn, s, true);
    return TX_OK;
}

/* prepare */

static void work_send_prepare(struct rm_work *w)
{
    char sql[sizeof PG_PROOF_COLUMNS + GID_SIZE + 48];

    w->phase = IN_PREPARE;
    snprintf(sql, sizeof sql, "SELECT " PG_PROOF_COLUMNS "; PREPARE TRANSACTION '%s'", w->gid);
    rm_pg_send(w->conn, sql);
}

void rm_pg_work_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY);
    w->done = done;
    w->arg = arg;
    snprintf(w->gid, sizeof w->gid, "%s", gid);
    /* A failed transaction answers with an error to anything but ROLLBACK, so it is not asked. */
    if (PQtransactionStatus(w->conn->pg) != PQTRANS_INTRANS) {
        snprintf(w->text, sizeof w->text, "a statement in this branch had failed");
        work_rollback(w, IN_REFUSING);
    } else if (w->rm->writes) {
        work_send_prepare(w);
    } else {
        w->phase = IN_XID;
        rm_pg_send(w->conn, "SELECT pg_catalog.pg_current_xact_id_if_assigned()");
    }
}

static void work_xid_known(struct rm_work *w, const PGresult *r)
{
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        work_refuse(w, r, NULL);
        return;
    }
    w->rm->writes = rm_pg_value(r, 0) != NULL;
    if (w->rm->writes) {
        work_send_prepare(w);
        return;
    }
    w->phase = IN_READ_COMMIT;
    rm_pg_send(w->conn, "COMMIT");
}

/* Votes yes on this very tag alone: a failed transaction answers PREPARE with success and the tag ROLLBACK. */
static void work_prepared(struct rm_work *w, const struct pg_reply *reply)
{
    const PGresult *last = reply->n > 0 ? reply->results[reply->n - 1] : NULL;

    if (!rm_pg_is_tag(last, "PREPARE TRANSACTION")) {
        work_refuse(w, last, rm_pg_is_tag(last, "ROLLBACK") ? "the transaction had failed" : NULL);
        return;
    }
    w->rm->writes = rm_pg_value(reply->results[0], 0) != NULL;
    rm_pg_proof_of_vote(w->conn, reply->results[0], w->proof);
    work_over(w);
    work_answer(w, RM_DONE, NULL, w->proof);
}

static void work_read_committed(struct rm_work *w, const PGresult *r)
{
    if (!rm_pg_is_tag(r, "COMMIT")) {
        work_refuse(w, r, NULL);
        return;
    }
    work_over(w);
    work_answer(w, RM_READ_ONLY, NULL, NULL);
}

/* one phase, and away */

void rm_pg_work_prove(struct rm_work *w, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY);
    w->proved_done = done;
    w->proved_arg = arg;
    w->phase = IN_PROVING;
    rm_pg_send(w->conn, PQserverVersion(w->conn->pg) >= PG_VERSION_EPOCH
                            ? "SELECT pg_catalog.pg_current_xact_id_if_assigned(), " PG_INCARNATION
                            : "SELECT pg_catalog.pg_current_xact_id_if_assigned(), NULL");
}

static void work_proof_known(struct rm_work *w, const PGresult *r)
{
    if (w->abandoned) {
        work_answer_proof(w, RM_REFUSED, "the branch was rolled back meanwhile");
        work_rollback(w, IN_ABANDONING);
        return;
    }
    w->phase = IN_READY;
    if (PQresultStatus(r) == PGRES_TUPLES_OK) {
        rm_pg_proof_format_one_phase(rm_pg_value(r, 0), rm_pg_value(r, 1), w->proof);
        work_answer_proof(w, RM_DONE, NULL);
        return;
    }
    if (rm_pg_is_sqlstate(r, "25P02"))
        snprintf(w->text, sizeof w->text, "a statement in this branch had failed");
    else
        rm_pg_error_text(r, w->text, sizeof w->text);
    work_answer_proof(w, RM_REFUSED, w->text);
}

void rm_pg_work_one_phase(struct rm_work *w, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY && w->proved);
    w->done = done;
    w->arg = arg;
    w->phase = IN_ONE_COMMIT;
    rm_pg_send(w->conn, "COMMIT");
}

static void work_one_committed(struct rm_work *w, const PGresult *r)
{
    if (!rm_pg_is_tag(r, "COMMIT")) {
        work_refuse(w, r, rm_pg_is_tag(r, "ROLLBACK") ? "the transaction had failed" : NULL);
        return;
    }
    work_over(w);
    work_answer(w, RM_DONE, NULL, work_proof(w));
}

void rm_pg_work_abandon(struct rm_work *w, rm_answer_cb done, void *arg)
{
    w->done = done;
    w->arg = arg;
    w->abandoned = true;
    switch (w->phase) {
    case IN_READY:
        work_rollback(w, IN_ABANDONING);
        return;
    case IN_WAITING:
        rm_pg_pool_withdraw(w->rm, &w->job, TX_EROLLBACK);
        return;
    case IN_EXECUTING:
        w->job.deadline_ms = uv_now(w->rm->options.loop) + PG_ABANDON_TIMEOUT_MS;
        rm_pg_conn_cancel(w->conn);
        return;
    case IN_PROVING: /* answered at once, or the server is not there */
        w->job.deadline_ms = uv_now(w->rm->options.loop) + PG_ABANDON_TIMEOUT_MS;
        return;
    default:
        assert(!"abandoned in this phase");
    }
}

/* the job */

static void work_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    struct rm_work *w = work_of(job);
    const PGresult *last = reply->n > 0 ? reply->results[reply->n - 1] : NULL;

    (void)c;
    switch (w->phase) {
    case IN_EXECUTING:
        work_executed(w, reply);
        return;
    case IN_XID:
        work_xid_known(w, last);
        return;
    case IN_PREPARE:
        work_prepared(w, reply);
        return;
    case IN_READ_COMMIT:
        work_read_committed(w, last);
        return;
    case IN_PROVING:
        work_proof_known(w, last);
        return;
    case IN_ONE_COMMIT:
        work_one_committed(w, last);
        return;
    case IN_REFUSING:
        work_over(w);
        work_answer(w, RM_REFUSED, w->text, NULL);
        return;
    case IN_ABANDONING:
        work_over(w);
        work_answer(w, RM_DONE, NULL, NULL);
        return;
    default:
        assert(!"a reply in this phase");
    }
}

struct rm_work *rm_pg_work_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                 void *arg)
{
    struct rm_work *w = calloc(1, sizeof *w);

    (void)gid; /* PREPARE TRANSACTION names it */
    if (w == NULL)
        return NULL;
    w->job.holds = true;
    w->job.start = work_start;
    w->job.replied = work_replied;
    w->job.dropped = work_dropped;
    w->job.row = work_row;
    w->rm = rm;
    w->lost = lost;
    w->lost_arg = arg;
    buf_init(&w->cells);
    return w;
}

void rm_pg_work_end(struct rm_work *w)
{
    assert(w->phase == IN_OVER || w->phase == IN_NEW);
    free(w->first_memory);
    buf_release(&w->cells);
    free(w);
}

const char *rm_pg_work_backend(const struct rm_work *w)
{
    return w->backend;
}
