/* test_call_secure: whom libtx believes, what it says of those who do not believe it, and that a coordinator
 * that was restarted costs next to nothing. call.c and call_peer.c with real sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "libtx/call.h"
#include "tests/unit/coordinator_kit.h"

/* Two coordinators, one that is in nobody's file, and an agent before and after it got another key. */
enum { FIRST, SECOND, FOREIGN, AGENT, AGENT_LATER, PARTIES };

static struct party {
    struct identity self;
    struct channel_security security;
    atomic_bool refuses;
} parties[PARTIES];

static const char *nowhere = "ipc:///tmp/assent-kit-nobody-listens-here";
static struct security client;

static bool accept_client(void *ctx, const uint8_t key[KEY_SIZE])
{
    struct party *p = ctx;

    return !atomic_load(&p->refuses) && key_equal(key, client.self.public_key);
}

static int set_up(void **state)
{
    struct tx_error e;

    (void)state;
    assert_true(sodium_init() >= 0);
    identity_generate(&client.self);
    for (int i = 0; i < PARTIES; i++) {
        struct key_entry entry = {.roles = i <= SECOND ? ROLE_COORDINATOR : ROLE_CLIENT, .name = "somebody"};

        identity_generate(&parties[i].self);
        parties[i].security =
            (struct channel_security){.self = &parties[i].self, .accept = accept_client, .ctx = &parties[i]};
        atomic_store(&parties[i].refuses, false);
        memcpy(entry.key, parties[i].self.public_key, KEY_SIZE);
        if (i != FOREIGN)
            assert_int_equal(keyring_add(&client.ring, &entry, &e), TX_OK);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    security_release(&client);
    return 0;
}

static int answer(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    if (in->type == WIRE_EXEC)
        *out = (struct wire_message){.type = WIRE_ROWS};
    else
        kit_answer_well(in, out);
    (void)k;
    return 1;
}

static struct kit *start(int party)
{
    return kit_start_secure(&parties[party].security, answer);
}

enum { PATIENCE_MS = 4000 };

static int ask(struct calls *cs, struct peer *agent, struct tx_error *e, uint64_t *lasted)
{
    struct wire_message m = {.type = WIRE_OUTCOME}, x = {.type = WIRE_EXEC};
    uint64_t begun = call_now_ms();
    const struct wire_message *reply;
    struct call call;
    int rc;

    m.outcome.id = (struct txid){KIT_GROUP, KIT_SESSION, 2, 1};
    x.exec = (struct wire_exec){
        .id = m.outcome.id, .branch = 1, .number = 1, .timeout_ms = 1000, .resource = "bank", .statement = "x"};
    rc = call_sync(&call, cs, agent != NULL ? &x : &m, agent, agent != NULL ? WIRE_ROWS : WIRE_OUTCOME_IS,
                   begun + PATIENCE_MS, &reply, e);
    call_end(&call);
    if (lasted != NULL)
        *lasted = call_now_ms() - begun;
    return rc;
}

/* Asks once. */
static int ask_once(const char *coordinators, const struct security *as, struct tx_error *e, uint64_t *lasted)
{
    struct calls *cs;
    int rc;

    assert_int_equal(calls_new(&cs, coordinators, as, e), TX_OK);
    rc = ask(cs, NULL, e, lasted);
    calls_free(cs);
    return rc;
}

static void the_first_call_goes_as_soon_as_the_line_is_there(void **state)
{
    struct kit *k = start(FIRST);
    uint64_t lasted, least = UINT64_MAX;
    struct tx_error e;

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask_once(k->address, &client, &e, &lasted), TX_OK);
        least = lasted < least ? lasted : least;
    }
    assert_in_range(least, 0, 60);
    kit_stop(k);
}

static void denied(const char *address, const struct security *as, const char *why)
{
    uint64_t lasted;
    struct tx_error e;

    assert_int_equal(ask_once(address, as, &e, &lasted), TX_EDENIED);
    if (strstr(e.msg, why) == NULL)
        fail_msg("«%s»", e.msg);
    assert_in_range(lasted, 0, 1000);
}

static void says_at_once_why_nobody_helps(void **state)
{
    const struct security insecure = {.insecure = true};
    struct kit *k = start(FIRST), *foreign = start(FOREIGN), *clear = kit_start(answer);

    (void)state;
    atomic_store(&parties[FIRST].refuses, true);
    denied(k->address, &client, "an operator adds it: txadmin key add");
    denied(foreign->address, &client, "is not in the keys file");
    denied(clear->address, &client, "it speaks in clear text");
    denied(foreign->address, &insecure, "it takes no clear text");
    kit_stop(k);
    kit_stop(foreign);
    kit_stop(clear);
}

/* An agent or another client may listen where a coordinator did: its role is another. */
static void a_key_of_another_role_is_no_coordinator(void **state)
{
    struct kit *k = start(AGENT);

    (void)state;
    denied(k->address, &client, "not with the role needed");
    kit_stop(k);
}

static void one_who_serves_is_enough(void **state)
{
    struct kit *k = start(FIRST), *refusing = start(SECOND), *foreign = start(FOREIGN);
    char list[512];
    struct tx_error e;

    (void)state;
    atomic_store(&parties[SECOND].refuses, true);
    snprintf(list, sizeof list, "%s,%s,%s", refusing->address, foreign->address, k->address);
    assert_int_equal(ask_once(list, &client, &e, NULL), TX_OK);
    kit_stop(k);
    kit_stop(refusing);
    kit_stop(foreign);
}

static void a_restarted_coordinator_costs_next_to_nothing(void **state)
{
    struct kit *k = start(FIRST);
    uint64_t lasted, least = UINT64_MAX;
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, k->address, &client, &e), TX_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(cs, NULL, &e, NULL), TX_OK);
        kit_silence(k);
        kit_listen(k);
        usleep(100000); /* the connection is there again, and the line is not */
        assert_int_equal(ask(cs, NULL, &e, &lasted), TX_OK);
        least = lasted < least ? lasted : least;
    }
    assert_in_range(least, 0, 60);
    calls_free(cs);
    kit_stop(k);
}

/* Right after its start a coordinator may not know what the group has known for long; and whoever is refused
 * for longer than that is told so. */
static void a_refusal_is_not_believed_at_once_by_whom_was_let_in_before(void **state)
{
    struct kit *k = start(FIRST);
    uint64_t lasted;
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, k->address, &client, &e), TX_OK);
    assert_int_equal(ask(cs, NULL, &e, NULL), TX_OK);
    kit_silence(k);
    atomic_store(&parties[FIRST].refuses, true);
    kit_listen(k);
    assert_int_equal(ask(cs, NULL, &e, &lasted), TX_EDENIED);
    assert_in_range(lasted, 2000, 3800);
    assert_int_equal(ask(cs, NULL, &e, &lasted), TX_EDENIED);
    assert_in_range(lasted, 0, 1500);
    atomic_store(&parties[FIRST].refuses, false);
    usleep(1000000);
    assert_int_equal(ask(cs, NULL, &e, NULL), TX_OK);
    calls_free(cs);
    kit_stop(k);
}

/* The keys that a coordinator tells. */
static const uint8_t *told;

static int tell_keys(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    if (in->type != WIRE_HEARTBEAT)
        return answer(k, in, out);
    *out = (struct wire_message){.type = WIRE_HEARTBEAT_OK};
    out->heartbeat_ok.nodes.n_keys = 2;
    out->heartbeat_ok.nodes.keys = told;
    return 1;
}

static void beat(struct calls *cs)
{
    struct wire_message m = {.type = WIRE_HEARTBEAT, .heartbeat.session = KIT_SESSION};
    const struct wire_message *reply;
    struct call call;
    struct tx_error e;

    assert_int_equal(call_sync(&call, cs, &m, NULL, WIRE_HEARTBEAT_OK, call_now_ms() + 5000, &reply, &e),
                     TX_OK);
    call_end(&call);
}

/* FIRST tells of itself and FOREIGN; SECOND, which stands in the file, has been revoked. */
static void believes_whom_the_group_tells(void **state)
{
    struct kit *k = kit_start_secure(&parties[FIRST].security, tell_keys), *second = start(SECOND),
               *foreign = start(FOREIGN);
    uint8_t keys[2 * KEY_SIZE];
    char list[512];
    struct calls *cs;
    struct tx_error e;

    (void)state;
    memcpy(keys, parties[FIRST].self.public_key, KEY_SIZE);
    memcpy(keys + KEY_SIZE, parties[FOREIGN].self.public_key, KEY_SIZE);
    told = keys;
    snprintf(list, sizeof list, "%s,%s,%s", k->address, second->address, foreign->address);
    assert_int_equal(calls_new(&cs, list, &client, &e), TX_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(ask(cs, NULL, &e, NULL), TX_OK);
    assert_int_equal(foreign->asked[WIRE_OUTCOME], 0);
    beat(cs);
    usleep(1000000); /* FOREIGN has been refused before, and is tried again */
    second->asked[WIRE_OUTCOME] = 0;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(ask(cs, NULL, &e, NULL), TX_OK);
        usleep(20000);
    }
    assert_int_equal(second->asked[WIRE_OUTCOME], 0);
    assert_in_range(foreign->asked[WIRE_OUTCOME], 1, 12);
    calls_free(cs);
    kit_stop(k);
    kit_stop(second);
    kit_stop(foreign);
}

/* Only the key that the coordinator names; and another one as soon as it names that. */
static void an_agent_is_believed_by_its_key(void **state)
{
    struct kit *k = start(AGENT);
    uint64_t lasted;
    struct peer *agent, *again;
    struct calls *cs;
    struct tx_error e;

    (void)state;
    assert_int_equal(calls_new(&cs, nowhere, &client, &e), TX_OK);
    assert_int_equal(calls_agent(cs, k->address, NULL, &agent, &e), TX_EDENIED);
    assert_int_equal(calls_agent(cs, k->address, parties[AGENT].self.public_key, &agent, &e), TX_OK);
    assert_int_equal(ask(cs, agent, &e, NULL), TX_OK);
    kit_silence(k);
    k->security = &parties[AGENT_LATER].security;
    kit_listen(k);
    assert_int_equal(ask(cs, agent, &e, &lasted), TX_EDENIED);
    assert_in_range(lasted, 0, 1000);
    assert_int_equal(calls_agent(cs, k->address, parties[AGENT_LATER].self.public_key, &again, &e), TX_OK);
    assert_ptr_equal(again, agent);
    assert_int_equal(ask(cs, agent, &e, &lasted), TX_OK);
    assert_in_range(lasted, 0, 500);
    calls_free(cs);
    kit_stop(k);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_call_goes_as_soon_as_the_line_is_there),
        TEST(says_at_once_why_nobody_helps),
        TEST(a_key_of_another_role_is_no_coordinator),
        TEST(one_who_serves_is_enough),
        TEST(a_restarted_coordinator_costs_next_to_nothing),
        TEST(a_refusal_is_not_believed_at_once_by_whom_was_let_in_before),
        TEST(believes_whom_the_group_tells),
        TEST(an_agent_is_believed_by_its_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
