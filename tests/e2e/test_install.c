/* test_install: what `make install` puts into a system, and that a program of a stranger's can be built against
 * it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/kit.h"

static struct kit kit; /* its world alone */
static char root[2 * WORLD_PATH_SIZE], source[WORLD_PATH_SIZE], variant[64];

static void fail_test(const char *message)
{
    fail_msg("%s", message);
}

/* Runs a shell command to its success; its output, owned by the caller. */
static char *shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *shell(const char *format, ...)
{
    char command[4 * WORLD_PATH_SIZE];
    struct world_output o;
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    o = world_run(kit.world, WORLD_ARGS("/bin/sh", "-c", command));
    if (o.code != 0)
        fail_msg("%s: exit code %d: %s%s", command, o.code, o.text, o.error);
    free(o.error);
    return o.text;
}

/* The source tree and the variant, from the build tree <source>/build/<variant>. */
static void find_source(void)
{
    char *slash;

    world_program(kit.world, "txcoordd", source);
    *strrchr(source, '/') = 0;
    slash = strrchr(source, '/');
    snprintf(variant, sizeof variant, "%s", slash + 1);
    *slash = 0;
    slash = strrchr(source, '/');
    *slash = 0;
}

static int open_group(void **state)
{
    struct world_options options = {.name = "install", .fail = fail_test};

    (void)state;
    kit.world = world_new(&options);
    find_source();
    snprintf(root, sizeof root, "%s/root", world_dir(kit.world));
    free(shell("make -s -C %s V=%s DESTDIR=%s PREFIX=/usr install", source, variant, root));
    free(shell("make -s -C %s V=%s PREFIX=%s/own install", source, variant, root));
    return 0;
}

static void test_files(void **state)
{
    static const char *const files[] = {
        "usr/sbin/txcoordd",
        "usr/sbin/txagentd",
        "usr/bin/txadmin",
        "usr/include/libtx.h",
        "usr/include/libtx_pg.h",
        "usr/include/libtx_mariadb.h",
        "usr/include/libtx_participant.h",
        "usr/lib/libtx.so",
        "usr/lib/libtx.so.0",
        "usr/lib/libtx.a",
        "usr/lib/pkgconfig/libtx.pc",
        "usr/share/man/man3/libtx.3",
        "usr/share/man/man3/libtx_participant.3",
        "usr/share/man/man8/txcoordd.8",
        "usr/lib/systemd/system/txcoordd.service",
        "usr/lib/systemd/system/txagentd.service",
        "usr/lib/sysusers.d/assent.conf",
    };
    char path[3 * WORLD_PATH_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", root, files[i]);
        if (access(path, R_OK) != 0)
            fail_msg("%s is not installed", files[i]);
    }
}

/* Exactly the functions that the installed headers declare. */
static void test_exported_symbols(void **state)
{
    char *declared = shell("cat %s/usr/include/libtx*.h | tr '\\n' ' ' | tr ';{}' '\\n\\n\\n' | grep '^ "
                           "*\\(/\\*.*\\*/ *\\)*TX_API\\|TX_API ' |"
                           " grep -v define | grep -o '[a-z_]*(' | tr -d '(' | grep '^tx' | sort -u",
                           root);
    char *shared = shell("nm -D --defined-only %s/usr/lib/libtx.so | awk '{print $NF}' | sort -u", root);
    char *archive = shell("nm -g --defined-only %s/usr/lib/libtx.a | awk 'NF == 3 {print $3}' | sort -u", root);

    (void)state;
    assert_non_null(strstr(declared, "txn_commit\n"));
    assert_string_equal(shared, declared);
    assert_string_equal(archive, declared);
    free(declared);
    free(shared);
    free(archive);
}

static void test_pkg_config(void **state)
{
    char *version = shell("PKG_CONFIG_PATH=%s/own/lib/pkgconfig pkg-config --modversion libtx", root);

    (void)state;
    assert_string_equal(version, TX_VERSION "\n");
    free(version);
}

static void compile(const char *example, const char *output, const char *flags)
{
    const char *sanitizer = strcmp(variant, "asan") == 0 ? "-fsanitize=address,undefined" : "";

    free(shell("export PKG_CONFIG_PATH=%s/own/lib/pkgconfig; cc -Wall -Werror %s -o %s/%s %s/examples/%s.c %s",
               root, sanitizer, root, output, source, example, flags));
}

/* With the shared library, and with the archive alone. */
static void test_an_example_is_built_against_it(void **state)
{
    static const char *const examples[] = {"transfer", "order", "service"};

    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        compile(examples[i], "shared", "-D_GNU_SOURCE $(pkg-config --cflags --libs libtx)");
        compile(examples[i], "static",
                "-D_GNU_SOURCE $(pkg-config --cflags libtx) $(pkg-config --variable=libdir libtx)/libtx.a "
                "$(pkg-config --libs libpq nanomsg libsodium libuv libcjson)");
    }
    free(shell("LD_LIBRARY_PATH=%s/own/lib ldd %s/shared | grep %s/own/lib/libtx.so.0", root, root, root));
    free(shell("! ldd %s/static | grep libtx", root));
}

/* Every symbol is bound at its start. Without a database to reach it says so. */
static void assert_runs(const char *program, const char *says)
{
    free(shell(
        "LD_BIND_NOW=1 LD_LIBRARY_PATH=%s/own/lib %s/%s host=%s >%s/said; test $? = 1 && grep '%s' %s/said",
        root, root, program, root, root, says, root));
}

/* A program that knows PostgreSQL alone is neither linked with libmariadb nor needs it to run. */
static void test_without_libmariadb(void **state)
{
    (void)state;
    compile("transfer", "shared", "$(pkg-config --cflags --libs libtx)");
    free(shell("! LD_LIBRARY_PATH=%s/own/lib ldd %s/shared | grep mariadb", root, root));
    free(shell("! pkg-config --static --libs %s/own/lib/pkgconfig/libtx.pc | grep mariadb", root));
    assert_runs("shared", "connection to server");
}

static void test_with_libmariadb(void **state)
{
    (void)state;
    compile("mariadb", "with", "$(pkg-config --cflags --libs libtx libmariadb)");
    compile("mariadb", "with_static",
            "$(pkg-config --cflags libtx libmariadb) $(pkg-config --variable=libdir libtx)/libtx.a -lpq "
            "$(pkg-config --libs libmariadb) -lnanomsg -lsodium -luv -lcjson -pthread");
    free(shell("LD_LIBRARY_PATH=%s/own/lib ldd %s/with | grep libmariadb", root, root));
    assert_runs("with", "usage");
    assert_runs("with_static", "usage");
}

static void test_headers_alone(void **state)
{
    (void)state;
    free(shell("printf '#include <libtx.h>\\n#include <libtx_pg.h>\\n#include <libtx_mariadb.h>\\n#include "
               "<libtx_participant.h>\\n' > "
               "%s/h.c && cp %s/h.c %s/h.cc",
               root, root, root));
    free(shell("cc -std=c99 -pedantic -Wall -Werror -fsyntax-only $(pkg-config --cflags libpq libmariadb) "
               "-I%s/usr/include %s/h.c",
               root, root));
    free(shell("! command -v c++ || c++ -Wall -Werror -fsyntax-only $(pkg-config --cflags libpq libmariadb) "
               "-I%s/usr/include %s/h.cc",
               root, root));
}

/* systemd takes the units without a word, and thinks them as safe as a daemon on a network can be: its score,
 * in tenths, of which a unit without any hardening has 92. */
static void test_systemd_units(void **state)
{
    enum { SCORE = 15 };
    static const char *const units[] = {"txcoordd.service", "txagentd.service"};

    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        free(shell("! grep @ %s/own/lib/systemd/system/%s | grep -v '=[~]*@'", root, units[i]));
        free(shell("grep '^ExecStart=/usr/sbin/' %s/usr/lib/systemd/system/%s", root, units[i]));
        free(shell("said=$(systemd-analyze verify --man=no %s/own/lib/systemd/system/%s 2>&1) && "
                   "test -z \"$said\" || { echo \"$said\"; false; }",
                   root, units[i]));
        free(shell("systemd-analyze security --no-pager --offline=true --threshold=%d "
                   "%s/own/lib/systemd/system/%s",
                   SCORE, root, units[i]));
    }
}

/* The users that the units name are those that are made. */
static void test_systemd_users(void **state)
{
    (void)state;
    free(shell("cd %s/usr/lib && sed -n 's/^User=//p' systemd/system/*.service | sort >%s/named && "
               "awk '$1 == \"u\" { print $2 }' sysusers.d/assent.conf | sort | diff %s/named -",
               root, root, root));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_exported_symbols),
        cmocka_unit_test(test_pkg_config),
        cmocka_unit_test(test_an_example_is_built_against_it),
        cmocka_unit_test(test_without_libmariadb),
        cmocka_unit_test(test_with_libmariadb),
        cmocka_unit_test(test_headers_alone),
        cmocka_unit_test(test_systemd_units),
        cmocka_unit_test(test_systemd_users),
    };

    return kit_close(&kit, cmocka_run_group_tests(tests, open_group, NULL));
}
