/* act: verbs that are several, told apart by their first operand: resource add, node remove, key list. */
#ifndef ASSENT_TXADMIN_ACT_H
#define ASSENT_TXADMIN_ACT_H

#include "coordinator/txadmin/txadmin.h"

struct act {
    const char *name, *operands; /* as usage shows what follows the name; NULL name ends a table */
    int min, max;                /* operands, its name among them */
    enum exit_status (*run)(const struct arguments *a);
};

/* Runs the one that is named; EXIT_USAGE: there is none, or not with so many operands. */
enum exit_status act_run(const struct arguments *a, const char *verb, const struct act *acts);

#endif
