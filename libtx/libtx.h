/* libtx: atomic commit across databases.
 *
 * A program opens one client, begins transactions on it, enlists the database connections it already has
 * (libtx_pg.h) or executes statements through an agent, and commits: all branches or none.
 *
 * The names of X/Open's TX interface (tx_open, tx_begin, tx_commit, …) are left free on purpose; the words
 * are X/Open's all the same (X/Open CAE Specification C504, «The TX Specification»; C193, «The XA
 * Specification»).
 *
 * Threads: a tx_client may be shared by any number of threads. A txn and the connections enlisted in it belong
 * to one thread at a time. Not fork-safe: open the client after fork().
 */
#ifndef LIBTX_H
#define LIBTX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TX_API __attribute__((visibility("default")))
#define TX_MUST_USE __attribute__((warn_unused_result))
#else
#define TX_API
#define TX_MUST_USE
#endif

#define TX_VERSION "0.1.0"

/* Every error this library returns: X(name, code, text). Codes are stable. */
#define TX_ERROR_LIST(X)                                                                          \
    X(TX_OK, 0, "success")                                                                        \
    X(TX_EINVAL, -1, "invalid argument or state")                                                 \
    X(TX_ENOMEM, -2, "out of memory")                                                             \
    X(TX_EIO, -3, "input/output error")                                                           \
    X(TX_ECORRUPT, -4, "stored data is damaged")                                                  \
    X(TX_EPROTO, -5, "malformed message or incompatible version")                                 \
    X(TX_EBUSY, -6, "a limit is reached; try again later")                                        \
    X(TX_ETIMEOUT, -7, "no answer in time")                                                       \
    X(TX_EUNREACHABLE, -8, "no coordinator or agent can be reached")                              \
    X(TX_ENOTLEADER, -9, "this coordinator does not lead its group")                              \
    X(TX_ESESSION, -10, "the session has expired or is not known")                                \
    X(TX_EROLLBACK, -11, "the transaction was rolled back")                                       \
    X(TX_EINDOUBT, -12, "the outcome is not known yet")                                           \
    X(TX_EHEURISTIC, -13, "a branch was finished against the decision (heuristic outcome)")       \
    X(TX_EHAZARD, -14, "a branch may have been finished against the decision (heuristic hazard)") \
    X(TX_ENOTFOUND, -15, "not found")                                                             \
    X(TX_ESTATEMENT, -16, "the resource refused the statement")                                   \
    X(TX_ETOOBIG, -17, "larger than a message may be")                                            \
    X(TX_EREFUSED, -18, "refused")                                                                \
    X(TX_EUNKNOWN, -19, "it is not known whether the request took effect")                        \
    X(TX_EDENIED, -20, "not permitted")

enum tx_err {
#define TX_ERROR_ENUM(name, code, text) name = (code),
    TX_ERROR_LIST(TX_ERROR_ENUM)
#undef TX_ERROR_ENUM
};

/* What went wrong, for people: code is an enum tx_err, msg names the cause and the remedy. Filled whenever a
 * function returns non-zero; may be NULL in every call below. */
struct tx_error {
    int code;
    char msg[256];
};

/* Text of a code; never NULL. */
TX_API const char *tx_strerror(int code);

/* Client */

typedef struct tx_client tx_client;

/* Zero or NULL in a field means the default in brackets. */
struct tx_client_options {
    const char *coordinators;        /* "tcp://host:port[,…]"; [environment ASSENT_COORDINATORS, else
                                        tcp://127.0.0.1:7401] */
    const char *application_name;    /* shown by txadmin; at most 63 bytes [the program's name] */
    unsigned connect_timeout_ms;     /* opening a session [5000] */
    unsigned session_timeout_ms;     /* silence after which the group takes this client for dead [30000] */
    unsigned transaction_timeout_ms; /* age at which an undecided transaction is rolled back [60000] */
    unsigned commit_timeout_ms;      /* how long a commit asks for its outcome before TX_EINDOUBT [30000] */
    const char *identity;            /* file of this program's own key (txadmin keygen) [environment
                                        ASSENT_IDENTITY]; needed, or insecure */
    const char *keys; /* file of the keys of the coordinators to be believed [environment ASSENT_KEYS,
                         else /etc/assent/keys] */
    int insecure;     /* 1: clear text, on this machine alone [environment ASSENT_INSECURE, where no
                         identity is given here] */
};

/* Opens a session with the coordinator group. On success *out is owned by the caller: tx_client_close() it.
 * TX_EINVAL (options, or no identity), TX_EIO, TX_EREFUSED (a file that others may read; insecure, and a
 * coordinator on another machine), TX_EDENIED (no coordinator lets this program in, or is believed),
 * TX_EUNREACHABLE, TX_ETIMEOUT, TX_EBUSY, TX_ENOMEM. */
TX_API TX_MUST_USE int tx_client_open(tx_client **out, const struct tx_client_options *options,
                                      struct tx_error *error);

/* Ends the session and frees the client. Every txn of it must have been freed before. NULL is allowed. */
TX_API void tx_client_close(tx_client *client);

/* Transaction */

typedef struct txn txn;

/* When txn_commit() returns (X/Open TX, commit_return characteristic). */
enum txn_return {
    TXN_COMPLETED,       /* every branch is committed: the caller reads its own writes */
    TXN_DECISION_LOGGED, /* the outcome is certain; agents commit the branches behind the caller's back */
};

/* Begins a transaction; costs no message. Free it with txn_free(). TX_ESESSION is healed by itself (a new
 * session is opened), so: TX_EUNREACHABLE, TX_ETIMEOUT, TX_EDENIED, TX_EBUSY, TX_ENOMEM. */
TX_API TX_MUST_USE int txn_begin(tx_client *client, txn **out, struct tx_error *error);

/* The transaction's id, as txadmin and tx_client_outcome() take it; valid until txn_free().
 * Whoever asks before the commit intends to look the outcome up later: the transaction is then logged even
 * where it writes to one resource only and could do without. "" after a commit that was not logged: nothing of
 * it could be looked up. */
TX_API const char *txn_id(txn *t);

/* Commits all branches or none.
 * 0            committed, as far as `when` says
 * TX_EROLLBACK rolled back everywhere; msg says why
 * TX_EINDOUBT  no answer within commit_timeout_ms: it is or will be one of the two; ask tx_client_outcome(),
 *              or, where txn_id() is "" as one resource alone was written, that resource, as msg says
 * TX_ETIMEOUT  committed for certain, but not every branch within commit_timeout_ms: agents finish the rest
 * TX_EHEURISTIC, TX_EHAZARD  committed, but a branch was, or may have been, finished otherwise
 * TX_EINVAL    the transaction is over already
 * TX_ENOMEM    nothing was done; the transaction is still open
 * The enlisted connections are free for other use afterwards, whatever is returned. */
TX_API TX_MUST_USE int txn_commit(txn *t, enum txn_return when, struct tx_error *error);

/* Rolls all branches back. A branch that cannot be reached is rolled back by its server or its agent; that is
 * no error. TX_EINVAL: the transaction is over already; TX_ENOMEM: nothing was done. */
TX_API int txn_rollback(txn *t, struct tx_error *error);

/* Frees the handle; rolls back first if the transaction is not over. NULL is allowed. */
TX_API void txn_free(txn *t);

/* Remote branches: statements through the resource's agent */

/* A statement's rows, all values as text (as libpq's text format). */
typedef struct txn_rows txn_rows;

/* Executes one statement on a resource, in this transaction's branch there, which the first statement begins.
 * `values` are the parameters $1…$n as text, NULL for null. `rows` may be NULL; else the caller frees *rows.
 * TX_ESTATEMENT: the server refused it, msg has SQLSTATE and text, and the transaction can only be rolled back.
 * TX_ENOTFOUND: no agent serves the resource. TX_EDENIED: its agent takes named statements alone («@name»), or
 * none, or does not know this program's key. TX_ETIMEOUT, TX_EUNREACHABLE: likewise only rollback is left. */
TX_API TX_MUST_USE int txn_exec(txn *t, const char *resource, const char *statement, int n_values,
                                const char *const *values, txn_rows **rows, struct tx_error *error);

TX_API int txn_rows_count(const txn_rows *rows);
TX_API int txn_rows_columns(const txn_rows *rows);
/* Borrowed until txn_rows_free(); NULL where out of range. */
TX_API const char *txn_rows_name(const txn_rows *rows, int column);
/* Borrowed until txn_rows_free(); NULL for null and where out of range. */
TX_API const char *txn_rows_value(const txn_rows *rows, int row, int column);
/* Rows affected by INSERT, UPDATE, DELETE or MERGE; 0 for others. */
TX_API long long txn_rows_affected(const txn_rows *rows);
TX_API void txn_rows_free(txn_rows *rows);

/* Services that take part themselves (libtx_participant.h) */

/* Bytes of a context, with the terminating NUL. */
#define TXN_CONTEXT_SIZE 256

/* Writes the transaction's context for one request to a service that takes part as `resource`: a short
 * printable text without blanks, to be sent along in whatever protocol the two speak. The first one begins the
 * branch. Every request has a context of its own, one request after the other, and each must reach the service:
 * where one is lost the service does not vote yes, and the transaction is rolled back. The outcome is always
 * logged. TX_EINVAL: over, no name, or enlisted with a connection; or the reason why only rollback is left. */
TX_API TX_MUST_USE int txn_export(txn *t, const char *resource, char context[TXN_CONTEXT_SIZE],
                                  struct tx_error *error);

/* Outcomes */

enum tx_outcome {
    TX_OUTCOME_COMMITTED,
    TX_OUTCOME_ABORTED,
    TX_OUTCOME_PENDING,   /* not decided yet; it can still become either */
    TX_OUTCOME_FORGOTTEN, /* no longer known: finished and acknowledged, or older than the retention time */
};

/* What became of the transaction with this id, whoever ran it. TX_EINVAL: not an id. TX_ENOTFOUND: an id of
 * another group, or never issued. TX_EUNREACHABLE, TX_ETIMEOUT. */
TX_API TX_MUST_USE int tx_client_outcome(tx_client *client, const char *id, enum tx_outcome *outcome,
                                         struct tx_error *error);

#ifdef __cplusplus
}
#endif

#endif
