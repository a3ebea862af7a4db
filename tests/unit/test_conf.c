/* test_conf: every type of setting from file and flags, and every complaint (conf.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtx/shared/conf.h"

static struct {
    char *listen, *data_dir, *note;
    unsigned nodes, session_timeout, quick;
    size_t cache;
    bool fsync;
} set;

/* What CONF_EACH brought, as "rest=value;" one after the other. */
static char each_seen[256];

static int each(void *target, const char *rest, const char *value, struct tx_error *e)
{
    char *out = target;
    size_t n = strlen(out);

    if (strcmp(value, "bad") == 0)
        return err_set(e, TX_EINVAL, "«%s» is no address", value);
    snprintf(out + n, sizeof each_seen - n, "%s=%s;", rest, value);
    return 0;
}

static const struct conf_key keys[] = {
    {"listen", CONF_STRING, &set.listen, "tcp://127.0.0.1:7401", "URL", "where clients connect", 0, 0, NULL},
    {"data_dir", CONF_STRING, &set.data_dir, NULL, "DIR", "where the log is kept", 0, 0, NULL},
    {"note", CONF_STRING, &set.note, "", NULL, "any text", 0, 0, NULL},
    {"nodes", CONF_UINT, &set.nodes, "3", NULL, "how many", 1, 5, NULL},
    {"session_timeout", CONF_DURATION, &set.session_timeout, "30s", NULL, "silence", 1000, 86400000, NULL},
    {"quick", CONF_DURATION, &set.quick, NULL, NULL, "any time", 0, 0, NULL},
    {"cache", CONF_SIZE, &set.cache, "64k", NULL, "memory", 4096, 1 << 30, NULL},
    {"fsync", CONF_BOOL, &set.fsync, "on", NULL, "force writes", 0, 0, NULL},
    {"resource.", CONF_EACH, each_seen, NULL, "CONNINFO", "a resource", 0, 0, each},
    {0},
};

/* help */

enum { MAX_ARGS = 16 };

static char path[64];
static const char *default_file;
static struct tx_error error;

/* Calls conf_load() with the arguments, which are separated by blanks. */
static int load(const char *arguments)
{
    char copy[512], *argv[MAX_ARGS] = {"txtest"}, *rest = copy;
    int argc = 1;

    snprintf(copy, sizeof copy, "%s", arguments);
    for (char *word; (word = strsep(&rest, " ")) != NULL && argc < MAX_ARGS;) {
        if (*word != '\0')
            argv[argc++] = word;
    }
    conf_release(keys);
    each_seen[0] = '\0';
    error = (struct tx_error){0};
    return conf_load(keys, "txtest", "Tests settings.", default_file, argc, argv, &error);
}

static void write_file(const void *text, size_t n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int load_file(const char *text)
{
    char arguments[128];

    write_file(text, strlen(text));
    snprintf(arguments, sizeof arguments, "--config %s", path);
    return load(arguments);
}

static void assert_says(const char *want)
{
    assert_int_equal(error.code, TX_EINVAL);
    assert_string_equal(error.msg, want);
}

/* The file's complaint, after "path:". */
static void assert_file_says(const char *text, const char *want)
{
    char whole[512];

    assert_int_equal(load_file(text), TX_EINVAL);
    snprintf(whole, sizeof whole, "%s:%s", path, want);
    assert_says(whole);
}

static void assert_flags_say(const char *flags, const char *want)
{
    assert_int_equal(load(flags), TX_EINVAL);
    assert_says(want);
}

static int make_file(void **state)
{
    int fd;

    (void)state;
    default_file = NULL;
    snprintf(path, sizeof path, "/tmp/test_conf.XXXXXX");
    fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    conf_release(keys);
    return unlink(path);
}

/* what is right */

static void defaults_are_set(void **state)
{
    (void)state;
    assert_int_equal(load(""), 0);
    assert_string_equal(set.listen, "tcp://127.0.0.1:7401");
    assert_null(set.data_dir);
    assert_string_equal(set.note, "");
    assert_int_equal(set.nodes, 3);
    assert_int_equal(set.session_timeout, 30000);
    assert_int_equal(set.quick, 0);
    assert_int_equal(set.cache, 65536);
    assert_true(set.fsync);
    assert_string_equal(each_seen, "");
}

static void flags_are_read_in_both_forms(void **state)
{
    (void)state;
    assert_int_equal(
        load("--listen tcp://*:1 --data-dir=/x=y --nodes 5 --session-timeout=24h --cache 1G --fsync no "
             "--resource.bank-a=dbname=a --resource.bank_b host=b --quick 7ms"),
        0);
    assert_string_equal(set.listen, "tcp://*:1");
    assert_string_equal(set.data_dir, "/x=y");
    assert_int_equal(set.nodes, 5);
    assert_int_equal(set.session_timeout, 86400000);
    assert_int_equal(set.quick, 7);
    assert_int_equal(set.cache, 1 << 30);
    assert_false(set.fsync);
    assert_string_equal(each_seen, "bank-a=dbname=a;bank_b=host=b;");
    assert_int_equal(load("--note= --nodes 1 --nodes 2"), 0); /* the last counts */
    assert_string_equal(set.note, "");
    assert_int_equal(set.nodes, 2);
}

static void file_is_read(void **state)
{
    (void)state;
    assert_int_equal(load_file("# a comment\n"
                               "   # and another\n"
                               "\n"
                               "listen=tcp://*:2\r\n"
                               "  data_dir \t=  /var/lib/my data  \n"
                               "note = password=a#b # no comment\n"
                               "nodes = 1\n"
                               "session_timeout = 5min\n"
                               "quick=2d\n"
                               "cache = 16M\n"
                               "fsync = off\n"
                               "resource.a = host=x dbname=a\n"
                               "resource.b =\n"
                               "resource.a.b = no newline at the end"),
                     0);
    assert_string_equal(set.listen, "tcp://*:2");
    assert_string_equal(set.data_dir, "/var/lib/my data");
    assert_string_equal(set.note, "password=a#b # no comment");
    assert_int_equal(set.nodes, 1);
    assert_int_equal(set.session_timeout, 300000);
    assert_int_equal(set.quick, 172800000);
    assert_int_equal(set.cache, 16 << 20);
    assert_false(set.fsync);
    assert_string_equal(each_seen, "a=host=x dbname=a;b=;a.b=no newline at the end;");
}

/* Everybody sees the flags of all processes, and nobody is told what the password was. */
static void a_password_is_no_flag(void **state)
{
    static const char *const flags[] = {
        "--resource.a=host=x,password=hunter2",       "--resource.a host=x,PassWord=hunter2",
        "--resource.a=sslpassword=hunter2",           "--note=a://u:hunter2@host/b",
        "--resource.a=pg://host/db?password=hunter2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        assert_int_equal(load(flags[i]), TX_EINVAL);
        assert_non_null(strstr(error.msg, "passfile="));
        assert_non_null(strstr(error.msg, "0600"));
        assert_null(strstr(error.msg, "hunter2"));
        assert_string_equal(each_seen, "");
    }
    assert_int_equal(load("--resource.a=passfile=/x,user=password --note=a://host:5432/b"), 0);
}

static void a_password_in_a_file_of_everybody(void **state)
{
    static const char text[] = "resource.a = host=x password = hunter2\n";
    static const mode_t refused[] = {0644, 0604, 0620, 0660, 0666};

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(chmod(path, refused[i]), 0);
        assert_int_equal(load_file(text), TX_EINVAL);
        assert_non_null(strstr(error.msg, ":1: resource.a: "));
        assert_non_null(strstr(error.msg, "chmod 600"));
        assert_null(strstr(error.msg, "hunter2"));
    }
    assert_int_equal(chmod(path, 0640), 0); /* a daemon's group may read what is root's */
    assert_int_equal(load_file(text), geteuid() == 0 ? 0 : TX_EINVAL);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(load_file("resource.a = host=x\n"), 0);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(load_file(text), 0);
    assert_string_equal(each_seen, "a=host=x password = hunter2;");
}

static void flag_wins_over_file(void **state)
{
    static const char text[] = "nodes = 5\nlisten = file\nresource.a = file\nresource.b = file\n";
    char arguments[128];

    (void)state;
    write_file(text, strlen(text));
    snprintf(arguments, sizeof arguments, "--nodes 4 --config=%s --resource.a flag", path);
    assert_int_equal(load(arguments), 0);
    assert_int_equal(set.nodes, 4);
    assert_string_equal(set.listen, "file");
    assert_string_equal(each_seen, "b=file;a=flag;"); /* each resource is told once */
}

static void default_file_may_be_missing(void **state)
{
    (void)state;
    default_file = "/nonexistent/txtest.conf";
    assert_int_equal(load(""), 0);
    write_file("nodes = 5\n", 10);
    default_file = path;
    assert_int_equal(load(""), 0);
    assert_int_equal(set.nodes, 5);
    assert_int_equal(load("--config /dev/null"), 0); /* instead of the default one */
    assert_int_equal(set.nodes, 3);
    default_file = NULL;
}

static void every_word_for_yes_and_no(void **state)
{
    (void)state;
    assert_int_equal(load("--fsync true"), 0);
    assert_true(set.fsync);
    assert_int_equal(load("--fsync yes"), 0);
    assert_true(set.fsync);
    assert_int_equal(load("--fsync on"), 0);
    assert_true(set.fsync);
    assert_int_equal(load("--fsync false"), 0);
    assert_false(set.fsync);
}

static void limits_belong_to_the_range(void **state)
{
    (void)state;
    assert_int_equal(load("--session_timeout 1s --cache 4096 --nodes 1 --quick 0ms"), 0);
    assert_int_equal(load("--session_timeout 1d --cache 1G --nodes 5 --quick 4294967295ms"), 0);
    assert_int_equal(set.quick, UINT32_MAX);
}

/* complaints */

static void unknown_names_are_refused(void **state)
{
    (void)state;
    assert_file_says("\n\nlistn = x\n", "3: unknown key «listn»; did you mean «listen»?");
    assert_file_says("data-dir = x\n", "1: unknown key «data-dir»; did you mean «data_dir»?");
    assert_file_says("resouce.bank_a = x\n", "1: unknown key «resouce.bank_a»; did you mean «resource.NAME»?");
    assert_file_says("resource. = x\n", "1: unknown key «resource.»; did you mean «resource.NAME»?");
    assert_file_says("colour = x\n", "1: unknown key «colour»; txtest --help lists them");
    assert_file_says("config = x\n", "1: unknown key «config»; txtest --help lists them");
    assert_flags_say("--sesion-timeout 3s",
                     "unknown flag «--sesion-timeout»; did you mean «--session_timeout»?");
    assert_flags_say("--verbose", "unknown flag «--verbose»; txtest --help lists them");
    assert_flags_say("--listen2=x", "unknown flag «--listen2»; did you mean «--listen»?");
}

static void malformed_lines_are_refused(void **state)
{
    char arguments[128];

    (void)state;
    assert_file_says("nodes 3\n", "1: «nodes 3» is not «key = value»");
    assert_file_says("= 3\n", "1: «= 3» is not «key = value»");
    assert_file_says("nodes = 3\nlisten = x\n nodes = 4\n", "3: «nodes» is set in line 1 already");
    assert_file_says("resource.a = 3\nresource.b = x\nresource.a = 4\n",
                     "3: «resource.a» is set in line 1 already");
    write_file("nodes = 3\0\n", 11);
    snprintf(arguments, sizeof arguments, "--config %s", path);
    assert_int_equal(load(arguments), TX_EINVAL);
    assert_non_null(strstr(error.msg, ":1: a NUL byte"));
}

static void malformed_flags_are_refused(void **state)
{
    (void)state;
    assert_flags_say("--listen", "--listen needs a value");
    assert_flags_say("--listen --nodes 3", "--listen needs a value");
    assert_flags_say("--config", "--config needs a value");
    assert_flags_say("--resource.a", "--resource.a needs a value");
    assert_flags_say("start", "«start» is not a flag; txtest --help lists them");
    assert_flags_say("--nodes 3 4", "«4» is not a flag; txtest --help lists them");
    assert_flags_say("-n 3", "«-n» is not a flag; txtest --help lists them");
    assert_flags_say("--", "«--» is not a flag; txtest --help lists them");
    assert_flags_say("--=3", "«--=3» is not a flag; txtest --help lists them");
}

static void unreadable_files_are_named(void **state)
{
    (void)state;
    assert_flags_say("--config /nonexistent/a.conf", "/nonexistent/a.conf: No such file or directory");
    assert_flags_say("--config /tmp", "/tmp: Is a directory");
    assert_flags_say("--config=", ": No such file or directory");
}

static void malformed_values_are_refused(void **state)
{
    static const char *const times[] = {"", "10", "s", "-1s", "+1s", "1 s", "1S", "1m", "1.5s", "0x1s", "1ss"};
    char want[128];

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char line[64];

        snprintf(line, sizeof line, "session_timeout = %s", times[i]);
        snprintf(want, sizeof want,
                 "1: session_timeout: «%s» is not a duration; write 250ms, 30s, 5min, 24h or 2d", times[i]);
        assert_file_says(line, want);
    }
    assert_flags_say("--session-timeout=10parsecs",
                     "--session_timeout: «10parsecs» is not a duration; write 250ms, 30s, 5min, 24h or 2d");
    assert_flags_say("--nodes three", "--nodes: «three» is not a number; write digits only");
    assert_flags_say("--nodes 3k", "--nodes: «3k» is not a number; write digits only");
    assert_flags_say("--cache 3T", "--cache: «3T» is not a size; write bytes, or 64k, 16M, 1G");
    assert_flags_say("--fsync maybe",
                     "--fsync: «maybe» is neither on nor off; write true, false, on, off, yes or no");
    assert_flags_say("--resource.a bad", "--resource.a: «bad» is no address");
    assert_file_says("resource.a = bad\n", "1: resource.a: «bad» is no address");
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_flags_say("--nodes 0", "--nodes: «0» is out of range; it may be 1 to 5");
    assert_flags_say("--nodes 6", "--nodes: «6» is out of range; it may be 1 to 5");
    assert_flags_say("--session_timeout 999ms",
                     "--session_timeout: «999ms» is out of range; it may be 1s to 1d");
    assert_flags_say("--session_timeout 25h", "--session_timeout: «25h» is out of range; it may be 1s to 1d");
    assert_flags_say("--cache 4095", "--cache: «4095» is out of range; it may be 4k to 1G");
    assert_flags_say("--quick 50d", "--quick: «50d» is out of range; it may be 0ms to 4294967295ms");
    assert_flags_say("--quick 18446744073709551617ms",
                     "--quick: «18446744073709551617ms» is out of range; it may be 0ms to 4294967295ms");
    assert_flags_say("--quick 18446744073709551615d",
                     "--quick: «18446744073709551615d» is out of range; it may be 0ms to 4294967295ms");
}

static void long_input_does_no_harm(void **state)
{
    char text[8192];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(load_file(text), TX_EINVAL);
    text[4000] = '=';
    assert_int_equal(load_file(text), TX_EINVAL);
    memcpy(text, "listen=", 7);
    assert_int_equal(load_file(text), 0);
    assert_int_equal(strlen(set.listen), sizeof text - 1 - 7);
    memcpy(text, "nodes =", 7);
    assert_int_equal(load_file(text), TX_EINVAL);
}

/* --help and --version */

/* What conf_load() prints before it ends the process with 0. */
static void printed(const char *flag, char *out, size_t size)
{
    int ends[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        (void)load(flag);
        _exit(1);
    }
    close(ends[1]);
    while ((got = read(ends[0], out + n, size - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void help_is_a_table(void **state)
{
    static const char *const lines[] = {
        "Usage: txtest [--FLAG VALUE]...\n\nTests settings.\n",
        "A file takes the same names",
        "\n  --listen URL              where clients connect [tcp://127.0.0.1:7401]\n",
        "\n  --data_dir DIR            where the log is kept\n",
        "\n  --note TEXT               any text\n",
        "\n  --session_timeout TIME    silence [30s]\n",
        "\n  --fsync on|off            force writes [on]\n",
        "\n  --resource.NAME=CONNINFO  a resource\n",
        "\n  --config FILE             read settings from this file [/nonexistent/txtest.conf]\n",
        "\n  --version                 print the version and exit\n",
    };
    char out[8192];

    (void)state;
    default_file = "/nonexistent/txtest.conf";
    fflush(stdout);
    printed("--nodes 3 --help", out, sizeof out);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (strstr(out, lines[i]) == NULL)
            fail_msg("«%s» is not in:\n%s", lines[i], out);
    }
}

static void version_is_one_line(void **state)
{
    char out[256];

    (void)state;
    fflush(stdout);
    printed("--version", out, sizeof out);
    assert_string_equal(out, "txtest " TX_VERSION "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_set),
        cmocka_unit_test(flags_are_read_in_both_forms),
        cmocka_unit_test(file_is_read),
        cmocka_unit_test(a_password_is_no_flag),
        cmocka_unit_test(a_password_in_a_file_of_everybody),
        cmocka_unit_test(flag_wins_over_file),
        cmocka_unit_test(default_file_may_be_missing),
        cmocka_unit_test(every_word_for_yes_and_no),
        cmocka_unit_test(limits_belong_to_the_range),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(malformed_flags_are_refused),
        cmocka_unit_test(unreadable_files_are_named),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(long_input_does_no_harm),
        cmocka_unit_test(help_is_a_table),
        cmocka_unit_test(version_is_one_line),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
