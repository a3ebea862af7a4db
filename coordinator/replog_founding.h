/* replog_founding: how a group of several begins, and how a node whose directory was emptied is found out.
 *
 * Called by replog_net and replog_core. Internal to replog.
 *
 * A voter that forgot what it had acknowledged and voted breaks what a majority stands for: entries that were
 * committed with its help can be outvoted. An emptied founder is the danger, because its configuration makes it
 * start as if the group were new, with a vote. So the beginning is made such that it happens only once:
 *
 *  1. A candidate whose log ends with entry 1 (the founders) is elected by all founders, not by a majority: it
 *     holds the votes back until they are complete. Once an entry 2 is committed some founder has it that is
 * not emptied, and that one refuses; so nobody is ever elected this way again.
 *  2. The first leader appends nothing before every founder has answered it, and a founder answers only after
 * it has stored that the group has begun (WAL_STAGE_MEMBER). It believes so when the message has nothing but
 *     entry 1 behind it and comes from the node that it voted for, in that term: an emptied founder cannot get
 *     there, by 1. Hence an entry 2 anywhere means that no founder is in WAL_STAGE_FOUNDER, unless emptied.
 *  3. So a node in WAL_STAGE_FOUNDER that hears of an entry 2 has been emptied. It stops, and grants nothing.
 *
 * A node that joined has neither an entry nor a group in an empty directory. It takes the group from a leader
 * that adds it (the message says that the receiver does not vote). If it is said to vote already, it was
 * emptied after it had joined, and stops too. Otherwise it has no vote, as its own log does not give it one.
 *
 * What cannot be prevented: all nodes that founded a group are emptied and found it again while others, which
 * joined later, go on. The group's id is the same then, but the two never speak to each other.
 */
#ifndef ASSENT_REPLOG_FOUNDING_H
#define ASSENT_REPLOG_FOUNDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/replog_message.h"

struct replog;

struct replog_founding {
    uint64_t founders; /* hash of entry 1 */
    uint64_t term;     /* of what follows */
    uint64_t heard[REPLOG_MESSAGE_NODES];
    size_t n; /* votes held back by a candidate, or answers to the first leader */
};

/* Whether the message may be acted on; it may have turned the log fatal, or the founder into a member. */
bool replog_founding_admit(struct replog *r, const struct replog_message *m);
/* A vote while the log ends with entry 1: true, and nothing else is to be done with it, where it was held back,
 * or handed to libraft with all others. */
bool replog_founding_hold_vote(struct replog *r, const struct replog_message *m);
/* An answer to the first leader, which libraft has seen. */
void replog_founding_answered(struct replog *r, const struct replog_message *m);
/* This leader has yet to hear all founders. */
bool replog_founding_waits(const struct replog *r);
/* founding.founders where the log ends with entry 1, else 0. */
uint64_t replog_founding_hash(const struct replog *r);

#endif
