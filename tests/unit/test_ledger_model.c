/* Tests of ledger against a model of its rules: random histories, and a million transactions that must leave
 * nothing behind.
 *
 * The model says in arrays what the ledger says in tables, and takes away in one place, model_settle(),
 * whatever may go, instead of at each record. A failure prints the seed and the step.
 */
#include "tests/unit/ledger_kit.h"

enum { SESSIONS = 6, SEQUENCES = 4, BRANCHES = 3, KEYS = 3, STEPS = 400, SEEDS = 300 };

struct model_transaction {
    bool record, ended, acknowledged, presumed;
    enum verdict verdict;
    enum heuristic heuristic[BRANCHES + 1]; /* by branch number */
    bool has_branch[BRANCHES + 1];
};

struct model_session {
    enum { MODEL_NEVER, MODEL_OPEN, MODEL_CLOSED, MODEL_EXPIRED, MODEL_GONE } state;
    bool over;
    uint64_t nonce;
    uint8_t owner; /* number of a key; 0: nobody's */
    struct model_transaction t[SEQUENCES + 1];
};

/* Keys 1 and 2 have one name. */
struct model_key {
    bool known, revoked;
    unsigned roles;
};

struct model {
    struct model_session s[SESSIONS + 1];
    struct model_key k[KEYS + 1];
    uint64_t next, opened, key_changes; /* opened: by the last OPEN_SESSION */
};

static uint64_t random_state;

/* xorshift64*; below n. */
static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dull % n;
}

static enum heuristic model_worst(const struct model_transaction *t)
{
    enum heuristic worst = HEURISTIC_NONE;

    for (int b = 1; b <= BRANCHES; b++) {
        if (t->heuristic[b] != HEURISTIC_NONE && t->heuristic[b] != HEURISTIC_HAZARD)
            return HEURISTIC_COMMIT; /* or ROLLBACK: definite */
        if (t->heuristic[b] == HEURISTIC_HAZARD)
            worst = HEURISTIC_HAZARD;
    }
    return worst;
}

static bool model_forgotten(const struct model_session *s)
{
    return s->state == MODEL_GONE || s->over;
}

static void model_settle(struct model *m)
{
    for (int i = 1; i <= SESSIONS; i++) {
        struct model_session *s = &m->s[i];
        int records = 0;

        for (int q = 1; q <= SEQUENCES; q++) {
            struct model_transaction *t = &s->t[q];
            bool over = s->state == MODEL_CLOSED || s->state == MODEL_EXPIRED;

            if (t->record && t->ended && model_worst(t) == HEURISTIC_NONE &&
                (t->acknowledged || model_forgotten(s) || (over && t->verdict == VERDICT_ABORT)))
                *t = (struct model_transaction){.acknowledged = t->acknowledged};
            records += t->record;
        }
        if (records == 0 && (s->state == MODEL_CLOSED || s->over))
            *s = (struct model_session){.state = MODEL_GONE};
    }
}

/* Returns the session's number. */
static uint64_t model_open(struct model *m, uint64_t nonce, uint8_t owner)
{
    if (m->k[owner].revoked)
        return 0;
    for (uint64_t i = 1; i <= SESSIONS; i++) {
        if (m->s[i].state == MODEL_OPEN && m->s[i].nonce == nonce)
            return m->s[i].owner == 0 || m->s[i].owner == owner ? i : 0;
    }
    m->s[m->next] = (struct model_session){.state = MODEL_OPEN, .nonce = nonce, .owner = owner};
    return m->next++;
}

static const char *name_of(uint8_t key)
{
    return key == 3 ? "bank" : "shop";
}

static void model_add_key(struct model *m, uint8_t key, unsigned roles)
{
    bool fits = true;

    for (uint8_t i = 1; i <= KEYS; i++) {
        if (m->k[i].known && !m->k[i].revoked && strcmp(name_of(i), name_of(key)) == 0)
            fits = fits && m->k[i].roles == roles;
    }
    if (m->k[key].known || !fits)
        return;
    m->k[key] = (struct model_key){.known = true, .roles = roles};
    m->key_changes++;
}

static void model_revoke_key(struct model *m, uint8_t key)
{
    for (uint64_t i = 1; i <= SESSIONS; i++) {
        if (m->s[i].state == MODEL_OPEN && m->s[i].owner == key)
            m->s[i].state = MODEL_EXPIRED;
    }
    m->key_changes += !m->k[key].revoked;
    m->k[key].known = m->k[key].revoked = true;
}

/* Whoever asks. */
static enum verdict model_decide(struct model_session *s, struct model_transaction *t, enum verdict verdict,
                                 size_t n_branches)
{
    bool makes;

    if (t->record)
        return t->presumed ? VERDICT_NONE : t->verdict;
    if (s->state == MODEL_NEVER)
        return VERDICT_ABORT;
    if (t->acknowledged && !model_forgotten(s))
        return VERDICT_NONE;
    makes = s->state == MODEL_OPEN || (verdict == VERDICT_ABORT && n_branches > 0 && !model_forgotten(s));
    if (!makes)
        return model_forgotten(s) ? VERDICT_NONE : VERDICT_ABORT;
    *t = (struct model_transaction){.record = true, .verdict = verdict, .acknowledged = t->acknowledged};
    for (size_t b = 1; b <= n_branches; b++)
        t->has_branch[b] = true;
    return verdict;
}

static void model_heuristic(struct model_session *s, struct model_transaction *t, int branch,
                            enum heuristic kind)
{
    if (s->state == MODEL_NEVER)
        return;
    if (!t->record) {
        t->record = t->ended = true;
        t->verdict = VERDICT_ABORT;
        t->presumed = t->acknowledged || model_forgotten(s);
    }
    t->has_branch[branch] = true;
    if (t->heuristic[branch] == HEURISTIC_NONE || t->heuristic[branch] == HEURISTIC_HAZARD)
        t->heuristic[branch] = kind;
}

static void model_forget(struct model_session *s, struct model_transaction *t)
{
    bool all = true;

    if (model_worst(t) == HEURISTIC_NONE)
        return;
    for (int b = 1; b <= BRANCHES; b++) {
        all = all && (!t->has_branch[b] || t->heuristic[b] != HEURISTIC_NONE);
        t->heuristic[b] = HEURISTIC_NONE;
    }
    t->ended = t->ended || all;
    if (!model_forgotten(s) && s->state != MODEL_OPEN)
        t->acknowledged = true;
}

static void model_acknowledge(struct model_session *s, uint64_t from, uint64_t to)
{
    for (uint64_t q = from; q <= to; q++) {
        if (s->state != MODEL_NEVER && !model_forgotten(s))
            s->t[q].acknowledged = true;
    }
}

static enum standing model_standing(const struct model *m, uint64_t session, uint64_t sequence, bool branch)
{
    const struct model_session *s = &m->s[session];
    const struct model_transaction *t = &s->t[sequence];

    if (s->state == MODEL_NEVER)
        return STANDING_FOREIGN;
    if (t->record && (branch || !t->presumed))
        return t->verdict == VERDICT_COMMIT ? STANDING_COMMIT : STANDING_ABORT;
    if (model_forgotten(s) || t->acknowledged)
        return branch ? STANDING_ABORT : STANDING_FORGOTTEN;
    return s->state == MODEL_OPEN ? STANDING_OPEN : STANDING_ABORT;
}

/* A random record. */
struct draw {
    enum record_type type;
    uint64_t nonce, session, sequence, to;
    enum verdict verdict;
    enum origin origin;
    enum heuristic kind;
    uint16_t branch;
    size_t n_branches;
    uint8_t key; /* 0 where it opens a session: nobody's */
    unsigned roles;
};

static struct draw draw(void)
{
    static const enum record_type types[] = {
        RECORD_OPEN_SESSION, RECORD_OPEN_SESSION, RECORD_CLOSE_SESSION, RECORD_EXPIRE_SESSION,
        RECORD_DROP_SESSION, RECORD_DECIDE,       RECORD_DECIDE,        RECORD_DECIDE,
        RECORD_DECIDE,       RECORD_END,          RECORD_END,           RECORD_ACKNOWLEDGE,
        RECORD_HEURISTIC,    RECORD_HEURISTIC,    RECORD_FORGET,        RECORD_ADD_KEY,
    };
    struct draw d = {.type = types[random_below(sizeof types / sizeof types[0])]};

    if (random_below(100) == 0)
        d.type = RECORD_REVOKE_KEY; /* rarely: it is for good */
    d.nonce = 1 + random_below(4);
    d.session = 1 + random_below(SESSIONS);
    d.sequence = 1 + random_below(SEQUENCES);
    d.to = d.sequence + random_below(SEQUENCES + 1 - d.sequence);
    d.verdict = random_below(2) ? VERDICT_COMMIT : VERDICT_ABORT;
    d.origin = (enum origin)random_below(ORIGIN_OPERATOR + 1);
    d.kind = (enum heuristic)(1 + random_below(HEURISTIC_HAZARD));
    d.branch = (uint16_t)(1 + random_below(BRANCHES));
    d.n_branches = random_below(3);
    d.key = (uint8_t)(d.type == RECORD_OPEN_SESSION ? random_below(KEYS + 1) : 1 + random_below(KEYS));
    d.roles = random_below(4) ? ROLE_CLIENT : ROLE_AGENT;
    return d;
}

static void tell_ledger(struct kit *k, const struct draw *d)
{
    switch (d->type) {
    case RECORD_OPEN_SESSION:
        kit_open_as(k, d->nonce, d->key);
        break;
    case RECORD_ADD_KEY:
        kit_key(k, d->key, name_of(d->key), d->roles, "");
        break;
    case RECORD_REVOKE_KEY:
        kit_key(k, d->key, name_of(d->key), 0, NULL);
        break;
    case RECORD_DECIDE:
        kit_decide(k, d->session, d->sequence, d->verdict, d->origin, d->n_branches);
        break;
    case RECORD_ACKNOWLEDGE:
        kit_acknowledge(k, d->session, d->sequence, d->to);
        break;
    case RECORD_HEURISTIC:
        kit_heuristic(k, d->session, d->sequence, d->branch, d->kind);
        break;
    default:
        kit_do(k, d->type, d->session, d->sequence);
    }
}

/* Returns what a DECIDE is to be answered. */
static enum verdict tell_model(struct model *m, const struct draw *d)
{
    struct model_session *s = &m->s[d->session];
    struct model_transaction *t = &s->t[d->sequence];
    enum verdict stands = VERDICT_NONE;

    if (d->type == RECORD_OPEN_SESSION)
        m->opened = model_open(m, d->nonce, d->key);
    else if (d->type == RECORD_ADD_KEY)
        model_add_key(m, d->key, d->roles);
    else if (d->type == RECORD_REVOKE_KEY)
        model_revoke_key(m, d->key);
    else if (d->type == RECORD_CLOSE_SESSION && s->state == MODEL_OPEN)
        s->state = MODEL_CLOSED;
    else if (d->type == RECORD_EXPIRE_SESSION && s->state == MODEL_OPEN)
        s->state = MODEL_EXPIRED;
    else if (d->type == RECORD_DROP_SESSION)
        s->over = s->over || s->state == MODEL_CLOSED || s->state == MODEL_EXPIRED;
    else if (d->type == RECORD_DECIDE)
        stands = model_decide(s, t, d->verdict, d->n_branches);
    else if (d->type == RECORD_END)
        t->ended = t->ended || t->record;
    else if (d->type == RECORD_ACKNOWLEDGE)
        model_acknowledge(s, d->sequence, d->to);
    else if (d->type == RECORD_HEURISTIC)
        model_heuristic(s, t, d->branch, d->kind);
    else if (d->type == RECORD_FORGET)
        model_forget(s, t);
    model_settle(m);
    return stands;
}

static void compare_transaction(const struct model *m, const struct kit *k, uint64_t session, uint64_t sequence)
{
    const struct model_transaction *t = &m->s[session].t[sequence];
    const struct decision *d = ledger_decision(k->l, session, sequence);
    const struct txid id = {GROUP, session, sequence, m->s[session].nonce};

    assert_int_equal(ledger_branch_standing(k->l, &id), model_standing(m, session, sequence, true));
    assert_int_equal(ledger_outcome(k->l, &id), model_standing(m, session, sequence, false));
    assert_int_equal(d != NULL, t->record);
    if (d == NULL)
        return;
    assert_int_equal(d->ended, t->ended);
    assert_int_equal(d->verdict, t->verdict);
    assert_int_equal(d->heuristic == HEURISTIC_NONE, model_worst(t) == HEURISTIC_NONE);
    assert_int_equal(d->heuristic == HEURISTIC_HAZARD, model_worst(t) == HEURISTIC_HAZARD);
}

static void compare_keys(const struct model *m, const struct kit *k)
{
    size_t n = 0;

    for (uint8_t i = 1; i <= KEYS; i++) {
        const struct ledger_key *key = kit_known(k, i);

        assert_int_equal(key != NULL, m->k[i].known);
        if (key == NULL)
            continue;
        assert_int_equal(key->revoked, m->k[i].revoked);
        assert_int_equal(key->roles, m->k[i].roles);
        n++;
    }
    assert_int_equal(kit_counts(k).keys, n);
}

static void compare(const struct model *m, const struct kit *k)
{
    struct ledger_counts counts = kit_counts(k);
    size_t open = 0, decisions = 0, heuristic = 0;

    for (uint64_t session = 1; session <= SESSIONS; session++) {
        size_t before = decisions;

        for (uint64_t sequence = 1; sequence <= SEQUENCES; sequence++) {
            compare_transaction(m, k, session, sequence);
            decisions += m->s[session].t[sequence].record;
            heuristic += model_worst(&m->s[session].t[sequence]) != HEURISTIC_NONE;
        }
        open += m->s[session].state == MODEL_OPEN;
        if (ledger_session(k->l, session) == NULL)
            assert_int_equal(decisions, before);
        else
            assert_int_equal(ledger_session(k->l, session)->n_decisions, decisions - before);
    }
    assert_int_equal(counts.open_sessions, open);
    assert_int_equal(counts.decisions, decisions);
    assert_int_equal(counts.heuristic, heuristic);
    assert_int_equal(counts.next_session, m->next);
    compare_keys(m, k);
}

static struct {
    uint64_t seed;
    int step;
} at;

/* One ledger goes through snapshots on the way, the other does not: nobody can tell them apart. */
static void run_history(struct model *m, struct kit *k, struct kit *other)
{
    for (at.step = 0; at.step < STEPS; at.step++) {
        uint64_t version = ledger_keys_version(k->l), changes = m->key_changes;
        struct draw d = draw();
        enum verdict stands;

        if (d.type == RECORD_OPEN_SESSION && m->next > SESSIONS)
            continue;
        tell_ledger(k, &d);
        tell_ledger(other, &d);
        stands = tell_model(m, &d);
        if (d.type == RECORD_DECIDE)
            assert_int_equal(k->result.verdict, stands);
        if (d.type == RECORD_OPEN_SESSION)
            assert_int_equal(k->result.session, m->opened);
        assert_int_equal(ledger_keys_version(k->l) != version, m->key_changes != changes);
        compare(m, k);
        if (random_below(20) == 0) {
            kit_restore(k);
            kit_assert_same(k->l, other->l);
        }
    }
}

static void test_random_histories(void **state)
{
    (void)state;
    for (at.seed = 1; at.seed <= SEEDS; at.seed++) {
        struct model m = {.next = 1};
        struct kit k, other;

        random_state = at.seed * 0x9e3779b97f4a7c15ull;
        kit_init(&k);
        kit_init(&other);
        run_history(&m, &k, &other);
        kit_release(&k);
        kit_release(&other);
    }
}

static int print_where(void **state)
{
    (void)state;
    if (at.seed <= SEEDS)
        print_message("failed at seed %d, step %d\n", (int)at.seed, at.step);
    return 0;
}

/* Size */

static size_t snapshot_size(const struct ledger *l)
{
    struct buf b;
    size_t n;

    buf_init(&b);
    ledger_snapshot(l, &b);
    n = b.len;
    buf_release(&b);
    return n;
}

/* Decides `n` transactions, then ends and acknowledges each in one of several orders. */
static void run_window(struct kit *k, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        kit_decide(k, 1, first + i, i % 5 == 0 ? VERDICT_ABORT : VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    switch (random_below(3)) {
    case 0:
        for (uint64_t i = n; i > 0; i--)
            kit_do(k, RECORD_END, 1, first + i - 1);
        kit_acknowledge(k, 1, first, first + n - 1);
        break;
    case 1:
        kit_acknowledge(k, 1, first, first + n - 1);
        for (uint64_t i = 0; i < n; i++)
            kit_do(k, RECORD_END, 1, first + i);
        break;
    default:
        for (uint64_t i = 0; i < n; i += 2)
            kit_acknowledge(k, 1, first + i, first + i);
        for (uint64_t i = 0; i < n; i++)
            kit_do(k, RECORD_END, 1, first + (i * 7 + 3) % n);
        for (uint64_t i = n; i > 0; i--)
            kit_acknowledge(k, 1, first + i - 1, first + i - 1);
        break;
    }
}

static void test_a_million_transactions(void **state)
{
    enum { WINDOW = 100, WINDOWS = 10000 };
    struct kit k;
    size_t size = 0;

    (void)state;
    random_state = 1;
    kit_init(&k);
    kit_open(&k, 1);
    for (uint64_t i = 0; i < WINDOWS; i++) {
        run_window(&k, 1 + i * WINDOW, WINDOW);
        if (i == 0)
            size = snapshot_size(k.l);
    }
    assert_int_equal(kit_counts(&k).decisions, 0);
    assert_int_equal(ledger_session(k.l, 1)->acknowledged->n, 1);
    assert_int_equal(ledger_session(k.l, 1)->acknowledged->items[0].to, WINDOW * WINDOWS);
    assert_int_equal(snapshot_size(k.l), size);
    kit_do(&k, RECORD_CLOSE_SESSION, 1, 0);
    assert_int_equal(kit_counts(&k).sessions, 0);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_random_histories, print_where),
        cmocka_unit_test(test_a_million_transactions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
