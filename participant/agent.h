/* agent: the process beside the resources: executes statements of remote branches, prepares, commits and rolls
 * back as the coordinator says, and looks for branches in doubt.
 *
 * main.c makes one. It is made of
 *   pull        the line to the coordinator that leads         outbox      what there is to report
 *   branches    the table of branches, branch the rules        statements  the application's side,
 *   clients     who may be at it                               named       and what he may execute
 *   scan        what is prepared in the resources              recovery    how far they are with it
 *   inquire     the operator's questions                   resource    opened, defined anew, closed
 *   rm          the resources
 * and agent.c and agent_branch.c bring them together: work in, events to branches, actions out. One loop, one
 * thread; nothing blocks.
 */
#ifndef ASSENT_AGENT_H
#define ASSENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "libtx/shared/err.h"
#include "libtx/shared/log.h"
#include "libtx/shared/security.h"
#include "libtx/shared/wire.h"
#include "participant/branches.h"
#include "participant/clients.h"
#include "participant/named.h"
#include "participant/outbox.h"
#include "participant/pull.h"
#include "participant/resource.h"
#include "participant/rm.h"
#include "participant/statements.h"

struct agent_options {
    const char *name, *coordinators;
    const char *listen;              /* address for statements; NULL: none, recovery only */
    const struct security *security; /* borrowed; NULL: clear text */
    const struct named *named;       /* borrowed; what statements are restricted to; NULL: not at all */
    unsigned connections, scan_interval_ms;
    size_t n_resources;
    const struct agent_resource *resources;
    /* The kinds that the registry may define (rm.h); NULL where no resource is left to it. */
    const struct rm_ops *(*find_kind)(const char *kind);
    const char *(*kinds)(void);
    void (*ready)(void *arg); /* has reached a coordinator for the first time; NULL: nobody asks */
    void *ready_arg;
};

struct agent {
    uv_loop_t *loop;
    struct agent_options options;
    uint64_t group; /* 0: no coordinator has told yet, and nothing may be touched */
    uint64_t instance;
    struct resource resources[RESOURCE_LIMIT];
    size_t n_resources;
    size_t n_open; /* of their openings, those that are being closed among them */
    struct branches branches;
    struct outbox outbox;
    struct pull pull;
    struct statements statements;
    struct clients clients;
    uv_timer_t tick;
    bool tell_resources, ready, stopping;
    unsigned ticks;
    struct inquiry *inquiries;                 /* under way: inquire.c's */
    struct wire_resource told[RESOURCE_LIMIT]; /* what pull_fill() lends out */
    struct wire_report reports[REPORT_LIMIT];
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* TX_EINVAL: options, with the remedy; TX_EREFUSED: insecure, and an address that is not this machine's;
 * TX_EIO: cannot listen; TX_ENOMEM. Then it is to be stopped and released, too, for what was opened before. */
int agent_open(struct agent *a, uv_loop_t *loop, const struct agent_options *options, struct tx_error *e);
/* Rolls active branches back, leaves prepared ones, closes all handles; then calls `stopped`. */
void agent_stop(struct agent *a, void (*stopped)(void *arg), void *arg);
/* When the loop has ended. */
void agent_release(struct agent *a);

/* For its parts */

uint64_t agent_now(const struct agent *a);
/* NULL: not served here, or not open. */
struct resource *agent_resource(struct agent *a, const char *name);
/* Moves a branch and does what that asks for, but for DO_EXEC, which is the caller's. NULL: the event is from
 * the wire and makes no sense now; nothing has changed. */
const struct branch_rule *agent_event(struct held *h, enum branch_event event);
/* Tells the coordinator; `h` NULL for an answer to an inquiry. */
void agent_report(struct agent *a, const struct wire_report *report);
/* The same, where it is not open, too. */
struct resource *agent_resource_named(struct agent *a, const char *name);
/* It can be reached again: looks what is prepared, and goes on with what waited. */
void agent_resource_up(struct resource *r);
/* Rolls back what applications are at work with in it. */
void agent_abandon(struct resource *r, const char *why);
/* A branch in it has not come to its end. */
bool agent_is_busy(const struct resource *r);
/* One of the openings is closed. */
void agent_closed(struct agent *a);
/* Resources' state has changed: the next PULL tells. */
void agent_tell_resources(struct agent *a);
/* One line about a branch. */
void agent_log(const struct held *h, enum log_level level, const char *event, const char *text);
/* A work's connection broke. */
void agent_work_lost(void *arg, const char *why);

#endif
