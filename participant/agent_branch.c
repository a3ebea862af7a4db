/* agent_branch: what becomes of one branch: its events, what they ask of its resource, and the answers. See
 * agent.h.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "participant/agent.h"

enum {
    AGENT_BACKOFF_MS = 100,
    AGENT_BACKOFF_MAX_MS = 5000,
};

/* what a branch's rules ask for */

static void agent_answered(void *arg, const struct rm_answer *answer);

static void agent_tell(struct held *h, int kind, const char *text)
{
    struct wire_report report = {.kind = (uint8_t)kind,
                                 .id = h->key.id,
                                 .branch = (uint16_t)h->key.number,
                                 .resource = h->resource->name,
                                 .proof = h->proof,
                                 .text = text};

    if (kind == 0 || !h->asked)
        return;
    agent_report(h->agent, &report);
}

/* For a value between double quotes in a log line. */
static const char *agent_quote(const char *text, char out[TEXT_LIMIT + 1])
{
    snprintf(out, TEXT_LIMIT + 1, "%s", text == NULL ? "" : text);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '"' ? '\'' : *p;
    return out;
}

void agent_log(const struct held *h, enum log_level level, const char *event, const char *text)
{
    char id[TXID_TEXT_SIZE], quoted[TEXT_LIMIT + 1];

    txid_format(&h->key.id, id);
    log_line(level, event, "transaction=%s branch=%u resource=%s state=%s text=\"%s\"", id,
             (unsigned)h->key.number, h->resource->name, branch_state_name(h->state),
             agent_quote(text, quoted));
}

static void agent_tell_stuck(struct held *h)
{
    if (h->stuck != NULL && h->text != NULL && strcmp(h->stuck, h->text) == 0)
        return;
    branches_set(&h->stuck, h->text);
    agent_log(h, LOG_WARN, "stuck", h->text);
    agent_tell(h, REPORT_STUCK, h->text);
}

static void agent_retry_later(struct held *h)
{
    unsigned twice = h->backoff_ms * 2;

    h->backoff_ms = twice == 0 ? AGENT_BACKOFF_MS : twice;
    if (h->backoff_ms > AGENT_BACKOFF_MAX_MS)
        h->backoff_ms = AGENT_BACKOFF_MAX_MS;
    h->retry_ms = agent_now(h->agent) + h->backoff_ms;
}

/* What concerns prepared work, by its gid. */
static void agent_do_by_gid(struct held *h, unsigned actions)
{
    const struct rm_ops *ops = h->resource->ops;
    char gid[GID_SIZE];
    struct rm_finish f = {gid, h->proof, h->by_application};

    gid_format(&h->key.id, (unsigned)h->key.number, gid);
    if ((actions & DO_PREPARE) != 0) {
        crash_point(CRASH_AGENT_BEFORE_PREPARE);
        ops->prepare(h->work, gid, agent_answered, h);
    } else if ((actions & DO_LOOK) != 0) {
        ops->look(h->resource->rm, gid, h->work, agent_answered, h);
    } else if ((actions & DO_COMMIT) != 0) {
        crash_point(CRASH_AGENT_BEFORE_COMMIT);
        ops->commit(h->resource->rm, &f, agent_answered, h);
    } else if ((actions & DO_ROLLBACK) != 0) {
        crash_point(CRASH_AGENT_BEFORE_ROLLBACK);
        ops->rollback(h->resource->rm, &f, agent_answered, h);
    }
}

static void agent_do(struct held *h, unsigned actions)
{
    if ((actions & (DO_PREPARE | DO_LOOK | DO_COMMIT | DO_ROLLBACK)) != 0)
        agent_do_by_gid(h, actions);
    if ((actions & DO_ONE_PHASE) != 0) {
        crash_point(CRASH_AGENT_BEFORE_COMMIT);
        h->resource->ops->one_phase(h->work, agent_answered, h);
    }
    if ((actions & DO_ABANDON) != 0)
        h->resource->ops->abandon(h->work, agent_answered, h);
    if ((actions & DO_REPORT) != 0)
        agent_tell(h, branch_report(h->state), h->text);
    if ((actions & DO_REPORT_NO) != 0)
        agent_tell(h, REPORT_REFUSED, h->text != NULL ? h->text : "the branch was rolled back before");
    if ((actions & DO_REPORT_FOUND) != 0)
        agent_tell(h, REPORT_FOUND, NULL);
    if ((actions & DO_REPORT_STUCK) != 0)
        agent_tell_stuck(h);
    if ((actions & DO_RETRY_LATER) != 0)
        agent_retry_later(h);
    if ((actions & DO_ANSWER) != 0)
        statements_answer(h);
}

/* States in which a work's connection, or the memory of it, is still needed. */
static bool agent_works(enum branch_state s)
{
    return s == AT_ACTIVE || s == AT_LEAVING || s == AT_DOUBLE || s == AT_ONE_PHASE || s == AT_PREPARING ||
           s == AT_LOOKING || s == AT_ROLLBACK_PENDING || s == AT_COMMIT_PENDING;
}

static void agent_entered(struct held *h, enum branch_state before)
{
    if (h->work != NULL && !agent_works(h->state)) {
        h->resource->ops->end(h->work);
        h->work = NULL;
    }
    if (h->state == before)
        return;
    h->retry_ms = h->retry_ms == 0 ? 0 : agent_now(h->agent);
    if (!branch_is_final(h->state))
        return;
    h->ended_ms = agent_now(h->agent);
    if (h->stuck != NULL)
        agent_log(h, LOG_INFO, "unstuck", h->text);
    branches_set(&h->stuck, NULL);
    h->backoff_ms = 0;
    if (h->state == AT_HEURISTIC_COMMIT || h->state == AT_HEURISTIC_ROLLBACK || h->state == AT_HAZARD)
        agent_log(h, LOG_WARN, "heuristic", h->text);
}

const struct branch_rule *agent_event(struct held *h, enum branch_event event)
{
    const struct branch_rule *rule = branch_on(h->state, event);
    enum branch_state before = h->state;

    if (rule == NULL) {
        assert(branch_event_is_foreign(event));
        if (event <= ON_WORK_ROLLBACK) /* an application is told, and not logged */
            agent_log(h, LOG_WARN, "refused", branch_event_name(event));
        return NULL;
    }
    h->state = rule->next;
    if (event == ON_INCOMPLETE && h->text == NULL)
        branches_set(&h->text, "a statement is under way or missing: the agent was restarted meanwhile");
    agent_log(h, LOG_DEBUG, branch_event_name(event), rule->reason);
    agent_entered(h, before);
    agent_do(h, rule->actions);
    return rule;
}

/* answers of the resources */

static void agent_crash_points(enum branch_state s, enum rm_outcome outcome)
{
    if (outcome != RM_DONE)
        return;
    if (s == AT_PREPARING)
        crash_point(CRASH_AGENT_PREPARED);
    else if (s == AT_COMMITTING || s == AT_ONE_PHASE)
        crash_point(CRASH_AGENT_COMMITTED);
    else if (s == AT_ROLLING_BACK)
        crash_point(CRASH_AGENT_ROLLED_BACK);
}

static void agent_answered(void *arg, const struct rm_answer *answer)
{
    static const enum branch_event events[] = {
        [RM_DONE] = ON_DONE,
        [RM_READ_ONLY] = ON_ANSWERED_READ_ONLY,
        [RM_REFUSED] = ON_ANSWERED_REFUSED,
        [RM_NOT_FOUND] = ON_ANSWERED_NOT_FOUND,
        [RM_HEURISTIC_COMMIT] = ON_ANSWERED_HEURISTIC_COMMIT,
        [RM_HEURISTIC_ROLLBACK] = ON_ANSWERED_HEURISTIC_ROLLBACK,
        [RM_HAZARD] = ON_ANSWERED_HAZARD,
        [RM_UNKNOWN] = ON_UNKNOWN,
        [RM_FAILED] = ON_FAILED,
    };
    struct held *h = arg;

    if (h->agent->stopping)
        return;
    agent_crash_points(h->state, answer->outcome);
    if (answer->proof != NULL)
        branches_set(&h->proof, answer->proof);
    if (h->state == AT_LOOKING && answer->outcome == RM_NOT_FOUND && h->text == NULL)
        branches_set(&h->text, "the agent was restarted, or rolled the branch back; its work is lost");
    else if (h->state != AT_LOOKING && (h->state != AT_LEAVING || answer->outcome != RM_DONE))
        branches_set(&h->text, answer->text);
    agent_event(h, events[answer->outcome]);
}

void agent_work_lost(void *arg, const char *why)
{
    struct held *h = arg;

    if (h->agent->stopping || h->state != AT_ACTIVE)
        return;
    branches_set(&h->text, why);
    agent_event(h, ON_LOST);
}

void agent_resource_up(struct resource *r)
{
    struct held *h, *next;

    scan_request(r, true);
    HASH_ITER(hh, r->agent->branches.table, h, next)
    {
        if (h->resource == r && h->retry_ms != 0)
            h->retry_ms = agent_now(r->agent);
    }
}

void agent_abandon(struct resource *r, const char *why)
{
    struct held *h, *next;

    HASH_ITER(hh, r->agent->branches.table, h, next)
    {
        if (h->resource != r || h->state != AT_ACTIVE)
            continue;
        branches_set(&h->text, why);
        agent_event(h, ON_TIMEOUT);
    }
}

bool agent_is_busy(const struct resource *r)
{
    const struct held *h;

    for (h = r->agent->branches.table; h != NULL; h = h->hh.next) {
        if (h->resource == r && !branch_is_final(h->state))
            return true;
    }
    return false;
}
