/* test_threads: one client, many threads, each with transactions and connections of its own. Also run under the
 * thread sanitizer. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/kit.h"

static struct kit kit;
static const char *const names[2] = {"bank_a", "bank_b"};

enum { THREADS = 8, TRANSFERS = 25 };

struct teller {
    tx_client *client;
    PGconn *conn[2];
    int number;
    struct tx_error error; /* checks belong to the main thread */
};

static int open_group(void **state)
{
    (void)state;
    kit_open(&kit, "threads", NULL);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    kit_settle(&kit);
    return 0;
}

/* The receipt on one side of a transfer. */
static int write_receipt(struct teller *w, txn *t, int bank, const char *receipt, bool remote,
                         struct tx_error *e)
{
    char sql[96];
    PGresult *r;
    int rc;

    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", receipt);
    if (remote)
        return txn_exec(t, names[bank], sql, 0, NULL, NULL, e);
    rc = txn_enlist_pg(t, names[bank], w->conn[bank], e);
    if (rc != TX_OK)
        return rc;
    r = PQexec(w->conn[bank], sql);
    rc = PQresultStatus(r) == PGRES_COMMAND_OK ? TX_OK : TX_ESTATEMENT;
    PQclear(r);
    return rc;
}

/* Every third one has a remote branch, every seventh is rolled back. */
static int transfer(struct teller *w, int i, struct tx_error *e)
{
    char receipt[32];
    int rc;
    txn *t;

    rc = txn_begin(w->client, &t, e);
    if (rc != TX_OK)
        return rc;
    snprintf(receipt, sizeof receipt, "%d.%d", w->number, i);
    rc = write_receipt(w, t, 0, receipt, false, e);
    if (rc == TX_OK)
        rc = write_receipt(w, t, 1, receipt, i % 3 == 2, e);
    if (rc == TX_OK)
        rc = i % 7 == 6 ? txn_rollback(t, e) : txn_commit(t, TXN_COMPLETED, e);
    txn_free(t);
    return rc;
}

static void *tell(void *arg)
{
    struct teller *w = arg;

    for (int i = 0; i < TRANSFERS; i++) {
        if (transfer(w, i, &w->error) != TX_OK)
            return w;
    }
    return NULL;
}

static void start(struct teller *w, pthread_t *thread, tx_client *client, int number)
{
    *w = (struct teller){.client = client, .number = number};
    for (int bank = 0; bank < 2; bank++)
        w->conn[bank] = kit_connect(&kit, bank);
    assert_int_equal(pthread_create(thread, NULL, tell, w), 0);
}

static void join(struct teller *w, pthread_t thread)
{
    void *failed;

    pthread_join(thread, &failed);
    for (int bank = 0; bank < 2; bank++)
        PQfinish(w->conn[bank]);
    if (failed != NULL)
        fail_msg("thread %d: %s", w->number, w->error.msg);
}

static void run_tellers(bool kill_coordinator)
{
    tx_client *client = kit_client(&kit);
    struct teller tellers[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        start(&tellers[i], &threads[i], client, i);
    if (kill_coordinator) {
        world_process_kill(kit.coordinator);
        world_process_start_ready(kit.coordinator, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        join(&tellers[i], threads[i]);
    tx_client_close(client);
    kit_assert_sound(&kit);
    assert_int_equal(world_sql_number(kit.bank[0], "SELECT count(*) FROM receipts"),
                     THREADS * (TRANSFERS - TRANSFERS / 7));
}

static void test_threads_share_a_client(void **state)
{
    (void)state;
    run_tellers(false);
}

/* Every commit under way is asked for again by itself; none may spoil another's answer. */
static void test_threads_outlive_a_coordinator(void **state)
{
    (void)state;
    run_tellers(true);
}

static void *open_and_close(void *arg)
{
    for (int i = 0; i < 5; i++)
        tx_client_close(kit_client(arg));
    return NULL;
}

static void test_threads_open_clients(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &kit), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_threads_share_a_client, set_up),
        cmocka_unit_test_setup(test_threads_outlive_a_coordinator, set_up),
        cmocka_unit_test_setup(test_threads_open_clients, set_up),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
