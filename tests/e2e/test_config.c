/* test_config: how the daemons take their settings, and how they refuse: one line that names what is wrong, and
 * an exit code that is not 0. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtx/libtx.h"
#include "tests/lib/kit.h"

static struct kit kit; /* its world alone */

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static int open_group(void **state)
{
    struct world_options options = {.name = "config", .fail = fail_test};

    (void)state;
    kit.world = world_new(&options);
    return 0;
}

/* Helpers */

/* Each of words, separated by «|», stands in text. */
static void assert_says(const char *text, const char *words)
{
    char copy[256], *rest = copy, *word;

    snprintf(copy, sizeof copy, "%s", words);
    while ((word = strsep(&rest, "|")) != NULL) {
        if (strstr(text, word) == NULL)
            fail_msg("«%s» does not say «%s»", text, word);
    }
}

/* The program refuses, in one line that begins with its name and has these words. */
static void assert_refuses(const char *program, const char *const *flags, const char *words)
{
    const char *argv[32];
    char path[WORLD_PATH_SIZE], identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];
    struct world_output o;
    size_t n = 0;

    argv[n++] = world_program(kit.world, program, path);
    argv[n++] = "--identity";
    argv[n++] = world_identity(kit.world, "node_0", identity);
    argv[n++] = "--keys";
    argv[n++] = world_keys(kit.world, keys);
    while (*flags != NULL && n < 31)
        argv[n++] = *flags++;
    argv[n] = NULL;
    o = world_run(kit.world, argv);
    assert_int_equal(o.code, 1);
    assert_string_equal(o.text, "");
    assert_int_equal(strncmp(o.error, program, strlen(program)), 0);
    if (strchr(o.error, '\n') == NULL || strchr(o.error, '\n')[1] != 0)
        fail_msg("not one line: %s", o.error);
    assert_says(o.error, words);
    world_output_release(&o);
}

static const char *in_world(const char *name, char out[2 * WORLD_PATH_SIZE])
{
    snprintf(out, 2 * WORLD_PATH_SIZE, "%s/%s", world_dir(kit.world), name);
    return out;
}

static const char *write_file(const char *name, const char *text, char path[2 * WORLD_PATH_SIZE])
{
    FILE *f = fopen(in_world(name, path), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* Wrong settings */

static void test_wrong_flags_of_the_coordinator(void **state)
{
    static const struct {
        const char *flag, *value, *words;
    } cases[] = {
        {"--no_such_thing", "1", "no_such_thing"},
        {"--node_id", "many", "node_id|many"},
        {"--node_id", "0", "node_id"},
        {"--node_id", "-1", "node_id"},
        {"--node_id", "99999999999999999999", "node_id"},
        {"--segment_size", "1", "segment_size"},
        {"--segment_size", "64q", "segment_size|64q"},
        {"--snapshot_size", "", "snapshot_size"},
        {"--retention", "5parsecs", "retention|5parsecs"},
        {"--vote_timeout", "99d", "vote_timeout"},
        {"--log_level", "loud", "log_level|loud"},
        {"--listen", "nonsense", "listen|nonsense"},
        {"--listen", "tcp://256.0.0.1:7000", "listen"},
        {"--listen", "", "listen|empty"},
        {"--listen", "tcp://*:7401", "listen|advertise"},
        {"--advertise", "tcp://*:7401", "advertise"},
        {"--peer_listen", "", "peer_listen|empty"},
        {"--peer_listen", "tcp://0.0.0.0:7402", "peer_listen|peer_advertise"},
        {"--restore", "/nonexistent", "restore|/nonexistent"},
        {"--config", "/no/such/file", "/no/such/file"},
        {"word", NULL, "word"},
        {"--listen", NULL, "listen"},
    };
    char data[2 * WORLD_PATH_SIZE];

    (void)state;
    in_world("wrong.data", data);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refuses("txcoordd", WORLD_ARGS("--data_dir", data, cases[i].flag, cases[i].value),
                       cases[i].words);
}

static void test_wrong_flags_of_the_agent(void **state)
{
    static const struct {
        const char *flag, *value, *words;
    } cases[] = {
        {"--no_such_thing", "1", "no_such_thing"},
        {"--log_level", "loud", "log_level|loud"},
        {"--coordinators", "nonsense", "coordinators"},
        {"--listen", "nonsense", "listen|nonsense"},
        {"--listen", "", "listen|empty"},
        {"--listen", "tcp://*:7501", "listen|advertise"},
        {"--advertise", "tcp://[::]:7501", "advertise|others"},
        {"--serve", "good,other", "good"},
        {"--serve", "other,other", "other|twice"},
        {"--serve", "", "serve"},
        {"--resource.a b", "postgresql dbname=bank", "a b"},
        {"--resource.bank_a", "oracle whatever", "bank_a|oracle"},
        {"--resource.bank_a", "postgresql host", "bank_a"},
        {"--name", "no/name", "name|no/name"},
        {"--config", "/no/such/file", "/no/such/file"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refuses("txagentd",
                       WORLD_ARGS("--resource.good", "postgresql dbname=bank", cases[i].flag, cases[i].value),
                       cases[i].words);
    assert_refuses("txagentd", WORLD_ARGS("--name", "idle"), "resource");
}

static void test_wrong_lines_in_a_file(void **state)
{
    char path[2 * WORLD_PATH_SIZE];

    (void)state;
    write_file("unknown.conf", "# a comment\n\nnode_id = 1\nnot_a_key = 2\n", path);
    assert_refuses("txcoordd", WORLD_ARGS("--config", path), "unknown.conf|4|not_a_key");
    write_file("value.conf", "node_id = one\n", path);
    assert_refuses("txcoordd", WORLD_ARGS("--config", path), "value.conf|1|node_id|one");
    write_file("syntax.conf", "node_id\n", path);
    assert_refuses("txcoordd", WORLD_ARGS("--config", path), "syntax.conf|1");
    write_file("twice.conf", "no_such.thing = x\n", path);
    assert_refuses("txagentd", WORLD_ARGS("--config", path), "twice.conf|1|no_such.thing");
}

static void test_directories_that_cannot_be_used(void **state)
{
    char path[2 * WORLD_PATH_SIZE];

    (void)state;
    write_file("a_file", "", path);
    assert_refuses("txcoordd", WORLD_ARGS("--data_dir", path), "a_file");
    assert_refuses("txcoordd", WORLD_ARGS("--data_dir", "/proc/assent"), "/proc/assent");
    assert_refuses("txcoordd", WORLD_ARGS("--data_dir", in_world("no/such/parent", path)), "no/such/parent");
}

static void test_taken_port(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char listen_at[64], data[2 * WORLD_PATH_SIZE], port_text[8];
    unsigned port = world_port(kit.world);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    a.sin_port = htons((uint16_t)port);
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s, 1), 0);
    snprintf(listen_at, sizeof listen_at, "tcp://127.0.0.1:%u", port);
    snprintf(port_text, sizeof port_text, "%u", port);
    in_world("taken.data", data);
    assert_refuses("txcoordd", WORLD_ARGS("--data_dir", data, "--listen", listen_at), port_text);
    assert_refuses("txagentd", WORLD_ARGS("--listen", listen_at, "--resource.bank_a", "postgresql dbname=bank"),
                   port_text);
    close(s);
}

static void test_keys_and_insecure(void **state)
{
    char mine[2 * WORLD_PATH_SIZE], text[128], peer[128];

    (void)state;
    write_file("mine.key", "assent-secret-key AAAA\n", mine);
    assert_refuses("txcoordd", WORLD_ARGS("--identity", mine), "identity|mine.key|chmod 600");
    assert_refuses("txagentd", WORLD_ARGS("--identity", mine, "--resource.a", "postgresql dbname=bank"),
                   "identity|mine.key|chmod 600");
    assert_refuses("txcoordd", WORLD_ARGS("--keys", "/no/such/keys"), "keys|/no/such/keys");
    assert_refuses("txcoordd", WORLD_ARGS("--insecure=true", "--listen", "tcp://192.0.2.1:7401"),
                   "listen|insecure|loopback");
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", world_port(kit.world));
    assert_refuses("txcoordd",
                   WORLD_ARGS("--insecure=true", "--listen", text, "--peer_listen", "tcp://192.0.2.1:7402",
                              "--peer_advertise", "tcp://10.0.0.1:7402"),
                   "peer_listen|insecure|loopback");
    assert_refuses("txcoordd",
                   WORLD_ARGS("--insecure=true", "--listen", text, "--advertise", "tcp://192.0.2.1:7401"),
                   "advertise|insecure|loopback");
    snprintf(peer, sizeof peer, "tcp://127.0.0.1:%u", world_port(kit.world));
    assert_refuses("txcoordd",
                   WORLD_ARGS("--insecure=true", "--listen", text, "--peer_listen", peer, "--peer_advertise",
                              "tcp://10.0.0.1:7402"),
                   "peer_advertise|insecure|loopback");
    assert_refuses("txagentd",
                   WORLD_ARGS("--insecure=true", "--listen", "tcp://192.0.2.1:7501", "--resource.a",
                              "postgresql dbname=bank"),
                   "listen|insecure|loopback");
    assert_refuses("txagentd",
                   WORLD_ARGS("--insecure=true", "--coordinators", "tcp://10.0.0.1:7401", "--resource.a",
                              "postgresql dbname=bank"),
                   "coordinators|insecure|loopback");
}

/* Right settings */

static void test_flag_wins_over_file(void **state)
{
    char conf[2 * WORLD_PATH_SIZE], text[128], listen_at[64];
    struct world_process *p;
    char program[WORLD_PATH_SIZE], data[2 * WORLD_PATH_SIZE];
    char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];
    unsigned in_file = world_port(kit.world), in_flag = world_port(kit.world);

    (void)state;
    snprintf(text, sizeof text, "listen = tcp://127.0.0.1:%u\nlog_level=debug\n", in_file);
    write_file("wins.conf", text, conf);
    snprintf(listen_at, sizeof listen_at, "--listen=tcp://127.0.0.1:%u", in_flag);
    p = world_process_new(kit.world, "wins",
                          WORLD_ARGS(world_program(kit.world, "txcoordd", program), "--config", conf, listen_at,
                                     "--data_dir", in_world("wins.data", data), "--identity",
                                     world_identity(kit.world, "node_0", identity), "--keys",
                                     world_keys(kit.world, keys)));
    world_process_start_ready(p, NULL);
    assert_true(world_process_logged(p, listen_at + 2));
    assert_int_equal(world_process_stop(p), 0);
}

static void test_second_coordinator_on_one_directory(void **state)
{
    struct world_process *p = world_coordinator_new(kit.world, "first", NULL);
    char data[2 * WORLD_PATH_SIZE], listen_at[64];

    (void)state;
    world_process_start_ready(p, NULL);
    snprintf(listen_at, sizeof listen_at, "tcp://127.0.0.1:%u", world_port(kit.world));
    assert_refuses("txcoordd", WORLD_ARGS("--data_dir", in_world("first.data", data), "--listen", listen_at),
                   "data_dir|first.data");
    assert_int_equal(world_process_stop(p), 0);
    world_process_start_ready(p, NULL);
    world_process_kill(p);
    world_process_start_ready(p, NULL); /* the lock of one that was killed holds nobody up */
    world_process_kill(p);
}

static void test_help_and_version(void **state)
{
    static const char *const programs[] = {"txcoordd", "txagentd", "txadmin"};
    char path[WORLD_PATH_SIZE], version[64];
    struct world_output o;

    (void)state;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        o = world_run(kit.world, WORLD_ARGS(world_program(kit.world, programs[i], path), "--help"));
        assert_int_equal(o.code, 0);
        assert_says(o.text, programs[i]);
        assert_string_equal(o.error, "");
        world_output_release(&o);
        o = world_run(kit.world, WORLD_ARGS(world_program(kit.world, programs[i], path), "--version"));
        assert_int_equal(o.code, 0);
        snprintf(version, sizeof version, "%s %s\n", programs[i], TX_VERSION);
        assert_string_equal(o.text, version);
        world_output_release(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_flags_of_the_coordinator),
        cmocka_unit_test(test_wrong_flags_of_the_agent),
        cmocka_unit_test(test_wrong_lines_in_a_file),
        cmocka_unit_test(test_directories_that_cannot_be_used),
        cmocka_unit_test(test_keys_and_insecure),
        cmocka_unit_test(test_taken_port),
        cmocka_unit_test(test_flag_wins_over_file),
        cmocka_unit_test(test_second_coordinator_on_one_directory),
        cmocka_unit_test(test_help_and_version),
    };

    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
