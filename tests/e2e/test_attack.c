/* test_attack: a man in the middle of all traffic between the real programs (tests/lib/middle.h) replays what
 * he has recorded, and puts it where it does not belong: nothing comes of it.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/secure_inside.h"
#include "tests/lib/middle.h"
#include "tests/lib/sp.h"

static struct middle middle;
static struct kit *const kit = &middle.kit;

enum {
    RECORDED = 24,       /* transfers */
    EXTRA_LINES = 12,    /* of a log, while it is flooded: those of refusals come once a second */
    ANSWER_MS = 30,      /* silence after which there is no more answer */
    ANSWERS_MAX = 20000, /* looked at */
    BODY_MAX = 1 << 20,
    SETTLED_MS = 10000,
};

static int set_up(void **state)
{
    (void)state;
    middle_settle(&middle);
    return 0;
}

/* What must not change */

struct tally {
    int sessions;
    long long counts[5];
    long long rows, money; /* each balance by its account's number */
    unsigned lines[MIDDLES];
};

static const char *const counters[] = {"committed", "aborted", "sessions_opened", "heuristic", NULL};

static bool sessions_are(void *arg)
{
    cJSON *status = world_admin_json(kit->world, WORLD_ARGS("status"), NULL);
    cJSON *ledger = cJSON_GetObjectItem(status, "ledger");
    bool so = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(ledger, "open_sessions")) == *(int *)arg;

    cJSON_Delete(status);
    return so;
}

/* When the sessions of the clients that have ended are over, and so many are open. */
static struct tally take_tally(int sessions)
{
    struct tally t = {.sessions = sessions};
    cJSON *status, *in;
    int n = 0;

    world_sleep_ms(200); /* a follower, who may be asked, knows what is committed with the next heartbeat */
    if (!world_wait(SETTLED_MS, sessions_are, &sessions))
        fail_msg("there are not %d sessions", sessions);
    status = world_admin_json(kit->world, WORLD_ARGS("status"), NULL);
    in = cJSON_GetObjectItem(status, "counters");
    for (; counters[n] != NULL; n++)
        t.counts[n] = (long long)cJSON_GetNumberValue(cJSON_GetObjectItem(in, counters[n]));
    in = cJSON_GetObjectItem(status, "ledger");
    t.counts[n] = (long long)cJSON_GetNumberValue(cJSON_GetObjectItem(in, "resources"));
    cJSON_Delete(status);
    for (int i = 0; i < 2; i++) {
        t.rows += world_sql_number(kit->bank[i], "SELECT count(*) FROM receipts") +
                  world_prepared_count(kit->bank[i]);
        t.money += world_sql_number(kit->bank[i], "SELECT sum(balance * id)::bigint FROM accounts");
    }
    for (int i = 0; i < MIDDLES; i++)
        t.lines[i] = world_process_log_lines(middle_daemon(&middle, i));
    return t;
}

static void assert_unchanged(const struct tally *before, const char *after_what)
{
    struct tally now = take_tally(before->sessions);

    for (size_t i = 0; i < sizeof now.counts / sizeof *now.counts; i++) {
        if (now.counts[i] != before->counts[i])
            fail_msg("%s: count %zu was %lld, and is %lld", after_what, i, before->counts[i], now.counts[i]);
    }
    if (now.rows != before->rows || now.money != before->money)
        fail_msg("%s: the banks have changed", after_what);
    for (int i = 0; i < MIDDLES; i++) {
        assert_true(world_process_running(middle_daemon(&middle, i)));
        if (now.lines[i] > before->lines[i] + EXTRA_LINES)
            fail_msg("%s: %u lines in the log of %s", after_what, now.lines[i] - before->lines[i],
                     world_process_name(middle_daemon(&middle, i)));
    }
    kit_assert_sound(kit);
}

/* Recordings */

static const struct relay_message *recording[MIDDLES];
static size_t n_recorded[MIDDLES];

static void record_begin(void)
{
    for (int i = 0; i < MIDDLES; i++)
        relay_record(middle.relays[i]);
}

static void record_end(void)
{
    for (int i = 0; i < MIDDLES; i++)
        recording[i] = relay_recorded(middle.relays[i], &n_recorded[i]);
}

static void run_transfers(enum kit_mode mode)
{
    static struct kit_account account;
    struct world_process *client = kit_start_transfers(kit, mode, RECORDED, NULL);

    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, RECORDED);
    for (size_t i = 0; i < account.n; i++)
        assert_int_equal(account.told[i].rc, TX_OK);
}

static bool recorded_enough(void)
{
    for (int i = 0; i < MIDDLES; i++) {
        if (n_recorded[i] <= 8)
            return false;
    }
    return true;
}

/* Sessions, commits, statements, pulls and Raft's messages, of connections that begin with their handshakes.
 * Where little was said on one of them, they are listened to for longer. */
static void record_session(void)
{
    for (unsigned tries = 0; tries == 0 || !recorded_enough(); tries++) {
        assert_in_range(tries, 0, 4);
        for (int i = 0; i < MIDDLES; i++)
            relay_cut(middle.relays[i]);
        record_begin();
        (void)kit_await_group(kit);
        kit_await_agents(kit);
        run_transfers(KIT_REMOTE);
        run_transfers(KIT_DIRECT);
        world_sleep_ms(tries * 2000);
        record_end();
    }
}

/* A handshake's beginning may be answered, and what belongs to no session; nothing else may. */
static void assert_no_answer(struct sp *s)
{
    static uint8_t body[BODY_MAX];
    long n;

    for (int i = 0; i < ANSWERS_MAX && (n = sp_receive(s, body, sizeof body, ANSWER_MS)) >= 0; i++) {
        unsigned kind = n > SP_HEADER ? secure_kind_of(body + SP_HEADER, (size_t)n - SP_HEADER) : 0;

        if (kind != SECURE_KIND_WELCOME && kind != SECURE_KIND_RESET && kind != SECURE_KIND_MISMATCH)
            fail_msg("a recording was answered with a message of kind %u", kind);
    }
}

/* All that callers have sent on this line, on a new connection somewhere. */
static void replay(int from, int to, bool backwards)
{
    struct sp s;

    assert_true(sp_open(&s, relay_address(middle.relays[to])));
    for (size_t i = 0; i < n_recorded[from]; i++) {
        const struct relay_message *m = &recording[from][backwards ? n_recorded[from] - 1 - i : i];

        if (m->way == RELAY_TO_SERVER && !sp_send(&s, m->body, m->len))
            break; /* closed: it was too much */
    }
    assert_no_answer(&s);
    sp_close(&s);
}

static void replay_all(void)
{
    for (int i = 0; i < MIDDLES; i++) {
        replay(i, i, false);
        replay(i, i, true);
    }
}

/* The majority has to be up before one of them is ready. */
static void restart(void)
{
    for (unsigned id = 1; id <= MIDDLE_NODES; id++)
        world_process_kill(kit->node[id]);
    for (unsigned id = 1; id <= MIDDLE_NODES; id++)
        world_process_start(kit->node[id], NULL);
    for (unsigned id = 1; id <= MIDDLE_NODES; id++)
        world_process_await(kit->node[id], "event=ready", SETTLED_MS);
    kit_settle(kit);
}

/* On new connections, forwards and backwards, while the sessions are known and after every daemon has forgotten
 * them. */
static void test_replayed(void **state)
{
    struct tally before;

    (void)state;
    record_session();
    kit_assert_sound(kit);
    before = take_tally(0);
    replay_all();
    assert_unchanged(&before, "a replay");
    restart();
    before = take_tally(0);
    replay_all();
    assert_unchanged(&before, "a replay after a restart");
    run_transfers(KIT_REMOTE);
}

/* What was said to one daemon is said to all the others, and from their peers' ports to their callers'. */
static void test_replayed_elsewhere(void **state)
{
    struct tally before;

    (void)state;
    record_session();
    kit_assert_sound(kit);
    before = take_tally(0);
    for (int from = 0; from < MIDDLES; from++) {
        for (int to = 0; to < MIDDLES; to++) {
            if (from != to)
                replay(from, to, false);
        }
    }
    assert_unchanged(&before, "a replay elsewhere");
    run_transfers(KIT_REMOTE);
}

/* Into connections that are at work, both ways: their own recordings, and others'. */

static void push_into(int relay, unsigned connection)
{
    size_t n;
    const struct relay_message *m = relay_recorded(middle.relays[relay], &n);

    for (size_t i = 0; i < n; i++)
        (void)relay_send(middle.relays[relay], connection, m[i].way, m[i].body, m[i].len);
}

static void commit_one(tx_client *client)
{
    PGconn *conn[2];
    struct tx_error e;
    txn *t = kit_begin(client);
    int rc;

    kit_connect_both(kit, conn);
    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    kit_move(conn[0], txn_id(t), -1);
    kit_move(conn[1], txn_id(t), 1);
    rc = txn_commit(t, TXN_COMPLETED, &e);
    if (rc != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    assert_int_equal(kit_receipts(kit, txn_id(t)), 2);
    txn_free(t);
    kit_disconnect_both(conn);
}

static void push_everywhere(void)
{
    for (int i = 0; i < MIDDLES; i++) {
        unsigned last = relay_connection(middle.relays[i]);

        for (unsigned c = last > 6 ? last - 6 : 1; c <= last; c++)
            push_into(i, c);
    }
}

static void test_replayed_into_connections(void **state)
{
    struct tally before;
    tx_client *client[2];

    (void)state;
    record_begin();
    for (int i = 0; i < 2; i++)
        client[i] = kit_client(kit);
    for (int i = 0; i < 4; i++)
        commit_one(client[i % 2]);
    record_end();
    before = take_tally(2);
    push_everywhere();
    world_sleep_ms(300);
    assert_unchanged(&before, "a replay into the same connections");
    for (int i = 0; i < 4; i++)
        commit_one(client[i % 2]);
    run_transfers(KIT_REMOTE);
    for (int i = 0; i < 2; i++)
        tx_client_close(client[i]);
    kit_assert_sound(kit);
}

/* The group */

static int open_group(void **state)
{
    (void)state;
    middle_open(&middle, "attack");
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_replayed),
        TEST(test_replayed_elsewhere),
        TEST(test_replayed_into_connections),
    };

    kit_main(argc, argv);
    return middle_close(&middle, cmocka_run_group_tests(tests, open_group, NULL));
}
