/* test_clients: whose keys an agent takes for a client's; and how much it writes of what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "libtx/shared/log.h"
#include "participant/clients.h"
#include "participant/denials.h"

enum { MANY = KEY_LIMIT };

static uint8_t keys[MANY][KEY_SIZE];
static struct wire_client_key list[MANY];

static struct gone {
    const struct clients *clients;
    unsigned n;
    uint8_t key[KEY_SIZE];
} gone;

static void note_gone(void *arg, const uint8_t key[KEY_SIZE])
{
    struct gone *g = arg;

    g->n++;
    memcpy(g->key, key, KEY_SIZE);
    assert_null(clients_name(g->clients, key));
}

static int set_up(void **state)
{
    (void)state;
    memset(&gone, 0, sizeof gone);
    for (unsigned i = 0; i < MANY; i++) {
        keys[i][0] = (uint8_t)i;
        keys[i][1] = (uint8_t)(i >> 8);
        keys[i][KEY_SIZE - 1] = 1;
        list[i] = (struct wire_client_key){keys[i], i < 2 ? "shop" : "others"};
    }
    return 0;
}

static void take(struct clients *c, uint64_t version, const struct wire_client_key *clients, size_t n)
{
    const struct wire_work work = {.keys_version = version, .clients = clients, .n_clients = n};
    struct tx_error e;

    gone.clients = c;
    assert_int_equal(clients_take(c, &work, note_gone, &gone, &e), TX_OK);
}

static void knows_whom_it_was_told(void **state)
{
    struct clients c = {0};

    (void)state;
    assert_null(clients_name(&c, keys[0]));
    take(&c, 7, list, MANY);
    assert_int_equal(c.version, 7);
    assert_string_equal(clients_name(&c, keys[1]), "shop");
    assert_string_equal(clients_name(&c, keys[MANY - 1]), "others");
    take(&c, 0, NULL, 0); /* brings none: they are as before */
    assert_int_equal(c.version, 7);
    assert_non_null(clients_name(&c, keys[1]));
    assert_int_equal(gone.n, 0);
    clients_release(&c);
}

static void tells_who_is_gone(void **state)
{
    const struct wire_client_key twice[] = {list[0], list[0]};
    struct clients c = {0};

    (void)state;
    take(&c, 1, list, 3);
    take(&c, 2, list + 1, 3);
    assert_int_equal(gone.n, 1);
    assert_memory_equal(gone.key, keys[0], KEY_SIZE);
    take(&c, 3, twice, 2);
    assert_int_equal(gone.n, 4);
    assert_string_equal(clients_name(&c, keys[0]), "shop");
    take(&c, 4, NULL, 0); /* nobody is left */
    assert_int_equal(gone.n, 5);
    assert_int_equal(c.version, 4);
    clients_release(&c);
}

/* denials */

static struct lines {
    unsigned n;
    char last[1024];
} lines;

static void note_line(void *arg, const char *line)
{
    (void)arg;
    lines.n++;
    snprintf(lines.last, sizeof lines.last, "%s", line);
}

static void refusals_are_counted_where_there_are_many(void **state)
{
    const struct denial what = {
        .name = "shop", .key = keys[1], .act = "exec", .resource = "bank", .why = "for a reason"};
    const struct denial stranger = {.key = keys[2], .act = "handshake", .why = "no client's"};
    struct denials d = {0};

    (void)state;
    log_divert(note_line, NULL);
    denials_tell(&d, 5000, &what);
    assert_int_equal(lines.n, 1);
    assert_non_null(strstr(lines.last,
                           " audit event=audit name=shop key=AQAAAAAA act=exec resource=bank outcome=denied "
                           "error=\"for a reason\""));
    for (int i = 0; i < 100; i++)
        denials_tell(&d, 5500, &what);
    assert_in_range(lines.n, 2, 5);
    lines.n = 0;
    denials_tell(&d, 6100, &stranger);
    assert_int_equal(lines.n, 1);
    assert_non_null(strstr(lines.last, "name=unknown key=AgAAAAAA act=handshake resource=none outcome=denied "
                                       "left_out=96 error="));
    denials_tell(&d, 6200, &stranger);
    assert_null(strstr(lines.last, "left_out"));
    log_divert(NULL, NULL);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(knows_whom_it_was_told),
        TEST(tells_who_is_gone),
        TEST(refusals_are_counted_where_there_are_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
