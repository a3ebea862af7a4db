/* Random faults: nodes are killed, stopped, cut off; messages are lost, doubled, late, in another order; the
 * leader changes, a fourth member comes and goes. Whatever was acknowledged is there in the end, once, at the
 * same place everywhere. A run is what its seed says, up to what the disk and the clock add: it is printed when
 * it fails. ASSENT_TEST_SEED and ASSENT_TEST_ROUNDS choose others. */
#include "tests/unit/replog_kit.h"

enum { ROUNDS = 40, STEP_MS = 60 };

static struct net net;

/* Of the members that are up; 0: none. */
static uint64_t pick(void)
{
    uint64_t start = net_random(&net, 3);

    for (uint64_t i = 0; i < 3; i++) {
        uint64_t id = (start + i) % 3 + 1;

        if (net.nodes[id].up)
            return id;
    }
    return 0;
}

static void kill_one(void)
{
    uint64_t id = pick();

    if (id == 0)
        return;
    if (net_random(&net, 3) == 0)
        net_stop(&net, id);
    else
        net_kill(&net, id);
}

static void start_all(void)
{
    for (uint64_t i = 1; i <= 3; i++) {
        if (!net.nodes[i].up)
            net_start(&net, i);
    }
}

static void heal(void)
{
    memset(net.cut, 0, sizeof net.cut);
    net.drop = net.twice = net.delay = 0;
}

static void ignore_change(void *arg, int rc, const char *why)
{
    (void)arg;
    (void)rc;
    (void)why;
}

static void disturb(void)
{
    uint64_t id = pick(), leader = net_leader(&net);
    struct replog_newcomer newcomer = {4, net.nodes[4].address, 0};

    switch (net_random(&net, 11)) {
    case 0:
    case 1:
        kill_one();
        break;
    case 2:
    case 3:
        start_all();
        break;
    case 4:
        if (id != 0)
            net_isolate(&net, id, true);
        break;
    case 5:
        net.cut[1 + net_random(&net, 3)][1 + net_random(&net, 3)] = true;
        break;
    case 6:
        heal();
        break;
    case 7:
        net.drop = (unsigned)net_random(&net, 20);
        net.twice = (unsigned)net_random(&net, 20);
        net.delay = (unsigned)net_random(&net, 30);
        break;
    case 8:
        if (leader != 0)
            replog_add(net.nodes[leader].r, &newcomer, ignore_change, NULL);
        break;
    case 9:
        if (leader != 0)
            replog_remove(net.nodes[leader].r, 4, ignore_change, NULL);
        break;
    default:
        if (leader != 0)
            replog_transfer(net.nodes[leader].r, 0, ignore_change, NULL);
        break;
    }
}

static void propose_somewhere(void)
{
    uint64_t id = net_leader(&net);

    if (id == 0)
        id = pick();
    if (id != 0 && net.nodes[id].up)
        net_propose(&net, id, 1 + net_random(&net, 30));
}

static void check_alive(void)
{
    for (uint64_t i = 1; i < NET_NODES; i++) {
        if (net.nodes[i].up && net.nodes[i].fatals > 0)
            fail_msg("node %" PRIu64 ": %s", i, net.nodes[i].error.msg);
    }
}

static void run(uint64_t seed, unsigned rounds)
{
    print_message("seed %" PRIu64 "\n", seed);
    net_open(&net);
    net.random = seed;
    net.padding = seed % 2 == 0 ? 400000 : 0;
    net_group(&net, 3);
    net_start(&net, 4);
    for (unsigned round = 0; round < rounds; round++) {
        disturb();
        for (int i = 0; i < 4; i++) {
            propose_somewhere();
            net_run(&net, (unsigned)net_random(&net, STEP_MS) / 2);
            check_alive();
        }
    }
    heal();
    start_all();
    net_commit(&net, 10);
    net_stop(&net, 4); /* a member, or not */
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    NET_WAIT(&net, net.waiting == 0);
    check_alive();
    net_check(&net);
    print_message("seed %" PRIu64 ": committed=%zu refused=%zu unknown=%zu\n", seed, net.committed, net.refused,
                  net.unknown);
    assert_true(net.committed > 19);
    net_close(&net);
}

static void random_faults(void **state)
{
    const char *seed = getenv("ASSENT_TEST_SEED"), *rounds = getenv("ASSENT_TEST_ROUNDS");
    unsigned n = rounds != NULL ? (unsigned)atoi(rounds) : ROUNDS;

    (void)state;
    if (seed != NULL) {
        run(strtoull(seed, NULL, 10), n);
        return;
    }
    for (uint64_t i = 0; i < 4; i++)
        run((uint64_t)time(NULL) * 10 + i, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_faults),
    };

    log_init("test_replog_faults", getenv("ASSENT_TEST_LOG") != NULL ? LOG_INFO : LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
