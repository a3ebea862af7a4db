/* Tests of replog with groups: electing, replicating, catching up, changing the membership, being emptied. */
#include "tests/unit/replog_kit.h"

#include <signal.h>
#include <sys/resource.h>

static void group_of_five(void **state)
{
    static struct net net;

    (void)state;
    net_open(&net);
    net_group(&net, 5);
    net_commit(&net, 100);
    net_stop(&net, net_wait_leader(&net));
    net_commit(&net, 100);
    net_stop(&net, net_wait_leader(&net));
    net_commit(&net, 100);
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

static void start_three(struct net *net)
{
    net_open(net);
    net_group(net, 3);
}

static void leader_dies_and_returns(void **state)
{
    static struct net net;
    uint64_t leader;

    (void)state;
    start_three(&net);
    for (int round = 0; round < 6; round++) {
        net_commit(&net, 50);
        leader = net_wait_leader(&net);
        net_propose(&net, leader, 30);
        if (round % 2 == 0)
            net_run(&net, (unsigned)round);
        net_kill(&net, leader);
        net_commit(&net, 50);
        net_start(&net, leader);
    }
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

/* What a cut-off leader took in is of unknown outcome, and is replaced on its disk by what the others decided.
 */
static void tail_is_replaced(void **state)
{
    static struct net net;
    struct replog_status s;
    uint64_t old;

    (void)state;
    start_three(&net);
    net_commit(&net, 20);
    NET_WAIT(&net, net_all_applied(&net));
    old = net_wait_leader(&net);
    net_isolate(&net, old, true);
    net_propose(&net, old, 40);
    NET_WAIT(&net, net.nodes[old].role == REPLOG_FOLLOWER);
    assert_int_equal(net.unknown, 40);
    net_propose(&net, old, 3);
    NET_WAIT(&net, net.refused == 3);
    net_commit(&net, 10);
    /* Killed before it hears of it: its tail comes back from its disk. */
    net_kill(&net, old);
    net_start(&net, old);
    net_run(&net, 50);
    replog_status(net.nodes[old].r, &s);
    assert_true(s.last_index >= 60);
    net_isolate(&net, old, false);
    NET_WAIT(&net, net_all_applied(&net));
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    for (uint64_t i = 1; i <= 3; i++)
        net_kill(&net, i);
    for (uint64_t i = 1; i <= 3; i++)
        net_start(&net, i);
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    assert_int_equal(net.n_history, 50);
    net_check(&net);
    net_close(&net);
}

static void cut_one_way(struct net *net, uint64_t from, uint64_t to, bool cut)
{
    for (uint64_t i = 1; i < NET_NODES; i++) {
        if (from != 0)
            net->cut[from][i] = cut;
        else
            net->cut[i][to] = cut;
    }
}

/* It is not heard, or hears nobody: in either case it gives up by itself, and whoever waits is told. */
static void leader_without_contact(void **state)
{
    static struct net net;
    uint64_t leader;

    (void)state;
    start_three(&net);
    for (int i = 0; i < 4; i++) {
        net_commit(&net, 10);
        NET_WAIT(&net, net_all_applied(&net));
        leader = net_wait_leader(&net);
        cut_one_way(&net, i % 2 == 0 ? leader : 0, leader, true);
        net_propose(&net, leader, 5);
        NET_WAIT(&net, net.nodes[leader].role == REPLOG_FOLLOWER);
        assert_int_equal(net.waiting, 0);
        NET_WAIT(&net, net_leader(&net) != 0 && net_leader(&net) != leader);
        net_commit(&net, 10);
        cut_one_way(&net, i % 2 == 0 ? leader : 0, leader, false);
    }
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

static void catches_up_by_snapshot(void **state)
{
    static struct net net;
    struct replog_status s;
    uint64_t away;

    (void)state;
    start_three(&net);
    net_commit(&net, 20);
    away = net_wait_leader(&net) % 3 + 1;
    net_stop(&net, away);
    for (int i = 0; i < 60; i++)
        net_commit(&net, 40);
    net_start(&net, away);
    for (int i = 0; i < 20; i++)
        net_commit(&net, 40);
    NET_WAIT(&net, net_all_applied(&net));
    replog_status(net.nodes[away].r, &s);
    assert_true(s.installs >= 1);
    assert_true(net.nodes[away].restores >= 1);
    net_kill(&net, away);
    net_start(&net, away);
    NET_WAIT(&net, net_all_applied(&net));
    /* And it is a full member: with it alone of two a majority is there. */
    net_stop(&net, away % 3 + 1);
    net_commit(&net, 500);
    net_check(&net);
    net_close(&net);
}

/* Three megabytes over a network that loses and reorders. */
static void large_snapshot(void **state)
{
    static struct net net;
    struct replog_status s;
    uint64_t away;

    (void)state;
    start_three(&net);
    net.padding = 3 << 20;
    away = net_wait_leader(&net) % 3 + 1;
    net_stop(&net, away);
    for (int i = 0; i < 40; i++)
        net_commit(&net, 40);
    net.drop = 3;
    net.twice = 5;
    net.delay = 4;
    net_start(&net, away);
    NET_WAIT(&net, net_all_applied(&net));
    replog_status(net.nodes[away].r, &s);
    assert_true(s.installs >= 1);
    net_commit(&net, 100);
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

/* Killed at whatever moment while a snapshot comes in: it starts again as it was, or with the snapshot. */
static void killed_while_installing(void **state)
{
    static struct net net;
    uint64_t away;

    (void)state;
    start_three(&net);
    net.padding = 1 << 20;
    away = net_wait_leader(&net) % 3 + 1;
    net_stop(&net, away);
    for (unsigned round = 0; round < 8; round++) {
        for (int i = 0; i < 20; i++)
            net_commit(&net, 40);
        net_start(&net, away);
        net_run(&net, 25 + round * 4);
        net_kill(&net, away);
    }
    net_start(&net, away);
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

static void entries_of_all_sizes(void **state)
{
    static struct net net;

    (void)state;
    net_open(&net);
    for (uint64_t i = 1; i <= 3; i++) {
        net.nodes[i].options.segment_bytes = 2 << 20;
        net.nodes[i].options.snapshot_bytes = 8 << 20;
    }
    net_group(&net, 3);
    for (size_t size = 8; size <= REPLOG_ENTRY_BYTES; size *= 8) {
        net.entry = size;
        net_commit(&net, 5);
    }
    net.entry = REPLOG_ENTRY_BYTES;
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

/* Membership */

static void keep_loading(struct net *net)
{
    uint64_t leader = net_leader(net);

    if (leader != 0 && net->waiting < 20)
        net_propose(net, leader, 10);
}

static void on_load(uv_timer_t *timer)
{
    keep_loading(timer->data);
}

static void one_three_one(void **state)
{
    static struct net net;
    uv_timer_t load;

    (void)state;
    net_open(&net);
    net.group = 0;
    net_found(&net, 1);
    net_commit(&net, 2000); /* more than the log reaches back */
    uv_timer_init(&net.loop, &load);
    load.data = &net;
    uv_timer_start(&load, on_load, 1, 2);
    net_start(&net, 2);
    assert_int_equal(replog_group(net.nodes[2].r), 0);
    assert_int_equal(net_add(&net, 2), TX_OK);
    assert_int_equal(replog_group(net.nodes[2].r), replog_group(net.nodes[1].r));
    net_start(&net, 3);
    assert_int_equal(net_add(&net, 3), TX_OK);
    assert_int_equal(net_add(&net, 3), TX_EREFUSED);
    assert_int_equal(net_transfer(&net, 3), TX_OK);
    NET_WAIT(&net, net_leader(&net) == 3);
    assert_int_equal(net_remove(&net, 1), TX_OK);
    net_stop(&net, 1);
    /* Two are left, and both are needed. */
    assert_int_equal(net_remove(&net, 2), TX_OK);
    net_stop(&net, 2);
    net_run(&net, 300);
    uv_timer_stop(&load);
    NET_WAIT(&net, net.waiting == 0);
    assert_int_equal(net_remove(&net, 3), TX_EREFUSED);
    net_commit(&net, 10);
    net_stop(&net, 3);
    net_start(&net, 3);
    net_commit(&net, 10);
    assert_int_equal(net.unknown, 0);
    net_check(&net);
    uv_close((uv_handle_t *)&load, NULL);
    net_close(&net);
}

/* It waits with an empty directory until it is told, once; and keeps to that when it is killed at once. */
static void begun_by_hand(void **state)
{
    static struct net net;
    struct tx_error e;

    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        net_open(&net);
        net_start(&net, 1);
        net_run(&net, 5 * NET_ELECTION);
        assert_int_equal(net_leader(&net), 0);
        assert_int_equal(replog_group(net.nodes[1].r), 0);
        assert_int_equal(replog_found(net.nodes[1].r, &e), TX_OK);
        if (killed == 1) {
            net_kill(&net, 1);
            net_start(&net, 1);
        }
        net_commit(&net, 10);
        assert_int_equal(replog_found(net.nodes[1].r, &e), TX_EREFUSED);
        net_start(&net, 2);
        assert_int_equal(net_add(&net, 2), TX_OK);
        assert_int_equal(replog_found(net.nodes[2].r, &e), TX_EREFUSED);
        net_commit(&net, 10);
        NET_WAIT(&net, net_all_applied(&net));
        net_check(&net);
        net_close(&net);
    }
}

static void rolling_transfer(void **state)
{
    static struct net net;

    (void)state;
    start_three(&net);
    for (int i = 0; i < 6; i++) {
        uint64_t leader = net_wait_leader(&net);

        net_propose(&net, leader, 20);
        assert_int_equal(net_transfer(&net, 0), TX_OK);
        NET_WAIT(&net, net_leader(&net) != 0 && net_leader(&net) != leader);
        net_stop(&net, leader);
        net_commit(&net, 20);
        net_start(&net, leader);
        NET_WAIT(&net, net_all_applied(&net));
    }
    assert_int_equal(net.unknown, 0);
    net_check(&net);
    net_close(&net);
}

static void removed_node_is_told(void **state)
{
    static struct net net;
    uint64_t leader, term;

    (void)state;
    start_three(&net);
    net_commit(&net, 10);
    leader = net_wait_leader(&net);
    term = net.nodes[leader].term;
    assert_int_equal(net_remove(&net, leader % 3 + 1), TX_OK);
    net_run(&net, 6 * NET_ELECTION);
    net_commit(&net, 10);
    assert_int_equal(net_leader(&net), leader);
    assert_int_equal(net.nodes[leader].term, term);
    /* The leader removes itself: the last one goes on alone. */
    assert_int_equal(net_remove(&net, leader), TX_OK);
    NET_WAIT(&net, net_leader(&net) != 0 && net_leader(&net) != leader);
    net_commit(&net, 10);
    net_check(&net);
    net_close(&net);
}

static void silent_newcomer(void **state)
{
    static struct net net;

    (void)state;
    start_three(&net);
    net_commit(&net, 10);
    assert_int_equal(net_add(&net, 4), TX_ETIMEOUT);
    NET_WAIT(&net, net.nodes[net_leader(&net)].members == 3);
    net_start(&net, 4);
    assert_int_equal(net_add(&net, 4), TX_OK);
    net_commit(&net, 10);
    NET_WAIT(&net, net_all_applied(&net));
    net_start(&net, 5);
    assert_int_equal(net_add(&net, 5), TX_OK);
    NET_WAIT(&net, net_all_applied(&net));
    net_check(&net);
    net_close(&net);
}

static void refuses_changes(void **state)
{
    static struct net net;
    uint64_t leader, follower;

    (void)state;
    start_three(&net);
    leader = net_wait_leader(&net);
    follower = leader % 3 + 1;
    replog_remove(net.nodes[follower].r, leader, net_changed, &net);
    assert_int_equal(net.change_rc, TX_ENOTLEADER);
    assert_int_equal(net_remove(&net, 5), TX_EREFUSED);
    assert_int_equal(net_transfer(&net, 5), TX_EREFUSED);
    assert_int_equal(net_transfer(&net, leader), TX_EREFUSED);
    replog_add(net.nodes[leader].r, &(struct replog_newcomer){4, net.nodes[follower].address, 0}, net_changed,
               &net);
    assert_int_equal(net.change_rc, TX_EREFUSED);
    net_isolate(&net, follower, true);
    net.change_rc = 1;
    replog_transfer(net.nodes[leader].r, follower, net_changed, &net);
    /* Meanwhile proposals are refused, and so are changes. */
    net_propose(&net, leader, 5);
    replog_remove(net.nodes[leader].r, follower, net_changed, &net);
    assert_int_equal(net.change_rc, TX_EBUSY);
    net.change_rc = 1;
    NET_WAIT(&net, net.change_rc != 1);
    assert_int_equal(net.change_rc, TX_ETIMEOUT);
    assert_int_equal(net.refused, 5);
    net_isolate(&net, follower, false);
    net_commit(&net, 10);
    net_close(&net);
}

/* Emptied, or of another group */

static void emptied_node_stops(void **state)
{
    static struct net net;
    uint64_t emptied;

    (void)state;
    start_three(&net);
    net_commit(&net, 30);
    for (int i = 0; i < 3; i++) {
        emptied = net_wait_leader(&net) % 3 + 1;
        net_stop(&net, emptied);
        kit_empty(net.nodes[emptied].dir);
        net_start(&net, emptied);
        NET_WAIT(&net, net.nodes[emptied].fatals == 1);
        assert_int_equal(net.nodes[emptied].error.code, TX_EREFUSED);
        assert_non_null(
            strstr(net.nodes[emptied].error.msg, "remove this node from the group and add it again"));
        net_stop(&net, emptied);
        assert_int_equal(net_remove(&net, emptied), TX_OK);
        kit_empty(net.nodes[emptied].dir);
        net_start(&net, emptied);
        assert_int_equal(net_add(&net, emptied), TX_OK);
        net_commit(&net, 30);
        NET_WAIT(&net, net_all_applied(&net));
        assert_int_equal(net_transfer(&net, emptied), TX_OK);
    }
    net_check(&net);
    net_close(&net);
}

/* The others lack what the leader committed with the emptied node's help: it must not help them to lead. */
static void emptied_node_grants_nothing(void **state)
{
    static struct net net;
    uint64_t leader, slow, emptied;
    struct tx_error e;

    (void)state;
    start_three(&net);
    net_commit(&net, 5);
    leader = net_wait_leader(&net);
    slow = leader % 3 + 1;
    emptied = slow % 3 + 1;
    net_isolate(&net, slow, true);
    net_commit(&net, 30);
    net_stop(&net, emptied);
    net_stop(&net, leader);
    kit_empty(net.nodes[emptied].dir);
    net_isolate(&net, slow, false);
    net_start(&net, emptied);
    net_run(&net, 8 * NET_ELECTION);
    assert_int_equal(net_leader(&net), 0);
    /* Nor does it begin a group while another node takes it for a member. */
    assert_int_equal(replog_found(net.nodes[emptied].r, &e), TX_EREFUSED);
    assert_non_null(strstr(e.msg, "takes this node for a member"));
    net_start(&net, leader);
    NET_WAIT(&net, net_leader(&net) == leader);
    NET_WAIT(&net, net.nodes[emptied].fatals == 1);
    assert_int_equal(net.nodes[emptied].error.code, TX_EREFUSED);
    net_stop(&net, emptied);
    net_check(&net);
    net_close(&net);
}

static void another_group_is_not_heard(void **state)
{
    static struct net net;

    (void)state;
    start_three(&net);
    net_commit(&net, 10);
    net_stop(&net, 3);
    kit_empty(net.nodes[3].dir);
    net.group = 7;
    net_found(&net, 3);
    net_run(&net, 5 * NET_ELECTION);
    assert_int_equal(net.nodes[3].applied, 0);
    assert_int_equal(net.nodes[3].members, 1);
    net_stop(&net, 3);
    net_commit(&net, 10);
    net_check(&net);
    net_close(&net);
}

/* A full disk */

/* The victim's files are larger than the limit, the others' are not. */
static void disk_full_on(bool leads)
{
    static struct net net;
    struct rlimit limit;
    uint64_t victim = 1;

    signal(SIGXFSZ, SIG_IGN);
    net_open(&net);
    for (uint64_t i = 1; i <= 3; i++) {
        net.nodes[i].options.snapshot_bytes = 1 << 20;
        net.nodes[i].options.segment_bytes = i == victim ? 65536 : 16384;
    }
    net_group(&net, 3);
    net_commit(&net, 20);
    if (leads && net_leader(&net) != victim)
        assert_int_equal(net_transfer(&net, victim), TX_OK);
    if (!leads && net_leader(&net) == victim)
        assert_int_equal(net_transfer(&net, 2), TX_OK);
    net_commit(&net, 5);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 30000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 300 && net.nodes[victim].fatals == 0; i++) {
        if (net_leader(&net) != 0)
            net_propose(&net, net_leader(&net), 10);
        net_run(&net, 5);
    }
    assert_int_equal(net.nodes[victim].fatals, 1);
    assert_int_equal(net.nodes[victim].error.code, TX_EIO);
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    /* The others go on; of its own proposals nobody is told anything. */
    NET_WAIT(&net, net_leader(&net) != 0);
    net_stop(&net, victim);
    net.waiting = 0;
    net_run(&net, 100);
    net.waiting = 0;
    net_propose(&net, net_wait_leader(&net), 50);
    net_run(&net, 300);
    net_start(&net, victim);
    NET_WAIT(&net, net_all_applied(&net) && net.nodes[victim].leader != 0);
    net_check(&net);
    net_close(&net);
}

static void disk_full_on_leader(void **state)
{
    (void)state;
    disk_full_on(true);
}

static void disk_full_on_follower(void **state)
{
    (void)state;
    disk_full_on(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_of_five),
        cmocka_unit_test(leader_dies_and_returns),
        cmocka_unit_test(tail_is_replaced),
        cmocka_unit_test(leader_without_contact),
        cmocka_unit_test(catches_up_by_snapshot),
        cmocka_unit_test(large_snapshot),
        cmocka_unit_test(killed_while_installing),
        cmocka_unit_test(entries_of_all_sizes),
        cmocka_unit_test(one_three_one),
        cmocka_unit_test(begun_by_hand),
        cmocka_unit_test(rolling_transfer),
        cmocka_unit_test(removed_node_is_told),
        cmocka_unit_test(silent_newcomer),
        cmocka_unit_test(refuses_changes),
        cmocka_unit_test(emptied_node_stops),
        cmocka_unit_test(emptied_node_grants_nothing),
        cmocka_unit_test(another_group_is_not_heard),
        cmocka_unit_test(disk_full_on_leader),
        cmocka_unit_test(disk_full_on_follower),
    };

    if (getenv("ASSENT_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("ASSENT_TEST_ONLY"));
    log_init("test_replog_group", getenv("ASSENT_TEST_LOG") != NULL ? LOG_INFO : LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
