/* test_call: requests of libtx against coordinators that lose, double and delay answers, follow instead of
 * leading, or are not there. call.c and call_wait.c with real sockets.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <nanomsg/nn.h>
#include <nanomsg/reqrep.h>

#include "libtx/call.h"
#include "tests/unit/coordinator_kit.h"

enum { THREADS = 12, CALLS = 150, MANY = 3 * OUTSTANDING_LIMIT };

static const char *nowhere = "ipc:///tmp/assent-kit-nobody-listens-here";

static struct wire_message question(uint64_t sequence)
{
    struct wire_message m = {.type = WIRE_OUTCOME};

    m.outcome.id = (struct txid){KIT_GROUP, KIT_SESSION, sequence, 1};
    return m;
}

/* Asks and gives the result; `lasted` may be NULL. */
static int ask(const char *coordinators, unsigned patience_ms, struct tx_error *e, uint64_t *lasted)
{
    struct wire_message m = question(2);
    const struct wire_message *reply = NULL;
    uint64_t start = call_now_ms();
    struct calls *cs;
    struct call call;
    int rc;

    assert_int_equal(calls_new(&cs, coordinators, NULL, e), TX_OK);
    rc = call_sync(&call, cs, &m, NULL, WIRE_OUTCOME_IS, start + patience_ms, &reply, e);
    if (rc == TX_OK)
        assert_int_equal(reply->outcome_is.outcome, 2);
    call_end(&call);
    calls_free(cs);
    if (lasted != NULL)
        *lasted = call_now_ms() - start;
    return rc;
}

static int echo(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    (void)k;
    kit_answer_well(in, out);
    out->outcome_is.outcome = (uint8_t)(in->outcome.id.sequence % 4);
    return 1;
}

static int echo_second(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    echo(k, in, out);
    return k->asked[WIRE_OUTCOME] > 1;
}

static int mute(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    (void)k;
    (void)in;
    (void)out;
    return 0;
}

static int follow(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    (void)in;
    return kit_error(out, TX_ENOTLEADER, k->arg);
}

static int elected_at_last(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    return k->asked[WIRE_OUTCOME] < 5 ? kit_error(out, TX_ENOTLEADER, NULL) : echo(k, in, out);
}

static int busy_at_first(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    return k->asked[WIRE_OUTCOME] < 4 ? kit_error(out, TX_EBUSY, NULL) : echo(k, in, out);
}

static int refuse(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    (void)k;
    (void)in;
    return kit_error(out, TX_ENOTFOUND, NULL);
}

/* Names the leader that was, until it is the leader itself. */
static int elected_in_its_place(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    return k->asked[WIRE_OUTCOME] < 5 ? kit_error(out, TX_ENOTLEADER, k->arg) : echo(k, in, out);
}

static void asks_again_when_an_answer_is_lost(void **state)
{
    struct kit *k = kit_start(echo_second);
    struct tx_error e;
    uint64_t lasted;

    (void)state;
    assert_int_equal(ask(k->address, 3000, &e, &lasted), TX_OK);
    assert_int_equal(k->asked[WIRE_OUTCOME], 2);
    assert_in_range(lasted, 240, 1500);
    kit_stop(k);
}

/* A coordinator whose network is cut: says nanomsg's greeting, and then nothing. Connections stay open. */
struct cut_off {
    int listener;
    char address[64];
    unsigned connections;
    int open[64];
    pthread_t thread;
};

static void *cut_off_run(void *arg)
{
    static const char greeting[8] = {0, 'S', 'P', 0, 0, NN_REP, 0, 0};
    struct cut_off *c = arg;
    int s;

    while (c->connections < 64 && (s = accept(c->listener, NULL, NULL)) >= 0) {
        if (send(s, greeting, sizeof greeting, MSG_NOSIGNAL) == sizeof greeting)
            c->open[c->connections++] = s;
    }
    return NULL;
}

static void cut_off_start(struct cut_off *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;

    c->connections = 0;
    c->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(c->listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(c->listener, 8), 0);
    assert_int_equal(getsockname(c->listener, (struct sockaddr *)&at, &size), 0);
    snprintf(c->address, sizeof c->address, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&c->thread, NULL, cut_off_run, c), 0);
}

static void cut_off_stop(struct cut_off *c)
{
    shutdown(c->listener, SHUT_RDWR);
    pthread_join(c->thread, NULL);
    for (unsigned i = 0; i < c->connections; i++)
        close(c->open[i]);
    close(c->listener);
}

/* The connection may be dead, and TCP would find out after minutes. */
static void dials_the_silent_anew(void **state)
{
    struct cut_off c;
    struct tx_error e;

    (void)state;
    cut_off_start(&c);
    assert_int_equal(ask(c.address, 6000, &e, NULL), TX_ETIMEOUT);
    cut_off_stop(&c);
    assert_in_range(c.connections, 2, 10);
}

static void follows_to_the_leader(void **state)
{
    struct kit *leader = kit_start(echo), *follower = kit_start(follow);
    struct tx_error e;
    uint64_t lasted;

    (void)state;
    follower->arg = leader->address;
    assert_int_equal(ask(follower->address, 3000, &e, &lasted), TX_OK);
    assert_in_range(lasted, 0, 200);
    kit_stop(follower);
    kit_stop(leader);
}

static void waits_for_an_election(void **state)
{
    struct kit *k = kit_start(elected_at_last);
    struct tx_error e;

    (void)state;
    assert_int_equal(ask(k->address, 3000, &e, NULL), TX_OK);
    kit_stop(k);
}

/* The leader stands still, and the others still name it: it is not asked again while there are others to ask.
 */
static void leaves_a_silent_leader_alone(void **state)
{
    struct kit *frozen = kit_start(mute), *a = kit_start(elected_in_its_place), *b = kit_start(follow);
    char list[512];
    struct tx_error e;

    (void)state;
    a->arg = b->arg = frozen->address;
    snprintf(list, sizeof list, "%s,%s,%s", frozen->address, a->address, b->address);
    assert_int_equal(ask(list, 5000, &e, NULL), TX_OK);
    assert_int_equal(frozen->asked[WIRE_OUTCOME], 1);
    kit_stop(frozen);
    kit_stop(a);
    kit_stop(b);
}

static void *many_asks(void *arg)
{
    struct calls *cs = arg;

    for (uint64_t i = 1; i <= CALLS; i++) {
        struct wire_message m = question(i);
        const struct wire_message *reply;
        struct call call;

        if (call_sync(&call, cs, &m, NULL, WIRE_OUTCOME_IS, call_now_ms() + 10000, &reply, NULL) != TX_OK ||
            reply->outcome_is.outcome != i % 4)
            abort();
        call_end(&call);
    }
    return NULL;
}

/* A question for an outcome goes to each coordinator in turn; a follower that knows it answers it itself. */
static void spreads_questions_for_outcomes(void **state)
{
    struct kit *k[3] = {kit_start(echo), kit_start(echo), kit_start(follow)};
    char list[512];
    struct calls *cs;
    struct tx_error e;

    (void)state;
    k[2]->arg = k[0]->address;
    snprintf(list, sizeof list, "%s,%s,%s", k[0]->address, k[1]->address, k[2]->address);
    assert_int_equal(calls_new(&cs, list, NULL, &e), TX_OK);
    many_asks(cs);
    for (int i = 0; i < 3; i++)
        assert_in_range(k[i]->asked[WIRE_OUTCOME], CALLS / 6, CALLS);
    calls_free(cs);
    for (int i = 0; i < 3; i++)
        kit_stop(k[i]);
}

static void survives_two_who_send_it_to_each_other(void **state)
{
    struct kit *a = kit_start(follow), *b = kit_start(follow);
    struct tx_error e;

    (void)state;
    a->arg = b->address;
    b->arg = a->address;
    assert_int_equal(ask(a->address, 300, &e, NULL), TX_ETIMEOUT);
    assert_in_range(a->asked[WIRE_OUTCOME], 1, 60);
    assert_non_null(strstr(e.msg, "does not lead"));
    kit_stop(a);
    kit_stop(b);
}

static void passes_over_who_is_not_there(void **state)
{
    struct kit *k = kit_start(echo);
    char list[256];
    struct tx_error e;

    (void)state;
    snprintf(list, sizeof list, "%s,%s", nowhere, k->address);
    assert_int_equal(ask(list, 3000, &e, NULL), TX_OK);
    kit_stop(k);
}

static void tells_never_sent_from_not_answered(void **state)
{
    struct kit *k = kit_start(mute);
    struct tx_error e;

    (void)state;
    assert_int_equal(ask(nowhere, 100, &e, NULL), TX_EUNREACHABLE);
    assert_non_null(strstr(e.msg, nowhere));
    assert_non_null(strstr(e.msg, "cannot be reached"));
    assert_int_equal(ask(k->address, 400, &e, NULL), TX_ETIMEOUT);
    assert_non_null(strstr(e.msg, "no answer"));
    kit_stop(k);
}

static void knows_passing_errors_from_final_ones(void **state)
{
    struct kit *busy = kit_start(busy_at_first), *no = kit_start(refuse);
    struct tx_error e;

    (void)state;
    assert_int_equal(ask(busy->address, 3000, &e, NULL), TX_OK);
    assert_int_equal(ask(no->address, 3000, &e, NULL), TX_ENOTFOUND);
    assert_int_equal(no->asked[WIRE_OUTCOME], 1);
    assert_string_equal(e.msg, "as the test wants it");
    kit_stop(busy);
    kit_stop(no);
}

static void refuses_bad_addresses(void **state)
{
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, "", NULL, &e), TX_EINVAL);
    assert_int_equal(calls_new(&cs, " , ", NULL, &e), TX_EINVAL);
    assert_int_equal(calls_new(&cs, "localhost:7401", NULL, &e), TX_EINVAL);
}

/* Every third answer is lost, every fourth comes twice. */
static int unreliable(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    unsigned n = k->asked[WIRE_OUTCOME];

    echo(k, in, out);
    return n % 97 == 0 ? 0 : n % 4 == 0 ? 2 : 1;
}

static void gives_every_thread_its_own_answer(void **state)
{
    struct kit *k = kit_start(unreliable);
    pthread_t threads[THREADS];
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, k->address, NULL, &e), TX_OK);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, many_asks, cs);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    calls_free(cs);
    kit_stop(k);
}

/* More calls at once than a connection may have: the rest wait their turn, and all are answered. */
static void keeps_within_the_limit(void **state)
{
    static struct call calls[MANY];
    struct kit *k = kit_start(mute);
    struct waiter *w;
    struct calls *cs;
    struct tx_error e;
    size_t done = 0;

    (void)state;
    assert_int_equal(calls_new(&cs, k->address, NULL, &e), TX_OK);
    w = calls_waiter_take(cs);
    for (uint64_t i = 0; i < MANY; i++) {
        struct wire_message m = question(i + 1);

        assert_int_equal(call_start(&calls[i], cs, w, &m, NULL, WIRE_OUTCOME_IS, call_now_ms() + 10000, &e), 0);
        if (i == 0)
            calls_wait(cs, w, NULL, 0, call_now_ms() + 100); /* lets the connection come up */
    }
    calls_wait(cs, w, NULL, 0, call_now_ms() + 100);
    pthread_mutex_lock(&k->mutex);
    assert_in_range(k->asked[WIRE_OUTCOME], 1, OUTSTANDING_LIMIT);
    k->answer = echo;
    pthread_mutex_unlock(&k->mutex);
    while (done < MANY) {
        calls_wait(cs, w, NULL, 0, call_now_ms() + 50);
        done = 0;
        for (size_t i = 0; i < MANY; i++)
            done += call_step(&calls[i]);
    }
    for (size_t i = 0; i < MANY; i++)
        call_end(&calls[i]);
    calls_waiter_give(cs, w);
    calls_free(cs);
    kit_stop(k);
}

/* A leader's list: itself, and one that is there only this time. */
static int lead_many(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    static char gone[64];
    static const char *list[2];

    if (in->type != WIRE_HEARTBEAT)
        return echo(k, in, out);
    snprintf(gone, sizeof gone, "%s-%u", nowhere, k->asked[WIRE_HEARTBEAT]);
    list[0] = k->address;
    list[1] = gone;
    *out = (struct wire_message){.type = WIRE_HEARTBEAT_OK, .heartbeat_ok.nodes = {.n = 2, .addresses = list}};
    return 1;
}

static int ask_one(struct calls *cs, const struct wire_message *m, enum wire_type want, struct tx_error *e)
{
    const struct wire_message *reply;
    struct call call;
    int rc = call_sync(&call, cs, m, NULL, want, call_now_ms() + 3000, &reply, e);

    call_end(&call);
    return rc;
}

/* Nodes come and go for years: what is neither configured nor listed any more makes room. */
static void forgets_who_is_gone(void **state)
{
    struct wire_message beat = {.type = WIRE_HEARTBEAT, .heartbeat.session = KIT_SESSION}, m = question(2);
    struct kit *first = kit_start(lead_many), *second = kit_start(echo);
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, first->address, NULL, &e), TX_OK);
    for (int i = 0; i < 3 * COORDINATOR_LIMIT; i++)
        assert_int_equal(ask_one(cs, &beat, WIRE_HEARTBEAT_OK, &e), TX_OK);
    pthread_mutex_lock(&first->mutex);
    first->arg = second->address;
    first->answer = follow;
    pthread_mutex_unlock(&first->mutex);
    assert_int_equal(ask_one(cs, &m, WIRE_OUTCOME_IS, &e), TX_OK);
    assert_int_equal(second->asked[WIRE_OUTCOME], 1);
    /* The configured one stays, though the second's list does not name it. */
    second->answer = lead_many;
    assert_int_equal(ask_one(cs, &beat, WIRE_HEARTBEAT_OK, &e), TX_OK);
    first->answer = echo;
    kit_stop(second);
    assert_int_equal(ask_one(cs, &m, WIRE_OUTCOME_IS, &e), TX_OK);
    calls_free(cs);
    kit_stop(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_again_when_an_answer_is_lost),
        cmocka_unit_test(dials_the_silent_anew),
        cmocka_unit_test(follows_to_the_leader),
        cmocka_unit_test(waits_for_an_election),
        cmocka_unit_test(spreads_questions_for_outcomes),
        cmocka_unit_test(leaves_a_silent_leader_alone),
        cmocka_unit_test(survives_two_who_send_it_to_each_other),
        cmocka_unit_test(passes_over_who_is_not_there),
        cmocka_unit_test(tells_never_sent_from_not_answered),
        cmocka_unit_test(knows_passing_errors_from_final_ones),
        cmocka_unit_test(refuses_bad_addresses),
        cmocka_unit_test(gives_every_thread_its_own_answer),
        cmocka_unit_test(keeps_within_the_limit),
        cmocka_unit_test(forgets_who_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
