/* test_harden: what a process is after harden(), and what a service manager is told (harden.h, notify.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libtx/shared/daemon/harden.h"
#include "libtx/shared/daemon/notify.h"

/* Hardening, in a child, for there is no way back */

/* The mask behind «Cap...:» of this thread. */
static unsigned long long capabilities(const char *name)
{
    FILE *f = fopen("/proc/thread-self/status", "r");
    unsigned long long mask = ~0ull;
    char line[256];

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            mask = strtoull(line + strlen(name) + 1, NULL, 16);
    }
    if (f != NULL)
        fclose(f);
    return mask;
}

/* 0, or the number of what is not as it should be. */
static int look(unsigned long long kept)
{
    struct rlimit core;

    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 1;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 2;
    if (umask(0) != 077)
        return 3;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 4;
    if (capabilities("CapEff") != kept || capabilities("CapPrm") != kept)
        return 5;
    if (capabilities("CapInh") != 0 || capabilities("CapAmb") != 0)
        return 6;
    if (geteuid() == 0 && capabilities("CapBnd") != kept)
        return 7;
    return 0;
}

static int hardened(bool low_ports, unsigned long long kept)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        struct tx_error e;

        _exit(harden(low_ports, &e) == TX_OK ? look(kept) : 100);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(hardened(false, 0), 0);
}

/* The right to bind low ports, if it was there before. */
static void low_ports_are_left(void **state)
{
    (void)state;
    assert_int_equal(hardened(true, capabilities("CapPrm") & 1ull << CAP_NET_BIND_SERVICE), 0);
}

static void low_ports_are_known(void **state)
{
    static const char *const low[] = {"tcp://10.0.0.1:1023", "tcp://[::1]:1",
                                      "tcp://a:7401,tcp://b:443,tcp://c:7402"};
    static const char *const high[] = {"tcp://10.0.0.1:1024", "tcp://a:7401,tcp://b:7402", "ipc:///run/assent",
                                       "none", ""};

    (void)state;
    assert_false(harden_has_low_port(NULL));
    for (size_t i = 0; i < sizeof low / sizeof *low; i++)
        assert_true(harden_has_low_port(low[i]));
    for (size_t i = 0; i < sizeof high / sizeof *high; i++)
        assert_false(harden_has_low_port(high[i]));
}

/* Telling the service manager */

static char directory[64];

/* A manager's socket at this address; NOTIFY_SOCKET names it. */
static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(a.sun_path, path, strlen(path));
    if (*path == '@')
        a.sun_path[0] = '\0';
    assert_int_equal(
        bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

static void assert_hears(int fd, const char *want)
{
    char message[1024];
    ssize_t n = recv(fd, message, sizeof message - 1, 0);

    assert_true(n >= 0);
    message[n] = '\0';
    assert_string_equal(message, want);
}

static void assert_told_at(const char *path)
{
    int fd = listen_at(path);

    notify("READY=1\nSTATUS=Follows node %d", 3);
    assert_hears(fd, "READY=1\nSTATUS=Follows node 3");
    notify("STOPPING=1");
    assert_hears(fd, "STOPPING=1");
    close(fd);
}

static void a_socket_file_is_told(void **state)
{
    char path[80];

    (void)state;
    snprintf(path, sizeof path, "%s/notify", directory);
    assert_told_at(path);
    notify("READY=1"); /* the file is there, and nobody listens */
    unlink(path);
}

static void an_abstract_socket_is_told(void **state)
{
    char path[80];

    (void)state;
    snprintf(path, sizeof path, "@%s/notify", directory);
    assert_told_at(path);
}

/* As long as an address can be, and longer. */
static void long_addresses(void **state)
{
    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    int n = snprintf(path, sizeof path, "@%s", directory), fd;

    (void)state;
    memset(path + n, 'x', sizeof path - (size_t)n);
    path[sizeof path - 2] = '\0';
    assert_told_at(path);
    fd = listen_at(path);
    path[sizeof path - 2] = 'y';
    path[sizeof path - 1] = '\0';
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    notify("READY=1");
    assert_int_equal(recv(fd, path, sizeof path, 0), -1);
    close(fd);
}

/* The rest of a message that is too long is left out. */
static void a_long_status(void **state)
{
    char path[80], text[2048], message[1024] = "";
    int fd;

    (void)state;
    snprintf(path, sizeof path, "@%s/long", directory);
    fd = listen_at(path);
    memset(text, 's', sizeof text);
    text[sizeof text - 1] = '\0';
    notify("READY=1\nSTATUS=%s", text);
    assert_int_equal(recv(fd, message, sizeof message, 0), 511);
    assert_memory_equal(message, "READY=1\nSTATUS=sss", 18);
    close(fd);
}

static void nobody_is_told(void **state)
{
    static const char *const none[] = {"", "@", "/", "relative/path", "/no/such/socket", "@nobody"};

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    notify("READY=1");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(setenv("NOTIFY_SOCKET", none[i], 1), 0);
        notify("READY=1");
    }
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/assent-notify-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(low_ports_are_left),
        cmocka_unit_test(low_ports_are_known),
        cmocka_unit_test(a_socket_file_is_told),
        cmocka_unit_test(an_abstract_socket_is_told),
        cmocka_unit_test(long_addresses),
        cmocka_unit_test(a_long_status),
        cmocka_unit_test(nobody_is_told),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
