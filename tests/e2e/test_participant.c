/* test_participant: this program as a participant, on libtx's own thread, beside two PostgreSQL databases and a
 * group of three coordinators. Statements come by txn_exec(), calls are answered LATER by threads of its own,
 * and its store outlives the participant, so that closing it in the middle is a crash that can be placed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_participant.h"
#include "tests/lib/kit.h"

enum { BRANCHES = 256, WORKERS = 4096, DOUBTS = 12, LEAVE = 99 /* a callback that is never answered */ };

enum state { UNUSED, WORKING, PREPARED, COMMITTED, ROLLED_BACK };

struct branch {
    char name[TX_BRANCH_SIZE];
    enum state state;
    long amount;
};

struct call {
    const char *what;
    char branch[TX_BRANCH_SIZE];
    long amount;
};

static struct kit kit;
static tx_client *client;
static PGconn *bank;
static tx_participant *participant;
static char address[64];

/* The store, guarded by its mutex; the callbacks run on libtx's thread. */
static pthread_mutex_t store = PTHREAD_MUTEX_INITIALIZER;
static struct branch branches[BRANCHES];
static long total, commits, rollbacks;
static int fail_commits, prepare_answer, leave_commits, forgetful; /* the last two: or not */
static pthread_t workers[WORKERS];
static unsigned n_workers, n_lines;

static struct branch *find(const char *name, bool make)
{
    for (int i = 0; i < BRANCHES; i++) {
        if (branches[i].state == UNUSED && make) {
            branches[i].state = WORKING;
            snprintf(branches[i].name, sizeof branches[i].name, "%s", name);
        }
        if (branches[i].state != UNUSED && strcmp(branches[i].name, name) == 0)
            return &branches[i];
    }
    return NULL;
}

static int do_exec(const struct call *c, char text[64])
{
    struct branch *b = find(c->branch, true);

    if (b == NULL || b->state != WORKING || c->amount == 0) {
        snprintf(text, 64, "no such amount");
        return TX_ESTATEMENT;
    }
    b->amount += c->amount;
    snprintf(text, 64, "%ld", b->amount);
    return TX_OK;
}

static int do_prepare(const struct call *c)
{
    struct branch *b = find(c->branch, false);

    if (b == NULL)
        return TX_EROLLBACK;
    b->state = prepare_answer == TX_OK ? PREPARED : ROLLED_BACK;
    return prepare_answer;
}

static int do_commit(const struct call *c)
{
    struct branch *b = find(c->branch, false);

    if (leave_commits)
        return LEAVE;
    if (fail_commits > 0) {
        fail_commits--;
        return TX_EIO;
    }
    if (b == NULL || forgetful || (b->state != PREPARED && b->state != COMMITTED))
        return TX_ENOTFOUND;
    commits++;
    if (b->state == PREPARED)
        total += b->amount;
    b->state = COMMITTED;
    return TX_OK;
}

static int do_rollback(const struct call *c)
{
    struct branch *b = find(c->branch, false);

    rollbacks++;
    if (b != NULL && b->state == COMMITTED)
        return TX_EHEURISTIC;
    if (b != NULL)
        b->state = ROLLED_BACK;
    return TX_OK;
}

static void *work(void *arg)
{
    struct call *c = arg;
    char text[64] = "";
    int rc;

    pthread_mutex_lock(&store);
    rc = c->what[0] == 'e'   ? do_exec(c, text)
         : c->what[0] == 'p' ? do_prepare(c)
         : c->what[0] == 'c' ? do_commit(c)
                             : do_rollback(c);
    pthread_mutex_unlock(&store);
    if (rc != LEAVE)
        tx_participant_answer(participant, c->branch, rc, text);
    free(c);
    return NULL;
}

static int later(const char *what, const char *branch, long amount)
{
    struct call *c = calloc(1, sizeof *c);

    c->what = what;
    c->amount = amount;
    snprintf(c->branch, sizeof c->branch, "%s", branch);
    if (n_workers == WORKERS || pthread_create(&workers[n_workers++], NULL, work, c) != 0)
        abort();
    return TX_PARTICIPANT_LATER;
}

static int on_exec(void *arg, const char *branch, const char *statement, int n_values,
                   const char *const *values, char *result, size_t size)
{
    (void)arg;
    if (strcmp(statement, "add") == 0 && n_values == 1)
        return later("exec", branch, atol(values[0]));
    snprintf(result, size, "there is only: add AMOUNT");
    return TX_ESTATEMENT;
}

static int on_prepare(void *arg, const char *branch)
{
    char name[TX_BRANCH_SIZE];
    struct tx_error e;

    (void)arg;
    tx_participant_dispatch(participant); /* does nothing, from here */
    if (tx_participant_join(participant, "nonsense", name, &e) != TX_EINVAL)
        abort();
    return later("prepare", branch, 0);
}

static int on_commit(void *arg, const char *branch)
{
    (void)arg;
    return later("commit", branch, 0);
}

/* At once: the last ones come from tx_participant_close(), which waits for no answer. */
static int on_rollback(void *arg, const char *branch)
{
    struct call c = {.what = "rollback"};
    int rc;

    (void)arg;
    snprintf(c.branch, sizeof c.branch, "%s", branch);
    pthread_mutex_lock(&store);
    rc = do_rollback(&c);
    pthread_mutex_unlock(&store);
    return rc;
}

static int on_list(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list)
{
    (void)arg;
    pthread_mutex_lock(&store);
    for (int i = 0; i < BRANCHES; i++) {
        if (branches[i].state == PREPARED)
            found(list, branches[i].name, 5000);
    }
    pthread_mutex_unlock(&store);
    return TX_OK;
}

static int ready; /* it knows its group */

static void on_line(void *arg, const char *line)
{
    if (strstr(line, "event=ready") != NULL)
        __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    ++*(unsigned *)arg;
}

/* What tests ask of it */

/* A coordinator may still take the one before for this one. */
static bool is_up(void *arg)
{
    (void)arg;
    return world_resources_up(kit.world, WORLD_ARGS("shop")) > 0 && __atomic_load_n(&ready, __ATOMIC_ACQUIRE);
}

static void open_participant(void)
{
    char identity[WORLD_PATH_SIZE];
    const struct tx_participant_options options = {.resource = "shop",
                                                   .coordinators = world_coordinators(kit.world),
                                                   .listen = address,
                                                   .identity = world_identity(kit.world, "service", identity),
                                                   .scan_interval_ms = 300,
                                                   .log = on_line,
                                                   .log_arg = &n_lines};
    const struct tx_participant_callbacks callbacks = {.prepare = on_prepare,
                                                       .commit = on_commit,
                                                       .rollback = on_rollback,
                                                       .list_in_doubt = on_list,
                                                       .exec = on_exec};
    struct tx_error e;

    pthread_mutex_lock(&store);
    fail_commits = 0;
    prepare_answer = TX_OK;
    leave_commits = forgetful = 0;
    pthread_mutex_unlock(&store);
    __atomic_store_n(&ready, 0, __ATOMIC_RELEASE);
    if (tx_participant_open(&participant, &options, &callbacks, &e) != TX_OK ||
        tx_participant_start(participant, &e) != TX_OK)
        fail_msg("%s", e.msg);
    if (!world_wait(KIT_SETTLE_MS, is_up, NULL))
        fail_msg("no coordinator knows the service");
}

/* libtx's thread makes new workers as long as there are calls, so it ends first. */
static void close_participant(void)
{
    tx_participant_stop(participant);
    for (unsigned i = 0; i < n_workers; i++)
        pthread_join(workers[i], NULL);
    n_workers = 0;
    tx_participant_close(participant);
    participant = NULL;
}

static long read_count(const long *from)
{
    long n;

    pthread_mutex_lock(&store);
    n = *from;
    pthread_mutex_unlock(&store);
    return n;
}

static unsigned count(enum state s)
{
    unsigned n = 0;

    pthread_mutex_lock(&store);
    for (int i = 0; i < BRANCHES; i++)
        n += branches[i].state == s;
    pthread_mutex_unlock(&store);
    return n;
}

static bool nothing_open(void *arg)
{
    (void)arg;
    return count(WORKING) == 0 && count(PREPARED) == 0;
}

static bool rolled_back_more(void *arg)
{
    return read_count(&rollbacks) > *(long *)arg;
}

/* For its threads, which look at it under the lock. */
static void set(int *what, int value)
{
    pthread_mutex_lock(&store);
    *what = value;
    pthread_mutex_unlock(&store);
}

static void add(txn *t, int amount, long sum)
{
    char text[16], want[16];
    const char *values[] = {text};
    struct tx_error e;
    txn_rows *rows;

    snprintf(text, sizeof text, "%d", amount);
    snprintf(want, sizeof want, "%ld", sum);
    if (txn_exec(t, "shop", "add", 1, values, &rows, &e) != TX_OK)
        fail_msg("add %d: %s", amount, e.msg);
    assert_string_equal(txn_rows_value(rows, 0, 0), want);
    txn_rows_free(rows);
}

/* The service, and a receipt in each bank: one direct, one remote. */
static txn *begin_all(const char *receipt)
{
    struct tx_error e;
    char sql[96];
    txn *t = kit_begin(client);

    add(t, 1, 1);
    assert_int_equal(txn_enlist_pg(t, "bank_a", bank, &e), TX_OK);
    kit_move(bank, receipt, 0);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    assert_int_equal(txn_exec(t, "bank_b", sql, 0, NULL, NULL, &e), TX_OK);
    return t;
}

static int commit(txn *t)
{
    int rc = txn_commit(t, TXN_COMPLETED, NULL);

    txn_free(t);
    return rc;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    memset(branches, 0, sizeof branches);
    total = 0;
    commits = rollbacks = 0;
    open_participant();
    client = kit_client(&kit);
    bank = kit_connect(&kit, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    PQfinish(bank);
    tx_client_close(client);
    close_participant();
    return 0;
}

/* Tests */

static void three_resources(void **state)
{
    (void)state;
    assert_int_equal(commit(begin_all("all")), TX_OK);
    assert_int_equal(read_count(&total), 1);
    assert_int_equal(kit_receipts(&kit, "all"), 2);
    assert_true(n_lines > 0);
}

static void two_at_once(void **state)
{
    struct tx_error e;
    char context[TXN_CONTEXT_SIZE], name[TX_BRANCH_SIZE];
    txn *one = kit_begin(client), *two = kit_begin(client);

    (void)state;
    add(one, 1, 1);
    add(two, 10, 10);
    add(one, 1, 2);
    assert_int_equal(txn_export(two, "shop", context, &e), TX_OK); /* both ways in one branch */
    assert_int_equal(tx_participant_join(participant, context, name, &e), TX_OK);
    assert_int_equal(tx_participant_join(participant, context, name, &e), TX_EREFUSED);
    add(two, 10, 20);
    assert_int_equal(txn_rollback(two, &e), TX_OK);
    txn_free(two);
    assert_int_equal(commit(one), TX_OK);
    assert_int_equal(read_count(&total), 2);
    assert_true(world_wait(KIT_SETTLE_MS, nothing_open, NULL));
}

static void refused_statement(void **state)
{
    struct tx_error e;
    txn *t = begin_all("refused");

    (void)state;
    assert_int_equal(txn_exec(t, "shop", "subtract", 0, NULL, NULL, &e), TX_ESTATEMENT);
    assert_non_null(strstr(e.msg, "there is only"));
    assert_int_equal(commit(t), TX_EROLLBACK);
    assert_true(world_wait(KIT_SETTLE_MS, nothing_open, NULL));
    assert_int_equal(read_count(&total), 0);
    assert_int_equal(kit_receipts(&kit, "refused"), 0);
}

static void votes(void **state)
{
    txn *t = begin_all("read_only");

    (void)state;
    set(&prepare_answer, TX_PARTICIPANT_READ_ONLY);
    assert_int_equal(commit(t), TX_OK);
    assert_int_equal(read_count(&commits), 0);
    assert_int_equal(kit_receipts(&kit, "read_only"), 2);
    t = begin_all("no");
    set(&prepare_answer, TX_EROLLBACK);
    assert_int_equal(commit(t), TX_EROLLBACK);
    assert_int_equal(read_count(&commits), 0);
    assert_int_equal(kit_receipts(&kit, "no"), 0);
}

static void commit_fails_for_a_while(void **state)
{
    txn *t = begin_all("slow");

    (void)state;
    set(&fail_commits, 3);
    assert_int_equal(commit(t), TX_OK);
    assert_int_equal(read_count(&total), 1);
    assert_int_equal(kit_receipts(&kit, "slow"), 2);
    t = kit_begin(client); /* the only branch */
    add(t, 5, 5);
    set(&fail_commits, 2);
    assert_int_equal(commit(t), TX_OK);
    assert_int_equal(read_count(&total), 6);
}

static void nothing_known_is_a_hazard(void **state)
{
    char id[KIT_ID_SIZE];
    txn *t = begin_all("hazard");

    (void)state;
    snprintf(id, sizeof id, "%s", txn_id(t));
    set(&forgetful, 1);
    assert_int_equal(commit(t), TX_EHAZARD);
    assert_int_equal(kit_receipts(&kit, "hazard"), 2);
    kit_assert_admin(&kit, WORLD_ARGS("show", id), 0, "knows nothing of this branch");
    kit_assert_admin(&kit, WORLD_ARGS("transactions"), 0, "heuristic");
    kit_assert_admin(&kit, WORLD_ARGS("forget", id, "--yes"), 0, "");
}

/* Decided, and the service died before it heard of it; it names all of them when it is back. */
static void many_in_doubt_at_start(void **state)
{
    struct tx_error e;

    (void)state;
    set(&leave_commits, 1);
    for (int i = 0; i < DOUBTS; i++) {
        txn *t = kit_begin(client);
        char receipt[32];

        add(t, 1, 1);
        snprintf(receipt, sizeof receipt, "doubt_%d", i);
        assert_int_equal(txn_enlist_pg(t, "bank_a", bank, &e), TX_OK);
        kit_move(bank, receipt, 0);
        assert_int_equal(txn_commit(t, TXN_DECISION_LOGGED, &e), TX_OK);
        txn_free(t);
    }
    close_participant();
    assert_int_equal(count(PREPARED), DOUBTS);
    assert_int_equal(read_count(&total), 0);
    open_participant();
    assert_true(world_wait(KIT_SETTLE_MS, nothing_open, NULL));
    assert_int_equal(read_count(&total), DOUBTS);
    assert_int_equal(count(COMMITTED), DOUBTS);
}

static tx_client *impatient(void)
{
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = 1500,
                                        .commit_timeout_ms = 1500};
    struct tx_error e;
    tx_client *c;

    assert_int_equal(tx_client_open(&c, &options, &e), TX_OK);
    return c;
}

/* The only branch, prepared and never committed: the coordinator knows nothing of it, so it is rolled back. */
static void lost_between_the_phases(void **state)
{
    tx_client *c = impatient();
    txn *t = kit_begin(c);
    int rc;

    (void)state;
    add(t, 1, 1);
    set(&leave_commits, 1);
    rc = commit(t);
    assert_true(rc == TX_EINDOUBT || rc == TX_EROLLBACK);
    close_participant();
    assert_int_equal(count(PREPARED), 1);
    open_participant();
    assert_true(world_wait(KIT_SETTLE_MS, nothing_open, NULL));
    assert_int_equal(count(ROLLED_BACK), 1);
    assert_int_equal(read_count(&total), 0);
    tx_client_close(c);
}

static void the_leader_dies_meanwhile(void **state)
{
    txn *t;

    (void)state;
    for (int i = 0; i < 2; i++) {
        char receipt[32];
        unsigned leader = kit_await_group(&kit);

        snprintf(receipt, sizeof receipt, "leader_%d", i);
        t = begin_all(receipt);
        world_process_kill(kit.node[leader]);
        add(t, 1, 2);
        assert_int_equal(commit(t), TX_OK);
        assert_int_equal(kit_receipts(&kit, receipt), 2);
        world_process_start_ready(kit.node[leader], NULL);
    }
    assert_int_equal(read_count(&total), 4);
}

/* The application says nothing more. */
static void idle_branches_are_rolled_back(void **state)
{
    tx_client *c = impatient();
    txn *t = kit_begin(c);
    long before = read_count(&rollbacks);
    char context[TXN_CONTEXT_SIZE], name[TX_BRANCH_SIZE];
    struct tx_error e;

    (void)state;
    add(t, 1, 1);
    assert_true(world_wait(KIT_SETTLE_MS, rolled_back_more, &before));
    assert_int_equal(count(ROLLED_BACK), 1);
    assert_int_equal(txn_export(t, "shop", context, &e), TX_OK);
    assert_int_equal(tx_participant_join(participant, context, name, &e), TX_EROLLBACK);
    assert_non_null(strstr(e.msg, "silent"));
    assert_int_equal(commit(t), TX_EROLLBACK);
    tx_client_close(c);
}

static void closed_while_at_work(void **state)
{
    txn *t = begin_all("closed");

    (void)state;
    assert_int_equal(count(WORKING), 1);
    close_participant();
    assert_int_equal(count(WORKING), 0);
    assert_int_equal(read_count(&rollbacks), 1);
    open_participant();
    assert_int_equal(commit(t), TX_EROLLBACK);
    assert_int_equal(kit_receipts(&kit, "closed"), 0);
    assert_int_equal(read_count(&total), 0);
}

static int open_group(void **state)
{
    const struct kit_options options = {.nodes = 3};

    (void)state;
    kit_open(&kit, "participant", &options);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", world_port(kit.world));
    return 0;
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(three_resources),           TEST(two_at_once),
        TEST(refused_statement),         TEST(votes),
        TEST(commit_fails_for_a_while),  TEST(nothing_known_is_a_hazard),
        TEST(many_in_doubt_at_start),    TEST(lost_between_the_phases),
        TEST(the_leader_dies_meanwhile), TEST(idle_branches_are_rolled_back),
        TEST(closed_while_at_work),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
