/* pg_system: the system identifiers of the servers that a client's connections lead to, for a while.
 *
 * The server reads its control file for it, which is a few per cent of a transaction; and a connection leads to
 * one server, but for one through a pooler, which may go on to another behind our back. So it is asked for
 * again every minute. An identifier that is too old can make a branch pass for one of another server, which is
 * reported as a hazard, and not as its success.
 *
 * Used by pg, which keeps them with the client (client_memory()). Not locked: the client's mutex is held by the
 * caller.
 */
#ifndef LIBTX_PG_SYSTEM_H
#define LIBTX_PG_SYSTEM_H

#include <stdbool.h>

#include "libtx/shared/pg_proof.h"

enum {
    PG_SYSTEMS = 256, /* connections; where two of them meet, the newer one stays */
    PG_SYSTEM_MS = 60000,
};

struct pg_system {
    const void *conn; /* not followed: may be gone */
    int pid, fd;      /* tell it from a later one at the same place */
    uint64_t until_ms;
    char system[PG_SYSTEM_SIZE]; /* "": not known */
};

struct pg_systems {
    struct pg_system slots[PG_SYSTEMS];
};

/* Fills in key->system; "" where it has to be asked for. */
void pg_system_find(const struct pg_systems *s, struct pg_system *key, uint64_t now_ms);
void pg_system_note(struct pg_systems *s, const struct pg_system *of, uint64_t now_ms);

#endif
