/* words: see words.h. */
#include "libtx/shared/words.h"

const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {"none", "commit", "abort"};

    return names[v];
}

const char *origin_name(enum origin o)
{
    static const char *const names[] = {"client", "coordinator", "recovery", "operator"};

    return names[o];
}

const char *branch_kind_name(enum branch_kind k)
{
    static const char *const names[] = {"direct", "remote"};

    return names[k];
}

const char *heuristic_name(enum heuristic h)
{
    static const char *const names[] = {"none", "heuristic commit", "heuristic rollback", "heuristic hazard"};

    return names[h];
}
