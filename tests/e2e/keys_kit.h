/* keys_kit: what the tests of keys and roles share: a coordinator that is alone and keeps an audit, txadmin
 * with whatever key, and lines of the test's own, on which it sends what it likes. Included by one file of a
 * program.
 */
#ifndef ASSENT_TESTS_KEYS_KIT_H
#define ASSENT_TESTS_KEYS_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"
#include "libtx/shared/wire.h"
#include "tests/lib/world.h"

/* txadmin's exit codes, as its manual page has them. */
enum { DONE, REFUSED, USAGE, FINDINGS, SILENCE, DENIED };

enum { LINE_MS = 5000 /* for a line to be ready, or refused */ };

static struct world *world;
static struct world_process *coordinator;

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

static inline const char *audit_path(char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%s/audit.log", world_dir(world));
    return out;
}

static inline void open_world(const char *name)
{
    struct world_options options = {.name = name, .fail = fail_test};
    char path[WORLD_PATH_SIZE];

    world = world_new(&options);
    coordinator = world_coordinator_new(world, "coordinator", WORLD_ARGS("--audit_log", audit_path(path)));
    world_process_start_ready(coordinator, NULL);
}

/* txadmin */

/* It ends with this code and says each of words, separated by «|». */
static inline void assert_admin(const char *const *args, int code, const char *words)
{
    struct world_output o = world_admin(world, args);
    char copy[512], *rest = copy, *word;

    snprintf(copy, sizeof copy, "%s", words);
    if (o.code != code)
        fail_msg("txadmin %s %s ended with %d: %s%s", args[0], args[1] != NULL ? args[1] : "", o.code, o.text,
                 o.error);
    while ((word = strsep(&rest, "|")) != NULL) {
        if (strstr(o.text, word) == NULL && strstr(o.error, word) == NULL)
            fail_msg("txadmin %s does not say «%s»: %s%s", args[0], word, o.text, o.error);
    }
    world_output_release(&o);
}

/* With this key. */
static inline void assert_status_as(const char *who, int code, const char *words)
{
    char path[WORLD_PATH_SIZE];

    assert_admin(WORLD_ARGS("--identity", world_identity(world, who, path), "status"), code, words);
}

/* Makes a key and has an operator add it. */
static inline void add_key(const char *file, const char *name, const char *role, const char *resources)
{
    char text[KEY_TEXT_SIZE];

    world_identity_make(world, file, text);
    assert_admin(WORLD_ARGS("key", "add", name, role, text, resources), DONE, name);
}

static inline const char *key_of(const char *who, char text[KEY_TEXT_SIZE])
{
    char path[WORLD_PATH_SIZE];
    struct identity identity;
    struct tx_error e;

    if (identity_load(&identity, world_identity(world, who, path), &e) != TX_OK)
        fail_msg("%s", e.msg);
    key_format(identity.public_key, text);
    return text;
}

/* The audit */

/* Lines with all of these words, separated by «|». */
static inline unsigned audited(const char *words)
{
    char path[WORLD_PATH_SIZE], line[8192], copy[512], *rest, *word;
    FILE *f = fopen(audit_path(path), "r");
    unsigned n = 0;

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        bool all = true;

        snprintf(copy, sizeof copy, "%s", words);
        for (rest = copy; (word = strsep(&rest, "|")) != NULL;)
            all = all && strstr(line, word) != NULL;
        n += all;
    }
    fclose(f);
    return n;
}

/* Lines of the test's own */

struct line {
    struct security security;
    struct channel_security speaks;
    struct channel channel;
    uint32_t id;
    struct channel_message in; /* of the last answer */
    bool answered;
    struct wire_message answer;
    struct wire_scratch scratch;
};

static inline bool believes_all(void *ctx, const uint8_t key[KEY_SIZE])
{
    (void)ctx;
    (void)key;
    return true;
}

/* Takes what comes, as a caller has to for its handshake; true: it is an answer to the last request. */
static inline bool line_take(struct line *l)
{
    while (channel_receive(&l->channel, &l->in) == 1) {
        if (l->in.id == l->id)
            return true;
        channel_release(&l->in);
    }
    return false;
}

static inline bool line_settled(void *arg)
{
    struct line *l = arg;

    if (channel_ready(&l->channel))
        return true;
    (void)line_take(l);
    return *channel_why(&l->channel) != '\0';
}

/* As whom; whether the coordinator lets it in. */
static inline bool line_open(struct line *l, const char *who)
{
    char identity[WORLD_PATH_SIZE], keys[WORLD_PATH_SIZE];
    const struct security_options options = {.identity = world_identity(world, who, identity),
                                             .keys = world_keys(world, keys),
                                             .purpose = "the test"};
    struct tx_error e;

    memset(l, 0, sizeof *l);
    if (security_open(&l->security, &options, &e) != TX_OK)
        fail_msg("%s", e.msg);
    l->speaks = (struct channel_security){.self = &l->security.self, .accept = believes_all};
    assert_int_equal(channel_dial(&l->channel, world_coordinators(world), MESSAGE_LIMIT, &l->speaks, &e),
                     TX_OK);
    if (!world_wait(LINE_MS, line_settled, l))
        fail_msg("nobody answers %s", who);
    return *channel_why(&l->channel) == '\0';
}

static inline bool line_answered(void *arg)
{
    return line_take(arg);
}

static inline void line_forget(struct line *l)
{
    if (l->answered)
        channel_release(&l->in);
    l->answered = false;
}

/* The answer, good until the next one; NULL: none within the time. */
static inline const struct wire_message *line_ask(struct line *l, const struct wire_message *m, unsigned ms)
{
    struct buf out;
    struct tx_error e;

    line_forget(l);
    buf_init(&out);
    assert_int_equal(wire_encode(m, &out), TX_OK);
    if (channel_send(&l->channel, ++l->id, out.data, out.len) == TX_OK)
        l->answered = world_wait(ms, line_answered, l);
    buf_release(&out);
    if (!l->answered)
        return NULL;
    if (wire_decode(&l->answer, l->in.data, l->in.len, &l->scratch, &e) != TX_OK)
        fail_msg("%s", e.msg);
    return &l->answer;
}

static inline void line_close(struct line *l)
{
    line_forget(l);
    channel_close(&l->channel);
    security_release(&l->security);
}

static inline bool is_denied(const struct wire_message *m)
{
    return m != NULL && m->type == WIRE_ERROR && m->error.code == TX_EDENIED;
}

static inline uint64_t open_session(struct line *l, uint64_t nonce)
{
    const struct wire_message open = {
        .type = WIRE_OPEN_SESSION,
        .open_session = {
            .nonce = nonce, .session_timeout_ms = 60000, .transaction_timeout_ms = 60000, .name = "test"}};
    const struct wire_message *m = line_ask(l, &open, LINE_MS);

    if (m == NULL || m->type != WIRE_SESSION)
        fail_msg("no session is opened: %s", m != NULL && m->type == WIRE_ERROR ? m->error.text : "no answer");
    return m->session.session;
}

#endif
