/* Tests of ledger's snapshot: it survives every kind of damage, and of running out of memory at every
 * allocation. */
#include "tests/unit/ledger_kit.h"

/* Memory that runs out */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1

/* glibc's own, behind the functions that this program replaces. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static long allocations_left = -1; /* negative: no limit */

static bool allocation_fails(void)
{
    if (allocations_left > 0)
        allocations_left--;
    return allocations_left == 0;
}

void *malloc(size_t size)
{
    return allocation_fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return allocation_fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return allocation_fails() ? NULL : __libc_realloc(p, size);
}
#endif

/* Snapshots */

/* Something of everything. */
static void fill(struct kit *k)
{
    kit_init(k);
    for (uint64_t nonce = 1; nonce <= 5; nonce++)
        kit_open(k, nonce);
    kit_resource(k, RECORD_ADD_RESOURCE, "bank_a", "postgresql");
    kit_resource(k, RECORD_ADD_RESOURCE, "bank_b", "mariadb");
    kit_declare(k, "bank_d", "postgresql", "host=d");
    kit_node(k, RECORD_ADD_NODE, 1, "tcp://10.0.0.1:7401");
    kit_node(k, RECORD_ADD_NODE, 2, "tcp://10.0.0.2:7401");
    for (uint64_t session = 1; session <= 4; session++) {
        kit_decide(k, session, 3, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
        kit_decide(k, session, 1, VERDICT_ABORT, ORIGIN_COORDINATOR, 1);
        kit_acknowledge(k, session, 5, 6);
        kit_acknowledge(k, session, 3, 3);
    }
    kit_do(k, RECORD_END, 1, 1);
    kit_heuristic(k, 1, 3, 1, HEURISTIC_HAZARD);
    kit_heuristic(k, 4, 5, 7, HEURISTIC_COMMIT); /* presumed */
    kit_do(k, RECORD_EXPIRE_SESSION, 2, 0);
    kit_do(k, RECORD_CLOSE_SESSION, 3, 0);
    kit_do(k, RECORD_DROP_SESSION, 3, 0);
    kit_do(k, RECORD_CLOSE_SESSION, 5, 0);
    kit_heuristic(k, 5, 1, 1, HEURISTIC_ROLLBACK); /* of a session that is gone */
    kit_key(k, 1, "shop", ROLE_CLIENT | ROLE_OPERATOR, "");
    kit_key(k, 2, "bank_a", ROLE_AGENT, "bank_a,bank_b");
    kit_key(k, 2, "bank_a", 0, NULL);
    kit_key(k, 3, "stranger", 0, NULL); /* revoked before it was ever added */
}

static void take(const struct ledger *l, struct buf *out)
{
    buf_init(out);
    ledger_snapshot(l, out);
    assert_false(out->failed);
}

static void test_restore_replaces(void **state)
{
    struct kit full, k;
    struct buf snapshot;

    (void)state;
    fill(&full);
    take(full.l, &snapshot);
    kit_init(&k);
    for (uint64_t nonce = 1; nonce < 20; nonce++)
        kit_open(&k, nonce);
    assert_int_equal(ledger_restore(k.l, snapshot.data, snapshot.len, NULL), 0);
    kit_assert_same(k.l, full.l);
    assert_int_equal(kit_counts(&k).sessions, 5);
    assert_int_equal(kit_counts(&k).open_sessions, 2);
    assert_int_equal(kit_counts(&k).heuristic, 3);
    assert_int_equal(kit_counts(&k).keys, 3);
    assert_int_equal(kit_open(&k, 1), 1);
    assert_int_equal(kit_open(&k, 2), 6);
    buf_release(&snapshot);
    kit_release(&k);
    kit_release(&full);
}

/* Restores damaged bytes. Refused: nothing has changed. Taken: the ledger is a sound one, whatever it says. */
static void assert_survives(const void *data, size_t len)
{
    uint8_t *exact = malloc(len == 0 ? 1 : len); /* an overrun is seen by the sanitizer */
    struct tx_error e = {0};
    struct kit k, empty;
    int rc;

    kit_init(&k);
    kit_init(&empty);
    memcpy(exact, data, len);
    rc = ledger_restore(k.l, exact, len, &e);
    free(exact);
    assert_true(rc == 0 || rc == TX_ECORRUPT || rc == TX_EPROTO);
    assert_int_equal(e.code, rc);
    if (rc != 0)
        kit_assert_same(k.l, empty.l);
    else
        kit_restore(&k);
    for (uint64_t session = 0; session < 4; session++) {
        kit_do(&k, RECORD_EXPIRE_SESSION, session, 0);
        kit_acknowledge(&k, session, 1, UINT64_MAX);
        kit_do(&k, RECORD_END, session, 3);
    }
    kit_release(&k);
    kit_release(&empty);
}

static void test_every_truncation(void **state)
{
    struct kit k, other;
    struct buf snapshot;

    (void)state;
    fill(&k);
    take(k.l, &snapshot);
    kit_init(&other);
    for (size_t len = 0; len < snapshot.len; len++) {
        assert_int_not_equal(ledger_restore(other.l, snapshot.data, len, NULL), 0);
        assert_survives(snapshot.data, len);
    }
    buf_put_u8(&snapshot, 0);
    assert_int_equal(ledger_restore(other.l, snapshot.data, snapshot.len, NULL), TX_ECORRUPT);
    buf_release(&snapshot);
    kit_release(&k);
    kit_release(&other);
}

static void test_every_byte_flipped(void **state)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x04, 0x80, 0xff};
    struct kit k;
    struct buf snapshot;

    (void)state;
    fill(&k);
    take(k.l, &snapshot);
    for (size_t at = 0; at < snapshot.len; at++) {
        for (size_t i = 0; i < sizeof flips; i++) {
            snapshot.data[at] ^= flips[i];
            assert_survives(snapshot.data, snapshot.len);
            snapshot.data[at] ^= flips[i];
        }
    }
    buf_release(&snapshot);
    kit_release(&k);
}

static void test_header(void **state)
{
    struct ledger *other = ledger_new(GROUP + 1);
    struct tx_error e;
    struct buf snapshot;
    struct kit k;

    (void)state;
    fill(&k);
    take(k.l, &snapshot);
    assert_int_equal(ledger_restore(other, snapshot.data, snapshot.len, &e), TX_ECORRUPT);
    assert_non_null(strstr(e.msg, "another group"));
    snapshot.data[4]++;
    assert_int_equal(ledger_restore(k.l, snapshot.data, snapshot.len, &e), TX_EPROTO);
    assert_non_null(strstr(e.msg, "upgrade"));
    snapshot.data[4] = 0;
    assert_int_equal(ledger_restore(k.l, snapshot.data, snapshot.len, &e), TX_ECORRUPT);
    buf_release(&snapshot);
    kit_release(&k);
    ledger_free(other);
}

/* Every field that has rules, set against them. The parts before it are written as ledger_snapshot.c says. */
struct session_bytes {
    uint64_t id, nonce;
    uint8_t state, over, gone;
    uint64_t n, from1, to1, from2, to2;
    uint8_t owner;
};

static void put_key_bytes(struct buf *b, uint8_t number)
{
    const uint8_t key[KEY_SIZE] = {number};

    buf_put_bytes(b, key, KEY_SIZE);
}

static void put_session(struct buf *b, const struct session_bytes *s, uint8_t version)
{
    buf_put_u64(b, s->id);
    buf_put_u64(b, s->nonce);
    buf_put_u8(b, s->state);
    buf_put_u8(b, s->over);
    buf_put_u8(b, s->gone);
    buf_put_u32(b, 1);
    buf_put_u32(b, 1);
    buf_put_u64(b, 1);
    buf_put_u64(b, 1);
    buf_put_str(b, "a");
    if (version >= 3)
        put_key_bytes(b, s->owner);
    buf_put_u64(b, s->n);
    if (s->n > 0) {
        buf_put_u64(b, s->from1);
        buf_put_u64(b, s->to1);
    }
    if (s->n > 1) {
        buf_put_u64(b, s->from2);
        buf_put_u64(b, s->to2);
    }
}

struct decision_bytes {
    uint64_t session, sequence;
    uint8_t verdict, origin, agents_finish, ended, presumed, n_branches, branch_kind, heuristic;
    const char *resource, *text;
};

static void put_decision(struct buf *b, const struct decision_bytes *d)
{
    buf_put_u64(b, d->session);
    buf_put_u64(b, d->sequence);
    buf_put_u8(b, d->verdict);
    buf_put_u8(b, d->origin);
    buf_put_u8(b, d->agents_finish);
    buf_put_u8(b, d->ended);
    buf_put_u8(b, d->presumed);
    buf_put_u64(b, 1);
    buf_put_u64(b, 1);
    buf_put_str(b, NULL);
    buf_put_u8(b, d->n_branches);
    for (int i = 0; i < d->n_branches; i++) {
        buf_put_u16(b, 1);
        buf_put_u8(b, d->branch_kind);
        buf_put_u8(b, d->heuristic);
        buf_put_str(b, d->resource);
        buf_put_str(b, NULL);
        buf_put_str(b, d->text);
    }
}

struct key_bytes {
    uint8_t key, roles, revoked;
    const char *name, *grant;
};

static void put_key(struct buf *b, const struct key_bytes *k)
{
    put_key_bytes(b, k->key);
    buf_put_str(b, k->name);
    buf_put_str(b, k->grant);
    buf_put_u8(b, k->roles);
    buf_put_u8(b, k->revoked);
    buf_put_u64(b, 1);
    buf_put_u64(b, 1);
}

static void put_resource(struct buf *b, uint8_t version, uint8_t flag)
{
    buf_put_str(b, "bank_a");
    buf_put_str(b, "postgresql");
    buf_put_u64(b, 1);
    if (version == 1)
        return;
    buf_put_str(b, "host=a");
    buf_put_u8(b, flag);
    buf_put_u64(b, 0);
}

/* What a snapshot is made of: sessions and decisions, two at most (nonce, or session, 0 ends); `resources`
 * times the same resource, declared as `flag` says; keys, two at most (no name ends). */
struct made {
    const struct session_bytes *sessions;
    const struct decision_bytes *decisions;
    const struct key_bytes *keys;
    uint64_t resources, keys_version;
    uint8_t version, flag;
};

static void put_keys(struct buf *b, const struct made *m)
{
    uint64_t n = 0;

    while (m->keys != NULL && n < 2 && m->keys[n].name != NULL)
        n++;
    buf_put_u64(b, m->keys_version);
    buf_put_u64(b, n);
    for (uint64_t i = 0; i < n; i++)
        put_key(b, &m->keys[i]);
}

static int restore_version(const struct made *m)
{
    uint64_t sessions = 0, decisions = 0;
    struct kit k;
    struct buf b;
    int rc;

    kit_init(&k);
    take(k.l, &b);
    b.len = 4;
    buf_put_u32(&b, m->version);
    buf_put_u64(&b, GROUP);
    buf_put_u64(&b, 3); /* next session */
    while (m->sessions != NULL && sessions < 2 && m->sessions[sessions].nonce != 0)
        sessions++;
    buf_put_u64(&b, sessions);
    for (uint64_t i = 0; i < sessions; i++)
        put_session(&b, &m->sessions[i], m->version);
    while (m->decisions != NULL && decisions < 2 && m->decisions[decisions].session != 0)
        decisions++;
    buf_put_u64(&b, decisions);
    for (uint64_t i = 0; i < decisions; i++)
        put_decision(&b, &m->decisions[i]);
    buf_put_u64(&b, m->resources);
    for (uint64_t i = 0; i < m->resources; i++)
        put_resource(&b, m->version, m->flag);
    buf_put_u64(&b, 0); /* nodes */
    buf_put_u64(&b, 0); /* lost */
    if (m->version >= 3)
        put_keys(&b, m);
    rc = ledger_restore(k.l, b.data, b.len, NULL);
    buf_release(&b);
    kit_release(&k);
    return rc;
}

static int restore_made(const struct session_bytes *s, const struct decision_bytes *d, uint64_t resources)
{
    return restore_version(&(struct made){
        .sessions = s, .decisions = d, .resources = resources, .keys_version = 1, .version = 3, .flag = 1});
}

/* As programs wrote it that had no registry, or no keys. */
static void test_old_versions(void **state)
{
    static const struct session_bytes open[] = {{1, 7, SESSION_OPEN, 0, 0, 0, 0, 0, 0, 0, 0}, {0}};
    struct made m = {.sessions = open, .version = 1, .resources = 1, .keys_version = 1};

    (void)state;
    assert_int_equal(restore_version(&m), 0);
    m.resources = 2; /* twice the same */
    assert_int_equal(restore_version(&m), TX_ECORRUPT);
    m = (struct made){.sessions = open, .version = 2, .resources = 1, .flag = 1, .keys_version = 1};
    assert_int_equal(restore_version(&m), 0);
    m.flag = 2; /* no such flag */
    assert_int_equal(restore_version(&m), TX_ECORRUPT);
    m.version = 4;
    assert_int_equal(restore_version(&m), TX_EPROTO);
}

static void test_keys_refused(void **state)
{
    static const struct key_bytes good[] = {{1, ROLE_CLIENT, 0, "shop", ""}, {2, 0, 1, "gone", ""}};
    static const struct key_bytes bad[][2] = {
        {{0, ROLE_CLIENT, 0, "shop", ""}},                                  /* nobody's */
        {{1, ROLE_CLIENT, 0, "", ""}},                                      /* no name */
        {{1, ROLE_CLIENT, 0, "shop", NULL}},                                /* no grant */
        {{1, 0, 0, "shop", ""}},                                            /* no role */
        {{1, ROLES_ALL + 1, 0, "shop", ""}},                                /* no such role */
        {{1, ROLE_CLIENT, 2, "shop", ""}},                                  /* no such flag */
        {{1, ROLE_CLIENT, 0, "shop", ""}, {1, ROLE_AGENT, 0, "bank", "*"}}, /* twice */
        {{9, ROLE_CLIENT, 1, "shop", ""}},                                  /* has an open session */
    };
    static const struct session_bytes open[] = {{1, 7, SESSION_OPEN, 0, 0, 0, 0, 0, 0, 0, 9}, {0}};
    struct made m = {.sessions = open, .keys = good, .version = 3, .keys_version = 1};

    (void)state;
    assert_int_equal(restore_version(&m), 0);
    m.keys_version = 0;
    assert_int_equal(restore_version(&m), TX_ECORRUPT);
    m.keys_version = 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        m.keys = bad[i];
        assert_int_equal(restore_version(&m), TX_ECORRUPT);
    }
}

static void test_sessions_refused(void **state)
{
    static const struct session_bytes good[] = {
        {1, 7, SESSION_OPEN, 0, 0, 2, 1, 2, 4, 4, 0},
        {2, 7, SESSION_EXPIRED, 0, 0, 1, 1, UINT64_MAX, 0, 0, 0},
    };
    static const struct session_bytes bad[][2] = {
        {{0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}},          /* never given out */
        {{3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}},          /* not yet given out */
        {{1, 7, 3, 0, 0, 0, 0, 0, 0, 0, 0}},          /* no such state */
        {{1, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0}},          /* open, but past retention */
        {{1, 7, 0, 2, 0, 0, 0, 0, 0, 0, 0}},          /* no such flag */
        {{1, 7, 0, 0, 1, 0, 0, 0, 0, 0, 0}},          /* open, but gone */
        {{1, 7, 2, 0, 1, 0, 0, 0, 0, 0, 0}},          /* expired, but gone */
        {{1, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0}},          /* closed without a record: had gone */
        {{1, 7, 2, 1, 0, 0, 0, 0, 0, 0, 0}},          /* past retention without a record: had gone */
        {{1, 7, 0, 0, 0, 1, 2, 1, 0, 0, 0}},          /* range upside down */
        {{1, 7, 0, 0, 0, 2, 1, 2, 3, 4, 0}},          /* ranges touch */
        {{1, 7, 0, 0, 0, 2, 5, 6, 1, 2, 0}},          /* ranges not sorted */
        {{1, 7, 0, 0, 0, 2, 1, UINT64_MAX, 0, 0, 0}}, /* nothing is beyond */
        {{1, 7, 0, 0, 0, UINT64_MAX, 1, 1, 0, 0, 0}}, /* a count that lies */
        {{1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 8, 2, 0, 0, 0, 0, 0, 0, 0, 0}}, /* twice */
        {{1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, /* one nonce open twice */
    };
    static const struct decision_bytes none[2];

    (void)state;
    assert_int_equal(restore_made(good, none, 1), 0);
    assert_int_equal(restore_made(good, none, 2), TX_ECORRUPT);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(restore_made(bad[i], none, 0), TX_ECORRUPT);
}

static void test_decisions_refused(void **state)
{
    static const struct session_bytes sessions[] = {
        {1, 7, SESSION_OPEN, 0, 0, 1, 9, 9, 0, 0, 0},
        {2, 8, SESSION_EXPIRED, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    static const struct decision_bytes good[] = {
        {1, 1, VERDICT_COMMIT, 0, 0, 1, 0, 2, 0, 0, "a", NULL},
        {2, 1, VERDICT_ABORT, 3, 1, 1, 1, 1, 1, 3, "a", "b"},
    };
    static const struct decision_bytes bad[][2] = {
        {{3, 1, 1, 0, 0, 0, 0, 1, 0, 0, "a", NULL}}, /* no such session */
        {{1, 1, 0, 0, 0, 0, 0, 1, 0, 0, "a", NULL}}, /* no verdict */
        {{1, 1, 3, 0, 0, 0, 0, 1, 0, 0, "a", NULL}}, /* no such verdict */
        {{1, 1, 1, 4, 0, 0, 0, 1, 0, 0, "a", NULL}}, /* no such origin */
        {{1, 1, 1, 0, 2, 0, 0, 1, 0, 0, "a", NULL}}, /* no such flags */
        {{1, 1, 1, 0, 0, 2, 0, 1, 0, 0, "a", NULL}},
        {{1, 1, 2, 0, 0, 1, 2, 1, 0, 0, "a", NULL}},
        {{1, 1, 1, 0, 0, 1, 1, 1, 0, 1, "a", NULL}},  /* presumed to be committed */
        {{1, 1, 2, 0, 0, 0, 1, 1, 0, 1, "a", NULL}},  /* presumed, but not ended */
        {{1, 1, 1, 0, 0, 0, 0, 65, 0, 0, "a", NULL}}, /* too many branches */
        {{1, 1, 1, 0, 0, 0, 0, 1, 2, 0, "a", NULL}},  /* no such kind */
        {{1, 1, 1, 0, 0, 0, 0, 1, 0, 4, "a", NULL}},  /* no such heuristic outcome */
        {{1, 1, 1, 0, 0, 0, 0, 1, 0, 0, NULL, NULL}}, /* no resource */
        {{1, 1, 1, 0, 0, 0, 0, 1, 0, 0, "a", "b"}},   /* a text about nothing */
        {{1, 9, 1, 0, 0, 1, 0, 1, 0, 0, "a", NULL}},  /* ended and acknowledged: had gone */
        {{2, 1, 2, 0, 0, 1, 0, 1, 0, 0, "a", NULL}},  /* ended abort of an expired session: had gone */
        {{1, 1, 1, 0, 0, 0, 0, 1, 0, 0, "a", NULL}, {1, 1, 1, 0, 0, 0, 0, 1, 0, 0, "a", NULL}}, /* twice */
    };

    (void)state;
    assert_int_equal(restore_made(sessions, good, 0), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(restore_made(sessions, bad[i], 0), TX_ECORRUPT);
}

/* Out of memory */

#if OWN_MALLOC

/* Applies with only n - 1 more allocations to be had. */
static int apply_with(struct kit *k, const struct record *r, long n)
{
    int rc;

    allocations_left = n;
    rc = ledger_apply(k->l, 99, r, &k->result);
    allocations_left = -1;
    return rc;
}

static void assert_apply_survives(struct record r)
{
    int rc = TX_ENOMEM;

    for (long n = 1; rc != 0; n++) {
        struct kit k;

        assert_true(n < 20);
        fill(&k);
        rc = apply_with(&k, &r, n);
        assert_true(rc == 0 || rc == TX_ENOMEM);
        assert_true(n > 1 || rc == TX_ENOMEM);
        kit_release(&k);
    }
}

static void test_apply_out_of_memory(void **state)
{
    static const struct branch_ref branch = {1, BRANCH_DIRECT, "bank_a", NULL, NULL};
    static const struct range ranges[] = {{100, 100}, {200, 200}, {300, 300}, {400, 400}, {500, 500}};

    (void)state;
    assert_apply_survives((struct record){.type = RECORD_OPEN_SESSION, .open_session = {99, 1, 1, "a", {0}}});
    assert_apply_survives(
        (struct record){.type = RECORD_DECIDE,
                        .session = 1,
                        .sequence = 50,
                        .decide = {.verdict = VERDICT_COMMIT, .n_branches = 1, .branches = &branch}});
    assert_apply_survives(
        (struct record){.type = RECORD_ACKNOWLEDGE, .session = 1, .acknowledge = {5, ranges}});
    assert_apply_survives((struct record){.type = RECORD_HEURISTIC,
                                          .session = 1,
                                          .sequence = 3,
                                          .heuristic = {2, HEURISTIC_COMMIT, "bank_b", NULL}});
    assert_apply_survives((struct record){.type = RECORD_HEURISTIC,
                                          .session = 5,
                                          .sequence = 2,
                                          .heuristic = {2, HEURISTIC_COMMIT, "bank_b", NULL}});
    assert_apply_survives(
        (struct record){.type = RECORD_ADD_RESOURCE, .resource = {.name = "bank_c", .kind = "redis"}});
    assert_apply_survives((struct record){.type = RECORD_ADD_NODE, .node = {3, "tcp://10.0.0.3:7401"}});
    assert_apply_survives((struct record){.type = RECORD_ADD_KEY, .key = {{9}, "web", ROLE_CLIENT, ""}});
    assert_apply_survives((struct record){.type = RECORD_REVOKE_KEY, .key = {.key = {9}, .name = "web"}});
}

static void test_tables_out_of_memory(void **state)
{
    (void)state;
    for (long n = 1; n < 8; n++) {
        struct kit k;

        kit_init(&k);
        apply_with(&k, &(struct record){.type = RECORD_OPEN_SESSION, .open_session = {1, 1, 1, "a", {0}}}, n);
        apply_with(
            &k, &(struct record){.type = RECORD_DECIDE, .session = 1, .sequence = 1, .decide = {.verdict = 1}},
            n);
        apply_with(
            &k, &(struct record){.type = RECORD_ADD_RESOURCE, .resource = {.name = "bank_c", .kind = "redis"}},
            n);
        apply_with(&k, &(struct record){.type = RECORD_ADD_NODE, .node = {3, "tcp://10.0.0.3:7401"}}, n);
        apply_with(&k, &(struct record){.type = RECORD_ADD_KEY, .key = {{9}, "web", ROLE_CLIENT, ""}}, n);
        kit_release(&k);
    }
}

static void test_restore_out_of_memory(void **state)
{
    struct kit full, k;
    struct buf snapshot;
    int rc = TX_ENOMEM;

    (void)state;
    fill(&full);
    take(full.l, &snapshot);
    kit_init(&k);
    kit_open(&k, 1);
    for (long n = 1; rc != 0; n++) {
        struct tx_error e;

        allocations_left = n;
        rc = ledger_restore(k.l, snapshot.data, snapshot.len, &e);
        allocations_left = -1;
        assert_true(rc == 0 || (rc == TX_ENOMEM && kit_counts(&k).sessions == 1));
    }
    kit_assert_same(k.l, full.l);
    buf_release(&snapshot);
    kit_release(&k);
    kit_release(&full);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restore_replaces),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_byte_flipped),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_keys_refused),
        cmocka_unit_test(test_sessions_refused),
        cmocka_unit_test(test_decisions_refused),
#if OWN_MALLOC
        cmocka_unit_test(test_apply_out_of_memory),
        cmocka_unit_test(test_tables_out_of_memory),
        cmocka_unit_test(test_restore_out_of_memory),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
