/* resource: see resource.h. */
#include "participant/resource.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/log.h"
#include "participant/agent.h"

struct opened {
    struct resource *resource;
    bool current; /* not being closed; what it still tells is not heard */
};

/* For a value between double quotes in a log line. */
static const char *resource_quote(const char *text, char out[TEXT_LIMIT + 1])
{
    snprintf(out, TEXT_LIMIT + 1, "%s", text);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '"' ? '\'' : *p;
    return out;
}

static void resource_log(const struct resource *r, enum log_level level, const char *state, const char *error)
{
    char quoted[TEXT_LIMIT + 1];

    log_line(level, "resource", "name=%s state=%s error=\"%s\"", r->name, state, resource_quote(error, quoted));
}

/* opening and closing */

static void resource_status(void *arg, bool up, const char *error)
{
    const struct opened *o = arg;
    struct resource *r = o->resource;

    if (!o->current || r->agent->stopping)
        return;
    r->up = up;
    snprintf(r->error, sizeof r->error, "%s", error == NULL ? "" : error);
    resource_log(r, up ? LOG_INFO : LOG_WARN, up ? "up" : "down", r->error);
    agent_tell_resources(r->agent);
    if (up)
        agent_resource_up(r);
}

static void resource_closed(void *arg)
{
    struct opened *o = arg;
    struct agent *a = o->resource->agent;

    free(o);
    agent_closed(a);
}

/* What it had is the caller's to close. On an error nothing has changed. */
static int resource_begin(struct resource *r, const struct agent_resource *from, struct tx_error *e)
{
    struct opened *o = calloc(1, sizeof *o);
    struct rm_options options = {.loop = r->agent->loop,
                                 .name = r->name,
                                 .settings = from->settings,
                                 .context = from->context,
                                 .connections = r->agent->options.connections,
                                 .status = resource_status,
                                 .arg = o};
    struct rm *rm;
    int rc = o == NULL ? err_set(e, TX_ENOMEM, "no memory for a resource") : from->ops->open(&rm, &options, e);

    if (rc != TX_OK) {
        free(o);
        return err_wrap(e, rc, "resource %s", r->name);
    }
    o->resource = r;
    o->current = true;
    r->ops = from->ops;
    r->rm = rm;
    r->opened = o;
    r->up = false;
    snprintf(r->error, sizeof r->error, "not connected yet");
    r->agent->n_open++;
    return TX_OK;
}

int resource_open(struct resource *r, struct agent *a, const struct agent_resource *from, struct tx_error *e)
{
    r->agent = a;
    snprintf(r->name, sizeof r->name, "%s", from->name);
    r->by_registry = from->ops == NULL;
    if (!r->by_registry)
        return resource_begin(r, from, e);
    snprintf(r->problem, sizeof r->problem, "waits for the registry to define it");
    return TX_OK;
}

static void resource_end(const struct rm_ops *ops, struct rm *rm, struct opened *o)
{
    o->current = false;
    ops->close(rm, resource_closed, o);
}

void resource_close(struct resource *r)
{
    struct rm *rm = r->rm;

    if (rm == NULL)
        return;
    r->rm = NULL;
    r->up = false;
    resource_end(r->ops, rm, r->opened);
}

/* definitions */

/* Says what is wrong, in the log and to the coordinator; nothing where it was said before. */
static void resource_problem(struct resource *r, const char *problem)
{
    if (strcmp(r->problem, problem) == 0)
        return;
    snprintf(r->problem, sizeof r->problem, "%s", problem);
    if (*problem != '\0')
        resource_log(r, LOG_WARN, r->rm == NULL ? "closed" : "open", problem);
}

static void resource_leave(struct resource *r)
{
    if (r->leaving)
        return;
    resource_log(r, LOG_INFO, "leaving", "taken off the registry");
    r->leaving = true;
    agent_abandon(r, "the resource was taken off the registry; the branch was rolled back");
    scan_request(r, true);
    r->scan.fresh = r->scan.clear = false;
}

static void resource_undefine(struct resource *r)
{
    char text[TEXT_LIMIT + 1];

    if (!r->by_registry) {
        resource_problem(r, "");
        return;
    }
    if (r->rm != NULL) {
        resource_leave(r);
        return;
    }
    snprintf(text, sizeof text, "not in the registry: txadmin resource add %s KIND SETTINGS", r->name);
    resource_problem(r, text);
}

/* Its own configuration counts; but not for what the registry knows as something else. */
static void resource_disagree(struct resource *r, const struct wire_definition *d)
{
    char text[TEXT_LIMIT + 1];

    snprintf(
        text, sizeof text,
        "the registry has it as %s, and this agent's --resource.%s as %s: it gets no work here until one of "
        "them is corrected",
        d->kind, r->name, r->ops->kind);
    resource_problem(r, text);
}

static int resource_reopen(struct resource *r, const struct rm_ops *ops, const char *settings,
                           struct tx_error *e)
{
    const struct agent_resource from = {.name = r->name, .ops = ops, .settings = settings};
    struct opened *o = r->opened;
    struct rm *old = r->rm;
    int rc = resource_begin(r, &from, e);

    if (rc == TX_OK && old != NULL)
        resource_end(ops, old, o);
    return rc;
}

/* True: it is as the definition says, or cannot become so. */
static bool resource_follow(struct resource *r, const struct wire_definition *d)
{
    const struct rm_ops *ops = r->agent->options.find_kind(d->kind);
    char text[TEXT_LIMIT + 1] = "";
    struct tx_error e;

    if (r->rm != NULL && (ops == NULL || ops != r->ops)) {
        resource_leave(r); /* it was removed and added as something else; first the old one is to be finished */
        return false;
    }
    r->leaving = false;
    if (ops == NULL)
        snprintf(text, sizeof text, "this agent knows no kind %s; it knows %s", d->kind,
                 r->agent->options.kinds());
    else if (resource_reopen(r, ops, d->settings, &e) == TX_OK)
        resource_log(r, LOG_INFO, "opened", "");
    else
        snprintf(text, sizeof text, "%.200s%s", e.msg, r->rm == NULL ? "" : "; it stays as it was before");
    resource_problem(r, text);
    return true;
}

void resource_define(struct resource *r, const struct wire_definition *d)
{
    bool done = true;

    if (d->mark == r->definition)
        return;
    if (d->kind == NULL)
        resource_undefine(r);
    else if (!r->by_registry)
        resource_disagree(r, d);
    else
        done = resource_follow(r, d);
    if (!done)
        return; /* it is told again by and by */
    r->definition = d->mark;
    agent_tell_resources(r->agent);
}

void resource_turn(struct resource *r)
{
    char text[TEXT_LIMIT + 1];

    if (!r->leaving || r->rm == NULL || !r->scan.clear || agent_is_busy(r))
        return;
    r->leaving = false;
    resource_log(r, LOG_INFO, "closed", "taken off the registry");
    resource_close(r);
    snprintf(text, sizeof text, "not in the registry: txadmin resource add %s KIND SETTINGS", r->name);
    snprintf(r->problem, sizeof r->problem, "%s", text);
    agent_tell_resources(r->agent);
}

/* telling */

struct wire_resource resource_state(const struct resource *r)
{
    const struct recovery *v = &r->recovery;
    const char *error = r->problem[0] != '\0' ? r->problem : r->up ? NULL : r->error;

    if (r->leaving)
        error = "taken off the registry; it stays open here until nothing of this group is prepared in it";
    return (struct wire_resource){.name = r->name,
                                  .kind = r->rm == NULL ? NULL : r->ops->kind,
                                  .by_registry = r->by_registry,
                                  .definition = r->definition,
                                  .up = r->up,
                                  .in_doubt = r->scan.in_doubt,
                                  .oldest_ms = r->scan.oldest_ms,
                                  .found = v->found,
                                  .resolved = v->found - v->remaining,
                                  .rate = v->rate,
                                  .error = error};
}
