/* test_keys: key pairs and their files, keys files, roles and grants; security.h's settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtx/shared/security.h"

static char directory[128];

static const char *path_of(const char *name)
{
    static char path[sizeof directory + 64];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof directory, "%s/assent-keys-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(directory) == NULL || sodium_init() < 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"a.key", "b.key", "keys"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(directory);
}

static void test_a_key_pair_comes_back(void **state)
{
    struct identity made, read;
    struct tx_error e = {0};
    struct stat st;

    (void)state;
    identity_generate(&made);
    unlink(path_of("a.key"));
    assert_int_equal(identity_write(&made, path_of("a.key"), &e), TX_OK);
    assert_int_equal(stat(path_of("a.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(identity_load(&read, path_of("a.key"), &e), TX_OK);
    assert_memory_equal(&read, &made, sizeof made);
    assert_int_equal(identity_write(&made, path_of("a.key"), &e), TX_EIO);
    assert_non_null(strstr(e.msg, "never overwritten"));
}

static void test_a_secret_that_others_can_read_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0601, 0666};
    struct identity i;
    struct tx_error e = {0};

    (void)state;
    identity_generate(&i);
    unlink(path_of("b.key"));
    assert_int_equal(identity_write(&i, path_of("b.key"), &e), TX_OK);
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        assert_int_equal(chmod(path_of("b.key"), modes[m]), 0);
        assert_int_equal(identity_load(&i, path_of("b.key"), &e), TX_EREFUSED);
        assert_non_null(strstr(e.msg, "chmod 600"));
    }
    assert_int_equal(chmod(path_of("b.key"), 0400), 0);
    assert_int_equal(identity_load(&i, path_of("b.key"), &e), TX_OK);
}

static void test_what_is_no_key_file(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "assent-secret-key ",
        "assent-secret-key AAAA\n",
        "assent-secret-key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        "-----BEGIN PRIVATE KEY-----\n",
    };
    struct identity i;
    struct tx_error e = {0};

    (void)state;
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        write_file(path_of("b.key"), texts[n], 0600);
        assert_int_equal(identity_load(&i, path_of("b.key"), &e), TX_EINVAL);
        assert_non_null(strstr(e.msg, "keygen"));
    }
    unlink(path_of("b.key"));
    assert_int_equal(identity_load(&i, path_of("b.key"), &e), TX_EIO);
    assert_int_equal(identity_load(&i, directory, &e), TX_EINVAL);
}

static void test_text_of_a_key(void **state)
{
    struct identity i;
    char text[KEY_TEXT_SIZE], longer[KEY_TEXT_SIZE + 1];
    uint8_t key[KEY_SIZE];

    (void)state;
    identity_generate(&i);
    key_format(i.public_key, text);
    assert_int_equal(strlen(text), KEY_TEXT_SIZE - 1);
    assert_true(key_parse(text, key));
    assert_true(key_equal(key, i.public_key));
    snprintf(longer, sizeof longer, "%sA", text);
    assert_false(key_parse(longer, key));
    text[3] = '+'; /* not URL-safe */
    assert_false(key_parse(text, key));
    text[3] = '\0';
    assert_false(key_parse(text, key));
    for (int c = 0x80; c <= 0xff; c++) {
        text[3] = (char)c;
        assert_false(key_parse(text, key));
    }
}

static void test_roles(void **state)
{
    char text[ROLES_TEXT_SIZE];

    (void)state;
    for (unsigned roles = 1; roles <= ROLES_ALL; roles++) {
        roles_format(roles, text);
        assert_int_equal(roles_parse(text), roles);
    }
    assert_int_equal(roles_parse("agent,client"), ROLE_CLIENT | ROLE_AGENT);
    assert_int_equal(roles_parse(""), 0);
    assert_int_equal(roles_parse("client,"), 0);
    assert_int_equal(roles_parse(",client"), 0);
    assert_int_equal(roles_parse("clients"), 0);
    assert_int_equal(roles_parse("root"), 0);
}

static void test_grants(void **state)
{
    char longest[KEY_GRANT_LIMIT + 2];
    struct tx_error e;

    (void)state;
    assert_true(grant_has("*", "bank_a"));
    assert_true(grant_has("bank_a", "bank_a"));
    assert_true(grant_has("x,bank_a,y", "bank_a"));
    assert_false(grant_has("x,bank_a,y", "bank"));
    assert_false(grant_has("x,bank_a,y", "bank_a,y"));
    assert_false(grant_has("bank_ab", "bank_a"));
    assert_false(grant_has("", "bank_a"));
    assert_false(grant_has("", ""));
    assert_false(grant_has("*", ""));
    assert_false(grant_has(NULL, "bank_a"));
    assert_int_equal(grant_check("*", &e), TX_OK);
    assert_int_equal(grant_check("a,b,c", &e), TX_OK);
    assert_int_equal(grant_check("a,,c", &e), TX_EINVAL);
    assert_int_equal(grant_check("a,*", &e), TX_EINVAL);
    assert_int_equal(grant_check("a b", &e), TX_EINVAL);
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(grant_check(longest, &e), TX_EINVAL);
}

#define K1 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI"
#define K2 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"

static void test_a_keys_file(void **state)
{
    struct keyring r;
    struct tx_error e;
    uint8_t key[KEY_SIZE];

    (void)state;
    write_file(path_of("keys"),
               "# who is who\n\n  node1   coordinator " K1 "\t# the first\nbank client,agent " K2 " a,b\n",
               0644);
    assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_OK);
    assert_int_equal(r.n, 2);
    assert_string_equal(r.entries[0].name, "node1");
    assert_int_equal(r.entries[0].roles, ROLE_COORDINATOR);
    assert_string_equal(r.entries[1].grant, "a,b");
    assert_true(key_parse(K2, key));
    assert_ptr_equal(keyring_find(&r, key), &r.entries[1]);
    key[0] = 9;
    assert_null(keyring_find(&r, key));
    keyring_release(&r);
}

static void test_what_a_keys_file_says_wrongly(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"node1\n", "keys:1: write NAME ROLE"},
        {"\nnode1 coordinator\n", "keys:2: write NAME ROLE"},
        {"no/de coordinator " K1 "\n", "is no name"},
        {"node1 boss " K1 "\n", "roles are client"},
        {"node1 coordinator AAAA\n", "no public key"},
        {"node1 coordinator " K1 " a\n", "for the role agent alone"},
        {"bank agent " K1 "\n", "needs the resources"},
        {"bank agent " K1 " a, b\n", "is too much"},
        {"bank agent " K1 " a,,b\n", "no name of a resource"},
        {"a client " K1 "\nb client " K1 "\n", "keys:2: the key of b is there twice"},
    };
    struct keyring r;
    struct tx_error e;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path_of("keys"), cases[i].text, 0644);
        assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_EINVAL);
        if (strstr(e.msg, cases[i].says) == NULL)
            fail_msg("«%s» is not in «%s»", cases[i].says, e.msg);
    }
    unlink(path_of("keys"));
    assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_EIO);
}

/* What stands far behind in a line is no line of its own: neither of a comment, nor of an entry. */
static void test_a_long_line(void **state)
{
    static const char entry[] = "evil operator " K1;
    char text[2048];
    struct keyring r;
    struct tx_error e;

    (void)state;
    for (size_t blanks = 1000; blanks < 1040; blanks++) {
        snprintf(text, sizeof text, "#%*s\n", (int)(blanks + sizeof entry), entry);
        write_file(path_of("keys"), text, 0644);
        assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_OK);
        assert_int_equal(r.n, 0);
        keyring_release(&r);
        snprintf(text, sizeof text, "bank client " K2 "%*s\n", (int)(blanks + sizeof entry), entry);
        write_file(path_of("keys"), text, 0644);
        assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_EINVAL);
    }
}

static void test_a_nul_byte(void **state)
{
    FILE *f = fopen(path_of("keys"), "w");
    struct keyring r;
    struct tx_error e;

    (void)state;
    assert_non_null(f);
    fprintf(f, "node1 coordinator " K1 "%c revoked\n", '\0');
    fclose(f);
    assert_int_equal(keyring_load(&r, path_of("keys"), &e), TX_EINVAL);
    assert_non_null(strstr(e.msg, "keys:1: a NUL byte"));
}

static void test_a_line_comes_back(void **state)
{
    struct key_entry entry = {.roles = ROLE_AGENT, .name = "bank", .grant = "a,b"}, back;
    char line[1024];
    struct tx_error e;

    (void)state;
    entry.key[5] = 77;
    key_entry_format(&entry, line, sizeof line);
    assert_int_equal(key_entry_parse(line, &back, &e), TX_OK);
    assert_memory_equal(&back, &entry, sizeof entry);
}

static void test_addresses_of_this_machine(void **state)
{
    static const char *const local[] = {"tcp://127.0.0.1:7401", "tcp://127.1.2.3:1", "tcp://localhost:1",
                                        "tcp://[::1]:1", "ipc:///run/a.sock"};
    static const char *const other[] = {
        "tcp://10.0.0.1:1",     "tcp://*:7401",        "tcp://127.0.0.1.evil.org:1",
        "tcp://127.evil.org:1", "tcp://localhost.x:1", "tcp://127.0.0.1;10.0.0.1:1",
        "tcp://0.0.0.0:1",      "ws://127.0.0.1:1"};

    (void)state;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        assert_true(security_is_local(local[i]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_false(security_is_local(other[i]));
}

static void test_settings(void **state)
{
    struct security_options o = {.purpose = "txagentd", .keys = path_of("keys")};
    struct security s;
    struct identity i;
    struct tx_error e;
    char keys[256], key[256];

    (void)state;
    snprintf(keys, sizeof keys, "%s", path_of("keys"));
    snprintf(key, sizeof key, "%s", path_of("b.key"));
    o.keys = keys;
    assert_int_equal(security_open(&s, &o, &e), TX_EINVAL);
    assert_non_null(strstr(e.msg, "txadmin keygen"));
    o.identity = key;
    unlink(key);
    unlink(keys);
    assert_int_equal(security_open(&s, &o, &e), TX_EIO);
    assert_non_null(strstr(e.msg, "identity: "));
    identity_generate(&i);
    assert_int_equal(identity_write(&i, key, &e), TX_OK);
    assert_int_equal(security_open(&s, &o, &e), TX_EIO);
    assert_non_null(strstr(e.msg, "keys: "));
    write_file(keys, "node1 coordinator " K1 "\n", 0644);
    assert_int_equal(security_open(&s, &o, &e), TX_OK);
    assert_int_equal(s.ring.n, 1);
    assert_int_equal(security_check_address(&s, "listen", "tcp://10.0.0.1:1", &e), TX_OK);
    security_release(&s);
    o = (struct security_options){.insecure = true, .purpose = "txagentd"};
    assert_int_equal(security_open(&s, &o, &e), TX_OK);
    assert_int_equal(security_check_address(&s, "listen", NULL, &e), TX_OK);
    assert_int_equal(security_check_address(&s, "listen", "tcp://127.0.0.1:1,tcp://localhost:2", &e), TX_OK);
    assert_int_equal(security_check_address(&s, "listen", "tcp://127.0.0.1:1,tcp://10.0.0.1:2", &e),
                     TX_EREFUSED);
    assert_non_null(strstr(e.msg, "«tcp://10.0.0.1:2» is not a loopback address"));
    security_release(&s);
}

static int from_environment(const char *insecure, struct security_options *o)
{
    struct tx_error e;

    setenv("ASSENT_INSECURE", insecure, 1);
    return security_environment(o, &e);
}

/* What is not given comes from the environment; and no slip there turns encryption off. */
static void test_environment(void **state)
{
    struct security_options o = {.purpose = "test"}, given = {.identity = "given", .purpose = "test"};

    (void)state;
    setenv("ASSENT_IDENTITY", "mine.key", 1);
    setenv("ASSENT_KEYS", "", 1);
    assert_int_equal(from_environment("no", &o), TX_OK);
    assert_string_equal(o.identity, "mine.key");
    assert_null(o.keys);
    assert_false(o.insecure);
    setenv("ASSENT_KEYS", "keys", 1);
    assert_int_equal(from_environment("yes", &given), TX_OK);
    assert_string_equal(given.identity, "given");
    assert_string_equal(given.keys, "keys");
    assert_false(given.insecure);
    for (size_t i = 0; i < 4; i++) {
        o = (struct security_options){.purpose = "test"};
        assert_int_equal(from_environment((const char *[]){"1", "true", "yes", "on"}[i], &o), TX_OK);
        assert_true(o.insecure);
    }
    o = (struct security_options){.purpose = "test"};
    assert_int_equal(from_environment("maybe", &o), TX_EINVAL);
    assert_false(o.insecure);
    unsetenv("ASSENT_IDENTITY");
    unsetenv("ASSENT_KEYS");
    unsetenv("ASSENT_INSECURE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_pair_comes_back),
        cmocka_unit_test(test_a_secret_that_others_can_read_is_refused),
        cmocka_unit_test(test_what_is_no_key_file),
        cmocka_unit_test(test_text_of_a_key),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_a_keys_file),
        cmocka_unit_test(test_what_a_keys_file_says_wrongly),
        cmocka_unit_test(test_a_long_line),
        cmocka_unit_test(test_a_nul_byte),
        cmocka_unit_test(test_a_line_comes_back),
        cmocka_unit_test(test_addresses_of_this_machine),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_environment),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
