/* finish_vote: phase one of the end: who has written, who votes what, and the shorter way for a single writer.
 * See finish.h.
 */
#include <stdio.h>

#include "libtx/finish_inside.h"
#include "libtx/shared/crash.h"

/* PHASE_VOTE */

/* A branch that cannot take part ends it before anything is sent. */
static bool finish_ready(struct finish *f)
{
    struct txn *t = f->txn;
    uint64_t age_ms = call_now_ms() - t->begun_ms, timeout_ms = t->client->transaction_timeout_ms;

    if (age_ms > timeout_ms)
        f->code = err_set(&f->error, TX_EROLLBACK,
                          "rolled back: the transaction is %llu s old, transaction_timeout_ms is %u s",
                          (unsigned long long)(age_ms / 1000), (unsigned)(timeout_ms / 1000));
    for (size_t i = 0; i < t->n_branches; i++) {
        struct txn_branch *b = t->branches[i];

        if (!b->poisoned && b->driver->ready(b))
            continue;
        finish_fail_branch(f, b);
    }
    return f->code == TX_OK;
}

/* Branches that are expected to write are prepared without being asked first, which saves a round trip, unless
 * the transaction may well end in one phase. */
static void finish_begin_vote(struct finish *f)
{
    struct txn *t = f->txn;
    size_t expected = 0;
    bool predict;

    for (size_t i = 0; i < t->n_branches; i++)
        expected +=
            t->branches[i]->kind == BRANCH_DIRECT && client_expects_write(t->client, t->branches[i]->resource);
    predict = expected > 1 || t->logged || finish_remote(f) > 0;
    for (size_t i = 0; i < t->n_branches; i++) {
        struct txn_branch *b = t->branches[i];

        if (b->kind == BRANCH_DIRECT)
            finish_start(f, b, predict && client_expects_write(t->client, b->resource) ? OP_PREPARE : OP_ASK);
    }
}

void finish_enter_vote(struct finish *f)
{
    if (!finish_ready(f)) {
        finish_enter(f, PHASE_ROLLBACK);
        return;
    }
    crash_point(CRASH_CLIENT_BEFORE_PREPARE);
    finish_begin_vote(f);
}

/* The first branch that voted no, or whose vote is lost; NULL: all yes. */
static struct txn_branch *finish_no(const struct finish *f)
{
    for (size_t i = 0; i < f->txn->n_branches; i++) {
        struct txn_branch *b = finish_branch(f, i);

        if (b->state == BRANCH_REFUSED || b->state == BRANCH_UNKNOWN || b->state == BRANCH_ROLLED_BACK)
            return b;
    }
    return NULL;
}

bool finish_step_vote(struct finish *f)
{
    size_t writers = finish_count(f, BRANCH_DIRECT, BRANCH_WRITER);
    size_t prepared = finish_count(f, BRANCH_DIRECT, BRANCH_PREPARED), remote = finish_remote(f);
    struct txn_branch *no = finish_no(f);

    if (no != NULL) {
        finish_fail_branch(f, no);
        finish_enter(f, PHASE_ROLLBACK);
    } else if (writers + prepared + remote == 0) {
        finish_enter(f, PHASE_OVER); /* nobody wrote, and all are committed */
    } else if (writers + remote == 1 && prepared == 0 && !f->txn->logged) {
        finish_enter(f, PHASE_SINGLE);
    } else if (writers == 0) {
        finish_enter(f, PHASE_DECIDE);
    } else {
        for (size_t i = 0; i < f->txn->n_branches; i++) {
            if (finish_branch(f, i)->state == BRANCH_WRITER)
                finish_start(f, finish_branch(f, i), OP_PREPARE);
        }
    }
    return true;
}

/* PHASE_SINGLE */

static struct txn_branch *finish_single(const struct finish *f)
{
    size_t i = 0;

    while (finish_branch(f, i)->state == BRANCH_READ_ONLY)
        i++;
    return finish_branch(f, i);
}

void finish_enter_single(struct finish *f)
{
    finish_start(f, finish_single(f), OP_COMMIT);
    crash_point(CRASH_CLIENT_ONE_PHASE_SENT);
}

bool finish_step_single(struct finish *f)
{
    struct txn_branch *b = finish_single(f);

    if (b->state == BRANCH_COMMITTED) {
        f->verdict = VERDICT_COMMIT;
        finish_enter(f, PHASE_OVER);
    } else if (b->state == BRANCH_REFUSED) {
        finish_fail_branch(f, b);
        finish_enter(f, PHASE_ROLLBACK);
    } else if (!f->probed && call_now_ms() < f->deadline_ms) {
        f->probed = true;
        finish_start(f, b, OP_STATUS);
    } else {
        finish_fail(f, TX_EINDOUBT, b->cause.msg);
        finish_enter(f, PHASE_OVER);
    }
    return true;
}
