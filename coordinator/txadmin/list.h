/* list: what the verbs that print a table of everything have in common. */
#ifndef ASSENT_TXADMIN_LIST_H
#define ASSENT_TXADMIN_LIST_H

#include "coordinator/txadmin/table.h"
#include "coordinator/txadmin/txadmin.h"

struct list {
    const char *name;    /* of the array in the answer */
    const char *columns; /* as table_init() takes them */
    void (*add_row)(struct table *table, const cJSON *item);
    const char *none; /* the sentence where there is nothing */
};

/* Asks page by page, up to a->limit. With EXIT_DONE the answer is the first page, with all items in it. */
enum exit_status list_fetch(const struct arguments *a, const cJSON *question, const char *name, cJSON **answer);
/* Asks (takes the question), page by page up to a->limit, and prints the table, or the JSON where that is
 * wanted. */
enum exit_status list_print(const struct arguments *a, cJSON *question, const struct list *l);

#endif
