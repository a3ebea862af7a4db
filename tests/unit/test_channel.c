/* test_channel: requests and replies over nanomsg, secured: the handshake goes on by itself, survives a restart
 * of the server, and says why it does not succeed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libtx/shared/channel.h"

enum { LIMIT = 1 << 20, WAIT_MS = 5000, STEP_MS = 5 };

struct line {
    struct identity server_identity, caller_identity;
    struct channel_security server_security, caller_security;
    struct channel server, caller;
    bool server_believes, caller_believes;
    unsigned refused;
    uint8_t seen[KEY_SIZE]; /* whose the last request was */
    char address[64];
};

static bool server_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct line *l = ctx;

    return l->server_believes && key_equal(key, l->caller_identity.public_key);
}

static bool caller_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct line *l = ctx;

    return l->caller_believes && key_equal(key, l->server_identity.public_key);
}

static bool on_refused(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct line *l = ctx;

    (void)key;
    l->refused++;
    return true;
}

static void server_open(struct line *l)
{
    struct tx_error e;

    if (channel_listen(&l->server, l->address, LIMIT,
                       l->server_security.self != NULL ? &l->server_security : NULL, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

static void line_open(struct line *l, bool server_secure, bool caller_secure)
{
    static unsigned n;

    *l = (struct line){.server_believes = true, .caller_believes = true};
    assert_true(sodium_init() >= 0);
    snprintf(l->address, sizeof l->address, "ipc:///tmp/assent-channel-%d-%u", (int)getpid(), n++);
    identity_generate(&l->server_identity);
    identity_generate(&l->caller_identity);
    l->server_security = (struct channel_security){.accept = server_accept, .refused = on_refused, .ctx = l};
    l->server_security.self = server_secure ? &l->server_identity : NULL;
    l->caller_security = (struct channel_security){&l->caller_identity, caller_accept, NULL, l, {0}};
    server_open(l);
    assert_int_equal(
        channel_dial(&l->caller, l->address, LIMIT, caller_secure ? &l->caller_security : NULL, NULL), TX_OK);
}

static void line_close(struct line *l)
{
    channel_close(&l->caller);
    channel_close(&l->server);
    unlink(l->address + strlen("ipc://"));
}

/* Echoes whatever has come. */
static void serve(struct line *l)
{
    struct channel_message m;

    while (channel_receive(&l->server, &m) == 1) {
        assert_int_equal(m.key != NULL, l->server_security.self != NULL);
        if (m.key != NULL)
            memcpy(l->seen, m.key, KEY_SIZE);
        (void)channel_reply(&l->server, &m.origin, m.data, m.len);
        channel_release(&m);
    }
}

/* Sends until it is answered; false: never was. */
static bool ask(struct line *l, uint32_t id, const char *text)
{
    struct channel_message m;
    bool same;

    for (int i = 0; i < WAIT_MS / STEP_MS; i++) {
        if (i % 20 == 0 && channel_send(&l->caller, id, text, strlen(text)) != TX_OK)
            i--;
        serve(l);
        poll(NULL, 0, STEP_MS);
        if (channel_receive(&l->caller, &m) != 1)
            continue;
        same = m.id == id && m.len == strlen(text) && memcmp(m.data, text, m.len) == 0;
        channel_release(&m);
        return same;
    }
    return false;
}

static void run(struct line *l, int ms)
{
    struct channel_message m;

    for (int i = 0; i < ms / STEP_MS; i++) {
        channel_keep(&l->caller);
        serve(l);
        poll(NULL, 0, STEP_MS);
        if (channel_receive(&l->caller, &m) == 1)
            channel_release(&m);
    }
}

static void test_secured(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, true);
    assert_true(ask(&l, 1, "hello"));
    assert_true(key_equal(l.seen, l.caller_identity.public_key));
    for (uint32_t i = 2; i < 200; i++)
        assert_true(ask(&l, i, "and again"));
    assert_true(channel_ready(&l.caller));
    assert_string_equal(channel_why(&l.caller), "");
    line_close(&l);
}

static void test_clear(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, false, false);
    assert_true(ask(&l, 1, "hello"));
    line_close(&l);
}

/* A line is ready before it is needed. */
static void test_kept_ready(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, true);
    assert_false(channel_ready(&l.caller));
    run(&l, 500);
    assert_true(channel_ready(&l.caller));
    line_close(&l);
}

static void test_the_server_is_restarted(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, true);
    for (int i = 0; i < 3; i++) {
        assert_true(ask(&l, (uint32_t)i + 1, "hello"));
        channel_close(&l.server);
        server_open(&l);
    }
    assert_true(ask(&l, 9, "there you are"));
    line_close(&l);
}

static void test_a_dropped_key_comes_back_only_if_believed(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, true);
    assert_true(ask(&l, 1, "hello"));
    channel_drop(&l.server, l.caller_identity.public_key);
    assert_true(ask(&l, 2, "still believed"));
    l.server_believes = false;
    channel_drop(&l.server, l.caller_identity.public_key);
    (void)channel_send(&l.caller, 3, "x", 1);
    run(&l, 500);
    assert_false(channel_ready(&l.caller));
    assert_non_null(strstr(channel_why(&l.caller), "txadmin key add"));
    assert_int_equal(l.refused, 1); /* not tried again so soon */
    line_close(&l);
}

static void test_an_unknown_server(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, true);
    l.caller_believes = false;
    run(&l, 500);
    assert_false(channel_ready(&l.caller));
    assert_non_null(strstr(channel_why(&l.caller), "is not in the keys file"));
    line_close(&l);
}

/* Nobody is talked into clear text. */
static void test_one_end_in_clear_text(void **state)
{
    struct line l;

    (void)state;
    line_open(&l, true, false);
    (void)channel_send(&l.caller, 1, "A", 1);
    poll(NULL, 0, 200);
    (void)channel_send(&l.caller, 1, "A", 1);
    run(&l, 300);
    assert_non_null(strstr(channel_why(&l.caller), "takes no clear text"));
    line_close(&l);
    line_open(&l, false, true);
    run(&l, 600);
    assert_false(channel_ready(&l.caller));
    assert_non_null(strstr(channel_why(&l.caller), "speaks in clear text"));
    line_close(&l);
}

/* It would number its messages as its parent does. */
static void test_a_child_says_nothing(void **state)
{
    struct line l;
    int status;
    pid_t pid;

    (void)state;
    line_open(&l, true, true);
    assert_true(ask(&l, 1, "hello"));
    pid = fork();
    if (pid == 0)
        _exit(channel_send(&l.caller, 2, "x", 1) == TX_EIO ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(ask(&l, 3, "still here"));
    line_close(&l);
}

static void test_large_messages(void **state)
{
    static char text[LIMIT];
    struct line l;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    line_open(&l, true, true);
    assert_true(ask(&l, 1, text));
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secured),
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_kept_ready),
        cmocka_unit_test(test_the_server_is_restarted),
        cmocka_unit_test(test_a_dropped_key_comes_back_only_if_believed),
        cmocka_unit_test(test_an_unknown_server),
        cmocka_unit_test(test_one_end_in_clear_text),
        cmocka_unit_test(test_a_child_says_nothing),
        cmocka_unit_test(test_large_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
