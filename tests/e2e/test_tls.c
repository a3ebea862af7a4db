/* test_tls: the agent speaks TLS to its databases as the settings ask for it, by the client libraries' own
 * means: with a server that shows a certificate of the right authority for the right name, and with no other.
 * Why not is told by txadmin, with what to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/kit.h"

enum { DONE, REFUSED, USAGE, FINDINGS };

enum { SETTINGS_SIZE = 4 * WORLD_PATH_SIZE };

/* One each with a certificate for «localhost», and one that knows no TLS. */
static struct world_server *pg, *pg_plain, *maria, *maria_plain;
static struct kit kit; /* its world, a coordinator and an agent */

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static const char *file(const char *name, const char *type)
{
    static char paths[4][WORLD_PATH_SIZE];
    static unsigned next;

    return world_tls_file(kit.world, name, type, paths[next++ % 4]);
}

static void open_postgresql(void)
{
    char certificate[WORLD_PATH_SIZE + 32], key[WORLD_PATH_SIZE + 32], ca[WORLD_PATH_SIZE + 32];
    const char *const settings[] = {"ssl=on", certificate, key, ca, NULL};
    struct world_server_options options = {.settings = settings};

    snprintf(certificate, sizeof certificate, "ssl_cert_file=%s", file("server", "crt"));
    snprintf(key, sizeof key, "ssl_key_file=%s", file("server", "key"));
    snprintf(ca, sizeof ca, "ssl_ca_file=%s", file("right", "crt"));
    pg = world_server_new(kit.world, "pg", &options);
    pg_plain = world_server_new(kit.world, "pg_plain", NULL);
    world_server_let_in(pg, "hostssl all assent_agent all trust");
}

static void open_mariadb(void)
{
    char certificate[WORLD_PATH_SIZE + 32], key[WORLD_PATH_SIZE + 32], ca[WORLD_PATH_SIZE + 32];
    const char *const settings[] = {certificate, key, ca, NULL}, *const none[] = {"skip-ssl", NULL};
    struct world_server_options options = {.mariadb = true, .settings = settings};

    snprintf(certificate, sizeof certificate, "ssl-cert=%s", file("server", "crt"));
    snprintf(key, sizeof key, "ssl-key=%s", file("server", "key"));
    snprintf(ca, sizeof ca, "ssl-ca=%s", file("right", "crt"));
    maria = world_server_new(kit.world, "maria", &options);
    options.settings = none;
    maria_plain = world_server_new(kit.world, "maria_plain", &options);
    world_sql(maria, "ALTER USER assent_agent@'127.0.0.1' REQUIRE SSL");
}

static int open_group(void **state)
{
    struct world_options options = {.name = "tls", .no_fsync = true, .fail = fail_test};
    static char home[WORLD_PATH_SIZE + 8];

    (void)state;
    kit.world = world_new(&options);
    world_tls_authority(kit.world, "right");
    world_tls_authority(kit.world, "wrong");
    world_tls_certificate(kit.world, "right", "server", "localhost");
    world_tls_certificate(kit.world, "right", "agent", "assent_agent");
    world_tls_certificate(kit.world, "right", "stranger", "stranger");
    world_tls_give_to_servers(kit.world, "server");
    open_postgresql();
    open_mariadb();
    kit.coordinator = world_coordinator_new(kit.world, "coordinator", NULL);
    kit.agent[0] = world_agent_new(kit.world, "agent", NULL, 0, WORLD_ARGS("--serve", "pg,maria"));
    world_process_start_ready(kit.coordinator, NULL);
    snprintf(home, sizeof home, "HOME=%s", world_dir(kit.world)); /* no ~/.postgresql of whoever runs this */
    world_process_start_ready(kit.agent[0], home);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "pg", "postgresql", "host=nowhere.invalid"), DONE, "");
    kit_assert_admin(&kit, WORLD_ARGS("resource", "add", "maria", "mariadb", "host=nowhere.invalid user=x"),
                     DONE, "");
    return 0;
}

/* Trying settings out */

static const char *resource_of(const struct world_server *s)
{
    return world_server_is_mariadb(s) ? "maria" : "pg";
}

/* The resource is at this server, called so, with these settings more. */
static void alter(const struct world_server *s, const char *host, const char *settings)
{
    char text[SETTINGS_SIZE];

    snprintf(text, sizeof text, "host=%s %s port=%u dbname=bank user=assent_agent %s", host,
             world_server_is_mariadb(s) ? "" : "hostaddr=127.0.0.1", world_server_port(s), settings);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "alter", resource_of(s), text), DONE, "");
}

struct answer {
    const char *const *args;
    int code;
    const char *text;
};

static bool is_answered(void *arg)
{
    const struct answer *a = arg;
    struct world_output o = world_admin(kit.world, a->args);
    bool yes = o.code == a->code && strstr(o.text, a->text) != NULL;

    world_output_release(&o);
    return yes;
}

static void await_answer(const char *const *args, int code, const char *text)
{
    struct answer a = {args, code, text};

    if (!world_wait(KIT_SETTLE_MS, is_answered, &a))
        kit_assert_admin(&kit, args, code, text);
}

/* The agent uses it, for statements and for the test. */
static void assert_accepted(const struct world_server *s, const char *host, const char *settings)
{
    tx_client *client;
    struct tx_error e;
    txn *t;

    alter(s, host, settings);
    await_answer(WORLD_ARGS("resource", "test", resource_of(s)), DONE, "ok");
    client = kit_client(&kit);
    t = kit_begin(client);
    if (txn_exec(t, resource_of(s), "UPDATE accounts SET balance = 0", 0, NULL, NULL, &e) != TX_OK ||
        txn_commit(t, TXN_COMPLETED, &e) != TX_OK)
        fail_msg("%s: %s", settings, e.msg);
    txn_free(t);
    tx_client_close(client);
}

/* It does not, and says why in these words, in the list, the doctor's findings and the test, with a remedy. */
static void assert_refused(const struct world_server *s, const char *host, const char *settings,
                           const char *why, const char *remedy)
{
    alter(s, host, settings);
    await_answer(WORLD_ARGS("resource", "test", resource_of(s)), FINDINGS, why);
    kit_assert_admin(&kit, WORLD_ARGS("resource", "test", resource_of(s)), FINDINGS, remedy);
    await_answer(WORLD_ARGS("resources"), DONE, why);
    kit_assert_admin(&kit, WORLD_ARGS("doctor"), FINDINGS, why);
    kit_assert_admin(&kit, WORLD_ARGS("doctor"), FINDINGS, "certificates where TLS is asked for");
    world_process_await(kit.agent[0], why, KIT_SETTLE_MS);
}

/* "sslmode=verify-full sslrootcert=…" */
static const char *verify_full(const char *authority, char out[SETTINGS_SIZE])
{
    snprintf(out, SETTINGS_SIZE, "sslmode=verify-full sslrootcert=%s", file(authority, "crt"));
    return out;
}

/* PostgreSQL */

static void test_postgresql_verified(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    assert_accepted(pg, "localhost", verify_full("right", settings));
    assert_int_equal(world_sql_number(pg, "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                          " WHERE usename = 'assent_agent' AND NOT ssl"),
                     0);
    assert_true(world_sql_number(pg, "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                     " WHERE usename = 'assent_agent' AND ssl") > 0);
}

static void test_postgresql_of_another_authority(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    assert_refused(pg, "localhost", verify_full("wrong", settings), "certificate verify failed", "sslrootcert");
}

static void test_postgresql_of_another_name(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    assert_refused(pg, "bank.example", verify_full("right", settings), "does not match host name",
                   "as its certificate does");
}

static void test_postgresql_without_tls(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    assert_refused(pg_plain, "localhost", verify_full("right", settings), "does not support SSL",
                   "switch TLS on");
}

static void test_postgresql_wants_tls(void **state)
{
    (void)state;
    assert_refused(pg, "localhost", "sslmode=disable", "no encryption", "sslmode=verify-full");
}

static void test_postgresql_without_a_root(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    assert_refused(pg, "localhost", verify_full("missing", settings), "root certificate file",
                   "sslrootcert says");
}

/* The agent shows a certificate of its own in the place of a password. */
static void test_postgresql_client_certificate(void **state)
{
    char settings[SETTINGS_SIZE], with[2 * SETTINGS_SIZE];

    (void)state;
    world_server_let_in(pg, "hostssl all assent_agent all cert");
    verify_full("right", settings);
    assert_refused(pg, "localhost", settings, "client certificate", "sslcert");
    snprintf(with, sizeof with, "%s sslcert=%s sslkey=%s", settings, file("stranger", "crt"),
             file("stranger", "key"));
    assert_refused(pg, "localhost", with, "certificate authentication failed", "certificate");
    snprintf(with, sizeof with, "%s sslcert=%s sslkey=%s", settings, file("agent", "crt"),
             file("agent", "key"));
    assert_accepted(pg, "localhost", with);
    world_server_let_in(pg, "hostssl all assent_agent all trust");
}

/* MariaDB */

static void test_mariadb_verified(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    snprintf(settings, sizeof settings, "ssl-ca=%s", file("right", "crt"));
    assert_accepted(maria, "localhost", settings);
}

static void test_mariadb_of_another_authority(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    snprintf(settings, sizeof settings, "ssl-ca=%s", file("wrong", "crt"));
    assert_refused(maria, "localhost", settings, "SSL error", "ssl-ca");
}

static void test_mariadb_of_another_name(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    snprintf(settings, sizeof settings, "ssl-ca=%s", file("right", "crt"));
    assert_refused(maria, "127.0.0.1", settings, "SSL error", "ssl-ca");
}

static void test_mariadb_without_tls(void **state)
{
    char settings[SETTINGS_SIZE];

    (void)state;
    snprintf(settings, sizeof settings, "ssl-ca=%s", file("right", "crt"));
    assert_refused(maria_plain, "localhost", settings, "the server does not support", "switch TLS on");
}

/* Whoever wants it so gets it encrypted, by whomever. */
static void test_mariadb_unverified(void **state)
{
    (void)state;
    assert_accepted(maria, "127.0.0.1", "ssl=on");
    assert_refused(maria_plain, "127.0.0.1", "ssl=on", "does not offer TLS", "switch TLS on");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_postgresql_verified),
        cmocka_unit_test(test_postgresql_of_another_authority),
        cmocka_unit_test(test_postgresql_of_another_name),
        cmocka_unit_test(test_postgresql_without_tls),
        cmocka_unit_test(test_postgresql_wants_tls),
        cmocka_unit_test(test_postgresql_without_a_root),
        cmocka_unit_test(test_postgresql_client_certificate),
        cmocka_unit_test(test_mariadb_verified),
        cmocka_unit_test(test_mariadb_of_another_authority),
        cmocka_unit_test(test_mariadb_of_another_name),
        cmocka_unit_test(test_mariadb_without_tls),
        cmocka_unit_test(test_mariadb_unverified),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
