/* test_secret: what is taken for settings with a password in them (secret.h); whatever libpq takes for one must
 * be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libtx/shared/secret.h"

static void test_passwords(void **state)
{
    static const char *const texts[] = {
        "host=h password=x",
        "host=h PASSWORD = x",
        "sslpassword='x'",
        "password\v=\fx",
        "password\r=x",
        "postgresql://user:x@host/bank",
        "postgresql postgres://user:x@host",
        "postgres://user:a?b@host/bank",
        "postgres://user:a b@host/bank",
        "postgres://user@host/bank?password=x",
        "postgres://user@host/bank?pass%77ord=x",
        "postgres://user@host/bank?%70%41ssword=x",
        "tcp://h:1 postgres://user:x@host",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!secret_within(texts[i]))
            fail_msg("no secret: «%s»", texts[i]);
    }
}

static void test_none(void **state)
{
    static const char *const texts[] = {
        "",
        "host=h user=u passfile=/etc/pass",
        "postgresql://user@host:5432/bank?sslmode=require",
        "postgresql://host:5432/bank?application_name=a@b",
        "tcp://10.0.0.1:7401,tcp://10.0.0.2:7401",
        "ipc:///run/assent",
        "password",
        "pass%77",
        "100%",
        "pass%zzord=x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (secret_within(texts[i]))
            fail_msg("a secret: «%s»", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
