/* remote: branches whose connection an agent holds: txn_exec() and txn_export() of libtx.h, and the driver for
 * finish.c.
 *
 * The coordinator has these branches prepared and finished; what is left here is the statements, rolling back,
 * and committing in one phase where the branch is the only one that matters. Every request names its branch,
 * and every statement its number, so the agent knows a double when it sees one.
 *
 * OP_COMMIT: FINISH_PROOF ─▶ FINISH_ONE_PHASE. Without an answer to the first nothing is committed; without one
 * to the second, as an agent that dies between COMMIT and its answer leaves it, OP_STATUS asks with the proof.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "libtx/rows.h"
#include "libtx/shared/context.h"
#include "libtx/shared/err.h"
#include "libtx/txn.h"

enum {
    REMOTE_LOCATE_MS = 1000,   /* an agent not reachable for so long may have moved: ask where it is */
    REMOTE_ROLLBACK_MS = 2000, /* then the agent rolls back by its own clock */
    REMOTE_STATUS_MS = 200,    /* between questions for the outcome */
};

/* Until the agent has given a proof, the branch's is how many statements it consists of: an agent that was
 * restarted in between, and began it anew with a late double of one of them, sees that the others are missing.
 */
#define STATEMENTS "statements="

struct remote_link {
    struct peer *agent;  /* NULL: no statement was sent yet */
    uint32_t statements; /* and contexts */
    bool exported;
    struct call call; /* of the driver's operation */
    bool calling;
    bool proving;                   /* OP_COMMIT: COMMIT has not been asked for yet */
    bool hopeless;                  /* OP_STATUS: nothing will ever tell */
    uint64_t deadline_ms, again_ms; /* OP_STATUS: asks again then; 0: nothing */
};

/* statements */

static const struct branch_driver remote_driver;

static int remote_branch(struct txn *t, const char *resource, struct txn_branch **out, struct tx_error *e)
{
    struct remote_link *l;
    int rc;

    if (t->over)
        return err_set(e, TX_EINVAL, "the transaction is over already");
    *out = resource != NULL ? txn_find_branch(t, resource) : NULL;
    if (*out != NULL && (*out)->driver != &remote_driver)
        return err_set(e, TX_EINVAL, "%s is enlisted with a connection; execute the statement on that",
                       resource);
    if (*out != NULL && (*out)->poisoned)
        return err_set(e, (*out)->cause.code, "the transaction can only be rolled back: %s", (*out)->cause.msg);
    if (*out != NULL)
        return TX_OK;
    l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    rc = txn_add_branch(t, BRANCH_REMOTE, resource, &remote_driver, l, out, e);
    if (rc != TX_OK)
        free(l);
    return rc;
}

/* The first statement: until it has left this process the branch is nowhere, so an agent that cannot be reached
 * may be looked for again; one that does not let this program in, or is not believed, once, for it may have
 * been started with another key. */
static int remote_ask_first(struct txn_branch *b, struct call *call, const struct wire_message *m,
                            uint64_t deadline_ms, const struct wire_message **reply, struct tx_error *e)
{
    struct tx_client *client = b->txn->client;
    struct remote_link *l = b->link;
    uint64_t until_ms;
    bool denied = false;
    int rc;

    for (;;) {
        rc = client_locate(client, b->resource, deadline_ms, &l->agent, e);
        if (rc != TX_OK)
            return rc;
        b->agent = peer_address(l->agent);
        until_ms = call_now_ms() + REMOTE_LOCATE_MS;
        if (until_ms > deadline_ms)
            until_ms = deadline_ms;
        rc = call_sync(call, client->calls, m, l->agent, WIRE_ROWS, until_ms, reply, e);
        if (rc != TX_EUNREACHABLE && (rc != TX_EDENIED || call->sent || denied))
            return rc;
        denied = rc == TX_EDENIED;
        call_end(call);
        l->agent = NULL;
        b->agent = NULL;
        client_forget_agent(client, b->resource);
        if (until_ms == deadline_ms)
            return rc;
    }
}

/* Asks the branch's agent, and no other once it has heard of the branch. */
static int remote_ask(struct txn_branch *b, struct call *call, const struct wire_message *m,
                      const struct wire_message **reply, struct tx_error *e)
{
    struct tx_client *client = b->txn->client;
    struct remote_link *l = b->link;
    uint64_t deadline_ms = call_now_ms() + client->transaction_timeout_ms;
    int rc = TX_ETIMEOUT;

    if (l->agent == NULL)
        rc = remote_ask_first(b, call, m, deadline_ms, reply, e);
    if (l->agent == NULL || rc != TX_ETIMEOUT)
        return rc;
    call_end(call);
    return call_sync(call, client->calls, m, l->agent, WIRE_ROWS, deadline_ms, reply, e);
}

static void remote_put_values(struct buf *to, int n, const char *const *values)
{
    for (int i = 0; i < n; i++)
        buf_put_str(to, values[i]);
}

static int remote_exec(struct txn_branch *b, struct wire_message *m, txn_rows **rows, struct tx_error *e)
{
    const struct wire_message *reply;
    struct call call = {.calls = NULL};
    int rc = remote_ask(b, &call, m, &reply, e);

    if (rc == TX_OK && reply->rows.code != TX_OK)
        rc = err_set(e, reply->rows.code, "%s: %s", b->resource,
                     reply->rows.text != NULL ? reply->rows.text : tx_strerror(reply->rows.code));
    if (rc == TX_OK && rows != NULL) {
        *rows = rows_take(&reply->rows, &call.message);
        if (*rows == NULL)
            rc = err_set(e, TX_ENOMEM, "out of memory for the rows of a statement");
    }
    call_end(&call);
    return rc;
}

static uint32_t remote_count(struct txn_branch *b)
{
    struct remote_link *l = b->link;

    l->statements++;
    snprintf(b->proof, sizeof b->proof, STATEMENTS "%u", (unsigned)l->statements);
    return l->statements;
}

int txn_exec(txn *t, const char *resource, const char *statement, int n_values, const char *const *values,
             txn_rows **rows, struct tx_error *error)
{
    struct wire_message m = {.type = WIRE_EXEC};
    struct txn_branch *b;
    struct buf cells;
    struct tx_error e;
    int rc;

    if (rows != NULL)
        *rows = NULL;
    if (statement == NULL || n_values < 0 || n_values > VALUE_LIMIT)
        return err_set(error, TX_EINVAL, "no statement, or not 0 to %d values", VALUE_LIMIT);
    rc = remote_branch(t, resource, &b, error);
    if (rc != TX_OK)
        return rc;
    buf_init(&cells);
    remote_put_values(&cells, n_values, values);
    m.exec = (struct wire_exec){.id = t->id,
                                .branch = b->number,
                                .number = remote_count(b),
                                .timeout_ms = t->client->transaction_timeout_ms,
                                .resource = b->resource,
                                .statement = statement,
                                .n_values = (uint16_t)n_values,
                                .values = cells.data,
                                .values_len = cells.len};
    rc = cells.failed ? err_set(&e, TX_ENOMEM, "out of memory") : remote_exec(b, &m, rows, &e);
    buf_release(&cells);
    if (rc != TX_OK) {
        txn_poison(b, &e);
        if (error != NULL)
            *error = e;
    }
    return rc;
}

int txn_export(txn *t, const char *resource, char context[TXN_CONTEXT_SIZE], struct tx_error *error)
{
    struct txn_branch *b;
    struct context c;
    int rc = remote_branch(t, resource, &b, error);

    if (rc != TX_OK)
        return rc;
    ((struct remote_link *)b->link)->exported = true;
    t->logged = true; /* nobody here can ask the service for its outcome */
    c = (struct context){.id = t->id,
                         .branch = b->number,
                         .number = remote_count(b),
                         .timeout_ms = t->client->transaction_timeout_ms};
    snprintf(c.resource, sizeof c.resource, "%s", b->resource);
    context_format(&c, context);
    return TX_OK;
}

/* the driver */

static bool remote_ready(struct txn_branch *b)
{
    (void)b;
    return true; /* whether it can prepare, its agent tells the coordinator */
}

/* Sends WIRE_FINISH; where that is impossible, nothing has happened. */
static void remote_send(struct txn_branch *b, enum wire_finish_op op)
{
    struct remote_link *l = b->link;
    struct calls *calls = b->txn->client->calls;
    struct wire_message m = {.type = WIRE_FINISH};

    m.finish = (struct wire_finish){.op = (uint8_t)op,
                                    .id = b->txn->id,
                                    .branch = b->number,
                                    .resource = b->resource,
                                    .proof = *b->proof != '\0' ? b->proof : NULL};
    l->again_ms = 0;
    b->untold = op == FINISH_ROLLBACK && l->exported && l->agent == NULL;
    l->calling = l->agent != NULL && call_start(&l->call, calls, b->txn->waiter, &m, l->agent, WIRE_FINISHED,
                                                l->deadline_ms, &b->cause) == TX_OK;
}

static void remote_start(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms)
{
    struct remote_link *l = b->link;
    uint64_t soon = call_now_ms() + REMOTE_ROLLBACK_MS;

    l->deadline_ms = op == OP_ROLLBACK && soon < deadline_ms ? soon : deadline_ms;
    l->proving = op == OP_COMMIT;
    l->hopeless = false;
    b->answer = op == OP_COMMIT ? ANSWER_NO : ANSWER_LOST;
    remote_send(b, op == OP_COMMIT ? FINISH_PROOF : op == OP_STATUS ? FINISH_STATUS : FINISH_ROLLBACK);
}

/* What the lack of an answer means. Where COMMIT was not asked for yet, or the branch has written nothing (it
 * has no proof), nothing of it is there. */
static enum branch_answer remote_lost(const struct txn_branch *b)
{
    const struct remote_link *l = b->link;

    return b->op == OP_COMMIT && (l->proving || *b->proof == '\0') ? ANSWER_NO : ANSWER_LOST;
}

static void remote_finished(struct txn_branch *b, const struct wire_finished *w)
{
    struct remote_link *l = b->link;

    if (l->proving && w->code == TX_OK)
        snprintf(b->proof, sizeof b->proof, "%s", w->proof != NULL ? w->proof : "");
    l->hopeless = b->op == OP_STATUS && w->code == TX_EINDOUBT && w->proof == NULL;
    b->answer = w->code == TX_OK ? ANSWER_YES : w->code == TX_EROLLBACK ? ANSWER_NO : remote_lost(b);
    err_set(&b->cause, w->code, "%s: %s", b->resource, w->text != NULL ? w->text : tx_strerror(w->code));
}

/* The proof is here, so the commit can be asked for. One that cannot be sent is none. */
static void remote_commit(struct txn_branch *b)
{
    struct remote_link *l = b->link;

    l->proving = false;
    b->answer = ANSWER_NO;
    remote_send(b, FINISH_ONE_PHASE);
}

/* The call is over. A commit that never left this process is none. */
static void remote_settle(struct txn_branch *b)
{
    struct remote_link *l = b->link;
    const struct wire_message *reply;
    struct tx_error e;
    int rc = call_result(&l->call, &reply, &e);

    if (rc == TX_OK)
        remote_finished(b, &reply->finished);
    else
        b->answer = b->op == OP_COMMIT && !l->call.sent ? ANSWER_NO : remote_lost(b);
    if (rc != TX_OK)
        err_set(&b->cause, rc, "%s: %s", b->resource, e.msg);
    l->hopeless = l->hopeless || (b->op == OP_STATUS && rc == TX_EDENIED);
    call_end(&l->call);
    l->calling = false;
    if (l->proving && b->answer == ANSWER_YES)
        remote_commit(b);
    else if (b->op == OP_STATUS && b->answer == ANSWER_LOST && !l->hopeless && call_now_ms() < l->deadline_ms)
        l->again_ms = call_now_ms() + REMOTE_STATUS_MS;
}

static bool remote_step(struct txn_branch *b)
{
    struct remote_link *l = b->link;

    if (l->again_ms != 0 && call_now_ms() >= l->again_ms)
        remote_send(b, FINISH_STATUS);
    if (l->calling && call_step(&l->call))
        remote_settle(b);
    return !l->calling && l->again_ms == 0;
}

static size_t remote_wants(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms)
{
    const struct remote_link *l = b->link;
    uint64_t due = l->calling ? call_due_ms(&l->call) : l->again_ms;

    (void)fd;
    if (due < *until_ms)
        *until_ms = due;
    return 0;
}

static void remote_abandon(struct txn_branch *b)
{
    struct remote_link *l = b->link;

    if (l->calling) {
        b->answer = remote_lost(b);
        err_set(&b->cause, TX_ETIMEOUT, "%s: no answer from its agent", b->resource);
        call_end(&l->call);
    }
    l->calling = false;
    l->again_ms = 0;
}

static void remote_release(struct txn_branch *b)
{
    free(b->link);
}

static const struct branch_driver remote_driver = {remote_ready,   remote_start,   remote_step, remote_wants,
                                                   remote_abandon, remote_release, NULL};
