/* settings: what an application's options leave open: the environment fills it in, then a default. The same for
 * clients and participants. Used by client and participant.
 */
#ifndef LIBTX_SETTINGS_H
#define LIBTX_SETTINGS_H

#include "libtx/shared/err.h"
#include "libtx/shared/security.h"

/* Fields of struct tx_client_options and struct tx_participant_options. */
struct settings {
    const char *coordinators, *identity, *keys;
    int insecure;
};

/* "address[,…]"; never NULL, borrowed. */
const char *settings_coordinators(const char *option);
/* As whom the program speaks. TX_EINVAL: there is neither an identity nor insecure, with the remedy;
 * TX_EREFUSED: insecure, and a coordinator is on another machine, or the file is open to others; TX_EIO. *out,
 * all zero before, is to be released in any case. */
int settings_security(const struct settings *s, struct security *out, struct tx_error *e);

#endif
