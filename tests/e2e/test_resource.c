/* test_resource: the registry of resources: declared, altered while transactions run, removed; and tried out by
 * their agent, with each thing that can be wrong. One agent serves both banks as the registry defines them.
 */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;

/* txadmin's exit codes, as its manual page has them. */
enum { DONE, REFUSED, USAGE, FINDINGS, SILENCE };

static const char *const serve[] = {"--serve", "bank_a,bank_b", "--scan_interval", "500ms", NULL};

/* Helpers */

/* What the registry is to hold of a bank. */
static const char *settings_of(int bank, char out[WORLD_PATH_SIZE])
{
    return world_server_conninfo(kit.bank[bank], "assent_agent", out);
}

static void assert_done(const char *const *args)
{
    kit_assert_admin(&kit, args, DONE, "");
}

static void alter(int bank, const char *more)
{
    char conninfo[WORLD_PATH_SIZE], settings[2 * WORLD_PATH_SIZE];

    snprintf(settings, sizeof settings, "%s %s", settings_of(bank, conninfo), more);
    assert_done(WORLD_ARGS("resource", "alter", world_server_name(kit.bank[bank]), settings));
}

static void add(int bank)
{
    char settings[WORLD_PATH_SIZE];

    assert_done(WORLD_ARGS("resource", "add", world_server_name(kit.bank[bank]), "postgresql",
                           settings_of(bank, settings)));
}

static bool is_removed(void *arg)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("resource", "remove", arg));
    bool done = o.code == DONE;

    world_output_release(&o);
    return done;
}

/* The agent may have told of branches that are finished since. */
static void remove_quiet(char *name)
{
    assert_true(world_wait_nothing_prepared(kit.world, KIT_SETTLE_MS));
    assert_true(world_wait(KIT_SETTLE_MS, is_removed, name));
}

struct expected {
    const char *const *args;
    const char *text;
};

static bool is_said(void *arg)
{
    const struct expected *e = arg;
    cJSON *json = world_admin_json(kit.world, e->args, NULL);
    char *line = cJSON_PrintUnformatted(json);
    bool has = strstr(line, e->text) != NULL;

    free(line);
    cJSON_Delete(json);
    return has;
}

static void await_json(const char *const *args, const char *text)
{
    struct expected e = {args, text};

    if (!world_wait(KIT_SETTLE_MS, is_said, &e))
        fail_msg("txadmin %s never has %s", args[0], text);
}

static void await_list(const char *text)
{
    await_json(WORLD_ARGS("resource", "list"), text);
}

static void assert_unsaid(const char *text)
{
    struct expected e = {WORLD_ARGS("resource", "list"), text};

    assert_false(is_said(&e));
}

static bool is_known_to_bank_b(void *arg)
{
    return world_sql_number(kit.bank[1], "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'",
                            (const char *)arg) > 0;
}

static bool is_unknown_to_bank_b(void *arg)
{
    return !is_known_to_bank_b(arg);
}

static int open_group(void **state)
{
    static const struct kit_options options = {.no_agents = true};

    (void)state;
    kit_open(&kit, "resource", &options);
    kit.agent[0] = world_agent_new(kit.world, "agent", NULL, 0, serve);
    world_process_start_ready(kit.agent[0], NULL);
    await_list("not in the registry: txadmin resource add bank_a");
    kit_assert_admin(&kit, WORLD_ARGS("doctor"), FINDINGS, "nobody has declared it");
    add(0);
    add(1);
    kit_await_agents(&kit);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* The registry */

static void test_what_add_refuses(void **state)
{
    (void)state;
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_a", "postgresql", "host=x"), REFUSED,
                     "txadmin resource alter bank_a");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank a", "postgresql"), REFUSED, "no name");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_x", "postgresql", "host=x password = hunter2"),
                     REFUSED, "passfile=");
    kit_assert_admin(&kit,
                     WORLD_ARGS("resource", "add", "bank_x", "postgresql", "postgresql://a:hunter2@x/bank"),
                     REFUSED, "txagentd(8)");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "alter", "bank_x", "host=x"), REFUSED, "no resource bank_x");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_x"), USAGE, "add NAME KIND");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_x", "postgresql", "host=x", "port=1"), USAGE,
                     "usage");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_y", "postgresql", "passfile=/etc/assent/pgpass"),
                     DONE, "added");
    assert_done(WORLD_ARGS("resource", "remove", "bank_y"));
    assert_true(world_process_logged(kit.coordinator, "event=audit name=operator ") &&
                world_process_logged(kit.coordinator, "act=add_resource what=bank_y "));
    assert_false(world_process_logged(kit.coordinator, "hunter2"));
    assert_unsaid("bank_x");
}

/* Nobody but agents knows the kinds, so a word is said, and no more. */
static void test_kinds_that_nobody_serves(void **state)
{
    (void)state;
    kit_await_agents(&kit);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "bank_z", "postgres", "host=x"), DONE,
                     "of kind «postgres» (kinds that are served: postgresql)");
    assert_done(WORLD_ARGS("resource", "remove", "bank_z"));
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "shop", "service", "host=x"), REFUSED, "no settings");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "shop", "service"), DONE, "participant of this name");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "alter", "shop", "host=x"), REFUSED, "serves itself");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "shop"), REFUSED, "start the service itself");
    assert_done(WORLD_ARGS("resource", "remove", "shop"));
}

static void test_definitions_outlive_a_restart(void **state)
{
    (void)state;
    kit_assert_admin(&kit, WORLD_ARGS("resource", "list"), DONE, "operator");
    assert_int_equal(world_process_stop(kit.coordinator), 0);
    world_process_start_ready(kit.coordinator, NULL);
    kit_await_agents(&kit);
    await_list("dbname=bank user=assent_agent");
    assert_int_equal(world_process_stop(kit.agent[0]), 0);
    world_process_start_ready(kit.agent[0], NULL);
    kit_await_agents(&kit);
}

static void test_altered_while_transactions_run(void **state)
{
    (void)state;
    kit_load_begin(&kit, KIT_MIXED);
    for (int i = 0; i < 6; i++) {
        char name[32], more[64];

        snprintf(name, sizeof name, "altered_%d", i);
        snprintf(more, sizeof more, "application_name=%s", name);
        alter(1, more);
        assert_true(world_wait(KIT_SETTLE_MS, is_known_to_bank_b, name));
        kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    }
    kit_load_end_mixed(&kit);
    alter(1, "");
    assert_true(world_wait(KIT_SETTLE_MS, is_unknown_to_bank_b, "altered_5"));
}

/* A branch that is prepared when its resource is opened anew is finished by the new connections. */
static void test_altered_with_a_branch_prepared(void **state)
{
    static struct kit_account account;
    struct world_process *client;

    (void)state;
    account.n = 0;
    client = kit_start_patient(&kit, "ASSENT_CRASH=client.all_prepared=kill");
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), -SIGKILL);
    await_json(WORLD_ARGS("transactions", "--in-doubt", "--resource", "bank_b"), account.told[0].id);
    alter(1, "application_name=altered");
    assert_true(world_wait(KIT_SETTLE_MS, is_known_to_bank_b, "altered"));
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "remove", "bank_b"), REFUSED, "that is not finished");
    assert_done(WORLD_ARGS("resolve", account.told[0].id, "commit", "--yes"));
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, account.told[0].id), 2);
    await_json(WORLD_ARGS("show", account.told[0].id), "\"state\":\"heuristic\"");
    assert_done(WORLD_ARGS("forget", account.told[0].id, "--yes"));
}

static void test_unusable_settings_change_nothing(void **state)
{
    (void)state;
    assert_done(WORLD_ARGS("resource", "alter", "bank_b", "nonsense"));
    await_list("it stays as it was before");
    kit_load_begin(&kit, KIT_REMOTE);
    kit_load_end(&kit);
    alter(1, "");
    kit_await_agents(&kit);
}

static void test_an_unknown_kind(void **state)
{
    struct world_process *agent =
        world_agent_new(kit.world, "agent_odd", NULL, 0, WORLD_ARGS("--serve", "odd"));

    (void)state;
    assert_done(WORLD_ARGS("resource", "add", "odd", "oracle", "sid=x"));
    world_process_start_ready(agent, NULL);
    await_list("this agent knows no kind oracle; it knows postgresql");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "odd"), FINDINGS, "no kind oracle");
    assert_done(WORLD_ARGS("resource", "remove", "odd"));
    world_process_await(agent, "not in the registry", KIT_SETTLE_MS);
    assert_int_equal(world_process_stop(agent), 0);
}

/* Its own configuration says another kind than the registry. */
static void test_kinds_that_disagree(void **state)
{
    struct world_process *agent = world_agent_new(kit.world, "agent_local", &kit.bank[0], 1, NULL);

    (void)state;
    remove_quiet((char[]){"bank_a"});
    assert_done(WORLD_ARGS("resource", "add", "bank_a", "oracle"));
    world_process_start_ready(agent, NULL);
    world_process_await(agent, "the registry has it as oracle", KIT_SETTLE_MS);
    world_process_await(kit.agent[0], "this agent knows no kind oracle", KIT_SETTLE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "remove", "bank_a"), REFUSED, "--resource.bank_a");
    assert_int_equal(world_process_stop(agent), 0);
    world_process_kill(kit.coordinator); /* it knows of this agent no more */
    world_process_start_ready(kit.coordinator, NULL);
    await_list("no kind oracle");
    remove_quiet((char[]){"bank_a"});
    add(0);
    kit_await_agents(&kit);
}

/* What names it is rolled back and told why; the agent closes it, and opens it when it is there again. */
static void test_removed_while_transactions_run(void **state)
{
    static struct kit_account account;
    struct world_process *client;

    (void)state;
    remove_quiet((char[]){"bank_b"});
    world_process_await(kit.agent[0], "name=bank_b state=closed", KIT_SETTLE_MS);
    account.n = 0;
    client = kit_start_transfers(&kit, KIT_DIRECT, 1, NULL);
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, 1);
    assert_int_equal(account.told[0].rc, TX_EROLLBACK);
    assert_true(world_process_logged(client, "no resource bank_b: txadmin resource add bank_b"));
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, account.told[0].id), 0);
    add(1);
    kit_await_agents(&kit);
    kit_load_begin(&kit, KIT_REMOTE);
    kit_load_end(&kit);
}

/* Trying out */

static void assert_test(int code, const char *part)
{
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "bank_b"), code, part);
    assert_int_equal(world_prepared_count(kit.bank[1]), 0);
}

static void test_a_resource_that_is_well(void **state)
{
    (void)state;
    assert_test(DONE, "prepare and roll back");
    kit_assert_admin(&kit, WORLD_ARGS("--json", "resource", "test", "bank_b"), DONE, "\"failed\":");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "nobodys"), REFUSED, "txadmin resource add");
    assert_int_equal(world_process_stop(kit.agent[0]), 0);
    world_process_kill(kit.coordinator);
    world_process_start_ready(kit.coordinator, NULL);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "bank_b"), REFUSED,
                     "no living agent serves resource bank_b");
}

static void test_a_server_that_is_down(void **state)
{
    (void)state;
    world_server_stop(kit.bank[1]);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "bank_b"), FINDINGS, "start the server");
    world_server_start(kit.bank[1]);
    kit_await_agents(&kit);
    assert_test(DONE, "ok");
}

static bool test_names_the_password(void *arg)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("resource", "test", "bank_b"));
    bool named = o.code == FINDINGS && strstr(o.text, "passfile") != NULL;

    (void)arg;
    world_output_release(&o);
    return named;
}

static void test_a_wrong_password(void **state)
{
    (void)state;
    world_sql(kit.bank[1], "ALTER ROLE assent_agent PASSWORD 'right'");
    world_server_let_in(kit.bank[1], "host all assent_agent all scram-sha-256");
    assert_true(world_wait(KIT_SETTLE_MS, test_names_the_password, NULL));
    world_server_let_in(kit.bank[1], "host all assent_agent all trust");
    kit_await_agents(&kit);
}

static void test_missing_grants(void **state)
{
    (void)state;
    world_sql(kit.bank[1], "REVOKE app FROM assent_agent");
    assert_test(FINDINGS, "GRANT the applications' roles TO assent_agent");
    world_sql(kit.bank[1], "GRANT app TO assent_agent");
    world_sql(kit.bank[1], "REVOKE EXECUTE ON FUNCTION assent.timeline_history() FROM assent_agent");
    assert_test(FINDINGS, "sql/setup-postgresql.sql");
    world_sql(kit.bank[1], "GRANT EXECUTE ON FUNCTION assent.timeline_history() TO assent_agent");
    assert_test(DONE, "ok");
}

static void test_no_prepared_transactions(void **state)
{
    struct world_server_options none = {.no_prepared_transactions = true};
    struct world_server *server = world_server_new(kit.world, "bank_0", &none);
    struct world_process *agent = world_agent_new(kit.world, "agent_0", &server, 1, NULL);

    (void)state;
    world_process_start_ready(agent, NULL);
    await_list("bank_0");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", "bank_0"), FINDINGS,
                     "max_prepared_transactions = 200");
    assert_int_equal(world_process_stop(agent), 0);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_add_refuses),
        TEST(test_kinds_that_nobody_serves),
        TEST(test_definitions_outlive_a_restart),
        TEST(test_altered_while_transactions_run),
        TEST(test_altered_with_a_branch_prepared),
        TEST(test_unusable_settings_change_nothing),
        TEST(test_an_unknown_kind),
        TEST(test_kinds_that_disagree),
        TEST(test_removed_while_transactions_run),
        TEST(test_a_resource_that_is_well),
        TEST(test_a_server_that_is_down),
        TEST(test_a_wrong_password),
        TEST(test_missing_grants),
        TEST(test_no_prepared_transactions),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
