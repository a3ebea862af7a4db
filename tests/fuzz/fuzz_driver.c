/* fuzz_driver: requests to a coordinator that leads, as the server takes them: understood, permitted, and
 * served (wire.h, access.h, driver.h); by clients and agents who may say anything, in any order.
 *
 * Input: steps: messages (fuzz_wire.h's form), time, entries that are committed or lost, failovers. Checked:
 * every answer can be encoded and is understood; every entry can be applied; and a client that is told COMMIT
 * is never told ABORT of the same transaction, nor the other way round.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/access.h"
#include "coordinator/driver.h"
#include "tests/fuzz/fuzz_ledger.h"
#include "tests/fuzz/fuzz_wire.h"
#include "tests/fuzz/targets.h"

enum { NODE = 1, STEPS = 64, ENTRIES = 256, SESSIONS = 4, SEQUENCES = 8, CALLERS = 6 };
enum { WALL = 1700000000 };

struct entry {
    uint8_t *data;
    size_t len;
    uint64_t ticket;
};

struct world {
    struct driver *d;
    uint64_t now, index;
    size_t n_entries;
    struct entry entries[ENTRIES];
    uint32_t asked;
    struct txid about[STEPS]; /* what each request asks about */
    enum verdict told[SESSIONS + 1][SEQUENCES + 1];
};

static struct wire_scratch scratch, reply_scratch;

static uint64_t wall(const struct world *w)
{
    return WALL * 1000ULL + w->now;
}

/* Answers */

static void note_verdict(struct world *w, const struct txid *id, enum verdict verdict)
{
    const struct session *s = ledger_session(driver_ledger(w->d), id->session);
    enum verdict *told;

    if (s == NULL || s->nonce != id->nonce || id->group != FUZZ_GROUP || id->session > SESSIONS ||
        id->sequence > SEQUENCES)
        return;
    told = &w->told[id->session][id->sequence];
    fuzz_check(*told == VERDICT_NONE || *told == verdict);
    *told = verdict;
}

static void on_reply(void *ctx, const struct reply_to *to, const struct wire_message *m)
{
    struct world *w = ctx;
    struct wire_message again;
    struct buf b;
    uint32_t number;

    buf_init(&b);
    fuzz_check(wire_encode(m, &b) == TX_OK);
    fuzz_check(wire_decode(&again, b.data, b.len, &reply_scratch, NULL) == TX_OK);
    memcpy(&number, to->header, sizeof number);
    fuzz_check(number < w->asked);
    if (m->type == WIRE_DECIDED)
        note_verdict(w, &w->about[number], m->decided.verdict);
    if (m->type == WIRE_OUTCOME_IS && m->outcome_is.outcome == TX_OUTCOME_COMMITTED)
        note_verdict(w, &w->about[number], VERDICT_COMMIT);
    if (m->type == WIRE_OUTCOME_IS && m->outcome_is.outcome == TX_OUTCOME_ABORTED)
        note_verdict(w, &w->about[number], VERDICT_ABORT);
    buf_release(&b);
}

/* The log */

static void on_propose(void *ctx, uint8_t *entry, size_t len, uint64_t ticket)
{
    struct world *w = ctx;

    fuzz_check(w->n_entries < ENTRIES);
    w->entries[w->n_entries++] = (struct entry){entry, len, ticket};
}

static void end_entry(struct world *w, bool committed)
{
    struct entry e = w->entries[0];

    memmove(&w->entries[0], &w->entries[1], --w->n_entries * sizeof e);
    if (committed)
        fuzz_check(driver_apply(w->d, w->now, ++w->index, e.data, e.len, NULL) == 0);
    driver_proposed(w->d, w->now, e.ticket, committed);
    free(e.data);
}

static void turn(struct world *w)
{
    driver_flush(w->d, w->now);
    while (w->n_entries > 0)
        end_entry(w, true);
    driver_flush(w->d, w->now);
}

static void lead(struct world *w)
{
    static const struct driver_options options = {.node_id = NODE, .address = "tcp://h:1"};
    static const uint64_t members[] = {NODE};
    const struct driver_ops ops = {.ctx = w, .reply = on_reply, .propose = on_propose};

    fuzz_check(driver_new(&w->d, FUZZ_GROUP, &options, &ops, NULL) == TX_OK);
    driver_role(w->d, w->now, true, NODE);
    driver_members(w->d, w->now, members, 1);
}

static void forget_entries(struct world *w)
{
    for (size_t i = 0; i < w->n_entries; i++)
        free(w->entries[i].data);
    w->n_entries = 0;
}

static void fail_over(struct world *w)
{
    struct buf state;

    buf_init(&state);
    driver_snapshot(w->d, &state);
    driver_free(w->d);
    forget_entries(w);
    lead(w);
    fuzz_check(driver_restore(w->d, state.data, state.len, NULL) == 0);
    driver_role(w->d, w->now, true, NODE);
    buf_release(&state);
}

/* Requests */

/* Mutated ids are mostly nobody's; so they are brought near to what there is. */
static struct txid near_id(const struct world *w, struct txid id)
{
    const struct session *s;

    id.group = FUZZ_GROUP;
    id.session = 1 + (id.session + SESSIONS - 1) % SESSIONS;
    id.sequence = 1 + (id.sequence + SEQUENCES - 1) % SEQUENCES;
    s = ledger_session(driver_ledger(w->d), id.session);
    if (s != NULL)
        id.nonce = s->nonce;
    return id;
}

static void bring_near(const struct world *w, struct wire_message *m)
{
    struct txid id;

    switch (m->type) {
    case WIRE_DECIDE:
        m->decide.id = near_id(w, m->decide.id);
        break;
    case WIRE_OUTCOME:
        m->outcome.id = near_id(w, m->outcome.id);
        break;
    case WIRE_HEARTBEAT:
    case WIRE_CLOSE_SESSION:
        id = near_id(w, (struct txid){.session = m->heartbeat.session, .sequence = 1});
        m->heartbeat.session = id.session;
        m->heartbeat.nonce = id.nonce;
        break;
    case WIRE_PULL:
        for (size_t i = 0; i < m->pull.n_reports; i++)
            scratch.reports[i].id = near_id(w, scratch.reports[i].id);
        break;
    default:
        break;
    }
}

static struct txid about(const struct wire_message *m)
{
    switch (m->type) {
    case WIRE_DECIDE:
        return m->decide.id;
    case WIRE_OUTCOME:
        return m->outcome.id;
    default:
        return (struct txid){0};
    }
}

static uint64_t session_of(const struct wire_message *m)
{
    if (m->type == WIRE_HEARTBEAT || m->type == WIRE_CLOSE_SESSION)
        return m->heartbeat.session;
    return about(m).session;
}

static bool is_request(const struct wire_message *m)
{
    return m->type == WIRE_OPEN_SESSION || m->type == WIRE_DECIDE || m->type == WIRE_HEARTBEAT ||
           m->type == WIRE_CLOSE_SESSION || m->type == WIRE_OUTCOME || m->type == WIRE_LOCATE ||
           m->type == WIRE_PULL;
}

/* Who is permitted to speak for a session has opened it, or has another key of the same name. */
static void check_permitted(const struct world *w, const struct caller *caller, uint64_t session)
{
    const struct ledger *l = driver_ledger(w->d);
    const struct session *s = ledger_session(l, session);
    const struct ledger_key *owner = s == NULL ? NULL : ledger_key(l, s->owner);

    if (caller->key != NULL && owner != NULL)
        fuzz_check(strcmp(owner->name, caller->name) == 0);
}

static void serve(struct world *w, uint8_t who, const struct wire_message *m)
{
    static const struct keyring no_file;
    const uint8_t key[KEY_SIZE] = {[0] = (uint8_t)(1 + who % CALLERS)};
    struct caller caller = {.key = NULL};
    struct reply_to from = {.len = sizeof w->asked};
    uint32_t number = w->asked++;

    w->about[number] = about(m);
    memcpy(from.header, &number, sizeof number);
    if (who % CALLERS != 0 && !access_caller(driver_ledger(w->d), &no_file, key, &caller))
        return;
    if (access_check(driver_ledger(w->d), &caller, m, NULL) != TX_OK)
        return;
    check_permitted(w, &caller, session_of(m));
    driver_request(w->d, w->now, wall(w), &caller, &from, m);
}

/* By whom, whether near, and whether the turn ends; length, type and body. */
static void step_request(struct world *w, struct cur *c)
{
    uint8_t who = cur_u8(c), type;
    size_t len = cur_u16(c), n;
    struct wire_message m;
    uint8_t *body, *message;

    type = cur_u8(c);
    body = fuzz_bytes(c, &len);
    message = fuzz_wire_message(type, body, len, &n);
    if (wire_decode(&m, message, n, &scratch, NULL) == TX_OK && is_request(&m)) {
        if ((who & 0x80) == 0)
            bring_near(w, &m);
        serve(w, who & 0x3f, &m);
        if ((who & 0x40) == 0)
            turn(w);
    }
    free(message);
    free(body);
}

static void step(struct world *w, struct cur *c)
{
    switch (cur_u8(c) % 8) {
    case 0:
    case 1:
    case 2:
        step_request(w, c);
        break;
    case 3:
        w->now += 100 * (uint64_t)cur_u8(c);
        driver_tick(w->d, w->now, wall(w));
        turn(w);
        break;
    case 4:
        driver_flush(w->d, w->now);
        if (w->n_entries > 0)
            end_entry(w, cur_u8(c) % 2 == 0);
        break;
    case 5:
        fail_over(w);
        break;
    case 6:
        driver_role(w->d, w->now, false, 0);
        forget_entries(w);
        driver_role(w->d, w->now, true, NODE);
        break;
    default:
        turn(w);
        break;
    }
}

/* Two clients, two agents of which one may serve one resource only, an operator; caller 0 is nobody's. */
static void begin(struct world *w)
{
    static const struct record keys[] = {
        {.type = RECORD_ADD_KEY, .key = {{2}, "shop", ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {{3}, "till", ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {{4}, "bank", ROLE_AGENT, "*"}},
        {.type = RECORD_ADD_KEY, .key = {{5}, "other", ROLE_AGENT, "b"}},
        {.type = RECORD_ADD_KEY, .key = {{6}, "ops", ROLE_OPERATOR, ""}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {"b", "mariadb", "host=h"}},
    };
    struct buf entry;

    w->now = 1000;
    lead(w);
    buf_init(&entry);
    record_begin(&entry);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        record_append(&entry, &keys[i]);
    fuzz_check(!entry.failed);
    turn(w);
    fuzz_check(driver_apply(w->d, w->now, ++w->index, entry.data, entry.len, NULL) == 0);
    buf_release(&entry);
}

void fuzz_driver_run(const uint8_t *data, size_t len)
{
    struct world *w = calloc(1, sizeof *w);
    struct cur c;

    fuzz_check(w != NULL);
    begin(w);
    cur_init(&c, data, len);
    for (unsigned i = 0; i < STEPS && c.p < c.end; i++)
        step(w, &c);
    turn(w);
    fuzz_ledger_check(driver_ledger(w->d));
    driver_free(w->d);
    free(w);
}

/* Seeds */

enum { SHOP = 1, TILL, BANK, OTHER };

static void put_request(struct buf *to, uint8_t who, const struct wire_message *m)
{
    struct buf b;

    buf_init(&b);
    fuzz_wire_put_body(&b, m);
    buf_put_u8(to, 0);
    buf_put_u8(to, who);
    buf_put_u16(to, (uint16_t)(b.len - 1));
    buf_put_bytes(to, b.data, b.len);
    buf_release(&b);
}

static void put_time(struct buf *to, uint8_t tenths)
{
    buf_put_u8(to, 3);
    buf_put_u8(to, tenths);
}

static void put_begin(struct buf *to)
{
    static const struct wire_resource resources[] = {
        {.name = "a", .kind = "postgresql", .up = 1},
        {.name = "b", .by_registry = 1, .kind = "mariadb", .up = 1}};
    const struct wire_message open = {WIRE_OPEN_SESSION, .open_session = {5, 3000, 6000, "shop"}};
    const struct wire_message pull = {WIRE_PULL, .pull = {1, 1, "bank", "tcp://h:1", 2, resources, 0, NULL, 0}};

    put_request(to, BANK, &pull);
    put_request(to, SHOP, &open);
}

static void put_decide(struct buf *to, uint64_t sequence, uint8_t kind, uint8_t verdict)
{
    const struct branch_ref branches[] = {{1, kind, "a", "xid=7", NULL}, {2, kind, "b", NULL, NULL}};
    const struct wire_message m = {WIRE_DECIDE, .decide = {.id = {FUZZ_GROUP, 1, sequence, 5},
                                                           .verdict = verdict,
                                                           .wait = WAIT_COMPLETED,
                                                           .n_branches = 2,
                                                           .branches = branches}};

    put_request(to, SHOP, &m);
}

static void put_report(struct buf *to, uint64_t number, uint64_t sequence, uint8_t kind)
{
    const struct wire_report reports[] = {{kind, {FUZZ_GROUP, 1, sequence, 5}, 1, "a", 60000, "xid=7", "text"},
                                          {kind, {FUZZ_GROUP, 1, sequence, 5}, 2, "b", 60000, NULL, "text"}};
    const struct wire_message m = {WIRE_PULL, .pull = {1, number, "bank", "tcp://h:1", 0, NULL, 2, reports, 0}};

    put_request(to, BANK, &m);
}

static void put_outcome(struct buf *to, uint64_t sequence)
{
    const struct wire_message m = {WIRE_OUTCOME, .outcome = {{FUZZ_GROUP, 1, sequence, 5}}};

    put_request(to, SHOP, &m);
}

static void put_beat(struct buf *to, enum wire_type type)
{
    static const struct range range = {1, 1};
    const struct wire_message m = {type, .heartbeat = {1, 5, {1, 1, &range, &range}}};

    put_request(to, SHOP, &m);
}

static void seed_direct(struct buf *b)
{
    put_begin(b);
    put_decide(b, 1, BRANCH_DIRECT, VERDICT_COMMIT);
    put_beat(b, WIRE_HEARTBEAT);
    put_decide(b, 2, BRANCH_DIRECT, VERDICT_ABORT);
    buf_put_u8(b, 5);
    put_outcome(b, 1);
    put_beat(b, WIRE_CLOSE_SESSION);
}

static void seed_remote(struct buf *b)
{
    put_begin(b);
    put_decide(b, 1, BRANCH_REMOTE, VERDICT_COMMIT);
    put_report(b, 2, 1, REPORT_PREPARED);
    put_report(b, 3, 1, REPORT_COMMITTED);
    put_decide(b, 2, BRANCH_REMOTE, VERDICT_COMMIT);
    put_report(b, 4, 2, REPORT_REFUSED);
    put_outcome(b, 2);
    put_report(b, 5, 3, REPORT_FOUND);
    put_time(b, 100);
    put_report(b, 6, 3, REPORT_HEURISTIC_COMMIT);
}

static void seed_stranger(struct buf *b)
{
    const struct wire_message open = {WIRE_OPEN_SESSION, .open_session = {6, 3000, 6000, "till"}};
    const struct wire_message locate = {WIRE_LOCATE, .locate = {"b"}};

    put_begin(b);
    put_request(b, TILL, &open);
    put_request(b, TILL, &locate);
    put_decide(b, 1, BRANCH_DIRECT, VERDICT_COMMIT);
    b->data[b->len - 1] = 0;
    put_time(b, 200);
    put_time(b, 200);
    buf_put_u8(b, 6);
    put_outcome(b, 1);
    put_request(b, OTHER, &locate);
}

void fuzz_driver_seed(struct fuzz_sink *to)
{
    static void (*const seeds[])(struct buf *) = {seed_direct, seed_remote, seed_stranger};
    struct buf b;

    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        buf_init(&b);
        seeds[i](&b);
        fuzz_put_buf(to, &b);
    }
}
