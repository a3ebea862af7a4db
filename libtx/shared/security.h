/* security: how a program speaks to the others: as whom, and whom it believes; or, for a laptop, in clear text.
 *
 * Every program makes one at its start, from settings that are called the same everywhere (identity, keys,
 * insecure), and opens its channels with it.
 */
#ifndef ASSENT_SECURITY_H
#define ASSENT_SECURITY_H

#include <stdbool.h>

#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"

#define SECURITY_KEYS_FILE "/etc/assent/keys"

struct security_options {
    const char *identity; /* file of the program's own key pair; NULL: there is none */
    const char *keys;     /* keys file [SECURITY_KEYS_FILE] */
    bool insecure;        /* clear text, and nobody is asked who he is */
    const char *purpose;  /* the program, for messages: "txagentd" */
};

struct security {
    bool insecure;
    struct identity self; /* where not insecure */
    struct keyring ring;
};

/* Fills in from the environment what is not given: ASSENT_IDENTITY, ASSENT_KEYS, and ASSENT_INSECURE (1, true,
 * yes or on), which counts for nothing where an identity is given. What it fills in is borrowed from there.
 * TX_EINVAL: ASSENT_INSECURE is something else. */
int security_environment(struct security_options *options, struct tx_error *e);
/* TX_EINVAL: neither an identity nor insecure, with the remedy; as identity_load(), keyring_load(). */
int security_open(struct security *s, const struct security_options *options, struct tx_error *e);
void security_release(struct security *s);

/* TX_EREFUSED where the addresses (one, or several with commas; NULL: none) may be reached from another
 * machine, and s is insecure. */
int security_check_address(const struct security *s, const char *setting, const char *addresses,
                           struct tx_error *e);
/* Loopback, or a socket file. */
bool security_is_local(const char *address);

#endif
