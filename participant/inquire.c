/* inquire: see inquire.h. Called by agent.c. */
#include "participant/inquire.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "participant/agent.h"

enum { INQUIRIES_LIMIT = 64 };

struct inquiry {
    struct inquiry *prev, *next; /* agent.inquiries */
    struct agent *agent;
    struct txid id; /* id.sequence numbers the inquiry */
    char resource[NAME_LIMIT + 1];
    bool diagnose;
};

static void inquire_answer(struct agent *a, const struct txid *id, const char *resource, const char *json)
{
    struct wire_report report = {.kind = REPORT_ANSWER, .id = *id, .resource = resource, .text = json};

    agent_report(a, &report);
}

/* The resource's JSON (consumed; may be NULL) with its name, or the error. */
static void inquire_tell(struct agent *a, const struct txid *id, const char *resource, cJSON *o,
                         const char *error)
{
    char *json;

    if (o == NULL)
        o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "resource", resource);
    if (error != NULL)
        cJSON_AddStringToObject(o, "error", error);
    json = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (json != NULL && strlen(json) <= MESSAGE_LIMIT / 2)
        inquire_answer(a, id, resource, json);
    else
        inquire_answer(a, id, resource, "{\"error\":\"the answer is too long for a message\"}");
    free(json);
}

/* What the scan knows and the resource cannot: which names are no branches'. */
static void inquire_add_strange(struct agent *a, const char *name, cJSON *o)
{
    const struct resource *r = agent_resource(a, name);
    cJSON *findings = cJSON_GetObjectItem(o, "findings"), *f;
    char text[sizeof r->scan.strange.text + 96], remedy[192];

    if (r == NULL || r->scan.strange.n == 0 || !cJSON_IsArray(findings))
        return;
    snprintf(text, sizeof text, "named as this group's, but no transaction's branch: %" PRIu32 ": %s",
             r->scan.strange.n, r->scan.strange.text);
    f = cJSON_CreateObject();
    cJSON_AddStringToObject(f, "level", "warning");
    cJSON_AddStringToObject(f, "check", "strange names");
    cJSON_AddStringToObject(f, "text", text);
    snprintf(
        remedy, sizeof remedy,
        "neither libtx nor an agent prepared it, and none of them finishes it: find out who did, and finish "
        "it by hand; see %s",
        r->ops->by_hand);
    cJSON_AddStringToObject(f, "remedy", remedy);
    cJSON_AddItemToArray(findings, f);
}

static void inquire_done(void *arg, const char *json, const char *error)
{
    struct inquiry *q = arg;
    cJSON *o = json == NULL ? NULL : cJSON_Parse(json);

    DL_DELETE(q->agent->inquiries, q);
    if (q->diagnose)
        inquire_add_strange(q->agent, q->resource, o);
    inquire_tell(q->agent, &q->id, q->resource, o, o == NULL ? error : NULL);
    free(q);
}

/* The coordinator asks again while it has no answer. */
static bool inquiry_known(const struct agent *a, const struct txid *id)
{
    const struct inquiry *q;

    DL_FOREACH(a->inquiries, q)
    {
        if (q->id.sequence == id->sequence)
            return true;
    }
    return false;
}

static struct inquiry *inquiry_new(struct agent *a, const struct txid *id, const struct resource *r)
{
    struct inquiry *q;
    size_t n;

    DL_COUNT(a->inquiries, q, n);
    q = n < INQUIRIES_LIMIT ? calloc(1, sizeof *q) : NULL;

    if (q == NULL) {
        inquire_tell(a, id, r->name, NULL, "the agent is busy; ask again");
        return NULL;
    }
    q->agent = a;
    q->id = *id;
    snprintf(q->resource, sizeof q->resource, "%s", r->name);
    DL_APPEND(a->inquiries, q);
    return q;
}

static void inquire_branch(struct agent *a, const struct txid *id, struct resource *r, const cJSON *question)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(question, "inspect"));
    const cJSON *number = cJSON_GetObjectItem(question, "branch");
    char gid[GID_SIZE];
    struct txid branch;
    struct inquiry *q;

    if (!txid_parse(text, &branch) || !cJSON_IsNumber(number) || number->valueint < 1 ||
        number->valueint > UINT16_MAX) {
        inquire_tell(a, id, r->name, NULL, "not a transaction and branch number");
        return;
    }
    q = inquiry_new(a, id, r);
    if (q == NULL)
        return;
    gid_format(&branch, (unsigned)number->valueint, gid);
    r->ops->inspect(r->rm, gid, inquire_done, q);
}

static void inquire_resource(struct agent *a, const struct txid *id, struct resource *r)
{
    char prefix[GID_SIZE];
    struct inquiry *q = inquiry_new(a, id, r);

    if (q == NULL)
        return;
    q->diagnose = true;
    snprintf(prefix, sizeof prefix, GID_PREFIX "%016" PRIx64 "-", a->group);
    r->ops->diagnose(r->rm, prefix, inquire_done, q);
}

/* Of a resource that is not open there is only one thing to tell. */
static void inquire_unopened(struct agent *a, const struct txid *id, const struct resource *r)
{
    cJSON *o = cJSON_CreateObject(), *check = cJSON_CreateObject();

    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "checks"), check);
    cJSON_AddStringToObject(check, "check", "definition");
    cJSON_AddFalseToObject(check, "ok");
    cJSON_AddStringToObject(check, "text", r->problem);
    cJSON_AddStringToObject(check, "remedy",
                            "txadmin resource add, or alter; for another kind remove it and add it anew");
    inquire_tell(a, id, r->name, o, NULL);
}

static void inquire_test(struct agent *a, const struct txid *id, struct resource *r)
{
    struct txid trial = {.group = a->group, .session = 1, .sequence = TXID_TRIAL};
    char gid[GID_SIZE];
    struct inquiry *q;

    if (r->rm == NULL) {
        inquire_unopened(a, id, r);
    } else if (r->ops->test == NULL) {
        inquire_tell(a, id, r->name, NULL, "this kind has no test");
    } else if (getrandom(&trial.nonce, sizeof trial.nonce, 0) != (ssize_t)sizeof trial.nonce) {
        inquire_tell(a, id, r->name, NULL, "no random number for a branch's name");
    } else if ((q = inquiry_new(a, id, r)) != NULL) {
        gid_format(&trial, 1, gid);
        r->ops->test(r->rm, gid, inquire_done, q);
    }
}

static struct resource *inquire_about(struct agent *a, const char *name)
{
    return name == NULL ? NULL : agent_resource_named(a, name);
}

static void inquire_question(struct agent *a, const struct wire_work_item *item, const cJSON *question)
{
    const char *inspect = cJSON_GetStringValue(cJSON_GetObjectItem(question, "inspect"));
    const char *diagnose = cJSON_GetStringValue(cJSON_GetObjectItem(question, "diagnose"));
    const char *test = cJSON_GetStringValue(cJSON_GetObjectItem(question, "test"));
    const char *name = diagnose != NULL ? diagnose : test;
    struct resource *r;

    if (name == NULL)
        name = cJSON_GetStringValue(cJSON_GetObjectItem(question, "resource"));
    r = inquire_about(a, name);
    if (inspect == NULL && diagnose == NULL && test == NULL)
        inquire_tell(a, &item->id, item->resource, NULL, "the agent does not understand the question");
    else if (r == NULL || (test == NULL && r->rm == NULL))
        inquire_tell(a, &item->id, item->resource, NULL, "the agent does not serve this resource");
    else if (test != NULL)
        inquire_test(a, &item->id, r);
    else if (inspect != NULL)
        inquire_branch(a, &item->id, r, question);
    else
        inquire_resource(a, &item->id, r);
}

void inquire(struct agent *a, const struct wire_work_item *item)
{
    cJSON *question;

    if (inquiry_known(a, &item->id))
        return;
    question = cJSON_Parse(item->text);
    inquire_question(a, item, question);
    cJSON_Delete(question);
}
