/* flights: the transactions that this leader is deciding or finishing. Does what struct commit says: asks for
 * votes, proposes, answers, hands work out, ends.
 *
 * Called by decide (requests), reports (agents), sessions and found (recovery), driver (applied records, time);
 * calls agents for work. Any call that takes a flight may free it, unless it says otherwise.
 */
#ifndef ASSENT_FLIGHTS_H
#define ASSENT_FLIGHTS_H

#include "coordinator/driver_internal.h"

struct flight_start {
    struct txid id;
    enum verdict verdict;
    enum origin origin;
    bool agents_finish;
    size_t n;
    const struct branch_ref *branches;
};

/* NULL where there is none. */
struct flight *flights_find(const struct driver *d, uint64_t session, uint64_t sequence);
bool flights_full(const struct driver *d);
/* A new one, in COMMIT_NEW: follow with flights_do(). There is none of that number yet. */
struct flight *flights_add(struct driver *d, const struct flight_start *start);
/* Sets the reason of an abort that will be proposed; the first one stays. */
void flights_reason(struct flight *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Does what a step of its commit gave. */
void flights_do(struct driver *d, struct flight *f, unsigned actions);

/* Remembers whom to answer. Frees nothing. */
void flights_wait(struct flight *f, const struct reply_to *to, uint8_t wait);
/* Agents are to finish its direct branches too, from now on. Frees nothing. */
void flights_agents_finish(struct driver *d, struct flight *f);
/* What stands for it, to one who asks. f may be NULL. */
void flights_answer(struct driver *d, const struct txid *id, const struct flight *f, const struct reply_to *to);

/* Hands out the branch again, now if it was never sent, as the decision says. For a scan that sees it prepared.
 */
void flights_seen(struct driver *d, struct flight *f, struct commit_branch *b);
/* A heuristic outcome is logged first and finishes the branch then. Frees nothing. */
void flights_note_heuristic(struct driver *d, struct flight *f, struct commit_branch *b, enum heuristic kind,
                            const char *text);
void flights_problem(struct flight *f, const struct commit_branch *b, const char *text);

/* What a leader's log brings. */
void flights_decided(struct driver *d, const struct record *r, const struct ledger_result *result);
void flights_ended(struct driver *d, const struct record *r);
void flights_heuristic(struct driver *d, const struct record *r);
/* The decision has no flight yet and is not ended: drives it on. */
void flights_adopt(struct driver *d, const struct decision *decision);
/* The session of the lease is over. */
void flights_session_over(struct driver *d, struct lease *lease);
/* Direct branches of these transactions are finished by their client. */
void flights_resolved(struct driver *d, struct lease *lease, const struct range *range);

void flights_tick(struct driver *d);
/* Appends the ends that wait. */
void flights_flush(struct driver *d);
void flights_lost(struct driver *d, uint64_t ticket);
/* Frees all; tells those who wait that this node does not lead, where `tell`. */
void flights_clear(struct driver *d, bool tell);

#endif
