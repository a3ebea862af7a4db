/* wire_field: see wire_field.h. */
#include "libtx/shared/wire_field.h"

#include <assert.h>
#include <string.h>

/* writing */

void wire_put_optional(struct wire_writer *w, const char *s, size_t limit)
{
    if (s != NULL && strnlen(s, limit + 1) > limit) {
        w->too_big = true;
        return;
    }
    buf_put_str(w->to, s);
}

void wire_put_str(struct wire_writer *w, const char *s, size_t limit)
{
    assert(s != NULL);
    wire_put_optional(w, s, limit);
}

void wire_put_text(struct wire_writer *w, const char *s)
{
    size_t n = s == NULL ? 0 : strnlen(s, TEXT_LIMIT + 1);

    if (n <= TEXT_LIMIT) {
        buf_put_str(w->to, s);
        return;
    }
    n = TEXT_LIMIT;
    while (n > TEXT_LIMIT - 4 && ((uint8_t)s[n] & 0xC0) == 0x80)
        n--;
    buf_put_u32(w->to, (uint32_t)n + 1);
    buf_put_bytes(w->to, s, n);
    buf_put_u8(w->to, 0);
}

size_t wire_put_count(struct wire_writer *w, size_t n, size_t limit)
{
    if (n > limit) {
        w->too_big = true;
        n = 0;
    }
    buf_put_u16(w->to, (uint16_t)n);
    return n;
}

void wire_put_txid(struct wire_writer *w, const struct txid *id)
{
    buf_put_u64(w->to, id->group);
    buf_put_u64(w->to, id->session);
    buf_put_u64(w->to, id->sequence);
    buf_put_u64(w->to, id->nonce);
}

static void put_ranges(struct wire_writer *w, const struct range *ranges, size_t n)
{
    n = wire_put_count(w, n, RANGE_LIMIT);
    for (size_t i = 0; i < n; i++) {
        buf_put_u64(w->to, ranges[i].from);
        buf_put_u64(w->to, ranges[i].to);
    }
}

void wire_put_news(struct wire_writer *w, const struct wire_news *news)
{
    put_ranges(w, news->acknowledged, news->n_acknowledged);
    put_ranges(w, news->resolved, news->n_resolved);
}

void wire_put_branches(struct wire_writer *w, const struct branch_ref *branches, size_t n)
{
    n = wire_put_count(w, n, BRANCH_LIMIT);
    for (size_t i = 0; i < n; i++) {
        buf_put_u16(w->to, branches[i].number);
        buf_put_u8(w->to, branches[i].kind);
        wire_put_str(w, branches[i].resource, NAME_LIMIT);
        wire_put_optional(w, branches[i].proof, PROOF_LIMIT);
        wire_put_optional(w, branches[i].agent, ADDRESS_LIMIT);
    }
}

void wire_put_nodes(struct wire_writer *w, const struct wire_nodes *nodes)
{
    size_t n = wire_put_count(w, nodes->n, NODE_LIMIT);

    for (size_t i = 0; i < n; i++)
        wire_put_str(w, nodes->addresses[i], ADDRESS_LIMIT);
    n = wire_put_count(w, nodes->n_keys, NODE_KEY_LIMIT);
    buf_put_bytes(w->to, nodes->keys, n * KEY_SIZE);
}

void wire_put_key(struct wire_writer *w, const uint8_t *key)
{
    buf_put_u8(w->to, key != NULL);
    if (key != NULL)
        buf_put_bytes(w->to, key, KEY_SIZE);
}

void wire_put_clients(struct wire_writer *w, const struct wire_client_key *clients, size_t n)
{
    n = wire_put_count(w, n, KEY_LIMIT);
    for (size_t i = 0; i < n; i++) {
        buf_put_bytes(w->to, clients[i].key, KEY_SIZE);
        wire_put_str(w, clients[i].name, NAME_LIMIT);
    }
}

void wire_put_block(struct wire_writer *w, const uint8_t *p, size_t n)
{
    if (n > ROWS_LIMIT) {
        w->too_big = true;
        return;
    }
    buf_put_u32(w->to, (uint32_t)n);
    buf_put_bytes(w->to, p, n);
}

/* reading */

/* Remembers the field at which the input first failed. */
static void note(struct wire_reader *r, const char *field)
{
    if (r->from.bad && r->field == NULL)
        r->field = field;
}

void wire_spoil(struct wire_reader *r, const char *field)
{
    r->from.bad = true;
    note(r, field);
}

uint8_t wire_get_enum(struct wire_reader *r, const char *field, uint8_t min, uint8_t max)
{
    uint8_t v = cur_u8(&r->from);

    if (v < min || v > max)
        r->from.bad = true;
    note(r, field);
    return v;
}

uint16_t wire_get_u16(struct wire_reader *r, const char *field)
{
    uint16_t v = cur_u16(&r->from);

    note(r, field);
    return v;
}

uint32_t wire_get_u32(struct wire_reader *r, const char *field)
{
    uint32_t v = cur_u32(&r->from);

    note(r, field);
    return v;
}

uint64_t wire_get_u64(struct wire_reader *r, const char *field)
{
    uint64_t v = cur_u64(&r->from);

    note(r, field);
    return v;
}

int32_t wire_get_code(struct wire_reader *r)
{
    int32_t v = (int32_t)wire_get_u32(r, "code");

    switch (v) {
#define WIRE_CODE_CASE(name, code, text) case name:
        TX_ERROR_LIST(WIRE_CODE_CASE)
#undef WIRE_CODE_CASE
        return v;
    default:
        wire_spoil(r, "code");
        return 0;
    }
}

const char *wire_get_str(struct wire_reader *r, const char *field, size_t limit)
{
    const char *s = cur_str_required(&r->from, limit);

    note(r, field);
    return s;
}

const char *wire_get_optional(struct wire_reader *r, const char *field, size_t limit)
{
    const char *s = cur_str(&r->from, limit);

    note(r, field);
    return s;
}

const char *wire_get_name(struct wire_reader *r, const char *field)
{
    const char *s = wire_get_str(r, field, NAME_LIMIT);

    if (s != NULL && !wire_name_valid(s))
        wire_spoil(r, field);
    return s;
}

const char *wire_get_text(struct wire_reader *r, int32_t code)
{
    const char *s = wire_get_optional(r, "text", TEXT_LIMIT);

    return s == NULL && code != TX_OK ? tx_strerror(code) : s;
}

size_t wire_get_count(struct wire_reader *r, const char *field, size_t limit)
{
    size_t n = cur_u16(&r->from);

    if (n > limit)
        r->from.bad = true;
    note(r, field);
    return r->from.bad ? 0 : n;
}

struct txid wire_get_txid(struct wire_reader *r)
{
    struct txid id;

    id.group = wire_get_u64(r, "group");
    id.session = wire_get_u64(r, "session");
    id.sequence = wire_get_u64(r, "sequence");
    id.nonce = wire_get_u64(r, "nonce");
    return id;
}

static size_t get_ranges(struct wire_reader *r, const char *field, struct range *ranges)
{
    size_t n = wire_get_count(r, field, RANGE_LIMIT);

    for (size_t i = 0; i < n; i++) {
        ranges[i].from = wire_get_u64(r, field);
        ranges[i].to = wire_get_u64(r, field);
        if (ranges[i].from == 0 || ranges[i].from > ranges[i].to)
            wire_spoil(r, field);
    }
    return n;
}

void wire_get_news(struct wire_reader *r, struct wire_news *news)
{
    news->acknowledged = r->scratch->acknowledged;
    news->n_acknowledged = get_ranges(r, "acknowledged", r->scratch->acknowledged);
    news->resolved = r->scratch->resolved;
    news->n_resolved = get_ranges(r, "resolved", r->scratch->resolved);
}

const struct branch_ref *wire_get_branches(struct wire_reader *r, size_t *n)
{
    struct branch_ref *branches = r->scratch->branches;

    *n = wire_get_count(r, "branches", BRANCH_LIMIT);
    for (size_t i = 0; i < *n; i++) {
        branches[i].number = wire_get_u16(r, "branch");
        if (branches[i].number == 0)
            wire_spoil(r, "branch");
        branches[i].kind = wire_get_enum(r, "branch kind", BRANCH_DIRECT, BRANCH_REMOTE);
        branches[i].resource = wire_get_name(r, "resource");
        branches[i].proof = wire_get_optional(r, "proof", PROOF_LIMIT);
        branches[i].agent = wire_get_optional(r, "agent", ADDRESS_LIMIT);
    }
    return branches;
}

/* n of them, one behind the other. Zeros are nobody's key, and would say elsewhere that nobody is asked for
 * one. */
static const uint8_t *get_keys(struct wire_reader *r, const char *field, size_t n)
{
    static const uint8_t nobody[KEY_SIZE];
    const uint8_t *keys = cur_bytes(&r->from, n * KEY_SIZE);

    note(r, field);
    for (size_t i = 0; keys != NULL && i < n; i++)
        if (memcmp(keys + i * KEY_SIZE, nobody, KEY_SIZE) == 0)
            wire_spoil(r, field);
    return keys;
}

void wire_get_nodes(struct wire_reader *r, struct wire_nodes *nodes)
{
    nodes->n = wire_get_count(r, "nodes", NODE_LIMIT);
    nodes->addresses = r->scratch->nodes;
    for (size_t i = 0; i < nodes->n; i++)
        r->scratch->nodes[i] = wire_get_str(r, "node", ADDRESS_LIMIT);
    nodes->n_keys = wire_get_count(r, "nodes' keys", NODE_KEY_LIMIT);
    nodes->keys = get_keys(r, "nodes' keys", nodes->n_keys);
}

const uint8_t *wire_get_key(struct wire_reader *r, const char *field)
{
    return wire_get_enum(r, field, 0, 1) == 1 ? get_keys(r, field, 1) : NULL;
}

const struct wire_client_key *wire_get_clients(struct wire_reader *r, size_t *n)
{
    struct wire_client_key *clients = r->scratch->clients;

    *n = wire_get_count(r, "clients", KEY_LIMIT);
    for (size_t i = 0; i < *n; i++) {
        clients[i].key = get_keys(r, "client's key", 1);
        clients[i].name = wire_get_name(r, "client");
    }
    return clients;
}

const uint8_t *wire_get_block(struct wire_reader *r, const char *field, uint64_t required, uint64_t optional,
                              size_t *len)
{
    uint32_t n = wire_get_u32(r, field);
    const uint8_t *block = cur_bytes(&r->from, n);
    struct cur inner;

    note(r, field);
    if (block == NULL)
        return NULL;
    /* Each string takes four bytes or more, so the input's length bounds both loops, whatever was announced. */
    cur_init(&inner, block, n);
    for (uint64_t i = 0; i < required && !inner.bad; i++)
        (void)cur_str_required(&inner, ROWS_LIMIT);
    for (uint64_t i = 0; i < optional && !inner.bad; i++)
        (void)cur_str(&inner, ROWS_LIMIT);
    if (!cur_done(&inner))
        wire_spoil(r, field);
    *len = n;
    return block;
}
