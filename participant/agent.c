/* agent: see agent.h. Work that comes, what is told, time, and opening and stopping. */
#include "participant/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libtx/shared/crash.h"
#include "libtx/shared/log.h"
#include "participant/inquire.h"

enum {
    AGENT_TICK_MS = 100,
    AGENT_RESOURCES_TICKS = 20, /* resources are told again every so many ticks, in case a PULL was lost */
    AGENT_KEEP_MS = 600000,     /* a branch that has ended is remembered, for doubles that come late */
};

uint64_t agent_now(const struct agent *a)
{
    return uv_now(a->loop);
}

struct resource *agent_resource_named(struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->n_resources; i++) {
        if (strcmp(a->resources[i].name, name) == 0)
            return &a->resources[i];
    }
    return NULL;
}

struct resource *agent_resource(struct agent *a, const char *name)
{
    struct resource *r = agent_resource_named(a, name);

    return r == NULL || r->rm == NULL ? NULL : r;
}

void agent_tell_resources(struct agent *a)
{
    a->tell_resources = true;
    pull_wake(&a->pull);
}

void agent_report(struct agent *a, const struct wire_report *report)
{
    if (outbox_put(&a->outbox, report))
        pull_wake(&a->pull);
}

/* work */

/* The branch that an item names, as it is or entered anew; NULL: not now, it will be told again. */
static struct held *agent_held(struct agent *a, const struct wire_work_item *item)
{
    struct resource *r = agent_resource(a, item->resource);
    struct held *h;

    if (r == NULL || item->id.group != a->group) {
        log_line(LOG_WARN, "refused", "from=coordinator resource=%s error=\"%s\"", item->resource,
                 r == NULL ? "not served here" : "of another group");
        return NULL;
    }
    h = branches_find(&a->branches, &item->id, item->branch);
    if (h != NULL && h->resource != r) {
        agent_log(h, LOG_WARN, "refused", "asked for in another resource");
        return NULL;
    }
    if (h == NULL)
        h = branches_add(&a->branches, &item->id, item->branch);
    if (h == NULL)
        return NULL;
    h->agent = a;
    h->resource = r;
    return h;
}

static void agent_item(struct agent *a, const struct wire_work_item *item)
{
    static const enum branch_event events[] = {
        [WORK_PREPARE] = ON_WORK_PREPARE, [WORK_COMMIT] = ON_WORK_COMMIT, [WORK_ROLLBACK] = ON_WORK_ROLLBACK};
    struct held *h;

    if (item->kind == WORK_INQUIRE) {
        inquire(a, item);
        return;
    }
    h = agent_held(a, item);
    if (h == NULL)
        return;
    h->asked = true;
    h->by_application = h->by_application || (h->state == AT_NONE && item->branch_kind == BRANCH_DIRECT);
    if (item->kind == WORK_PREPARE && !statements_is_by(h, item->owner)) {
        branches_set(&h->text, "the branch was begun by another client than the transaction's");
        agent_log(h, LOG_WARN, "audit", h->text);
        agent_event(h, ON_INCOMPLETE);
        return;
    }
    if (item->kind == WORK_PREPARE && !statements_complete(h, item->proof)) {
        agent_event(h, ON_INCOMPLETE);
        return;
    }
    if (h->proof == NULL && item->kind != WORK_PREPARE)
        branches_set(&h->proof, item->proof);
    agent_event(h, events[item->kind]);
}

/* The group is learned once. A coordinator of another one is a mistake in the configuration, and nothing it
 * says is obeyed. */
static bool agent_group(struct agent *a, uint64_t group)
{
    if (a->group == group && group != 0)
        return true;
    if (a->group != 0 || group == 0) {
        log_line(LOG_ERROR, "refused",
                 "from=coordinator error=\"group %016" PRIx64 ", but this agent works for %016" PRIx64 "\"",
                 group, a->group);
        return false;
    }
    a->group = group;
    log_line(LOG_INFO, "ready", "agent=%s group=%016" PRIx64 " listen=%s resources=%zu", a->options.name, group,
             a->options.listen == NULL ? "none" : a->options.listen, a->n_resources);
    if (a->options.ready != NULL)
        a->options.ready(a->options.ready_arg);
    return true;
}

static void agent_define(struct agent *a, const struct wire_definition *d)
{
    struct resource *r = agent_resource_named(a, d->name);

    if (r != NULL)
        resource_define(r, d);
}

static void agent_client_gone(void *arg, const uint8_t key[KEY_SIZE])
{
    struct agent *a = arg;

    statements_drop(&a->statements, key);
}

/* What does not fit into memory is told again: the next PULL says that it is not known. */
static void agent_clients(struct agent *a, const struct wire_work *work)
{
    struct tx_error e;

    if (work->keys_version == 0)
        return;
    if (clients_take(&a->clients, work, agent_client_gone, a, &e) != TX_OK)
        log_line(LOG_ERROR, "clients", "error=\"%s\"", e.msg);
    else
        statements_begin(&a->statements);
}

static void agent_work(void *arg, const struct wire_work *work)
{
    struct agent *a = arg;

    if (!agent_group(a, work->group))
        return;
    agent_clients(a, work);
    outbox_received(&a->outbox, work->received);
    if (work->introduce)
        a->tell_resources = true;
    for (size_t i = 0; i < work->n_definitions; i++)
        agent_define(a, &work->definitions[i]);
    for (size_t i = 0; i < work->n_items; i++)
        agent_item(a, &work->items[i]);
    for (size_t i = 0; i < a->n_resources; i++)
        scan_turn(&a->resources[i]);
    pull_wake(&a->pull); /* this one is answered; the next is to be open */
}

static void agent_met(void *arg)
{
    struct agent *a = arg;

    a->tell_resources = true; /* it would have to ask for them */
    for (size_t i = 0; i < a->n_resources; i++)
        scan_request(&a->resources[i], false);
}

static bool agent_refused(void *arg, size_t n_reports, const char *why)
{
    struct agent *a = arg;

    return outbox_refused(&a->outbox, n_reports, why);
}

static size_t agent_fill_resources(struct agent *a)
{
    for (size_t i = 0; i < a->n_resources; i++)
        a->told[i] = resource_state(&a->resources[i]);
    return a->n_resources;
}

static void agent_fill(void *arg, struct wire_pull *pull)
{
    struct agent *a = arg;

    pull->instance = a->instance;
    pull->name = a->options.name;
    pull->address = a->options.advertise;
    /* An unknown agent is answered at once, and asked for its resources; a known one only when there is work.
     * So the first PULL brings the group, and nobody is sent here before that is known. */
    pull->n_resources =
        a->tell_resources && a->group != 0 && pull_connected(&a->pull) ? agent_fill_resources(a) : 0;
    pull->resources = a->told;
    pull->n_reports = outbox_fill(&a->outbox, pull->number, a->reports);
    pull->reports = a->reports;
    pull->keys_version = a->clients.version;
}

static void agent_sent(void *arg, const struct wire_pull *pull)
{
    struct agent *a = arg;

    a->tell_resources = a->tell_resources && pull->n_resources == 0;
    for (size_t i = 0; i < pull->n_reports; i++) {
        if (pull->reports[i].kind == REPORT_PREPARED)
            crash_point(CRASH_AGENT_VOTED);
        else if (pull->reports[i].kind == REPORT_COMMITTED || pull->reports[i].kind == REPORT_ROLLED_BACK)
            crash_point(CRASH_AGENT_REPORTED);
    }
}

/* time */

static void agent_tick_branch(struct held *h, uint64_t now)
{
    char text[128];

    if (h->state == AT_ACTIVE && statements_overdue(h, now)) {
        snprintf(text, sizeof text, "the application was silent for %u ms; the branch was rolled back",
                 h->statements->timeout_ms);
        branches_set(&h->text, text);
        agent_log(h, LOG_INFO, "timeout", text);
        agent_event(h, ON_TIMEOUT);
    }
    if (h->retry_ms != 0 && now >= h->retry_ms) {
        h->retry_ms = 0;
        if (branch_on(h->state, ON_RETRY) != NULL)
            agent_event(h, ON_RETRY);
    }
}

static void agent_tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    uint64_t now = agent_now(a);
    struct held *h, *next;

    if (++a->ticks % AGENT_RESOURCES_TICKS == 0)
        a->tell_resources = true;
    HASH_ITER(hh, a->branches.table, h, next)
    {
        if (branch_is_final(h->state) && now - h->ended_ms >= AGENT_KEEP_MS)
            branches_remove(&a->branches, h);
        else
            agent_tick_branch(h, now);
    }
    for (size_t i = 0; i < a->n_resources; i++) {
        recovery_turn(&a->resources[i]);
        scan_turn(&a->resources[i]);
        resource_turn(&a->resources[i]);
    }
}

/* opening and stopping */

static int agent_open_pull(struct agent *a, struct tx_error *e)
{
    const struct pull_options options = {.loop = a->loop,
                                         .coordinators = a->options.coordinators,
                                         .security = a->options.security,
                                         .probe = a->options.resources[0].name,
                                         .fill = agent_fill,
                                         .sent = agent_sent,
                                         .work = agent_work,
                                         .refused = agent_refused,
                                         .met = agent_met,
                                         .arg = a};

    return pull_open(&a->pull, &options, e);
}

/* Clear text is for a machine of one's own, and nobody uses it without being told. */
static int agent_check_security(const struct agent_options *o, struct tx_error *e)
{
    int rc;

    if (o->security == NULL || !o->security->insecure)
        return TX_OK;
    rc = security_check_address(o->security, "listen", o->listen, e);
    if (rc == TX_OK)
        rc = security_check_address(o->security, "coordinators", o->coordinators, e);
    if (rc == TX_OK)
        log_line(
            LOG_WARN, "insecure",
            "text=\"messages are in clear text, and whoever is on this machine may execute statements in the "
            "resources: leave insecure out, and give an identity\"");
    return rc;
}

int agent_open(struct agent *a, uv_loop_t *loop, const struct agent_options *options, struct tx_error *e)
{
    int rc;

    memset(a, 0, sizeof *a);
    a->loop = loop;
    a->options = *options;
    branches_init(&a->branches);
    outbox_init(&a->outbox);
    uv_timer_init(loop, &a->tick);
    a->tick.data = a;
    if (getrandom(&a->instance, sizeof a->instance, 0) != (ssize_t)sizeof a->instance)
        return err_set(e, TX_EIO, "no random number");
    rc = agent_check_security(options, e);
    if (rc == TX_OK)
        rc = statements_open(&a->statements, a, options->listen, e);
    if (rc == TX_OK)
        rc = agent_open_pull(a, e);
    for (size_t i = 0; i < options->n_resources && rc == TX_OK; i++)
        rc = resource_open(&a->resources[a->n_resources++], a, &options->resources[i], e);
    if (rc == TX_OK)
        uv_timer_start(&a->tick, agent_tick, AGENT_TICK_MS, AGENT_TICK_MS);
    return rc;
}

static void agent_tick_closed(uv_handle_t *handle)
{
    struct agent *a = handle->data;

    a->stopped(a->stopped_arg);
}

void agent_closed(struct agent *a)
{
    if (--a->n_open == 0 && a->stopping)
        uv_close((uv_handle_t *)&a->tick, agent_tick_closed);
}

void agent_stop(struct agent *a, void (*stopped)(void *arg), void *arg)
{
    a->stopping = true;
    a->stopped = stopped;
    a->stopped_arg = arg;
    uv_timer_stop(&a->tick);
    pull_close(&a->pull);
    statements_close(&a->statements);
    a->n_open++; /* this call's own */
    for (size_t i = 0; i < a->n_resources; i++)
        resource_close(&a->resources[i]);
    agent_closed(a);
}

void agent_release(struct agent *a)
{
    struct held *h, *next;

    HASH_ITER(hh, a->branches.table, h, next)
    {
        if (h->work != NULL)
            h->resource->ops->end(h->work);
    }
    branches_release(&a->branches);
    outbox_release(&a->outbox);
    pull_release(&a->pull);
    statements_release(&a->statements);
    clients_release(&a->clients);
}
