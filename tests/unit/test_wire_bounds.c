/* test_wire_bounds: counts, lengths, and strings within strings: what a message may hold at most, on both sides
 * (wire.h). */
#include "tests/unit/wire_help.h"

static struct wire_scratch scratch;
static struct buf values, cells;
static const struct txid id = {0x1122334455667788, 12, 345678, 0xFEDCBA9876543210};

static int blocks_init(void **state)
{
    (void)state;
    buf_put_str(&values, "one");
    buf_put_str(&values, NULL);
    buf_put_str(&values, "");
    for (int i = 0; i < 6; i++) /* two names, two rows */
        buf_put_str(&cells, "cell");
    return 0;
}

static int blocks_release(void **state)
{
    (void)state;
    buf_release(&values);
    buf_release(&cells);
    return 0;
}

/* bounds */

/* The count stands where the first array of the message begins; it is raised over its limit by hand. */
static void raise_count(const struct wire_message *m, size_t at, unsigned limit, const char *why)
{
    struct buf b = encoded(m);

    b.data[at] = (uint8_t)(limit + 1);
    b.data[at + 1] = (uint8_t)((limit + 1) >> 8);
    for (size_t i = 0; i < 100000; i++)
        buf_put_u8(&b, 0);
    assert_refused(&b, why);
}

static void counts_over_the_bounds_are_refused(void **state)
{
    struct wire_message decide = {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_COMMIT}};
    struct wire_message heartbeat = {WIRE_HEARTBEAT, .heartbeat = {.session = 1}};
    struct wire_message pull = {WIRE_PULL, .pull = {.name = "a"}};
    struct wire_message work = {WIRE_WORK, .work = {.group = 1}};

    (void)state;
    raise_count(&decide, 4 + 32 + 3, BRANCH_LIMIT, "decide message: branches");
    raise_count(&heartbeat, 4 + 16, RANGE_LIMIT, "heartbeat message: acknowledged");
    raise_count(&heartbeat, 4 + 16 + 2, RANGE_LIMIT, "heartbeat message: resolved");
    raise_count(&pull, 4 + 16 + 6 + 4, RESOURCE_LIMIT, "pull message: resources");
    raise_count(&pull, 4 + 16 + 6 + 4 + 2, REPORT_LIMIT, "pull message: reports");
    raise_count(&work, 4 + 17, REPORT_LIMIT, "work message: items");
    raise_count(&work, 4 + 17 + 2, RESOURCE_LIMIT, "work message: definitions");
    raise_count(&work, 4 + 17 + 6, NODE_KEY_LIMIT, "work message: nodes' keys");
    raise_count(&work, 4 + 17 + 8 + 8, KEY_LIMIT, "work message: clients");
}

static void assert_too_big(const struct wire_message *m)
{
    struct buf b;

    buf_init(&b);
    buf_put_u32(&b, 0xA55A);
    assert_int_equal(wire_encode(m, &b), TX_ETOOBIG);
    assert_int_equal(b.len, 4); /* what stood there before is left alone */
    assert_false(b.failed);
    buf_release(&b);
}

static void encoder_keeps_the_counts(void **state)
{
    static const struct range ranges[RANGE_LIMIT + 1];
    static const struct branch_ref branches[BRANCH_LIMIT + 1];
    static const struct wire_resource resources[RESOURCE_LIMIT + 1];
    static const struct wire_report reports[REPORT_LIMIT + 1];
    static const struct wire_work_item items[REPORT_LIMIT + 1];
    static const struct wire_definition definitions[RESOURCE_LIMIT + 1];
    static char long_settings[SETTINGS_LIMIT + 2];
    static const struct wire_definition too_long = {"a", 1, "postgresql", long_settings};
    static const char *const nodes[NODE_LIMIT + 1];
    static const uint8_t keys[(NODE_KEY_LIMIT + 1) * KEY_SIZE];
    static const struct wire_client_key clients[KEY_LIMIT + 1];
    static const struct wire_client_key long_name = {keys, long_settings};
    struct wire_message cases[] = {
        {WIRE_DECIDE, .decide = {.n_branches = BRANCH_LIMIT + 1, .branches = branches}},
        {WIRE_HEARTBEAT, .heartbeat = {1, 1, {RANGE_LIMIT + 1, 0, ranges, NULL}}},
        {WIRE_HEARTBEAT, .heartbeat = {1, 1, {0, RANGE_LIMIT + 1, NULL, ranges}}},
        {WIRE_PULL, .pull = {.name = "a", .n_resources = RESOURCE_LIMIT + 1, .resources = resources}},
        {WIRE_PULL, .pull = {.name = "a", .n_reports = REPORT_LIMIT + 1, .reports = reports}},
        {WIRE_WORK, .work = {.n_items = REPORT_LIMIT + 1, .items = items}},
        {WIRE_WORK, .work = {.n_definitions = RESOURCE_LIMIT + 1, .definitions = definitions}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &too_long}},
        {WIRE_HEARTBEAT_OK, .heartbeat_ok = {{NODE_LIMIT + 1, nodes, 0, NULL}}},
        {WIRE_HEARTBEAT_OK, .heartbeat_ok = {{0, NULL, NODE_KEY_LIMIT + 1, keys}}},
        {WIRE_WORK, .work = {.n_clients = KEY_LIMIT + 1, .clients = clients}},
        {WIRE_WORK, .work = {.n_clients = 1, .clients = &long_name}},
    };

    (void)state;
    memset(long_settings, 'x', sizeof long_settings - 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_too_big(&cases[i]);
}

/* A string of n letters, to be freed. */
static char *letters(size_t n)
{
    char *s = malloc(n + 1);

    assert_non_null(s);
    memset(s, 'x', n);
    s[n] = '\0';
    return s;
}

static void encoder_keeps_the_lengths(void **state)
{
    char *s = letters(ROWS_LIMIT);
    struct wire_message exec = {WIRE_EXEC,
                                .exec = {.id = id, .branch = 1, .number = 1, .resource = "a", .statement = s}};
    struct wire_message admin = {WIRE_ADMIN, .admin = {s + ROWS_LIMIT - MESSAGE_LIMIT / 2 - 1}};
    struct wire_message locate = {WIRE_LOCATE, .locate = {s + ROWS_LIMIT - NAME_LIMIT - 1}};
    struct wire_message located = {WIRE_LOCATED, .located = {s + ROWS_LIMIT - ADDRESS_LIMIT - 1, NULL}};
    struct wire_message finish = {WIRE_FINISH,
                                  .finish = {FINISH_STATUS, id, 1, "a", s + ROWS_LIMIT - PROOF_LIMIT - 1}};
    struct buf b;

    (void)state;
    assert_too_big(&exec);
    assert_too_big(&admin);
    assert_too_big(&locate);
    assert_too_big(&located);
    assert_too_big(&finish);
    /* one less is accepted by both sides */
    admin.admin.json++;
    located.located.address++;
    finish.finish.proof++;
    exec.exec.statement += 200;
    b = encoded(&admin);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
    b = encoded(&located);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
    b = encoded(&finish);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
    b = encoded(&exec);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
    free(s);
}

/* Answers that fit one by one need not fit together. */
static void whole_message_has_a_bound(void **state)
{
    char *s = letters(MESSAGE_LIMIT / 2);
    struct wire_report reports[] = {{REPORT_ANSWER, id, 0, "a", 0, NULL, s},
                                    {REPORT_ANSWER, id, 0, "a", 0, NULL, s}};
    struct wire_message m = {WIRE_PULL, .pull = {.name = "a", .n_reports = 1, .reports = reports}};
    struct buf b = encoded(&m);

    (void)state;
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    m.pull.n_reports = 2;
    assert_too_big(&m);
    while (b.len <= MESSAGE_LIMIT)
        buf_put_u64(&b, 0);
    assert_refused(&b, "the limit is 1048576");
    free(s);
}

/* keys */

static const uint8_t key[KEY_SIZE] = {1}, nobody[KEY_SIZE];

/* Zeros would say that nobody was asked for a key. */
static void no_key_is_all_zeros(void **state)
{
    const struct wire_client_key client = {nobody, "shop"};
    uint8_t two[2 * KEY_SIZE] = {1};
    struct wire_message cases[] = {
        {WIRE_LOCATED, .located = {"tcp://10.0.0.1:7501", nobody}},
        {WIRE_HEARTBEAT_OK, .heartbeat_ok = {{0, NULL, 1, nobody}}},
        {WIRE_HEARTBEAT_OK, .heartbeat_ok = {{0, NULL, 2, two}}},
        {WIRE_WORK, .work = {.keys_version = 1, .n_clients = 1, .clients = &client}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = encoded(&cases[i]);

        assert_refused(&b, "key");
    }
}

static void clients_are_named_and_versioned(void **state)
{
    static const struct wire_client_key unnamed = {key, ""}, odd = {key, "a b"}, good = {key, "shop"};
    const struct wire_client_key *bad[] = {&unnamed, &odd};
    struct wire_message m = {WIRE_WORK, .work = {.keys_version = 1, .n_clients = 1}};
    struct buf b;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        m.work.clients = bad[i];
        b = encoded(&m);
        assert_refused(&b, "work message: client");
    }
    m.work.clients = &good;
    m.work.keys_version = 0;
    b = encoded(&m);
    assert_refused(&b, "work message: keys' version");
}

static void a_key_is_there_or_not(void **state)
{
    struct wire_message m = {WIRE_LOCATED, .located = {"a", key}};
    struct buf b = encoded(&m);

    (void)state;
    b.data[b.len - KEY_SIZE - 1] = 2;
    assert_refused(&b, "located message: key");
}

/* All the keys that a group may have fit into one message. */
static void every_client_fits(void **state)
{
    static struct wire_client_key clients[KEY_LIMIT];
    struct wire_message m = {WIRE_WORK,
                             .work = {.keys_version = 1, .n_clients = KEY_LIMIT, .clients = clients}};
    char *name = letters(NAME_LIMIT);
    struct buf b;

    (void)state;
    for (size_t i = 0; i < KEY_LIMIT; i++)
        clients[i] = (struct wire_client_key){key, name};
    b = encoded(&m);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
    free(name);
}

/* texts for people */

/* Encodes `text` as a reason and returns how much of it arrives. */
static size_t arrives(const char *text)
{
    struct wire_message m = {WIRE_DECIDED, .decided = {VERDICT_ABORT, 0, HEURISTIC_NONE, text}}, back;
    struct buf b = encoded(&m);
    size_t n;

    assert_int_equal(wire_decode(&back, b.data, b.len, &scratch, NULL), 0);
    n = strlen(back.decided.reason);
    assert_memory_equal(back.decided.reason, text, n);
    buf_release(&b);
    return n;
}

static void long_texts_are_cut(void **state)
{
    char *s = letters(1000);

    (void)state;
    assert_int_equal(arrives(s), TEXT_LIMIT);
    assert_int_equal(arrives(s + 1000 - TEXT_LIMIT), TEXT_LIMIT);
    memcpy(s + TEXT_LIMIT - 1, "ä", 2); /* the limit falls between its two bytes */
    assert_int_equal(arrives(s), TEXT_LIMIT - 1);
    memcpy(s + TEXT_LIMIT - 3, "😀", 4);
    assert_int_equal(arrives(s), TEXT_LIMIT - 3);
    memcpy(s + TEXT_LIMIT - 4, "😀x", 5); /* ends just at the limit */
    assert_int_equal(arrives(s), TEXT_LIMIT);
    memset(s, 0x80, 1000); /* no UTF-8 at all: still cut somewhere */
    assert_in_range(arrives(s), TEXT_LIMIT - 4, TEXT_LIMIT);
    free(s);
}

static void failure_always_has_a_text(void **state)
{
    struct wire_message m = {WIRE_ERROR, .error = {TX_EBUSY, NULL, NULL}}, back;
    struct buf b = encoded(&m);

    (void)state;
    assert_int_equal(wire_decode(&back, b.data, b.len, &scratch, NULL), 0);
    assert_string_equal(back.error.text, tx_strerror(TX_EBUSY));
    buf_release(&b);
}

/* values and cells */

static void values_are_counted(void **state)
{
    struct wire_message m = {WIRE_EXEC, .exec = {id, 1, 1, 0, "a", "x", 3, values.data, values.len}};

    (void)state;
    for (size_t len = 0; len < values.len; len++) {
        struct buf b;

        m.exec.values_len = len;
        b = encoded(&m);
        assert_refused(&b, "exec message: values");
    }
    m.exec.values_len = values.len;
    for (uint16_t n = 0; n < 10; n++) {
        struct buf b;

        m.exec.n_values = n;
        b = encoded(&m);
        if (n != 3)
            assert_refused(&b, "exec message: values");
        else
            buf_release(&b);
    }
}

static void cells_are_counted(void **state)
{
    static const uint32_t rows[] = {0, 1, 3, UINT32_MAX};
    static const uint16_t columns[] = {1, 3, 6, UINT16_MAX};
    struct wire_message m = {WIRE_ROWS, .rows = {TX_OK, NULL, 0, 2, 2, cells.data, cells.len}};
    struct buf b;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        m.rows.n_rows = rows[i];
        m.rows.n_columns = 2;
        b = encoded(&m);
        assert_refused(&b, "rows message: cells");
        m.rows.n_rows = 2;
        m.rows.n_columns = columns[i];
        b = encoded(&m);
        assert_refused(&b, "rows message: cells");
    }
    /* SELECT without columns: rows that are nothing at all, however many */
    m.rows = (struct wire_rows){TX_OK, NULL, 0, UINT32_MAX, 0, NULL, 0};
    b = encoded(&m);
    assert_int_equal(decode_exact(b.data, b.len, NULL), 0);
    buf_release(&b);
}

static void columns_have_names(void **state)
{
    struct wire_message m = {WIRE_ROWS, .rows = {TX_OK, NULL, 0, 0, 1, (const uint8_t[4]){0}, 4}};
    struct buf b = encoded(&m);

    (void)state;
    assert_refused(&b, "rows message: cells");
}

/* content */

static void ranges_upside_down_are_refused(void **state)
{
    static const struct range bad[] = {{0, 5}, {6, 5}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct wire_message m = {WIRE_HEARTBEAT, .heartbeat = {1, 1, {1, 0, &bad[i], NULL}}};
        struct wire_message n = {WIRE_HEARTBEAT, .heartbeat = {1, 1, {0, 1, NULL, &bad[i]}}};
        struct buf b = encoded(&m), c = encoded(&n);

        assert_refused(&b, "acknowledged");
        assert_refused(&c, "resolved");
    }
}

static void required_strings_may_not_be_null(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    buf_put_bytes(&b, (const uint8_t[]){'A', WIRE_VERSION, WIRE_LOCATE, 0}, 4);
    buf_put_str(&b, NULL);
    assert_refused(&b, "resource");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_over_the_bounds_are_refused),
        cmocka_unit_test(encoder_keeps_the_counts),
        cmocka_unit_test(encoder_keeps_the_lengths),
        cmocka_unit_test(whole_message_has_a_bound),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(failure_always_has_a_text),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(cells_are_counted),
        cmocka_unit_test(columns_have_names),
        cmocka_unit_test(no_key_is_all_zeros),
        cmocka_unit_test(clients_are_named_and_versioned),
        cmocka_unit_test(a_key_is_there_or_not),
        cmocka_unit_test(every_client_fits),
        cmocka_unit_test(ranges_upside_down_are_refused),
        cmocka_unit_test(required_strings_may_not_be_null),
    };

    return cmocka_run_group_tests(tests, blocks_init, blocks_release);
}
