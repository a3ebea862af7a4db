/* audit: who did what, or was refused it: one line an act, for those who have to answer for it later.
 *
 * Written by admin (the operators' acts) and server (who is not let in, or may not). Lines go to a file of
 * their own, or into the daemon's log with event=audit:
 *
 *     2026-11-27T19:39:24.123Z name=ops key=pJ0vXXa1 act=resolve what=… verdict=commit outcome=ok
 *
 * No value can forge a line or a pair: what is not plain is quoted and escaped. A line is written before the
 * answer goes. What is denied again and again is counted, and told once a second, so that hostile traffic
 * cannot fill the disk.
 */
#ifndef ASSENT_AUDIT_H
#define ASSENT_AUDIT_H

#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"

enum {
    AUDIT_LINE = 4096,      /* bytes of a line, with its NUL */
    AUDIT_MORE = 3,         /* pairs of an act's own */
    AUDIT_WINDOW_MS = 1000, /* between two lines about the same that is denied */
    AUDIT_KEYS = 64,        /* known keys, each told of in that time whatever the others do */
    AUDIT_REPEATS = 16,     /* told of apart besides: a key's other acts, unknown keys; all others are one */
};

enum audit_outcome {
    AUDIT_BEGUN,   /* and another line follows */
    AUDIT_OK,      /* done */
    AUDIT_UNKNOWN, /* begun, and nobody can tell here how it ended */
    AUDIT_REFUSED, /* he may, but it cannot be done, or it failed */
    AUDIT_DENIED,  /* he may not */
};

struct audit_entry {
    const char *name;   /* of who did it; NULL: not known, or nobody was asked (insecure) */
    const uint8_t *key; /* likewise */
    const char *act;    /* a verb, a type of message, "handshake" */
    const char *what;   /* it was done to; NULL: nothing in particular */
    struct audit_pair {
        const char *name, *value; /* value NULL: left out */
    } more[AUDIT_MORE];
    enum audit_outcome outcome;
    const char *error; /* may be NULL */
    uint64_t count;    /* so many of the same; 0: one */
};

/* The pairs of a line, without time and newline. Pure. */
void audit_format(const struct audit_entry *entry, char out[AUDIT_LINE]);

struct audit;

/* path: the file, made with mode 0600, added to; NULL: the daemon's log. TX_EIO, TX_EINVAL (no file), both with
 * the path; TX_ENOMEM. */
int audit_open(struct audit **out, const char *path, struct tx_error *e);
/* Writes what is counted and not told; NULL: nothing. */
void audit_close(struct audit *a);
/* After the file was renamed (SIGHUP). Where that fails the old one is written on, and the log says so. */
void audit_reopen(struct audit *a);

/* now: monotonic, ms. A line that cannot be written goes into the daemon's log, with the reason. */
void audit_write(struct audit *a, uint64_t now, const struct audit_entry *entry);
/* Tells of what was counted. Call it every 100 ms or so. */
void audit_tick(struct audit *a, uint64_t now);

#endif
