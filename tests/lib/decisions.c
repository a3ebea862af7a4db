/* decisions: see decisions.h. A thread has a client of its own, with as many calls open as one connection may
 * have. */
#include "tests/lib/decisions.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libtx/client.h"
#include "libtx/libtx.h"
#include "libtx/settings.h"

enum { THREADS = 16, DEADLINE_MS = 60000, PULL_MS = 500 };

struct slot {
    struct call call;
    struct news news;
    struct txid id;
    double started;
    bool open;
};

/* What all threads share. */
struct run {
    const struct decisions_options *options;
    pthread_mutex_t lock;
    uint64_t begun, done;  /* under lock, as the next */
    struct tx_error error; /* the first; code 0: none */
};

struct worker {
    struct run *run;
    pthread_t thread;
    tx_client *client;
    struct waiter *waiter;
    struct slot slots[OUTSTANDING_LIMIT];
    unsigned n;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(struct run *r, const struct tx_error *e)
{
    pthread_mutex_lock(&r->lock);
    if (r->error.code == 0)
        r->error = *e;
    pthread_mutex_unlock(&r->lock);
}

/* Whether there is another one to be made; it is the caller's then. */
static bool take_one(struct run *r)
{
    const struct decisions_options *o = r->options;
    bool stopped = o->stop != NULL && __atomic_load_n(o->stop, __ATOMIC_RELAXED);
    bool one;

    pthread_mutex_lock(&r->lock);
    one = !stopped && r->error.code == 0 && (o->count == 0 || r->begun < o->count);
    r->begun += one;
    pthread_mutex_unlock(&r->lock);
    return one;
}

static int ask(struct worker *w, struct slot *s, struct tx_error *e)
{
    static const struct branch_ref branches[2] = {
        {.number = 1, .kind = BRANCH_DIRECT, .resource = "bank_a", .proof = "xid=1234567"},
        {.number = 2, .kind = BRANCH_DIRECT, .resource = "bank_b", .proof = "xid=1234568"}};
    struct app_session *session = &w->client->session;
    struct wire_message m = {.type = WIRE_DECIDE};
    int rc = session_begin(session, &s->id, e);

    if (rc != TX_OK)
        return rc;
    m.decide.id = s->id;
    m.decide.verdict = VERDICT_COMMIT;
    m.decide.wait = WAIT_DECIDED;
    m.decide.n_branches = 2;
    m.decide.branches = branches;
    session_news_take(session, s->id.session, &s->news, &m.decide.news);
    s->started = now();
    rc = call_start(&s->call, w->client->calls, w->waiter, &m, NULL, WIRE_DECIDED, call_now_ms() + DEADLINE_MS,
                    e);
    s->open = rc == TX_OK;
    if (!s->open)
        session_news_missed(session, &s->news);
    return rc;
}

/* Takes the answer, and says that both branches are committed. */
static int take_answer(struct worker *w, struct slot *s, struct tx_error *e)
{
    struct app_session *session = &w->client->session;
    const struct decisions_options *o = w->run->options;
    const struct wire_message *reply;
    double seconds = now() - s->started;
    int rc = call_result(&s->call, &reply, e);

    if (rc == TX_OK && reply->decided.verdict != VERDICT_COMMIT)
        rc = err_set(e, TX_EROLLBACK, "decided to roll back: %s",
                     reply->decided.reason != NULL ? reply->decided.reason : "");
    call_end(&s->call);
    s->open = false;
    if (rc != TX_OK) {
        session_news_missed(session, &s->news);
        return rc;
    }
    session_news_told(session, &s->news);
    session_over(session, &s->id, true);
    pthread_mutex_lock(&w->run->lock);
    w->run->done++;
    if (o->decided != NULL)
        o->decided(o->arg, seconds);
    pthread_mutex_unlock(&w->run->lock);
    return TX_OK;
}

/* Goes over all slots: ends what is answered, begins what may begin. Returns how many are open; *due_ms is when
 * the first of them is to be looked at again. */
static unsigned look_at_slots(struct worker *w, uint64_t *due_ms)
{
    struct tx_error e;
    unsigned open = 0;

    *due_ms = UINT64_MAX;
    for (unsigned i = 0; i < w->n; i++) {
        struct slot *s = &w->slots[i];

        if (s->open && call_step(&s->call) && take_answer(w, s, &e) != TX_OK)
            fail(w->run, &e);
        if (!s->open && take_one(w->run) && ask(w, s, &e) != TX_OK)
            fail(w->run, &e);
        if (!s->open)
            continue;
        open++;
        if (call_due_ms(&s->call) < *due_ms)
            *due_ms = call_due_ms(&s->call);
    }
    return open;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t due_ms;

    while (look_at_slots(w, &due_ms) > 0)
        calls_wait(w->client->calls, w->waiter, NULL, 0, due_ms);
    return NULL;
}

static int open_worker(struct worker *w, struct run *r, unsigned outstanding, struct tx_error *e)
{
    struct tx_client_options options = {.coordinators = r->options->coordinators,
                                        .application_name = "decisions"};
    int rc = tx_client_open(&w->client, &options, e);

    if (rc != TX_OK)
        return rc;
    w->run = r;
    w->n = outstanding;
    w->waiter = calls_waiter_take(w->client->calls);
    if (w->waiter == NULL || pthread_create(&w->thread, NULL, work, w) != 0) {
        calls_waiter_give(w->client->calls, w->waiter);
        tx_client_close(w->client);
        return err_set(e, TX_ENOMEM, "no thread");
    }
    return TX_OK;
}

/* One PULL: it is answered when there is work, which there never is; what it carries counts at once. */
int decisions_register(const struct world *w, struct tx_error *e)
{
    static const struct wire_resource resources[2] = {{.name = "bank_a", .kind = "postgresql"},
                                                      {.name = "bank_b", .kind = "postgresql"}};
    struct wire_message m = {
        .type = WIRE_PULL,
        .pull = {.instance = 1, .number = 1, .name = "decisions", .n_resources = 2, .resources = resources}};
    char identity[WORLD_PATH_SIZE];
    const struct settings settings = {.identity = world_identity(w, "agent", identity)};
    const struct wire_message *reply;
    struct security security = {0};
    struct calls *calls = NULL;
    struct call call = {0};
    int rc = settings_security(&settings, &security, e);

    if (rc == TX_OK)
        rc = calls_new(&calls, world_coordinators(w), &security, e);
    if (rc == TX_OK)
        rc = call_sync(&call, calls, &m, NULL, WIRE_WORK, call_now_ms() + PULL_MS, &reply, e);
    call_end(&call);
    calls_free(calls);
    security_release(&security);
    return rc == TX_ETIMEOUT ? TX_OK : rc;
}

int decisions_run(const struct decisions_options *options, uint64_t *done, struct tx_error *e)
{
    struct run run = {.options = options, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct worker *workers = calloc(THREADS, sizeof *workers);
    unsigned left = options->outstanding, n = 0, each;
    int rc = workers != NULL ? TX_OK : err_set(e, TX_ENOMEM, "out of memory");

    for (; rc == TX_OK && n < THREADS && left > 0; left -= each) {
        each = left < OUTSTANDING_LIMIT ? left : OUTSTANDING_LIMIT;
        rc = open_worker(&workers[n], &run, each, e);
        n += rc == TX_OK;
    }
    if (rc != TX_OK)
        fail(&run, e);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        calls_waiter_give(workers[i].client->calls, workers[i].waiter);
        tx_client_close(workers[i].client);
    }
    free(workers);
    *done = run.done;
    if (run.error.code != 0 && e != NULL)
        *e = run.error;
    return run.error.code;
}
