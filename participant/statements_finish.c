/* statements_finish: WIRE_FINISH of an application: proof, end in one phase, rollback and what became of a
 * branch. See statements.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/statements_inside.h"

enum { ASKING_LIMIT = 1024 /* FINISH_STATUS under way */ };

static void statements_finished(struct statements *s, const struct reply_to *to, int code, const char *text,
                                const char *proof)
{
    struct wire_message m = {.type = WIRE_FINISHED, .finished = {code, text, proof}};

    statements_send(s, to, &m);
}

void statements_answer(struct held *h)
{
    struct branch_statements *b = h->statements;
    int code = branch_answer(h->state);

    if (b == NULL || !b->finish_asked)
        return;
    if (b->finish == FINISH_ROLLBACK && code == TX_EROLLBACK)
        code = TX_OK;
    b->finish_asked = false;
    statements_finished(&h->agent->statements, &b->finish_origin, code,
                        h->text != NULL || code == TX_OK ? h->text : tx_strerror(code), h->proof);
}

struct status_asked {
    struct statements *statements;
    struct reply_to origin;
    char proof[PROOF_LIMIT + 1];
};

/* Without a proof the asker takes it that nothing will ever tell, and asks no more. */
static void statements_status_known(void *arg, const struct rm_answer *a)
{
    static const int codes[] = {[RM_DONE] = TX_OK, [RM_REFUSED] = TX_EROLLBACK};
    struct status_asked *q = arg;
    bool known = a->outcome == RM_DONE || a->outcome == RM_REFUSED;
    int code = known ? codes[a->outcome] : TX_EINDOUBT;

    q->statements->asking--;
    statements_finished(q->statements, &q->origin, code, a->text != NULL ? a->text : tx_strerror(code),
                        a->outcome == RM_HAZARD ? NULL : q->proof);
    free(q);
}

static void statements_status(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct resource *r = agent_resource(s->agent, f->resource);
    struct status_asked *q;

    if (r == NULL || f->proof == NULL) {
        statements_finished(
            s, from, TX_EINDOUBT,
            r == NULL ? "this agent does not serve the resource" : "nothing tells without a proof", f->proof);
        return;
    }
    q = s->asking < ASKING_LIMIT ? calloc(1, sizeof *q) : NULL;
    if (q == NULL) {
        statements_error(s, from, TX_EBUSY, "too many such questions at once");
        return;
    }
    s->asking++;
    q->statements = s;
    q->origin = *from;
    snprintf(q->proof, sizeof q->proof, "%s", f->proof);
    r->ops->status(r->rm, f->proof, statements_status_known, q);
}

static void statements_proved(void *arg, const struct rm_answer *a)
{
    struct held *h = arg;
    struct branch_statements *b = h->statements;
    int code = a->outcome == RM_DONE ? TX_OK : TX_EROLLBACK;

    b->proving = false;
    b->proved = code == TX_OK;
    if (b->proved)
        branches_set(&h->proof, a->proof);
    statements_finished(&h->agent->statements, &b->proof_origin, code,
                        a->text != NULL || code == TX_OK ? a->text : tx_strerror(code), a->proof);
}

static void statements_no_proof(struct statements *s, const struct held *h, const struct reply_to *from)
{
    statements_finished(s, from, TX_EROLLBACK,
                        h != NULL && h->text != NULL
                            ? h->text
                            : "the branch is not known here: rolled back after its timeout, or the agent was "
                              "restarted",
                        NULL);
}

/* What will prove the outcome of a commit in one phase. It occupies the connection as a statement does. */
static void statements_prove(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);
    struct branch_statements *b = h != NULL ? h->statements : NULL;

    if (b == NULL || branch_answer(h->state) == TX_EROLLBACK) {
        statements_no_proof(s, h, from);
    } else if (b->proved) {
        statements_finished(s, from, TX_OK, NULL, h->proof);
    } else if (h->state != AT_ACTIVE) {
        statements_error(s, from, TX_EREFUSED, "the coordinator ends this branch");
    } else if (b->proving) {
        b->proof_origin = *from;
    } else if (!statements_complete(h, f->proof)) {
        agent_event(h, ON_INCOMPLETE);
        statements_no_proof(s, h, from);
    } else {
        b->proving = true;
        b->proof_origin = *from;
        h->touched_ms = agent_now(s->agent);
        h->resource->ops->prove(h->work, statements_proved, h);
    }
}

/* Whether this is the very branch that gave the proof. After a restart of the agent late doubles can begin
 * another one of the same name: what is asked of the first must neither commit the second nor be answered by
 * what becomes of it. */
static bool statements_gave(const struct held *h, const char *proof)
{
    if (h == NULL || h->statements == NULL || !h->statements->proved)
        return false;
    if (proof == NULL || h->proof == NULL)
        return proof == h->proof;
    return strcmp(proof, h->proof) == 0;
}

/* To be committed in one phase, and not here: the proof alone tells whether it was committed before. */
static void statements_gone(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);

    if (h != NULL && h->state == AT_ACTIVE)
        agent_event(h, ON_INCOMPLETE);
    statements_finished(s, from, TX_EINDOUBT, "the agent was restarted during the commit", f->proof);
}

/* The branch that is to be finished; one that is not known is entered, so that a late statement finds it ended.
 */
static struct held *statements_held(struct statements *s, const struct wire_finish *f)
{
    struct resource *r = agent_resource(s->agent, f->resource);
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);

    if (h == NULL && r != NULL) {
        h = branches_add(&s->agent->branches, &f->id, f->branch);
        if (h == NULL)
            return NULL;
        h->agent = s->agent;
        h->resource = r;
        h->touched_ms = h->ended_ms = agent_now(s->agent);
    }
    if (h != NULL && h->statements == NULL)
        h->statements = calloc(1, sizeof *h->statements);
    if (h == NULL || h->statements == NULL)
        return NULL;
    statements_own(s, h);
    return h;
}

static void statements_end(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = statements_held(s, f);

    if (h == NULL) {
        statements_error(s, from, TX_EBUSY, "this agent does not serve the resource, or has too many branches");
        return;
    }
    h->statements->finish_asked = true;
    h->statements->finish = f->op;
    h->statements->finish_origin = *from;
    if (agent_event(h, f->op == FINISH_ROLLBACK ? ON_FINISH_ROLLBACK : ON_FINISH_ONE_PHASE) == NULL) {
        h->statements->finish_asked = false;
        statements_error(s, from, TX_EREFUSED, "the coordinator ends this branch");
    }
}

void statements_finish(struct statements *s, const struct wire_finish *f, const struct reply_to *from)
{
    struct held *h = branches_find(&s->agent->branches, &f->id, f->branch);
    struct tx_error e = {0};
    int rc = statements_admit(s, &f->id, &e);

    if (rc == TX_OK)
        rc = statements_check_owner(s, h, &e);
    if (rc == TX_EDENIED)
        statements_denied(s, "finish", f->resource, e.msg);
    if (rc != TX_OK)
        statements_error(s, from, rc, e.msg);
    else if (f->op == FINISH_STATUS)
        statements_status(s, f, from);
    else if (f->op == FINISH_PROOF)
        statements_prove(s, f, from);
    else if (f->op == FINISH_ONE_PHASE && !statements_gave(h, f->proof))
        statements_gone(s, f, from);
    else
        statements_end(s, f, from);
}
