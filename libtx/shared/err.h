/* err: filling in a struct tx_error. Codes and texts are libtx.h's, so that daemons and library speak of the
 * same. */
#ifndef ASSENT_ERR_H
#define ASSENT_ERR_H

#include "libtx/libtx.h"

/* Sets code and message; returns code, so that «return err_set(…)» reads well. `e` may be NULL. */
int err_set(struct tx_error *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts «format: » in front of the message that is there and keeps the code; returns the code. */
int err_wrap(struct tx_error *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
