/* act: see act.h. */
#include "coordinator/txadmin/act.h"

#include <string.h>

enum exit_status act_run(const struct arguments *a, const char *verb, const struct act *acts)
{
    for (const struct act *act = acts; act->name != NULL; act++) {
        if (strcmp(act->name, a->operands[0]) != 0)
            continue;
        if (a->n_operands >= act->min && a->n_operands <= act->max)
            return act->run(a);
        complain("usage: txadmin [OPTION...] %s %s%s", verb, act->name, act->operands);
        return EXIT_USAGE;
    }
    complain("«%s %s» is nothing that can be done; see txadmin help %s", verb, a->operands[0], verb);
    return EXIT_USAGE;
}
