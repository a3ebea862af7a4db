/* admin_transactions: the verbs transactions and show. */
#include <string.h>

#include "coordinator/admin_task.h"

static cJSON *branch_json(const struct driver_branch *b)
{
    cJSON *o = cJSON_CreateObject();

    admin_add_number(o, "branch", b->number);
    cJSON_AddStringToObject(o, "kind", branch_kind_name((enum branch_kind)b->kind));
    cJSON_AddStringToObject(o, "resource", b->resource);
    cJSON_AddStringToObject(o, "state", b->state);
    cJSON_AddStringToObject(o, "heuristic", heuristic_name((enum heuristic)b->heuristic));
    admin_add_number(o, "prepared_ms", b->prepared_ms);
    admin_add_text(o, "problem", b->problem);
    return o;
}

static cJSON *transaction_json(const struct driver_transaction *t)
{
    cJSON *o = cJSON_CreateObject(), *branches;
    char id[TXID_TEXT_SIZE];

    txid_format(&t->id, id);
    cJSON_AddStringToObject(o, "id", id);
    cJSON_AddStringToObject(o, "state", t->state);
    cJSON_AddStringToObject(o, "verdict", verdict_name(t->verdict));
    admin_add_text(o, "origin", t->verdict == VERDICT_NONE ? NULL : origin_name(t->origin));
    cJSON_AddStringToObject(o, "heuristic", heuristic_name(t->heuristic));
    admin_add_number(o, "age_ms", t->age_ms);
    admin_add_text(o, "reason", t->reason);
    admin_add_number(o, "session", t->id.session);
    admin_add_text(o, "session_state", t->session_known ? admin_session_state(t->session_state) : NULL);
    admin_add_text(o, "application", t->application);
    admin_add_text(o, "next", t->next);
    branches = cJSON_AddArrayToObject(o, "branches");
    for (size_t i = 0; i < t->n_branches; i++)
        cJSON_AddItemToArray(branches, branch_json(&t->branches[i]));
    return o;
}

/* transactions: {all, in_doubt, older_ms, resource, limit, after} -> transactions, a page */

struct walk {
    struct admin_list list;
    bool all; /* with those that are finished and kept for a client to acknowledge */
    bool in_doubt;
    uint64_t older_ms;
    const char *resource; /* NULL: any */
};

/* X/Open: a branch is in doubt from its prepare until it is finished. Where nobody can look now, because its
 * agent or its resource is away, one that is yet to be finished counts. */
static bool is_in_doubt(const struct driver_transaction *t)
{
    if (strcmp(t->state, "in doubt") == 0)
        return true;
    for (size_t i = 0; i < t->n_branches; i++) {
        const struct driver_branch *b = &t->branches[i];

        if (b->prepared_ms > 0 || strcmp(b->state, "prepared") == 0 || strcmp(b->state, "voted yes") == 0 ||
            strcmp(b->state, "committing") == 0 || strcmp(b->state, "rolling back") == 0)
            return true;
    }
    return false;
}

static bool has_resource(const struct driver_transaction *t, const char *resource)
{
    for (size_t i = 0; i < t->n_branches; i++) {
        if (strcmp(t->branches[i].resource, resource) == 0)
            return true;
    }
    return false;
}

static bool add_transaction(void *arg, const struct driver_transaction *t)
{
    struct walk *w = arg;
    char id[TXID_TEXT_SIZE];

    if ((!w->all && strcmp(t->state, "finished") == 0) || (w->in_doubt && !is_in_doubt(t)) ||
        t->age_ms < w->older_ms || (w->resource != NULL && !has_resource(t, w->resource)))
        return true;
    txid_format(&t->id, id);
    return admin_list_add(&w->list, admin_list_full(&w->list) ? NULL : transaction_json(t), id);
}

int admin_transactions(struct admin_task *t, struct tx_error *e)
{
    struct walk w = {
        .all = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(t->question, "all")),
        .in_doubt = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(t->question, "in_doubt")),
        .older_ms = admin_task_number(t, "older_ms", 0),
        .resource = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "resource")),
    };

    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "after"));
    struct txid after;

    if (text != NULL && !txid_parse(text, &after))
        return err_set(e, TX_EINVAL, "«%s» is not a transaction's id", text);
    admin_list_init(&w.list, t);
    driver_each_transaction(t->with->driver, t->now, t->wall, text == NULL ? NULL : &after, add_transaction,
                            &w);
    return admin_list_end(&w.list, t->answer, "transactions", e);
}

/* show: {id} -> transaction, each branch with "inspection" (its agent's answer) or "unanswered" */

static void take_transaction(void *arg, const struct driver_transaction *t)
{
    cJSON **out = arg;

    *out = transaction_json(t);
}

/* What the ledger says of a transaction that is nowhere on its way. */
static int nothing_known(enum standing standing, struct tx_error *e)
{
    switch (standing) {
    case STANDING_ABORT:
        return err_set(e, TX_ENOTFOUND,
                       "it was not committed: no decision stands and its session is over, so any branch that "
                       "still turns up is rolled back");
    case STANDING_OPEN:
        return err_set(e, TX_ENOTFOUND,
                       "nothing is known of it yet: its session is open, but it asked for no commit and no "
                       "agent has seen a branch of it prepared");
    case STANDING_LOST:
        return err_set(e, TX_ENOTFOUND,
                       "not in the backup that this group was restored from, and no agent sees a branch of it");
    case STANDING_FOREIGN:
        return err_set(e, TX_ENOTFOUND, "not a transaction of this coordinator group");
    default:
        return err_set(e, TX_ENOTFOUND,
                       "finished and forgotten: every branch is resolved and its application knows the "
                       "outcome, or it is older than the retention time");
    }
}

static int inspect(struct admin_task *t, const struct txid *id, cJSON *branch, struct tx_error *e)
{
    char text[TXID_TEXT_SIZE];
    struct admin_inquiry q = {
        .resource = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(branch, "resource")),
        .name = "inspection",
        .question = cJSON_CreateObject(),
        .into = branch,
    };

    txid_format(id, text);
    cJSON_AddStringToObject(q.question, "inspect", text);
    cJSON_AddNumberToObject(q.question, "branch",
                            cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(branch, "branch")));
    admin_add_text(q.question, "resource", q.resource);
    return admin_inquire(t, &q, e);
}

int admin_show(struct admin_task *t, struct tx_error *e)
{
    struct driver *driver = t->with->driver;
    cJSON *transaction = NULL, *branch;
    struct txid id;
    int rc = admin_task_id(t, &id, e);

    if (rc != TX_OK)
        return rc;
    if (!driver_show(driver, t->now, t->wall, &id, take_transaction, &transaction))
        return nothing_known(ledger_outcome(driver_ledger(driver), &id), e);
    cJSON_AddItemToObject(t->answer, "transaction", transaction);
    cJSON_ArrayForEach(branch, cJSON_GetObjectItemCaseSensitive(transaction, "branches"))
    {
        rc = inspect(t, &id, branch, e);
        if (rc != TX_OK)
            return rc;
    }
    return TX_OK;
}
