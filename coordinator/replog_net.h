/* replog_net: messages between replogs: libraft's updates on their way out, what came on its way in.
 *
 * Called by replog, replog_core, replog_ship; calls replog_message, replog_admit, replog_ship, replog_core.
 * Internal to replog.
 */
#ifndef ASSENT_REPLOG_NET_H
#define ASSENT_REPLOG_NET_H

#include <stdbool.h>
#include <stddef.h>

#include "coordinator/replog_message.h"

struct replog;

/* Group, log, sender and the receiver's role are filled in. */
void replog_net_send(struct replog *r, struct replog_message *m, const char *address);
/* What an update says. */
void replog_net_send_all(struct replog *r, const struct raft_message *messages, size_t n);
/* False: refused. */
bool replog_net_receive(struct replog *r, const void *data, size_t len);
/* True now and then for each sender: what is refused again and again is not told each time. */
bool replog_net_may_complain(struct replog *r, uint64_t from);
#endif
