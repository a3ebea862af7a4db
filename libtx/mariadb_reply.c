/* mariadb_reply: see mariadb_reply.h. Codes: MariaDB manual, «MariaDB Error Code Reference». */
#include "libtx/mariadb_reply.h"

#include <stddef.h>

#include "libtx/shared/err.h"

/* The client library's own errors, and the server's farewells: shutdown, aborted, killed, idle for too long. */
bool mariadb_is_lost(unsigned error)
{
    return (error >= 2000 && error < 3000) || error == 1053 || error == 1152 || error == 1927 || error == 4031;
}

bool mariadb_is_rolled_back(unsigned error)
{
    return error == 0 || error == MARIADB_RB_ROLLBACK || error == MARIADB_RB_TIMEOUT ||
           error == MARIADB_RB_DEADLOCK;
}

enum branch_answer mariadb_judge(enum branch_op op, const struct mariadb_reply *r)
{
    if (mariadb_is_lost(r->error))
        return ANSWER_LOST;
    if (op == OP_ROLLBACK || op == OP_ROLLBACK_PREPARED)
        return mariadb_is_rolled_back(r->error) ? ANSWER_YES : ANSWER_NO;
    return r->error == 0 ? ANSWER_YES : ANSWER_NO;
}

#define SETUP "run sql/setup-mariadb.sql with the connection's user among its @applications"
#define LEAVE_IT "leave XA, COMMIT and ROLLBACK on the connection to txn_commit() and txn_rollback()"

static const struct {
    unsigned error;
    const char *remedy;
} mariadb_remedies[] = {
    {1044, SETUP},
    {1049, SETUP},
    {1142, SETUP},
    {1143, SETUP},
    {1146, SETUP},
    {1054, SETUP},
    {1062, "is the branch prepared by somebody else under our name?"},
    {1205, "retry the transaction"},
    {1213, "retry the transaction"},
    {MARIADB_RB_ROLLBACK, "retry the transaction"},
    {MARIADB_RB_TIMEOUT, "retry the transaction"},
    {MARIADB_RB_DEADLOCK, "retry the transaction"},
    {1290, "enlist a connection to the primary, not to a read-only server"},
    {1317, "see who kills queries"},
    {1399, LEAVE_IT},
    {MARIADB_NOTA, LEAVE_IT},
    {1440, "is the branch begun by somebody else under our name?"},
    {1792, "begin it without READ ONLY, where it is expected to write"},
    {1969, "see max_statement_time"},
};

const char *mariadb_remedy(unsigned error)
{
    for (size_t i = 0; i < sizeof mariadb_remedies / sizeof mariadb_remedies[0]; i++) {
        if (mariadb_remedies[i].error == error)
            return mariadb_remedies[i].remedy;
    }
    return NULL;
}

void mariadb_explain(struct tx_error *e, const char *resource, enum branch_op op, const struct mariadb_reply *r)
{
    const char *remedy = mariadb_remedy(r->error), *what = branch_op_name(op);

    if (r->error == MARIADB_FAILED)
        err_set(e, TX_EROLLBACK, "%s: %s: a statement on its connection had failed", resource, what);
    else if (r->error == MARIADB_ENDED)
        err_set(e, TX_EROLLBACK, "%s: %s: the branch on the connection was ended by somebody else; %s",
                resource, what, LEAVE_IT);
    else if (mariadb_is_lost(r->error))
        err_set(e, TX_EROLLBACK, "%s: %s: connection lost: %u %s", resource, what, r->error, r->text);
    else
        err_set(e, TX_EROLLBACK, "%s: %s: %u %s%s%s", resource, what, r->error, r->text,
                remedy != NULL ? "; " : "", remedy != NULL ? remedy : "");
}
