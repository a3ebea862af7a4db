/* service: a C program's callbacks as a resource manager: rm.h's operations, each a job that waits until the
 * program's thread runs it.
 *
 * The agent (participant/agent.c) calls the operations on its loop, under the participant's lock; participant.c
 * takes one job after the other, calls the callback without the lock, and hands the answer back. Of one branch
 * there is never more than one job in hands.
 *
 * Used by participant.c.
 */
#ifndef LIBTX_SERVICE_H
#define LIBTX_SERVICE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "libtx/libtx_participant.h"
#include "libtx/shared/txid.h"
#include "libtx/shared/words.h"
#include "participant/rm.h"

enum { SERVICE_TEXT = 1024 /* bytes of a statement's result */ };

enum service_op {
    SERVICE_NOTHING, /* only an answer that must not come from inside the call */
    SERVICE_EXEC,
    SERVICE_PREPARE,
    SERVICE_COMMIT,
    SERVICE_ROLLBACK,
    SERVICE_LIST,
};

struct service_job {
    TAILQ_ENTRY(service_job) link;
    enum service_op op;
    char branch[GID_SIZE]; /* LIST: the prefix */
    bool answered;
    bool later;             /* by tx_participant_answer() */
    uint64_t not_before_ms; /* loop time */
    int answer;
    char text[SERVICE_TEXT];
    char later_text[SERVICE_TEXT]; /* apart from `text`, which a callback may be writing */
    char *statement;               /* owned, EXEC; likewise values */
    char **values;
    int n_values;
    struct rm_found *found; /* LIST: owned, and so are the gids in it */
    size_t n_found, found_cap;
    /* What the agent wants to know. */
    void (*done)(struct service_job *job);
    struct rm *rm;
    rm_answer_cb answer_cb; /* at most one of them */
    rm_rows_cb rows_cb;
    rm_list_cb list_cb;
    rm_json_cb json_cb;
    void *arg;
    char after[GID_SIZE];
    unsigned limit;
};

TAILQ_HEAD(service_jobs, service_job);

/* What participant.c and the operations share; agent_resource.context. All zero but for the lists. */
struct service {
    struct tx_participant_callbacks callbacks;
    struct rm *rm;               /* NULL: not open */
    struct service_jobs waiting; /* in order */
    struct service_jobs running; /* with the program, answered or not */
    void (*wake)(void *arg);     /* a job waits */
    void *wake_arg;
};

extern const struct rm_ops service_ops;

void service_init(struct service *s);
void service_job_free(struct service_job *job);
/* The next job that can be run at this loop time: it is in `running` then. NULL: none. */
struct service_job *service_take(struct service *s, uint64_t now_ms);
/* Calls the program, without the lock. What it returned. */
int service_call(struct service *s, struct service_job *job);
/* A running job's answer is there: tells the agent, and frees the job. */
void service_done(struct service *s, struct service_job *job);
/* NULL: none of this branch is with the program. */
struct service_job *service_find(const struct service *s, const char *branch);
/* What tx_participant_answer() brings; nobody waits for it: dropped. */
void service_answer(struct service *s, const char *branch, int answer, const char *text);
/* The loop time at which a job can be run that waits; UINT64_MAX: none, or only behind another of its branch.
 */
uint64_t service_due_ms(const struct service *s);
/* The agent has gone: forgets all jobs. */
void service_close(struct service *s);

#endif
