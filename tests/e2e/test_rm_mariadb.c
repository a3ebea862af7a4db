/* test_rm_mariadb: the agent's MariaDB resource manager by itself, against a real server: its operations are
 * called from a loop of the test's own. What the server is known to do wrong stands here as a test, too: where
 * it behaves otherwise one day, the rules built on it can be looked at again.
 */
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libtx/shared/xa_xid.h"
#include "participant/rm_mariadb.h"
#include "tests/lib/kit.h"

enum { CONNECTIONS = 4, TURNS_MS = 30000, RETRIES = 400 };

static struct world *world;
static struct world_server *bank;
static uv_loop_t loop;
static struct rm *rm;
static const struct rm_ops *ops;
static uint64_t last_sequence;

/* What came back last. */
static struct {
    bool came, rows_came, up, told, lost, rows_lost;
    enum rm_outcome outcome;
    char text[256], proof[PROOF_LIMIT + 1], error[256], gids[4096];
    int code, n;
    uint64_t affected;
    char cells[65536];
    size_t n_cells;
} seen;

/* the loop */

static void wake(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until `flag`, in steps that end. */
static void turn_until(const bool *flag)
{
    uint64_t end = world_now_ms() + TURNS_MS;
    uv_timer_t timer;

    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, wake, 20, 20);
    while (!*flag && world_now_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    if (!*flag)
        fail_msg("no answer");
}

static void answered(void *arg, const struct rm_answer *a)
{
    (void)arg;
    seen.came = true;
    seen.outcome = a->outcome;
    snprintf(seen.text, sizeof seen.text, "%s", a->text == NULL ? "" : a->text);
    snprintf(seen.proof, sizeof seen.proof, "%s", a->proof == NULL ? "" : a->proof);
}

static void executed(void *arg, const struct wire_rows *rows, bool lost)
{
    (void)arg;
    seen.rows_came = true;
    seen.code = rows->code;
    seen.rows_lost = lost;
    seen.n = (int)rows->n_rows;
    seen.affected = rows->affected;
    snprintf(seen.text, sizeof seen.text, "%s", rows->text == NULL ? "" : rows->text);
    seen.n_cells = rows->cells_len < sizeof seen.cells ? rows->cells_len : 0;
    if (rows->cells != NULL)
        memcpy(seen.cells, rows->cells, seen.n_cells);
}

static void listed(void *arg, const struct rm_found *found, int n)
{
    (void)arg;
    seen.came = true;
    seen.n = n;
    seen.gids[0] = '\0';
    for (int i = 0; i < n; i++)
        snprintf(seen.gids + strlen(seen.gids), sizeof seen.gids - strlen(seen.gids), "%s %s ", found[i].gid,
                 found[i].proof == NULL ? "-" : found[i].proof);
}

static void status(void *arg, bool up, const char *error)
{
    (void)arg;
    seen.told = true;
    seen.up = up;
    snprintf(seen.error, sizeof seen.error, "%s", error == NULL ? "" : error);
}

static void work_lost(void *arg, const char *why)
{
    (void)arg;
    (void)why;
    seen.lost = true;
}

static void closed(void *arg)
{
    *(bool *)arg = true;
}

static void open_rm(const char *more)
{
    char conninfo[WORLD_PATH_SIZE], settings[WORLD_PATH_SIZE + 64];
    struct rm_options options = {
        .loop = &loop, .name = "bank", .settings = settings, .connections = CONNECTIONS, .status = status};
    struct tx_error e;

    snprintf(settings, sizeof settings, "%s %s", world_server_conninfo(bank, "assent_agent", conninfo), more);
    seen.told = false;
    if (ops->open(&rm, &options, &e) != TX_OK)
        fail_msg("open: %s", e.msg);
    turn_until(&seen.told);
}

static void close_rm(void)
{
    bool done = false;

    ops->close(rm, closed, &done);
    turn_until(&done);
    rm = NULL;
}

/* operations, each waited for */

static void new_gid(char gid[GID_SIZE])
{
    struct txid id = {0xabcd, 1, ++last_sequence, 0x1234567890abcdef};

    gid_format(&id, 1, gid);
}

static int exec_values(struct rm_work *w, const char *sql, int n, const char *const *values)
{
    struct rm_statement s = {sql, n, values};
    struct tx_error e;
    int rc;

    seen.rows_came = false;
    rc = ops->exec(w, &s, executed, NULL, &e);
    if (rc != TX_OK) {
        snprintf(seen.text, sizeof seen.text, "%s", e.msg);
        return rc;
    }
    turn_until(&seen.rows_came);
    return seen.code;
}

static int exec(struct rm_work *w, const char *sql)
{
    return exec_values(w, sql, 0, NULL);
}

/* A work of a new gid that has executed this. */
static struct rm_work *begin(char gid[GID_SIZE], const char *sql)
{
    struct rm_work *w;

    new_gid(gid);
    w = ops->begin(rm, gid, work_lost, NULL);
    if (exec(w, sql) != TX_OK)
        fail_msg("%s: %s", sql, seen.text);
    return w;
}

static enum rm_outcome answer(void)
{
    turn_until(&seen.came);
    return seen.outcome;
}

static enum rm_outcome prepare(struct rm_work *w, const char *gid)
{
    seen.came = false;
    ops->prepare(w, gid, answered, NULL);
    return answer();
}

static enum rm_outcome finish(const char *gid, bool commit)
{
    struct rm_finish f = {.gid = gid};

    seen.came = false;
    if (commit)
        ops->commit(rm, &f, answered, NULL);
    else
        ops->rollback(rm, &f, answered, NULL);
    return answer();
}

/* As the agent does: again while nothing is known. */
static enum rm_outcome finish_in_the_end(const char *gid, bool commit)
{
    enum rm_outcome outcome = RM_UNKNOWN;

    for (int i = 0; i < RETRIES && (outcome = finish(gid, commit)) == RM_UNKNOWN; i++)
        world_sleep_ms(20);
    return outcome;
}

static enum rm_outcome look(const char *gid)
{
    seen.came = false;
    ops->look(rm, gid, NULL, answered, NULL);
    return answer();
}

static enum rm_outcome status_of(const char *proof)
{
    seen.came = false;
    ops->status(rm, proof, answered, NULL);
    return answer();
}

static int list(const char *prefix, const char *after, unsigned limit)
{
    seen.came = false;
    ops->list(rm, prefix, after, limit, listed, NULL);
    turn_until(&seen.came);
    return seen.n;
}

static void abandon(struct rm_work *w)
{
    seen.came = false;
    ops->abandon(w, answered, NULL);
    assert_int_equal(answer(), RM_DONE);
    ops->end(w);
}

static long long balance(int id)
{
    return world_sql_number(bank, "SELECT balance FROM accounts WHERE id = %d", id);
}

/* an application's own session */

static MYSQL *session_new(const char *user)
{
    MYSQL *my = mysql_init(NULL);

    if (mysql_real_connect(my, "127.0.0.1", user, "", "bank", world_server_port(bank), NULL, 0) == NULL)
        fail_msg("connect: %s", mysql_error(my));
    return my;
}

static unsigned session_try(MYSQL *my, const char *verb, const char *gid)
{
    char xid[XA_XID_SQL_SIZE], sql[XA_XID_SQL_SIZE + 32];
    struct txid id;
    unsigned branch;

    assert_true(gid_parse(gid, &id, &branch));
    xa_xid_format(&id, branch, xid);
    snprintf(sql, sizeof sql, "XA %s %s", verb, xid);
    mysql_query(my, sql);
    return mysql_errno(my);
}

static void session_exec(MYSQL *my, const char *sql)
{
    if (mysql_query(my, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(my));
}

/* Prepares a branch in it that moves 1 to account `to`, as libtx does. */
static void session_prepare(MYSQL *my, char gid[GID_SIZE], int to, bool receipt)
{
    char sql[XA_RECEIPT_SQL_SIZE];
    struct txid id;
    unsigned branch;

    new_gid(gid);
    assert_true(gid_parse(gid, &id, &branch));
    assert_int_equal(session_try(my, "START", gid), 0);
    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + 1 WHERE id = %d", to);
    session_exec(my, sql);
    xa_xid_receipt(&id, branch, sql);
    if (receipt)
        session_exec(my, sql);
    assert_int_equal(session_try(my, "END", gid), 0);
    assert_int_equal(session_try(my, "PREPARE", gid), 0);
}

/* set-up */

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static int open_group(void **state)
{
    struct world_options options = {.name = "rm-mariadb", .fail = fail_test};
    struct world_server_options mariadb = {.mariadb = true};

    (void)state;
    world = world_new(&options);
    bank = world_server_new(world, "bank", &mariadb);
    world_accounts(bank, 10, 100);
    ops = rm_find("mariadb");
    assert_non_null(ops);
    uv_loop_init(&loop);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    open_rm("");
    if (!seen.up)
        fail_msg("the resource is down: %s", seen.error);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (rm != NULL)
        close_rm();
    assert_int_equal(world_prepared_count(bank), 0);
    return 0;
}

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

static enum rm_outcome prove(struct rm_work *w)
{
    seen.came = false;
    ops->prove(w, answered, NULL);
    return answer();
}

static enum rm_outcome one_phase(struct rm_work *w)
{
    seen.came = false;
    ops->one_phase(w, answered, NULL);
    return answer();
}

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
    seen.told = false;
    world_server_start(bank);
    turn_until(&seen.told);
    assert_true(seen.up);
    assert_int_equal(balance(1), 100);
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
    assert_int_equal(list("assent-000000000000abcd-", "", 2), 2);
    snprintf(after, sizeof after, "%.*s", (int)strcspn(seen.gids, " "), seen.gids);
    assert_int_equal(list("assent-000000000000abcd-", after, 100), 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(finish_in_the_end(gids[i], false), RM_DONE);
    session_try(my, "ROLLBACK", foreign);
    mysql_close(my);
    assert_int_equal(list("assent-", "", 100), 0);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

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
        TEST(test_attached_elsewhere),
        TEST(test_own_session_is_made_to_end),
        TEST(test_commit_that_is_none),
        TEST(test_without_a_receipt),
        TEST(test_crash_of_the_server),
        TEST(test_work_is_lost_with_the_server),
        TEST(test_list),
        TEST(test_inspect),
        TEST(test_old_receipts_go),
        TEST(test_pool_is_exhausted),
        TEST(test_unfit_servers),
        TEST(test_settings),
    };
    int failed;

    cmocka_set_test_filter(getenv("ASSENT_TEST"));
    failed = cmocka_run_group_tests(tests, open_group, NULL);
    return world == NULL || !world_free(world, failed != 0) || failed != 0;
}
