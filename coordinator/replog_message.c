/* replog_message: see replog_message.h. */
#include "coordinator/replog_message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 2,
    FLAG_TO_VOTER = 1,
    /* As libraft's own network sends them. */
    REQUEST_VOTE_VERSION = 2,
    RESULT_VERSION = 2,
    /* Bits of a vote's request and result. */
    VOTE_DISRUPT = 1,
    VOTE_PRE = 2,
    VOTE_GRANTED = 4,
    FEATURES = 1, /* capacity is reported */
    ENTRY_MIN = 8 + 1 + 4,
};

#define NUMBER_LIMIT (UINT64_C(1) << 60) /* of terms and indexes: sums cannot overflow */

/* Out */

static void put_append_entries(struct buf *b, const struct raft_append_entries *a)
{
    buf_put_u64(b, a->term);
    buf_put_u64(b, a->prev_log_index);
    buf_put_u64(b, a->prev_log_term);
    buf_put_u64(b, a->leader_commit);
    buf_put_u32(b, a->n_entries);
    for (unsigned i = 0; i < a->n_entries; i++) {
        buf_put_u64(b, a->entries[i].term);
        buf_put_u8(b, (uint8_t)a->entries[i].type);
        buf_put_u32(b, (uint32_t)a->entries[i].buf.len);
        buf_put_bytes(b, a->entries[i].buf.base, a->entries[i].buf.len);
    }
}

static void put_vote(struct buf *b, const struct raft_request_vote *v)
{
    buf_put_u64(b, v->term);
    buf_put_u64(b, v->candidate_id);
    buf_put_u64(b, v->last_log_index);
    buf_put_u64(b, v->last_log_term);
    buf_put_u8(b, (uint8_t)((v->disrupt_leader ? VOTE_DISRUPT : 0) | (v->pre_vote ? VOTE_PRE : 0)));
}

static void put_raft(struct buf *b, const struct replog_message *m)
{
    const struct raft_message *r = &m->raft;

    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        put_append_entries(b, &r->append_entries);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        buf_put_u64(b, r->append_entries_result.term);
        buf_put_u64(b, r->append_entries_result.rejected);
        buf_put_u64(b, r->append_entries_result.last_log_index);
        break;
    case RAFT_REQUEST_VOTE:
        put_vote(b, &r->request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        buf_put_u64(b, r->request_vote_result.term);
        buf_put_u8(b, (uint8_t)((r->request_vote_result.vote_granted ? VOTE_GRANTED : 0) |
                                (r->request_vote_result.pre_vote ? VOTE_PRE : 0)));
        break;
    default:
        assert(m->type == RAFT_TIMEOUT_NOW);
        buf_put_u64(b, r->timeout_now.term);
        buf_put_u64(b, r->timeout_now.last_log_index);
        buf_put_u64(b, r->timeout_now.last_log_term);
        break;
    }
}

static void put_piece(struct buf *b, const struct replog_piece *p)
{
    buf_put_u64(b, p->term);
    buf_put_u64(b, p->index);
    buf_put_u64(b, p->total);
    buf_put_u64(b, p->offset);
    buf_put_u32(b, (uint32_t)p->len);
    buf_put_bytes(b, p->data, p->len);
}

void replog_message_encode(struct buf *out, const struct replog_message *m)
{
    buf_put_u8(out, VERSION);
    buf_put_u8(out, (uint8_t)m->type);
    buf_put_u8(out, m->to_voter ? FLAG_TO_VOTER : 0);
    buf_put_u64(out, m->group);
    buf_put_u64(out, m->log);
    buf_put_u64(out, m->from);
    buf_put_u64(out, m->to);
    buf_put_str(out, m->address);
    switch (m->type) {
    case REPLOG_MESSAGE_PIECE:
        put_piece(out, &m->piece);
        break;
    case REPLOG_MESSAGE_PIECE_ACK:
        buf_put_u64(out, m->ack.term);
        buf_put_u64(out, m->ack.index);
        buf_put_u64(out, m->ack.received);
        break;
    case REPLOG_MESSAGE_REMOVED:
        buf_put_u64(out, m->removed_index);
        break;
    case REPLOG_MESSAGE_STRANGER:
        break;
    default:
        put_raft(out, m);
        break;
    }
}

/* In */

static uint64_t get_number(struct cur *c)
{
    uint64_t v = cur_u64(c);

    if (v >= NUMBER_LIMIT)
        c->bad = true;
    return v;
}

static uint64_t get_positive(struct cur *c)
{
    uint64_t v = get_number(c);

    if (v == 0)
        c->bad = true;
    return v;
}

static void get_entry(struct cur *c, struct raft_entry *e)
{
    e->term = get_positive(c);
    e->type = cur_u8(c);
    e->buf.len = cur_u32(c);
    /* libraft has no const; nobody writes to it. */
    e->buf.base = (void *)(uintptr_t)cur_bytes(c, e->buf.len);
    if (e->type < RAFT_COMMAND || e->type > RAFT_CHANGE)
        c->bad = true;
    if (!c->bad && e->type == RAFT_CHANGE && !replog_message_check_config(e->buf.base, e->buf.len))
        c->bad = true;
}

/* Terms never go down along a log, and none is above the leader's. */
static void get_entries(struct cur *c, struct raft_append_entries *a)
{
    raft_term last = a->prev_log_term;

    a->n_entries = cur_u32(c);
    if (c->bad || a->n_entries > REPLOG_MESSAGE_ENTRIES || a->n_entries > (size_t)(c->end - c->p) / ENTRY_MIN) {
        c->bad = true;
        return;
    }
    if (a->n_entries == 0)
        return;
    a->entries = calloc(a->n_entries, sizeof *a->entries);
    if (a->entries == NULL) {
        c->bad = true;
        return;
    }
    for (unsigned i = 0; i < a->n_entries && !c->bad; i++) {
        get_entry(c, &a->entries[i]);
        if (a->entries[i].term < last || a->entries[i].term > a->term)
            c->bad = true;
        last = a->entries[i].term;
    }
}

static void get_append_entries(struct cur *c, struct raft_append_entries *a)
{
    a->version = 0;
    a->term = get_positive(c);
    a->prev_log_index = get_number(c);
    a->prev_log_term = get_number(c);
    a->leader_commit = get_number(c);
    if ((a->prev_log_index == 0) != (a->prev_log_term == 0) || a->prev_log_term > a->term)
        c->bad = true;
    get_entries(c, a);
}

static void get_append_entries_result(struct cur *c, struct raft_append_entries_result *a)
{
    a->version = RESULT_VERSION;
    a->term = get_positive(c);
    a->rejected = get_number(c);
    a->last_log_index = get_number(c);
    a->features = FEATURES;
    a->capacity = UINT16_MAX;
}

static void get_vote(struct cur *c, struct replog_message *m)
{
    struct raft_request_vote *v = &m->raft.request_vote;
    uint8_t flags;

    v->version = REQUEST_VOTE_VERSION;
    v->term = get_positive(c);
    v->candidate_id = cur_u64(c);
    v->last_log_index = get_number(c);
    v->last_log_term = get_number(c);
    flags = cur_u8(c);
    v->disrupt_leader = (flags & VOTE_DISRUPT) != 0;
    v->pre_vote = (flags & VOTE_PRE) != 0;
    if (v->candidate_id != m->from || v->last_log_term > v->term)
        c->bad = true;
}

static void get_vote_result(struct cur *c, struct raft_request_vote_result *v)
{
    uint8_t flags;

    v->version = RESULT_VERSION;
    v->term = get_positive(c);
    flags = cur_u8(c);
    v->vote_granted = (flags & VOTE_GRANTED) != 0;
    v->pre_vote = (flags & VOTE_PRE) != 0;
    v->features = FEATURES;
    v->capacity = UINT16_MAX;
}

static void get_raft(struct cur *c, struct replog_message *m)
{
    struct raft_message *r = &m->raft;

    r->type = (enum raft_message_type)m->type;
    r->server_id = m->from;
    r->server_address = m->address;
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        get_append_entries(c, &r->append_entries);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        get_append_entries_result(c, &r->append_entries_result);
        break;
    case RAFT_REQUEST_VOTE:
        get_vote(c, m);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        get_vote_result(c, &r->request_vote_result);
        break;
    case RAFT_TIMEOUT_NOW:
        r->timeout_now.version = 0;
        r->timeout_now.term = get_positive(c);
        r->timeout_now.last_log_index = get_number(c);
        r->timeout_now.last_log_term = get_number(c);
        break;
    default:
        c->bad = true;
        break;
    }
}

static void get_piece(struct cur *c, struct replog_piece *p)
{
    p->term = get_positive(c);
    p->index = get_positive(c);
    p->total = get_positive(c);
    p->offset = get_number(c);
    p->len = cur_u32(c);
    p->data = cur_bytes(c, p->len);
    if (p->len == 0 || p->len > REPLOG_MESSAGE_CHUNK || p->offset + p->len > p->total)
        c->bad = true;
}

static void get_body(struct cur *c, struct replog_message *m)
{
    switch (m->type) {
    case REPLOG_MESSAGE_PIECE:
        get_piece(c, &m->piece);
        break;
    case REPLOG_MESSAGE_PIECE_ACK:
        m->ack.term = get_positive(c);
        m->ack.index = get_positive(c);
        m->ack.received = get_number(c);
        break;
    case REPLOG_MESSAGE_REMOVED:
        m->removed_index = get_positive(c);
        break;
    case REPLOG_MESSAGE_STRANGER:
        break;
    default:
        get_raft(c, m);
        break;
    }
}

bool replog_message_decode(const void *data, size_t len, struct replog_message *m)
{
    struct cur c;
    bool known;

    memset(m, 0, sizeof *m);
    cur_init(&c, data, len);
    known = cur_u8(&c) == VERSION;
    m->type = cur_u8(&c);
    m->to_voter = (cur_u8(&c) & FLAG_TO_VOTER) != 0;
    m->group = cur_u64(&c);
    m->log = cur_u64(&c);
    m->from = cur_u64(&c);
    m->to = cur_u64(&c);
    m->address = cur_str_required(&c, REPLOG_MESSAGE_ADDRESS);
    if (c.bad || !known || m->from == 0 || m->group == 0 || m->log == 0)
        return false;
    get_body(&c, m);
    if (cur_done(&c))
        return true;
    replog_message_release(m);
    return false;
}

void replog_message_release(struct replog_message *m)
{
    if (m->type != RAFT_APPEND_ENTRIES)
        return;
    free(m->raft.append_entries.entries);
    m->raft.append_entries.entries = NULL;
}

struct config_member {
    uint64_t id;
    const char *address;
};

static bool get_member(struct cur *c, struct config_member *m)
{
    m->id = cur_u64(c);
    m->address = (const char *)c->p;
    if (c->bad || m->id == 0 || memchr(m->address, 0, (size_t)(c->end - c->p)) == NULL)
        return false;
    return strlen(m->address) <= REPLOG_MESSAGE_ADDRESS && cur_bytes(c, strlen(m->address) + 1) != NULL &&
           cur_u8(c) <= RAFT_SPARE && !c->bad;
}

bool replog_message_check_config(const void *data, size_t len)
{
    struct config_member members[REPLOG_MESSAGE_NODES];
    struct cur c;
    uint64_t n;
    bool known;

    cur_init(&c, data, len);
    known = cur_u8(&c) == 1;
    n = cur_u64(&c);
    if (!known || n == 0 || n > REPLOG_MESSAGE_NODES)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        if (!get_member(&c, &members[i]))
            return false;
        for (uint64_t k = 0; k < i; k++) {
            if (members[k].id == members[i].id || strcmp(members[k].address, members[i].address) == 0)
                return false;
        }
    }
    return true;
}
