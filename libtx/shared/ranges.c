/* ranges: see ranges.h. */
#include "libtx/shared/ranges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void ranges_init(struct ranges *r)
{
    memset(r, 0, sizeof *r);
}

void ranges_release(struct ranges *r)
{
    free(r->items);
    ranges_init(r);
}

static bool ranges_reserve(struct ranges *r, size_t n)
{
    size_t cap = r->cap;
    struct range *items;

    if (n <= cap)
        return true;
    while (cap < n)
        cap = cap == 0 ? 4 : cap * 2;
    items = realloc(r->items, cap * sizeof *items);
    if (items == NULL)
        return false;
    r->items = items;
    r->cap = cap;
    return true;
}

/* The first interval that ends at or after v; n when there is none. */
static size_t ranges_ending_from(const struct ranges *r, uint64_t v)
{
    size_t low = 0, high = r->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->items[middle].to < v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first interval that begins after v; n when there is none. */
static size_t ranges_beginning_after(const struct ranges *r, uint64_t v)
{
    size_t low = 0, high = r->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->items[middle].from <= v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Puts n_pieces in the place of the intervals first..end-1. */
static bool ranges_replace(struct ranges *r, size_t first, size_t end, const struct range *pieces,
                           size_t n_pieces)
{
    size_t n = r->n - (end - first) + n_pieces;

    if (!ranges_reserve(r, n))
        return false;
    if (r->n > end)
        memmove(r->items + first + n_pieces, r->items + end, (r->n - end) * sizeof *r->items);
    for (size_t i = 0; i < n_pieces; i++)
        r->items[first + i] = pieces[i];
    r->n = n;
    return true;
}

bool ranges_add(struct ranges *r, uint64_t from, uint64_t to)
{
    struct range all = {from, to};
    size_t first, end;

    assert(from <= to);
    /* A neighbour that only touches is merged too; neither sum may wrap. */
    first = ranges_ending_from(r, from == 0 ? 0 : from - 1);
    end = ranges_beginning_after(r, to == UINT64_MAX ? to : to + 1);
    if (first < end) {
        if (r->items[first].from < from)
            all.from = r->items[first].from;
        if (r->items[end - 1].to > to)
            all.to = r->items[end - 1].to;
    }
    return ranges_replace(r, first, end, &all, 1);
}

bool ranges_remove(struct ranges *r, uint64_t from, uint64_t to)
{
    struct range pieces[2];
    size_t n_pieces = 0, first, end;

    assert(from <= to);
    first = ranges_ending_from(r, from);
    end = ranges_beginning_after(r, to);
    if (first >= end)
        return true;
    if (r->items[first].from < from)
        pieces[n_pieces++] = (struct range){r->items[first].from, from - 1};
    if (r->items[end - 1].to > to)
        pieces[n_pieces++] = (struct range){to + 1, r->items[end - 1].to};
    return ranges_replace(r, first, end, pieces, n_pieces);
}

bool ranges_contains(const struct ranges *r, uint64_t v)
{
    size_t i = ranges_ending_from(r, v);

    return i < r->n && r->items[i].from <= v;
}
