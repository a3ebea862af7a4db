/* fuzz_peer: messages between coordinators, as peer.c takes them (peer.h); in clear text, within this process.
 *
 * Input: messages, each with its length in front; 'R' and the version are put right. Checked: who is heard has
 * a number and addresses, and is another node; and a good message that follows is heard.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/peer.h"
#include "libtx/shared/buf.h"
#include "libtx/shared/words.h"
#include "tests/fuzz/targets.h"

#define PEER_HERE "inproc://assent-fuzz-here"
#define PEER_THERE "inproc://assent-fuzz-there"

enum { HERE = 1, THERE = 2, SENTINEL = 99, LIMIT = 1 << 16, MESSAGES = 16, PATIENCE_MS = 10000 };
enum { VERSION_SIZE = 2, AT_SENDER = 4 }; /* of a message */
#define SAMPLE_INDEX 0x1122334455667788ULL

static struct {
    uv_loop_t loop;
    struct peers *peers;
    struct channel out; /* to it */
    struct channel in;  /* where it sends to */
    uint64_t awaited, heard;
    uint8_t head[VERSION_SIZE];
    struct buf greeting, raft; /* as it sends them */
    uint8_t *index;            /* in the greeting */
} world;

static bool on_raft(void *ctx, uint64_t from, const void *data, size_t len)
{
    (void)ctx;
    fuzz_check(from != 0 && from != HERE && (len == 0 || data != NULL));
    return from % 2 == 0;
}

static bool on_greeting(void *ctx, const struct peer_greeting *g)
{
    (void)ctx;
    fuzz_check(g->id != 0 && g->id != HERE);
    fuzz_check(*g->address != '\0' && strlen(g->address) <= ADDRESS_LIMIT);
    fuzz_check(*g->clients != '\0' && strlen(g->clients) <= ADDRESS_LIMIT);
    world.heard = g->last_index;
    return g->id % 2 == 0;
}

static void send_one(const void *data, size_t len)
{
    while (channel_send(&world.out, 1, data, len) != TX_OK)
        uv_run(&world.loop, UV_RUN_NOWAIT);
}

/* What the peers send. */
static void catch_sent(struct buf *to)
{
    struct channel_message m;

    while (channel_receive(&world.in, &m) != 1)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    buf_put_bytes(to, m.data, m.len);
    channel_release(&m);
}

/* Until it is there: nothing is sent without a connection. */
static void catch_samples(void)
{
    const struct peer_greeting g = {.group = 7, .log = 7, .last_index = SAMPLE_INDEX, .clients = "tcp://h:1"};
    struct channel_message m;
    uint8_t sample[8];

    peer_greet(world.peers, THERE, PEER_THERE, &g);
    catch_sent(&world.greeting);
    peer_send(world.peers, THERE, PEER_THERE, "raft", 4);
    catch_sent(&world.raft);
    while (channel_receive(&world.in, &m) == 1)
        channel_release(&m);
    memcpy(world.head, world.greeting.data, VERSION_SIZE);
    le_put(sample, SAMPLE_INDEX, 8);
    world.index = memmem(world.greeting.data, world.greeting.len, sample, sizeof sample);
    fuzz_check(world.index != NULL);
}

static void begin(void)
{
    const struct peer_options options = {
        .node_id = HERE, .listen = PEER_HERE, .address = PEER_HERE, .receive = on_raft, .greeted = on_greeting};

    if (world.peers != NULL)
        return;
    fuzz_check(uv_loop_init(&world.loop) == 0);
    fuzz_check(peers_open(&world.peers, &world.loop, &options, NULL) == TX_OK);
    fuzz_check(channel_dial(&world.out, PEER_HERE, LIMIT, NULL, NULL) == TX_OK);
    fuzz_check(channel_listen(&world.in, PEER_THERE, LIMIT, NULL, NULL) == TX_OK);
    catch_samples();
}

/* The greeting as it was sent, of another node, which is none of the group, with a new index. */
static void await_sentinel(void)
{
    uint64_t deadline;

    le_put(world.greeting.data + AT_SENDER, SENTINEL, 8);
    le_put(world.index, ++world.awaited, 8);
    send_one(world.greeting.data, world.greeting.len);
    deadline = uv_now(&world.loop) + PATIENCE_MS;
    while (world.heard != world.awaited) {
        uv_run(&world.loop, UV_RUN_ONCE);
        fuzz_check(uv_now(&world.loop) < deadline);
    }
}

void fuzz_peer_run(const uint8_t *data, size_t len)
{
    struct cur c;

    begin();
    cur_init(&c, data, len);
    for (int i = 0; i < MESSAGES && c.p < c.end; i++) {
        size_t n = cur_u8(&c);
        uint8_t *message = fuzz_bytes(&c, &n);

        memcpy(message, world.head, n < VERSION_SIZE ? n : VERSION_SIZE);
        send_one(message, n);
        free(message);
    }
    await_sentinel();
}

static void put_message(struct buf *to, const struct buf *message, uint8_t from)
{
    buf_put_u8(to, (uint8_t)message->len);
    buf_put_bytes(to, message->data, message->len);
    to->data[to->len - message->len + AT_SENDER] = from;
}

void fuzz_peer_seed(struct fuzz_sink *to)
{
    struct buf b;

    begin();
    buf_init(&b);
    put_message(&b, &world.greeting, 2);
    put_message(&b, &world.raft, 2);
    put_message(&b, &world.raft, 3);
    put_message(&b, &world.greeting, 5);
    fuzz_put_buf(to, &b);
}
