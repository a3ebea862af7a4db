/* rm_mariadb_finish: what becomes of a prepared branch in MariaDB; see rm_mariadb_impl.h.
 *
 * commit, rollback:
 *   its connection is parked here ─▶ XA COMMIT or XA ROLLBACK on it
 *   else ─▶ evidence ─▶ its session is still connected: not now; one of our own is made to end
 *                   ├─▶ committed already, or nothing there: that is the answer
 *                   └─▶ a pause, XA COMMIT or XA ROLLBACK ─▶ evidence again, which alone is believed
 * An answer of OK to another session's XA COMMIT is no proof: where it races with the end of the session that
 * prepared, the branch is not committed and leaves XA RECOVER until the server is restarted. XAER_NOTA is the
 * same for a branch that is still attached, one that is finished, and one that never was.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

/* The server needs a moment to detach a branch after its session has left the process list: none was lost in
 * 20,000 with this pause, 8 in 40,000 without. A branch without a receipt names no session, so nothing but time
 * can tell. */
#define PAUSE_SQL "DO SLEEP(0.02)"
#define LONG_PAUSE_SQL "DO SLEEP(1)"

/* Seconds by which «now minus uptime» can differ from one moment to another. */
enum { UPTIME_SLACK = 1 };

enum finish_phase {
    IN_OWN,    /* on the connection that prepared it */
    IN_SEE,    /* evidence, before anything is done */
    IN_KILL,   /* the session that holds it is made to end */
    IN_DO,     /* XA COMMIT or XA ROLLBACK is sent */
    IN_CHECK,  /* evidence, afterwards */
    IN_VERIFY, /* evidence with XA RECOVER */
    IN_LOOK,   /* only looks whether it is there */
    IN_PROVE,  /* only asks what became of a commit in one phase */
};

struct maria_finish {
    struct maria_job job; /* first */
    struct rm *rm;
    struct maria_conn *conn; /* since start() */
    enum finish_phase phase;
    bool commit, tried;
    bool receipt;        /* it has one, not to be seen by everybody */
    unsigned error;      /* of XA COMMIT or XA ROLLBACK */
    uint64_t thread;     /* IN_LOOK: the session that may still be preparing; IN_KILL; 0: none */
    uint64_t since;      /* IN_LOOK: when the server of that session had started */
    uint64_t written_at; /* IN_PROVE: when the receipt was, as the server's unix time */
    rm_answer_cb done;
    void *arg;
    char gid[GID_SIZE], xid[XA_XID_SQL_SIZE], key[PROOF_LIMIT];
    char proof[PROOF_LIMIT + 1], text[TEXT_LIMIT + 1];
};

static struct maria_finish *finish_of(struct maria_job *job)
{
    return (struct maria_finish *)job;
}

/* own: the session had a branch's work, whose traces go. */
static void finish_end(struct maria_finish *f, enum rm_outcome outcome, const char *text)
{
    struct rm_answer a = {outcome, text, f->proof[0] == '\0' ? NULL : f->proof};

    if (f->conn != NULL)
        rm_mariadb_conn_release(f->conn, f->phase != IN_OWN);
    f->done(f->arg, &a);
    free(f);
}

static void finish_dropped(struct maria_job *job, int code, const char *text)
{
    struct maria_finish *f = finish_of(job);

    (void)code;
    f->conn = NULL;
    finish_end(f, RM_UNKNOWN, text);
}

/* sending */

static void finish_send_do(struct maria_finish *f, enum finish_phase phase, const char *pause)
{
    char sql[XA_XID_SQL_SIZE + 16];
    const char *const batch[] = {pause, sql};

    f->phase = phase;
    f->tried = true;
    snprintf(sql, sizeof sql, "%s %s", f->commit ? "XA COMMIT" : "XA ROLLBACK", f->xid);
    if (pause == NULL)
        rm_mariadb_send(f->conn, batch + 1, 1, false);
    else
        rm_mariadb_send(f->conn, batch, 2, false);
}

/* XA RECOVER lists all that is prepared, so it is asked for only where the receipt does not tell. */
static void finish_send_evidence(struct maria_finish *f, enum finish_phase phase)
{
    unsigned skip = phase == IN_VERIFY ? 0 : 1;
    struct maria_evidence_sql q;

    f->phase = phase;
    rm_mariadb_evidence_sql(&q, f->key);
    rm_mariadb_send(f->conn, q.sql + skip, MARIA_EVIDENCE - skip, false);
}

static void finish_send_kill(struct maria_finish *f, uint64_t thread)
{
    char sql[64];
    const char *const batch[] = {sql};

    f->phase = IN_KILL;
    f->thread = thread;
    snprintf(sql, sizeof sql, "KILL CONNECTION %" PRIu64, thread);
    rm_mariadb_send(f->conn, batch, 1, false);
}

/* First whether the session is still there, then what it left: gone and nothing there is for good. Its number
 * can be somebody else's since the server was restarted. */
static void finish_send_look(struct maria_finish *f)
{
    struct maria_evidence_sql q;
    const char *batch[1 + MARIA_EVIDENCE];
    char sql[160];

    if (f->conn->server_since > f->since + UPTIME_SLACK)
        f->thread = 0;
    snprintf(sql, sizeof sql,
             "SELECT ID FROM information_schema.PROCESSLIST WHERE ID = %" PRIu64
             " AND USER = SUBSTRING_INDEX(USER(), '@', 1)",
             f->thread);
    rm_mariadb_evidence_sql(&q, f->key);
    batch[0] = sql;
    memcpy(batch + 1, q.sql, sizeof q.sql);
    rm_mariadb_send(f->conn, batch, 1 + MARIA_EVIDENCE, false);
}

/* The pruner moves its mark before it deletes, so the mark is read last. */
static void finish_send_prove(struct maria_finish *f)
{
    struct maria_evidence_sql q;
    const char *batch[MARIA_EVIDENCE];

    rm_mariadb_evidence_sql(&q, f->key);
    memcpy(batch, q.sql + 1, sizeof q.sql - sizeof *q.sql);
    batch[MARIA_EVIDENCE - 1] = "SELECT UNIX_TIMESTAMP(at) FROM assent.receipt WHERE gid = ''";
    rm_mariadb_send(f->conn, batch, MARIA_EVIDENCE, false);
}

static void finish_start(struct maria_job *job, struct maria_conn *c)
{
    struct maria_finish *f = finish_of(job);

    f->conn = c;
    f->job.deadline_ms = uv_now(f->rm->options.loop) + MARIA_FINISH_TIMEOUT_MS;
    switch (f->phase) {
    case IN_OWN:
        finish_send_do(f, IN_OWN, NULL);
        return;
    case IN_LOOK:
        finish_send_look(f);
        return;
    case IN_PROVE:
        finish_send_prove(f);
        return;
    default:
        finish_send_evidence(f, IN_SEE);
    }
}

/* answers */

/* The session that prepared it has answered. An error after which nothing is known leaves it to the evidence;
 * with any other the branch stays prepared, and the session keeps it. */
static void finish_own_done(struct maria_finish *f, const struct maria_reply *reply)
{
    const struct maria_result *failed = rm_mariadb_failure(reply);
    struct rm_answer a = {RM_FAILED, f->text, NULL};

    if (failed == NULL) {
        finish_end(f, RM_DONE, NULL);
        return;
    }
    rm_mariadb_error_text(failed, f->text, sizeof f->text);
    if (failed->error == MARIA_NOTA || failed->error == MARIA_RB_ROLLBACK ||
        failed->error == MARIA_RB_TIMEOUT || failed->error == MARIA_RB_DEADLOCK) {
        f->conn->broken = true;
        finish_end(f, RM_UNKNOWN, f->text);
        return;
    }
    rm_mariadb_conn_park(f->conn, f->gid);
    f->done(f->arg, &a);
    free(f);
}

static void finish_not_read(struct maria_finish *f, const struct maria_reply *reply)
{
    rm_mariadb_error_text(rm_mariadb_failure(reply), f->text, sizeof f->text);
    finish_end(f, RM_FAILED, f->text);
}

static void finish_is_committed(struct maria_finish *f)
{
    if (f->commit)
        finish_end(f, RM_DONE, NULL);
    else
        finish_end(f, RM_HEURISTIC_COMMIT, "somebody committed it by hand (its receipt is there)");
}

static void finish_seen(struct maria_finish *f, const struct maria_reply *reply)
{
    struct maria_evidence v;

    if (!rm_mariadb_evidence(f->conn, reply, MARIA_EVIDENCE - 2, NULL, &v)) {
        finish_not_read(f, reply);
        return;
    }
    f->receipt = v.written;
    if (v.committed) {
        finish_is_committed(f);
    } else if (v.connected && v.own) {
        finish_send_kill(f, v.thread);
    } else if (v.connected) {
        snprintf(f->text, sizeof f->text, "its session, thread %" PRIu64 ", is still connected", v.thread);
        finish_end(f, RM_UNKNOWN, f->text);
    } else if (v.written) {
        finish_send_do(f, IN_DO, PAUSE_SQL);
    } else {
        finish_send_evidence(f, IN_VERIFY);
    }
}

static void finish_killed(struct maria_finish *f)
{
    snprintf(f->text, sizeof f->text, "the agent's former session, thread %" PRIu64 ", was made to end",
             f->thread);
    finish_end(f, RM_UNKNOWN, f->text);
}

static void finish_tried(struct maria_finish *f, const struct maria_reply *reply)
{
    const struct maria_result *failed = rm_mariadb_failure(reply);

    f->error = failed == NULL ? 0 : failed->error;
    if (failed != NULL)
        rm_mariadb_error_text(failed, f->text, sizeof f->text);
    finish_send_evidence(f, IN_CHECK);
}

/* As it should be; or more is to be known. */
static void finish_checked(struct maria_finish *f, const struct maria_reply *reply)
{
    struct maria_evidence v;

    if (!rm_mariadb_evidence(f->conn, reply, MARIA_EVIDENCE - 2, NULL, &v))
        finish_end(f, RM_UNKNOWN, "its receipt cannot be read");
    else if (v.committed)
        finish_is_committed(f);
    else if (!f->commit && f->receipt && !v.written && f->error == 0)
        finish_end(f, RM_DONE, NULL);
    else
        finish_send_evidence(f, IN_VERIFY);
}

/* Listed, and not committed. */
static void finish_is_listed(struct maria_finish *f, const struct maria_evidence *v)
{
    if (!v->written && f->commit)
        finish_end(f, RM_FAILED,
                   "it is prepared without a receipt, so nothing would prove its commit; XA COMMIT it by hand");
    else if (!f->tried)
        finish_send_do(f, IN_DO, v->written ? PAUSE_SQL : LONG_PAUSE_SQL);
    else if (f->error != 0 && f->error != MARIA_NOTA)
        finish_end(f, RM_FAILED, f->text);
    else
        finish_end(f, RM_UNKNOWN, "the session that prepared it is not quite gone");
}

static void finish_verified(struct maria_finish *f, const struct maria_reply *reply)
{
    struct maria_evidence v;

    if (!rm_mariadb_evidence(f->conn, reply, MARIA_EVIDENCE - 1, f->gid, &v))
        finish_end(f, RM_UNKNOWN, "its receipt cannot be read");
    else if (v.committed)
        finish_is_committed(f);
    else if (v.connected)
        finish_end(f, RM_UNKNOWN, "its session is connected");
    else if (v.listed)
        finish_is_listed(f, &v);
    else if (v.written)
        finish_end(
            f, RM_FAILED,
            "not in XA RECOVER, yet there: the server is still rolling it back, or has lost it and brings it "
            "back with a restart");
    else if (f->commit)
        finish_end(f, RM_HAZARD, "not prepared, and without a receipt nobody can tell what became of it");
    else
        finish_end(f, f->tried && f->error == 0 ? RM_DONE : RM_NOT_FOUND, NULL);
}

static void finish_looked(struct maria_finish *f, const struct maria_reply *reply)
{
    struct maria_evidence v;

    if (!rm_mariadb_evidence(f->conn, reply, MARIA_EVIDENCE, f->gid, &v)) {
        finish_end(f, RM_UNKNOWN, "cannot be looked up");
    } else if (v.listed) {
        if (v.thread != 0)
            snprintf(f->proof, sizeof f->proof, "thread=%" PRIu64, v.thread);
        finish_end(f, RM_DONE, NULL);
    } else if (rm_mariadb_value(reply, 0, 0) != NULL) {
        finish_send_kill(f, f->thread);
    } else if (v.written && !v.committed) {
        finish_end(f, RM_UNKNOWN, "the session that prepares it is still at it");
    } else {
        finish_end(f, RM_NOT_FOUND, NULL);
    }
}

static void finish_status_known(struct maria_finish *f, const struct maria_reply *reply)
{
    const char *mark = rm_mariadb_value(reply, MARIA_EVIDENCE - 1, 0);
    struct maria_evidence v;

    if (!rm_mariadb_evidence(f->conn, reply, MARIA_EVIDENCE - 2, NULL, &v))
        finish_end(f, RM_UNKNOWN, "its receipt cannot be read");
    else if (v.committed)
        finish_end(f, RM_DONE, NULL);
    else if (v.written)
        finish_end(f, RM_UNKNOWN, "its transaction is still open");
    else if (f->written_at == 0 || (mark != NULL && f->written_at <= strtoull(mark, NULL, 10)))
        finish_end(f, RM_HAZARD, "receipts as old as its own have been deleted");
    else
        finish_end(f, RM_REFUSED, "the agent or its connection was lost before XA COMMIT was done");
}

static void finish_replied(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply)
{
    struct maria_finish *f = finish_of(job);

    (void)c;
    switch (f->phase) {
    case IN_OWN:
        finish_own_done(f, reply);
        return;
    case IN_SEE:
        finish_seen(f, reply);
        return;
    case IN_KILL:
        finish_killed(f);
        return;
    case IN_DO:
        finish_tried(f, reply);
        return;
    case IN_CHECK:
        finish_checked(f, reply);
        return;
    case IN_VERIFY:
        finish_verified(f, reply);
        return;
    case IN_LOOK:
        finish_looked(f, reply);
        return;
    case IN_PROVE:
        finish_status_known(f, reply);
        return;
    }
}

/* beginning */

/* Out of memory ends the agent: what is prepared stays so, and the next start finds it. */
static struct maria_finish *finish_new(struct rm *rm, enum finish_phase phase, const char *gid,
                                       rm_answer_cb done, void *arg)
{
    struct maria_finish *f = calloc(1, sizeof *f);

    if (f == NULL)
        abort();
    f->rm = rm;
    f->phase = phase;
    f->done = done;
    f->arg = arg;
    f->job.start = finish_start;
    f->job.replied = finish_replied;
    f->job.dropped = finish_dropped;
    if (gid == NULL)
        return f;
    snprintf(f->gid, sizeof f->gid, "%s", gid);
    rm_mariadb_xid(gid, f->xid);
    rm_mariadb_key(gid, f->key);
    return f;
}

static void finish_submit(struct rm *rm, const struct rm_finish *what, bool commit, rm_answer_cb done,
                          void *arg)
{
    struct maria_finish *f = finish_new(rm, IN_OWN, what->gid, done, arg);

    f->commit = commit;
    if (what->proof != NULL)
        snprintf(f->proof, sizeof f->proof, "%s", what->proof);
    if (rm_mariadb_pool_unpark(rm, f->gid, &f->job))
        return;
    f->phase = IN_SEE;
    rm_mariadb_pool_submit(rm, &f->job);
}

void rm_mariadb_commit(struct rm *rm, const struct rm_finish *what, rm_answer_cb done, void *arg)
{
    finish_submit(rm, what, true, done, arg);
}

void rm_mariadb_rollback(struct rm *rm, const struct rm_finish *what, rm_answer_cb done, void *arg)
{
    finish_submit(rm, what, false, done, arg);
}

void rm_mariadb_look(struct rm *rm, const char *gid, struct rm_work *w, rm_answer_cb done, void *arg)
{
    struct maria_finish *f = finish_new(rm, IN_LOOK, gid, done, arg);

    if (w != NULL)
        f->thread = rm_mariadb_work_thread(w, &f->since);
    rm_mariadb_pool_submit(rm, &f->job);
}

void rm_mariadb_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg)
{
    struct maria_finish *f = finish_new(rm, IN_PROVE, NULL, done, arg);
    char hex[PROOF_LIMIT - 4] = "";

    snprintf(f->proof, sizeof f->proof, "%s", proof);
    if (sscanf(proof, "receipt=%96[0-9a-f] at=%20" SCNu64, hex, &f->written_at) != 2)
        hex[0] = '\0';
    snprintf(f->key, sizeof f->key, "X'%s'", strlen(hex) % 2 == 0 ? hex : "");
    rm_mariadb_pool_submit(rm, &f->job);
}
