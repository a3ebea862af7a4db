/* soak_client: an application of the endurance run. It moves money between the banks in one of the ways of enum
 * book_mode, and writes down what it means to do before it does it, and what it was told. Runs as a process of
 * its own and knows nothing of faults: it reconnects where it has to, and goes on until SIGTERM.
 *
 * Called by world_client_main(); calls libtx and, by soak_bank, the databases as a user's program does.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "tests/soak/soak.h"
#include "tests/soak/soak_bank.h"

enum {
    CROWD = 3,
    DOWN_MS = 40,  /* pause where something cannot be reached */
    ASK_TIMES = 8, /* look-ups of a transaction in doubt */
    ASK_MS = 500,
    PATIENT_MS = 120000, /* to open the first session */
};

/* Why a transaction must not be committed. */
enum purpose {
    TO_COMMIT,
    ROLL_BACK,
    FREE_ONLY,
    FAIL_STATEMENT, /* then asks for the commit all the same */
    FAIL_PREPARE,   /* a deferred constraint; in MariaDB, which has none, as FAIL_STATEMENT */
    PURPOSES
};

struct application {
    tx_client *client;
    enum book_mode mode;
    unsigned slot, pause_ms;
    const char *where[BOOK_BANKS]; /* of each bank, see soak_bank.h */
    int fd;
    atomic_size_t number;
};

/* One thread's. */
struct worker {
    struct application *app;
    struct bank bank[BOOK_BANKS];
    uint64_t random;
};

/* One transaction, as it is meant. */
struct plan {
    size_t number;
    unsigned banks, remote, reads; /* as bits; reads: of the banks only read */
    long long delta[BOOK_BANKS];
    enum purpose purpose;
    bool anonymous; /* nobody asks for its id */
};

static const char *const bank_names[BOOK_BANKS] = {"bank_a", "bank_b", "bank_c"};
static volatile sig_atomic_t stopping;

static void stop(int sig)
{
    (void)sig;
    stopping = 1;
}

static unsigned below(struct worker *w, unsigned n)
{
    return (unsigned)(soak_random(&w->random) % n);
}

/* The plan */

static unsigned choose_banks(struct worker *w)
{
    unsigned without = below(w, 4 * BOOK_BANKS);

    if (w->app->mode == BOOK_SINGLE)
        return 1u << without % BOOK_BANKS;
    return without < BOOK_BANKS ? 7u : 7u & ~(1u << without % BOOK_BANKS);
}

static unsigned choose_remote(struct worker *w)
{
    if (w->app->mode == BOOK_DIRECT)
        return 0;
    return w->app->mode == BOOK_REMOTE ? 7u : below(w, 8);
}

static void choose_deltas(struct worker *w, struct plan *p)
{
    long long sum = 0;
    int last = -1;

    for (int i = 0; i < BOOK_BANKS; i++) {
        if ((p->banks & 1u << i) == 0)
            continue;
        p->delta[i] = (long long)below(w, 100) - 50;
        sum += p->delta[i];
        last = i;
    }
    p->delta[last] -= sum;
}

static struct plan make_plan(struct worker *w)
{
    bool rollback = w->app->mode == BOOK_ROLLBACK ? below(w, 3) > 0 : below(w, 20) == 0;
    struct plan p = {.number = atomic_fetch_add(&w->app->number, 1) + 1,
                     .banks = choose_banks(w),
                     .remote = choose_remote(w)};

    choose_deltas(w, &p);
    if (rollback)
        p.purpose = 1 + below(w, PURPOSES - 1);
    p.anonymous = w->app->mode == BOOK_SINGLE && below(w, 2) == 0;
    if (w->app->mode != BOOK_SINGLE && below(w, 8) == 0)
        p.reads = 7u & ~p.banks;
    return p;
}

/* The work */

static bool is_remote(const struct plan *p, int bank)
{
    return (p->remote & 1u << bank) != 0;
}

static bool is_mariadb(const struct worker *w, int bank)
{
    return bank_is_mariadb(w->app->where[bank]);
}

static int run_sql(struct worker *w, const struct plan *p, txn *t, int bank, const char *sql,
                   struct tx_error *e)
{
    if (is_remote(p, bank))
        return txn_exec(t, bank_names[bank], sql, 0, NULL, NULL, e);
    return bank_run(&w->bank[bank], sql);
}

static int give_receipt(struct worker *w, const struct plan *p, txn *t, int bank, struct tx_error *e)
{
    char sql[128];

    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES (%llu, %lld)",
             (unsigned long long)BOOK_KEY(w->app->slot, p->number), p->delta[bank]);
    return run_sql(w, p, t, bank, sql, e);
}

/* The money and the receipt: in one round trip where the database can. */
static int move(struct worker *w, const struct plan *p, txn *t, int bank, struct tx_error *e)
{
    unsigned account = 1 + below(w, SOAK_ACCOUNTS);
    char sql[256];
    int rc;

    if (is_mariadb(w, bank)) {
        snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%lld) WHERE id = %u",
                 p->delta[bank], account);
        rc = run_sql(w, p, t, bank, sql, e);
        return rc == TX_OK ? give_receipt(w, p, t, bank, e) : rc;
    }
    snprintf(sql, sizeof sql,
             "WITH money AS (UPDATE accounts SET balance = balance + (%lld) WHERE id = %u) "
             "INSERT INTO receipts VALUES (%llu, %lld)",
             p->delta[bank], account, (unsigned long long)BOOK_KEY(w->app->slot, p->number), p->delta[bank]);
    return run_sql(w, p, t, bank, sql, e);
}

static int work_in(struct worker *w, const struct plan *p, txn *t, int bank, struct tx_error *e)
{
    int rc = TX_OK;
    char sql[128];

    if (!is_remote(p, bank))
        rc = bank_enlist(&w->bank[bank], t, bank_names[bank], e);
    if (rc != TX_OK)
        return rc;
    if ((p->banks & 1u << bank) != 0)
        return move(w, p, t, bank, e);
    snprintf(sql, sizeof sql, "SELECT balance FROM accounts WHERE id = %u", 1 + below(w, SOAK_ACCOUNTS));
    return run_sql(w, p, t, bank, sql, e);
}

/* The last bank that it writes to; but not MariaDB, where a deferred constraint is to fail and there is
 * another.
 */
static int bank_to_spoil(const struct worker *w, const struct plan *p)
{
    unsigned banks = p->banks;

    for (int i = 0; i < BOOK_BANKS; i++) {
        if (p->purpose == FAIL_PREPARE && is_mariadb(w, i) && (p->banks & ~(1u << i)) != 0)
            banks &= ~(1u << i);
    }
    return (banks & 4u) != 0 ? 2 : (banks & 2u) != 0 ? 1 : 0;
}

/* Makes it a transaction that cannot be committed. A division by zero is no error for MariaDB; a key that is
 * there already is, and the application could go on. */
static int spoil(struct worker *w, const struct plan *p, txn *t, struct tx_error *e)
{
    int bank = bank_to_spoil(w, p), rc;

    if (p->purpose != FAIL_PREPARE && p->purpose != FAIL_STATEMENT)
        return TX_OK;
    if (p->purpose == FAIL_PREPARE && !is_mariadb(w, bank))
        return run_sql(w, p, t, bank, "INSERT INTO checked VALUES (1), (1)", e);
    rc = is_mariadb(w, bank) ? give_receipt(w, p, t, bank, e) : run_sql(w, p, t, bank, "SELECT 1 / 0", e);
    if (rc == TX_OK)
        exit(4);
    return TX_OK;
}

static int work(struct worker *w, const struct plan *p, txn *t, struct tx_error *e)
{
    int rc = TX_OK;

    for (int i = 0; rc == TX_OK && i < BOOK_BANKS; i++) {
        if (((p->banks | p->reads) & 1u << i) != 0)
            rc = work_in(w, p, t, i, e);
    }
    return rc == TX_OK ? spoil(w, p, t, e) : rc;
}

/* The end of a transaction */

/* What was done in vain, or on purpose, is rolled back; and that is told as such. */
static int finish(struct worker *w, const struct plan *p, txn *t, bool worked, struct tx_error *e)
{
    if (!worked || p->purpose == ROLL_BACK)
        return txn_rollback(t, e) == TX_OK ? TX_EROLLBACK : e->code;
    if (p->purpose == FREE_ONLY)
        return TX_EROLLBACK;
    return txn_commit(t, w->app->mode == BOOK_LOGGED ? TXN_DECISION_LOGGED : TXN_COMPLETED, e);
}

/* Told COMPLETED, it must read its own writes. */
static void look_for_receipts(struct worker *w, const struct plan *p)
{
    char sql[128], value[BANK_VALUE_SIZE];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM receipts WHERE id = %llu",
             (unsigned long long)BOOK_KEY(w->app->slot, p->number));
    for (int i = 0; i < BOOK_BANKS; i++) {
        if ((p->banks & 1u << i) == 0 || !bank_connect(&w->bank[i]))
            continue;
        if (bank_ask(&w->bank[i], sql, value) && strcmp(value, "1") != 0)
            book_write(w->app->fd, "blind %zu %d", p->number, i);
    }
}

/* In doubt: asks until it is known, to a bound. */
static void look_up(struct worker *w, const struct plan *p, const char *id)
{
    enum tx_outcome outcome;
    struct tx_error e;

    for (int i = 0; i < ASK_TIMES && !stopping; i++) {
        if (tx_client_outcome(w->app->client, id, &outcome, &e) == TX_OK) {
            book_write(w->app->fd, "saw %zu %d", p->number, book_word_of(outcome));
            if (outcome != TX_OUTCOME_PENDING)
                return;
        }
        world_sleep_ms(ASK_MS);
    }
}

/* Returns whether the work could be done. */
static bool transact(struct worker *w)
{
    struct plan p = make_plan(w);
    struct tx_error e = {0};
    char id[BOOK_ID_SIZE] = "-";
    bool worked;
    txn *t;
    int rc;

    for (int i = 0; i < BOOK_BANKS; i++) {
        if (((p.banks | p.reads) & 1u << i) != 0 && !is_remote(&p, i) && !bank_connect(&w->bank[i]))
            return false;
    }
    if (txn_begin(w->app->client, &t, &e) != TX_OK)
        return false;
    if (!p.anonymous)
        snprintf(id, sizeof id, "%s", txn_id(t));
    book_write(w->app->fd, "try %zu %s %d %u %d", p.number, id, w->app->mode, p.banks, p.purpose != TO_COMMIT);
    worked = work(w, &p, t, &e) == TX_OK;
    rc = finish(w, &p, t, worked, &e);
    txn_free(t);
    book_write(w->app->fd, "told %zu %d %llu %s", p.number, rc, (unsigned long long)world_now_ms(),
               rc == TX_OK ? "" : e.msg);
    if (rc == TX_EINDOUBT && !p.anonymous)
        look_up(w, &p, id);
    if (rc == TX_OK && w->app->mode != BOOK_LOGGED && below(w, 8) == 0)
        look_for_receipts(w, &p);
    return worked;
}

/* The program */

static void *run_worker(void *arg)
{
    struct worker *w = arg;

    while (!stopping) {
        if (!transact(w))
            world_sleep_ms(DOWN_MS);
        else if (w->app->pause_ms > 0)
            world_sleep_ms(below(w, 2 * w->app->pause_ms + 1));
    }
    for (int i = 0; i < BOOK_BANKS; i++)
        bank_close(&w->bank[i]);
    return NULL;
}

/* The coordinators may just be down. */
static bool open_client(struct application *a)
{
    char name[32];
    struct tx_client_options options = {.application_name = name,
                                        .connect_timeout_ms = 2000,
                                        .session_timeout_ms = SOAK_SESSION_MS,
                                        .transaction_timeout_ms = SOAK_TRANSACTION_MS,
                                        .commit_timeout_ms = a->slot % 2 == 0 ? SOAK_COMMIT_MS : SOAK_HASTY_MS};
    uint64_t end = world_now_ms() + PATIENT_MS;
    struct tx_error e;

    snprintf(name, sizeof name, "%s_%u", book_mode_name(a->mode), a->slot);
    while (!stopping && tx_client_open(&a->client, &options, &e) != TX_OK) {
        if (world_now_ms() > end) {
            fprintf(stderr, "tx_client_open: %s\n", e.msg);
            return false;
        }
    }
    return true;
}

static void run_workers(struct application *a, uint64_t seed)
{
    struct worker workers[CROWD];
    pthread_t threads[CROWD];
    int n = a->mode == BOOK_CROWD ? CROWD : 1;

    memset(workers, 0, sizeof workers);
    for (int i = 0; i < n; i++) {
        workers[i].app = a;
        workers[i].random = seed + (uint64_t)i;
        for (int bank = 0; bank < BOOK_BANKS; bank++)
            workers[i].bank[bank].where = a->where[bank];
    }
    for (int i = 1; i < n; i++)
        pthread_create(&threads[i], NULL, run_worker, &workers[i]);
    run_worker(&workers[0]);
    for (int i = 1; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* argv: name, slot, mode, pause, seed, path of the record, where each bank is (soak_bank.h). */
int soak_client_job(int argc, char **argv)
{
    struct application a = {.fd = -1};
    uint64_t seed;
    size_t last;

    if (argc != 6 + BOOK_BANKS)
        return 2;
    a.slot = (unsigned)atoi(argv[1]);
    a.mode = (enum book_mode)atoi(argv[2]);
    a.pause_ms = (unsigned)atoi(argv[3]);
    for (int i = 0; i < BOOK_BANKS; i++)
        a.where[i] = argv[6 + i];
    signal(SIGTERM, stop);
    a.fd = book_open(argv[5], &last);
    a.number = last;
    seed = strtoull(argv[4], NULL, 10) + BOOK_KEY(a.slot, last);
    if (!open_client(&a))
        return 1;
    mysql_library_init(0, NULL, NULL); /* which threads must not do at once */
    if (a.client != NULL)
        run_workers(&a, seed);
    tx_client_close(a.client);
    mysql_library_end();
    return 0;
}
