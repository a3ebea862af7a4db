/* conf_value: one setting's value, from its text into the program's variable. Used by conf.c, and by
 * what reads settings within a setting. */
#ifndef ASSENT_CONF_VALUE_H
#define ASSENT_CONF_VALUE_H

#include "libtx/shared/conf.h"

/* Gives the variable the value that stands for «not set»: NULL, 0 or false. Frees nothing. */
void conf_value_clear(const struct conf_key *k);

/* Reads `text` into the variable; a string that was there is freed. `rest` is a CONF_EACH key's, else NULL.
 * TX_EINVAL with a message that says what would be right, and does not name the key; TX_ENOMEM; what `each`
 * returns. */
int conf_value_set(const struct conf_key *k, const char *rest, const char *text, struct tx_error *e);

#endif
