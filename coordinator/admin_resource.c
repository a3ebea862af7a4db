/* admin_resource: the verbs on resources: the list, and the registry: add, alter, remove, test. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coordinator/admin_task.h"

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
    admin_add_number(o, "agents", r->agents);
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

/* A keyword and its «=», with or without blanks between, as libpq and its like read them; also as the end of a
 * longer keyword (sslpassword). */
static bool has_keyword(const char *settings, const char *keyword)
{
    for (const char *p = settings; (p = strcasestr(p, keyword)) != NULL; p++) {
        const char *behind = p + strlen(keyword);

        behind += strspn(behind, " \t\n");
        if (*behind == '=')
            return true;
    }
    return false;
}

/* scheme://user:secret@host */
static bool has_login(const char *settings)
{
    const char *begin = strstr(settings, "://"), *at, *colon;

    if (begin == NULL)
        return false;
    begin += 3;
    at = memchr(begin, '@', strcspn(begin, "/? "));
    colon = strchr(begin, ':');
    return at != NULL && colon != NULL && colon < at;
}

static int check_settings(const char *settings, struct tx_error *e)
{
    static const char *const secrets[] = {"password", "passwd", "pwd", "secret", "token", NULL};
    bool secret = has_login(settings);

    for (const char *const *s = secrets; *s != NULL; s++)
        secret = secret || has_keyword(settings, *s);
    if (secret)
        return err_set(
            e, TX_EREFUSED,
            "the settings have a secret in them, and the registry is no place for it: name a file at the "
            "agent (passfile=…), or give the agent's process PGPASSFILE or a ~/.pgpass");
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
    if (rc == TX_OK && cJSON_AddStringToObject(t->answer, "settings", d->settings) == NULL)
        rc = err_set(e, TX_ENOMEM, "no memory for the answer");
    return rc;
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
    if (rc == TX_OK)
        rc = driver_add_resource(t->with->driver, t->now, t->wall, &d, on_declared, t, e);
    return admin_act_begin(t, rc, e);
}

/* alter_resource: {name, settings} -> the same */

int admin_alter_resource(struct admin_task *t, struct tx_error *e)
{
    struct driver_declaration d = {0};
    int rc = declare(t, "alter_resource", &d, e);

    if (rc == TX_OK)
        rc = driver_alter_resource(t->with->driver, t->now, t->wall, &d, on_declared, t, e);
    if (rc == TX_OK)
        warn_local(t, d.name);
    return admin_act_begin(t, rc, e);
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
    return admin_act_begin(t, driver_remove_resource(t->with->driver, t->now, t->wall, name, on_removed, t, e),
                           e);
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
        return err_set(e, TX_ENOTFOUND, "%s %s: start txagentd with --serve %s%s",
                       ledger_resource(driver_ledger(t->with->driver), w.name) != NULL
                           ? "no living agent serves resource"
                           : "nobody declared or serves resource",
                       w.name, w.name,
                       ledger_resource(driver_ledger(t->with->driver), w.name) != NULL
                           ? ""
                           : ", after txadmin resource add");
    t->finish = test_finish;
    return w.rc;
}
