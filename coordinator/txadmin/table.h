/* table: columns for people. Cells are collected, then printed aligned; on a terminal what is too wide for it
 * is cut, never wrapped. Used by txadmin's verbs. */
#ifndef ASSENT_TABLE_H
#define ASSENT_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_COLUMNS = 12 };

struct table {
    size_t columns, cells, cap;
    char **text;               /* row by row, the headings first */
    bool right[TABLE_COLUMNS]; /* aligned so */
};

/* Headings separated by «|»; one that starts with «>» is aligned right. */
void table_init(struct table *t, const char *headings);
/* Copies; control characters become blanks. Rows end by themselves. */
void table_add(struct table *t, const char *cell);
/* A number without fraction. */
void table_add_number(struct table *t, double v);
bool table_empty(const struct table *t);
/* Prints it to standard output, where it has rows, and frees it. */
void table_print(struct table *t);

#endif
