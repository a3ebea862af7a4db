/* ledger_snapshot: the ledger as bytes and back; two functions of ledger.h.
 *
 * Magic, version, group, next session; then, each with its count in front and in the order of its table, the
 * sessions, the decisions, the resources, the nodes, and which sessions are lost; the keys' version and the
 * keys. What follows from the rest is left out and worked out again (acknowledged, the worst heuristic outcome,
 * counts), so that no bytes can say two things. Version 2 knew no keys and no owners of sessions; version 1 had
 * of a resource only its name, its kind and when it was added. Both are read, too.
 * Everything read is checked: a snapshot comes from the disk or from another node.
 */
#include "coordinator/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/ledger_table.h"

/* Far more sessions than can have been opened since a backup, and changes of the keys. */
#define RESTORE_GAP (1ULL << 32)
/* No group comes to have so many sessions, whatever it was restored from and how often. */
#define RESTORE_LIMIT (1ULL << 62)
/* Nor to so many, whatever happens after that. */
#define NUMBER_LIMIT (1ULL << 63)

/* And far more than can be opened in a millisecond. (So a number fits a double, as in JSON, until 2039.) */
enum { RESTORE_PER_MS_BITS = 12 };

enum { SNAPSHOT_MAGIC = 0x4c415841 /* "AXAL" */, SNAPSHOT_VERSION = 3 };

/* Writing */

static void put_ranges(struct buf *b, const struct ranges *r)
{
    buf_put_u64(b, r->n);
    for (size_t i = 0; i < r->n; i++) {
        buf_put_u64(b, r->items[i].from);
        buf_put_u64(b, r->items[i].to);
    }
}

static void put_session(struct buf *b, const struct session_entry *s)
{
    buf_put_u64(b, s->s.id);
    buf_put_u64(b, s->s.nonce);
    buf_put_u8(b, (uint8_t)s->s.state);
    buf_put_u8(b, s->s.retention_over);
    buf_put_u8(b, s->gone);
    buf_put_u32(b, s->s.session_timeout_ms);
    buf_put_u32(b, s->s.transaction_timeout_ms);
    buf_put_u64(b, s->s.opened_ms);
    buf_put_u64(b, s->s.ended_ms);
    buf_put_str(b, s->s.name);
    buf_put_bytes(b, s->s.owner, KEY_SIZE);
    put_ranges(b, &s->acknowledged);
}

static void put_branch(struct buf *b, const struct decision_branch *branch)
{
    buf_put_u16(b, branch->number);
    buf_put_u8(b, branch->kind);
    buf_put_u8(b, branch->heuristic);
    buf_put_str(b, branch->resource);
    buf_put_str(b, branch->proof);
    buf_put_str(b, branch->heuristic_text);
}

static void put_decision(struct buf *b, const struct decision_entry *e)
{
    buf_put_u64(b, e->d.id.session);
    buf_put_u64(b, e->d.id.sequence);
    buf_put_u8(b, (uint8_t)e->d.verdict);
    buf_put_u8(b, (uint8_t)e->d.origin);
    buf_put_u8(b, e->d.agents_finish);
    buf_put_u8(b, e->d.ended);
    buf_put_u8(b, e->presumed);
    buf_put_u64(b, e->d.at_ms);
    buf_put_u64(b, e->d.index);
    buf_put_str(b, e->d.reason);
    buf_put_u8(b, (uint8_t)e->d.n_branches);
    for (size_t i = 0; i < e->d.n_branches; i++)
        put_branch(b, &e->d.branches[i]);
}

static void put_resource(struct buf *b, const struct resource_entry *r)
{
    buf_put_str(b, r->r.name);
    buf_put_str(b, r->r.kind);
    buf_put_u64(b, r->r.added_ms);
    buf_put_str(b, r->r.settings);
    buf_put_u8(b, r->r.declared);
    buf_put_u64(b, r->r.altered_ms);
}

static void put_node(struct buf *b, const struct node_entry *n)
{
    buf_put_u64(b, n->n.id);
    buf_put_str(b, n->n.address);
}

static void put_key(struct buf *b, const struct known_key *e)
{
    buf_put_bytes(b, e->k.key, KEY_SIZE);
    buf_put_str(b, e->k.name);
    buf_put_str(b, e->k.grant);
    buf_put_u8(b, (uint8_t)e->k.roles);
    buf_put_u8(b, e->k.revoked);
    buf_put_u64(b, e->k.added_ms);
    buf_put_u64(b, e->k.revoked_ms);
}

void ledger_snapshot(const struct ledger *l, struct buf *out)
{
    buf_put_u32(out, SNAPSHOT_MAGIC);
    buf_put_u32(out, SNAPSHOT_VERSION);
    buf_put_u64(out, l->group);
    buf_put_u64(out, l->next_session);
    buf_put_u64(out, HASH_CNT(hh, l->sessions));
    for (const struct session_entry *s = l->sessions; s != NULL; s = s->hh.next)
        put_session(out, s);
    buf_put_u64(out, HASH_CNT(hh, l->decisions));
    for (const struct decision_entry *e = l->decisions; e != NULL; e = e->hh.next)
        put_decision(out, e);
    buf_put_u64(out, HASH_CNT(hh, l->resources));
    for (const struct resource_entry *r = l->resources; r != NULL; r = r->hh.next)
        put_resource(out, r);
    buf_put_u64(out, HASH_CNT(hh, l->nodes));
    for (const struct node_entry *n = l->nodes; n != NULL; n = n->hh.next)
        put_node(out, n);
    put_ranges(out, &l->lost);
    buf_put_u64(out, l->keys_version);
    buf_put_u64(out, HASH_COUNT(l->keys));
    for (const struct known_key *e = l->keys; e != NULL; e = e->hh.next)
        put_key(out, e);
}

/* Reading: each returns TX_ECORRUPT or TX_ENOMEM */

static bool get_flag(struct cur *c)
{
    uint8_t v = cur_u8(c);

    if (v > 1)
        c->bad = true;
    return v == 1;
}

/* Sorted, and never touching. */
static int get_ranges(struct ranges *r, struct cur *c)
{
    uint64_t n = cur_u64(c);

    for (uint64_t i = 0, last = 0; i < n; i++) {
        uint64_t from = cur_u64(c), to = cur_u64(c);

        if (c->bad || from > to || (i > 0 && (from <= last || from - last == 1)))
            return TX_ECORRUPT;
        if (!ranges_add(r, from, to))
            return TX_ENOMEM;
        last = to;
    }
    return c->bad ? TX_ECORRUPT : 0;
}

static bool session_plausible(const struct ledger *l, const struct session *s, bool gone)
{
    if (s->id == 0 || s->id >= l->next_session || s->state > SESSION_EXPIRED ||
        ledger_find_session(l, s->id) != NULL)
        return false;
    if (s->state == SESSION_OPEN)
        return !s->retention_over && ledger_find_open(l, s->nonce) == NULL && !gone;
    return !gone || (s->state == SESSION_CLOSED && s->retention_over);
}

static void get_key_bytes(struct cur *c, uint8_t key[KEY_SIZE])
{
    const uint8_t *bytes = cur_bytes(c, KEY_SIZE);

    if (bytes != NULL)
        memcpy(key, bytes, KEY_SIZE);
}

static int get_session(struct ledger *l, struct cur *c, uint32_t version)
{
    struct session_entry *e;
    struct session s = {.id = cur_u64(c)};
    bool gone;

    s.nonce = cur_u64(c);
    s.state = (enum session_state)cur_u8(c);
    s.retention_over = get_flag(c);
    gone = get_flag(c);
    s.session_timeout_ms = cur_u32(c);
    s.transaction_timeout_ms = cur_u32(c);
    s.opened_ms = cur_u64(c);
    s.ended_ms = cur_u64(c);
    s.name = cur_str_required(c, NAME_LIMIT);
    if (version >= 3)
        get_key_bytes(c, s.owner);
    if (c->bad || !session_plausible(l, &s, gone))
        return TX_ECORRUPT;
    e = ledger_add_session(l, &s, gone);
    return e == NULL ? TX_ENOMEM : get_ranges(&e->acknowledged, c);
}

static bool get_branch(struct cur *c, struct decision_branch *branch)
{
    branch->number = cur_u16(c);
    branch->kind = cur_u8(c);
    branch->heuristic = cur_u8(c);
    branch->resource = cur_str_required(c, NAME_LIMIT);
    branch->proof = cur_str(c, PROOF_LIMIT);
    branch->heuristic_text = cur_str(c, TEXT_LIMIT);
    return !c->bad && branch->kind <= BRANCH_REMOTE && branch->heuristic <= HEURISTIC_HAZARD &&
           (branch->heuristic != HEURISTIC_NONE || branch->heuristic_text == NULL);
}

static bool get_branches(struct cur *c, struct decision *d, struct decision_branch branches[BRANCH_LIMIT])
{
    d->n_branches = cur_u8(c);
    d->branches = branches;
    if (d->n_branches > BRANCH_LIMIT)
        return false;
    for (size_t i = 0; i < d->n_branches; i++) {
        if (!get_branch(c, &branches[i]))
            return false;
    }
    return !c->bad;
}

static int get_decision(struct ledger *l, struct cur *c, uint32_t version)
{
    struct decision_branch branches[BRANCH_LIMIT];
    struct session_entry *s = ledger_find_session(l, cur_u64(c));
    struct decision d = {.id = {.sequence = cur_u64(c)}};
    bool presumed;

    (void)version;
    d.verdict = (enum verdict)cur_u8(c);
    d.origin = (enum origin)cur_u8(c);
    d.agents_finish = get_flag(c);
    d.ended = get_flag(c);
    presumed = get_flag(c);
    d.at_ms = cur_u64(c);
    d.index = cur_u64(c);
    d.reason = cur_str(c, TEXT_LIMIT);
    if (!get_branches(c, &d, branches) || s == NULL || ledger_find_decision(l, s->s.id, d.id.sequence) != NULL)
        return TX_ECORRUPT;
    if ((d.verdict != VERDICT_COMMIT && d.verdict != VERDICT_ABORT) || d.origin > ORIGIN_OPERATOR ||
        (presumed && (d.verdict != VERDICT_ABORT || !d.ended)))
        return TX_ECORRUPT;
    return ledger_add_decision(l, s, &d, presumed) == NULL ? TX_ENOMEM : 0;
}

static int get_resource(struct ledger *l, struct cur *c, uint32_t version)
{
    struct ledger_resource r = {.settings = ""};

    r.name = cur_str_required(c, NAME_LIMIT);
    r.kind = cur_str_required(c, NAME_LIMIT);
    r.added_ms = cur_u64(c);
    if (version >= 2) {
        r.settings = cur_str_required(c, SETTINGS_LIMIT);
        r.declared = get_flag(c);
        r.altered_ms = cur_u64(c);
    }
    if (c->bad || ledger_find_resource(l, r.name) != NULL)
        return TX_ECORRUPT;
    return ledger_put_resource(l, &r) == NULL ? TX_ENOMEM : 0;
}

static int get_node(struct ledger *l, struct cur *c, uint32_t version)
{
    struct ledger_node n = {.id = cur_u64(c)};

    (void)version;
    n.address = cur_str_required(c, ADDRESS_LIMIT);
    if (c->bad || n.id == 0 || *n.address == '\0' || ledger_find_node(l, n.id) != NULL ||
        HASH_COUNT(l->nodes) >= NODE_LIMIT)
        return TX_ECORRUPT;
    return ledger_put_node(l, &n) == NULL ? TX_ENOMEM : 0;
}

static bool key_plausible(const struct ledger *l, const struct ledger_key *k)
{
    static const uint8_t nobody[KEY_SIZE];

    return memcmp(k->key, nobody, KEY_SIZE) != 0 && ledger_find_key(l, k->key) == NULL && *k->name != '\0' &&
           k->roles <= ROLES_ALL && (k->roles != 0 || k->revoked) && HASH_COUNT(l->keys) < KEY_LIMIT;
}

static int get_key(struct ledger *l, struct cur *c, uint32_t version)
{
    struct ledger_key k = {0};

    (void)version;
    get_key_bytes(c, k.key);
    k.name = cur_str_required(c, NAME_LIMIT);
    k.grant = cur_str_required(c, KEY_GRANT_LIMIT);
    k.roles = cur_u8(c);
    k.revoked = get_flag(c);
    k.added_ms = cur_u64(c);
    k.revoked_ms = cur_u64(c);
    if (c->bad || !key_plausible(l, &k))
        return TX_ECORRUPT;
    return ledger_put_key(l, &k) == NULL ? TX_ENOMEM : 0;
}

/* A count may lie: the items end where the input does. */
static int get_table(struct ledger *l, struct cur *c, uint32_t version,
                     int (*get)(struct ledger *, struct cur *, uint32_t))
{
    uint64_t n = cur_u64(c);
    int rc = c->bad ? TX_ECORRUPT : 0;

    for (uint64_t i = 0; i < n && rc == 0; i++)
        rc = get(l, c, version);
    return rc;
}

static int get_keys(struct ledger *l, struct cur *c, uint32_t version)
{
    l->keys_version = cur_u64(c);
    if (l->keys_version == 0 || l->keys_version >= NUMBER_LIMIT)
        return TX_ECORRUPT;
    return get_table(l, c, version, get_key);
}

static bool owner_revoked(const struct ledger *l, const struct session *s)
{
    const struct ledger_key *k = ledger_key(l, s->owner);

    return k != NULL && k->revoked;
}

/* What goes by the rules is never left standing. */
static bool settled(const struct ledger *l)
{
    for (const struct decision_entry *e = l->decisions; e != NULL; e = e->hh.next) {
        if (ledger_decision_may_go(e))
            return false;
    }
    for (const struct session_entry *s = l->sessions; s != NULL; s = s->hh.next) {
        if (ledger_session_may_go(s) || (s->s.state == SESSION_OPEN && owner_revoked(l, &s->s)))
            return false;
    }
    return true;
}

static int get_ledger(struct ledger *l, struct cur *c, uint32_t version)
{
    int rc;

    l->next_session = cur_u64(c);
    if (c->bad || l->next_session == 0 || l->next_session >= NUMBER_LIMIT)
        return TX_ECORRUPT;
    rc = get_table(l, c, version, get_session);
    if (rc == 0)
        rc = get_table(l, c, version, get_decision);
    if (rc == 0)
        rc = get_table(l, c, version, get_resource);
    if (rc == 0)
        rc = get_table(l, c, version, get_node);
    if (rc == 0)
        rc = get_ranges(&l->lost, c);
    if (rc == 0 && version >= 3)
        rc = get_keys(l, c, version);
    return rc == 0 && (!cur_done(c) || !settled(l)) ? TX_ECORRUPT : rc;
}

/* Whose snapshot it is, and whether this program can read it. */
static int get_header(const struct ledger *l, struct cur *c, uint32_t *out, struct tx_error *e)
{
    uint32_t magic = cur_u32(c), version = cur_u32(c);
    uint64_t group = cur_u64(c);

    if (c->bad || magic != SNAPSHOT_MAGIC || version == 0)
        return err_set(e, TX_ECORRUPT, "not a snapshot of a ledger");
    if (version > SNAPSHOT_VERSION)
        return err_set(
            e, TX_EPROTO,
            "snapshot of the ledger has version %u and this program knows up to %d: upgrade this node",
            (unsigned)version, SNAPSHOT_VERSION);
    if (group != l->group)
        return err_set(e, TX_ECORRUPT, "snapshot of the ledger of another group (%016llx, not %016llx)",
                       (unsigned long long)group, (unsigned long long)l->group);
    *out = version;
    return 0;
}

int ledger_restore(struct ledger *l, const void *data, size_t len, struct tx_error *e)
{
    struct ledger *fresh = NULL;
    struct ledger old;
    struct cur c;
    uint32_t version = 0;
    int rc;

    cur_init(&c, data, len);
    rc = get_header(l, &c, &version, e);
    if (rc != 0)
        return rc;
    fresh = ledger_new(l->group);
    rc = fresh == NULL ? TX_ENOMEM : get_ledger(fresh, &c, version);
    if (rc != 0) {
        err_set(e, rc, "snapshot of the ledger: %s", tx_strerror(rc));
        goto out;
    }
    old = *l;
    *l = *fresh;
    *fresh = old;
out:
    ledger_free(fresh);
    return rc;
}

/* Restoring a backup */

bool ledger_may_begin(const struct ledger *l)
{
    return l->next_session < RESTORE_LIMIT && l->keys_version < RESTORE_LIMIT;
}

/* The first number given out behind a restore, where the backup's next one was `next`. It goes by the time of
 * the restore, as the same backup may have been restored before: then numbers were given out behind that gap,
 * too, and their log is lost as well. 0: there are no numbers left. */
static uint64_t behind_restore(uint64_t next, uint64_t at_ms)
{
    uint64_t behind_gap = next + RESTORE_GAP, by_time = at_ms << RESTORE_PER_MS_BITS;

    if (behind_gap < next)
        return 0;
    return by_time >> RESTORE_PER_MS_BITS == at_ms && by_time > behind_gap ? by_time : behind_gap;
}

/* Sessions that were open when the backup was made lived on; so did sessions opened later, whose numbers are in
 * the gap. What stands of them in the log that is lost is not known here, and may have been COMMIT. */
static int lose_later_sessions(struct ledger *l, uint64_t at_ms)
{
    uint64_t first = behind_restore(l->next_session, at_ms);
    struct session_entry *s, *next;

    if (first == 0)
        return TX_ECORRUPT;
    HASH_ITER(hh, l->sessions, s, next)
    {
        if (s->s.state != SESSION_OPEN)
            continue;
        ledger_end_session(l, s, SESSION_EXPIRED, at_ms);
        if (!ranges_add(&l->lost, s->s.id, s->s.id))
            return TX_ENOMEM;
    }
    if (!ranges_add(&l->lost, l->next_session, first - 1))
        return TX_ENOMEM;
    l->next_session = first;
    l->keys_version = behind_restore(l->keys_version, at_ms);
    return 0;
}

static int adopt_nodes(struct ledger *to, const struct ledger *from)
{
    struct node_entry *n, *next;

    HASH_ITER(hh, to->nodes, n, next)
    {
        ledger_remove_node(to, n);
    }
    for (n = from->nodes; n != NULL; n = n->hh.next) {
        if (ledger_put_node(to, &n->n) == NULL)
            return TX_ENOMEM;
    }
    return 0;
}

int ledger_adopt(struct ledger *l, const void *data, size_t len, uint64_t at_ms)
{
    struct ledger *fresh = ledger_new(l->group);
    struct ledger old;
    int rc = fresh == NULL ? TX_ENOMEM : ledger_restore(fresh, data, len, NULL);

    if (rc == 0 && !ledger_may_begin(fresh))
        rc = TX_ECORRUPT;
    if (rc == 0)
        rc = lose_later_sessions(fresh, at_ms);
    if (rc == 0)
        rc = adopt_nodes(fresh, l);
    if (rc == 0) {
        old = *l;
        *l = *fresh;
        *fresh = old;
        /* The caller still reads what has come in, and releases it. */
        l->incoming = old.incoming;
        buf_init(&fresh->incoming);
    }
    ledger_free(fresh);
    return rc;
}
