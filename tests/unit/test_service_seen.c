/* test_service_seen: what is remembered of the lists that a program gives (service_seen.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "libtx/service_seen.h"
#include "libtx/shared/txid.h"

#define BRANCH "assent-00000000000000ab-7-9-00000000000000cd-1"
#define OTHER "assent-00000000000000ab-7-9-00000000000000cd-2"

/* A program without a clock would have its branches taken for young for ever. */
static void an_age_is_at_least_as_long_as_it_was_listed(void **state)
{
    struct rm_found found[] = {{.gid = BRANCH}, {.gid = OTHER, .age_ms = 900}};
    struct service_seen seen = {0};

    (void)state;
    assert_true(service_seen_take(&seen, "assent-", found, 2, 1000));
    assert_int_equal(found[0].age_ms, 0);
    assert_true(service_seen_take(&seen, "assent-", found, 2, 1500));
    assert_int_equal(found[0].age_ms, 500);
    assert_int_equal(found[1].age_ms, 900);
    assert_true(service_seen_take(&seen, "assent-", found, 1, 1800));
    assert_int_equal(found[0].age_ms, 800);
    assert_false(service_seen_has(&seen, OTHER));
    service_seen_release(&seen);
}

/* A name that no branch can have is left out, and another group's list forgets nothing of this one. */
static void what_a_list_says_is_taken(void **state)
{
    char longer[GID_SIZE + 8];
    struct rm_found found[] = {{.gid = BRANCH}, {.gid = longer}};
    struct service_seen seen = {0};

    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(seen.complete);
    assert_true(service_seen_take(&seen, "", found, 2, 1000));
    assert_true(seen.complete);
    assert_true(service_seen_has(&seen, BRANCH));
    assert_false(service_seen_has(&seen, longer));
    assert_true(service_seen_take(&seen, "assent-00000000000000ac-", found, 0, 2000));
    assert_true(service_seen_has(&seen, BRANCH));
    service_seen_release(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_age_is_at_least_as_long_as_it_was_listed),
        cmocka_unit_test(what_a_list_says_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
