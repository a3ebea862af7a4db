/* test_attack: a man in the middle of all traffic between the real programs (tests/lib/relay.h): before every
 * coordinator of a group of three, towards its callers and its peers, and before both agents. He replays what
 * he has recorded, puts it where it does not belong, and flips bits, loses, doubles, delays and misplaces,
 * under load.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/secure_inside.h"
#include "tests/lib/kit.h"
#include "tests/lib/relay.h"
#include "tests/lib/sp.h"

static struct kit kit;

enum {
    NODES = 3,
    RELAYS = 2 * NODES + 2, /* callers and peers of each node, and the agents */
    FIRST_AGENT = 2 * NODES,
    RECORDED = 24, /* transfers */
    DISTURBED_MS = 1200,
    MISCHIEF = 2,        /* messages in that time, to call it disturbed */
    EXTRA_LINES = 12,    /* of a log, while it is flooded: those of refusals come once a second */
    ANSWER_MS = 30,      /* silence after which there is no more answer */
    ANSWERS_MAX = 20000, /* looked at */
    BODY_MAX = 1 << 20,
    SETTLED_MS = 10000,
};

static struct relay *relays[RELAYS];

static struct world_process *daemon_of(int relay)
{
    return relay < FIRST_AGENT ? kit.node[1 + relay / 2] : kit.agent[relay - FIRST_AGENT];
}

static void plan_all(const struct relay_plan *plan)
{
    for (int i = 0; i < RELAYS; i++)
        relay_plan(relays[i], plan);
}

static int set_up(void **state)
{
    (void)state;
    plan_all(NULL);
    if (kit.load.client != NULL)
        world_process_kill(kit.load.client); /* of a test that failed */
    kit_settle(&kit);
    return 0;
}

static size_t all_mischief(void)
{
    size_t n = 0;

    for (int i = 0; i < RELAYS; i++)
        n += relay_mischief(relays[i]);
    return n;
}

/* What must not change */

struct tally {
    int sessions;
    long long counts[5];
    long long rows, money; /* each balance by its account's number */
    unsigned lines[RELAYS];
};

static const char *const counters[] = {"committed", "aborted", "sessions_opened", "heuristic", NULL};

static bool sessions_are(void *arg)
{
    cJSON *status = world_admin_json(kit.world, WORLD_ARGS("status"), NULL);
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

    if (!world_wait(SETTLED_MS, sessions_are, &sessions))
        fail_msg("there are not %d sessions", sessions);
    status = world_admin_json(kit.world, WORLD_ARGS("status"), NULL);
    in = cJSON_GetObjectItem(status, "counters");
    for (; counters[n] != NULL; n++)
        t.counts[n] = (long long)cJSON_GetNumberValue(cJSON_GetObjectItem(in, counters[n]));
    in = cJSON_GetObjectItem(status, "ledger");
    t.counts[n] = (long long)cJSON_GetNumberValue(cJSON_GetObjectItem(in, "resources"));
    cJSON_Delete(status);
    for (int i = 0; i < 2; i++) {
        t.rows +=
            world_sql_number(kit.bank[i], "SELECT count(*) FROM receipts") + world_prepared_count(kit.bank[i]);
        t.money += world_sql_number(kit.bank[i], "SELECT sum(balance * id)::bigint FROM accounts");
    }
    for (int i = 0; i < RELAYS; i++)
        t.lines[i] = world_process_log_lines(daemon_of(i));
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
    for (int i = 0; i < RELAYS; i++) {
        assert_true(world_process_running(daemon_of(i)));
        if (now.lines[i] > before->lines[i] + EXTRA_LINES)
            fail_msg("%s: %u lines in the log of %s", after_what, now.lines[i] - before->lines[i],
                     world_process_name(daemon_of(i)));
    }
    kit_assert_sound(&kit);
}

/* Recordings */

static const struct relay_message *recording[RELAYS];
static size_t n_recorded[RELAYS];

static void record_begin(void)
{
    for (int i = 0; i < RELAYS; i++)
        relay_record(relays[i]);
}

static void record_end(void)
{
    for (int i = 0; i < RELAYS; i++)
        recording[i] = relay_recorded(relays[i], &n_recorded[i]);
}

static void run_transfers(enum kit_mode mode)
{
    static struct kit_account account;
    struct world_process *client = kit_start_transfers(&kit, mode, RECORDED, NULL);

    account.n = 0;
    kit_hear(client, &account, KIT_SETTLE_MS);
    assert_int_equal(world_process_wait(client, KIT_SETTLE_MS), 0);
    assert_int_equal(account.n, RECORDED);
    for (size_t i = 0; i < account.n; i++)
        assert_int_equal(account.told[i].rc, TX_OK);
}

/* Sessions, commits, statements, pulls and Raft's messages, of connections that begin with their handshakes. */
static void record_session(void)
{
    for (int i = 0; i < RELAYS; i++)
        relay_cut(relays[i]);
    record_begin();
    (void)kit_await_group(&kit);
    kit_await_agents(&kit);
    run_transfers(KIT_REMOTE);
    run_transfers(KIT_DIRECT);
    record_end();
    for (int i = 0; i < RELAYS; i++)
        assert_true(n_recorded[i] > 8);
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

    assert_true(sp_open(&s, relay_address(relays[to])));
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
    for (int i = 0; i < RELAYS; i++) {
        replay(i, i, false);
        replay(i, i, true);
    }
}

/* The majority has to be up before one of them is ready. */
static void restart(void)
{
    for (unsigned id = 1; id <= NODES; id++)
        world_process_kill(kit.node[id]);
    for (unsigned id = 1; id <= NODES; id++)
        world_process_start(kit.node[id], NULL);
    for (unsigned id = 1; id <= NODES; id++)
        world_process_await(kit.node[id], "event=ready", SETTLED_MS);
    kit_settle(&kit);
}

/* On new connections, forwards and backwards, while the sessions are known and after every daemon has forgotten
 * them. */
static void test_replayed(void **state)
{
    struct tally before;

    (void)state;
    record_session();
    kit_assert_sound(&kit);
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
    kit_assert_sound(&kit);
    before = take_tally(0);
    for (int from = 0; from < RELAYS; from++) {
        for (int to = 0; to < RELAYS; to++) {
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
    const struct relay_message *m = relay_recorded(relays[relay], &n);

    for (size_t i = 0; i < n; i++)
        (void)relay_send(relays[relay], connection, m[i].way, m[i].body, m[i].len);
}

static void commit_one(tx_client *client)
{
    PGconn *conn[2];
    struct tx_error e;
    txn *t = kit_begin(client);
    int rc;

    kit_connect_both(&kit, conn);
    kit_enlist(t, "bank_a", conn[0]);
    kit_enlist(t, "bank_b", conn[1]);
    kit_move(conn[0], txn_id(t), -1);
    kit_move(conn[1], txn_id(t), 1);
    rc = txn_commit(t, TXN_COMPLETED, &e);
    if (rc != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    assert_int_equal(kit_receipts(&kit, txn_id(t)), 2);
    txn_free(t);
    kit_disconnect_both(conn);
}

static void push_everywhere(void)
{
    for (int i = 0; i < RELAYS; i++) {
        unsigned last = relay_connection(relays[i]);

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
        client[i] = kit_client(&kit);
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
    kit_assert_sound(&kit);
}

/* Under load */

/* A relay's messages, in part, go another's way: into another connection of it. */
static bool cross(void *ctx, struct relay *r, struct relay_message *m)
{
    unsigned *count = ctx;

    if (++*count % 5 != 0)
        return true;
    for (unsigned other = m->connection + 8; other > 0; other--) {
        if (other != m->connection && relay_say(r, other, m->way, m->body, m->len))
            return false;
    }
    return true;
}

/* Everything that is between the first of the relays and the last, step 2: callers and agents, or peers. */
static void disturb(const struct relay_plan *plan, int first, int last, enum kit_mode mode)
{
    size_t before = all_mischief();

    kit_load_begin(&kit, mode);
    for (int i = first; i <= last; i += first < FIRST_AGENT ? 2 : 1)
        relay_plan(relays[i], plan);
    kit_hear(kit.load.client, &kit.load.account, DISTURBED_MS);
    if (all_mischief() - before < MISCHIEF)
        fail_msg("%zu messages alone were disturbed", all_mischief() - before);
    plan_all(NULL);
    kit_load_end_mixed(&kit);
}

static const struct relay_plan flips = {.flip = 150};
static const struct relay_plan frames = {.flip = 50, .break_frame = 50};
static const struct relay_plan rough = {.lose = 50, .twice = 200, .late = 300};

static void test_bits_to_callers(void **state)
{
    (void)state;
    disturb(&flips, 0, FIRST_AGENT - 2, KIT_CROWD);
    disturb(&frames, 0, FIRST_AGENT - 2, KIT_MIXED);
}

static void test_bits_between_peers(void **state)
{
    (void)state;
    disturb(&flips, 1, FIRST_AGENT - 1, KIT_DIRECT);
    disturb(&frames, 1, FIRST_AGENT - 1, KIT_DIRECT);
}

static void test_bits_to_agents(void **state)
{
    (void)state;
    disturb(&flips, FIRST_AGENT, RELAYS - 1, KIT_REMOTE);
}

static void test_rough(void **state)
{
    (void)state;
    disturb(&rough, 0, FIRST_AGENT - 2, KIT_CROWD);
    disturb(&rough, FIRST_AGENT, RELAYS - 1, KIT_REMOTE);
}

/* Answers under other questions, of which four are open at once. */
static void test_answers_misplaced(void **state)
{
    static const struct relay_plan plan = {.misplace = 500};

    (void)state;
    kit_load_begin(&kit, KIT_CROWD);
    plan_all(&plan);
    kit_load_progress(&kit, 10 * KIT_LOAD_PROGRESS);
    plan_all(NULL);
    assert_true(all_mischief() > 0);
    kit_load_end(&kit);
}

static void test_connections_crossed(void **state)
{
    static unsigned count;
    static const struct relay_plan plan = {.hook = cross, .ctx = &count};

    (void)state;
    disturb(&plan, 0, FIRST_AGENT - 2, KIT_CROWD);
}

/* The group */

/* An agent tells its clients where it listens; so the man in the middle takes that socket file's place. */
static void open_agent(int i)
{
    static const char *const names[2] = {"agent_a", "agent_b"};
    char told[WORLD_PATH_SIZE], moved[WORLD_PATH_SIZE + 8];

    snprintf(told, sizeof told, "ipc://%.80s/%s.socket", world_dir(kit.world), names[i]);
    snprintf(moved, sizeof moved, "%s.moved", told);
    kit.agent[i] = world_agent_new(kit.world, names[i], &kit.bank[i], 1,
                                   WORLD_ARGS("--scan_interval", "500ms", "--listen", told));
    world_process_start_ready(kit.agent[i], NULL);
    if (rename(told + 6, moved + 6) != 0)
        fail_msg("%s cannot be moved", told);
    relays[FIRST_AGENT + i] = relay_new(told, moved);
}

static int open_group(void **state)
{
    struct kit_options options = {.nodes = NODES, .relays = true, .no_agents = true};

    (void)state;
    kit_open(&kit, "attack", &options);
    for (unsigned id = 1; id <= NODES; id++) {
        relays[2 * id - 2] = world_relay(kit.world, id, false);
        relays[2 * id - 1] = world_relay(kit.world, id, true);
    }
    for (int i = 0; i < 2; i++)
        open_agent(i);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_replayed),           TEST(test_replayed_elsewhere),  TEST(test_replayed_into_connections),
        TEST(test_answers_misplaced),  TEST(test_connections_crossed), TEST(test_bits_to_callers),
        TEST(test_bits_between_peers), TEST(test_bits_to_agents),      TEST(test_rough),
    };
    int failed;

    kit_main(argc, argv);
    failed = kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
    for (int i = FIRST_AGENT; i < RELAYS; i++) {
        if (relays[i] != NULL)
            relay_free(relays[i]);
    }
    return failed;
}
