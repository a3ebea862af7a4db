/* test_driver_keys: what operators change of the group's keys and what they are refused; a node's own keys
 * file; whose session is whose, and what becomes of it when its key is revoked.
 */
#include "tests/unit/driver_kit.h"

enum { SHOP = 1, WEB, OPS, OPS_TOO, NODE };

/* The verbs */

static int refused(struct kit *k, uint8_t number, const char *name, unsigned roles, const char *why)
{
    struct tx_error e = {0};
    int rc = kit_propose_key(k, number, name, roles, &e);

    if (strstr(e.msg, why) == NULL)
        fail_msg("«%s» does not say «%s»", e.msg, why);
    kit_turn(k);
    assert_int_equal(k->done_rc, 1); /* not called */
    return rc;
}

static void test_adding(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    assert_string_equal(kit_known(k, SHOP)->name, "shop");
    assert_int_equal(refused(k, SHOP, "shop", ROLE_CLIENT, "there already, as shop"), TX_EREFUSED);
    assert_int_equal(refused(k, WEB, "shop", ROLE_OPERATOR, "choose another name"), TX_EREFUSED);
    kit_set_key(k, WEB, "shop", ROLE_CLIENT); /* the next key of the same */
    kit_set_key(k, SHOP, NULL, 0);
    assert_int_equal(refused(k, SHOP, "shop", ROLE_CLIENT, "make another one"), TX_EREFUSED);
    kit_free(k);
}

static void test_revoking(void **state)
{
    struct driver_revocation last = {.key = (const uint8_t[KEY_SIZE]){OPS_TOO}, .force = true};
    struct kit *k = kit_bare(NULL);
    char text[KEY_TEXT_SIZE];

    (void)state;
    kit_set_key(k, OPS, "ops", ROLE_OPERATOR);
    kit_set_key(k, OPS_TOO, "ops2", ROLE_OPERATOR | ROLE_CLIENT);
    kit_set_key(k, OPS, NULL, 0);
    assert_int_equal(refused(k, OPS, NULL, 0, "revoked already"), TX_EREFUSED);
    assert_int_equal(refused(k, OPS_TOO, NULL, 0, "add another first"), TX_EREFUSED);
    kit_set_key(k, SHOP, "shop", 0); /* never heard of */
    assert_string_equal(kit_known(k, SHOP)->name, "shop");
    kit_set_key(k, WEB, NULL, 0);
    key_format(kit_known(k, WEB)->key, text);
    assert_string_equal(kit_known(k, WEB)->name, text);
    assert_int_equal(driver_revoke_key(k->d, k->now, KIT_WALL, &last, kit_on_done, k, NULL), 0);
    kit_turn(k);
    assert_true(kit_known(k, OPS_TOO)->revoked);
    kit_free(k);
}

static int revoke(struct kit *k, uint8_t number, bool force, const char *why)
{
    const uint8_t key[KEY_SIZE] = {number};
    struct driver_revocation revocation = {.key = key, .force = force};
    struct tx_error e = {0};
    int rc = driver_revoke_key(k->d, k->now, KIT_WALL, &revocation, kit_on_done, k, &e);

    if (strstr(e.msg, why) == NULL)
        fail_msg("«%s» does not say «%s»", e.msg, why);
    kit_turn(k);
    return rc;
}

/* Nodes without keys cannot speak to the others: a majority that has none is the group's end. */
static void test_revoking_coordinators(void **state)
{
    const uint64_t ids[] = {1, 2, 3};
    struct kit *k = kit_bare(NULL);

    (void)state;
    driver_members(k->d, k->now, ids, 3);
    for (uint8_t i = 0; i < 4; i++)
        kit_set_key(k, (uint8_t)(NODE + i), "node", ROLE_COORDINATOR);
    kit_set_key(k, OPS, "ops", ROLE_OPERATOR);
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    assert_int_equal(revoke(k, SHOP, false, ""), TX_OK);
    assert_int_equal(revoke(k, NODE, false, ""), TX_OK); /* the old one of a node that has a new one */
    assert_int_equal(revoke(k, NODE + 1, false, "txadmin node remove"), TX_EREFUSED);
    assert_false(kit_known(k, NODE + 1)->revoked);
    assert_int_equal(revoke(k, NODE + 1, true, ""), TX_OK);
    assert_int_equal(revoke(k, NODE + 2, false, "no majority"), TX_EREFUSED);
    assert_int_equal(revoke(k, NODE + 2, true, "no majority"), TX_EREFUSED);
    driver_members(k->d, k->now, ids, 1); /* the others are out of it */
    assert_int_equal(revoke(k, NODE + 2, false, ""), TX_OK);
    assert_int_equal(revoke(k, NODE + 3, true, "no majority"), TX_EREFUSED);
    assert_false(kit_known(k, NODE + 3)->revoked);
    kit_free(k);
}

/* A key may be an operator's and a node's. */
static void test_revoking_one_of_both(void **state)
{
    const uint64_t ids[] = {1};
    struct kit *k = kit_bare(NULL);

    (void)state;
    driver_members(k->d, k->now, ids, 1);
    kit_set_key(k, NODE, "all", ROLE_COORDINATOR | ROLE_OPERATOR);
    kit_set_key(k, NODE + 1, "node", ROLE_COORDINATOR);
    assert_int_equal(revoke(k, NODE, false, "last one of an operator"), TX_EREFUSED);
    assert_int_equal(revoke(k, NODE, true, ""), TX_OK);
    kit_free(k);
}

/* What one of them looked at, the other would change. */
static void test_one_change_at_a_time(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct tx_error e;

    (void)state;
    kit_set_key(k, OPS, "ops", ROLE_OPERATOR);
    kit_set_key(k, OPS_TOO, "ops2", ROLE_OPERATOR);
    assert_int_equal(kit_propose_key(k, OPS, NULL, 0, &e), 0);
    assert_int_equal(kit_propose_key(k, OPS_TOO, NULL, 0, &e), TX_EBUSY);
    kit_flush(k);
    assert_int_equal(kit_propose_key(k, SHOP, "shop", ROLE_CLIENT, &e), TX_EBUSY);
    kit_apply(k);
    assert_int_equal(kit_propose_key(k, OPS_TOO, NULL, 0, &e), TX_EREFUSED);
    kit_free(k);
}

static void test_lost_and_not_leading(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct tx_error e;

    (void)state;
    assert_int_equal(kit_propose_key(k, SHOP, "shop", ROLE_CLIENT, &e), 0);
    kit_flush(k);
    driver_proposed(k->d, k->now, k->entries[0].ticket, false);
    assert_int_equal(k->done_rc, TX_EUNKNOWN);
    assert_int_equal(kit_propose_key(k, SHOP, "shop", ROLE_CLIENT, &e), 0);
    driver_role(k->d, k->now, false, 2);
    assert_int_equal(k->done_rc, TX_EUNKNOWN);
    assert_int_equal(kit_propose_key(k, SHOP, "shop", ROLE_CLIENT, &e), TX_ENOTLEADER);
    kit_free(k);
}

static void test_bounds(void **state)
{
    struct kit *k = kit_bare(NULL);

    (void)state;
    for (unsigned i = 1; i <= NODE_KEY_LIMIT; i++)
        kit_set_key(k, (uint8_t)(100 + i), "nodes", ROLE_COORDINATOR);
    assert_int_equal(refused(k, NODE, "nodes", ROLE_COORDINATOR, "nodes that are gone"), TX_EBUSY);
    kit_set_key(k, 101, NULL, 0);
    kit_set_key(k, NODE, "nodes", ROLE_COORDINATOR);
    for (unsigned i = NODE_KEY_LIMIT + 1; i < KEY_LIMIT; i++) {
        struct key_entry entry = {
            .key = {1, (uint8_t)i, (uint8_t)(i >> 8)}, .roles = ROLE_CLIENT, .name = "many"};

        assert_int_equal(driver_add_key(k->d, k->now, KIT_WALL, &entry, kit_on_done, k, NULL), 0);
        kit_turn(k);
    }
    assert_int_equal(refused(k, SHOP, "shop", ROLE_CLIENT, "4096 keys"), TX_EBUSY);
    assert_int_equal(refused(k, SHOP, "shop", 0, "4096 keys"), TX_EBUSY);
    kit_set_key(k, NODE, NULL, 0);
    kit_free(k);
}

/* A node's own file */

static struct key_entry entries[] = {{.key = {SHOP}, .roles = ROLE_CLIENT, .name = "shop"},
                                     {.key = {OPS}, .roles = ROLE_OPERATOR, .name = "ops"},
                                     {.key = {WEB}, .roles = ROLE_AGENT, .name = "shop", .grant = "*"},
                                     {.key = {NODE}, .roles = ROLE_COORDINATOR, .name = "node"}};
static const struct keyring ring = {4, entries};
static const struct driver_options with_file = {.bootstrap = &ring};

static void test_own_file(void **state)
{
    struct kit *k = kit_bare(&with_file);
    struct tx_error e;

    (void)state;
    assert_int_equal(kit_propose_key(k, OPS_TOO, "ops", ROLE_OPERATOR, &e), TX_EBUSY);
    kit_turn(k);
    assert_int_equal(kit_known(k, SHOP)->roles, ROLE_CLIENT);
    assert_int_equal(kit_known(k, OPS)->roles, ROLE_OPERATOR);
    assert_int_equal(kit_known(k, NODE)->roles, ROLE_COORDINATOR);
    assert_null(kit_known(k, WEB)); /* one name, two roles: the first one stands */
    kit_set_key(k, SHOP, NULL, 0);
    kit_fail_over(k); /* what was revoked does not come back */
    kit_turn(k);
    assert_true(kit_known(k, SHOP)->revoked);
    assert_int_equal(k->n_entries, 0);
    kit_set_key(k, OPS_TOO, "ops", ROLE_OPERATOR);
    kit_free(k);
}

static void test_own_file_is_lost(void **state)
{
    struct kit *k = kit_bare(&with_file);

    (void)state;
    kit_flush(k);
    assert_int_equal(k->n_entries, 1);
    driver_proposed(k->d, k->now, k->entries[0].ticket, false);
    kit_drop_entries(k);
    kit_flush(k);
    assert_int_equal(k->n_entries, 0); /* not at once */
    kit_pass(k, 100);
    assert_non_null(kit_known(k, NODE));
    kit_free(k);
}

/* What a backup brings takes the place of what was there, and then the file is asked again. */
static void test_own_file_after_restore(void **state)
{
    struct kit *k = kit_bare(NULL), *other = kit_bare(&with_file);
    struct record r = {.type = RECORD_RESTORE};
    struct buf snapshot, entry;

    (void)state;
    kit_set_key(k, SHOP, NULL, 0);
    buf_init(&snapshot);
    buf_init(&entry);
    driver_snapshot(k->d, &snapshot);
    kit_turn(other);
    assert_false(kit_known(other, SHOP)->revoked);
    r.restore.total = r.restore.len = (uint32_t)snapshot.len;
    r.restore.data = snapshot.data;
    record_begin(&entry);
    record_append(&entry, &r);
    assert_int_equal(driver_apply(other->d, other->now, ++other->index, entry.data, entry.len, NULL), 0);
    assert_null(kit_known(other, OPS));
    kit_pass(other, 50);
    assert_non_null(kit_known(other, OPS));
    assert_true(kit_known(other, SHOP)->revoked);
    buf_release(&snapshot);
    buf_release(&entry);
    kit_free(k);
    kit_free(other);
}

/* Sessions */

static void test_owner(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint64_t session;

    (void)state;
    kit_as(k, SHOP, "shop");
    session = kit_session(k, 71);
    assert_int_equal(ledger_session(driver_ledger(k->d), session)->owner[0], SHOP);
    kit_as(k, 0, NULL);
    session = kit_session(k, 72);
    assert_false(ledger_session_owned(ledger_session(driver_ledger(k->d), session)));
    kit_free(k);
}

static void test_nonce_of_another(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct wire_message m;
    uint64_t session;
    uint32_t first, other;

    (void)state;
    kit_as(k, SHOP, "shop");
    first = kit_open(k, 71);
    kit_as(k, WEB, "web");
    other = kit_open(k, 71); /* while it is being opened */
    kit_expect_error(k, other, TX_EDENIED);
    kit_turn(k);
    assert_true(kit_answer(k, first, &m));
    session = m.session.session;
    kit_expect_error(k, kit_open(k, 71), TX_EDENIED);
    kit_as(k, SHOP, "shop");
    assert_int_equal(kit_session(k, 71), session);
    kit_free(k);
}

static void test_sessions_per_key(void **state)
{
    const struct driver_options options = {.max_sessions_per_key = 2};
    struct kit *k = kit_bare(&options);

    (void)state;
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    kit_set_key(k, WEB, "shop", ROLE_CLIENT); /* one name */
    kit_as(k, SHOP, "shop");
    k->session = kit_session(k, 71);
    k->nonce = 71;
    (void)kit_open(k, 72); /* being opened */
    kit_as(k, WEB, "shop");
    assert_non_null(strstr(kit_expect_error(k, kit_open(k, 73), TX_EBUSY).text, "client shop"));
    kit_turn(k);
    kit_expect_error(k, kit_open(k, 73), TX_EBUSY);
    kit_fail_over(k); /* the next leader counts alike */
    kit_expect_error(k, kit_open(k, 73), TX_EBUSY);
    kit_as(k, OPS, "ops"); /* others are not in the way */
    (void)kit_session(k, 74);
    kit_as(k, 0, NULL);
    (void)kit_session(k, 75);
    (void)kit_beat(k, WIRE_CLOSE_SESSION, NULL, NULL);
    kit_turn(k);
    kit_as(k, WEB, "shop");
    (void)kit_session(k, 73);
    kit_expect_error(k, kit_open(k, 76), TX_EBUSY);
    kit_free(k);
}

/* One that is being opened and is lost counts no more. */
static void test_lost_opening_is_not_counted(void **state)
{
    const struct driver_options options = {.max_sessions_per_key = 1};
    struct kit *k = kit_bare(&options);

    (void)state;
    kit_as(k, SHOP, "shop");
    (void)kit_open(k, 71);
    kit_flush(k);
    driver_proposed(k->d, k->now, k->entries[0].ticket, false);
    kit_drop_entries(k);
    (void)kit_session(k, 72);
    kit_free(k);
}

/* Revoking */

/* The client's session and transactions end at once; another client's do not. */
static void test_revoked_client(void **state)
{
    struct kit *k = kit_bare(NULL);
    const struct range one = {1, 1};
    uint32_t commit, beat, other;
    struct driver_counters c;

    (void)state;
    kit_agent(k);
    kit_set_key(k, SHOP, "shop", ROLE_CLIENT);
    kit_as(k, WEB, "web");
    k->nonce = 72;
    k->session = kit_session(k, 72);
    other = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_as(k, SHOP, "shop");
    k->nonce = 71;
    k->session = kit_session(k, 71);
    commit = kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_remote);
    kit_turn(k);
    beat = kit_beat(k, WIRE_HEARTBEAT, &one, NULL);
    kit_expect_silence(k, commit);
    kit_set_key(k, SHOP, NULL, 0);
    kit_expect_decided(k, commit, VERDICT_ABORT);
    kit_expect_error(k, beat, TX_ESESSION);
    kit_expect_silence(k, other);
    kit_expect_error(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), TX_ESESSION);
    kit_expect_outcome(k, 2, TX_OUTCOME_ABORTED);
    driver_count(k->d, &c);
    assert_int_equal(c.sessions_expired, 1);
    assert_int_equal(c.in_flight, 1);
    k->session--;
    k->nonce = 72;
    kit_as(k, 0, NULL);
    (void)kit_report(k, 1, 1, REPORT_PREPARED);
    (void)kit_report(k, 1, 2, REPORT_PREPARED);
    kit_turn(k);
    kit_expect_decided(k, other, VERDICT_COMMIT);
    kit_free(k);
}

/* What was decided is finished: by agents, since nobody else will. */
static void test_revoked_client_has_decided(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint32_t pull;

    (void)state;
    kit_agent(k);
    kit_as(k, SHOP, "shop");
    k->nonce = 71;
    k->session = kit_session(k, 71);
    kit_expect_silence(k, kit_decide(k, 1, VERDICT_COMMIT, WAIT_DECIDED, kit_direct));
    kit_turn(k);
    kit_as(k, 0, NULL);
    pull = kit_pull(k, NULL, 0);
    kit_turn(k);
    kit_set_key(k, SHOP, NULL, 0);
    kit_expect_work(k, pull, WORK_COMMIT, 1);
    kit_expect_work(k, pull, WORK_COMMIT, 2);
    kit_free(k);
}

static void test_follower_expires_too(void **state)
{
    struct kit *k = kit_bare(NULL);
    uint64_t session;

    (void)state;
    kit_as(k, SHOP, "shop");
    session = kit_session(k, 71);
    assert_int_equal(kit_propose_key(k, SHOP, NULL, 0, NULL), 0);
    kit_flush(k);
    driver_role(k->d, k->now, false, 2);
    kit_apply(k);
    assert_int_equal(ledger_session(driver_ledger(k->d), session)->state, SESSION_EXPIRED);
    driver_role(k->d, k->now, true, KIT_NODE);
    k->session = session;
    k->nonce = 71;
    kit_expect_error(k, kit_beat(k, WIRE_HEARTBEAT, NULL, NULL), TX_ESESSION);
    kit_free(k);
}

/* Let in just before it was revoked. */
static void test_revoked_while_opening(void **state)
{
    struct kit *k = kit_bare(NULL);
    struct driver_counters c;
    uint32_t open;

    (void)state;
    assert_int_equal(kit_propose_key(k, SHOP, NULL, 0, NULL), 0);
    kit_as(k, SHOP, "shop");
    open = kit_open(k, 71);
    kit_turn(k);
    kit_expect_error(k, open, TX_EDENIED);
    driver_count(k->d, &c);
    assert_int_equal(c.sessions_opened, 0);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adding),
        cmocka_unit_test(test_revoking),
        cmocka_unit_test(test_revoking_coordinators),
        cmocka_unit_test(test_revoking_one_of_both),
        cmocka_unit_test(test_one_change_at_a_time),
        cmocka_unit_test(test_lost_and_not_leading),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_own_file),
        cmocka_unit_test(test_own_file_is_lost),
        cmocka_unit_test(test_own_file_after_restore),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_nonce_of_another),
        cmocka_unit_test(test_sessions_per_key),
        cmocka_unit_test(test_lost_opening_is_not_counted),
        cmocka_unit_test(test_revoked_client),
        cmocka_unit_test(test_revoked_client_has_decided),
        cmocka_unit_test(test_follower_expires_too),
        cmocka_unit_test(test_revoked_while_opening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
