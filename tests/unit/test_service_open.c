/* test_service_open: a participant that cannot be opened, or finds no coordinator (libtx_participant.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/resource.h>

#include "libtx/libtx_participant.h"

#define BRANCH "assent-00000000000000ab-7-9-00000000000000cd-1"

static int on_branch(void *arg, const char *branch)
{
    (void)arg;
    (void)branch;
    return TX_OK;
}

static int on_list(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list)
{
    (void)arg;
    (void)found;
    (void)list;
    return TX_OK;
}

static const struct tx_participant_callbacks callbacks = {
    .prepare = on_branch, .commit = on_branch, .rollback = on_branch, .list_in_doubt = on_list};

/* What cannot be opened leaves nothing behind. */

static int refused(const char *coordinators, const char *listen, const char *resource)
{
    struct tx_participant_options options = {
        .coordinators = coordinators, .listen = listen, .resource = resource, .insecure = 1};
    tx_participant *p = NULL;
    struct tx_error e = {0};
    int rc = tx_participant_open(&p, &options, &callbacks, &e);

    assert_int_not_equal(rc, TX_OK);
    assert_int_equal(e.code, rc);
    assert_true(*e.msg != '\0');
    assert_null(p);
    return rc;
}

static void options_are_checked(void **state)
{
    struct tx_participant_callbacks without = callbacks;
    struct tx_participant_options options = {.resource = "stock", .insecure = 1};
    tx_participant *p;
    struct tx_error e;

    (void)state;
    assert_int_equal(refused(NULL, NULL, NULL), TX_EINVAL);
    assert_int_equal(refused(NULL, NULL, "a b"), TX_EINVAL);
    assert_int_equal(refused("nonsense", NULL, "stock"), TX_EINVAL);
    (void)refused(NULL, "nonsense", "stock");
    without.commit = NULL;
    assert_int_equal(tx_participant_open(&p, &options, &without, &e), TX_EINVAL);
    assert_int_equal(tx_participant_open(&p, &options, NULL, &e), TX_EINVAL);
    tx_participant_close(NULL);
}

static void no_descriptor_is_left(void **state)
{
    struct rlimit before, none;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    /* One more each time, so that every step of it fails once. */
    for (none.rlim_cur = 0; none.rlim_cur < 24; none.rlim_cur++) {
        struct tx_participant_options options = {
            .resource = "stock", .coordinators = "tcp://127.0.0.1:1", .insecure = 1};
        tx_participant *p = NULL;
        struct tx_error e;
        int rc;

        setrlimit(RLIMIT_NOFILE, &none);
        rc = tx_participant_open(&p, &options, &callbacks, &e);
        setrlimit(RLIMIT_NOFILE, &before);
        assert_true(rc == TX_OK || rc == TX_EIO || rc == TX_EINVAL);
        assert_true((rc == TX_OK) == (p != NULL));
        tx_participant_close(p);
    }
}

/* A participant that finds no coordinator: dispatched from anywhere, and closed at once. */

static tx_participant *nested;

static void on_line(void *arg, const char *line)
{
    (void)line;
    ++*(unsigned *)arg;
}

static void *dispatch_a_while(void *arg)
{
    for (int i = 0; i < 200; i++)
        tx_participant_dispatch(arg);
    return NULL;
}

static void dispatched_by_two_threads(void **state)
{
    unsigned lines = 0;
    struct tx_participant_options options = {.resource = "stock",
                                             .coordinators = "tcp://127.0.0.1:1",
                                             .insecure = 1,
                                             .log = on_line,
                                             .log_arg = &lines};
    char branch[TX_BRANCH_SIZE];
    struct tx_error e;
    pthread_t thread;

    (void)state;
    assert_int_equal(tx_participant_open(&nested, &options, &callbacks, &e), TX_OK);
    assert_int_equal(tx_participant_start(nested, &e), TX_OK);
    assert_int_equal(tx_participant_start(nested, &e), TX_EINVAL);
    assert_int_equal(pthread_create(&thread, NULL, dispatch_a_while, nested), 0);
    for (int i = 0; i < 200; i++) {
        tx_participant_answer(nested, BRANCH, TX_OK, "nobody waits for this");
        assert_int_equal(tx_participant_join(nested,
                                             "assent1:00000000000000ab-7-9-00000000000000cd:3:1:60000:stock",
                                             branch, &e),
                         TX_EUNREACHABLE);
    }
    assert_int_equal(
        tx_participant_join(nested, "assent1:00000000000000ab-7-9-00000000000000cd:3:1:60000:shop", branch, &e),
        TX_EINVAL);
    assert_int_equal(tx_participant_join(nested, NULL, branch, &e), TX_EINVAL);
    pthread_join(thread, NULL);
    tx_participant_close(nested);
    assert_true(lines > 0); /* the resource is up */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(no_descriptor_is_left),
        cmocka_unit_test(dispatched_by_two_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
