/* rm_mariadb_kit: for the tests of the agent's MariaDB resource manager by itself: a server, a loop, its
 * operations, each waited for, and sessions of an application's own. One resource at a time; what came back
 * last is in `seen`.
 */
#ifndef ASSENT_TESTS_RM_MARIADB_KIT_H
#define ASSENT_TESTS_RM_MARIADB_KIT_H

#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    uint32_t total, in_doubt;
    uint64_t affected, oldest_ms;
    char cells[65536];
    size_t n_cells;
} seen;

/* the loop */

static inline void wake(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until `flag`, in steps that end. */
static inline void turn_until(const bool *flag)
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

static inline void answered(void *arg, const struct rm_answer *a)
{
    (void)arg;
    seen.came = true;
    seen.outcome = a->outcome;
    snprintf(seen.text, sizeof seen.text, "%s", a->text == NULL ? "" : a->text);
    snprintf(seen.proof, sizeof seen.proof, "%s", a->proof == NULL ? "" : a->proof);
}

static inline void executed(void *arg, const struct wire_rows *rows, bool lost)
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

static inline void listed(void *arg, const struct rm_list *list)
{
    (void)arg;
    seen.came = true;
    seen.n = list->n;
    seen.total = list->total;
    seen.in_doubt = list->in_doubt;
    seen.oldest_ms = list->oldest_ms;
    seen.gids[0] = '\0';
    for (int i = 0; i < list->n; i++)
        snprintf(seen.gids + strlen(seen.gids), sizeof seen.gids - strlen(seen.gids), "%s %s ",
                 list->found[i].gid, list->found[i].proof == NULL ? "-" : list->found[i].proof);
}

static inline void status(void *arg, bool up, const char *error)
{
    (void)arg;
    seen.told = true;
    seen.up = up;
    snprintf(seen.error, sizeof seen.error, "%s", error == NULL ? "" : error);
}

static inline void work_lost(void *arg, const char *why)
{
    (void)arg;
    (void)why;
    seen.lost = true;
}

static inline void closed(void *arg)
{
    *(bool *)arg = true;
}

static inline void open_rm(const char *more)
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

static inline void close_rm(void)
{
    bool done = false;

    ops->close(rm, closed, &done);
    turn_until(&done);
    rm = NULL;
}

/* operations, each waited for */

static inline void new_gid(char gid[GID_SIZE])
{
    struct txid id = {0xabcd, 1, ++last_sequence, 0x1234567890abcdef};

    gid_format(&id, 1, gid);
}

static inline int exec_values(struct rm_work *w, const char *sql, int n, const char *const *values)
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

static inline int exec(struct rm_work *w, const char *sql)
{
    return exec_values(w, sql, 0, NULL);
}

/* A work of a new gid that has executed this. */
static inline struct rm_work *begin(char gid[GID_SIZE], const char *sql)
{
    struct rm_work *w;

    new_gid(gid);
    w = ops->begin(rm, gid, work_lost, NULL);
    if (exec(w, sql) != TX_OK)
        fail_msg("%s: %s", sql, seen.text);
    return w;
}

static inline enum rm_outcome answer(void)
{
    turn_until(&seen.came);
    return seen.outcome;
}

static inline enum rm_outcome prepare(struct rm_work *w, const char *gid)
{
    seen.came = false;
    ops->prepare(w, gid, answered, NULL);
    return answer();
}

static inline enum rm_outcome finish(const char *gid, bool commit)
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
static inline enum rm_outcome finish_in_the_end(const char *gid, bool commit)
{
    enum rm_outcome outcome = RM_UNKNOWN;

    for (int i = 0; i < RETRIES && (outcome = finish(gid, commit)) == RM_UNKNOWN; i++)
        world_sleep_ms(20);
    return outcome;
}

static inline enum rm_outcome look(const char *gid)
{
    seen.came = false;
    ops->look(rm, gid, NULL, answered, NULL);
    return answer();
}

static inline enum rm_outcome status_of(const char *proof)
{
    seen.came = false;
    ops->status(rm, proof, answered, NULL);
    return answer();
}

static inline int list(const char *prefix, const char *after, unsigned limit)
{
    seen.came = false;
    ops->list(rm, prefix, after, limit, listed, NULL);
    turn_until(&seen.came);
    return seen.n;
}

static inline void abandon(struct rm_work *w)
{
    seen.came = false;
    ops->abandon(w, answered, NULL);
    assert_int_equal(answer(), RM_DONE);
    ops->end(w);
}

static inline long long balance(int id)
{
    return world_sql_number(bank, "SELECT balance FROM accounts WHERE id = %d", id);
}

/* an application's own session */

static inline MYSQL *session_new(const char *user)
{
    MYSQL *my = mysql_init(NULL);

    if (mysql_real_connect(my, "127.0.0.1", user, "", "bank", world_server_port(bank), NULL, 0) == NULL)
        fail_msg("connect: %s", mysql_error(my));
    return my;
}

static inline unsigned session_try(MYSQL *my, const char *verb, const char *gid)
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

static inline void session_exec(MYSQL *my, const char *sql)
{
    if (mysql_query(my, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(my));
}

/* Prepares a branch in it that moves 1 to account `to`, as libtx does. */
static inline void session_prepare(MYSQL *my, char gid[GID_SIZE], int to, bool receipt)
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

static inline void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static inline int open_group(void **state)
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

static inline int set_up(void **state)
{
    (void)state;
    open_rm("");
    if (!seen.up)
        fail_msg("the resource is down: %s", seen.error);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    if (rm != NULL)
        close_rm();
    assert_int_equal(world_prepared_count(bank), 0);
    return 0;
}

static inline enum rm_outcome prove(struct rm_work *w)
{
    seen.came = false;
    ops->prove(w, answered, NULL);
    return answer();
}

static inline enum rm_outcome one_phase(struct rm_work *w)
{
    seen.came = false;
    ops->one_phase(w, answered, NULL);
    return answer();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* After the group: takes the server down. `failed` is what cmocka returned; returns the exit code. */
static inline int close_group(int failed)
{
    return world == NULL || !world_free(world, failed != 0) || failed != 0;
}

#endif
