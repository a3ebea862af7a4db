/* list: see list.h. */
#include "coordinator/txadmin/list.h"

#include <stdio.h>

enum exit_status list_print(const struct arguments *a, cJSON *question, const struct list *l)
{
    const cJSON *items, *item;
    struct table table;
    cJSON *answer;
    enum exit_status status;

    if (a->json)
        return caller_print(a, question);
    status = caller_ask(a, question, &answer);
    if (status != EXIT_DONE)
        return status;
    items = cJSON_GetObjectItemCaseSensitive(answer, l->name);
    table_init(&table, l->columns);
    cJSON_ArrayForEach(item, items)
    {
        l->add_row(&table, item);
    }
    if (number_of(answer, "total") == 0)
        printf("%s\n", l->none);
    table_print(&table);
    if (truth_of(answer, "truncated"))
        printf("(the first %d of %.0f)\n", cJSON_GetArraySize(items), number_of(answer, "total"));
    cJSON_Delete(answer);
    return EXIT_DONE;
}
