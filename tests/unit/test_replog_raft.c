/* Tests of single rules of Raft: one real node, and two that the test plays, message by message. */
#include "tests/unit/replog_kit.h"

#include "coordinator/replog_message.h"

static struct net net;
/* The node's last message of each type, to each of the others. */
static struct {
    bool there;
    struct replog_message m; /* what it borrows is gone */
    unsigned n;              /* messages of the type */
} said[NET_NODES][32];

static void on_said(struct net *n, uint64_t from, uint64_t to, const void *data, size_t len)
{
    struct replog_message m;

    (void)n;
    assert_int_equal(from, 1);
    assert_true(replog_message_decode(data, len, &m));
    replog_message_release(&m);
    said[to][m.type].there = true;
    said[to][m.type].m = m;
    said[to][m.type].n++;
}

/* Waits for the node to say such a thing, from now on. */
static const struct raft_message *hear(uint64_t to, int type)
{
    NET_WAIT(&net, said[to][type].there);
    said[to][type].there = false;
    return &said[to][type].m.raft;
}

static void forget(void)
{
    memset(said, 0, sizeof said);
}

static struct replog_message make(uint64_t from, int type)
{
    return (struct replog_message){.type = type,
                                   .group = net.group,
                                   .log = 99,
                                   .from = from,
                                   .to = 1,
                                   .address = net.nodes[from].address,
                                   .to_voter = true};
}

static void say(const struct replog_message *m)
{
    struct buf b;

    buf_init(&b);
    replog_message_encode(&b, m);
    assert_false(b.failed);
    replog_receive(net.nodes[1].r, b.data, b.len);
    buf_release(&b);
}

static void ask_vote(uint64_t from, uint64_t term, uint64_t last_index, uint64_t last_term)
{
    struct replog_message m = make(from, RAFT_REQUEST_VOTE);

    m.raft.request_vote = (struct raft_request_vote){
        .term = term, .candidate_id = from, .last_log_index = last_index, .last_log_term = last_term};
    /* Where a leader is known a vote is refused for its sake. */
    m.raft.request_vote.disrupt_leader = true;
    said[from][RAFT_REQUEST_VOTE_RESULT].there = false;
    say(&m);
}

static bool granted(uint64_t to)
{
    return hear(to, RAFT_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted;
}

static void append(uint64_t from, uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t commit,
                   uint64_t entry_term, unsigned n)
{
    struct replog_message m = make(from, RAFT_APPEND_ENTRIES);
    struct raft_entry entries[16];
    uint64_t numbers[16];

    assert_true(n <= 16);
    for (unsigned i = 0; i < n; i++) {
        numbers[i] = net.next++;
        entries[i] = (struct raft_entry){
            .term = entry_term, .type = RAFT_COMMAND, .buf = {&numbers[i], sizeof numbers[i]}};
    }
    m.raft.append_entries = (struct raft_append_entries){.term = term,
                                                         .prev_log_index = prev,
                                                         .prev_log_term = prev_term,
                                                         .leader_commit = commit,
                                                         .entries = entries,
                                                         .n_entries = n};
    said[from][RAFT_APPEND_ENTRIES_RESULT].there = false;
    say(&m);
}

static struct raft_append_entries_result answer(uint64_t to)
{
    return hear(to, RAFT_APPEND_ENTRIES_RESULT)->append_entries_result;
}

static void acknowledge(uint64_t from, uint64_t term, uint64_t last)
{
    struct replog_message m = make(from, RAFT_APPEND_ENTRIES_RESULT);

    m.raft.append_entries_result = (struct raft_append_entries_result){.term = term, .last_log_index = last};
    say(&m);
}

static void grant(uint64_t from, uint64_t term, bool pre)
{
    struct replog_message m = make(from, RAFT_REQUEST_VOTE_RESULT);

    m.raft.request_vote_result =
        (struct raft_request_vote_result){.term = term, .vote_granted = true, .pre_vote = pre};
    say(&m);
}

static struct replog_status status(void)
{
    struct replog_status s;

    replog_status(net.nodes[1].r, &s);
    return s;
}

/* Node 1 is taken in by node 2, which leads in term 2: entry 1 says that all three vote. */
static void begin(void)
{
    struct replog_message m;
    struct raft_configuration c;
    struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE};

    net_open(&net);
    net.nodes[1].options.election_ms = 1000; /* the test elects */
    net.nodes[1].options.snapshot_bytes = 4096;
    forget();
    net.spy = on_said;
    net_start(&net, 1);
    uv_run(&net.loop, UV_RUN_NOWAIT);
    raft_configuration_init(&c);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(raft_configuration_add(&c, i, net.nodes[i].address, RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &entry.buf), 0);
    raft_configuration_close(&c);
    m = make(2, RAFT_APPEND_ENTRIES);
    m.to_voter = false;
    m.raft.append_entries =
        (struct raft_append_entries){.term = 2, .leader_commit = 1, .entries = &entry, .n_entries = 1};
    say(&m);
    raft_free(entry.buf.base);
    assert_int_equal(answer(2).last_log_index, 1);
}

static void restart_killed(void)
{
    net_kill(&net, 1);
    net_start(&net, 1);
    uv_run(&net.loop, UV_RUN_NOWAIT);
    forget();
}

static void one_vote_a_term(void **state)
{
    (void)state;
    begin();
    ask_vote(2, 5, 1, 1);
    assert_true(granted(2));
    ask_vote(3, 5, 9, 5);
    assert_false(granted(3));
    for (int i = 0; i < 2; i++) {
        restart_killed();
        ask_vote(3, 5, 9, 5);
        assert_false(granted(3));
        ask_vote(2, 5, 1, 1);
        assert_true(granted(2));
    }
    ask_vote(3, 4, 9, 4);
    assert_false(granted(3));
    ask_vote(3, 6, 9, 5);
    assert_true(granted(3));
    restart_killed();
    assert_int_equal(status().term, 6);
    net_close(&net);
}

static void no_vote_for_a_shorter_log(void **state)
{
    (void)state;
    begin();
    append(2, 2, 1, 1, 1, 2, 5);
    assert_int_equal(answer(2).last_log_index, 6);
    ask_vote(3, 3, 5, 2);
    assert_false(granted(3));
    ask_vote(3, 4, 1, 1);
    assert_false(granted(3));
    ask_vote(3, 5, 6, 2);
    assert_true(granted(3));
    restart_killed();
    ask_vote(2, 6, 5, 2);
    assert_false(granted(2));
    ask_vote(2, 7, 2, 3);
    assert_true(granted(2));
    net_close(&net);
}

/* Entries that a former leader sent are not acknowledged to a new one that has not compared them. */
static void unchecked_tail(void **state)
{
    (void)state;
    begin();
    append(2, 2, 1, 1, 1, 2, 3);
    assert_int_equal(answer(2).last_log_index, 4);
    append(3, 3, 1, 1, 1, 0, 0);
    assert_int_equal(answer(3).last_log_index, 1);
    append(3, 3, 2, 2, 4, 0, 0);
    assert_int_equal(answer(3).last_log_index, 2);
    assert_int_equal(status().commit_index, 2);
    /* Nor while a write of them is on its way. */
    append(3, 3, 4, 2, 2, 3, 3);
    append(2, 4, 2, 2, 9, 0, 0);
    assert_int_equal(answer(2).last_log_index, 2);
    NET_WAIT(&net, status().forced_writes > 0);
    net_run(&net, 50);
    assert_int_equal(status().commit_index, 2);
    net_close(&net);
}

/* A tail is replaced while it is being written, and once it is on disk; each time by one that is shorter. */
static void tail_replaced_in_flight(void **state)
{
    struct raft_append_entries_result a;

    (void)state;
    begin();
    append(2, 2, 1, 1, 1, 2, 10);
    append(3, 3, 4, 2, 1, 3, 5);
    append(2, 4, 3, 2, 1, 4, 2);
    do
        a = answer(2);
    while (a.last_log_index < 5);
    assert_int_equal(a.last_log_index, 5);
    assert_int_equal(status().last_index, 5);
    restart_killed();
    assert_int_equal(status().last_index, 5);
    append(3, 5, 5, 4, 5, 0, 0);
    assert_int_equal(answer(3).last_log_index, 5);
    NET_WAIT(&net, net.nodes[1].applied == 4);
    /* The numbers of entries 2, 3, and of the last two. */
    assert_int_equal(net.history[0], 1);
    assert_int_equal(net.history[1], 2);
    assert_int_equal(net.history[2], 16);
    assert_int_equal(net.history[3], 17);
    net_close(&net);
}

static void become_leader(uint64_t term)
{
    forget();
    NET_WAIT(&net, said[2][RAFT_REQUEST_VOTE].there);
    assert_true(hear(2, RAFT_REQUEST_VOTE)->request_vote.pre_vote);
    grant(2, term, true);
    assert_false(hear(2, RAFT_REQUEST_VOTE)->request_vote.pre_vote);
    assert_int_equal(status().term, term);
    grant(2, term, false);
    hear(2, RAFT_APPEND_ENTRIES);
}

/* It has taken entry 2 from a leader of term 2, and leads in term 3. */
static void begin_leading(void)
{
    begin();
    append(2, 2, 1, 1, 1, 2, 1);
    assert_int_equal(answer(2).last_log_index, 2);
    become_leader(3);
}

/* Figure 8 of the Raft paper: an entry of an older term on a majority is not committed by that. */
static void figure_8(void **state)
{
    (void)state;
    begin_leading();
    NET_WAIT(&net, status().forced_writes >= 2);
    net_run(&net, 20);
    acknowledge(2, 3, 2);
    acknowledge(3, 3, 2);
    assert_int_equal(status().commit_index, 1);
    assert_int_equal(net.nodes[1].role, REPLOG_FOLLOWER);
    /* Another leader may replace it still. */
    append(3, 4, 1, 1, 1, 4, 1);
    assert_int_equal(answer(3).last_log_index, 2);
    assert_int_equal(net.nodes[1].applied, 0);
    append(3, 4, 2, 4, 2, 0, 0);
    assert_int_equal(answer(3).last_log_index, 2);
    assert_int_equal(net.nodes[1].applied, 1);
    assert_int_equal(net.history[0], 2);
    net_close(&net);
}

/* With an entry of its own term on a majority all before it is. */
static void own_term_commits(void **state)
{
    (void)state;
    begin_leading();
    net_run(&net, 20);
    acknowledge(3, 3, 3);
    assert_int_equal(status().commit_index, 3);
    assert_int_equal(net.nodes[1].role, REPLOG_LEADER);
    assert_int_equal(net.nodes[1].applied, 1);
    /* What was proposed and not committed when leadership is lost is of unknown outcome. */
    net_propose(&net, 1, 4);
    net_run(&net, 20);
    append(3, 9, 3, 3, 3, 0, 0);
    assert_int_equal(net.unknown, 4);
    assert_int_equal(net.nodes[1].role, REPLOG_FOLLOWER);
    net_propose(&net, 1, 2);
    net_run(&net, 20);
    assert_int_equal(net.refused, 2);
    net_close(&net);
}

/* The message that ends its lead brings what takes the place of its last proposals: their end is told all the
 * same. */
static void deposed_and_replaced(void **state)
{
    (void)state;
    begin_leading();
    net_run(&net, 20);
    acknowledge(3, 3, 3);
    assert_int_equal(net.nodes[1].role, REPLOG_LEADER);
    net_propose(&net, 1, 4);
    net_run(&net, 20);
    assert_int_equal(net.waiting, 4);
    append(3, 9, 3, 3, 3, 9, 1);
    assert_int_equal(net.waiting, 0);
    assert_int_equal(net.unknown, 4);
    assert_int_equal(net.nodes[1].role, REPLOG_FOLLOWER);
    net_close(&net);
}

/* What no member says */

/* The first entries of all come once more, late, when the log does not reach back to them any more. Nothing
 * stands before the first one, so nothing about them can be compared. */
static void late_first_entries(void **state)
{
    struct raft_append_entries_result a;
    uint64_t last = 1;

    (void)state;
    begin();
    NET_WAIT(&net, status().forced_writes > 0);
    for (int i = 0; i < 40; i++, last += 10) {
        append(2, 2, last, last == 1 ? 1 : 2, last, 2, 10);
        NET_WAIT(&net, status().commit_index >= last);
    }
    NET_WAIT(&net, status().snapshot_index > 250);
    net_run(&net, 20);
    append(2, 2, 0, 0, last, 2, 16);
    a = answer(2);
    assert_int_equal(a.rejected, 0);
    assert_in_range(a.last_log_index, status().commit_index, last);
    append(2, 2, last, 2, last + 1, 2, 1);
    NET_WAIT(&net, net.nodes[1].applied == last);
    assert_int_equal(net.nodes[1].fatals, 0);
    net_close(&net);
}

/* The one that was asked to take over takes leadership away, is not elected, and this node leads again. */
static void transfer_comes_back(void **state)
{
    (void)state;
    begin_leading();
    net_run(&net, 20);
    acknowledge(2, 3, 3);
    acknowledge(3, 3, 3);
    NET_WAIT(&net, net.nodes[1].role == REPLOG_LEADER);
    net.change_rc = 1;
    replog_transfer(net.nodes[1].r, 2, net_changed, &net);
    NET_WAIT(&net, said[2][RAFT_TIMEOUT_NOW].there);
    ask_vote(2, 4, 3, 3);
    assert_int_equal(net.change_rc, 1);
    become_leader(5);
    net_run(&net, 20);
    acknowledge(2, 5, 4);
    NET_WAIT(&net, net.nodes[1].role == REPLOG_LEADER);
    assert_int_equal(net.change_rc, TX_EREFUSED);
    net_propose(&net, 1, 1);
    net_run(&net, 20);
    acknowledge(2, 5, 5);
    NET_WAIT(&net, net.waiting == 0);
    assert_int_equal(net.committed, 1);
    net_close(&net);
}

static void impossible_messages(void **state)
{
    struct replog_message m;

    (void)state;
    begin_leading();
    net_run(&net, 20);
    acknowledge(2, 3, 3);
    assert_int_equal(net.nodes[1].role, REPLOG_LEADER);
    append(3, 3, 3, 3, 3, 0, 0); /* a second leader of the term */
    m = make(2, RAFT_APPEND_ENTRIES_RESULT);
    m.raft.append_entries_result = (struct raft_append_entries_result){.term = 3, .rejected = 3};
    say(&m); /* a follower that has lost what it acknowledged */
    m.raft.append_entries_result = (struct raft_append_entries_result){.term = 3, .rejected = 4};
    say(&m);
    acknowledge(2, 3, 1000);
    grant(3, 9, true);
    grant(3, 9, false);
    m = make(3, RAFT_TIMEOUT_NOW);
    m.raft.timeout_now = (struct raft_timeout_now){.term = 3, .last_log_index = 3, .last_log_term = 3};
    say(&m);
    m.group++;
    say(&m);
    assert_int_equal(net.nodes[1].role, REPLOG_LEADER);
    assert_int_equal(net.nodes[1].fatals, 0);
    assert_int_equal(status().term, 3);
    net_close(&net);
}

/* Bits are flipped, ends cut off; the node goes on as if the message had been lost, or does what it says. */
static void damaged_messages(void **state)
{
    struct replog_message m;
    struct buf b;

    (void)state;
    begin();
    net.any_address = true;
    append(2, 2, 1, 1, 1, 2, 5);
    for (int i = 0; i < 4000; i++) {
        static const int types[] = {RAFT_APPEND_ENTRIES_RESULT, RAFT_REQUEST_VOTE,
                                    RAFT_REQUEST_VOTE_RESULT,   RAFT_TIMEOUT_NOW,
                                    REPLOG_MESSAGE_PIECE_ACK,   REPLOG_MESSAGE_REMOVED};

        m = make(2, types[i % 6]);
        if (m.type == RAFT_REQUEST_VOTE)
            m.raft.request_vote = (struct raft_request_vote){.term = 2, .candidate_id = 2};
        else
            m.ack = (struct replog_piece_ack){2, 1, 1};
        buf_init(&b);
        replog_message_encode(&b, &m);
        if (i % 3 == 0)
            b.len = net_random(&net, b.len);
        else
            b.data[net_random(&net, b.len)] ^= (uint8_t)(1 << net_random(&net, 8));
        replog_receive(net.nodes[1].r, b.data, b.len);
        buf_release(&b);
        assert_int_equal(net.nodes[1].fatals, 0);
    }
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_vote_a_term),
        cmocka_unit_test(no_vote_for_a_shorter_log),
        cmocka_unit_test(unchecked_tail),
        cmocka_unit_test(tail_replaced_in_flight),
        cmocka_unit_test(figure_8),
        cmocka_unit_test(own_term_commits),
        cmocka_unit_test(deposed_and_replaced),
        cmocka_unit_test(late_first_entries),
        cmocka_unit_test(transfer_comes_back),
        cmocka_unit_test(impossible_messages),
        cmocka_unit_test(damaged_messages),
    };

    if (getenv("ASSENT_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("ASSENT_TEST_ONLY"));
    log_init("test_replog_raft", getenv("ASSENT_TEST_LOG") != NULL ? LOG_INFO : LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
