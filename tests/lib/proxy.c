/* proxy: see proxy.h. Takes in, gives each message a fate, passes on what is due. */
#include "tests/lib/proxy.h"

#include <nanomsg/nn.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DELAY_MS = 100,    /* at most, of those that come late */
    LATE_PERCENT = 40, /* the others go at once, and overtake */
    TWICE_PERCENT = 10,
    LOST_PERCENT = 3,
    WAITING_LIMIT = 65536,
    MESSAGE_LIMIT = 4 << 20,
};

struct waiting {
    uint64_t due_ms;
    void *data; /* owned */
    size_t len;
};

static struct proxy {
    int in, out;
    unsigned seed;
    size_t n;
    struct waiting waiting[WAITING_LIMIT]; /* in no order */
} proxy;

static bool chance(unsigned percent)
{
    return (unsigned)rand_r(&proxy.seed) % 100 < percent;
}

/* Beyond the limit it is lost, as with a router. */
static void hold(const void *data, size_t len)
{
    uint64_t delay = chance(LATE_PERCENT) ? (unsigned)rand_r(&proxy.seed) % DELAY_MS : 0;
    struct waiting *w = &proxy.waiting[proxy.n];

    if (proxy.n == WAITING_LIMIT)
        return;
    *w = (struct waiting){.due_ms = world_now_ms() + delay, .data = malloc(len + 1), .len = len};
    if (w->data == NULL)
        exit(3);
    memcpy(w->data, data, len);
    proxy.n++;
}

static void take_in(void)
{
    void *data;
    int len = nn_recv(proxy.in, &data, NN_MSG, 0);

    if (len < 0)
        return;
    if (!chance(LOST_PERCENT))
        hold(data, (size_t)len);
    if (chance(TWICE_PERCENT))
        hold(data, (size_t)len);
    nn_freemsg(data);
}

/* Returns how long nothing will be due. */
static int pass_on(void)
{
    uint64_t now = world_now_ms(), next = now + DELAY_MS;

    for (size_t i = proxy.n; i > 0; i--) {
        struct waiting *w = &proxy.waiting[i - 1];

        if (w->due_ms > now) {
            next = w->due_ms < next ? w->due_ms : next;
            continue;
        }
        (void)nn_send(proxy.out, w->data, w->len, NN_DONTWAIT);
        free(w->data);
        *w = proxy.waiting[--proxy.n];
    }
    return (int)(next - now);
}

static int open_socket(int protocol)
{
    int s = nn_socket(AF_SP, protocol), on = 1, size = MESSAGE_LIMIT, buffer = 4 * MESSAGE_LIMIT;

    if (s < 0 || nn_setsockopt(s, NN_TCP, NN_TCP_NODELAY, &on, sizeof on) < 0 ||
        nn_setsockopt(s, NN_SOL_SOCKET, NN_RCVMAXSIZE, &size, sizeof size) < 0 ||
        nn_setsockopt(s, NN_SOL_SOCKET, NN_RCVBUF, &buffer, sizeof buffer) < 0 ||
        nn_setsockopt(s, NN_SOL_SOCKET, NN_SNDBUF, &buffer, sizeof buffer) < 0) {
        fprintf(stderr, "nanomsg: %s\n", nn_strerror(nn_errno()));
        exit(3);
    }
    return s;
}

/* argv: name, address to listen at, the node's, seed. */
int proxy_job(int argc, char **argv)
{
    int timeout;

    if (argc != 4)
        return 2;
    proxy.seed = (unsigned)atoi(argv[3]);
    proxy.in = open_socket(NN_PULL);
    proxy.out = open_socket(NN_PUSH);
    if (nn_bind(proxy.in, argv[1]) < 0 || nn_connect(proxy.out, argv[2]) < 0) {
        fprintf(stderr, "%s, %s: %s\n", argv[1], argv[2], nn_strerror(nn_errno()));
        return 3;
    }
    fprintf(stderr, "event=ready seed=%u\n", proxy.seed);
    for (;;) {
        timeout = pass_on();
        nn_setsockopt(proxy.in, NN_SOL_SOCKET, NN_RCVTIMEO, &timeout, sizeof timeout);
        take_in();
    }
}

void proxy_start(struct world *w, unsigned node, const char *listen, const char *target)
{
    char name[32], seed[32];
    struct world_process *p;

    snprintf(name, sizeof name, "proxy_%u", node);
    snprintf(seed, sizeof seed, "%u", (unsigned)world_now_ms() + node);
    p = world_client_start(w, name, NULL, WORLD_ARGS("proxy", listen, target, seed));
    world_process_await(p, "event=ready", 10000);
}
