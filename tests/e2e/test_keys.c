/* test_keys: the life of a key: made, added, used, changed for another, revoked; and who has none, a wrong one,
 * or none that the coordinator would have to believe. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/keys_kit.h"

static struct line line; /* large */

static int open_group(void **state)
{
    (void)state;
    open_world("keys");
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    return world_free(world, false) ? 0 : -1;
}

static void restart(void)
{
    assert_int_equal(world_process_stop(coordinator), 0);
    world_process_start_ready(coordinator, NULL);
}

/* Files */

static const char *in_world(const char *name, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%s/%s", world_dir(world), name);
    return out;
}

static void test_keygen(void **state)
{
    char file[WORLD_PATH_SIZE], text[KEY_TEXT_SIZE], line_text[256];
    struct key_entry entry;
    struct world_output o;
    struct stat st;

    (void)state;
    in_world("made.key", file);
    o = world_admin(world, WORLD_ARGS("keygen", file, "--name", "bank_a", "--role", "agent", "--resources",
                                      "bank_a,bank_b"));
    assert_int_equal(o.code, DONE);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    key_of("made", text);
    snprintf(line_text, sizeof line_text,
             "# for a keys file; or at run time: txadmin key add bank_a agent %s bank_a,bank_b\n"
             "bank_a agent %s bank_a,bank_b\n",
             text, text);
    assert_string_equal(o.text, line_text);
    assert_int_equal(key_entry_parse(strchr(o.text, '\n') + 1, &entry, NULL), TX_OK);
    world_output_release(&o);
    assert_admin(WORLD_ARGS("key", "show", file), DONE, text);
    assert_admin(WORLD_ARGS("keygen", file), REFUSED, "never overwritten");
    assert_admin(WORLD_ARGS("key", "show", file), DONE, text);
    assert_admin(WORLD_ARGS("keygen", in_world("other.key", file), "--name", "a"), USAGE, "--role");
    assert_admin(WORLD_ARGS("keygen", file, "--name", "a", "--role", "king"), USAGE, "operator");
    assert_admin(WORLD_ARGS("keygen", file, "--name", "a", "--role", "agent"), USAGE, "resources");
    assert_int_equal(access(file, F_OK), -1);
    assert_admin(WORLD_ARGS("keygen", in_world("no/such/dir", file)), REFUSED, "no/such/dir");
}

static void test_a_key_that_others_can_read(void **state)
{
    char file[WORLD_PATH_SIZE], text[KEY_TEXT_SIZE];

    (void)state;
    world_identity_make(world, "open", text);
    assert_int_equal(chmod(world_identity(world, "open", file), 0644), 0);
    assert_status_as("open", USAGE, "chmod 600");
    assert_admin(WORLD_ARGS("key", "show", file), REFUSED, "chmod 600");
}

/* Who is not let in */

static void test_a_wrong_key(void **state)
{
    char text[KEY_TEXT_SIZE], words[128];

    (void)state;
    world_identity_make(world, "eve", text);
    assert_status_as("eve", DENIED, "does not know this program's key|txadmin key add");
    snprintf(words, sizeof words, "key=%.8s act=handshake outcome=denied", text);
    assert_true(audited(words) > 0);
    assert_false(line_open(&line, "eve"));
    assert_non_null(strstr(channel_why(&line.channel), "does not know"));
    line_close(&line);
}

/* The other way round: whoever answers there has to prove that he is a coordinator. */
static void test_a_coordinator_that_is_not_believed(void **state)
{
    char keys[WORLD_PATH_SIZE], text[KEY_TEXT_SIZE], entry[256];
    FILE *f = fopen(in_world("other-keys", keys), "w");

    (void)state;
    assert_non_null(f);
    snprintf(entry, sizeof entry, "elsewhere coordinator %s\nnode_0 client %s\n", key_of("node_5", text),
             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI");
    fputs(entry, f);
    fclose(f);
    assert_admin(WORLD_ARGS("--keys", keys, "status"), DENIED, "is not in the keys file");
    /* It is there, but as something else. */
    f = fopen(keys, "w");
    snprintf(entry, sizeof entry, "node_0 client %s\n", key_of("node_0", text));
    fputs(entry, f);
    fclose(f);
    assert_admin(WORLD_ARGS("--keys", keys, "status"), DENIED, "is not in the keys file, or not with the role");
}

static void test_clear_text(void **state)
{
    (void)state;
    assert_admin(WORLD_ARGS("--insecure", "status"), DENIED, "takes no clear text");
    assert_admin(WORLD_ARGS("--insecure", "--coordinators", "tcp://192.0.2.1:7401", "status"), USAGE,
                 "loopback");
}

/* Added, and revoked */

static void test_a_key_is_added_while_it_runs(void **state)
{
    char text[KEY_TEXT_SIZE], words[256];

    (void)state;
    world_identity_make(world, "guest", text);
    assert_status_as("guest", DENIED, "does not know");
    assert_admin(WORLD_ARGS("key", "add", "guest", "observer", text), DONE, "guest");
    assert_status_as("guest", DONE, "leader");
    assert_admin(WORLD_ARGS("key", "list"), DONE, text);
    snprintf(words, sizeof words, "act=key_add what=guest public=%s roles=observer outcome=ok", text);
    assert_int_equal(audited(words), 1);
    /* The same again, as somebody else, as something else. */
    assert_admin(WORLD_ARGS("key", "add", "guest", "observer", text), REFUSED, "there already");
    assert_admin(WORLD_ARGS("key", "add", "visitor", "operator", text), REFUSED, "there already");
    assert_status_as("guest", DONE, "leader");
    restart();
    assert_status_as("guest", DONE, "leader");
}

static void test_what_is_no_key(void **state)
{
    char text[KEY_TEXT_SIZE];

    (void)state;
    key_of("guest", text);
    assert_admin(WORLD_ARGS("key", "add", "x", "observer", "no-key"), USAGE, "no public key");
    assert_admin(WORLD_ARGS("key", "add", "x", "king", text), USAGE, "roles are");
    assert_admin(WORLD_ARGS("key", "add", "x", "agent", text), USAGE, "resources");
    assert_admin(WORLD_ARGS("key", "add", "x", "client", text, "bank_a"), USAGE, "agent alone");
    assert_admin(WORLD_ARGS("key", "add", "x y", "client", text), USAGE, "");
    assert_admin(WORLD_ARGS("key", "revoke", "nobody", "--yes"), REFUSED, "no active key");
    assert_admin(WORLD_ARGS("key", "revoke", "guest"), USAGE, "--yes");
    assert_admin(WORLD_ARGS("key", "dance"), USAGE, "help key");
}

/* As txadmin lists it. */
static bool session_is(uint64_t id, const char *state)
{
    cJSON *answer = world_admin_json(world, WORLD_ARGS("sessions"), NULL), *s;
    bool is = false;

    cJSON_ArrayForEach(s, cJSON_GetObjectItem(answer, "sessions"))
    {
        is = is || ((uint64_t)cJSON_GetNumberValue(cJSON_GetObjectItem(s, "session")) == id &&
                    strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(s, "state")), state) == 0);
    }
    cJSON_Delete(answer);
    return is;
}

/* At once: a session that is open expires, whatever comes on a line that is open is denied, and no other is let
 * in. */
static void test_a_key_is_revoked(void **state)
{
    struct wire_message beat = {.type = WIRE_HEARTBEAT, .heartbeat = {.nonce = 41}};
    const struct wire_message *m;
    char text[KEY_TEXT_SIZE], words[128];

    (void)state;
    add_key("shop", "shop", "client", NULL);
    assert_true(line_open(&line, "shop"));
    beat.heartbeat.session = open_session(&line, 41);
    assert_true(session_is(beat.heartbeat.session, "open"));
    assert_admin(WORLD_ARGS("key", "revoke", "shop", "--yes"), DONE, "Revoked: shop");
    assert_true(session_is(beat.heartbeat.session, "expired"));
    m = line_ask(&line, &beat, 1000);
    assert_true(m != NULL && is_denied(m));
    line_close(&line);
    assert_false(line_open(&line, "shop"));
    line_close(&line);
    snprintf(words, sizeof words, "name=shop key=%.8s act=", key_of("shop", text)); /* though it is revoked */
    assert_true(audited(words) > 1);
    assert_admin(WORLD_ARGS("key", "list"), DONE, "revoked");
    assert_admin(WORLD_ARGS("key", "add", "shop", "client", key_of("shop", text)), REFUSED, "revoked");
    restart();
    assert_false(line_open(&line, "shop"));
    line_close(&line);
}

/* One that stands in the coordinator's own keys file. */
static void test_a_file_does_not_bring_it_back(void **state)
{
    (void)state;
    assert_status_as("observer", DONE, "leader");
    assert_admin(WORLD_ARGS("key", "revoke", "observer", "--yes"), DONE, "Revoked: observer");
    assert_status_as("observer", DENIED, "does not know");
    restart();
    assert_status_as("observer", DENIED, "does not know");
}

/* As an operator's, in the file that the coordinator begins with. */
static void write_down(const char *name, const char *key)
{
    char keys[WORLD_PATH_SIZE];
    FILE *f = fopen(world_keys(world, keys), "a");

    assert_non_null(f);
    fprintf(f, "%s operator %s\n", name, key);
    fclose(f);
}

/* One that was stolen before anybody added it. */
static void test_a_key_that_nobody_knows_is_revoked(void **state)
{
    char text[KEY_TEXT_SIZE];

    (void)state;
    world_identity_make(world, "stolen", text);
    assert_admin(WORLD_ARGS("key", "revoke", text, "--yes"), DONE, text);
    assert_admin(WORLD_ARGS("key", "add", "thief", "operator", text), REFUSED, "revoked");
    write_down("thief", text);
    restart();
    assert_status_as("stolen", DENIED, "does not know");
}

static void test_rotation(void **state)
{
    char old[KEY_TEXT_SIZE], text[KEY_TEXT_SIZE];

    (void)state;
    add_key("watch_1", "watch", "observer", NULL);
    add_key("watch_2", "watch", "observer", NULL);
    assert_status_as("watch_1", DONE, "leader");
    assert_status_as("watch_2", DONE, "leader");
    assert_admin(WORLD_ARGS("key", "revoke", key_of("watch_1", old), "--yes"), DONE, old);
    assert_status_as("watch_1", DENIED, "does not know");
    assert_status_as("watch_2", DONE, "leader");
    /* A name is one caller: its keys may do the same. */
    world_identity_make(world, "watch_3", text);
    assert_admin(WORLD_ARGS("key", "add", "watch", "operator", text), REFUSED, "other roles");
    /* By its name all of it goes. */
    assert_admin(WORLD_ARGS("key", "revoke", "watch", "--yes"), DONE, key_of("watch_2", text));
    assert_status_as("watch_2", DENIED, "does not know");
    /* And the name is free. */
    assert_admin(WORLD_ARGS("key", "add", "watch", "operator", key_of("watch_3", text)), DONE, "watch");
    assert_admin(WORLD_ARGS("key", "revoke", "watch", "--yes"), DONE, text);
}

static void test_doctor_on_keys(void **state)
{
    char keys[WORLD_PATH_SIZE], mine[WORLD_PATH_SIZE + 16];
    struct world_output copied;

    (void)state;
    world_keys(world, keys);
    snprintf(mine, sizeof mine, "%s.mine", keys);
    copied = world_run(world, WORLD_ARGS("/bin/cp", keys, mine));
    assert_int_equal(copied.code, 0);
    world_output_release(&copied);
    assert_admin(WORLD_ARGS("doctor"), DONE, "operators have 1 keys|txadmin key add");
    assert_int_equal(chmod(keys, 0666), 0);
    assert_admin(WORLD_ARGS("doctor"), USAGE, "others than its owner may write this file");
    assert_admin(WORLD_ARGS("doctor", "--keys", mine), FINDINGS, "this node will not");
    assert_int_equal(chmod(keys, 0644), 0);
}

/* Last of all: it locks the test out, and shows the way back in. */
static void test_the_last_operator(void **state)
{
    char text[KEY_TEXT_SIZE];

    (void)state;
    assert_admin(WORLD_ARGS("key", "revoke", "operator", "--yes"), REFUSED, "last");
    assert_admin(WORLD_ARGS("key", "revoke", "operator", "--yes", "--force"), DONE, "Revoked: operator");
    assert_admin(WORLD_ARGS("status"), DENIED, "does not know");
    world_identity_make(world, "successor", text);
    write_down("successor", text);
    restart();
    assert_status_as("successor", DONE, "leader");
    assert_status_as("operator", DENIED, "does not know");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keygen),
        cmocka_unit_test(test_a_key_that_others_can_read),
        cmocka_unit_test(test_a_wrong_key),
        cmocka_unit_test(test_a_coordinator_that_is_not_believed),
        cmocka_unit_test(test_clear_text),
        cmocka_unit_test(test_a_key_is_added_while_it_runs),
        cmocka_unit_test(test_what_is_no_key),
        cmocka_unit_test(test_a_key_is_revoked),
        cmocka_unit_test(test_a_file_does_not_bring_it_back),
        cmocka_unit_test(test_a_key_that_nobody_knows_is_revoked),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_doctor_on_keys),
        cmocka_unit_test(test_the_last_operator),
    };

    (void)argc;
    (void)argv;
    return cmocka_run_group_tests(tests, open_group, close_group);
}
