/* test_impostor: who is not who he seems: clear text where keys are wanted, and the other way round; a man in
 * the middle who answers for coordinators, in clear text or with keys of his own; and whoever was revoked.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/secure_inside.h"
#include "libtx/shared/wire.h"
#include "tests/lib/kit.h"
#include "tests/lib/relay.h"
#include "tests/lib/sp.h"

static struct kit kit;

enum {
    NODES = 3,
    OPEN_MS = 1500,    /* that a client has to open a session, or commit, where it must not come to that */
    AT_ONCE_MS = 8000, /* more than a revocation takes to be known everywhere */
    AN_HOUR_MS = 3600000,
};

static int set_up(void **state)
{
    (void)state;
    for (unsigned id = 1; id <= NODES; id++)
        relay_plan(world_relay(kit.world, id, false), NULL);
    kit_settle(&kit);
    return 0;
}

static void assert_not_opened(const struct tx_client_options *options, int code, const char *part)
{
    struct tx_error e = {0};
    tx_client *client;

    if (tx_client_open(&client, options, &e) == TX_OK)
        fail_msg("a session was opened, where «%s» was expected", part);
    if (e.code != code || strstr(e.msg, part) == NULL)
        fail_msg("tx_client_open: %d «%s», not %d with «%s»", e.code, e.msg, code, part);
}

/* txadmin, or a daemon, that ends with this code and says so. */
static void assert_ends(const char *program, const char *const *args, int code, const char *part)
{
    const char *argv[16];
    char path[WORLD_PATH_SIZE];
    struct world_output o;
    size_t n = 0;

    argv[n++] = world_program(kit.world, program, path);
    while (*args != NULL && n < 15)
        argv[n++] = *args++;
    argv[n] = NULL;
    o = world_run(kit.world, argv);
    if ((code < 0 ? o.code == 0 : o.code != code) ||
        (strstr(o.error, part) == NULL && strstr(o.text, part) == NULL))
        fail_msg("%s: exit code %d, not %d with «%s»: %s%s", program, o.code, code, part, o.text, o.error);
    world_output_release(&o);
}

static void transfer_begin(tx_client *client, PGconn *conn[2], txn **t)
{
    *t = kit_begin(client);
    kit_connect_both(&kit, conn);
    kit_enlist(*t, "bank_a", conn[0]);
    kit_enlist(*t, "bank_b", conn[1]);
    kit_move(conn[0], txn_id(*t), -1);
    kit_move(conn[1], txn_id(*t), 1);
}

static int transfer(tx_client *client, struct tx_error *e)
{
    PGconn *conn[2];
    txn *t;
    int rc;

    transfer_begin(client, conn, &t);
    rc = txn_commit(t, TXN_COMPLETED, e);
    txn_free(t);
    kit_disconnect_both(conn);
    return rc;
}

static void assert_transfer(tx_client *client)
{
    struct tx_error e = {0};

    if (transfer(client, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
}

/* Clear text */

static void test_clear_text_to_secure_daemons(void **state)
{
    struct tx_client_options options = {.insecure = 1};
    char conninfo[WORLD_PATH_SIZE], resource[WORLD_PATH_SIZE + 32], path[WORLD_PATH_SIZE];
    struct world_process *agent;

    (void)state;
    options.coordinators = world_coordinators(kit.world);
    assert_not_opened(&options, TX_EDENIED, "it takes no clear text; give an identity");
    assert_ends("txadmin", WORLD_ARGS("--insecure", "status"), 5, "it takes no clear text; give an identity");
    snprintf(resource, sizeof resource, "--resource.bank_c=postgresql %s",
             world_server_conninfo(kit.bank[0], "assent_agent", conninfo));
    agent = world_process_new(kit.world, "naked_agent",
                              WORLD_ARGS(world_program(kit.world, "txagentd", path), "--insecure=true",
                                         "--name", "naked", "--listen", "ipc:///tmp/assent-naked",
                                         "--coordinators", world_coordinators(kit.world), resource));
    world_process_start(agent, NULL);
    world_process_await(agent, "it takes no clear text; give an identity", AT_ONCE_MS);
    kit_assert_admin(&kit, WORLD_ARGS("resources"), 0, "bank_a");
    assert_int_equal(world_process_stop(agent), 0);
    unlink("/tmp/assent-naked");
}

#define FAR "tcp://192.0.2.1:7401"
#define REFUSED "insecure is for this machine alone, and «" FAR "» is not a loopback address"

static void test_secure_callers_of_an_insecure_daemon(void **state)
{
    char listen[64], path[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE];
    struct tx_client_options options = {.coordinators = listen};
    struct world_process *naked;

    (void)state;
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", world_port(kit.world));
    snprintf(data, sizeof data, "%.400s/naked.data", world_dir(kit.world));
    naked = world_process_new(kit.world, "naked",
                              WORLD_ARGS(world_program(kit.world, "txcoordd", path), "--insecure=true",
                                         "--data_dir", data, "--listen", listen));
    world_process_start_ready(naked, NULL);
    assert_true(world_process_logged(naked, "event=insecure"));
    assert_not_opened(&options, TX_EDENIED, "it speaks in clear text; is it insecure?");
    assert_ends("txadmin", WORLD_ARGS("--coordinators", listen, "status"), 5,
                "it speaks in clear text; is it insecure?");
    options.insecure = 1;
    assert_ends("txadmin", WORLD_ARGS("--insecure", "--coordinators", listen, "status"), 0, "leader");
    assert_ends("txadmin", WORLD_ARGS("--insecure", "--coordinators", listen, "node", "add", "2", FAR), 1,
                REFUSED);
    assert_int_equal(world_process_stop(naked), 0);
}

static void test_insecure_elsewhere(void **state)
{
    struct tx_client_options options = {.coordinators = FAR, .insecure = 1};
    char data[WORLD_PATH_SIZE];

    (void)state;
    snprintf(data, sizeof data, "%.400s/far.data", world_dir(kit.world));
    assert_not_opened(&options, TX_EREFUSED, "coordinators: " REFUSED);
    options.coordinators = "tcp://127.0.0.1:7401," FAR;
    assert_not_opened(&options, TX_EREFUSED, "coordinators: " REFUSED);
    assert_ends("txadmin", WORLD_ARGS("--insecure", "--coordinators", FAR, "status"), 2, REFUSED);
    assert_ends("txcoordd", WORLD_ARGS("--insecure=true", "--data_dir", data, "--listen", FAR), -1,
                "listen: " REFUSED);
    assert_ends("txcoordd",
                WORLD_ARGS("--insecure=true", "--data_dir", data, "--listen", "tcp://127.0.0.1:0",
                           "--peer_listen", FAR),
                -1, "peer_listen: " REFUSED);
    assert_ends(
        "txcoordd",
        WORLD_ARGS("--insecure=true", "--data_dir", data, "--listen", "tcp://127.0.0.1:0", "--advertise", FAR),
        -1, "advertise: " REFUSED);
    assert_ends("txagentd", WORLD_ARGS("--insecure=true", "--name", "far", "--serve", "far", "--listen", FAR),
                -1, "listen: " REFUSED);
    assert_ends("txagentd",
                WORLD_ARGS("--insecure=true", "--name", "far", "--serve", "far", "--listen", "none",
                           "--coordinators", FAR),
                -1, "coordinators: " REFUSED);
}

/* Forged answers, in clear text */

static void say_clear(struct relay *r, const struct relay_message *m, const struct wire_message *answer)
{
    struct buf out;

    buf_init(&out);
    buf_put_bytes(&out, m->body, SP_HEADER);
    assert_int_equal(wire_encode(answer, &out), TX_OK);
    (void)relay_say(r, m->connection, RELAY_TO_CALLER, out.data, out.len);
    buf_release(&out);
}

static void say_kind(struct relay *r, const struct relay_message *m, enum secure_kind kind, uint64_t id)
{
    uint8_t body[SP_HEADER + HEAD + 8];

    memcpy(body, m->body, SP_HEADER);
    secure_head(body + SP_HEADER, kind);
    secure_put_u64(body + SP_HEADER + HEAD, id);
    (void)relay_say(r, m->connection, RELAY_TO_CALLER, body,
                    SP_HEADER + (kind == SECURE_KIND_MISMATCH ? HEAD : HEAD + 8));
}

/* Nothing reaches the coordinators any more; whatever is asked, he answers what the asker would like. */
static bool forge(void *ctx, struct relay *r, struct relay_message *m)
{
    const struct wire_message decided = {.type = WIRE_DECIDED,
                                         .decided = {.verdict = VERDICT_COMMIT, .completed = 1}};
    const struct wire_message session = {.type = WIRE_SESSION, .session = {.group = 1, .session = 1}};
    const struct wire_message outcome = {.type = WIRE_OUTCOME_IS,
                                         .outcome_is = {.outcome = TX_OUTCOME_COMMITTED}};

    (void)ctx;
    if (m->way == RELAY_TO_CALLER || m->len < SP_HEADER)
        return false;
    say_clear(r, m, &session);
    say_clear(r, m, &decided);
    say_clear(r, m, &outcome);
    say_kind(r, m, SECURE_KIND_MISMATCH, 0);
    say_kind(r, m, SECURE_KIND_RESET, 1);
    if (m->len > SP_HEADER + DATA_CLEAR)
        say_kind(r, m, SECURE_KIND_RESET, secure_get_u64(m->body + SP_HEADER + HEAD));
    return false;
}

static void plan_callers(const struct relay_plan *plan)
{
    for (unsigned id = 1; id <= NODES; id++)
        relay_plan(world_relay(kit.world, id, false), plan);
}

static void test_answers_in_clear_text(void **state)
{
    static const struct relay_plan plan = {.hook = forge};
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .connect_timeout_ms = OPEN_MS,
                                        .session_timeout_ms = 4000,
                                        .transaction_timeout_ms = 8000,
                                        .commit_timeout_ms = OPEN_MS};
    enum tx_outcome outcome;
    char id[KIT_ID_SIZE];
    struct tx_error e;
    PGconn *conn[2];
    tx_client *client;
    txn *t;

    (void)state;
    assert_int_equal(tx_client_open(&client, &options, &e), TX_OK);
    assert_transfer(client);
    transfer_begin(client, conn, &t);
    snprintf(id, sizeof id, "%s", txn_id(t));
    plan_callers(&plan);
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EINDOUBT);
    assert_int_not_equal(tx_client_outcome(client, id, &outcome, &e), TX_OK);
    assert_not_opened(&options, TX_EDENIED, "it speaks in clear text; is it insecure?");
    plan_callers(NULL);
    assert_transfer(client);
    txn_free(t);
    kit_disconnect_both(conn);
    tx_client_close(client);
    kit_assert_sound(&kit);
}

/* Forged answers, with keys */

struct impostor {
    struct identity identity;
    struct channel_security security;
    struct channel channel;
    pthread_t thread;
    atomic_bool ends;
    atomic_int asked; /* requests that he could read */
    char address[64];
};

static bool takes_all(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    (void)key;
    return true;
}

static void *pose(void *arg)
{
    struct impostor *i = arg;
    struct channel_message m;

    while (!atomic_load(&i->ends)) {
        if (channel_receive(&i->channel, &m) == 1) {
            atomic_fetch_add(&i->asked, 1);
            channel_release(&m);
        } else {
            world_sleep_ms(1);
        }
    }
    return NULL;
}

/* Whoever comes is let in. */
static void impostor_open(struct impostor *i)
{
    struct tx_error e;

    i->security = (struct channel_security){.self = &i->identity, .accept = takes_all};
    snprintf(i->address, sizeof i->address, "tcp://127.0.0.1:%u", world_port(kit.world));
    if (channel_listen(&i->channel, i->address, MESSAGE_LIMIT, &i->security, &e) != TX_OK)
        fail_msg("%s", e.msg);
    atomic_store(&i->ends, false);
    atomic_store(&i->asked, 0);
    assert_int_equal(pthread_create(&i->thread, NULL, pose, i), 0);
}

static void assert_nobody_believes(struct impostor *i, const char *why)
{
    struct tx_client_options options = {.coordinators = i->address, .connect_timeout_ms = OPEN_MS};

    impostor_open(i);
    assert_not_opened(&options, TX_EDENIED, why);
    assert_ends("txadmin", WORLD_ARGS("--coordinators", i->address, "status"), 5, why);
    atomic_store(&i->ends, true);
    pthread_join(i->thread, NULL);
    channel_close(&i->channel);
    assert_int_equal(atomic_load(&i->asked), 0);
}

static void load_identity(const char *who, struct identity *i)
{
    char path[WORLD_PATH_SIZE];
    struct tx_error e;

    if (identity_load(i, world_identity(kit.world, who, path), &e) != TX_OK)
        fail_msg("%s", e.msg);
}

static void test_keys_of_his_own(void **state)
{
    static struct impostor i;
    struct identity node;

    (void)state;
    identity_generate(&i.identity);
    assert_nobody_believes(&i, "is not in the keys file, or not with the role needed");
    load_identity("client", &i.identity); /* another member of the group, but no coordinator */
    assert_nobody_believes(&i, "is not in the keys file, or not with the role needed");
    load_identity("agent", &i.identity);
    assert_nobody_believes(&i, "is not in the keys file, or not with the role needed");
    load_identity("node_1", &node);
    identity_generate(&i.identity); /* a coordinator's public key, which is no secret */
    memcpy(i.identity.public_key, node.public_key, KEY_SIZE);
    assert_nobody_believes(&i, "its signature is wrong: somebody is between");
}

/* Revoked */

static void key_add(const char *name, const char *role, const char *grant)
{
    char text[KEY_TEXT_SIZE];

    world_identity_make(kit.world, name, text);
    kit_assert_admin(&kit, WORLD_ARGS("key", "add", name, role, text, grant), 0, name);
}

static void key_revoke(const char *name)
{
    kit_assert_admin(&kit, WORLD_ARGS("key", "revoke", name, "--yes"), 0, "");
}

static void prepare(PGconn *conn[2], txn *t)
{
    char sql[256];

    for (int i = 0; i < 2; i++) {
        snprintf(sql, sizeof sql,
                 "BEGIN; INSERT INTO receipts VALUES ('%s'); PREPARE TRANSACTION 'assent-%s-%d'", txn_id(t),
                 txn_id(t), i + 1);
        kit_exec(conn[i], sql);
    }
}

static bool session_expired(void *arg)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("sessions"));
    const char *line = strstr(o.text, arg);
    bool expired = line != NULL && memmem(line, strcspn(line, "\n"), "expired", 7) != NULL;

    world_output_release(&o);
    return expired;
}

/* He is at work, with branches prepared, and his session and transaction would last for an hour. */
static void test_a_revoked_client(void **state)
{
    char identity[WORLD_PATH_SIZE];
    struct tx_client_options options = {.coordinators = world_coordinators(kit.world),
                                        .application_name = "mallory",
                                        .session_timeout_ms = AN_HOUR_MS,
                                        .transaction_timeout_ms = AN_HOUR_MS,
                                        .commit_timeout_ms = AT_ONCE_MS};
    enum tx_outcome outcome;
    struct tx_error e;
    tx_client *client;
    PGconn *conn[2];
    txn *t;

    (void)state;
    key_add("mallory", "client", NULL);
    options.identity = world_identity(kit.world, "mallory", identity);
    if (tx_client_open(&client, &options, &e) != TX_OK)
        fail_msg("tx_client_open: %s", e.msg);
    assert_transfer(client);
    t = kit_begin(client);
    kit_connect_both(&kit, conn);
    prepare(conn, t);
    world_sleep_ms(1200); /* two scans */
    assert_int_equal(world_prepared_count(kit.bank[0]) + world_prepared_count(kit.bank[1]), 2);
    key_revoke("mallory");
    if (!world_wait(AT_ONCE_MS, session_expired, (void *)"mallory"))
        fail_msg("the session of a revoked client is open");
    if (!world_wait_nothing_prepared(kit.world, AT_ONCE_MS))
        fail_msg("branches of a revoked client stay prepared");
    assert_int_not_equal(tx_client_outcome(client, txn_id(t), &outcome, &e), TX_OK);
    if (e.code != TX_EDENIED)
        fail_msg("tx_client_outcome of a revoked client: %s", e.msg);
    txn_free(t);
    assert_int_not_equal(transfer(client, &e), TX_OK);
    if (strstr(e.msg, "this key is not known, or was revoked") == NULL)
        fail_msg("txn_commit of a revoked client: %s", e.msg);
    tx_client_close(client);
    assert_not_opened(&options, TX_EDENIED, "it does not know this program's key");
    kit_disconnect_both(conn);
    kit_assert_sound(&kit);
}

static bool is_alive(void *arg)
{
    return world_resources_up(kit.world, WORLD_ARGS((const char *)arg)) > 0;
}

static bool is_gone(void *arg)
{
    return !is_alive(arg);
}

static struct world_process *third_agent(void)
{
    char conninfo[WORLD_PATH_SIZE], resource[WORLD_PATH_SIZE + 32], identity[WORLD_PATH_SIZE];

    snprintf(resource, sizeof resource, "--resource.bank_c=postgresql %s",
             world_server_conninfo(kit.bank[0], "assent_agent", conninfo));
    return world_agent_new(kit.world, "agent_c", NULL, 0,
                           WORLD_ARGS("--identity", world_identity(kit.world, "agent_c", identity), resource));
}

/* Work of a transaction at the agent that will be revoked, and at another resource. */
static void begin_at_both(tx_client *client, PGconn *conn, txn **t)
{
    struct tx_error e;

    *t = kit_begin(client);
    kit_enlist(*t, "bank_b", conn);
    kit_move(conn, txn_id(*t), 1);
    if (txn_exec(*t, "bank_c", "UPDATE accounts SET balance = balance - 1 WHERE id = 1", 0, NULL, NULL, &e) !=
        TX_OK)
        fail_msg("txn_exec: %s", e.msg);
}

static void test_a_revoked_agent(void **state)
{
    struct world_process *agent;
    tx_client *client, *other;
    struct tx_error e;
    PGconn *conn;
    txn *t;

    (void)state;
    key_add("agent_c", "agent", "bank_c");
    agent = third_agent();
    world_process_start_ready(agent, NULL);
    assert_true(world_wait(AT_ONCE_MS, is_alive, (void *)"bank_c"));
    client = kit_client(&kit);
    conn = kit_connect(&kit, 1);
    begin_at_both(client, conn, &t);
    key_revoke("agent_c");
    if (!world_wait(AT_ONCE_MS, is_gone, (void *)"bank_c"))
        fail_msg("a revoked agent is heard");
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_EROLLBACK);
    txn_free(t);
    other = kit_client(&kit);
    t = kit_begin(other);
    assert_int_not_equal(txn_exec(t, "bank_c", "SELECT 1", 0, NULL, NULL, &e), TX_OK);
    txn_free(t);
    tx_client_close(other);
    world_process_await(agent, "revoked", AT_ONCE_MS);
    assert_true(world_process_log_lines(agent) < 30);
    assert_int_equal(world_process_stop(agent), 0);
    tx_client_close(client);
    PQfinish(conn);
    kit_assert_sound(&kit);
}

static bool node_is_out(void *arg)
{
    cJSON *answer = world_admin_json(kit.world, WORLD_ARGS("node", "list"), NULL), *n;
    bool out = false;

    cJSON_ArrayForEach(n, cJSON_GetObjectItem(answer, "nodes"))
    {
        if ((unsigned)cJSON_GetNumberValue(cJSON_GetObjectItem(n, "node")) == *(unsigned *)arg)
            out = !cJSON_IsTrue(cJSON_GetObjectItem(n, "alive"));
    }
    cJSON_Delete(answer);
    return out;
}

/* The last test: the group has two nodes left. It leads, and is at work, when it is revoked. */
static void test_a_revoked_coordinator(void **state)
{
    unsigned id = 3;

    (void)state;
    kit_make_leader(&kit, id);
    kit_load_begin(&kit, KIT_MIXED);
    key_revoke("node_3");
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    if (!world_wait(AT_ONCE_MS, node_is_out, &id))
        fail_msg("a revoked coordinator is heard");
    kit_load_progress(&kit, KIT_LOAD_PROGRESS);
    kit_load_end(&kit);
    assert_true(world_process_running(kit.node[id]));
}

/* The group */

static int open_group(void **state)
{
    struct kit_options options = {.nodes = NODES, .relays = true};

    (void)state;
    kit_open(&kit, "impostor", &options);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clear_text_to_secure_daemons),
        TEST(test_secure_callers_of_an_insecure_daemon),
        TEST(test_insecure_elsewhere),
        TEST(test_answers_in_clear_text),
        TEST(test_keys_of_his_own),
        TEST(test_a_revoked_client),
        TEST(test_a_revoked_agent),
        TEST(test_a_revoked_coordinator),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
