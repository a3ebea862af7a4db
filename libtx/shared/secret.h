/* secret: keeps passwords from where others see them: flags, the registry, files that they may read.
 *
 * Called by conf.c for every setting, by the coordinator for what is to stand in the registry, and where a file
 * with a password is read.
 */
#ifndef ASSENT_SECRET_H
#define ASSENT_SECRET_H

#include <stdbool.h>

#include "libtx/shared/err.h"

/* Whether settings have one in them: password=…, in the way of libpq or of anything like it; or
 * scheme://user:…@host. */
bool secret_within(const char *settings);

/* Of an open file: TX_EREFUSED where others than its owner may read it (a group may, where root owns it), and
 * what would be right, as libpq has it for keys (PostgreSQL manual, 34.19 «SSL Support»). TX_EIO. */
int secret_check_file(int fd, struct tx_error *e);

#endif
