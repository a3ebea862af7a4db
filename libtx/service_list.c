/* service_list: rm.h's operations that ask a program for its list of what is prepared; see service.h. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/service_inside.h"

/* lists */

static int compare_found(const void *a, const void *b)
{
    return strcmp(((const struct rm_found *)a)->gid, ((const struct rm_found *)b)->gid);
}

static void listed(struct service_job *job)
{
    struct rm_list list = {.n = -1};
    struct rm *rm = job->rm;
    size_t from = 0;

    if (job->answer == TX_OK &&
        !service_seen_take(&rm->seen, job->branch, job->found, job->n_found, uv_now(rm->options.loop)))
        job->answer = TX_ENOMEM;
    if (job->answer == TX_OK) {
        if (job->n_found > 0)
            qsort(job->found, job->n_found, sizeof *job->found, compare_found);
        while (from < job->n_found && strcmp(job->found[from].gid, job->after) <= 0)
            from++;
        list.found = job->found + from;
        list.total = (uint32_t)(job->n_found - from);
        list.n = (int)(list.total < job->limit ? list.total : job->limit);
    }
    for (size_t i = from; i < job->n_found && job->answer == TX_OK; i++) {
        list.in_doubt += job->found[i].age_ms >= RM_YOUNG_MS;
        list.oldest_ms = job->found[i].age_ms > list.oldest_ms ? job->found[i].age_ms : list.oldest_ms;
    }
    job->list_cb(job->arg, &list);
}

void service_rm_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                     void *arg)
{
    struct service_job *job = service_must(rm, SERVICE_LIST, prefix, arg, listed);

    job->list_cb = done;
    job->limit = limit;
    snprintf(job->after, sizeof job->after, "%s", after);
}

/* for the operator */

static void inspected(struct service_job *job)
{
    cJSON *o = cJSON_CreateObject();
    char *json;

    cJSON_AddStringToObject(o, "gid", job->branch);
    cJSON_AddBoolToObject(o, "prepared", job->answer == TX_OK && service_lists(job, job->branch));
    json = cJSON_PrintUnformatted(o);
    job->json_cb(job->arg, json, json == NULL ? "out of memory" : NULL);
    cJSON_Delete(o);
    free(json);
}

void service_rm_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    service_must(rm, SERVICE_LIST, gid, arg, inspected)->json_cb = done;
}

static void diagnosed(struct service_job *job)
{
    job->json_cb(job->arg, "{\"findings\":[]}", NULL);
}

void service_rm_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg)
{
    service_must(rm, SERVICE_NOTHING, prefix, arg, diagnosed)->json_cb = done;
}

/* The program's own list is all that can be asked for without a branch. */
static void tested(struct service_job *job)
{
    cJSON *o = cJSON_CreateObject(), *check = cJSON_CreateObject();
    bool ok = job->answer == TX_OK;
    char text[64], *json;

    snprintf(text, sizeof text, "%zu branches in doubt", job->n_found);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "checks"), check);
    cJSON_AddStringToObject(check, "check", "list_in_doubt");
    cJSON_AddBoolToObject(check, "ok", ok);
    cJSON_AddStringToObject(check, "text", ok ? text : service_text(job));
    cJSON_AddStringToObject(check, "remedy",
                            ok ? "" : "see the service's own log: it cannot tell its branches in doubt");
    json = cJSON_PrintUnformatted(o);
    job->json_cb(job->arg, json, json == NULL ? "out of memory" : NULL);
    cJSON_Delete(o);
    free(json);
}

void service_rm_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg)
{
    char group[GID_SIZE];

    /* All of the group's: what precedes the session. */
    snprintf(group, sizeof group, "%.*s", (int)(sizeof GID_PREFIX - 1 + 17), gid);
    service_must(rm, SERVICE_LIST, group, arg, tested)->json_cb = done;
}
