/* resource: one resource that the agent serves: opened as the agent's own configuration says, or as the
 * registry defines it; opened anew when that changes, and closed when it is removed.
 *
 * Definitions come with WORK (agent.c). One that can't be used changes nothing: what was open stays so. An open
 * one is replaced by a new one first and closed then, so that prepared branches always have one to be finished
 * in; works in the old one are rolled back as where a connection breaks. A resource that is taken off the
 * registry stays open until nothing of the group is prepared in it, for nobody else would finish that. Called
 * by agent.c; calls rm's open() and close(), scan.c and recovery.c.
 */
#ifndef ASSENT_RESOURCE_H
#define ASSENT_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/wire.h"
#include "libtx/shared/words.h"
#include "participant/recovery.h"
#include "participant/rm.h"
#include "participant/scan.h"

struct agent;

/* A resource to serve. What is pointed to is borrowed until the end. */
struct agent_resource {
    const char *name;
    const struct rm_ops *ops; /* NULL: the registry defines it */
    const char *settings;     /* as the operator wrote them; or NULL, */
    void *context;            /* where the kind takes this */
};

/* One opening of it. */
struct opened;

struct resource {
    struct agent *agent;
    char name[NAME_LIMIT + 1];
    bool by_registry;
    const struct rm_ops *ops; /* as it was opened last; NULL: never */
    struct rm *rm;            /* NULL: not open */
    struct opened *opened;
    bool up;
    bool leaving;                 /* taken off the registry, and not closed yet */
    char error[TEXT_LIMIT + 1];   /* why it is down */
    char problem[TEXT_LIMIT + 1]; /* what is wrong with its definition; "": nothing */
    uint64_t definition;          /* the mark of what the registry said last; 0: nothing yet */
    struct scan scan;
    struct recovery recovery;
};

/* Opens it, or where the registry defines it waits for that. TX_EINVAL: settings, with the remedy; TX_ENOMEM.
 */
int resource_open(struct resource *r, struct agent *a, const struct agent_resource *from, struct tx_error *e);
/* What the registry says of it. */
void resource_define(struct resource *r, const struct wire_definition *d);
/* Closes it where it is leaving and nothing is prepared in it. */
void resource_turn(struct resource *r);
/* What the coordinator is told of it; borrowed until it changes. */
struct wire_resource resource_state(const struct resource *r);
/* The agent stops: closes it; agent_closed() follows where it was open. */
void resource_close(struct resource *r);

#endif
