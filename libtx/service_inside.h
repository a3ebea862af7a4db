/* service_inside: what service_rm.c (branches) and service_list.c (lists) share, and nobody else sees. */
#ifndef LIBTX_SERVICE_INSIDE_H
#define LIBTX_SERVICE_INSIDE_H

#include "libtx/service.h"
#include "libtx/service_seen.h"

struct rm_work {
    LIST_ENTRY(rm_work) link;
    struct rm *rm;
    char branch[GID_SIZE];
    bool prepared; /* to be committed in one phase: only its commit is left */
};

LIST_HEAD(works, rm_work);

struct rm {
    struct rm_options options;
    struct service *service;
    struct works works;
    struct service_seen seen;
    bool told;        /* that the first list has failed */
    uv_async_t async; /* for `closed`, which must not come from inside the call */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Calls that have no way to say no: without memory nothing is left but to die, and to recover after the
 * restart.
 */
struct service_job *service_must(struct rm *rm, enum service_op op, const char *branch, void *arg,
                                 void (*done)(struct service_job *job));
/* What the program says of its answer, or what the code means. */
const char *service_text(const struct service_job *job);
/* Whether a list that was taken names it. */
bool service_lists(const struct service_job *job, const char *branch);

void service_rm_list(struct rm *rm, const char *prefix, const char *after, unsigned limit, rm_list_cb done,
                     void *arg);
void service_rm_inspect(struct rm *rm, const char *gid, rm_json_cb done, void *arg);
void service_rm_diagnose(struct rm *rm, const char *prefix, rm_json_cb done, void *arg);
void service_rm_test(struct rm *rm, const char *gid, rm_json_cb done, void *arg);

#endif
