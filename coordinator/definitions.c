/* definitions: see definitions.h. */
#include "coordinator/definitions.h"

#include <string.h>

enum { DEFINITION_NONE = 1 /* the mark of there being none */ };

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t hash_text(uint64_t h, const char *s)
{
    do {
        h = (h ^ (uint8_t)*s) * 0x100000001b3ULL;
    } while (*s++ != '\0');
    return h;
}

static uint64_t mark_of(const struct ledger_resource *r)
{
    uint64_t h = hash_text(hash_text(0xcbf29ce484222325ULL, r->kind), r->settings);

    return h > DEFINITION_NONE ? h : h + 2;
}

/* What the agent in this seat is to be told of its resource. Settings of its own count, but not for another
 * kind than the registry's. */
static struct wire_definition definition_for(const struct driver *d, const struct seat *seat)
{
    const struct ledger_resource *r = ledger_resource(d->ledger, seat->served->name);
    const struct wire_definition none = {.name = seat->served->name, .mark = DEFINITION_NONE};

    if (r == NULL || !r->declared || (!seat->by_registry && strcmp(r->kind, seat->kind) == 0))
        return none;
    return (struct wire_definition){
        .name = r->name, .mark = mark_of(r), .kind = r->kind, .settings = r->settings};
}

void definitions_judge(struct driver *d, struct seat *seat)
{
    const struct ledger_resource *r = ledger_resource(d->ledger, seat->served->name);
    uint64_t told = seat->definition == 0 && !seat->by_registry ? DEFINITION_NONE : seat->definition;

    seat->fit = seat->kind[0] != '\0' && (r == NULL || strcmp(r->kind, seat->kind) == 0);
    seat->define = told != definition_for(d, seat).mark;
    d->work_dirty = d->work_dirty || seat->define;
}

bool definitions_due(const struct agent *a)
{
    const struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        if (seat->define)
            return true;
    }
    return false;
}

size_t definitions_take(struct driver *d, struct agent *a)
{
    struct seat *seat;
    size_t n = 0;

    DL_FOREACH(a->seats, seat)
    {
        if (!seat->define || n == RESOURCE_LIMIT)
            continue;
        d->definitions[n++] = definition_for(d, seat);
        seat->define = false;
    }
    return n;
}
