/* mutate: see mutate.h. */
#include "tests/fuzz/mutate.h"

/* xorshift64* (Marsaglia, Vigna) */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static size_t below(uint64_t *state, size_t n)
{
    return n == 0 ? 0 : (size_t)(draw(state) % n);
}

/* What is at a bound, or changes what a length or a count says. */
static uint8_t telling(uint64_t *state)
{
    static const uint8_t values[] = {0, 1, 2, 4, 8, 16, 32, 63, 64, 65, 127, 128, 129, 254, 255};

    return draw(state) % 3 == 0 ? (uint8_t)draw(state) : values[below(state, sizeof values)];
}

/* `piece` takes the place of `gone` bytes at `at`. */
static void put_replaced(struct buf *to, const struct buf *from, size_t at, size_t gone, struct buf piece)
{
    buf_put_bytes(to, from->data, at);
    buf_put_bytes(to, piece.data, piece.len);
    buf_put_bytes(to, from->data + at + gone, from->len - at - gone);
}

/* Some bytes of either; borrowed. */
static struct buf draw_piece(const struct buf *from, const struct buf *other, uint64_t *state)
{
    const struct buf *whole = draw(state) % 2 == 0 ? from : other;
    size_t at = below(state, whole->len + 1);
    struct buf none = {.data = NULL};

    if (draw(state) % 2 == 0 || at == whole->len)
        return none;
    return (struct buf){.data = whole->data + at, .len = below(state, whole->len - at + 1) % 65};
}

static void change_bytes(struct buf *b, uint64_t *state)
{
    size_t n = 1 + below(state, 4);

    for (size_t i = 0; i < n && b->len > 0; i++) {
        size_t at = below(state, b->len);

        if (draw(state) % 2 == 0)
            b->data[at] ^= (uint8_t)(1 << draw(state) % 8);
        else
            b->data[at] = telling(state);
    }
}

void mutate(struct buf *to, const struct buf *from, const struct buf *other, uint64_t number, size_t limit)
{
    const struct buf none = {.data = NULL};
    uint64_t state = (number + 1) * 0x9e3779b97f4a7c15u;
    size_t at = below(&state, from->len + 1), left = from->len - at;

    buf_reset(to);
    switch (draw(&state) % 5) {
    case 0: /* cut */
        put_replaced(to, from, at, left, none);
        break;
    case 1: /* some bytes are missing, or others in their place */
        put_replaced(to, from, at, below(&state, left + 1) % 17, draw_piece(from, other, &state));
        break;
    default:
        buf_put_bytes(to, from->data, from->len);
        break;
    }
    change_bytes(to, &state);
    if (to->len > limit)
        to->len = limit;
}
