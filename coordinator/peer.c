/* peer: see peer.h.
 *
 * A message: 'R', version, kind, 0; sender's number (u64), sender's address, then what the kind has: Raft's
 * bytes, or a greeting's group, log, last index (u64 each), whether its receiver is not heard (u8), and address
 * for clients.
 */
#include "coordinator/peer.h"

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/buf.h"
#include "libtx/shared/security.h"
#include "libtx/shared/words.h"

enum {
    PEER_VERSION = 3,
    PEER_KIND_RAFT = 1,
    PEER_KIND_GREETING = 2,
    PEER_MESSAGE_LIMIT = 2 << 20, /* bytes; replog's stay below one MiB */
    PEER_BUFFER = 16 << 20,       /* bytes that wait for one peer; replog has a quarter of it on the way */
    PEER_RETRY_MS = 1,
    PEER_KEEP_MS = 50,   /* between two looks at handshakes */
    PEER_STALE_MS = 500, /* what waits for longer is not worth sending: nobody is there */
    PEER_REQUEST = 1,    /* number of each, for none is answered */
    PEER_BATCH = 256,    /* messages taken in one loop turn */
    /* A connection through a network that was cut waits for TCP's next attempt, which is up to two minutes
     * away. So after this silence, and again after as much, a peer is dialled anew. */
    PEER_SILENCE_MS = 1000,
    PEER_DEAF_MS = 2000, /* between two dials for one who does not hear what is sent */
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
    struct channel channel;            /* closed: not dialled */
    uv_poll_t *poll;                   /* of it; NULL: likewise */
    struct peer_message *first, *last; /* wait until the channel takes them; NULL: none */
    size_t waiting;                    /* bytes of these */
    bool has_key;
    uint8_t key[KEY_SIZE]; /* by which it was heard */
    char address[ADDRESS_LIMIT + 1];
};

struct peers {
    struct peer_options options;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t retry; /* runs while something waits */
    uv_timer_t keep;
    int handles;             /* to be closed */
    struct channel listener; /* closed: there is no line */
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

static void poll_freed(uv_handle_t *handle)
{
    free(handle);
}

static void node_close(struct peer_node *n)
{
    while (n->first != NULL)
        queue_drop_first(n);
    if (n->poll != NULL)
        uv_close((uv_handle_t *)n->poll, poll_freed);
    n->poll = NULL;
    channel_close(&n->channel);
}

static void node_clear(struct peer_node *n)
{
    node_close(n);
    *n = (struct peer_node){.channel.socket = -1};
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
    node_clear(oldest);
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
    n->id = id;
    memcpy(n->address, address, strlen(address) + 1);
    return n;
}

/* A message is none to them: what the other end says is the handshake's, and ends in channel. */
static void on_answer(uv_poll_t *poll, int status, int events)
{
    struct peer_node *n = poll->data;
    struct channel_message m;

    (void)status;
    (void)events;
    while (channel_receive(&n->channel, &m) == 1)
        channel_release(&m);
}

/* Clear text never leaves the machine, wherever the address comes from: a log that was written when there were
 * keys, a greeting. */
static void node_dial(struct peers *p, struct peer_node *n, uint64_t now)
{
    n->dialled_ms = now;
    if (p->options.security == NULL && !security_is_local(n->address))
        return;
    if (channel_dial(&n->channel, n->address, PEER_MESSAGE_LIMIT, p->options.security, NULL) != TX_OK)
        return;
    n->poll = malloc(sizeof *n->poll);
    if (n->poll == NULL || uv_poll_init(p->loop, n->poll, channel_fd(&n->channel)) != 0) {
        free(n->poll);
        n->poll = NULL;
        node_close(n);
        return;
    }
    n->poll->data = n;
    uv_poll_start(n->poll, UV_READABLE, on_answer);
}

/* Lines are ready before they are needed. */
static void on_keep(uv_timer_t *timer)
{
    struct peers *p = timer->data;

    for (size_t i = 0; i < PEER_NODES; i++)
        channel_keep(&p->nodes[i].channel);
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
    if (channel_send(&n->channel, PEER_REQUEST, data, len) != TX_OK)
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
    bool room = n->waiting + p->out.len <= PEER_BUFFER && channel_connected(&n->channel);
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

    if (p->listener.socket < 0 || p->out.failed || p->out.len > PEER_MESSAGE_LIMIT)
        return;
    if (n == NULL && (address == NULL || strlen(address) > ADDRESS_LIMIT))
        return;
    if (n == NULL || (n->heard_ms == 0 && address != NULL && strlen(address) <= ADDRESS_LIMIT))
        n = node_at(p, to, address);
    if (n->poll != NULL && now - n->heard_ms >= PEER_SILENCE_MS && now - n->dialled_ms >= PEER_SILENCE_MS)
        node_close(n);
    if (n->poll == NULL)
        node_dial(p, n, now);
    if (n->poll != NULL && (n->first != NULL || !send_now(p, n, p->out.data, p->out.len)))
        queue_add(p, n);
}

void peer_send(struct peers *p, uint64_t to, const char *address, const void *data, size_t len)
{
    message_begin(p, PEER_KIND_RAFT);
    buf_put_bytes(&p->out, data, len);
    message_send(p, to, address);
}

/* Messages are not answered, so who sends cannot know that nothing arrives: who hears nothing says so. */
static bool is_silent(struct peers *p, uint64_t id)
{
    const struct peer_node *n = node_find(p, id);

    return n != NULL && uv_now(p->loop) - n->heard_ms >= PEER_SILENCE_MS;
}

void peer_greet(struct peers *p, uint64_t to, const char *address, const struct peer_greeting *greeting)
{
    message_begin(p, PEER_KIND_GREETING);
    buf_put_u64(&p->out, greeting->group);
    buf_put_u64(&p->out, greeting->log);
    buf_put_u64(&p->out, greeting->last_index);
    buf_put_u8(&p->out, is_silent(p, to));
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
        node_clear(&p->nodes[i]);
    }
}

/* Receiving */

/* The line there passes nothing on, though the one from there does. */
static void node_deaf(struct peers *p, uint64_t id)
{
    struct peer_node *n = node_find(p, id);

    if (n != NULL && n->poll != NULL && uv_now(p->loop) - n->dialled_ms >= PEER_DEAF_MS)
        node_close(n);
}

static bool take_greeting(struct peers *p, struct cur *c, uint64_t from, const char *address)
{
    struct peer_greeting g = {.id = from, .address = address, .group = cur_u64(c)};
    bool deaf;

    g.log = cur_u64(c);
    g.last_index = cur_u64(c);
    deaf = cur_u8(c) != 0;
    g.clients = cur_str_required(c, ADDRESS_LIMIT);
    if (!cur_done(c) || *g.clients == '\0' || !p->options.greeted(p->options.ctx, &g))
        return false;
    if (deaf)
        node_deaf(p, from);
    return true;
}

static bool is_believed(const struct peers *p, const uint8_t *key)
{
    return p->options.security->accept(p->options.security->ctx, key);
}

/* In clear text everybody is who he says. */
static bool is_by(struct peers *p, const uint8_t *key, uint64_t from)
{
    const struct peer_node *n = node_find(p, from);

    if (p->options.security == NULL)
        return true;
    if (!is_believed(p, key))
        return false;
    if (n == NULL || !n->has_key || key_equal(n->key, key) || !is_believed(p, n->key))
        return true;
    if (p->options.impersonated != NULL)
        p->options.impersonated(p->options.ctx, from, key);
    return false;
}

static void node_heard(struct peers *p, uint64_t from, const char *address, const uint8_t *key)
{
    struct peer_node *n = node_at(p, from, address);

    n->heard_ms = uv_now(p->loop);
    n->has_key = key != NULL;
    if (key != NULL)
        memcpy(n->key, key, KEY_SIZE);
}

static void message_take(struct peers *p, const struct channel_message *m)
{
    uint64_t from;
    const char *address;
    struct cur c;
    uint8_t kind;
    bool taken = false;

    cur_init(&c, m->data, m->len);
    if (cur_u8(&c) != 'R' || cur_u8(&c) != PEER_VERSION)
        return;
    kind = cur_u8(&c);
    (void)cur_u8(&c);
    from = cur_u64(&c);
    address = cur_str_required(&c, ADDRESS_LIMIT);
    if (c.bad || from == 0 || from == p->options.node_id || *address == '\0' || !is_by(p, m->key, from))
        return;
    if (kind == PEER_KIND_RAFT)
        taken = p->options.receive(p->options.ctx, from, c.p, (size_t)(c.end - c.p));
    else if (kind == PEER_KIND_GREETING)
        taken = take_greeting(p, &c, from, address);
    /* A stranger's address must not take the place of a member's. */
    if (taken)
        node_heard(p, from, address, m->key);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct peers *p = poll->data;
    struct channel_message m;

    (void)status;
    (void)events;
    for (int i = 0; i < PEER_BATCH && p->listener.socket >= 0; i++) {
        if (channel_receive(&p->listener, &m) != 1)
            return;
        p->traffic.received += m.len;
        message_take(p, &m);
        channel_release(&m);
    }
}

void peers_drop(struct peers *p, const uint8_t key[KEY_SIZE])
{
    channel_drop(&p->listener, key);
}

/* Life */

static int listen_at(struct peers *p, struct tx_error *e)
{
    int rc = channel_listen(&p->listener, p->options.listen, PEER_MESSAGE_LIMIT, p->options.security, e);

    if (rc != TX_OK)
        return rc;
    if (uv_poll_init(p->loop, &p->poll, channel_fd(&p->listener)) != 0)
        return err_set(e, TX_EIO, "cannot watch the message socket of %s", p->options.listen);
    p->poll.data = p;
    uv_poll_start(&p->poll, UV_READABLE, on_readable);
    return TX_OK;
}

static void release(struct peers *p)
{
    for (size_t i = 0; i < PEER_NODES; i++)
        node_close(&p->nodes[i]);
    channel_close(&p->listener);
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
    p->listener.socket = -1;
    for (size_t i = 0; i < PEER_NODES; i++)
        p->nodes[i].channel.socket = -1;
    buf_init(&p->out);
    if (options->listen != NULL)
        rc = listen_at(p, e);
    if (rc != TX_OK) {
        release(p);
        return rc;
    }
    uv_timer_init(loop, &p->retry);
    uv_timer_init(loop, &p->keep);
    p->retry.data = p->keep.data = p;
    uv_timer_start(&p->keep, on_keep, PEER_KEEP_MS, PEER_KEEP_MS);
    *out = p;
    return TX_OK;
}

void peers_stop(struct peers *p)
{
    if (p->listener.socket >= 0)
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
    p->handles = 2 + (p->listener.socket >= 0);
    for (size_t i = 0; i < PEER_NODES; i++)
        node_close(&p->nodes[i]);
    uv_close((uv_handle_t *)&p->retry, on_closed);
    uv_close((uv_handle_t *)&p->keep, on_closed);
    if (p->listener.socket >= 0)
        uv_close((uv_handle_t *)&p->poll, on_closed);
}
