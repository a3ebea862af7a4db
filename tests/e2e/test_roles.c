/* test_roles: every kind of caller with every request and every verb: what its role allows is done, and nothing
 * else; and what is another's stays another's. */
#include "tests/e2e/keys_kit.h"

enum { PARKED_MS = 300 /* a request that is not answered at once is not denied */ };

static int open_group(void **state)
{
    (void)state;
    open_world("roles");
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    return world_free(world, false) ? 0 : -1;
}

/* Who there is: everybody that has a key in the world's keys file. */
static const struct {
    const char *who;
    unsigned role;
} callers[] = {
    {"client", ROLE_CLIENT},     {"agent", ROLE_AGENT},        {"operator", ROLE_OPERATOR},
    {"observer", ROLE_OBSERVER}, {"node_1", ROLE_COORDINATOR},
};

enum { CALLERS = sizeof callers / sizeof *callers };

static struct line line; /* large */

/* Messages */

static const struct txid nobodys = {.group = 1, .session = 4711, .sequence = 1, .nonce = 2};
static const struct branch_ref branch = {1, BRANCH_DIRECT, "bank_a", NULL, NULL};

/* Each request that a coordinator takes, and some that are nobody's to send. */
static const struct {
    struct wire_message message;
    unsigned roles;
} requests[] = {
    {{.type = WIRE_OPEN_SESSION,
      .open_session =
          {.nonce = 99, .session_timeout_ms = 5000, .transaction_timeout_ms = 5000, .name = "test"}},
     ROLE_CLIENT},
    {{.type = WIRE_DECIDE,
      .decide = {.id = {1, 4711, 1, 2}, .verdict = VERDICT_COMMIT, .n_branches = 1, .branches = &branch}},
     ROLE_CLIENT},
    {{.type = WIRE_HEARTBEAT, .heartbeat = {.session = 4711, .nonce = 2}}, ROLE_CLIENT},
    {{.type = WIRE_CLOSE_SESSION, .heartbeat = {.session = 4711, .nonce = 2}}, ROLE_CLIENT},
    {{.type = WIRE_OUTCOME, .outcome = {.id = {1, 4711, 1, 2}}}, ROLE_CLIENT},
    {{.type = WIRE_LOCATE, .locate = {.resource = "bank_a"}}, ROLE_CLIENT | ROLE_AGENT},
    {{.type = WIRE_PULL, .pull = {.instance = 5, .number = 1, .name = "agent"}}, ROLE_AGENT},
    {{.type = WIRE_ADMIN, .admin = {.json = "{\"verb\": \"status\"}"}}, ROLE_OPERATOR | ROLE_OBSERVER},
    {{.type = WIRE_CLOSED}, 0},
    {{.type = WIRE_FINISH, .finish = {.op = FINISH_ROLLBACK, .id = {1, 1, 1, 2}, .branch = 1, .resource = "a"}},
     0},
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t c = 0; c < CALLERS; c++) {
        assert_true(line_open(&line, callers[c].who));
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
            bool may = (requests[i].roles & callers[c].role) != 0;
            const struct wire_message *m = line_ask(&line, &requests[i].message, may ? PARKED_MS : LINE_MS);

            if (is_denied(m) == may)
                fail_msg("%s: %s is %s", callers[c].who, wire_type_name(requests[i].message.type),
                         may ? m->error.text : "not denied");
            if (!may && requests[i].roles != 0 && strstr(m->error.text, "key is needed") == NULL)
                fail_msg("%s: %s: does not say what is missing: %s", callers[c].who,
                         wire_type_name(requests[i].message.type), m->error.text);
        }
        line_close(&line);
    }
}

/* Verbs */

/* All of the table in admin.c. */
static const struct {
    const char *verb;
    bool acts;
} verbs[] = {
    {"status", false},      {"transactions", false},  {"show", false},           {"resources", false},
    {"sessions", false},    {"doctor", false},        {"nodes", false},          {"keys", false},
    {"add_resource", true}, {"alter_resource", true}, {"remove_resource", true}, {"test_resource", true},
    {"resolve", true},      {"forget", true},         {"backup", true},          {"node_init", true},
    {"node_add", true},     {"node_remove", true},    {"node_transfer", true},   {"key_add", true},
    {"key_revoke", true},
};

enum { VERBS = sizeof verbs / sizeof *verbs };

/* Whether it is denied. Nothing is named that the verb could be done to. */
static bool deny_verb(const char *verb)
{
    char json[128];
    const struct wire_message request = {.type = WIRE_ADMIN, .admin = {.json = json}};
    const struct wire_message *m;

    snprintf(json, sizeof json, "{\"verb\": \"%s\", \"id\": \"x\", \"name\": \"x\", \"key\": \"x\"}", verb);
    m = line_ask(&line, &request, LINE_MS);
    if (m == NULL)
        fail_msg("no answer to %s", verb);
    return is_denied(m);
}

static void test_verbs(void **state)
{
    (void)state;
    for (size_t c = 0; c < CALLERS; c++) {
        assert_true(line_open(&line, callers[c].who));
        for (size_t i = 0; i < VERBS; i++) {
            bool may = callers[c].role == ROLE_OPERATOR || (callers[c].role == ROLE_OBSERVER && !verbs[i].acts);

            if (deny_verb(verbs[i].verb) == may)
                fail_msg("%s: %s is %s", callers[c].who, verbs[i].verb, may ? "denied" : "not denied");
        }
        line_close(&line);
    }
}

/* Each denial once, with the verb, and each act that was refused once, not twice. */
static void test_denials_are_audited(void **state)
{
    char text[KEY_TEXT_SIZE], words[256];
    unsigned before;

    (void)state;
    world_sleep_ms(1500); /* nothing is counted any more that was denied before */
    assert_true(line_open(&line, "observer"));
    for (size_t i = 0; i < VERBS; i++) {
        snprintf(words, sizeof words,
                 "name=observer key=%.8s act=%s |outcome=denied error=", key_of("observer", text),
                 verbs[i].verb);
        before = audited(words);

        (void)deny_verb(verbs[i].verb);
        if (audited(words) != before + verbs[i].acts)
            fail_msg("%s: %u lines in the audit, before it %u", verbs[i].verb, audited(words), before);
    }
    line_close(&line);
    /* Who may ask nothing at all. */
    assert_true(line_open(&line, "client"));
    before = audited("name=client |act=status outcome=denied error=");
    assert_true(deny_verb("status"));
    assert_true(deny_verb("no_such_verb"));
    assert_int_equal(audited("name=client |act=status outcome=denied error="), before + 1);
    assert_int_equal(audited("name=client |act=unknown outcome=denied error="), 1);
    line_close(&line);
}

static void test_refusals_are_audited_once(void **state)
{
    unsigned before = audited("name=operator |act=forget what=x outcome=refused error="),
             all = audited("act=forget");

    (void)state;
    assert_true(line_open(&line, "operator"));
    assert_false(deny_verb("forget"));
    assert_int_equal(audited("name=operator |act=forget what=x outcome=refused error="), before + 1);
    assert_int_equal(audited("act=forget"), all + 1);
    line_close(&line);
}

/* An act that is done: its beginning and its end; or a single line, where they are one. */
static void test_acts_are_audited(void **state)
{
    char file[WORLD_PATH_SIZE];
    unsigned before;

    (void)state;
    before = audited("name=operator |act=backup outcome=ok"); /* of test_verbs */
    snprintf(file, sizeof file, "%s/ledger", world_dir(world));
    assert_admin(WORLD_ARGS("backup", file), DONE, "log index");
    assert_int_equal(audited("name=operator |act=backup outcome=ok"), before + 1);
    assert_admin(WORLD_ARGS("resource", "add", "bank_z", "postgresql", "host=nowhere"), DONE, "bank_z");
    assert_int_equal(audited("name=operator |act=add_resource what=bank_z kind=postgresql |outcome=begun"), 1);
    assert_int_equal(audited("name=operator |act=add_resource what=bank_z kind=postgresql |outcome=ok"), 1);
    assert_int_equal(audited("act=add_resource what=bank_z"), 2);
    assert_admin(WORLD_ARGS("resource", "add", "bank_y", "postgresql", "password=hush"), REFUSED, "secret");
    assert_int_equal(audited("act=add_resource what=bank_y outcome=refused"), 1);
    assert_int_equal(audited("hush"), 0);
}

static void test_txadmin_says_what_is_missing(void **state)
{
    char path[WORLD_PATH_SIZE], file[2 * WORLD_PATH_SIZE];

    (void)state;
    snprintf(file, sizeof file, "%s/backup", world_dir(world));
    assert_status_as("observer", DONE, "leader");
    assert_admin(WORLD_ARGS("--identity", world_identity(world, "observer", path), "backup", file), DENIED,
                 "observer|may not|an operator's key is needed");
    assert_admin(WORLD_ARGS("--json", "--identity", world_identity(world, "client", path), "status"), DENIED,
                 "\"code\":\t-20|client");
}

/* What an agent may serve */

static struct wire_message pull(uint64_t number, const struct wire_resource *resource,
                                const struct wire_report *report)
{
    return (struct wire_message){.type = WIRE_PULL,
                                 .pull = {.instance = 77,
                                          .number = number,
                                          .name = "branch_office",
                                          .n_resources = resource != NULL,
                                          .resources = resource,
                                          .n_reports = report != NULL,
                                          .reports = report}};
}

static void test_an_agents_resources(void **state)
{
    struct wire_resource own = {.name = "bank_a", .kind = "postgresql", .up = 1}, others = own;
    struct wire_report report = {.kind = REPORT_COMMITTED, .id = nobodys, .branch = 1, .resource = "bank_b"};
    struct wire_message own_pull = pull(1, &own, NULL), others_pull, reporting = pull(3, NULL, &report);

    (void)state;
    others.name = "bank_b";
    others_pull = pull(2, &others, NULL);
    add_key("branch_office", "branch_office", "agent", "bank_a,bank_c");
    assert_true(line_open(&line, "branch_office"));
    assert_false(is_denied(line_ask(&line, &own_pull, PARKED_MS)));
    assert_true(is_denied(line_ask(&line, &others_pull, LINE_MS)));
    assert_non_null(strstr(line.answer.error.text, "bank_b"));
    assert_true(is_denied(line_ask(&line, &reporting, LINE_MS)));
    report.resource = "bank_c";
    reporting = pull(4, NULL, &report);
    assert_false(is_denied(line_ask(&line, &reporting, PARKED_MS)));
    line_close(&line);
}

/* Sessions */

/* Requests on the session: heartbeat, look-up, commit, end. How many are denied, of four. */
static unsigned denied_on(struct line *l, uint64_t session, uint64_t nonce)
{
    const struct txid id = {.group = 1, .session = session, .sequence = 1, .nonce = nonce};
    const struct wire_message asked[] = {
        {.type = WIRE_HEARTBEAT, .heartbeat = {.session = session, .nonce = nonce}},
        {.type = WIRE_OUTCOME, .outcome = {.id = id}},
        {.type = WIRE_DECIDE,
         .decide = {.id = id, .verdict = VERDICT_ABORT, .n_branches = 1, .branches = &branch}},
        {.type = WIRE_CLOSE_SESSION, .heartbeat = {.session = session, .nonce = nonce}},
    };
    unsigned n = 0;

    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        n += is_denied(line_ask(l, &asked[i], LINE_MS));
    return n;
}

static void test_sessions_of_others(void **state)
{
    static struct line stranger, twin;
    const struct wire_message beat = {.type = WIRE_HEARTBEAT, .heartbeat = {.session = 1, .nonce = 31}};
    struct wire_message own = beat;

    (void)state;
    add_key("stranger", "stranger", "client", NULL);
    add_key("client_2", "client", "client", NULL);
    assert_true(line_open(&line, "client"));
    assert_true(line_open(&stranger, "stranger"));
    assert_true(line_open(&twin, "client_2"));
    own.heartbeat.session = open_session(&line, 31);
    assert_int_equal(denied_on(&stranger, own.heartbeat.session, 31), 4);
    /* Nothing of it had an effect. */
    assert_int_equal(line_ask(&line, &own, LINE_MS)->type, WIRE_HEARTBEAT_OK);
    /* Another key of the same name is the same client: its rotation. */
    assert_int_equal(line_ask(&twin, &own, LINE_MS)->type, WIRE_HEARTBEAT_OK);
    assert_int_equal(denied_on(&twin, own.heartbeat.session, 31), 0);
    line_close(&line);
    line_close(&stranger);
    line_close(&twin);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_denials_are_audited),
        cmocka_unit_test(test_refusals_are_audited_once),
        cmocka_unit_test(test_acts_are_audited),
        cmocka_unit_test(test_txadmin_says_what_is_missing),
        cmocka_unit_test(test_an_agents_resources),
        cmocka_unit_test(test_sessions_of_others),
    };

    (void)argc;
    (void)argv;
    return cmocka_run_group_tests(tests, open_group, close_group);
}
