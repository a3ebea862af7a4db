/* test_fuzz_corpus: every fuzz target over its seeds, over the corpus that fuzzing has left in the repository
 * (tests/fuzz/corpus), and over mutations of both; without a fuzzer (tests/fuzz/fuzz.h).
 *
 * Which mutation was at hand is printed when one fails: ASSENT_FUZZ="target number" runs it alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

enum { INPUTS = 2048, LIMIT = 1 << 16 };

static struct {
    struct fuzz_sink sink; /* the first member */
    const struct fuzz_target *target;
    struct buf inputs[INPUTS];
    size_t n;
    char names[INPUTS][64];
    uint64_t number; /* of the mutation at hand; 0: the input itself */
    size_t input;
} at;

/* What was being tried when the process ends without more ado. */
static void print_where(void)
{
    if (at.target == NULL)
        return;
    fprintf(stderr, "fuzz target %s: input %s, mutation %llu; again: ASSENT_FUZZ=\"%s %llu\"\n",
            at.target->name, at.names[at.input], (unsigned long long)at.number, at.target->name,
            (unsigned long long)at.number);
}

static void on_abort(int signal_number)
{
    print_where();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void add_input(struct fuzz_sink *sink, const void *data, size_t len)
{
    struct buf *b = &at.inputs[at.n];

    (void)sink;
    assert_true(at.n < INPUTS);
    buf_init(b);
    buf_put_bytes(b, data, len);
    snprintf(at.names[at.n], sizeof at.names[0], "seed %zu", at.n);
    at.n++;
}

static void add_file(const char *directory, const char *name)
{
    static uint8_t data[LIMIT];
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    add_input(NULL, data, fread(data, 1, sizeof data, f));
    snprintf(at.names[at.n - 1], sizeof at.names[0], "%.60s", name);
    fclose(f);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Beside the tree that this program was built in: build/V/tests/unit. */
static void add_corpus(const char *target)
{
    struct dirent **entries;
    char directory[384], self[256];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    int n;

    assert_true(len > 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(directory, sizeof directory, "%s/../../../../tests/fuzz/corpus/%s", self, target);
    n = scandir(directory, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.')
            add_file(directory, entries[i]->d_name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static void run_exact(const struct buf *b)
{
    uint8_t *exact = malloc(b->len > 0 ? b->len : 1);

    assert_non_null(exact);
    if (b->len > 0)
        memcpy(exact, b->data, b->len);
    at.target->run(exact, b->len);
    free(exact);
}

static void run_mutation(uint64_t number)
{
    struct buf b;

    buf_init(&b);
    at.number = number;
    at.input = (size_t)(number % at.n);
    mutate(&b, &at.inputs[at.input], &at.inputs[(size_t)(number * 7 / 3 % at.n)], number, LIMIT);
    run_exact(&b);
    buf_release(&b);
}

static void run_all(void)
{
    at.number = 0;
    for (at.input = 0; at.input < at.n; at.input++)
        run_exact(&at.inputs[at.input]);
    for (uint64_t number = 1; number <= at.target->mutations; number++)
        run_mutation(number);
}

static void test_target(void **state)
{
    const char *wanted = getenv("ASSENT_FUZZ");
    size_t len;

    at.target = *state;
    at.n = 0;
    at.sink.put = add_input;
    at.target->seed(&at.sink);
    add_corpus(at.target->name);
    assert_true(at.n > 0);
    len = strlen(at.target->name);
    if (wanted == NULL)
        run_all();
    else if (strncmp(wanted, at.target->name, len) == 0 && wanted[len] == ' ')
        run_mutation(strtoull(wanted + len, NULL, 10));
    for (size_t i = 0; i < at.n; i++)
        buf_release(&at.inputs[i]);
    at.target = NULL;
}

int main(void)
{
    static struct CMUnitTest tests[64];
    size_t n = 0;

    for (const struct fuzz_target *t = fuzz_targets(); t->name != NULL; t++)
        tests[n++] = (struct CMUnitTest){
            .name = t->name, .test_func = test_target, .initial_state = (void *)(uintptr_t)t};
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(print_where);
    return _cmocka_run_group_tests("fuzz", tests, n, NULL, NULL);
}
