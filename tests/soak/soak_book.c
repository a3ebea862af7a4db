/* soak_book: see soak_book.h. */
#include "tests/soak/soak_book.h"

#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_SIZE = 1024 };

const char *book_mode_name(unsigned mode)
{
    static const char *const names[BOOK_MODES] = {"direct",   "remote", "mixed", "logged",
                                                  "rollback", "single", "crowd"};

    return names[mode];
}

static const char *const words[] = {"nothing",   "committed", "rolled back", "in doubt",
                                    "forgotten", "odd",       "silence"};

const char *book_word_name(enum book_word w)
{
    return words[w];
}

enum book_word book_word_of(enum tx_outcome outcome)
{
    static const enum book_word of[] = {[TX_OUTCOME_COMMITTED] = BOOK_COMMITTED,
                                        [TX_OUTCOME_ABORTED] = BOOK_ABORTED,
                                        [TX_OUTCOME_PENDING] = BOOK_DOUBT,
                                        [TX_OUTCOME_FORGOTTEN] = BOOK_FORGOTTEN};

    return of[outcome];
}

/* Writing, in a job */

void book_write(int fd, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line - 4, format, args);
    va_end(args);
    if (n > (int)sizeof line - 5)
        n = (int)sizeof line - 5;
    for (int i = 0; i < n; i++) {
        if (line[i] == '\n')
            line[i] = ' ';
    }
    memcpy(line + n, " .\n", 3);
    if (write(fd, line, (size_t)n + 3) != n + 3)
        exit(3);
}

int book_open(const char *path, size_t *last)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    FILE *f = fopen(path, "r");
    char line[LINE_SIZE];
    size_t number;

    *last = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "try %zu ", &number) == 1 && number > *last)
            *last = number;
    }
    if (f != NULL)
        fclose(f);
    if (fd < 0 || write(fd, "\n", 1) != 1) /* behind a line that a kill has torn */
        exit(3);
    return fd;
}

/* Reading, in the parent */

void book_release(struct book *b)
{
    for (unsigned i = 0; i < b->n_pages; i++)
        free(b->pages[i].items);
    memset(b, 0, sizeof *b);
}

struct book_entry *book_entry(struct book *b, unsigned slot, size_t number)
{
    if (slot >= b->n_pages || number == 0 || number > b->pages[slot].n)
        return NULL;
    return &b->pages[slot].items[number];
}

static struct book_entry *add_entry(struct book_page *p, size_t number)
{
    while (number >= p->cap) {
        size_t cap = p->cap == 0 ? 4096 : p->cap * 2;

        p->items = realloc(p->items, cap * sizeof *p->items);
        assert(p->items != NULL);
        memset(p->items + p->cap, 0, (cap - p->cap) * sizeof *p->items);
        p->cap = cap;
    }
    if (number > p->n)
        p->n = number;
    return &p->items[number];
}

void book_learn(struct book *b, unsigned slot, size_t number, enum book_word word, const char *who)
{
    struct book_entry *e = book_entry(b, slot, number);
    char what[256];

    if (e == NULL || (word != BOOK_COMMITTED && word != BOOK_ABORTED))
        return;
    if (e->known == BOOK_NOTHING)
        e->known = (uint8_t)word;
    if (e->known == word && (e->told == word || (e->told != BOOK_COMMITTED && e->told != BOOK_ABORTED)))
        return;
    snprintf(what, sizeof what, "%s: %s; others: %s; its client: %s", who, words[word], words[e->known],
             words[e->told]);
    b->wrong(b->arg, slot, number, what);
}

static enum book_word word_of(int rc)
{
    switch (rc) {
    case TX_OK:
    case TX_ETIMEOUT:
        return BOOK_COMMITTED;
    case TX_EROLLBACK:
        return BOOK_ABORTED;
    case TX_EINDOUBT:
        return BOOK_DOUBT;
    default:
        return BOOK_ODD;
    }
}

static void note_told(struct book *b, unsigned slot, size_t number, int rc, uint64_t ms, const char *text)
{
    struct book_entry *e = book_entry(b, slot, number);
    char what[512];

    if (e == NULL)
        return;
    e->told = (uint8_t)word_of(rc);
    e->rc = rc;
    e->late = rc == TX_ETIMEOUT;
    e->told_ms = (uint32_t)(ms - b->started_ms);
    b->pages[slot].committed += e->told == BOOK_COMMITTED;
    snprintf(what, sizeof what, "its client was told %s%s", tx_strerror(rc), text);
    if (e->told == BOOK_ODD || (e->purpose && e->told == BOOK_COMMITTED))
        b->wrong(b->arg, slot, number, what);
    else if (e->known != BOOK_NOTHING)
        book_learn(b, slot, number, e->known, "a look-up before");
}

static void note(struct book *b, unsigned slot, const char *line)
{
    unsigned mode, banks, purpose, n;
    char id[BOOK_ID_SIZE];
    struct book_entry *e;
    unsigned long long ms;
    size_t number;
    int rc, end = 0;

    if (sscanf(line, "try %zu %79s %u %u %u", &number, id, &mode, &banks, &purpose) == 5) {
        e = add_entry(&b->pages[slot], number);
        snprintf(e->id, sizeof e->id, "%s", strcmp(id, "-") == 0 ? "" : id);
        e->mode = (uint8_t)mode;
        e->banks = (uint8_t)banks;
        e->purpose = (uint8_t)purpose;
    } else if (sscanf(line, "told %zu %d %llu%n", &number, &rc, &ms, &end) == 3) {
        note_told(b, slot, number, rc, ms, line + end);
    } else if (sscanf(line, "saw %zu %u", &number, &n) == 2) {
        b->lookups[n]++;
        book_learn(b, slot, number, n, "its client's look-up");
    } else if (sscanf(line, "blind %zu %u", &number, &n) == 2) {
        b->wrong(b->arg, slot, number, "told committed, its client did not find its own receipt");
    }
}

static void note_asked(struct book *b, unsigned slot, const char *line)
{
    unsigned of, node, n;
    char how[16], who[64];
    size_t number;

    (void)slot;
    if (sscanf(line, "asked %u %zu %u %15s %u", &of, &number, &node, how, &n) != 5)
        return;
    b->lookups[n]++;
    b->asked_again += strcmp(how, "commit") == 0;
    snprintf(who, sizeof who, "node %u, asked to %s", node, how);
    book_learn(b, of, number, n, who);
}

/* Up to `until`, where that is not negative. */
static void read_page(struct book *b, struct book_page *p, unsigned slot, long until,
                      void (*take)(struct book *b, unsigned slot, const char *line))
{
    FILE *f = fopen(p->path, "r");
    char line[LINE_SIZE];
    size_t n;

    if (f == NULL)
        return;
    if (fseek(f, p->read, SEEK_SET) == 0) {
        while ((until < 0 || p->read < until) && fgets(line, sizeof line, f) != NULL &&
               line[(n = strlen(line)) - 1] == '\n') {
            p->read += (long)n;
            if (n < 3 || strcmp(line + n - 3, " .\n") != 0)
                continue;
            line[n - 3] = 0;
            take(b, slot, line);
        }
    }
    fclose(f);
}

/* The checker asks about lines that are in the others' files already: these come first, up to no later moment.
 */
void book_read(struct book *b)
{
    struct stat st = {.st_size = 0};

    if (stat(b->checker.path, &st) != 0)
        st.st_size = 0;
    for (unsigned i = 0; i < b->n_pages; i++)
        read_page(b, &b->pages[i], i, -1, note);
    read_page(b, &b->checker, 0, (long)st.st_size, note_asked);
}
