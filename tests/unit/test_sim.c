/* test_sim: a short run of the simulator (tests/sim), which is a program of its own: a seed gives one run, some
 * hundred of them hold, and every rule that is broken on purpose is found out. make sim runs it for longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The address sanitizer makes it five times slower. */
#ifdef __SANITIZE_ADDRESS__
#define SEEDS "8"
#define SABOTAGES                                 \
    {                                             \
        "DROP_UNRESOLVED", "VOTE_LOST", "NO_SCAN" \
    }
#else
#define SEEDS "100"
#define SABOTAGES \
    {             \
        "all"     \
    }
#endif

enum { ARGUMENTS = 8 };

/* Of the same variant: next to the directory of this program. */
static void program(char path[4096])
{
    ssize_t n = readlink("/proc/self/exe", path, 4000);
    char *end;

    assert_true(n > 0);
    path[n] = '\0';
    end = strstr(path, "/unit/");
    assert_non_null(end);
    strcpy(end, "/sim/sim");
}

/* Its exit status. */
static int run(const char *const *arguments)
{
    char path[4096];
    const char *argv[ARGUMENTS + 2] = {path};
    int status;
    pid_t pid;

#ifdef __SANITIZE_THREAD__
    skip(); /* it has one thread, and the sanitizer does not know of fibers */
#endif
    program(path);
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(i < ARGUMENTS);
        argv[i + 1] = arguments[i];
    }
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO); /* the other one is the test's own */
        execv(path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_a_seed_is_one_run(void **state)
{
    (void)state;
    assert_int_equal(run((const char *const[]){"--seeds", "4", "--twice", "--quiet", "--no-rows", NULL}), 0);
}

static void test_seeds_hold(void **state)
{
    (void)state;
    assert_int_equal(run((const char *const[]){"--seeds", SEEDS, "--from", "5", "--quiet", NULL}), 0);
}

static void test_broken_rules_are_found_out(void **state)
{
    static const char *const names[] = SABOTAGES;
    bool all = strcmp(names[0], "all") == 0; /* 0: all were found; one alone fails, as it is to */

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(run((const char *const[]){"--sabotage", names[i], "--quiet", "--no-rows", NULL}),
                         all ? 0 : 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seed_is_one_run),
        cmocka_unit_test(test_seeds_hold),
        cmocka_unit_test(test_broken_rules_are_found_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
