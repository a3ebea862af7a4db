/* admin_doctor: the verb doctor: what is wrong, and what to do about it. The coordinator's own findings come
 * from what it knows; those on a resource from its agent, which looks at the resource's settings.
 *
 * {} -> subjects: [{subject, findings: [{level: "ok" | "warning" | "error", check, text, remedy}]}], errors,
 * warnings. The first subject is the coordinator, the others are resources.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "coordinator/admin_task.h"

enum {
    STALE_MS = 60000,        /* an unfinished transaction older than this is worth telling */
    DISK_FREE_PERCENT = 5,   /* less than this free is a warning … */
    DISK_FREE_LOGS = 2,      /* … and so is less than this many times the log */
    DOCTOR_RESOURCES = 1000, /* asked at most */
};

/* Findings */

struct finding {
    const char *level, *check, *remedy; /* remedy may be NULL */
};

static void add_finding(cJSON *findings, struct finding f, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_finding(cJSON *findings, struct finding f, const char *format, ...)
{
    cJSON *o = cJSON_CreateObject();
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cJSON_AddStringToObject(o, "level", f.level);
    cJSON_AddStringToObject(o, "check", f.check);
    cJSON_AddStringToObject(o, "text", text);
    admin_add_text(o, "remedy", f.remedy);
    cJSON_AddItemToArray(findings, o);
}

/* Returns the subject's findings; *subject may be NULL. */
static cJSON *add_subject(cJSON *subjects, const char *name, cJSON **subject)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "subject", name);
    cJSON_AddItemToArray(subjects, o);
    if (subject != NULL)
        *subject = o;
    return cJSON_AddArrayToObject(o, "findings");
}

/* The coordinator */

static void check_leader(struct admin_task *t, cJSON *findings)
{
    const char *leader = driver_leader(t->with->driver);
    const char *remedy, *outside = admin_outside(t->with->replog, &remedy);

    if (outside != NULL)
        add_finding(findings, (struct finding){"error", "leader", remedy}, "%s", outside);
    else if (driver_leading(t->with->driver))
        add_finding(findings, (struct finding){"ok", "leader", NULL}, "this node leads its group");
    else if (*leader != '\0')
        add_finding(findings, (struct finding){"ok", "leader", "ask the leader for its findings on resources"},
                    "this node follows %s", leader);
    else
        add_finding(findings,
                    (struct finding){"error", "leader",
                                     "bring a majority of the group's nodes up, and look at "
                                     "their logs"},
                    "this group has no leader: nothing can be decided");
}

static void check_group(struct admin_task *t, cJSON *findings)
{
    const char *warning = admin_group_warning(t->with->group);
    size_t voters = group_voters(t->with->group);

    if (warning != NULL)
        add_finding(findings, (struct finding){"warning", "group", "see txadmin node list"}, "%s", warning);
    else if (voters == 1)
        add_finding(findings, (struct finding){"ok", "group", NULL},
                    "one node: commits wait while it is down; a group of three goes on without one");
    else
        add_finding(findings, (struct finding){"ok", "group", NULL}, "%zu nodes, all of them up", voters);
}

static void check_strangers(struct admin_task *t, cJSON *findings)
{
    struct driver_counters n;

    driver_count(t->with->driver, &n);
    if (n.strangers > 0)
        add_finding(findings,
                    (struct finding){"error", "other group",
                                     "was the data directory of this coordinator lost, or is its disk not "
                                     "mounted? Then stop it, and bring the data back. Else give those programs "
                                     "the addresses of their own coordinators, and restart their agents"},
                    "agents or applications have spoken of transactions of another group (%016" PRIx64
                    ") since this node started: %" PRIu64 " times; nothing of it is decided here",
                    n.stranger_group, n.strangers);
}

static void check_ledger(struct admin_task *t, cJSON *findings)
{
    struct ledger_counts n;

    ledger_count(driver_ledger(t->with->driver), &n);
    if (n.resources == 0)
        add_finding(findings,
                    (struct finding){"warning", "resources",
                                     "start txagentd with a resource.NAME for each database; without an agent, "
                                     "nobody finishes what an application leaves prepared"},
                    "no resource is registered");
    else
        add_finding(findings, (struct finding){"ok", "resources", NULL}, "%zu registered", n.resources);
    if (n.heuristic > 0)
        add_finding(findings,
                    (struct finding){
                        "error", "heuristic",
                        "see txadmin transactions and show ID, repair the data by hand where they need it, "
                        "then txadmin forget ID"},
                    "transactions that an operator decided by force, or with a branch that was, or may have "
                    "been, finished "
                    "against the decision: %zu",
                    n.heuristic);
    else
        add_finding(findings, (struct finding){"ok", "heuristic", NULL}, "no heuristic outcome");
}

struct stale {
    uint64_t decided, in_doubt, oldest_ms;
};

static bool count_stale(void *arg, const struct driver_transaction *t)
{
    struct stale *s = arg;

    if (t->age_ms < STALE_MS || strcmp(t->state, "finished") == 0 || strcmp(t->state, "heuristic") == 0)
        return true;
    if (t->verdict != VERDICT_NONE)
        s->decided++;
    else
        s->in_doubt++;
    if (t->age_ms > s->oldest_ms)
        s->oldest_ms = t->age_ms;
    return true;
}

static void check_transactions(struct admin_task *t, cJSON *findings)
{
    const struct finding warning = {"warning", "transactions",
                                    "see txadmin transactions --older 1min, and txadmin show ID for what each "
                                    "waits for"};
    struct stale s = {0};

    driver_each_transaction(t->with->driver, t->now, t->wall, NULL, count_stale, &s);
    if (s.decided > 0)
        add_finding(findings, warning,
                    "%" PRIu64 " decided transactions have been unfinished for over a minute (oldest %" PRIu64
                    " s)",
                    s.decided, s.oldest_ms / 1000);
    if (s.in_doubt > 0)
        add_finding(findings, warning, "undecided for over a minute: %" PRIu64 ", the oldest for %" PRIu64 " s",
                    s.in_doubt, s.oldest_ms / 1000);
    if (s.decided + s.in_doubt == 0)
        add_finding(findings, (struct finding){"ok", "transactions", NULL},
                    "none has been unfinished for over a minute");
}

static void check_disk(struct admin_task *t, cJSON *findings)
{
    struct replog_status log;
    struct statvfs fs;
    uint64_t available;
    bool low;

    replog_status(t->with->replog, &log);
    if (statvfs(t->with->data_dir, &fs) < 0) {
        add_finding(findings, (struct finding){"error", "disk", "see that data_dir can be read"}, "%s: %s",
                    t->with->data_dir, strerror(errno));
        return;
    }
    available = (uint64_t)fs.f_bavail * fs.f_frsize;
    low = fs.f_bavail < fs.f_blocks / 100 * DISK_FREE_PERCENT || available < DISK_FREE_LOGS * log.log_bytes;
    add_finding(findings,
                (struct finding){low ? "warning" : "ok", "disk",
                                 low ? "free space in data_dir: a coordinator that cannot write stops" : NULL},
                "the log takes %" PRIu64 " MiB, %" PRIu64 " MiB are free", log.log_bytes >> 20,
                available >> 20);
}

struct silent {
    struct admin_task *task;
    uint64_t n;
};

static bool count_silent(void *arg, const struct session *s)
{
    struct silent *silent = arg;
    uint64_t silence;

    if (s->state != SESSION_OPEN)
        return true;
    silence = driver_session_silence(silent->task->with->driver, silent->task->now, s->id);
    silent->n += silence > s->session_timeout_ms * 3ULL / 4;
    return true;
}

static void check_sessions(struct admin_task *t, cJSON *findings)
{
    struct silent s = {.task = t};

    if (driver_leading(t->with->driver))
        ledger_each_session(driver_ledger(t->with->driver), count_silent, &s);
    if (s.n > 0)
        add_finding(findings,
                    (struct finding){"warning", "sessions",
                                     "see txadmin sessions: their applications have died, hang or are cut off"},
                    "about to expire: %" PRIu64, s.n);
    else
        add_finding(findings, (struct finding){"ok", "sessions", NULL}, "none is about to expire");
}

/* Who may do what */

/* Who may write it makes himself an operator, with the next node that leads. */
static void check_keys_file(const char *path, cJSON *findings)
{
    struct keyring ring;
    struct tx_error e;

    if (keyring_load(&ring, path, &e) != TX_OK)
        add_finding(
            findings,
            (struct finding){"error", "keys file", "correct it: this node will not start again without it"},
            "%s", e.msg);
    else
        add_finding(findings, (struct finding){"ok", "keys file", NULL}, "%s: %zu keys", path, ring.n);
    keyring_release(&ring);
}

struct key_counts {
    size_t active, operators, coordinators;
};

static bool count_key(void *arg, const struct ledger_key *k)
{
    struct key_counts *n = arg;

    if (k->revoked)
        return true;
    n->active++;
    n->operators += (k->roles & ROLE_OPERATOR) != 0;
    n->coordinators += (k->roles & ROLE_COORDINATOR) != 0;
    return true;
}

static void check_keys(struct admin_task *t, cJSON *findings)
{
    struct key_counts n = {0};
    size_t voters = group_voters(t->with->group);

    if (t->with->keys == NULL) {
        add_finding(findings,
                    (struct finding){"warning", "keys",
                                     "give every program a key (txadmin keygen) and leave insecure out"},
                    "insecure: who reaches this machine's sockets reads everything, and may do everything");
        return;
    }
    check_keys_file(t->with->keys, findings);
    ledger_each_key(driver_ledger(t->with->driver), count_key, &n);
    if (n.operators < 2)
        add_finding(
            findings,
            (struct finding){"warning", "keys",
                             "make another one, keep it elsewhere, and txadmin key add NAME operator KEY"},
            "operators have %zu keys: who loses the last one can change nothing any more", n.operators);
    if (n.coordinators < voters)
        add_finding(
            findings,
            (struct finding){"warning", "keys", "txadmin key add NAME coordinator KEY, for each node's"},
            "coordinators have %zu keys, and the group has %zu nodes: programs do not believe the others",
            n.coordinators, voters);
    if (n.operators >= 2 && n.coordinators >= voters)
        add_finding(findings, (struct finding){"ok", "keys", NULL}, "%zu are active", n.active);
}

/* The resources */

struct resource_walk {
    struct admin_task *task;
    cJSON *subjects;
    struct tx_error *error;
    int rc;
    uint64_t n;
};

static void check_agent(const struct driver_resource *r, cJSON *findings)
{
    char start[192];

    snprintf(start, sizeof start, "start %s; where the resource is gone for good: txadmin resource remove NAME",
             driver_server_of(r->kind));
    if (!r->listed)
        add_finding(findings, (struct finding){"error", "registry", "txadmin resource add NAME KIND SETTINGS"},
                    "agent %s is to serve it, and nobody has declared it", r->agent);
    else if (r->agent == NULL)
        add_finding(findings, (struct finding){"error", "agent", start},
                    "no agent has told of it since this node leads");
    else if (!r->alive)
        add_finding(findings, (struct finding){"error", "agent", start},
                    "its agent %s has been silent for %" PRIu64 " s", r->agent, r->heard_ms / 1000);
    else if (!r->up)
        add_finding(
            findings,
            (struct finding){"error", "agent",
                             "txadmin resource test NAME says what to do: see that it runs and lets the "
                             "agent in, the address, user and password file (passfile) of its "
                             "settings, certificates where TLS is asked for; it is tried again by itself"},
            "its agent %s cannot reach it: %s", r->agent, r->error != NULL ? r->error : "no reason told");
    else
        add_finding(findings, (struct finding){"ok", "agent", NULL}, "served by %s", r->agent);
}

/* Where several agents serve one resource, one of them is asked. */
static bool check_resource(void *arg, const struct driver_resource *r)
{
    struct resource_walk *w = arg;
    struct admin_inquiry q = {.resource = r->name, .name = "answer"};

    if (w->n++ >= DOCTOR_RESOURCES)
        return false;
    check_agent(r, add_subject(w->subjects, r->name, &q.into));
    if (!r->alive || !r->up)
        return true;
    q.question = cJSON_CreateObject();
    cJSON_AddStringToObject(q.question, "diagnose", r->name);
    w->rc = admin_inquire(w->task, &q, w->error);
    return w->rc == TX_OK;
}

static void check_names(struct admin_task *t, cJSON *findings)
{
    const char *name = driver_namesake(t->with->driver, t->now);

    if (name != NULL)
        add_finding(findings,
                    (struct finding){"error", "agents",
                                     "give each a name of its own (txagentd --name NAME, name in struct "
                                     "tx_participant_options) and restart them"},
                    "two agents use the name %s; the one that was started first gets no work", name);
}

/* All together */

/* What the agent told becomes findings beside ours. */
static void take_answer(cJSON *subject)
{
    cJSON *findings = cJSON_GetObjectItemCaseSensitive(subject, "findings");
    cJSON *answer = cJSON_DetachItemFromObjectCaseSensitive(subject, "answer");
    cJSON *silent = cJSON_DetachItemFromObjectCaseSensitive(subject, "unanswered");
    cJSON *theirs = cJSON_GetObjectItemCaseSensitive(answer, "findings"), *f;

    while (cJSON_IsArray(theirs) && (f = cJSON_DetachItemFromArray(theirs, 0)) != NULL)
        cJSON_AddItemToArray(findings, f);
    if (cJSON_GetStringValue(silent) != NULL)
        add_finding(findings, (struct finding){"error", "agent", "look at the agent's log"}, "not examined: %s",
                    cJSON_GetStringValue(silent));
    cJSON_Delete(answer);
    cJSON_Delete(silent);
}

static void count_levels(const cJSON *subject, uint64_t *errors, uint64_t *warnings)
{
    const cJSON *f;

    cJSON_ArrayForEach(f, cJSON_GetObjectItemCaseSensitive(subject, "findings"))
    {
        const char *level = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(f, "level"));

        *errors += level != NULL && strcmp(level, "error") == 0;
        *warnings += level != NULL && strcmp(level, "warning") == 0;
    }
}

static void doctor_finish(struct admin_task *t)
{
    cJSON *subject;
    uint64_t errors = 0, warnings = 0;

    cJSON_ArrayForEach(subject, cJSON_GetObjectItemCaseSensitive(t->answer, "subjects"))
    {
        take_answer(subject);
        count_levels(subject, &errors, &warnings);
    }
    admin_add_number(t->answer, "errors", errors);
    admin_add_number(t->answer, "warnings", warnings);
}

int admin_doctor(struct admin_task *t, struct tx_error *e)
{
    struct resource_walk walk = {.task = t, .error = e};
    cJSON *findings;

    t->finish = doctor_finish;
    walk.subjects = cJSON_AddArrayToObject(t->answer, "subjects");
    findings = add_subject(walk.subjects, "coordinator", NULL);
    check_leader(t, findings);
    check_group(t, findings);
    check_strangers(t, findings);
    check_ledger(t, findings);
    check_transactions(t, findings);
    check_sessions(t, findings);
    check_disk(t, findings);
    check_keys(t, findings);
    /* Agents speak to the leader. */
    if (driver_leading(t->with->driver)) {
        check_names(t, findings);
        driver_each_resource(t->with->driver, t->now, check_resource, &walk);
    }
    return walk.rc;
}
