/* record: see record.h.
 *
 * An entry is the version (u8) and its records one after the other. A record is type (u8), session, sequence,
 * at_ms (u64 each), then its body. Both directions share one test, valid(): what could not be read back is not
 * written either, since an entry that a node cannot read stops that node.
 */
#include "coordinator/record.h"

#include <stdbool.h>
#include <string.h>

static bool name_valid(const char *s)
{
    return s != NULL && strlen(s) <= NAME_LIMIT;
}

static bool address_valid(const char *s)
{
    return s != NULL && *s != '\0' && strlen(s) <= ADDRESS_LIMIT;
}

static bool text_valid(const char *s, size_t limit)
{
    return s == NULL || strlen(s) <= limit;
}

static bool settings_valid(const char *s)
{
    return s != NULL && strlen(s) <= SETTINGS_LIMIT;
}

static bool key_valid(const struct record *r)
{
    static const uint8_t nobody[KEY_SIZE];

    if (memcmp(r->key.key, nobody, KEY_SIZE) == 0 || !name_valid(r->key.name) || *r->key.name == '\0')
        return false;
    return r->type == RECORD_REVOKE_KEY || (r->key.roles != 0 && r->key.roles <= ROLES_ALL &&
                                            r->key.grant != NULL && strlen(r->key.grant) <= KEY_GRANT_LIMIT);
}

static bool branches_valid(const struct branch_ref *branches, size_t n)
{
    if (n > BRANCH_LIMIT)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (branches[i].kind > BRANCH_REMOTE || !name_valid(branches[i].resource) ||
            !text_valid(branches[i].proof, PROOF_LIMIT))
            return false;
    }
    return true;
}

static bool ranges_valid(const struct range *ranges, size_t n)
{
    if (n > RANGE_LIMIT)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].from > ranges[i].to)
            return false;
    }
    return true;
}

static bool decide_valid(const struct record *r)
{
    return (r->decide.verdict == VERDICT_COMMIT || r->decide.verdict == VERDICT_ABORT) &&
           r->decide.origin <= ORIGIN_OPERATOR && r->decide.agents_finish <= 1 &&
           text_valid(r->decide.reason, TEXT_LIMIT) && branches_valid(r->decide.branches, r->decide.n_branches);
}

static bool heuristic_valid(const struct record *r)
{
    return r->heuristic.kind != HEURISTIC_NONE && r->heuristic.kind <= HEURISTIC_HAZARD &&
           name_valid(r->heuristic.resource) && text_valid(r->heuristic.text, TEXT_LIMIT);
}

static bool valid(const struct record *r)
{
    switch (r->type) {
    case RECORD_OPEN_SESSION:
        return name_valid(r->open_session.name);
    case RECORD_CLOSE_SESSION:
    case RECORD_EXPIRE_SESSION:
    case RECORD_DROP_SESSION:
    case RECORD_END:
    case RECORD_FORGET:
        return true;
    case RECORD_DECIDE:
        return decide_valid(r);
    case RECORD_ACKNOWLEDGE:
        return ranges_valid(r->acknowledge.ranges, r->acknowledge.n_ranges);
    case RECORD_HEURISTIC:
        return heuristic_valid(r);
    case RECORD_ADD_RESOURCE:
        return name_valid(r->resource.name) && name_valid(r->resource.kind);
    case RECORD_DECLARE_RESOURCE:
        return name_valid(r->resource.name) && name_valid(r->resource.kind) &&
               settings_valid(r->resource.settings);
    case RECORD_ALTER_RESOURCE:
        return name_valid(r->resource.name) && settings_valid(r->resource.settings);
    case RECORD_REMOVE_RESOURCE:
        return name_valid(r->resource.name);
    case RECORD_ADD_NODE:
        return r->node.id != 0 && address_valid(r->node.address);
    case RECORD_REMOVE_NODE:
        return r->node.id != 0;
    case RECORD_RESTORE:
        return r->restore.len > 0 && r->restore.data != NULL && r->restore.at <= r->restore.total &&
               r->restore.len <= r->restore.total - r->restore.at;
    case RECORD_ADD_KEY:
    case RECORD_REVOKE_KEY:
        return key_valid(r);
    }
    return false;
}

static void put_decide(struct buf *b, const struct record *r)
{
    buf_put_u8(b, r->decide.verdict);
    buf_put_u8(b, r->decide.origin);
    buf_put_u8(b, r->decide.agents_finish);
    buf_put_str(b, r->decide.reason);
    buf_put_u8(b, (uint8_t)r->decide.n_branches);
    for (size_t i = 0; i < r->decide.n_branches; i++) {
        buf_put_u16(b, r->decide.branches[i].number);
        buf_put_u8(b, r->decide.branches[i].kind);
        buf_put_str(b, r->decide.branches[i].resource);
        buf_put_str(b, r->decide.branches[i].proof);
    }
}

static void put_acknowledge(struct buf *b, const struct record *r)
{
    buf_put_u8(b, (uint8_t)r->acknowledge.n_ranges);
    for (size_t i = 0; i < r->acknowledge.n_ranges; i++) {
        buf_put_u64(b, r->acknowledge.ranges[i].from);
        buf_put_u64(b, r->acknowledge.ranges[i].to);
    }
}

static void put_key(struct buf *b, const struct record *r)
{
    buf_put_bytes(b, r->key.key, KEY_SIZE);
    buf_put_str(b, r->key.name);
    if (r->type == RECORD_REVOKE_KEY)
        return;
    buf_put_u8(b, r->key.roles);
    buf_put_str(b, r->key.grant);
}

static void put_body(struct buf *b, const struct record *r)
{
    switch (r->type) {
    case RECORD_OPEN_SESSION:
        buf_put_u64(b, r->open_session.nonce);
        buf_put_u32(b, r->open_session.session_timeout_ms);
        buf_put_u32(b, r->open_session.transaction_timeout_ms);
        buf_put_str(b, r->open_session.name);
        buf_put_bytes(b, r->open_session.owner, KEY_SIZE);
        break;
    case RECORD_CLOSE_SESSION:
    case RECORD_EXPIRE_SESSION:
    case RECORD_DROP_SESSION:
    case RECORD_END:
    case RECORD_FORGET:
        break;
    case RECORD_DECIDE:
        put_decide(b, r);
        break;
    case RECORD_ACKNOWLEDGE:
        put_acknowledge(b, r);
        break;
    case RECORD_HEURISTIC:
        buf_put_u16(b, r->heuristic.branch);
        buf_put_u8(b, r->heuristic.kind);
        buf_put_str(b, r->heuristic.resource);
        buf_put_str(b, r->heuristic.text);
        break;
    case RECORD_ADD_RESOURCE:
        buf_put_str(b, r->resource.name);
        buf_put_str(b, r->resource.kind);
        break;
    case RECORD_DECLARE_RESOURCE:
        buf_put_str(b, r->resource.name);
        buf_put_str(b, r->resource.kind);
        buf_put_str(b, r->resource.settings);
        break;
    case RECORD_ALTER_RESOURCE:
        buf_put_str(b, r->resource.name);
        buf_put_str(b, r->resource.settings);
        break;
    case RECORD_REMOVE_RESOURCE:
        buf_put_str(b, r->resource.name);
        break;
    case RECORD_ADD_NODE:
        buf_put_u64(b, r->node.id);
        buf_put_str(b, r->node.address);
        break;
    case RECORD_REMOVE_NODE:
        buf_put_u64(b, r->node.id);
        break;
    case RECORD_RESTORE:
        buf_put_u64(b, r->restore.at);
        buf_put_u64(b, r->restore.total);
        buf_put_u32(b, r->restore.len);
        buf_put_bytes(b, r->restore.data, r->restore.len);
        break;
    case RECORD_ADD_KEY:
    case RECORD_REVOKE_KEY:
        put_key(b, r);
        break;
    }
}

void record_begin(struct buf *entry)
{
    buf_put_u8(entry, RECORD_VERSION);
}

void record_append(struct buf *entry, const struct record *r)
{
    if (!valid(r)) {
        entry->failed = true;
        return;
    }
    buf_put_u8(entry, (uint8_t)r->type);
    buf_put_u64(entry, r->session);
    buf_put_u64(entry, r->sequence);
    buf_put_u64(entry, r->at_ms);
    put_body(entry, r);
}

int record_open(struct record_reader *reader, const void *data, size_t len, struct tx_error *e)
{
    uint8_t version;

    cur_init(&reader->cur, data, len);
    version = reader->version = cur_u8(&reader->cur);
    if (reader->cur.bad || version == 0)
        return err_set(e, TX_ECORRUPT, "log entry of %zu bytes has no version", len);
    if (version > RECORD_VERSION)
        return err_set(e, TX_EPROTO,
                       "log entry has version %u and this program knows up to %d: upgrade this node", version,
                       RECORD_VERSION);
    return 0;
}

static void get_key_bytes(struct cur *c, uint8_t key[KEY_SIZE])
{
    const uint8_t *bytes = cur_bytes(c, KEY_SIZE);

    if (bytes != NULL)
        memcpy(key, bytes, KEY_SIZE);
}

static void get_key(struct cur *c, struct record *r)
{
    get_key_bytes(c, r->key.key);
    r->key.name = cur_str_required(c, NAME_LIMIT);
    if (r->type == RECORD_REVOKE_KEY)
        return;
    r->key.roles = cur_u8(c);
    r->key.grant = cur_str_required(c, KEY_GRANT_LIMIT);
}

static void get_decide(struct record_reader *reader, struct record *r)
{
    struct cur *c = &reader->cur;
    size_t n;

    r->decide.verdict = cur_u8(c);
    r->decide.origin = cur_u8(c);
    r->decide.agents_finish = cur_u8(c);
    r->decide.reason = cur_str(c, TEXT_LIMIT);
    n = cur_u8(c);
    if (n > BRANCH_LIMIT)
        c->bad = true;
    for (size_t i = 0; i < n && !c->bad; i++) {
        reader->branches[i].number = cur_u16(c);
        reader->branches[i].kind = cur_u8(c);
        reader->branches[i].resource = cur_str_required(c, NAME_LIMIT);
        reader->branches[i].proof = cur_str(c, PROOF_LIMIT);
    }
    r->decide.n_branches = n;
    r->decide.branches = reader->branches;
}

static void get_acknowledge(struct record_reader *reader, struct record *r)
{
    struct cur *c = &reader->cur;
    size_t n = cur_u8(c);

    if (n > RANGE_LIMIT)
        c->bad = true;
    for (size_t i = 0; i < n && !c->bad; i++) {
        reader->ranges[i].from = cur_u64(c);
        reader->ranges[i].to = cur_u64(c);
    }
    r->acknowledge.n_ranges = n;
    r->acknowledge.ranges = reader->ranges;
}

static void get_body(struct record_reader *reader, struct record *r)
{
    struct cur *c = &reader->cur;

    switch (r->type) {
    case RECORD_OPEN_SESSION:
        r->open_session.nonce = cur_u64(c);
        r->open_session.session_timeout_ms = cur_u32(c);
        r->open_session.transaction_timeout_ms = cur_u32(c);
        r->open_session.name = cur_str_required(c, NAME_LIMIT);
        if (reader->version >= 3)
            get_key_bytes(c, r->open_session.owner);
        break;
    case RECORD_CLOSE_SESSION:
    case RECORD_EXPIRE_SESSION:
    case RECORD_DROP_SESSION:
    case RECORD_END:
    case RECORD_FORGET:
        break;
    case RECORD_DECIDE:
        get_decide(reader, r);
        break;
    case RECORD_ACKNOWLEDGE:
        get_acknowledge(reader, r);
        break;
    case RECORD_HEURISTIC:
        r->heuristic.branch = cur_u16(c);
        r->heuristic.kind = cur_u8(c);
        r->heuristic.resource = cur_str_required(c, NAME_LIMIT);
        r->heuristic.text = cur_str(c, TEXT_LIMIT);
        break;
    case RECORD_ADD_RESOURCE:
        r->resource.name = cur_str_required(c, NAME_LIMIT);
        r->resource.kind = cur_str_required(c, NAME_LIMIT);
        break;
    case RECORD_DECLARE_RESOURCE:
        r->resource.name = cur_str_required(c, NAME_LIMIT);
        r->resource.kind = cur_str_required(c, NAME_LIMIT);
        r->resource.settings = cur_str_required(c, SETTINGS_LIMIT);
        break;
    case RECORD_ALTER_RESOURCE:
        r->resource.name = cur_str_required(c, NAME_LIMIT);
        r->resource.settings = cur_str_required(c, SETTINGS_LIMIT);
        break;
    case RECORD_REMOVE_RESOURCE:
        r->resource.name = cur_str_required(c, NAME_LIMIT);
        break;
    case RECORD_ADD_NODE:
        r->node.id = cur_u64(c);
        r->node.address = cur_str_required(c, ADDRESS_LIMIT);
        break;
    case RECORD_REMOVE_NODE:
        r->node.id = cur_u64(c);
        break;
    case RECORD_RESTORE:
        r->restore.at = cur_u64(c);
        r->restore.total = cur_u64(c);
        r->restore.len = cur_u32(c);
        r->restore.data = cur_bytes(c, r->restore.len);
        break;
    case RECORD_ADD_KEY:
    case RECORD_REVOKE_KEY:
        get_key(c, r);
        break;
    }
}

int record_next(struct record_reader *reader, struct record *r, struct tx_error *e)
{
    struct cur *c = &reader->cur;
    unsigned type;

    if (cur_done(c))
        return 0;
    memset(r, 0, sizeof *r);
    type = cur_u8(c);
    r->type = (enum record_type)type;
    r->session = cur_u64(c);
    r->sequence = cur_u64(c);
    r->at_ms = cur_u64(c);
    get_body(reader, r);
    if (c->bad || !valid(r)) {
        c->bad = true;
        return err_set(e, TX_ECORRUPT, "log entry: malformed record of type %u (%s)", type,
                       record_type_name(r->type));
    }
    return 1;
}

const char *record_type_name(enum record_type t)
{
    static const char *const names[] = {
        [RECORD_OPEN_SESSION] = "open session",
        [RECORD_CLOSE_SESSION] = "close session",
        [RECORD_EXPIRE_SESSION] = "expire session",
        [RECORD_DROP_SESSION] = "drop session",
        [RECORD_DECIDE] = "decide",
        [RECORD_ACKNOWLEDGE] = "acknowledge",
        [RECORD_END] = "end",
        [RECORD_HEURISTIC] = "heuristic",
        [RECORD_FORGET] = "forget",
        [RECORD_ADD_RESOURCE] = "add resource",
        [RECORD_REMOVE_RESOURCE] = "remove resource",
        [RECORD_ADD_NODE] = "add node",
        [RECORD_REMOVE_NODE] = "remove node",
        [RECORD_RESTORE] = "restore",
        [RECORD_DECLARE_RESOURCE] = "declare resource",
        [RECORD_ALTER_RESOURCE] = "alter resource",
        [RECORD_ADD_KEY] = "add key",
        [RECORD_REVOKE_KEY] = "revoke key",
    };

    if ((size_t)t >= sizeof names / sizeof names[0] || names[t] == NULL)
        return "unknown";
    return names[t];
}
