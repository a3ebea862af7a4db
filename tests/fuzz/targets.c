/* targets: all of them; see fuzz.h. */
#include "tests/fuzz/targets.h"

#include <string.h>

static const struct fuzz_target targets[] = {
#define FUZZ_TARGET_ROW(name, mutations) {#name, fuzz_##name##_run, fuzz_##name##_seed, mutations},
    FUZZ_TARGET_LIST(FUZZ_TARGET_ROW)
#undef FUZZ_TARGET_ROW
        {.name = NULL},
};

const struct fuzz_target *fuzz_targets(void)
{
    return targets;
}

const struct fuzz_target *fuzz_target(const char *name)
{
    for (const struct fuzz_target *t = targets; t->name != NULL; t++) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}
