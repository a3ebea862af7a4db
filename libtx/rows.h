/* rows: what a statement through an agent brought back (txn_rows of libtx.h). Used by remote. */
#ifndef LIBTX_ROWS_H
#define LIBTX_ROWS_H

#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

/* Takes over the message that `w` borrows from, and leaves *message empty. NULL: out of memory, nothing taken.
 */
struct txn_rows *rows_take(const struct wire_rows *w, struct channel_message *message);

#endif
