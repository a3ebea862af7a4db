/* rm: the kinds of resource managers there are; see rm.h. */
#include "participant/rm.h"

#include <string.h>

#include "participant/rm_mariadb.h"
#include "participant/rm_pg.h"

static const struct rm_ops *const rm_table[] = {
    &rm_pg_ops,
    &rm_mariadb_ops,
};

const struct rm_ops *rm_find(const char *kind)
{
    for (size_t i = 0; i < sizeof rm_table / sizeof *rm_table; i++) {
        if (strcmp(rm_table[i]->kind, kind) == 0)
            return rm_table[i];
    }
    return NULL;
}

const char *rm_kinds(void)
{
    static char names[256];

    names[0] = '\0';
    for (size_t i = 0; i < sizeof rm_table / sizeof *rm_table; i++) {
        if (i > 0)
            strncat(names, ", ", sizeof names - strlen(names) - 1);
        strncat(names, rm_table[i]->kind, sizeof names - strlen(names) - 1);
    }
    return names;
}
