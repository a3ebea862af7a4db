/* rm_pg_finish: what becomes of a prepared branch in PostgreSQL; see rm_pg.h.
 *
 * commit, rollback: COMMIT PREPARED or ROLLBACK PREPARED on any connection of the database. Its owner or a
 * superuser may, and a member of the owner only as the owner, after SET ROLE. Whose it is tells
 * pg_prepared_xacts. Not there (42704) is the same for committed, rolled back, never prepared, and not prepared
 * yet: the branch's xid tells, by pg_xact_status(), where it is still its own (rm_pg_lineage.c); else nothing
 * does. Not allowed, …: goes on until somebody acts: RM_FAILED, with what to do. Busy (55000), connection lost:
 * RM_UNKNOWN.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_pg.h"

/* A row of pg_prepared_xacts, and the end of the snapshot that completes its 32-bit xid. */
#define PREPARED_ROW                                                                                    \
    "SELECT owner, transaction, pg_snapshot_xmax(pg_current_snapshot()), database = current_database()" \
    " FROM pg_prepared_xacts WHERE gid = "

enum { FINISH_SQL_SIZE = GID_SIZE + 32 };

enum finish_phase {
    IN_OWNER,   /* whose is it? */
    IN_DO,      /* COMMIT PREPARED or ROLLBACK PREPARED is sent */
    IN_HISTORY, /* not there, and the server has failed over: is the xid still its own? */
    IN_PROOF,   /* not there: what became of the xid? */
    IN_LOOK,    /* only looks whether it is there */
    IN_PROVE,   /* only asks what became of a commit in one phase */
};

struct pg_finish {
    struct pg_job job; /* first */
    struct rm *rm;
    struct pg_conn *conn; /* since start() */
    enum finish_phase phase;
    bool commit, looked_up, by_application;
    bool sets, resets; /* SET ROLE was sent before it, RESET ROLE behind it */
    bool alone;        /* not to be sent together with others, as one of them failed */
    unsigned n_mates;  /* that are sent with it; owned */
    struct pg_finish *mates[PG_BATCH - 1];
    rm_answer_cb done;
    void *arg;
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1], text[TEXT_LIMIT + 1];
    char owner[PG_USER_SIZE];                    /* to SET ROLE to; "": none needed */
    char backend[80];                            /* IN_LOOK: the one that may still be preparing */
    struct pg_proof vote;                        /* what the proof says; IN_HISTORY and IN_PROOF */
    char xid[PG_XID_SIZE], epoch[PG_EPOCH_SIZE]; /* IN_PROVE: what the proof consists of */
};

static struct pg_finish *finish_of(struct pg_job *job)
{
    return (struct pg_finish *)job;
}

static void finish_end(struct pg_finish *f, enum rm_outcome outcome, const char *text)
{
    struct rm_answer a = {outcome, text, f->proof[0] == '\0' ? NULL : f->proof};

    if (f->conn != NULL)
        rm_pg_conn_release(f->conn, true);
    f->done(f->arg, &a);
    free(f);
}

static void finish_dropped(struct pg_job *job, int code, const char *text)
{
    struct pg_finish *f = finish_of(job);

    (void)code;
    f->conn = NULL;
    for (unsigned i = 0; i < f->n_mates; i++)
        finish_end(f->mates[i], RM_UNKNOWN, text);
    finish_end(f, RM_UNKNOWN, text);
}

/* sending */

static void finish_ask_owner(struct pg_finish *f)
{
    char sql[sizeof PREPARED_ROW + GID_SIZE + 8];

    f->phase = IN_OWNER;
    f->looked_up = true;
    f->owner[0] = '\0';
    snprintf(sql, sizeof sql, PREPARED_ROW "'%s'", f->gid);
    rm_pg_send(f->conn, sql);
}

static void finish_format_role(const struct pg_finish *f, char *out, size_t size)
{
    char *quoted = PQescapeIdentifier(f->conn->pg, f->owner, strlen(f->owner));

    if (quoted == NULL)
        abort();
    if (f->owner[0] == '\0')
        snprintf(out, size, "RESET ROLE");
    else
        snprintf(out, size, "SET ROLE %s", quoted);
    PQfreemem(quoted);
}

static void finish_format(const struct pg_finish *f, char out[FINISH_SQL_SIZE])
{
    snprintf(out, FINISH_SQL_SIZE, "%s PREPARED '%s'", f->commit ? "COMMIT" : "ROLLBACK", f->gid);
}

/* Takes those along that wait for the same, a fair share of them: each connection is to have some. */
static void finish_gather(struct pg_finish *f)
{
    struct rm *rm = f->rm;
    unsigned share = rm->n_finishing / (rm->n_conns + 1);

    while (!f->alone && f->n_mates < PG_BATCH - 1 && f->n_mates < share && rm->finishing != NULL) {
        struct pg_finish *next = finish_of(rm->finishing);

        if (next->job.start != f->job.start || next->phase != IN_DO || next->alone ||
            next->by_application != f->by_application)
            return;
        f->mates[f->n_mates++] = finish_of(rm_pg_pool_take(rm));
    }
}

/* One round trip also where the role has to be changed and changed back; each is a transaction of its own. The
 * role is left as it is where the connection goes on to another branch, most likely of the same owner. */
static void finish_do(struct pg_finish *f)
{
    char set[2 * PG_USER_SIZE + 16], sql[PG_BATCH][FINISH_SQL_SIZE];
    const char *batch[PG_RESULTS];
    unsigned n = 0;

    f->phase = IN_DO;
    f->sets = strcmp(f->owner, f->conn->role) != 0;
    f->resets = f->owner[0] != '\0' && f->rm->finishing == NULL;
    finish_format_role(f, set, sizeof set);
    if (f->sets)
        batch[n++] = set;
    for (unsigned i = 0; i <= f->n_mates; i++) {
        finish_format(i == 0 ? f : f->mates[i - 1], sql[i]);
        batch[n++] = sql[i];
    }
    if (f->resets)
        batch[n++] = "RESET ROLE";
    if (n == 1)
        rm_pg_send(f->conn, sql[0]);
    else
        rm_pg_send_batch(f->conn, batch, n);
}

static void finish_ask_proof(struct pg_finish *f)
{
    const char *xid = f->vote.xid;
    struct rm_statement s = {"SELECT pg_xact_status($1::xid8), pg_current_wal_insert_lsn()", 1, &xid};

    f->phase = IN_PROOF;
    rm_pg_send_statement(f->conn, &s, false);
}

static void finish_ask_history(struct pg_finish *f)
{
    char sql[96];

    f->phase = IN_HISTORY;
    rm_pg_lineage_question(f->conn, sql);
    rm_pg_send(f->conn, sql);
}

static void finish_ask_status(struct pg_finish *f)
{
    const char *xid = f->xid;
    struct rm_statement s = {"SELECT pg_xact_status($1::xid8), NULL", 1, &xid};

    if (PQserverVersion(f->conn->pg) >= PG_VERSION_EPOCH)
        s.text = "SELECT pg_xact_status($1::xid8), " PG_INCARNATION;
    rm_pg_send_statement(f->conn, &s, false);
}

static void finish_look(struct pg_finish *f)
{
    char alive[192], sql[sizeof PREPARED_ROW + GID_SIZE + 8];
    const char *const batch[] = {alive, sql};

    /* First whether the backend is still there, then what it left: gone and nothing there is for good. */
    snprintf(alive, sizeof alive, "SELECT count(*) FROM pg_stat_activity WHERE %s",
             f->backend[0] == '\0' ? "false" : f->backend);
    snprintf(sql, sizeof sql, PREPARED_ROW "'%s'", f->gid);
    rm_pg_send_batch(f->conn, batch, 2);
}

/* The last one's, as of now: when thousands wait that were submitted at once, each knows what those before it
 * have found out. */
static void finish_guess_owner(struct pg_finish *f)
{
    if (f->by_application && !f->rm->superuser)
        snprintf(f->owner, sizeof f->owner, "%s", f->rm->owner);
}

static void finish_start(struct pg_job *job, struct pg_conn *c)
{
    struct pg_finish *f = finish_of(job);

    f->conn = c;
    f->job.deadline_ms = uv_now(f->rm->options.loop) + PG_FINISH_TIMEOUT_MS;
    switch (f->phase) {
    case IN_LOOK:
        finish_look(f);
        return;
    case IN_PROVE:
        finish_ask_status(f);
        return;
    case IN_OWNER:
        finish_ask_owner(f);
        return;
    default:
        finish_guess_owner(f);
        finish_gather(f);
        finish_do(f);
    }
}

/* answers */

static void finish_take_proof(struct pg_finish *f, const PGresult *r)
{
    if (f->proof[0] == '\0')
        rm_pg_proof_of_prepared(f->conn, rm_pg_value(r, 1), rm_pg_value(r, 2), f->proof);
}

static void finish_owner_known(struct pg_finish *f, const PGresult *r)
{
    const char *owner = rm_pg_value(r, 0);

    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        rm_pg_error_text(r, f->text, sizeof f->text);
        finish_end(f, RM_FAILED, f->text);
        return;
    }
    if (owner != NULL) {
        finish_take_proof(f, r);
        if (!f->rm->superuser && strcmp(owner, f->rm->user) != 0)
            snprintf(f->owner, sizeof f->owner, "%s", owner);
    }
    finish_do(f);
}

/* Not there, and nothing proves what became of it. */
static void finish_unproved(struct pg_finish *f, const char *why)
{
    if (f->commit)
        finish_end(f, RM_HAZARD, why);
    else
        finish_end(f, RM_NOT_FOUND, NULL);
}

/* 42704: gone, or never there. */
static void finish_not_there(struct pg_finish *f)
{
    bool ask = false;
    const char *why = "not prepared, and without an xid nobody can tell what became of it";

    if (pg_proof_parse(f->proof, &f->vote))
        why = rm_pg_lineage(f->conn, &f->vote, &ask, f->text);
    if (why != NULL)
        finish_unproved(f, why);
    else if (ask)
        finish_ask_history(f);
    else
        finish_ask_proof(f);
}

static void finish_history_known(struct pg_finish *f, const PGresult *r)
{
    bool again = false;
    const char *why = rm_pg_lineage_answer(f->conn, &f->vote, r, &again, f->text);

    if (again)
        finish_end(f, RM_UNKNOWN, why);
    else if (why != NULL)
        finish_unproved(f, why);
    else
        finish_ask_proof(f);
}

static void finish_not_allowed(struct pg_finish *f, const PGresult *r)
{
    char error[TEXT_LIMIT + 1];

    if (!f->looked_up) {
        finish_ask_owner(f);
        return;
    }
    rm_pg_error_text(r, error, sizeof error);
    snprintf(f->text, sizeof f->text,
             "not allowed: GRANT \"%.63s\" TO \"%.63s\" lets the agent finish it (%.60s)",
             f->owner[0] == '\0' ? "its owner" : f->owner, f->rm->user, error);
    finish_end(f, RM_FAILED, f->text);
}

/* Whose role the connection has now. One that may speak as somebody else than it seems is not used again. */
static void finish_note_role(struct pg_finish *f, const struct pg_reply *reply)
{
    struct pg_conn *c = f->conn;
    int n = 1 + (int)f->n_mates + (f->sets ? 1 : 0) + (f->resets ? 1 : 0);

    if (reply->n != n || (f->resets && !rm_pg_is_tag(reply->results[n - 1], "RESET")))
        c->broken = true;
    if (f->sets && rm_pg_is_tag(reply->results[0], f->owner[0] == '\0' ? "RESET" : "SET"))
        snprintf(c->role, sizeof c->role, "%s", f->owner);
    if (f->resets)
        c->role[0] = '\0';
}

static bool finish_is_done(const struct pg_finish *f, const PGresult *r)
{
    return rm_pg_is_tag(r, f->commit ? "COMMIT PREPARED" : "ROLLBACK PREPARED");
}

/* Those that were not done are sent again, each alone, to find out why. */
static void finish_mates(struct pg_finish *f, const struct pg_reply *reply)
{
    int at = f->sets ? 2 : 1;

    for (unsigned i = 0; i < f->n_mates; i++, at++) {
        struct pg_finish *mate = f->mates[i];

        mate->alone = true;
        if (at < reply->n && finish_is_done(mate, reply->results[at]))
            finish_end(mate, RM_DONE, NULL);
        else
            rm_pg_pool_submit(f->rm, &mate->job);
    }
    f->n_mates = 0;
}

static void finish_done(struct pg_finish *f, const struct pg_reply *reply)
{
    const PGresult *set = f->sets && reply->n > 0 ? reply->results[0] : NULL;
    const PGresult *r = reply->n > (f->sets ? 1 : 0) ? reply->results[f->sets ? 1 : 0] : NULL;

    finish_note_role(f, reply);
    finish_mates(f, reply);
    if (finish_is_done(f, r)) {
        if (f->owner[0] != '\0')
            snprintf(f->rm->owner, sizeof f->rm->owner, "%s", f->owner);
        finish_end(f, RM_DONE, NULL);
    } else if (rm_pg_is_sqlstate(r, "42704"))
        finish_not_there(f);
    else if (set != NULL && !rm_pg_is_tag(set, f->owner[0] == '\0' ? "RESET" : "SET"))
        finish_not_allowed(f, set);
    else if (rm_pg_is_sqlstate(r, "42501"))
        finish_not_allowed(f, r);
    else if (rm_pg_is_sqlstate(r, "55000"))
        finish_end(f, RM_UNKNOWN, "another session is busy with it");
    else {
        rm_pg_error_text(r, f->text, sizeof f->text);
        finish_end(f, RM_FAILED, f->text);
    }
}

enum xid_fate {
    XID_COMMITTED,
    XID_ABORTED,
    XID_OPEN,
    XID_FORGOTTEN, /* too old */
    XID_UNISSUED,  /* never given out: the data directory is younger than the proof */
    XID_ERROR,
};

static enum xid_fate finish_fate(const PGresult *r)
{
    const char *status = rm_pg_value(r, 0);

    if (rm_pg_is_sqlstate(r, "22023"))
        return XID_UNISSUED;
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        return XID_ERROR;
    if (status == NULL)
        return XID_FORGOTTEN;
    if (strcmp(status, "committed") == 0)
        return XID_COMMITTED;
    return strcmp(status, "aborted") == 0 ? XID_ABORTED : XID_OPEN;
}

/* The log has never been shorter than at the vote, but for a server that was put back to an older state. */
static bool finish_log_was_cut(const struct pg_finish *f, const PGresult *r)
{
    const char *end = rm_pg_value(r, 1);

    return end != NULL && pg_lsn_parse(end) < f->vote.lsn;
}

static void finish_proved(struct pg_finish *f, const PGresult *r)
{
    if (finish_log_was_cut(f, r)) {
        finish_unproved(f, "not prepared, and the server was put back to a state before the vote");
        return;
    }
    switch (finish_fate(r)) {
    case XID_COMMITTED:
        if (f->commit)
            finish_end(f, RM_DONE, NULL);
        else
            finish_end(f, RM_HEURISTIC_COMMIT, "somebody committed it by hand (pg_xact_status: committed)");
        return;
    case XID_ABORTED:
        if (f->commit && f->vote.timeline != 0 && f->vote.timeline != f->conn->timeline)
            finish_end(f, RM_HAZARD,
                       "rolled back: its PREPARE was lost in a failover, or somebody rolled it back by hand");
        else if (f->commit)
            finish_end(f, RM_HEURISTIC_ROLLBACK, "somebody rolled it back by hand (pg_xact_status: aborted)");
        else
            finish_end(f, RM_NOT_FOUND, NULL);
        return;
    case XID_OPEN: /* about to be prepared, or another session finishes it just now */
        if (f->commit)
            finish_end(f, RM_UNKNOWN, "its PREPARE is still under way");
        else
            finish_end(f, RM_NOT_FOUND, NULL);
        return;
    case XID_FORGOTTEN:
    case XID_UNISSUED:
        finish_unproved(f, "not prepared, and the server no longer knows its xid");
        return;
    default:
        rm_pg_error_text(r, f->text, sizeof f->text);
        finish_end(f, RM_UNKNOWN, f->text);
    }
}

/* In another epoch «committed» may be what another transaction of the same xid did, see pg_proof.h. An xid that
 * the server, which is no standby, never gave out has left nothing there. */
static void finish_status_known(struct pg_finish *f, const PGresult *r)
{
    const char *epoch = rm_pg_value(r, 1);

    switch (finish_fate(r)) {
    case XID_COMMITTED:
        if (epoch != NULL && f->epoch[0] != '\0' && strcmp(epoch, f->epoch) == 0) {
            finish_end(f, RM_DONE, NULL);
            return;
        }
        snprintf(
            f->text, sizeof f->text,
            "the server crashed or was replaced during COMMIT: its xid %s tells nothing any more, only the "
            "data tells whether it is committed",
            f->xid);
        finish_end(f, RM_HAZARD, f->text);
        return;
    case XID_ABORTED:
    case XID_UNISSUED:
        finish_end(f, RM_REFUSED, "the agent or its connection was lost before COMMIT was done");
        return;
    case XID_OPEN:
        finish_end(f, RM_UNKNOWN, "its transaction is still open");
        return;
    case XID_FORGOTTEN:
        finish_end(f, RM_HAZARD, "the server no longer knows its xid");
        return;
    default:
        rm_pg_error_text(r, f->text, sizeof f->text);
        finish_end(f, RM_UNKNOWN, f->text);
    }
}

static void finish_looked(struct pg_finish *f, const struct pg_reply *reply)
{
    const char *alive = reply->n == 2 ? rm_pg_value(reply->results[0], 0) : NULL;
    const PGresult *prepared = reply->n == 2 ? reply->results[1] : NULL;

    if (alive == NULL || PQresultStatus(prepared) != PGRES_TUPLES_OK) {
        finish_end(f, RM_UNKNOWN, "cannot be looked up");
    } else if (PQntuples(prepared) > 0) {
        finish_take_proof(f, prepared);
        finish_end(f, RM_DONE, NULL);
    } else if (strcmp(alive, "0") != 0) {
        finish_end(f, RM_UNKNOWN, "the backend that prepares it is still at it");
    } else {
        finish_end(f, RM_NOT_FOUND, NULL);
    }
}

static void finish_replied(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply)
{
    struct pg_finish *f = finish_of(job);
    const PGresult *first = reply->n > 0 ? reply->results[0] : NULL;

    (void)c;
    switch (f->phase) {
    case IN_OWNER:
        finish_owner_known(f, first);
        return;
    case IN_DO:
        finish_done(f, reply);
        return;
    case IN_HISTORY:
        finish_history_known(f, first);
        return;
    case IN_PROOF:
        finish_proved(f, first);
        return;
    case IN_LOOK:
        finish_looked(f, reply);
        return;
    case IN_PROVE:
        finish_status_known(f, first);
        return;
    }
}

/* beginning */

/* Out of memory ends the agent: what is prepared stays so, and the next start finds it. */
static struct pg_finish *finish_new(struct rm *rm, enum finish_phase phase, const char *gid, rm_answer_cb done,
                                    void *arg)
{
    struct pg_finish *f = calloc(1, sizeof *f);

    if (f == NULL)
        abort();
    f->rm = rm;
    f->phase = phase;
    f->done = done;
    f->arg = arg;
    f->job.sets_role = phase == IN_DO || phase == IN_OWNER;
    f->job.start = finish_start;
    f->job.replied = finish_replied;
    f->job.dropped = finish_dropped;
    snprintf(f->gid, sizeof f->gid, "%s", gid);
    return f;
}

/* The lookup in pg_prepared_xacts costs more the more is prepared, so it is spared where it can be: the owner
 * was probably the last one's, and 42501 tells if not. But a commit without a proof needs the row, for its xid.
 */
static void finish_submit(struct rm *rm, const struct rm_finish *what, bool commit, rm_answer_cb done,
                          void *arg)
{
    struct pg_proof vote;
    bool look_up = commit && what->by_application && !pg_proof_parse(what->proof, &vote);
    struct pg_finish *f = finish_new(rm, look_up ? IN_OWNER : IN_DO, what->gid, done, arg);

    f->commit = commit;
    f->by_application = what->by_application;
    if (what->proof != NULL)
        snprintf(f->proof, sizeof f->proof, "%s", what->proof);
    rm_pg_pool_submit(rm, &f->job);
}

void rm_pg_commit(struct rm *rm, const struct rm_finish *what, rm_answer_cb done, void *arg)
{
    finish_submit(rm, what, true, done, arg);
}

void rm_pg_rollback(struct rm *rm, const struct rm_finish *what, rm_answer_cb done, void *arg)
{
    finish_submit(rm, what, false, done, arg);
}

void rm_pg_look(struct rm *rm, const char *gid, struct rm_work *w, rm_answer_cb done, void *arg)
{
    struct pg_finish *f = finish_new(rm, IN_LOOK, gid, done, arg);

    if (w != NULL)
        snprintf(f->backend, sizeof f->backend, "%s", rm_pg_work_backend(w));
    rm_pg_pool_submit(rm, &f->job);
}

void rm_pg_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg)
{
    struct pg_finish *f = finish_new(rm, IN_PROVE, "", done, arg);

    snprintf(f->proof, sizeof f->proof, "%s", proof);
    if (!rm_pg_proof_parse_one_phase(proof, f->xid, f->epoch))
        strcpy(f->xid, "0"); /* no transaction's: its status is not known */
    rm_pg_pool_submit(rm, &f->job);
}
