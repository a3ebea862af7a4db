/* test_rm_pg: the agent's PostgreSQL resource manager by itself, against a real server: what becomes of a
 * branch whose statement ends the transaction although its text did not look so. No such text is known, so here
 * the text is not looked at.
 */
#include "participant/rm_pg.h"

enum pg_statement rm_pg_statement_read(const char *sql);
#define rm_pg_statement rm_pg_statement_read
#include "participant/rm_pg_statement.c"
#undef rm_pg_statement

#include "tests/lib/kit.h"

enum { TURNS_MS = 30000 };

static struct world *world;
static struct world_server *bank;
static uv_loop_t loop;
static struct rm *rm;
static struct {
    bool told, rows_came, came, lost, closed;
    int code;
} seen;

enum pg_statement rm_pg_statement(const char *sql)
{
    enum pg_statement s = rm_pg_statement_read(sql);

    return s == PG_STATEMENT_ENDS ? PG_STATEMENT_PLAIN : s;
}

static void turn_until(const bool *flag)
{
    uint64_t end = world_now_ms() + TURNS_MS;

    while (!*flag && world_now_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(*flag);
}

static void status(void *arg, bool up, const char *error)
{
    (void)arg;
    (void)error;
    seen.told = up;
}

static void executed(void *arg, const struct wire_rows *rows, bool lost)
{
    (void)arg;
    seen.rows_came = true;
    seen.code = rows->code;
    seen.lost = lost;
}

static void answered(void *arg, const struct rm_answer *a)
{
    (void)arg;
    assert_int_equal(a->outcome, RM_DONE);
    seen.came = true;
}

static void closed(void *arg)
{
    (void)arg;
    seen.closed = true;
}

static void work_lost(void *arg, const char *why)
{
    (void)arg;
    (void)why;
    seen.lost = true;
}

static struct rm_work *begin(const char *sql)
{
    struct rm_statement first = {"INSERT INTO receipts VALUES ('first')", 0, NULL}, s = {sql, 0, NULL};
    struct rm_work *w = rm_pg_work_begin(rm, "", work_lost, NULL);

    seen.rows_came = false;
    assert_int_equal(rm_pg_work_exec(w, &first, executed, NULL, NULL), TX_OK);
    turn_until(&seen.rows_came);
    assert_int_equal(seen.code, TX_OK);
    seen.rows_came = false;
    assert_int_equal(rm_pg_work_exec(w, &s, executed, NULL, NULL), TX_OK);
    return w;
}

static void test_an_end_is_never_a_success(void **state)
{
    static const char *const sql[] = {"COMMIT", "COMMIT AND CHAIN",         "ROLLBACK AND CHAIN", "BEGIN",
                                      "END",    "PREPARE TRANSACTION 'foo'"};

    (void)state;
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        struct rm_work *w = begin(sql[i]);

        turn_until(&seen.rows_came);
        if (seen.code != TX_EHEURISTIC || !seen.lost)
            fail_msg("%s: %d", sql[i], seen.code);
        rm_pg_work_end(w);
    }
    world_sql(bank, "ROLLBACK PREPARED 'foo'");
}

/* The answer comes while the branch is being abandoned. */
static void test_an_end_meets_a_rollback(void **state)
{
    struct rm_work *w = begin("COMMIT");

    (void)state;
    seen.came = false;
    rm_pg_work_abandon(w, answered, NULL);
    turn_until(&seen.came);
    assert_true(seen.rows_came);
    assert_int_not_equal(seen.code, TX_OK);
    rm_pg_work_end(w);
}

static void test_savepoints_go_on(void **state)
{
    struct rm_statement back = {"ROLLBACK TO s", 0, NULL};
    struct rm_work *w = begin("SAVEPOINT s");

    (void)state;
    turn_until(&seen.rows_came);
    assert_int_equal(seen.code, TX_OK);
    seen.rows_came = seen.came = false;
    assert_int_equal(rm_pg_work_exec(w, &back, executed, NULL, NULL), TX_OK);
    turn_until(&seen.rows_came);
    assert_int_equal(seen.code, TX_OK);
    rm_pg_work_abandon(w, answered, NULL);
    turn_until(&seen.came);
    rm_pg_work_end(w);
}

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static int open_group(void **state)
{
    struct world_options options = {.name = "rm-pg", .fail = fail_test};
    char conninfo[WORLD_PATH_SIZE];
    struct rm_options rm_options = {.loop = &loop, .name = "bank", .connections = 4, .status = status};
    struct tx_error e;

    (void)state;
    world = world_new(&options);
    bank = world_server_new(world, "bank", NULL);
    world_sql(bank, "CREATE TABLE receipts (name text); GRANT INSERT ON receipts TO assent_agent");
    uv_loop_init(&loop);
    rm_options.settings = world_server_conninfo(bank, "assent_agent", conninfo);
    if (rm_find("postgresql")->open(&rm, &rm_options, &e) != TX_OK)
        fail_msg("open: %s", e.msg);
    turn_until(&seen.told);
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    rm_find("postgresql")->close(rm, closed, NULL);
    turn_until(&seen.closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_end_is_never_a_success),
        cmocka_unit_test(test_an_end_meets_a_rollback),
        cmocka_unit_test(test_savepoints_go_on),
    };
    int failed = cmocka_run_group_tests(tests, open_group, close_group);

    return world_free(world, failed != 0) ? failed : 1;
}
