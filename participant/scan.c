/* scan: see scan.h. */
#include "participant/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "libtx/shared/log.h"
#include "participant/agent.h"

enum {
    SCAN_PAGE = 8 * REPORT_LIMIT,
    SCAN_RETRY_MS = 1000,
};

static void scan_page(void *arg, const struct rm_list *list);

void scan_request(struct resource *r, bool all)
{
    r->scan.due = true;
    r->scan.all = r->scan.all || all;
}

void scan_list(struct resource *r, const char *after, unsigned limit, rm_list_cb done)
{
    char prefix[sizeof GID_PREFIX + 20];

    snprintf(prefix, sizeof prefix, GID_PREFIX "%016" PRIx64 "-", r->agent->group);
    r->ops->list(r->rm, prefix, after, limit, done, r);
}

static void scan_ask(struct resource *r)
{
    r->scan.asked_ms = agent_now(r->agent);
    scan_list(r, r->scan.after, SCAN_PAGE, scan_page);
}

void scan_seen(struct resource *r, const struct rm_list *list)
{
    struct scan *s = &r->scan;
    uint32_t strange = s->strange.n > s->strange_seen.n ? s->strange.n : s->strange_seen.n;

    if (list->total != s->in_doubt || list->total > 0)
        agent_tell_resources(r->agent);
    s->in_doubt = list->total;
    s->oldest_ms = list->oldest_ms;
    recovery_seen(r, list->in_doubt > strange ? list->in_doubt - strange : 0, list->oldest_ms);
}

static void scan_report(struct resource *r, const struct txid *id, uint16_t branch, const struct rm_found *f)
{
    struct wire_report report = {.kind = REPORT_FOUND,
                                 .id = *id,
                                 .branch = branch,
                                 .resource = r->name,
                                 .age_ms = f->age_ms,
                                 .proof = f->proof};

    agent_report(r->agent, &report);
}

/* The agent leaves it alone, and somebody has to know of it. */
static void scan_see_strange(struct scan_strange *s, const struct rm_found *f)
{
    size_t n = strlen(s->text);

    s->n++;
    if (n + strlen(f->gid) + 48 < sizeof s->text)
        snprintf(s->text + n, sizeof s->text - n, "%s%s (for %" PRIu64 " s)", n == 0 ? "" : ", ", f->gid,
                 f->age_ms / 1000);
}

/* A branch in the table that ended after this page was asked for is on the page only because the page is old.
 */
static void scan_see(struct resource *r, const struct rm_found *f)
{
    struct txid id;
    unsigned branch;
    struct held *h;
    bool young = f->age_ms < RM_YOUNG_MS;

    if (!gid_parse(f->gid, &id, &branch) || id.group != r->agent->group) {
        if (!young)
            scan_see_strange(&r->scan.strange_seen, f);
        return;
    }
    h = branches_find(&r->agent->branches, &id, (uint16_t)branch);
    if (h == NULL) {
        if (!young || r->scan.all)
            scan_report(r, &id, (uint16_t)branch, f);
        return;
    }
    if (young || h->resource != r || (branch_is_final(h->state) && h->ended_ms >= r->scan.asked_ms))
        return;
    if (h->proof == NULL)
        branches_set(&h->proof, f->proof);
    if (branch_on(h->state, ON_FOUND) == NULL)
        return; /* not by us, and the coordinator does not know of it */
    h->asked = true;
    agent_event(h, ON_FOUND);
}

static void scan_end(struct resource *r, bool complete)
{
    struct scan *s = &r->scan;

    s->running = false;
    s->waiting = false;
    s->next_ms = agent_now(r->agent) + (complete ? r->agent->options.scan_interval_ms : SCAN_RETRY_MS);
    if (!complete) {
        s->all = true;
        return;
    }
    s->all = false;
    s->clear = s->fresh && s->in_doubt == 0;
    s->strange = s->strange_seen;
    crash_point(CRASH_AGENT_SCANNED);
}

static void scan_page(void *arg, const struct rm_list *list)
{
    struct resource *r = arg;
    struct scan *s = &r->scan;

    if (list->n < 0 || r->agent->stopping) {
        scan_end(r, false);
        return;
    }
    for (int i = 0; i < list->n; i++)
        scan_see(r, &list->found[i]);
    if (s->after[0] == '\0')
        scan_seen(r, list);
    if (list->n < SCAN_PAGE) {
        scan_end(r, true);
        return;
    }
    snprintf(s->after, sizeof s->after, "%s", list->found[list->n - 1].gid);
    s->mark = r->agent->outbox.last;
    s->waiting = true;
}

void scan_turn(struct resource *r)
{
    struct scan *s = &r->scan;

    if (r->agent->group == 0 || r->agent->stopping)
        return;
    if (s->running) {
        if (s->waiting && r->agent->outbox.received >= s->mark) {
            s->waiting = false;
            scan_ask(r);
        }
        return;
    }
    if (!r->up || !pull_connected(&r->agent->pull) || (!s->due && agent_now(r->agent) < s->next_ms))
        return;
    s->due = false;
    s->fresh = true;
    s->clear = false;
    s->running = true;
    memset(&s->strange_seen, 0, sizeof s->strange_seen);
    s->after[0] = '\0';
    scan_ask(r);
}
