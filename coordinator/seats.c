/* seats: see seats.h. */
#include "coordinator/seats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/definitions.h"

static struct served *seats_find(const struct driver *d, const char *name)
{
    struct served *s;

    HASH_FIND_STR(d->served, name, s);
    return s;
}

struct served *seats_of(struct driver *d, const char *name)
{
    struct served *s = seats_find(d, name);

    if (s != NULL)
        return s;
    s = driver_alloc(1, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    HASH_ADD_STR(d->served, name, s);
    return s;
}

struct seat *seats_first_of(const struct driver *d, const struct served *s)
{
    struct seat *seat, *silent = NULL;

    DL_FOREACH2(s->seats, seat, mate_next)
    {
        if (!agents_alive(d, seat->agent) || !seat->fit)
            continue;
        if (seat->agent->address[0] != '\0')
            return seat;
        if (silent == NULL)
            silent = seat;
    }
    return silent;
}

const struct seat *seats_first(const struct driver *d, const char *resource)
{
    const struct served *s = seats_find(d, resource);

    return s == NULL ? NULL : seats_first_of(d, s);
}

static void seat_free(struct seat *seat)
{
    DL_DELETE(seat->agent->seats, seat);
    DL_DELETE2(seat->served->seats, seat, mate_prev, mate_next);
    free(seat);
}

static struct seat *seat_get(struct driver *d, struct agent *a, const char *resource)
{
    struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        if (strcmp(seat->served->name, resource) == 0)
            return seat;
    }
    seat = driver_alloc(1, sizeof *seat);
    seat->agent = a;
    seat->served = seats_of(d, resource);
    DL_APPEND(a->seats, seat);
    DL_APPEND2(seat->served->seats, seat, mate_prev, mate_next);
    return seat;
}

void seats_leave(struct agent *a)
{
    while (a->seats != NULL)
        seat_free(a->seats);
}

void seats_step_back(struct agent *a)
{
    struct seat *seat;

    DL_FOREACH(a->seats, seat)
    {
        DL_DELETE2(seat->served->seats, seat, mate_prev, mate_next);
        DL_APPEND2(seat->served->seats, seat, mate_prev, mate_next);
    }
}

/* What an agent tells */

bool seats_agree(struct driver *d, const struct reply_to *from, const struct wire_pull *m)
{
    for (size_t i = 0; i < m->n_resources; i++) {
        const struct ledger_resource *known = ledger_resource(d->ledger, m->resources[i].name);

        if (m->resources[i].by_registry || known == NULL || known->declared)
            continue;
        if (strcmp(known->kind, m->resources[i].kind) != 0) {
            driver_reply_error(d, from, TX_EREFUSED,
                               "resource %s is registered as %s and agent %s calls it %s; give it another name "
                               "or remove the old one (txadmin)",
                               known->name, known->kind, m->name, m->resources[i].kind);
            return false;
        }
    }
    return true;
}

static void add_resource(struct driver *d, const struct wire_resource *r)
{
    struct served *s = seats_of(d, r->name);
    struct record record = {.type = RECORD_ADD_RESOURCE};

    if (s->adding || ledger_resource(d->ledger, r->name) != NULL)
        return;
    record.resource.name = r->name;
    record.resource.kind = r->kind;
    s->adding = true;
    s->ticket = driver_log(d, &record);
}

static void seat_take(struct driver *d, struct seat *seat, const struct wire_resource *r)
{
    seat->told = true;
    seat->up = r->up != 0;
    seat->by_registry = r->by_registry != 0;
    seat->definition = r->definition;
    seat->in_doubt = r->in_doubt;
    seat->oldest_ms = r->oldest_ms;
    seat->found = r->found;
    seat->resolved = r->resolved;
    seat->rate = r->rate;
    snprintf(seat->kind, sizeof seat->kind, "%s", r->kind != NULL ? r->kind : "");
    snprintf(seat->error, sizeof seat->error, "%s", r->error != NULL ? r->error : "");
    definitions_judge(d, seat);
}

void seats_take(struct driver *d, struct agent *a, const struct wire_pull *m)
{
    struct seat *seat, *next;

    if (m->n_resources == 0)
        return;
    DL_FOREACH(a->seats, seat)
    {
        seat->told = false;
    }
    for (size_t i = 0; i < m->n_resources; i++) {
        const struct wire_resource *r = &m->resources[i];

        if (r->by_registry == 0)
            add_resource(d, r);
        seat_take(d, seat_get(d, a, r->name), r);
    }
    DL_FOREACH_SAFE(a->seats, seat, next)
    {
        if (!seat->told)
            seat_free(seat);
    }
    a->introduced = true;
}

/* What the log says */

void seats_resource_added(struct driver *d, const char *name)
{
    struct served *s = seats_find(d, name);

    if (s != NULL)
        s->adding = false;
    seats_resource_changed(d, name);
}

void seats_resource_removed(struct driver *d, const char *name)
{
    struct served *s = seats_find(d, name);
    struct seat *seat;

    if (s == NULL)
        return;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        seat->agent->introduced = false;
        definitions_judge(d, seat);
    }
    d->work_dirty = true;
}

void seats_resource_changed(struct driver *d, const char *name)
{
    struct served *s = seats_find(d, name);
    struct seat *seat;

    if (s == NULL)
        return;
    DL_FOREACH2(s->seats, seat, mate_next)
    {
        definitions_judge(d, seat);
    }
}

void seats_lost(struct driver *d, uint64_t ticket)
{
    struct served *s, *next;

    HASH_ITER(hh, d->served, s, next)
    {
        if (s->ticket == ticket)
            s->adding = false;
    }
}

void seats_clear(struct driver *d)
{
    struct served *s, *next;

    HASH_ITER(hh, d->served, s, next)
    {
        HASH_DEL(d->served, s);
        free(s);
    }
}
