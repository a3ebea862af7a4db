/* test_driver_trust: an agent and its key: what it is told of clients' and coordinators' keys, whose name and
 * work it may take, and that nothing it says reaches beyond its own resources.
 */
#include "tests/unit/driver_kit.h"

enum { SHOP = 1, WEB, AGENT, AGENT_TOO, NODE, NODE_TOO };

/* A PULL of agent-a, of both banks, that says it has the keys of this version. */
static uint32_t pull_with(struct kit *k, uint64_t instance, uint64_t keys_version)
{
    struct wire_message m = {.type = WIRE_PULL};

    m.pull = (struct wire_pull){.instance = instance,
                                .number = ++k->pulled,
                                .name = "agent-a",
                                .address = "tcp://127.0.0.1:7500",
                                .n_resources = 2,
                                .resources = kit_resources,
                                .keys_version = keys_version};
    return kit_ask(k, &m);
}

static uint64_t version(const struct kit *k)
{
    return ledger_keys_version(driver_ledger(k->d));
}

static struct wire_work work_in(struct kit *k, uint32_t pull)
{
    struct wire_message m;

    kit_turn(k);
    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.type, WIRE_WORK);
    return m.work;
}

/* Told */

static void test_clients_keys(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct wire_work work;
    uint32_t pull;

    (void)state;
    work = work_in(k, pull_with(k, 1, 0));
    assert_int_equal(work.keys_version, version(k)); /* there are none, and it is told so */
    assert_int_equal(work.n_clients, 0);
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT | ROLE_AGENT);
    kit_set_key(k, AGENT, "agent", ROLE_AGENT);
    pull = pull_with(k, 1, version(k));
    kit_turn(k);
    kit_expect_silence(k, pull);
    kit_set_key(k, WEB, "web", ROLE_CLIENT); /* parked, and told at once */
    work = work_in(k, pull);
    assert_int_equal(work.keys_version, version(k));
    assert_int_equal(work.n_clients, 2);
    assert_int_equal(work.clients[0].key[0], SHOP);
    assert_string_equal(work.clients[1].name, "web");
    pull = pull_with(k, 1, version(k));
    kit_turn(k);
    kit_expect_silence(k, pull);
    kit_set_key(k, SHOP, NULL, 0);
    work = work_in(k, pull);
    assert_int_equal(work.n_clients, 1);
    assert_int_equal(work.clients[0].key[0], WEB);
    pull = pull_with(k, 1, version(k));
    kit_pass(k, 1100); /* nothing to do: as told before */
    work = work_in(k, pull);
    assert_int_equal(work.keys_version, 0);
    assert_int_equal(work.n_clients, 0);
    kit_free(k);
}

/* An answer may be lost: it is told again, but waits like any other. */
static void test_clients_keys_lost(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t pull;

    (void)state;
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    assert_int_equal(work_in(k, pull_with(k, 1, 0)).n_clients, 1);
    pull = pull_with(k, 1, 0);
    kit_turn(k);
    kit_expect_silence(k, pull);
    kit_pass(k, 1100);
    assert_int_equal(work_in(k, pull).n_clients, 1);
    assert_int_equal(work_in(k, pull_with(k, 2, 0)).n_clients, 1); /* has started anew: at once */
    kit_free(k);
}

static void assert_nodes_keys(const struct wire_nodes *nodes, size_t n, uint8_t first)
{
    assert_int_equal(nodes->n_keys, n);
    if (n > 0)
        assert_int_equal(nodes->keys[0], first);
}

static void test_nodes_keys(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct wire_message m;
    uint32_t number;

    (void)state;
    k->session = kit_session(k, 71);
    k->nonce = 71;
    assert_true(kit_answer(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), &m));
    assert_nodes_keys(&m.heartbeat_ok.nodes, 0, 0);
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    kit_set_key(k, NODE, "node1", ROLE_COORDINATOR);
    kit_set_key(k, NODE_TOO, "node2", ROLE_COORDINATOR | ROLE_OBSERVER);
    assert_true(kit_answer(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), &m));
    assert_nodes_keys(&m.heartbeat_ok.nodes, 2, NODE);
    assert_int_equal(m.heartbeat_ok.nodes.keys[KEY_SIZE], NODE_TOO);
    kit_set_key(k, NODE, NULL, 0);
    number = kit_open(k, 72);
    kit_turn(k);
    assert_true(kit_answer(k, number, &m));
    assert_nodes_keys(&m.session.nodes, 1, NODE_TOO);
    m.work = work_in(k, pull_with(k, 1, 0));
    assert_nodes_keys(&m.work.nodes, 1, NODE_TOO);
    kit_free(k);
}

static uint8_t located_key(struct kit *k)
{
    struct wire_message m = {.type = WIRE_LOCATE, .locate = {"bank_a"}};

    assert_true(kit_answer(k, kit_ask(k, &m), &m));
    assert_int_equal(m.type, WIRE_LOCATED);
    return m.located.key != NULL ? m.located.key[0] : 0;
}

static void test_located(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    kit_agent(k);
    assert_int_equal(located_key(k), 0);
    kit_free(k);
    k = kit_bare(NULL);
    kit_as(k, AGENT, "bank");
    kit_agent(k);
    assert_int_equal(located_key(k), AGENT);
    kit_as(k, AGENT_TOO, "bank"); /* its next key */
    (void)kit_pull_as(k, "agent-a", 2, true, NULL, 0);
    assert_int_equal(located_key(k), AGENT_TOO);
    kit_free(k);
}

/* Names and work of others */

static void test_name_of_another(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t theirs;

    (void)state;
    kit_as(k, AGENT, "bank");
    kit_agent(k);
    kit_as(k, AGENT_TOO, "thief");
    kit_expect_error(k, kit_pull_as(k, "agent-a", 2, true, NULL, 0), TX_EREFUSED);
    kit_as(k, 0, NULL);
    kit_expect_error(k, kit_pull_as(k, "agent-a", 2, true, NULL, 0), TX_EREFUSED);
    kit_as(k, AGENT, "bank");
    assert_int_equal(located_key(k), AGENT);
    /* gone: the name is free, but what was granted to it is not */
    k->now += 11000;
    kit_as(k, AGENT_TOO, "thief");
    theirs = kit_pull_as(k, "agent-a", 2, false, NULL, 0);
    assert_int_equal(work_in(k, theirs).introduce, 1);
    kit_free(k);
}

static void test_name_of_another_gets_no_work(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t theirs, ours;

    (void)state;
    kit_as(k, AGENT, "bank");
    kit_agent(k);
    kit_as(k, SHOP, "shop");
    k->nonce = KIT_NONCE;
    k->session = kit_session(k, KIT_NONCE);
    (void)kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct);
    k->now += 11000;
    kit_as(k, AGENT_TOO, "thief");
    theirs = kit_pull_as(k, "agent-a", 2, false, NULL, 0);
    kit_pass(k, 2000);
    assert_null(kit_work(k, theirs, WORK_ROLLBACK, 1));
    kit_as(k, AGENT, "bank");
    ours = kit_pull_as(k, "agent-b", 3, true, NULL, 0);
    kit_pass(k, 2000);
    kit_expect_work(k, ours, WORK_ROLLBACK, 1);
    kit_free(k);
}

/* Cut off at once; its work is the next one's. */
static void test_revoked_agent(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t theirs, other;

    (void)state;
    kit_set_key(k, AGENT, "bank", ROLE_AGENT);
    kit_set_key(k, AGENT_TOO, "bank", ROLE_AGENT);
    kit_as(k, AGENT, "bank");
    theirs = pull_with(k, 1, version(k));
    kit_as(k, AGENT_TOO, "bank");
    (void)kit_pull_as(k, "agent-b", 5, true, NULL, 0);
    kit_turn(k);
    other = kit_pull_as(k, "agent-b", 5, true, NULL, 0);
    kit_turn(k);
    kit_expect_silence(k, theirs);
    assert_int_equal(located_key(k), AGENT);
    kit_set_key(k, AGENT, NULL, 0);
    kit_expect_error(k, theirs, TX_EDENIED);
    assert_int_equal(located_key(k), AGENT_TOO);
    assert_int_equal(work_in(k, other).n_clients, 0);
    kit_free(k);
}

/* Answers to inquiries */

static char answered[64];

static void on_answer(void *arg, const char *json)
{
    (void)arg;
    snprintf(answered, sizeof answered, "%s", json != NULL ? json : "none");
}

static const struct wire_work_item *inquiry_in(struct kit *k, uint32_t pull)
{
    kit_turn(k);
    return kit_work(k, pull, WORK_INQUIRE, 0);
}

static void answer_as(struct kit *k, const char *agent, uint64_t instance, uint64_t number,
                      const char *resource, const char *json)
{
    const struct wire_report r = {
        .kind = REPORT_ANSWER, .id = {.sequence = number}, .resource = resource, .text = json};

    (void)kit_pull_as(k, agent, instance, false, &r, 1);
    kit_turn(k);
}

/* agent-a serves both banks, agent-c bank_c. */
static struct kit *two_agents(void)
{
    const struct wire_resource c = {.name = "bank_c", .kind = "postgresql", .up = 1};
    struct wire_message m = {.type = WIRE_PULL};
    struct kit *k = kit_new(NULL);

    m.pull = (struct wire_pull){.instance = 7,
                                .number = ++k->pulled,
                                .name = "agent-c",
                                .address = "tcp://127.0.0.1:7501",
                                .n_resources = 1,
                                .resources = &c};
    (void)kit_ask(k, &m);
    kit_turn(k);
    *answered = '\0';
    return k;
}

static void test_answers_of_others(void **state)
{
    const struct driver_inquiry q = {.resource = "bank_c", .question = "{}"};
    const struct driver_inquiry named = {.resource = "bank_a", .question = "{}", .agent = "agent-a"};
    struct kit *k = two_agents();
    uint32_t pull = kit_pull_as(k, "agent-c", 7, false, NULL, 0);
    uint64_t number;

    (void)state;
    assert_int_equal(driver_inquire(k->d, k->now, &q, on_answer, NULL, NULL), 0);
    number = inquiry_in(k, pull)->id.sequence;
    answer_as(k, "agent-a", 1, number, "bank_c", "\"I am another\"");
    answer_as(k, "agent-a", 1, number, "bank_a", "\"about another\"");
    answer_as(k, "agent-c", 7, number, "bank_a", "\"about another\"");
    assert_string_equal(answered, "");
    answer_as(k, "agent-c", 7, number, "bank_c", "\"right\"");
    assert_string_equal(answered, "\"right\"");
    /* asked of one agent by name */
    *answered = '\0';
    (void)kit_pull_as(k, "agent-b", 8, true, NULL, 0);
    pull = kit_pull(k, NULL, 0);
    assert_int_equal(driver_inquire(k->d, k->now, &named, on_answer, NULL, NULL), 0);
    number = inquiry_in(k, pull)->id.sequence;
    answer_as(k, "agent-b", 8, number, "bank_a", "\"I am another\"");
    assert_string_equal(answered, "");
    answer_as(k, "agent-a", 1, number, "bank_a", "\"right\"");
    assert_string_equal(answered, "\"right\"");
    kit_free(k);
}

/* Reports about branches of others: with their numbers, and a resource of one's own. */

static void report_as_c(struct kit *k, uint64_t sequence, enum report_kind kind, uint64_t age_ms)
{
    const struct wire_report r = {.kind = (uint8_t)kind,
                                  .id = kit_id(k, sequence),
                                  .branch = 1,
                                  .resource = "bank_c",
                                  .age_ms = age_ms,
                                  .text = "not mine"};

    (void)kit_pull_as(k, "agent-c", 7, false, &r, 1);
    kit_turn(k);
}

struct seen {
    size_t n_branches;
    char state[16], problem[32];
};

static void on_shown(void *arg, const struct driver_transaction *t)
{
    struct seen *s = arg;

    for (size_t i = 0; i < t->n_branches; i++) {
        if (strcmp(t->branches[i].resource, "bank_a") != 0)
            continue;
        s->n_branches++;
        snprintf(s->state, sizeof s->state, "%s", t->branches[i].state);
        snprintf(s->problem, sizeof s->problem, "%s",
                 t->branches[i].problem != NULL ? t->branches[i].problem : "");
    }
}

/* The branch in bank_a as an operator sees it. */
static struct seen show(struct kit *k, uint64_t sequence)
{
    const struct txid id = kit_id(k, sequence);
    struct seen s = {0};

    (void)driver_show(k->d, k->now, KIT_WALL + k->now, &id, on_shown, &s);
    return s;
}

static void test_found_of_others(void **state)
{
    struct kit *k = two_agents();
    uint32_t pull;

    (void)state;
    report_as_c(k, 1, REPORT_FOUND, 10); /* first */
    (void)kit_found(k, 1, 1, 10);
    kit_turn(k);
    assert_int_equal(show(k, 1).n_branches, 1);
    report_as_c(k, 1, REPORT_STUCK, 0);
    assert_string_equal(show(k, 1).problem, "");
    report_as_c(k, 1, REPORT_COMMITTED, 0);
    report_as_c(k, 1, REPORT_HAZARD, 0);
    assert_string_equal(show(k, 1).state, "prepared");
    (void)kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    report_as_c(k, 1, REPORT_ROLLED_BACK, 0);
    report_as_c(k, 1, REPORT_HEURISTIC_COMMIT, 0);
    pull = kit_pull(k, NULL, 0);
    kit_pass(k, 2000);
    kit_expect_work(k, pull, WORK_ROLLBACK, 1);
    assert_int_equal(ledger_decision(driver_ledger(k->d), k->session, 1)->heuristic, HEURISTIC_NONE);
    kit_free(k);
}

static void test_votes_of_others(void **state)
{
    struct kit *k = two_agents();
    uint32_t commit = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);

    (void)state;
    (void)kit_report(k, 1, 2, REPORT_PREPARED);
    report_as_c(k, 1, REPORT_PREPARED, 0);
    report_as_c(k, 1, REPORT_REFUSED, 0);
    report_as_c(k, 1, REPORT_READ_ONLY, 0);
    kit_expect_silence(k, commit);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_decided(k, commit, VERDICT_COMMIT);
    kit_free(k);
}

/* An agent can name what it likes of sessions that are gone; the ledger does not grow for it without end. */
static void test_heuristic_outcomes_have_a_bound(void **state)
{
    const struct driver_options options = {.max_transactions = 3};
    struct kit *k = kit_new(&options);
    struct ledger_counts c;

    (void)state;
    (void)kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL);
    kit_turn(k);
    for (uint64_t sequence = 1; sequence <= 9; sequence++) {
        (void)kit_report(k, sequence, 1, REPORT_HAZARD);
        kit_turn(k);
    }
    ledger_count(driver_ledger(k->d), &c);
    assert_int_equal(c.heuristic, 3);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_keys),
        cmocka_unit_test(test_clients_keys_lost),
        cmocka_unit_test(test_nodes_keys),
        cmocka_unit_test(test_located),
        cmocka_unit_test(test_name_of_another),
        cmocka_unit_test(test_name_of_another_gets_no_work),
        cmocka_unit_test(test_revoked_agent),
        cmocka_unit_test(test_answers_of_others),
        cmocka_unit_test(test_found_of_others),
        cmocka_unit_test(test_votes_of_others),
        cmocka_unit_test(test_heuristic_outcomes_have_a_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
