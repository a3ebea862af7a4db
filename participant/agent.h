/* agent: the process beside the resources: executes statements of remote branches, prepares, commits and rolls
 * back as the coordinator says, and looks for branches in doubt.
 *
 * main.c makes one. It is made of
 *   pull        the line to the coordinator that leads         outbox      what there is to report
 *   branches    the table of branches, branch the rules        statements  the application's side
 *   scan        what is prepared in the resources              recovery    how far they are with it
 *   inquire     the operator's questions
 *   rm          the resources
 * and this file brings them together: work in, events to branches, actions out. One loop, one thread; nothing
 * blocks.
 */
#ifndef ASSENT_AGENT_H
#define ASSENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/err.h"
#include "libtx/shared/wire.h"
#include "participant/branches.h"
#include "participant/outbox.h"
#include "participant/pull.h"
#include "participant/recovery.h"
#include "participant/rm.h"
#include "participant/scan.h"
#include "participant/statements.h"

/* A resource to serve. What is pointed to is borrowed until the end. */
struct agent_resource {
    const char *name;
    const struct rm_ops *ops;
    const char *settings; /* as the operator wrote them; or NULL, */
    void *context;        /* where the kind takes this */
};

struct agent_options {
    const char *name, *coordinators;
    const char *listen; /* address for statements; NULL: none, recovery only */
    unsigned connections, scan_interval_ms;
    size_t n_resources;
    const struct agent_resource *resources;
};

struct resource {
    struct agent *agent;
    char name[NAME_LIMIT + 1];
    const struct rm_ops *ops;
    struct rm *rm;
    bool up;
    char error[TEXT_LIMIT + 1]; /* why it is down */
    struct scan scan;
    struct recovery recovery;
};

struct agent {
    uv_loop_t *loop;
    struct agent_options options;
    uint64_t group; /* 0: no coordinator has told yet, and nothing may be touched */
    uint64_t instance;
    struct resource resources[RESOURCE_LIMIT];
    size_t n_resources, n_open;
    struct branches branches;
    struct outbox outbox;
    struct pull pull;
    struct statements statements;
    uv_timer_t tick;
    bool tell_resources, ready, stopping;
    unsigned ticks, inquiries;
    struct wire_resource told[RESOURCE_LIMIT]; /* what pull_fill() lends out */
    struct wire_report reports[REPORT_LIMIT];
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* TX_EINVAL: options, with the remedy; TX_EIO: cannot listen; TX_ENOMEM. Then it is to be stopped and released,
 * too, for what was opened before. */
int agent_open(struct agent *a, uv_loop_t *loop, const struct agent_options *options, struct tx_error *e);
/* Rolls active branches back, leaves prepared ones, closes all handles; then calls `stopped`. */
void agent_stop(struct agent *a, void (*stopped)(void *arg), void *arg);
/* When the loop has ended. */
void agent_release(struct agent *a);

/* For its parts */

uint64_t agent_now(const struct agent *a);
/* NULL: not served here. */
struct resource *agent_resource(struct agent *a, const char *name);
/* Moves a branch and does what that asks for, but for DO_EXEC, which is the caller's. NULL: the event is from
 * the wire and makes no sense now; nothing has changed. */
const struct branch_rule *agent_event(struct held *h, enum branch_event event);
/* Tells the coordinator; `h` NULL for an answer to an inquiry. */
void agent_report(struct agent *a, const struct wire_report *report);
/* Resources' state has changed: the next PULL tells. */
void agent_tell_resources(struct agent *a);
/* A work's connection broke. */
void agent_work_lost(void *arg, const char *why);

#endif
