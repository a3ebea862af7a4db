/* conf: see conf.h. Every program's main() calls it once; conf_value.c reads the single value. */
#include "libtx/shared/conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/conf_value.h"
#include "libtx/shared/secret.h"
#include "libtx/shared/textfile.h"

/* A key as somebody wrote it, found in the table. */
struct conf_entry {
    const struct conf_key *key;
    char *rest;        /* CONF_EACH: what follows the dot; else NULL; owned */
    const char *value; /* borrowed; of a file's entry only while its line is read */
    unsigned line;     /* in the file; 0 for a flag */
};

struct conf_entries {
    struct conf_entry *items; /* owned */
    size_t n;
};

struct conf_run {
    const struct conf_key *keys;
    const char *program, *summary, *default_file;
    const char *file; /* of --config; else NULL */
    struct conf_entries flags;
    struct conf_entries lines; /* of the file, to know doubles */
    int fd;                    /* of the file, while it is read */
    struct tx_error *e;
};

/* names */

/* Flags may write - for _. The two are of one length. */
static bool same_letter(char want, char have, bool is_flag)
{
    return want == have || (is_flag && want == '_' && have == '-');
}

static bool name_matches(const struct conf_key *k, const char *name, size_t n, bool is_flag)
{
    size_t want = strlen(k->name);

    if (k->type == CONF_EACH ? n <= want : n != want)
        return false;
    for (size_t i = 0; i < want; i++) {
        if (!same_letter(k->name[i], name[i], is_flag))
            return false;
    }
    return true;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

/* How many letters to insert, drop or change (Levenshtein); large where a name is too long to be worth it. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t row[64];

    if (n_b >= sizeof row / sizeof *row)
        return SIZE_MAX;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t above = row[j];

            row[j] =
                min3(above + 1, row[j - 1] + 1, diagonal + (same_letter(b[j - 1], a[i - 1], true) ? 0 : 1));
            diagonal = above;
        }
    }
    return row[n_b];
}

/* The key that was probably meant, or NULL. Of resource.bank_a only resource. is compared with a CONF_EACH key.
 */
static const struct conf_key *closest_key(const struct conf_run *c, const char *name, size_t n)
{
    const struct conf_key *best = NULL;
    size_t best_distance = 1 + n / 4;
    const char *dot = memchr(name, '.', n);

    for (const struct conf_key *k = c->keys; k->name != NULL; k++) {
        size_t compared = k->type == CONF_EACH && dot != NULL ? (size_t)(dot - name) + 1 : n;
        size_t distance = edit_distance(name, compared, k->name, strlen(k->name));

        if (distance <= best_distance && (best == NULL || distance < best_distance)) {
            best = k;
            best_distance = distance;
        }
    }
    return best;
}

static int unknown_key(const struct conf_run *c, const char *name, size_t n, bool is_flag)
{
    const struct conf_key *meant = closest_key(c, name, n);
    const char *what = is_flag ? "flag" : "key", *dashes = is_flag ? "--" : "";
    int shown = n > 60 ? 60 : (int)n;

    if (meant == NULL)
        return err_set(c->e, TX_EINVAL, "unknown %s «%s%.*s»; %s --help lists them", what, dashes, shown, name,
                       c->program);
    return err_set(c->e, TX_EINVAL, "unknown %s «%s%.*s»; did you mean «%s%s%s»?", what, dashes, shown, name,
                   dashes, meant->name, meant->type == CONF_EACH ? "NAME" : "");
}

/* Finds the key of the n bytes at `name`; entry->rest is the caller's to free. */
static int find_key(const struct conf_run *c, const char *name, size_t n, bool is_flag,
                    struct conf_entry *entry)
{
    const struct conf_key *k = c->keys;

    while (k->name != NULL && !name_matches(k, name, n, is_flag))
        k++;
    if (k->name == NULL)
        return unknown_key(c, name, n, is_flag);
    entry->key = k;
    if (k->type != CONF_EACH)
        return 0;
    entry->rest = strndup(name + strlen(k->name), n - strlen(k->name));
    return entry->rest != NULL ? 0 : err_set(c->e, TX_ENOMEM, "out of memory");
}

static bool same_setting(const struct conf_entry *a, const struct conf_entry *b)
{
    return a->key == b->key && (a->rest == NULL || strcmp(a->rest, b->rest) == 0);
}

/* lists of entries */

/* Takes entry->rest, whatever it returns. */
static int entries_take(struct conf_entries *list, const struct conf_entry *entry, struct tx_error *e)
{
    struct conf_entry *items = reallocarray(list->items, list->n + 1, sizeof *items);

    if (items == NULL) {
        free(entry->rest);
        return err_set(e, TX_ENOMEM, "out of memory");
    }
    list->items = items;
    list->items[list->n++] = *entry;
    return 0;
}

/* The first entry from index `from` that sets the same; NULL when there is none. */
static const struct conf_entry *entries_find(const struct conf_entries *list, size_t from,
                                             const struct conf_entry *entry)
{
    for (size_t i = from; i < list->n; i++) {
        if (same_setting(&list->items[i], entry))
            return &list->items[i];
    }
    return NULL;
}

static void entries_release(struct conf_entries *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].rest);
    free(list->items);
}

/* --help and --version */

static const char *argument_of(const struct conf_key *k)
{
    static const char *const by_type[] = {
        [CONF_STRING] = "TEXT", [CONF_UINT] = "N",      [CONF_DURATION] = "TIME",
        [CONF_SIZE] = "SIZE",   [CONF_BOOL] = "on|off", [CONF_EACH] = "VALUE",
    };

    return k->argument != NULL ? k->argument : by_type[k->type];
}

/* As --help shows the flag; returns its length. */
static int format_flag(const struct conf_key *k, char *out, size_t size)
{
    if (k->type == CONF_EACH)
        return snprintf(out, size, "--%sNAME=%s", k->name, argument_of(k));
    return snprintf(out, size, "--%s %s", k->name, argument_of(k));
}

static void print_flag(int width, const char *flag, const char *help, const char *initial)
{
    printf("  %-*s  %s", width, flag, help);
    if (initial != NULL && initial[0] != '\0')
        printf(" [%s]", initial);
    printf("\n");
}

static void print_help(const struct conf_run *c)
{
    char flag[128];
    int width = (int)strlen("--config FILE");

    for (const struct conf_key *k = c->keys; k->name != NULL; k++) {
        int n = format_flag(k, flag, sizeof flag);

        width = n > width ? n : width;
    }
    printf("Usage: %s [--FLAG VALUE]...\n\n%s\n\n", c->program, c->summary);
    printf("Flags, with their defaults. A file takes the same names, one «name = value» a line; a line that\n"
           "begins with # is a comment; a flag wins over the file. Times are written as 250ms, 30s, 5min, 24h, "
           "2d,\n"
           "sizes as 64k, 16M, 1G.\n\n");
    for (const struct conf_key *k = c->keys; k->name != NULL; k++) {
        (void)format_flag(k, flag, sizeof flag);
        print_flag(width, flag, k->help, k->initial);
    }
    print_flag(width, "--config FILE", "read settings from this file", c->default_file);
    print_flag(width, "--help", "print this and exit", NULL);
    print_flag(width, "--version", "print the version and exit", NULL);
}

/* flags */

/* The value of argv[*at], after its = or in the next argument; then *at is there. */
static int flag_value(const struct conf_run *c, int argc, char **argv, int *at, const char **value)
{
    char *equals = strchr(argv[*at], '=');

    if (equals != NULL) {
        *value = equals + 1;
        return 0;
    }
    if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
        return err_set(c->e, TX_EINVAL, "%s needs a value", argv[*at]);
    *value = argv[++*at];
    return 0;
}

static int read_flag(struct conf_run *c, int argc, char **argv, int *at)
{
    struct conf_entry entry = {0};
    const char *name = argv[*at] + 2;
    size_t n = strcspn(name, "=");
    bool is_config = n == strlen("config") && strncmp(name, "config", n) == 0;
    int rc;

    if (strncmp(argv[*at], "--", 2) != 0 || n == 0)
        return err_set(c->e, TX_EINVAL, "«%.60s» is not a flag; %s --help lists them", argv[*at], c->program);
    if (is_config)
        return flag_value(c, argc, argv, at, &c->file);
    rc = find_key(c, name, n, true, &entry);
    if (rc == 0)
        rc = flag_value(c, argc, argv, at, &entry.value);
    if (rc != 0) {
        free(entry.rest);
        return rc;
    }
    return entries_take(&c->flags, &entry, c->e);
}

static int read_flags(struct conf_run *c, int argc, char **argv)
{
    int rc = 0;

    for (int i = 1; i < argc && rc == 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(c);
            exit(0);
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", c->program, TX_VERSION);
            exit(0);
        }
        rc = read_flag(c, argc, argv, &i);
    }
    return rc;
}

/* Whoever is logged in reads the arguments of all processes. */
static int apply_flag(const struct conf_run *c, const struct conf_entry *f)
{
    if (secret_within(f->value))
        return err_set(c->e, TX_EINVAL,
                       "everybody on this machine sees a password in a flag; name a file (passfile=…), set "
                       "PGPASSWORD or MYSQL_PWD, or write it into the --config file, with mode 0600");
    return conf_value_set(f->key, f->rest, f->value, c->e);
}

static int apply_flags(const struct conf_run *c)
{
    for (size_t i = 0; i < c->flags.n; i++) {
        const struct conf_entry *f = &c->flags.items[i];
        int rc;

        if (entries_find(&c->flags, i + 1, f) != NULL)
            continue; /* of a flag given twice the last counts */
        rc = apply_flag(c, f);
        if (rc != 0)
            return err_wrap(c->e, rc, "--%s%s", f->key->name, f->rest != NULL ? f->rest : "");
    }
    return 0;
}

/* file */

/* Cuts whitespace off both ends, in place. */
static char *trim(char *s)
{
    size_t n;

    while (isspace((unsigned char)*s))
        s++;
    n = strlen(s);
    while (n > 0 && isspace((unsigned char)s[n - 1]))
        n--;
    s[n] = '\0';
    return s;
}

/* Knows the key, is no double, and is set unless a flag sets the same. */
static int apply_entry(struct conf_run *c, const char *name, const char *value, unsigned line)
{
    struct conf_entry entry = {.value = value, .line = line};
    const struct conf_entry *before;
    int rc = find_key(c, name, strlen(name), false, &entry);

    if (rc != 0)
        return rc;
    before = entries_find(&c->lines, 0, &entry);
    if (before != NULL) {
        free(entry.rest);
        return err_set(c->e, TX_EINVAL, "«%.60s» is set in line %u already", name, before->line);
    }
    if (secret_within(value) && secret_check_file(c->fd, c->e) != TX_OK)
        rc = TX_EINVAL;
    else if (entries_find(&c->flags, 0, &entry) == NULL)
        rc = conf_value_set(entry.key, entry.rest, value, c->e);
    if (rc != 0) {
        free(entry.rest);
        return err_wrap(c->e, rc, "%.60s", name);
    }
    return entries_take(&c->lines, &entry, c->e);
}

static int apply_line(void *arg, char *text, unsigned line, struct tx_error *e)
{
    struct conf_run *c = arg;
    char *start = trim(text), *equals;

    if (*start == '\0' || *start == '#')
        return 0;
    equals = strchr(start, '=');
    if (equals == NULL || equals == start)
        return err_set(e, TX_EINVAL, "«%.60s» is not «key = value»", start);
    *equals = '\0';
    return apply_entry(c, trim(start), trim(equals + 1), line);
}

static int apply_file(struct conf_run *c)
{
    const char *path = c->file != NULL ? c->file : c->default_file;
    FILE *f;
    int rc;

    if (path == NULL)
        return 0;
    f = fopen(path, "re");
    if (f == NULL && c->file == NULL && errno == ENOENT)
        return 0;
    if (f == NULL)
        return err_set(c->e, TX_EINVAL, "%s: %s", path, strerror(errno));
    c->fd = fileno(f);
    rc = textfile_each_line(f, path, apply_line, c, c->e);
    fclose(f);
    /* As one that cannot be opened: it is the setting --config that is wrong. */
    if (rc == TX_EIO)
        c->e->code = rc = TX_EINVAL;
    return rc;
}

/* the whole */

static int apply_defaults(const struct conf_run *c)
{
    for (const struct conf_key *k = c->keys; k->name != NULL; k++) {
        int rc;

        conf_value_clear(k);
        if (k->initial == NULL || k->type == CONF_EACH)
            continue;
        rc = conf_value_set(k, NULL, k->initial, c->e);
        assert(rc != TX_EINVAL); /* the program's own table is wrong */
        if (rc != 0)
            return rc;
    }
    return 0;
}

int conf_load(const struct conf_key *keys, const char *program, const char *summary, const char *default_file,
              int argc, char **argv, struct tx_error *e)
{
    struct conf_run c = {
        .keys = keys, .program = program, .summary = summary, .default_file = default_file, .e = e};
    int rc = apply_defaults(&c);

    if (rc == 0)
        rc = read_flags(&c, argc, argv);
    if (rc == 0)
        rc = apply_file(&c);
    if (rc == 0)
        rc = apply_flags(&c);
    entries_release(&c.flags);
    entries_release(&c.lines);
    return rc;
}

void conf_release(const struct conf_key *keys)
{
    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        if (k->type != CONF_STRING)
            continue;
        free(*(char **)k->target);
        *(char **)k->target = NULL;
    }
}
