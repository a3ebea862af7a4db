/* service_rm: rm.h's operations on a program's callbacks, but for lists; see service.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/service_inside.h"
#include "libtx/shared/buf.h"

enum { SERVICE_AGAIN_MS = 1000 /* until what failed, and has to be done, is asked for again */ };

#define PROOF_PREFIX "branch="

/* jobs */

static struct service_job *job_new(struct rm *rm, enum service_op op, const char *branch, void *arg)
{
    struct service_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->op = op;
    job->rm = rm;
    job->arg = arg;
    snprintf(job->branch, sizeof job->branch, "%s", branch);
    return job;
}

static void job_put(struct service_job *job)
{
    struct service *s = job->rm->service;

    TAILQ_INSERT_TAIL(&s->waiting, job, link);
    s->wake(s->wake_arg);
}

struct service_job *service_must(struct rm *rm, enum service_op op, const char *branch, void *arg,
                                 void (*done)(struct service_job *job))
{
    struct service_job *job = job_new(rm, op, branch, arg);

    if (job == NULL)
        abort();
    job->done = done;
    job_put(job);
    return job;
}

/* One that ends in an rm_answer. */
static void job_ask(struct rm *rm, enum service_op op, const char *branch, rm_answer_cb cb, void *arg,
                    void (*done)(struct service_job *job))
{
    service_must(rm, op, branch, arg, done)->answer_cb = cb;
}

static void job_tell(const struct service_job *job, enum rm_outcome outcome, const char *text,
                     const char *proof)
{
    const struct rm_answer a = {.outcome = outcome, .text = text, .proof = proof};

    job->answer_cb(job->arg, &a);
}

const char *service_text(const struct service_job *job)
{
    return *job->text != '\0' ? job->text : tx_strerror(job->answer);
}

/* The same call once more, after a pause. */
static void job_again(const struct service_job *job)
{
    struct service_job *again = service_must(job->rm, job->op, job->branch, job->arg, job->done);

    again->answer_cb = job->answer_cb;
    again->not_before_ms = uv_now(job->rm->options.loop) + SERVICE_AGAIN_MS;
}

bool service_lists(const struct service_job *job, const char *branch)
{
    for (size_t i = 0; i < job->n_found; i++) {
        if (strcmp(job->found[i].gid, branch) == 0)
            return true;
    }
    return false;
}

/* opening and closing */

/* What the program has prepared is known: now requests can be told from doubles. */
static void first_listed(struct service_job *job)
{
    struct rm *rm = job->rm;

    if (job->answer == TX_OK &&
        service_seen_take(&rm->seen, job->branch, job->found, job->n_found, uv_now(rm->options.loop))) {
        rm->options.status(rm->options.arg, true, NULL);
        return;
    }
    if (!rm->told)
        rm->options.status(rm->options.arg, false,
                           "its list_in_doubt has failed, and nothing is taken before it succeeds");
    rm->told = true;
    job_again(job);
}

static void rm_unused(uv_async_t *async)
{
    (void)async;
}

static int rm_open(struct rm **out, const struct rm_options *options, struct tx_error *e)
{
    struct rm *rm = calloc(1, sizeof *rm);

    if (rm == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    rm->options = *options;
    rm->service = options->context;
    LIST_INIT(&rm->works);
    rm->async.data = rm;
    if (uv_async_init(options->loop, &rm->async, rm_unused) != 0) {
        free(rm);
        return err_set(e, TX_EIO, "out of file descriptors");
    }
    rm->service->rm = rm;
    service_must(rm, SERVICE_LIST, GID_PREFIX, NULL, first_listed);
    *out = rm;
    return TX_OK;
}

static void rm_closed(uv_handle_t *handle)
{
    struct rm *rm = handle->data;

    rm->closed(rm->closed_arg);
    service_seen_release(&rm->seen);
    free(rm);
}

/* Not at work any more: its prepare, commit or rollback is with the program. */
static bool work_is_ending(const struct rm_work *w)
{
    const struct service_job *job = service_find(w->rm->service, w->branch);

    return w->prepared || (job != NULL && (job->op == SERVICE_PREPARE || job->op == SERVICE_COMMIT ||
                                           job->op == SERVICE_ROLLBACK));
}

/* What is at work goes with this process: the program is told while it still listens. Not of what it lists: of
 * that it may stand in the log that it is committed. */
static void works_roll_back(struct rm *rm)
{
    const struct tx_participant_callbacks *cb = &rm->service->callbacks;
    struct service_job *list = job_new(rm, SERVICE_LIST, GID_PREFIX, NULL);
    struct rm_work *w;

    if (list != NULL && service_call(rm->service, list) == TX_OK) {
        LIST_FOREACH(w, &rm->works, link)
        {
            if (!work_is_ending(w) && !service_lists(list, w->branch))
                (void)cb->rollback(cb->arg, w->branch);
        }
    }
    if (list != NULL)
        service_job_free(list);
}

/* What the agent still waits for: it is not known. */
static void job_end(const struct service_job *job)
{
    static const char text[] = "the participant is being closed";
    const struct wire_rows rows = {.code = TX_EUNREACHABLE, .text = text};
    const struct rm_list list = {.n = -1};

    if (job->answer_cb != NULL)
        job_tell(job, RM_UNKNOWN, text, NULL);
    if (job->rows_cb != NULL)
        job->rows_cb(job->arg, &rows, true);
    if (job->list_cb != NULL)
        job->list_cb(job->arg, &list);
    if (job->json_cb != NULL)
        job->json_cb(job->arg, NULL, text);
}

static void jobs_end(struct service_jobs *jobs)
{
    struct service_job *job;

    while ((job = TAILQ_FIRST(jobs)) != NULL) {
        TAILQ_REMOVE(jobs, job, link);
        job_end(job);
        service_job_free(job);
    }
}

static void rm_close(struct rm *rm, void (*closed)(void *arg), void *arg)
{
    struct rm_work *w;

    rm->closed = closed;
    rm->closed_arg = arg;
    if (!LIST_EMPTY(&rm->works))
        works_roll_back(rm);
    jobs_end(&rm->service->running);
    jobs_end(&rm->service->waiting);
    rm->service->rm = NULL;
    while ((w = LIST_FIRST(&rm->works)) != NULL) {
        LIST_REMOVE(w, link);
        w->rm = NULL;
    }
    uv_close((uv_handle_t *)&rm->async, rm_closed);
}

/* a branch's work */

static int rm_admit(struct rm *rm, const char *gid, struct tx_error *e)
{
    if (!rm->seen.complete)
        return err_set(e, TX_EUNREACHABLE, "the service has not told yet what it has prepared");
    if (service_seen_has(&rm->seen, gid))
        return err_set(e, TX_EREFUSED, "the request was taken before: its branch is prepared");
    return TX_OK;
}

static struct rm_work *work_begin(struct rm *rm, const char *gid, void (*lost)(void *arg, const char *why),
                                  void *arg)
{
    struct rm_work *w = calloc(1, sizeof *w);

    (void)lost; /* there is no connection that could break */
    (void)arg;
    if (w == NULL)
        return NULL;
    w->rm = rm;
    snprintf(w->branch, sizeof w->branch, "%s", gid);
    LIST_INSERT_HEAD(&rm->works, w, link);
    return w;
}

static void work_end(struct rm_work *w)
{
    if (w->rm != NULL)
        LIST_REMOVE(w, link);
    free(w);
}

/* NULL: not at work. */
static struct rm_work *find_work(const struct rm *rm, const char *branch)
{
    struct rm_work *w;

    LIST_FOREACH(w, &rm->works, link)
    {
        if (strcmp(w->branch, branch) == 0)
            break;
    }
    return w;
}

static void exec_done(struct service_job *job)
{
    int code = job->answer > TX_OK ? TX_ESTATEMENT : job->answer; /* a vote is none of a statement's answers */
    struct wire_rows rows = {.code = code, .text = job->answer == TX_OK ? NULL : service_text(job)};
    struct buf cells;

    buf_init(&cells);
    if (job->answer == TX_OK && *job->text != '\0') {
        buf_put_str(&cells, "result");
        buf_put_str(&cells, job->text);
        rows.n_columns = 1;
        rows.n_rows = 1;
        rows.cells = cells.data;
        rows.cells_len = cells.len;
    }
    job->rows_cb(job->arg, &rows, false);
    buf_release(&cells);
}

static bool exec_copy(struct service_job *job, const struct rm_statement *s)
{
    job->statement = strdup(s->text);
    job->values = calloc((size_t)s->n_values + 1, sizeof *job->values);
    if (job->statement == NULL || job->values == NULL)
        return false;
    for (int i = 0; i < s->n_values; i++) {
        job->n_values = i + 1;
        job->values[i] = s->values[i] == NULL ? NULL : strdup(s->values[i]);
        if (s->values[i] != NULL && job->values[i] == NULL)
            return false;
    }
    return true;
}

static int work_exec(struct rm_work *w, const struct rm_statement *s, rm_rows_cb done, void *arg,
                     struct tx_error *e)
{
    struct service_job *job;

    if (w->rm->service->callbacks.exec == NULL)
        return err_set(e, TX_EREFUSED, "this service takes no statements; call it with txn_export()'s context");
    job = job_new(w->rm, SERVICE_EXEC, w->branch, arg);
    if (job == NULL || !exec_copy(job, s)) {
        if (job != NULL)
            service_job_free(job);
        return err_set(e, TX_ENOMEM, "out of memory");
    }
    job->rows_cb = done;
    job->done = exec_done;
    job_put(job);
    return TX_OK;
}

static void prepare_done(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_PARTICIPANT_READ_ONLY)
        job_tell(job, RM_READ_ONLY, NULL, NULL);
    else
        job_tell(job, RM_REFUSED, service_text(job), NULL);
}

static void work_prepare(struct rm_work *w, const char *gid, rm_answer_cb done, void *arg)
{
    job_ask(w->rm, SERVICE_PREPARE, gid, done, arg, prepare_done);
}

static void proved(struct service_job *job)
{
    char proof[PROOF_LIMIT + 1];

    snprintf(proof, sizeof proof, PROOF_PREFIX "%s", job->branch);
    job_tell(job, RM_DONE, NULL, proof);
}

static void work_prove(struct rm_work *w, rm_answer_cb done, void *arg)
{
    job_ask(w->rm, SERVICE_NOTHING, w->branch, done, arg, proved);
}

/* What commit makes known of a branch that is prepared, or may be. */
static void commit_done(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_ENOTFOUND)
        job_tell(job, RM_HAZARD, "the service knows nothing of this branch", NULL);
    else if (job->answer == TX_EHEURISTIC)
        job_tell(job, RM_HEURISTIC_ROLLBACK, "the service has rolled it back by itself", NULL);
    else
        job_tell(job, RM_FAILED, service_text(job), NULL);
}

/* Goes on until the program has done it: a branch that is prepared here and unknown to the coordinator would
 * stay so for long. */
static void one_phase_committed(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_ENOTFOUND || job->answer == TX_EHEURISTIC)
        job_tell(job, RM_UNKNOWN, service_text(job), NULL);
    else
        job_again(job);
}

/* A program has no commit without prepare. Should it die between the two, the branch is found in doubt, and no
 * decision stands for it: it is rolled back. */
static void one_phase_prepared(struct service_job *job)
{
    struct rm_work *w = find_work(job->rm, job->branch);

    if (job->answer == TX_OK) {
        if (w != NULL)
            w->prepared = true;
        job_ask(job->rm, SERVICE_COMMIT, job->branch, job->answer_cb, job->arg, one_phase_committed);
    } else if (job->answer == TX_PARTICIPANT_READ_ONLY) {
        job_tell(job, RM_DONE, NULL, NULL);
    } else {
        job_tell(job, RM_REFUSED, service_text(job), NULL);
    }
}

static void work_one_phase(struct rm_work *w, rm_answer_cb done, void *arg)
{
    job_ask(w->rm, SERVICE_PREPARE, w->branch, done, arg, one_phase_prepared);
}

/* Goes on until the program has done it, or has said that it is too late. */
static void abandoned(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_EHEURISTIC)
        job_tell(
            job, RM_HEURISTIC_COMMIT,
            "the service says that it is committed: a request of it came again, or somebody did it by hand",
            NULL);
    else
        job_again(job);
}

/* The program knows works by name alone. If a branch of this name is prepared, the work was a double's, and it
 * is the coordinator that says what becomes of the branch. */
static void abandon_listed(struct service_job *job)
{
    if (job->answer != TX_OK)
        job_again(job);
    else if (service_lists(job, job->branch))
        job_tell(job, RM_UNKNOWN, "the branch is prepared; a request of it came again", NULL);
    else
        job_ask(job->rm, SERVICE_ROLLBACK, job->branch, job->answer_cb, job->arg, abandoned);
}

static void work_abandon(struct rm_work *w, rm_answer_cb done, void *arg)
{
    job_ask(w->rm, SERVICE_LIST, w->branch, done, arg, abandon_listed);
}

/* by gid */

static void looked(struct service_job *job)
{
    if (job->answer != TX_OK)
        job_tell(job, RM_UNKNOWN, service_text(job), NULL);
    else
        job_tell(job, service_lists(job, job->branch) ? RM_DONE : RM_NOT_FOUND, NULL, NULL);
}

static void rm_look(struct rm *rm, const char *gid, struct rm_work *work, rm_answer_cb done, void *arg)
{
    (void)work;
    job_ask(rm, SERVICE_LIST, gid, done, arg, looked);
}

static void rm_commit(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg)
{
    job_ask(rm, SERVICE_COMMIT, f->gid, done, arg, commit_done);
}

static void rolled_back(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_EHEURISTIC)
        job_tell(job, RM_HEURISTIC_COMMIT, "the service has committed it by itself", NULL);
    else
        job_tell(job, RM_FAILED, service_text(job), NULL);
}

static void rm_rollback(struct rm *rm, const struct rm_finish *f, rm_answer_cb done, void *arg)
{
    job_ask(rm, SERVICE_ROLLBACK, f->gid, done, arg, rolled_back);
}

/* Committed branches are remembered (libtx_participant.h), so that one of which nothing is known, and which is
 * not at work either, was rolled back. */
static void status_known(struct service_job *job)
{
    if (job->answer == TX_OK)
        job_tell(job, RM_DONE, NULL, NULL);
    else if (job->answer == TX_ENOTFOUND || job->answer == TX_EHEURISTIC)
        job_tell(job, RM_REFUSED, "the service has rolled the branch back", NULL);
    else
        job_tell(job, RM_UNKNOWN, service_text(job), NULL);
}

static void status_listed(struct service_job *job)
{
    if (job->answer != TX_OK || service_lists(job, job->branch) || find_work(job->rm, job->branch) != NULL)
        job_tell(job, RM_UNKNOWN, "not over yet", NULL);
    else
        job_ask(job->rm, SERVICE_COMMIT, job->branch, job->answer_cb, job->arg, status_known);
}

static void status_tells_nothing(struct service_job *job)
{
    job_tell(job, RM_HAZARD, "the proof names no branch of this service", NULL);
}

static void rm_status(struct rm *rm, const char *proof, rm_answer_cb done, void *arg)
{
    size_t n = strlen(PROOF_PREFIX);
    struct txid id;
    unsigned number;

    if (strncmp(proof, PROOF_PREFIX, n) == 0 && gid_parse(proof + n, &id, &number))
        job_ask(rm, SERVICE_LIST, proof + n, done, arg, status_listed);
    else
        job_ask(rm, SERVICE_NOTHING, "", done, arg, status_tells_nothing);
}

const struct rm_ops service_ops = {
    .kind = KIND_SERVICE,
    .by_hand = "the service's own manual",
    .open = rm_open,
    .close = rm_close,
    .admit = rm_admit,
    .begin = work_begin,
    .exec = work_exec,
    .prepare = work_prepare,
    .prove = work_prove,
    .one_phase = work_one_phase,
    .abandon = work_abandon,
    .end = work_end,
    .look = rm_look,
    .commit = rm_commit,
    .rollback = rm_rollback,
    .status = rm_status,
    .list = service_rm_list,
    .inspect = service_rm_inspect,
    .diagnose = service_rm_diagnose,
    .test = service_rm_test,
};
