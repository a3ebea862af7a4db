/* conf_value: see conf_value.h. */
#include "libtx/shared/conf_value.h"

#include <ctype.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conf_unit {
    const char *name;
    unsigned long factor;
};

/* Each list ends with NULL, smallest first. */
static const struct conf_unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct conf_unit duration_units[] = {{"ms", 1},      {"s", 1000},     {"min", 60000},
                                                  {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct conf_unit size_units[] = {
    {"", 1}, {"k", 1UL << 10}, {"M", 1UL << 20}, {"G", 1UL << 30}, {NULL, 0}};

/* What a type of number is made of. */
struct conf_number {
    const struct conf_unit *units;
    unsigned long most;
    const char *what, *examples;
};

static const struct conf_number conf_numbers[] = {
    [CONF_UINT] = {no_units, UINT_MAX, "a number", "write digits only"},
    [CONF_DURATION] = {duration_units, UINT_MAX, "a duration", "write 250ms, 30s, 5min, 24h or 2d"},
    [CONF_SIZE] = {size_units, SIZE_MAX, "a size", "write bytes, or 64k, 16M, 1G"},
};

void conf_value_clear(const struct conf_key *k)
{
    switch (k->type) {
    case CONF_STRING:
        *(char **)k->target = NULL;
        break;
    case CONF_UINT:
    case CONF_DURATION:
        *(unsigned *)k->target = 0;
        break;
    case CONF_SIZE:
        *(size_t *)k->target = 0;
        break;
    case CONF_BOOL:
        *(bool *)k->target = false;
        break;
    case CONF_EACH:
        break;
    }
}

/* Digits and a unit. False: malformed. What is too large for the type comes out as ULONG_MAX. */
static bool parse_number(const char *text, const struct conf_unit *units, unsigned long *v)
{
    unsigned long n = 0;
    bool over = false;

    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++) {
        over |= __builtin_mul_overflow(n, 10UL, &n);
        over |= __builtin_add_overflow(n, (unsigned long)(*text - '0'), &n);
    }
    while (units->name != NULL && strcmp(units->name, text) != 0)
        units++;
    if (units->name == NULL)
        return false;
    over |= __builtin_mul_overflow(n, units->factor, v);
    if (over)
        *v = ULONG_MAX;
    return true;
}

/* In the largest unit that leaves no remainder. */
static void format_number(unsigned long v, const struct conf_unit *units, char out[32])
{
    const struct conf_unit *best = units;

    for (const struct conf_unit *u = units; u->name != NULL && v != 0; u++) {
        if (v % u->factor == 0)
            best = u;
    }
    snprintf(out, 32, "%lu%s", v / best->factor, best->name);
}

static int read_number(const struct conf_key *k, const char *text, unsigned long *v, struct tx_error *e)
{
    const struct conf_number *type = &conf_numbers[k->type];
    unsigned long max = k->max != 0 && k->max < type->most ? k->max : type->most;
    char from[32], to[32];

    if (!parse_number(text, type->units, v))
        return err_set(e, TX_EINVAL, "«%.60s» is not %s; %s", text, type->what, type->examples);
    if (*v >= k->min && *v <= max)
        return 0;
    format_number(k->min, type->units, from);
    format_number(max, type->units, to);
    return err_set(e, TX_EINVAL, "«%.60s» is out of range; it may be %s to %s", text, from, to);
}

static int read_bool(const char *text, bool *v, struct tx_error *e)
{
    static const char *const yes[] = {"true", "on", "yes"}, *const no[] = {"false", "off", "no"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *v = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return err_set(e, TX_EINVAL, "«%.60s» is neither on nor off; write true, false, on, off, yes or no", text);
}

static int set_string(char **target, const char *text, struct tx_error *e)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    free(*target);
    *target = copy;
    return 0;
}

int conf_value_set(const struct conf_key *k, const char *rest, const char *text, struct tx_error *e)
{
    unsigned long v = 0;
    int rc;

    switch (k->type) {
    case CONF_STRING:
        return set_string(k->target, text, e);
    case CONF_BOOL:
        return read_bool(text, k->target, e);
    case CONF_EACH:
        return k->each(k->target, rest, text, e);
    case CONF_UINT:
    case CONF_DURATION:
    case CONF_SIZE:
        break;
    }
    rc = read_number(k, text, &v, e);
    if (rc == 0 && k->type == CONF_SIZE)
        *(size_t *)k->target = v;
    else if (rc == 0)
        *(unsigned *)k->target = (unsigned)v;
    return rc;
}
