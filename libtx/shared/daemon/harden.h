/* harden: a daemon gives up what it has no need of, so that whoever takes it over gets no more than it has to
 * have.
 *
 * Called by the mains of txcoordd and txagentd, and by nothing that is a library: all of it is the process's.
 */
#ifndef ASSENT_HARDEN_H
#define ASSENT_HARDEN_H

#include <stdbool.h>

#include "libtx/shared/err.h"

/* Once the settings are read, and before the first thread, since capabilities are a thread's own
 * (capabilities(7)): no core dumps and no reading of its memory by others, for there are keys in it; nothing
 * gained by exec; new files for its user alone; no capability but the right to bind ports below 1024, where
 * `low_ports` and it has that. TX_EIO: the system refuses, and nothing is to be relied on. */
int harden(bool low_ports, struct tx_error *e);

/* A warning where it runs as root, once it runs. `program`: also the name of its systemd unit. */
void harden_warn(const char *program);

/* Whether one of the addresses, with commas between, has a port below 1024. NULL has none. */
bool harden_has_low_port(const char *addresses);

#endif
