/* service: see service.h. The jobs, and the calls into the program. */
#include "libtx/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void service_job_free(struct service_job *job)
{
    for (int i = 0; i < job->n_values; i++)
        free(job->values[i]);
    free(job->values);
    free(job->statement);
    for (size_t i = 0; i < job->n_found; i++)
        free((char *)(uintptr_t)job->found[i].gid);
    free(job->found);
    free(job);
}

void service_init(struct service *s)
{
    memset(s, 0, sizeof *s);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->running);
}

struct service_job *service_find(const struct service *s, const char *branch)
{
    struct service_job *job;

    TAILQ_FOREACH(job, &s->running, link)
    {
        if (strcmp(job->branch, branch) == 0)
            return job;
    }
    return NULL;
}

struct service_job *service_take(struct service *s, uint64_t now_ms)
{
    struct service_job *job;

    TAILQ_FOREACH(job, &s->waiting, link)
    {
        if (job->not_before_ms <= now_ms && service_find(s, job->branch) == NULL)
            break;
    }
    if (job == NULL)
        return NULL;
    TAILQ_REMOVE(&s->waiting, job, link);
    TAILQ_INSERT_TAIL(&s->running, job, link);
    return job;
}

uint64_t service_due_ms(const struct service *s)
{
    const struct service_job *job;
    uint64_t due = UINT64_MAX;

    TAILQ_FOREACH(job, &s->waiting, link)
    {
        if (job->not_before_ms < due && service_find(s, job->branch) == NULL)
            due = job->not_before_ms;
    }
    return due;
}

/* What has no answer of the program's own, a list among them, is not to be answered by a slip. */
void service_answer(struct service *s, const char *branch, int answer, const char *text)
{
    struct service_job *job = service_find(s, branch);

    if (job == NULL || job->answered || job->op == SERVICE_LIST || job->op == SERVICE_NOTHING)
        return;
    job->answer = answer;
    job->answered = true;
    job->later = true;
    snprintf(job->later_text, sizeof job->later_text, "%s", text != NULL ? text : "");
}

void service_done(struct service *s, struct service_job *job)
{
    TAILQ_REMOVE(&s->running, job, link);
    if (job->later)
        memcpy(job->text, job->later_text, sizeof job->text);
    job->text[sizeof job->text - 1] = '\0'; /* the program's */
    if (s->rm != NULL)
        job->done(job);
    service_job_free(job);
}

/* the program */

static void service_found(void *list, const char *branch, uint64_t age_ms)
{
    struct service_job *job = list;
    size_t cap = job->found_cap == 0 ? 64 : job->found_cap * 2;
    struct rm_found *grown;
    char *gid;

    if (strncmp(branch, job->branch, strlen(job->branch)) != 0)
        return;
    if (job->n_found == job->found_cap) {
        grown = realloc(job->found, cap * sizeof *grown);
        if (grown == NULL) {
            job->answer = TX_ENOMEM;
            return;
        }
        job->found = grown;
        job->found_cap = cap;
    }
    gid = strdup(branch);
    if (gid == NULL)
        job->answer = TX_ENOMEM;
    else
        job->found[job->n_found++] = (struct rm_found){.gid = gid, .age_ms = age_ms};
}

static int service_list(const struct tx_participant_callbacks *cb, struct service_job *job)
{
    int rc;

    job->answer = TX_OK;
    rc = cb->list_in_doubt(cb->arg, service_found, job);
    if (rc == TX_PARTICIPANT_LATER)
        return TX_EINVAL; /* nothing could bring it */
    return rc != TX_OK ? rc : job->answer;
}

int service_call(struct service *s, struct service_job *job)
{
    const struct tx_participant_callbacks *cb = &s->callbacks;

    switch (job->op) {
    case SERVICE_EXEC:
        return cb->exec(cb->arg, job->branch, job->statement, job->n_values, (const char *const *)job->values,
                        job->text, sizeof job->text);
    case SERVICE_PREPARE:
        return cb->prepare(cb->arg, job->branch);
    case SERVICE_COMMIT:
        return cb->commit(cb->arg, job->branch);
    case SERVICE_ROLLBACK:
        return cb->rollback(cb->arg, job->branch);
    case SERVICE_LIST:
        return service_list(cb, job);
    default:
        return TX_OK;
    }
}

void service_close(struct service *s)
{
    struct service_job *job;

    while ((job = TAILQ_FIRST(&s->waiting)) != NULL) {
        TAILQ_REMOVE(&s->waiting, job, link);
        service_job_free(job);
    }
    while ((job = TAILQ_FIRST(&s->running)) != NULL) {
        TAILQ_REMOVE(&s->running, job, link);
        service_job_free(job);
    }
}
