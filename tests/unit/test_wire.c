/* test_wire: every message there and back, and every malformed one refused (wire.h); bounds are
 * test_wire_bounds.c's. */
#include "tests/unit/wire_help.h"

static struct wire_scratch scratch;

static const struct txid id = {0x1122334455667788, 12, 345678, 0xFEDCBA9876543210};
static const struct range some_ranges[] = {{1, 1}, {3, 9}, {12, UINT64_MAX}};
static const struct branch_ref some_branches[] = {{1, BRANCH_DIRECT, "bank_a", "xid=77", NULL},
                                                  {2, BRANCH_REMOTE, "bank.b-2", NULL, "tcp://10.0.0.1:7402"},
                                                  {UINT16_MAX, BRANCH_DIRECT, "c", "", NULL}};
static const struct wire_resource some_resources[] = {
    {"bank_a", "postgresql", 1, UINT64_MAX, 1, 3, 99000, 7, 4, 2, NULL},
    {"bank_b", "mariadb", 0, 0, 0, 0, 0, 0, 0, 0, "connection refused"},
    {"bank_c", NULL, 1, 1, 0, 0, 0, 0, 0, 0, "not in the registry"}};
static const struct wire_definition some_definitions[] = {{"bank_a", 7, "postgresql", "host=a dbname=bank"},
                                                          {"bank_b", UINT64_MAX, "redis", ""},
                                                          {"bank_c", 1, NULL, NULL}};
static const struct wire_report some_reports[] = {
    {REPORT_PREPARED, {1, 2, 3, 4}, 1, "bank_a", 0, "xid=5", NULL},
    {REPORT_FOUND, {5, 6, 7, 8}, 2, "bank_b", 123456789012, NULL, "since long"},
    {REPORT_ANSWER, {0, 0, 9, 0}, 0, "bank_a", 0, NULL, "{\"rows\":[]}"}};
static const struct wire_work_item some_items[] = {
    {WORK_COMMIT, {1, 2, 3, 4}, 1, BRANCH_REMOTE, "bank_a", "xid=5", NULL, NULL},
    {WORK_PREPARE, {1, 2, 3, 5}, 1, BRANCH_REMOTE, "bank_a", NULL, NULL, "shop"},
    {WORK_INQUIRE, {0, 0, 9, 0}, 0, BRANCH_DIRECT, "bank_a", NULL, "{\"verb\":\"in-doubt\"}", NULL}};

static const char *const some_nodes[] = {"tcp://10.0.0.1:7401", "ipc:///run/assent"};

static const uint8_t some_keys[2 * KEY_SIZE] = {1, [31] = 2, [32] = 255, [63] = 4};
static const struct wire_client_key some_clients[] = {{some_keys, "shop"}, {some_keys + KEY_SIZE, "bank"}};

#define NODES                       \
    {                               \
        2, some_nodes, 2, some_keys \
    }
#define NEWS                           \
    {                                  \
        2, 3, some_ranges, some_ranges \
    }

/* One message of each type, no field zero, and then variants. `values` and `cells` are filled in by
 * blocks_init(). */
static struct wire_message samples[] = {
    {WIRE_OPEN_SESSION, .open_session = {0xABCDEF0123456789, 30000, 60000, "transfer"}},
    {WIRE_SESSION, .session = {0x8899AABBCCDDEEFF, 42, NODES}},
    {WIRE_DECIDE, .decide = {id, VERDICT_COMMIT, WAIT_COMPLETED, 1, 3, some_branches, NEWS}},
    {WIRE_DECIDED, .decided = {VERDICT_ABORT, 1, HEURISTIC_HAZARD, "bank_a: serialization failure"}},
    {WIRE_HEARTBEAT, .heartbeat = {12, 0x1234567890, NEWS}},
    {WIRE_HEARTBEAT_OK, .heartbeat_ok = {NODES}},
    {WIRE_CLOSE_SESSION, .heartbeat = {12, 0x1234567890, NEWS}},
    {.type = WIRE_CLOSED},
    {WIRE_OUTCOME, .outcome = {id}},
    {WIRE_OUTCOME_IS, .outcome_is = {TX_OUTCOME_FORGOTTEN}},
    {WIRE_LOCATE, .locate = {"bank_a"}},
    {WIRE_LOCATED, .located = {"tcp://10.0.0.1:7501", some_keys}},
    {WIRE_PULL, .pull = {77, 88, "agent_1", "tcp://10.0.0.1:7501", 3, some_resources, 3, some_reports, 99}},
    {WIRE_WORK,
     .work = {0x1122334455667788, 88, 1, 2, some_items, 3, some_definitions, NODES, 99, 2, some_clients}},
    {WIRE_ADMIN, .admin = {"{\"verb\":\"status\"}"}},
    {WIRE_ADMIN_REPLY, .admin = {"{\"ok\":true}"}},
    {WIRE_EXEC, .exec = {id, 3, 4, 60000, "bank_a", "SELECT $1, $2, $3", 3, NULL, 0}},
    {WIRE_ROWS, .rows = {TX_OK, NULL, 9, 2, 2, NULL, 0}},
    {WIRE_FINISH, .finish = {FINISH_STATUS, id, 3, "bank_a", "xid=5"}},
    {WIRE_FINISHED, .finished = {TX_EINDOUBT, "connection lost", "xid=5"}},
    {WIRE_ERROR, .error = {TX_ENOTLEADER, "node 2 leads", "tcp://10.0.0.2:7401"}},
    /* variants: nothing in what may be empty or NULL */
    {WIRE_DECIDE, .decide = {id, VERDICT_ABORT, WAIT_DECIDED, 0, 0, NULL, {0, 0, NULL, NULL}}},
    {WIRE_DECIDED, .decided = {VERDICT_COMMIT, 0, HEURISTIC_NONE, NULL}},
    {WIRE_LOCATED, .located = {"tcp://10.0.0.1:7501", NULL}},
    {WIRE_PULL, .pull = {77, 89, "agent_1", NULL, 0, NULL, 0, NULL, 0}},
    {WIRE_WORK, .work = {.keys_version = 7}},
    {WIRE_WORK, .work = {.group = 1}},
    {WIRE_ROWS, .rows = {TX_ESTATEMENT, "42601: syntax error", 0, 0, 0, NULL, 0}},
    {WIRE_FINISH, .finish = {FINISH_PROOF, id, 3, "bank_a", "statements=2"}},
    {WIRE_FINISH, .finish = {FINISH_ONE_PHASE, id, 3, "bank_a", NULL}},
    {WIRE_FINISHED, .finished = {TX_OK, NULL, NULL}},
    {WIRE_FINISHED, .finished = {TX_OK, NULL, "xid=5 epoch=1700000000.123456"}},
    {WIRE_ERROR, .error = {TX_EBUSY, "too many sessions", NULL}},
};
enum { N_SAMPLES = sizeof samples / sizeof *samples };

static struct buf values, cells;

static int blocks_init(void **state)
{
    (void)state;
    buf_put_str(&values, "one");
    buf_put_str(&values, NULL);
    buf_put_str(&values, "");
    buf_put_str(&cells, "id");
    buf_put_str(&cells, "name");
    buf_put_str(&cells, "1");
    buf_put_str(&cells, "Ann");
    buf_put_str(&cells, "2");
    buf_put_str(&cells, NULL);
    for (size_t i = 0; i < N_SAMPLES; i++) {
        if (samples[i].type == WIRE_EXEC) {
            samples[i].exec.values = values.data;
            samples[i].exec.values_len = values.len;
        } else if (samples[i].type == WIRE_ROWS && samples[i].rows.n_rows > 0) {
            samples[i].rows.cells = cells.data;
            samples[i].rows.cells_len = cells.len;
        }
    }
    return 0;
}

static int blocks_release(void **state)
{
    (void)state;
    buf_release(&values);
    buf_release(&cells);
    return 0;
}

/* there and back */

static void same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        assert_ptr_equal(a, b);
    else
        assert_string_equal(a, b);
}

static void same_ranges(const struct range *a, size_t n_a, const struct range *b, size_t n_b)
{
    assert_int_equal(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        assert_int_equal(a[i].from, b[i].from);
        assert_int_equal(a[i].to, b[i].to);
    }
}

static void same_news(const struct wire_news *a, const struct wire_news *b)
{
    same_ranges(a->acknowledged, a->n_acknowledged, b->acknowledged, b->n_acknowledged);
    same_ranges(a->resolved, a->n_resolved, b->resolved, b->n_resolved);
}

static void same_nodes(const struct wire_nodes *a, const struct wire_nodes *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        same_text(a->addresses[i], b->addresses[i]);
    assert_int_equal(a->n_keys, b->n_keys);
    if (a->n_keys > 0)
        assert_memory_equal(a->keys, b->keys, a->n_keys * KEY_SIZE);
}

static void same_decide(const struct wire_decide *a, const struct wire_decide *b)
{
    assert_true(txid_equal(&a->id, &b->id));
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->wait, b->wait);
    assert_int_equal(a->agents_finish, b->agents_finish);
    assert_int_equal(a->n_branches, b->n_branches);
    for (size_t i = 0; i < a->n_branches; i++) {
        assert_int_equal(a->branches[i].number, b->branches[i].number);
        assert_int_equal(a->branches[i].kind, b->branches[i].kind);
        same_text(a->branches[i].resource, b->branches[i].resource);
        same_text(a->branches[i].proof, b->branches[i].proof);
        same_text(a->branches[i].agent, b->branches[i].agent);
    }
    same_news(&a->news, &b->news);
}

static void same_resource(const struct wire_resource *a, const struct wire_resource *b)
{
    same_text(a->name, b->name);
    same_text(a->kind, b->kind);
    assert_int_equal(a->by_registry, b->by_registry);
    assert_int_equal(a->definition, b->definition);
    assert_int_equal(a->up, b->up);
    assert_int_equal(a->in_doubt, b->in_doubt);
    assert_int_equal(a->oldest_ms, b->oldest_ms);
    assert_int_equal(a->found, b->found);
    assert_int_equal(a->resolved, b->resolved);
    assert_int_equal(a->rate, b->rate);
    same_text(a->error, b->error);
}

static void same_report(const struct wire_report *a, const struct wire_report *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(txid_equal(&a->id, &b->id));
    assert_int_equal(a->branch, b->branch);
    same_text(a->resource, b->resource);
    assert_int_equal(a->age_ms, b->age_ms);
    same_text(a->proof, b->proof);
    same_text(a->text, b->text);
}

static void same_pull(const struct wire_pull *a, const struct wire_pull *b)
{
    assert_int_equal(a->instance, b->instance);
    assert_int_equal(a->number, b->number);
    same_text(a->name, b->name);
    same_text(a->address, b->address);
    assert_int_equal(a->n_resources, b->n_resources);
    for (size_t i = 0; i < a->n_resources; i++)
        same_resource(&a->resources[i], &b->resources[i]);
    assert_int_equal(a->n_reports, b->n_reports);
    for (size_t i = 0; i < a->n_reports; i++)
        same_report(&a->reports[i], &b->reports[i]);
    assert_int_equal(a->keys_version, b->keys_version);
}

static void same_work(const struct wire_work *a, const struct wire_work *b)
{
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->introduce, b->introduce);
    assert_int_equal(a->n_items, b->n_items);
    for (size_t i = 0; i < a->n_items; i++) {
        assert_int_equal(a->items[i].kind, b->items[i].kind);
        assert_true(txid_equal(&a->items[i].id, &b->items[i].id));
        assert_int_equal(a->items[i].branch, b->items[i].branch);
        assert_int_equal(a->items[i].branch_kind, b->items[i].branch_kind);
        same_text(a->items[i].resource, b->items[i].resource);
        same_text(a->items[i].proof, b->items[i].proof);
        same_text(a->items[i].text, b->items[i].text);
    }
    assert_int_equal(a->n_definitions, b->n_definitions);
    for (size_t i = 0; i < a->n_definitions; i++) {
        same_text(a->definitions[i].name, b->definitions[i].name);
        assert_int_equal(a->definitions[i].mark, b->definitions[i].mark);
        same_text(a->definitions[i].kind, b->definitions[i].kind);
        same_text(a->definitions[i].settings, b->definitions[i].settings);
    }
    same_nodes(&a->nodes, &b->nodes);
    assert_int_equal(a->keys_version, b->keys_version);
    assert_int_equal(a->n_clients, b->n_clients);
    for (size_t i = 0; i < a->n_clients; i++) {
        assert_memory_equal(a->clients[i].key, b->clients[i].key, KEY_SIZE);
        same_text(a->clients[i].name, b->clients[i].name);
    }
}

static void same_exec(const struct wire_exec *a, const struct wire_exec *b)
{
    assert_true(txid_equal(&a->id, &b->id));
    assert_int_equal(a->branch, b->branch);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    same_text(a->resource, b->resource);
    same_text(a->statement, b->statement);
    assert_int_equal(a->n_values, b->n_values);
    assert_int_equal(a->values_len, b->values_len);
    assert_memory_equal(a->values, b->values, a->values_len);
}

static void same_rows(const struct wire_rows *a, const struct wire_rows *b)
{
    assert_int_equal(a->code, b->code);
    same_text(a->text, b->text);
    assert_int_equal(a->affected, b->affected);
    assert_int_equal(a->n_rows, b->n_rows);
    assert_int_equal(a->n_columns, b->n_columns);
    assert_int_equal(a->cells_len, b->cells_len);
    if (a->cells_len > 0)
        assert_memory_equal(a->cells, b->cells, a->cells_len);
}

/* The messages of the operator and those without an array. */
static void same_small(const struct wire_message *a, const struct wire_message *b)
{
    switch (a->type) {
    case WIRE_OPEN_SESSION:
        assert_int_equal(a->open_session.nonce, b->open_session.nonce);
        assert_int_equal(a->open_session.session_timeout_ms, b->open_session.session_timeout_ms);
        assert_int_equal(a->open_session.transaction_timeout_ms, b->open_session.transaction_timeout_ms);
        same_text(a->open_session.name, b->open_session.name);
        break;
    case WIRE_SESSION:
        assert_int_equal(a->session.group, b->session.group);
        assert_int_equal(a->session.session, b->session.session);
        same_nodes(&a->session.nodes, &b->session.nodes);
        break;
    case WIRE_DECIDED:
        assert_int_equal(a->decided.verdict, b->decided.verdict);
        assert_int_equal(a->decided.completed, b->decided.completed);
        assert_int_equal(a->decided.heuristic, b->decided.heuristic);
        same_text(a->decided.reason, b->decided.reason);
        break;
    case WIRE_OUTCOME:
        assert_true(txid_equal(&a->outcome.id, &b->outcome.id));
        break;
    case WIRE_OUTCOME_IS:
        assert_int_equal(a->outcome_is.outcome, b->outcome_is.outcome);
        break;
    case WIRE_LOCATE:
        same_text(a->locate.resource, b->locate.resource);
        break;
    case WIRE_LOCATED:
        same_text(a->located.address, b->located.address);
        assert_int_equal(a->located.key == NULL, b->located.key == NULL);
        if (a->located.key != NULL)
            assert_memory_equal(a->located.key, b->located.key, KEY_SIZE);
        break;
    case WIRE_ADMIN:
    case WIRE_ADMIN_REPLY:
        same_text(a->admin.json, b->admin.json);
        break;
    default:
        fail_msg("no comparison for %s", wire_type_name(a->type));
    }
}

static void same_finish(const struct wire_finish *a, const struct wire_finish *b)
{
    assert_int_equal(a->op, b->op);
    assert_true(txid_equal(&a->id, &b->id));
    assert_int_equal(a->branch, b->branch);
    same_text(a->resource, b->resource);
    same_text(a->proof, b->proof);
}

static void same_message(const struct wire_message *a, const struct wire_message *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case WIRE_DECIDE:
        same_decide(&a->decide, &b->decide);
        break;
    case WIRE_HEARTBEAT:
    case WIRE_CLOSE_SESSION:
        assert_int_equal(a->heartbeat.session, b->heartbeat.session);
        assert_int_equal(a->heartbeat.nonce, b->heartbeat.nonce);
        same_news(&a->heartbeat.news, &b->heartbeat.news);
        break;
    case WIRE_HEARTBEAT_OK:
        same_nodes(&a->heartbeat_ok.nodes, &b->heartbeat_ok.nodes);
        break;
    case WIRE_CLOSED:
        break;
    case WIRE_PULL:
        same_pull(&a->pull, &b->pull);
        break;
    case WIRE_WORK:
        same_work(&a->work, &b->work);
        break;
    case WIRE_EXEC:
        same_exec(&a->exec, &b->exec);
        break;
    case WIRE_ROWS:
        same_rows(&a->rows, &b->rows);
        break;
    case WIRE_FINISH:
        same_finish(&a->finish, &b->finish);
        break;
    case WIRE_FINISHED:
        assert_int_equal(a->finished.code, b->finished.code);
        same_text(a->finished.text, b->finished.text);
        same_text(a->finished.proof, b->finished.proof);
        break;
    case WIRE_ERROR:
        assert_int_equal(a->error.code, b->error.code);
        same_text(a->error.text, b->error.text);
        same_text(a->error.leader, b->error.leader);
        break;
    default:
        same_small(a, b);
    }
}

static void every_type_comes_back(void **state)
{
    bool seen[WIRE_ERROR + 1] = {false};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct buf b = encoded(&samples[i]);
        struct wire_message m;
        struct tx_error e;

        if (wire_decode(&m, b.data, b.len, &scratch, &e) != 0)
            fail_msg("sample %zu: %s", i, e.msg);
        same_message(&samples[i], &m);
        seen[m.type] = true;
        buf_release(&b);
    }
    for (unsigned t = WIRE_OPEN_SESSION; t <= WIRE_ERROR; t++)
        assert_true(seen[t]);
}

static void encoding_appends(void **state)
{
    struct buf b = encoded(&samples[0]);
    struct wire_message m;
    size_t first = b.len;

    (void)state;
    assert_int_equal(wire_encode(&samples[3], &b), 0);
    assert_int_equal(wire_decode(&m, b.data + first, b.len - first, &scratch, NULL), 0);
    same_message(&samples[3], &m);
    buf_release(&b);
}

/* malformed */

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct buf b = encoded(&samples[i]);

        for (size_t len = 0; len < b.len; len++) {
            struct tx_error e = {0};

            if (decode_exact(b.data, len, &e) != TX_EPROTO)
                fail_msg("sample %zu was understood from %zu of %zu bytes", i, len, b.len);
            assert_int_not_equal(e.msg[0], '\0');
        }
        buf_release(&b);
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct buf b = encoded(&samples[i]);

        buf_put_u8(&b, 0);
        assert_refused(&b, "bytes after its end");
    }
}

static void damaged_bytes_do_no_harm(void **state)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xFF};

    (void)state;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        struct buf b = encoded(&samples[i]);

        for (size_t at = 0; at < b.len * sizeof masks; at++) {
            uint8_t mask = masks[at % sizeof masks];

            b.data[at / sizeof masks] ^= mask;
            (void)decode_exact(b.data, b.len, NULL);
            b.data[at / sizeof masks] ^= mask;
        }
        buf_release(&b);
    }
}

static void foreign_headers_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *why;
    } cases[] = {
        {0, 'B', "not a message"},          {3, 1, "not a message"},  {1, 0, "version 0"},
        {1, WIRE_VERSION + 1, "version 6"}, {2, 0, "unknown type 0"}, {2, WIRE_ERROR + 1, "unknown type"},
        {2, 255, "unknown type 255"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = encoded(&samples[5]);

        b.data[cases[i].at] = cases[i].value;
        assert_refused(&b, cases[i].why);
    }
}

/* Each enumerated field of each message with the values next to its bounds. */
static void enumerated_fields_are_checked(void **state)
{
    struct branch_ref branch = {1, BRANCH_REMOTE + 1, "a", NULL, NULL};
    struct branch_ref unnumbered = {0, BRANCH_REMOTE, "a", NULL, NULL};
    struct wire_resource half_up = {.name = "a", .kind = "postgresql", .up = 2};
    struct wire_resource half_by_registry = {.name = "a", .kind = "postgresql", .by_registry = 2};
    struct wire_resource kindless = {.name = "a"}, bad_kind = {.name = "a", .kind = "", .by_registry = 1};
    struct wire_definition unmarked = {"a", 0, NULL, NULL}, no_settings = {"a", 1, "postgresql", NULL};
    struct wire_definition no_kind = {"a", 1, NULL, ""}, no_name = {"", 1, NULL, NULL};
    struct wire_definition odd_kind = {"a", 1, "post gresql", ""};
    struct wire_report report_0 = {0, id, 1, "a", 0, NULL, NULL};
    struct wire_report report_12 = {REPORT_ANSWER + 1, id, 1, "a", 0, NULL, NULL};
    struct wire_report report_unnumbered = {REPORT_HAZARD, id, 0, "a", 0, NULL, NULL};
    struct wire_work_item item_0 = {0, id, 1, BRANCH_DIRECT, "a", NULL, NULL, NULL};
    struct wire_work_item item_5 = {WORK_INQUIRE + 1, id, 1, BRANCH_DIRECT, "a", NULL, NULL, NULL};
    struct wire_work_item item_kind = {WORK_COMMIT, id, 1, BRANCH_REMOTE + 1, "a", NULL, NULL, NULL};
    struct wire_work_item item_unnumbered = {WORK_COMMIT, id, 0, BRANCH_REMOTE, "a", NULL, NULL, NULL};
    struct wire_message cases[] = {
        {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_NONE}},
        {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_ABORT + 1}},
        {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_COMMIT, .wait = WAIT_COMPLETED + 1}},
        {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_COMMIT, .agents_finish = 2}},
        {WIRE_DECIDE, .decide = {.id = id, .verdict = VERDICT_COMMIT, .n_branches = 1, .branches = &branch}},
        {WIRE_DECIDE,
         .decide = {.id = id, .verdict = VERDICT_COMMIT, .n_branches = 1, .branches = &unnumbered}},
        {WIRE_DECIDED, .decided = {.verdict = VERDICT_NONE}},
        {WIRE_DECIDED, .decided = {.verdict = VERDICT_COMMIT, .completed = 2}},
        {WIRE_DECIDED, .decided = {.verdict = VERDICT_COMMIT, .heuristic = HEURISTIC_HAZARD + 1}},
        {WIRE_OUTCOME_IS, .outcome_is = {TX_OUTCOME_FORGOTTEN + 1}},
        {WIRE_PULL, .pull = {.name = "a", .n_resources = 1, .resources = &half_up}},
        {WIRE_PULL, .pull = {.name = "a", .n_resources = 1, .resources = &half_by_registry}},
        {WIRE_PULL, .pull = {.name = "a", .n_resources = 1, .resources = &kindless}},
        {WIRE_PULL, .pull = {.name = "a", .n_resources = 1, .resources = &bad_kind}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &unmarked}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &no_settings}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &no_kind}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &no_name}},
        {WIRE_WORK, .work = {.n_definitions = 1, .definitions = &odd_kind}},
        {WIRE_PULL, .pull = {.name = "a", .n_reports = 1, .reports = &report_0}},
        {WIRE_PULL, .pull = {.name = "a", .n_reports = 1, .reports = &report_12}},
        {WIRE_PULL, .pull = {.name = "a", .n_reports = 1, .reports = &report_unnumbered}},
        {WIRE_WORK, .work = {.introduce = 2}},
        {WIRE_WORK, .work = {.n_items = 1, .items = &item_0}},
        {WIRE_WORK, .work = {.n_items = 1, .items = &item_5}},
        {WIRE_WORK, .work = {.n_items = 1, .items = &item_kind}},
        {WIRE_WORK, .work = {.n_items = 1, .items = &item_unnumbered}},
        {WIRE_EXEC, .exec = {.id = id, .branch = 0, .number = 1, .resource = "a", .statement = "x"}},
        {WIRE_EXEC, .exec = {.id = id, .branch = 1, .number = 0, .resource = "a", .statement = "x"}},
        {WIRE_ROWS, .rows = {.code = TX_EDENIED - 1}},
        {WIRE_FINISH, .finish = {.op = 0, .branch = 1, .resource = "a"}},
        {WIRE_FINISH, .finish = {.op = FINISH_PROOF + 1, .branch = 1, .resource = "a"}},
        {WIRE_FINISH, .finish = {.op = FINISH_STATUS, .branch = 0, .resource = "a"}},
        {WIRE_FINISHED, .finished = {.code = 1}},
        {WIRE_ERROR, .error = {.code = TX_OK, .text = "fine"}},
        {WIRE_ERROR, .error = {.code = INT32_MIN, .text = "?"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = encoded(&cases[i]);

        assert_refused(&b, wire_type_name(cases[i].type));
    }
}

static void names_are_checked(void **state)
{
    static const char *const bad[] = {"", "bank a", "bank\n", "bänk", "a/b", "a;b"};
    char longest[NAME_LIMIT + 2];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire_message m = {WIRE_LOCATE, .locate = {bad[i]}};
        struct buf b = encoded(&m);

        assert_false(wire_name_valid(bad[i]));
        assert_refused(&b, "malformed locate message: resource");
    }
    memset(longest, 'x', sizeof longest);
    longest[NAME_LIMIT + 1] = '\0';
    assert_false(wire_name_valid(longest));
    longest[NAME_LIMIT] = '\0';
    assert_true(wire_name_valid(longest));
    assert_true(wire_name_valid("AZaz09_.-"));
}

static void types_have_names(void **state)
{
    (void)state;
    for (unsigned t = WIRE_OPEN_SESSION; t <= WIRE_ERROR; t++)
        assert_string_not_equal(wire_type_name(t), "unknown");
    assert_string_equal(wire_type_name(0), "unknown");
    assert_string_equal(wire_type_name(WIRE_ERROR + 1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(encoding_appends),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(damaged_bytes_do_no_harm),
        cmocka_unit_test(foreign_headers_are_refused),
        cmocka_unit_test(enumerated_fields_are_checked),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(types_have_names),
    };

    return cmocka_run_group_tests(tests, blocks_init, blocks_release);
}
