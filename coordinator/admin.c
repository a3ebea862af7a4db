/* admin: see admin.h. This file takes questions, finds their verb, and sends answers; the verbs are in
 * admin_*.c. */
#include "coordinator/admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"

enum { ADMIN_TASK_LIMIT = 64 /* questions being answered at once */ };

struct admin {
    struct admin_options with;
    struct admin_task *tasks;
    size_t n_tasks;
    struct admin_backup backup;
};

enum { READING = ROLE_OPERATOR | ROLE_OBSERVER, ACTING = ROLE_OPERATOR };

static const struct admin_verb verbs[] = {
    {"status", admin_status, false, READING, "see the status", NULL},
    {"transactions", admin_transactions, true, READING, "list transactions", NULL},
    {"show", admin_show, true, READING, "see a transaction", NULL},
    {"resources", admin_resources, true, READING, "list resources", NULL},
    {"add_resource", admin_add_resource, true, ACTING, "add a resource", "name"},
    {"alter_resource", admin_alter_resource, true, ACTING, "alter a resource", "name"},
    {"remove_resource", admin_remove_resource, true, ACTING, "remove a resource", "name"},
    {"test_resource", admin_test_resource, true, ACTING, "have a resource tested", "name"},
    {"sessions", admin_sessions, true, READING, "list sessions", NULL},
    {"resolve", admin_resolve, true, ACTING, "resolve a transaction", "id"},
    {"forget", admin_forget, true, ACTING, "forget a heuristic outcome", "id"},
    {"doctor", admin_doctor, false, READING, "ask the doctor", NULL},
    {"backup", admin_backup, false, ACTING, "make a backup", NULL},
    {"nodes", admin_nodes, false, READING, "list nodes", NULL},
    {"node_init", admin_node_init, false, ACTING, "begin a group", NULL},
    {"node_add", admin_node_add, true, ACTING, "add a node", "node"},
    {"node_remove", admin_node_remove, true, ACTING, "remove a node", "node"},
    {"node_transfer", admin_node_transfer, true, ACTING, "hand over the lead", "node"},
    {"keys", admin_keys, true, READING, "list keys", NULL},
    {"key_add", admin_key_add, true, ACTING, "add a key", "name"},
    {"key_revoke", admin_key_revoke, true, ACTING, "revoke a key", "key"},
};

int admin_new(struct admin **out, const struct admin_options *options, struct tx_error *e)
{
    struct admin *a = calloc(1, sizeof *a);

    if (a == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    a->with = *options;
    buf_init(&a->backup.file);
    *out = a;
    return TX_OK;
}

/* Answers */

static void reply_error(struct admin *a, const struct reply_to *to, int code, const char *text,
                        const char *leader)
{
    struct wire_message m = {.type = WIRE_ERROR, .error = {.code = code, .text = text, .leader = leader}};

    a->with.reply(a->with.ctx, to, &m);
}

static void task_answer(struct admin_task *t)
{
    struct wire_message m = {.type = WIRE_ADMIN_REPLY};
    char *text;

    if (t->error.code != TX_OK) {
        cJSON_ReplaceItemInObjectCaseSensitive(t->answer, "ok", cJSON_CreateFalse());
        cJSON_AddNumberToObject(t->answer, "code", t->error.code);
        cJSON_AddStringToObject(t->answer, "error", t->error.msg);
    }
    text = cJSON_PrintUnformatted(t->answer);
    if (text == NULL) {
        reply_error(t->admin, &t->from, TX_ENOMEM, "no memory for the answer", NULL);
        return;
    }
    m.admin.json = text;
    t->with->reply(t->with->ctx, &t->from, &m);
    cJSON_free(text);
}

/* Tasks */

/* What is needed when the agent's answer comes. Belongs to the task. */
struct admin_awaited {
    struct admin_awaited *next;
    struct admin_task *task;
    cJSON *into;
    char name[NAME_LIMIT + 1];
};

static struct admin_awaited *awaited_new(struct admin_task *t, const struct admin_inquiry *q)
{
    struct admin_awaited *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->task = t;
    w->into = q->into;
    strncpy(w->name, q->name, NAME_LIMIT);
    w->next = t->awaited;
    t->awaited = w;
    return w;
}

static void awaited_free(struct admin_awaited *w)
{
    struct admin_awaited *next;

    for (; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
}

static struct admin_task *task_new(struct admin *a, const struct reply_to *from)
{
    struct admin_task *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->answer = cJSON_CreateObject();
    cJSON_AddTrueToObject(t->answer, "ok");
    t->admin = a;
    t->with = &a->with;
    t->from = *from;
    t->holds = 1;
    t->next = a->tasks;
    if (t->next != NULL)
        t->next->prev = t;
    a->tasks = t;
    a->n_tasks++;
    return t;
}

static void task_free(struct admin_task *t)
{
    struct admin *a = t->admin;

    if (t->next != NULL)
        t->next->prev = t->prev;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        a->tasks = t->next;
    a->n_tasks--;
    awaited_free(t->awaited);
    cJSON_Delete(t->answer);
    cJSON_Delete(t->noted);
    free(t);
}

void admin_task_hold(struct admin_task *t)
{
    t->holds++;
}

static bool is_act(const struct admin_verb *verb)
{
    return (verb->roles & ROLE_OBSERVER) == 0;
}

static enum audit_outcome outcome_of(int code)
{
    return code == TX_OK ? AUDIT_OK : code == TX_EUNKNOWN ? AUDIT_UNKNOWN : AUDIT_REFUSED;
}

void admin_task_release(struct admin_task *t)
{
    if (--t->holds > 0)
        return;
    if (t->finish != NULL)
        t->finish(t);
    if (is_act(t->verb) && (!t->quiet || t->error.code != TX_OK))
        admin_act_audit(t, outcome_of(t->error.code));
    task_answer(t);
    task_free(t);
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    while (a->tasks != NULL)
        task_free(a->tasks);
    buf_release(&a->backup.file);
    free(a);
}

/* Questions */

static int run_unknown(struct admin_task *t, struct tx_error *e)
{
    (void)t;
    return err_set(e, TX_EINVAL, "not a question with a verb that this coordinator knows");
}

/* Never NULL. */
static const struct admin_verb *verb_find(const cJSON *question)
{
    static const struct admin_verb unknown = {"unknown", run_unknown, false, READING, "ask anything", NULL};
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(question, "verb"));

    for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return &unknown;
}

/* The leader is named, or what is in its way. */
static void reply_not_leader(struct admin *a, const struct reply_to *to)
{
    const char *leader = driver_leader(a->with.driver);
    const char *remedy, *outside = admin_outside(a->with.replog, &remedy);
    struct replog_status log;
    char why[TEXT_LIMIT + 1], text[sizeof why + 64];

    if (outside != NULL) {
        snprintf(text, sizeof text, "%s: %s", outside, remedy);
        reply_error(a, to, TX_EREFUSED, text, NULL);
        return;
    }
    if (*leader != '\0') {
        reply_error(a, to, TX_ENOTLEADER, "this coordinator does not lead its group", leader);
        return;
    }
    replog_status(a->with.replog, &log);
    group_describe(a->with.group, why, sizeof why);
    snprintf(text, sizeof text, "node %" PRIu64 " has no leader: %s", log.node_id, why);
    reply_error(a, to, TX_ENOTLEADER, text, NULL);
}

static void task_run(struct admin_task *t)
{
    int rc = t->verb->run(t, &t->error);

    if (rc != TX_OK)
        t->error.code = rc;
    /* What is not over yet ends with a line of its own. */
    if (is_act(t->verb) && t->holds > 1)
        admin_act_audit(t, AUDIT_BEGUN);
    t->question = NULL;
    admin_task_release(t);
}

/* Who may not, and whom only the leader can answer, is sent away at once. */
static void task_begin(struct admin_task *t, const struct caller *caller)
{
    struct admin *a = t->admin;
    int rc = access_check_verb(caller, t->verb->act, t->verb->roles, &t->error);

    if (rc != TX_OK) {
        admin_act_audit(t, AUDIT_DENIED);
        reply_error(a, &t->from, rc, t->error.msg, NULL);
        task_free(t);
    } else if (t->verb->by_leader && !driver_leading(a->with.driver)) {
        reply_not_leader(a, &t->from);
        task_free(t);
    } else {
        task_run(t);
    }
}

static void note_asker(struct admin_asker *asker, const struct caller *caller)
{
    asker->known = caller->key != NULL;
    if (!asker->known)
        return;
    memcpy(asker->key, caller->key, KEY_SIZE);
    snprintf(asker->name, sizeof asker->name, "%s", caller->name);
}

/* A name, or a node's number. */
static void note_subject(struct admin_task *t)
{
    const cJSON *subject =
        t->verb->subject != NULL ? cJSON_GetObjectItemCaseSensitive(t->question, t->verb->subject) : NULL;
    char number[32];

    t->noted = cJSON_CreateObject();
    snprintf(number, sizeof number, "%.0f", cJSON_GetNumberValue(subject));
    if (cJSON_IsString(subject))
        admin_act_tell(t, "what", subject->valuestring);
    else if (cJSON_IsNumber(subject))
        admin_act_tell(t, "what", number);
}

void admin_request(struct admin *a, uint64_t now, uint64_t wall, const struct caller *caller,
                   const struct reply_to *from, const struct wire_admin *m)
{
    cJSON *question = NULL;
    struct admin_task *t;

    if (a->n_tasks >= ADMIN_TASK_LIMIT) {
        reply_error(a, from, TX_EBUSY, "too many operator's questions at once", NULL);
        return;
    }
    t = task_new(a, from);
    if (t == NULL) {
        reply_error(a, from, TX_ENOMEM, "out of memory", NULL);
        return;
    }
    question = cJSON_Parse(m->json);
    t->question = question;
    t->verb = verb_find(question);
    t->now = now;
    t->wall = wall;
    note_asker(&t->asker, caller);
    note_subject(t);
    task_begin(t, caller);
    cJSON_Delete(question);
}

struct admin_backup *admin_task_backup(const struct admin_task *t)
{
    return &t->admin->backup;
}

int admin_task_string(const struct admin_task *t, const char *name, const char **out, struct tx_error *e)
{
    *out = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, name));
    return *out != NULL ? TX_OK : err_set(e, TX_EINVAL, "the question lacks «%s»", name);
}

uint64_t admin_task_number(const struct admin_task *t, const char *name, uint64_t missing)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(t->question, name);

    return cJSON_IsNumber(item) && item->valuedouble >= 0 ? (uint64_t)item->valuedouble : missing;
}

int admin_task_id(const struct admin_task *t, struct txid *id, struct tx_error *e)
{
    const char *text;
    int rc = admin_task_string(t, "id", &text, e);

    if (rc != TX_OK)
        return rc;
    return txid_parse(text, id) ? TX_OK : err_set(e, TX_EINVAL, "«%s» is not a transaction's id", text);
}

/* Building answers */

void admin_add_text(cJSON *object, const char *name, const char *text)
{
    if (text != NULL)
        cJSON_AddStringToObject(object, name, text);
    else
        cJSON_AddNullToObject(object, name);
}

/* Exact up to 2^53, as every number in JSON. */
void admin_add_number(cJSON *object, const char *name, uint64_t v)
{
    cJSON_AddNumberToObject(object, name, (double)v);
}

void admin_list_init(struct admin_list *list, const struct admin_task *t)
{
    memset(list, 0, sizeof *list);
    buf_init(&list->text);
    list->limit = admin_task_number(t, "limit", UINT64_MAX);
    list->first = cJSON_GetObjectItemCaseSensitive(t->question, "after") == NULL;
}

bool admin_list_full(const struct admin_list *list)
{
    /* What comes after the first that was left out is left out, too. */
    return list->taken < list->total || list->taken == list->limit;
}

bool admin_list_add(struct admin_list *list, cJSON *item, const char *key)
{
    char *text = admin_list_full(list) ? NULL : cJSON_PrintUnformatted(item);
    size_t len = text == NULL ? 0 : strlen(text);

    cJSON_Delete(item);
    list->total++;
    if (text != NULL && list->text.len + len < ADMIN_LIST_BYTES) {
        buf_put_u8(&list->text, list->taken == 0 ? '[' : ',');
        buf_put_bytes(&list->text, text, len);
        snprintf(list->next, sizeof list->next, "%s", key);
        list->taken++;
    }
    cJSON_free(text);
    return list->first || list->taken == list->total;
}

int admin_list_end(struct admin_list *list, cJSON *answer, const char *name, struct tx_error *e)
{
    bool failed;

    buf_put_bytes(&list->text, list->taken == 0 ? "[]" : "]", list->taken == 0 ? 3 : 2);
    failed = list->text.failed || cJSON_AddRawToObject(answer, name, (char *)list->text.data) == NULL;
    if (list->first)
        admin_add_number(answer, "total", list->total);
    cJSON_AddBoolToObject(answer, "truncated", list->taken < list->total);
    if (list->taken > 0 && list->taken < list->total)
        cJSON_AddStringToObject(answer, "next", list->next);
    buf_release(&list->text);
    return failed ? err_set(e, TX_ENOMEM, "no memory for the answer") : TX_OK;
}

/* Asking agents */

/* The agent's answer, where it is one and all of them together still fit into ours; else NULL and the problem.
 */
static cJSON *agent_answer(struct admin_task *t, const char *json, char *problem, size_t size)
{
    cJSON *answer = NULL;
    const char *error;

    if (json == NULL) {
        snprintf(problem, size, "the agent did not answer in time");
        return NULL;
    }
    t->inquired_bytes += strlen(json);
    if (t->inquired_bytes > ADMIN_LIST_BYTES) {
        snprintf(problem, size, "the agent's answer is too long");
        return NULL;
    }
    answer = cJSON_Parse(json);
    error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "error"));
    if (cJSON_IsObject(answer) && error == NULL)
        return answer;
    snprintf(problem, size, "%s", error != NULL ? error : "the agent's answer is malformed");
    cJSON_Delete(answer);
    return NULL;
}

static void on_answer(void *arg, const char *json)
{
    struct admin_awaited *w = arg;
    char problem[TEXT_LIMIT + 1];
    cJSON *answer = agent_answer(w->task, json, problem, sizeof problem);

    if (answer != NULL)
        cJSON_AddItemToObject(w->into, w->name, answer);
    else
        cJSON_AddStringToObject(w->into, "unanswered", problem);
    admin_task_release(w->task);
}

int admin_inquire(struct admin_task *t, const struct admin_inquiry *q, struct tx_error *e)
{
    struct admin_awaited *w = awaited_new(t, q);
    char *text = cJSON_PrintUnformatted(q->question);
    struct tx_error why;
    int rc;

    cJSON_Delete(q->question);
    if (w == NULL || text == NULL || q->resource == NULL) {
        cJSON_free(text);
        return err_set(e, TX_ENOMEM, "no memory for an inquiry");
    }
    rc = driver_inquire(t->with->driver, t->now,
                        &(struct driver_inquiry){q->resource, text, q->agent, q->timeout_ms}, on_answer, w,
                        &why);
    cJSON_free(text);
    if (rc == TX_OK)
        admin_task_hold(t);
    else
        cJSON_AddStringToObject(q->into, "unanswered",
                                rc == TX_ENOTFOUND ? "no living agent serves the resource" : why.msg);
    return TX_OK;
}
