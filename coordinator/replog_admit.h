/* replog_admit: which messages may be acted on; how a node joins, and how one whose directory was emptied is
 * found out. Internal to replog.
 *
 * Called by replog_net; calls wal.
 *
 * A voter that forgot what it had acknowledged and voted breaks what a majority stands for: entries that were
 * committed with its help can be outvoted. So a group begins with one node, and an empty directory has neither
 * an entry nor a group nor a vote. It takes the group from a leader that adds it (the message says that the
 * receiver does not vote). If it is said to vote already, it was emptied after it had joined, and stops.
 */
#ifndef ASSENT_REPLOG_ADMIT_H
#define ASSENT_REPLOG_ADMIT_H

#include <stdbool.h>

#include "coordinator/replog_message.h"

struct replog;

/* Whether a message of this node's group may be acted on, or of any group where it has none; it may have turned
 * the log fatal, or made it the group's. */
bool replog_admit(struct replog *r, const struct replog_message *m);

#endif
