/* Tests of record: every type there and back, and everything a hostile or damaged entry can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/record.h"

static const char name63[] = "123456789012345678901234567890123456789012345678901234567890123";
static const char name64[] = "1234567890123456789012345678901234567890123456789012345678901234";
static char text255[256], text256[257], proof127[128], proof128[129];
static struct branch_ref branches[BRANCH_LIMIT];
static struct range ranges[RANGE_LIMIT];

static char grant511[KEY_GRANT_LIMIT + 1], grant512[KEY_GRANT_LIMIT + 2];

enum { MOST_SAMPLES = 24 };
#define SOME_KEY                     \
    {                                \
        7, 1, [KEY_SIZE - 1] = 0xFF, \
    }
static char settings1023[SETTINGS_LIMIT + 1], settings1024[SETTINGS_LIMIT + 2];

static int set_up(void **state)
{
    (void)state;
    memset(text255, 't', sizeof text255 - 1);
    memset(text256, 't', sizeof text256 - 1);
    memset(settings1023, 's', sizeof settings1023 - 1);
    memset(settings1024, 's', sizeof settings1024 - 1);
    memset(grant511, 'g', sizeof grant511 - 1);
    memset(grant512, 'g', sizeof grant512 - 1);
    memset(proof127, 'p', sizeof proof127 - 1);
    memset(proof128, 'p', sizeof proof128 - 1);
    for (uint16_t i = 0; i < BRANCH_LIMIT; i++)
        branches[i] = (struct branch_ref){(uint16_t)(i + 1), i % 2, name63, i % 3 == 0 ? NULL : proof127, NULL};
    for (uint64_t i = 0; i < RANGE_LIMIT; i++)
        ranges[i] = (struct range){i * 10, i * 10 + i};
    return 0;
}

/* One of each type, at its bounds where it has any. */
static size_t samples(struct record out[MOST_SAMPLES])
{
    size_t n = 0;

    out[n++] = (struct record){
        .type = RECORD_OPEN_SESSION, .at_ms = 5, .open_session = {UINT64_MAX, 1, 2, name63, SOME_KEY}};
    out[n++] = (struct record){.type = RECORD_CLOSE_SESSION, .session = 7};
    out[n++] = (struct record){.type = RECORD_EXPIRE_SESSION, .session = UINT64_MAX, .at_ms = UINT64_MAX};
    out[n++] = (struct record){.type = RECORD_DROP_SESSION, .session = 9};
    out[n++] = (struct record){.type = RECORD_DECIDE,
                               .session = 1,
                               .sequence = UINT64_MAX,
                               .decide = {VERDICT_ABORT, ORIGIN_OPERATOR, 1, text255, BRANCH_LIMIT, branches}};
    out[n++] = (struct record){.type = RECORD_DECIDE, .decide = {.verdict = VERDICT_COMMIT}};
    out[n++] = (struct record){.type = RECORD_ACKNOWLEDGE, .session = 1, .acknowledge = {RANGE_LIMIT, ranges}};
    out[n++] = (struct record){.type = RECORD_ACKNOWLEDGE, .session = 1};
    out[n++] = (struct record){.type = RECORD_END, .session = 1, .sequence = 2};
    out[n++] = (struct record){
        .type = RECORD_HEURISTIC, .session = 1, .heuristic = {65535, HEURISTIC_HAZARD, name63, text255}};
    out[n++] = (struct record){.type = RECORD_HEURISTIC, .heuristic = {1, HEURISTIC_COMMIT, "", NULL}};
    out[n++] = (struct record){.type = RECORD_FORGET, .session = 1, .sequence = 2};
    out[n++] = (struct record){.type = RECORD_ADD_RESOURCE, .resource = {.name = name63, .kind = name63}};
    out[n++] = (struct record){.type = RECORD_REMOVE_RESOURCE, .resource = {.name = name63}};
    out[n++] = (struct record){.type = RECORD_DECLARE_RESOURCE, .resource = {name63, name63, settings1023}};
    out[n++] = (struct record){.type = RECORD_ALTER_RESOURCE, .resource = {.name = "a", .settings = ""}};
    out[n++] = (struct record){.type = RECORD_ADD_NODE, .node = {UINT64_MAX, proof127}};
    out[n++] = (struct record){.type = RECORD_REMOVE_NODE, .node = {.id = 3}};
    out[n++] = (struct record){.type = RECORD_RESTORE, .restore = {245, 500, 255, (const uint8_t *)text255}};
    out[n++] = (struct record){.type = RECORD_ADD_KEY, .key = {SOME_KEY, name63, ROLES_ALL, grant511}};
    out[n++] = (struct record){.type = RECORD_ADD_KEY, .key = {SOME_KEY, "a", ROLE_CLIENT, ""}};
    out[n++] = (struct record){.type = RECORD_REVOKE_KEY, .key = {.key = SOME_KEY, .name = name63}};
    return n;
}

static void assert_same_text(const char *a, const char *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a != NULL)
        assert_string_equal(a, b);
}

static void assert_same_decide(const struct record *a, const struct record *b)
{
    assert_int_equal(a->decide.verdict, b->decide.verdict);
    assert_int_equal(a->decide.origin, b->decide.origin);
    assert_int_equal(a->decide.agents_finish, b->decide.agents_finish);
    assert_same_text(a->decide.reason, b->decide.reason);
    assert_int_equal(a->decide.n_branches, b->decide.n_branches);
    for (size_t i = 0; i < a->decide.n_branches; i++) {
        assert_int_equal(a->decide.branches[i].number, b->decide.branches[i].number);
        assert_int_equal(a->decide.branches[i].kind, b->decide.branches[i].kind);
        assert_same_text(a->decide.branches[i].resource, b->decide.branches[i].resource);
        assert_same_text(a->decide.branches[i].proof, b->decide.branches[i].proof);
    }
}

static void assert_same_body(const struct record *a, const struct record *b)
{
    switch (a->type) {
    case RECORD_OPEN_SESSION:
        assert_int_equal(a->open_session.nonce, b->open_session.nonce);
        assert_int_equal(a->open_session.session_timeout_ms, b->open_session.session_timeout_ms);
        assert_int_equal(a->open_session.transaction_timeout_ms, b->open_session.transaction_timeout_ms);
        assert_same_text(a->open_session.name, b->open_session.name);
        assert_memory_equal(a->open_session.owner, b->open_session.owner, KEY_SIZE);
        break;
    case RECORD_ADD_KEY:
    case RECORD_REVOKE_KEY:
        assert_memory_equal(a->key.key, b->key.key, KEY_SIZE);
        assert_same_text(a->key.name, b->key.name);
        assert_int_equal(a->key.roles, b->key.roles);
        assert_same_text(a->key.grant, b->key.grant);
        break;
    case RECORD_DECIDE:
        assert_same_decide(a, b);
        break;
    case RECORD_ACKNOWLEDGE:
        assert_int_equal(a->acknowledge.n_ranges, b->acknowledge.n_ranges);
        for (size_t i = 0; i < a->acknowledge.n_ranges; i++) {
            assert_int_equal(a->acknowledge.ranges[i].from, b->acknowledge.ranges[i].from);
            assert_int_equal(a->acknowledge.ranges[i].to, b->acknowledge.ranges[i].to);
        }
        break;
    case RECORD_HEURISTIC:
        assert_int_equal(a->heuristic.branch, b->heuristic.branch);
        assert_int_equal(a->heuristic.kind, b->heuristic.kind);
        assert_same_text(a->heuristic.resource, b->heuristic.resource);
        assert_same_text(a->heuristic.text, b->heuristic.text);
        break;
    case RECORD_ADD_RESOURCE:
    case RECORD_REMOVE_RESOURCE:
    case RECORD_DECLARE_RESOURCE:
    case RECORD_ALTER_RESOURCE:
        assert_same_text(a->resource.name, b->resource.name);
        assert_same_text(a->resource.kind, b->resource.kind);
        assert_same_text(a->resource.settings, b->resource.settings);
        break;
    case RECORD_ADD_NODE:
    case RECORD_REMOVE_NODE:
        assert_int_equal(a->node.id, b->node.id);
        assert_same_text(a->node.address, b->node.address);
        break;
    case RECORD_RESTORE:
        assert_int_equal(a->restore.at, b->restore.at);
        assert_int_equal(a->restore.total, b->restore.total);
        assert_int_equal(a->restore.len, b->restore.len);
        assert_memory_equal(a->restore.data, b->restore.data, a->restore.len);
        break;
    default:
        break;
    }
}

static void assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->at_ms, b->at_ms);
    assert_same_body(a, b);
}

static void entry_of(struct buf *entry, const struct record *records, size_t n)
{
    buf_init(entry);
    record_begin(entry);
    for (size_t i = 0; i < n; i++)
        record_append(entry, &records[i]);
    assert_false(entry->failed);
}

/* Reads to the end; the last answer. The bytes are put where a read beyond them is seen. */
static int read_all(const void *data, size_t len, size_t *n, struct tx_error *e)
{
    struct record_reader *reader = malloc(sizeof *reader);
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    struct record r;
    int rc;

    memcpy(exact, data, len);
    *n = 0;
    rc = record_open(reader, exact, len, e);
    if (rc == 0) {
        while ((rc = record_next(reader, &r, e)) == 1)
            (*n)++;
    }
    free(exact);
    free(reader);
    return rc;
}

static void test_there_and_back(void **state)
{
    struct record_reader reader;
    struct record sample[MOST_SAMPLES], read;
    size_t n = samples(sample);
    struct buf entry;

    (void)state;
    entry_of(&entry, sample, n);
    assert_int_equal(record_open(&reader, entry.data, entry.len, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(record_next(&reader, &read, NULL), 1);
        assert_same(&read, &sample[i]);
    }
    assert_int_equal(record_next(&reader, &read, NULL), 0);
    assert_int_equal(record_next(&reader, &read, NULL), 0);
    buf_release(&entry);
}

static void test_empty_and_version(void **state)
{
    const uint8_t empty[] = {RECORD_VERSION}, newer[] = {RECORD_VERSION + 1}, none[] = {0};
    struct tx_error e;
    size_t n;

    (void)state;
    assert_int_equal(read_all(empty, 1, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(read_all(empty, 0, &n, &e), TX_ECORRUPT);
    assert_int_equal(read_all(none, 1, &n, &e), TX_ECORRUPT);
    assert_int_equal(read_all(newer, 1, &n, &e), TX_EPROTO);
    assert_non_null(strstr(e.msg, "upgrade"));
}

/* Cut anywhere within a record: damaged. */
static void test_every_truncation(void **state)
{
    struct record sample[MOST_SAMPLES];
    size_t n = samples(sample), read;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        struct buf entry;

        entry_of(&entry, &sample[i], 1);
        for (size_t len = 2; len < entry.len; len++) {
            struct tx_error e = {0};

            assert_int_equal(read_all(entry.data, len, &read, &e), TX_ECORRUPT);
            assert_int_equal(read, 0);
            assert_int_equal(e.code, TX_ECORRUPT);
        }
        buf_release(&entry);
    }
}

/* No damage does more than to be told. */
static void test_every_byte_flipped(void **state)
{
    static const uint8_t flips[] = {0x01, 0x08, 0x80, 0xff};
    struct record sample[MOST_SAMPLES];
    size_t n = samples(sample), read;
    struct buf entry;

    (void)state;
    entry_of(&entry, sample, n);
    for (size_t at = 0; at < entry.len; at++) {
        for (size_t i = 0; i < sizeof flips; i++) {
            int rc;

            entry.data[at] ^= flips[i];
            rc = read_all(entry.data, entry.len, &read, NULL);
            assert_true(rc == 0 || rc == TX_ECORRUPT || rc == TX_EPROTO);
            entry.data[at] ^= flips[i];
        }
    }
    buf_release(&entry);
}

/* What could not be read back is not written. */
static void test_append_refuses(void **state)
{
    static const struct branch_ref bad_kind = {1, 2, "a", NULL, NULL}, no_resource = {1, 0, NULL, NULL, NULL},
                                   long_resource = {1, 0, name64, NULL, NULL},
                                   long_proof = {1, 0, "a", proof128, NULL};
    static const struct range upside_down = {2, 1};
    const struct record bad[] = {
        {.type = (enum record_type)0},
        {.type = (enum record_type)(RECORD_REVOKE_KEY + 1)},
        {.type = RECORD_OPEN_SESSION},
        {.type = RECORD_OPEN_SESSION, .open_session = {.name = name64}},
        {.type = RECORD_DECIDE},
        {.type = RECORD_DECIDE, .decide = {.verdict = 3}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .origin = 4}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .agents_finish = 2}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .reason = text256}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .n_branches = 65, .branches = branches}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .n_branches = 1, .branches = &bad_kind}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .n_branches = 1, .branches = &no_resource}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .n_branches = 1, .branches = &long_resource}},
        {.type = RECORD_DECIDE, .decide = {.verdict = 1, .n_branches = 1, .branches = &long_proof}},
        {.type = RECORD_ACKNOWLEDGE, .acknowledge = {65, ranges}},
        {.type = RECORD_ACKNOWLEDGE, .acknowledge = {1, &upside_down}},
        {.type = RECORD_HEURISTIC, .heuristic = {1, HEURISTIC_NONE, "a", NULL}},
        {.type = RECORD_HEURISTIC, .heuristic = {1, 4, "a", NULL}},
        {.type = RECORD_HEURISTIC, .heuristic = {1, 1, NULL, NULL}},
        {.type = RECORD_HEURISTIC, .heuristic = {1, 1, name64, NULL}},
        {.type = RECORD_HEURISTIC, .heuristic = {1, 1, "a", text256}},
        {.type = RECORD_ADD_RESOURCE, .resource = {.name = "a", .kind = NULL}},
        {.type = RECORD_ADD_RESOURCE, .resource = {.name = NULL, .kind = "a"}},
        {.type = RECORD_ADD_RESOURCE, .resource = {.name = "a", .kind = name64}},
        {.type = RECORD_REMOVE_RESOURCE, .resource = {.name = NULL}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {NULL, "a", "b"}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {"a", NULL, "b"}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {"a", "b", NULL}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {"a", "b", settings1024}},
        {.type = RECORD_ALTER_RESOURCE, .resource = {"a", NULL, NULL}},
        {.type = RECORD_ALTER_RESOURCE, .resource = {"a", NULL, settings1024}},
        {.type = RECORD_ADD_NODE, .node = {0, "a"}},
        {.type = RECORD_ADD_NODE, .node = {1, NULL}},
        {.type = RECORD_ADD_NODE, .node = {1, ""}},
        {.type = RECORD_ADD_NODE, .node = {1, proof128}},
        {.type = RECORD_REMOVE_NODE, .node = {0, NULL}},
        {.type = RECORD_RESTORE, .restore = {0, 1, 0, NULL}},
        {.type = RECORD_RESTORE, .restore = {1, 1, 1, (const uint8_t *)"a"}},
        {.type = RECORD_RESTORE, .restore = {2, 1, 1, (const uint8_t *)"a"}},
        {.type = RECORD_ADD_KEY, .key = {{0}, "a", ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, NULL, ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "", ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, name64, ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "a", 0, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "a", ROLES_ALL + 1, ""}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "a", ROLE_CLIENT, NULL}},
        {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "a", ROLE_CLIENT, grant512}},
        {.type = RECORD_REVOKE_KEY, .key = {.name = "a"}},
        {.type = RECORD_REVOKE_KEY, .key = {.key = SOME_KEY, .name = ""}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf entry;

        buf_init(&entry);
        record_begin(&entry);
        record_append(&entry, &bad[i]);
        assert_true(entry.failed);
        assert_int_equal(entry.len, 1);
        buf_release(&entry);
    }
}

/* A good record with the bytes at `at` of its body overwritten. */
static int read_patched(const struct record *r, size_t at, const void *bytes, size_t n_bytes)
{
    enum { HEAD = 1 + 1 + 3 * 8 }; /* version, type, session, sequence, at_ms */
    struct buf entry;
    size_t n;
    int rc;

    entry_of(&entry, r, 1);
    assert_true(HEAD + at + n_bytes <= entry.len);
    memcpy(entry.data + HEAD + at, bytes, n_bytes);
    rc = read_all(entry.data, entry.len, &n, NULL);
    buf_release(&entry);
    return rc;
}

/* Each value that is out of bounds, as somebody else could have written it. */
static void test_malformed(void **state)
{
    static const struct branch_ref branch = {1, BRANCH_DIRECT, "abc", NULL, NULL};
    static const struct range range = {1, 1};
    const struct record decide = {.type = RECORD_DECIDE,
                                  .decide = {.verdict = VERDICT_COMMIT, .n_branches = 1, .branches = &branch}};
    const struct record acknowledge = {.type = RECORD_ACKNOWLEDGE, .acknowledge = {1, &range}};
    const struct record heuristic = {.type = RECORD_HEURISTIC, .heuristic = {1, HEURISTIC_COMMIT, "abc", NULL}};
    const struct record open = {.type = RECORD_OPEN_SESSION, .open_session = {.nonce = 1, .name = "abc"}};
    const struct record add = {.type = RECORD_ADD_KEY, .key = {SOME_KEY, "abc", ROLE_AGENT, "*"}};
    const struct {
        const struct record *r;
        size_t at;
        const char *bytes;
        size_t n;
    } cases[] = {
        {&decide, 0, "\0", 1},               /* no verdict */
        {&decide, 0, "\3", 1},               /* no such verdict */
        {&decide, 1, "\4", 1},               /* no such origin */
        {&decide, 2, "\2", 1},               /* no such flag */
        {&decide, 3, "\377\377\377\377", 4}, /* a reason beyond the end */
        {&decide, 7, "\101", 1},             /* 65 branches */
        {&decide, 7, "\2", 1},               /* one more than there is */
        {&decide, 7, "\0", 1},               /* one less: bytes are left over */
        {&decide, 10, "\2", 1},              /* no such kind */
        {&decide, 11, "\0\0\0\0", 4},        /* no resource */
        {&decide, 15, "a\0c\0", 4},          /* a NUL within */
        {&decide, 15, "abcd", 4},            /* no NUL at the end */
        {&acknowledge, 0, "\101", 1},        /* 65 ranges */
        {&acknowledge, 1, "\2", 1},          /* upside down */
        {&heuristic, 2, "\0", 1},            /* nothing happened */
        {&heuristic, 2, "\4", 1},            /* no such outcome */
        {&heuristic, 3, "\0\0\0\0", 4},      /* no resource */
        {&open, 16, "\0\0\0\0", 4},          /* no name */
        {&open, 16, "\377\377\377\377", 4},  /* a name beyond the end */
        {&add, 32, "\0\0\0\0", 4},           /* no name */
        {&add, 40, "\0", 1},                 /* no role */
        {&add, 40, "\40", 1},                /* no such role */
        {&add, 41, "\377\377\377\377", 4},   /* a grant beyond the end */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(read_patched(cases[i].r, cases[i].at, cases[i].bytes, cases[i].n), TX_ECORRUPT);
    assert_int_equal(read_patched(&decide, 0, "\2", 1), 0);
}

static void test_unknown_type(void **state)
{
    const struct record r = {.type = RECORD_END, .session = 1, .sequence = 1};
    const uint8_t types[] = {0, RECORD_REVOKE_KEY + 1, 255};
    struct buf entry;
    size_t n;

    (void)state;
    entry_of(&entry, &r, 1);
    for (size_t i = 0; i < sizeof types; i++) {
        entry.data[1] = types[i];
        assert_int_equal(read_all(entry.data, entry.len, &n, NULL), TX_ECORRUPT);
    }
    buf_release(&entry);
}

/* As programs wrote it that knew no keys: nobody's session. */
static void test_old_versions(void **state)
{
    static const uint8_t nobody[KEY_SIZE];
    const struct record open = {.type = RECORD_OPEN_SESSION, .open_session = {7, 1, 2, "shop", SOME_KEY}};
    struct record_reader reader;
    struct record read;
    struct buf entry;

    (void)state;
    entry_of(&entry, &open, 1);
    for (uint8_t version = 1; version < RECORD_VERSION; version++) {
        entry.data[0] = version;
        assert_int_equal(record_open(&reader, entry.data, entry.len - KEY_SIZE, NULL), 0);
        assert_int_equal(record_next(&reader, &read, NULL), 1);
        assert_int_equal(read.open_session.nonce, 7);
        assert_string_equal(read.open_session.name, "shop");
        assert_memory_equal(read.open_session.owner, nobody, KEY_SIZE);
        assert_int_equal(record_next(&reader, &read, NULL), 0);
    }
    buf_release(&entry);
}

/* After damage nothing more is read: what follows could be anything. */
static void test_damage_sticks(void **state)
{
    struct record r[] = {{.type = RECORD_END, .session = 1}, {.type = RECORD_END, .session = 2}};
    struct record_reader reader;
    struct buf entry;

    (void)state;
    entry_of(&entry, r, 2);
    entry.data[1] = 0;
    assert_int_equal(record_open(&reader, entry.data, entry.len, NULL), 0);
    assert_int_equal(record_next(&reader, &r[0], NULL), TX_ECORRUPT);
    assert_int_equal(record_next(&reader, &r[0], NULL), TX_ECORRUPT);
    buf_release(&entry);
}

static void test_type_names(void **state)
{
    (void)state;
    for (int t = RECORD_OPEN_SESSION; t <= RECORD_REVOKE_KEY; t++)
        assert_string_not_equal(record_type_name((enum record_type)t), "unknown");
    assert_string_equal(record_type_name((enum record_type)0), "unknown");
    assert_string_equal(record_type_name((enum record_type)200), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),   cmocka_unit_test(test_empty_and_version),
        cmocka_unit_test(test_every_truncation), cmocka_unit_test(test_every_byte_flipped),
        cmocka_unit_test(test_append_refuses),   cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_unknown_type),     cmocka_unit_test(test_damage_sticks),
        cmocka_unit_test(test_type_names),       cmocka_unit_test(test_old_versions),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
