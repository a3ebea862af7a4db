/* sp: see sp.h. */
#include "tests/lib/sp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/world.h"

enum { BACKLOG = 128, WRITE_MS = 1000, OPEN_MS = 2000 };

/* Addresses */

union place {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
};

bool sp_is_ipc(const char *address)
{
    return strncmp(address, "ipc://", 6) == 0;
}

static socklen_t parse(const char *address, union place *out)
{
    memset(out, 0, sizeof *out);
    if (sp_is_ipc(address)) {
        out->un.sun_family = AF_UNIX;
        snprintf(out->un.sun_path, sizeof out->un.sun_path, "%s", address + 6);
        return sizeof out->un;
    }
    out->in.sin_family = AF_INET;
    out->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    out->in.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    return sizeof out->in;
}

static int open_socket(const char *address)
{
    int fd = socket(sp_is_ipc(address) ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval patience = {.tv_sec = WRITE_MS / 1000};

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!sp_is_ipc(address))
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int sp_socket_listen(const char *address)
{
    union place place;
    socklen_t size = parse(address, &place);
    int fd = open_socket(address);

    if (fd >= 0 && bind(fd, &place.any, size) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int sp_socket_connect(const char *address)
{
    union place place;
    socklen_t size = parse(address, &place);
    int fd = open_socket(address);

    if (fd >= 0 && connect(fd, &place.any, size) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Frames: length, and on a socket file a byte of 1 before it. */

size_t sp_frame_size(const char *address)
{
    return sp_is_ipc(address) ? 9 : 8;
}

void sp_frame(const char *address, size_t len, uint8_t *out)
{
    if (sp_is_ipc(address))
        *out++ = 1;
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
}

uint64_t sp_frame_length(const char *address, const uint8_t *frame)
{
    uint64_t len = 0;

    frame += sp_is_ipc(address);
    for (int i = 0; i < 8; i++)
        len = len << 8 | frame[i];
    return len;
}

/* Lines */

bool sp_write(struct sp *s, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        ssize_t sent = send(s->fd, at, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool read_all(struct sp *s, uint8_t *out, size_t n, uint64_t end)
{
    while (n > 0) {
        uint64_t now = world_now_ms();
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        ssize_t got;

        if (poll(&p, 1, now < end ? (int)(end - now) : 0) <= 0)
            return false;
        got = recv(s->fd, out, n, 0);
        if (got <= 0)
            return false;
        out += got;
        n -= (size_t)got;
    }
    return true;
}

bool sp_open(struct sp *s, const char *address)
{
    static const uint8_t head[SP_HEAD] = {0, 'S', 'P', 0, 0, SP_REQ, 0, 0};
    uint8_t theirs[SP_HEAD];

    *s = (struct sp){.fd = sp_socket_connect(address), .address = address};
    if (s->fd < 0)
        return false;
    if (sp_write(s, head, sizeof head) && read_all(s, theirs, sizeof theirs, world_now_ms() + OPEN_MS))
        return true;
    sp_close(s);
    return false;
}

void sp_close(struct sp *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

bool sp_send(struct sp *s, const void *body, size_t len)
{
    uint8_t frame[9];

    sp_frame(s->address, len, frame);
    return sp_write(s, frame, sp_frame_size(s->address)) && sp_write(s, body, len);
}

bool sp_request(struct sp *s, uint32_t number, const void *content, size_t len)
{
    uint8_t frame[9 + SP_HEADER];
    size_t n = sp_frame_size(s->address);

    sp_frame(s->address, len + SP_HEADER, frame);
    for (int i = 0; i < SP_HEADER; i++)
        frame[n + (size_t)i] = (uint8_t)((number | 0x80000000U) >> (24 - 8 * i));
    return sp_write(s, frame, n + SP_HEADER) && sp_write(s, content, len);
}

long sp_receive(struct sp *s, uint8_t *body, size_t size, unsigned timeout_ms)
{
    uint64_t end = world_now_ms() + timeout_ms, len;
    uint8_t frame[9];

    if (!read_all(s, frame, sp_frame_size(s->address), end))
        return -1;
    len = sp_frame_length(s->address, frame);
    return len <= size && read_all(s, body, (size_t)len, end) ? (long)len : -1;
}

bool sp_closed(const struct sp *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    char byte;
    ssize_t n = poll(&p, 1, 0) > 0 ? recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 1;

    return n == 0 || (n < 0 && errno != EAGAIN);
}
