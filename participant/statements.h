/* statements: the application's side of the agent: WIRE_EXEC and WIRE_FINISH over a channel that it listens on.
 *
 * Statements of a branch are numbered; a number that was executed is not executed again, its answer is
 * repeated. agent.c says when a branch has ended; calls agent_event() and rm's exec(), prove() and status().
 *
 * Whoever has a client's key may begin branches, and nobody else may go on with them or end them; what may be
 * executed is in named.h. Everything that is refused for that is told in an audit line. Until the coordinator
 * has told the clients' keys, nothing is read from the channel: whoever calls waits, and is not refused.
 */
#ifndef ASSENT_STATEMENTS_H
#define ASSENT_STATEMENTS_H

#include <uv.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"
#include "participant/denials.h"

struct agent;
struct held;

struct statements {
    struct agent *agent;
    struct channel channel;
    struct channel_security security;
    uv_poll_t poll;
    bool listening;
    /* By whom the message comes that is being handled; NULL: in clear text, or by the program itself. */
    const uint8_t *key;
    const char *who;
    struct denials denials;
    struct buf out;
    struct wire_scratch *scratch;
    const char **values; /* room for VALUE_LIMIT of them */
    unsigned asking;     /* FINISH_STATUS under way */
};

/* address NULL: does not listen. TX_EINVAL, TX_EIO, TX_ENOMEM. */
int statements_open(struct statements *s, struct agent *a, const char *address, struct tx_error *e);
/* The clients' keys are known: from here on they are served. More than once is allowed. */
void statements_begin(struct statements *s);
/* Whoever has this key is no client any more. */
void statements_drop(struct statements *s, const uint8_t key[KEY_SIZE]);
void statements_close(struct statements *s);
void statements_release(struct statements *s);
/* A statement that is executed by the caller, as its answer says: the next one of its branch, which the first
 * begins. TX_EUNREACHABLE: the group is not known yet; TX_EREFUSED: another group's, or a double; TX_EROLLBACK:
 * the branch is over, or others of its statements never came; TX_EBUSY, TX_ENOTFOUND, TX_EINVAL, TX_ENOMEM. */
int statements_join(struct statements *s, const struct wire_exec *x, struct tx_error *e);
/* The application has been silent for too long in this branch. */
bool statements_overdue(const struct held *h, uint64_t now);
/* False: another client than this one (NULL: anybody) is at work in an active branch. */
bool statements_is_by(const struct held *h, const char *owner);
/* Whether an active branch can be ended. False: a statement is under way, or `proof` is "statements=<n>", as
 * the application counts them, and other than n were executed here. (After a restart of the agent a late double
 * of the first statement can begin a branch anew.) */
bool statements_complete(const struct held *h, const char *proof);
/* The branch has come to an end that the application may be waiting for (DO_ANSWER). */
void statements_answer(struct held *h);

#endif
