/* kit_load: see kit.h. */
#include "tests/lib/kit.h"

enum {
    LOAD = 8000,   /* transfers, more than a test waits for */
    QUIET_MS = 30, /* nothing told for so long: all that was on the way has arrived */
    DRAIN_MS = 90, /* and so it has after this time, where the fault does not stop the client */
};

size_t kit_load_told(const struct kit *k)
{
    size_t n = k->load.account.n;

    return n > 0 && k->load.account.told[n - 1].rc == 1 ? n - 1 : n;
}

uint64_t kit_load_progress(struct kit *k, size_t more)
{
    uint64_t start = world_now_ms();
    size_t goal = kit_load_told(k) + more;

    while (kit_load_told(k) < goal) {
        if (world_now_ms() > start + KIT_SETTLE_MS)
            fail_msg("the client has come to a standstill after %zu transfers", kit_load_told(k));
        kit_hear(k->load.client, &k->load.account, 5);
    }
    return world_now_ms() - start;
}

void kit_load_begin(struct kit *k, enum kit_mode mode)
{
    if (k->load.client != NULL)
        world_process_kill(k->load.client); /* a test that failed has left it */
    k->load.account.n = 0;
    k->load.client = kit_start_transfers(k, mode, LOAD, "KIT_PAUSE_MS=3");
    kit_load_progress(k, KIT_LOAD_PROGRESS);
}

void kit_load_drain(struct kit *k)
{
    uint64_t end = world_now_ms() + DRAIN_MS;
    size_t n;

    do {
        n = k->load.account.n;
        kit_hear(k->load.client, &k->load.account, QUIET_MS);
    } while (k->load.account.n != n && world_now_ms() < end);
}

static void stop(struct kit *k)
{
    kit_load_progress(k, KIT_LOAD_PROGRESS);
    world_process_kill(k->load.client);
    kit_hear(k->load.client, &k->load.account, QUIET_MS);
}

void kit_load_end(struct kit *k)
{
    stop(k);
    for (size_t i = 0; i < kit_load_told(k); i++) {
        const struct kit_told *t = &k->load.account.told[i];

        if (t->rc != TX_OK && t->rc != 1)
            fail_msg("%s, number %zu, was told %s", t->id, i, tx_strerror(t->rc));
    }
    kit_assert_told(k, &k->load.account);
}

void kit_load_end_mixed(struct kit *k)
{
    stop(k);
    kit_assert_told(k, &k->load.account);
}
