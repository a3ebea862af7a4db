/* bench_stats: percentiles and medians. */
#include <stdlib.h>

#include "tests/bench/bench.h"

bool bench_sample(struct bench_samples *s, double seconds)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 65536 : s->cap * 2;
        double *items = realloc(s->items, cap * sizeof *items);

        if (items == NULL)
            return false;
        s->items = items;
        s->cap = cap;
    }
    s->items[s->n++] = seconds;
    return true;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct bench_figures bench_figures_of(struct bench_samples *s, double elapsed)
{
    struct bench_figures f = {0, 0, 0};

    if (s->n == 0)
        return f;
    qsort(s->items, s->n, sizeof *s->items, compare);
    f.per_second = (double)s->n / elapsed;
    f.p50_ms = s->items[s->n / 2] * 1e3;
    f.p99_ms = s->items[s->n * 99 / 100] * 1e3;
    return f;
}

double bench_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
