/* test_service: a C service that takes part through libtx's callbacks (examples/service.c), in one transaction
 * with a PostgreSQL database. It is killed at every point it passes, and started again; then what was given
 * away is what was written down in the database, and the application was told the truth.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtx/shared/txid.h"
#include "tests/lib/kit.h"

enum { PIECES = STOCK_PIECES, ORDERS = 40, LINE = STOCK_LINE };

static struct kit kit;
static tx_client *client;
static PGconn *bank;
static struct world_process *service;

static bool ask(const char *request, char answer[LINE])
{
    return stock_ask(kit.stock.port, request, answer);
}

static long count_pieces(void)
{
    return stock_count(&kit.stock);
}

/* Orders */

struct told {
    char receipt[32];
    int rc; /* of txn_commit(), or what kept it from being called */
    char id[KIT_ID_SIZE];
};

static struct told told[ORDERS * 64];
static size_t n_told;

/* Where the service dies of its next transaction's write: so far into the line, which is «prepared» or
 * «committed» (or «rolledback», which is as long). */
static struct tear {
    bool second;
    int at; /* bytes; < 0: so many before the line's end */
} const *tear;

/* A file that has come to the limit takes what has room, and the next byte is the process's end. */
static void tear_the_journal(const char *id)
{
    long prepared = (long)(strlen("prepared " GID_PREFIX "-2 bolt 1\n") + strlen(id));
    long second = (long)(strlen("committed " GID_PREFIX "-2\n") + strlen(id));
    struct rlimit limit = {.rlim_max = RLIM_INFINITY};
    struct stat st;

    assert_int_equal(stat(kit.stock.journal, &st), 0);
    limit.rlim_cur = (rlim_t)(st.st_size + (tear->second ? prepared : 0) + tear->at +
                              (tear->at >= 0  ? 0
                               : tear->second ? second
                                              : prepared));
    assert_int_equal(prlimit(world_process_pid(service), RLIMIT_FSIZE, &limit, NULL), 0);
}

/* A receipt in the bank, and a piece from the stock: both or neither. refused: a third one votes no. */
static struct told *order(int pieces, bool refused)
{
    struct told *o = &told[n_told];
    char context[TXN_CONTEXT_SIZE], request[LINE], answer[LINE];
    struct tx_error e = {0};
    txn *t;

    snprintf(o->receipt, sizeof o->receipt, "order_%zu", n_told++);
    o->rc = txn_begin(client, &t, &e);
    if (o->rc != TX_OK)
        fail_msg("txn_begin: %s", e.msg);
    snprintf(o->id, sizeof o->id, "%s", txn_id(t));
    assert_int_equal(txn_enlist_pg(t, "bank_a", bank, &e), TX_OK);
    kit_move(bank, o->receipt, 0);
    assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
    snprintf(request, sizeof request, "take %s bolt %d\n", context, pieces);
    if (!ask(request, answer) || strncmp(answer, "ok", 2) != 0)
        o->rc = TX_EROLLBACK;
    if (refused && txn_exec(t, "bank_b", "INSERT INTO checked VALUES (1), (1)", 0, NULL, NULL, &e) != TX_OK)
        o->rc = TX_EROLLBACK;
    if (tear != NULL)
        tear_the_journal(o->id);
    if (o->rc == TX_OK)
        o->rc = txn_commit(t, tear != NULL ? TXN_DECISION_LOGGED : TXN_COMPLETED, &e);
    else
        txn_rollback(t, NULL);
    txn_free(t);
    return o;
}

static long receipts(const char *name)
{
    return (long)world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts WHERE name = '%s'", name);
}

static bool stock_agrees(void *arg)
{
    long given = PIECES - count_pieces();

    (void)arg;
    return given == world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts") &&
           world_prepared_count(kit.bank[0]) == 0;
}

/* What was told is what happened, in both. */
static void assert_told(void)
{
    if (!world_wait(KIT_SETTLE_MS, stock_agrees, NULL))
        fail_msg("%ld pieces are given away, %lld receipts are there", PIECES - count_pieces(),
                 world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts"));
    for (size_t i = 0; i < n_told; i++) {
        const struct told *o = &told[i];
        long n = receipts(o->receipt);

        if (((o->rc == TX_OK || o->rc == TX_ETIMEOUT) && n != 1) || (o->rc == TX_EROLLBACK && n != 0))
            fail_msg("%s was told %s, and %ld receipts are there", o->id, tx_strerror(o->rc), n);
    }
}

/* Tests */

static int set_up(void **state)
{
    struct tx_client_options options = {
        .session_timeout_ms = 2000, .transaction_timeout_ms = 4000, .commit_timeout_ms = 4000};
    struct tx_error e;

    (void)state;
    kit_settle(&kit);
    options.coordinators = world_coordinators(kit.world);
    if (tx_client_open(&client, &options, &e) != TX_OK)
        fail_msg("%s", e.msg);
    bank = kit_connect(&kit, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    PQfinish(bank);
    tx_client_close(client);
    return 0;
}

/* The tests keep what they did: each begins with a stock that agrees with no receipts. */
static void fill_up(void)
{
    stock_fill(&kit.stock);
    n_told = 0;
}

static void takes_part(void **state)
{
    (void)state;
    fill_up();
    assert_int_equal(order(1, false)->rc, TX_OK);
    assert_int_equal(PIECES - count_pieces(), 1);
    /* More than there is: the application rolls back. */
    assert_int_equal(order(PIECES, false)->rc, TX_EROLLBACK);
    assert_told();
}

static void several_requests(void **state)
{
    struct tx_error e;
    char context[TXN_CONTEXT_SIZE], request[LINE], answer[LINE];
    txn *t;

    (void)state;
    fill_up();
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
        snprintf(request, sizeof request, "take %s bolt 1\n", context);
        assert_true(ask(request, answer));
        assert_string_equal(answer, "ok\n");
        /* The same request once more. */
        assert_true(ask(request, answer));
        assert_memory_equal(answer, "no ", 3);
    }
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_OK);
    txn_free(t);
    assert_int_equal(PIECES - count_pieces(), 3);
    fill_up();
}

/* A transaction in which the service has given one piece. */
static txn *begin_taking(void)
{
    char context[TXN_CONTEXT_SIZE], request[LINE], answer[LINE];
    struct tx_error e;
    txn *t;

    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
    snprintf(request, sizeof request, "take %s bolt 1\n", context);
    assert_true(ask(request, answer));
    assert_string_equal(answer, "ok\n");
    return t;
}

/* A request that never arrived: the service has not done all that the application thinks it has. */
static void lost_request(void **state)
{
    char context[TXN_CONTEXT_SIZE];
    struct tx_error e;
    txn *t;

    (void)state;
    fill_up();
    t = begin_taking();
    assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    assert_told();
}

/* Restarted between its work and its vote: it knows nothing of the branch, so it cannot vote yes. */
static void restarted_at_work(void **state)
{
    struct tx_error e;
    txn *t;

    (void)state;
    fill_up();
    t = begin_taking();
    world_process_kill(service);
    world_process_start_ready(service, NULL);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    assert_told();
}

static bool has_given_it_up(void *arg)
{
    (void)arg;
    return world_process_logged(service, "event=timeout");
}

/* The request of a committed transaction comes once more. What keeps it from being done again is the service's
 * own memory, and what is begun under its name ends by itself. */
static void doubled_after_a_restart(void **state)
{
    char context[TXN_CONTEXT_SIZE], request[LINE], answer[LINE];
    struct tx_error e;
    txn *t;

    (void)state;
    fill_up();
    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    assert_int_equal(txn_export(t, "stock", context, &e), TX_OK);
    snprintf(request, sizeof request, "take %s bolt 10\n", context);
    assert_true(ask(request, answer));
    assert_string_equal(answer, "ok\n");
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_OK);
    txn_free(t);
    world_process_kill(service);
    world_process_start_ready(service, NULL);
    stock_await(kit.world);
    assert_true(ask(request, answer));
    assert_memory_equal(answer, "no ", 3);
    assert_int_equal(PIECES - count_pieces(), 10);
    assert_true(world_wait(KIT_SETTLE_MS, has_given_it_up, NULL));
    world_sleep_ms(200);
    assert_int_equal(PIECES - count_pieces(), 10);
    assert_int_equal(order(1, false)->rc, TX_OK);
    assert_int_equal(PIECES - count_pieces(), 11);
    fill_up();
}

/* The application is gone without a word: what it had taken is there again. */
static void rolled_back_by_the_application(void **state)
{
    (void)state;
    fill_up();
    for (int i = 0; i < 3; i++) {
        struct tx_error e;
        txn *t = begin_taking();

        assert_int_equal(txn_rollback(t, &e), TX_OK);
        txn_free(t);
    }
    assert_told();
}

static const char *const points[] = {
    "agent.before_prepare:3=kill", "agent.prepared:3=kill",  "agent.voted:3=kill",
    "agent.before_commit:3=kill",  "agent.committed:3=kill", "agent.reported:3=kill",
    "agent.before_rollback=kill",  "agent.rolled_back=kill", "agent.scanned:2=kill"};

static void die_at(const char *point)
{
    char env[64];
    uint64_t end = world_now_ms() + KIT_SETTLE_MS;

    world_process_stop(service);
    snprintf(env, sizeof env, "ASSENT_CRASH=%s", point);
    world_process_start_ready(service, env);
    for (int i = 0; i < ORDERS && world_process_running(service) && world_now_ms() < end; i++)
        order(1, strstr(point, "roll") != NULL);
    if (world_process_wait(service, KIT_SETTLE_MS) != -SIGKILL)
        fail_msg("the service did not come to %s", point);
    world_process_start_ready(service, NULL);
    stock_await(kit.world);
}

static void killed_at_every_point(void **state)
{
    (void)state;
    fill_up();
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        print_message("# %s\n", points[i]);
        die_at(points[i]);
        assert_told();
    }
}

/* What a crash in the middle of a write leaves is cut off; what was forced is there. */
static void torn_last_line(void **state)
{
    FILE *journal;

    (void)state;
    fill_up();
    assert_int_equal(order(1, false)->rc, TX_OK);
    world_process_kill(service);
    journal = fopen(kit.stock.journal, "a");
    assert_non_null(journal);
    fprintf(journal, "put bolt 1000");
    fclose(journal);
    world_process_start_ready(service, NULL);
    stock_await(kit.world);
    assert_int_equal(PIECES - count_pieces(), 1);
    assert_int_equal(order(1, false)->rc, TX_OK);
    world_process_kill(service);
    world_process_start_ready(service, NULL);
    stock_await(kit.world);
    assert_int_equal(PIECES - count_pieces(), 2);
    assert_told();
}

/* Killed inside its own write, at the beginning, in the middle and before the last byte of the line. */
static void killed_while_it_writes(void **state)
{
    static const struct tear tears[] = {{false, 0}, {false, 12}, {false, -1},
                                        {true, 0},  {true, 12},  {true, -1}};

    (void)state;
    fill_up();
    for (size_t i = 0; i < sizeof tears / sizeof *tears; i++) {
        tear = &tears[i];
        order(1, false);
        tear = NULL;
        assert_int_equal(world_process_wait(service, KIT_SETTLE_MS), -SIGXFSZ);
        assert_int_equal(told[n_told - 1].rc, tears[i].second ? TX_OK : TX_EROLLBACK);
        world_process_start_ready(service, NULL);
        stock_await(kit.world);
        assert_told();
    }
}

/* Requests come in pieces, and several in one. */
static void requests_in_parts(void **state)
{
    static const char *const parts[] = {"co", "unt bo", "lt\ncount bolt\ncou", "nt bolt\n"};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)kit.stock.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), lines = 0;
    char c;

    (void)state;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(write(fd, parts[i], strlen(parts[i])), strlen(parts[i]));
        world_sleep_ms(20);
    }
    while (lines < 3 && read(fd, &c, 1) == 1)
        lines += c == '\n';
    assert_int_equal(lines, 3);
    close(fd);
}

/* The application of examples/order.c, with what it prints. */
static void the_other_example(void **state)
{
    char program[WORLD_PATH_SIZE], conninfo[WORLD_PATH_SIZE], port[16];
    struct world_output o;

    (void)state;
    fill_up();
    snprintf(port, sizeof port, "%u", kit.stock.port);
    world_program(kit.world, "examples/order", program);
    world_server_conninfo(kit.bank[0], "app", conninfo);
    world_sql(kit.bank[0], "CREATE TABLE orders (transaction text, item text, n int);"
                           "GRANT ALL ON orders TO app");
    o = world_run(kit.world, WORLD_ARGS(program, conninfo, port, "bolt", "3"));
    assert_string_equal(o.text, "committed: 3 of bolt\n");
    assert_int_equal(o.code, 0);
    world_output_release(&o);
    o = world_run(kit.world, WORLD_ARGS(program, conninfo, port, "bolt", "9999999"));
    assert_string_equal(o.text, "not committed: no there are not 9999999 of bolt\n");
    assert_int_equal(o.code, 1);
    world_output_release(&o);
    assert_int_equal(PIECES - count_pieces(), 3);
    assert_int_equal(world_sql_number(kit.bank[0], "SELECT sum(n) FROM orders"), 3);
}

static int open_group(void **state)
{
    /* While the service is dead its vote and its commit are waited for. */
    static const char *const hasty[] = {"--vote_timeout", "2s", NULL};
    const struct kit_options options = {.stock = true, .coordinator_flags = hasty};

    (void)state;
    kit_open(&kit, "service", &options);
    service = kit.stock.process;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(takes_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarted_at_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(doubled_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rolled_back_by_the_application, set_up, tear_down),
        cmocka_unit_test_setup_teardown(torn_last_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_while_it_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(requests_in_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_other_example, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_at_every_point, set_up, tear_down),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
