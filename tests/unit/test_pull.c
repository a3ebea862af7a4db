/* test_pull: what an agent has to tell arrives, also where one of its reports is malformed to the coordinator:
 * over real sockets, with the agent's own pull and outbox at one end, and one that answers as a coordinator at
 * the other; in clear text, or as each other's keys allow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "libtx/shared/log.h"
#include "participant/outbox.h"
#include "participant/pull.h"

enum { REPORTS = 700, LIMIT_MS = 20000, GROUP = 7 };

struct fixture {
    uv_loop_t loop;
    uv_poll_t listening;
    uv_timer_t limit;
    struct channel server;
    struct wire_scratch scratch;
    struct pull pull;
    struct outbox outbox;
    struct wire_report reports[REPORT_LIMIT];
    /* the coordinator */
    uint64_t bad[2]; /* sequence numbers of reports that it takes for malformed */
    bool refuses_all, over;
    unsigned n_refused;
    bool secure; /* and so is the agent */
    struct identity self;
    struct channel_security security;
    struct security agent;
    char refusal[512]; /* what the agent logs of it */
    bool taken[REPORTS + 1];
};

static struct fixture x;

/* The coordinator's end */

static void reply(const struct reply_to *to, const struct wire_message *m)
{
    struct buf out;

    buf_init(&out);
    assert_int_equal(wire_encode(m, &out), TX_OK);
    (void)channel_reply(&x.server, to, out.data, out.len);
    buf_release(&out);
}

static bool is_bad(const struct wire_pull *m)
{
    for (size_t i = 0; i < m->n_reports; i++) {
        if (m->reports[i].id.sequence == x.bad[0] || m->reports[i].id.sequence == x.bad[1])
            return true;
    }
    return x.refuses_all;
}

static void take_pull(const struct reply_to *to, const struct wire_pull *m)
{
    struct wire_message answer = {.type = WIRE_WORK};

    if (is_bad(m)) {
        answer.type = WIRE_ERROR;
        answer.error = (struct wire_error){.code = TX_EPROTO, .text = "malformed pull message: report"};
        x.n_refused++;
    } else {
        for (size_t i = 0; i < m->n_reports; i++)
            x.taken[m->reports[i].id.sequence] = true;
        answer.work = (struct wire_work){.group = GROUP, .received = m->number};
    }
    reply(to, &answer);
}

static void on_request(uv_poll_t *handle, int status, int events)
{
    struct wire_message m, located = {.type = WIRE_LOCATED, .located = {.address = "tcp://127.0.0.1:1"}};
    struct channel_message in;
    struct tx_error e;

    (void)handle;
    (void)status;
    (void)events;
    while (channel_receive(&x.server, &in) == 1) {
        assert_int_equal(wire_decode(&m, in.data, in.len, &x.scratch, &e), TX_OK);
        if (m.type == WIRE_PULL)
            take_pull(&in.origin, &m.pull);
        else
            reply(&in.origin, &located);
        channel_release(&in);
    }
}

/* The agent's end */

static void fill(void *arg, struct wire_pull *pull)
{
    (void)arg;
    pull->name = "agent";
    pull->n_reports = outbox_fill(&x.outbox, pull->number, x.reports);
    pull->reports = x.reports;
}

static void sent(void *arg, const struct wire_pull *pull)
{
    (void)arg;
    (void)pull;
}

static void met(void *arg)
{
    (void)arg;
}

static bool refused(void *arg, size_t n, const char *why)
{
    (void)arg;
    return outbox_refused(&x.outbox, n, why);
}

static void stop(void)
{
    x.over = true;
    pull_close(&x.pull);
    uv_close((uv_handle_t *)&x.listening, NULL);
    uv_close((uv_handle_t *)&x.limit, NULL);
}

static void work(void *arg, const struct wire_work *m)
{
    (void)arg;
    outbox_received(&x.outbox, m->received);
    if (x.outbox.n == 0)
        stop();
    else
        pull_wake(&x.pull);
}

static void on_limit(uv_timer_t *timer)
{
    (void)timer;
    stop();
}

static bool accept_agent(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    return key_equal(key, x.agent.self.public_key);
}

/* Each with a key, and the agent has the coordinator's in this role. */
static void secure(unsigned role)
{
    struct key_entry entry = {.roles = role, .name = "node1"};
    struct tx_error e;

    assert_true(sodium_init() >= 0);
    identity_generate(&x.self);
    identity_generate(&x.agent.self);
    memcpy(entry.key, x.self.public_key, KEY_SIZE);
    assert_int_equal(keyring_add(&x.agent.ring, &entry, &e), TX_OK);
    x.security = (struct channel_security){.self = &x.self, .accept = accept_agent};
    x.secure = true;
}

static void note_refusal(void *arg, const char *line)
{
    (void)arg;
    if (strstr(line, "state=refused") != NULL)
        snprintf(x.refusal, sizeof x.refusal, "%s", line);
}

static void run(unsigned limit_ms)
{
    struct pull_options options = {.loop = &x.loop,
                                   .probe = "bank",
                                   .security = x.secure ? &x.agent : NULL,
                                   .fill = fill,
                                   .sent = sent,
                                   .work = work,
                                   .refused = refused,
                                   .met = met};
    char address[64];
    struct tx_error e;
    int rc = TX_EIO;

    uv_loop_init(&x.loop);
    for (unsigned port = 23000 + (unsigned)getpid() % 8000; rc == TX_EIO; port++) {
        snprintf(address, sizeof address, "tcp://127.0.0.1:%u", port);
        rc = channel_listen(&x.server, address, MESSAGE_LIMIT, x.secure ? &x.security : NULL, &e);
    }
    assert_int_equal(rc, TX_OK);
    uv_poll_init(&x.loop, &x.listening, channel_fd(&x.server));
    uv_poll_start(&x.listening, UV_READABLE, on_request);
    uv_timer_init(&x.loop, &x.limit);
    uv_timer_start(&x.limit, on_limit, limit_ms, 0);
    options.coordinators = address;
    assert_int_equal(pull_open(&x.pull, &options, &e), TX_OK);
    uv_run(&x.loop, UV_RUN_DEFAULT);
    channel_close(&x.server);
    pull_release(&x.pull);
    assert_int_equal(uv_loop_close(&x.loop), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&x, 0, sizeof x);
    outbox_init(&x.outbox);
    for (uint64_t i = 1; i <= REPORTS; i++) {
        const struct wire_report report = {
            .kind = REPORT_COMMITTED, .id = {GROUP, 1, i, 1}, .branch = 1, .resource = "bank"};

        assert_true(outbox_put(&x.outbox, &report));
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    outbox_release(&x.outbox);
    security_release(&x.agent);
    return 0;
}

/* All arrive but these two. */
static void assert_taken_but(uint64_t one, uint64_t other)
{
    for (uint64_t i = 1; i <= REPORTS; i++) {
        if (x.taken[i] == (i == one || i == other))
            fail_msg("report %u %s", (unsigned)i, x.taken[i] ? "was taken" : "is missing");
    }
}

static void assert_taken_none(void)
{
    for (uint64_t i = 1; i <= REPORTS; i++)
        assert_false(x.taken[i]);
}

static void test_all_arrive(void **state)
{
    (void)state;
    run(LIMIT_MS);
    assert_int_equal(x.outbox.n, 0);
    assert_taken_but(0, 0);
    assert_int_equal(x.n_refused, 0);
}

/* What is malformed to the coordinator holds up no other. */
static void test_a_refused_report_is_left_out(void **state)
{
    (void)state;
    x.bad[0] = 300;
    x.bad[1] = REPORTS;
    run(LIMIT_MS);
    assert_int_equal(x.outbox.n, 0);
    assert_taken_but(300, REPORTS);
}

/* Where a PULL is refused for something else, nothing is dropped. */
static void test_none_is_to_blame_for_what_is_refused_anyway(void **state)
{
    (void)state;
    x.refuses_all = true;
    run(3000);
    assert_true(x.n_refused > 0);
    assert_int_equal(x.outbox.n, REPORTS);
}

static void test_all_arrive_in_secret(void **state)
{
    uint64_t begun = uv_hrtime();

    (void)state;
    secure(ROLE_COORDINATOR);
    run(LIMIT_MS);
    assert_int_equal(x.outbox.n, 0);
    assert_taken_but(0, 0);
    assert_in_range((uv_hrtime() - begun) / 1000000, 0, 1000); /* no handshake was waited for */
}

/* A key of another role says nothing, and is told nothing. */
static void test_nothing_goes_to_whom_is_not_believed(void **state)
{
    (void)state;
    secure(ROLE_CLIENT | ROLE_OPERATOR);
    log_divert(note_refusal, NULL);
    run(1500);
    log_divert(NULL, NULL);
    assert_int_equal(x.outbox.n, REPORTS);
    assert_taken_none();
    assert_non_null(strstr(x.refusal, "is not in the keys file, or not with the role needed"));
}

static void test_clear_text_is_not_spoken(void **state)
{
    (void)state;
    secure(ROLE_COORDINATOR);
    x.agent.insecure = true;
    log_divert(note_refusal, NULL);
    run(1500);
    log_divert(NULL, NULL);
    assert_taken_none();
    assert_non_null(strstr(x.refusal, "it takes no clear text"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_arrive),
        TEST(test_a_refused_report_is_left_out),
        TEST(test_none_is_to_blame_for_what_is_refused_anyway),
        TEST(test_all_arrive_in_secret),
        TEST(test_nothing_goes_to_whom_is_not_believed),
        TEST(test_clear_text_is_not_spoken),
    };

    log_init("test_pull", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
