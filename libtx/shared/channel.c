/* channel: see channel.h. */
#include "libtx/shared/channel.h"

#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>
#include <nanomsg/tcp.h>
#include <string.h>

enum { CHANNEL_RECONNECT_MS = 20, CHANNEL_RECONNECT_MAX_MS = 500, CHANNEL_BUFFER = 4 << 20 };

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

    c->socket = s;
    if (s < 0)
        return err_set(e, TX_EIO, "cannot open a message socket: %s", nn_strerror(nn_errno()));
    if (channel_option(s, NN_TCP, NN_TCP_NODELAY, 1) < 0 ||
        channel_option(s, NN_SOL_SOCKET, NN_RCVMAXSIZE, (int)max_bytes) < 0 ||
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

int channel_dial(struct channel *c, const char *address, size_t max_bytes, struct tx_error *e)
{
    int rc = channel_open(c, NN_REQ, max_bytes, e);

    if (rc != TX_OK)
        return rc;
    if (nn_connect(c->socket, address) < 0) {
        err_set(e, TX_EINVAL, "cannot connect to «%s»: %s; write tcp://host:port or ipc:///path", address,
                nn_strerror(nn_errno()));
        channel_close(c);
        return TX_EINVAL;
    }
    return TX_OK;
}

int channel_listen(struct channel *c, const char *address, size_t max_bytes, struct tx_error *e)
{
    int rc = channel_open(c, NN_REP, max_bytes, e), code;

    if (rc != TX_OK)
        return rc;
    if (nn_bind(c->socket, address) < 0) {
        code = nn_errno() == EINVAL || nn_errno() == EPROTONOSUPPORT ? TX_EINVAL : TX_EIO;
        err_set(e, code, "cannot listen on %s: %s%s", address, nn_strerror(nn_errno()),
                code == TX_EINVAL ? "; write tcp://host:port or ipc:///path" : "");
        channel_close(c);
        return code;
    }
    return TX_OK;
}

void channel_close(struct channel *c)
{
    if (c->socket >= 0)
        nn_close(c->socket);
    c->socket = -1;
}

int channel_fd(const struct channel *c)
{
    int fd = -1;
    size_t size = sizeof fd;

    if (nn_getsockopt(c->socket, NN_SOL_SOCKET, NN_RCVFD, &fd, &size) < 0)
        return -1;
    return fd;
}

bool channel_ready(const struct channel *c)
{
    struct nn_pollfd p = {.fd = c->socket, .events = NN_POLLOUT};

    return nn_poll(&p, 1, 0) > 0 && (p.revents & NN_POLLOUT) != 0;
}

static int channel_send_with_header(struct channel *c, const uint8_t *header, size_t header_len,
                                    const void *data, size_t len)
{
    union control control;
    struct nn_iovec iov = {(void *)(uintptr_t)data, len};
    struct nn_msghdr hdr = {&iov, 1, &control, NN_CMSG_SPACE(sizeof(size_t) + header_len)};
    unsigned char *p;

    memset(&control, 0, sizeof control);
    control.align.cmsg_len = hdr.msg_controllen;
    control.align.cmsg_level = PROTO_SP;
    control.align.cmsg_type = SP_HDR;
    p = NN_CMSG_DATA(&control.align);
    memcpy(p, &header_len, sizeof header_len);
    memcpy(p + sizeof header_len, header, header_len);
    if (nn_sendmsg(c->socket, &hdr, NN_DONTWAIT) >= 0)
        return TX_OK;
    return nn_errno() == EAGAIN || nn_errno() == EINTR ? TX_EBUSY : TX_EIO;
}

int channel_send(struct channel *c, uint32_t id, const void *data, size_t len)
{
    /* The top bit marks the last entry of the header's stack (nanomsg RFC, sp-request-reply-01). */
    uint8_t header[4] = {(uint8_t)(id >> 24 | 0x80), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    return channel_send_with_header(c, header, sizeof header, data, len);
}

int channel_reply(struct channel *c, const struct reply_to *to, const void *data, size_t len)
{
    return channel_send_with_header(c, to->header, to->len, data, len);
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
    return true;
}

int channel_receive(struct channel *c, struct channel_message *m)
{
    union control control;
    struct nn_iovec iov = {&m->data, NN_MSG};
    struct nn_msghdr hdr = {&iov, 1, &control, sizeof control};
    const uint8_t *h = m->origin.header;
    int n;

    for (;;) {
        hdr.msg_controllen = sizeof control;
        n = nn_recvmsg(c->socket, &hdr, NN_DONTWAIT);
        if (n < 0 && nn_errno() == EINTR)
            continue;
        if (n < 0)
            return nn_errno() == EAGAIN ? 0 : TX_EIO;
        m->len = (size_t)n;
        if (channel_header(&hdr, &m->origin))
            break;
        channel_release(m);
    }
    m->id = (uint32_t)(h[0] & 0x7f) << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
    return 1;
}

void channel_release(struct channel_message *m)
{
    nn_freemsg(m->data);
    m->data = NULL;
}
