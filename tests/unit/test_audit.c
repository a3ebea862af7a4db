/* test_audit: lines that nothing can forge, the file that they go to, and what is denied again and again. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/audit.h"
#include "libtx/shared/log.h"

static const uint8_t key_one[KEY_SIZE] = {1};

/* Lines */

static const char *format(const struct audit_entry *entry)
{
    static char line[AUDIT_LINE];

    audit_format(entry, line);
    return line;
}

static void test_a_line(void **state)
{
    (void)state;
    assert_string_equal(format(&(struct audit_entry){.name = "ops",
                                                     .key = key_one,
                                                     .act = "resolve",
                                                     .what = "assent-1-2",
                                                     .more = {{"verdict", "commit"}, {"address", NULL}},
                                                     .outcome = AUDIT_OK}),
                        "name=ops key=AQAAAAAA act=resolve what=assent-1-2 verdict=commit outcome=ok");
    assert_string_equal(format(&(struct audit_entry){.act = "forget", .outcome = AUDIT_BEGUN}),
                        "name=\"\" key=\"\" act=forget outcome=begun");
    assert_string_equal(
        format(&(struct audit_entry){.key = key_one,
                                     .act = "handshake",
                                     .outcome = AUDIT_DENIED,
                                     .count = 7,
                                     .error = "its key is not known"}),
        "name=\"\" key=AQAAAAAA act=handshake outcome=denied count=7 error=\"its key is not known\"");
    assert_string_equal(format(&(struct audit_entry){.act = "x", .outcome = AUDIT_REFUSED, .error = "no"}),
                        "name=\"\" key=\"\" act=x outcome=refused error=no");
}

struct quoting {
    const char *value, *written;
};

static void test_values_cannot_forge(void **state)
{
    static const struct quoting rows[] = {
        {"", "\"\""},
        {"plain_1.2:/@,*+-", "plain_1.2:/@,*+-"},
        {"two words", "\"two words\""},
        {"x outcome=ok", "\"x outcome=ok\""},
        {"a=b", "\"a=b\""},
        {"x\" outcome=ok", "\"x\\\" outcome=ok\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"\\\" outcome=ok", "\"\\\\\\\" outcome=ok\""},
        {"one\n2026-11-27T19:39:24.123Z name=ops", "\"one\\x0a2026-11-27T19:39:24.123Z name=ops\""},
        {"\r\t\x1b[2J\x7f", "\"\\x0d\\x09\\x1b[2J\\x7f\""},
        {"«bank» … ü 日本 😀", "\"«bank» … ü 日本 😀\""},
        {"\xff\xc3(", "\"\\xff\\xc3(\""},                          /* no UTF-8 */
        {"\xc0\xaf\xe0\x80\xaf", "\"\\xc0\\xaf\\xe0\\x80\\xaf\""}, /* overlong */
        {"\xc2\x85", "\"\\xc2\\x85\""},                            /* next line */
        {"\xe2\x80\xa8", "\"\\xe2\\x80\\xa8\""},                   /* line separator */
        {"\xe2\x80\xae", "\"\\xe2\\x80\\xae\""},                   /* from right to left */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},                   /* a surrogate */
        {"\xf0\x9f\x98", "\"\\xf0\\x9f\\x98\""},                   /* cut short */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[256];

        snprintf(expected, sizeof expected, "name=\"\" key=\"\" act=x what=%s outcome=ok", rows[i].written);
        assert_string_equal(
            format(&(struct audit_entry){.act = "x", .what = rows[i].value, .outcome = AUDIT_OK}), expected);
        snprintf(expected, sizeof expected, "name=%s key=\"\" act=x outcome=ok", rows[i].written);
        assert_string_equal(
            format(&(struct audit_entry){.name = rows[i].value, .act = "x", .outcome = AUDIT_OK}), expected);
    }
}

/* However long they are, what follows is there. */
static void test_long_values_end(void **state)
{
    static char much[100000];
    const char *line;

    (void)state;
    for (int i = 0; i < 2; i++) {
        memset(much, i == 0 ? 'a' : '\n', sizeof much - 1);
        line = format(&(struct audit_entry){.name = much,
                                            .act = much,
                                            .what = much,
                                            .more = {{"a", much}, {"b", much}, {"c", much}},
                                            .outcome = AUDIT_DENIED,
                                            .error = much});
        assert_true(strlen(line) < AUDIT_LINE);
        assert_non_null(strstr(line, "…\" outcome=denied error=\""));
        assert_string_equal(line + strlen(line) - strlen("…\""), "…\"");
        assert_null(strchr(line, '\n'));
    }
}

/* The file */

static char dir[256], path[288];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s/audit-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/audit.log", dir);
    return 0;
}

static int tear_down(void **state)
{
    char command[288];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* Its text without the times, which are checked; valid until the next call. */
static const char *content(const char *file)
{
    static char text[65536];
    FILE *f = fopen(file, "r");
    char line[AUDIT_LINE + 64];
    int year, month, day, hour, minute, second, ms, at;
    size_t n = 0;

    assert_non_null(f);
    *text = '\0';
    while (fgets(line, sizeof line, f) != NULL) {
        at = 0;
        assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute,
                                &second, &ms, &at),
                         7);
        assert_int_equal(at, 25);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", line + at);
    }
    fclose(f);
    return text;
}

static struct audit *open_audit(void)
{
    struct audit *a;
    struct tx_error e;

    assert_int_equal(audit_open(&a, path, &e), TX_OK);
    return a;
}

static void act(struct audit *a, const char *what)
{
    audit_write(a, 0, &(struct audit_entry){.name = "ops", .act = "forget", .what = what, .outcome = AUDIT_OK});
}

static void test_the_file(void **state)
{
    struct audit *a = open_audit();
    struct stat st;

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    act(a, "one");
    assert_string_equal(content(path), "name=ops key=\"\" act=forget what=one outcome=ok\n");
    audit_close(a);
    a = open_audit();
    act(a, "two");
    audit_close(a);
    assert_string_equal(content(path), "name=ops key=\"\" act=forget what=one outcome=ok\n"
                                       "name=ops key=\"\" act=forget what=two outcome=ok\n");
}

static void test_rotation(void **state)
{
    struct audit *a = open_audit();
    char old[296];

    (void)state;
    snprintf(old, sizeof old, "%s.1", path);
    act(a, "one");
    assert_int_equal(rename(path, old), 0);
    act(a, "two");
    audit_reopen(a);
    act(a, "three");
    audit_close(a);
    assert_string_equal(content(old), "name=ops key=\"\" act=forget what=one outcome=ok\n"
                                      "name=ops key=\"\" act=forget what=two outcome=ok\n");
    assert_string_equal(content(path), "name=ops key=\"\" act=forget what=three outcome=ok\n");
}

/* What the daemon logs meanwhile. */
static char logged[8192];

static void keep_line(void *arg, const char *line)
{
    (void)arg;
    strncat(logged, line, sizeof logged - strlen(logged) - 2);
    strcat(logged, "\n");
}

static void divert(void)
{
    *logged = '\0';
    log_divert(keep_line, NULL);
}

/* Where the new file cannot be had, the old one is better than none. */
static void test_rotation_fails(void **state)
{
    struct audit *a = open_audit();

    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    divert();
    audit_reopen(a);
    act(a, "one");
    audit_close(a);
    log_divert(NULL, NULL);
    assert_non_null(strstr(logged, " error event=audit-failed "));
    assert_non_null(strstr(logged, path));
    assert_null(strstr(logged, "what=one"));
}

static void test_no_such_file(void **state)
{
    struct audit *a;
    struct tx_error e;

    (void)state;
    assert_int_equal(audit_open(&a, dir, &e), TX_EIO);
    assert_non_null(strstr(e.msg, dir));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(audit_open(&a, path, &e), TX_EIO);
    assert_int_equal(audit_open(&a, "/dev/null", &e), TX_EINVAL);
    assert_non_null(strstr(e.msg, "/dev/null"));
}

static void test_without_a_file(void **state)
{
    struct audit *a;
    struct tx_error e;

    (void)state;
    assert_int_equal(audit_open(&a, NULL, &e), TX_OK);
    divert();
    act(a, "one");
    audit_write(a, 0, &(struct audit_entry){.act = "DECIDE", .key = key_one, .outcome = AUDIT_DENIED});
    audit_reopen(a);
    audit_close(a);
    log_divert(NULL, NULL);
    assert_non_null(strstr(logged, " audit event=audit name=ops key=\"\" act=forget what=one outcome=ok\n"));
    assert_non_null(strstr(logged, " audit event=audit name=\"\" key=AQAAAAAA act=DECIDE outcome=denied\n"));
}

/* A disk without room: the log has the line, and the file goes on readable when there is room again. */
static void test_a_full_disk(void **state)
{
    struct audit *a = open_audit();
    struct rlimit before, full = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    char text[4096];
    ssize_t n;
    int fd;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full.rlim_max = before.rlim_max;
    act(a, "one");
    divert();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    act(a, "two");   /* in part */
    act(a, "three"); /* not at all */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    act(a, "four");
    audit_close(a);
    log_divert(NULL, NULL);
    assert_non_null(strstr(logged, " error event=audit-failed "));
    assert_non_null(strstr(logged, " audit event=audit name=ops key=\"\" act=forget what=two outcome=ok\n"));
    assert_non_null(strstr(logged, " audit event=audit name=ops key=\"\" act=forget what=three outcome=ok\n"));
    fd = open(path, O_RDONLY);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 100);
    text[n] = '\0';
    assert_non_null(strstr(text, "what=one outcome=ok\n"));
    assert_null(strstr(text, "three"));
    assert_non_null(strstr(text, "Z name=ops key=\"\" act=forget what=four outcome=ok\n"));
    assert_int_equal(text[100], '\n');
}

/* What is denied */

static void deny(struct audit *a, uint64_t now, const char *name, const uint8_t *key, const char *act)
{
    audit_write(a, now,
                &(struct audit_entry){
                    .name = name, .key = key, .act = act, .outcome = AUDIT_DENIED, .error = "why not"});
}

#define DENIED(act) "name=eve key=AQAAAAAA act=" act " outcome=denied error=\"why not\"\n"
#define DENIED_AGAIN(act, count) \
    "name=eve key=AQAAAAAA act=" act " outcome=denied count=" count " error=\"why not\"\n"

static void test_the_same_again_is_counted(void **state)
{
    struct audit *a = open_audit();

    (void)state;
    for (int i = 0; i < 100; i++)
        deny(a, 5000, "eve", key_one, "DECIDE");
    deny(a, 5000, "eve", key_one, "PULL");
    audit_tick(a, 5999);
    assert_string_equal(content(path), DENIED("DECIDE") DENIED("PULL"));
    audit_tick(a, 6000);
    assert_string_equal(content(path), DENIED("DECIDE") DENIED("PULL") DENIED_AGAIN("DECIDE", "99"));
    /* It goes on, and is counted on. */
    deny(a, 6500, "eve", key_one, "DECIDE");
    audit_tick(a, 6999);
    assert_string_equal(content(path), DENIED("DECIDE") DENIED("PULL") DENIED_AGAIN("DECIDE", "99"));
    audit_tick(a, 7000);
    assert_string_equal(content(path), DENIED("DECIDE") DENIED("PULL") DENIED_AGAIN("DECIDE", "99")
                                           DENIED_AGAIN("DECIDE", "1"));
    /* After a second without it, it is a new one. */
    audit_tick(a, 8000);
    deny(a, 8001, "eve", key_one, "DECIDE");
    assert_string_equal(content(path), DENIED("DECIDE") DENIED("PULL") DENIED_AGAIN("DECIDE", "99")
                                           DENIED_AGAIN("DECIDE", "1") DENIED("DECIDE"));
    audit_close(a);
}

static void test_what_is_counted_is_told_at_the_end(void **state)
{
    struct audit *a = open_audit();

    (void)state;
    deny(a, 5000, "eve", key_one, "DECIDE");
    deny(a, 5001, "eve", key_one, "DECIDE");
    audit_close(a);
    assert_string_equal(content(path), DENIED("DECIDE") DENIED_AGAIN("DECIDE", "1"));
}

/* Acts are told each, refused ones too. */
static void test_acts_are_not_counted(void **state)
{
    struct audit *a = open_audit();

    (void)state;
    for (int i = 0; i < 2; i++)
        audit_write(a, 0, &(struct audit_entry){.name = "ops", .act = "forget", .outcome = AUDIT_REFUSED});
    assert_string_equal(content(path), "name=ops key=\"\" act=forget outcome=refused\n"
                                       "name=ops key=\"\" act=forget outcome=refused\n");
    audit_close(a);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

/* A new key a message, a thousand a second: a few lines; and those with a name are told of all the same. */
static void test_many_keys(void **state)
{
    struct audit *a = open_audit();
    uint8_t key[KEY_SIZE] = {9};
    const char *text;

    (void)state;
    for (int second = 0; second < 10; second++) {
        for (int i = 0; i < 1000; i++) {
            key[1] = (uint8_t)i;
            key[2] = (uint8_t)(i >> 8);
            deny(a, (uint64_t)second * 1000, NULL, key, "handshake");
        }
        audit_tick(a, (uint64_t)(second + 1) * 1000);
    }
    deny(a, 10000, "eve", key_one, "DECIDE");
    audit_close(a);
    text = content(path);
    assert_true(count(text, "\n") <= 10 * (AUDIT_REPEATS + 1) + 1);
    assert_int_equal(count(text, "act=others outcome=denied count=992 "), 10);
    assert_int_equal(count(text, DENIED("DECIDE")), 1);
}

/* Known ones that are denied much take no line from one that is denied once. */
static void test_many_known_keys(void **state)
{
    static const char *const acts[] = {"DECIDE", "PULL", "OUTCOME", "LOCATE", "HEARTBEAT", "admin"};
    struct audit *a = open_audit();
    uint8_t key[KEY_SIZE] = {9};
    char act[32];
    const char *text;

    (void)state;
    for (uint8_t i = 0; i < AUDIT_KEYS - 1; i++) {
        key[1] = i;
        for (size_t n = 0; n < sizeof acts / sizeof *acts; n++)
            deny(a, 5000, "mallory", key, acts[n]);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(act, sizeof act, "act%d", i);
        deny(a, 5000, "mallory", key, act);
    }
    deny(a, 5000, "eve", key_one, "DECIDE");
    key[1] = AUDIT_KEYS;
    deny(a, 5000, "late", key, "DECIDE"); /* one more than that is counted */
    text = content(path);
    assert_int_equal(count(text, "\n"), AUDIT_KEYS + AUDIT_REPEATS);
    assert_int_equal(count(text, "name=mallory key=CQAAAAAA act=DECIDE outcome=denied error="), 1);
    assert_int_equal(count(text, DENIED("DECIDE")), 1);
    assert_int_equal(count(text, "name=late"), 0);
    audit_tick(a, 6000);
    assert_true(count(content(path), "act=others outcome=denied count=") == 1);
    deny(a, 6000, "late", key, "DECIDE"); /* what has ended has made room */
    assert_int_equal(count(content(path), "name=late"), 1);
    audit_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_values_cannot_forge),
        cmocka_unit_test(test_long_values_end),
        cmocka_unit_test_setup_teardown(test_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_such_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_same_again_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_counted_is_told_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_acts_are_not_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_known_keys, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
