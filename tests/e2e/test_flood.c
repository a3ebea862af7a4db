/* test_flood: callers who never say who they are, by the hundred, against a coordinator's port for clients, its
 * port for peers, and an agent's: silent, greeting without end, answering with garbage, sending garbage of all
 * sizes, or never ending what they have begun. Whoever has a key is served meanwhile, and the daemons' memory
 * and logs stay small.
 */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libtx/shared/secure_inside.h"
#include "tests/lib/kit.h"
#include "tests/lib/sp.h"

static struct kit kit;

enum {
    TARGETS = 3,
    MAX_CONNECTIONS = 1500,
    SILENT = 1000,
    OWN_FILES = 64, /* of a daemon, which counts them with its connections */
    TOO_MANY = MAX_CONNECTIONS + 500,
    FILES = 8192, /* descriptors that this program needs at most */
    FLOODERS = 2, /* threads, */
    LINES = 50,   /* with so many connections each */
    FLOOD_MS = 1500,
    SERVED_MS = 5000,    /* what a client waits for a session, and for a commit, by default or less */
    PEAK_KIB = 96 << 10, /* more memory than before */
    LOG_LINES = 40,      /* more than before */
    GARBAGE_MAX = 1 << 16,
    UNFINISHED = 24,
    UNFINISHED_BYTES = 1000000,
};

struct target {
    const char *what;
    char address[128];
    struct world_process *process;
    long kib;
    unsigned lines;
};

static struct target targets[TARGETS] = {
    {.what = "the port for clients"}, {.what = "the port for peers"}, {.what = "the agent's port"}};

static struct sp silent[TOO_MANY];

/* nanomsg ends what does not even say that it speaks nanomsg, after a second; so these do. */
static int open_silent(const char *address, int n)
{
    int taken = 0;

    for (int i = 0; i < n; i++)
        taken += sp_open(&silent[i], address);
    return taken;
}

static void close_silent(int n)
{
    for (int i = 0; i < n; i++)
        sp_close(&silent[i]);
}

static int set_up(void **state)
{
    (void)state;
    close_silent(TOO_MANY); /* of a test that failed */
    kit_settle(&kit);
    for (int i = 0; i < TARGETS; i++) {
        targets[i].kib = world_process_peak_kib(targets[i].process);
        targets[i].lines = world_process_log_lines(targets[i].process);
    }
    return 0;
}

static void assert_bounded(void)
{
    for (int i = 0; i < TARGETS; i++) {
        const struct target *t = &targets[i];
        long kib = world_process_peak_kib(t->process) - t->kib;
        unsigned lines = world_process_log_lines(t->process) - t->lines;

        if (!world_process_running(t->process))
            fail_msg("%s: it has ended", t->what);
        print_message("%s: %ld KiB, %u lines more than before\n", t->what, kib, lines);
#ifdef __SANITIZE_ADDRESS__ /* it keeps what was freed */
        kib = 0;
#endif
        if (kib > PEAK_KIB || lines > LOG_LINES)
            fail_msg("%s: %ld KiB, and %u lines, more than before", t->what, kib, lines);
    }
}

/* Whoever has a key */

static void assert_transfer(tx_client *client)
{
    uint64_t start = world_now_ms();
    struct tx_error e;
    PGconn *conn;
    txn *t = kit_begin(client);

    conn = kit_connect(&kit, 0);
    kit_enlist(t, "bank_a", conn);
    kit_move(conn, txn_id(t), -1);
    if (txn_exec(t, "bank_b", "UPDATE accounts SET balance = balance + 1 WHERE id = 1", 0, NULL, NULL, &e) !=
        TX_OK)
        fail_msg("txn_exec: %s", e.msg);
    world_sql(kit.bank[1], "INSERT INTO receipts VALUES ('%s')", txn_id(t));
    if (txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("txn_commit: %s", e.msg);
    txn_free(t);
    PQfinish(conn);
    if (world_now_ms() - start > SERVED_MS)
        fail_msg("a transfer took %llu ms", (unsigned long long)(world_now_ms() - start));
}

/* As they came, and somebody new. */
static void assert_served(tx_client *old)
{
    uint64_t start = world_now_ms();
    tx_client *client = kit_client(&kit);

    print_message("a session was opened in %llu ms\n", (unsigned long long)(world_now_ms() - start));
    assert_transfer(client);
    assert_transfer(old);
    tx_client_close(client);
}

/* Whoever has none */

enum kind { HELLOS, PROOFS, GARBAGE, STRAYS };

struct flooder {
    pthread_t thread;
    const char *address;
    enum kind kind;
    atomic_bool ends;
    unsigned seed;
    unsigned long sent;
    struct sp lines[LINES];
    uint64_t handshakes[LINES]; /* PROOFS */
    uint8_t bytes[GARBAGE_MAX];
};

static struct flooder flooders[TARGETS * FLOODERS];

static void fill(struct flooder *f, size_t n)
{
    randombytes_buf(f->bytes, n);
}

static size_t make_hello(struct flooder *f)
{
    fill(f, HELLO_BYTES);
    secure_head(f->bytes, SECURE_KIND_HELLO);
    return HELLO_BYTES;
}

/* Of a handshake that was begun, so that its keys have to be tried. */
static size_t make_proof(struct flooder *f, size_t line)
{
    static _Thread_local uint8_t answer[SP_HEADER + SECURE_HANDSHAKE_MAX];
    struct sp *s = &f->lines[line];

    if (f->handshakes[line] == 0 && sp_request(s, 1, f->bytes, make_hello(f)) &&
        sp_receive(s, answer, sizeof answer, 100) == SP_HEADER + WELCOME_BYTES)
        f->handshakes[line] = secure_get_u64(answer + SP_HEADER + HEAD);
    fill(f, AUTH_BYTES);
    secure_head(f->bytes, SECURE_KIND_AUTH);
    secure_put_u64(f->bytes + HEAD, f->handshakes[line]);
    return AUTH_BYTES;
}

/* All sizes, the small ones more often; half of it looks like messages. */
static size_t make_garbage(struct flooder *f)
{
    size_t n = (size_t)rand_r(&f->seed) % (1U << (rand_r(&f->seed) % 17));

    fill(f, n);
    if (n >= HEAD && rand_r(&f->seed) % 2 == 0)
        secure_head(f->bytes, (enum secure_kind)(rand_r(&f->seed) % 8));
    return n;
}

/* Not even messages: nanomsg makes of it what it can. */
static bool send_bytes(struct flooder *f, struct sp *s)
{
    fill(f, 512);
    return sp_write(s, f->bytes, 1 + (size_t)rand_r(&f->seed) % 512);
}

/* Of sessions that nobody has. */
static size_t make_stray(struct flooder *f)
{
    fill(f, 200);
    secure_head(f->bytes, SECURE_KIND_DATA);
    return 200;
}

static bool flood_one(struct flooder *f, size_t line)
{
    struct sp *s = &f->lines[line];
    size_t n;

    if (f->kind == GARBAGE && rand_r(&f->seed) % 16 == 0)
        return send_bytes(f, s);
    if (f->kind == GARBAGE && rand_r(&f->seed) % 2 == 0)
        return sp_send(s, f->bytes, make_garbage(f));
    n = f->kind == HELLOS   ? make_hello(f)
        : f->kind == PROOFS ? make_proof(f, line)
        : f->kind == STRAYS ? make_stray(f)
                            : make_garbage(f);
    return sp_request(s, 1, f->bytes, n);
}

static void *flood(void *arg)
{
    struct flooder *f = arg;

    for (size_t i = 0; i < LINES; i++)
        (void)sp_open(&f->lines[i], f->address);
    for (size_t i = 0; !atomic_load(&f->ends); i = (i + 1) % LINES) {
        if (f->lines[i].fd >= 0 && flood_one(f, i)) {
            f->sent++;
            continue;
        }
        sp_close(&f->lines[i]);
        f->handshakes[i] = 0;
        (void)sp_open(&f->lines[i], f->address);
    }
    for (size_t i = 0; i < LINES; i++)
        sp_close(&f->lines[i]);
    return NULL;
}

static void flood_begin(enum kind kind)
{
    for (int i = 0; i < TARGETS * FLOODERS; i++) {
        struct flooder *f = &flooders[i];

        memset(f, 0, sizeof *f);
        f->address = targets[i % TARGETS].address;
        f->kind = kind;
        f->seed = (unsigned)world_now_ms() + (unsigned)i;
        assert_int_equal(pthread_create(&f->thread, NULL, flood, f), 0);
    }
}

static void flood_end(void)
{
    unsigned long sent = 0;

    for (int i = 0; i < TARGETS * FLOODERS; i++)
        atomic_store(&flooders[i].ends, true);
    for (int i = 0; i < TARGETS * FLOODERS; i++) {
        pthread_join(flooders[i].thread, NULL);
        sent += flooders[i].sent;
    }
    print_message("%lu messages were sent\n", sent);
    assert_true(sent > 1000);
}

static void flood_all(enum kind kind)
{
    tx_client *old = kit_client(&kit);

    flood_begin(kind);
    world_sleep_ms(FLOOD_MS / 2);
    assert_served(old);
    world_sleep_ms(FLOOD_MS / 2);
    assert_served(old);
    flood_end();
    assert_bounded();
    tx_client_close(old);
    kit_assert_sound(&kit);
}

static void test_greetings(void **state)
{
    (void)state;
    flood_all(HELLOS);
}

static void test_forged_proofs(void **state)
{
    (void)state;
    flood_all(PROOFS);
}

static void test_garbage(void **state)
{
    (void)state;
    flood_all(GARBAGE);
}

static void test_strays(void **state)
{
    (void)state;
    flood_all(STRAYS);
}

/* Connections */

static void test_silent_connections(void **state)
{
    tx_client *old = kit_client(&kit);

    (void)state;
    for (int i = 0; i < TARGETS; i++) {
        assert_int_equal(open_silent(targets[i].address, SILENT), SILENT);
        assert_served(old);
        close_silent(SILENT);
    }
    assert_bounded();
    tx_client_close(old);
    kit_assert_sound(&kit);
}

/* Nothing more is taken, but descriptors are left for everything else; and with room there is room again. */
static void test_too_many_connections(void **state)
{
    tx_client *old = kit_client(&kit);

    (void)state;
    for (int i = 0; i < TARGETS; i++) {
        assert_in_range(open_silent(targets[i].address, TOO_MANY), SILENT, MAX_CONNECTIONS + OWN_FILES);
        world_process_await(targets[i].process, "event=connections", SERVED_MS);
        if (i < 2)
            assert_transfer(old);
        kit_assert_admin(&kit, WORLD_ARGS("--help"), 0, "txadmin");
        close_silent(TOO_MANY);
        world_sleep_ms(300);
        assert_served(old);
    }
    assert_bounded();
    tx_client_close(old);
    kit_assert_sound(&kit);
}

/* A message that is nearly there takes its room: so much for each connection, and no more. */
static void test_unfinished_messages(void **state)
{
    static uint8_t part[UNFINISHED_BYTES];
    struct sp lines[TARGETS][UNFINISHED];
    tx_client *old = kit_client(&kit);
    uint8_t frame[8];

    (void)state;
    randombytes_buf(part, sizeof part);
    sp_frame("", UNFINISHED_BYTES + 1, frame);
    for (int i = 0; i < TARGETS * UNFINISHED; i++) {
        struct sp *s = &lines[i % TARGETS][i / TARGETS];

        assert_true(sp_open(s, targets[i % TARGETS].address));
        assert_true(sp_write(s, frame, sizeof frame));
        assert_true(sp_write(s, part, sizeof part));
    }
    assert_served(old);
    for (int i = 0; i < TARGETS * UNFINISHED; i++)
        sp_close(&lines[i % TARGETS][i / TARGETS]);
    assert_bounded();
    tx_client_close(old);
    kit_assert_sound(&kit);
}

/* Longer than any message may be: not even begun with. */
static void test_claims(void **state)
{
    static const uint64_t lengths[] = {17 << 20, 1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX};
    tx_client *old = kit_client(&kit);
    uint8_t frame[8];
    struct sp s;

    (void)state;
    for (int i = 0; i < TARGETS; i++) {
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            assert_true(sp_open(&s, targets[i].address));
            sp_frame("", (size_t)lengths[k], frame);
            (void)sp_write(&s, frame, sizeof frame);
            assert_int_equal(sp_receive(&s, frame, sizeof frame, 1000), -1);
            assert_true(sp_closed(&s));
            sp_close(&s);
        }
    }
    assert_served(old);
    assert_bounded();
    tx_client_close(old);
}

/* The group */

static void find_targets(void)
{
    char *log = world_process_output(kit.agent[0]);
    const char *listen = strstr(log, "listen=");

    assert_non_null(listen);
    snprintf(targets[2].address, sizeof targets[2].address, "%.*s", (int)strcspn(listen + 7, " \n"),
             listen + 7);
    free(log);
    snprintf(targets[0].address, sizeof targets[0].address, "%s", world_node_address(kit.world, 1));
    snprintf(targets[1].address, sizeof targets[1].address, "%s", world_node_peer(kit.world, 1));
    targets[0].process = targets[1].process = kit.node[1];
    targets[2].process = kit.agent[0];
}

static int open_group(void **state)
{
    static const char *const coordinator[] = {"--max_connections", "1500", NULL};
    static const char *const agent[] = {"--max_connections", "1500", "--scan_interval", "500ms", NULL};
    struct kit_options options = {.nodes = 1, .coordinator_flags = coordinator, .agent_flags = agent};
    struct rlimit files;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_cur < FILES)
        files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    kit_open(&kit, "flood", &options);
    find_targets();
    for (int i = 0; i < TOO_MANY; i++)
        silent[i].fd = -1;
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_greetings),
        TEST(test_forged_proofs),
        TEST(test_garbage),
        TEST(test_strays),
        TEST(test_silent_connections),
        TEST(test_too_many_connections),
        TEST(test_unfinished_messages),
        TEST(test_claims),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
