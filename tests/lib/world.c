/* world: see world.h. The directory, ports, waiting, failing. Calls the other world_*.c to end what they
 * started. */
#include "tests/lib/world.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { PORTS_FROM = 16000, PORTS_BLOCK = 64, PORTS_BLOCKS = 250, TAIL_LINES = 30 };

/* The nearest directory above the running program that has a coordinator in it. */
static void find_build(struct world *w)
{
    const char *told = getenv("ASSENT_BUILD");
    char path[WORLD_PATH_SIZE + 16], *slash;
    ssize_t n;

    if (told != NULL) {
        snprintf(w->build, sizeof w->build, "%s", told);
        return;
    }
    n = readlink("/proc/self/exe", w->build, sizeof w->build - 1);
    w->build[n < 0 ? 0 : n] = 0;
    while ((slash = strrchr(w->build, '/')) != NULL) {
        *slash = 0;
        snprintf(path, sizeof path, "%s/txcoordd", w->build);
        if (access(path, X_OK) == 0)
            return;
    }
    world_fail(w, "no txcoordd was built above the running program; set ASSENT_BUILD");
}

struct world *world_new(const struct world_options *options)
{
    struct world *w = calloc(1, sizeof *w);
    const char *tmp = getenv("TMPDIR");

    assert(w != NULL);
    w->options = *options;
    w->owner = getpid();
    w->hub = -1;
    /* Worlds of one moment have pids close to each other, hence blocks of their own; and all of it is below the
     * range from which the kernel takes the ports of outgoing connections. */
    w->next_port = PORTS_FROM + (unsigned)(w->owner % PORTS_BLOCKS) * PORTS_BLOCK;
    w->ports_end = w->next_port + PORTS_BLOCK;
    snprintf(w->dir, sizeof w->dir, "%s/assent-%s-XXXXXX", tmp != NULL && *tmp != 0 ? tmp : "/tmp",
             options->name);
    if (mkdtemp(w->dir) == NULL) {
        fprintf(stderr, "cannot make %s: %s\n", w->dir, strerror(errno));
        exit(1);
    }
    /* The servers' user has to pass through it. */
    if (chmod(w->dir, 0711) != 0)
        world_fail(w, "chmod %s: %s", w->dir, strerror(errno));
    find_build(w);
    snprintf(w->address, sizeof w->address, "127.0.0.1");
    if (options->network)
        world_net_open(w);
    world_keys_open(w);
    return w;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void print_tail(const char *path)
{
    FILE *f = fopen(path, "r");
    char lines[TAIL_LINES][WORLD_LINE_SIZE];
    size_t n = 0;

    if (f == NULL)
        return;
    while (fgets(lines[n % TAIL_LINES], WORLD_LINE_SIZE, f) != NULL)
        n++;
    fclose(f);
    if (n == 0)
        return;
    fprintf(stderr, "--- %s\n", path);
    for (size_t i = n > TAIL_LINES ? n - TAIL_LINES : 0; i < n; i++)
        fputs(lines[i % TAIL_LINES], stderr);
}

/* A daemon that a test kills, or takes no notice of, may still have found something. */
static bool has_report(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[WORLD_LINE_SIZE];
    bool found = false;

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
        found = strstr(line, "Sanitizer: ") != NULL || strstr(line, ": runtime error: ") != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

/* Prints the ends of all logs, or of those with a sanitizer's report; returns whether there is none of these.
 */
static bool look_at_logs(const struct world *w, bool print_all)
{
    char path[2 * WORLD_PATH_SIZE];
    struct dirent *entry;
    DIR *d = opendir(w->dir);
    bool clean = true, report;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        size_t n = strlen(entry->d_name);

        if (n > 4 && strcmp(entry->d_name + n - 4, ".log") == 0) {
            snprintf(path, sizeof path, "%s/%s", w->dir, entry->d_name);
            report = has_report(path);
            clean = clean && !report;
            if (print_all || report)
                print_tail(path);
        }
    }
    if (d != NULL)
        closedir(d);
    return clean;
}

bool world_free(struct world *w, bool failed)
{
    bool clean;

    for (size_t i = 0; i < w->n_servers; i++)
        world_server_release(w->servers[i]);
    for (size_t i = 0; i < w->n_processes; i++)
        world_process_release(w->processes[i]);
    world_relays_release(w);
    world_net_close(w);
    world_disks_release(w);
    world_keys_close(w);
    clean = look_at_logs(w, failed);
    if ((failed || !clean) && getenv("ASSENT_KEEP") != NULL)
        fprintf(stderr, "kept: %s\n", w->dir);
    else
        nftw(w->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(w);
    return clean;
}

void world_fail(struct world *w, const char *format, ...)
{
    char message[2 * WORLD_LINE_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (w->options.fail != NULL)
        w->options.fail(message);
    fprintf(stderr, "%s\n", message);
    world_free(w, true);
    exit(1);
}

const char *world_dir(const struct world *w)
{
    return w->dir;
}

const char *world_program(const struct world *w, const char *name, char out[WORLD_PATH_SIZE])
{
    size_t n = strlen(w->build);

    assert(n + strlen(name) + 2 < WORLD_PATH_SIZE);
    memcpy(out, w->build, n);
    snprintf(out + n, WORLD_PATH_SIZE - n, "/%s", name);
    return out;
}

static bool port_is_free(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    bool ok;

    a.sin_port = htons((uint16_t)port);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ok = s >= 0 && bind(s, (struct sockaddr *)&a, sizeof a) == 0;
    close(s);
    return ok;
}

unsigned world_port(struct world *w)
{
    while (w->next_port < w->ports_end) {
        unsigned port = w->next_port++;

        if (port_is_free(port))
            return port;
    }
    world_fail(w, "no free port below %u", w->ports_end);
}

uint64_t world_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void world_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

bool world_wait(unsigned timeout_ms, bool (*holds)(void *arg), void *arg)
{
    uint64_t end = world_now_ms() + timeout_ms;

    while (!holds(arg)) {
        if (world_now_ms() >= end)
            return false;
        world_sleep_ms(5);
    }
    return true;
}
