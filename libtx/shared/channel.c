/* channel: see channel.h. */
#include "libtx/shared/channel.h"

#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>
#include <nanomsg/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libtx/shared/secure_inside.h"

enum {
    CHANNEL_RECONNECT_MS = 20,
    CHANNEL_RECONNECT_MAX_MS = 200,
    CHANNEL_BUFFER = 4 << 20,
    CHANNEL_HANDSHAKE_MS = 250,             /* without an answer, until a handshake is begun anew; doubled */
    CHANNEL_HANDSHAKE_MAX_MS = 4000,        /* each time up to this, for the way may be long, */
    CHANNEL_REFUSED_MS = 1000,              /* after one that ended in a refusal, */
    CHANNEL_REKEY_MS = 3600000,             /* and of a session this old: what is on the way survives it */
    CHANNEL_HEADERS = 64 + SECURE_OVERHEAD, /* bytes of a message beside its content */
    CHANNEL_LARGE = 4096,                   /* bytes that are not encrypted on trial */
    CHANNEL_BATCH = 64,                     /* messages of handshakes taken at once */
    HANDSHAKE_REQUEST = 0,                  /* number of its messages; callers count from 1 */
};

struct channel_caller {
    struct secure_caller secure;
    uint64_t begun_ms;    /* the last handshake, or its second half; 0: at once */
    unsigned patience_ms; /* with it */
    uint64_t opened_ms;   /* the session that is open */
    bool refused;         /* so the last one ended */
    unsigned lost;        /* sessions that ended without this end's doing */
};

/* Room for the one control message that carries the header. */
union control {
    struct nn_cmsghdr align;
    uint8_t bytes[128];
};

static int channel_option(int socket, int level, int option, int value)
{
    return nn_setsockopt(socket, level, option, &value, sizeof value);
}

static int channel_open(struct channel *c, int protocol, size_t max_bytes, struct tx_error *e)
{
    int s = nn_socket(AF_SP_RAW, protocol);

    *c = (struct channel){.socket = s, .pid = getpid()};
    if (s < 0)
        return err_set(e, TX_EIO, "cannot open a message socket: %s", nn_strerror(nn_errno()));
    if (channel_option(s, NN_TCP, NN_TCP_NODELAY, 1) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_RCVMAXSIZE, (int)max_bytes + CHANNEL_HEADERS) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_SNDBUF, CHANNEL_BUFFER) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_RCVBUF, CHANNEL_BUFFER) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_RECONNECT_IVL, CHANNEL_RECONNECT_MS) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_RECONNECT_IVL_MAX, CHANNEL_RECONNECT_MAX_MS) < 0) {
        err_set(e, TX_EIO, "cannot set up a message socket: %s", nn_strerror(nn_errno()));
        channel_close(c);
        return TX_EIO;
    }
    return TX_OK;
}

static int caller_new(struct channel *c, const struct channel_security *security, struct tx_error *e)
{
    c->security = security;
    c->caller = calloc(1, sizeof *c->caller);
    if (c->caller == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    c->caller->patience_ms = CHANNEL_HANDSHAKE_MS;
    secure_caller_init(&c->caller->secure, security->self, security->accept, security->ctx);
    return TX_OK;
}

int channel_dial(struct channel *c, const char *address, size_t max_bytes,
                 const struct channel_security *security, struct tx_error *e)
{
    int rc = channel_open(c, NN_REQ, max_bytes, e);

    if (rc != TX_OK)
        return rc;
    if (nn_connect(c->socket, address) < 0)
        rc = err_set(e, TX_EINVAL, "cannot connect to «%s»: %s; write tcp://host:port or ipc:///path", address,
                     nn_strerror(nn_errno()));
    if (rc == TX_OK && security != NULL)
        rc = caller_new(c, security, e);
    if (rc != TX_OK)
        channel_close(c);
    return rc;
}

static int server_new(struct channel *c, const struct channel_security *security, struct tx_error *e)
{
    c->security = security;
    c->server = secure_server_new(security->self, &security->limits, security->accept, security->refused,
                                  security->ctx);
    return c->server != NULL ? TX_OK : err_set(e, TX_ENOMEM, "out of memory");
}

int channel_listen(struct channel *c, const char *address, size_t max_bytes,
                   const struct channel_security *security, struct tx_error *e)
{
    int rc = channel_open(c, NN_REP, max_bytes, e), code;

    if (rc != TX_OK)
        return rc;
    if (security != NULL)
        rc = server_new(c, security, e);
    if (rc == TX_OK && nn_bind(c->socket, address) < 0) {
        code = nn_errno() == EINVAL || nn_errno() == EPROTONOSUPPORT ? TX_EINVAL : TX_EIO;
        rc = err_set(e, code, "cannot listen on %s: %s%s", address, nn_strerror(nn_errno()),
                     code == TX_EINVAL ? "; write tcp://host:port or ipc:///path" : "");
    }
    if (rc != TX_OK)
        channel_close(c);
    return rc;
}

void channel_close(struct channel *c)
{
    if (c->socket < 0)
        return;
    nn_close(c->socket);
    secure_server_free(c->server);
    if (c->caller != NULL)
        secure_caller_wipe(&c->caller->secure);
    free(c->caller);
    *c = (struct channel){.socket = -1};
}

int channel_fd(const struct channel *c)
{
    int fd = -1;
    size_t size = sizeof fd;

    if (nn_getsockopt(c->socket, NN_SOL_SOCKET, NN_RCVFD, &fd, &size) < 0)
        return -1;
    return fd;
}

bool channel_connected(const struct channel *c)
{
    return nn_get_statistic(c->socket, NN_STAT_CURRENT_CONNECTIONS) > 0;
}

static bool has_room(const struct channel *c)
{
    struct nn_pollfd p = {.fd = c->socket, .events = NN_POLLOUT};

    return nn_poll(&p, 1, 0) > 0 && (p.revents & NN_POLLOUT) != 0;
}

bool channel_ready(struct channel *c)
{
    channel_keep(c);
    return (c->caller == NULL || c->caller->secure.open) && has_room(c);
}

void channel_drop(struct channel *c, const uint8_t key[KEY_SIZE])
{
    if (c->server != NULL)
        secure_server_drop(c->server, key);
}

/* Sending */

/* Takes the chunk, sent or not. */
static int channel_send_chunk(struct channel *c, const uint8_t *header, size_t header_len, void *chunk)
{
    union control control;
    struct nn_iovec iov = {&chunk, NN_MSG};
    struct nn_msghdr hdr = {&iov, 1, &control, NN_CMSG_SPACE(sizeof(size_t) + header_len)};
    unsigned char *p;
    int code;

    memset(&control, 0, sizeof control);
    control.align.cmsg_len = hdr.msg_controllen;
    control.align.cmsg_level = PROTO_SP;
    control.align.cmsg_type = SP_HDR;
    p = NN_CMSG_DATA(&control.align);
    memcpy(p, &header_len, sizeof header_len);
    memcpy(p + sizeof header_len, header, header_len);
    if (nn_sendmsg(c->socket, &hdr, NN_DONTWAIT) >= 0)
        return TX_OK;
    code = nn_errno() == EAGAIN || nn_errno() == EINTR ? TX_EBUSY : TX_EIO;
    nn_freemsg(chunk);
    return code;
}

static int channel_send_clear(struct channel *c, const uint8_t *header, size_t header_len, const void *data,
                              size_t len)
{
    void *chunk = nn_allocmsg(len, 0);

    if (chunk == NULL)
        return TX_EBUSY;
    memcpy(chunk, data, len);
    return channel_send_chunk(c, header, header_len, chunk);
}

/* The top bit marks the last entry of the header's stack (nanomsg RFC, sp-request-reply-01). */
static void request_header(uint8_t header[4], uint32_t id)
{
    header[0] = (uint8_t)(id >> 24 | 0x80);
    header[1] = (uint8_t)(id >> 16);
    header[2] = (uint8_t)(id >> 8);
    header[3] = (uint8_t)id;
}

static uint32_t request_of(const uint8_t *header, size_t len)
{
    const uint8_t *h = header + len - 4;

    return (uint32_t)(h[0] & 0x7f) << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
}

int channel_send(struct channel *c, uint32_t id, const void *data, size_t len)
{
    uint8_t header[4];
    void *chunk;

    request_header(header, id);
    if (c->caller == NULL)
        return channel_send_clear(c, header, sizeof header, data, len);
    if (c->pid != getpid())
        return TX_EIO;
    channel_keep(c);
    if (!c->caller->secure.open || (len >= CHANNEL_LARGE && !has_room(c)))
        return TX_EBUSY;
    chunk = nn_allocmsg(len + SECURE_OVERHEAD, 0);
    if (chunk == NULL)
        return TX_EBUSY;
    secure_caller_seal(&c->caller->secure, id, data, len, chunk);
    return channel_send_chunk(c, header, sizeof header, chunk);
}

/* To a caller whose session has ended nothing is said: it asks again in another. */
int channel_reply(struct channel *c, const struct reply_to *to, const void *data, size_t len)
{
    void *chunk;

    if (c->server == NULL)
        return channel_send_clear(c, to->header, to->len, data, len);
    if (c->pid != getpid())
        return TX_EIO;
    chunk = nn_allocmsg(len + SECURE_OVERHEAD, 0);
    if (chunk == NULL)
        return TX_EBUSY;
    if (secure_server_seal(c->server, to->session, request_of(to->header, to->len), data, len, chunk) == 0) {
        nn_freemsg(chunk);
        return TX_OK;
    }
    return channel_send_chunk(c, to->header, to->len, chunk);
}

/* The caller's handshake */

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool handshake_due(const struct channel_caller *k, uint64_t now)
{
    if (k->secure.open && now - k->opened_ms < CHANNEL_REKEY_MS)
        return false;
    return k->begun_ms == 0 || now - k->begun_ms >= (k->refused ? CHANNEL_REFUSED_MS : k->patience_ms);
}

const char *channel_why(const struct channel *c)
{
    if (c->mismatch)
        return c->caller != NULL ? "it speaks in clear text; is it insecure?"
                                 : "it takes no clear text; give an identity, and leave insecure out";
    return c->caller != NULL ? c->caller->secure.why : "";
}

struct channel_state channel_state(const struct channel *c)
{
    const struct channel_caller *k = c->caller;
    bool idle;

    if (k == NULL)
        return (struct channel_state){.open = !c->mismatch, .refused = c->mismatch};
    idle = !k->secure.greeting && !k->secure.authenticating;
    return (struct channel_state){
        .open = k->secure.open, .refused = c->mismatch || (k->refused && idle), .lost = k->lost};
}

/* Receiving */

static bool is_mismatch(const void *data, size_t len)
{
    return secure_kind_of(data, len) == SECURE_KIND_MISMATCH;
}

/* True: content. */
static bool caller_take(struct channel *c, struct channel_message *m)
{
    struct channel_caller *k = c->caller;
    struct secure_result r;
    uint8_t header[4];

    switch (secure_caller_take(&k->secure, m->id, m->data, m->len, &r)) {
    case SECURE_DATA:
        m->data = r.data;
        m->len = r.len;
        return true;
    case SECURE_ANSWER:
        request_header(header, HANDSHAKE_REQUEST);
        (void)channel_send_clear(c, header, sizeof header, r.out, r.out_len);
        k->begun_ms = now_ms();
        break;
    case SECURE_OPENED:
        k->opened_ms = now_ms();
        k->patience_ms = CHANNEL_HANDSHAKE_MS;
        k->refused = c->mismatch = false;
        break;
    case SECURE_REFUSED:
        k->refused = true;
        break;
    case SECURE_CLOSED:
        k->lost++;
        k->begun_ms = 0;
        channel_keep(c);
        break;
    case SECURE_NOTHING:
        c->mismatch = c->mismatch || is_mismatch(m->data, m->len);
        break;
    }
    return false;
}

/* Whoever speaks another way than this end is told so, in four bytes that bind nobody. */
static void tell_mismatch(struct channel *c, const struct reply_to *to)
{
    uint8_t message[HEAD];

    secure_head(message, SECURE_KIND_MISMATCH);
    (void)channel_send_clear(c, to->header, to->len, message, sizeof message);
}

static bool server_take(struct channel *c, struct channel_message *m)
{
    const uint8_t *h = m->origin.header;
    uint32_t connection = (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
    struct secure_result r;

    switch (secure_server_take(c->server, now_ms(), connection, m->id, m->data, m->len, &r)) {
    case SECURE_DATA:
        m->data = r.data;
        m->len = r.len;
        m->key = r.key;
        m->origin.session = r.session;
        return true;
    case SECURE_ANSWER:
        (void)channel_send_clear(c, m->origin.header, m->origin.len, r.out, r.out_len);
        return false;
    default:
        if (secure_kind_of(m->data, m->len) == 0)
            tell_mismatch(c, &m->origin);
        return false;
    }
}

static bool clear_take(struct channel *c, struct channel_message *m)
{
    if (secure_kind_of(m->data, m->len) == SECURE_KIND_HELLO) {
        tell_mismatch(c, &m->origin);
        return false;
    }
    c->mismatch = is_mismatch(m->data, m->len);
    return !c->mismatch;
}

static bool channel_take(struct channel *c, struct channel_message *m)
{
    if (c->caller != NULL)
        return caller_take(c, m);
    return c->server != NULL ? server_take(c, m) : clear_take(c, m);
}

/* The header out of the control message; false where it is not one of ours to understand. */
static bool channel_header(const struct nn_msghdr *hdr, struct reply_to *out)
{
    struct nn_cmsghdr *cmsg = NN_CMSG_FIRSTHDR(hdr);
    unsigned char *p;
    size_t n;

    if (cmsg == NULL || cmsg->cmsg_level != PROTO_SP || cmsg->cmsg_type != SP_HDR)
        return false;
    p = NN_CMSG_DATA(cmsg);
    memcpy(&n, p, sizeof n);
    if (n < 4 || n > sizeof out->header)
        return false;
    memcpy(out->header, p + sizeof n, n);
    out->len = (uint8_t)n;
    out->session = 0;
    return true;
}

int channel_receive(struct channel *c, struct channel_message *m)
{
    union control control;
    struct nn_iovec iov = {&m->chunk, NN_MSG};
    struct nn_msghdr hdr = {&iov, 1, &control, sizeof control};
    int n;

    /* What waits behind so much that is no content wakes the loop again. */
    for (int i = 0; i < CHANNEL_BATCH; i++) {
        hdr.msg_controllen = sizeof control;
        n = nn_recvmsg(c->socket, &hdr, NN_DONTWAIT);
        if (n < 0 && nn_errno() == EINTR)
            continue;
        if (n < 0)
            return nn_errno() == EAGAIN ? 0 : TX_EIO;
        m->data = m->chunk;
        m->len = (size_t)n;
        m->key = NULL;
        if (channel_header(&hdr, &m->origin)) {
            m->id = request_of(m->origin.header, m->origin.len);
            if (channel_take(c, m))
                return 1;
        }
        channel_release(m);
    }
    return 0;
}

/* While no session is open nothing else can come. */
static void take_handshake(struct channel *c)
{
    struct channel_message m;

    if (channel_receive(c, &m) == 1)
        channel_release(&m);
}

/* Each that comes to nothing is given twice the time of the one before. */
static void handshake_begun(struct channel_caller *k, uint64_t now)
{
    if (k->begun_ms != 0 && !k->refused && k->patience_ms < CHANNEL_HANDSHAKE_MAX_MS)
        k->patience_ms *= 2;
    k->begun_ms = now;
}

void channel_keep(struct channel *c)
{
    uint8_t header[4], hello[SECURE_HANDSHAKE_MAX];
    uint64_t now;
    size_t len;

    if (c->caller == NULL)
        return;
    if (!c->caller->secure.open)
        take_handshake(c);
    now = now_ms();
    if (!handshake_due(c->caller, now))
        return;
    len = secure_caller_hello(&c->caller->secure, hello);
    request_header(header, HANDSHAKE_REQUEST);
    if (channel_send_clear(c, header, sizeof header, hello, len) == TX_OK)
        handshake_begun(c->caller, now);
}

void channel_release(struct channel_message *m)
{
    nn_freemsg(m->chunk);
    m->data = m->chunk = NULL;
}
