/* Tests of replog with groups whose membership changes where some of them do not answer: nobody leaves a group
 * that could not go on without him.
 */
#include "tests/unit/replog_kit.h"

static void start_three(struct net *net)
{
    net_open(net);
    net_group(net, 3);
}

/* Of three one has just died, and nobody has missed it yet: with another one out, the leader would be alone in
 * a group of two. */
static void stays_able_to_go_on(void **state)
{
    static struct net net;
    uint64_t leader, dead, alive;

    (void)state;
    start_three(&net);
    net_commit(&net, 10);
    leader = net_wait_leader(&net);
    dead = leader % 3 + 1;
    alive = dead % 3 + 1;
    net_kill(&net, dead);
    assert_int_equal(net_remove(&net, alive), TX_EREFUSED);
    assert_int_equal(net_leader(&net), leader);
    net_commit(&net, 10);
    assert_int_equal(net_remove(&net, dead), TX_OK);
    net_commit(&net, 10);
    /* Of two it may go, as long as it leads. */
    assert_int_equal(net_remove(&net, alive), TX_OK);
    net_commit(&net, 10);
    net_check(&net);
    net_close(&net);
}

/* The same, and the lead is lost while it asks: nothing has changed, and that is known. */
static void asks_and_is_deposed(void **state)
{
    static struct net net;
    uint64_t leader;

    (void)state;
    start_three(&net);
    net_commit(&net, 10);
    leader = net_wait_leader(&net);
    net_isolate(&net, leader, true);
    assert_int_equal(net_remove(&net, leader % 3 + 1), TX_ENOTLEADER);
    net_isolate(&net, leader, false);
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(net.nodes[i].members, 3);
    net_check(&net);
    net_close(&net);
}

/* Nobody leaves before the newcomer is there. */
static void one_takes_anothers_place(void **state)
{
    static struct net net;
    uint64_t leader, old, other;

    (void)state;
    start_three(&net);
    net_commit(&net, 500);
    leader = net_wait_leader(&net);
    old = leader % 3 + 1;
    other = old % 3 + 1;
    assert_int_equal(net_replace(&net, old, 4), TX_ETIMEOUT); /* it does not run */
    net_start(&net, 4);
    assert_int_equal(net_replace(&net, leader, 4), TX_EREFUSED);
    assert_int_equal(net_replace(&net, 5, 4), TX_EREFUSED);
    assert_int_equal(net_replace(&net, old, other), TX_EREFUSED);
    assert_int_equal(net.nodes[leader].members, 3);
    net_kill(&net, old);
    /* The other one would leave the leader alone with the dead one. */
    assert_int_equal(net_replace(&net, other, 4), TX_EREFUSED);
    NET_WAIT(&net, net.nodes[leader].members == 3);
    assert_int_equal(net_replace(&net, old, 4), TX_OK);
    NET_WAIT(&net, net_all_applied(&net) && net.nodes[4].members == 3);
    net_stop(&net, other);
    net_commit(&net, 10);
    net_check(&net);
    net_close(&net);
}

static void one_of_four_is_replaced(void **state)
{
    static struct net net;

    (void)state;
    net_open(&net);
    net_group(&net, 4);
    net_start(&net, 5);
    net_commit(&net, 10);
    assert_int_equal(net_replace(&net, net_wait_leader(&net) % 4 + 1, 5), TX_OK);
    net_commit(&net, 10);
    NET_WAIT(&net, net.nodes[5].members == 4);
    net_check(&net);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_able_to_go_on),
        cmocka_unit_test(asks_and_is_deposed),
        cmocka_unit_test(one_takes_anothers_place),
        cmocka_unit_test(one_of_four_is_replaced),
    };

    log_init("test_replog_change", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
