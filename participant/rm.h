/* rm: what the agent asks of a resource manager, and the table of kinds there are.
 *
 * The agent (agent.c, statements.c, scan.c, inquire.c) calls these operations; a kind implements them in files
 * of its own and is entered in rm.c: one line.
 *
 * Everything is asynchronous on the agent's loop. A callback comes once for each call, never from inside the
 * call, and never after rm_ops.close() has ended. Strings in an answer are borrowed for the callback.
 */
#ifndef ASSENT_RM_H
#define ASSENT_RM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/err.h"
#include "libtx/shared/wire.h"

/* A branch prepared so short a time ago is as a rule about to be finished by its application. */
enum { RM_YOUNG_MS = 1000 };

/* One open resource. */
struct rm;
/* One branch's work on a connection of the resource, from its first statement until it is prepared, committed
 * or rolled back. */
struct rm_work;

enum rm_outcome {
    RM_DONE,      /* as asked, for sure. look: it is prepared. status: it is committed */
    RM_READ_ONLY, /* prepare: the branch wrote nothing; it is committed and over */
    RM_REFUSED,   /* prepare, one_phase: rolled back, for sure. status: it is rolled back */
    RM_NOT_FOUND, /* look: not prepared and can no longer become so. rollback: nothing there to roll back */
    RM_HEURISTIC_COMMIT,   /* rollback: is committed */
    RM_HEURISTIC_ROLLBACK, /* commit: is rolled back */
    RM_HAZARD,             /* commit: not there, and no proof of what became of it */
    RM_UNKNOWN,            /* could not be found out now, nobody's fault: ask again later */
    RM_FAILED, /* the resource refuses it and goes on refusing until somebody acts; text says what to do */
};

struct rm_answer {
    enum rm_outcome outcome;
    const char *text;  /* for people; may be NULL */
    const char *proof; /* may be NULL */
};
typedef void (*rm_answer_cb)(void *arg, const struct rm_answer *a);

struct rm_statement {
    const char *text;
    int n_values;
    const char *const *values; /* NULL for null */
};
/* The rows, or an error in code and text: TX_ESTATEMENT, TX_EBUSY (no connection free), TX_EUNREACHABLE,
 * TX_ETOOBIG, TX_EREFUSED, TX_EROLLBACK. `lost`: the branch is rolled back and its work is over. */
typedef void (*rm_rows_cb)(void *arg, const struct wire_rows *rows, bool lost);

/* One branch that the resource lists as prepared. */
struct rm_found {
    const char *gid;
    uint64_t age_ms;
    const char *proof; /* may be NULL */
};
/* A part of the list, and figures of all of it from where that part begins. */
struct rm_list {
    const struct rm_found *found;
    int n;              /* < 0: the list could not be read */
    uint32_t total;     /* branches */
    uint32_t in_doubt;  /* those that have been prepared for RM_YOUNG_MS or longer */
    uint64_t oldest_ms; /* age of the oldest */
};
typedef void (*rm_list_cb)(void *arg, const struct rm_list *list);

/* JSON, or NULL with the reason. */
typedef void (*rm_json_cb)(void *arg, const char *json, const char *error);

/* A prepared branch to be finished. */
struct rm_finish {
    const char *gid;
    const char *proof;   /* as the vote brought it; may be NULL */
    bool by_application; /* prepared on a connection of the application's, so maybe by another role */
};

struct rm_options {
    uv_loop_t *loop;
    const char *name;     /* of the resource */
    const char *settings; /* what the operator wrote after the kind; NULL where the kind takes `context`;
                             borrowed for the call of open() */
    void *context;
    unsigned connections; /* at most so many; a few of them are kept for finishing */
    /* Told of every change, also of the reason: the resource can be reached, or why not (error, borrowed).
     * Before the first call it is down. */
    void (*status)(void *arg, bool up, const char *error);
    void *arg;
};

struct rm_ops {
    const char *kind;
    const char
        *by_hand; /* where it is said how to look at prepared branches, and finish one, without an agent */

    /* Begins to connect and goes on until closed. TX_EINVAL: settings, with the remedy; TX_ENOMEM. */
    int (*open)(struct rm **out, const struct rm_options *options, struct tx_error *e);
    /* Ends every work (rolled back) and connection, then frees; calls outstanding are answered first, as where
     * a connection breaks, and works still have to be ended by end(). */
    void (*close)(struct rm *rm, void (*closed)(void *arg), void *arg);

    /* Whether a branch of this name may begin. TX_EREFUSED: the resource has one prepared, so that the request
     * is a double; TX_EUNREACHABLE: not known yet. NULL: always. (A database rolls a double back with its
     * connection. Where a work has nothing but its name, what ends the double would end the branch.) */
    int (*admit)(struct rm *rm, const char *gid, struct tx_error *e);
    /* The work of the branch that will be prepared as `gid` (borrowed for the call), without a connection yet;
     * NULL: out of memory. The first exec() waits for a connection. `lost` is called, with `arg`, when the
     * connection breaks while nothing is under way on it: the work is rolled back and over. */
    struct rm_work *(*begin)(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                             void *arg);
    /* One statement at a time; it is borrowed for the call. Parameters go as parameters, never into the text.
     * TX_EREFUSED: the statement would end the transaction; TX_ENOMEM; then `done` is not called and nothing
     * has changed. */
    int (*exec)(struct rm_work *work, const struct rm_statement *s, rm_rows_cb done, void *arg,
                struct tx_error *e);
    /* `gid` is the one of begin(), borrowed for the call. RM_DONE with proof, RM_READ_ONLY, RM_REFUSED, or
     * RM_UNKNOWN: then look() with this work tells. */
    void (*prepare)(struct rm_work *work, const char *gid, rm_answer_cb done, void *arg);
    /* Before one_phase(): RM_DONE with the proof that status() will tell its outcome by (NULL: it has written
     * nothing), or RM_REFUSED: the work can only be abandoned; if the connection broke, `lost` comes next. */
    void (*prove)(struct rm_work *work, rm_answer_cb done, void *arg);
    /* Commits a work that prove() has answered RM_DONE for, without a statement since. RM_DONE, RM_REFUSED, or
     * RM_UNKNOWN: then status() tells. */
    void (*one_phase)(struct rm_work *work, rm_answer_cb done, void *arg);
    /* Rolls the work back, whatever it is doing; an exec() or prove() under way is answered first. RM_DONE.
     * Where the work was a double's: RM_UNKNOWN: a branch of this name is prepared, and nothing was rolled
     * back; RM_HEURISTIC_COMMIT: it is committed. */
    void (*abandon)(struct rm_work *work, rm_answer_cb done, void *arg);
    /* Frees a work that is over (prepared, read-only, refused, committed, lost, abandoned, or unknown and not
     * to be looked after any more). */
    void (*end)(struct rm_work *work);

    /* Is this gid prepared? `work`: the one whose prepare() ended RM_UNKNOWN, or NULL. RM_DONE with proof,
     * RM_NOT_FOUND, RM_UNKNOWN. */
    void (*look)(struct rm *rm, const char *gid, struct rm_work *work, rm_answer_cb done, void *arg);
    /* RM_DONE, RM_HEURISTIC_ROLLBACK, RM_HAZARD, RM_UNKNOWN, RM_FAILED. */
    void (*commit)(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
    /* RM_DONE, RM_NOT_FOUND, RM_HEURISTIC_COMMIT, RM_UNKNOWN, RM_FAILED. */
    void (*rollback)(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg);
    /* What the proof that prove() gave says of its work, in this process or another: RM_DONE, RM_REFUSED,
     * RM_UNKNOWN (not over yet, or not to be reached), RM_HAZARD (the proof tells nothing any more). */
    void (*status)(struct rm *rm, const char *proof, rm_answer_cb done, void *arg);

    /* Up to `limit` prepared branches whose gid begins with `prefix` and comes after `after` ("": from the
     * first), in the order of gids. */
    void (*list)(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                 void *arg);

    /* For the operator: one branch with its locks and those who wait for it; the resource's findings.
     * prefix: the gids of this group begin so. The agent adds the resource's name. */
    void (*inspect)(struct rm *rm, const char *gid, rm_json_cb done, void *arg);
    void (*diagnose)(struct rm *rm, const char *prefix, rm_json_cb done, void *arg);
    /* Tries out, on a connection that nobody else has meanwhile and within seconds, whether branches can be
     * prepared and finished:
     * {"checks": [{"check", "ok", "text", "remedy"}, …]}, in the order in which they were made. An empty branch
     * is prepared as `gid` and rolled back; left behind by a crash it is rolled back by recovery. NULL: this
     * kind has no test. */
    void (*test)(struct rm *rm, const char *gid, rm_json_cb done, void *arg);
};

/* NULL: there is no such kind. */
const struct rm_ops *rm_find(const char *kind);
/* All of them, with commas, for messages. */
const char *rm_kinds(void);

#endif
