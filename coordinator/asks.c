/* asks: see asks.h. */
#include "coordinator/asks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"

bool asks_full(const struct driver *d)
{
    const struct ask *a;
    const struct inquiry *i;
    size_t n_asks, n_inquiries;

    DL_COUNT(d->asks, a, n_asks);
    DL_COUNT(d->inquiries, i, n_inquiries);
    return n_asks + n_inquiries >= ASK_LIMIT;
}

bool asks_change_keys(const struct driver *d)
{
    const struct ask *a;

    DL_FOREACH(d->asks, a)
    {
        if (a->changes_keys)
            return true;
    }
    return false;
}

/* Proposals */

struct ask *asks_add(struct driver *d, uint64_t ticket, driver_done_cb done, void *arg)
{
    struct ask *a = driver_alloc(1, sizeof *a);

    a->ticket = ticket;
    a->done = done;
    a->arg = arg;
    DL_APPEND(d->asks, a);
    return a;
}

/* No record after a decision was proposed: the session was over by then, which means abort. */
static enum verdict what_stands(const struct driver *d, const struct ask *a)
{
    const struct decision *decision = ledger_decision(d->ledger, a->key.session, a->key.sequence);

    if (!a->resolve)
        return a->stands;
    return decision != NULL ? decision->verdict : VERDICT_ABORT;
}

void asks_proposed(struct driver *d, uint64_t ticket, bool committed)
{
    struct ask *a, *next, *ended = NULL;

    DL_FOREACH_SAFE(d->asks, a, next)
    {
        if (a->ticket == ticket) {
            DL_DELETE(d->asks, a);
            DL_APPEND(ended, a);
        }
    }
    DL_FOREACH_SAFE(ended, a, next)
    {
        a->done(a->arg, committed ? TX_OK : TX_EUNKNOWN, committed ? what_stands(d, a) : VERDICT_NONE);
        free(a);
    }
}

/* Inquiries */

static void queue_inquiry(struct driver *d, struct inquiry *i)
{
    i->work.first_only = true;
    i->work.item = (struct wire_work_item){.kind = WORK_INQUIRE,
                                           .id = {.group = d->group, .sequence = i->number},
                                           .resource = i->resource,
                                           .text = i->question};
    i->work.agent = i->agent[0] != '\0' ? i->agent : NULL;
    agents_queue(d, &i->work);
}

void asks_inquire(struct driver *d, const struct driver_inquiry *q, driver_answer_cb answer, void *arg)
{
    struct inquiry *i = driver_alloc(1, sizeof *i);

    i->number = ++d->inquiry_number;
    i->since_ms = d->now;
    i->timeout_ms = q->timeout_ms != 0 ? q->timeout_ms : INQUIRY_MS;
    snprintf(i->resource, sizeof i->resource, "%s", q->resource);
    snprintf(i->agent, sizeof i->agent, "%s", q->agent != NULL ? q->agent : "");
    i->question = driver_alloc(1, strlen(q->question) + 1);
    strcpy(i->question, q->question);
    i->answer = answer;
    i->arg = arg;
    DL_APPEND(d->inquiries, i);
    queue_inquiry(d, i);
}

static void inquiry_end(struct driver *d, struct inquiry *i, bool tell, const char *json)
{
    agents_cancel(&i->work);
    DL_DELETE(d->inquiries, i);
    if (tell)
        i->answer(i->arg, json);
    free(i->question);
    free(i);
}

static bool was_asked(const struct inquiry *i, const struct agent *a, const struct wire_report *r)
{
    const struct seat *seat;

    if (strcmp(i->resource, r->resource) != 0 || (i->agent[0] != '\0' && strcmp(i->agent, a->name) != 0))
        return false;
    DL_FOREACH(a->seats, seat)
    {
        if (strcmp(seat->served->name, i->resource) == 0)
            return true;
    }
    return false;
}

void asks_answered(struct driver *d, const struct agent *a, const struct wire_report *r)
{
    struct inquiry *i, *next;

    DL_FOREACH_SAFE(d->inquiries, i, next)
    {
        if (i->number == r->id.sequence && was_asked(i, a, r)) {
            inquiry_end(d, i, true, r->text);
            return;
        }
    }
}

void asks_tick(struct driver *d)
{
    struct inquiry *i, *next;

    DL_FOREACH_SAFE(d->inquiries, i, next)
    {
        if (d->now - i->since_ms >= i->timeout_ms)
            inquiry_end(d, i, true, NULL);
        else if (agents_due(d, &i->work))
            queue_inquiry(d, i);
    }
}

void asks_clear(struct driver *d, bool tell)
{
    struct ask *asks = d->asks, *a, *next;

    d->asks = NULL;
    DL_FOREACH_SAFE(asks, a, next)
    {
        if (tell)
            a->done(a->arg, TX_EUNKNOWN, VERDICT_NONE);
        free(a);
    }
    while (d->inquiries != NULL)
        inquiry_end(d, d->inquiries, tell, NULL);
}
