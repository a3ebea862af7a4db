/* peer: see peer.h.
 *
 * A message: 'R', version, kind, 0; sender's number (u64), sender's address, then what the kind has: Raft's
 * bytes, or a greeting's group, log, last index (u64 each) and address for clients.
 */
#include "coordinator/peer.h"

#include <nanomsg/nn.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/words.h"

enum {
    PEER_VERSION = 2,
    PEER_KIND_RAFT = 1,
    PEER_KIND_GREETING = 2,
    PEER_MESSAGE_LIMIT = 2 << 20, /* bytes; replog's stay below one MiB */
    PEER_BUFFER = 16 << 20,       /* bytes that wait for one peer; replog has a quarter of it on the way */
    PEER_RETRY_MS = 1,
    PEER_STALE_MS = 500, /* what waits for longer is not worth sending: nobody is there */
    PEER_BATCH = 256,    /* messages taken in one loop turn */
    PEER_RECONNECT_MS = 20,
    PEER_RECONNECT_MAX_MS = 200,
    /* A connection through a network that was cut waits for TCP's next attempt, which is up to two minutes
     * away. So after this silence, and again after as much, a peer is dialled anew. */
    PEER_SILENCE_MS = 1000,
};

struct peer_message {
    struct peer_message *next;
    uint64_t queued_ms;
    size_t len;
    uint8_t data[];
};

struct peer_node {
    uint64_t id; /* 0: free */
    uint64_t heard_ms, dialled_ms;
    int socket;                        /* -1: closed */
    struct peer_message *first, *last; /* wait until the socket takes them; NULL: none */
    size_t waiting;                    /* bytes of these */
    char address[ADDRESS_LIMIT + 1];
};

struct peers {
    struct peer_options options;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t retry; /* runs while something waits */
    int handles;      /* to be closed */
    int listener;     /* -1: closed */
    struct peer_node nodes[PEER_NODES];
    struct buf out;
    struct peer_traffic traffic;
};

/* Nodes */

static struct peer_node *node_find(struct peers *p, uint64_t id)
{
    for (size_t i = 0; i < PEER_NODES; i++) {
        if (p->nodes[i].id == id)
            return &p->nodes[i];
    }
    return NULL;
}

static void queue_drop_first(struct peer_node *n)
{
    struct peer_message *m = n->first;

    n->waiting -= m->len;
    n->first = m->next;
    if (n->first == NULL)
        n->last = NULL;
    free(m);
}

static void node_close(struct peer_node *n)
{
    while (n->first != NULL)
        queue_drop_first(n);
    if (n->socket >= 0)
        nn_close(n->socket);
    n->socket = -1;
}

/* The one that was silent for longest makes room. */
static struct peer_node *node_room(struct peers *p)
{
    struct peer_node *oldest = &p->nodes[0];

    for (size_t i = 0; i < PEER_NODES; i++) {
        if (p->nodes[i].id == 0)
            return &p->nodes[i];
        if (p->nodes[i].heard_ms < oldest->heard_ms)
            oldest = &p->nodes[i];
    }
    node_close(oldest);
    return oldest;
}

/* At this address from now on. */
static struct peer_node *node_at(struct peers *p, uint64_t id, const char *address)
{
    struct peer_node *n = node_find(p, id);

    if (n != NULL && strcmp(n->address, address) == 0)
        return n;
    if (n != NULL)
        node_close(n);
    else
        n = node_room(p);
    *n = (struct peer_node){.id = id, .socket = -1, .heard_ms = n->id == id ? n->heard_ms : 0};
    memcpy(n->address, address, strlen(address) + 1);
    return n;
}

static int socket_option(int socket, int level, int option, int value)
{
    return nn_setsockopt(socket, level, option, &value, sizeof value);
}

/* A socket of the pipeline with what both ends have in common, or -1. */
static int socket_open(int protocol)
{
    int s = nn_socket(AF_SP, protocol);

    if (s < 0)
        return -1;
    if (socket_option(s, NN_TCP, NN_TCP_NODELAY, 1) < 0 ||
        socket_option(s, NN_SOL_SOCKET, NN_RCVMAXSIZE, PEER_MESSAGE_LIMIT) < 0 ||
        socket_option(s, NN_SOL_SOCKET, NN_SNDBUF, PEER_BUFFER) < 0 ||
        socket_option(s, NN_SOL_SOCKET, NN_RCVBUF, PEER_BUFFER) < 0 ||
        socket_option(s, NN_SOL_SOCKET, NN_RECONNECT_IVL, PEER_RECONNECT_MS) < 0 ||
        socket_option(s, NN_SOL_SOCKET, NN_RECONNECT_IVL_MAX, PEER_RECONNECT_MAX_MS) < 0) {
        nn_close(s);
        return -1;
    }
    return s;
}

static void node_dial(struct peer_node *n, uint64_t now)
{
    n->dialled_ms = now;
    n->socket = socket_open(NN_PUSH);
    if (n->socket >= 0 && nn_connect(n->socket, n->address) < 0)
        node_close(n);
}

/* Sending */

static void message_begin(struct peers *p, uint8_t kind)
{
    buf_reset(&p->out);
    buf_put_u8(&p->out, 'R');
    buf_put_u8(&p->out, PEER_VERSION);
    buf_put_u8(&p->out, kind);
    buf_put_u8(&p->out, 0);
    buf_put_u64(&p->out, p->options.node_id);
    buf_put_str(&p->out, p->options.address);
}

/* nanomsg takes a message when the one before has left for the kernel, whose buffer is smaller than a burst. */
static bool send_now(struct peers *p, struct peer_node *n, const void *data, size_t len)
{
    if (nn_send(n->socket, data, len, NN_DONTWAIT) < 0)
        return false;
    p->traffic.sent += len;
    return true;
}

/* Sends what waits, as far as the socket takes it. */
static void queue_flush(struct peers *p, struct peer_node *n)
{
    while (n->first != NULL) {
        if (uv_now(p->loop) - n->first->queued_ms <= PEER_STALE_MS &&
            !send_now(p, n, n->first->data, n->first->len))
            return;
        queue_drop_first(n);
    }
}

static void on_retry(uv_timer_t *timer)
{
    struct peers *p = timer->data;
    bool waits = false;

    for (size_t i = 0; i < PEER_NODES; i++) {
        queue_flush(p, &p->nodes[i]);
        waits = waits || p->nodes[i].first != NULL;
    }
    if (!waits)
        uv_timer_stop(timer);
}

/* Without a connection, room or memory it is a message lost. */
static void queue_add(struct peers *p, struct peer_node *n)
{
    bool room =
        n->waiting + p->out.len <= PEER_BUFFER && nn_get_statistic(n->socket, NN_STAT_CURRENT_CONNECTIONS) > 0;
    struct peer_message *m = room ? malloc(sizeof *m + p->out.len) : NULL;

    if (m == NULL)
        return;
    m->next = NULL;
    m->queued_ms = uv_now(p->loop);
    m->len = p->out.len;
    memcpy(m->data, p->out.data, m->len);
    if (n->last != NULL)
        n->last->next = m;
    else
        n->first = m;
    n->last = m;
    n->waiting += m->len;
    if (!uv_is_active((uv_handle_t *)&p->retry))
        uv_timer_start(&p->retry, on_retry, PEER_RETRY_MS, PEER_RETRY_MS);
}

/* To where it was heard from last: `address` is as old as the membership's last change. */
static void message_send(struct peers *p, uint64_t to, const char *address)
{
    struct peer_node *n = node_find(p, to);
    uint64_t now = uv_now(p->loop);

    if (p->listener < 0 || p->out.failed || p->out.len > PEER_MESSAGE_LIMIT)
        return;
    if (n == NULL && (address == NULL || strlen(address) > ADDRESS_LIMIT))
        return;
    if (n == NULL || (n->heard_ms == 0 && address != NULL && strlen(address) <= ADDRESS_LIMIT))
        n = node_at(p, to, address);
    if (n->socket >= 0 && now - n->heard_ms >= PEER_SILENCE_MS && now - n->dialled_ms >= PEER_SILENCE_MS)
        node_close(n);
    if (n->socket < 0)
        node_dial(n, now);
    if (n->socket >= 0 && (n->first != NULL || !send_now(p, n, p->out.data, p->out.len)))
        queue_add(p, n);
}

void peer_send(struct peers *p, uint64_t to, const char *address, const void *data, size_t len)
{
    message_begin(p, PEER_KIND_RAFT);
    buf_put_bytes(&p->out, data, len);
    message_send(p, to, address);
}

void peer_greet(struct peers *p, uint64_t to, const char *address, const struct peer_greeting *greeting)
{
    message_begin(p, PEER_KIND_GREETING);
    buf_put_u64(&p->out, greeting->group);
    buf_put_u64(&p->out, greeting->log);
    buf_put_u64(&p->out, greeting->last_index);
    buf_put_str(&p->out, greeting->clients);
    message_send(p, to, address);
}

struct peer_traffic peers_traffic(const struct peers *p)
{
    return p->traffic;
}

void peers_keep(struct peers *p, const uint64_t *ids, size_t n)
{
    for (size_t i = 0; i < PEER_NODES; i++) {
        bool kept = false;

        for (size_t k = 0; k < n; k++)
            kept = kept || p->nodes[i].id == ids[k];
        if (kept || p->nodes[i].id == 0)
            continue;
        node_close(&p->nodes[i]);
        p->nodes[i] = (struct peer_node){.socket = -1};
    }
}

/* Receiving */

static bool take_greeting(struct peers *p, struct cur *c, uint64_t from, const char *address)
{
    struct peer_greeting g = {.id = from, .address = address, .group = cur_u64(c)};

    g.log = cur_u64(c);
    g.last_index = cur_u64(c);
    g.clients = cur_str_required(c, ADDRESS_LIMIT);
    return cur_done(c) && *g.clients != '\0' && p->options.greeted(p->options.ctx, &g);
}

static void message_take(struct peers *p, const uint8_t *data, size_t len)
{
    uint64_t from;
    const char *address;
    struct cur c;
    uint8_t kind;
    bool taken = false;

    cur_init(&c, data, len);
    if (cur_u8(&c) != 'R' || cur_u8(&c) != PEER_VERSION)
        return;
    kind = cur_u8(&c);
    (void)cur_u8(&c);
    from = cur_u64(&c);
    address = cur_str_required(&c, ADDRESS_LIMIT);
    if (c.bad || from == 0 || from == p->options.node_id || *address == '\0')
        return;
    if (kind == PEER_KIND_RAFT)
        taken = p->options.receive(p->options.ctx, from, c.p, (size_t)(c.end - c.p));
    else if (kind == PEER_KIND_GREETING)
        taken = take_greeting(p, &c, from, address);
    /* A stranger's address must not take the place of a member's. */
    if (taken)
        node_at(p, from, address)->heard_ms = uv_now(p->loop);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct peers *p = poll->data;
    void *data;
    int n;

    (void)status;
    (void)events;
    for (int i = 0; i < PEER_BATCH && p->listener >= 0; i++) {
        n = nn_recv(p->listener, &data, NN_MSG, NN_DONTWAIT);
        if (n < 0)
            return;
        p->traffic.received += (uint64_t)n;
        message_take(p, data, (size_t)n);
        nn_freemsg(data);
    }
}

/* Life */

static int listen_at(struct peers *p, struct tx_error *e)
{
    int fd = -1, code;
    size_t size = sizeof fd;

    p->listener = socket_open(NN_PULL);
    if (p->listener < 0)
        return err_set(e, TX_EIO, "cannot open a message socket: %s", nn_strerror(nn_errno()));
    if (nn_bind(p->listener, p->options.listen) < 0) {
        code = nn_errno() == EINVAL || nn_errno() == EPROTONOSUPPORT ? TX_EINVAL : TX_EIO;
        return err_set(e, code, "cannot listen on %s: %s", p->options.listen, nn_strerror(nn_errno()));
    }
    if (nn_getsockopt(p->listener, NN_SOL_SOCKET, NN_RCVFD, &fd, &size) < 0 ||
        uv_poll_init(p->loop, &p->poll, fd) != 0)
        return err_set(e, TX_EIO, "cannot watch the message socket of %s", p->options.listen);
    p->poll.data = p;
    uv_poll_start(&p->poll, UV_READABLE, on_readable);
    return TX_OK;
}

static void release(struct peers *p)
{
    for (size_t i = 0; i < PEER_NODES; i++)
        node_close(&p->nodes[i]);
    if (p->listener >= 0)
        nn_close(p->listener);
    buf_release(&p->out);
    free(p);
}

int peers_open(struct peers **out, uv_loop_t *loop, const struct peer_options *options, struct tx_error *e)
{
    struct peers *p = calloc(1, sizeof *p);
    int rc = TX_OK;

    if (p == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    p->options = *options;
    p->loop = loop;
    p->listener = -1;
    for (size_t i = 0; i < PEER_NODES; i++)
        p->nodes[i].socket = -1;
    buf_init(&p->out);
    if (options->listen != NULL)
        rc = listen_at(p, e);
    if (rc != TX_OK) {
        release(p);
        return rc;
    }
    uv_timer_init(loop, &p->retry);
    p->retry.data = p;
    *out = p;
    return TX_OK;
}

void peers_stop(struct peers *p)
{
    if (p->listener >= 0)
        uv_poll_stop(&p->poll);
}

static void on_closed(uv_handle_t *handle)
{
    struct peers *p = handle->data;

    if (--p->handles == 0)
        release(p);
}

void peers_close(struct peers *p)
{
    p->handles = 1 + (p->listener >= 0);
    uv_close((uv_handle_t *)&p->retry, on_closed);
    if (p->listener >= 0)
        uv_close((uv_handle_t *)&p->poll, on_closed);
}
