/* pg_reply: see pg_reply.h. SQLSTATEs: PostgreSQL 15 manual, Appendix A. */
#include "libtx/pg_reply.h"

#include <stdio.h>
#include <string.h>

#include "libtx/shared/err.h"

void pg_first_line(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    out[strcspn(out, "\n")] = '\0';
}

/* The tag that means «done»; NULL where a row does. */
static const char *pg_tag(enum branch_op op)
{
    switch (op) {
    case OP_PREPARE:
        return "PREPARE TRANSACTION";
    case OP_COMMIT:
    case OP_COMMIT_READ_ONLY:
        return "COMMIT";
    case OP_ROLLBACK:
        return "ROLLBACK";
    case OP_COMMIT_PREPARED:
        return "COMMIT PREPARED";
    case OP_ROLLBACK_PREPARED:
        return "ROLLBACK PREPARED";
    default:
        return NULL;
    }
}

static bool pg_is(const struct pg_reply *r, const char *sqlstate)
{
    return strcmp(r->sqlstate, sqlstate) == 0;
}

enum branch_answer pg_judge(enum branch_op op, const struct pg_reply *r)
{
    const char *tag = pg_tag(op);
    bool finishing = op == OP_COMMIT_PREPARED || op == OP_ROLLBACK_PREPARED;

    if (tag != NULL && strcmp(r->tag, tag) == 0)
        return ANSWER_YES;
    if (op == OP_ASK && r->rows && !r->lost)
        return *r->column[0] != '\0' ? ANSWER_YES : ANSWER_READ_ONLY;
    if (r->lost)
        return ANSWER_LOST;
    if (finishing && pg_is(r, "55000"))
        return ANSWER_BUSY;
    if (op == OP_ROLLBACK_PREPARED && pg_is(r, "42704"))
        return ANSWER_YES; /* not there: an agent was faster, or the PREPARE never came through */
    return ANSWER_NO;
}

/* The first row whose SQLSTATE begins so counts; OP_NONE stands for any operation. */
static const struct {
    enum branch_op op;
    const char *sqlstate, *remedy;
} pg_remedies[] = {
    {OP_PREPARE, "0A000",
     "do without temporary tables, the session's advisory locks, LISTEN/NOTIFY, WITH HOLD cursors, exported "
     "snapshots here"},
    {OP_PREPARE, "55000", "set max_prepared_transactions in postgresql.conf and restart the server"},
    {OP_PREPARE, "53200", "raise max_prepared_transactions, or see txadmin transactions for stuck ones"},
    {OP_PREPARE, "42710", "is the branch prepared by somebody else under our name?"},
    {OP_PREPARE, "25006", "enlist a connection to the primary, not to a standby"},
    {OP_COMMIT_PREPARED, "42501", "the agent's role must be the branch's owner or a superuser"},
    {OP_NONE, "40", "retry the transaction"},
    {OP_NONE, "23", "a constraint that was deferred to the end does not hold"},
    {OP_NONE, "25P02", "a statement before it had failed"},
    {OP_NONE, "57014", "see statement_timeout, or who cancels"},
    {OP_NONE, "57P", "retry when the server is up again"},
    {OP_NONE, "53", "the server is out of a resource"},
    {OP_NONE, "42883", "PostgreSQL 13 or later is needed"},
};

const char *pg_remedy(enum branch_op op, const char *sqlstate)
{
    for (size_t i = 0; i < sizeof pg_remedies / sizeof pg_remedies[0]; i++) {
        const char *want = pg_remedies[i].sqlstate;

        if ((pg_remedies[i].op == OP_NONE || pg_remedies[i].op == op) &&
            strncmp(sqlstate, want, strlen(want)) == 0)
            return pg_remedies[i].remedy;
    }
    return NULL;
}

void pg_explain(struct tx_error *e, const char *resource, enum branch_op op, const struct pg_reply *r)
{
    const char *remedy = pg_remedy(op, r->sqlstate), *what = branch_op_name(op);

    if (*r->sqlstate != '\0')
        err_set(e, TX_EROLLBACK, "%s: %s: %s %s%s%s", resource, what, r->sqlstate, r->text,
                remedy != NULL ? "; " : "", remedy != NULL ? remedy : "");
    else if (r->lost)
        err_set(e, TX_EROLLBACK, "%s: %s: connection lost%s%s", resource, what, *r->text != '\0' ? ": " : "",
                r->text);
    else if (strcmp(r->tag, "ROLLBACK") == 0)
        err_set(e, TX_EROLLBACK, "%s: %s: the server rolled back: a statement before it had failed", resource,
                what);
    else
        err_set(e, TX_EROLLBACK, "%s: %s: unexpected answer «%s» %s", resource, what, r->tag, r->text);
}
