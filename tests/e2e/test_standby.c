/* test_standby: a database whose place another server takes: a standby that lacks the newest log, one that
 * lacks none, another cluster altogether. What is lost is reported as a hazard, and never as success.
 *
 * Each test has a world of its own, for a failover happens once to a server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "libtx/shared/pg_proof.h"
#include "tests/lib/kit.h"

enum { XIDS_TO_BURN = 200 };

static struct kit kit;
static struct world_server *standby;

static int set_up(void **state)
{
    (void)state;
    standby = NULL; /* the last test's has been freed, and this one's servers may stand at its address */
    kit_open(&kit, "standby", NULL);
    kit_await_agents(&kit);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return kit_close(&kit, 0);
}

/* The id of the last of so many transactions that the client begins. */
static void hear_last(struct world_process *client, size_t n, char id[KIT_ID_SIZE])
{
    static struct kit_account account;

    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    world_process_wait(client, KIT_SETTLE_MS);
    assert_int_equal(account.n, n);
    snprintf(id, KIT_ID_SIZE, "%s", account.told[n - 1].id);
}

/* Both branches are prepared and decided to commit; the client has died at this point of it, and the agent of
 * bank_b is down. */
static void leave_decided(const char *crash, char id[KIT_ID_SIZE])
{
    world_process_kill(kit.agent[1]);
    hear_last(kit_start_patient(&kit, crash), 1, id);
}

/* The client's second transaction on its connections; the client may have expired since. */
static void leave_second_decided(char id[KIT_ID_SIZE])
{
    world_process_kill(kit.agent[1]);
    hear_last(kit_start_transfers(&kit, KIT_DIRECT, 2, "ASSENT_CRASH=client.decided:2=kill"), 2, id);
}

/* bank_b is gone for good, and this server answers in its place. */
static void fail_over(struct world_server *heir)
{
    world_server_kill(kit.bank[1]);
    if (heir == standby)
        world_standby_promote(heir);
    world_server_take_over(heir, kit.bank[1]);
    kit.bank[1] = heir;
}

struct shown {
    const char *id, *state;
    char *json; /* of txadmin show, the last one */
};

static bool shows_state(void *arg)
{
    struct shown *s = arg;
    cJSON *answer = world_admin_json(kit.world, WORLD_ARGS("show", s->id), NULL);
    char state[64];

    free(s->json);
    s->json = cJSON_PrintUnformatted(answer);
    cJSON_Delete(answer);
    snprintf(state, sizeof state, "\"state\":\"%s\"", s->state);
    return strstr(s->json, state) != NULL;
}

static bool bank_a_has_it(void *arg)
{
    struct shown *s = arg;

    return world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts WHERE name = '%s'", s->id) == 1;
}

/* txadmin show tells why, of bank_b; bank_a's branch is committed. */
static void assert_hazard(const char *id, const char *const *words)
{
    struct shown s = {id, "heuristic", NULL};
    struct world_output o;

    if (!world_wait(KIT_SETTLE_MS, shows_state, &s))
        fail_msg("no hazard is shown: %s", s.json);
    if (strstr(s.json, "\"heuristic hazard\"") == NULL || strstr(s.json, "heuristic rollback") != NULL)
        fail_msg("not a hazard: %s", s.json);
    for (; *words != NULL; words++) {
        if (strstr(s.json, *words) == NULL)
            fail_msg("it does not say «%s»: %s", *words, s.json);
    }
    free(s.json);
    assert_true(world_wait(KIT_SETTLE_MS, bank_a_has_it, &s));
    o = world_admin(kit.world, WORLD_ARGS("doctor"));
    assert_int_not_equal(o.code, 0);
    assert_non_null(strstr(o.text, "heuristic"));
    world_output_release(&o);
}

/* And it stays until somebody has looked. */
static void forget(const char *id)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("forget", id, "--yes"));

    if (o.code != 0)
        fail_msg("forget: %s", o.error);
    world_output_release(&o);
}

static void start_agent_b(void)
{
    world_process_start_ready(kit.agent[1], NULL);
}

static long long branch_xid(void)
{
    return world_sql_number(kit.bank[1], "SELECT transaction::text::bigint FROM pg_prepared_xacts");
}

/* The standby has not got the branch. Returns the branch's xid. */
static long long lose_the_branch(char id[KIT_ID_SIZE])
{
    long long xid;

    standby = world_standby_new(kit.world, "standby", kit.bank[1], false);
    world_standby_cut(standby);
    leave_decided("ASSENT_CRASH=client.decided=kill", id);
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    xid = branch_xid();
    fail_over(standby);
    assert_int_equal(world_prepared_count(kit.bank[1]), 0);
    return xid;
}

static void test_a_branch_that_the_standby_lacks_is_a_hazard(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    (void)lose_the_branch(id);
    start_agent_b();
    assert_hazard(id, WORLD_ARGS("lost in a failover", "on timeline 1", "for timeline 2", "bank_b"));
    forget(id);
}

/* pg_xact_status() says «committed» of the branch's xid, which another transaction has now. */
static void give_out_again(long long xid)
{
    long long given = 0;

    for (int i = 0; i < XIDS_TO_BURN && given < xid; i++)
        given = world_sql_number(
            kit.bank[1], "INSERT INTO checked VALUES (%d) RETURNING pg_current_xact_id()::text::bigint", i);
    assert_int_equal(given, xid);
    assert_int_equal(
        world_sql_number(kit.bank[1], "SELECT (pg_xact_status('%lld'::xid8) = 'committed')::int", xid), 1);
}

static void test_an_xid_given_out_again_is_no_proof(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    give_out_again(lose_the_branch(id));
    world_sql(kit.bank[1], "SELECT pg_switch_wal()"); /* its log is longer than at the vote again */
    start_agent_b();
    assert_hazard(id, WORLD_ARGS("lost in a failover"));
    forget(id);
}

/* Without a look at the history nothing is proved, and the operator is told how to allow it. */
static void test_without_the_history_it_is_a_hazard(void **state)
{
    struct world_output o;
    char id[KIT_ID_SIZE];

    (void)state;
    (void)lose_the_branch(id);
    world_sql(kit.bank[1], "DROP SCHEMA assent CASCADE");
    start_agent_b();
    assert_hazard(id, WORLD_ARGS("from timeline 1 to 2", "setup-postgresql.sql"));
    o = world_admin(kit.world, WORLD_ARGS("doctor"));
    if (strstr(o.text, "the history of timelines cannot be read") == NULL)
        fail_msg("doctor does not say it: %s", o.text);
    world_output_release(&o);
}

static void test_another_cluster_under_the_name_is_a_hazard(void **state)
{
    struct world_server *other = world_server_new(kit.world, "other", NULL);
    char id[KIT_ID_SIZE];

    (void)state;
    leave_second_decided(id);
    fail_over(other);
    start_agent_b();
    assert_hazard(id, WORLD_ARGS("another database answers under this name", "system identifier"));
    forget(id);
}

/* The data directory is put back as it was before the vote. */
static void test_an_older_copy_of_the_server_is_a_hazard(void **state)
{
    struct world_server *copy = world_server_copy(kit.world, "copy", kit.bank[1]);
    char id[KIT_ID_SIZE];
    long long xid;

    (void)state;
    world_sql(kit.bank[1], "SELECT pg_switch_wal()");
    leave_decided("ASSENT_CRASH=client.decided=kill", id);
    xid = branch_xid();
    fail_over(copy);
    give_out_again(xid);
    start_agent_b();
    assert_hazard(id, WORLD_ARGS("put back to a state before the vote"));
    forget(id);
}

/* Nothing is lost */

/* Committed in both, and nobody has anything to look after. */
static void assert_committed(const char *id)
{
    struct shown s = {id, "finished", NULL};

    if (!world_wait(KIT_SETTLE_MS, shows_state, &s))
        fail_msg("not finished: %s", s.json);
    free(s.json);
    assert_int_equal(kit_receipts(&kit, id), 2);
    assert_int_equal(world_prepared_count(kit.bank[1]), 0);
}

static bool is_synchronous(void *arg)
{
    return world_sql_number(arg, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1;
}

/* The standby acknowledges before PREPARE TRANSACTION answers. */
static void test_a_synchronous_standby_loses_nothing(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    standby = world_standby_new(kit.world, "standby", kit.bank[1], false);
    world_sql(kit.bank[1], "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    world_sql(kit.bank[1], "SELECT pg_reload_conf()");
    assert_true(world_wait(KIT_SETTLE_MS, is_synchronous, kit.bank[1]));
    leave_decided("ASSENT_CRASH=client.decided=kill", id);
    fail_over(standby);
    assert_int_equal(world_prepared_count(kit.bank[1]), 1);
    start_agent_b();
    assert_committed(id);
}

/* The branch was committed before the failover, and the standby knows; only nobody told the coordinator. */
static void test_a_commit_that_came_through_is_no_hazard(void **state)
{
    char id[KIT_ID_SIZE];

    (void)state;
    standby = world_standby_new(kit.world, "standby", kit.bank[1], false);
    leave_decided("ASSENT_CRASH=client.all_committed=kill", id);
    assert_int_equal(world_prepared_count(kit.bank[1]), 0);
    world_standby_await(standby, kit.bank[1]);
    fail_over(standby);
    start_agent_b();
    assert_committed(id);
}

/* One phase */

static void read_text(struct world_server *s, const char *sql, char out[PG_INCARNATION_SIZE])
{
    PGconn *conn = world_server_connect(s, "app");
    PGresult *r = PQexec(conn, sql);

    assert_int_equal(PQntuples(r), 1);
    snprintf(out, PG_INCARNATION_SIZE, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    PQfinish(conn);
}

/* A copy of the data directory has the statistics of the server that it was taken from, to the moment at which
 * they began; its failover is seen by the timeline. */
static void test_a_promoted_copy_is_another_incarnation(void **state)
{
    static const char epoch[] = "SELECT pg_stat_get_bgwriter_stat_reset_time()";
    char before[PG_INCARNATION_SIZE], after[PG_INCARNATION_SIZE];

    (void)state;
    if (world_sql_number(kit.bank[1], "SHOW server_version_num") < 150000)
        skip();
    standby = world_standby_new(kit.world, "standby", kit.bank[1], true);
    read_text(kit.bank[1], epoch, before);
    read_text(standby, epoch, after);
    assert_string_equal(before, after);
    read_text(kit.bank[1], "SELECT " PG_INCARNATION, before);
    world_server_kill(kit.bank[1]);
    world_standby_promote(standby);
    read_text(standby, "SELECT " PG_INCARNATION, after);
    assert_string_not_equal(before, after);
    assert_true(strlen(after) + 1 < PG_INCARNATION_SIZE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_branch_that_the_standby_lacks_is_a_hazard),
        TEST(test_an_xid_given_out_again_is_no_proof),
        TEST(test_without_the_history_it_is_a_hazard),
        TEST(test_another_cluster_under_the_name_is_a_hazard),
        TEST(test_an_older_copy_of_the_server_is_a_hazard),
        TEST(test_a_synchronous_standby_loses_nothing),
        TEST(test_a_commit_that_came_through_is_no_hazard),
        TEST(test_a_promoted_copy_is_another_incarnation),
    };

    kit_main(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
