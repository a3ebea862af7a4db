/* txn: see txn.h, and libtx.h for the public functions. */
#include "libtx/txn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/finish.h"

/* begin */

int txn_begin(tx_client *client, txn **out, struct tx_error *error)
{
    struct txn *t = calloc(1, sizeof *t);
    int rc;

    if (t == NULL)
        return err_set(error, TX_ENOMEM, "out of memory");
    rc = session_begin(&client->session, &t->id, error);
    if (rc != TX_OK) {
        free(t);
        return rc;
    }
    t->client = client;
    t->begun_ms = call_now_ms();
    txid_format(&t->id, t->text);
    *out = t;
    return TX_OK;
}

const char *txn_id(txn *t)
{
    t->logged = true;
    return t->unlogged ? "" : t->text;
}

/* branches */

struct txn_branch *txn_find_branch(const struct txn *t, const char *resource)
{
    for (size_t i = 0; i < t->n_branches; i++) {
        if (strcmp(t->branches[i]->resource, resource) == 0)
            return t->branches[i];
    }
    return NULL;
}

static int txn_check_branch(const struct txn *t, const char *resource, struct tx_error *e)
{
    if (t->over)
        return err_set(e, TX_EINVAL, "the transaction is over already");
    if (resource == NULL || !wire_name_valid(resource))
        return err_set(e, TX_EINVAL, "resource «%.80s»: write 1 to %d of a-z A-Z 0-9 _ . -",
                       resource != NULL ? resource : "", NAME_LIMIT);
    if (txn_find_branch(t, resource) != NULL)
        return err_set(e, TX_EINVAL, "%s has a branch in this transaction already", resource);
    if (t->n_branches == BRANCH_LIMIT)
        return err_set(e, TX_EBUSY, "a transaction has at most %d branches", BRANCH_LIMIT);
    return TX_OK;
}

int txn_add_branch(struct txn *t, enum branch_kind kind, const char *resource,
                   const struct branch_driver *driver, void *link, struct txn_branch **out, struct tx_error *e)
{
    int rc = txn_check_branch(t, resource, e);
    struct txn_branch *b;

    if (rc != TX_OK)
        return rc;
    b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    strcpy(b->resource, resource);
    b->txn = t;
    b->kind = (uint8_t)kind;
    b->driver = driver;
    b->link = link;
    t->branches[t->n_branches++] = b;
    b->number = (uint16_t)t->n_branches;
    *out = b;
    return TX_OK;
}

void txn_drop_branch(struct txn *t, struct txn_branch *b)
{
    assert(t->branches[t->n_branches - 1] == b);
    t->n_branches--;
    free(b);
}

void txn_poison(struct txn_branch *b, const struct tx_error *e)
{
    if (b->poisoned)
        return;
    b->poisoned = true;
    b->cause = *e;
}

/* end */

/* Sleeps until finish_step() has something to do. Who awaits no answer from coordinator or agent leaves the
 * channels alone. */
static void txn_wait(struct txn *t, struct finish *f)
{
    struct pollfd fds[BRANCH_LIMIT];
    uint64_t until_ms = f->deadline_ms;
    bool calling;
    size_t n = finish_wants(f, fds, &until_ms, &calling);

    if (calling)
        calls_wait(t->client->calls, t->waiter, fds, n, until_ms);
    else
        (void)poll(fds, (nfds_t)n, calls_poll_ms(until_ms));
}

static int txn_run(struct txn *t, struct finish *f, struct tx_error *error)
{
    while (!finish_step(f))
        txn_wait(t, f);
    finish_release(f);
    calls_waiter_give(t->client->calls, t->waiter);
    t->waiter = NULL;
    t->over = true;
    if (f->code != TX_OK && error != NULL)
        *error = f->error;
    return f->code;
}

/* What a transaction needs for its end, ready before anything irrevocable is done. */
static int txn_arm(struct txn *t, struct finish **f, struct tx_error *error)
{
    if (t->over)
        return err_set(error, TX_EINVAL, "the transaction is over already");
    t->waiter = calls_waiter_take(t->client->calls);
    *f = t->waiter != NULL ? malloc(sizeof **f) : NULL;
    if (*f != NULL)
        return TX_OK;
    calls_waiter_give(t->client->calls, t->waiter);
    t->waiter = NULL;
    return err_set(error, TX_ENOMEM, "out of memory or file descriptors; the transaction is still open");
}

int txn_commit(txn *t, enum txn_return when, struct tx_error *error)
{
    struct finish *f;
    int rc;

    if (when != TXN_COMPLETED && when != TXN_DECISION_LOGGED)
        return err_set(error, TX_EINVAL, "when: neither TXN_COMPLETED nor TXN_DECISION_LOGGED");
    rc = txn_arm(t, &f, error);
    if (rc != TX_OK)
        return rc;
    finish_commit(f, t, when);
    rc = txn_run(t, f, error);
    free(f);
    return rc;
}

int txn_rollback(txn *t, struct tx_error *error)
{
    struct finish *f;
    int rc = txn_arm(t, &f, error);

    if (rc != TX_OK)
        return rc;
    finish_rollback(f, t);
    rc = txn_run(t, f, error);
    free(f);
    return rc;
}

void txn_free(txn *t)
{
    if (t == NULL)
        return;
    if (!t->over)
        (void)txn_rollback(t, NULL);
    for (size_t i = 0; i < t->n_branches; i++) {
        t->branches[i]->driver->release(t->branches[i]);
        free(t->branches[i]);
    }
    free(t);
}
