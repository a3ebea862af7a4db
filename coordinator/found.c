/* found: see found.h. */
#include "coordinator/found.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/flights.h"

static struct found_key key_of(const struct txid *id, uint16_t branch, const char *resource)
{
    struct found_key key = {.id = *id, .branch = branch};

    strncpy(key.resource, resource, NAME_LIMIT); /* pads */
    return key;
}

struct found *found_get(const struct driver *d, const struct txid *id, uint16_t branch, const char *resource)
{
    struct found_key key = key_of(id, branch, resource);
    struct found *f;

    HASH_FIND(hh, d->found, &key, sizeof key, f);
    return f;
}

static struct doubt *doubt_find(const struct driver *d, const struct txid *id)
{
    struct doubt *doubt;

    HASH_FIND(hh, d->doubts, id, sizeof *id, doubt);
    return doubt;
}

struct found *found_of(const struct driver *d, const struct txid *id)
{
    const struct doubt *doubt = doubt_find(d, id);

    return doubt == NULL ? NULL : doubt->branches;
}

static void join_doubt(struct driver *d, struct found *f)
{
    struct doubt *doubt = doubt_find(d, &f->key.id);

    if (doubt == NULL) {
        doubt = driver_alloc(1, sizeof *doubt);
        doubt->id = f->key.id;
        HASH_ADD(hh, d->doubts, id, sizeof doubt->id, doubt);
    }
    f->doubt = doubt;
    DL_APPEND(doubt->branches, f);
}

static void leave_doubt(struct driver *d, struct found *f)
{
    DL_DELETE(f->doubt->branches, f);
    if (f->doubt->branches != NULL)
        return;
    HASH_DEL(d->doubts, f->doubt);
    free(f->doubt);
}

/* The table's bound is the flights'. What has no place is told by the next scan again. */
static struct found *note(struct driver *d, const struct wire_report *r)
{
    struct found *f = found_get(d, &r->id, r->branch, r->resource);

    if (f == NULL) {
        if (HASH_COUNT(d->found) >= d->options.max_transactions)
            return NULL;
        f = driver_alloc(1, sizeof *f);
        f->key = key_of(&r->id, r->branch, r->resource);
        HASH_ADD(hh, d->found, key, sizeof f->key, f);
        join_doubt(d, f);
    }
    f->age_ms = r->age_ms;
    f->heard_ms = d->now;
    return f;
}

static void found_free(struct driver *d, struct found *f)
{
    agents_cancel(&f->work);
    leave_doubt(d, f);
    HASH_DEL(d->found, f);
    free(f->problem);
    free(f);
}

bool found_done(struct driver *d, const struct txid *id, uint16_t branch, const char *resource)
{
    struct found *f = found_get(d, id, branch, resource);

    if (f != NULL)
        found_free(d, f);
    return f != NULL;
}

size_t found_collect(const struct driver *d, const struct txid *id, struct branch_ref *out)
{
    size_t n = 0;

    for (const struct found *f = found_of(d, id); f != NULL && n < BRANCH_LIMIT; f = f->next)
        out[n++] = (struct branch_ref){
            .number = (uint16_t)f->key.branch, .kind = BRANCH_DIRECT, .resource = f->key.resource};
    return n;
}

/* The proof that the vote brought, where the record knows the branch. */
static const char *proof_of(const struct driver *d, const struct found *f)
{
    const struct decision *decision = ledger_decision(d->ledger, f->key.id.session, f->key.id.sequence);

    for (size_t i = 0; decision != NULL && i < decision->n_branches; i++)
        if (decision->branches[i].number == f->key.branch)
            return decision->branches[i].proof;
    return NULL;
}

static void hand_out(struct driver *d, struct found *f, enum work_kind kind)
{
    const char *proof = proof_of(d, f);

    if (!agents_due(d, &f->work))
        return;
    snprintf(f->proof, sizeof f->proof, "%s", proof != NULL ? proof : "");
    f->work.item = (struct wire_work_item){.kind = (uint8_t)kind,
                                           .id = f->key.id,
                                           .branch = (uint16_t)f->key.branch,
                                           .branch_kind = BRANCH_DIRECT,
                                           .resource = f->key.resource,
                                           .proof = proof != NULL ? f->proof : NULL};
    agents_queue(d, &f->work);
}

/* The client had its time and has not asked; it may still do so, and then gets what stands. */
static void abort_old(struct driver *d, const struct found *f)
{
    const struct session *s = ledger_session(d->ledger, f->key.id.session);
    struct branch_ref branches[BRANCH_LIMIT];
    struct flight_start start = {.id = f->key.id,
                                 .verdict = VERDICT_ABORT,
                                 .origin = ORIGIN_RECOVERY,
                                 .agents_finish = true,
                                 .branches = branches};
    struct flight *flight;

    if (s == NULL || f->age_ms <= s->transaction_timeout_ms || flights_full(d))
        return;
    start.n = found_collect(d, &f->key.id, branches);
    flight = flights_add(d, &start);
    flights_reason(flight, "prepared for %llu s without a commit; the transaction's timeout is %u ms",
                   (unsigned long long)(f->age_ms / 1000), s->transaction_timeout_ms);
    flights_do(d, flight, commit_step(&flight->commit, COMMIT_CHOSEN));
}

void found_report(struct driver *d, const struct wire_report *r)
{
    enum standing standing = ledger_branch_standing(d->ledger, &r->id);
    struct flight *flight = flights_find(d, r->id.session, r->id.sequence);
    struct commit_branch *b = flight == NULL ? NULL : commit_find(&flight->commit, r->branch, r->resource);
    struct found *f = standing == STANDING_FOREIGN ? NULL : note(d, r);

    if (f == NULL)
        return;
    if (standing == STANDING_LOST && flight == NULL)
        return; /* an operator's */
    if (standing == STANDING_OPEN) {
        if (flight == NULL)
            abort_old(d, f);
    } else if (flight != NULL && flight->commit.state == COMMIT_RESOLVING && b != NULL &&
               b->state == BRANCH_FINISHING) {
        flights_seen(d, flight, b);
    } else {
        hand_out(d, f, standing == STANDING_COMMIT ? WORK_COMMIT : WORK_ROLLBACK);
    }
}

void found_tick(struct driver *d)
{
    struct found *f, *next;

    HASH_ITER(hh, d->found, f, next)
    {
        if (d->now - f->heard_ms > FOUND_MS)
            found_free(d, f);
    }
}

void found_clear(struct driver *d)
{
    struct found *f, *next;

    HASH_ITER(hh, d->found, f, next)
    {
        found_free(d, f);
    }
}
