/* sp: nanomsg's messages over a socket of one's own, for those who are to send what nanomsg would not: frames
 * as the wire has them (sp-tcp-mapping-01, sp-ipc-mapping-01), with the header of REQ/REP as part of the body.
 *
 * Used by relay and by the tests of attacks. Addresses are tcp://127.0.0.1:port and ipc:///path.
 */
#ifndef ASSENT_SP_H
#define ASSENT_SP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_REQ = 48,   /* protocol of a caller */
    SP_HEAD = 8,   /* bytes that open a connection, in each direction */
    SP_HEADER = 4, /* of a request in its body, at the caller's end of a line: its number */
};

bool sp_is_ipc(const char *address);
/* Bytes in front of a body. */
size_t sp_frame_size(const char *address);
/* Into `out`, which has room for sp_frame_size(). */
void sp_frame(const char *address, size_t len, uint8_t *out);
/* Length of the body behind it. */
uint64_t sp_frame_length(const char *address, const uint8_t *frame);

/* Descriptors; -1: it cannot be. A connection has its opening not sent yet. */
int sp_socket_listen(const char *address);
int sp_socket_connect(const char *address);

/* A line of a caller. */
struct sp {
    int fd; /* -1: closed */
    const char *address;
};
/* Connects, and says it is a caller. False: nobody takes it. */
bool sp_open(struct sp *s, const char *address);
void sp_close(struct sp *s);
/* False: the other end has closed, or takes nothing for a second. */
bool sp_write(struct sp *s, const void *bytes, size_t n);
bool sp_send(struct sp *s, const void *body, size_t len);
/* As a request of this number. */
bool sp_request(struct sp *s, uint32_t number, const void *content, size_t len);
/* The next body, up to `size` bytes; -1: closed, or none in time. */
long sp_receive(struct sp *s, uint8_t *body, size_t size, unsigned timeout_ms);
/* The other end has closed. */
bool sp_closed(const struct sp *s);

#endif
