/* admin_resource: the verbs on resources: the list, and the registry: add, alter, remove, test. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"
#include "libtx/shared/secret.h"

/* resources: {limit, after} -> resources, a page */

/* Those behind `after`, as they come; the ledger has them in the order of registration. */
struct resource_items {
    const char *after;
    uint64_t wall;
    cJSON **items; /* owned */
    size_t n, cap;
    bool failed;
};

static void add_definition(cJSON *o, const struct driver_resource *r, uint64_t wall)
{
    cJSON_AddBoolToObject(o, "listed", r->listed);
    cJSON_AddBoolToObject(o, "declared", r->declared);
    admin_add_text(o, "settings", r->declared ? r->settings : NULL);
    cJSON_AddBoolToObject(o, "by_registry", r->by_registry);
    if (r->listed)
        admin_add_number(o, "added_ms", wall > r->added_ms ? wall - r->added_ms : 0);
    if (r->altered_ms != 0)
        admin_add_number(o, "altered_ms", wall > r->altered_ms ? wall - r->altered_ms : 0);
}

static cJSON *resource_json(const struct driver_resource *r, uint64_t wall)
{
    cJSON *o = cJSON_CreateObject();

    admin_add_text(o, "resource", r->name);
    admin_add_text(o, "kind", r->kind);
    add_definition(o, r, wall);
    admin_add_text(o, "agent", r->agent);
    admin_add_text(o, "address", r->address);
    cJSON_AddBoolToObject(o, "alive", r->alive);
    cJSON_AddBoolToObject(o, "up", r->up);
    admin_add_text(o, "error", r->error);
    admin_add_number(o, "in_doubt", r->in_doubt);
    admin_add_number(o, "oldest_ms", r->oldest_ms);
    admin_add_recovery(o, &(struct admin_recovery){r->found, r->resolved, r->rate});
    admin_add_number(o, "heard_ms", r->heard_ms);
    admin_add_number(o, "unfinished", r->unfinished);
    return o;
}

static bool add_resource(void *arg, const struct driver_resource *r)
{
    struct resource_items *all = arg;
    cJSON **more;

    if (all->after != NULL && strcmp(r->name, all->after) <= 0)
        return true;
    if (all->n == all->cap) {
        more = realloc(all->items, (all->cap * 2 + 64) * sizeof *more);
        all->failed = more == NULL;
        if (all->failed)
            return false;
        all->items = more;
        all->cap = all->cap * 2 + 64;
    }
    all->items[all->n++] = resource_json(r, all->wall);
    return true;
}

static const char *resource_name(const cJSON *item)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "resource"));

    return name == NULL ? "" : name;
}

static int compare_resources(const void *a, const void *b)
{
    return strcmp(resource_name(*(cJSON *const *)a), resource_name(*(cJSON *const *)b));
}

int admin_resources(struct admin_task *t, struct tx_error *e)
{
    struct resource_items all = {
        .wall = t->wall, .after = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "after"))};
    struct admin_list list;
    char key[NAME_LIMIT + 1];

    driver_each_resource(t->with->driver, t->now, add_resource, &all);
    if (all.n > 0)
        qsort(all.items, all.n, sizeof *all.items, compare_resources);
    admin_list_init(&list, t);
    for (size_t i = 0; i < all.n; i++) {
        snprintf(key, sizeof key, "%s", resource_name(all.items[i]));
        (void)admin_list_add(&list, all.items[i], key);
    }
    free(all.items);
    if (admin_list_end(&list, t->answer, "resources", e) != TX_OK || all.failed)
        return err_set(e, TX_ENOMEM, "no memory for the answer");
    return TX_OK;
}

/* What an operator declares */

static int check_name(const char *name, const char *what, struct tx_error *e)
{
    return wire_name_valid(name) ? TX_OK
                                 : err_set(e, TX_EINVAL, "«%.80s» is no %s; 1 to %d of a-z A-Z 0-9 _ . -", name,
                                           what, NAME_LIMIT);
}

static int check_settings(const char *settings, struct tx_error *e)
{
    if (secret_within(settings))
        return err_set(
            e, TX_EREFUSED,
            "the settings have a secret in them, and the registry is no place for it: name a file at the "
            "agent (passfile=…), or give the secret to the agent's process (txagentd(8), RESOURCES)");
    for (const char *p = settings; *p != '\0'; p++) {
        if (iscntrl((unsigned char)*p))
            return err_set(e, TX_EINVAL, "the settings are one line without control characters");
    }
    if (strlen(settings) > SETTINGS_LIMIT)
        return err_set(e, TX_ETOOBIG, "the settings have %zu bytes; up to %d are possible", strlen(settings),
                       SETTINGS_LIMIT);
    return TX_OK;
}

/* What it asked for stands, or another operator was faster. */
static void on_declared(void *arg, int rc, enum verdict stands)
{
    struct admin_task *t = arg;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->answer, "resource"));
    const char *settings = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->answer, "settings"));
    const struct ledger_resource *r = ledger_resource(driver_ledger(t->with->driver), name);

    (void)stands;
    if (rc == TX_OK && (r == NULL || strcmp(r->settings, settings) != 0))
        err_set(&t->error, TX_EREFUSED, "somebody else changed it meanwhile; see txadmin resource list");
    else if (r != NULL)
        admin_add_text(t->answer, "kind", r->kind);
    admin_act_end(t, rc);
}

/* An agent's own configuration counts, also against the registry; the operator should know. */
static void warn_local(struct admin_task *t, const char *name)
{
    const char *agent = driver_local_agent(t->with->driver, t->now, name);
    char text[TEXT_LIMIT + 1];

    if (agent == NULL)
        return;
    snprintf(
        text, sizeof text,
        "agent %s serves it by its own configuration, which counts until the agent is started with --serve %s "
        "in the place of --resource.%s",
        agent, name, name);
    cJSON_AddStringToObject(t->answer, "note", text);
}

static int declare(struct admin_task *t, const char *verb, struct driver_declaration *d, struct tx_error *e)
{
    const cJSON *settings = cJSON_GetObjectItemCaseSensitive(t->question, "settings");
    int rc = admin_task_string(t, "name", &d->name, e);

    d->settings = cJSON_IsString(settings) ? settings->valuestring : "";
    if (rc == TX_OK)
        rc = check_name(d->name, "name for a resource", e);
    if (rc == TX_OK)
        rc = admin_act_note(t, verb, "resource", d->name, e);
    if (rc != TX_OK)
        return rc;
    rc = check_settings(d->settings, e);
    if (rc != TX_OK)
        return rc;
    if (d->kind != NULL)
        admin_act_tell(t, "kind", d->kind);
    admin_act_tell(t, "settings", d->settings);
    return cJSON_AddStringToObject(t->answer, "settings", d->settings) != NULL
               ? TX_OK
               : err_set(e, TX_ENOMEM, "no memory for the answer");
}

static bool is_service(const char *kind)
{
    return strcmp(kind, KIND_SERVICE) == 0;
}

/* The kinds of what is up, with commas. */
struct kind_list {
    const char *wanted;
    bool known;
    char text[TEXT_LIMIT / 2];
};

static bool add_kind(void *arg, const struct driver_resource *r)
{
    struct kind_list *l = arg;
    size_t n = strlen(l->text);

    if (!r->alive || !r->up || r->kind == NULL)
        return true;
    l->known = l->known || strcmp(r->kind, l->wanted) == 0;
    if (strstr(l->text, r->kind) == NULL && n + strlen(r->kind) + 3 < sizeof l->text)
        snprintf(l->text + n, sizeof l->text - n, "%s%s", n == 0 ? "" : ", ", r->kind);
    return true;
}

/* Only agents know which kinds there are; one that nothing here has may be mistyped. */
static void warn_kind(struct admin_task *t, const char *kind)
{
    struct kind_list l = {.wanted = kind};
    char text[TEXT_LIMIT + 1];

    driver_each_resource(t->with->driver, t->now, add_kind, &l);
    if (l.known || is_service(kind))
        return;
    snprintf(
        text, sizeof text,
        "no agent here serves anything of kind «%s» (kinds that are served: %s); one that does not know it "
        "says so in txadmin resource list",
        kind, *l.text == '\0' ? "none" : l.text);
    cJSON_AddStringToObject(t->answer, "note", text);
}

/* add_resource: {name, kind, settings} -> resource, settings, kind, maybe a note */

int admin_add_resource(struct admin_task *t, struct tx_error *e)
{
    struct driver_declaration d = {0};
    int rc = admin_task_string(t, "kind", &d.kind, e);

    if (rc == TX_OK)
        rc = check_name(d.kind, "kind of resources", e);
    if (rc == TX_OK)
        rc = declare(t, "add_resource", &d, e);
    if (rc == TX_OK && is_service(d.kind) && *d.settings != '\0')
        rc = err_set(e, TX_EINVAL, "a service serves itself, and has no settings");
    if (rc == TX_OK)
        rc = driver_add_resource(t->with->driver, t->now, t->wall, &d, on_declared, t, e);
    if (rc == TX_OK)
        warn_kind(t, d.kind);
    return admin_act_begin(t, rc);
}

/* alter_resource: {name, settings} -> the same */

int admin_alter_resource(struct admin_task *t, struct tx_error *e)
{
    struct driver_declaration d = {0};
    int rc = declare(t, "alter_resource", &d, e);
    const struct ledger_resource *r =
        rc == TX_OK ? ledger_resource(driver_ledger(t->with->driver), d.name) : NULL;

    if (r != NULL && is_service(r->kind))
        rc = err_set(e, TX_EREFUSED, "%s is a service: it serves itself, and has no settings", d.name);
    if (rc == TX_OK)
        rc = driver_alter_resource(t->with->driver, t->now, t->wall, &d, on_declared, t, e);
    if (rc == TX_OK)
        warn_local(t, d.name);
    return admin_act_begin(t, rc);
}

/* remove_resource: {name} -> resource */

static void on_removed(void *arg, int rc, enum verdict stands)
{
    (void)stands;
    admin_act_end(arg, rc);
}

int admin_remove_resource(struct admin_task *t, struct tx_error *e)
{
    const char *name;
    int rc = admin_task_string(t, "name", &name, e);

    if (rc == TX_OK)
        rc = check_name(name, "name for a resource", e);
    if (rc == TX_OK)
        rc = admin_act_note(t, "remove_resource", "resource", name, e);
    if (rc != TX_OK)
        return rc;
    return admin_act_begin(t, driver_remove_resource(t->with->driver, t->now, t->wall, name, on_removed, t, e));
}

/* test_resource: {name} -> resource, agents [{agent, tested: {checks: [{check, ok, text, remedy}]} or
 * unanswered}], failed: how many checks, or agents without an answer */

enum { TEST_MS = 9000 /* an agent's test takes less */ };

struct test_walk {
    struct admin_task *task;
    const char *name;
    cJSON *agents;
    struct tx_error *error;
    int rc;
};

static void test_agent(void *arg, const char *agent)
{
    struct test_walk *w = arg;
    struct admin_inquiry q = {.resource = w->name, .name = "tested", .agent = agent, .timeout_ms = TEST_MS};

    if (w->rc != TX_OK)
        return;
    q.into = cJSON_CreateObject();
    cJSON_AddItemToArray(w->agents, q.into);
    cJSON_AddStringToObject(q.into, "agent", agent);
    q.question = cJSON_CreateObject();
    cJSON_AddStringToObject(q.question, "test", w->name);
    w->rc = admin_inquire(w->task, &q, w->error);
}

static void test_finish(struct admin_task *t)
{
    const cJSON *agent, *check;
    uint64_t failed = 0;

    cJSON_ArrayForEach(agent, cJSON_GetObjectItemCaseSensitive(t->answer, "agents"))
    {
        const cJSON *tested = cJSON_GetObjectItemCaseSensitive(agent, "tested");
        const cJSON *checks = cJSON_GetObjectItemCaseSensitive(tested, "checks");

        failed += cJSON_GetArraySize(checks) == 0;
        cJSON_ArrayForEach(check, checks)
        {
            failed += !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(check, "ok"));
        }
    }
    admin_add_number(t->answer, "failed", failed);
}

static int test_nobody(const struct admin_task *t, const char *name, struct tx_error *e)
{
    const struct ledger_resource *r = ledger_resource(driver_ledger(t->with->driver), name);

    if (r == NULL)
        return err_set(e, TX_ENOTFOUND,
                       "nobody declared or serves resource %s: txadmin resource add, and start txagentd with "
                       "--serve %s",
                       name, name);
    return err_set(e, TX_ENOTFOUND, "no living agent serves resource %s: start %s", name,
                   driver_server_of(r->kind));
}

int admin_test_resource(struct admin_task *t, struct tx_error *e)
{
    struct test_walk w = {.task = t, .error = e};
    int rc = admin_task_string(t, "name", &w.name, e);

    if (rc == TX_OK)
        rc = check_name(w.name, "name for a resource", e);
    if (rc != TX_OK)
        return rc;
    cJSON_AddStringToObject(t->answer, "resource", w.name);
    w.agents = cJSON_AddArrayToObject(t->answer, "agents");
    driver_each_agent(t->with->driver, t->now, w.name, test_agent, &w);
    if (w.rc == TX_OK && cJSON_GetArraySize(w.agents) == 0)
        return test_nobody(t, w.name, e);
    t->finish = test_finish;
    return w.rc;
}
