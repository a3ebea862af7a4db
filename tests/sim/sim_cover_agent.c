/* sim_cover_agent: rows of participant/branch.c's table. */
#include "participant/branch.h"
#include "tests/sim/sim_cover.h"

const struct branch_rule *__real_branch_on(enum branch_state state, enum branch_event event);
const struct branch_rule *__wrap_branch_on(enum branch_state state, enum branch_event event);

const struct branch_rule *__wrap_branch_on(enum branch_state state, enum branch_event event)
{
    const struct branch_rule *rule = __real_branch_on(state, event);
    size_t n;

    if (rule != NULL)
        sim_tally->agent_rows[rule - branch_rules(&n)] = 1;
    return rule;
}

void cover_print_agent(FILE *out, const struct tally *t)
{
    size_t n, reached = 0;
    const struct branch_rule *rules = branch_rules(&n);

    for (size_t i = 0; i < n; i++) {
        reached += t->agent_rows[i];
        if (!t->agent_rows[i])
            fprintf(out, "  not reached  branch: %s, %s: %s\n", branch_state_name(rules[i].state),
                    branch_event_name(rules[i].event), rules[i].reason);
    }
    fprintf(out, "branch.c          %zu of %zu rows\n", reached, n);
}
