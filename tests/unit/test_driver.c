/* test_driver: the leader's work, request by request: sessions, decisions, votes, phase two, ends. */
#include "tests/unit/driver_kit.h"

/* Direct branches */

static void test_direct_commit(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_direct);
    const struct decision *decision;
    const struct range one = {1, 1};
    uint32_t beat;

    (void)state;
    kit_expect_silence(k, ask); /* nobody is told what is not logged */
    kit_flush(k);
    assert_int_equal(k->n_entries, 1);
    kit_expect_silence(k, ask);
    kit_apply(k);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).completed, 1);
    decision = ledger_decision(driver_ledger(k->d), k->session, 1);
    assert_non_null(decision);
    assert_int_equal(decision->n_branches, 2);
    assert_string_equal(decision->branches[0].proof, "pa");
    beat = kit_beat(k, WIRE_HEARTBEAT, &one, &one);
    kit_expect_silence(k, beat);
    kit_pass(k, 200);
    assert_int_equal(kit_answers(k, beat), 1);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    kit_expect_outcome(k, 1, TX_OUTCOME_FORGOTTEN);
    kit_free(k);
}

/* Everything that asks twice gets the same, and nothing is decided twice. */
static void test_doubles(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t a, b, c, late;
    const struct range one = {1, 1};
    struct driver_counters n;

    (void)state;
    a = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    b = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_flush(k);
    c = kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    kit_expect_decided(k, a, VERDICT_COMMIT);
    kit_expect_decided(k, b, VERDICT_COMMIT);
    kit_expect_decided(k, c, VERDICT_COMMIT);
    late = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_direct);
    kit_expect_decided(k, late, VERDICT_COMMIT);
    driver_count(k->d, &n);
    assert_int_equal(n.committed, 1);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, &one);
    kit_pass(k, 200);
    late = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_direct);
    kit_turn(k);
    kit_expect_error(k, late, TX_ENOTFOUND);
    driver_count(k->d, &n);
    assert_int_equal(n.committed, 1);
    assert_int_equal(n.in_flight, 0);
    kit_free(k);
}

/* The client says nothing more: after the grace an agent commits its branches. */
static void test_direct_by_agent_after_grace(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    pull = kit_pull(k, NULL, 0);
    kit_pass(k, 950);
    kit_expect_silence(k, pull);
    kit_pass(k, 100);
    pull = kit_pull(k, NULL, 0);
    kit_pass(k, 1100);
    assert_string_equal(kit_work(k, pull, WORK_COMMIT, 1)->proof, "pa");
    kit_expect_work(k, pull, WORK_COMMIT, 2);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_report(k, 1, 2, REPORT_COMMITTED);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    kit_free(k);
}

static uint32_t decide_logged(struct kit *k, uint64_t sequence, enum verdict verdict)
{
    struct wire_message m = {.type = WIRE_DECIDE};

    m.decide = (struct wire_decide){.id = kit_id(k, sequence),
                                    .verdict = (uint8_t)verdict,
                                    .wait = WAIT_COMPLETED,
                                    .agents_finish = 1,
                                    .n_branches = 2,
                                    .branches = kit_direct};
    return kit_ask(k, &m);
}

static void test_agents_finish(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull = kit_pull(k, NULL, 0), ask = decide_logged(k, 1, VERDICT_ABORT), again;

    (void)state;
    kit_turn(k);
    kit_expect_silence(k, ask);
    kit_expect_work(k, pull, WORK_ROLLBACK, 1);
    kit_expect_work(k, pull, WORK_ROLLBACK, 2);
    (void)kit_report(k, 1, 1, REPORT_ROLLED_BACK);
    kit_expect_silence(k, ask);
    again = kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct);
    assert_int_equal(kit_expect_decided(k, again, VERDICT_ABORT).completed, 0);
    (void)kit_report(k, 1, 2, REPORT_ROLLED_BACK);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_ABORT).completed, 1);
    kit_free(k);
}

/* Remote branches */

static void test_remote_commit(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull = kit_pull(k, NULL, 0);
    uint32_t decided = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    uint32_t completed = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_remote);

    (void)state;
    kit_turn(k);
    kit_expect_work(k, pull, WORK_PREPARE, 1);
    kit_expect_work(k, pull, WORK_PREPARE, 2);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_silence(k, decided);
    pull = kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    assert_int_equal(kit_expect_decided(k, decided, VERDICT_COMMIT).completed, 0);
    kit_expect_silence(k, completed);
    assert_string_equal(kit_work(k, pull, WORK_COMMIT, 1)->proof, "proof");
    kit_expect_work(k, pull, WORK_COMMIT, 2);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED); /* told twice */
    kit_expect_silence(k, completed);
    (void)kit_report(k, 1, 2, REPORT_COMMITTED);
    assert_int_equal(kit_expect_decided(k, completed, VERDICT_COMMIT).completed, 1);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    kit_free(k);
}

static void test_vote_no(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote), pull;

    (void)state;
    kit_turn(k);
    pull = kit_report(k, 1, 2, REPORT_REFUSED);
    kit_turn(k);
    assert_string_equal(kit_expect_decided(k, ask, VERDICT_ABORT).reason,
                        "branch 2 on bank_b voted no: disk full");
    assert_null(kit_work(k, pull, WORK_ROLLBACK, 2)); /* it has rolled back */
    kit_pass(k, 1100);
    pull = kit_pull(k, NULL, 0);
    kit_pass(k, 1100);
    kit_expect_work(k, pull, WORK_ROLLBACK, 1);
    (void)kit_report(k, 1, 1, REPORT_PREPARED); /* a late vote */
    (void)kit_report(k, 1, 1, REPORT_ROLLED_BACK);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    kit_free(k);
}

static void test_no_vote(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);

    (void)state;
    kit_turn(k);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    for (int i = 0; i < 11; i++) {
        (void)kit_pull(k, NULL, 0);
        kit_pass(k, 1000);
    }
    assert_string_equal(kit_expect_decided(k, ask, VERDICT_ABORT).reason,
                        "resource bank_b did not vote within 10000 ms");
    kit_free(k);
}

static void test_read_only_votes(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_remote);

    (void)state;
    kit_turn(k);
    (void)kit_report(k, 1, 1, REPORT_READ_ONLY);
    (void)kit_report(k, 1, 2, REPORT_READ_ONLY);
    kit_turn(k);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).completed, 1);
    assert_int_equal(ledger_decision(driver_ledger(k->d), k->session, 1)->n_branches, 0);
    kit_free(k);
}

static void test_mixed_commit(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull = kit_pull(k, NULL, 0), ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_mixed);
    const struct range one = {1, 1};

    (void)state;
    kit_turn(k);
    assert_null(kit_work(k, pull, WORK_PREPARE, 1));
    kit_expect_work(k, pull, WORK_PREPARE, 2);
    pull = kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_COMMIT, 2);
    assert_null(kit_work(k, pull, WORK_COMMIT, 1));
    (void)kit_report(k, 1, 2, REPORT_COMMITTED);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).completed, 1); /* the rest is the client's */
    (void)kit_beat(k, WIRE_HEARTBEAT, NULL, &one);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    kit_free(k);
}

/* A message may be lost: what nobody reports on is handed out again, and a dead agent's errands go to another.
 */
static void test_work_again(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull = kit_pull(k, NULL, 0);

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_PREPARE, 1);
    pull = kit_pull(k, NULL, 0);
    kit_pass(k, 500);
    kit_expect_silence(k, pull);
    kit_pass(k, 550);
    kit_expect_work(k, pull, WORK_PREPARE, 1);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    pull = kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_COMMIT, 1);
    kit_pass(k, 1300);
    pull = kit_pull_as(k, "agent-b", 2, true, NULL, 0);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_COMMIT, 1);
    kit_free(k);
}

/* Statements went to the first agent of the resource, so nobody else can prepare. */
static void test_prepare_goes_to_the_first_agent(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t second = kit_pull_as(k, "agent-b", 2, true, NULL, 0), first;

    (void)state;
    kit_pass(k, 1100); /* no PULL of the first agent is left */
    second = kit_pull_as(k, "agent-b", 2, false, NULL, 0);
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_pass(k, 1200);
    assert_null(kit_work(k, second, WORK_PREPARE, 1));
    first = kit_pull(k, NULL, 0);
    kit_turn(k);
    kit_expect_work(k, first, WORK_PREPARE, 1);
    kit_pass(k, 1300); /* lost, and to be sent again */
    second = kit_pull_as(k, "agent-b", 2, false, NULL, 0);
    kit_pass(k, 1050);
    assert_null(kit_work(k, second, WORK_PREPARE, 1));
    kit_free(k);
}

static void expect_refused(struct kit *k, uint32_t pull)
{
    struct wire_message m;

    kit_turn(k);
    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.type, WIRE_ERROR);
    assert_int_equal(m.error.code, TX_EREFUSED);
    assert_non_null(strstr(m.error.text, "used by two agents"));
}

/* Parked, or told the clients' keys. */
static void expect_taken(struct kit *k, uint32_t pull)
{
    struct wire_message m;

    kit_turn(k);
    if (kit_answer(k, pull, &m))
        assert_int_equal(m.type, WIRE_WORK);
}

/* A restart has the name at once. Who is heard again after that has not ended, and gets no work. */
static void test_two_agents_of_one_name(void **state)
{
    struct kit *k = kit_new(NULL);
    struct driver_namesake n;

    (void)state;
    expect_taken(k, kit_pull_as(k, "agent-a", 2, true, NULL, 0));
    expect_refused(k, kit_pull_as(k, "agent-a", 1, false, NULL, 0));
    assert_null(driver_namesake(k->d, k->now)); /* it may have been on the way */
    assert_false(driver_take_namesake(k->d, &n));
    kit_pass(k, 2500);
    expect_taken(k, kit_pull_as(k, "agent-a", 2, false, NULL, 0));
    expect_refused(k, kit_pull_as(k, "agent-a", 1, false, NULL, 0));
    assert_string_equal(driver_namesake(k->d, k->now), "agent-a");
    assert_true(driver_take_namesake(k->d, &n));
    assert_string_equal(n.name, "agent-a");
    assert_false(driver_take_namesake(k->d, &n));
    expect_taken(k, kit_pull_as(k, "agent-a", 3, true, NULL, 0)); /* the newer one is restarted */
    expect_refused(k, kit_pull_as(k, "agent-a", 1, false, NULL, 0));
    kit_pass(k, 10050); /* and ends for good */
    expect_taken(k, kit_pull_as(k, "agent-a", 1, true, NULL, 0));
    kit_pass(k, 61000);
    assert_null(driver_namesake(k->d, k->now));
    kit_free(k);
}

static void test_unknown_resource(void **state)
{
    static const struct branch_ref branches[] = {{.number = 1, .resource = "bank_a"},
                                                 {.number = 2, .resource = "bnak_b"}};
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, branches);
    const struct decision *decision;

    (void)state;
    kit_expect_silence(k, ask); /* a late double must not commit, so it is logged first */
    kit_turn(k);
    assert_string_equal(kit_expect_decided(k, ask, VERDICT_ABORT).reason,
                        "no resource bnak_b: txadmin resource add bnak_b KIND SETTINGS, or start its agent, or "
                        "correct the name");
    decision = ledger_decision(driver_ledger(k->d), k->session, 1);
    assert_int_equal(decision->n_branches, 1);
    assert_int_equal(decision->origin, ORIGIN_COORDINATOR);
    kit_free(k);
}

static void test_no_living_agent(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask;

    (void)state;
    kit_pass(k, 11000);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_turn(k);
    assert_string_equal(kit_expect_decided(k, ask, VERDICT_ABORT).reason,
                        "no living agent serves resource bank_a");
    kit_free(k);
}

/* Heuristic outcomes */

static void test_hazard(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_COMPLETED, kit_remote);
    const struct range one = {1, 1};

    (void)state;
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    (void)kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_report(k, 1, 2, REPORT_HAZARD);
    kit_expect_silence(k, ask); /* logged before it is told */
    kit_turn(k);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).heuristic, HEURISTIC_HAZARD);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_pass(k, 300);
    assert_non_null(ledger_decision(driver_ledger(k->d), k->session, 1)); /* until an operator forgets it */
    kit_free(k);
}

static void test_finished_against_the_decision(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = decide_logged(k, 1, VERDICT_COMMIT);

    (void)state;
    kit_turn(k);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_report(k, 1, 2, REPORT_HEURISTIC_ROLLBACK);
    kit_turn(k);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).heuristic, HEURISTIC_ROLLBACK);
    kit_free(k);
}

/* Of a transaction that may still become either no outcome is taken; of one that is presumed to be aborted, it
 * is. */
static void test_heuristic_without_a_record(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask;

    (void)state;
    (void)kit_report(k, 1, 1, REPORT_HEURISTIC_COMMIT);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    assert_int_equal(kit_expect_decided(k, ask, VERDICT_COMMIT).heuristic, HEURISTIC_NONE);
    kit_pass(k, 31000);
    (void)kit_report(k, 2, 1, REPORT_HEURISTIC_COMMIT);
    kit_turn(k);
    assert_int_equal(ledger_decision(driver_ledger(k->d), k->session, 2)->heuristic, HEURISTIC_COMMIT);
    kit_free(k);
}

/* An agent asked about a branch that it saw prepared; until it is told to roll it back, the transaction has
 * been committed, acknowledged and forgotten. */
static void test_committed_and_forgotten(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct range one = {1, 1};

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, &one);
    kit_pass(k, 300);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    (void)kit_report(k, 1, 1, REPORT_HEURISTIC_COMMIT);
    kit_turn(k);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct_commit),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_direct_by_agent_after_grace),
        cmocka_unit_test(test_agents_finish),
        cmocka_unit_test(test_remote_commit),
        cmocka_unit_test(test_vote_no),
        cmocka_unit_test(test_no_vote),
        cmocka_unit_test(test_read_only_votes),
        cmocka_unit_test(test_mixed_commit),
        cmocka_unit_test(test_work_again),
        cmocka_unit_test(test_prepare_goes_to_the_first_agent),
        cmocka_unit_test(test_two_agents_of_one_name),
        cmocka_unit_test(test_unknown_resource),
        cmocka_unit_test(test_no_living_agent),
        cmocka_unit_test(test_hazard),
        cmocka_unit_test(test_finished_against_the_decision),
        cmocka_unit_test(test_heuristic_without_a_record),
        cmocka_unit_test(test_committed_and_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
