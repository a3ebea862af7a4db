/* test_rm_mariadb: the agent's MariaDB resource manager by itself, against a real server: statements, votes and
 * commits in one phase. */
#include "tests/e2e/rm_mariadb_kit.h"

/* statements */

static void assert_cells(const char *const *expected, int n)
{
    struct cur c;

    cur_init(&c, seen.cells, seen.n_cells);
    for (int i = 0; i < n; i++) {
        const char *cell = cur_str(&c, ROWS_LIMIT);

        if (expected[i] == NULL)
            assert_null(cell);
        else
            assert_string_equal(cell, expected[i]);
    }
    assert_true(cur_done(&c));
}

#define CELLS(...)                                   \
    assert_cells((const char *const[]){__VA_ARGS__}, \
                 (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static void test_rows_are_text(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "SELECT 1 AS one, NULL AS none, 'zwölf €' AS t, 1.50 AS d, 0.1e0 AS f, "
                                   "TIMESTAMP'2026-01-02 03:04:05.6' AS at");

    (void)state;
    CELLS("one", "none", "t", "d", "f", "at", "1", NULL, "zwölf €", "1.50", "0.1", "2026-01-02 03:04:05.6");
    assert_int_equal(seen.n, 1);
    assert_int_equal(exec(w, "SELECT id, balance FROM accounts WHERE id < 4 ORDER BY id"), TX_OK);
    CELLS("id", "balance", "1", "100", "2", "100", "3", "100");
    assert_int_equal(exec(w, "SELECT id FROM accounts WHERE id < 0"), TX_OK);
    CELLS("id");
    assert_int_equal(exec(w, "UPDATE accounts SET balance = balance + 1 WHERE id IN (1, 2)"), TX_OK);
    assert_int_equal(seen.affected, 2);
    abandon(w);
}

static void test_values_are_parameters(void **state)
{
    const char *const values[] = {
        "zwölf €", NULL, "1.50", "0.1", "2026-01-02 03:04:05.6", "'; DROP TABLE accounts"};
    char gid[GID_SIZE], *big = malloc(100001);
    struct rm_work *w = begin(gid, "SELECT 1");
    const char *const one[] = {big};

    (void)state;
    assert_int_equal(
        exec_values(w,
                    "SELECT ? AS t, ? AS none, CAST(? AS DECIMAL(4,2)) AS d, CAST(? AS DOUBLE) AS f, "
                    "CAST(? AS DATETIME(1)) AS at, ? AS q, 7 AS n",
                    6, values),
        TX_OK);
    CELLS("t", "none", "d", "f", "at", "q", "n", "zwölf €", NULL, "1.50", "0.1", "2026-01-02 03:04:05.6",
          "'; DROP TABLE accounts", "7");
    assert_int_equal(exec_values(w, "UPDATE accounts SET balance = balance + ? WHERE id = ?", 2,
                                 (const char *const[]){"5", "1"}),
                     TX_OK);
    assert_int_equal(seen.affected, 1);
    assert_int_equal(exec_values(w, "SELECT balance FROM accounts WHERE id = ?", 1, (const char *const[]){"1"}),
                     TX_OK);
    CELLS("balance", "105");
    memset(big, 'x', 100000);
    big[100000] = '\0';
    assert_int_equal(exec_values(w, "SELECT LENGTH(?) AS n", 1, one), TX_OK);
    CELLS("n", "100000");
    assert_int_equal(exec_values(w, "SELECT REPEAT(?, 300) AS r, 1 AS n UNION ALL SELECT ?, 2", 2,
                                 (const char *const[]){"y", "short"}),
                     TX_OK);
    assert_int_equal(seen.n, 2);
    assert_non_null(memmem(seen.cells, seen.n_cells, "yyyyyyy\0\2", 8));
    assert_int_equal(exec_values(w, "SELECT ?", 2, (const char *const[]){"1", "2"}), TX_ESTATEMENT);
    assert_non_null(strstr(seen.text, "placeholder"));
    abandon(w);
    free(big);
}

static void test_procedures(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w;

    (void)state;
    world_sql(bank, "CREATE OR REPLACE PROCEDURE p(x int) BEGIN NOT ATOMIC SELECT x AS a; SELECT 2 AS b; "
                    "UPDATE accounts SET balance = balance + 1 WHERE id = 1; END");
    w = begin(gid, "CALL p(1)");
    CELLS("a", "1");
    assert_int_equal(exec_values(w, "CALL p(?)", 1, (const char *const[]){"3"}), TX_OK);
    CELLS("a", "3");
    assert_int_equal(exec(w, "SELECT balance FROM accounts WHERE id = 1"), TX_OK);
    CELLS("balance", "102");
    abandon(w);
    assert_int_equal(balance(1), 100);
}

/* Neither the application nor a procedure of its can end the branch. */
static void test_statements_that_end_it(void **state)
{
    static const char *const refused[] = {
        "COMMIT",       " /* a */ rollback work",   "BEGIN",           "start transaction",
        "XA END X'01'", "/*!50000 XA */ END X'01'", "# x\nxa recover", "(COMMIT)"};
    static const char *const failed[] = {"CREATE TABLE t (i int)", "LOCK TABLES accounts READ",
                                         "TRUNCATE accounts", "CALL commits()"};
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "SELECT 1");

    (void)state;
    world_sql(bank, "CREATE OR REPLACE PROCEDURE commits() COMMIT");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(exec(w, refused[i]), TX_EREFUSED);
    assert_int_equal(exec(w, "SAVEPOINT s"), TX_OK);
    assert_int_equal(exec(w, "ROLLBACK TO SAVEPOINT s"), TX_OK);
    assert_int_equal(exec(w, "BEGIN NOT ATOMIC SELECT 1; END"), TX_OK);
    abandon(w);
    for (size_t i = 0; i < sizeof failed / sizeof *failed; i++) {
        w = begin(gid, "UPDATE accounts SET balance = 0 WHERE id = 1");
        assert_int_equal(exec(w, failed[i]), TX_ESTATEMENT);
        assert_non_null(strstr(seen.text, "1399"));
        abandon(w);
        assert_int_equal(balance(1), 100);
    }
}

/* A session that had one application's work keeps nothing of it. */
static void test_sessions_are_clean(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "SET @secret = 1, sql_mode = 'ANSI', NAMES latin1, autocommit = 0");

    (void)state;
    if (exec(w, "CREATE TEMPORARY TABLE scratch (i int)") != TX_OK)
        fail_msg("%s", seen.text);
    assert_int_equal(exec(w, "USE information_schema"), TX_OK);
    assert_int_equal(exec(w, "SELECT CONNECTION_ID() AS id"), TX_OK);
    abandon(w);
    w = begin(gid,
              "SELECT @secret, @@sql_mode LIKE '%ANSI%', @@character_set_client, @@autocommit, DATABASE()");
    CELLS("@secret", "@@sql_mode LIKE '%ANSI%'", "@@character_set_client", "@@autocommit", "DATABASE()", NULL,
          "0", "utf8mb4", "1", "bank");
    assert_int_equal(exec(w, "SELECT 1 FROM scratch"), TX_ESTATEMENT);
    abandon(w);
}

/* votes */

static void test_prepare_and_commit(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(prepare(w, gid), RM_DONE);
    assert_non_null(strstr(seen.proof, "thread="));
    ops->end(w);
    assert_int_equal(world_prepared_count(bank), 1);
    assert_int_equal(finish(gid, true), RM_DONE);
    assert_int_equal(balance(1), 101);
    assert_int_equal(finish(gid, true), RM_DONE); /* by the receipt */
    assert_int_equal(finish(gid, false), RM_HEURISTIC_COMMIT);
    world_accounts(bank, 10, 100);
}

static void test_prepare_and_roll_back(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(prepare(w, gid), RM_DONE);
    ops->end(w);
    assert_int_equal(finish(gid, false), RM_DONE);
    assert_int_equal(balance(1), 100);
    assert_int_equal(finish(gid, false), RM_NOT_FOUND);
    assert_int_equal(finish(gid, true), RM_HAZARD);
    assert_int_equal(look(gid), RM_NOT_FOUND);
}

static void test_read_only(void **state)
{
    static const char *const reads[] = {"SELECT * FROM accounts FOR UPDATE",
                                        "SELECT id, COUNT(*) FROM accounts GROUP BY balance, id ORDER BY 2",
                                        "UPDATE accounts SET balance = 0 WHERE id = -1",
                                        "SELECT * FROM information_schema.tables"};
    long long receipts = world_sql_number(bank, "SELECT COUNT(*) FROM assent.receipt");
    char gid[GID_SIZE];
    struct rm_work *w;

    (void)state;
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        w = begin(gid, reads[i]);
        assert_int_equal(prepare(w, gid), RM_READ_ONLY);
        ops->end(w);
    }
    assert_int_equal(world_sql_number(bank, "SELECT COUNT(*) FROM assent.receipt"), receipts);
}

/* The server says of each of them what a write is; a vote of read-only would lose it. */
static void test_every_write_counts(void **state)
{
    static const char *const writes[] = {
        "UPDATE accounts SET balance = balance + 1 WHERE id = 1",
        "INSERT INTO accounts VALUES (11, 1)",
        "REPLACE INTO accounts VALUES (1, 1)",
        "INSERT INTO accounts VALUES (1, 1) ON DUPLICATE KEY UPDATE balance = 2",
        "DELETE FROM accounts WHERE id = 1",
        "DELETE FROM accounts",
        "INSERT INTO accounts SELECT id + 100, balance FROM accounts",
        "UPDATE accounts a JOIN accounts b ON a.id = b.id + 1 SET a.balance = 3",
        "DELETE a FROM accounts a JOIN accounts b ON a.id = b.id + 1",
        "CALL writes()",
        "SELECT writer()",
        "DELETE FROM parent WHERE id = 1",
        "UPDATE parent SET id = 2 WHERE id = 1",
        "INSERT INTO parted VALUES (1), (200)",
        "UPDATE parted SET id = 150 WHERE id = 50"};
    char gid[GID_SIZE];
    struct rm_work *w;

    (void)state;
    world_sql(bank,
              "CREATE PROCEDURE writes() UPDATE accounts SET balance = 1 WHERE id = 1;"
              "CREATE TABLE parent (id int PRIMARY KEY);"
              "CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES parent (id) "
              "ON DELETE CASCADE ON UPDATE CASCADE);"
              "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1);"
              "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN "
              "(100), PARTITION b VALUES LESS THAN MAXVALUE); INSERT INTO parted VALUES (50);");
    world_sql(bank, "CREATE FUNCTION writer() RETURNS int BEGIN UPDATE accounts SET balance = 1 WHERE id = 1; "
                    "RETURN 1; END");
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        w = begin(gid, writes[i]);
        if (prepare(w, gid) != RM_DONE)
            fail_msg("%s: outcome %d %s", writes[i], seen.outcome, seen.text);
        ops->end(w);
        assert_int_equal(finish(gid, false), RM_DONE);
    }
}

/* The server would prepare it: the rest of the work without the statement. */
static void test_failed_statement_poisons(void **state)
{
    char gid[GID_SIZE];
    MYSQL *my = session_new("app");
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(exec(w, "INSERT INTO accounts VALUES (1, 1)"), TX_ESTATEMENT);
    assert_non_null(strstr(seen.text, "1062"));
    assert_int_equal(exec(w, "SELECT 1"), TX_ESTATEMENT);
    assert_int_equal(prepare(w, gid), RM_REFUSED);
    ops->end(w);
    assert_int_equal(balance(1), 100);

    new_gid(gid);
    session_try(my, "START", gid);
    session_exec(my, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    assert_int_not_equal(mysql_query(my, "INSERT INTO accounts VALUES (1, 1)"), 0);
    assert_int_equal(session_try(my, "END", gid), 0);
    assert_int_equal(session_try(my, "PREPARE", gid), 0); /* hence the poison */
    assert_int_equal(session_try(my, "ROLLBACK", gid), 0);
    mysql_close(my);
}

static void test_lock_wait_poisons(void **state)
{
    char gid[GID_SIZE], other[GID_SIZE];
    struct rm_work *holder = begin(other, "UPDATE accounts SET balance = 1 WHERE id = 1");
    struct rm_work *w = begin(gid, "SET innodb_lock_wait_timeout = 0");

    (void)state;
    assert_int_equal(exec(w, "UPDATE accounts SET balance = 2 WHERE id = 1"), TX_ESTATEMENT);
    assert_non_null(strstr(seen.text, "1205"));
    assert_int_equal(prepare(w, gid), RM_REFUSED);
    ops->end(w);
    abandon(holder);
}

/* Of two works that run at once: what each was told. */
struct told {
    bool came;
    int code;
};

static void told_rows(void *arg, const struct wire_rows *rows, bool lost)
{
    struct told *t = arg;

    (void)lost;
    t->came = true;
    t->code = rows->code;
}

static void exec_at_once(struct rm_work *w, const char *sql, struct told *t)
{
    struct rm_statement s = {sql, 0, NULL};
    struct tx_error e;

    assert_int_equal(ops->exec(w, &s, told_rows, t, &e), TX_OK);
}

/* The server rolls one of them back, and it votes no. */
static void test_deadlock(void **state)
{
    char gids[2][GID_SIZE];
    struct rm_work *w[2] = {begin(gids[0], "UPDATE accounts SET balance = 1 WHERE id = 1"),
                            begin(gids[1], "UPDATE accounts SET balance = 1 WHERE id = 2")};
    struct told told[2] = {{.came = false}};
    int loser;

    (void)state;
    exec_at_once(w[0], "UPDATE accounts SET balance = 1 WHERE id = 2", &told[0]);
    exec_at_once(w[1], "UPDATE accounts SET balance = 1 WHERE id = 1", &told[1]);
    turn_until(&told[0].came);
    turn_until(&told[1].came);
    loser = told[1].code == TX_ESTATEMENT;
    assert_int_equal(told[loser].code, TX_ESTATEMENT);
    assert_int_equal(told[!loser].code, TX_OK);
    assert_int_equal(prepare(w[loser], gids[loser]), RM_REFUSED);
    ops->end(w[loser]);
    abandon(w[!loser]);
}

static void test_abandon_stops_a_statement(void **state)
{
    char gid[GID_SIZE];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = 1 WHERE id = 1");
    struct rm_statement s = {"SELECT SLEEP(1000)", 0, NULL};
    struct tx_error e;

    (void)state;
    assert_int_equal(ops->exec(w, &s, executed, NULL, &e), TX_OK);
    world_sleep_ms(50);
    uv_run(&loop, UV_RUN_NOWAIT);
    abandon(w);
    assert_int_equal(seen.code, TX_EROLLBACK);
    assert_int_equal(balance(1), 100);
}

static void test_gid_that_is_taken(void **state)
{
    struct rm_work *w, *second;
    char gid[GID_SIZE];

    (void)state;
    w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    assert_int_equal(prepare(w, gid), RM_DONE);
    ops->end(w);
    second = ops->begin(rm, gid, work_lost, NULL);
    assert_int_equal(exec(second, "SELECT 1"), TX_EROLLBACK);
    assert_true(seen.rows_lost);
    ops->end(second);
    assert_int_equal(finish(gid, true), RM_DONE);
    /* And after its commit the receipt is in the way. */
    second = ops->begin(rm, gid, work_lost, NULL);
    assert_int_equal(exec(second, "UPDATE accounts SET balance = balance + 1 WHERE id = 1"), TX_OK);
    assert_int_equal(prepare(second, gid), RM_REFUSED);
    ops->end(second);
    assert_int_equal(balance(1), 101);
    world_accounts(bank, 10, 100);
}

/* one phase */

static void test_one_phase(void **state)
{
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(prove(w), RM_DONE);
    strcpy(proof, seen.proof);
    assert_int_equal(status_of(proof), RM_UNKNOWN); /* not over yet */
    assert_int_equal(one_phase(w), RM_DONE);
    ops->end(w);
    assert_int_equal(status_of(proof), RM_DONE);
    assert_int_equal(balance(1), 101);

    w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    assert_int_equal(prove(w), RM_DONE);
    strcpy(proof, seen.proof);
    abandon(w);
    assert_int_equal(status_of(proof), RM_REFUSED);

    w = begin(gid, "SELECT 1");
    assert_int_equal(prove(w), RM_DONE);
    assert_string_equal(seen.proof, "");
    assert_int_equal(one_phase(w), RM_DONE);
    ops->end(w);
    assert_int_equal(status_of("nonsense"), RM_HAZARD);
    world_accounts(bank, 10, 100);
}

/* The same branch begun anew gives another proof. */
static void test_one_phase_proofs_differ(void **state)
{
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(prove(w), RM_DONE);
    strcpy(proof, seen.proof);
    abandon(w);
    w = ops->begin(rm, gid, work_lost, NULL);
    assert_int_equal(exec(w, "UPDATE accounts SET balance = balance + 1 WHERE id = 1"), TX_OK);
    assert_int_equal(prove(w), RM_DONE);
    assert_string_not_equal(proof, seen.proof);
    assert_int_equal(one_phase(w), RM_DONE);
    ops->end(w);
    assert_int_equal(status_of(proof), RM_REFUSED);
    world_accounts(bank, 10, 100);
}

/* A receipt that seems old is deleted early. */
static void test_clock_of_the_application(void **state)
{
    char gid[GID_SIZE], proof[PROOF_LIMIT + 1];
    struct rm_work *w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");

    (void)state;
    assert_int_equal(exec(w, "SET timestamp = 1000000000, time_zone = '-05:00'"), TX_OK);
    assert_int_equal(prepare(w, gid), RM_DONE);
    ops->end(w);
    assert_int_equal(finish(gid, true), RM_DONE);
    w = begin(gid, "UPDATE accounts SET balance = balance + 1 WHERE id = 1");
    assert_int_equal(exec(w, "SET timestamp = 1000000000, time_zone = '-05:00'"), TX_OK);
    assert_int_equal(prove(w), RM_DONE);
    strcpy(proof, seen.proof);
    assert_true(labs(atol(strstr(proof, " at=") + 4) - (long)time(NULL)) < 600);
    assert_int_equal(one_phase(w), RM_DONE);
    ops->end(w);
    assert_int_equal(world_sql_number(bank, "SELECT COUNT(*) FROM assent.receipt"
                                            " WHERE ABS(TIMESTAMPDIFF(SECOND, at, NOW())) > 600"),
                     0);
    world_accounts(bank, 10, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_are_text),
        TEST(test_values_are_parameters),
        TEST(test_procedures),
        TEST(test_statements_that_end_it),
        TEST(test_sessions_are_clean),
        TEST(test_prepare_and_commit),
        TEST(test_prepare_and_roll_back),
        TEST(test_read_only),
        TEST(test_every_write_counts),
        TEST(test_failed_statement_poisons),
        TEST(test_lock_wait_poisons),
        TEST(test_deadlock),
        TEST(test_abandon_stops_a_statement),
        TEST(test_gid_that_is_taken),
        TEST(test_one_phase),
        TEST(test_one_phase_proofs_differ),
        TEST(test_clock_of_the_application),
    };

    cmocka_set_test_filter(getenv("ASSENT_TEST"));
    return close_group(cmocka_run_group_tests(tests, open_group, NULL));
}
