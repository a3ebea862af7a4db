/* test_peer: the line between coordinators: messages and greetings over it, a peer that is not there, one that
 * moves, and bytes that are no message. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>
#include <sodium.h>

#include "coordinator/peer.h"

enum { PATIENCE_MS = 5000 };

struct node {
    uint64_t id;
    char address[64];
    struct peers *peers;
    unsigned received, greeted;
    uint64_t from, group, log, last_index;
    char last[64], clients[64];
    size_t last_len;
    bool refuses; /* what it hears */
    struct identity identity;
    struct channel_security security;
    unsigned impersonated;
};

static uv_loop_t loop;
static struct node a, b, c;
static unsigned ports;
static bool secured;
static const uint8_t *revoked; /* a key that nobody believes */

/* There are coordinators' keys alone, but for those that are revoked. */
static bool on_accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    return revoked == NULL || !key_equal(key, revoked);
}

static void on_impersonated(void *ctx, uint64_t id, const uint8_t key[KEY_SIZE])
{
    struct node *n = ctx;

    (void)id;
    (void)key;
    n->impersonated++;
}

static bool on_receive(void *ctx, uint64_t from, const void *data, size_t len)
{
    struct node *n = ctx;

    n->received++;
    n->from = from;
    n->last_len = len;
    if (len < sizeof n->last) {
        memcpy(n->last, data, len);
        n->last[len] = '\0';
    }
    return !n->refuses;
}

static bool on_greeted(void *ctx, const struct peer_greeting *g)
{
    struct node *n = ctx;

    n->greeted++;
    n->from = g->id;
    n->group = g->group;
    n->log = g->log;
    n->last_index = g->last_index;
    snprintf(n->clients, sizeof n->clients, "%s", g->clients);
    return !n->refuses;
}

/* A name of its own for each that listens. */
static void node_listen(struct node *n, uint64_t id)
{
    struct peer_options options = {.node_id = id,
                                   .listen = n->address,
                                   .address = n->address,
                                   .receive = on_receive,
                                   .greeted = on_greeted,
                                   .impersonated = on_impersonated,
                                   .ctx = n,
                                   .security = secured ? &n->security : NULL};
    struct tx_error e;

    n->id = id;
    n->security = (struct channel_security){.self = &n->identity, .accept = on_accept};
    snprintf(n->address, sizeof n->address, "ipc:///tmp/assent-peer-%d-%u", (int)getpid(), ++ports);
    if (peers_open(&n->peers, &loop, &options, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

static void node_end(struct node *n)
{
    peers_close(n->peers);
    unlink(n->address + strlen("ipc://"));
}

static int set_up(void **state)
{
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memset(&c, 0, sizeof c);
    identity_generate(&a.identity);
    identity_generate(&b.identity);
    identity_generate(&c.identity);
    revoked = NULL;
    uv_loop_init(&loop);
    node_listen(&a, 1);
    node_listen(&b, 2);
    return 0;
}

static int set_up_secured(void **state)
{
    secured = true;
    return set_up(state);
}

static int tear_down(void **state)
{
    (void)state;
    node_end(&a);
    node_end(&b);
    uv_run(&loop, UV_RUN_DEFAULT);
    secured = false;
    return uv_loop_close(&loop);
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(1000);
}

/* Says it again and again, as Raft does, until it is heard. */
static void send_until_heard(struct node *from, struct node *to, const char *address, const char *text)
{
    unsigned before = to->received;

    for (int i = 0; to->received == before; i++) {
        assert_true(i < PATIENCE_MS);
        peer_send(from->peers, to->id, address, text, strlen(text));
        turn();
    }
    assert_string_equal(to->last, text);
    assert_int_equal(to->from, from->id);
}

static void test_messages(void **state)
{
    (void)state;
    send_until_heard(&a, &b, b.address, "hello");
    send_until_heard(&b, &a, a.address, "hello yourself");
    assert_int_equal(a.greeted + b.greeted, 0);
}

/* More at once than a socket takes, and within the line's buffer: nothing of it is lost. */
static void test_burst(void **state)
{
    static uint8_t data[512 << 10];
    const unsigned n = 24;
    unsigned before;

    (void)state;
    send_until_heard(&a, &b, b.address, "hello");
    before = b.received;
    for (unsigned i = 0; i < n; i++)
        peer_send(a.peers, b.id, b.address, data, sizeof data);
    for (int i = 0; b.received < before + n; i++) {
        if (i == PATIENCE_MS)
            fail_msg("%u of %u messages have come", b.received - before, n);
        turn();
    }
    assert_int_equal(b.last_len, sizeof data);
    assert_true(peers_traffic(a.peers).sent >= n * sizeof data);
    assert_true(peers_traffic(b.peers).received >= n * sizeof data);
}

static void test_greetings(void **state)
{
    const struct peer_greeting g = {
        .group = 0x1234, .log = 0x5678, .last_index = 99, .clients = "tcp://a:7401"};

    (void)state;
    for (int i = 0; b.greeted == 0; i++) {
        assert_true(i < PATIENCE_MS);
        peer_greet(a.peers, 2, b.address, &g);
        turn();
    }
    assert_int_equal(b.from, 1);
    assert_int_equal(b.group, 0x1234);
    assert_int_equal(b.log, 0x5678);
    assert_int_equal(b.last_index, 99);
    assert_string_equal(b.clients, "tcp://a:7401");
}

/* A listener for nanomsg's peers that says its protocol's greeting, and then nothing, as one whose network is
 * cut. */
static int mute_listener(char address[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_int_equal(bind(s, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(s, 8), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&at, &size), 0);
    snprintf(address, 64, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    return s;
}

static int mute_accept(int listener, const char *address)
{
    static const char greeting[8] = {0, 'S', 'P', 0, 0, NN_REP, 0, 0};
    const struct peer_greeting g = {.clients = "tcp://a:7401"};
    int s;

    for (int i = 0; (s = accept(listener, NULL, NULL)) < 0; i++) {
        assert_true(i < PATIENCE_MS);
        peer_greet(a.peers, 3, address, &g);
        turn();
    }
    assert_int_equal(send(s, greeting, sizeof greeting, 0), sizeof greeting);
    return s;
}

/* The connection to one that is silent may be dead, and TCP would find out after minutes. */
static void test_silent_peer_is_dialled_anew(void **state)
{
    char address[64];
    int listener = mute_listener(address), first, second;

    (void)state;
    first = mute_accept(listener, address);
    second = mute_accept(listener, address);
    close(first);
    close(second);
    close(listener);
}

/* An address that is this machine's, but not one that could be no other's. With keys it is dialled. */
static void test_clear_text_stays_here(void **state)
{
    char address[64], port[16];
    int listener = mute_listener(address), s;

    (void)state;
    snprintf(port, sizeof port, "%s", strrchr(address, ':'));
    snprintf(address, sizeof address, "tcp://0.0.0.0%s", port);
    if (secured) {
        close(mute_accept(listener, address));
    } else {
        for (int i = 0; i < 200; i++) {
            peer_send(a.peers, 3, address, "x", 1);
            turn();
            s = accept(listener, NULL, NULL);
            assert_true(s < 0);
        }
    }
    close(listener);
}

/* Sending there neither blocks nor fails; a wrong address of one that was heard of does not matter. */
static void test_nobody_there(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        peer_send(a.peers, 3, "ipc:///tmp/assent-peer-nobody", "x", 1);
    peer_send(a.peers, 4, "no address", "x", 1);
    peer_send(a.peers, 5, NULL, "x", 1);
    send_until_heard(&a, &b, b.address, "first");
    send_until_heard(&b, &a, "ipc:///tmp/assent-peer-nobody", "still found");
}

static void test_a_peer_that_moved_is_found(void **state)
{
    (void)state;
    send_until_heard(&a, &b, b.address, "here");
    send_until_heard(&b, &a, a.address, "there");
    node_end(&b);
    node_listen(&b, 2);
    send_until_heard(&b, &a, a.address, "moved");
    send_until_heard(&a, &b, "ipc:///tmp/assent-peer-nobody", "seen");
}

/* One that has a member's number, and is none. */
static void test_a_stranger_takes_nobodys_place(void **state)
{
    (void)state;
    node_listen(&c, b.id);
    send_until_heard(&b, &a, a.address, "here");
    a.refuses = true;
    send_until_heard(&c, &a, a.address, "here, too");
    send_until_heard(&a, &b, "ipc:///tmp/assent-peer-nobody", "to the member");
    assert_int_equal(c.received, 0);
    node_end(&c);
}

static void test_those_not_kept_are_forgotten(void **state)
{
    const uint64_t others[] = {1, 3};

    (void)state;
    send_until_heard(&b, &a, a.address, "here");
    peers_keep(a.peers, others, 2);
    peer_send(a.peers, 2, NULL, "x", 1); /* nobody knows where */
    send_until_heard(&a, &b, b.address, "again");
}

static void test_large_messages(void **state)
{
    static char large[1 << 20];

    (void)state;
    send_until_heard(&a, &b, b.address, "small");
    for (int i = 0; b.last_len != sizeof large; i++) {
        assert_true(i < PATIENCE_MS);
        peer_send(a.peers, 2, b.address, large, sizeof large);
        turn();
    }
}

static void test_garbage(void **state)
{
    static const char *const garbage[] = {"", "R", "X\1\1", "R\3\1"};
    static const uint8_t whole[] = {'R', 3, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 'a', ':', 0, 'z'};
    struct channel s;

    (void)state;
    assert_int_equal(channel_dial(&s, a.address, 1 << 20, NULL, NULL), TX_OK);
    while (!channel_ready(&s))
        turn();
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
        assert_int_equal(channel_send(&s, 1, garbage[i], strlen(garbage[i])), TX_OK);
    for (size_t n = 0; n + 1 < sizeof whole; n++)
        assert_int_equal(channel_send(&s, 1, whole, n), TX_OK);
    for (int i = 0; i < 100; i++)
        turn();
    assert_int_equal(a.received + a.greeted, 0);
    assert_int_equal(channel_send(&s, 1, whole, sizeof whole), TX_OK);
    for (int i = 0; a.received == 0 && i < PATIENCE_MS; i++)
        turn();
    if (secured)
        assert_int_equal(a.received, 0); /* whatever is in clear text */
    else
        assert_string_equal(a.last, "z");
    channel_close(&s);
}

/* Sends for a while; how many of it came. */
static unsigned say(struct node *from, struct node *to, int ms)
{
    unsigned before = to->received;

    for (int i = 0; i < ms; i++) {
        peer_send(from->peers, to->id, to->address, "x", 1);
        turn();
    }
    return to->received - before;
}

static void test_a_key_that_is_not_believed(void **state)
{
    (void)state;
    revoked = a.identity.public_key;
    assert_int_equal(say(&a, &b, 400), 0);
    revoked = NULL;
    send_until_heard(&a, &b, b.address, "now");
}

/* At once, whatever sessions there are. */
static void test_a_key_is_revoked(void **state)
{
    (void)state;
    send_until_heard(&a, &b, b.address, "hello");
    revoked = a.identity.public_key;
    assert_int_equal(say(&a, &b, 100), 0);
    peers_drop(b.peers, a.identity.public_key);
    assert_int_equal(say(&a, &b, 400), 0);
}

/* A coordinator's key that is not this node's, while that is heard of by another. */
static void test_a_number_belongs_to_a_key(void **state)
{
    (void)state;
    send_until_heard(&b, &a, a.address, "here");
    node_listen(&c, b.id);
    assert_int_equal(say(&c, &a, 400), 0);
    assert_true(a.impersonated > 0);
    revoked = b.identity.public_key; /* the node has another key now */
    send_until_heard(&c, &a, a.address, "here I am");
    node_end(&c);
}

static void test_the_other_end_is_restarted(void **state)
{
    (void)state;
    send_until_heard(&a, &b, b.address, "hello");
    node_end(&b);
    turn();
    b.received = 0;
    node_listen(&b, 2);
    send_until_heard(&b, &a, a.address, "I am back");
    send_until_heard(&a, &b, b.address, "so you are");
}

static void test_no_line(void **state)
{
    struct peer_options options = {.node_id = 9};
    struct peers *p;
    struct tx_error e;

    (void)state;
    assert_int_equal(peers_open(&p, &loop, &options, &e), TX_OK);
    peer_send(p, 1, a.address, "x", 1);
    peers_stop(p);
    peers_close(p);
    options.listen = "nowhere";
    assert_int_equal(peers_open(&p, &loop, &options, &e), TX_EINVAL);
    options.listen = "tcp://192.0.2.1:7402";
    assert_int_not_equal(peers_open(&p, &loop, &options, &e), TX_OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define SECURED(f)                                        \
    {                                                     \
        "secured_" #f, f, set_up_secured, tear_down, NULL \
    }
#define BOTH(f) TEST(f), SECURED(f)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_messages),
        BOTH(test_burst),
        BOTH(test_greetings),
        BOTH(test_silent_peer_is_dialled_anew),
        BOTH(test_clear_text_stays_here),
        BOTH(test_nobody_there),
        BOTH(test_a_peer_that_moved_is_found),
        TEST(test_a_stranger_takes_nobodys_place),
        BOTH(test_those_not_kept_are_forgotten),
        BOTH(test_large_messages),
        BOTH(test_garbage),
        TEST(test_no_line),
        SECURED(test_a_key_that_is_not_believed),
        SECURED(test_a_key_is_revoked),
        SECURED(test_a_number_belongs_to_a_key),
        BOTH(test_the_other_end_is_restarted),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
