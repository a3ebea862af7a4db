/* proxy: see proxy.h. Takes in, gives each message a fate, passes on what is due. */
#include "tests/lib/proxy.h"

#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>
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
    HEADER_SIZE = 128,
};

/* A message with the header that leads it, or its answer, to the right connection (nn_device(3) does the same).
 */
struct waiting {
    uint64_t due_ms;
    int to; /* socket */
    size_t len, header_len;
    void *data; /* owned */
    uint8_t header[HEADER_SIZE];
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
static void hold(const struct waiting *m)
{
    uint64_t delay = chance(LATE_PERCENT) ? (unsigned)rand_r(&proxy.seed) % DELAY_MS : 0;
    struct waiting *w = &proxy.waiting[proxy.n];

    if (proxy.n == WAITING_LIMIT)
        return;
    *w = *m;
    w->due_ms = world_now_ms() + delay;
    w->data = malloc(m->len + 1);
    if (w->data == NULL)
        exit(3);
    memcpy(w->data, m->data, m->len);
    proxy.n++;
}

static void take_in(int from, int to)
{
    struct waiting m = {.to = to};
    struct nn_iovec iov = {&m.data, NN_MSG};
    struct nn_msghdr hdr = {&iov, 1, m.header, sizeof m.header};
    int len = nn_recvmsg(from, &hdr, NN_DONTWAIT);

    if (len < 0)
        return;
    m.len = (size_t)len;
    m.header_len = NN_CMSG_FIRSTHDR(&hdr)->cmsg_len;
    if (!chance(LOST_PERCENT))
        hold(&m);
    if (chance(TWICE_PERCENT))
        hold(&m);
    nn_freemsg(m.data);
}

static void send_one(struct waiting *w)
{
    struct nn_iovec iov = {w->data, w->len};
    struct nn_msghdr hdr = {&iov, 1, w->header, w->header_len};

    (void)nn_sendmsg(w->to, &hdr, NN_DONTWAIT);
    free(w->data);
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
        send_one(w);
        *w = proxy.waiting[--proxy.n];
    }
    return (int)(next - now);
}

static int open_socket(int protocol)
{
    int s = nn_socket(AF_SP_RAW, protocol), on = 1, size = MESSAGE_LIMIT, buffer = 4 * MESSAGE_LIMIT;

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
    struct nn_pollfd fds[2];

    if (argc != 4)
        return 2;
    proxy.seed = (unsigned)atoi(argv[3]);
    proxy.in = open_socket(NN_REP);
    proxy.out = open_socket(NN_REQ);
    if (nn_bind(proxy.in, argv[1]) < 0 || nn_connect(proxy.out, argv[2]) < 0) {
        fprintf(stderr, "%s, %s: %s\n", argv[1], argv[2], nn_strerror(nn_errno()));
        return 3;
    }
    fprintf(stderr, "event=ready seed=%u\n", proxy.seed);
    fds[0] = (struct nn_pollfd){.fd = proxy.in, .events = NN_POLLIN};
    fds[1] = (struct nn_pollfd){.fd = proxy.out, .events = NN_POLLIN};
    for (;;) {
        (void)nn_poll(fds, 2, pass_on());
        if ((fds[0].revents & NN_POLLIN) != 0)
            take_in(proxy.in, proxy.out);
        if ((fds[1].revents & NN_POLLIN) != 0)
            take_in(proxy.out, proxy.in);
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
