/* replog_change: one change of the membership, or of who leads, at a time; by the leader. Internal to replog.
 *
 * Called by replog (requests) and replog_core (after each step); calls replog_core.
 *
 *   add:      none ─▶ JOINING (committed as a member without a vote) ─▶ CATCHING_UP
 *             ─▶ PROMOTING (committed as a voter) ─▶ none.
 *             Does not catch up: ─▶ WITHDRAWING (committed without it) ─▶ none.
 *             Has lost what it had acknowledged: ─▶ CLEARING (committed without it) ─▶ JOINING.
 *             So begins, too, the addition of one that is there without a vote, left by another.
 *   replace:  the same; but CATCHING_UP ─▶ ASKING ─▶ REMOVING (of the old one) ─▶ PROMOTING,
 *             or, where those that stay do not answer, ASKING ─▶ WITHDRAWING.
 *   remove:   none ─▶ ASKING (a majority of those that stay is to have what is written now)
 *             ─▶ REMOVING ─▶ none. Not about one without a vote.
 *   transfer: none ─▶ LEVELLING (the other node gets what is in the log, nothing new comes in)
 *             ─▶ TRANSFERRING ─▶ none.
 *
 * One voter is added or removed at a time, so that any two majorities have a node in common (Raft dissertation,
 * 4.1).
 */
#ifndef ASSENT_REPLOG_CHANGE_H
#define ASSENT_REPLOG_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/replog.h"
#include "coordinator/replog_message.h"

enum replog_change_stage {
    REPLOG_CHANGE_NONE,
    REPLOG_CHANGE_JOINING,
    REPLOG_CHANGE_CATCHING_UP,
    REPLOG_CHANGE_PROMOTING,
    REPLOG_CHANGE_WITHDRAWING,
    REPLOG_CHANGE_CLEARING,
    REPLOG_CHANGE_ASKING,
    REPLOG_CHANGE_REMOVING,
    REPLOG_CHANGE_LEVELLING,
    REPLOG_CHANGE_TRANSFERRING,
};

struct replog_change {
    enum replog_change_stage stage;
    uint64_t id; /* of the node */
    char address[REPLOG_MESSAGE_ADDRESS + 1];
    uint64_t leaving; /* who is removed: the same, or whose place it takes; 0: nobody */
    char leaving_address[REPLOG_MESSAGE_ADDRESS + 1];
    uint64_t index;    /* of the configuration that is to be committed; ASKING: of what they are to have */
    uint64_t term;     /* in which all this happens */
    uint64_t heard_ms; /* when the node last said something, or was first spoken to */
    bool stranger;     /* has the data of another log */
    bool emptied;      /* it has lost what it had */
    int rc;            /* WITHDRAWING: what it ends with, and */
    const char *why;
    replog_change_cb done;
    void *arg;
};

/* After each step: what has come to its end, or can go on. */
void replog_change_settle(struct replog *r);
/* A message of this node has come. */
void replog_change_heard(struct replog *r, uint64_t from);
/* This node turns out to be of another log. */
void replog_change_stranger(struct replog *r, uint64_t from);
/* The node's log ends before what it has acknowledged. */
void replog_change_emptied(struct replog *r, uint64_t from);
/* The configuration of this index is committed. */
void replog_change_committed(struct replog *r, uint64_t index);
/* Leadership is being handed over: nothing new is taken in. */
bool replog_change_refuses(const struct replog *r);
/* At close: the outcome is not known. */
void replog_change_abandon(struct replog *r);

#endif
