/* address: where a process listens, and where others are told that it does. Called by txcoordd, txagentd and
 * participant.c, on their settings.
 */
#ifndef ASSENT_ADDRESS_H
#define ASSENT_ADDRESS_H

#include "libtx/shared/err.h"

/* Settings and their names, for messages. */
struct address {
    const char *listen_key, *listen;       /* listen NULL: nowhere */
    const char *advertise_key, *advertise; /* NULL: what it listens at */
};

/* What others are told; NULL: nothing. */
const char *address_told(const struct address *a);
/* TX_EINVAL: it is none that others can reach, as *:7401 is none. */
int address_check(const struct address *a, struct tx_error *e);

#endif
