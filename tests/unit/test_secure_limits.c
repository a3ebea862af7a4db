/* test_secure_limits: what one end may cost the other, by secure.h: sessions, and handshakes. */
#include "tests/unit/secure_kit.h"

/* One that is silent makes room for one that is not. */
static void test_sessions_are_bounded(void **state)
{
    struct secure_counts counts;
    struct secure_result r;
    struct secure_caller first;
    struct message m;
    struct both b;

    (void)state;
    both_limited(&b, &(struct secure_limits){.sessions = 3, .handshakes = 1000000, .of_one = 1000000});
    meet(&b);
    first = b.caller;
    for (int i = 0; i < 500; i++) {
        meet_anew(&b);
        m.len = secure_caller_seal(&first, REQUEST, "x", 1, m.bytes);
        assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    }
    secure_server_count(b.server, &counts);
    assert_int_equal(sessions_of(&b), 3);
    assert_int_equal(counts.opened, 501);
    both_close(&b);
}

static void test_sessions_of_a_key_are_bounded(void **state)
{
    struct both b;

    (void)state;
    both_limited(&b, &(struct secure_limits){.per_key = 2, .handshakes = 1000000, .of_one = 1000000});
    for (int i = 0; i < 200; i++)
        meet_anew(&b);
    assert_int_equal(sessions_of(&b), 2);
    both_close(&b);
}

/* So many a second on a connection, and in all. */
static void test_handshakes_are_bounded(void **state)
{
    struct secure_counts counts;
    struct secure_result r;
    struct message m;
    struct both b;
    int answered = 0;

    (void)state;
    both_limited(&b, &(struct secure_limits){.of_one = 5, .handshakes = 12});
    for (uint32_t i = 0; i < 100; i++) {
        m.len = secure_caller_hello(&b.caller, m.bytes);
        answered += to_server(&b, &m, &r) == SECURE_ANSWER;
    }
    assert_int_equal(answered, 5);
    for (uint32_t i = 0; i < 100; i++) {
        m.len = secure_caller_hello(&b.caller, m.bytes);
        answered +=
            secure_server_take(b.server, b.now_ms, 1000 + i, REQUEST, m.bytes, m.len, &r) == SECURE_ANSWER;
    }
    assert_int_equal(answered, 12);
    b.now_ms += 1000;
    meet(&b);
    secure_server_count(b.server, &counts);
    assert_int_equal(counts.limited, 188);
    both_close(&b);
}

/* A few connections that begin as many as they may leave the others their half. */
static void test_a_flood_leaves_room(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;
    int answered = 0;

    (void)state;
    both_limited(&b, &(struct secure_limits){.of_one = 20, .handshakes = 100});
    for (uint32_t i = 0; i < 1000; i++) {
        m.len = secure_caller_hello(&b.caller, m.bytes);
        answered +=
            secure_server_take(b.server, b.now_ms, 1000 + i % 10, REQUEST, m.bytes, m.len, &r) == SECURE_ANSWER;
    }
    assert_int_equal(answered, 50);
    meet(&b);
    both_close(&b);
}

/* Handshakes that are never ended take each other's place. */
static void test_greetings_alone_cost_no_memory(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_limited(&b, &(struct secure_limits){.handshakes = 1000000, .of_one = 1000000});
    for (int i = 0; i < 5000; i++) {
        m.len = secure_caller_hello(&b.caller, m.bytes);
        assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    }
    meet(&b);
    both_close(&b);
}

static void test_silent_sessions_end(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    b.now_ms += 7199999;
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    b.now_ms += 7200000;
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    assert_int_equal(secure_kind_of(r.out, r.out_len), SECURE_KIND_RESET);
    both_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_are_bounded),
        cmocka_unit_test(test_sessions_of_a_key_are_bounded),
        cmocka_unit_test(test_handshakes_are_bounded),
        cmocka_unit_test(test_a_flood_leaves_room),
        cmocka_unit_test(test_greetings_alone_cost_no_memory),
        cmocka_unit_test(test_silent_sessions_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
