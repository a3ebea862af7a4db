/* denials: see denials.h. */
#include "participant/denials.h"

#include <stdio.h>

#include "libtx/shared/log.h"

enum { DENIALS_A_SECOND = 5, DENIALS_KEY = 8 /* characters of a key that are shown */ };

/* Whether there is room for another line in this second. */
static bool admit(struct denials *d, uint64_t now_ms)
{
    if (now_ms - d->second_ms >= 1000) {
        d->second_ms = now_ms;
        d->written = 0;
    }
    if (d->written == DENIALS_A_SECOND) {
        d->left_out++;
        return false;
    }
    d->written++;
    return true;
}

void denials_tell(struct denials *d, uint64_t now_ms, const struct denial *what)
{
    char key[KEY_TEXT_SIZE] = "none", count[32] = "";

    if (!admit(d, now_ms))
        return;
    if (what->key != NULL)
        key_format(what->key, key);
    if (d->left_out > 0)
        snprintf(count, sizeof count, " left_out=%u", d->left_out);
    d->left_out = 0;
    log_line(LOG_AUDIT, "audit", "name=%s key=%.*s act=%s resource=%s outcome=denied%s error=\"%s\"",
             what->name != NULL ? what->name : "unknown", DENIALS_KEY, key, what->act,
             what->resource != NULL ? what->resource : "none", count, what->why);
}
