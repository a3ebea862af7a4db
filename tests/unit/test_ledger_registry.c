/* test_ledger_registry: resources that operators declare and agents bring, as the ledger keeps them. */
#include "tests/unit/ledger_kit.h"

static void assert_resource(const struct kit *k, const char *kind, const char *settings, uint64_t added_ms,
                            uint64_t altered_ms)
{
    const struct ledger_resource *r = ledger_resource(k->l, "bank_a");

    assert_non_null(r);
    assert_string_equal(r->kind, kind);
    assert_string_equal(r->settings, settings);
    assert_int_equal(r->added_ms, added_ms);
    assert_int_equal(r->altered_ms, altered_ms);
}

static void test_declared_resources(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_declare(&k, "bank_a", NULL, "host=x"); /* not there */
    assert_null(ledger_resource(k.l, "bank_a"));
    kit_declare(&k, "bank_a", "postgresql", "host=a");
    assert_resource(&k, "postgresql", "host=a", 1002, 0);
    kit_declare(&k, "bank_a", "mariadb", "host=b");           /* the first one stands, */
    kit_resource(&k, RECORD_ADD_RESOURCE, "bank_a", "redis"); /* also against an agent */
    assert_resource(&k, "postgresql", "host=a", 1002, 0);
    kit_declare(&k, "bank_a", NULL, "host=c");
    assert_resource(&k, "postgresql", "host=c", 1002, 1005);
    kit_restore(&k);
    assert_resource(&k, "postgresql", "host=c", 1002, 1005);
    assert_true(ledger_resource(k.l, "bank_a")->declared);
    kit_resource(&k, RECORD_REMOVE_RESOURCE, "bank_a", NULL);
    assert_null(ledger_resource(k.l, "bank_a"));
    kit_release(&k);
}

/* What an agent brought becomes the registry's when it is altered. */
static void test_brought_resource_altered(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_resource(&k, RECORD_ADD_RESOURCE, "bank_a", "postgresql");
    assert_false(ledger_resource(k.l, "bank_a")->declared);
    assert_resource(&k, "postgresql", "", 1001, 0);
    kit_declare(&k, "bank_a", NULL, "host=a");
    assert_true(ledger_resource(k.l, "bank_a")->declared);
    assert_resource(&k, "postgresql", "host=a", 1001, 1002);
    kit_release(&k);
}

/* What an agent's test leaves behind is rolled back, whatever session it names. */
static void test_trial(void **state)
{
    struct txid id = {.group = GROUP, .session = 1, .sequence = TXID_TRIAL, .nonce = 77};
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_ABORT);
    (void)kit_open(&k, 5);
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_ABORT);
    id.group++;
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_FOREIGN);
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declared_resources),
        cmocka_unit_test(test_brought_resource_altered),
        cmocka_unit_test(test_trial),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
