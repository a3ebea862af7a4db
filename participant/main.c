/* txagentd: the participant agent. Reads its settings, opens the agent, runs the loop until SIGTERM or SIGINT.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/address.h"
#include "libtx/shared/conf.h"
#include "libtx/shared/daemon/connections.h"
#include "libtx/shared/daemon/harden.h"
#include "libtx/shared/daemon/notify.h"
#include "libtx/shared/log.h"
#include "participant/agent.h"

static struct {
    char *coordinators, *name, *listen, *advertise, *serve, *log_level, *identity, *keys, *statements;
    unsigned connections, max_connections, scan_interval_ms;
    bool insecure;
} conf;

static struct {
    struct agent_resource list[RESOURCE_LIMIT];
    size_t n;
} resources;

static void resource_release(struct agent_resource *r)
{
    free((char *)(uintptr_t)r->name);
    free((char *)(uintptr_t)r->settings);
    *r = (struct agent_resource){0};
}

/* "KIND SETTINGS" */
static int resource_parse(struct agent_resource *r, const char *name, const char *value, struct tx_error *e)
{
    size_t n = strcspn(value, " ");
    char kind[NAME_LIMIT + 1];

    snprintf(kind, sizeof kind, "%.*s", (int)n, value);
    /* It may be anything, a password too, where the kind was forgotten. */
    if (!wire_name_valid(kind))
        return err_set(e, TX_EINVAL, "resource %s: its kind comes first; write KIND SETTINGS, with KIND %s",
                       name, rm_kinds());
    r->ops = rm_find(kind);
    if (r->ops == NULL)
        return err_set(e, TX_EINVAL,
                       "resource %s: there is no kind «%s»; write --resource.%s=\"KIND SETTINGS\" with %s",
                       name, kind, name, rm_kinds());
    r->name = strdup(name);
    r->settings = strdup(value[n] == '\0' ? value + n : value + n + 1);
    return r->name != NULL && r->settings != NULL ? TX_OK : err_set(e, TX_ENOMEM, "no memory for settings");
}

/* The place for a resource of this name; NULL with the error. A name that is there already: its place. */
static struct agent_resource *resource_place(const char *name, struct tx_error *e)
{
    size_t i = 0;

    if (!wire_name_valid(name)) {
        err_set(e, TX_EINVAL, "«%s» is no name for a resource; 1 to %d of a-z A-Z 0-9 _ . -", name, NAME_LIMIT);
        return NULL;
    }
    while (i < resources.n && strcmp(resources.list[i].name, name) != 0)
        i++;
    if (i == RESOURCE_LIMIT) {
        err_set(e, TX_EBUSY, "an agent serves %d resources at most", RESOURCE_LIMIT);
        return NULL;
    }
    if (i == resources.n)
        resources.n++;
    return &resources.list[i];
}

/* --resource.NAME="KIND SETTINGS"; a later one of the same name wins, so that a flag beats the file. */
static int resource_add(void *target, const char *name, const char *value, struct tx_error *e)
{
    struct agent_resource *r = resource_place(name, e);

    (void)target;
    if (r == NULL)
        return e->code;
    resource_release(r);
    return resource_parse(r, name, value, e);
}

static int resource_serve(const char *name, struct tx_error *e)
{
    struct agent_resource *r = resource_place(name, e);

    if (r == NULL)
        return e->code;
    if (r->ops != NULL)
        return err_set(e, TX_EINVAL, "resource %s is in --serve and has a --resource.%s; leave one of them out",
                       name, name);
    if (r->name != NULL)
        return err_set(e, TX_EINVAL, "serve: names resource %s twice", name);
    r->name = strdup(name);
    return r->name != NULL ? TX_OK : err_set(e, TX_ENOMEM, "no memory for settings");
}

/* --serve NAME[,NAME] */
static int resources_serve(const char *list, struct tx_error *e)
{
    char name[NAME_LIMIT + 2]; /* one that is too long stays so */
    int rc = *list != '\0' ? TX_OK : err_set(e, TX_EINVAL, "serve: names no resource");
    size_t n;

    for (const char *s = list; *s != '\0' && rc == TX_OK; s += n + (s[n] == ',' ? 1 : 0)) {
        n = strcspn(s, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, s);
        rc = resource_serve(name, e);
    }
    return rc;
}

static const struct conf_key keys[] = {
    {.name = "coordinators",
     .type = CONF_STRING,
     .target = &conf.coordinators,
     .initial = "tcp://127.0.0.1:7401",
     .argument = "URL[,URL]",
     .help = "where the coordinators listen"},
    {.name = "name",
     .type = CONF_STRING,
     .target = &conf.name,
     .argument = "NAME",
     .help = "of this agent [HOST-PORT, HOST-RESOURCE where it listens nowhere]"},
    {.name = "listen",
     .type = CONF_STRING,
     .target = &conf.listen,
     .initial = "tcp://127.0.0.1:7501",
     .argument = "URL",
     .help = "where applications send statements; none: recovery only"},
    {.name = "advertise",
     .type = CONF_STRING,
     .target = &conf.advertise,
     .argument = "URL",
     .help = "how applications reach it, where that is not the listen address"},
    {.name = "identity",
     .type = CONF_STRING,
     .target = &conf.identity,
     .argument = "FILE",
     .help = "this agent's own key, as txadmin keygen makes it"},
    {.name = "keys",
     .type = CONF_STRING,
     .target = &conf.keys,
     .initial = SECURITY_KEYS_FILE,
     .argument = "FILE",
     .help = "keys of the coordinators to be believed"},
    {.name = "insecure",
     .type = CONF_BOOL,
     .target = &conf.insecure,
     .initial = "false",
     .argument = "BOOL",
     .help = "clear text, and everybody may do everything; on one machine alone"},
    {.name = "statements",
     .type = CONF_STRING,
     .target = &conf.statements,
     .initial = "any",
     .argument = "any|none|FILE",
     .help = "what applications may execute; a file has lines NAME = SQL, and they send @NAME"},
    {.name = "resource.",
     .type = CONF_EACH,
     .target = &resources,
     .argument = "\"KIND SETTINGS\"",
     .help = "a resource to serve, by the name that applications use",
     .each = resource_add},
    {.name = "serve",
     .type = CONF_STRING,
     .target = &conf.serve,
     .argument = "NAME[,NAME]",
     .help = "resources to serve as the registry defines them (txadmin resource add)"},
    {.name = "connections",
     .type = CONF_UINT,
     .target = &conf.connections,
     .initial = "16",
     .argument = "N",
     .help = "connections to each resource, at most",
     .min = 4,
     .max = 256},
    {.name = "max_connections",
     .type = CONF_UINT,
     .target = &conf.max_connections,
     .initial = "10000",
     .argument = "N",
     .help = "connections taken at once, as far as the limit of open files allows",
     .min = 16,
     .max = 1000000},
    {.name = "scan_interval",
     .type = CONF_DURATION,
     .target = &conf.scan_interval_ms,
     .initial = "5s",
     .argument = "TIME",
     .help = "between two looks for branches in doubt",
     .min = 100,
     .max = 10000}, /* the coordinator forgets after 30 s what no scan sees */
    {.name = "log_level",
     .type = CONF_STRING,
     .target = &conf.log_level,
     .initial = "info",
     .argument = "LEVEL",
     .help = "error, warn, info or debug; who is refused is written in any case"},
    {.name = NULL},
};

/* running */

struct run {
    struct agent agent;
    struct security security;
    struct named named;
    uv_signal_t term, interrupt;
    bool watching;
};

static void run_stopped(void *arg)
{
    struct run *run = arg;

    if (!run->watching)
        return;
    uv_close((uv_handle_t *)&run->term, NULL);
    uv_close((uv_handle_t *)&run->interrupt, NULL);
    connections_unwatch();
}

static void run_signal(uv_signal_t *handle, int number)
{
    struct run *run = handle->data;

    if (run->agent.stopping)
        return;
    notify("STOPPING=1");
    log_line(LOG_INFO, "stopping", "signal=%d", number);
    agent_stop(&run->agent, run_stopped, run);
}

static void run_ready(void *arg)
{
    (void)arg;
    notify("READY=1\nSTATUS=Serves %zu resources", resources.n);
}

/* A name that no other agent on this host has by default: by the port it listens at, which is its own, or by
 * the first resource. */
static int run_name(char name[NAME_LIMIT + 1], struct tx_error *e)
{
    const char *colon = strrchr(conf.listen, ':');
    const char *port = colon != NULL && colon[1] != '/' ? colon + 1 : NULL;
    const char *tail = port != NULL ? port : resources.list[0].name;
    char host[NAME_LIMIT + 1] = "";
    int room = NAME_LIMIT - 1 - (int)strlen(tail);

    if (gethostname(host, sizeof host - 1) != 0 && host[0] == '\0')
        return err_set(e, TX_EIO, "the host has no name; write --name NAME");
    snprintf(name, NAME_LIMIT + 1, "%.*s-%.*s", room < 1 ? 1 : room, host, NAME_LIMIT - 2, tail);
    return TX_OK;
}

static int run_options(struct agent_options *o, char name[NAME_LIMIT + 1], struct tx_error *e)
{
    const struct address address = {"listen", strcmp(conf.listen, "none") == 0 ? NULL : conf.listen,
                                    "advertise", conf.advertise};
    int level = log_level_parse(conf.log_level);

    if (level < 0)
        return err_set(e, TX_EINVAL, "log_level «%s»; write error, warn, info or debug", conf.log_level);
    log_init("txagentd", (enum log_level)level);
    if (address_check(&address, e) != TX_OK)
        return e->code;
    if (conf.serve != NULL && resources_serve(conf.serve, e) != TX_OK)
        return e->code;
    if (resources.n == 0)
        return err_set(e, TX_EINVAL,
                       "no resource to serve; write --serve NAME where the registry defines it, or "
                       "--resource.NAME=\"KIND SETTINGS\" with KIND %s",
                       rm_kinds());
    if (conf.name == NULL && run_name(name, e) != TX_OK)
        return e->code;
    o->name = conf.name == NULL ? name : conf.name;
    if (!wire_name_valid(o->name))
        return err_set(e, TX_EINVAL,
                       "«%s» is no name for an agent; 1 to %d of a-z A-Z 0-9 _ . -; write --name NAME", o->name,
                       NAME_LIMIT);
    o->coordinators = conf.coordinators;
    o->listen = address.listen;
    o->advertise = address_told(&address);
    o->connections = conf.connections;
    o->scan_interval_ms = conf.scan_interval_ms;
    o->n_resources = resources.n;
    o->resources = resources.list;
    o->find_kind = rm_find;
    o->kinds = rm_kinds;
    o->ready = run_ready;
    return TX_OK;
}

/* As whom it speaks, and what it lets be executed. */
static int run_load(struct run *run, struct agent_options *o, struct tx_error *e)
{
    const struct security_options security = {
        .identity = conf.identity, .keys = conf.keys, .insecure = conf.insecure, .purpose = "txagentd"};
    int rc = security_open(&run->security, &security, e);

    if (rc == TX_OK)
        rc = named_load(&run->named, conf.statements, e);
    o->security = &run->security;
    o->named = &run->named;
    return rc;
}

static void run_begin(struct run *run, uv_loop_t *loop)
{
    harden_warn("txagentd");
    notify("STATUS=Waits for a coordinator");
    connections_watch(loop);
    uv_signal_init(loop, &run->term);
    uv_signal_init(loop, &run->interrupt);
    run->term.data = run;
    run->interrupt.data = run;
    uv_signal_start(&run->term, run_signal, SIGTERM);
    uv_signal_start(&run->interrupt, run_signal, SIGINT);
    run->watching = true;
}

static int run_agent(struct tx_error *e)
{
    static struct run run; /* too large for the stack */
    char name[NAME_LIMIT + 1];
    struct agent_options options = {0};
    uv_loop_t loop;
    int rc = run_options(&options, name, e);

    if (rc == TX_OK)
        rc = harden(harden_has_low_port(options.listen), e);
    if (rc == TX_OK)
        rc = connections_limit(conf.max_connections, e);
    if (rc == TX_OK)
        rc = run_load(&run, &options, e);
    if (rc != TX_OK)
        return rc;
    uv_loop_init(&loop);
    rc = agent_open(&run.agent, &loop, &options, e);
    if (rc == TX_OK)
        run_begin(&run, &loop);
    else
        agent_stop(&run.agent, run_stopped, &run);
    uv_run(&loop, UV_RUN_DEFAULT);
    agent_release(&run.agent);
    uv_loop_close(&loop);
    named_release(&run.named);
    security_release(&run.security);
    if (rc == TX_OK)
        log_line(LOG_INFO, "stopped", "agent=%s", options.name);
    return rc;
}

int main(int argc, char **argv)
{
    struct tx_error e = {0};
    int rc;

    log_init("txagentd", LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    rc = conf_load(keys, "txagentd", "finishes transactions' branches in the resources it serves",
                   "/etc/assent/txagentd.conf", argc, argv, &e);
    if (rc == TX_OK)
        rc = run_agent(&e);
    if (rc != TX_OK)
        fprintf(stderr, "txagentd: %s\n", e.msg);
    for (size_t i = 0; i < resources.n; i++)
        resource_release(&resources.list[i]);
    conf_release(keys);
    return rc == TX_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
