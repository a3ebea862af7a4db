/* test_nodes: where the coordinators of a group listen, in the ledger, and what the leader does about it. */
#include "tests/unit/driver_kit.h"

enum { MEMBERS = 3 };

static const uint64_t members[MEMBERS] = {KIT_NODE, 2, 3};

static const char *address_of(struct kit *k, uint64_t id)
{
    const struct ledger_node *n = ledger_node(driver_ledger(k->d), id);

    return n != NULL ? n->address : NULL;
}

static void tell(struct kit *k, uint64_t id, const char *address)
{
    driver_node_told(k->d, k->now, id, address);
    kit_flush(k);
    kit_apply(k);
}

/* What a client is told of the nodes when it opens a session. */
static size_t told_nodes(struct kit *k, uint64_t nonce, struct wire_message *m)
{
    uint32_t request = kit_open(k, nonce);

    kit_flush(k);
    kit_apply(k);
    assert_true(kit_answer(k, request, m));
    assert_int_equal(m->type, WIRE_SESSION);
    return m->session.nodes.n;
}

static void test_nodes_are_told(void **state)
{
    const struct driver_options options = {.node_id = KIT_NODE, .address = "tcp://one:7401"};
    struct kit *k = kit_bare(&options);
    struct wire_message m;

    (void)state;
    assert_int_equal(told_nodes(k, 71, &m), 0);
    driver_members(k->d, k->now, members, MEMBERS);
    tell(k, 2, "tcp://two:7401");
    assert_string_equal(address_of(k, KIT_NODE), "tcp://one:7401");
    assert_int_equal(told_nodes(k, 72, &m), 2);
    assert_string_equal(m.session.nodes.addresses[0], "tcp://one:7401");
    assert_string_equal(m.session.nodes.addresses[1], "tcp://two:7401");
    kit_free(k);
}

static void test_a_node_moves(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    driver_members(k->d, k->now, members, MEMBERS);
    tell(k, 2, "tcp://two:7401");
    tell(k, 2, "tcp://two:7777");
    assert_string_equal(address_of(k, 2), "tcp://two:7777");
    driver_node_told(k->d, k->now, 2, "tcp://two:7777");
    kit_flush(k);
    assert_int_equal(k->n_entries, 0);
    kit_free(k);
}

static void test_strangers_are_not_listed(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    tell(k, 2, "tcp://two:7401");
    assert_null(address_of(k, 2));
    driver_members(k->d, k->now, members, MEMBERS);
    tell(k, 4, "tcp://four:7401");
    assert_null(address_of(k, 4));
    kit_free(k);
}

static void test_removed_nodes_go(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    driver_members(k->d, k->now, members, MEMBERS);
    tell(k, 2, "tcp://two:7401");
    tell(k, 3, "tcp://three:7401");
    driver_members(k->d, k->now, members, 2);
    kit_flush(k);
    kit_apply(k);
    assert_non_null(address_of(k, 2));
    assert_null(address_of(k, 3));
    kit_free(k);
}

/* A change of members that a leader did not live to write down is made up for by the next. */
static void test_the_next_leader_corrects_the_list(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    driver_members(k->d, k->now, members, MEMBERS);
    tell(k, 3, "tcp://three:7401");
    driver_role(k->d, k->now, false, 0);
    driver_members(k->d, k->now, members, 2);
    kit_flush(k);
    assert_int_equal(k->n_entries, 0);
    driver_role(k->d, k->now, true, KIT_NODE);
    kit_flush(k);
    kit_apply(k);
    assert_null(address_of(k, 3));
    kit_free(k);
}

/* A follower answers what stands for ever, and sends all else to the leader. */
static void test_lookups_at_a_follower(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);

    (void)state;
    kit_flush(k);
    kit_apply(k);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    driver_role(k->d, k->now, false, 0);
    kit_expect_outcome(k, 1, TX_OUTCOME_COMMITTED);
    kit_expect_error(k, kit_outcome(k, 2), TX_ENOTLEADER);
    kit_free(k);
}

/* One that may be deposed without knowing it calls nothing pending before the log agrees. */
static void test_lookups_wait_for_the_log(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m;
    uint32_t ask;

    (void)state;
    driver_members(k->d, k->now, members, MEMBERS);
    kit_flush(k);
    kit_apply(k);
    ask = kit_outcome(k, 1);
    kit_flush(k);
    kit_expect_silence(k, ask);
    kit_apply(k);
    assert_true(kit_answer(k, ask, &m));
    assert_int_equal(m.outcome_is.outcome, TX_OUTCOME_PENDING);
    ask = kit_outcome(k, 1);
    kit_flush(k);
    driver_role(k->d, k->now, false, 0);
    kit_expect_error(k, ask, TX_ENOTLEADER);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_are_told),
        cmocka_unit_test(test_a_node_moves),
        cmocka_unit_test(test_strangers_are_not_listed),
        cmocka_unit_test(test_removed_nodes_go),
        cmocka_unit_test(test_the_next_leader_corrects_the_list),
        cmocka_unit_test(test_lookups_at_a_follower),
        cmocka_unit_test(test_lookups_wait_for_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
