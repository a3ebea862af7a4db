/* test_recovery: ten thousand branches in doubt when an agent starts. Each ends as it has to, in memory that
 * does not grow with them, in a time that the server sets; and the operator sees how far it is. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/doubts.h"
#include "tests/lib/kit.h"

enum {
    COMMITS = 5000,
    ABORTS = 5000,
    MANY = COMMITS + ABORTS,
    LOG_LINES = 100,     /* far less than there are branches */
    PEAK_KIB = 64 << 10, /* of a daemon: a kilobyte or two for each branch, and what it takes without them */
};

static struct world *world;
static struct world_server *bank;
static struct world_process *coordinator, *agent;

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

/* The agent's first start registers the resource. */
static int open_group(void **state)
{
    struct world_options options = {.name = "recovery", .no_fsync = true, .fail = fail_test};
    struct world_server_options server = {.max_prepared_transactions = MANY + 100};

    (void)state;
    world = world_new(&options);
    coordinator = world_coordinator_new(world, "coordinator", NULL);
    world_process_start_ready(coordinator, NULL);
    bank = world_server_new(world, "bank", &server);
    agent = world_agent_new(world, "agent", &bank, 1, NULL);
    return 0;
}

static cJSON *the_resource(cJSON *answer)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "resources"), 0);
}

static bool resource_is_up(void *arg)
{
    (void)arg;
    return world_resources_up(world, NULL) > 0;
}

/* Agents run between the tests, and are stopped where branches in doubt are to be made. */
static int set_up(void **state)
{
    (void)state;
    if (!world_process_running(coordinator))
        world_process_start_ready(coordinator, NULL);
    world_process_start_ready(agent, NULL);
    assert_true(world_wait(KIT_SETTLE_MS, resource_is_up, NULL));
    assert_int_equal(world_process_stop(agent), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (world_process_running(agent))
        assert_int_equal(world_process_stop(agent), 0);
    return 0;
}

/* What the operator sees of a recovery under way. */
struct seen {
    const struct doubts *doubts;
    bool in_json, in_tables;
};

static void look(struct seen *s)
{
    cJSON *answer = world_admin_json(world, WORLD_ARGS("resources"), NULL);
    cJSON *v = cJSON_GetObjectItem(the_resource(answer), "recovery");
    struct world_output o;

    if (cJSON_IsObject(v)) {
        double found = cJSON_GetNumberValue(cJSON_GetObjectItem(v, "found"));

        s->in_json = true;
        assert_in_range((long)found, MANY - 100, MANY); /* some may be resolved before the first look */
        assert_true(found == cJSON_GetNumberValue(cJSON_GetObjectItem(v, "resolved")) +
                                 cJSON_GetNumberValue(cJSON_GetObjectItem(v, "remaining")));
        assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(v, "rate")) >= 0);
    }
    cJSON_Delete(answer);
    if (!s->in_json)
        return;
    o = world_admin(world, WORLD_ARGS("status"));
    s->in_tables = s->in_tables || strstr(o.text, "resolved, ") != NULL;
    world_output_release(&o);
}

static bool is_over(void *arg)
{
    struct seen *s = arg;

    if (!s->in_tables)
        look(s);
    return doubts_are_resolved(bank, s->doubts);
}

static cJSON *transactions_of(cJSON *answer)
{
    return cJSON_GetObjectItem(answer, "transactions");
}

static unsigned long sequence_of(const cJSON *transaction)
{
    unsigned long sequence = 0;

    assert_int_equal(
        sscanf(cJSON_GetStringValue(cJSON_GetObjectItem(transaction, "id")), "%*[^-]-%*[^-]-%lu-", &sequence),
        1);
    return sequence;
}

/* All that are decided are listed, in their order, though no single message holds them. */
static void assert_all_listed(void)
{
    cJSON *answer = world_admin_json(world, WORLD_ARGS("transactions"), NULL), *t;
    struct world_output o = world_admin(world, WORLD_ARGS("transactions"));
    unsigned long next = 1;
    size_t lines = 0;

    cJSON_ArrayForEach(t, transactions_of(answer))
    {
        assert_int_equal(sequence_of(t), next++);
    }
    assert_int_equal(next, COMMITS + 1);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(answer, "truncated")));
    for (const char *at = o.text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, COMMITS + 1); /* and the headings */
    world_output_release(&o);
    cJSON_Delete(answer);
    answer = world_admin_json(world, WORLD_ARGS("transactions", "--limit", "1500"), NULL);
    assert_int_equal(cJSON_GetArraySize(transactions_of(answer)), 1500);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(answer, "truncated")));
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(answer, "total")) == COMMITS);
    cJSON_Delete(answer);
}

static void test_ten_thousand_branches(void **state)
{
    const struct doubts d = {.commits = COMMITS, .aborts = ABORTS};
    struct seen seen = {.doubts = &d};

    (void)state;
    doubts_make(world, bank, &d);
    assert_int_equal(world_prepared_count(bank), MANY);
    assert_all_listed();
    world_process_start_ready(agent, NULL);
    assert_true(world_wait(2 * KIT_SETTLE_MS, is_over, &seen));
    assert_true(seen.in_json);
    assert_true(seen.in_tables);
    world_process_await(agent, "remaining=0", KIT_SETTLE_MS);
    assert_true(world_process_logged(agent, "event=recovery resource=bank state=begins"));
    assert_true(world_process_logged(agent, "event=recovery resource=bank state=ends"));
    assert_in_range(world_process_log_lines(agent), 1, LOG_LINES);
    print_message("# peak memory: agent %ld KiB, coordinator %ld KiB\n", world_process_peak_kib(agent),
                  world_process_peak_kib(coordinator));
#ifndef __SANITIZE_ADDRESS__
    assert_in_range(world_process_peak_kib(agent), 1, PEAK_KIB);
    assert_in_range(world_process_peak_kib(coordinator), 1, PEAK_KIB);
#endif
}

/* Whose branches these are is found out once, not for each: a look at what is prepared costs more the more is.
 */
static void test_the_owner_is_found_out_once(void **state)
{
    const struct doubts d = {.commits = 600};
    struct seen seen = {.doubts = &d, .in_tables = true};
    long long failed;

    (void)state;
    doubts_make(world, bank, &d);
    failed = world_sql_number(bank, "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'bank'");
    world_process_start_ready(agent, NULL);
    assert_true(world_wait(KIT_SETTLE_MS, is_over, &seen));
    assert_int_equal(world_process_stop(agent),
                     0); /* its connections tell the server's statistics at their end */
    world_sleep_ms(1000);
    failed =
        world_sql_number(bank, "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'bank'") - failed;
    assert_in_range(failed, 0,
                    200); /* refused as the agent's own role: at most once a connection and round trip */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ten_thousand_branches),
        TEST(test_the_owner_is_found_out_once),
    };
    bool failed;

    kit_main(argc, argv);
    failed = cmocka_run_group_tests(tests, open_group, NULL) != 0;
    return world_free(world, failed) && !failed ? 0 : 1;
}
