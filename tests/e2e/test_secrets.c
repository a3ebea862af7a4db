/* test_secrets: the agent gets the passwords of its databases from its configuration file, a password file or
 * the environment, and nobody else gets to see them: not in a process's arguments, not in any log, not in what
 * txadmin says, whether they are right or wrong. A password in a flag is refused, and so is one in a file of
 * everybody's.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/lib/kit.h"

#define SECRET "hunter2-correct-horse"

enum { DONE, REFUSED, USAGE, FINDINGS };

static struct kit kit; /* its world, a coordinator, and both banks */

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

/* Files */

static const char *in_world(const char *name, char out[2 * WORLD_PATH_SIZE])
{
    snprintf(out, 2 * WORLD_PATH_SIZE, "%s/%s", world_dir(kit.world), name);
    return out;
}

static const char *write_file(const char *name, mode_t mode, const char *text, char path[2 * WORLD_PATH_SIZE])
{
    FILE *f = fopen(in_world(name, path), "w");

    assert_non_null(f);
    assert_int_equal(chmod(path, mode), 0);
    fputs(text, f);
    fclose(f);
    return path;
}

/* Agents */

/* "resource.bank_a=postgresql host=…", with these settings behind it. */
static void describe(int bank, const char *settings, char out[3 * WORLD_PATH_SIZE])
{
    char conninfo[WORLD_PATH_SIZE];

    snprintf(out, 3 * WORLD_PATH_SIZE, "resource.%s=%s %s %s", world_server_name(kit.bank[bank]),
             bank == 1 ? "mariadb" : "postgresql",
             world_server_conninfo(kit.bank[bank], "assent_agent", conninfo), settings);
}

/* A configuration file of this mode, with these settings of the two banks. */
static void configure(const char *name, const char *const settings[2], mode_t mode)
{
    char text[7 * WORLD_PATH_SIZE], path[2 * WORLD_PATH_SIZE], resource[2][3 * WORLD_PATH_SIZE];

    for (int i = 0; i < 2; i++)
        describe(i, settings[i], resource[i]);
    snprintf(text, sizeof text, "%s\n%s\n", resource[0], resource[1]);
    write_file(name, mode, text, path);
}

static struct world_process *agent_new(const char *name, const char *conf)
{
    char path[2 * WORLD_PATH_SIZE];

    return world_agent_new(kit.world, name, NULL, 0, WORLD_ARGS("--config", in_world(conf, path)));
}

/* Before all tests, and before each */

static int open_group(void **state)
{
    struct world_options options = {.name = "secrets", .no_fsync = true, .fail = fail_test};
    struct world_server_options mariadb = {.mariadb = true};

    (void)state;
    kit.world = world_new(&options);
    kit.bank[0] = world_server_new(kit.world, "bank_a", NULL);
    kit.bank[1] = world_server_new(kit.world, "bank_b", &mariadb);
    kit.coordinator = world_coordinator_new(kit.world, "coordinator", NULL);
    kit.agent[0] = agent_new("agent", "agent.conf");
    world_server_let_in(kit.bank[0], "host all assent_agent all scram-sha-256");
    world_process_start_ready(kit.coordinator, NULL);
    return 0;
}

static void set_password(const char *password)
{
    world_sql(kit.bank[0], "ALTER ROLE assent_agent PASSWORD '%s'", password);
    world_sql(kit.bank[1], "ALTER USER assent_agent@'127.0.0.1' IDENTIFIED BY '%s'", password);
}

static int set_up(void **state)
{
    (void)state;
    set_password(SECRET);
    return 0;
}

/* Nobody hears of it */

/* All of it, where there may be NULs in it. */
static bool file_has_secret(const char *path)
{
    char *text = calloc(1, 1 << 20);
    FILE *f = fopen(path, "r");
    bool found;
    size_t n;

    assert_non_null(text);
    if (f == NULL)
        fail_msg("%s cannot be read", path);
    n = fread(text, 1, (1 << 20) - 1, f);
    found = memmem(text, n, SECRET, strlen(SECRET)) != NULL;
    fclose(f);
    free(text);
    return found;
}

static void assert_kept(const char *path)
{
    if (file_has_secret(path))
        fail_msg("the password stands in %s", path);
}

/* Everything that any program here has logged. */
static void assert_not_logged(void)
{
    char pattern[2 * WORLD_PATH_SIZE];
    glob_t logs;

    assert_int_equal(glob(in_world("*.log", pattern), 0, NULL, &logs), 0);
    assert_true(logs.gl_pathc >= 4);
    for (size_t i = 0; i < logs.gl_pathc; i++)
        assert_kept(logs.gl_pathv[i]);
    globfree(&logs);
}

/* What is on the coordinator's disk, and what everybody may know of these processes. */
static void assert_not_kept_elsewhere(struct world_process *agent)
{
    char path[2 * WORLD_PATH_SIZE];
    glob_t files;

    snprintf(path, sizeof path, "/proc/%d/cmdline", world_process_pid(agent));
    assert_kept(path);
    assert_int_equal(glob(in_world("coordinator.data/*", path), 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        assert_kept(files.gl_pathv[i]);
    globfree(&files);
}

/* What txadmin has to say of resources, as text and as JSON. */
static void assert_not_told(void)
{
    static const char *const questions[][3] = {
        {"status"},
        {"resources"},
        {"resource", "list"},
        {"doctor"},
        {"transactions"},
        {"sessions"},
        {"transactions", "--in-doubt"},
        {"resource", "test", "bank_a"},
        {"resource", "test", "bank_b"},
    };
    struct world_output o;

    for (size_t i = 0; i < 2 * sizeof questions / sizeof *questions; i++) {
        const char *const *q = questions[i / 2];

        o = world_admin(kit.world, WORLD_ARGS(i % 2 == 0 ? "--json" : q[0], i % 2 == 0 ? q[0] : q[1],
                                              i % 2 == 0 ? q[1] : q[2], i % 2 == 0 ? q[2] : NULL));
        if (o.code != DONE && o.code != FINDINGS)
            fail_msg("txadmin %s: %s%s", q[0], o.text, o.error);
        if (strstr(o.text, SECRET) != NULL || strstr(o.error, SECRET) != NULL)
            fail_msg("txadmin %s tells the password: %s%s", q[0], o.text, o.error);
        world_output_release(&o);
    }
}

/* A remote transfer, which txadmin shows afterwards without the password, too. */
static void transfer(void)
{
    tx_client *client = kit_client(&kit);
    txn *t = kit_begin(client);
    struct world_output o;
    struct tx_error e;
    char id[KIT_ID_SIZE];

    for (int i = 0; i < 2; i++) {
        if (txn_exec(t, world_server_name(kit.bank[i]), "UPDATE accounts SET balance = 0", 0, NULL, NULL, &e) !=
            TX_OK)
            fail_msg("%s", e.msg);
    }
    snprintf(id, sizeof id, "%s", txn_id(t));
    assert_int_equal(txn_commit(t, TXN_COMPLETED, &e), TX_OK);
    o = world_admin(kit.world, WORLD_ARGS("show", id));
    assert_null(strstr(o.text, SECRET));
    world_output_release(&o);
    txn_free(t);
    tx_client_close(client);
}

static bool all_up(void *up)
{
    struct world_output o = world_admin(kit.world, WORLD_ARGS("--json", "resources"));
    bool yes = strstr(o.text, *(bool *)up ? "\"up\":false" : "\"up\":true") == NULL &&
               strstr(o.text, "bank_b") != NULL;

    world_output_release(&o);
    return yes;
}

static void await_resources(bool up)
{
    if (!world_wait(KIT_SETTLE_MS, all_up, &up))
        kit_assert_admin(&kit, WORLD_ARGS("resources"), -1, up ? "up" : "down");
}

/* It works with its passwords, nobody hears of them, and nobody does where the servers refuse them. */
static void assert_works(const char *const settings[2], const char *env)
{
    struct world_process *agent = kit.agent[0];

    configure("agent.conf", settings, 0600);
    world_process_start_ready(agent, env);
    await_resources(true);
    transfer();
    assert_not_told();
    assert_not_kept_elsewhere(agent);
    assert_int_equal(world_process_stop(agent), 0);
    set_password("another");
    world_process_start_ready(agent, env);
    await_resources(false);
    assert_not_told();
    assert_int_equal(world_process_stop(agent), 0);
    set_password(SECRET);
    assert_not_logged();
}

static void test_in_the_configuration(void **state)
{
    (void)state;
    assert_works((const char *const[]){"password=" SECRET, "password=" SECRET}, NULL);
}

static void test_in_a_password_file(void **state)
{
    char pg[2 * WORLD_PATH_SIZE], maria[2 * WORLD_PATH_SIZE], of_pg[3 * WORLD_PATH_SIZE],
        of_maria[3 * WORLD_PATH_SIZE];

    (void)state;
    snprintf(of_pg, sizeof of_pg, "passfile=%s", write_file("pgpass", 0600, "*:*:*:*:" SECRET "\n", pg));
    snprintf(of_maria, sizeof of_maria, "passfile=%s", write_file("mysqlpass", 0600, SECRET "\n", maria));
    assert_works((const char *const[]){of_pg, of_maria}, NULL);
}

static void test_in_the_environment(void **state)
{
    char maria[2 * WORLD_PATH_SIZE], of_maria[3 * WORLD_PATH_SIZE];

    (void)state;
    snprintf(of_maria, sizeof of_maria, "passfile=%s", write_file("mysqlpass", 0600, SECRET "\n", maria));
    assert_works((const char *const[]){"", of_maria}, "PGPASSWORD=" SECRET);
    assert_works((const char *const[]){"password=" SECRET, ""}, "MYSQL_PWD=" SECRET);
}

/* Refusals: the agent does not start, and says what to do, in a line without the password. */

static void assert_refuses(struct world_process *agent, const char *part, const char *remedy)
{
    char *log;

    world_process_start(agent, NULL);
    assert_int_equal(world_process_wait(agent, KIT_SETTLE_MS), 1);
    log = world_process_output(agent);
    if (strstr(log, part) == NULL || strstr(log, remedy) == NULL || strstr(log, SECRET) != NULL)
        fail_msg("not «%s» and «%s», or the password: %s", part, remedy, log);
    free(log);
}

static void assert_flag_refused(const char *name, int bank, const char *settings, const char *remedy)
{
    char flag[3 * WORLD_PATH_SIZE + 2] = "--";

    describe(bank, settings, flag + 2);
    assert_refuses(world_agent_new(kit.world, name, NULL, 0, WORLD_ARGS(flag)),
                   world_server_name(kit.bank[bank]), remedy);
}

static void test_in_a_flag(void **state)
{
    (void)state;
    assert_flag_refused("pg_flag", 0, "password=" SECRET, "passfile=");
    assert_flag_refused("my_flag", 1, "password = '" SECRET "'", "MYSQL_PWD");
    assert_flag_refused("url_flag", 0, "postgresql://u:" SECRET "@h/db", "PGPASSWORD");
}

static void assert_file_refused(const char *name, const char *const settings[2], const char *part)
{
    configure("open.conf", settings, 0644);
    assert_refuses(agent_new(name, "open.conf"), part, "chmod 600");
}

static void test_in_a_file_of_everybody(void **state)
{
    char maria[2 * WORLD_PATH_SIZE], of_maria[3 * WORLD_PATH_SIZE];

    (void)state;
    assert_file_refused("open_pg", (const char *const[]){"password=" SECRET, ""},
                        "resource.bank_a: others may read it");
    assert_file_refused("open_my", (const char *const[]){"", "password=" SECRET},
                        "resource.bank_b: others may read it");
    snprintf(of_maria, sizeof of_maria, "passfile=%s", write_file("openpass", 0644, SECRET "\n", maria));
    assert_file_refused("open_passfile", (const char *const[]){"", of_maria}, "openpass: others may read it");
}

/* Written where it does not belong: behind no kind, or as what is no keyword. */
static void test_in_a_wrong_place(void **state)
{
    static const struct {
        const char *name, *line, *part, *remedy;
    } cases[] = {
        {"no_kind", "password=" SECRET " host=x", "its kind comes first", "mariadb"},
        {"no_keyword", "mariadb host=x user=y password=a " SECRET "=", "password", "single quotes"},
        {"no_conninfo", "postgresql host=x password=a " SECRET, "bank_a", "single quotes"},
    };
    char path[2 * WORLD_PATH_SIZE], text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "resource.bank_a = %s\n", cases[i].line);
        write_file("wrong.conf", 0600, text, path);
        assert_refuses(agent_new(cases[i].name, "wrong.conf"), cases[i].part, cases[i].remedy);
    }
}

static void test_in_the_registry(void **state)
{
    struct world_output o = world_admin(
        kit.world, WORLD_ARGS("resource", "add", "bank_x", "postgresql", "host=x password=" SECRET));

    (void)state;
    assert_int_equal(o.code, REFUSED);
    assert_non_null(strstr(o.error, "passfile="));
    assert_null(strstr(o.error, SECRET));
    world_output_release(&o);
    assert_not_logged();
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_the_configuration),   TEST(test_in_a_password_file),
        TEST(test_in_the_environment),     TEST(test_in_a_flag),
        TEST(test_in_a_file_of_everybody), TEST(test_in_a_wrong_place),
        TEST(test_in_the_registry),
    };

    kit_main(argc, argv);
    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
