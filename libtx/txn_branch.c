/* txn_branch: see txn_branch.h. */
#include "libtx/txn_branch.h"

#include <assert.h>
#include <stddef.h>

static const struct {
    enum branch_op op;
    enum branch_answer answer;
    enum branch_state next;
} branch_table[] = {
    {OP_ASK, ANSWER_YES, BRANCH_WRITER},
    {OP_ASK, ANSWER_READ_ONLY, BRANCH_ACTIVE}, /* OP_COMMIT_READ_ONLY follows at once */
    {OP_ASK, ANSWER_NO, BRANCH_REFUSED},
    {OP_ASK, ANSWER_LOST, BRANCH_ROLLED_BACK}, /* not prepared: the server rolls it back */

    {OP_COMMIT_READ_ONLY, ANSWER_YES, BRANCH_READ_ONLY},
    {OP_COMMIT_READ_ONLY, ANSWER_NO, BRANCH_REFUSED},       /* e.g. what it read cannot be serialized */
    {OP_COMMIT_READ_ONLY, ANSWER_LOST, BRANCH_ROLLED_BACK}, /* nothing to lose but the vote */

    {OP_PREPARE, ANSWER_YES, BRANCH_PREPARED},
    {OP_PREPARE, ANSWER_NO, BRANCH_REFUSED},
    {OP_PREPARE, ANSWER_LOST, BRANCH_UNKNOWN},

    {OP_COMMIT, ANSWER_YES, BRANCH_COMMITTED},
    {OP_COMMIT, ANSWER_NO, BRANCH_REFUSED},
    {OP_COMMIT, ANSWER_LOST, BRANCH_IN_DOUBT},

    {OP_STATUS, ANSWER_YES, BRANCH_COMMITTED},
    {OP_STATUS, ANSWER_NO, BRANCH_REFUSED},
    {OP_STATUS, ANSWER_LOST, BRANCH_IN_DOUBT},

    {OP_ROLLBACK, ANSWER_YES, BRANCH_ROLLED_BACK},
    {OP_ROLLBACK, ANSWER_NO, BRANCH_ROLLED_BACK},   /* its transaction is over by other means */
    {OP_ROLLBACK, ANSWER_LOST, BRANCH_ROLLED_BACK}, /* its server or agent does it */

    {OP_COMMIT_PREPARED, ANSWER_YES, BRANCH_COMMITTED},
    {OP_COMMIT_PREPARED, ANSWER_BUSY, BRANCH_PREPARED},
    {OP_COMMIT_PREPARED, ANSWER_NO, BRANCH_LEFT},
    {OP_COMMIT_PREPARED, ANSWER_LOST, BRANCH_LEFT},

    {OP_ROLLBACK_PREPARED, ANSWER_YES, BRANCH_ROLLED_BACK}, /* also: no longer there */
    {OP_ROLLBACK_PREPARED, ANSWER_BUSY, BRANCH_PREPARED},
    {OP_ROLLBACK_PREPARED, ANSWER_NO, BRANCH_LEFT},
    {OP_ROLLBACK_PREPARED, ANSWER_LOST, BRANCH_LEFT},
};

enum branch_state branch_next(enum branch_op op, enum branch_answer answer)
{
    size_t i = 0;

    while (branch_table[i].op != op || branch_table[i].answer != answer) {
        i++;
        assert(i < sizeof branch_table / sizeof branch_table[0]);
    }
    return branch_table[i].next;
}

const char *branch_op_name(enum branch_op op)
{
    static const char *const names[] = {"nothing",          "ask",    "commit (read-only)", "prepare",
                                        "commit",           "status", "rollback",           "commit prepared",
                                        "rollback prepared"};

    return names[op];
}
