/* soak_report: what the endurance run prints: a line now and then, and the table at the end; for programs, the
 * same as JSON. See soak.h.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/soak/soak.h"

enum { LINE_MS = 10000 };

/* Of one mode, or of all. */
struct tally {
    unsigned long long tried, committed, aborted, doubt, untold, late, purpose;
};

static void tally_add(struct tally *t, const struct book_entry *e)
{
    t->tried++;
    t->committed += e->told == BOOK_COMMITTED;
    t->aborted += e->told == BOOK_ABORTED;
    t->doubt += e->told == BOOK_DOUBT;
    t->untold += e->told == BOOK_NOTHING;
    t->late += e->late;
    t->purpose += e->told == BOOK_ABORTED && e->purpose;
}

/* tally[BOOK_MODES]: of all. */
static void tally_make(const struct book *b, struct tally tally[BOOK_MODES + 1])
{
    for (unsigned slot = 0; slot < b->n_pages; slot++) {
        for (size_t i = 1; i <= b->pages[slot].n; i++) {
            const struct book_entry *e = &b->pages[slot].items[i];

            if (e->banks == 0)
                continue; /* its line was torn */
            tally_add(&tally[e->mode], e);
            tally_add(&tally[BOOK_MODES], e);
        }
    }
}

static const char *tally_name(int mode)
{
    return mode == BOOK_MODES ? "all" : book_mode_name((unsigned)mode);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The longest time in which no client was told of a commit, and when it ended. */
struct gap {
    unsigned ms, end_ms;
};

static struct gap longest_gap(const struct book *b, unsigned long long committed)
{
    uint32_t *times = calloc(committed + 1, sizeof *times);
    struct gap gap = {0, 0};
    size_t n = 0;

    for (unsigned slot = 0; times != NULL && slot < b->n_pages; slot++) {
        for (size_t i = 1; i <= b->pages[slot].n; i++) {
            if (b->pages[slot].items[i].told == BOOK_COMMITTED && n < committed)
                times[n++] = b->pages[slot].items[i].told_ms;
        }
    }
    if (n > 0)
        qsort(times, n, sizeof *times, compare);
    for (size_t i = 1; i < n; i++) {
        if (times[i] - times[i - 1] > gap.ms)
            gap = (struct gap){times[i] - times[i - 1], times[i]};
    }
    free(times);
    return gap;
}

static unsigned faults(void)
{
    unsigned n = 0;

    for (size_t i = 0; i < fault_kinds(); i++)
        n += fault_count(i);
    return n;
}

/* With --json the standard output is for the result. */
void report_progress(struct soak *s)
{
    struct tally tally[BOOK_MODES + 1] = {{0}};
    const struct tally *all = &tally[BOOK_MODES];
    uint64_t now = world_now_ms();

    if (now < s->next_line_ms)
        return;
    s->next_line_ms = now + LINE_MS;
    tally_make(&s->book, tally);
    fprintf(
        s->options.json ? stderr : stdout,
        "# %5llu s %8llu committed %7llu rolled back %5llu in doubt %5u faults %6u look-ups %3u violations\n",
        (unsigned long long)(now - s->started_ms) / 1000, all->committed, all->aborted, all->doubt,
        faults() + s->crashes, s->book.lookups[BOOK_COMMITTED] + s->book.lookups[BOOK_ABORTED],
        s->n_violations);
    fflush(stdout);
}

static void print_table(struct soak *s, const struct tally *tally, struct gap gap)
{
    const unsigned *looked = s->book.lookups;

    printf("#\n# %-42s %8s\n", "fault", "times");
    for (size_t i = 0; i < fault_kinds(); i++)
        printf("# %-42s %8u\n", fault_name(i), fault_count(i));
    printf("# %-42s %8u\n", "crash point reached", s->crashes);
    printf("#\n# %-10s %10s %10s %12s %12s %9s %10s\n", "mode", "begun", "committed", "rolled back",
           "on purpose", "in doubt", "never told");
    for (int i = 0; i <= BOOK_MODES; i++)
        printf("# %-10s %10llu %10llu %12llu %12llu %9llu %10llu\n", tally_name(i), tally[i].tried,
               tally[i].committed, tally[i].aborted, tally[i].purpose, tally[i].doubt, tally[i].untold);
    printf("#\n# %-58s %8llu\n", "committed, but not finished everywhere in time", tally[BOOK_MODES].late);
    printf("# %-58s %8u\n", "look-ups during the run: committed", looked[BOOK_COMMITTED]);
    printf("# %-58s %8u\n", "                         rolled back", looked[BOOK_ABORTED]);
    printf("# %-58s %8u\n", "                         pending", looked[BOOK_DOUBT]);
    printf("# %-58s %8u\n", "                         finished and forgotten", looked[BOOK_FORGOTTEN]);
    printf("# %-58s %8u\n", "                         no answer, or at a node not leading",
           looked[BOOK_SILENCE]);
    printf("# %-58s %8u\n", "commits asked for once more, of these", s->book.asked_again);
    printf("# %-58s %8u\n", "look-ups at the end, at every node", s->lookups_at_end);
    printf("# %-58s %8lld\n", "decisions kept at the end, for clients that are gone", s->decisions);
    printf("# %-58s %8.1f\n", "longest time without a commit, s", (double)gap.ms / 1000);
    printf("# %-58s %8.1f\n", "  it ended at second", (double)gap.end_ms / 1000);
    printf("# %-58s %8.1f\n", "from the last fault's end to the last branch's, s",
           (double)s->settled_ms / 1000);
    printf("# %-58s %8u\n", "violations", s->n_violations);
}

static void print_json(struct soak *s, const struct tally *tally, struct gap gap)
{
    static const char *const answers[] = {NULL,        "committed", "rolled_back", "pending",
                                          "forgotten", "odd",       "silence"};
    cJSON *o = cJSON_CreateObject(), *list, *item;
    char *text;

    cJSON_AddNumberToObject(o, "seed", (double)s->options.seed);
    cJSON_AddNumberToObject(o, "coordinators", s->options.nodes);
    cJSON_AddNumberToObject(o, "seconds", s->options.seconds);
    cJSON_AddNumberToObject(o, "violations", s->n_violations);
    list = cJSON_AddObjectToObject(o, "faults");
    for (size_t i = 0; i < fault_kinds(); i++)
        cJSON_AddNumberToObject(list, fault_name(i), fault_count(i));
    cJSON_AddNumberToObject(list, "crash point reached", s->crashes);
    list = cJSON_AddObjectToObject(o, "transactions");
    for (int i = 0; i <= BOOK_MODES; i++) {
        item = cJSON_AddObjectToObject(list, tally_name(i));
        cJSON_AddNumberToObject(item, "begun", (double)tally[i].tried);
        cJSON_AddNumberToObject(item, "committed", (double)tally[i].committed);
        cJSON_AddNumberToObject(item, "late", (double)tally[i].late);
        cJSON_AddNumberToObject(item, "rolled_back", (double)tally[i].aborted);
        cJSON_AddNumberToObject(item, "on_purpose", (double)tally[i].purpose);
        cJSON_AddNumberToObject(item, "in_doubt", (double)tally[i].doubt);
        cJSON_AddNumberToObject(item, "never_told", (double)tally[i].untold);
    }
    list = cJSON_AddObjectToObject(o, "lookups");
    for (int i = BOOK_COMMITTED; i <= BOOK_SILENCE; i++)
        cJSON_AddNumberToObject(list, answers[i], s->book.lookups[i]);
    cJSON_AddNumberToObject(list, "commits_asked_again", s->book.asked_again);
    cJSON_AddNumberToObject(list, "at_the_end", s->lookups_at_end);
    cJSON_AddNumberToObject(o, "decisions_kept", (double)s->decisions);
    cJSON_AddNumberToObject(o, "longest_without_commit_ms", gap.ms);
    cJSON_AddNumberToObject(o, "longest_without_commit_end_ms", gap.end_ms);
    cJSON_AddNumberToObject(o, "settled_ms", (double)s->settled_ms);
    text = cJSON_Print(o);
    printf("%s\n", text);
    cJSON_free(text);
    cJSON_Delete(o);
}

void report(struct soak *s)
{
    struct tally tally[BOOK_MODES + 1] = {{0}};
    struct gap gap;

    tally_make(&s->book, tally);
    gap = longest_gap(&s->book, tally[BOOK_MODES].committed);
    if (s->options.json)
        print_json(s, tally, gap);
    else
        print_table(s, tally, gap);
    fflush(stdout);
}
