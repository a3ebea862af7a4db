/* lookups: see lookups.h. */
#include "coordinator/lookups.h"

#include <stdlib.h>

#include "coordinator/decide.h"

void lookups_add(struct driver *d, const struct reply_to *from, const struct txid *id)
{
    struct lookup *l;

    if (d->n_lookups >= LOOKUP_LIMIT) {
        driver_reply_error(d, from, TX_EBUSY, "%d questions for outcomes are under way, and that is the limit",
                           LOOKUP_LIMIT);
        return;
    }
    l = driver_alloc(1, sizeof *l);
    l->to = *from;
    l->id = *id;
    l->ticket = driver_barrier(d);
    DL_APPEND(d->lookups, l);
    d->n_lookups++;
}

static void lookup_free(struct driver *d, struct lookup *l)
{
    DL_DELETE(d->lookups, l);
    d->n_lookups--;
    free(l);
}

void lookups_proposed(struct driver *d, uint64_t ticket, bool committed)
{
    struct lookup *l, *next;

    DL_FOREACH_SAFE(d->lookups, l, next)
    {
        if (l->ticket != ticket)
            continue;
        if (committed)
            decide_answer_outcome(d, &l->to, &l->id);
        else
            driver_reply_unknown(d, &l->to);
        lookup_free(d, l);
    }
}

void lookups_clear(struct driver *d, bool tell)
{
    struct lookup *l, *next;

    DL_FOREACH_SAFE(d->lookups, l, next)
    {
        if (tell)
            driver_reply_error(d, &l->to, TX_ENOTLEADER, "this coordinator has lost the lead");
        lookup_free(d, l);
    }
}
