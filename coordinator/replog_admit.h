/* replog_admit: which messages may be acted on; how a node joins, and how one whose directory was emptied is
 * found out. Internal to replog.
 *
 * Called by replog_net; calls wal, and replog_net to answer.
 *
 * A voter that forgot what it had acknowledged and voted breaks what a majority stands for: entries that were
 * committed with its help can be outvoted. So a group begins with one node, and an empty directory has neither
 * an entry nor a group nor a vote. It takes the group from a leader that adds it (the message says that the
 * receiver does not vote). If it is said to vote already, it was emptied after it had joined, and stops.
 *
 * A group that begins anew from a backup has the old group's name and another log. What is left of the old
 * group may reach it, and would bring it entries that it never decided, so nodes of different logs refuse each
 * other, and both say so. */
#ifndef ASSENT_REPLOG_ADMIT_H
#define ASSENT_REPLOG_ADMIT_H

#include <stdbool.h>

#include "coordinator/replog_message.h"
#include "libtx/shared/err.h"

struct replog;

/* An empty node hears from one that takes it for a member. */
struct replog_claim {
    uint64_t by, group, heard_ms; /* heard_ms 0: never */
};

/* May an empty node begin a group? TX_EREFUSED. */
int replog_admit_founding(const struct replog *r, struct tx_error *e);

/* The message is of this node's log, or this node has none yet. */
bool replog_admit_same_log(const struct replog *r, const struct replog_message *m);
/* It is not: says so to people and to the sender. */
void replog_admit_stranger(struct replog *r, const struct replog_message *m);
/* Whether a message of this node's log may be acted on, or of any log where it has none; it may have turned the
 * log fatal, or given it its identity. */
bool replog_admit(struct replog *r, const struct replog_message *m);

#endif
