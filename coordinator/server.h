/* server: the coordinator's endpoint. Bytes <-> messages, and the beat of the loop.
 *
 * main creates it. It reads requests in batches, finds out by whose key each has come and whether he may send
 * it (access.h), hands WIRE_ADMIN to admin and everything else to driver, sends what they answer, calls
 * driver_tick() at regular intervals and driver_flush() at the end of each loop turn, so that all that gathered
 * in the turn becomes one log entry.
 */
#ifndef ASSENT_SERVER_H
#define ASSENT_SERVER_H

#include <uv.h>

#include "coordinator/admin.h"
#include "coordinator/audit.h"
#include "coordinator/driver.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/err.h"
#include "libtx/shared/wire.h"

struct server;

/* All borrowed until server_close(). */
struct server_options {
    const char *address;
    const struct channel_security *security; /* NULL: clear text, and everybody may do everything */
    const struct keyring *file; /* this node's keys, for those that the ledger has never heard of */
    struct audit *audit;
};

/* Binds the address; nothing is read before server_start(). End it with server_close(). TX_EINVAL (not an
 * address), TX_EIO (taken, or not this machine's), TX_ENOMEM. */
int server_new(struct server **out, uv_loop_t *loop, const struct server_options *options, struct tx_error *e);

/* Serves from now on. Driver and admin are borrowed until server_stop(). */
void server_start(struct server *s, struct driver *driver, struct admin *admin);

/* Sends an answer, now or never (struct driver_ops, struct admin_options). `server` is a struct server. */
void server_reply(void *server, const struct reply_to *to, const struct wire_message *m);

/* Reads no more requests and drives nothing on; answers can still be sent. */
void server_stop(struct server *s);

/* Stops it if it runs and closes the socket; frees `s` in a later turn of the loop. Nothing may be sent any
 * more. */
void server_close(struct server *s);

#endif
