/* sessions: which clients live, by what this leader hears of them; opening, closing, expiry, retention; and the
 * news that clients tell by the way.
 *
 * Called by driver (requests, applied records, time) and decide; calls flights.
 */
#ifndef ASSENT_SESSIONS_H
#define ASSENT_SESSIONS_H

#include "coordinator/driver_internal.h"

void sessions_open(struct driver *d, const struct caller *caller, const struct reply_to *from,
                   const struct wire_open_session *m);
void sessions_heartbeat(struct driver *d, const struct reply_to *from, const struct wire_heartbeat *m);
void sessions_close(struct driver *d, const struct reply_to *from, const struct wire_heartbeat *m);

/* The session's lease, with its timeout begun anew; NULL where it is not open or the nonce is wrong. */
struct lease *sessions_touch(struct driver *d, uint64_t session, uint64_t nonce);
/* Takes in what it tells. True: some of it is new and waits to be proposed. */
bool sessions_news(struct driver *d, struct lease *lease, const struct wire_news *news);

/* A lease for every open session of the ledger. */
void sessions_begin(struct driver *d);
/* session 0: it was not opened (struct ledger_result). */
void sessions_opened(struct driver *d, const struct record *r, uint64_t session);
void sessions_ended(struct driver *d, uint64_t session);
/* A key is revoked: ends those that the ledger has just let expire. */
void sessions_revoked(struct driver *d);
/* Its end is proposed: what is proposed now comes behind it. */
bool sessions_ending(const struct driver *d, uint64_t session);
/* Every lease begins anew. */
void sessions_refresh(struct driver *d);
void sessions_tick(struct driver *d);
/* Appends the acknowledgements that wait. */
void sessions_flush(struct driver *d);
void sessions_proposed(struct driver *d, uint64_t ticket);
void sessions_lost(struct driver *d, uint64_t ticket);
void sessions_clear(struct driver *d, bool tell);

#endif
