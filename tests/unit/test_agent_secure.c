/* test_agent_secure: who may execute statements at an agent, and whose a branch is: an embedded participant, a
 * coordinator of a few lines that tells it of clients, and clients, over real sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "libtx/call.h"
#include "libtx/libtx_participant.h"
#include "tests/unit/coordinator_kit.h"

/* shop has two keys. */
enum { SHOP, SHOP_LATER, BANK, STRANGER, CLIENTS };

static const char *const names[] = {[SHOP] = "shop", [SHOP_LATER] = "shop", [BANK] = "bank"};
static const char *nowhere = "ipc:///tmp/assent-kit-nobody-listens-here";

static struct fixture {
    char dir[64], identity[96], keys[96], listen[96];
    struct identity coordinator, agent;
    struct channel_security security;
    struct security clients[CLIENTS];
    struct calls *calls[CLIENTS];
    struct peer *peers[CLIENTS];
    struct kit *kit;
    tx_participant *participant;
    /* what the coordinator tells, under the kit's mutex */
    uint64_t version;
    unsigned told; /* or'ed 1 << client */
    size_t n_items;
    struct wire_work_item item;
    /* under its own */
    pthread_mutex_t mutex;
    char audit[1024];
} x;

/* the coordinator */

static bool accept_agent(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    return key_equal(key, x.agent.public_key);
}

/* As the real one, it answers when it has something to tell. */
static int coordinate(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    static struct wire_client_key list[CLIENTS];
    size_t n = 0;

    (void)k;
    if (in->type == WIRE_LOCATE) {
        *out = (struct wire_message){.type = WIRE_LOCATED, .located = {x.listen, x.agent.public_key}};
        return 1;
    }
    if (x.version == 0 || in->pull.keys_version == x.version)
        return 0;
    for (int i = 0; i < CLIENTS; i++) {
        if ((x.told & 1U << i) != 0)
            list[n++] = (struct wire_client_key){x.clients[i].self.public_key, names[i]};
    }
    *out = (struct wire_message){.type = WIRE_WORK};
    out->work = (struct wire_work){.group = KIT_GROUP,
                                   .received = in->pull.number,
                                   .keys_version = x.version,
                                   .n_clients = n,
                                   .clients = list,
                                   .n_items = x.n_items,
                                   .items = &x.item};
    return 1;
}

static void tell(unsigned clients)
{
    pthread_mutex_lock(&x.kit->mutex);
    x.version++;
    x.told = clients;
    pthread_mutex_unlock(&x.kit->mutex);
}

/* the agent */

static int vote(void *arg, const char *branch)
{
    (void)arg;
    (void)branch;
    return TX_OK;
}

static int list_none(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list)
{
    (void)arg;
    (void)found;
    (void)list;
    return TX_OK;
}

static int exec(void *arg, const char *branch, const char *statement, int n, const char *const *values,
                char *result, size_t size)
{
    (void)arg;
    (void)branch;
    (void)n;
    (void)values;
    snprintf(result, size, "%s", statement);
    return TX_OK;
}

static void note_line(void *arg, const char *line)
{
    (void)arg;
    if (strstr(line, "event=audit") == NULL)
        return;
    pthread_mutex_lock(&x.mutex);
    snprintf(x.audit, sizeof x.audit, "%s", line);
    pthread_mutex_unlock(&x.mutex);
}

static bool is_audited(const char *what)
{
    bool is;

    pthread_mutex_lock(&x.mutex);
    is = strstr(x.audit, what) != NULL;
    pthread_mutex_unlock(&x.mutex);
    return is;
}

static void assert_audit(const char *what)
{
    if (!is_audited(what))
        fail_msg("«%s»", x.audit);
}

static void begin_agent(void)
{
    const struct tx_participant_callbacks callbacks = {
        .prepare = vote, .commit = vote, .rollback = vote, .list_in_doubt = list_none, .exec = exec};
    const struct tx_participant_options options = {.resource = "stock",
                                                   .coordinators = x.kit->address,
                                                   .listen = x.listen,
                                                   .advertise = x.listen,
                                                   .identity = x.identity,
                                                   .keys = x.keys,
                                                   .log = note_line};
    struct tx_error e = {0};

    if (tx_participant_open(&x.participant, &options, &callbacks, &e) != TX_OK ||
        tx_participant_start(x.participant, &e) != TX_OK)
        fail_msg("%s", e.msg);
}

/* set up */

static void write_files(void)
{
    struct key_entry entry = {.roles = ROLE_COORDINATOR, .name = "node1"};
    struct tx_error e;
    char line[256];
    FILE *f;

    strcpy(x.dir, "/tmp/assent-agent-XXXXXX");
    assert_non_null(mkdtemp(x.dir));
    snprintf(x.identity, sizeof x.identity, "%s/identity", x.dir);
    snprintf(x.keys, sizeof x.keys, "%s/keys", x.dir);
    snprintf(x.listen, sizeof x.listen, "ipc://%s/agent", x.dir);
    assert_int_equal(identity_write(&x.agent, x.identity, &e), TX_OK);
    memcpy(entry.key, x.coordinator.public_key, KEY_SIZE);
    key_entry_format(&entry, line, sizeof line);
    f = fopen(x.keys, "w");
    assert_non_null(f);
    fprintf(f, "%s\n", line);
    fclose(f);
}

static int set_up(void **state)
{
    struct tx_error e;

    (void)state;
    memset(&x, 0, sizeof x);
    pthread_mutex_init(&x.mutex, NULL);
    assert_true(sodium_init() >= 0);
    identity_generate(&x.coordinator);
    identity_generate(&x.agent);
    write_files();
    x.security = (struct channel_security){.self = &x.coordinator, .accept = accept_agent};
    x.kit = kit_start_secure(&x.security, coordinate);
    for (int i = 0; i < CLIENTS; i++) {
        identity_generate(&x.clients[i].self);
        assert_int_equal(calls_new(&x.calls[i], nowhere, &x.clients[i], &e), TX_OK);
        assert_int_equal(calls_agent(x.calls[i], x.listen, x.agent.public_key, &x.peers[i], &e), TX_OK);
    }
    begin_agent();
    return 0;
}

static int tear_down(void **state)
{
    char path[128];

    (void)state;
    tx_participant_close(x.participant);
    for (int i = 0; i < CLIENTS; i++)
        calls_free(x.calls[i]);
    kit_stop(x.kit);
    (void)unlink(x.identity);
    (void)unlink(x.keys);
    snprintf(path, sizeof path, "%s/agent", x.dir);
    (void)unlink(path);
    (void)rmdir(x.dir);
    pthread_mutex_destroy(&x.mutex);
    return 0;
}

/* the clients */

static const struct txid branch = {KIT_GROUP, KIT_SESSION, 2, 1};

static int ask(int client, const struct wire_message *m, enum wire_type want, unsigned patience_ms,
               struct tx_error *e)
{
    const struct wire_message *reply;
    struct call call;
    int rc =
        call_sync(&call, x.calls[client], m, x.peers[client], want, call_now_ms() + patience_ms, &reply, e);

    if (rc == TX_OK && want == WIRE_ROWS && reply->rows.code != TX_OK)
        rc = err_set(e, reply->rows.code, "%s", reply->rows.text);
    else if (rc == TX_OK && want == WIRE_FINISHED && reply->finished.code != TX_OK)
        rc = err_set(e, reply->finished.code, "%s", reply->finished.text);
    call_end(&call);
    return rc;
}

static int exec_as(int client, uint32_t number, unsigned patience_ms, struct tx_error *e)
{
    struct wire_message m = {.type = WIRE_EXEC};

    m.exec = (struct wire_exec){.id = branch,
                                .branch = 1,
                                .number = number,
                                .timeout_ms = 60000,
                                .resource = "stock",
                                .statement = "take 1"};
    return ask(client, &m, WIRE_ROWS, patience_ms, e);
}

static int roll_back_as(int client, struct tx_error *e)
{
    struct wire_message m = {.type = WIRE_FINISH};

    m.finish = (struct wire_finish){.op = FINISH_ROLLBACK, .id = branch, .branch = 1, .resource = "stock"};
    return ask(client, &m, WIRE_FINISHED, 3000, e);
}

static void a_branch_is_his_who_began_it(void **state)
{
    struct tx_error e;

    (void)state;
    tell(1U << SHOP | 1U << SHOP_LATER | 1U << BANK);
    assert_int_equal(exec_as(SHOP, 1, 5000, &e), TX_OK);
    assert_int_equal(exec_as(BANK, 2, 3000, &e), TX_EDENIED);
    assert_audit("name=bank");
    assert_audit("act=exec resource=stock outcome=denied");
    assert_int_equal(exec_as(BANK, 1, 3000, &e), TX_EDENIED); /* nor is its answer repeated to him */
    assert_int_equal(roll_back_as(BANK, &e), TX_EDENIED);
    assert_audit("act=finish resource=stock outcome=denied");
    assert_non_null(strstr(e.msg, "begun by another client"));
    assert_int_equal(exec_as(SHOP_LATER, 2, 3000, &e), TX_OK); /* another key of the same name */
    assert_int_equal(roll_back_as(SHOP, &e), TX_OK);
}

static void a_stranger_is_refused(void **state)
{
    struct tx_error e;
    uint64_t begun;

    (void)state;
    tell(1U << SHOP);
    assert_int_equal(exec_as(SHOP, 1, 5000, &e), TX_OK);
    begun = call_now_ms();
    assert_int_equal(exec_as(STRANGER, 2, 5000, &e), TX_EDENIED);
    assert_in_range(call_now_ms() - begun, 0, 2500);
    assert_non_null(strstr(e.msg, "txadmin key add"));
    assert_audit("name=unknown");
    assert_audit("act=handshake");
}

/* As soon as the agent hears of it. */
static void a_revoked_key_is_worth_nothing(void **state)
{
    struct tx_error e;

    (void)state;
    tell(1U << SHOP | 1U << BANK);
    assert_int_equal(exec_as(SHOP, 1, 5000, &e), TX_OK);
    assert_int_equal(exec_as(BANK, 1, 3000, &e), TX_EDENIED); /* has a line */
    tell(1U << SHOP);
    for (int i = 0; i < 100 && !is_audited("act=handshake"); i++) {
        (void)exec_as(BANK, 1, 100, &e);
        usleep(50000);
    }
    assert_audit("act=handshake");
    assert_int_equal(exec_as(BANK, 1, 5000, &e), TX_EDENIED);
    assert_non_null(strstr(e.msg, "does not know this program's key"));
    assert_int_equal(exec_as(SHOP, 2, 3000, &e), TX_OK);
}

/* The coordinator has had it rolled back; no application has had anything to do with it here. */
static void a_branch_that_no_client_began(void **state)
{
    struct tx_error e;

    (void)state;
    x.item = (struct wire_work_item){
        .kind = WORK_ROLLBACK, .id = branch, .branch = 1, .branch_kind = BRANCH_DIRECT, .resource = "stock"};
    x.n_items = 1;
    tell(1U << SHOP | 1U << BANK);
    assert_int_equal(exec_as(SHOP, 1, 5000, &e), TX_EROLLBACK);
    assert_int_equal(roll_back_as(BANK, &e), TX_OK);
}

/* An agent that was just started refuses nobody whom it will know a moment later. */
static void nobody_is_refused_before_the_clients_are_known(void **state)
{
    struct tx_error e;

    (void)state;
    assert_int_equal(exec_as(SHOP, 1, 1000, &e), TX_EUNREACHABLE);
    assert_false(is_audited("audit"));
    tell(1U << SHOP);
    assert_int_equal(exec_as(SHOP, 1, 5000, &e), TX_OK);
    assert_false(is_audited("audit"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_branch_is_his_who_began_it),
        TEST(a_stranger_is_refused),
        TEST(a_revoked_key_is_worth_nothing),
        TEST(a_branch_that_no_client_began),
        TEST(nobody_is_refused_before_the_clients_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
