/* test_driver_registry: resources that operators declare: what agents are told of them, when, and what is
 * refused.
 */
#include "tests/unit/driver_kit.h"

/* What agent-r tells: bank_r, served as the registry defines it, as far as it has opened it. */
static uint32_t pull_registry(struct kit *k, const struct wire_resource *r)
{
    struct wire_message m = {.type = WIRE_PULL};

    m.pull = (struct wire_pull){.instance = 9,
                                .number = ++k->pulled,
                                .name = "agent-r",
                                .address = "tcp://127.0.0.1:7501",
                                .n_resources = r != NULL,
                                .resources = r};
    return kit_ask(k, &m);
}

/* The only definition in the WORK that answers the PULL; NULL: there is none. */
static const struct wire_definition *definition_in(struct kit *k, uint32_t pull)
{
    struct wire_message m;

    kit_turn(k);
    assert_true(kit_answer(k, pull, &m));
    assert_int_equal(m.type, WIRE_WORK);
    assert_true(m.work.n_definitions <= 1);
    return m.work.n_definitions == 0 ? NULL : m.work.definitions;
}

static void on_ignored(void *arg, int rc, enum verdict stands)
{
    (void)arg;
    (void)stands;
    assert_int_equal(rc, 0);
}

static int declare(struct kit *k, const char *name, const char *kind, const char *settings)
{
    const struct driver_declaration d = {name, kind, settings};
    struct tx_error e;
    int rc = kind != NULL ? driver_add_resource(k->d, k->now, KIT_WALL + k->now, &d, on_ignored, NULL, &e)
                          : driver_alter_resource(k->d, k->now, KIT_WALL + k->now, &d, on_ignored, NULL, &e);

    kit_turn(k);
    return rc;
}

static void test_definitions(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_resource r = {.name = "bank_r", .by_registry = 1};
    const struct wire_definition *d = definition_in(k, pull_registry(k, &r));
    uint32_t pull;

    (void)state;
    assert_non_null(d); /* there is none, and the agent is told so */
    assert_string_equal(d->name, "bank_r");
    assert_null(d->kind);
    assert_null(ledger_resource(driver_ledger(k->d), "bank_r"));
    r.definition = d->mark;
    pull = pull_registry(k, &r);
    kit_turn(k);
    assert_int_equal(declare(k, "bank_r", NULL, "host=b"), TX_ENOTFOUND);
    assert_int_equal(declare(k, "bank_r", "postgresql", "host=a"), 0);
    assert_int_equal(declare(k, "bank_r", "postgresql", "host=b"), TX_EREFUSED);
    d = definition_in(k, pull); /* at once: the PULL was parked */
    assert_string_equal(d->kind, "postgresql");
    assert_string_equal(d->settings, "host=a");
    r.kind = d->kind;
    d = definition_in(k, pull_registry(k, &r)); /* lost on the way: again */
    assert_string_equal(d->settings, "host=a");
    r.definition = d->mark;
    pull = pull_registry(k, &r);
    kit_turn(k);
    assert_int_equal(declare(k, "bank_r", NULL, "host=b"), 0);
    d = definition_in(k, pull);
    assert_string_equal(d->settings, "host=b");
    assert_int_not_equal(d->mark, r.definition);
    kit_free(k);
}

static bool on_wrong_kind(void *arg, const struct driver_resource *r)
{
    if (strcmp(r->name, "bank_r") != 0)
        return true;
    assert_true(r->alive);
    assert_false(r->up);
    assert_string_equal(r->error, "as mariadb");
    *(bool *)arg = true;
    return true;
}

/* Its own configuration says another kind than the registry: it is told, and no client is sent there. */
static void test_agent_of_another_kind(void **state)
{
    struct kit *k = kit_new(NULL);
    struct wire_message m = {.type = WIRE_LOCATE, .locate = {.resource = "bank_r"}};
    struct wire_resource r = {.name = "bank_r", .kind = "mariadb", .up = 1, .error = "as mariadb"};
    const struct wire_definition *d;
    bool seen = false;

    (void)state;
    assert_int_equal(declare(k, "bank_r", "postgresql", "host=a"), 0);
    d = definition_in(k, pull_registry(k, &r));
    assert_string_equal(d->kind, "postgresql");
    driver_each_resource(k->d, k->now, on_wrong_kind, &seen);
    assert_true(seen);
    kit_pass(k, 4000);
    (void)pull_registry(k, &r);
    kit_expect_error(k, kit_ask(k, &m), TX_ENOTFOUND);
    kit_free(k);
}

static bool on_undeclared(void *arg, const struct driver_resource *r)
{
    size_t *n = arg;

    *n += strcmp(r->name, "bank_r") == 0 && !r->listed && r->kind == NULL && strcmp(r->agent, "agent-r") == 0;
    return true;
}

static void test_view_of_undeclared(void **state)
{
    struct kit *k = kit_new(NULL);
    const struct wire_resource r = {.name = "bank_r", .by_registry = 1};
    size_t n = 0;

    (void)state;
    (void)pull_registry(k, &r);
    driver_each_resource(k->d, k->now, on_undeclared, &n);
    assert_int_equal(n, 1);
    kit_free(k);
}

static void on_counted(void *arg, int rc, enum verdict stands)
{
    (void)stands;
    assert_int_equal(rc, 0);
    ++*(unsigned *)arg;
}

/* One that agents serve as the registry defines it is removed under them, but for what is prepared there. */
static void test_remove_served_resource(void **state)
{
    struct kit *k = kit_new(NULL);
    struct tx_error e;
    unsigned calls = 0;
    struct wire_resource r = {.name = "bank_r", .kind = "postgresql", .by_registry = 1, .up = 1, .in_doubt = 1};
    const struct wire_definition *d;

    (void)state;
    assert_int_equal(declare(k, "bank_r", "postgresql", "host=a"), 0);
    d = definition_in(k, pull_registry(k, &r));
    r.definition = d->mark;
    (void)pull_registry(k, &r);
    assert_int_equal(driver_remove_resource(k->d, k->now, KIT_WALL + k->now, "bank_r", on_counted, &calls, &e),
                     TX_EREFUSED); /* prepared */
    r.in_doubt = 0;
    (void)pull_registry(k, &r);
    assert_int_equal(driver_remove_resource(k->d, k->now, KIT_WALL + k->now, "bank_r", on_counted, &calls, &e),
                     0);
    kit_turn(k);
    assert_int_equal(calls, 1);
    d = definition_in(k, pull_registry(k, &r));
    assert_non_null(d);
    assert_null(d->kind);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definitions),
        cmocka_unit_test(test_agent_of_another_kind),
        cmocka_unit_test(test_view_of_undeclared),
        cmocka_unit_test(test_remove_served_resource),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
