/* statements: see statements.h. */
#include "participant/statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "libtx/shared/log.h"
#include "participant/agent.h"

enum {
    REPLY_KEPT = 64 << 10, /* larger replies are not kept for a repetition */
    TIMEOUT_MIN_MS = 1000,
    TIMEOUT_MAX_MS = 86400000,
    ASKING_LIMIT = 1024, /* FINISH_STATUS under way */
};

/* replies */

static void statements_send(struct statements *s, const struct reply_to *to, const struct wire_message *m)
{
    struct wire_message failed = {.type = WIRE_ERROR};
    int rc;

    if (!s->listening)
        return;
    buf_reset(&s->out);
    rc = wire_encode(m, &s->out);
    if (rc != TX_OK) {
        failed.error.code = rc;
        failed.error.text = rc == TX_ETOOBIG ? "the rows are more than a message may carry" : "out of memory";
        buf_reset(&s->out);
        if (wire_encode(&failed, &s->out) != TX_OK)
            return;
    }
    channel_reply(&s->channel, to, s->out.data, s->out.len);
}

static void statements_error(struct statements *s, const struct reply_to *to, int code, const char *text)
{
    struct wire_message m = {.type = WIRE_ERROR, .error = {.code = code, .text = text}};

    statements_send(s, to, &m);
}

static void statements_rows_error(struct statements *s, const struct reply_to *to, int code, const char *text)
{
    struct wire_message m = {.type = WIRE_ROWS, .rows = {.code = code, .text = text}};

    statements_send(s, to, &m);
}

static void statements_finished(struct statements *s, const struct reply_to *to, int code, const char *text,
                                const char *proof)
{
    struct wire_message m = {.type = WIRE_FINISHED, .finished = {code, text, proof}};

    statements_send(s, to, &m);
}

/* EXEC */

/* Keeps what was just sent, to be repeated. */
static void statements_keep(struct statements *s, struct branch_statements *b)
{
    free(b->reply);
    b->reply = NULL;
    b->reply_len = 0;
    if (s->out.len > REPLY_KEPT)
        return;
    b->reply = malloc(s->out.len);
    if (b->reply == NULL)
        return;
    memcpy(b->reply, s->out.data, s->out.len);
    b->reply_len = s->out.len;
}

static void statements_executed(void *arg, const struct wire_rows *rows, bool lost)
{
    struct held *h = arg;
    struct branch_statements *b = h->statements;
    struct statements *s = &h->agent->statements;
    struct wire_message m = {.type = WIRE_ROWS, .rows = *rows};

    crash_point(CRASH_AGENT_EXEC_DONE);
    b->executing = false;
    h->touched_ms = agent_now(h->agent);
    statements_send(s, &b->origin, &m);
    statements_keep(s, b);
    if (rows->code == TX_EHEURISTIC)
        agent_log(h, LOG_WARN, "heuristic", rows->text);
    if (lost)
        agent_work_lost(h, rows->text);
}

/* A statement with the number of the last one: it was executed, or is being so. */
static void statements_repeat(struct statements *s, struct held *h, const struct reply_to *from)
{
    struct branch_statements *b = h->statements;

    if (b->executing)
        b->origin = *from;
    else if (b->reply != NULL)
        channel_reply(&s->channel, from, b->reply, b->reply_len);
    else
        statements_rows_error(s, from, TX_EREFUSED,
                              "the statement was executed, and its rows were too many to be kept; roll back");
}

/* Why this statement is not the next one of its branch; TX_OK: it is, or it is the last one again. */
static int statements_check(const struct held *h, const struct wire_exec *x, struct tx_error *e)
{
    const struct branch_statements *b = h->statements;

    if (strcmp(h->resource->name, x->resource) != 0)
        return err_set(e, TX_EINVAL, "the branch belongs to resource %s", h->resource->name);
    if (b == NULL || h->state != AT_ACTIVE)
        return TX_OK; /* the branch's rules say what becomes of it */
    if (x->number < b->number || x->number > b->number + 1)
        return err_set(e, TX_EREFUSED, "statement %u comes out of order; the last one was %u", x->number,
                       b->number);
    if (x->number == b->number + 1 && (b->proving || b->proved))
        return err_set(e, TX_EREFUSED, "the transaction is being ended; no statement is possible");
    if (x->number == b->number + 1 && b->executing)
        return err_set(e, TX_EBUSY, "statement %u is still being executed", b->number);
    return TX_OK;
}

static int statements_values(struct statements *s, const struct wire_exec *x)
{
    struct cur c;

    cur_init(&c, x->values, x->values_len);
    for (int i = 0; i < x->n_values; i++)
        s->values[i] = cur_str(&c, ROWS_LIMIT);
    return x->n_values;
}

/* The branch's work; NULL: out of memory. */
static struct rm_work *statements_work(struct held *h)
{
    char gid[GID_SIZE];

    gid_format(&h->key.id, (unsigned)h->key.number, gid);
    if (h->work == NULL)
        h->work = h->resource->ops->begin(h->resource->rm, gid, agent_work_lost, h);
    return h->work;
}

static void statements_count(struct branch_statements *b, const struct wire_exec *x)
{
    b->number = x->number;
    b->timeout_ms = x->timeout_ms < TIMEOUT_MIN_MS ? TIMEOUT_MIN_MS : x->timeout_ms;
    b->timeout_ms = b->timeout_ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : b->timeout_ms;
}

static void statements_execute(struct statements *s, struct held *h, const struct wire_exec *x,
                               const struct reply_to *from)
{
    struct branch_statements *b = h->statements;
    struct rm_statement statement = {x->statement, statements_values(s, x), s->values};
    struct tx_error e = {0};
    int rc = statements_work(h) == NULL
                 ? err_set(&e, TX_ENOMEM, "no memory for a branch")
                 : h->resource->ops->exec(h->work, &statement, statements_executed, h, &e);

    if (rc != TX_OK) {
        statements_rows_error(s, from, rc, e.msg);
        if (b->number == 0)
            agent_work_lost(h, e.msg);
        return;
    }
    statements_count(b, x);
    b->executing = true;
    b->origin = *from;
}

/* A branch for its first statement; NULL with the error. */
static struct held *statements_begin(struct statements *s, const struct wire_exec *x, struct tx_error *e)
{
    struct resource *r = agent_resource(s->agent, x->resource);
    struct held *h;

    if (r == NULL || r->leaving) {
        err_set(e, TX_ENOTFOUND, "this agent does not serve resource %s%s", x->resource,
                r == NULL ? "" : " any more: it was taken off the registry");
        return NULL;
    }
    if (x->number != 1) {
        err_set(e, TX_EROLLBACK,
                "the branch is not known here: rolled back after its timeout, or the agent was "
                "restarted");
        return NULL;
    }
    h = branches_add(&s->agent->branches, &x->id, x->branch);
    if (h == NULL) {
        err_set(e, TX_EBUSY, "the agent has too many branches; try again later");
        return NULL;
    }
    h->agent = s->agent;
    h->resource = r;
    h->statements = calloc(1, sizeof *h->statements);
    if (h->statements == NULL) {
        branches_remove(&s->agent->branches, h);
        err_set(e, TX_ENOMEM, "no memory for a branch");
        return NULL;
    }
    return h;
}

static int statements_admit(const struct statements *s, const struct txid *id, struct tx_error *e)
{
    if (s->agent->group == 0)
        return err_set(e, TX_EUNREACHABLE, "the agent has not reached a coordinator yet");
    if (s->agent->group != id->group)
        return err_set(e, TX_EREFUSED, "the agent works for another coordinator group");
    return TX_OK;
}

static void statements_exec(struct statements *s, const struct wire_exec *x, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &x->id, x->branch);
    const struct branch_rule *rule;
    struct tx_error e = {0};
    int rc = statements_admit(s, &x->id, &e);

    if (rc == TX_OK && h == NULL) {
        h = statements_begin(s, x, &e);
        rc = e.code;
    }
    if (rc == TX_OK)
        rc = statements_check(h, x, &e);
    if (rc != TX_OK) {
        statements_rows_error(s, from, rc, e.msg);
        return;
    }
    h->touched_ms = agent_now(s->agent);
    if (h->state == AT_ACTIVE && x->number == h->statements->number) {
        statements_repeat(s, h, from);
        return;
    }
    rule = agent_event(h, ON_STATEMENT);
    if (rule == NULL)
        statements_rows_error(s, from, TX_EREFUSED, "the transaction is being ended; no statement is possible");
    else if ((rule->actions & DO_EXEC) != 0)
        statements_execute(s, h, x, from);
    else
        statements_rows_error(s, from, TX_EROLLBACK, h->text != NULL ? h->text : "the branch was rolled back");
}

int statements_join(struct statements *s, const struct wire_exec *x, struct tx_error *e)
{
    struct held *h = branches_find(&s->agent->branches, &x->id, x->branch);
    const struct branch_rule *rule;
    int rc = statements_admit(s, &x->id, e);

    if (rc == TX_OK && h == NULL) {
        h = statements_begin(s, x, e);
        rc = h == NULL ? e->code : TX_OK;
    }
    if (rc == TX_OK)
        rc = statements_check(h, x, e);
    if (rc != TX_OK)
        return rc;
    if (h->state == AT_ACTIVE && x->number == h->statements->number)
        return err_set(e, TX_EREFUSED, "request %u of this transaction was taken before", x->number);
    h->touched_ms = agent_now(s->agent);
    rule = agent_event(h, ON_STATEMENT);
    if (rule == NULL)
        return err_set(e, TX_EROLLBACK, "the transaction is being ended");
    if ((rule->actions & DO_EXEC) == 0)
        return err_set(e, TX_EROLLBACK, "%s", h->text != NULL ? h->text : "the branch was rolled back");
    if (statements_work(h) == NULL) {
        agent_work_lost(h, "no memory for a branch");
        return err_set(e, TX_ENOMEM, "no memory for a branch");
    }
    statements_count(h->statements, x);
    return TX_OK;
}

bool statements_overdue(const struct held *h, uint64_t now)
{
    return h->statements != NULL && now - h->touched_ms >= h->statements->timeout_ms;
}

bool statements_complete(const struct held *h, const char *proof)
{
    static const char word[] = "statements=";

    if (h->state != AT_ACTIVE || h->statements == NULL)
        return true;
    if (h->statements->executing || h->statements->proving)
        return false;
    return proof == NULL || strncmp(proof, word, sizeof word - 1) != 0 ||
           strtoul(proof + sizeof word - 1, NULL, 10) == h->statements->number;
}

/* FINISH */

void statements_answer(struct held *h)
{
    struct branch_statements *b = h->statements;
    int code = branch_answer(h->state);

    if (b == NULL || !b->finish_asked)
        return;
    if (b->finish == FINISH_ROLLBACK && code == TX_EROLLBACK)
        code = TX_OK;
    b->finish_asked = false;
    statements_finished(&h->agent->statements, &b->finish_origin, code,
                        h->text != NULL || code == TX_OK ? h->text : tx_strerror(code), h->proof);
}

struct status_asked {
    struct statements *statements;
    struct reply_to origin;
};

static void statements_status_known(void *arg, const struct rm_answer *a)
{
    static const int codes[] = {[RM_DONE] = TX_OK, [RM_REFUSED] = TX_EROLLBACK};
    struct status_asked *q = arg;
    bool known = a->outcome == RM_DONE || a->outcome == RM_REFUSED;
    int code = known ? codes[a->outcome] : TX_EINDOUBT;

    q->statements->asking--;
    statements_finished(q->statements, &q->origin, code, a->text != NULL ? a->text : tx_strerror(code),
                        a->outcome == RM_HAZARD ? NULL : a->proof);
    free(q);
}

static void statements_status(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct resource *r = agent_resource(s->agent, f->resource);
    struct status_asked *q;

    if (r == NULL || f->proof == NULL) {
        statements_finished(
            s, from, TX_EINDOUBT,
            r == NULL ? "this agent does not serve the resource" : "nothing tells without a proof", f->proof);
        return;
    }
    q = s->asking < ASKING_LIMIT ? calloc(1, sizeof *q) : NULL;
    if (q == NULL) {
        statements_error(s, from, TX_EBUSY, "too many such questions at once");
        return;
    }
    s->asking++;
    q->statements = s;
    q->origin = *from;
    r->ops->status(r->rm, f->proof, statements_status_known, q);
}

static void statements_proved(void *arg, const struct rm_answer *a)
{
    struct held *h = arg;
    struct branch_statements *b = h->statements;
    int code = a->outcome == RM_DONE ? TX_OK : TX_EROLLBACK;

    b->proving = false;
    b->proved = code == TX_OK;
    if (b->proved)
        branches_set(&h->proof, a->proof);
    statements_finished(&h->agent->statements, &b->proof_origin, code,
                        a->text != NULL || code == TX_OK ? a->text : tx_strerror(code), a->proof);
}

static void statements_no_proof(struct statements *s, const struct held *h, const struct reply_to *from)
{
    statements_finished(s, from, TX_EROLLBACK,
                        h != NULL && h->text != NULL
                            ? h->text
                            : "the branch is not known here: rolled back after its timeout, or the agent was "
                              "restarted",
                        NULL);
}

/* What will prove the outcome of a commit in one phase. It occupies the connection as a statement does. */
static void statements_prove(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);
    struct branch_statements *b = h != NULL ? h->statements : NULL;

    if (b == NULL || branch_answer(h->state) == TX_EROLLBACK) {
        statements_no_proof(s, h, from);
    } else if (b->proved) {
        statements_finished(s, from, TX_OK, NULL, h->proof);
    } else if (h->state != AT_ACTIVE) {
        statements_error(s, from, TX_EREFUSED, "the coordinator ends this branch");
    } else if (b->proving) {
        b->proof_origin = *from;
    } else if (!statements_complete(h, f->proof)) {
        agent_event(h, ON_INCOMPLETE);
        statements_no_proof(s, h, from);
    } else {
        b->proving = true;
        b->proof_origin = *from;
        h->touched_ms = agent_now(s->agent);
        h->resource->ops->prove(h->work, statements_proved, h);
    }
}

/* Whether this is the very branch that gave the proof. After a restart of the agent late doubles can begin
 * another one of the same name: what is asked of the first must neither commit the second nor be answered by
 * what becomes of it. */
static bool statements_gave(const struct held *h, const char *proof)
{
    if (h == NULL || h->statements == NULL || !h->statements->proved)
        return false;
    if (proof == NULL || h->proof == NULL)
        return proof == h->proof;
    return strcmp(proof, h->proof) == 0;
}

/* To be committed in one phase, and not here: the proof alone tells whether it was committed before. */
static void statements_gone(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);

    if (h != NULL && h->state == AT_ACTIVE)
        agent_event(h, ON_INCOMPLETE);
    statements_finished(s, from, TX_EINDOUBT, "the agent was restarted during the commit", f->proof);
}

/* The branch that is to be finished; one that is not known is entered, so that a late statement finds it ended.
 */
static struct held *statements_held(struct statements *s, const struct wire_finish *f)
{
    struct resource *r = agent_resource(s->agent, f->resource);
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);

    if (h == NULL && r != NULL) {
        h = branches_add(&s->agent->branches, &f->id, f->branch);
        if (h == NULL)
            return NULL;
        h->agent = s->agent;
        h->resource = r;
        h->touched_ms = h->ended_ms = agent_now(s->agent);
    }
    if (h != NULL && h->statements == NULL)
        h->statements = calloc(1, sizeof *h->statements);
    return h == NULL || h->statements == NULL ? NULL : h;
}

static void statements_end(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = statements_held(s, f);

    if (h == NULL) {
        statements_error(s, from, TX_EBUSY, "this agent does not serve the resource, or has too many branches");
        return;
    }
    h->statements->finish_asked = true;
    h->statements->finish = f->op;
    h->statements->finish_origin = *from;
    if (agent_event(h, f->op == FINISH_ROLLBACK ? ON_FINISH_ROLLBACK : ON_FINISH_ONE_PHASE) == NULL) {
        h->statements->finish_asked = false;
        statements_error(s, from, TX_EREFUSED, "the coordinator ends this branch");
    }
}

static void statements_finish(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct tx_error e = {0};
    int rc = statements_admit(s, &f->id, &e);

    if (rc != TX_OK)
        statements_error(s, from, rc, e.msg);
    else if (f->op == FINISH_STATUS)
        statements_status(s, f, from);
    else if (f->op == FINISH_PROOF)
        statements_prove(s, f, from);
    else if (f->op == FINISH_ONE_PHASE &&
             !statements_gave(branches_find(&s->agent->branches, &f->id, f->branch), f->proof))
        statements_gone(s, f, from);
    else
        statements_end(s, f, from);
}

/* the channel */

static void statements_message(struct statements *s, const struct channel_message *in)
{
    struct wire_message m;
    struct tx_error e = {0};

    if (wire_decode(&m, in->data, in->len, s->scratch, &e) != TX_OK) {
        log_line(LOG_WARN, "refused", "from=application error=\"%s\"", e.msg);
        statements_error(s, &in->origin, TX_EPROTO, e.msg);
    } else if (m.type == WIRE_EXEC) {
        statements_exec(s, &m.exec, &in->origin);
    } else if (m.type == WIRE_FINISH) {
        statements_finish(s, &m.finish, &in->origin);
    } else {
        statements_error(s, &in->origin, TX_EPROTO, "an agent takes statements; this belongs to a coordinator");
    }
}

static void statements_readable(uv_poll_t *handle, int status, int events)
{
    struct statements *s = handle->data;
    struct channel_message in;

    (void)status;
    (void)events;
    while (s->listening && channel_receive(&s->channel, &in) == 1) {
        statements_message(s, &in);
        channel_release(&in);
    }
}

int statements_open(struct statements *s, struct agent *a, const char *address, struct tx_error *e)
{
    int rc;

    memset(s, 0, sizeof *s);
    s->agent = a;
    s->channel.socket = -1;
    buf_init(&s->out);
    if (address == NULL)
        return TX_OK;
    s->scratch = malloc(sizeof *s->scratch);
    s->values = malloc(VALUE_LIMIT * sizeof *s->values);
    if (s->scratch == NULL || s->values == NULL)
        return err_set(e, TX_ENOMEM, "no memory for messages");
    rc = channel_listen(&s->channel, address, ROWS_LIMIT, e);
    if (rc != TX_OK)
        return err_wrap(e, rc, "listen");
    uv_poll_init(a->loop, &s->poll, channel_fd(&s->channel));
    s->poll.data = s;
    s->listening = true;
    uv_poll_start(&s->poll, UV_READABLE, statements_readable);
    return TX_OK;
}

void statements_close(struct statements *s)
{
    if (!s->listening)
        return;
    s->listening = false;
    uv_close((uv_handle_t *)&s->poll, NULL);
    channel_close(&s->channel);
}

void statements_release(struct statements *s)
{
    buf_release(&s->out);
    free(s->scratch);
    free(s->values);
}
