/* test_doubles: requests that come twice to a service, with a restart of it in between: once for each way in,
 * by context and by statement. And what a restarted service says of its branches: an age of 0, an outcome that
 * is still to come.
 *
 * This program is two services, each with a store for one branch, which outlives its participant; so closing
 * one is a crash that can be placed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_participant.h"
#include "libtx/shared/context.h"
#include "libtx/shared/wire.h"
#include "tests/lib/kit.h"

enum { SCAN_MS = 300, TRANSACTION_MS = 3000, COMMIT_MS = 15000, DOUBLE_MS = 5000 };

enum state { NOTHING, WORKING, PREPARED, COMMITTED, ROLLED_BACK };

struct service {
    const char *resource;
    char address[64];
    tx_participant *participant;
    /* The store, and what becomes of it: guarded by the mutex. */
    enum state state;
    char branch[TX_BRANCH_SIZE];
    bool hold_vote, hold_commit;
};

static struct world *world;
static struct service one = {.resource = "one"}, other = {.resource = "other"};
static tx_client *client;
static pthread_mutex_t store = PTHREAD_MUTEX_INITIALIZER;

/* The services */

static int on_prepare(void *arg, const char *branch)
{
    struct service *s = arg;
    int rc = TX_EROLLBACK;

    (void)branch;
    pthread_mutex_lock(&store);
    if (s->hold_vote)
        rc = TX_PARTICIPANT_LATER;
    else if (s->state == WORKING || s->state == PREPARED)
        rc = TX_OK;
    if (rc == TX_OK)
        s->state = PREPARED;
    pthread_mutex_unlock(&store);
    return rc;
}

static int on_commit(void *arg, const char *branch)
{
    struct service *s = arg;
    int rc = TX_ENOTFOUND;

    (void)branch;
    pthread_mutex_lock(&store);
    if (s->hold_commit)
        rc = TX_PARTICIPANT_LATER;
    else if (s->state == PREPARED || s->state == COMMITTED)
        rc = TX_OK;
    if (rc == TX_OK)
        s->state = COMMITTED;
    pthread_mutex_unlock(&store);
    return rc;
}

static int on_rollback(void *arg, const char *branch)
{
    struct service *s = arg;
    int rc = TX_OK;

    (void)branch;
    pthread_mutex_lock(&store);
    if (s->state == COMMITTED)
        rc = TX_EHEURISTIC;
    else
        s->state = ROLLED_BACK;
    pthread_mutex_unlock(&store);
    return rc;
}

/* It keeps no clock. */
static int on_list(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list)
{
    struct service *s = arg;

    pthread_mutex_lock(&store);
    if (s->state == PREPARED)
        found(list, s->branch, 0);
    pthread_mutex_unlock(&store);
    return TX_OK;
}

static int on_exec(void *arg, const char *branch, const char *statement, int n_values,
                   const char *const *values, char *result, size_t size)
{
    struct service *s = arg;

    (void)statement;
    (void)n_values;
    (void)values;
    pthread_mutex_lock(&store);
    s->state = WORKING;
    snprintf(s->branch, sizeof s->branch, "%s", branch);
    pthread_mutex_unlock(&store);
    snprintf(result, size, "done");
    return TX_OK;
}

static void open_service(struct service *s)
{
    char identity[WORLD_PATH_SIZE];
    const struct tx_participant_options options = {.resource = s->resource,
                                                   .identity = world_identity(world, "service", identity),
                                                   .coordinators = world_coordinators(world),
                                                   .listen = s->address,
                                                   .scan_interval_ms = SCAN_MS};
    const struct tx_participant_callbacks callbacks = {.arg = s,
                                                       .prepare = on_prepare,
                                                       .commit = on_commit,
                                                       .rollback = on_rollback,
                                                       .list_in_doubt = on_list,
                                                       .exec = on_exec};
    struct tx_error e;

    if (tx_participant_open(&s->participant, &options, &callbacks, &e) != TX_OK ||
        tx_participant_start(s->participant, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

static void close_service(struct service *s)
{
    tx_participant_close(s->participant);
    s->participant = NULL;
}

static enum state state_of(const struct service *s)
{
    enum state state;

    pthread_mutex_lock(&store);
    state = s->state;
    pthread_mutex_unlock(&store);
    return state;
}

static void set(bool *what, bool value)
{
    pthread_mutex_lock(&store);
    *what = value;
    pthread_mutex_unlock(&store);
}

static bool is_prepared(void *arg)
{
    return state_of(arg) == PREPARED;
}

static bool is_over(void *arg)
{
    return state_of(arg) == COMMITTED || state_of(arg) == ROLLED_BACK;
}

/* The application */

/* Until the participant has reached the coordinator, and has read what it has prepared, it takes nothing. */
struct joining {
    const struct service *service;
    const char *context;
    char branch[TX_BRANCH_SIZE];
    struct tx_error e;
};

static bool is_answered(void *arg)
{
    struct joining *j = arg;

    j->e.code = TX_OK;
    return tx_participant_join(j->service->participant, j->context, j->branch, &j->e) != TX_EUNREACHABLE;
}

static int join(const struct service *s, const char *context, char branch[TX_BRANCH_SIZE])
{
    struct joining j = {.service = s, .context = context};

    if (!world_wait(KIT_SETTLE_MS, is_answered, &j))
        fail_msg("%s reaches no coordinator", s->resource);
    if (j.e.code == TX_OK)
        snprintf(branch, TX_BRANCH_SIZE, "%s", j.branch);
    return j.e.code;
}

static void request(struct service *s, txn *t, char context[TXN_CONTEXT_SIZE])
{
    struct tx_error e;

    assert_int_equal(txn_export(t, s->resource, context, &e), TX_OK);
    assert_int_equal(join(s, context, s->branch), TX_OK);
    pthread_mutex_lock(&store);
    s->state = WORKING;
    pthread_mutex_unlock(&store);
}

static void *commit(void *arg)
{
    struct tx_error e;
    int rc = txn_commit(arg, TXN_COMPLETED, &e);

    txn_free(arg);
    return (void *)(intptr_t)rc;
}

static pthread_t commit_meanwhile(txn *t)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, commit, t), 0);
    return thread;
}

static int commit_result(pthread_t thread)
{
    void *rc;

    pthread_join(thread, &rc);
    return (int)(intptr_t)rc;
}

/* The coordinator knows both. */
static bool are_up(void *arg)
{
    (void)arg;
    return world_resources_up(world, NULL) == 2;
}

static int set_up(void **state)
{
    struct tx_client_options options = {.coordinators = world_coordinators(world),
                                        .session_timeout_ms = 2000,
                                        .transaction_timeout_ms = TRANSACTION_MS,
                                        .commit_timeout_ms = COMMIT_MS};
    struct tx_error e;

    (void)state;
    one.state = other.state = NOTHING;
    one.hold_vote = one.hold_commit = other.hold_vote = other.hold_commit = false;
    open_service(&one);
    open_service(&other);
    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    assert_true(world_wait(KIT_SETTLE_MS, are_up, NULL));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tx_client_close(client);
    close_service(&one);
    close_service(&other);
    return 0;
}

/* `one` is prepared and restarted, `other` has not voted yet. */
static pthread_t prepared_and_restarted(txn *t, char context[TXN_CONTEXT_SIZE])
{
    char unused[TXN_CONTEXT_SIZE];
    pthread_t thread;

    request(&one, t, context);
    request(&other, t, unused);
    set(&other.hold_vote, true);
    thread = commit_meanwhile(t);
    assert_true(world_wait(KIT_SETTLE_MS, is_prepared, &one));
    close_service(&one);
    open_service(&one);
    return thread;
}

static void assert_committed(pthread_t thread)
{
    pthread_mutex_lock(&store);
    other.hold_vote = false;
    other.state = PREPARED;
    pthread_mutex_unlock(&store);
    tx_participant_answer(other.participant, other.branch, TX_OK, NULL);
    assert_int_equal(commit_result(thread), TX_OK);
    assert_true(world_wait(KIT_SETTLE_MS, is_over, &one));
    world_sleep_ms(TRANSACTION_MS + 500); /* a double would be given up by now */
    assert_int_equal(state_of(&one), COMMITTED);
    assert_int_equal(state_of(&other), COMMITTED);
}

/* Tests */

/* The name is that of a prepared branch: what ends the double must not end that. */
static void a_context_after_a_restart(void **state)
{
    char context[TXN_CONTEXT_SIZE], branch[TX_BRANCH_SIZE];
    pthread_t thread = prepared_and_restarted(kit_begin(client), context);

    (void)state;
    assert_int_equal(join(&one, context, branch), TX_EREFUSED);
    assert_committed(thread);
}

static bool has_rows(void *arg)
{
    struct kit_asker *a = arg;

    return channel_receive(&a->channel, &a->message) == 1;
}

static bool is_dialled(void *arg)
{
    return channel_ready(&((struct kit_asker *)arg)->channel);
}

/* The code that the service answers the first statement of this context's branch with. */
static int execute(const struct service *s, const char *context)
{
    struct wire_message m = {.type = WIRE_EXEC};
    struct wire_scratch *scratch = calloc(1, sizeof *scratch);
    struct kit_asker a;
    struct context c;
    struct buf out;

    assert_true(context_parse(context, &c));
    m.exec = (struct wire_exec){.id = c.id,
                                .branch = c.branch,
                                .number = 1,
                                .timeout_ms = TRANSACTION_MS,
                                .resource = s->resource,
                                .statement = "work"};
    assert_int_equal(channel_dial(&a.channel, s->address, MESSAGE_LIMIT, world_security(world, "client"), NULL),
                     TX_OK);
    assert_true(world_wait(DOUBLE_MS, is_dialled, &a));
    buf_init(&out);
    assert_int_equal(wire_encode(&m, &out), TX_OK);
    assert_int_equal(channel_send(&a.channel, 1, out.data, out.len), TX_OK);
    assert_true(world_wait(DOUBLE_MS, has_rows, &a));
    assert_int_equal(wire_decode(&m, a.message.data, a.message.len, scratch, NULL), TX_OK);
    assert_int_equal(m.type, WIRE_ROWS);
    channel_release(&a.message);
    channel_close(&a.channel);
    buf_release(&out);
    free(scratch);
    return m.rows.code;
}

static void a_statement_after_a_restart(void **state)
{
    char context[TXN_CONTEXT_SIZE], branch[TX_BRANCH_SIZE];
    pthread_t thread = prepared_and_restarted(kit_begin(client), context);

    (void)state;
    (void)join(&one, context, branch); /* it has reached the coordinator */
    assert_int_equal(execute(&one, context), TX_EREFUSED);
    assert_committed(thread);
}

/* The only branch is prepared, and its commit was under way when the service ended. Nobody has decided, so it
 * is rolled back, however young the service says that it is; and whoever waits for the outcome is told that,
 * not «in doubt» at once. */
static void the_outcome_is_waited_for(void **state)
{
    struct tx_error e;
    txn *t = kit_begin(client);
    pthread_t thread;

    (void)state;
    set(&one.hold_commit, true);
    for (int i = 0; i < 100 && txn_exec(t, "one", "work", 0, NULL, NULL, &e) != TX_OK; i++) {
        assert_int_equal(e.code, TX_EUNREACHABLE);
        txn_rollback(t, NULL);
        txn_free(t);
        world_sleep_ms(100);
        t = kit_begin(client);
    }
    thread = commit_meanwhile(t);
    assert_true(world_wait(KIT_SETTLE_MS, is_prepared, &one));
    world_sleep_ms(200); /* the commit is called, and not answered */
    close_service(&one);
    set(&one.hold_commit, false);
    open_service(&one);
    assert_int_equal(commit_result(thread), TX_EROLLBACK);
    assert_int_equal(state_of(&one), ROLLED_BACK);
}

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static int open_world(void **state)
{
    const struct world_options options = {.name = "doubles", .fail = fail_test};

    (void)state;
    world = world_new(&options);
    world_process_start_ready(world_coordinator_new(world, "coordinator", NULL), NULL);
    snprintf(one.address, sizeof one.address, "tcp://127.0.0.1:%u", world_port(world));
    snprintf(other.address, sizeof other.address, "tcp://127.0.0.1:%u", world_port(world));
    return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_context_after_a_restart),
        TEST(a_statement_after_a_restart),
        TEST(the_outcome_is_waited_for),
    };
    int failed;

    if (getenv("ASSENT_TEST") != NULL)
        cmocka_set_test_filter(getenv("ASSENT_TEST"));
    failed = cmocka_run_group_tests(tests, open_world, NULL);
    return world_free(world, failed != 0) && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
