/* fuzz_wire: messages between clients, agents, txadmin and coordinators (wire.h), at whichever end.
 *
 * Input: the message's type, and what stands behind the header, which is made here, so that the corpus outlives
 * a version; type 0: a whole message. Checked: what is understood is encoded to what is understood as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "libtx/rows.h"
#include "tests/fuzz/fuzz_wire.h"
#include "tests/fuzz/targets.h"

enum { HEADER = 4 };

uint8_t *fuzz_wire_message(uint8_t type, const uint8_t *body, size_t len, size_t *total)
{
    const uint8_t header[HEADER] = {'A', WIRE_VERSION, type, 0};
    size_t skip = type == 0 ? 0 : HEADER;
    uint8_t *message = malloc(skip + len + 1);

    fuzz_check(message != NULL);
    memcpy(message, header, skip);
    if (len > 0)
        memcpy(message + skip, body, len);
    *total = skip + len;
    return message;
}

/* What an application may then ask of the rows that came. */
static void read_rows(const struct wire_rows *rows)
{
    struct channel_message none = {.data = NULL};
    struct txn_rows *taken = rows_take(rows, &none);

    fuzz_check(taken != NULL);
    fuzz_check(txn_rows_count(taken) >= 0 && txn_rows_columns(taken) >= 0 && txn_rows_affected(taken) >= 0);
    for (int c = 0; c < txn_rows_columns(taken); c++) {
        fuzz_check(strlen(txn_rows_name(taken, c)) <= ROWS_LIMIT);
        for (int r = 0; r < txn_rows_count(taken); r++)
            (void)strlen(txn_rows_value(taken, r, c) != NULL ? txn_rows_value(taken, r, c) : "");
    }
    free(taken);
}

/* Encoded, decoded and encoded again, it stays the same. */
static void goes_round(const struct wire_message *m)
{
    static struct wire_scratch scratch;
    struct wire_message again;
    struct buf first, second;

    buf_init(&first);
    buf_init(&second);
    fuzz_check(wire_encode(m, &first) == TX_OK);
    fuzz_check(wire_decode(&again, first.data, first.len, &scratch, NULL) == TX_OK && again.type == m->type);
    fuzz_check(wire_encode(&again, &second) == TX_OK);
    fuzz_check(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    buf_release(&first);
    buf_release(&second);
}

void fuzz_wire_run(const uint8_t *data, size_t len)
{
    static struct wire_scratch scratch;
    struct tx_error e = {0};
    struct wire_message m;
    uint8_t *message, *exact;
    struct cur c;
    size_t n;

    if (len == 0)
        return;
    message = fuzz_wire_message(data[0], data + 1, len - 1, &n);
    cur_init(&c, message, n);
    exact = fuzz_bytes(&c, &n);
    free(message);
    if (wire_decode(&m, exact, n, &scratch, &e) == TX_OK) {
        goes_round(&m);
        if (m.type == WIRE_ROWS)
            read_rows(&m.rows);
    } else {
        fuzz_check(e.code == TX_EPROTO && *e.msg != '\0');
    }
    free(exact);
}

void fuzz_wire_put_body(struct buf *to, const struct wire_message *m)
{
    struct buf b;

    buf_init(&b);
    fuzz_check(wire_encode(m, &b) == TX_OK);
    buf_put_u8(to, (uint8_t)m->type);
    buf_put_bytes(to, b.data + HEADER, b.len - HEADER);
    buf_release(&b);
}

void fuzz_wire_seed(struct fuzz_sink *to)
{
    static const uint8_t key[2 * KEY_SIZE] = {1};
    static const struct txid id = {7, 1, 2, 9};
    static const struct range range = {1, 9};
    static const char *const addresses[] = {"tcp://10.0.0.1:7401", "ipc:///run/assent"};
    static const uint8_t cells[] = {2, 0, 0, 0, 'n', 0, 2, 0, 0, 0, '7', 0, 0, 0, 0, 0};
    static const struct wire_nodes nodes = {2, addresses, 2, key};
    static const struct wire_news news = {1, 1, &range, &range};
    static const struct branch_ref branches[] = {{1, BRANCH_DIRECT, "a", "xid=7", NULL},
                                                 {2, BRANCH_REMOTE, "b", NULL, "tcp://h:1"}};
    static const struct wire_resource resources[] = {
        {.name = "a", .kind = "postgresql", .up = 1, .in_doubt = 2},
        {.name = "b", .by_registry = 1, .error = "down"}};
    static const struct wire_report reports[] = {{REPORT_PREPARED, {7, 1, 2, 9}, 1, "a", 0, "xid=5", NULL},
                                                 {REPORT_ANSWER, {0, 0, 9, 0}, 0, "a", 0, NULL, "{}"}};
    static const struct wire_work_item items[] = {
        {WORK_COMMIT, {7, 1, 2, 9}, 1, BRANCH_REMOTE, "a", "xid=5", NULL, NULL},
        {WORK_PREPARE, {7, 1, 2, 9}, 1, BRANCH_REMOTE, "a", NULL, NULL, "shop"},
        {WORK_INQUIRE, {0, 0, 9, 0}, 0, BRANCH_DIRECT, "a", NULL, "{}", NULL}};
    static const struct wire_definition definition = {"a", 7, "postgresql", "host=h"};
    static const struct wire_client_key client = {key, "shop"};
    const struct wire_message samples[] = {
        {WIRE_OPEN_SESSION, .open_session = {5, 30000, 60000, "shop"}},
        {WIRE_SESSION, .session = {7, 1, nodes}},
        {WIRE_DECIDE, .decide = {id, VERDICT_COMMIT, WAIT_COMPLETED, 1, 2, branches, news}},
        {WIRE_DECIDED, .decided = {VERDICT_ABORT, 1, HEURISTIC_HAZARD, "refused"}},
        {WIRE_HEARTBEAT, .heartbeat = {1, 5, news}},
        {WIRE_HEARTBEAT_OK, .heartbeat_ok = {nodes}},
        {WIRE_CLOSE_SESSION, .heartbeat = {1, 5, news}},
        {.type = WIRE_CLOSED},
        {WIRE_OUTCOME, .outcome = {id}},
        {WIRE_OUTCOME_IS, .outcome_is = {TX_OUTCOME_COMMITTED}},
        {WIRE_LOCATE, .locate = {"a"}},
        {WIRE_LOCATED, .located = {"tcp://h:1", key}},
        {WIRE_PULL, .pull = {1, 2, "agent", "tcp://h:1", 2, resources, 2, reports, 3}},
        {WIRE_WORK, .work = {7, 2, 1, 2, items, 1, &definition, nodes, 4, 1, &client}},
        {WIRE_ADMIN, .admin = {"{\"verb\":\"status\"}"}},
        {WIRE_ADMIN_REPLY, .admin = {"{}"}},
        {WIRE_EXEC, .exec = {id, 1, 1, 60000, "a", "SELECT $1", 1, cells, 6}},
        {WIRE_ROWS, .rows = {TX_OK, NULL, 1, 2, 1, cells, sizeof cells}},
        {WIRE_ROWS, .rows = {TX_ESTATEMENT, "division by zero", 0, 0, 0, NULL, 0}},
        {WIRE_FINISH, .finish = {FINISH_ONE_PHASE, id, 1, "a", "xid=7"}},
        {WIRE_FINISHED, .finished = {TX_EINDOUBT, "lost", "xid=7"}},
        {WIRE_ERROR, .error = {TX_ENOTLEADER, "ask the leader", "tcp://h:1"}},
    };
    struct buf b;

    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        buf_init(&b);
        fuzz_wire_put_body(&b, &samples[i]);
        fuzz_put_buf(to, &b);
    }
}
