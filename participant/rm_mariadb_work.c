/* rm_mariadb_work: a branch's work on its MariaDB connection, from the first statement to the vote; see
 * rm_mariadb_impl.h.
 *
 * exec … exec ─┬─▶ prepare:  writes counted ─▶ none: XA END, XA COMMIT ONE PHASE (read-only)
 *  (XA START)  │                            └▶ receipt, XA END, XA PREPARE; the connection is parked
 *              ├─▶ prove:    writes counted ─▶ receipt ─▶ one phase: XA END, XA COMMIT ONE PHASE
 *              └─▶ abandon:  XA END, XA ROLLBACK
 * Connection lost: before XA PREPARE or XA COMMIT was sent it is rolled back for sure, afterwards not known.
 * The server would prepare a branch of which a statement has failed, so the work then takes no other and votes
 * no.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

enum work_phase {
    IN_NEW,
    IN_WAITING,        /* for a connection */
    IN_READY,          /* between statements */
    IN_EXECUTING,      /* a statement */
    IN_COUNTING,       /* prepare: asked whether it wrote */
    IN_PREPARE,        /* receipt, XA END and XA PREPARE are sent */
    IN_READ_COMMIT,    /* it wrote nothing: its end is sent */
    IN_PROVE_COUNTING, /* one phase: asked whether it wrote */
    IN_PROVING,        /* one phase: the receipt is sent */
    IN_ONE_COMMIT,     /* one phase: XA COMMIT is sent */
    IN_REFUSING,       /* prepare or one phase failed: XA ROLLBACK is sent */
    IN_ABANDONING,     /* XA ROLLBACK is sent */
    IN_OVER,           /* without a connection for good */
};

struct rm_work {
    struct maria_job job; /* first: a job's functions cast back */
    struct rm *rm;
    struct maria_conn *conn; /* while it has one */
    enum work_phase phase;
    bool failed;    /* a statement did */
    bool sent;      /* XA PREPARE or XA COMMIT may have taken effect */
    bool abandoned; /* during a statement or prove: XA ROLLBACK comes next */
    bool proved;    /* `proof` is the one for one phase */
    void (*lost)(void *arg, const char *why);
    void *lost_arg;
    rm_rows_cb rows_done;
    void *rows_arg;
    rm_answer_cb done, proved_done; /* an abandon can come while prove is under way */
    void *arg, *proved_arg;
    struct rm_statement statement; /* a copy, while it waits or runs */
    void *statement_memory;
    struct maria_rows rows;
    uint64_t thread, since; /* outlive the connection: look() asks whether that session is still there */
    char gid[GID_SIZE], xid[XA_XID_SQL_SIZE], key[MARIA_RECEIPT_SIZE];
    char proof[PROOF_LIMIT + 1], text[TEXT_LIMIT + 1];
};

static struct rm_work *work_of(struct maria_job *job)
{
    return (struct rm_work *)job;
}

/* ends */

/* Gives the connection back; the work is over. */
static void work_over(struct rm_work *w)
{
    struct maria_conn *c = w->conn;

    w->phase = IN_OVER;
    w->job.deadline_ms = 0;
    w->conn = NULL;
    if (c != NULL)
        rm_mariadb_conn_release(c, false);
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

    free(w->statement_memory);
    w->statement_memory = NULL;
    w->rows_done = NULL;
    if (done != NULL)
        done(w->rows_arg, rows, lost);
}

static void work_rows_error(struct rm_work *w, int code, const char *text, bool lost)
{
    struct wire_rows rows = {.code = code, .text = text};

    work_rows(w, &rows, lost);
}

/* sending: every command that names the xid */

/* XA END and what comes behind it. */
static void work_send_end(struct rm_work *w, enum work_phase phase, bool commit)
{
    char end[XA_XID_SQL_SIZE + 16], sql[XA_XID_SQL_SIZE + 32];
    const char *const batch[] = {end, sql};

    snprintf(end, sizeof end, "XA END %s", w->xid);
    snprintf(sql, sizeof sql, commit ? "XA COMMIT %s ONE PHASE" : "XA ROLLBACK %s", w->xid);
    w->phase = phase;
    rm_mariadb_send(w->conn, batch, 2, !commit);
}

/* XA END fails where it was sent before, or the server has rolled back: XA ROLLBACK tells. */
static void work_rollback(struct rm_work *w, enum work_phase phase)
{
    w->job.deadline_ms = uv_now(w->rm->options.loop) + MARIA_ABANDON_TIMEOUT_MS;
    work_send_end(w, phase, false);
}

static void work_commit(struct rm_work *w, enum work_phase phase)
{
    w->sent = true;
    work_send_end(w, phase, true);
}

static void work_count(struct rm_work *w, enum work_phase phase)
{
    const char *const sql[] = {MARIA_WRITES_SQL};

    w->phase = phase;
    rm_mariadb_send(w->conn, sql, 1, false);
}

/* Votes no, behind XA ROLLBACK. */
static void work_refuse(struct rm_work *w, const struct maria_result *r, const char *text)
{
    if (text == NULL)
        rm_mariadb_error_text(r, w->text, sizeof w->text);
    else
        snprintf(w->text, sizeof w->text, "%s", text);
    work_rollback(w, IN_REFUSING);
}

/* Rolled back, or the server had done so already. */
static bool work_is_rolled_back(const struct maria_reply *reply)
{
    unsigned error = reply->n == 2 ? reply->results[1].error : 1;

    return error == 0 || error == MARIA_NOTA || error == MARIA_RB_ROLLBACK || error == MARIA_RB_TIMEOUT ||
           error == MARIA_RB_DEADLOCK;
}

/* A branch that the server does not roll back when told to is rolled back with its session, unless prepared.
 * Once XA PREPARE was sent, XAER_NOTA can mean one that is prepared and not this session's any more. */
static void work_refused(struct rm_work *w, const struct maria_reply *reply)
{
    bool ended = work_is_rolled_back(reply),
         sure = !w->sent || (ended && reply->results[1].error != MARIA_NOTA);

    w->conn->broken = w->conn->broken || !ended || !sure;
    work_over(w);
    work_answer(w, sure ? RM_REFUSED : RM_UNKNOWN, w->text, sure ? NULL : work_proof(w));
}

static void work_abandoned(struct rm_work *w, const struct maria_reply *reply)
{
    w->conn->broken = w->conn->broken || !work_is_rolled_back(reply);
    work_over(w);
    work_answer(w, RM_DONE, NULL, NULL);
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

static void work_dropped(struct maria_job *job, int code, const char *text)
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
    case IN_PROVE_COUNTING:
    case IN_PROVING:
        work_dropped_proving(w, text);
        return;
    case IN_ABANDONING:
        work_answer(w, RM_DONE, NULL, NULL);
        return;
    case IN_PREPARE:
        work_answer(w, RM_UNKNOWN, text, NULL);
        return;
    case IN_ONE_COMMIT:
    case IN_REFUSING:
        work_answer(w, w->sent && (w->proof[0] != '\0' || !w->proved) ? RM_UNKNOWN : RM_REFUSED, text,
                    work_proof(w));
        return;
    default: /* nothing that could keep the work was sent, or it wrote nothing */
        work_answer(w, RM_REFUSED, text, NULL);
        return;
    }
}

/* statements */

static void work_columns(struct maria_job *job, const MYSQL_FIELD *fields, unsigned n)
{
    rm_mariadb_rows_columns(&work_of(job)->rows, fields, n);
}

static void work_row(struct maria_job *job, const char *const *values, unsigned n)
{
    struct rm_work *w = work_of(job);

    if (!rm_mariadb_rows_add(&w->rows, values, n))
        rm_mariadb_conn_cancel(w->conn);
}

static void work_rows_result(struct rm_work *w, const struct maria_result *r)
{
    struct wire_rows rows;

    w->failed = !rm_mariadb_rows_result(&w->rows, r, &rows, w->text);
    work_rows(w, &rows, false);
}

static void work_gone(struct rm_work *w, int code, const char *why)
{
    work_over(w);
    work_rows_error(w, code, why, !w->abandoned);
    if (w->abandoned)
        work_answer(w, RM_DONE, NULL, NULL);
}

/* XA START was refused: as a rule the name is taken, for the branch was prepared before a restart. */
static void work_not_begun(struct rm_work *w, const struct maria_result *r)
{
    rm_mariadb_error_text(r, w->text, sizeof w->text);
    work_gone(w, TX_EROLLBACK, w->text);
}

static void work_executed(struct rm_work *w, const struct maria_reply *reply)
{
    const struct maria_result *last = &reply->results[reply->n - 1];
    bool begun = w->thread != 0;

    w->thread = w->conn->thread;
    w->since = w->conn->server_since;
    if (!begun && reply->n == 1) {
        work_not_begun(w, last);
        return;
    }
    if (last->error == 0 && !rm_mariadb_io_in_transaction(w->conn)) {
        w->conn->broken = true; /* by another statement that it made; nothing more would be this branch's */
        work_gone(w, TX_EHEURISTIC, RM_ENDED_TEXT);
        return;
    }
    if (w->abandoned) {
        work_rows_error(w, TX_EROLLBACK, "the branch was rolled back while the statement ran", false);
        work_rollback(w, IN_ABANDONING);
        return;
    }
    w->phase = IN_READY;
    work_rows_result(w, last);
}

static void work_start(struct maria_job *job, struct maria_conn *c)
{
    struct rm_work *w = work_of(job);
    char sql[XA_XID_SQL_SIZE + 16];

    w->conn = c;
    w->phase = IN_EXECUTING;
    snprintf(sql, sizeof sql, "XA START %s", w->xid);
    rm_mariadb_send_statement(c, sql, &w->statement);
}

int rm_mariadb_work_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                         struct tx_error *e)
{
    assert(w->phase == IN_NEW || w->phase == IN_READY);
    if (rm_mariadb_ends_transaction(s->text))
        return err_set(
            e, TX_EREFUSED,
            "transactions are begun and ended by the coordinator; leave XA, BEGIN, COMMIT and ROLLBACK "
            "to it (savepoints are allowed)");
    if (w->failed)
        return err_set(e, TX_ESTATEMENT, "a statement in this branch had failed; roll back");
    w->statement_memory = rm_mariadb_statement_copy(s, &w->statement);
    if (w->statement_memory == NULL)
        return err_set(e, TX_ENOMEM, "no memory for the statement");
    w->rows_done = done;
    w->rows_arg = arg;
    w->proved = false;
    rm_mariadb_rows_reset(&w->rows);
    if (w->phase == IN_NEW) {
        w->phase = IN_WAITING;
        rm_mariadb_pool_submit(w->rm, &w->job);
        return TX_OK;
    }
    w->phase = IN_EXECUTING;
    rm_mariadb_send_statement(w->conn, NULL, &w->statement);
    return TX_OK;
}

/* prepare */

void rm_mariadb_work_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY && strcmp(gid, w->gid) == 0);
    w->done = done;
    w->arg = arg;
    if (w->failed)
        work_refuse(w, NULL, "a statement in this branch had failed");
    else
        work_count(w, IN_COUNTING);
}

static void work_send_prepare(struct rm_work *w)
{
    char receipt[XA_RECEIPT_SQL_SIZE], end[XA_XID_SQL_SIZE + 16], prepare[XA_XID_SQL_SIZE + 16];
    const char *const sql[] = {receipt, end, prepare};
    struct txid id;
    unsigned branch;

    if (!gid_parse(w->gid, &id, &branch))
        abort();
    xa_xid_receipt(&id, branch, receipt);
    snprintf(end, sizeof end, "XA END %s", w->xid);
    snprintf(prepare, sizeof prepare, "XA PREPARE %s", w->xid);
    w->phase = IN_PREPARE;
    w->sent = true;
    rm_mariadb_send(w->conn, sql, 3, false);
}

static void work_counted(struct rm_work *w, const struct maria_reply *reply)
{
    uint64_t writes;

    if (!rm_mariadb_writes(reply, 0, &writes))
        work_refuse(w, rm_mariadb_failure(reply), NULL);
    else if (writes == w->conn->writes)
        work_commit(w, IN_READ_COMMIT);
    else
        work_send_prepare(w);
}

static void work_prepared(struct rm_work *w, const struct maria_reply *reply)
{
    struct maria_conn *c = w->conn;

    if (!rm_mariadb_all_done(reply, 3)) {
        w->sent = reply->n == 3;
        work_refuse(w, rm_mariadb_failure(reply), NULL);
        return;
    }
    snprintf(w->proof, sizeof w->proof, "thread=%" PRIu64, c->thread);
    w->conn = NULL;
    rm_mariadb_conn_park(c, w->gid);
    work_over(w);
    work_answer(w, RM_DONE, NULL, w->proof);
}

static void work_read_committed(struct rm_work *w, const struct maria_reply *reply)
{
    w->sent = false; /* whatever became of it, it is nothing */
    if (!rm_mariadb_all_done(reply, 2)) {
        work_refuse(w, rm_mariadb_failure(reply), NULL);
        return;
    }
    work_over(w);
    work_answer(w, RM_READ_ONLY, NULL, NULL);
}

/* one phase */

void rm_mariadb_work_prove(struct rm_work *w, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY);
    w->proved_done = done;
    w->proved_arg = arg;
    work_count(w, IN_PROVE_COUNTING);
}

static void work_send_receipt(struct rm_work *w)
{
    char sql[sizeof w->key + sizeof XA_RECEIPT_INSERT + 32];
    const char *const batch[] = {sql};

    rm_mariadb_receipt_one_phase(w->key, sql, sizeof sql);
    w->phase = IN_PROVING;
    rm_mariadb_send(w->conn, batch, 1, false);
}

/* What the application asked with prove() cannot be had; only abandon() is left. */
static void work_not_proved(struct rm_work *w, const struct maria_result *r)
{
    if (w->failed)
        snprintf(w->text, sizeof w->text, "a statement in this branch had failed");
    else
        rm_mariadb_error_text(r, w->text, sizeof w->text);
    w->failed = true;
    w->phase = IN_READY;
    work_answer_proof(w, RM_REFUSED, w->text);
}

static bool work_abandons(struct rm_work *w)
{
    if (!w->abandoned)
        return false;
    work_answer_proof(w, RM_REFUSED, "the branch was rolled back meanwhile");
    work_rollback(w, IN_ABANDONING);
    return true;
}

static void work_prove_counted(struct rm_work *w, const struct maria_reply *reply)
{
    uint64_t writes;

    if (work_abandons(w))
        return;
    if (w->failed || !rm_mariadb_writes(reply, 0, &writes)) {
        work_not_proved(w, rm_mariadb_failure(reply));
        return;
    }
    if (writes != w->conn->writes) {
        work_send_receipt(w);
        return;
    }
    w->phase = IN_READY;
    w->proof[0] = '\0';
    work_answer_proof(w, RM_DONE, NULL);
}

static void work_receipt_written(struct rm_work *w, const struct maria_reply *reply)
{
    const char *at = rm_mariadb_value(reply, 0, 0);

    if (work_abandons(w))
        return;
    if (at == NULL) {
        work_not_proved(w, rm_mariadb_failure(reply));
        return;
    }
    w->phase = IN_READY;
    snprintf(w->proof, sizeof w->proof, "receipt=%.*s at=%.10s", (int)strlen(w->key) - 3, w->key + 2, at);
    work_answer_proof(w, RM_DONE, NULL);
}

void rm_mariadb_work_one_phase(struct rm_work *w, rm_answer_cb done, void *arg)
{
    assert(w->phase == IN_READY && w->proved);
    w->done = done;
    w->arg = arg;
    work_commit(w, IN_ONE_COMMIT);
}

static void work_one_committed(struct rm_work *w, const struct maria_reply *reply)
{
    if (!rm_mariadb_all_done(reply, 2)) {
        w->sent = reply->n == 2;
        work_refuse(w, rm_mariadb_failure(reply), NULL);
        return;
    }
    work_over(w);
    work_answer(w, RM_DONE, NULL, work_proof(w));
}

/* away */

void rm_mariadb_work_abandon(struct rm_work *w, rm_answer_cb done, void *arg)
{
    w->done = done;
    w->arg = arg;
    w->abandoned = true;
    switch (w->phase) {
    case IN_READY:
        work_rollback(w, IN_ABANDONING);
        return;
    case IN_WAITING:
        rm_mariadb_pool_withdraw(w->rm, &w->job, TX_EROLLBACK);
        return;
    case IN_EXECUTING:
        w->job.deadline_ms = uv_now(w->rm->options.loop) + MARIA_ABANDON_TIMEOUT_MS;
        rm_mariadb_conn_cancel(w->conn);
        return;
    case IN_PROVE_COUNTING: /* answered at once, or the server is not there */
    case IN_PROVING:
        w->job.deadline_ms = uv_now(w->rm->options.loop) + MARIA_ABANDON_TIMEOUT_MS;
        return;
    default:
        assert(!"abandoned in this phase");
    }
}

/* the job */

static void work_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    static void (*const replied[])(struct rm_work * w, const struct maria_reply *reply) = {
        [IN_EXECUTING] = work_executed,
        [IN_COUNTING] = work_counted,
        [IN_PREPARE] = work_prepared,
        [IN_READ_COMMIT] = work_read_committed,
        [IN_PROVE_COUNTING] = work_prove_counted,
        [IN_PROVING] = work_receipt_written,
        [IN_ONE_COMMIT] = work_one_committed,
        [IN_REFUSING] = work_refused,
        [IN_ABANDONING] = work_abandoned,
        [IN_OVER] = NULL,
    };
    struct rm_work *w = work_of(job);

    (void)c;
    assert(replied[w->phase] != NULL);
    replied[w->phase](w, reply);
}

struct rm_work *rm_mariadb_work_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                      void *arg)
{
    struct rm_work *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->job.holds = true;
    w->job.start = work_start;
    w->job.replied = work_replied;
    w->job.dropped = work_dropped;
    w->job.columns = work_columns;
    w->job.row = work_row;
    w->rm = rm;
    w->lost = lost;
    w->lost_arg = arg;
    snprintf(w->gid, sizeof w->gid, "%s", gid);
    rm_mariadb_xid(gid, w->xid);
    rm_mariadb_key(gid, w->key);
    rm_mariadb_rows_init(&w->rows);
    return w;
}

void rm_mariadb_work_end(struct rm_work *w)
{
    assert(w->phase == IN_OVER || w->phase == IN_NEW);
    free(w->statement_memory);
    rm_mariadb_rows_release(&w->rows);
    free(w);
}

uint64_t rm_mariadb_work_thread(const struct rm_work *w, uint64_t *server_since)
{
    *server_since = w->since;
    return w->thread;
}
