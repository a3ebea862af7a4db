/* denials: the audit lines of an agent: who was refused what. A few lines a second; what is more is counted, so
 * that nobody can fill the disk with them. Used by statements.
 */
#ifndef ASSENT_DENIALS_H
#define ASSENT_DENIALS_H

#include <stdint.h>

#include "libtx/shared/keys.h"

/* Zeroed is empty. */
struct denials {
    uint64_t second_ms;         /* when the present one began */
    unsigned written, left_out; /* in it; since the last line */
};

struct denial {
    const char *name;     /* of whoever asked; NULL: nobody knows him */
    const uint8_t *key;   /* NULL: clear text */
    const char *act;      /* "handshake", "exec", "finish" */
    const char *resource; /* NULL: of no matter */
    const char *why;
};

void denials_tell(struct denials *d, uint64_t now_ms, const struct denial *what);

#endif
