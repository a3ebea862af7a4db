/* connections: how many of others' a daemon takes, so that descriptors are left for its own files.
 *
 * nanomsg takes every connection that comes, and has no limit. Linked into txcoordd and txagentd alone, for it
 * puts itself in the place of accept4().
 */
#ifndef ASSENT_CONNECTIONS_H
#define ASSENT_CONNECTIONS_H

#include <uv.h>

#include "libtx/shared/err.h"

/* Raises the limit of open files as far as may be, and takes so many connections, or as many fewer as that
 * limit leaves room for. Once, before the first listener. TX_EIO: the system allows too few files. */
int connections_limit(unsigned max, struct tx_error *e);

/* Logs, once a second at most, that some were closed at once for being too many; keeps no loop running. */
void connections_watch(uv_loop_t *loop);
/* Allowed where nothing is watched. */
void connections_unwatch(void);

#endif
