/* kit_client: see kit.h. The program that transfers money, and the book of what it was told.
 *
 * A line for each transfer before it commits, «try ID», and one when it was told, «told RC ID message».
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"
#include "tests/lib/proxy.h"

static const char *const mode_names[] = {"direct", "remote", "mixed", "refused", "single", "logged", "crowd"};

enum { ATTEMPTS = 200, CROWD = 4 };

/* One thread's. */
struct run {
    enum kit_mode mode;
    tx_client *client;
    unsigned mariadb; /* bank_b is one, on this port; else 0 */
    MYSQL *my;        /* to it */
    const char *conninfo[2];
    PGconn *conn[2];
    unsigned stock; /* port of the service that takes part, too; or 0 */
    int row, count;
};

/* In the client */

static bool is_remote(const struct run *r, int bank)
{
    return r->mode == KIT_REMOTE || r->mode == KIT_REFUSED ||
           (bank == 1 &&
            (r->mode == KIT_MIXED || (r->mariadb != 0 && r->mode != KIT_DIRECT && r->mode != KIT_SINGLE)));
}

static int run_sql(struct run *r, txn *t, int bank, const char *sql, struct tx_error *e)
{
    static const char *const names[2] = {"bank_a", "bank_b"};
    PGresult *result;
    bool ok;

    if (is_remote(r, bank))
        return txn_exec(t, names[bank], sql, 0, NULL, NULL, e);
    if (bank == 1 && r->mariadb != 0)
        return mysql_query(r->my, sql) == 0 ? TX_OK : TX_ESTATEMENT;
    result = PQexec(r->conn[bank], sql);
    ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok ? TX_OK : TX_ESTATEMENT;
}

/* Something that is a write, and changes nothing. (To MariaDB an UPDATE to the same value is none.) */
static int write_nothing(struct run *r, txn *t, int bank, struct tx_error *e)
{
    int rc = run_sql(r, t, bank, "UPDATE accounts SET balance = balance + 1 WHERE id = 1", e);

    return rc == TX_OK ? run_sql(r, t, bank, "UPDATE accounts SET balance = balance - 1 WHERE id = 1", e) : rc;
}

/* The money, and the receipt but where there is a single branch: in one round trip where the database can. */
static int move(struct run *r, txn *t, int bank, struct tx_error *e)
{
    int amount = bank == 0 ? -1 : 1, rc;
    char sql[256];

    if (r->mode == KIT_SINGLE)
        return write_nothing(r, t, bank, e);
    if (bank == 0 || !r->mariadb) {
        snprintf(sql, sizeof sql,
                 "WITH money AS (UPDATE accounts SET balance = balance + (%d) WHERE id = %d) "
                 "INSERT INTO receipts VALUES ('%s')",
                 amount, r->row, txn_id(t));
        return run_sql(r, t, bank, sql, e);
    }
    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + (%d) WHERE id = %d", amount, r->row);
    rc = run_sql(r, t, bank, sql, e);
    snprintf(sql, sizeof sql, "INSERT INTO receipts VALUES ('%s')", txn_id(t));
    return rc == TX_OK ? run_sql(r, t, bank, sql, e) : rc;
}

/* Enlists; a connection that has broken is made anew. */
static int enlist(struct run *r, txn *t, int bank, const char *name, struct tx_error *e)
{
    if (bank == 1 && r->mariadb != 0) {
        if (r->my != NULL && mysql_ping(r->my) != 0) {
            mysql_close(r->my);
            r->my = NULL;
        }
        if (r->my == NULL)
            r->my = kit_connect_mariadb(r->mariadb);
        return txn_enlist_mariadb(t, name, r->my, e);
    }
    if (PQstatus(r->conn[bank]) != CONNECTION_OK)
        PQreset(r->conn[bank]);
    return txn_enlist_pg(t, name, r->conn[bank], e);
}

/* All the work of one branch. */
static int work(struct run *r, txn *t, int bank, struct tx_error *e)
{
    static const char *const names[2] = {"bank_a", "bank_b"};
    int rc = TX_OK;

    if (!is_remote(r, bank))
        rc = enlist(r, t, bank, names[bank], e);
    if (rc == TX_OK)
        rc = move(r, t, bank, e);
    if (rc == TX_OK && r->mode == KIT_REFUSED && bank == (r->mariadb == 0))
        rc = run_sql(r, t, bank, "INSERT INTO checked VALUES (1), (1)", e);
    return rc;
}

/* A single branch must not be named, or it is logged as others are. Returns whether its work could be done at
 * all. */
static bool transfer(struct run *r)
{
    struct tx_error e = {0};
    char id[KIT_ID_SIZE] = "-";
    bool worked;
    int rc;
    txn *t;

    if (txn_begin(r->client, &t, &e) != TX_OK) {
        fprintf(stderr, "txn_begin: %s\n", e.msg);
        return false;
    }
    if (r->mode != KIT_SINGLE)
        snprintf(id, sizeof id, "%s", txn_id(t));
    rc = work(r, t, r->mode == KIT_SINGLE && r->mariadb != 0, &e);
    if (rc == TX_OK && r->mode != KIT_SINGLE)
        rc = work(r, t, 1, &e);
    if (rc == TX_OK && r->stock != 0)
        rc = stock_take(r->stock, t, 1, &e);
    worked = rc == TX_OK;
    world_client_tell("try %s", id);
    if (worked)
        rc = txn_commit(t, r->mode == KIT_LOGGED ? TXN_DECISION_LOGGED : TXN_COMPLETED, &e);
    else if (txn_rollback(t, NULL) == TX_OK)
        rc = TX_EROLLBACK;
    txn_free(t);
    if (rc != TX_OK)
        fprintf(stderr, "%s: %s: %s\n", tx_strerror(rc), id, e.msg);
    world_client_tell("told %d %s %.*s", rc, id, rc == TX_OK ? 0 : (int)strcspn(e.msg, "\n"), e.msg);
    return worked;
}

/* Until so many have come to their commit, with a pause of KIT_PAUSE_MS (environment) behind each. While
 * something is down, it is tried again and again, to a bound. */
static void *transfers(void *arg)
{
    const char *pause = getenv("KIT_PAUSE_MS");
    struct run *r = arg;

    for (int i = 0; i < 2; i++)
        r->conn[i] = i == 1 && r->mariadb != 0 ? NULL : PQconnectdb(r->conninfo[i]);
    for (int failed = 0; r->count > 0 && failed < ATTEMPTS;) {
        if (transfer(r)) {
            r->count--;
            if (pause != NULL)
                world_sleep_ms((unsigned)atoi(pause));
        } else {
            failed++;
            world_sleep_ms(50);
        }
    }
    PQfinish(r->conn[0]);
    PQfinish(r->conn[1]);
    if (r->my != NULL)
        mysql_close(r->my);
    return NULL;
}

static void run_crowd(const struct run *r)
{
    struct run runs[CROWD];
    pthread_t threads[CROWD];

    for (int i = 0; i < CROWD; i++) {
        runs[i] = *r;
        runs[i].row = i + 1;
        runs[i].count = r->count / CROWD;
        pthread_create(&threads[i], NULL, transfers, &runs[i]);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
}

/* argv: name, mode, count, lifetime of a session in ms, conninfo of both banks, bank_b's being «mariadb» and
 * its port where it is that, and the port of the service, or 0. KIT_ANSWER_MS (environment): how long to wait
 * for coordinators. One that goes on all the time is patient with a busy machine. */
static int transfer_job(int argc, char **argv)
{
    const char *answer = getenv("KIT_ANSWER_MS");
    unsigned session_ms = argc == 7 ? (unsigned)atoi(argv[3]) : 0;
    unsigned patience = getenv("KIT_PAUSE_MS") != NULL ? 4 : 2;
    struct tx_client_options options = {.application_name = "kit",
                                        .session_timeout_ms = session_ms,
                                        .transaction_timeout_ms = patience * session_ms,
                                        .connect_timeout_ms = answer != NULL ? (unsigned)atoi(answer) : 0,
                                        .commit_timeout_ms = answer != NULL ? (unsigned)atoi(answer) : 0};
    struct run r = {.mariadb = strncmp(argv[5], "mariadb ", 8) == 0 ? (unsigned)atoi(argv[5] + 8) : 0,
                    .conninfo = {argv[4], argv[5]},
                    .stock = (unsigned)atoi(argv[6]),
                    .row = 1,
                    .count = atoi(argv[2])};
    struct tx_error e;

    while (strcmp(mode_names[r.mode], argv[1]) != 0)
        r.mode++;
    /* The coordinator may be dying at this very moment. */
    for (int i = 0; i < 10 && r.client == NULL; i++) {
        if (tx_client_open(&r.client, &options, &e) != TX_OK)
            fprintf(stderr, "tx_client_open: %s\n", e.msg);
    }
    if (r.client == NULL)
        return 1;
    if (r.mode == KIT_CROWD)
        run_crowd(&r);
    else
        transfers(&r);
    tx_client_close(r.client);
    return 0;
}

void kit_main(int argc, char **argv)
{
    static const struct world_job jobs[] = {{"transfer", transfer_job}, {"proxy", proxy_job}, {NULL, NULL}};

    world_client_main(argc, argv, jobs);
    cmocka_set_test_filter(getenv("ASSENT_TEST"));
}

/* In the test */

static const char *bank_b_of(const struct kit *k, char out[WORLD_PATH_SIZE])
{
    if (!world_server_is_mariadb(k->bank[1]))
        return world_server_conninfo(k->bank[1], "app", out);
    snprintf(out, WORLD_PATH_SIZE, "mariadb %u", world_server_port(k->bank[1]));
    return out;
}

static struct world_process *start(struct kit *k, enum kit_mode mode, int count, const char *session_ms,
                                   const char *env)
{
    char name[32], number[32], port[16], a[WORLD_PATH_SIZE], b[WORLD_PATH_SIZE];

    snprintf(name, sizeof name, "client_%u", ++k->n_clients);
    snprintf(number, sizeof number, "%d", count);
    snprintf(port, sizeof port, "%u", k->stock.process != NULL ? k->stock.port : 0);
    return world_client_start(k->world, name, env,
                              WORLD_ARGS("transfer", mode_names[mode], number, session_ms,
                                         world_server_conninfo(k->bank[0], "app", a), bank_b_of(k, b), port));
}

struct world_process *kit_start_transfers(struct kit *k, enum kit_mode mode, int count, const char *env)
{
    return start(k, mode, count, "2000", env);
}

struct world_process *kit_start_patient(struct kit *k, const char *env)
{
    return start(k, KIT_DIRECT, 1, "3600000", env);
}

/* The newest try of this id; threads tell between each other's lines. */
static struct kit_told *find_try(struct kit_account *account, const char *id)
{
    for (size_t i = account->n; i > 0; i--) {
        if (strcmp(account->told[i - 1].id, id) == 0)
            return &account->told[i - 1];
    }
    fail_msg("the client was told of %s, which it never tried", id);
    return NULL;
}

static void note(struct kit_account *account, const char *line)
{
    struct kit_told t = {.rc = 1};

    if (sscanf(line, "try %95s", t.id) == 1) {
        assert_true(account->n < KIT_TOLD_LIMIT);
        account->told[account->n++] = t;
    } else if (sscanf(line, "told %d %95s", &t.rc, t.id) == 2) {
        find_try(account, t.id)->rc = t.rc;
    } else {
        fail_msg("the client told «%s»", line);
    }
}

void kit_hear(struct world_process *client, struct kit_account *account, unsigned timeout_ms)
{
    uint64_t now = world_now_ms(), end = now + timeout_ms;
    char line[WORLD_LINE_SIZE];

    while (now < end && world_client_hear(client, line, (unsigned)(end - now))) {
        note(account, line);
        now = world_now_ms();
    }
}

struct question {
    tx_client *client;
    const char *id;
    enum tx_outcome outcome;
};

static bool is_decided(void *arg)
{
    struct question *q = arg;
    struct tx_error e;

    if (tx_client_outcome(q->client, q->id, &q->outcome, &e) != TX_OK)
        fail_msg("tx_client_outcome %s: %s", q->id, e.msg);
    return q->outcome != TX_OUTCOME_PENDING;
}

/* What was never prepared is pending as long as its client could still ask for it. */
static enum tx_outcome ask_outcome(tx_client *client, const char *id)
{
    struct question q = {.client = client, .id = id};

    world_wait(KIT_SETTLE_MS, is_decided, &q);
    return q.outcome;
}

static void check_told(const struct kit_told *t, bool done, enum tx_outcome outcome)
{
    bool committed = t->rc == TX_OK || t->rc == TX_ETIMEOUT;

    if (committed && !done)
        fail_msg("%s was told committed, and is not", t->id);
    if (t->rc == TX_EROLLBACK && done)
        fail_msg("%s was told rolled back, and is committed", t->id);
    if (!committed && t->rc != TX_EROLLBACK && t->rc != TX_EINDOUBT && t->rc != 1)
        fail_msg("%s was told %s", t->id, tx_strerror(t->rc));
    if ((outcome == TX_OUTCOME_COMMITTED && !done) || (outcome == TX_OUTCOME_ABORTED && done))
        fail_msg("%s: the coordinator says outcome %d, and it is %s", t->id, outcome,
                 done ? "committed" : "rolled back");
    /* One who was told nothing must be able to learn it. */
    if (!committed && t->rc != TX_EROLLBACK && outcome != TX_OUTCOME_COMMITTED && outcome != TX_OUTCOME_ABORTED)
        fail_msg("%s was not told its outcome, and asked for it the coordinator says %d", t->id, outcome);
}

void kit_assert_told(struct kit *k, const struct kit_account *account)
{
    tx_client *client = kit_client(k);
    enum tx_outcome first, again;
    char *receipts, *journal;

    kit_assert_sound(k);
    receipts = kit_all_receipts(k, 0);
    journal = k->stock.process != NULL ? stock_journal(&k->stock) : NULL;
    for (size_t i = 0; i < account->n; i++) {
        const struct kit_told *t = &account->told[i];

        if (strcmp(t->id, "-") == 0)
            continue;
        first = ask_outcome(client, t->id);
        check_told(t, strstr(receipts, t->id) != NULL, first);
        if (journal != NULL && stock_committed(journal, t->id) != (strstr(receipts, t->id) != NULL))
            fail_msg("%s is in the service's journal or in the banks, not in both", t->id);
        again = ask_outcome(client, t->id);
        /* Nodes forget one after the other. */
        if (again != first && again != TX_OUTCOME_FORGOTTEN && first != TX_OUTCOME_FORGOTTEN)
            fail_msg("%s has two outcomes: %d and %d", t->id, first, again);
    }
    free(receipts);
    free(journal);
    tx_client_close(client);
}
