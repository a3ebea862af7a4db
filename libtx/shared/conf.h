/* conf: one table of settings for a program, filled from a file («key = value», # comments) and from flags
 * (--key value, --key=value). The same names in both; a flag wins. */
#ifndef ASSENT_CONF_H
#define ASSENT_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/shared/err.h"

enum conf_type {
    CONF_STRING,   /* char *, owned by the table's target; conf_release() frees it */
    CONF_UINT,     /* unsigned, decimal */
    CONF_DURATION, /* unsigned, milliseconds; written as 250ms, 30s, 5min, 24h, 2d */
    CONF_SIZE,     /* size_t, bytes; written as 64k, 16M, 1G */
    CONF_BOOL,     /* bool: true, false, on, off, yes, no */
    CONF_EACH, /* key ends in «.»: --resource.bank_a=…; calls `each` with the rest of the key and the value */
};

struct conf_key {
    const char *name;
    enum conf_type type;
    void *target;
    const char *initial;    /* default, in the syntax of a file; NULL for none */
    const char *argument;   /* what --help calls the value: DIR, URL, N … */
    const char *help;       /* one line */
    unsigned long min, max; /* CONF_UINT, CONF_DURATION (ms), CONF_SIZE; 0 0 = no limits */
    int (*each)(void *target, const char *rest, const char *value, struct tx_error *e);
};

/* Sets the defaults, then reads --config FILE (or default_file if it exists; NULL for none), then the flags.
 * --help and --version print to standard output and exit 0. 0, or TX_EINVAL with a message that names file and
 * line, or flag, and what would be right. `keys` ends with a NULL name. A value with a password in it is
 * refused as a flag, and in a file that others may read (secret.h). */
int conf_load(const struct conf_key *keys, const char *program, const char *summary, const char *default_file,
              int argc, char **argv, struct tx_error *e);

/* Frees what CONF_STRING keys hold. */
void conf_release(const struct conf_key *keys);

#endif
