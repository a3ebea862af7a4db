/* rm_pg: PostgreSQL (13 or later) as a resource manager; what its files share.
 *
 * rm_pg.c            the operations' table, opening and closing, listing
 * rm_pg_pool.c       struct rm: connections, jobs waiting for one, reconnecting
 * rm_pg_conn.c       one connection on the loop: connect, send, results, cancel
 * rm_pg_resolve.c    host names, without blocking
 * rm_pg_work.c       a branch's work: statements, prepare, one-phase commit, rollback
 * rm_pg_statement.c  statements that a branch may not have
 * rm_pg_finish.c     a prepared branch: look, commit, rollback, proof
 * rm_pg_lineage.c    whether a vote's xid means the same on the server that is there now
 * rm_pg_inspect.c    for the operator
 * rm_pg_test.c       the same: a trial on a connection of its own
 *
 * A job is what has a connection to itself for a while. It waits in the pool; start() gets it a connection, on
 * which it sends; replied() sees the results, and sends again or gives the connection back; dropped() tells
 * that the connection broke, or that there was none. PostgreSQL 15 manual: libpq, «Asynchronous Command
 * Processing», «Pipeline Mode».
 */
#ifndef ASSENT_RM_PG_H
#define ASSENT_RM_PG_H

#include <libpq-fe.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/pg_proof.h"
#include "libtx/shared/txid.h"
#include "participant/rm.h"

extern const struct rm_ops rm_pg_ops;

/* All bounds in one block. */
enum {
    PG_BATCH = 8,              /* branches that are finished in one round trip, where many wait */
    PG_RESULTS = PG_BATCH + 2, /* results that are kept of one sending */
    PG_RESERVED = 2,           /* connections that no branch's work may hold */
    PG_WAITING_LIMIT = 256,    /* works that wait for a connection */
    PG_CONNECTIONS_MIN = 4,
    PG_CONNECTIONS_MAX = 256,
    PG_BACKOFF_MS = 250,
    PG_BACKOFF_MAX_MS = 5000,
    PG_TICK_MS = 250,
    PG_CONNECT_TIMEOUT_MS = 10000,
    PG_FINISH_TIMEOUT_MS = 60000, /* a job on prepared branches; its connection is closed then */
    PG_ABANDON_TIMEOUT_MS = 5000, /* a rollback; likewise */
    PG_USER_SIZE = 64,
    PG_VERSION_MIN = 130000, /* pg_current_xact_id(), pg_xact_status(xid8) */
    PG_VERSION_EPOCH = 150000,
    PG_EPOCH_SIZE = PG_INCARNATION_SIZE,
};

struct pg_conn;

/* SQL: what the agent has to be towards a role, as pg_has_role() calls it, to become it. From PostgreSQL 16 on
 * not every member may. */
#define PG_MAY_BECOME \
    "CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END"

/* Results of what was sent last, one a statement, in order. Cleared after replied(). */
struct pg_reply {
    int n;
    PGresult *results[PG_RESULTS];
};

struct pg_job {
    struct pg_job *prev, *next; /* the pool's, while it waits */
    bool holds;                 /* a branch's work: keeps its connection long, so not one of the reserved */
    bool first;                 /* is short and somebody waits for it: goes before what waits already */
    bool sets_role;             /* may find its connection with any role set, and leave it so */
    int code;                   /* why it is to be dropped */
    uint64_t deadline_ms;       /* loop time; the connection is closed then; 0: none */
    void (*start)(struct pg_job *job, struct pg_conn *c);
    void (*replied)(struct pg_job *job, struct pg_conn *c, const struct pg_reply *reply);
    /* TX_EUNKNOWN: the connection broke, whatever was under way may or may not have happened. TX_EUNREACHABLE,
     * TX_EBUSY, TX_EROLLBACK (taken out of the queue): nothing was begun. */
    void (*dropped)(struct pg_job *job, int code, const char *text);
    void (*row)(struct pg_job *job, const PGresult *row); /* one at a time, where that was asked for */
};

/* the pool: rm_pg_pool.c */

struct rm {
    struct rm_options options;
    char *settings; /* libpq's connection string; owned */
    uv_timer_t kick, tick;
    struct pg_conn *conns;
    unsigned n_conns, n_connecting, n_held; /* held: by works */
    struct pg_job *finishing, *waiting;     /* two queues: reserved connections are for the first */
    struct pg_job *rejected;                /* to be dropped at the next turn */
    unsigned n_finishing, n_waiting;
    bool up, told, closing;
    char error[TEXT_LIMIT + 1];      /* why no connection could be made */
    char told_error[TEXT_LIMIT + 1]; /* as last told */
    uint64_t retry_at_ms;            /* not to be connected before */
    unsigned backoff_ms;
    bool writes; /* the last branch that was prepared here had written: the next one probably has, too */
    unsigned open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
    /* As told by the server at the newest connection. */
    char user[PG_USER_SIZE], owner[PG_USER_SIZE]; /* owner: of the application's last branch finished here */
    bool superuser;
    int version;
};

int rm_pg_pool_open(struct rm *rm);
void rm_pg_pool_close(struct rm *rm);
/* Puts the job into its queue; it starts, or is dropped, at the next turn of the loop. */
void rm_pg_pool_submit(struct rm *rm, struct pg_job *job);
/* A waiting job is dropped at the next turn with this code. */
void rm_pg_pool_withdraw(struct rm *rm, struct pg_job *job, int code);
/* The next job that waits to be started on any connection, taken out of its queue; NULL: none waits. */
struct pg_job *rm_pg_pool_take(struct rm *rm);
/* Looks at the queues soon. */
void rm_pg_pool_kick(struct rm *rm);
/* What conn tells the pool: usable; or failed to become so; or gone. */
void rm_pg_pool_connected(struct rm *rm, struct pg_conn *c);
void rm_pg_pool_failed(struct rm *rm, const char *why);
/* The pool is closed: frees rm and tells. In rm_pg.c. */
void rm_pg_closed(struct rm *rm);

/* a connection: rm_pg_conn.c */

enum pg_conn_state { PG_CONNECTING, PG_PREPARING_SESSION, PG_IDLE, PG_WORKING, PG_CLEANING };

struct pg_conn {
    struct pg_conn *prev, *next;
    struct rm *rm;
    PGconn *pg;
    uv_poll_t *poll; /* its own memory: it outlives the connection until closed */
    int fd, events;  /* what poll watches */
    enum pg_conn_state state;
    struct pg_job *job; /* when WORKING; else &own or NULL */
    struct pg_job own;
    bool in_flight, broken, one_row;
    char role[PG_USER_SIZE];    /* that it speaks as; "": its own */
    bool cancelled;             /* a cancel request may still be on its way, and must not hit another job */
    unsigned syncs, statements; /* of a pipeline: still to come */
    struct pg_reply reply;
    uint64_t since_ms;          /* when connecting, or cleaning, began */
    struct pg_resolve *resolve; /* its host is being looked up; NULL: not */
    char backend[80];           /* SQL condition that tells this backend from every other: pid and start */
    /* The server's. A primary keeps both for as long as a connection to it lasts. */
    char system[PG_SYSTEM_SIZE];
    uint32_t timeline;
};

/* NULL: out of memory or handles; then nothing is left behind. */
struct pg_conn *rm_pg_conn_open(struct rm *rm);
/* Closes and drops its job: the world's fault. */
void rm_pg_conn_lost(struct pg_conn *c, const char *why);

/* A failure to send makes the connection break at the next turn. */
void rm_pg_send(struct pg_conn *c, const char *sql); /* simple protocol */
void rm_pg_send_statement(struct pg_conn *c, const struct rm_statement *s, bool row_by_row);
/* Several, each a transaction of its own (a sync after each), in one round trip; at most PG_RESULTS. */
void rm_pg_send_batch(struct pg_conn *c, const char *const *sql, unsigned n);
/* BEGIN and a statement in one round trip, row by row. */
void rm_pg_send_begin(struct pg_conn *c, const struct rm_statement *s);

/* The job is done with its connection. clean: nothing of a session's state was touched, but for the role. */
void rm_pg_conn_release(struct pg_conn *c, bool clean);
/* An idle connection that speaks as another role becomes itself again; it is not idle until then. */
void rm_pg_conn_reset_role(struct pg_conn *c);
/* Asks the server to give up the statement under way; in a thread, for libpq has no other way. */
void rm_pg_conn_cancel(struct pg_conn *c);

/* host names: rm_pg_resolve.c */

/* Looks the server's name up; rm_pg_conn_resolved() follows. False: there is none to look up. */
bool rm_pg_resolve(struct pg_conn *c);
/* The connection goes; its look-up is forgotten. */
void rm_pg_resolve_cancel(struct pg_conn *c);
/* Lists with commas, for libpq's host and hostaddr; or why not. */
void rm_pg_conn_resolved(struct pg_conn *c, const char *hosts, const char *addresses, const char *error);

/* small helpers: rm_pg.c */

/* "SQLSTATE: message" without a newline. r may be NULL. */
void rm_pg_error_text(const PGresult *r, char *out, size_t size);
bool rm_pg_is_sqlstate(const PGresult *r, const char *state);
/* Command done, with this tag. */
bool rm_pg_is_tag(const PGresult *r, const char *tag);
/* A value of the first row; NULL for null, no row or no result. */
const char *rm_pg_value(const PGresult *r, int column);
/* The proof of a vote out of a row of PG_PROOF_COLUMNS. */
void rm_pg_proof_of_vote(const struct pg_conn *c, const PGresult *r, char out[PROOF_LIMIT + 1]);
/* The proof of a commit in one phase, "xid=<n> epoch=<when>"; without an epoch where that is NULL, and empty
 * for an xid of NULL. Not one of a prepared branch: whose xid is on the disk and needs no epoch. */
void rm_pg_proof_format_one_phase(const char *xid, const char *epoch, char out[PROOF_LIMIT + 1]);
/* Its parts; the epoch is empty where there is none. False: it is none of ours. */
bool rm_pg_proof_parse_one_phase(const char *proof, char xid[PG_XID_SIZE], char epoch[PG_EPOCH_SIZE]);
/* The proof of a row of pg_prepared_xacts: its 32-bit xid, made whole by the snapshot's end. Without a place in
 * the log: where it was prepared nobody knows any more. */
void rm_pg_proof_of_prepared(const struct pg_conn *c, const char *xid32, const char *snapshot_end,
                             char out[PROOF_LIMIT + 1]);

/* failover: rm_pg_lineage.c */

/* NULL: an xid of this vote is its own on the server that c is connected to, as far as timelines tell. Else why
 * it is not, as text, or *ask: the answer to rm_pg_lineage_question() decides. */
const char *rm_pg_lineage(const struct pg_conn *c, const struct pg_proof *vote, bool *ask,
                          char text[TEXT_LIMIT + 1]);
/* SQL of the history of the timeline that c's server is on. */
void rm_pg_lineage_question(const struct pg_conn *c, char sql[96]);
/* Its answer: as rm_pg_lineage(); *again: it could not be asked now, for the reason in text. */
const char *rm_pg_lineage_answer(const struct pg_conn *c, const struct pg_proof *vote, const PGresult *r,
                                 bool *again, char text[TEXT_LIMIT + 1]);
/* Where a timeline was left, by the history of one that comes from it (PostgreSQL 15 manual, «Timelines»).
 * False: it does not come from it. */
bool rm_pg_history_fork(const char *history, uint32_t timeline, uint64_t *lsn);

/* statements: rm_pg_statement.c */

enum pg_statement {
    PG_STATEMENT_PLAIN,
    PG_STATEMENT_SAVEPOINT, /* rolls back to one; savepoints are the application's own */
    PG_STATEMENT_ENDS,      /* would end the transaction behind the agent's back, or begin another */
};
enum pg_statement rm_pg_statement(const char *sql);
/* By the command tag of its answer a statement that was let pass has ended the transaction all the same. */
bool rm_pg_tag_ends(enum pg_statement statement, const char *tag);

/* the operations */

struct rm_work *rm_pg_work_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                 void *arg);
int rm_pg_work_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                    struct tx_error *e);
void rm_pg_work_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg);
void rm_pg_work_prove(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_pg_work_one_phase(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_pg_work_abandon(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_pg_work_end(struct rm_work *w);
/* SQL condition for pg_stat_activity; "" where it never had a connection. */
const char *rm_pg_work_backend(const struct rm_work *w);

void rm_pg_look(struct rm *rm, const char *gid, struct rm_work *w, rm_answer_cb done, void *arg);
void rm_pg_commit(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
void rm_pg_rollback(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
void rm_pg_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg);

void rm_pg_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg);
void rm_pg_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg);
void rm_pg_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg);

#endif
