/* sim_cover_client: rows of libtx/txn_branch.c's table. */
#include "libtx/txn_branch.h"
#include "tests/sim/sim.h"

enum { ANSWERS = 8, ROWS = 27 };

enum branch_state __real_branch_next(enum branch_op op, enum branch_answer answer);
enum branch_state __wrap_branch_next(enum branch_op op, enum branch_answer answer);

enum branch_state __wrap_branch_next(enum branch_op op, enum branch_answer answer)
{
    sim_tally->client_rows[(unsigned)op * ANSWERS + (unsigned)answer] = 1;
    return __real_branch_next(op, answer);
}

void cover_print_client(FILE *out, const struct tally *t)
{
    unsigned reached = 0;

    for (unsigned i = 0; i < COVER_ROWS; i++)
        reached += t->client_rows[i];
    fprintf(out, "txn_branch.c      %u of %u rows\n", reached, (unsigned)ROWS);
}
