/* recovery: see recovery.h. */
#include "participant/recovery.h"

#include <inttypes.h>

#include "libtx/shared/log.h"
#include "participant/agent.h"

enum {
    RECOVERY_LOOK_MS = 1000,
    RECOVERY_LOG_MS = 5000,
};

static void recovery_log(struct resource *r, const char *state, uint32_t rate, uint64_t oldest_ms)
{
    struct recovery *v = &r->recovery;

    v->logged_ms = agent_now(r->agent);
    v->logged = v->remaining;
    log_line(LOG_INFO, "recovery",
             "resource=%s state=%s in_doubt=%" PRIu32 " resolved=%" PRIu32 " remaining=%" PRIu32
             " rate=%" PRIu32 " oldest_ms=%" PRIu64,
             r->name, state, v->found, v->found - v->remaining, v->remaining, rate, oldest_ms);
}

static uint32_t recovery_rate(uint64_t n, uint64_t ms)
{
    return (uint32_t)(n * 1000 / (ms == 0 ? 1 : ms));
}

static void recovery_begin(struct resource *r, uint32_t in_doubt, uint64_t oldest_ms)
{
    uint64_t now = agent_now(r->agent);

    r->recovery = (struct recovery){.running = true,
                                    .looking = r->recovery.looking,
                                    .moves = true,
                                    .found = in_doubt,
                                    .remaining = in_doubt,
                                    .began_ms = now,
                                    .looked_ms = now};
    recovery_log(r, "begins", 0, oldest_ms);
}

static void recovery_end(struct resource *r)
{
    struct recovery *v = &r->recovery;

    recovery_log(r, "ends", recovery_rate(v->found, agent_now(r->agent) - v->began_ms), 0);
    *v = (struct recovery){.looking = v->looking};
}

void recovery_seen(struct resource *r, uint32_t in_doubt, uint64_t oldest_ms)
{
    struct recovery *v = &r->recovery;
    uint64_t now = agent_now(r->agent), last = v->looked_ms;
    uint32_t before = v->remaining;

    if (!v->running) {
        if (in_doubt > 0)
            recovery_begin(r, in_doubt, oldest_ms);
        return;
    }
    v->looked_ms = now;
    v->remaining = in_doubt;
    v->moves = in_doubt < before;
    v->rate = v->moves ? recovery_rate(before - in_doubt, now - last) : 0;
    v->found += v->moves ? 0 : in_doubt - before;
    agent_tell_resources(r->agent);
    if (in_doubt == 0)
        recovery_end(r);
    else if (now - v->logged_ms >= RECOVERY_LOG_MS && v->logged != in_doubt)
        recovery_log(r, "runs", v->rate, oldest_ms);
}

static void recovery_looked(void *arg, const struct rm_list *list)
{
    struct resource *r = arg;

    r->recovery.looking = false;
    if (list->n >= 0 && !r->agent->stopping)
        scan_seen(r, list);
}

void recovery_turn(struct resource *r)
{
    struct recovery *v = &r->recovery;

    if (!v->running || !v->moves || v->looking || !r->up ||
        agent_now(r->agent) - v->looked_ms < RECOVERY_LOOK_MS)
        return;
    v->looking = true;
    scan_list(r, "", 1, recovery_looked);
}
