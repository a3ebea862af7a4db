/* verb_transactions: see txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/list.h"
#include "coordinator/txadmin/txadmin.h"

static cJSON *question(const struct arguments *a)
{
    cJSON *q = caller_question("transactions");

    if (a->all)
        cJSON_AddTrueToObject(q, "all");
    if (a->in_doubt)
        cJSON_AddTrueToObject(q, "in_doubt");
    if (a->older_ms > 0)
        cJSON_AddNumberToObject(q, "older_ms", a->older_ms);
    if (a->resource != NULL)
        cJSON_AddStringToObject(q, "resource", a->resource);
    return q;
}

/* "bank_a, bank_b", cut where there are many. */
static void branches_text(const cJSON *t, char *out, size_t size)
{
    const cJSON *branch;
    size_t n = 0;

    out[0] = '\0';
    cJSON_ArrayForEach(branch, cJSON_GetObjectItemCaseSensitive(t, "branches"))
    {
        n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", text_of(branch, "resource"));
        if (n >= size)
            return;
    }
}

static void add_row(struct table *table, const cJSON *t)
{
    char branches[256];

    branches_text(t, branches, sizeof branches);
    table_add(table, text_of(t, "id"));
    table_add(table, text_of(t, "state"));
    table_add(table, age_text(number_of(t, "age_ms")));
    table_add(table, or_dash(text_of(t, "application")));
    table_add(table, or_dash(branches));
}

enum exit_status verb_transactions(const struct arguments *a)
{
    bool filtered = a->in_doubt || a->older_ms > 0 || a->resource != NULL;
    struct list list = {"transactions", "ID|STATE|>AGE|APPLICATION|BRANCHES", add_row,
                        filtered ? "No such transaction."
                                 : "No transaction is in flight, in doubt or unfinished."};

    return list_print(a, question(a), &list);
}
