/* rm_mariadb_impl: what the files of the MariaDB resource manager share.
 *
 * rm_mariadb.c            the operations' table, opening and closing, small helpers
 * rm_mariadb_settings.c   the operator's settings
 * rm_mariadb_pool.c       struct rm: connections, jobs waiting for one, reconnecting
 * rm_mariadb_conn.c       one connection on the loop: connect, park, clean, close
 * rm_mariadb_io.c         what is sent on it and what comes back; the library's calls
 * rm_mariadb_bind.c       a prepared statement's parameters and columns
 * rm_mariadb_session.c    what is asked of the server before a connection is used
 * rm_mariadb_resolve.c    host names, without blocking
 * rm_mariadb_work.c       a branch's work: statements, prepare, one-phase commit, rollback
 * rm_mariadb_statement.c  statements that a branch may not have
 * rm_mariadb_rows.c       a statement's rows
 * rm_mariadb_finish.c     a prepared branch: look, commit, rollback, proof
 * rm_mariadb_evidence.c   what the server knows of a branch
 * rm_mariadb_list.c       what is prepared
 * rm_mariadb_receipt.c    old receipts go
 * rm_mariadb_inspect.c    for the operator
 *
 * The rules that everything here follows:
 * - The session that prepared a branch finishes it: its connection is parked under the branch's gid. While it
 *   is connected no other session can; and XA COMMIT by another that races with its end can answer OK and
 *   commit nothing. So another session waits until the thread is gone, pauses, and believes the receipt alone.
 * - A branch writes its receipt (xa_xid.h) last of all. Everybody sees it if and only if the branch is
 *   committed; at READ UNCOMMITTED it is seen before, and names the thread.
 * - XAER_NOTA is never success.
 * - After a failed statement XA PREPARE would still succeed: the work itself refuses.
 *
 * A job is what has a connection to itself for a while. It waits in the pool; start() gets it a connection, on
 * which it sends; replied() sees the results, and sends again or gives the connection back; dropped() tells
 * that the connection broke, or that there was none. MariaDB manual: «XA Transactions», «Using the Non-blocking
 * Library».
 */
#ifndef ASSENT_RM_MARIADB_IMPL_H
#define ASSENT_RM_MARIADB_IMPL_H

#include <mysql.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/xa_xid.h"
#include "participant/rm_mariadb.h"

/* All bounds in one block. */
enum {
    MARIA_RESULTS = 10,        /* statements of one sending */
    MARIA_RESERVED = 2,        /* connections that no branch's work may hold */
    MARIA_WAITING_LIMIT = 256, /* works that wait for a connection */
    MARIA_CONNECTIONS_MIN = 4,
    MARIA_CONNECTIONS_MAX = 256,
    MARIA_BACKOFF_MS = 250,
    MARIA_BACKOFF_MAX_MS = 5000,
    MARIA_TICK_MS = 250,
    MARIA_CONNECT_TIMEOUT_MS = 10000,
    MARIA_WAIT_TIMEOUT_MS = 10000,   /* a work's, for a connection */
    MARIA_FINISH_TIMEOUT_MS = 60000, /* a job on prepared branches; its connection is closed then */
    MARIA_ABANDON_TIMEOUT_MS = 5000, /* a rollback; likewise */
    MARIA_PRUNE_MS = 60000,          /* between two looks for old receipts */
    MARIA_PRUNE_BATCH = 500,
    MARIA_EVIDENCE = 5, /* statements of rm_mariadb_evidence_sql() */
    MARIA_EVIDENCE_SIZE = 512,
    MARIA_VERSION_MIN = 100600,
    MARIA_USER_SIZE = 256,
};

/* The server's error codes that mean something to the agent. */
enum {
    MARIA_DUPLICATE = 1062,
    MARIA_DEADLOCK = 1213,
    MARIA_NOTA = 1397,        /* XAER_NOTA */
    MARIA_RB_ROLLBACK = 1402, /* XA_RBROLLBACK */
    MARIA_DUPID = 1440,       /* XAER_DUPID */
    MARIA_RB_TIMEOUT = 1613,
    MARIA_RB_DEADLOCK = 1614,
};

struct maria_conn;

/* One statement's. */
struct maria_result {
    unsigned error; /* the server's code; 0: none */
    char text[TEXT_LIMIT + 1];
    MYSQL_RES *rows; /* NULL: none */
    uint64_t affected;
};

/* Results of what was sent last, in order, up to the first that failed. Cleared after replied(). */
struct maria_reply {
    unsigned n;
    struct maria_result results[MARIA_RESULTS];
};

struct maria_job {
    struct maria_job *prev, *next; /* the pool's, while it waits */
    bool holds;                    /* a branch's work: keeps its connection long, so not one of the reserved */
    bool first;                    /* is short and somebody waits for it: goes before what waits already */
    int code;                      /* why it is to be dropped */
    uint64_t deadline_ms;          /* loop time; the connection is closed then; 0: none */
    void (*start)(struct maria_job *job, struct maria_conn *c);
    void (*replied)(struct maria_job *job, struct maria_conn *c, const struct maria_reply *reply);
    /* TX_EUNKNOWN: the connection broke, whatever was under way may or may not have happened. TX_EUNREACHABLE,
     * TX_EBUSY, TX_EROLLBACK (taken out of the queue): nothing was begun. */
    void (*dropped)(struct maria_job *job, int code, const char *text);
    /* The first rows of a statement: names, then one row at a time. Only where a statement was sent. */
    void (*columns)(struct maria_job *job, const MYSQL_FIELD *fields, unsigned n);
    void (*row)(struct maria_job *job, const char *const *values, unsigned n);
};

/* settings: rm_mariadb_settings.c */

struct maria_settings {
    char *host, *user, *password, *passfile, *dbname, *unix_socket; /* NULL: not given */
    char *ssl_ca, *ssl_cert, *ssl_key;
    unsigned port;
    bool tls, ssl_verify; /* tls: is required; asked for, or implied by a file */
    unsigned receipts_ms; /* age from which a receipt goes */
};

/* keyword=value as libpq has it, values with blanks in single quotes. TX_EINVAL that names the keyword, and
 * never a value; TX_ENOMEM. */
int rm_mariadb_settings_parse(struct maria_settings *s, const char *text, struct tx_error *e);
void rm_mariadb_settings_release(struct maria_settings *s);
/* The setting, the password file's first line, or MYSQL_PWD in the environment. TX_EINVAL: the file cannot be
 * read; TX_EREFUSED: others may read it. */
int rm_mariadb_settings_password(const struct maria_settings *s, char out[MARIA_USER_SIZE], struct tx_error *e);

/* the pool: rm_mariadb_pool.c */

struct rm {
    struct rm_options options;
    struct maria_settings settings;
    uv_timer_t kick, tick;
    struct maria_conn *conns;
    unsigned n_conns, n_connecting;
    unsigned n_held, n_parked;             /* connections that works have; that prepared branches have */
    struct maria_job *finishing, *waiting; /* two queues: reserved connections are for the first */
    struct maria_job *rejected;            /* to be dropped at the next turn */
    unsigned n_waiting;
    bool up, told, closing;
    char error[TEXT_LIMIT + 1];      /* why no connection could be made */
    char told_error[TEXT_LIMIT + 1]; /* as last told */
    uint64_t retry_at_ms;            /* not to be connected before */
    unsigned backoff_ms;
    unsigned address; /* of the host's several: the one to be tried, modulo their number */
    bool pruning;
    uint64_t prune_at_ms;
    unsigned open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
    char user[MARIA_USER_SIZE]; /* as the process list names the agent's own sessions */
};

int rm_mariadb_pool_open(struct rm *rm);
void rm_mariadb_pool_close(struct rm *rm);
/* Puts the job into its queue; it starts, or is dropped, at the next turn of the loop. */
void rm_mariadb_pool_submit(struct rm *rm, struct maria_job *job);
/* A waiting job is dropped at the next turn with this code. */
void rm_mariadb_pool_withdraw(struct rm *rm, struct maria_job *job, int code);
/* Gives the job the connection that is parked for this gid; false: there is none. */
bool rm_mariadb_pool_unpark(struct rm *rm, const char *gid, struct maria_job *job);
/* Looks at the queues soon. */
void rm_mariadb_pool_kick(struct rm *rm);
/* What conn tells the pool: usable; or failed to become so. */
void rm_mariadb_pool_connected(struct rm *rm);
void rm_mariadb_pool_failed(struct rm *rm, const char *why);
/* The pool is closed: frees rm and tells. In rm_mariadb.c. */
void rm_mariadb_closed(struct rm *rm);

/* a connection: rm_mariadb_conn.c */

enum maria_conn_state {
    MARIA_RESOLVING,
    MARIA_CONNECTING,
    MARIA_PREPARING_SESSION,
    MARIA_IDLE,
    MARIA_WORKING,
    MARIA_CLEANING,
    MARIA_PARKED, /* its session has a prepared branch */
};

/* What the library is doing; rm_mariadb_io.c. */
enum maria_op {
    MARIA_NOTHING,
    MARIA_CONNECT,
    MARIA_RESET,
    MARIA_QUERY,
    MARIA_STORE,
    MARIA_FETCH,
    MARIA_NEXT,
    MARIA_STMT_PREPARE,
    MARIA_STMT_EXECUTE,
    MARIA_STMT_FETCH,
    MARIA_STMT_NEXT,
    MARIA_STMT_CLOSE,
};

/* What is to be sent: the session reset, statements of our own, then the application's. */
struct maria_request {
    bool reset;
    bool tolerant; /* goes on behind a statement that failed */
    unsigned n_sql, next;
    char *sql[MARIA_RESULTS];             /* owned */
    const struct rm_statement *statement; /* borrowed until replied() or dropped(); NULL: none */
    bool statement_sent;
    unsigned sets; /* with rows, of the statement so far */
};

/* A prepared statement's memory; rm_mariadb_bind.c. */
struct maria_bind {
    MYSQL_BIND *binds;
    unsigned long *lengths;
    my_bool *nulls;
    char **values, *memory; /* values[i] points into memory, or is owned by big[i] */
    char **big;
    unsigned n;
};

struct maria_conn {
    struct maria_conn *prev, *next;
    struct rm *rm;
    MYSQL *my;       /* NULL while its host is looked up */
    uv_poll_t *poll; /* its own memory: it outlives the connection until closed */
    int fd, events;  /* what poll watches */
    enum maria_conn_state state;
    struct maria_job *job; /* when WORKING; else &own or NULL */
    struct maria_job own;
    bool in_flight, broken;
    char why[TEXT_LIMIT + 1]; /* it broke; "": nothing is known */
    bool cancelled;           /* KILL QUERY may still be on its way, and must not hit another job */
    struct maria_request request;
    enum maria_op op;
    int status; /* of the library's call, when it has ended */
    my_bool flag;
    MYSQL *connected;
    char host[256], password[MARIA_USER_SIZE]; /* while it connects: the library keeps pointers to them */
    MYSQL_RES *rows;                           /* that are being fetched */
    MYSQL_ROW row;
    MYSQL_STMT *stmt;
    struct maria_bind bind;
    struct maria_reply reply;
    uint64_t since_ms;             /* when connecting, or cleaning, began */
    struct maria_resolve *resolve; /* its host is being looked up; NULL: not */
    uint64_t thread;               /* the server's number of this session */
    uint64_t server_since;         /* when the server started, as its own unix time */
    uint64_t writes;               /* of the session, before the work that has it */
    char gid[GID_SIZE];            /* when PARKED */
};

/* NULL: out of memory or handles; then nothing is left behind. */
struct maria_conn *rm_mariadb_conn_open(struct rm *rm);
/* Closes and drops its job: the world's fault. */
void rm_mariadb_conn_lost(struct maria_conn *c, const char *why);
/* The job is done with its connection. clean: nothing of a session's state was touched. */
void rm_mariadb_conn_release(struct maria_conn *c, bool clean);
/* The job has prepared the branch: its connection waits for unpark(). */
void rm_mariadb_conn_park(struct maria_conn *c, const char *gid);
/* Asks the server, on another connection, to give up the statement under way. */
void rm_mariadb_conn_cancel(struct maria_conn *c);
/* The session is as it should be: usable. For rm_mariadb_session.c. */
void rm_mariadb_conn_ready(struct maria_conn *c);
/* The host's address; NULL: `error`. For rm_mariadb_resolve.c. */
void rm_mariadb_conn_resolved(struct maria_conn *c, const char *address, const char *error);
/* Listens on the socket that the library uses now. False: it cannot. */
bool rm_mariadb_conn_watch(struct maria_conn *c, int events);

/* sending: rm_mariadb_io.c. A failure makes the connection break, never from inside these. */

/* Up to MARIA_RESULTS statements, one after the other, to the first that fails; tolerant: all of them. */
void rm_mariadb_send(struct maria_conn *c, const char *const *sql, unsigned n, bool tolerant);
/* The application's statement behind one of our own (NULL: none); its rows go to the job one by one. */
void rm_mariadb_send_statement(struct maria_conn *c, const char *before, const struct rm_statement *s);
/* A new session on the same connection, and then these. */
void rm_mariadb_send_reset(struct maria_conn *c, const char *const *sql, unsigned n);
/* Begins to connect. host: an address or a name; NULL: by the socket. */
void rm_mariadb_io_connect(struct maria_conn *c, const char *host);
/* Something can be read or written (UV_READABLE, UV_WRITABLE): goes on as far as it can. The connection may be
 * gone afterwards. */
void rm_mariadb_io_ready(struct maria_conn *c, int events);
/* Frees what a request in flight holds, and the connection itself. */
void rm_mariadb_io_release(struct maria_conn *c);

/* A prepared statement's parameters, as strings, as many as it has placeholders. Borrowed from `s`. */
void rm_mariadb_bind_values(struct maria_bind *b, const struct rm_statement *s);
/* Columns of its rows, to be fetched as strings. */
void rm_mariadb_bind_columns(struct maria_bind *b, unsigned n);
/* The row that was just fetched; borrowed until the next one. NULL: an error of the statement's. */
const char *const *rm_mariadb_bind_row(struct maria_bind *b, MYSQL_STMT *stmt);
void rm_mariadb_bind_release(struct maria_bind *b);

/* the session: rm_mariadb_session.c */

/* Sends what is asked first; ends in rm_mariadb_conn_ready() or _lost(). */
void rm_mariadb_session_begin(struct maria_conn *c);
/* SQL that gives a session the agent's own settings. */
#define MARIA_SESSION_SQL "SET autocommit = 1, NAMES utf8mb4"
/* SQL that counts what a session has written, and the count. Internal temporary tables have counters of their
 * own; those of an application's count here: then a branch that wrote nothing else is prepared like others. */
#define MARIA_WRITES_SQL \
    "SHOW SESSION STATUS WHERE Variable_name IN ('Handler_delete', 'Handler_update', 'Handler_write')"
bool rm_mariadb_writes(const struct maria_reply *reply, unsigned i, uint64_t *n);

/* host names: rm_mariadb_resolve.c */

/* Looks the server's name up; rm_mariadb_conn_resolved() follows. False: there is none to look up. */
bool rm_mariadb_resolve(struct maria_conn *c);
/* The connection goes; its look-up is forgotten. */
void rm_mariadb_resolve_cancel(struct maria_conn *c);

/* small helpers: rm_mariadb.c */

/* "code: message"; r may be NULL. */
void rm_mariadb_error_text(const struct maria_result *r, char *out, size_t size);
/* A value of the reply's i-th statement, first row; NULL for null, no row or no such result. */
const char *rm_mariadb_value(const struct maria_reply *reply, unsigned i, unsigned column);
/* All `n` statements were executed. */
bool rm_mariadb_all_done(const struct maria_reply *reply, unsigned n);
/* The result that failed, or NULL. */
const struct maria_result *rm_mariadb_failure(const struct maria_reply *reply);
/* The next row of XA RECOVER that is a branch of ours; false: there is none. */
bool rm_mariadb_next_gid(MYSQL_RES *rows, char gid[GID_SIZE]);
/* Whether the reply's i-th statement, an XA RECOVER, lists this gid. */
bool rm_mariadb_listed(const struct maria_reply *reply, unsigned i, const char *gid);
/* Parts of a gid that gid_parse() takes; aborts on any other, which no caller has. */
void rm_mariadb_xid(const char *gid, char xid[XA_XID_SQL_SIZE]);
void rm_mariadb_key(const char *gid, char key[XA_KEY_SQL_SIZE]);

/* evidence: rm_mariadb_evidence.c */

/* What the server knows of a branch. */
struct maria_evidence {
    bool listed;     /* by XA RECOVER */
    bool written;    /* its receipt is there, be it to be seen by everybody or not */
    bool committed;  /* and everybody sees it */
    bool connected;  /* the session that wrote it is still there */
    bool own;        /* and is one of the agent's user */
    uint64_t thread; /* of that session; 0: not known */
};

struct maria_evidence_sql {
    char receipt[MARIA_EVIDENCE_SIZE], committed[MARIA_EVIDENCE_SIZE];
    const char *sql[MARIA_EVIDENCE];
};

/* The statements that gather it, in the order that makes it conclusive: what is neither listed nor written is
 * not there. The first of them can be left out: `listed` is then not known, and what it costs, which is more
 * the more is prepared, is spared. key: as xa_xid_key() writes it. */
void rm_mariadb_evidence_sql(struct maria_evidence_sql *q, const char *key);
/* From the results of those statements, the last of them at `last`. gid NULL: the first was left out. False:
 * they could not be had. */
bool rm_mariadb_evidence(const struct maria_conn *c, const struct maria_reply *reply, unsigned last,
                         const char *gid, struct maria_evidence *v);

/* statements: rm_mariadb_statement.c */

/* It would end the transaction behind the agent's back, or the server's own protection of it. */
bool rm_mariadb_ends_transaction(const char *sql);

/* A copy in memory of its own, which is returned; free() it. NULL: out of memory. */
void *rm_mariadb_statement_copy(const struct rm_statement *s, struct rm_statement *copy);

/* rows: rm_mariadb_rows.c */

struct maria_rows {
    struct buf cells;
    uint32_t n_rows;
    uint16_t n_columns;
    bool too_big;
};

void rm_mariadb_rows_init(struct maria_rows *r);
void rm_mariadb_rows_release(struct maria_rows *r);
void rm_mariadb_rows_reset(struct maria_rows *r);
void rm_mariadb_rows_columns(struct maria_rows *r, const MYSQL_FIELD *fields, unsigned n);
/* False, once: they have become more than a message may carry, and the rest is not needed. */
bool rm_mariadb_rows_add(struct maria_rows *r, const char *const *values, unsigned n);
/* What the application is told; borrows from `r` and `text`. False: it is an error. */
bool rm_mariadb_rows_result(const struct maria_rows *r, const struct maria_result *result,
                            struct wire_rows *rows, char text[TEXT_LIMIT + 1]);

/* the operations */

struct rm_work *rm_mariadb_work_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                      void *arg);
int rm_mariadb_work_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                         struct tx_error *e);
void rm_mariadb_work_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg);
void rm_mariadb_work_prove(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_mariadb_work_one_phase(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_mariadb_work_abandon(struct rm_work *w, rm_answer_cb done, void *arg);
void rm_mariadb_work_end(struct rm_work *w);
/* Of its session, and when the server had started; 0 where it never had one. */
uint64_t rm_mariadb_work_thread(const struct rm_work *w, uint64_t *server_since);

void rm_mariadb_look(struct rm *rm, const char *gid, struct rm_work *w, rm_answer_cb done, void *arg);
void rm_mariadb_commit(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
void rm_mariadb_rollback(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
void rm_mariadb_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg);

void rm_mariadb_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                     void *arg);
/* Deletes a batch of old receipts, and the next one where there are more. */
void rm_mariadb_prune(struct rm *rm);

void rm_mariadb_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg);
void rm_mariadb_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg);
/* rm_mariadb_test.c */
void rm_mariadb_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg);

#endif
