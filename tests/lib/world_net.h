/* world_net: a network of its own for a world, in which hosts can be cut off from each other.
 *
 * The test's process goes into a network namespace that nobody else is in (the hub: servers, clients and the
 * test itself, at 10.77.0.254); each host is another one (10.77.0.1 and on), with a cable to the hub's bridge.
 * Nothing of the machine's network is touched, and all of it is gone with the last process in it. An ordinary
 * user gets this through a user namespace; where these are forbidden the test fails and says how to allow them.
 *
 * Used by tests/e2e, for worlds that were made with `network`; every coordinator and every agent of such a
 * world is on a host of its own. Everything works or ends in world_fail().
 */
#ifndef ASSENT_WORLD_NET_H
#define ASSENT_WORLD_NET_H

#include "tests/lib/world.h"

struct world_host; /* owned by its world */

struct world_host *world_host_new(struct world *w);
/* That this process runs on; NULL: in the hub. */
struct world_host *world_process_host(const struct world_process *p);
/* Where clients started from now on run; NULL: in the hub. */
void world_clients_at(struct world *w, struct world_host *h);

/* Faults, until world_heal(). What is dropped is dropped without a word, as by a cable that is cut. */

/* What h sends there is lost. (TCP is at a loss for its acknowledgements, too.) */
void world_host_mute(struct world_host *h, const struct world_host *to);
/* What h is sent from there is lost. */
void world_host_deafen(struct world_host *h, const struct world_host *from);
/* Both. */
void world_host_cut(struct world_host *h, const struct world_host *other);
/* The same, but only for connections that h makes to there, or is called by from there: of two programs that
 * have a connection for each direction, as coordinators have, one hears all that the other says and cannot
 * answer. */
void world_host_mute_lines(struct world_host *h, const struct world_host *to);
void world_host_deafen_lines(struct world_host *h, const struct world_host *from);
/* So many of a hundred packets that h is sent from there are lost. */
void world_host_lose(struct world_host *h, const struct world_host *from, unsigned percent);
/* All faults of all hosts are over. */
void world_heal(struct world *w);

#endif
