/* txn: a transaction from begin to end, as libtx.h describes it; this is its inside.
 *
 * txn.c begins, keeps the branches and runs the end; finish.c is the end itself, as a state machine.
 */
#ifndef LIBTX_TXN_H
#define LIBTX_TXN_H

#include "libtx/client.h"
#include "libtx/shared/txid.h"
#include "libtx/txn_branch.h"

struct txn {
    struct tx_client *client;
    struct txid id;
    char text[TXID_TEXT_SIZE];
    bool logged;   /* txn_id() was called: the outcome must be in the ledger */
    bool unlogged; /* over without the ledger: nobody could look it up */
    bool over;
    uint64_t begun_ms;
    struct waiter *waiter; /* while it ends */
    size_t n_branches;
    struct txn_branch *branches[BRANCH_LIMIT]; /* owned */
};

/* Adds a branch with the driver's link, which is the branch's from then on. TX_EINVAL: over, not a name, the
 * resource has a branch already; TX_EBUSY: too many; TX_ENOMEM. */
int txn_add_branch(struct txn *t, enum branch_kind kind, const char *resource,
                   const struct branch_driver *driver, void *link, struct txn_branch **out, struct tx_error *e);
/* Takes back the branch that was added last; its link is the caller's again. */
void txn_drop_branch(struct txn *t, struct txn_branch *b);
/* NULL: none. */
struct txn_branch *txn_find_branch(const struct txn *t, const char *resource);
/* From now on the branch can only be rolled back; `e` says why, the first reason stays. */
void txn_poison(struct txn_branch *b, const struct tx_error *e);

#endif
