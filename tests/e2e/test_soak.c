/* test_soak: short runs of tests/soak, random faults under load, with a seed that is new each time and printed;
 * and one whose books are falsified, which must be found.
 *
 * Calls the program soak, which has the checks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Built beside this program's directory. */
static void soak_path(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 32);

    assert_true(n > 0);
    out[n] = 0;
    *strrchr(out, '/') = 0;
    *strrchr(out, '/') = 0;
    strcat(out, "/soak/soak");
}

static void run(const char *coordinators, const char *seconds, const char *mariadb)
{
    char path[4096];
    int status;
    pid_t pid;

    soak_path(path, sizeof path);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl(path, path, "--coordinators", coordinators, "--seconds", seconds, "--mariadb", mariadb,
              (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_three_coordinators_and_mariadb(void **state)
{
    (void)state;
    run("3", "25", "on");
}

/* Short; what it is for is that a client goes through a list of five. */
static void test_five_coordinators(void **state)
{
    (void)state;
    run("5", "8", "off");
}

static void test_one_coordinator(void **state)
{
    (void)state;
    run("1", "10", "off");
}

/* A receipt is taken out of a bank behind everybody's back. */
static void test_falsified_bank_is_found(void **state)
{
    char path[4096], command[4200], line[1024];
    bool found = false;
    FILE *f;

    (void)state;
    soak_path(path, sizeof path);
    snprintf(command, sizeof command, "'%s' --coordinators 1 --seconds 1 --mariadb off --forge 2>&1", path);
    f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        found |= strstr(line, "committed in one bank, not in another") != NULL;
    assert_int_equal(WEXITSTATUS(pclose(f)), 1);
    assert_true(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_coordinators_and_mariadb),
        cmocka_unit_test(test_five_coordinators),
        cmocka_unit_test(test_one_coordinator),
        cmocka_unit_test(test_falsified_bank_is_found),
    };

    cmocka_set_test_filter(getenv("ASSENT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
