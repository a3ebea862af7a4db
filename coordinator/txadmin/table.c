/* table: see table.h. */
#include "coordinator/txadmin/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { GAP = 2 };

/* Characters of UTF-8, taken as one column each. */
static size_t width_of(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Bytes of the first n characters. */
static size_t bytes_of(const char *s, size_t n)
{
    size_t i = 0;

    for (; s[i] != '\0'; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80 && n-- == 0)
            break;
    }
    return i;
}

/* 0: as wide as need be. */
static size_t terminal_width(void)
{
    struct winsize w;

    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}

void table_init(struct table *t, const char *headings)
{
    char *copy = strdup(headings), *rest = copy, *cell;

    memset(t, 0, sizeof *t);
    while ((cell = strsep(&rest, "|")) != NULL && t->columns < TABLE_COLUMNS) {
        t->right[t->columns] = *cell == '>';
        table_add(t, *cell == '>' ? cell + 1 : cell);
        t->columns++;
    }
    free(copy);
}

void table_add(struct table *t, const char *cell)
{
    char *copy = strdup(cell);

    if (t->cells == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->text = realloc(t->text, t->cap * sizeof *t->text);
    }
    if (copy == NULL || t->text == NULL)
        abort();
    /* Names and errors come from far: nothing of them may steer the terminal. */
    for (char *p = copy; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    t->text[t->cells++] = copy;
}

void table_add_number(struct table *t, double v)
{
    char text[32];

    snprintf(text, sizeof text, "%.0f", v);
    table_add(t, text);
}

bool table_empty(const struct table *t)
{
    return t->cells <= t->columns;
}

/* Prints one cell in its column; `room` is what the terminal has left, 0 for no end. Returns what it took. */
static size_t print_cell(const char *cell, size_t width, bool right, bool last, size_t room)
{
    size_t n = width_of(cell), pad = width > n ? width - n : 0;

    if (room > 0 && n > room) {
        printf("%.*s…", (int)bytes_of(cell, room - 1), cell);
        return room;
    }
    printf("%*s%s%*s", right ? (int)pad : 0, "", cell, right || last ? 0 : (int)pad, "");
    return width;
}

static void print_row(const struct table *t, char *const *row, const size_t *widths, size_t terminal)
{
    size_t taken = 0;

    for (size_t c = 0; c < t->columns; c++) {
        if (c > 0 && terminal > 0 && taken + GAP >= terminal)
            break;
        if (c > 0)
            taken += (size_t)printf("%*s", GAP, "");
        taken += print_cell(row[c], widths[c], t->right[c], c + 1 == t->columns,
                            terminal > 0 ? terminal - taken : 0);
    }
    printf("\n");
}

void table_print(struct table *t)
{
    size_t widths[TABLE_COLUMNS] = {0}, terminal = terminal_width();

    for (size_t i = 0; i < t->cells; i++) {
        size_t n = width_of(t->text[i]);

        if (n > widths[i % t->columns])
            widths[i % t->columns] = n;
    }
    for (size_t i = 0; !table_empty(t) && i + t->columns <= t->cells; i += t->columns)
        print_row(t, t->text + i, widths, terminal);
    for (size_t i = 0; i < t->cells; i++)
        free(t->text[i]);
    free(t->text);
    memset(t, 0, sizeof *t);
}
