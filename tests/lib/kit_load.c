/* kit_load: see kit.h. One client that transfers all the time, and the account of what it was told. */
#include <stdio.h>

#include "tests/lib/kit.h"

enum {
    LOAD = 8000,   /* transfers at most */
    QUIET_MS = 30, /* nothing told for so long: all that was on the way has arrived */
    DRAIN_MS = 90, /* and so it has after this time, where the fault does not stop the client */
};

static size_t told(const struct kit_load *l)
{
    size_t n = l->account.n;

    return n > 0 && l->account.told[n - 1].rc == 1 ? n - 1 : n;
}

uint64_t kit_load_await(struct kit_load *l, size_t more)
{
    uint64_t start = world_now_ms();
    size_t goal = told(l) + more;

    while (told(l) < goal) {
        if (world_now_ms() > start + KIT_SETTLE_MS)
            fail_msg("the client has come to a standstill after %zu transfers", told(l));
        kit_hear(l->client, &l->account, 5);
    }
    return world_now_ms() - start;
}

void kit_load_begin(struct kit *k, struct kit_load *l, enum kit_mode mode)
{
    l->account.n = 0;
    l->client = kit_start_transfers(k, mode, LOAD, "KIT_PAUSE_MS=3");
    kit_load_await(l, KIT_LOAD_PROGRESS);
}

void kit_load_end(struct kit *k, struct kit_load *l)
{
    kit_load_await(l, KIT_LOAD_PROGRESS);
    world_process_kill(l->client);
    kit_hear(l->client, &l->account, QUIET_MS);
    for (size_t i = 0; i < told(l); i++) {
        const struct kit_told *t = &l->account.told[i];

        if (t->rc != TX_OK)
            fail_msg("%s, number %zu, was told %s", t->id, i, tx_strerror(t->rc));
    }
    kit_assert_told(k, &l->account);
}

void kit_load_drain(struct kit_load *l)
{
    uint64_t end = world_now_ms() + DRAIN_MS;
    size_t n;

    do {
        n = l->account.n;
        kit_hear(l->client, &l->account, QUIET_MS);
    } while (l->account.n != n && world_now_ms() < end);
}
