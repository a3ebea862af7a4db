/* test_admin: txadmin against a transaction that is stuck, against one that an operator spoilt, and against
 * resources with something wrong: what it shows, what it does, what it refuses, and its exit codes. */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/lib/kit.h"

static struct kit kit;

/* txadmin's exit codes, as its manual page has them. */
enum { DONE, REFUSED, USAGE, FINDINGS, SILENCE };

static int open_group(void **state)
{
    (void)state;
    kit_open(&kit, "admin", NULL);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* Helpers */

/* txadmin with these arguments ends with this code and says each of words, separated by «|». */
static void assert_admin(const char *const *args, int code, const char *words)
{
    struct world_output o = world_admin(kit.world, args);
    char copy[256], *rest = copy, *word;

    snprintf(copy, sizeof copy, "%s", words);
    if (o.code != code)
        fail_msg("txadmin %s ended with %d: %s%s", args[0], o.code, o.text, o.error);
    while ((word = strsep(&rest, "|")) != NULL) {
        if (strstr(o.text, word) == NULL && strstr(o.error, word) == NULL)
            fail_msg("txadmin %s does not say «%s»: %s%s", args[0], word, o.text, o.error);
    }
    world_output_release(&o);
}

/* Whether its --json output, on one line, has this text. */
static bool json_has(const char *const *args, const char *text)
{
    cJSON *json = world_admin_json(kit.world, args, NULL);
    char *line = cJSON_PrintUnformatted(json);
    bool has = strstr(line, text) != NULL;

    free(line);
    cJSON_Delete(json);
    return has;
}

struct expected {
    const char *const *args;
    const char *text;
};

static bool appears(void *arg)
{
    const struct expected *e = arg;

    return json_has(e->args, e->text);
}

static bool disappears(void *arg)
{
    return !appears(arg);
}

static void await_json(const char *const *args, const char *text)
{
    struct expected e = {args, text};

    if (!world_wait(KIT_SETTLE_MS, appears, &e))
        fail_msg("txadmin %s never has %s", args[0], text);
}

/* A transfer whose client died at the point and whose session lives on; its id. */
static void leave_stuck(const char *env, char id[KIT_ID_SIZE])
{
    static struct kit_account account;
    struct world_process *client = kit_start_patient(&kit, env);

    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), -SIGKILL);
    assert_int_equal(account.n, 1);
    snprintf(id, KIT_ID_SIZE, "%s", account.told[0].id);
}

/* Undecided, both branches prepared, seen by both agents. */
static void leave_in_doubt(char id[KIT_ID_SIZE])
{
    leave_stuck("ASSENT_CRASH=client.all_prepared=kill", id);
    await_json(WORLD_ARGS("transactions", "--in-doubt", "--resource", "bank_a"), id);
    await_json(WORLD_ARGS("transactions", "--in-doubt", "--resource", "bank_b"), id);
}

/* A decision of the operator's is a heuristic outcome, to be forgotten when it has been looked at. */
static void forget(const char *id)
{
    struct expected e = {WORLD_ARGS("transactions"), id};

    await_json(WORLD_ARGS("show", id), "\"state\":\"heuristic\"");
    assert_admin(WORLD_ARGS("forget", id, "--yes"), DONE, "");
    assert_true(world_wait(KIT_SETTLE_MS, disappears, &e));
}

/* Looking */

static void test_looking_at_a_quiet_group(void **state)
{
    (void)state;
    assert_admin(WORLD_ARGS("status"), DONE, "leader|Group|Resources");
    assert_admin(WORLD_ARGS("resources"), DONE, "bank_a|bank_b|agent_a|agent_b");
    assert_admin(WORLD_ARGS("sessions"), DONE, "");
    assert_admin(WORLD_ARGS("transactions"), DONE, "");
    assert_true(json_has(WORLD_ARGS("status"), "\"ok\":true"));
    assert_true(json_has(WORLD_ARGS("resources"), "\"bank_a\""));
    assert_true(json_has(WORLD_ARGS("sessions"), "\"sessions\":["));
    assert_true(json_has(WORLD_ARGS("transactions"), "\"transactions\":["));
    assert_admin(WORLD_ARGS("doctor"), DONE, "bank_a|bank_b");
}

static void test_a_session_is_shown(void **state)
{
    tx_client *client = kit_client(&kit);

    (void)state;
    assert_true(json_has(WORLD_ARGS("sessions"), "\"test\""));
    assert_admin(WORLD_ARGS("sessions"), DONE, "test");
    tx_client_close(client);
}

static void test_usage(void **state)
{
    (void)state;
    assert_admin(WORLD_ARGS("--no-such-option", "status"), USAGE, "no-such-option");
    assert_admin(WORLD_ARGS("dance"), USAGE, "dance");
    assert_admin(WORLD_ARGS("show"), USAGE, "show ID");
    assert_admin(WORLD_ARGS("resolve", "id", "perhaps"), USAGE, "perhaps");
    assert_admin(WORLD_ARGS("show", "no id"), REFUSED, "no id");
    assert_admin(WORLD_ARGS("--coordinators", "tcp://127.0.0.1:1", "--timeout", "300ms", "status"), SILENCE,
                 "127.0.0.1:1");
}

/* A device, say, which would be gone then. */
static void test_a_backup_replaces_files_alone(void **state)
{
    char path[WORLD_PATH_SIZE];
    struct stat st;

    (void)state;
    snprintf(path, sizeof path, "%s/pipe", world_dir(kit.world));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_admin(WORLD_ARGS("backup", path), USAGE, "is not a file");
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
}

/* Whoever reads JSON gets it, however it ends. */
static void test_a_failure_is_json_too(void **state)
{
    int code;
    cJSON *answer = world_admin_json(
        kit.world, WORLD_ARGS("--coordinators", "tcp://127.0.0.1:1", "--timeout", "300ms", "status"), &code);

    (void)state;
    assert_int_equal(code, SILENCE);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(answer, "ok")));
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(answer, "code")) == TX_EUNREACHABLE);
    assert_non_null(strstr(cJSON_GetStringValue(cJSON_GetObjectItem(answer, "error")), "127.0.0.1:1"));
    cJSON_Delete(answer);
    answer = world_admin_json(kit.world, WORLD_ARGS("transactions", "--limit", "5"), &code);
    assert_int_equal(code, DONE);
    cJSON_Delete(answer);
}

/* A transaction in doubt */

static void test_a_stuck_transaction_is_shown(void **state)
{
    PGconn *blocked = kit_connect(&kit, 0);
    char id[KIT_ID_SIZE];

    (void)state;
    leave_in_doubt(id);
    assert_admin(WORLD_ARGS("transactions"), DONE, id);
    assert_admin(WORLD_ARGS("transactions", "--in-doubt"), DONE, id);
    assert_false(json_has(WORLD_ARGS("transactions", "--older", "30min"), id));
    assert_false(json_has(WORLD_ARGS("transactions", "--resource", "bank_z"), id));
    kit_exec(blocked, "SET application_name = 'the blocked one'");
    assert_int_equal(PQsendQuery(blocked, "UPDATE accounts SET balance = balance WHERE id = 1"), 1);
    await_json(WORLD_ARGS("show", id), "the blocked one");
    assert_admin(WORLD_ARGS("show", id), DONE, "in doubt|kit|bank_a|bank_b|accounts|the blocked one");
    assert_admin(WORLD_ARGS("resolve", id, "abort", "--yes"), DONE, "abort");
    PQclear(PQgetResult(blocked));
    PQclear(PQgetResult(blocked));
    kit_assert_usable(blocked);
    PQfinish(blocked);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, id), 0);
    forget(id);
}

static void test_resolve_commit(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    leave_in_doubt(id);
    assert_admin(WORLD_ARGS("resolve", id, "commit", "--yes"), DONE, "commit");
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, id), 2);
    assert_admin(WORLD_ARGS("resolve", id, "abort", "--yes"), REFUSED, "decided");
    forget(id);
}

/* It asks; and where nobody can answer it does nothing. */
static void test_resolve_without_yes(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    leave_in_doubt(id);
    assert_admin(WORLD_ARGS("resolve", id, "abort"), USAGE, "--yes");
    assert_int_equal(world_prepared_count(kit.bank[0]), 1);
    assert_admin(WORLD_ARGS("--json", "resolve", id, "abort", "--yes"), DONE, "\"ok\":\ttrue");
    kit_assert_sound(&kit);
    forget(id);
}

static void test_resolve_refuses_what_is_decided(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    world_process_kill(kit.agent[0]);
    world_process_kill(kit.agent[1]);
    leave_stuck("ASSENT_CRASH=client.decided=kill", id);
    assert_admin(WORLD_ARGS("show", id), DONE, "commit");
    assert_admin(WORLD_ARGS("resolve", id, "abort", "--yes"), REFUSED, "decided");
    assert_admin(WORLD_ARGS("forget", id, "--yes"), REFUSED, "heuristic");
    world_process_start_ready(kit.agent[0], NULL);
    world_process_start_ready(kit.agent[1], NULL);
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, id), 2);
}

static void test_nothing_known(void **state)
{
    tx_client *client = kit_client(&kit);
    struct tx_error e;
    txn *t;

    (void)state;
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    assert_admin(WORLD_ARGS("show", txn_id(t)), REFUSED, "");
    assert_admin(WORLD_ARGS("resolve", txn_id(t), "abort", "--yes"), REFUSED, "");
    assert_admin(WORLD_ARGS("forget", txn_id(t), "--yes"), REFUSED, "");
    txn_free(t);
    tx_client_close(client);
}

/* A heuristic outcome */

/* Somebody rolled a branch back by hand that was decided to commit. */
static void test_a_heuristic_outcome_stays_until_it_is_forgotten(void **state)
{
    char id[KIT_ID_SIZE];
    PGconn *conn;
    PGresult *r;
    char sql[256];

    (void)state;
    world_process_kill(kit.agent[1]);
    leave_stuck("ASSENT_CRASH=client.decided=kill", id);
    conn = kit_connect(&kit, 1);
    r = PQexec(conn, "SELECT gid FROM pg_prepared_xacts");
    assert_int_equal(PQntuples(r), 1);
    snprintf(sql, sizeof sql, "ROLLBACK PREPARED '%s'", PQgetvalue(r, 0, 0));
    PQclear(r);
    kit_exec(conn, sql);
    world_process_start_ready(kit.agent[1], NULL);
    await_json(WORLD_ARGS("show", id), "heuristic rollback");
    assert_admin(WORLD_ARGS("show", id), DONE, "heuristic rollback|bank_b");
    assert_admin(WORLD_ARGS("doctor"), FINDINGS, "heuristic");
    /* It survives the coordinator, too. */
    world_process_kill(kit.coordinator);
    world_process_start_ready(kit.coordinator, NULL);
    assert_admin(WORLD_ARGS("transactions"), DONE, id);
    /* Mended by hand, and then forgotten. */
    kit_move(conn, id, 1);
    PQfinish(conn);
    forget(id);
    kit_assert_sound(&kit);
}

/* Resources */

static void test_doctor_finds_an_orphan(void **state)
{
    static const char gid[] = "assent-00000000000000aa-1-1-00000000000000bb-1";
    PGconn *conn = kit_connect(&kit, 0);
    char sql[128];

    (void)state;
    kit_exec(conn, "BEGIN");
    kit_exec(conn, "UPDATE accounts SET balance = balance WHERE id = 50");
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION '%s'", gid);
    kit_exec(conn, sql);
    assert_admin(WORLD_ARGS("doctor"), DONE, gid);
    assert_true(json_has(WORLD_ARGS("doctor"), gid));
    /* Another group's: nobody here touches it. */
    world_sleep_ms(1500);
    assert_int_equal(world_prepared_count(kit.bank[0]), 1);
    snprintf(sql, sizeof sql, "ROLLBACK PREPARED '%s'", gid);
    kit_exec(conn, sql);
    PQfinish(conn);
}

/* Of this group by its beginning, but of no transaction: nobody finishes it, so somebody has to be told. */
static void test_doctor_finds_a_name_that_is_no_branch(void **state)
{
    cJSON *status = world_admin_json(kit.world, WORLD_ARGS("status"), NULL);
    PGconn *conn = kit_connect(&kit, 0);
    char gid[128], sql[256];

    (void)state;
    snprintf(gid, sizeof gid, "assent-%s-by-hand", cJSON_GetStringValue(cJSON_GetObjectItem(status, "group")));
    cJSON_Delete(status);
    kit_exec(conn, "BEGIN");
    kit_exec(conn, "UPDATE accounts SET balance = balance WHERE id = 51");
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION '%s'", gid);
    kit_exec(conn, sql);
    await_json(WORLD_ARGS("doctor"), gid);
    assert_admin(WORLD_ARGS("doctor"), DONE, "warning|by hand|in-doubt-postgresql.sql");
    /* It is no branch in doubt, and no recovery waits for it. */
    assert_true(json_has(WORLD_ARGS("resources"), "\"recovery\":null"));
    assert_int_equal(world_prepared_count(kit.bank[0]), 1);
    snprintf(sql, sizeof sql, "ROLLBACK PREPARED '%s'", gid);
    kit_exec(conn, sql);
    PQfinish(conn);
}

/* The reason is told as it is now, with what to do, and the agent is back when it has been mended. */
static void test_a_wrong_password(void **state)
{
    (void)state;
    assert_int_equal(world_process_stop(kit.agent[1]), 0);
    world_sql(kit.bank[1], "ALTER ROLE assent_agent PASSWORD 'right'");
    world_server_let_in(kit.bank[1], "host all assent_agent all scram-sha-256");
    world_server_stop(kit.bank[1]);
    world_process_start_ready(kit.agent[1], "PGPASSWORD=wrong");
    await_json(WORLD_ARGS("resources"), "refused"); /* the connection */
    world_server_start(kit.bank[1]);
    await_json(WORLD_ARGS("resources"), "password authentication failed for user");
    assert_admin(WORLD_ARGS("resources"), DONE, "down|password authentication failed");
    assert_admin(WORLD_ARGS("doctor"), FINDINGS, "password authentication failed|passfile|resource test");
    world_process_await(kit.agent[1], "password authentication failed", KIT_SETTLE_MS);
    world_sql(kit.bank[1], "ALTER ROLE assent_agent PASSWORD 'wrong'");
    kit_await_agents(&kit);
    assert_false(json_has(WORLD_ARGS("resources"), "password"));
    world_server_let_in(kit.bank[1], "host all assent_agent all trust");
    assert_int_equal(world_process_stop(kit.agent[1]), 0);
}

/* Without membership in the owner's role a branch cannot be finished, until somebody grants it. */
static void test_a_missing_grant(void **state)
{
    static const char grant[] = "GRANT \\\"app\\\" TO \\\"assent_agent\\\"";
    char id[KIT_ID_SIZE];

    (void)state;
    assert_int_equal(world_process_stop(kit.agent[0]), 0);
    world_sql(kit.bank[0], "REVOKE app FROM assent_agent");
    leave_stuck("ASSENT_CRASH=client.decided=kill", id);
    world_process_start_ready(kit.agent[0], NULL);
    await_json(WORLD_ARGS("show", id), grant);
    assert_admin(WORLD_ARGS("show", id), DONE, "committing|GRANT \"app\" TO \"assent_agent\"");
    assert_admin(WORLD_ARGS("doctor"), FINDINGS, "GRANT app TO assent_agent");
    assert_true(world_process_logged(kit.agent[0], "event=stuck"));
    world_sql(kit.bank[0], "GRANT app TO assent_agent");
    kit_assert_sound(&kit);
    assert_int_equal(kit_receipts(&kit, id), 2);
}

static void test_doctor_finds_what_a_server_lacks(void **state)
{
    struct world_server_options none = {.no_prepared_transactions = true};
    struct world_server *server = world_server_new(kit.world, "bank_0", &none);
    struct world_process *agent = world_agent_new(kit.world, "agent_0", &server, 1, NULL);

    (void)state;
    world_process_start_ready(agent, NULL);
    await_json(WORLD_ARGS("resources"), "\"bank_0\"");
    await_json(WORLD_ARGS("doctor"), "max_prepared_transactions = 0");
    assert_admin(WORLD_ARGS("doctor"), FINDINGS, "bank_0|max_prepared_transactions|restart");
    assert_admin(WORLD_ARGS("--json", "doctor"), FINDINGS, "bank_0");
    assert_admin(WORLD_ARGS("resource", "remove", "bank_0"), REFUSED, "agent_0");
    assert_int_equal(world_process_stop(agent), 0);
}

static void test_doctor_finds_a_server_that_is_down(void **state)
{
    (void)state;
    world_server_stop(kit.bank[1]);
    await_json(WORLD_ARGS("resources"), "\"up\":false");
    assert_admin(WORLD_ARGS("doctor"), FINDINGS, "bank_b");
    world_server_start(kit.bank[1]);
    kit_assert_sound(&kit);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_looking_at_a_quiet_group),
        TEST(test_a_session_is_shown),
        TEST(test_usage),
        TEST(test_a_backup_replaces_files_alone),
        TEST(test_a_failure_is_json_too),
        TEST(test_a_stuck_transaction_is_shown),
        TEST(test_resolve_commit),
        TEST(test_resolve_without_yes),
        TEST(test_resolve_refuses_what_is_decided),
        TEST(test_nothing_known),
        TEST(test_a_heuristic_outcome_stays_until_it_is_forgotten),
        TEST(test_doctor_finds_an_orphan),
        TEST(test_doctor_finds_a_name_that_is_no_branch),
        TEST(test_a_wrong_password),
        TEST(test_a_missing_grant),
        TEST(test_doctor_finds_what_a_server_lacks),
        TEST(test_doctor_finds_a_server_that_is_down),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
