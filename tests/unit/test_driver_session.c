/* test_driver_session: opening, heartbeats, expiry and its fence, closing, retention; and the bounds. */
#include "tests/unit/driver_kit.h"

static const struct session *session_of(const struct kit *k, uint64_t id)
{
    return ledger_session(driver_ledger(k->d), id);
}

/* Opening and closing */

static void test_open_doubles(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t a = kit_open(k, 5), b = kit_open(k, 5), c;
    struct wire_message m;
    uint64_t session;

    (void)state;
    kit_turn(k);
    kit_expect_silence(k, a); /* the newest request is answered */
    assert_true(kit_answer(k, b, &m));
    session = m.session.session;
    c = kit_open(k, 5);
    assert_true(kit_answer(k, c, &m));
    assert_int_equal(m.session.session, session);
    assert_int_not_equal(kit_session(k, 6), session);
    kit_fail_over(k);
    assert_int_equal(kit_session(k, 5), session);
    kit_free(k);
}

static void test_open_refused(void **state)
{
    const struct driver_options options = {.max_sessions = 2};
    struct kit *k = kit_new(&options);
    struct wire_message m = {.type = WIRE_OPEN_SESSION, .open_session = {.nonce = 9, .name = "app"}};
    uint32_t full;

    (void)state;
    kit_expect_error(k, kit_ask(k, &m), TX_EINVAL);
    (void)kit_open(k, 5);
    full = kit_open(k, 6);
    kit_expect_error(k, full, TX_EBUSY);
    kit_turn(k);
    kit_expect_error(k, kit_open(k, 7), TX_EBUSY);
    kit_free(k);
}

static void test_close(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t a = kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL), b = kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL);
    struct wire_message m;
    uint64_t nonce = k->nonce;

    (void)state;
    kit_expect_silence(k, a);
    kit_turn(k);
    assert_true(kit_answer(k, b, &m));
    assert_int_equal(m.type, WIRE_CLOSED);
    assert_true(kit_answer(k, kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL), &m));
    assert_int_equal(m.type, WIRE_CLOSED);
    kit_expect_error(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), TX_ESESSION);
    k->session = kit_session(k, 5);
    k->nonce = nonce; /* a wrong one for this session */
    kit_expect_error(k, kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL), TX_ESESSION);
    kit_free(k);
}

/* A commit for which the session was closed while votes were out. */
static void test_close_in_flight(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);

    (void)state;
    kit_turn(k);
    (void)kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL);
    kit_turn(k);
    assert_string_equal(kit_expect_decided(k, ask, VERDICT_ABORT).reason, "session closed");
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    kit_free(k);
}

/* Life */

static void test_heartbeats(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m;

    (void)state;
    for (int i = 0; i < 5; i++) {
        kit_pass(k, 20000);
        assert_true(kit_answer(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), &m));
        assert_int_equal(m.type, WIRE_HEARTBEAT_OK);
    }
    kit_pass(k, 29000);
    assert_int_equal(driver_session_silence(k->d, k->now, k->session), 29000);
    assert_int_equal(session_of(k, k->session)->state, SESSION_OPEN);
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct); /* is life, too */
    kit_pass(k, 29000);
    assert_int_equal(session_of(k, k->session)->state, SESSION_OPEN);
    kit_fail_over(k); /* and a new leader has heard of nobody yet */
    kit_pass(k, 29000);
    assert_int_equal(session_of(k, k->session)->state, SESSION_OPEN);
    kit_free(k);
}

/* News is answered when it is logged, and told once. */
static void test_news(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct range first = {1, 10}, second = {5, 12};
    uint32_t a = kit_beat(k, WIRE_HEARTBEAT, &first, NULL), b;
    struct driver_counters before, after;

    (void)state;
    kit_flush(k);
    assert_int_equal(k->n_entries, 0); /* nothing hurries */
    kit_pass(k, 150);
    assert_int_equal(kit_answers(k, a), 1);
    assert_true(ranges_contains(session_of(k, k->session)->acknowledged, 10));
    driver_count(k->d, &before);
    b = kit_beat(k, WIRE_HEARTBEAT, &first, NULL);
    assert_int_equal(kit_answers(k, b), 1);
    kit_pass(k, 150);
    driver_count(k->d, &after);
    assert_int_equal(before.records, after.records);
    b = kit_beat(k, WIRE_HEARTBEAT, &second, NULL);
    (void)kit_decide(k, 13, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k); /* it rides along */
    assert_int_equal(kit_answers(k, b), 1);
    kit_free(k);
}

static void test_expiry_fence(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t late, known;

    (void)state;
    known = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    kit_pass(k, 29900);
    k->now += 150;
    driver_tick(k->d, k->now, KIT_WALL + k->now);                      /* proposes to expire it */
    late = kit_decide(k, 2, VERDICT_COMMIT, WAIT_DECIDED, kit_direct); /* behind it in the log */
    kit_turn(k);
    assert_int_equal(session_of(k, k->session)->state, SESSION_EXPIRED);
    assert_string_equal(kit_expect_decided(k, late, VERDICT_ABORT).reason, "session expired");
    late = kit_decide(k, 3, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_decided(k, late, VERDICT_ABORT);
    known = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_decided(k, known, VERDICT_COMMIT);
    kit_expect_outcome(k, 2, TX_OUTCOME_ABORTED);
    kit_expect_error(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), TX_ESESSION);
    kit_free(k);
}

/* Its direct branches go to agents at once. */
static void test_expiry_hands_over(void **state)
{
    const struct driver_options options = {.grace_ms = 3600000};
    struct kit *k = kit_new(&options);
    uint32_t pull = 0;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    for (int i = 0; i < 31; i++) {
        pull = kit_pull(k, NULL, 0);
        if (session_of(k, k->session)->state == SESSION_OPEN)
            kit_pass(k, 950);
        if (session_of(k, k->session)->state != SESSION_OPEN)
            break;
        assert_null(kit_work(k, pull, WORK_COMMIT, 1));
        kit_pass(k, 100);
    }
    kit_expect_work(k, pull, WORK_COMMIT, 1);
    kit_free(k);
}

/* What nobody acknowledged stays for a while, and is then «no longer known». */
static void test_retention(void **state)
{
    const struct driver_options options = {.retention_ms = 60000};
    struct kit *k = kit_new(&options);
    uint32_t ask;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    kit_pass(k, 31000);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_report(k, 1, 2, REPORT_COMMITTED);
    kit_pass(k, 50000);
    kit_expect_outcome(k, 1, TX_OUTCOME_COMMITTED);
    kit_pass(k, 15000);
    kit_expect_outcome(k, 1, TX_OUTCOME_FORGOTTEN);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_error(k, ask, TX_ENOTFOUND);
    kit_free(k);
}

/* Clients that die all day long: their sessions do not pile up. */
static void test_ended_sessions_are_bounded(void **state)
{
    const struct driver_options options = {.max_sessions = 4};
    struct kit *k = kit_new(&options);
    struct ledger_counts c;

    (void)state;
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t i = 1; i <= 3; i++)
            (void)kit_session(k, 100 * round + 100 + i);
        kit_pass(k, 100000);
    }
    ledger_count(driver_ledger(k->d), &c);
    assert_int_equal(c.open_sessions, 0);
    assert_int_equal(c.sessions, 4);
    kit_free(k);
}

/* A leader that was stopped for a while has not heard its clients, and must not take them for dead. */
static void test_standstill(void **state)
{
    struct kit *k = kit_new(NULL);

    (void)state;
    k->now += 300000;
    driver_tick(k->d, k->now, KIT_WALL + k->now);
    kit_turn(k);
    assert_int_equal(session_of(k, k->session)->state, SESSION_OPEN);
    kit_free(k);
}

/* Requests that cannot be served */

static void test_bad_requests(void **state)
{
    static const struct branch_ref doubled[] = {{.number = 1, .resource = "bank_a"},
                                                {.number = 1, .resource = "bank_b"}};
    struct kit *k = kit_new(NULL);
    struct wire_message m = {.type = WIRE_CLOSED};

    (void)state;
    kit_expect_error(k, kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, doubled), TX_EINVAL);
    kit_expect_error(k, kit_decide(k, 0, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), TX_EINVAL);
    kit_expect_error(k, kit_ask(k, &m), TX_EPROTO);
    (void)kit_decide(k, 2, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    k->nonce++;
    kit_expect_error(k, kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), TX_ESESSION);
    kit_expect_error(k, kit_decide(k, 2, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), TX_ESESSION);
    kit_expect_error(k, kit_outcome(k, 1), TX_ENOTFOUND);
    kit_free(k);
}

static void test_too_many_transactions(void **state)
{
    const struct driver_options options = {.max_transactions = 2};
    struct kit *k = kit_new(&options);
    uint32_t a = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), b;
    const struct range one = {1, 1};

    (void)state;
    (void)kit_decide(k, 2, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_error(k, kit_decide(k, 3, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), TX_EBUSY);
    kit_turn(k);
    kit_expect_decided(k, a, VERDICT_COMMIT);
    kit_expect_outcome(k, 3, TX_OUTCOME_PENDING); /* nothing was decided about it */
    (void)kit_beat(k, WIRE_HEARTBEAT, NULL, &one);
    kit_pass(k, 200);
    b = kit_decide(k, 3, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    kit_expect_decided(k, b, VERDICT_COMMIT);
    kit_free(k);
}

/* Of many that wait for one transaction the newest are answered. */
static void test_waiters_are_bounded(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t asks[6];

    (void)state;
    for (int i = 0; i < 6; i++)
        asks[i] = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    kit_expect_silence(k, asks[1]);
    kit_expect_decided(k, asks[2], VERDICT_COMMIT);
    kit_expect_decided(k, asks[5], VERDICT_COMMIT);
    kit_free(k);
}

/* Many decisions of one turn are one entry. */
static void test_one_entry_a_turn(void **state)
{
    struct kit *k = kit_new(NULL);
    struct driver_counters before, after;

    (void)state;
    driver_count(k->d, &before);
    for (uint64_t i = 1; i <= 100; i++)
        (void)kit_decide(k, i, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_flush(k);
    assert_int_equal(k->n_entries, 1);
    kit_apply(k);
    driver_count(k->d, &after);
    assert_int_equal(after.entries - before.entries, 1);
    assert_int_equal(after.committed, 100);
    assert_int_equal(after.in_flight, 100);
    kit_free(k);
}

/* More than fits one entry: several are proposed, in order. */
static void test_large_entries(void **state)
{
    struct kit *k = kit_new(NULL);
    struct driver_counters n;

    (void)state;
    for (uint64_t i = 1; i <= 3500; i++)
        (void)kit_decide(k, i, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_flush(k);
    assert_true(k->n_entries > 1);
    kit_apply(k);
    driver_count(k->d, &n);
    assert_int_equal(n.committed, 3500);
    kit_expect_decided(k, k->asked, VERDICT_COMMIT);
    kit_free(k);
}

/* More work than a message carries: the rest is the next PULL's. */
static void test_work_is_bounded(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m;
    uint32_t pull = kit_pull(k, NULL, 0);

    (void)state;
    for (uint64_t i = 1; i <= 200; i++)
        (void)kit_decide(k, i, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_turn(k);
    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.work.n_items, REPORT_LIMIT);
    pull = kit_pull(k, NULL, 0);
    kit_turn(k);
    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.work.n_items, 400 - REPORT_LIMIT);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_doubles),
        cmocka_unit_test(test_open_refused),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_close_in_flight),
        cmocka_unit_test(test_heartbeats),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_expiry_fence),
        cmocka_unit_test(test_expiry_hands_over),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_ended_sessions_are_bounded),
        cmocka_unit_test(test_standstill),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_many_transactions),
        cmocka_unit_test(test_waiters_are_bounded),
        cmocka_unit_test(test_one_entry_a_turn),
        cmocka_unit_test(test_large_entries),
        cmocka_unit_test(test_work_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
