/* test_rm_mariadb_recovery: the agent's MariaDB resource manager by itself, against a real server: branches of
 * other sessions, crashes, receipts, the pool and settings. What the server is known to do wrong stands here as
 * a test, too: where it behaves otherwise one day, the rules built on it can be looked at again.
 */
#include <time.h>

#include "tests/e2e/rm_mariadb_kit.h"

/* branches of other sessions */

static void test_attached_elsewhere(void **state)
{
    MYSQL *my = session_new("app"), *other = session_new("root");
    char gid[GID_SIZE], second[GID_SIZE];

    (void)state;
    session_prepare(my, gid, 1, true);
    assert_int_equal(session_try(other, "COMMIT", gid),
                     1397); /* though it is listed: no evidence of anything */
    assert_int_equal(look(gid), RM_DONE);
    assert_int_equal(finish(gid, true), RM_UNKNOWN);
    assert_int_equal(finish(gid, false), RM_UNKNOWN);
    mysql_close(my);
    assert_int_equal(finish_in_the_end(gid, true), RM_DONE);
    assert_int_equal(balance(1), 101);
    my = session_new("app");
    session_prepare(my, second, 2, true);
    mysql_close(my);
    assert_int_equal(finish_in_the_end(second, false), RM_DONE);
    assert_int_equal(balance(2), 100);
    mysql_close(other);
    world_accounts(bank, 10, 100);
}

/* One of the agent's own that hangs, for it lost its line to a machine that is gone, is made to end. */
static void test_own_session_is_made_to_end(void **state)
{
    MYSQL *my = session_new("assent_agent");
    char gid[GID_SIZE];

    (void)state;
    session_prepare(my, gid, 1, true);
    assert_int_equal(finish_in_the_end(gid, true), RM_DONE);
    assert_int_equal(balance(1), 101);
    mysql_close(my);
    world_accounts(bank, 10, 100);
}

/* XA COMMIT by another session answers OK and commits nothing where the session that prepared has been reset.
 * The branch is not believed committed, and comes back with a restart of the server. */
static void test_commit_that_is_none(void **state)
{
    MYSQL *my = session_new("app"), *other = session_new("root");
    char gid[GID_SIZE];

    (void)state;
    session_prepare(my, gid, 1, true);
    assert_int_equal(mysql_reset_connection(my), 0);
    assert_int_equal(session_try(other, "COMMIT", gid), 0);
    assert_int_equal(balance(1), 100);
    assert_int_equal(world_prepared_count(bank), 0);
    mysql_close(my);
    mysql_close(other);
    assert_int_equal(finish_in_the_end(gid, true), RM_FAILED);
    assert_non_null(strstr(seen.text, "restart"));
    assert_int_equal(finish(gid, false), RM_FAILED);
    close_rm();
    world_server_kill(bank);
    world_server_start(bank);
    open_rm("");
    assert_int_equal(look(gid), RM_DONE);
    assert_int_equal(finish_in_the_end(gid, true), RM_DONE);
    assert_int_equal(balance(1), 101);
    world_accounts(bank, 10, 100);
}

static void test_without_a_receipt(void **state)
{
    MYSQL *my = session_new("app");
    char gid[GID_SIZE];

    (void)state;
    session_prepare(my, gid, 1, false);
    mysql_close(my);
    assert_int_equal(finish_in_the_end(gid, true), RM_FAILED);
    assert_non_null(strstr(seen.text, "receipt"));
    assert_int_equal(finish_in_the_end(gid, false), RM_DONE);
    assert_int_equal(balance(1), 100);
}

/* What is prepared outlives server and agent. */
static void test_crash_of_the_server(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(prepare(w, gid), RM_DONE);
    ops->end(w);
    world_server_kill(bank);
    world_server_start(bank);
    assert_int_equal(finish_in_the_end(gid, true), RM_DONE);
    assert_int_equal(balance(1), 101);
    world_accounts(bank, 10, 100);
}

static void test_work_is_lost_with_the_server(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    seen.lost = seen.told = false;
    world_server_kill(bank);
    turn_until(&seen.lost);
    ops->end(w);
    turn_until(&seen.told);
    assert_false(seen.up);
    world_server_start(bank);
    turn_until(&seen.up);
    assert_int_equal(balance(1), 100);
}

static enum rm_outcome look_for_work(const char *gid, struct rm_work *w)
{
    seen.came = false;
    ops->look(rm, gid, w, answered, NULL);
    return answer();
}

/* A session of this number. */
static MYSQL *session_numbered(const char *user, unsigned long number)
{
    MYSQL *my = session_new(user);

    while (mysql_thread_id(my) < number) {
        mysql_close(my);
        my = session_new(user);
    }
    assert_int_equal(mysql_thread_id(my), number);
    return my;
}

/* Since the server was restarted the number of the session that a work was in is somebody else's. */
static void test_number_of_a_lost_session(void **state)
{
    enum { BEHIND_THE_SERVERS_OWN = 100 };
    MYSQL *my;
    char gid[GID_SIZE];
    struct rm_work *w;
    unsigned long number;

    (void)state;
    close_rm();
    for (number = 0; number < BEHIND_THE_SERVERS_OWN; mysql_close(my)) {
        my = session_new("app");
        number = mysql_thread_id(my);
    }
    open_rm("");
    w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    number = (unsigned long)world_sql_number(
        bank, "SELECT MAX(ID) FROM information_schema.PROCESSLIST WHERE USER = 'assent_agent'");
    seen.lost = seen.told = false;
    world_server_kill(bank);
    turn_until(&seen.lost);
    world_server_start(bank);
    turn_until(&seen.told);
    if (!seen.up)
        turn_until(&seen.up);
    my = session_numbered("app", number);
    assert_int_equal(look_for_work(gid, w), RM_NOT_FOUND);
    assert_int_equal(mysql_ping(my), 0);
    mysql_close(my);
    ops->end(w);
}

/* Turns the loop until the resource is down for this reason. */
static void await_reason(const char *words)
{
    uint64_t end = world_now_ms() + TURNS_MS;

    while (seen.up || strstr(seen.error, words) == NULL) {
        if (world_now_ms() > end)
            fail_msg("«%s» never says «%s»", seen.error, words);
        seen.told = false;
        turn_until(&seen.told);
    }
}

/* Told anew while the resource stays down. */
static void test_another_reason(void **state)
{
    (void)state;
    world_sql(bank, "ALTER USER assent_agent@'127.0.0.1' IDENTIFIED BY 'another'");
    world_server_stop(bank);
    await_reason("connect");
    world_server_start(bank);
    await_reason("denied");
    world_sql(bank, "ALTER USER assent_agent@'127.0.0.1' IDENTIFIED BY ''");
    turn_until(&seen.up);
}

/* the list */

static void test_list(void **state)
{
    char gids[3][GID_SIZE], foreign[GID_SIZE], after[GID_SIZE];
    struct txid other = {0xbeef, 1, 1, 1};
    MYSQL *my;

    (void)state;
    for (int i = 0; i < 3; i++) {
        my = session_new("app");
        session_prepare(my, gids[i], i + 1, i != 2);
        mysql_close(my);
    }
    gid_format(&other, 1, foreign);
    my = session_new("app");
    session_try(my, "START", foreign);
    session_exec(my, "UPDATE accounts SET balance = 1 WHERE id = 9");
    session_try(my, "END", foreign);
    session_try(my, "PREPARE", foreign);
    session_exec(my, "XA RECOVER");
    mysql_free_result(mysql_store_result(my));
    assert_int_equal(list("assent-000000000000abcd-", "", 100), 3);
    assert_non_null(strstr(seen.gids, gids[1]));
    assert_non_null(strstr(seen.gids, "thread="));
    assert_null(strstr(seen.gids, foreign));
    assert_int_equal(seen.total, 3);
    assert_true(seen.in_doubt >= 1);        /* the one without a receipt is */
    assert_true(seen.oldest_ms >= 3600000); /* and old, as far as anybody can tell */
    assert_int_equal(list("assent-000000000000abcd-", "", 2), 2);
    assert_int_equal(seen.total, 3);
    snprintf(after, sizeof after, "%.*s", (int)strcspn(seen.gids, " "), seen.gids);
    assert_int_equal(list("assent-000000000000abcd-", after, 100), 2);
    assert_int_equal(seen.total, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(finish_in_the_end(gids[i], false), RM_DONE);
    session_try(my, "ROLLBACK", foreign);
    mysql_close(my);
    assert_int_equal(list("assent-", "", 100), 0);
    assert_int_equal(seen.total, 0);
}

/* More than there is a look at: the figures are of all of them. */
static void test_long_list(void **state)
{
    enum { MANY = 1100, PAGE = 50 };
    static char gids[MANY][GID_SIZE];
    MYSQL *my;

    (void)state;
    world_accounts(bank, MANY, 100);
    for (int i = 0; i < MANY; i++) {
        my = session_new("app");
        session_prepare(my, gids[i], i + 1, true);
        mysql_close(my);
    }
    assert_int_equal(list("assent-", "", PAGE), PAGE);
    assert_int_equal(seen.total, MANY);
    assert_true(seen.in_doubt >= PAGE && seen.in_doubt <= MANY);
    assert_true(seen.oldest_ms < 3600000);
    close_rm();
    my = session_new("root");
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < RETRIES && session_try(my, "ROLLBACK", gids[i]) != 0; k++)
            world_sleep_ms(5); /* its session is about to end */
    }
    mysql_close(my);
    world_accounts(bank, 10, 100);
}

/* Closed in the middle of everything, as where its definition changes: all that was asked is answered, and the
 * next one finishes what is prepared. */
static void test_closed_meanwhile(void **state)
{
    static const char *const sql = "UPDATE accounts SET balance = balance + 1 WHERE id = %d";
    struct rm_statement slow = {"SELECT SLEEP(20)", 0, NULL};
    char parked[GID_SIZE], executing[GID_SIZE], preparing[GID_SIZE], foreign[GID_SIZE], text[128];
    struct rm_work *w[3];
    struct tx_error e;
    MYSQL *my = session_new("app");

    (void)state;
    session_prepare(my, foreign, 4, true);
    mysql_close(my);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, sql, i + 1);
        w[i] = begin(i == 0 ? parked : executing, text);
        if (i == 0)
            assert_int_equal(prepare(w[i], parked), RM_DONE);
    }
    seen.rows_came = seen.came = false;
    assert_int_equal(ops->exec(w[1], &slow, executed, NULL, &e), TX_OK);
    ops->commit(rm, &(struct rm_finish){.gid = foreign}, answered, NULL);
    close_rm();
    assert_true(seen.rows_came && seen.rows_lost);
    assert_int_equal(seen.outcome, RM_UNKNOWN);
    ops->end(w[0]);
    ops->end(w[1]);
    open_rm("");
    snprintf(text, sizeof text, sql, 3);
    w[2] = begin(preparing, text);
    seen.came = false;
    ops->prepare(w[2], preparing, answered, NULL);
    close_rm();
    assert_true(seen.came && (seen.outcome == RM_UNKNOWN || seen.outcome == RM_REFUSED));
    ops->end(w[2]);
    open_rm("");
    assert_int_equal(finish_in_the_end(parked, true), RM_DONE);
    assert_int_equal(finish_in_the_end(foreign, true), RM_DONE);
    (void)finish_in_the_end(preparing, false);
    assert_int_equal(balance(1) + balance(4), 202);
    assert_int_equal(balance(2) + balance(3), 200);
    world_accounts(bank, 10, 100);
}

/* for the operator */

static void told_json(void *arg, const char *json, const char *error)
{
    (void)error;
    *(char **)arg = strdup(json == NULL ? "" : json);
    seen.came = true;
}

static char *inspect(const char *gid)
{
    char *json = NULL;

    seen.came = false;
    ops->inspect(rm, gid, told_json, &json);
    turn_until(&seen.came);
    return json;
}

struct blocked {
    const char *gid;
    char *json;
};

static bool shows_who_waits(void *arg)
{
    struct blocked *b = arg;

    world_sleep_ms(150); /* the server looks anew only where nobody has looked for a tenth of a second */
    free(b->json);
    b->json = inspect(b->gid);
    return strstr(b->json, "balance = 77") != NULL;
}

static void test_inspect(void **state)
{
    static const char wait[] = "UPDATE accounts SET balance = 77 WHERE id = 1";
    MYSQL *my = session_new("app"), *waiting = session_new("app");
    char gid[GID_SIZE];
    struct blocked b = {.gid = gid};

    (void)state;
    session_prepare(my, gid, 1, true);
    assert_int_equal(mysql_send_query(waiting, wait, sizeof wait - 1), 0);
    if (!world_wait(KIT_SETTLE_MS, shows_who_waits, &b))
        fail_msg("nobody waits: %s", b.json);
    assert_non_null(strstr(b.json, "\"prepared\":true"));
    assert_non_null(strstr(b.json, "\"connected\":true"));
    assert_non_null(strstr(b.json, "prepared_at"));
    assert_non_null(strstr(b.json, "accounts"));
    mysql_close(my);
    assert_int_equal(finish_in_the_end(gid, false), RM_DONE);
    free(b.json);
    b.json = inspect(gid);
    assert_non_null(strstr(b.json, "\"prepared\":false"));
    free(b.json);
    mysql_read_query_result(waiting);
    mysql_close(waiting);
    world_accounts(bank, 10, 100);
}

/* receipts */

static bool old_receipts_are_gone(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_NOWAIT);
    return world_sql_number(
               bank, "SELECT COUNT(*) FROM assent.receipt WHERE at < NOW() - INTERVAL 5 DAY AND gid <> ''"
                     " AND thread <> 77") == 0;
}

/* A deleted receipt leads to a hazard, not to a wrong answer; those of branches in doubt hold nothing up. */
static void test_old_receipts_go(void **state)
{
    char gid[GID_SIZE], committed[PROOF_LIMIT + 1], undone[PROOF_LIMIT + 1];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    MYSQL *my = session_new("root");

    (void)state;
    assert_int_equal(prove(w), RM_DONE);
    strcpy(committed, seen.proof);
    assert_int_equal(one_phase(w), RM_DONE);
    ops->end(w);
    close_rm();
    world_sql(bank,
              "UPDATE assent.receipt SET at = at - INTERVAL 8 DAY;"
              "INSERT INTO assent.receipt SELECT UNHEX(LPAD(HEX(seq), 68, '0')), 1, NOW() - INTERVAL 9 DAY "
              "FROM bank.seq_1_to_1200");
    session_exec(my, "BEGIN");
    session_exec(my, "INSERT INTO assent.receipt VALUES ('uncommitted', 77, NOW() - INTERVAL 10 DAY)");
    open_rm("receipts=6d");
    if (!world_wait(KIT_SETTLE_MS, old_receipts_are_gone, NULL))
        fail_msg("old receipts stay");
    session_exec(my, "ROLLBACK");
    mysql_close(my);
    snprintf(undone, sizeof undone, "%.*s at=%lld", (int)strcspn(committed, " "), committed,
             (long long)time(NULL) - 8 * 86400 - 100);
    assert_int_equal(status_of(undone), RM_HAZARD);
    snprintf(undone, sizeof undone, "%.*s at=%lld", (int)strcspn(committed, " "), committed,
             (long long)time(NULL));
    assert_int_equal(status_of(undone), RM_REFUSED);
    assert_int_equal(finish(gid, true), RM_HAZARD);
    assert_int_equal(finish(gid, false), RM_NOT_FOUND);
    world_accounts(bank, 10, 100);
}

/* the pool */

/* Prepared branches that nobody finishes take all that works may have; they can be finished all the same. */
static void test_pool_is_exhausted(void **state)
{
    char gids[CONNECTIONS - 2][GID_SIZE], gid[GID_SIZE];
    struct rm_work *w;

    (void)state;
    for (int i = 0; i < CONNECTIONS - 2; i++) {
        char sql[96];

        snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + 1 WHERE id = %d", i + 1);
        w = begin(gids[i], sql);
        assert_int_equal(prepare(w, gids[i]), RM_DONE);
        ops->end(w);
    }
    new_gid(gid);
    w = ops->begin(rm, gid, work_lost, NULL);
    assert_int_equal(exec(w, "SELECT 1"), TX_EBUSY);
    assert_true(seen.rows_lost);
    ops->end(w);
    for (int i = 0; i < CONNECTIONS - 2; i++)
        assert_int_equal(finish(gids[i], false), RM_DONE);
    w = begin(gid, "SELECT 1");
    abandon(w);
}

/* settings and what a server must be like */

static void assert_down(const char *settings, const char *words)
{
    close_rm();
    open_rm(settings);
    assert_false(seen.up);
    if (strstr(seen.error, words) == NULL)
        fail_msg("«%s» does not say «%s»", seen.error, words);
}

static void test_unfit_servers(void **state)
{
    (void)state;
    assert_down("user=nobody", "nobody");
    assert_down("user=app", "setup-mariadb.sql");
    assert_down("ssl=on", "TLS");
    assert_down("host=no.such.host.invalid", "resolved");
    world_sql(bank, "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    assert_down("", "innodb_flush_log_at_trx_commit");
    world_sql(
        bank,
        "SET GLOBAL innodb_flush_log_at_trx_commit = 1; REVOKE PROCESS ON *.* FROM assent_agent@127.0.0.1");
    assert_down("", "PROCESS");
    world_sql(bank, "GRANT PROCESS ON *.* TO assent_agent@127.0.0.1; RENAME TABLE assent.receipt TO assent.r");
    assert_down("", "setup-mariadb.sql");
    world_sql(bank, "RENAME TABLE assent.r TO assent.receipt");
}

static void test_settings(void **state)
{
    static const char *const cases[][2] = {{"host=x user=y hots=z", "«hots»"},
                                           {"user=y", "host"},
                                           {"host=x", "user"},
                                           {"host=x user=y port=0", "port"},
                                           {"host=x user=y port=1x", "port"},
                                           {"host=x user", "keyword=value"},
                                           {"host=x user='y", "keyword=value"},
                                           {"host=x user=y unix_socket=/z", "unix_socket"},
                                           {"host=x user=y receipts=1s", "receipts"},
                                           {"host=x user=y passfile=/no/such", "/no/such"},
                                           {"host=x user=y password=a secret=b", "single quotes"}};
    struct rm_options options = {.loop = &loop, .name = "bank", .connections = CONNECTIONS, .status = status};
    struct rm *opened;
    struct tx_error e;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options.settings = cases[i][0];
        assert_int_equal(ops->open(&opened, &options, &e), TX_EINVAL);
        if (strstr(e.msg, cases[i][1]) == NULL || strstr(e.msg, "secret") != NULL)
            fail_msg("«%s» gives «%s»", cases[i][0], e.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_attached_elsewhere),
        TEST(test_own_session_is_made_to_end),
        TEST(test_commit_that_is_none),
        TEST(test_without_a_receipt),
        TEST(test_crash_of_the_server),
        TEST(test_work_is_lost_with_the_server),
        TEST(test_number_of_a_lost_session),
        TEST(test_another_reason),
        TEST(test_list),
        TEST(test_long_list),
        TEST(test_inspect),
        TEST(test_closed_meanwhile),
        TEST(test_old_receipts_go),
        TEST(test_pool_is_exhausted),
        TEST(test_unfit_servers),
        TEST(test_settings),
    };

    cmocka_set_test_filter(getenv("ASSENT_TEST"));
    return close_group(cmocka_run_group_tests(tests, open_group, NULL));
}
