/* namesakes: see namesakes.h.
 *
 * An agent that was restarted has its name back at once, so a start that was not heard of before takes the
 * name. An earlier one that is heard again afterwards is no restart: both run, and would take the name from
 * each other for ever, each with half of the other's work. While the newer one is alive the older one is
 * refused.
 */
#include "coordinator/namesakes.h"

#include <string.h>

#include "coordinator/agents.h"

enum {
    NAMESAKE_LATE_MS = 2000, /* a message of a start that is over may come so long after the next one's first */
    NAMESAKE_HEARD_MS = 60000, /* no longer ago: they are still two */
};

static bool namesakes_had_it(const struct namesakes *n, uint64_t instance)
{
    for (size_t i = 0; i < NAMESAKE_LIMIT; i++) {
        if (n->earlier[i] == instance)
            return true;
    }
    return false;
}

static void namesakes_heard(struct driver *d, struct agent *a)
{
    struct namesakes *n = &a->namesakes;

    if (d->now - n->since_ms < NAMESAKE_LATE_MS)
        return;
    if (!namesakes_are(d, a)) {
        n->untold = true;
        d->namesakes_untold = true;
    }
    n->heard_ms = d->now;
}

bool namesakes_take_over(struct driver *d, struct agent *a, uint64_t instance)
{
    struct namesakes *n = &a->namesakes;

    if (!agents_alive(d, a)) {
        memset(n, 0, sizeof *n);
    } else if (namesakes_had_it(n, instance)) {
        namesakes_heard(d, a);
        return false;
    } else {
        memmove(n->earlier + 1, n->earlier, sizeof n->earlier - sizeof *n->earlier);
        n->earlier[0] = a->instance;
    }
    n->since_ms = d->now;
    a->instance = instance;
    a->introduced = false;
    return true;
}

bool namesakes_are(const struct driver *d, const struct agent *a)
{
    return a->namesakes.heard_ms != 0 && d->now - a->namesakes.heard_ms < NAMESAKE_HEARD_MS;
}

bool driver_take_namesake(struct driver *d, struct driver_namesake *out)
{
    struct agent *a, *next;

    if (!d->namesakes_untold)
        return false;
    HASH_ITER(hh, d->agents, a, next)
    {
        if (a->namesakes.untold) {
            a->namesakes.untold = false;
            *out = (struct driver_namesake){a->name, a->address};
            return true;
        }
    }
    d->namesakes_untold = false;
    return false;
}
