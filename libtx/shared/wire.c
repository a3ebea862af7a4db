/* wire: see wire.h. Used by library, agent, coordinator and txadmin; the fields themselves are wire_field.c's.
 *
 * Each message has an encoder and a decoder that name the same fields in the same order; the table at the end
 * joins them to the message's type. A decoder goes on after a malformed field, on zeros; wire_decode() looks at
 * the end.
 */
#include "libtx/shared/wire.h"

#include <assert.h>
#include <string.h>

#include "libtx/shared/wire_field.h"

enum {
    HEADER_SIZE = 4,
    JSON_LIMIT = MESSAGE_LIMIT / 2, /* an operator's question or answer */
};

/* application and coordinator */

static void encode_open_session(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u64(w->to, m->open_session.nonce);
    buf_put_u32(w->to, m->open_session.session_timeout_ms);
    buf_put_u32(w->to, m->open_session.transaction_timeout_ms);
    wire_put_str(w, m->open_session.name, NAME_LIMIT);
}

static void decode_open_session(struct wire_reader *r, struct wire_message *m)
{
    m->open_session.nonce = wire_get_u64(r, "nonce");
    m->open_session.session_timeout_ms = wire_get_u32(r, "session timeout");
    m->open_session.transaction_timeout_ms = wire_get_u32(r, "transaction timeout");
    m->open_session.name = wire_get_name(r, "name");
}

static void encode_session(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u64(w->to, m->session.group);
    buf_put_u64(w->to, m->session.session);
    wire_put_nodes(w, &m->session.nodes);
}

static void decode_session(struct wire_reader *r, struct wire_message *m)
{
    m->session.group = wire_get_u64(r, "group");
    m->session.session = wire_get_u64(r, "session");
    wire_get_nodes(r, &m->session.nodes);
}

static void encode_decide(struct wire_writer *w, const struct wire_message *m)
{
    const struct wire_decide *d = &m->decide;

    wire_put_txid(w, &d->id);
    buf_put_u8(w->to, d->verdict);
    buf_put_u8(w->to, d->wait);
    buf_put_u8(w->to, d->agents_finish);
    wire_put_branches(w, d->branches, d->n_branches);
    wire_put_news(w, &d->news);
}

static void decode_decide(struct wire_reader *r, struct wire_message *m)
{
    struct wire_decide *d = &m->decide;

    d->id = wire_get_txid(r);
    d->verdict = wire_get_enum(r, "verdict", VERDICT_COMMIT, VERDICT_ABORT);
    d->wait = wire_get_enum(r, "wait", WAIT_DECIDED, WAIT_COMPLETED);
    d->agents_finish = wire_get_enum(r, "agents finish", 0, 1);
    d->branches = wire_get_branches(r, &d->n_branches);
    wire_get_news(r, &d->news);
}

static void encode_decided(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u8(w->to, m->decided.verdict);
    buf_put_u8(w->to, m->decided.completed);
    buf_put_u8(w->to, m->decided.heuristic);
    wire_put_text(w, m->decided.reason);
}

static void decode_decided(struct wire_reader *r, struct wire_message *m)
{
    m->decided.verdict = wire_get_enum(r, "verdict", VERDICT_COMMIT, VERDICT_ABORT);
    m->decided.completed = wire_get_enum(r, "completed", 0, 1);
    m->decided.heuristic = wire_get_enum(r, "heuristic", HEURISTIC_NONE, HEURISTIC_HAZARD);
    m->decided.reason = wire_get_optional(r, "reason", TEXT_LIMIT);
}

static void encode_heartbeat(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u64(w->to, m->heartbeat.session);
    buf_put_u64(w->to, m->heartbeat.nonce);
    wire_put_news(w, &m->heartbeat.news);
}

static void encode_heartbeat_ok(struct wire_writer *w, const struct wire_message *m)
{
    wire_put_nodes(w, &m->heartbeat_ok.nodes);
}

static void decode_heartbeat_ok(struct wire_reader *r, struct wire_message *m)
{
    wire_get_nodes(r, &m->heartbeat_ok.nodes);
}

static void decode_heartbeat(struct wire_reader *r, struct wire_message *m)
{
    m->heartbeat.session = wire_get_u64(r, "session");
    m->heartbeat.nonce = wire_get_u64(r, "nonce");
    wire_get_news(r, &m->heartbeat.news);
}

static void encode_outcome(struct wire_writer *w, const struct wire_message *m)
{
    wire_put_txid(w, &m->outcome.id);
}

static void decode_outcome(struct wire_reader *r, struct wire_message *m)
{
    m->outcome.id = wire_get_txid(r);
}

static void encode_outcome_is(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u8(w->to, m->outcome_is.outcome);
}

static void decode_outcome_is(struct wire_reader *r, struct wire_message *m)
{
    m->outcome_is.outcome = wire_get_enum(r, "outcome", TX_OUTCOME_COMMITTED, TX_OUTCOME_FORGOTTEN);
}

static void encode_locate(struct wire_writer *w, const struct wire_message *m)
{
    wire_put_str(w, m->locate.resource, NAME_LIMIT);
}

static void decode_locate(struct wire_reader *r, struct wire_message *m)
{
    m->locate.resource = wire_get_name(r, "resource");
}

static void encode_located(struct wire_writer *w, const struct wire_message *m)
{
    wire_put_str(w, m->located.address, ADDRESS_LIMIT);
    wire_put_key(w, m->located.key);
}

static void decode_located(struct wire_reader *r, struct wire_message *m)
{
    m->located.address = wire_get_str(r, "address", ADDRESS_LIMIT);
    m->located.key = wire_get_key(r, "key");
}

/* agent and coordinator */

static void encode_resource(struct wire_writer *w, const struct wire_resource *p)
{
    wire_put_str(w, p->name, NAME_LIMIT);
    wire_put_optional(w, p->kind, NAME_LIMIT);
    buf_put_u8(w->to, p->by_registry);
    buf_put_u64(w->to, p->definition);
    buf_put_u8(w->to, p->up);
    buf_put_u32(w->to, p->in_doubt);
    buf_put_u64(w->to, p->oldest_ms);
    buf_put_u32(w->to, p->found);
    buf_put_u32(w->to, p->resolved);
    buf_put_u32(w->to, p->rate);
    wire_put_text(w, p->error);
}

static void decode_resource(struct wire_reader *r, struct wire_resource *p)
{
    p->name = wire_get_name(r, "resource");
    p->kind = wire_get_optional(r, "resource kind", NAME_LIMIT);
    p->by_registry = wire_get_enum(r, "by registry", 0, 1);
    p->definition = wire_get_u64(r, "definition");
    if (p->kind == NULL ? p->by_registry == 0 : !wire_name_valid(p->kind))
        wire_spoil(r, "resource kind");
    p->up = wire_get_enum(r, "up", 0, 1);
    p->in_doubt = wire_get_u32(r, "in doubt");
    p->oldest_ms = wire_get_u64(r, "oldest");
    p->found = wire_get_u32(r, "found");
    p->resolved = wire_get_u32(r, "resolved");
    p->rate = wire_get_u32(r, "rate");
    p->error = wire_get_optional(r, "error", TEXT_LIMIT);
}

static void encode_report(struct wire_writer *w, const struct wire_report *p)
{
    buf_put_u8(w->to, p->kind);
    wire_put_txid(w, &p->id);
    buf_put_u16(w->to, p->branch);
    wire_put_str(w, p->resource, NAME_LIMIT);
    buf_put_u64(w->to, p->age_ms);
    wire_put_optional(w, p->proof, PROOF_LIMIT);
    if (p->kind == REPORT_ANSWER)
        wire_put_optional(w, p->text, JSON_LIMIT);
    else
        wire_put_text(w, p->text);
}

static void decode_report(struct wire_reader *r, struct wire_report *p)
{
    p->kind = wire_get_enum(r, "report", REPORT_PREPARED, REPORT_ANSWER);
    p->id = wire_get_txid(r);
    p->branch = wire_get_u16(r, "branch");
    if (p->branch == 0 && p->kind != REPORT_ANSWER)
        wire_spoil(r, "branch");
    p->resource = wire_get_name(r, "resource");
    p->age_ms = wire_get_u64(r, "age");
    p->proof = wire_get_optional(r, "proof", PROOF_LIMIT);
    p->text = wire_get_optional(r, "text", p->kind == REPORT_ANSWER ? JSON_LIMIT : TEXT_LIMIT);
}

static void encode_pull(struct wire_writer *w, const struct wire_message *m)
{
    const struct wire_pull *p = &m->pull;
    size_t n;

    buf_put_u64(w->to, p->instance);
    buf_put_u64(w->to, p->number);
    wire_put_str(w, p->name, NAME_LIMIT);
    wire_put_optional(w, p->address, ADDRESS_LIMIT);
    n = wire_put_count(w, p->n_resources, RESOURCE_LIMIT);
    for (size_t i = 0; i < n; i++)
        encode_resource(w, &p->resources[i]);
    n = wire_put_count(w, p->n_reports, REPORT_LIMIT);
    for (size_t i = 0; i < n; i++)
        encode_report(w, &p->reports[i]);
    buf_put_u64(w->to, p->keys_version);
}

static void decode_pull(struct wire_reader *r, struct wire_message *m)
{
    struct wire_pull *p = &m->pull;

    p->instance = wire_get_u64(r, "instance");
    p->number = wire_get_u64(r, "number");
    p->name = wire_get_name(r, "name");
    p->address = wire_get_optional(r, "address", ADDRESS_LIMIT);
    p->resources = r->scratch->resources;
    p->n_resources = wire_get_count(r, "resources", RESOURCE_LIMIT);
    for (size_t i = 0; i < p->n_resources; i++)
        decode_resource(r, &r->scratch->resources[i]);
    p->reports = r->scratch->reports;
    p->n_reports = wire_get_count(r, "reports", REPORT_LIMIT);
    for (size_t i = 0; i < p->n_reports; i++)
        decode_report(r, &r->scratch->reports[i]);
    p->keys_version = wire_get_u64(r, "keys' version");
}

static void encode_item(struct wire_writer *w, const struct wire_work_item *p)
{
    buf_put_u8(w->to, p->kind);
    wire_put_txid(w, &p->id);
    buf_put_u16(w->to, p->branch);
    buf_put_u8(w->to, p->branch_kind);
    wire_put_str(w, p->resource, NAME_LIMIT);
    wire_put_optional(w, p->proof, PROOF_LIMIT);
    if (p->kind == WORK_INQUIRE)
        wire_put_str(w, p->text, JSON_LIMIT);
    else
        wire_put_optional(w, p->kind == WORK_PREPARE ? p->owner : NULL, NAME_LIMIT);
}

static void decode_item(struct wire_reader *r, struct wire_work_item *p)
{
    p->kind = wire_get_enum(r, "work", WORK_PREPARE, WORK_INQUIRE);
    p->id = wire_get_txid(r);
    p->branch = wire_get_u16(r, "branch");
    if (p->branch == 0 && p->kind != WORK_INQUIRE)
        wire_spoil(r, "branch");
    p->branch_kind = wire_get_enum(r, "branch kind", BRANCH_DIRECT, BRANCH_REMOTE);
    p->resource = wire_get_name(r, "resource");
    p->proof = wire_get_optional(r, "proof", PROOF_LIMIT);
    p->text = p->owner = NULL;
    if (p->kind == WORK_PREPARE)
        p->owner = wire_get_optional(r, "owner", NAME_LIMIT);
    else
        p->text = wire_get_optional(r, "text", JSON_LIMIT);
    if ((p->text != NULL) != (p->kind == WORK_INQUIRE) || (p->owner != NULL && !wire_name_valid(p->owner)))
        wire_spoil(r, "text");
}

static void encode_definition(struct wire_writer *w, const struct wire_definition *p)
{
    wire_put_str(w, p->name, NAME_LIMIT);
    buf_put_u64(w->to, p->mark);
    wire_put_optional(w, p->kind, NAME_LIMIT);
    wire_put_optional(w, p->settings, SETTINGS_LIMIT);
}

static void decode_definition(struct wire_reader *r, struct wire_definition *p)
{
    p->name = wire_get_name(r, "definition");
    p->mark = wire_get_u64(r, "mark");
    if (p->mark == 0)
        wire_spoil(r, "mark");
    p->kind = wire_get_optional(r, "definition's kind", NAME_LIMIT);
    p->settings = wire_get_optional(r, "settings", SETTINGS_LIMIT);
    if ((p->kind == NULL) != (p->settings == NULL) || (p->kind != NULL && !wire_name_valid(p->kind)))
        wire_spoil(r, "definition's kind");
}

static void encode_work(struct wire_writer *w, const struct wire_message *m)
{
    size_t n;

    buf_put_u64(w->to, m->work.group);
    buf_put_u64(w->to, m->work.received);
    buf_put_u8(w->to, m->work.introduce);
    n = wire_put_count(w, m->work.n_items, REPORT_LIMIT);
    for (size_t i = 0; i < n; i++)
        encode_item(w, &m->work.items[i]);
    n = wire_put_count(w, m->work.n_definitions, RESOURCE_LIMIT);
    for (size_t i = 0; i < n; i++)
        encode_definition(w, &m->work.definitions[i]);
    wire_put_nodes(w, &m->work.nodes);
    buf_put_u64(w->to, m->work.keys_version);
    wire_put_clients(w, m->work.clients, m->work.n_clients);
}

static void decode_work(struct wire_reader *r, struct wire_message *m)
{
    m->work.group = wire_get_u64(r, "group");
    m->work.received = wire_get_u64(r, "received");
    m->work.introduce = wire_get_enum(r, "introduce", 0, 1);
    m->work.items = r->scratch->items;
    m->work.n_items = wire_get_count(r, "items", REPORT_LIMIT);
    for (size_t i = 0; i < m->work.n_items; i++)
        decode_item(r, &r->scratch->items[i]);
    m->work.definitions = r->scratch->definitions;
    m->work.n_definitions = wire_get_count(r, "definitions", RESOURCE_LIMIT);
    for (size_t i = 0; i < m->work.n_definitions; i++)
        decode_definition(r, &r->scratch->definitions[i]);
    wire_get_nodes(r, &m->work.nodes);
    m->work.keys_version = wire_get_u64(r, "keys' version");
    m->work.clients = wire_get_clients(r, &m->work.n_clients);
    if (m->work.keys_version == 0 && m->work.n_clients > 0)
        wire_spoil(r, "keys' version");
}

/* operator */

static void encode_admin(struct wire_writer *w, const struct wire_message *m)
{
    wire_put_str(w, m->admin.json, JSON_LIMIT);
}

static void decode_admin(struct wire_reader *r, struct wire_message *m)
{
    m->admin.json = wire_get_str(r, "json", JSON_LIMIT);
}

/* application and agent */

static void encode_exec(struct wire_writer *w, const struct wire_message *m)
{
    const struct wire_exec *x = &m->exec;

    wire_put_txid(w, &x->id);
    buf_put_u16(w->to, x->branch);
    buf_put_u32(w->to, x->number);
    buf_put_u32(w->to, x->timeout_ms);
    wire_put_str(w, x->resource, NAME_LIMIT);
    wire_put_str(w, x->statement, ROWS_LIMIT);
    buf_put_u16(w->to, x->n_values);
    wire_put_block(w, x->values, x->values_len);
}

static void decode_exec(struct wire_reader *r, struct wire_message *m)
{
    struct wire_exec *x = &m->exec;

    x->id = wire_get_txid(r);
    x->branch = wire_get_u16(r, "branch");
    if (x->branch == 0)
        wire_spoil(r, "branch");
    x->number = wire_get_u32(r, "number");
    if (x->number == 0)
        wire_spoil(r, "number");
    x->timeout_ms = wire_get_u32(r, "timeout");
    x->resource = wire_get_name(r, "resource");
    x->statement = wire_get_str(r, "statement", ROWS_LIMIT);
    x->n_values = wire_get_u16(r, "values");
    x->values = wire_get_block(r, "values", 0, x->n_values, &x->values_len);
}

static void encode_rows(struct wire_writer *w, const struct wire_message *m)
{
    const struct wire_rows *x = &m->rows;

    buf_put_u32(w->to, (uint32_t)x->code);
    wire_put_text(w, x->text);
    buf_put_u64(w->to, x->affected);
    buf_put_u32(w->to, x->n_rows);
    buf_put_u16(w->to, x->n_columns);
    wire_put_block(w, x->cells, x->cells_len);
}

static void decode_rows(struct wire_reader *r, struct wire_message *m)
{
    struct wire_rows *x = &m->rows;

    x->code = wire_get_code(r);
    x->text = wire_get_text(r, x->code);
    x->affected = wire_get_u64(r, "affected");
    x->n_rows = wire_get_u32(r, "rows");
    x->n_columns = wire_get_u16(r, "columns");
    x->cells = wire_get_block(r, "cells", x->n_columns, (uint64_t)x->n_rows * x->n_columns, &x->cells_len);
}

static void encode_finish(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u8(w->to, m->finish.op);
    wire_put_txid(w, &m->finish.id);
    buf_put_u16(w->to, m->finish.branch);
    wire_put_str(w, m->finish.resource, NAME_LIMIT);
    wire_put_optional(w, m->finish.proof, PROOF_LIMIT);
}

static void decode_finish(struct wire_reader *r, struct wire_message *m)
{
    m->finish.op = wire_get_enum(r, "finish", FINISH_ROLLBACK, FINISH_PROOF);
    m->finish.id = wire_get_txid(r);
    m->finish.branch = wire_get_u16(r, "branch");
    if (m->finish.branch == 0)
        wire_spoil(r, "branch");
    m->finish.resource = wire_get_name(r, "resource");
    m->finish.proof = wire_get_optional(r, "proof", PROOF_LIMIT);
}

static void encode_finished(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u32(w->to, (uint32_t)m->finished.code);
    wire_put_text(w, m->finished.text);
    wire_put_optional(w, m->finished.proof, PROOF_LIMIT);
}

static void decode_finished(struct wire_reader *r, struct wire_message *m)
{
    m->finished.code = wire_get_code(r);
    m->finished.text = wire_get_text(r, m->finished.code);
    m->finished.proof = wire_get_optional(r, "proof", PROOF_LIMIT);
}

/* any answer, and answers that say nothing more than their type */

static void encode_error(struct wire_writer *w, const struct wire_message *m)
{
    buf_put_u32(w->to, (uint32_t)m->error.code);
    wire_put_text(w, m->error.text);
    wire_put_optional(w, m->error.leader, ADDRESS_LIMIT);
}

static void decode_error(struct wire_reader *r, struct wire_message *m)
{
    m->error.code = wire_get_code(r);
    if (m->error.code == TX_OK)
        wire_spoil(r, "code");
    m->error.text = wire_get_text(r, m->error.code);
    m->error.leader = wire_get_optional(r, "leader", ADDRESS_LIMIT);
}

static void encode_nothing(struct wire_writer *w, const struct wire_message *m)
{
    (void)w;
    (void)m;
}

static void decode_nothing(struct wire_reader *r, struct wire_message *m)
{
    (void)r;
    (void)m;
}

/* the table, and the way through it */

struct wire_codec {
    const char *name;
    size_t limit; /* bytes of the whole message */
    void (*encode)(struct wire_writer *w, const struct wire_message *m);
    void (*decode)(struct wire_reader *r, struct wire_message *m);
};

static const struct wire_codec wire_codecs[] = {
    [WIRE_OPEN_SESSION] = {"open_session", MESSAGE_LIMIT, encode_open_session, decode_open_session},
    [WIRE_SESSION] = {"session", MESSAGE_LIMIT, encode_session, decode_session},
    [WIRE_DECIDE] = {"decide", MESSAGE_LIMIT, encode_decide, decode_decide},
    [WIRE_DECIDED] = {"decided", MESSAGE_LIMIT, encode_decided, decode_decided},
    [WIRE_HEARTBEAT] = {"heartbeat", MESSAGE_LIMIT, encode_heartbeat, decode_heartbeat},
    [WIRE_HEARTBEAT_OK] = {"heartbeat_ok", MESSAGE_LIMIT, encode_heartbeat_ok, decode_heartbeat_ok},
    [WIRE_CLOSE_SESSION] = {"close_session", MESSAGE_LIMIT, encode_heartbeat, decode_heartbeat},
    [WIRE_CLOSED] = {"closed", MESSAGE_LIMIT, encode_nothing, decode_nothing},
    [WIRE_OUTCOME] = {"outcome", MESSAGE_LIMIT, encode_outcome, decode_outcome},
    [WIRE_OUTCOME_IS] = {"outcome_is", MESSAGE_LIMIT, encode_outcome_is, decode_outcome_is},
    [WIRE_LOCATE] = {"locate", MESSAGE_LIMIT, encode_locate, decode_locate},
    [WIRE_LOCATED] = {"located", MESSAGE_LIMIT, encode_located, decode_located},
    [WIRE_PULL] = {"pull", MESSAGE_LIMIT, encode_pull, decode_pull},
    [WIRE_WORK] = {"work", MESSAGE_LIMIT, encode_work, decode_work},
    [WIRE_ADMIN] = {"admin", MESSAGE_LIMIT, encode_admin, decode_admin},
    [WIRE_ADMIN_REPLY] = {"admin_reply", MESSAGE_LIMIT, encode_admin, decode_admin},
    [WIRE_EXEC] = {"exec", ROWS_LIMIT, encode_exec, decode_exec},
    [WIRE_ROWS] = {"rows", ROWS_LIMIT, encode_rows, decode_rows},
    [WIRE_FINISH] = {"finish", MESSAGE_LIMIT, encode_finish, decode_finish},
    [WIRE_FINISHED] = {"finished", MESSAGE_LIMIT, encode_finished, decode_finished},
    [WIRE_ERROR] = {"error", MESSAGE_LIMIT, encode_error, decode_error},
};

/* NULL for what is no type. */
static const struct wire_codec *wire_codec(unsigned type)
{
    if (type == 0 || type >= sizeof wire_codecs / sizeof *wire_codecs)
        return NULL;
    return &wire_codecs[type];
}

int wire_encode(const struct wire_message *m, struct buf *out)
{
    const struct wire_codec *codec = wire_codec(m->type);
    struct wire_writer w = {.to = out};
    size_t start = out->len;

    assert(codec != NULL);
    buf_put_u8(out, 'A');
    buf_put_u8(out, WIRE_VERSION);
    buf_put_u8(out, (uint8_t)m->type);
    buf_put_u8(out, 0);
    codec->encode(&w, m);
    if (out->failed)
        return TX_ENOMEM;
    if (!w.too_big && out->len - start <= codec->limit)
        return 0;
    out->len = start;
    return TX_ETOOBIG;
}

/* The codec of the type that the header names, or NULL with the error set. */
static const struct wire_codec *decode_header(const uint8_t *p, size_t len, struct tx_error *e)
{
    const struct wire_codec *codec;

    if (len < HEADER_SIZE || p[0] != 'A' || p[3] != 0) {
        (void)err_set(e, TX_EPROTO, "not a message of Assent");
        return NULL;
    }
    if (p[1] != WIRE_VERSION) {
        (void)err_set(e, TX_EPROTO, "a message of protocol version %d; this program speaks version %d", p[1],
                      WIRE_VERSION);
        return NULL;
    }
    codec = wire_codec(p[2]);
    if (codec == NULL) {
        (void)err_set(e, TX_EPROTO, "a message of unknown type %d", p[2]);
        return NULL;
    }
    if (len > codec->limit) {
        (void)err_set(e, TX_EPROTO, "%s message of %zu bytes; the limit is %zu", codec->name, len,
                      codec->limit);
        return NULL;
    }
    return codec;
}

int wire_decode(struct wire_message *m, const void *data, size_t len, struct wire_scratch *scratch,
                struct tx_error *e)
{
    const struct wire_codec *codec = decode_header(data, len, e);
    struct wire_reader r = {.scratch = scratch};

    if (codec == NULL)
        return TX_EPROTO;
    memset(m, 0, sizeof *m);
    m->type = ((const uint8_t *)data)[2];
    cur_init(&r.from, (const uint8_t *)data + HEADER_SIZE, len - HEADER_SIZE);
    codec->decode(&r, m);
    if (r.from.bad)
        return err_set(e, TX_EPROTO, "malformed %s message: %s", codec->name, r.field);
    if (!cur_done(&r.from))
        return err_set(e, TX_EPROTO, "malformed %s message: bytes after its end", codec->name);
    return 0;
}

bool wire_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

    return n >= 1 && n <= NAME_LIMIT && name[n] == '\0';
}

const char *wire_type_name(enum wire_type t)
{
    const struct wire_codec *codec = wire_codec(t);

    return codec == NULL ? "unknown" : codec->name;
}
