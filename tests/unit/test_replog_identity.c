/* Tests of which log a node is of: one with the log that its group had before it was restored from a backup is
 * refused on both sides, and neither group comes to harm. Two groups of one name on one network. */
#include "tests/unit/replog_kit.h"

static struct net old, restored;

static void to_restored(struct net *net, uint64_t from, uint64_t to, const void *data, size_t len)
{
    (void)net;
    (void)from;
    if (restored.nodes[to].up)
        net_queue(&restored, to, data, len);
}

static void to_old(struct net *net, uint64_t from, uint64_t to, const void *data, size_t len)
{
    (void)net;
    (void)from;
    if (old.nodes[to].up)
        net_queue(&old, to, data, len);
}

static void run_both(unsigned ms)
{
    for (unsigned i = 0; i < ms; i += 5) {
        net_run(&old, 2);
        net_run(&restored, 2);
    }
}

/* Of three nodes with one log, node 3 is left; nodes 1 and 2 have begun anew, with the group's name. */
static void begin(void)
{
    net_open(&old);
    net_group(&old, 3);
    net_commit(&old, 30);
    NET_WAIT(&old, net_all_applied(&old));
    net_stop(&old, 1);
    net_stop(&old, 2);
    net_open(&restored);
    net_group(&restored, 2);
    net_commit(&restored, 5);
    NET_WAIT(&restored, net_all_applied(&restored));
    old.spy = to_restored;
    restored.spy = to_old;
}

static void end(void)
{
    net_check(&restored);
    net_close(&restored);
    net_check(&old);
    net_close(&old);
}

static uint64_t strangers(const struct net *net, uint64_t id)
{
    struct replog_status s;

    replog_status(net->nodes[id].r, &s);
    return s.strangers;
}

/* Its log is the longer one: what asks it, or is asked for a vote, would take it for a member of its own. */
static void survivor_is_refused(void **state)
{
    (void)state;
    begin();
    assert_int_equal(replog_group(old.nodes[3].r), replog_group(restored.nodes[1].r));
    run_both(10 * NET_ELECTION);
    net_commit(&restored, 5);
    NET_WAIT(&restored, net_all_applied(&restored));
    net_stop(&restored, 1);
    run_both(10 * NET_ELECTION);
    assert_int_equal(old.nodes[3].role, REPLOG_FOLLOWER);
    assert_int_equal(restored.nodes[2].fatals, 0);
    assert_int_equal(restored.nodes[2].applied, 10);
    net_start(&restored, 1);
    net_commit(&restored, 5);
    NET_WAIT(&restored, net_all_applied(&restored));
    assert_int_equal(old.nodes[3].applied, 30);
    assert_int_equal(old.nodes[3].fatals, 0);
    /* Each side knows. */
    assert_true(strangers(&restored, 2) > 0);
    assert_true(strangers(&old, 3) > 0);
    end();
}

/* Its directory is taken along by mistake. */
static void old_directory_is_refused(void **state)
{
    struct kit_image image;

    (void)state;
    begin();
    net_stop(&old, 3);
    kit_load_stable(&image, old.nodes[3].dir);
    kit_store(&image, restored.nodes[3].dir);
    kit_release_image(&image);
    net_start(&restored, 3);
    assert_int_equal(net_add(&restored, 3), TX_EREFUSED);
    assert_non_null(strstr(restored.change_why, "empty its data directory"));
    NET_WAIT(&restored, restored.nodes[net_leader(&restored)].members == 2);
    net_commit(&restored, 5);
    assert_int_equal(restored.nodes[3].applied, 0);
    net_stop(&restored, 3);
    kit_empty(restored.nodes[3].dir);
    net_start(&restored, 3);
    assert_int_equal(net_add(&restored, 3), TX_OK);
    net_commit(&restored, 5);
    NET_WAIT(&restored, net_all_applied(&restored));
    end();
}

static void identity_lasts(void **state)
{
    uint64_t log;

    (void)state;
    begin();
    log = replog_log_id(restored.nodes[1].r);
    assert_int_not_equal(log, 0);
    assert_int_not_equal(log, replog_log_id(old.nodes[3].r));
    assert_int_equal(log, replog_log_id(restored.nodes[2].r));
    net_kill(&restored, 2);
    net_start(&restored, 2);
    assert_int_equal(log, replog_log_id(restored.nodes[2].r));
    net_commit(&restored, 5);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survivor_is_refused),
        cmocka_unit_test(old_directory_is_refused),
        cmocka_unit_test(identity_lasts),
    };

    if (getenv("ASSENT_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("ASSENT_TEST_ONLY"));
    log_init("test_replog_identity", getenv("ASSENT_TEST_LOG") != NULL ? LOG_INFO : LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
