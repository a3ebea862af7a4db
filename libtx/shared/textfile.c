/* textfile: see textfile.h. */
#include "libtx/shared/textfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int textfile_each_line(FILE *f, const char *path, textfile_line_cb take, void *arg, struct tx_error *e)
{
    char *line = NULL;
    unsigned number = 0;
    size_t room = 0;
    ssize_t len;
    int rc = TX_OK;

    while (rc == TX_OK && (len = getline(&line, &room, f)) >= 0) {
        number++;
        if (strlen(line) == (size_t)len)
            rc = take(arg, line, number, e);
        else
            rc = err_set(e, TX_EINVAL, "a NUL byte; this is not a text file");
        if (rc != TX_OK)
            err_wrap(e, rc, "%s:%u", path, number);
    }
    if (rc == TX_OK && !feof(f))
        rc = err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
    free(line);
    return rc;
}
