/* test_replog_message: what libraft would not take is not understood (replog_message.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_message.h"

struct member {
    uint64_t id;
    const char *address;
    uint8_t role;
};

/* As libraft encodes it: format, number, and of each member id, address with its NUL, role. */
static void config_of(struct buf *b, const struct member *members, size_t n)
{
    buf_init(b);
    buf_put_u8(b, 1);
    buf_put_u64(b, n);
    for (size_t i = 0; i < n; i++) {
        buf_put_u64(b, members[i].id);
        buf_put_bytes(b, members[i].address, strlen(members[i].address) + 1);
        buf_put_u8(b, members[i].role);
    }
}

/* Whether it is found good; libraft must be able to read it then. */
static bool is_good(const struct member *members, size_t n)
{
    struct raft_configuration configuration;
    struct buf b;
    bool good;

    config_of(&b, members, n);
    good = replog_message_check_config(b.data, b.len);
    raft_configuration_init(&configuration);
    assert_int_equal(replog_core_decode_config(&b, &configuration) == 0, good);
    if (good) /* else libraft has released it */
        raft_configuration_close(&configuration);
    buf_release(&b);
    return good;
}

static void test_members(void **state)
{
    static const struct member good[] = {{1, "tcp://a:1", RAFT_VOTER}, {2, "tcp://a:2", RAFT_STANDBY}},
                               same_id[] = {{1, "tcp://a:1", RAFT_VOTER}, {1, "tcp://a:2", RAFT_VOTER}},
                               same_address[] = {{1, "tcp://a:1", RAFT_VOTER}, {2, "tcp://a:1", RAFT_VOTER}};

    (void)state;
    assert_true(is_good(good, 2));
    assert_true(is_good(good, 1));
    assert_false(is_good(same_id, 2));
    assert_false(is_good(same_address, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
