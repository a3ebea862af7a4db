/* test_access: who may do what: each role and each message, sessions of one's own and of others, grants, keys
 * that are revoked or only in a file.
 */
#include "coordinator/access.h"
#include "tests/unit/ledger_kit.h"

enum { SHOP = 1, SHOP_TOO, WEB, AGENT, ALL, OPS, EYE, NODE, BOTH, GONE, IN_FILE, STRANGER };

/* Sessions as set_up() opens them. */
enum { OF_SHOP = 1, OF_WEB, OF_NOBODY, OF_STRANGER, NO_SESSION };

static struct kit k;
static struct key_entry file_entries[] = {{.key = {IN_FILE}, .roles = ROLE_CLIENT, .name = "filed"},
                                          {.key = {GONE}, .roles = ROLE_OPERATOR, .name = "gone"},
                                          {.key = {SHOP}, .roles = ROLE_OPERATOR, .name = "shop"}};
static const struct keyring file = {3, file_entries};

static int set_up(void **state)
{
    (void)state;
    kit_init(&k);
    kit_key(&k, SHOP, "shop", ROLE_CLIENT, "");
    kit_key(&k, SHOP_TOO, "shop", ROLE_CLIENT, "");
    kit_key(&k, WEB, "web", ROLE_CLIENT, "");
    kit_key(&k, AGENT, "bank_a", ROLE_AGENT, "bank_a,bank_b");
    kit_key(&k, ALL, "banks", ROLE_AGENT, "*");
    kit_key(&k, OPS, "ops", ROLE_OPERATOR, "");
    kit_key(&k, EYE, "eye", ROLE_OBSERVER, "");
    kit_key(&k, NODE, "node1", ROLE_COORDINATOR, "");
    kit_key(&k, BOTH, "service", ROLE_CLIENT | ROLE_AGENT, "bank_s");
    kit_key(&k, GONE, "gone", ROLE_OPERATOR, "");
    kit_key(&k, GONE, "gone", 0, NULL);
    kit_open_as(&k, 101, SHOP);
    kit_open_as(&k, 102, WEB);
    kit_open(&k, 103);
    kit_open_as(&k, 104, STRANGER);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kit_release(&k);
    return 0;
}

static struct caller caller(uint8_t number)
{
    const uint8_t key[KEY_SIZE] = {number};
    struct caller c;

    assert_true(access_caller(k.l, &file, key, &c));
    return c;
}

static int check(uint8_t who, const struct wire_message *m)
{
    const struct caller c = caller(who);
    struct tx_error e = {0};
    int rc = access_check(k.l, &c, m, &e);

    assert_int_equal(e.code, rc);
    return rc;
}

static void test_callers(void **state)
{
    const uint8_t stranger[KEY_SIZE] = {STRANGER}, gone[KEY_SIZE] = {GONE}, nobody[KEY_SIZE] = {0};
    struct caller c = caller(SHOP);

    (void)state;
    assert_int_equal(c.roles, ROLE_CLIENT); /* the file is not asked of what the ledger knows */
    assert_string_equal(c.name, "shop");
    assert_int_equal(c.key[0], SHOP);
    c = caller(AGENT);
    assert_string_equal(c.grant, "bank_a,bank_b");
    c = caller(IN_FILE);
    assert_string_equal(c.name, "filed");
    assert_int_equal(c.roles, ROLE_CLIENT);
    assert_false(access_caller(k.l, &file, stranger, &c));
    assert_false(access_caller(k.l, &file, gone, &c)); /* no file brings it back */
    assert_false(access_caller(k.l, &file, nobody, &c));
    assert_false(access_caller(k.l, NULL, stranger, &c));
    assert_string_equal(access_name(k.l, gone), "gone"); /* for the audit */
    assert_null(access_name(k.l, nobody));
}

/* Each request, of a session that is the caller's or nobody's, and the roles that may send it. */
static const struct {
    struct wire_message m;
    unsigned roles;
} requests[] = {
    {{WIRE_OPEN_SESSION, .open_session = {1, 1, 1, "app"}}, ROLE_CLIENT},
    {{WIRE_DECIDE, .decide = {.id = {GROUP, OF_NOBODY, 1, 103}}}, ROLE_CLIENT},
    {{WIRE_HEARTBEAT, .heartbeat = {.session = OF_NOBODY}}, ROLE_CLIENT},
    {{WIRE_CLOSE_SESSION, .heartbeat = {.session = OF_NOBODY}}, ROLE_CLIENT},
    {{WIRE_OUTCOME, .outcome = {{GROUP, OF_NOBODY, 1, 103}}}, ROLE_CLIENT},
    {{WIRE_LOCATE, .locate = {"bank_a"}}, ROLE_CLIENT | ROLE_AGENT},
    {{WIRE_PULL, .pull = {.name = "agent"}}, ROLE_AGENT},
    {{WIRE_ADMIN, .admin = {"{}"}}, ROLE_OPERATOR | ROLE_OBSERVER},
    /* no requests to a coordinator */
    {{WIRE_EXEC, .exec = {.branch = 1}}, 0},
    {{WIRE_FINISH, .finish = {.branch = 1}}, 0},
    {{WIRE_WORK, .work = {.group = GROUP}}, 0},
    {{WIRE_SESSION, .session = {.group = GROUP}}, 0},
    {{WIRE_ERROR, .error = {.code = TX_EBUSY}}, 0},
    {{.type = (enum wire_type)99}, 0},
};

static void test_roles(void **state)
{
    static const uint8_t who[] = {SHOP, AGENT, OPS, EYE, NODE, BOTH, IN_FILE};
    static const struct caller insecure;

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        for (size_t w = 0; w < sizeof who; w++) {
            bool may = (caller(who[w]).roles & requests[i].roles) != 0;

            assert_int_equal(check(who[w], &requests[i].m), may ? TX_OK : TX_EDENIED);
        }
        assert_int_equal(access_check(k.l, &insecure, &requests[i].m, NULL), TX_OK);
    }
}

static void test_sessions(void **state)
{
    static const struct {
        uint8_t who;
        uint64_t session;
        int rc;
    } cases[] = {
        {SHOP, OF_SHOP, TX_OK},
        {SHOP_TOO, OF_SHOP, TX_OK},
        {WEB, OF_SHOP, TX_EDENIED},
        {BOTH, OF_SHOP, TX_EDENIED},
        {IN_FILE, OF_SHOP, TX_EDENIED},
        {SHOP, OF_WEB, TX_EDENIED},
        {SHOP_TOO, OF_WEB, TX_EDENIED},
        {WEB, OF_WEB, TX_OK},
        {WEB, OF_NOBODY, TX_OK},
        {IN_FILE, OF_NOBODY, TX_OK},
        {WEB, NO_SESSION, TX_OK},
        {SHOP, OF_STRANGER, TX_EDENIED},
        {IN_FILE, OF_STRANGER, TX_EDENIED},
        {OPS, OF_SHOP, TX_EDENIED},
        {ALL, OF_SHOP, TX_EDENIED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t s = cases[i].session;
        const struct wire_message messages[] = {
            {WIRE_DECIDE, .decide = {.id = {GROUP, s, 1, 100 + s}}},
            {WIRE_HEARTBEAT, .heartbeat = {.session = s, .nonce = 100 + s}},
            {WIRE_CLOSE_SESSION, .heartbeat = {.session = s, .nonce = 100 + s}},
            {WIRE_OUTCOME, .outcome = {{GROUP, s, 1, 100 + s}}},
        };

        for (size_t n = 0; n < 4; n++)
            assert_int_equal(check(cases[i].who, &messages[n]), cases[i].rc);
    }
}

/* A session outlives the key that opened it: who has its name still learns what became of it. */
static void test_sessions_of_a_revoked_key(void **state)
{
    const struct wire_message m = {WIRE_OUTCOME, .outcome = {{GROUP, OF_SHOP, 1, 101}}};
    const uint8_t key[KEY_SIZE] = {SHOP};
    struct caller c;

    (void)state;
    kit_key(&k, SHOP, "shop", 0, NULL);
    assert_int_equal(check(SHOP_TOO, &m), TX_OK);
    assert_int_equal(check(WEB, &m), TX_EDENIED);
    assert_false(access_caller(k.l, &file, key, &c));
}

static void test_grants(void **state)
{
    static const struct {
        uint8_t who;
        const char *resource;
        int rc;
    } cases[] = {
        {AGENT, "bank_a", TX_OK},     {AGENT, "bank_b", TX_OK}, {AGENT, "bank_c", TX_EDENIED},
        {AGENT, "bank", TX_EDENIED},  {ALL, "bank_c", TX_OK},   {BOTH, "bank_s", TX_OK},
        {BOTH, "bank_a", TX_EDENIED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct wire_resource resources[] = {{.name = cases[i].who == BOTH ? "bank_s" : "bank_a"},
                                                  {.name = cases[i].resource}};
        const struct wire_report reports[] = {
            {.kind = REPORT_FOUND, .resource = cases[i].who == BOTH ? "bank_s" : "bank_a"},
            {.kind = REPORT_ANSWER, .resource = cases[i].resource}};
        const struct wire_message serves = {WIRE_PULL, .pull = {.n_resources = 2, .resources = resources}};
        const struct wire_message tells = {WIRE_PULL, .pull = {.n_reports = 2, .reports = reports}};

        assert_int_equal(check(cases[i].who, &serves), cases[i].rc);
        assert_int_equal(check(cases[i].who, &tells), cases[i].rc);
    }
}

static void test_verbs(void **state)
{
    const struct caller ops = caller(OPS), eye = caller(EYE), shop = caller(SHOP), both = caller(BOTH);
    static const struct caller insecure;
    struct tx_error e;

    (void)state;
    assert_int_equal(access_check_verb(&ops, "resolve", ROLE_OPERATOR, &e), TX_OK);
    assert_int_equal(access_check_verb(&insecure, "resolve", ROLE_OPERATOR, &e), TX_OK);
    assert_int_equal(access_check_verb(&eye, "show", ROLE_OPERATOR | ROLE_OBSERVER, &e), TX_OK);
    assert_int_equal(access_check_verb(&eye, "resolve", ROLE_OPERATOR, &e), TX_EDENIED);
    assert_string_equal(e.msg, "observer \"eye\" may not resolve; an operator's key is needed");
    assert_int_equal(access_check_verb(&shop, "resolve", ROLE_OPERATOR, &e), TX_EDENIED);
    assert_string_equal(e.msg, "client \"shop\" may not resolve; an operator's key is needed");
    assert_int_equal(access_check_verb(&both, "show", ROLE_OPERATOR | ROLE_OBSERVER, &e), TX_EDENIED);
    assert_string_equal(e.msg,
                        "client,agent \"service\" may not show; an operator's or an observer's key is needed");
}

/* What is missing, and who may grant it. */
static void test_messages(void **state)
{
    const struct wire_resource resource = {.name = "bank_c"};
    const struct wire_message decide = {WIRE_DECIDE, .decide = {.id = {GROUP, OF_SHOP, 1, 101}}};
    const struct wire_message pull = {WIRE_PULL, .pull = {.n_resources = 1, .resources = &resource}};
    const struct caller web = caller(WEB), agent = caller(AGENT), ops = caller(OPS);
    struct tx_error e;

    (void)state;
    assert_int_equal(access_check(k.l, &web, &decide, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "client \"web\" may not commit: session 1 is another's"));
    assert_int_equal(access_check(k.l, &ops, &decide, &e), TX_EDENIED);
    assert_string_equal(e.msg, "operator \"ops\" may not commit; a client's key is needed");
    assert_int_equal(access_check(k.l, &web, &pull, &e), TX_EDENIED);
    assert_string_equal(e.msg, "client \"web\" may not pull work; an agent's key is needed");
    assert_int_equal(access_check(k.l, &agent, &pull, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "agent \"bank_a\" may not serve resource bank_c; an operator grants it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_callers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sessions_of_a_revoked_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_verbs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_messages, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
