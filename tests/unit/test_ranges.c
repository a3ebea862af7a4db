/* test_ranges: random additions and removals against a plain array of bits, and the ends of the number range
 * (ranges.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "libtx/shared/ranges.h"

enum { NUMBERS = 128, STEPS = 20000 };

static void assert_sorted_and_apart(const struct ranges *r)
{
    for (size_t i = 0; i < r->n; i++) {
        assert_true(r->items[i].from <= r->items[i].to);
        if (i > 0)
            assert_true(r->items[i - 1].to < r->items[i].from && r->items[i].from - r->items[i - 1].to > 1);
    }
}

static void assert_ranges(const struct ranges *r, size_t n, const struct range *want)
{
    assert_int_equal(r->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r->items[i].from, want[i].from);
        assert_int_equal(r->items[i].to, want[i].to);
    }
}

/* The numbers that are compared begin at `base`, so that both ends of the 64 bits can be tried. */
static void compare(const struct ranges *r, const bool *model, uint64_t base)
{
    assert_sorted_and_apart(r);
    for (uint64_t i = 0; i < NUMBERS; i++)
        assert_int_equal(ranges_contains(r, base + i), model[i]);
}

static void play(uint64_t base, unsigned seed)
{
    bool model[NUMBERS] = {false};
    struct ranges r;

    ranges_init(&r);
    for (int step = 0; step < STEPS; step++) {
        /* Short intervals mostly, so that the set stays in pieces. */
        uint64_t from = (uint64_t)rand_r(&seed) % NUMBERS;
        uint64_t length = (uint64_t)rand_r(&seed) % (step % 50 == 0 ? NUMBERS : 6);
        uint64_t to = from + length < NUMBERS ? from + length : NUMBERS - 1;
        bool add = rand_r(&seed) % 2 == 0;

        assert_true((add ? ranges_add : ranges_remove)(&r, base + from, base + to));
        for (uint64_t i = from; i <= to; i++)
            model[i] = add;
        compare(&r, model, base);
    }
    ranges_release(&r);
}

static void random_operations_match_the_model(void **state)
{
    const char *given = getenv("SEED");
    unsigned seed = given != NULL ? (unsigned)atoi(given) : 20240601;

    (void)state;
    printf("SEED=%u\n", seed);
    play(1, seed);
    play(0, seed + 1);
    play(UINT64_MAX - NUMBERS + 1, seed + 2);
}

static void neighbours_are_merged(void **state)
{
    struct ranges r;

    (void)state;
    ranges_init(&r);
    assert_true(ranges_add(&r, 10, 19));
    assert_true(ranges_add(&r, 30, 39));
    assert_ranges(&r, 2, (const struct range[]){{10, 19}, {30, 39}});
    assert_true(ranges_add(&r, 21, 28)); /* touches neither */
    assert_ranges(&r, 3, (const struct range[]){{10, 19}, {21, 28}, {30, 39}});
    assert_true(ranges_add(&r, 20, 20));
    assert_ranges(&r, 2, (const struct range[]){{10, 28}, {30, 39}});
    assert_true(ranges_add(&r, 29, 29));
    assert_ranges(&r, 1, (const struct range[]){{10, 39}});
    assert_true(ranges_add(&r, 12, 13)); /* there already */
    assert_ranges(&r, 1, (const struct range[]){{10, 39}});
    ranges_release(&r);
}

static void removal_splits_and_trims(void **state)
{
    struct ranges r;

    (void)state;
    ranges_init(&r);
    assert_true(ranges_remove(&r, 1, UINT64_MAX)); /* of nothing */
    assert_true(ranges_add(&r, 10, 39));
    assert_true(ranges_remove(&r, 20, 24));
    assert_ranges(&r, 2, (const struct range[]){{10, 19}, {25, 39}});
    assert_true(ranges_remove(&r, 15, 30));
    assert_ranges(&r, 2, (const struct range[]){{10, 14}, {31, 39}});
    assert_true(ranges_remove(&r, 15, 30)); /* gone already */
    assert_ranges(&r, 2, (const struct range[]){{10, 14}, {31, 39}});
    assert_true(ranges_remove(&r, 1, 10));
    assert_true(ranges_remove(&r, 39, 39));
    assert_ranges(&r, 2, (const struct range[]){{11, 14}, {31, 38}});
    assert_true(ranges_remove(&r, 0, UINT64_MAX));
    assert_ranges(&r, 0, NULL);
    ranges_release(&r);
}

static void ends_of_the_numbers_do_not_wrap(void **state)
{
    struct ranges r;

    (void)state;
    ranges_init(&r);
    assert_true(ranges_add(&r, UINT64_MAX, UINT64_MAX));
    assert_true(ranges_add(&r, 0, 0));
    assert_ranges(&r, 2, (const struct range[]){{0, 0}, {UINT64_MAX, UINT64_MAX}});
    assert_true(ranges_add(&r, 1, UINT64_MAX - 1));
    assert_ranges(&r, 1, (const struct range[]){{0, UINT64_MAX}});
    assert_true(ranges_remove(&r, 1, UINT64_MAX));
    assert_ranges(&r, 1, (const struct range[]){{0, 0}});
    ranges_release(&r);
}

/* What the set is for: numbers that are acknowledged nearly in order take one interval. */
static void nearly_ordered_numbers_stay_few(void **state)
{
    struct ranges r;

    (void)state;
    ranges_init(&r);
    for (uint64_t i = 1; i <= 100000; i += 2) {
        assert_true(ranges_add(&r, i + 1, i + 1));
        assert_true(ranges_add(&r, i, i));
        assert_int_equal(r.n, 1);
    }
    ranges_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_match_the_model), cmocka_unit_test(neighbours_are_merged),
        cmocka_unit_test(removal_splits_and_trims),          cmocka_unit_test(ends_of_the_numbers_do_not_wrap),
        cmocka_unit_test(nearly_ordered_numbers_stay_few),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
