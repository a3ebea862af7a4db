/* test_driver_failover: a client, an agent and a leader that is replaced between any two steps, by one that has
 * only the ledger; what was proposed and not applied is lost, or committed after all. Whatever happens, both
 * branches end alike, and as the client was told. */
#include "tests/unit/driver_kit.h"

enum branch { WORKING, PREPARED, COMMITTED, ROLLED_BACK };

enum scenario { DIRECT, REMOTE, VOTE_NO, CLIENT_DIES_DIRECT, CLIENT_DIES_REMOTE, SCENARIOS };

struct play {
    struct kit *k;
    enum scenario scenario;
    int fail_at, fail_again, step; /* the leader is replaced at these steps */
    bool late_commit;              /* what it had proposed is committed all the same */
    enum branch branches[2];
    enum verdict told;
    uint32_t asked, pull;
    bool asking, introduce;
    struct wire_report reports[8];
    size_t n_reports;
};

static void replace_leader(struct play *p)
{
    struct kit *k = p->k;
    struct buf state;
    struct kit_entry entries[KIT_ENTRIES];
    size_t n = p->late_commit ? k->n_entries : 0;

    if (p->late_commit) {
        memcpy(entries, k->entries, n * sizeof *entries);
        k->n_entries = 0;
    }
    kit_drop_entries(k);
    buf_init(&state);
    driver_snapshot(k->d, &state);
    driver_free(k->d);
    kit_new_driver(k);
    assert_int_equal(driver_restore(k->d, state.data, state.len, NULL), 0);
    buf_release(&state);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(driver_apply(k->d, k->now, ++k->index, entries[i].data, entries[i].len, NULL), 0);
        free(entries[i].data);
    }
    driver_role(k->d, k->now, true, KIT_NODE);
}

static void next_step(struct play *p)
{
    if (p->step == p->fail_at || p->step == p->fail_again)
        replace_leader(p);
    p->step++;
}

static bool is_remote(const struct play *p)
{
    return p->scenario == REMOTE || p->scenario == VOTE_NO || p->scenario == CLIENT_DIES_REMOTE;
}

/* The client: asks until it has an answer, then finishes its branches and acknowledges */

static void finish_own(struct play *p)
{
    for (int i = 0; i < 2 && !is_remote(p); i++)
        if (p->branches[i] == PREPARED)
            p->branches[i] = p->told == VERDICT_COMMIT ? COMMITTED : ROLLED_BACK;
}

static void client_hears(struct play *p)
{
    struct wire_message m;

    if (p->asked == 0 || !kit_answer(p->k, p->asked, &m) || m.type != WIRE_DECIDED)
        return;
    if (p->told != VERDICT_NONE)
        assert_int_equal(p->told, m.decided.verdict);
    p->told = (enum verdict)m.decided.verdict;
    p->asking = false;
    finish_own(p);
}

static void client_acts(struct play *p)
{
    const struct range one = {1, 1};
    bool dies = p->scenario == CLIENT_DIES_DIRECT || p->scenario == CLIENT_DIES_REMOTE;

    if (p->asking)
        p->asked = kit_decide(p->k, 1, VERDICT_COMMIT, WAIT_DECIDED, is_remote(p) ? kit_remote : kit_direct);
    else if (p->told != VERDICT_NONE && !dies)
        (void)kit_beat(p->k, WIRE_HEARTBEAT, &one, is_remote(p) ? NULL : &one);
    if (dies)
        p->asking = false;
}

/* The agent */

static void report(struct play *p, uint16_t branch, enum report_kind kind, uint64_t age_ms)
{
    if (p->n_reports < 8)
        p->reports[p->n_reports++] = (struct wire_report){.kind = (uint8_t)kind,
                                                          .id = kit_id(p->k, 1),
                                                          .branch = branch,
                                                          .resource = branch == 1 ? "bank_a" : "bank_b",
                                                          .age_ms = age_ms};
}

static void finish(struct play *p, uint16_t branch, enum branch how, enum report_kind kind)
{
    enum branch *b = &p->branches[branch - 1];

    if (*b == PREPARED || *b == WORKING)
        *b = how;
    assert_int_equal(*b, how); /* nothing is undone */
    report(p, branch, kind, 0);
}

static void vote(struct play *p, uint16_t branch)
{
    enum branch *b = &p->branches[branch - 1];

    if (p->scenario == VOTE_NO && branch == 2)
        *b = ROLLED_BACK;
    if (*b == WORKING)
        *b = PREPARED;
    report(p, branch, *b == PREPARED ? REPORT_PREPARED : REPORT_REFUSED, 0);
}

static void agent_hears(struct play *p)
{
    struct wire_message m;

    if (p->pull == 0 || !kit_answer(p->k, p->pull, &m) || m.type != WIRE_WORK)
        return;
    p->pull = 0;
    p->introduce = m.work.introduce != 0;
    p->n_reports = 0;
    for (size_t i = 0; i < m.work.n_items; i++) {
        const struct wire_work_item *w = &m.work.items[i];

        if (w->kind == WORK_PREPARE)
            vote(p, w->branch);
        else if (w->kind == WORK_COMMIT)
            finish(p, w->branch, COMMITTED, REPORT_COMMITTED);
        else
            finish(p, w->branch, ROLLED_BACK, REPORT_ROLLED_BACK);
    }
}

static void agent_acts(struct play *p)
{
    for (uint16_t i = 1; i <= 2; i++)
        if (p->branches[i - 1] == PREPARED && p->n_reports < 4)
            report(p, i, REPORT_FOUND, p->k->now);
    p->pull = kit_pull_as(p->k, "agent-a", 1, p->introduce, p->reports, p->n_reports);
}

/* The play */

static void round_of(struct play *p)
{
    client_hears(p);
    agent_hears(p);
    client_acts(p);
    next_step(p);
    agent_acts(p);
    next_step(p);
    kit_flush(p->k);
    next_step(p);
    kit_apply(p->k);
    next_step(p);
    kit_flush(p->k);
    client_hears(p);
    agent_hears(p);
    next_step(p);
    p->k->now += 500;
    driver_tick(p->k->d, p->k->now, KIT_WALL + p->k->now);
}

static bool settled(const struct play *p)
{
    bool alike = p->branches[0] == p->branches[1];

    return alike && (p->branches[0] == COMMITTED || p->branches[0] == ROLLED_BACK);
}

static bool count_unended(void *arg, const struct decision *decision)
{
    size_t *n = arg;

    *n += !decision->ended;
    return true;
}

static void check(const struct play *p)
{
    size_t unended = 0;

    assert_true(settled(p));
    if (p->told != VERDICT_NONE)
        assert_int_equal(p->branches[0], p->told == VERDICT_COMMIT ? COMMITTED : ROLLED_BACK);
    if (p->scenario == VOTE_NO)
        assert_int_equal(p->branches[0], ROLLED_BACK);
    ledger_each_decision(driver_ledger(p->k->d), count_unended, &unended);
    assert_int_equal(unended, 0);
}

static void perform(enum scenario scenario, int fail_at, int fail_again, bool late_commit)
{
    struct play p = {.k = kit_new(NULL),
                     .scenario = scenario,
                     .fail_at = fail_at,
                     .fail_again = fail_again,
                     .late_commit = late_commit,
                     .asking = true};

    for (int i = 0; i < 2 && !is_remote(&p); i++)
        p.branches[i] = PREPARED;
    for (int i = 0; i < 200; i++) { /* 100 s: longer than the session's and the transaction's timeouts */
        round_of(&p);
        if (i % 20 == 0)
            kit_forget_replies(p.k);
    }
    if (p.scenario == CLIENT_DIES_REMOTE && p.branches[0] == WORKING)
        p.branches[0] = p.branches[1] = ROLLED_BACK; /* its request was lost: the agent's idle timeout */
    check(&p);
    kit_free(p.k);
}

static void test_one_failover(void **state)
{
    (void)state;
    for (int s = 0; s < SCENARIOS; s++)
        for (int at = -1; at < 30; at++)
            for (int late = 0; late < 2; late++)
                perform((enum scenario)s, at, -1, late);
}

static void test_two_failovers(void **state)
{
    (void)state;
    for (int s = 0; s < SCENARIOS; s++)
        for (int at = 0; at < 16; at++)
            for (int again = at + 1; again < 18; again++)
                perform((enum scenario)s, at, again, (at + again) % 2);
}

static uint32_t pull_of(struct kit *k, const char *name, const char *address, bool introduce)
{
    struct wire_message m = {.type = WIRE_PULL};
    uint32_t number;

    m.pull = (struct wire_pull){.instance = 1,
                                .number = ++k->pulled,
                                .name = name,
                                .address = address,
                                .n_resources = introduce ? 2 : 0,
                                .resources = kit_resources};
    number = kit_ask(k, &m);
    kit_turn(k);
    return number;
}

static const struct branch_ref held_by_a[] = {
    {.number = 1, .kind = BRANCH_REMOTE, .resource = "bank_a", .agent = "tcp://127.0.0.1:7500"},
    {.number = 2, .kind = BRANCH_REMOTE, .resource = "bank_b", .agent = "tcp://127.0.0.1:7500"}};

/* Two agents serve both resources, and the one that holds the branches is the last to find the new leader: the
 * other is not asked to prepare what it knows nothing of, and would have to refuse. */
static void test_the_holder_prepares(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask, a, b;

    (void)state;
    kit_fail_over(k);
    b = pull_of(k, "agent-b", "tcp://127.0.0.1:7501", true);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, held_by_a);
    kit_pass(k, 500);
    assert_null(kit_work(k, b, WORK_PREPARE, 1));
    a = pull_of(k, "agent-a", "tcp://127.0.0.1:7500", true);
    kit_expect_work(k, a, WORK_PREPARE, 1);
    kit_expect_work(k, a, WORK_PREPARE, 2);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    (void)kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    kit_free(k);
}

/* It never comes: whoever is there is asked, for it can still tell whether they are prepared. */
static void test_the_holder_is_gone(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t b;

    (void)state;
    kit_fail_over(k);
    (void)pull_of(k, "agent-b", "tcp://127.0.0.1:7501", true);
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, held_by_a);
    kit_pass(k, 5000);
    b = pull_of(k, "agent-b", "tcp://127.0.0.1:7501", false);
    kit_expect_work(k, b, WORK_PREPARE, 1);
    kit_free(k);
}

static uint32_t locate(struct kit *k, const char *resource)
{
    struct wire_message m = {.type = WIRE_LOCATE, .locate = {resource}};

    return kit_ask(k, &m);
}

/* A new leader has not heard of the agents yet: whoever looks for one is to ask again, not to give up. */
static void test_agents_are_on_their_way(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m;

    (void)state;
    kit_fail_over(k);
    kit_expect_error(k, locate(k, "bank_a"), TX_EUNREACHABLE);
    kit_expect_error(k, locate(k, "nobody_has_this"), TX_ENOTFOUND);
    (void)pull_of(k, "agent-a", "tcp://127.0.0.1:7500", true);
    assert_true(kit_answer(k, locate(k, "bank_a"), &m));
    assert_int_equal(m.type, WIRE_LOCATED);
    kit_fail_over(k);
    kit_pass(k, 5000);
    kit_expect_error(k, locate(k, "bank_a"), TX_ENOTFOUND);
    kit_free(k);
}

/* A leader that is deposed says so to all that wait, and does nothing any more. */
static void test_deposed(void **state)
{
    struct kit *k = kit_new(NULL);
    const uint64_t members[] = {KIT_NODE, 2};
    uint32_t ask, pull;

    (void)state;
    driver_members(k->d, k->now, members, 2);
    driver_node_told(k->d, k->now, 2, "tcp://other:7401");
    kit_flush(k);
    kit_apply(k);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    pull = kit_pull(k, NULL, 0);
    kit_flush(k);
    driver_role(k->d, k->now, false, 2);
    assert_string_equal(kit_expect_error(k, ask, TX_ENOTLEADER).leader, "tcp://other:7401");
    kit_expect_error(k, pull, TX_ENOTLEADER);
    kit_apply(k); /* committed all the same, by the new leader */
    assert_non_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    kit_pass(k, 60000);
    assert_int_equal(ledger_session(driver_ledger(k->d), k->session)->state, SESSION_OPEN);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_error(k, ask, TX_ENOTLEADER);
    driver_role(k->d, k->now, true, KIT_NODE);
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    kit_free(k);
}

/* A proposal whose end is not known: those who wait are told so at once, and asking again is safe. */
static void test_lost_proposal(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), open = kit_open(k, 5);
    struct kit_entry e;

    (void)state;
    kit_flush(k);
    e = k->entries[0];
    k->n_entries = 0;
    driver_proposed(k->d, k->now, e.ticket, false);
    kit_expect_error(k, ask, TX_EUNKNOWN);
    kit_expect_error(k, open, TX_EUNKNOWN);
    ask = kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct);
    kit_flush(k);
    assert_int_equal(driver_apply(k->d, k->now, ++k->index, e.data, e.len, NULL), 0); /* it was in the log */
    free(e.data);
    kit_apply(k);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    kit_free(k);
}

/* It never was in the log: whoever asks again proposes anew. */
static void test_refused_proposal(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct range one = {1, 1};
    uint32_t ask, beat;

    (void)state;
    for (int i = 0; i < 2; i++) {
        ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
        kit_flush(k);
        if (i > 0)
            break;
        kit_expect_silence(k, ask);
        driver_proposed(k->d, k->now, k->entries[0].ticket, false);
        kit_expect_error(k, ask, TX_EUNKNOWN);
        kit_drop_entries(k);
    }
    kit_apply(k);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    (void)kit_beat(k, WIRE_HEARTBEAT, NULL, &one);
    k->now += 150;
    kit_flush(k);
    driver_proposed(k->d, k->now, k->entries[0].ticket, false); /* its end, too, is proposed again */
    kit_drop_entries(k);
    beat = kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_pass(k, 200);
    assert_int_equal(kit_answers(k, beat), 1);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    kit_free(k);
}

/* As while the lead is handed over: what is refused is proposed again, but not in every turn of the loop. */
static void test_refused_for_a_while(void **state)
{
    enum { MS = 1000, TURNS = 20 /* in each of them */ };
    struct kit *k = kit_new(NULL);
    const struct range one = {1, 1};
    size_t proposed = 0;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, &one); /* its end, and what is acknowledged */
    (void)kit_decide(k, 2, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    (void)kit_open(k, 5);
    for (int i = 0; i < MS * TURNS; i++) {
        if (i % TURNS == 0)
            k->now++;
        if (i % (50 * TURNS) == 0)
            driver_tick(k->d, k->now, KIT_WALL + k->now);
        kit_flush(k);
        proposed += k->n_entries;
        for (size_t n = 0; n < k->n_entries; n++)
            driver_proposed(k->d, k->now, k->entries[n].ticket, false);
        kit_drop_entries(k);
    }
    assert_in_range(proposed, 2, MS / 50);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, NULL); /* the client says it again */
    kit_pass(k, 200);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_failover),
        cmocka_unit_test(test_two_failovers),
        cmocka_unit_test(test_deposed),
        cmocka_unit_test(test_lost_proposal),
        cmocka_unit_test(test_the_holder_prepares),
        cmocka_unit_test(test_the_holder_is_gone),
        cmocka_unit_test(test_agents_are_on_their_way),
        cmocka_unit_test(test_refused_proposal),
        cmocka_unit_test(test_refused_for_a_while),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
