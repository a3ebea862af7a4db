/* list: see list.h. */
#include "coordinator/txadmin/list.h"

#include <stdio.h>

/* One page: what is behind `after` (NULL: from the first), at most `room`. */
static enum exit_status fetch_page(const struct arguments *a, const cJSON *question, const char *after,
                                   double room, cJSON **page)
{
    cJSON *q = cJSON_Duplicate(question, true);

    if (after != NULL)
        cJSON_AddStringToObject(q, "after", after);
    if (room > 0)
        cJSON_AddNumberToObject(q, "limit", room);
    return caller_ask(a, q, page);
}

static void move_items(cJSON *from, cJSON *to)
{
    cJSON *item;

    while ((item = cJSON_DetachItemFromArray(from, 0)) != NULL)
        cJSON_AddItemToArray(to, item);
}

enum exit_status list_fetch(const struct arguments *a, const cJSON *question, const char *name, cJSON **answer)
{
    enum exit_status status = fetch_page(a, question, NULL, a->limit, answer);
    cJSON *items, *page, *next;
    double n;

    if (status != EXIT_DONE)
        return status;
    items = cJSON_GetObjectItemCaseSensitive(*answer, name);
    n = cJSON_GetArraySize(items);
    next = cJSON_DetachItemFromObjectCaseSensitive(*answer, "next");
    while (next != NULL && (a->limit == 0 || n < a->limit)) {
        status = fetch_page(a, question, next->valuestring, a->limit == 0 ? 0 : a->limit - n, &page);
        cJSON_Delete(next);
        if (status != EXIT_DONE) {
            cJSON_Delete(*answer);
            return status;
        }
        n += cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(page, name));
        move_items(cJSON_GetObjectItemCaseSensitive(page, name), items);
        next = cJSON_DetachItemFromObjectCaseSensitive(page, "next");
        cJSON_Delete(page);
    }
    cJSON_ReplaceItemInObjectCaseSensitive(*answer, "truncated", cJSON_CreateBool(next != NULL));
    cJSON_Delete(next);
    return EXIT_DONE;
}

enum exit_status list_print(const struct arguments *a, cJSON *question, const struct list *l)
{
    const cJSON *items, *item;
    struct table table;
    cJSON *answer;
    enum exit_status status = list_fetch(a, question, l->name, &answer);

    cJSON_Delete(question);
    if (status != EXIT_DONE)
        return status;
    if (a->json)
        return caller_print_answer(answer);
    items = cJSON_GetObjectItemCaseSensitive(answer, l->name);
    table_init(&table, l->columns);
    cJSON_ArrayForEach(item, items)
    {
        l->add_row(&table, item);
    }
    if (cJSON_GetArraySize(items) == 0)
        printf("%s\n", l->none);
    table_print(&table);
    if (truth_of(answer, "truncated"))
        printf("(the first %d of %.0f)\n", cJSON_GetArraySize(items), number_of(answer, "total"));
    cJSON_Delete(answer);
    return EXIT_DONE;
}
