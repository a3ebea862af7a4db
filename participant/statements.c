/* statements: see statements.h. The channel, who is behind a message, and EXEC. */
#include "participant/statements_inside.h"

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "libtx/shared/log.h"
#include "participant/agent.h"

enum {
    REPLY_KEPT = 64 << 10, /* larger replies are not kept for a repetition */
    TIMEOUT_MIN_MS = 1000,
    TIMEOUT_MAX_MS = 86400000,
};

/* replies */

void statements_send(struct statements *s, const struct reply_to *to, const struct wire_message *m)
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

void statements_error(struct statements *s, const struct reply_to *to, int code, const char *text)
{
    struct wire_message m = {.type = WIRE_ERROR, .error = {.code = code, .text = text}};

    statements_send(s, to, &m);
}

static void statements_rows_error(struct statements *s, const struct reply_to *to, int code, const char *text)
{
    struct wire_message m = {.type = WIRE_ROWS, .rows = {.code = code, .text = text}};

    statements_send(s, to, &m);
}

/* whose a branch is */

int statements_check_owner(const struct statements *s, const struct held *h, struct tx_error *e)
{
    const char *owner = h != NULL && h->statements != NULL ? h->statements->owner : "";

    if (s->who == NULL || *owner == '\0' || strcmp(s->who, owner) == 0)
        return TX_OK;
    return err_set(e, TX_EDENIED, "the branch was begun by another client than %s", s->who);
}

void statements_own(const struct statements *s, struct held *h)
{
    if (s->who != NULL && h->statements != NULL && *h->statements->owner == '\0')
        strcpy(h->statements->owner, s->who);
}

void statements_denied(struct statements *s, const char *act, const char *resource, const char *why)
{
    const struct denial what = {.name = s->who, .key = s->key, .act = act, .resource = resource, .why = why};

    denials_tell(&s->denials, agent_now(s->agent), &what);
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

static void statements_execute(struct statements *s, struct held *h, const struct wire_exec *x, const char *sql,
                               const struct reply_to *from)
{
    struct branch_statements *b = h->statements;
    struct rm_statement statement = {sql, statements_values(s, x), s->values};
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

static int statements_begins(const struct resource *r, const struct wire_exec *x, struct tx_error *e)
{
    char gid[GID_SIZE];

    if (x->number != 1)
        return err_set(e, TX_EROLLBACK,
                       "the branch is not known here: rolled back after its timeout, or the agent was "
                       "restarted");
    gid_format(&x->id, x->branch, gid);
    return r->ops->admit == NULL ? TX_OK : r->ops->admit(r->rm, gid, e);
}

/* A branch for its first statement; NULL with the error. */
static struct held *statements_branch(struct statements *s, const struct wire_exec *x, struct tx_error *e)
{
    struct resource *r = agent_resource(s->agent, x->resource);
    struct held *h;

    if (r == NULL || r->leaving) {
        err_set(e, TX_ENOTFOUND, "this agent does not serve resource %s%s", x->resource,
                r == NULL ? "" : " any more: it was taken off the registry");
        return NULL;
    }
    if (statements_begins(r, x, e) != TX_OK)
        return NULL;
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

/* The branch of a statement, as it is or begun with it, where it may be executed. */
static int statements_find(struct statements *s, const struct wire_exec *x, struct held **out,
                           struct tx_error *e)
{
    struct held *h = branches_find(&s->agent->branches, &x->id, x->branch);
    int rc = statements_admit(s, &x->id, e);

    if (rc == TX_OK)
        rc = statements_check_owner(s, h, e);
    if (rc == TX_OK && h == NULL) {
        h = statements_branch(s, x, e);
        rc = h == NULL ? e->code : TX_OK;
    }
    if (rc == TX_OK)
        rc = statements_check(h, x, e);
    if (rc != TX_OK)
        return rc;
    statements_own(s, h);
    *out = h;
    return TX_OK;
}

int statements_admit(const struct statements *s, const struct txid *id, struct tx_error *e)
{
    if (s->agent->group == 0)
        return err_set(e, TX_EUNREACHABLE, "the agent has not reached a coordinator yet");
    if (s->agent->group != id->group)
        return err_set(e, TX_EREFUSED, "the agent works for another coordinator group");
    return TX_OK;
}

static void statements_exec(struct statements *s, const struct wire_exec *x, const struct reply_to *from)
{
    struct tx_error e = {0};
    const char *sql = named_resolve(s->agent->options.named, x->statement, &e);
    const struct branch_rule *rule;
    struct held *h;
    int rc = sql == NULL ? e.code : statements_find(s, x, &h, &e);

    if (rc == TX_EDENIED)
        statements_denied(s, "exec", x->resource, e.msg);
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
        statements_execute(s, h, x, sql, from);
    else
        statements_rows_error(s, from, TX_EROLLBACK, h->text != NULL ? h->text : "the branch was rolled back");
}

int statements_join(struct statements *s, const struct wire_exec *x, struct tx_error *e)
{
    const struct branch_rule *rule;
    struct held *h;
    int rc = statements_find(s, x, &h, e);

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

bool statements_is_by(const struct held *h, const char *owner)
{
    if (h->state != AT_ACTIVE || h->statements == NULL || owner == NULL || *h->statements->owner == '\0')
        return true;
    return strcmp(h->statements->owner, owner) == 0;
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

/* the channel */

/* Whoever is no client any more has no line left; what comes in a line is from the table. */
static bool statements_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    const struct statements *s = ctx;

    return clients_name(&s->agent->clients, key) != NULL;
}

static bool statements_stranger(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct statements *s = ctx;

    s->who = NULL;
    s->key = key;
    statements_denied(s, "handshake", NULL, "this key is no client's; an operator adds it: txadmin key add");
    s->key = NULL;
    return true;
}

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
        s->key = in.key;
        s->who = in.key != NULL ? clients_name(&s->agent->clients, in.key) : NULL;
        if (in.key == NULL || s->who != NULL)
            statements_message(s, &in);
        s->key = NULL;
        s->who = NULL;
        channel_release(&in);
    }
}

void statements_begin(struct statements *s)
{
    if (s->listening)
        uv_poll_start(&s->poll, UV_READABLE, statements_readable);
}

void statements_drop(struct statements *s, const uint8_t key[KEY_SIZE])
{
    if (s->listening)
        channel_drop(&s->channel, key);
}

static const struct channel_security *statements_security(struct statements *s)
{
    const struct security *own = s->agent->options.security;

    if (own == NULL || own->insecure)
        return NULL;
    s->security = (struct channel_security){
        .self = &own->self, .accept = statements_accept, .refused = statements_stranger, .ctx = s};
    return &s->security;
}

int statements_open(struct statements *s, struct agent *a, const char *address, struct tx_error *e)
{
    const struct channel_security *security;
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
    security = statements_security(s);
    rc = channel_listen(&s->channel, address, ROWS_LIMIT, security, e);
    if (rc != TX_OK)
        return err_wrap(e, rc, "listen");
    uv_poll_init(a->loop, &s->poll, channel_fd(&s->channel));
    s->poll.data = s;
    s->listening = true;
    if (security == NULL)
        statements_begin(s);
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
