/* test_secure: secure.h, both ends in one process, and everything between them in the test's hands. */
#include "tests/unit/secure_kit.h"

static void test_a_question_and_its_answer(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "commit", &m);
    assert_null(memmem(m.bytes, m.len, "commit", 6));
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    assert_content(&r, "commit");
    assert_true(key_equal(r.key, b.caller_identity.public_key));
    m.len = secure_server_seal(b.server, r.session, REQUEST, "committed", 9, m.bytes);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_DATA);
    assert_content(&r, "committed");
    both_close(&b);
}

static void test_an_empty_message(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    assert_int_equal(r.len, 0);
    both_close(&b);
}

/* Every bit of every message: turned over, it has no effect; and then the genuine one still has its own. */
static void test_no_bit_can_be_changed(void **state)
{
    struct secure_result r;
    struct message m, genuine;
    struct handshake h;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "commit", &genuine);
    for (size_t bit = 0; bit < genuine.len * 8; bit++) {
        copy_of(&m, &genuine);
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(to_server(&b, &m, &r), SECURE_DATA);
    }
    assert_int_equal(to_server(&b, &genuine, &r), SECURE_DATA);
    shake(&b, &h);
    for (size_t bit = 0; bit < h.ready.len * 8; bit++) {
        copy_of(&m, &h.ready);
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(to_caller(&b, &m, &r), SECURE_NOTHING);
    }
    assert_int_equal(to_caller(&b, &h.ready, &r), SECURE_OPENED);
    both_close(&b);
}

static void test_no_bit_of_a_greeting_can_be_changed(void **state)
{
    struct secure_result r;
    struct message m, welcome;
    struct both b;

    (void)state;
    both_open(&b);
    m.len = secure_caller_hello(&b.caller, m.bytes);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    take_out(&welcome, &r);
    /* The handshake's number is the server's alone: it would not find it. */
    for (size_t bit = 0; bit < welcome.len * 8; bit++) {
        copy_of(&m, &welcome);
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(to_caller(&b, &m, &r), SECURE_NOTHING);
    }
    assert_int_equal(to_caller(&b, &welcome, &r), SECURE_ANSWER);
    take_out(&welcome, &r);
    for (size_t bit = 0; bit < welcome.len * 8; bit++) {
        copy_of(&m, &welcome);
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    }
    assert_int_equal(to_server(&b, &welcome, &r), SECURE_ANSWER);
    both_close(&b);
}

static void test_a_message_counts_once(void **state)
{
    struct secure_result r;
    struct message m, again;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "commit", &m);
    copy_of(&again, &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    assert_int_equal(to_server(&b, &again, &r), SECURE_NOTHING);
    both_close(&b);
}

/* In the window each in any order, once; what is older than the window never. */
static void test_the_window(void **state)
{
    enum { N = SECURE_WINDOW + 200 };
    static struct message sent[N];
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    for (size_t i = 0; i < N; i++)
        ask(&b, "x", &sent[i]);
    copy_of(&m, &sent[N - 1]);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    for (size_t i = N - 1; i-- > 0;) {
        copy_of(&m, &sent[i]);
        assert_int_equal(to_server(&b, &m, &r), i + SECURE_WINDOW >= N ? SECURE_DATA : SECURE_NOTHING);
        copy_of(&m, &sent[i]);
        assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    }
    both_close(&b);
}

/* A leap over more than the whole window leaves none of its old marks. */
static void test_the_window_after_a_leap(void **state)
{
    struct secure_result r;
    struct message m, late;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    for (int i = 0; i < 3 * SECURE_WINDOW; i++) {
        ask(&b, "x", &m);
        if (i % 2 == 0)
            assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    }
    b.caller.link.sent += 5 * SECURE_WINDOW;
    ask(&b, "late", &late);
    ask(&b, "new", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    assert_int_equal(to_server(&b, &late, &r), SECURE_DATA);
    both_close(&b);
}

static void test_an_answer_belongs_to_its_question(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    m.len = secure_server_seal(b.server, r.session, REQUEST + 1, "to another", 10, m.bytes);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_NOTHING);
    ask(&b, "x", &m);
    assert_int_equal(secure_server_take(b.server, b.now_ms, 1, REQUEST + 1, m.bytes, m.len, &r),
                     SECURE_NOTHING);
    both_close(&b);
}

/* What one end has sent does not come back to it, nor into another session. */
static void test_no_message_serves_elsewhere(void **state)
{
    struct secure_result r;
    struct message m, first;
    struct both b, other;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "x", &first);
    copy_of(&m, &first);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_NOTHING);
    meet(&b); /* another session of the same line */
    copy_of(&m, &first);
    secure_put_u64(m.bytes + HEAD, b.caller.link.id);
    assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    both_open(&other);
    meet(&other);
    copy_of(&m, &first);
    secure_put_u64(m.bytes + HEAD, other.caller.link.id);
    assert_int_equal(to_server(&other, &m, &r), SECURE_NOTHING);
    both_close(&b);
    both_close(&other);
}

static void test_an_unknown_caller_is_refused(void **state)
{
    struct secure_result r;
    struct handshake h;
    struct both b;

    (void)state;
    both_open(&b);
    b.server_believes = false;
    shake(&b, &h);
    assert_int_equal(b.refused, 1);
    assert_int_equal(to_caller(&b, &h.ready, &r), SECURE_REFUSED);
    assert_non_null(strstr(b.caller.why, "txadmin key add"));
    assert_int_equal(secure_caller_seal(&b.caller, REQUEST, "x", 1, h.ready.bytes), 0);
    both_close(&b);
}

/* As long as it may become known. */
static void test_a_caller_that_is_not_known_yet(void **state)
{
    struct secure_result r;
    struct message hello, m;
    struct both b;

    (void)state;
    both_open(&b);
    b.server_believes = false;
    b.silent = true;
    hello.len = secure_caller_hello(&b.caller, hello.bytes);
    assert_int_equal(to_server(&b, &hello, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    b.server_believes = true;
    meet(&b);
    both_close(&b);
}

static void test_an_unknown_server_learns_nothing(void **state)
{
    struct secure_result r;
    char text[KEY_TEXT_SIZE];
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    b.caller_believes = false;
    m.len = secure_caller_hello(&b.caller, m.bytes);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_REFUSED);
    key_format(b.server_identity.public_key, text);
    assert_non_null(strstr(b.caller.why, text));
    both_close(&b);
}

/* Somebody between the two, who has a key of his own, and not the server's: he can only be himself. */
static void test_nobody_gets_between(void **state)
{
    struct secure_result r;
    struct message hello, m;
    struct both b, middle;

    (void)state;
    both_open(&b);
    both_open(&middle);
    hello.len = secure_caller_hello(&b.caller, hello.bytes);
    copy_of(&m, &hello);
    assert_int_equal(to_server(&middle, &m, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_REFUSED);
    /* He shows the server's key and a signature that it gave in another handshake. */
    memcpy(middle.server_identity.public_key, b.server_identity.public_key, KEY_SIZE);
    hello.len = secure_caller_hello(&b.caller, hello.bytes);
    copy_of(&m, &hello);
    assert_int_equal(to_server(&middle, &m, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_REFUSED);
    assert_non_null(strstr(b.caller.why, "signature"));
    both_close(&b);
    both_close(&middle);
}

/* A recorded handshake, given again: the session that it made is not made twice. */
static void test_a_handshake_serves_once(void **state)
{
    struct secure_result r;
    struct handshake h;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    shake(&b, &h);
    copy_of(&m, &h.auth);
    assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    copy_of(&m, &h.hello);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER); /* whose answer only the caller could read */
    copy_of(&m, &h.auth);
    assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    assert_int_equal(sessions_of(&b), 1);
    both_close(&b);
}

static void test_a_restarted_server_says_so(void **state)
{
    struct secure_result r;
    struct message m, forged;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    secure_head(forged.bytes, SECURE_KIND_RESET);
    secure_put_u64(forged.bytes + HEAD, b.caller.link.id + 1);
    forged.len = RESET_BYTES;
    assert_int_equal(to_caller(&b, &forged, &r), SECURE_NOTHING);
    secure_server_free(b.server);
    b.server = secure_server_new(&b.server_identity, &(struct secure_limits){0}, server_accept, NULL, &b);
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    take_out(&m, &r);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_CLOSED);
    meet(&b);
    both_close(&b);
}

/* In a new session, answers to what was asked in the one before are still taken. */
static void test_a_session_follows_another(void **state)
{
    struct secure_result r;
    struct message m;
    uint64_t first;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_DATA);
    first = r.session;
    meet(&b);
    m.len = secure_server_seal(b.server, first, REQUEST, "late", 4, m.bytes);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_DATA);
    for (int i = 0; i < 5; i++)
        meet(&b);
    assert_int_equal(secure_server_seal(b.server, first, REQUEST, "late", 4, m.bytes), 0);
    assert_int_equal(sessions_of(&b), 2);
    both_close(&b);
}

static void test_a_dropped_key_has_no_session(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    meet(&b);
    secure_server_drop(b.server, b.caller_identity.public_key);
    secure_server_drop(b.server, b.server_identity.public_key); /* has none */
    ask(&b, "x", &m);
    assert_int_equal(to_server(&b, &m, &r), SECURE_ANSWER);
    assert_int_equal(secure_kind_of(r.out, r.out_len), SECURE_KIND_RESET);
    both_close(&b);
}

static void test_garbage(void **state)
{
    struct secure_result r;
    struct message m;
    struct both b;

    (void)state;
    both_open(&b);
    meet(&b);
    for (int i = 0; i < 20000; i++) {
        m.len = randombytes_uniform(200);
        randombytes_buf(m.bytes, m.len);
        if (m.len >= HEAD)
            secure_head(m.bytes, (enum secure_kind)(1 + i % 8));
        (void)to_server(&b, &m, &r);
        assert_int_not_equal(to_caller(&b, &m, &r), SECURE_DATA);
        assert_true(b.caller.open);
    }
    both_close(&b);
}

/* With such a public key the secret that both ends compute is zero, whatever their own keys are. */
static void test_a_key_of_low_order_is_refused(void **state)
{
    struct secure_result r;
    struct message hello, m;
    struct both b;

    (void)state;
    both_open(&b);
    hello.len = secure_caller_hello(&b.caller, hello.bytes);
    copy_of(&m, &hello);
    memset(m.bytes + HEAD, 0, EPHEMERAL);
    assert_int_equal(to_server(&b, &m, &r), SECURE_NOTHING);
    assert_int_equal(to_server(&b, &hello, &r), SECURE_ANSWER);
    take_out(&m, &r);
    memset(m.bytes + HEAD + 8, 0, EPHEMERAL);
    assert_int_equal(to_caller(&b, &m, &r), SECURE_NOTHING);
    both_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_question_and_its_answer),
        cmocka_unit_test(test_an_empty_message),
        cmocka_unit_test(test_no_bit_can_be_changed),
        cmocka_unit_test(test_no_bit_of_a_greeting_can_be_changed),
        cmocka_unit_test(test_a_message_counts_once),
        cmocka_unit_test(test_the_window),
        cmocka_unit_test(test_the_window_after_a_leap),
        cmocka_unit_test(test_an_answer_belongs_to_its_question),
        cmocka_unit_test(test_no_message_serves_elsewhere),
        cmocka_unit_test(test_an_unknown_caller_is_refused),
        cmocka_unit_test(test_a_caller_that_is_not_known_yet),
        cmocka_unit_test(test_an_unknown_server_learns_nothing),
        cmocka_unit_test(test_nobody_gets_between),
        cmocka_unit_test(test_a_handshake_serves_once),
        cmocka_unit_test(test_a_restarted_server_says_so),
        cmocka_unit_test(test_a_session_follows_another),
        cmocka_unit_test(test_a_dropped_key_has_no_session),
        cmocka_unit_test(test_a_key_of_low_order_is_refused),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
