/* agent: see agent.h. */
#include "participant/agent.h"

#include <assert.h>
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
    AGENT_BACKOFF_MS = 100,
    AGENT_BACKOFF_MAX_MS = 5000,
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

/* what a branch's rules ask for */

static void agent_answered(void *arg, const struct rm_answer *answer);

static void agent_tell(struct held *h, int kind, const char *text)
{
    struct wire_report report = {.kind = (uint8_t)kind,
                                 .id = h->key.id,
                                 .branch = (uint16_t)h->key.number,
                                 .resource = h->resource->name,
                                 .proof = h->proof,
                                 .text = text};

    if (kind == 0 || !h->asked)
        return;
    agent_report(h->agent, &report);
}

/* For a value between double quotes in a log line. */
static const char *agent_quote(const char *text, char out[TEXT_LIMIT + 1])
{
    snprintf(out, TEXT_LIMIT + 1, "%s", text == NULL ? "" : text);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '"' ? '\'' : *p;
    return out;
}

void agent_log(const struct held *h, enum log_level level, const char *event, const char *text)
{
    char id[TXID_TEXT_SIZE], quoted[TEXT_LIMIT + 1];

    txid_format(&h->key.id, id);
    log_line(level, event, "transaction=%s branch=%u resource=%s state=%s text=\"%s\"", id,
             (unsigned)h->key.number, h->resource->name, branch_state_name(h->state),
             agent_quote(text, quoted));
}

static void agent_tell_stuck(struct held *h)
{
    if (h->stuck != NULL && h->text != NULL && strcmp(h->stuck, h->text) == 0)
        return;
    branches_set(&h->stuck, h->text);
    agent_log(h, LOG_WARN, "stuck", h->text);
    agent_tell(h, REPORT_STUCK, h->text);
}

static void agent_retry_later(struct held *h)
{
    unsigned twice = h->backoff_ms * 2;

    h->backoff_ms = twice == 0 ? AGENT_BACKOFF_MS : twice;
    if (h->backoff_ms > AGENT_BACKOFF_MAX_MS)
        h->backoff_ms = AGENT_BACKOFF_MAX_MS;
    h->retry_ms = agent_now(h->agent) + h->backoff_ms;
}

/* What concerns prepared work, by its gid. */
static void agent_do_by_gid(struct held *h, unsigned actions)
{
    const struct rm_ops *ops = h->resource->ops;
    char gid[GID_SIZE];
    struct rm_finish f = {gid, h->proof, h->by_application};

    gid_format(&h->key.id, (unsigned)h->key.number, gid);
    if ((actions & DO_PREPARE) != 0) {
        crash_point(CRASH_AGENT_BEFORE_PREPARE);
        ops->prepare(h->work, gid, agent_answered, h);
    } else if ((actions & DO_LOOK) != 0) {
        ops->look(h->resource->rm, gid, h->work, agent_answered, h);
    } else if ((actions & DO_COMMIT) != 0) {
        crash_point(CRASH_AGENT_BEFORE_COMMIT);
        ops->commit(h->resource->rm, &f, agent_answered, h);
    } else if ((actions & DO_ROLLBACK) != 0) {
        crash_point(CRASH_AGENT_BEFORE_ROLLBACK);
        ops->rollback(h->resource->rm, &f, agent_answered, h);
    }
}

static void agent_do(struct held *h, unsigned actions)
{
    if ((actions & (DO_PREPARE | DO_LOOK | DO_COMMIT | DO_ROLLBACK)) != 0)
        agent_do_by_gid(h, actions);
    if ((actions & DO_ONE_PHASE) != 0) {
        crash_point(CRASH_AGENT_BEFORE_COMMIT);
        h->resource->ops->one_phase(h->work, agent_answered, h);
    }
    if ((actions & DO_ABANDON) != 0)
        h->resource->ops->abandon(h->work, agent_answered, h);
    if ((actions & DO_REPORT) != 0)
        agent_tell(h, branch_report(h->state), h->text);
    if ((actions & DO_REPORT_NO) != 0)
        agent_tell(h, REPORT_REFUSED, h->text != NULL ? h->text : "the branch was rolled back before");
    if ((actions & DO_REPORT_FOUND) != 0)
        agent_tell(h, REPORT_FOUND, NULL);
    if ((actions & DO_REPORT_STUCK) != 0)
        agent_tell_stuck(h);
    if ((actions & DO_RETRY_LATER) != 0)
        agent_retry_later(h);
    if ((actions & DO_ANSWER) != 0)
        statements_answer(h);
}

/* States in which a work's connection, or the memory of it, is still needed. */
static bool agent_works(enum branch_state s)
{
    return s == AT_ACTIVE || s == AT_LEAVING || s == AT_ONE_PHASE || s == AT_PREPARING || s == AT_LOOKING ||
           s == AT_ROLLBACK_PENDING || s == AT_COMMIT_PENDING;
}

static void agent_entered(struct held *h, enum branch_state before)
{
    if (h->work != NULL && !agent_works(h->state)) {
        h->resource->ops->end(h->work);
        h->work = NULL;
    }
    if (h->state == before)
        return;
    h->retry_ms = h->retry_ms == 0 ? 0 : agent_now(h->agent);
    if (!branch_is_final(h->state))
        return;
    h->ended_ms = agent_now(h->agent);
    if (h->stuck != NULL)
        agent_log(h, LOG_INFO, "unstuck", h->text);
    branches_set(&h->stuck, NULL);
    h->backoff_ms = 0;
    if (h->state == AT_HEURISTIC_COMMIT || h->state == AT_HEURISTIC_ROLLBACK || h->state == AT_HAZARD)
        agent_log(h, LOG_WARN, "heuristic", h->text);
}

const struct branch_rule *agent_event(struct held *h, enum branch_event event)
{
    const struct branch_rule *rule = branch_on(h->state, event);
    enum branch_state before = h->state;

    if (rule == NULL) {
        assert(branch_event_is_foreign(event));
        if (event <= ON_WORK_ROLLBACK) /* an application is told, and not logged */
            agent_log(h, LOG_WARN, "refused", branch_event_name(event));
        return NULL;
    }
    h->state = rule->next;
    if (event == ON_INCOMPLETE)
        branches_set(&h->text, "a statement is under way or missing: the agent was restarted meanwhile");
    agent_log(h, LOG_DEBUG, branch_event_name(event), rule->reason);
    agent_entered(h, before);
    agent_do(h, rule->actions);
    return rule;
}

/* answers of the resources */

static void agent_crash_points(enum branch_state s, enum rm_outcome outcome)
{
    if (outcome != RM_DONE)
        return;
    if (s == AT_PREPARING)
        crash_point(CRASH_AGENT_PREPARED);
    else if (s == AT_COMMITTING || s == AT_ONE_PHASE)
        crash_point(CRASH_AGENT_COMMITTED);
    else if (s == AT_ROLLING_BACK)
        crash_point(CRASH_AGENT_ROLLED_BACK);
}

static void agent_answered(void *arg, const struct rm_answer *answer)
{
    static const enum branch_event events[] = {
        [RM_DONE] = ON_DONE,
        [RM_READ_ONLY] = ON_ANSWERED_READ_ONLY,
        [RM_REFUSED] = ON_ANSWERED_REFUSED,
        [RM_NOT_FOUND] = ON_ANSWERED_NOT_FOUND,
        [RM_HEURISTIC_COMMIT] = ON_ANSWERED_HEURISTIC_COMMIT,
        [RM_HEURISTIC_ROLLBACK] = ON_ANSWERED_HEURISTIC_ROLLBACK,
        [RM_HAZARD] = ON_ANSWERED_HAZARD,
        [RM_UNKNOWN] = ON_UNKNOWN,
        [RM_FAILED] = ON_FAILED,
    };
    struct held *h = arg;

    if (h->agent->stopping)
        return;
    agent_crash_points(h->state, answer->outcome);
    if (answer->proof != NULL)
        branches_set(&h->proof, answer->proof);
    if (h->state == AT_LOOKING && answer->outcome == RM_NOT_FOUND && h->text == NULL)
        branches_set(&h->text, "the agent was restarted, or rolled the branch back; its work is lost");
    else if (h->state != AT_LEAVING && h->state != AT_LOOKING)
        branches_set(&h->text, answer->text);
    agent_event(h, events[answer->outcome]);
}

void agent_work_lost(void *arg, const char *why)
{
    struct held *h = arg;

    if (h->agent->stopping || h->state != AT_ACTIVE)
        return;
    branches_set(&h->text, why);
    agent_event(h, ON_LOST);
}

void agent_resource_up(struct resource *r)
{
    struct held *h, *next;

    scan_request(r, true);
    HASH_ITER(hh, r->agent->branches.table, h, next)
    {
        if (h->resource == r && h->retry_ms != 0)
            h->retry_ms = agent_now(r->agent);
    }
}

void agent_abandon(struct resource *r, const char *why)
{
    struct held *h, *next;

    HASH_ITER(hh, r->agent->branches.table, h, next)
    {
        if (h->resource != r || h->state != AT_ACTIVE)
            continue;
        branches_set(&h->text, why);
        agent_event(h, ON_TIMEOUT);
    }
}

bool agent_is_busy(const struct resource *r)
{
    const struct held *h;

    for (h = r->agent->branches.table; h != NULL; h = h->hh.next) {
        if (h->resource == r && !branch_is_final(h->state))
            return true;
    }
    return false;
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
    return true;
}

static void agent_define(struct agent *a, const struct wire_definition *d)
{
    struct resource *r = agent_resource_named(a, d->name);

    if (r != NULL)
        resource_define(r, d);
}

static void agent_work(void *arg, const struct wire_work *work)
{
    struct agent *a = arg;

    if (!agent_group(a, work->group))
        return;
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
                                         .probe = a->options.resources[0].name,
                                         .fill = agent_fill,
                                         .sent = agent_sent,
                                         .work = agent_work,
                                         .refused = agent_refused,
                                         .met = agent_met,
                                         .arg = a};

    return pull_open(&a->pull, &options, e);
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
}
