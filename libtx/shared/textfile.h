/* textfile: files that people write, line by line. Called by conf, keys and the agent's named statements. */
#ifndef ASSENT_TEXTFILE_H
#define ASSENT_TEXTFILE_H

#include <stdio.h>

#include "libtx/shared/err.h"

/* `line` ends with its newline, has no NUL byte before its end, and may be changed. What it returns is 0, or
 * ends the reading. */
typedef int (*textfile_line_cb)(void *arg, char *line, unsigned number, struct tx_error *e);

/* Whole lines, however long: the rest of one must not pass for another. What `take` refuses is told with
 * «path:number: » before it. TX_EINVAL: a NUL byte; TX_EIO: cannot be read. */
int textfile_each_line(FILE *f, const char *path, textfile_line_cb take, void *arg, struct tx_error *e);

#endif
