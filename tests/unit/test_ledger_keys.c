/* test_ledger_keys: the group's keys as the ledger has them, and what revoking one does to its sessions. */
#include "tests/unit/ledger_kit.h"

static void test_added(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_null(kit_known(&k, 1));
    kit_key(&k, 1, "bank_a", ROLE_AGENT, "bank_a,bank_b");
    assert_string_equal(kit_known(&k, 1)->name, "bank_a");
    assert_string_equal(kit_known(&k, 1)->grant, "bank_a,bank_b");
    assert_int_equal(kit_known(&k, 1)->roles, ROLE_AGENT);
    assert_int_equal(kit_known(&k, 1)->added_ms, 1001);
    assert_false(kit_known(&k, 1)->revoked);
    kit_key(&k, 1, "other", ROLE_OPERATOR, ""); /* the first one stands */
    assert_string_equal(kit_known(&k, 1)->name, "bank_a");
    assert_int_equal(kit_counts(&k).keys, 1);
    kit_restore(&k);
    assert_string_equal(kit_known(&k, 1)->grant, "bank_a,bank_b");
    kit_release(&k);
}

/* Several active keys of one name can all do the same. */
static void test_names(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_key(&k, 1, "bank_a", ROLE_AGENT, "bank_a");
    kit_key(&k, 2, "bank_a", ROLE_AGENT, "bank_a,bank_b");
    assert_null(kit_known(&k, 2));
    kit_key(&k, 2, "bank_a", ROLE_AGENT | ROLE_OPERATOR, "bank_a");
    assert_null(kit_known(&k, 2));
    assert_false(ledger_key_fits(k.l, "bank_a", ROLE_OPERATOR, "bank_a"));
    assert_true(ledger_key_fits(k.l, "bank_b", ROLE_OPERATOR, "bank_a"));
    kit_key(&k, 2, "bank_a", ROLE_AGENT, "bank_a");
    assert_non_null(kit_known(&k, 2));
    kit_key(&k, 1, "bank_a", 0, NULL);
    kit_key(&k, 3, "bank_a", ROLE_OPERATOR, ""); /* key 2 still has it */
    assert_null(kit_known(&k, 3));
    kit_key(&k, 2, "bank_a", 0, NULL);
    kit_key(&k, 3, "bank_a", ROLE_OPERATOR, "");
    assert_non_null(kit_known(&k, 3));
    kit_release(&k);
}

static void test_revoked_for_good(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_key(&k, 1, "shop", ROLE_CLIENT, "");
    kit_key(&k, 1, "else", 0, NULL);
    assert_true(kit_known(&k, 1)->revoked);
    assert_string_equal(kit_known(&k, 1)->name, "shop"); /* as it was added */
    assert_int_equal(kit_known(&k, 1)->revoked_ms, 1002);
    kit_key(&k, 1, "shop", ROLE_CLIENT, "");
    assert_true(kit_known(&k, 1)->revoked);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_equal(kit_known(&k, 1)->revoked_ms, 1002);
    kit_restore(&k);
    assert_true(kit_known(&k, 1)->revoked);
    kit_release(&k);
}

/* A key from a file, that the ledger has never heard of. */
static void test_revoked_unheard(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_true(kit_known(&k, 1)->revoked);
    assert_string_equal(kit_known(&k, 1)->name, "shop");
    assert_int_equal(kit_known(&k, 1)->roles, 0);
    kit_restore(&k);
    kit_key(&k, 1, "shop", ROLE_CLIENT, "");
    assert_int_equal(kit_known(&k, 1)->roles, 0);
    assert_true(kit_known(&k, 1)->revoked);
    kit_release(&k);
}

/* Its sessions expire, and no others; what stands of them stays, what is not decided is aborted. */
static void test_revoking_is_a_fence(void **state)
{
    struct kit k;
    struct txid id = {GROUP, 1, 2, 101};

    (void)state;
    kit_init(&k);
    kit_key(&k, 1, "shop", ROLE_CLIENT, "");
    kit_key(&k, 2, "shop", ROLE_CLIENT, "");
    kit_open_as(&k, 101, 1);
    kit_open_as(&k, 102, 2);
    kit_open(&k, 103);
    kit_open_as(&k, 104, 1);
    kit_open_as(&k, 105, 1);
    kit_do(&k, RECORD_EXPIRE_SESSION, 5, 0);
    assert_memory_equal(ledger_session(k.l, 1)->owner, kit_known(&k, 1)->key, KEY_SIZE);
    assert_true(ledger_session_owned(ledger_session(k.l, 1)));
    assert_false(ledger_session_owned(ledger_session(k.l, 3)));
    kit_decide(&k, 1, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 1);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_equal(k.result.n_expired, 2);
    assert_int_equal(ledger_session(k.l, 1)->state, SESSION_EXPIRED);
    assert_int_equal(ledger_session(k.l, 1)->ended_ms, 1010);
    assert_int_equal(ledger_session(k.l, 2)->state, SESSION_OPEN);
    assert_int_equal(ledger_session(k.l, 3)->state, SESSION_OPEN);
    assert_int_equal(ledger_session(k.l, 4)->state, SESSION_EXPIRED);
    assert_int_equal(ledger_session(k.l, 5)->ended_ms, 1008);
    kit_decide(&k, 1, 2, VERDICT_COMMIT, ORIGIN_CLIENT, 1);
    assert_int_equal(k.result.verdict, VERDICT_ABORT);
    assert_true(k.result.fenced);
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_ABORT);
    id.sequence = 1;
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_COMMIT);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_equal(k.result.n_expired, 0);
    kit_release(&k);
}

/* Proposed before the key was revoked, and applied behind. */
static void test_revoked_opens_nothing(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_equal(kit_open_as(&k, 101, 1), 0);
    assert_int_equal(kit_counts(&k).sessions, 0);
    assert_int_equal(kit_open_as(&k, 101, 2), 1);
    kit_release(&k);
}

/* A nonce is no way into another's session; but one that is nobody's is whoever's comes. */
static void test_nonce_of_another(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_int_equal(kit_open_as(&k, 101, 1), 1);
    assert_int_equal(kit_open_as(&k, 101, 1), 1);
    assert_int_equal(kit_open_as(&k, 101, 2), 0);
    assert_int_equal(kit_open(&k, 101), 0);
    assert_int_equal(kit_open(&k, 102), 2);
    assert_int_equal(kit_open_as(&k, 102, 1), 2);
    assert_int_equal(kit_counts(&k).open_sessions, 2);
    kit_restore(&k);
    assert_int_equal(kit_open_as(&k, 101, 2), 0);
    assert_int_equal(kit_open_as(&k, 101, 1), 1);
    kit_release(&k);
}

static void test_version(void **state)
{
    uint64_t last = 0;
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_int_not_equal(ledger_keys_version(k.l), 0);
    last = ledger_keys_version(k.l);
    kit_key(&k, 1, "shop", ROLE_CLIENT, "");
    assert_int_not_equal(ledger_keys_version(k.l), last);
    last = ledger_keys_version(k.l);
    kit_key(&k, 1, "shop", ROLE_CLIENT, ""); /* changes nothing */
    kit_key(&k, 2, "shop", ROLE_AGENT, "*");
    kit_open(&k, 7);
    assert_int_equal(ledger_keys_version(k.l), last);
    k.index--; /* two in one entry */
    kit_key(&k, 2, "bank", ROLE_AGENT, "*");
    k.index--;
    kit_key(&k, 3, "bank", ROLE_AGENT, "*");
    assert_int_not_equal(ledger_keys_version(k.l), last);
    last = ledger_keys_version(k.l);
    kit_restore(&k);
    assert_int_equal(ledger_keys_version(k.l), last);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_not_equal(ledger_keys_version(k.l), last);
    last = ledger_keys_version(k.l);
    kit_key(&k, 1, "shop", 0, NULL);
    assert_int_equal(ledger_keys_version(k.l), last);
    kit_release(&k);
}

/* The revoked ones count: they stay. */
static void test_bound(void **state)
{
    struct record r = {.type = RECORD_ADD_KEY, .key = {.name = "shop", .roles = ROLE_CLIENT, .grant = ""}};
    struct kit k;

    (void)state;
    kit_init(&k);
    for (unsigned i = 1; i <= KEY_LIMIT + 1; i++) {
        r.key.key[0] = (uint8_t)i;
        r.key.key[1] = (uint8_t)(i >> 8);
        kit_apply(&k, r);
    }
    assert_null(ledger_key(k.l, r.key.key));
    assert_int_equal(kit_counts(&k).keys, KEY_LIMIT);
    r.type = RECORD_REVOKE_KEY;
    kit_apply(&k, r); /* never heard of, and no room */
    assert_null(ledger_key(k.l, r.key.key));
    kit_key(&k, 1, "shop", 0, NULL);
    assert_true(kit_known(&k, 1)->revoked);
    assert_int_equal(kit_counts(&k).keys, KEY_LIMIT);
    kit_restore(&k);
    kit_release(&k);
}

/* An agent may say what it likes of its own resource: the branch of that number in another's is not meant. */
static void test_heuristic_of_anothers_number(void **state)
{
    const struct decision *d;
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_open(&k, 7);
    kit_decide(&k, 1, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    kit_apply(&k, (struct record){.type = RECORD_HEURISTIC,
                                  .session = 1,
                                  .sequence = 1,
                                  .heuristic = {1, HEURISTIC_ROLLBACK, "bank_x", NULL}});
    d = ledger_decision(k.l, 1, 1);
    assert_int_equal(d->n_branches, 3);
    assert_int_equal(d->branches[0].heuristic, HEURISTIC_NONE);
    assert_string_equal(d->branches[2].resource, "bank_x");
    assert_int_equal(d->branches[2].heuristic, HEURISTIC_ROLLBACK);
    kit_release(&k);
}

static bool take_name(void *arg, const struct ledger_key *key)
{
    char *names = arg;

    strcat(names, key->name);
    return strlen(names) < 3;
}

static void test_walk(void **state)
{
    char names[8] = "";
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_key(&k, 9, "c", ROLE_CLIENT, "");
    kit_key(&k, 3, "a", ROLE_CLIENT, "");
    kit_key(&k, 5, "b", 0, NULL);
    kit_key(&k, 1, "d", ROLE_CLIENT, "");
    kit_restore(&k);
    ledger_each_key(k.l, take_name, names);
    assert_string_equal(names, "cab"); /* as they came, until it says no */
    kit_release(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_revoked_for_good),
        cmocka_unit_test(test_revoked_unheard),
        cmocka_unit_test(test_revoking_is_a_fence),
        cmocka_unit_test(test_revoked_opens_nothing),
        cmocka_unit_test(test_nonce_of_another),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_heuristic_of_anothers_number),
        cmocka_unit_test(test_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
