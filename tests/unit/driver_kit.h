/* driver_kit: a world of one node around a driver, for its tests: it keeps the answers, applies what is
 * proposed (at once, later, or never), and lets the lead pass to a new driver that has only the ledger. */
#ifndef ASSENT_DRIVER_KIT_H
#define ASSENT_DRIVER_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/driver.h"

enum { KIT_REPLIES = 4096, KIT_ENTRIES = 256 };
#define KIT_GROUP 0xabcdULL
#define KIT_NODE 1ULL
#define KIT_NONCE 77ULL
#define KIT_WALL 1700000000000ULL

struct kit_reply {
    uint32_t to;
    struct buf bytes;
};

struct kit_entry {
    uint8_t *data;
    size_t len;
    uint64_t ticket;
};

struct kit {
    struct driver *d;
    struct driver_options options;
    struct caller caller;  /* of the requests; zeroed: insecure */
    uint8_t key[KEY_SIZE]; /* the caller's */
    int done_rc;           /* of the last change of keys that ended; 1: none has */
    uint64_t now, index;
    uint64_t session, nonce; /* of the client that the helpers below speak for */
    uint32_t asked;          /* number of the last request */
    uint64_t pulled;         /* number of the last PULL */
    struct kit_reply replies[KIT_REPLIES];
    size_t n_replies;
    struct kit_entry entries[KIT_ENTRIES];
    size_t n_entries;
    struct wire_scratch scratch;
};

static inline void kit_on_reply(void *ctx, const struct reply_to *to, const struct wire_message *m)
{
    struct kit *k = ctx;
    struct kit_reply *r = &k->replies[k->n_replies++];

    assert_true(k->n_replies < KIT_REPLIES);
    memcpy(&r->to, to->header, sizeof r->to);
    buf_init(&r->bytes);
    assert_int_equal(wire_encode(m, &r->bytes), 0);
}

static inline void kit_on_propose(void *ctx, uint8_t *entry, size_t len, uint64_t ticket)
{
    struct kit *k = ctx;

    assert_true(k->n_entries < KIT_ENTRIES);
    k->entries[k->n_entries++] = (struct kit_entry){.data = entry, .len = len, .ticket = ticket};
}

static inline void kit_new_driver(struct kit *k)
{
    const struct driver_ops ops = {.ctx = k, .reply = kit_on_reply, .propose = kit_on_propose};

    assert_int_equal(driver_new(&k->d, KIT_GROUP, &k->options, &ops, NULL), 0);
}

/* Time and the log */

static inline void kit_flush(struct kit *k)
{
    driver_flush(k->d, k->now);
}

static inline void kit_drop_entries(struct kit *k)
{
    for (size_t i = 0; i < k->n_entries; i++)
        free(k->entries[i].data);
    k->n_entries = 0;
}

/* Applies all that is proposed, and what follows from it. */
static inline void kit_apply(struct kit *k)
{
    while (k->n_entries > 0) {
        struct kit_entry e = k->entries[0];
        struct tx_error error;

        memmove(&k->entries[0], &k->entries[1], --k->n_entries * sizeof e);
        assert_int_equal(driver_apply(k->d, k->now, ++k->index, e.data, e.len, &error), 0);
        driver_proposed(k->d, k->now, e.ticket, true);
        free(e.data);
    }
}

static inline void kit_turn(struct kit *k)
{
    kit_flush(k);
    kit_apply(k);
    kit_flush(k);
}

/* Lets time go by, in ticks of 50 ms, and log and answers with it. */
static inline void kit_pass(struct kit *k, uint64_t ms)
{
    for (uint64_t end = k->now + ms; k->now < end;) {
        k->now += 50;
        driver_tick(k->d, k->now, KIT_WALL + k->now);
        kit_turn(k);
    }
}

/* Requests and answers */

static inline uint32_t kit_ask(struct kit *k, const struct wire_message *m)
{
    struct reply_to from = {.len = sizeof k->asked};
    uint32_t number = ++k->asked;

    memcpy(from.header, &number, sizeof number);
    driver_request(k->d, k->now, KIT_WALL + k->now, &k->caller, &from, m);
    return number;
}

/* Requests come from here on with this key; number 0: insecure. */
static inline void kit_as(struct kit *k, uint8_t number, const char *name)
{
    k->key[0] = number;
    k->caller = number == 0 ? (struct caller){0}
                            : (struct caller){.key = k->key, .name = name, .roles = ROLES_ALL, .grant = "*"};
}

static inline void kit_on_done(void *arg, int rc, enum verdict stands)
{
    struct kit *k = arg;

    assert_int_equal(stands, VERDICT_NONE);
    k->done_rc = rc;
}

/* Adds a key, or without roles revokes it; to be followed by kit_turn(). */
static inline int kit_propose_key(struct kit *k, uint8_t number, const char *name, unsigned roles,
                                  struct tx_error *e)
{
    struct key_entry entry = {.key = {number}, .roles = roles, .grant = ""};
    const struct driver_revocation revocation = {.key = entry.key, .name = name};

    k->done_rc = 1;
    snprintf(entry.name, sizeof entry.name, "%s", name != NULL ? name : "");
    if (roles == 0)
        return driver_revoke_key(k->d, k->now, KIT_WALL + k->now, &revocation, kit_on_done, k, e);
    return driver_add_key(k->d, k->now, KIT_WALL + k->now, &entry, kit_on_done, k, e);
}

static inline void kit_set_key(struct kit *k, uint8_t number, const char *name, unsigned roles)
{
    struct tx_error e = {0};

    if (kit_propose_key(k, number, name, roles, &e) != 0)
        fail_msg("%s", e.msg);
    kit_turn(k);
    assert_int_equal(k->done_rc, TX_OK);
}

static inline const struct ledger_key *kit_known(const struct kit *k, uint8_t number)
{
    const uint8_t key[KEY_SIZE] = {number};

    return ledger_key(driver_ledger(k->d), key);
}

/* The newest answer to request `number`; false where there is none. */
static inline bool kit_answer(struct kit *k, uint32_t number, struct wire_message *m)
{
    for (size_t i = k->n_replies; i-- > 0;) {
        const struct kit_reply *r = &k->replies[i];

        if (r->to != number)
            continue;
        assert_int_equal(wire_decode(m, r->bytes.data, r->bytes.len, &k->scratch, NULL), 0);
        return true;
    }
    return false;
}

static inline size_t kit_answers(const struct kit *k, uint32_t number)
{
    size_t n = 0;

    for (size_t i = 0; i < k->n_replies; i++)
        n += k->replies[i].to == number;
    return n;
}

static inline void kit_expect_silence(struct kit *k, uint32_t number)
{
    assert_int_equal(kit_answers(k, number), 0);
}

static inline struct wire_error kit_expect_error(struct kit *k, uint32_t number, int code)
{
    struct wire_message m;

    assert_true(kit_answer(k, number, &m));
    assert_int_equal(m.type, WIRE_ERROR);
    assert_int_equal(m.error.code, code);
    return m.error;
}

static inline struct wire_decided kit_expect_decided(struct kit *k, uint32_t number, enum verdict verdict)
{
    struct wire_message m;

    assert_true(kit_answer(k, number, &m));
    assert_int_equal(m.type, WIRE_DECIDED);
    assert_int_equal(m.decided.verdict, verdict);
    return m.decided;
}

/* The client */

static inline uint32_t kit_open(struct kit *k, uint64_t nonce)
{
    struct wire_message m = {.type = WIRE_OPEN_SESSION};

    m.open_session = (struct wire_open_session){
        .nonce = nonce, .session_timeout_ms = 30000, .transaction_timeout_ms = 60000, .name = "app"};
    return kit_ask(k, &m);
}

static inline uint64_t kit_session(struct kit *k, uint64_t nonce)
{
    uint32_t number = kit_open(k, nonce);
    struct wire_message m;

    kit_turn(k);
    assert_true(kit_answer(k, number, &m));
    assert_int_equal(m.type, WIRE_SESSION);
    assert_int_equal(m.session.group, KIT_GROUP);
    return m.session.session;
}

static inline struct txid kit_id(const struct kit *k, uint64_t sequence)
{
    return (struct txid){.group = KIT_GROUP, .session = k->session, .sequence = sequence, .nonce = k->nonce};
}

static const struct branch_ref kit_direct[] = {
    {.number = 1, .kind = BRANCH_DIRECT, .resource = "bank_a", .proof = "pa"},
    {.number = 2, .kind = BRANCH_DIRECT, .resource = "bank_b"}};
static const struct branch_ref kit_remote[] = {{.number = 1, .kind = BRANCH_REMOTE, .resource = "bank_a"},
                                               {.number = 2, .kind = BRANCH_REMOTE, .resource = "bank_b"}};
static const struct branch_ref kit_mixed[] = {{.number = 1, .kind = BRANCH_DIRECT, .resource = "bank_a"},
                                              {.number = 2, .kind = BRANCH_REMOTE, .resource = "bank_b"}};

/* Asks for a decision about two branches. */
static inline uint32_t kit_decide(struct kit *k, uint64_t sequence, enum verdict verdict, enum wire_wait wait,
                                  const struct branch_ref *branches)
{
    struct wire_message m = {.type = WIRE_DECIDE};

    m.decide = (struct wire_decide){.id = kit_id(k, sequence),
                                    .verdict = (uint8_t)verdict,
                                    .wait = (uint8_t)wait,
                                    .n_branches = 2,
                                    .branches = branches};
    return kit_ask(k, &m);
}

static inline uint32_t kit_beat(struct kit *k, enum wire_type type, const struct range *acknowledged,
                                const struct range *resolved)
{
    struct wire_message m = {.type = type};

    m.heartbeat = (struct wire_heartbeat){.session = k->session, .nonce = k->nonce};
    m.heartbeat.news = (struct wire_news){.n_acknowledged = acknowledged != NULL,
                                          .n_resolved = resolved != NULL,
                                          .acknowledged = acknowledged,
                                          .resolved = resolved};
    return kit_ask(k, &m);
}

static inline uint32_t kit_outcome(struct kit *k, uint64_t sequence)
{
    struct wire_message m = {.type = WIRE_OUTCOME};

    m.outcome.id = kit_id(k, sequence);
    return kit_ask(k, &m);
}

static inline void kit_expect_outcome(struct kit *k, uint64_t sequence, enum tx_outcome outcome)
{
    uint32_t number = kit_outcome(k, sequence);
    struct wire_message m;

    assert_true(kit_answer(k, number, &m));
    assert_int_equal(m.type, WIRE_OUTCOME_IS);
    assert_int_equal(m.outcome_is.outcome, outcome);
}

/* The agent, of both resources */

static const struct wire_resource kit_resources[] = {{.name = "bank_a", .kind = "postgresql", .up = 1},
                                                     {.name = "bank_b", .kind = "postgresql", .up = 1}};

static inline uint32_t kit_pull_as(struct kit *k, const char *name, uint64_t instance, bool introduce,
                                   const struct wire_report *reports, size_t n)
{
    struct wire_message m = {.type = WIRE_PULL};

    m.pull = (struct wire_pull){.instance = instance,
                                .number = ++k->pulled,
                                .name = name,
                                .address = "tcp://127.0.0.1:7500",
                                .n_resources = introduce ? 2 : 0,
                                .resources = kit_resources,
                                .n_reports = n,
                                .reports = reports};
    return kit_ask(k, &m);
}

static inline uint32_t kit_pull(struct kit *k, const struct wire_report *reports, size_t n)
{
    return kit_pull_as(k, "agent-a", 1, false, reports, n);
}

/* Introduces the agent. */
static inline void kit_agent(struct kit *k)
{
    (void)kit_pull_as(k, "agent-a", 1, true, NULL, 0);
    kit_turn(k);
}

static inline uint32_t kit_report(struct kit *k, uint64_t sequence, uint16_t branch, enum report_kind kind)
{
    struct wire_report r = {.kind = (uint8_t)kind,
                            .id = kit_id(k, sequence),
                            .branch = branch,
                            .resource = branch == 1 ? "bank_a" : "bank_b",
                            .proof = kind == REPORT_PREPARED ? "proof" : NULL,
                            .text = kind == REPORT_REFUSED || kind == REPORT_STUCK ? "disk full" : NULL};

    return kit_pull(k, &r, 1);
}

static inline uint32_t kit_found(struct kit *k, uint64_t sequence, uint16_t branch, uint64_t age_ms)
{
    struct wire_report r = {.kind = REPORT_FOUND,
                            .id = kit_id(k, sequence),
                            .branch = branch,
                            .resource = branch == 1 ? "bank_a" : "bank_b",
                            .age_ms = age_ms};

    return kit_pull(k, &r, 1);
}

/* The one errand of that kind for the branch in the answer to a PULL; NULL: none. */
static inline const struct wire_work_item *kit_work(struct kit *k, uint32_t pull, enum work_kind kind,
                                                    uint16_t branch)
{
    static struct wire_message m;
    const struct wire_work_item *found = NULL;

    if (!kit_answer(k, pull, &m))
        return NULL;
    assert_int_equal(m.type, WIRE_WORK);
    for (size_t i = 0; i < m.work.n_items; i++) {
        if (m.work.items[i].kind != kind || m.work.items[i].branch != branch)
            continue;
        assert_null(found);
        found = &m.work.items[i];
    }
    return found;
}

static inline void kit_expect_work(struct kit *k, uint32_t pull, enum work_kind kind, uint16_t branch)
{
    assert_non_null(kit_work(k, pull, kind, branch));
}

/* Begin and end */

/* A new leader that has only the ledger. */
static inline void kit_fail_over(struct kit *k)
{
    struct buf state;

    buf_init(&state);
    driver_snapshot(k->d, &state);
    driver_free(k->d);
    kit_drop_entries(k);
    kit_new_driver(k);
    assert_int_equal(driver_restore(k->d, state.data, state.len, NULL), 0);
    buf_release(&state);
    driver_role(k->d, k->now, true, KIT_NODE);
}

static inline void kit_forget_replies(struct kit *k)
{
    for (size_t i = 0; i < k->n_replies; i++)
        buf_release(&k->replies[i].bytes);
    k->n_replies = 0;
}

static inline struct kit *kit_bare(const struct driver_options *options)
{
    struct kit *k = calloc(1, sizeof *k);

    assert_non_null(k);
    k->now = 1000;
    if (options != NULL)
        k->options = *options;
    kit_new_driver(k);
    driver_role(k->d, k->now, true, KIT_NODE);
    return k;
}

/* A leader with one agent of bank_a and bank_b, and one session. */
static inline struct kit *kit_new(const struct driver_options *options)
{
    struct kit *k = kit_bare(options);

    kit_agent(k);
    k->nonce = KIT_NONCE;
    k->session = kit_session(k, KIT_NONCE);
    return k;
}

static inline void kit_free(struct kit *k)
{
    driver_free(k->d);
    kit_drop_entries(k);
    kit_forget_replies(k);
    free(k);
}

#endif
