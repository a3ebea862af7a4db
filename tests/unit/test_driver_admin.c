/* test_driver_admin: branches that scans find, agents as the leader sees them, the operator's verbs and views.
 */
#include "tests/unit/driver_kit.h"

/* Found branches */

static void test_found_pending_then_old(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull = kit_found(k, 1, 1, 5000), ask;

    (void)state;
    kit_pass(k, 100);
    assert_null(kit_work(k, pull, WORK_ROLLBACK, 1));
    kit_expect_outcome(k, 1, TX_OUTCOME_PENDING);
    (void)kit_found(k, 1, 2, 1000);
    pull = kit_found(k, 1, 1, 60001);
    kit_turn(k);
    assert_int_equal(ledger_decision(driver_ledger(k->d), k->session, 1)->origin, ORIGIN_RECOVERY);
    kit_expect_work(k, pull, WORK_ROLLBACK, 1);
    kit_expect_work(k, pull, WORK_ROLLBACK, 2); /* seen, too, so it is in the record */
    ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_expect_decided(k, ask, VERDICT_ABORT);
    (void)kit_report(k, 1, 1, REPORT_ROLLED_BACK);
    (void)kit_report(k, 1, 2, REPORT_ROLLED_BACK);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    kit_free(k);
}

/* The client decides first: what a scan saw meanwhile changes nothing. */
static void test_found_while_deciding(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t ask = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct), pull;

    (void)state;
    (void)kit_found(k, 1, 1, 90000);
    kit_turn(k);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    pull = kit_found(k, 1, 1, 90000);
    kit_pass(k, 100);
    assert_null(kit_work(k, pull, WORK_COMMIT, 1)); /* within the client's grace */
    kit_free(k);
}

static void test_found_of_expired_session(void **state)
{
    struct kit *k = kit_new(NULL);
    struct driver_counters n;
    uint32_t pull;

    (void)state;
    kit_pass(k, 31000);
    pull = kit_found(k, 7, 1, 10);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_ROLLBACK, 1);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 7)); /* presumed, with no record */
    (void)kit_report(k, 7, 1, REPORT_ROLLED_BACK);
    driver_count(k->d, &n);
    assert_int_equal(n.recovered, 1);
    kit_free(k);
}

/* Prepared again after it was finished: the same verdict again. */
static void test_found_after_the_end(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct range one = {1, 1};
    uint32_t pull;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_turn(k);
    (void)kit_beat(k, WIRE_HEARTBEAT, NULL, &one);
    kit_pass(k, 200);
    assert_true(ledger_decision(driver_ledger(k->d), k->session, 1)->ended);
    pull = kit_found(k, 1, 1, 10);
    kit_turn(k);
    assert_string_equal(kit_work(k, pull, WORK_COMMIT, 1)->proof, "pa");
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_pass(k, 2000);
    pull = kit_found(k, 1, 2, 10);
    kit_turn(k);
    kit_expect_work(k, pull, WORK_ROLLBACK, 2);
    kit_free(k);
}

static void test_found_foreign(void **state)
{
    struct kit *k = kit_new(NULL);
    uint32_t pull;

    (void)state;
    k->nonce++;
    pull = kit_found(k, 1, 1, 90000);
    kit_pass(k, 100);
    assert_null(kit_work(k, pull, WORK_ROLLBACK, 1));
    kit_free(k);
}

/* Agents */

static bool is_introduced(struct kit *k, uint32_t pull)
{
    struct wire_message m;

    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.type, WIRE_WORK);
    return m.work.introduce == 0;
}

static void test_pulls(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t first = kit_pull(k, NULL, 0), second;
    struct wire_message m;

    (void)state;
    kit_flush(k);
    assert_false(is_introduced(k, first));
    kit_agent(k);
    first = kit_pull(k, NULL, 0);
    second = kit_pull(k, NULL, 0);
    kit_pass(k, 1050);
    kit_expect_silence(k, first); /* superseded */
    assert_true(is_introduced(k, second));
    assert_true(kit_answer(k, second, &m));
    assert_int_equal(m.work.received, k->pulled);
    assert_int_equal(m.work.group, KIT_GROUP);
    k->pulled -= 2;
    first = kit_pull(k, NULL, 0); /* a late double of an old one */
    kit_pass(k, 1050);
    kit_expect_silence(k, first);
    second = kit_pull_as(k, "agent-a", 99, false, NULL, 0); /* restarted */
    kit_flush(k);
    assert_false(is_introduced(k, second));
    kit_free(k);
}

static void test_locate(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m = {.type = WIRE_LOCATE, .locate = {.resource = "bank_a"}}, answer;

    (void)state;
    assert_true(kit_answer(k, kit_ask(k, &m), &answer));
    assert_string_equal(answer.located.address, "tcp://127.0.0.1:7500");
    m.locate.resource = "bnak";
    assert_string_equal(
        kit_expect_error(k, kit_ask(k, &m), TX_ENOTFOUND).text,
        "no living agent serves resource bnak; start txagentd for it (a service serves itself), "
        "or correct the name");
    kit_pass(k, 11000);
    m.locate.resource = "bank_a";
    kit_expect_error(k, kit_ask(k, &m), TX_ENOTFOUND);
    kit_free(k);
}

static void test_agents_refused(void **state)
{
    const struct driver_options options = {.max_agents = 1};
    struct kit *k = kit_new(&options);
    const struct wire_resource wrong = {.name = "bank_a", .kind = "mariadb", .up = 1};
    struct wire_message m = {.type = WIRE_PULL};

    (void)state;
    kit_expect_error(k, kit_pull_as(k, "agent-b", 2, true, NULL, 0), TX_EBUSY);
    m.pull = (struct wire_pull){
        .instance = 1, .number = ++k->pulled, .name = "agent-a", .n_resources = 1, .resources = &wrong};
    kit_expect_error(k, kit_ask(k, &m), TX_EREFUSED);
    kit_pass(k, 11000); /* a dead one makes place */
    (void)kit_pull_as(k, "agent-b", 2, true, NULL, 0);
    kit_turn(k);
    kit_free(k);
}

/* The operator */

struct outcome {
    int calls, rc;
    enum verdict stands;
    char json[64];
};

static void on_done(void *arg, int rc, enum verdict stands)
{
    struct outcome *o = arg;

    o->calls++;
    o->rc = rc;
    o->stands = stands;
}

static int resolve(struct kit *k, uint64_t sequence, enum verdict verdict, struct outcome *o)
{
    struct txid id = kit_id(k, sequence);
    struct tx_error e;

    return driver_resolve(k->d, k->now, KIT_WALL + k->now, &id, verdict, on_done, o, &e);
}

static int forget(struct kit *k, uint64_t sequence, struct outcome *o)
{
    struct txid id = kit_id(k, sequence);
    struct tx_error e;

    return driver_forget(k->d, k->now, KIT_WALL + k->now, &id, on_done, o, &e);
}

static void test_resolve_and_forget(void **state)
{
    struct kit *k = kit_new(NULL);
    struct outcome o = {0};
    const struct range one = {1, 1};
    uint32_t pull, ask;

    (void)state;
    assert_int_equal(resolve(k, 1, VERDICT_COMMIT, &o), TX_ENOTFOUND);
    pull = kit_found(k, 1, 1, 20000);
    assert_int_equal(resolve(k, 1, VERDICT_COMMIT, &o), 0);
    assert_int_equal(o.calls, 0);
    ask = kit_decide(k, 1, VERDICT_ABORT, WAIT_DECIDED, kit_direct); /* the client comes back too late */
    kit_turn(k);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.rc, TX_OK);
    assert_int_equal(o.stands, VERDICT_COMMIT);
    kit_expect_decided(k, ask, VERDICT_COMMIT);
    kit_expect_work(k, pull, WORK_COMMIT, 1);
    assert_int_equal(resolve(k, 1, VERDICT_ABORT, &o), TX_EREFUSED);
    assert_int_equal(forget(k, 1, &o), TX_EREFUSED);
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_pass(k, 300);
    assert_int_equal(ledger_decision(driver_ledger(k->d), k->session, 1)->heuristic, HEURISTIC_COMMIT);
    assert_int_equal(forget(k, 1, &o), 0);
    kit_turn(k);
    assert_int_equal(o.calls, 2);
    assert_null(ledger_decision(driver_ledger(k->d), k->session, 1));
    assert_int_equal(forget(k, 1, &o), TX_ENOTFOUND);
    kit_free(k);
}

static void test_resolve_refused(void **state)
{
    struct kit *k = kit_new(NULL);
    struct outcome o = {0};

    (void)state;
    (void)kit_found(k, 1, 1, 100);
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    assert_int_equal(resolve(k, 1, VERDICT_ABORT, &o), TX_EREFUSED); /* its client is at it */
    kit_pass(k, 45000);
    (void)kit_found(k, 2, 1, 100);
    assert_int_equal(resolve(k, 2, VERDICT_COMMIT, &o), TX_EREFUSED); /* its session is over: aborted */
    driver_role(k->d, k->now, false, 0);
    assert_int_equal(resolve(k, 2, VERDICT_COMMIT, &o), TX_ENOTLEADER);
    assert_int_equal(o.calls, 0);
    kit_free(k);
}

/* The lead is lost before it is known how the proposal ended. */
static void test_resolve_unknown(void **state)
{
    struct kit *k = kit_new(NULL);
    struct outcome o = {0};

    (void)state;
    (void)kit_found(k, 1, 1, 100);
    assert_int_equal(resolve(k, 1, VERDICT_COMMIT, &o), 0);
    kit_flush(k);
    driver_role(k->d, k->now, false, 0);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.rc, TX_EUNKNOWN);
    kit_free(k);
}

static int remove_resource(struct kit *k, const char *name, struct outcome *o)
{
    struct tx_error e;

    return driver_remove_resource(k->d, k->now, KIT_WALL + k->now, name, on_done, o, &e);
}

static void test_remove_resource(void **state)
{
    struct kit *k = kit_new(NULL);
    struct outcome o = {0};
    const struct range one = {1, 1};
    uint32_t pull;

    (void)state;
    assert_int_equal(remove_resource(k, "bnak", &o), TX_ENOTFOUND);
    assert_int_equal(remove_resource(k, "bank_a", &o), TX_EREFUSED); /* alive */
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct);
    kit_pass(k, 11000);
    assert_int_equal(remove_resource(k, "bank_a", &o), TX_EREFUSED); /* unfinished */
    (void)kit_beat(k, WIRE_HEARTBEAT, NULL, &one);
    kit_pass(k, 200);
    assert_int_equal(remove_resource(k, "bank_a", &o), 0);
    kit_turn(k);
    assert_int_equal(o.calls, 1);
    assert_null(ledger_resource(driver_ledger(k->d), "bank_a"));
    pull = kit_pull(k, NULL, 0); /* it was only asleep: it is asked to tell its resources again */
    kit_turn(k);
    assert_false(is_introduced(k, pull));
    kit_agent(k);
    assert_non_null(ledger_resource(driver_ledger(k->d), "bank_a"));
    kit_free(k);
}

static void on_answer(void *arg, const char *json)
{
    struct outcome *o = arg;

    o->calls++;
    snprintf(o->json, sizeof o->json, "%s", json != NULL ? json : "none");
}

static int inquire(struct kit *k, const char *agent, const char *question, struct outcome *o)
{
    const struct driver_inquiry q = {.resource = "bank_a", .question = question, .agent = agent};

    return driver_inquire(k->d, k->now, &q, on_answer, o, NULL);
}

static void test_inquire(void **state)
{
    struct kit *k = kit_new(NULL);
    struct outcome o = {0};
    struct wire_report r = {.kind = REPORT_ANSWER, .branch = 0, .resource = "bank_a", .text = "{\"a\":1}"};
    const struct wire_work_item *w;
    uint32_t pull = kit_pull(k, NULL, 0);

    (void)state;
    assert_int_equal(inquire(k, "agent-b", "{}", &o), TX_ENOTFOUND);
    assert_int_equal(inquire(k, NULL, "{\"q\":1}", &o), 0);
    kit_turn(k);
    w = kit_work(k, pull, WORK_INQUIRE, 0);
    assert_non_null(w);
    assert_string_equal(w->text, "{\"q\":1}");
    r.id = w->id;
    (void)kit_pull(k, &r, 1);
    (void)kit_pull(k, &r, 1);
    assert_int_equal(o.calls, 1);
    assert_string_equal(o.json, "{\"a\":1}");
    assert_int_equal(inquire(k, NULL, "{}", &o), 0);
    kit_pass(k, 3100);
    assert_int_equal(o.calls, 2);
    assert_string_equal(o.json, "none");
    kit_free(k);
}

/* Views */

struct seen {
    size_t n;
    char state[32], branch[32], next[256];
    uint64_t prepared_ms;
};

static void on_transaction(void *arg, const struct driver_transaction *t)
{
    struct seen *s = arg;

    s->n = t->n_branches;
    snprintf(s->state, sizeof s->state, "%s", t->state);
    snprintf(s->next, sizeof s->next, "%s", t->next);
    snprintf(s->branch, sizeof s->branch, "%s", t->n_branches > 0 ? t->branches[0].state : "");
    s->prepared_ms = t->n_branches > 0 ? t->branches[0].prepared_ms : 0;
    assert_string_equal(t->application, "app");
}

static bool count_one(void *arg, const struct driver_transaction *t)
{
    (void)t;
    ++*(size_t *)arg;
    return true;
}

static void expect_view(struct kit *k, uint64_t sequence, const char *view_state, const char *branch,
                        const char *next)
{
    struct txid id = kit_id(k, sequence);
    struct seen s = {0};
    size_t n = 0;

    assert_true(driver_show(k->d, k->now, KIT_WALL + k->now, &id, on_transaction, &s));
    assert_string_equal(s.state, view_state);
    assert_string_equal(s.branch, branch);
    assert_string_equal(s.next, next);
    driver_each_transaction(k->d, k->now, KIT_WALL + k->now, NULL, count_one, &n);
    assert_int_equal(n, 1);
}

static void test_view_of_a_commit(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct range one = {1, 1};

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    expect_view(k, 1, "preparing", "preparing",
                "agent-a votes on bank_a's branch; without a vote it is rolled back in 10 s");
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    (void)kit_report(k, 1, 2, REPORT_PREPARED);
    expect_view(k, 1, "deciding", "voted yes", "a majority of the coordinators writes the decision down");
    kit_turn(k);
    expect_view(k, 1, "committing", "committing", "agent-a commits bank_a's branch");
    (void)kit_report(k, 1, 1, REPORT_STUCK);
    expect_view(k, 1, "committing", "committing", "agent-a tries again to commit bank_a's branch: disk full");
    (void)kit_report(k, 1, 1, REPORT_COMMITTED);
    kit_pass(k, 11000);
    expect_view(k, 1, "committing", "committed",
                "waits for an agent of bank_b to commit its branch: start txagentd for it");
    (void)kit_report(k, 1, 2, REPORT_COMMITTED);
    kit_pass(k, 200);
    expect_view(k, 1, "finished", "committed",
                "waits for the client (session 1) to acknowledge it; then its record goes");
    (void)kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_pass(k, 200);
    kit_free(k);
}

static void test_view_in_doubt(void **state)
{
    struct kit *k = kit_new(NULL);
    struct txid id = kit_id(k, 9);
    struct seen s = {0};

    (void)state;
    assert_false(driver_show(k->d, k->now, KIT_WALL, &id, on_transaction, &s));
    kit_pass(k, 3000);
    (void)kit_found(k, 9, 1, 3000);
    expect_view(k, 9, "in doubt", "prepared",
                "waits for the client (session 1, silent for 3 s) until its timeout in 57 s, or the session's "
                "at 30 s of silence; then it is rolled back");
    kit_pass(k, 28000);
    expect_view(k, 9, "aborting", "rolling back",
                "waits for an agent of bank_a to roll back its branch: start txagentd for it");
    kit_pass(k, 5000); /* no scan sees it any more */
    assert_false(driver_show(k->d, k->now, KIT_WALL, &id, on_transaction, &s));
    kit_free(k);
}

struct walked {
    uint64_t sequences[8];
    size_t n;
};

static bool on_walk(void *arg, const struct driver_transaction *t)
{
    struct walked *w = arg;

    w->sequences[w->n++] = t->id.sequence;
    for (size_t i = 1; i < t->n_branches; i++)
        assert_true(t->branches[i - 1].number < t->branches[i].number);
    return true;
}

/* In the order of numbers, in whatever order scans saw them, and from any of them on. */
static void test_views_are_sorted(void **state)
{
    struct kit *k = kit_new(NULL);
    struct txid after = kit_id(k, 3);
    struct walked all = {.n = 0}, rest = {.n = 0};

    (void)state;
    kit_pass(k, 3000);
    (void)kit_found(k, 9, 2, 3000);
    (void)kit_found(k, 9, 1, 3000);
    (void)kit_found(k, 3, 7, 3000);
    (void)kit_found(k, 3, 5, 3000);
    (void)kit_found(k, 5, 1, 3000);
    driver_each_transaction(k->d, k->now, KIT_WALL + k->now, NULL, on_walk, &all);
    assert_int_equal(all.n, 3);
    assert_true(all.sequences[0] == 3 && all.sequences[1] == 5 && all.sequences[2] == 9);
    driver_each_transaction(k->d, k->now, KIT_WALL + k->now, &after, on_walk, &rest);
    assert_int_equal(rest.n, 2);
    assert_true(rest.sequences[0] == 5 && rest.sequences[1] == 9);
    kit_free(k);
}

static bool on_resource(void *arg, const struct driver_resource *r)
{
    size_t *n = arg;

    assert_string_equal(r->agent, "agent-a");
    assert_int_equal(r->alive, *n < 2);
    assert_int_equal(r->unfinished, strcmp(r->name, "bank_b") == 0);
    ++*n;
    return true;
}

static void test_view_of_resources(void **state)
{
    struct kit *k = kit_new(NULL);
    size_t n = 0;

    (void)state;
    (void)kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_mixed);
    driver_each_resource(k->d, k->now, on_resource, &n);
    assert_int_equal(n, 2);
    driver_each_resource(k->d, k->now + 10001, on_resource, &n);
    assert_int_equal(n, 4);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_pending_then_old),
        cmocka_unit_test(test_found_while_deciding),
        cmocka_unit_test(test_found_of_expired_session),
        cmocka_unit_test(test_found_after_the_end),
        cmocka_unit_test(test_found_foreign),
        cmocka_unit_test(test_pulls),
        cmocka_unit_test(test_locate),
        cmocka_unit_test(test_agents_refused),
        cmocka_unit_test(test_resolve_and_forget),
        cmocka_unit_test(test_resolve_refused),
        cmocka_unit_test(test_resolve_unknown),
        cmocka_unit_test(test_remove_resource),
        cmocka_unit_test(test_inquire),
        cmocka_unit_test(test_view_of_a_commit),
        cmocka_unit_test(test_view_in_doubt),
        cmocka_unit_test(test_views_are_sorted),
        cmocka_unit_test(test_view_of_resources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
