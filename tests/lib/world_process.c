/* world_process: see world.h. Starting programs and ending them, for certain: each gets a process group of its
 * own and a death signal from the kernel for the case that this process dies first, even by kill -9. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { READY_MS = 20000, STOP_MS = 20000, RUN_MS = 60000 };

static size_t append_args(struct world *w, char **out, size_t n, const char *const *args)
{
    for (; args != NULL && *args != NULL; args++) {
        if (n == WORLD_ARG_LIMIT)
            world_fail(w, "more than %d arguments", WORLD_ARG_LIMIT);
        out[n] = strdup(*args);
        assert(out[n] != NULL);
        n++;
    }
    return n;
}

struct world_process *world_process_make(struct world *w, const char *name, const char *const *argv,
                                         const char *const *more)
{
    struct world_process *p = calloc(1, sizeof *p);

    assert(p != NULL);
    if (w->n_processes == WORLD_PROCESS_LIMIT)
        world_fail(w, "more than %d processes", WORLD_PROCESS_LIMIT);
    w->processes[w->n_processes++] = p;
    p->world = w;
    p->pipe = -1;
    p->end_signal = SIGKILL;
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->log, sizeof p->log, "%.*s/%s.log", WORLD_PATH_SIZE - WORLD_NAME_SIZE - 8, w->dir, p->name);
    append_args(w, p->argv, append_args(w, p->argv, 0, argv), more);
    return p;
}

struct world_process *world_process_new(struct world *w, const char *name, const char *const *argv)
{
    return world_process_make(w, name, argv, NULL);
}

void world_process_release(struct world_process *p)
{
    world_process_kill(p);
    for (size_t i = 0; p->argv[i] != NULL; i++)
        free(p->argv[i]);
    if (p->pipe >= 0)
        close(p->pipe);
    if (p->watch != NULL)
        world_watch_free(p->watch);
    free(p);
}

/* Between fork and exec. The death signal comes last, as a change of user clears it. */
static void become_child(const struct world_process *p, const char *env, int log, int out, pid_t parent)
{
    const struct world *w = p->world;
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    dup2(null, 0);
    dup2(out, 1);
    dup2(log, 2);
    if (w->coordinators[0] != 0)
        setenv("ASSENT_COORDINATORS", w->coordinators, 1);
    world_keys_enter(w, p->argv[0]);
    if (env != NULL)
        putenv((char *)env);
    if (chdir(w->dir) != 0)
        _exit(126);
    if (p->host != NULL)
        world_host_enter(p->host);
    if (p->as_server_user && w->server_uid != 0 &&
        (setgroups(0, NULL) != 0 || setgid(w->server_gid) != 0 || setuid(w->server_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, p->end_signal);
    if (getppid() != parent)
        _exit(126);
    if (p->watch != NULL)
        world_watch_child(p->watch);
    execv(p->argv[0], p->argv);
    fprintf(stderr, "%s: %s\n", p->argv[0], strerror(errno));
    _exit(127);
}

static int open_log(struct world_process *p)
{
    int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    struct stat st;

    if (log < 0 || fstat(log, &st) != 0)
        world_fail(p->world, "%s: %s", p->log, strerror(errno));
    p->log_from = (long)st.st_size;
    return log;
}

void world_process_start(struct world_process *p, const char *env)
{
    int fds[2] = {-1, -1}, log;
    pid_t self = getpid();

    if (world_process_running(p))
        world_fail(p->world, "%s is running already", p->name);
    log = open_log(p);
    p->armed = env != NULL;
    if (p->has_pipe) {
        if (p->pipe >= 0)
            close(p->pipe);
        p->n_heard = 0;
        if (pipe2(fds, O_CLOEXEC) != 0)
            world_fail(p->world, "pipe: %s", strerror(errno));
        p->pipe = fds[0];
    }
    if (p->watch != NULL)
        world_watch_prepare(p->watch);
    fflush(NULL);
    p->pid = fork();
    if (p->pid < 0)
        world_fail(p->world, "fork: %s", strerror(errno));
    if (p->pid == 0)
        become_child(p, env, log, p->has_pipe ? fds[1] : log, self);
    if (p->watch != NULL)
        world_watch_begin(p->watch);
    close(log);
    if (fds[1] >= 0)
        close(fds[1]);
}

char *world_process_output(const struct world_process *p)
{
    FILE *f = fopen(p->log, "r");
    struct stat st;
    size_t n = 0;
    char *text;

    if (f == NULL || fstat(fileno(f), &st) != 0 || fseek(f, p->log_from, SEEK_SET) != 0)
        world_fail(p->world, "%s: %s", p->log, strerror(errno));
    text = malloc((size_t)(st.st_size - p->log_from) + 1);
    assert(text != NULL);
    n = fread(text, 1, (size_t)(st.st_size - p->log_from), f);
    text[n] = 0;
    fclose(f);
    return text;
}

bool world_process_logged(const struct world_process *p, const char *text)
{
    char *log = world_process_output(p);
    bool found = strstr(log, text) != NULL;

    free(log);
    return found;
}

unsigned world_process_log_lines(const struct world_process *p)
{
    char *log = world_process_output(p);
    unsigned n = 0;

    for (const char *at = log; (at = strchr(at, '\n')) != NULL; at++)
        n++;
    free(log);
    return n;
}

long world_process_peak_kib(const struct world_process *p)
{
    char path[64], line[WORLD_LINE_SIZE];
    long kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    }
    if (f != NULL)
        fclose(f);
    return kib;
}

void world_process_await(struct world_process *p, const char *text, unsigned timeout_ms)
{
    uint64_t end = world_now_ms() + timeout_ms;

    while (!world_process_logged(p, text)) {
        if (!world_process_running(p) && !world_process_logged(p, text))
            world_fail(p->world, "%s ended (status %d) before it logged %s", p->name, p->status, text);
        if (world_now_ms() > end)
            world_fail(p->world, "%s has not logged %s within %u ms", p->name, text, timeout_ms);
        world_sleep_ms(5);
    }
}

void world_process_start_ready(struct world_process *p, const char *env)
{
    world_process_start(p, env);
    world_process_await(p, "event=ready", READY_MS);
}

static bool has_ended(void *arg)
{
    return !world_process_running(arg);
}

bool world_process_running(struct world_process *p)
{
    if (p->pid != 0 && waitpid(p->pid, &p->status, WNOHANG) != 0)
        p->pid = 0;
    return p->pid != 0;
}

bool world_process_stopped(struct world_process *p)
{
    char path[64], state = 0;
    FILE *f;

    if (!world_process_running(p))
        return false;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)p->pid);
    f = fopen(path, "r");
    if (f == NULL)
        return false;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    fclose(f);
    return state == 'T';
}

void world_process_signal(struct world_process *p, int signal)
{
    if (!world_process_running(p))
        world_fail(p->world, "%s is not running", p->name);
    kill(p->pid, signal);
}

int world_process_wait(struct world_process *p, unsigned timeout_ms)
{
    if (!world_wait(timeout_ms, has_ended, p))
        world_fail(p->world, "%s has not ended within %u ms", p->name, timeout_ms);
    return WIFSIGNALED(p->status) ? -WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

int world_process_stop(struct world_process *p)
{
    world_process_signal(p, SIGTERM);
    return world_process_wait(p, STOP_MS);
}

void world_process_kill(struct world_process *p)
{
    if (!world_process_running(p))
        return;
    kill(-p->pid, SIGKILL);
    kill(p->pid, SIGKILL); /* its group is not there yet when it was forked a moment ago */
    while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
        ;
    p->pid = 0;
}

int world_process_pid(struct world_process *p)
{
    return world_process_running(p) ? (int)p->pid : 0;
}

const char *world_process_name(const struct world_process *p)
{
    return p->name;
}

/* All that is in the pipe, until its end or the time is over. */
static char *drain(struct world_process *p, uint64_t end)
{
    size_t len = 0, cap = 4096;
    char *text = malloc(cap);
    ssize_t n;

    assert(text != NULL);
    fcntl(p->pipe, F_SETFL, O_NONBLOCK);
    while ((n = read(p->pipe, text + len, cap - len - 1)) != 0) {
        if (n < 0 && world_now_ms() > end)
            world_fail(p->world, "%s has not ended in time", p->argv[0]);
        if (n < 0) {
            world_sleep_ms(2);
            continue;
        }
        len += (size_t)n;
        if (len + 1 == cap) {
            text = realloc(text, cap *= 2);
            assert(text != NULL);
        }
    }
    text[len] = 0;
    return text;
}

struct world_host *world_process_host(const struct world_process *p)
{
    return p->host;
}

struct world_output world_run(struct world *w, const char *const *argv)
{
    return world_run_at(w, NULL, argv);
}

struct world_output world_run_at(struct world *w, struct world_host *h, const char *const *argv)
{
    const char *slash = strrchr(argv[0], '/');
    struct world_process *p = world_process_new(w, slash != NULL ? slash + 1 : argv[0], argv);
    struct world_output o;

    p->has_pipe = true;
    p->host = h;
    world_process_start(p, NULL);
    o.text = drain(p, world_now_ms() + RUN_MS);
    o.code = world_process_wait(p, STOP_MS);
    o.error = world_process_output(p);
    w->n_processes--;
    assert(w->processes[w->n_processes] == p);
    world_process_release(p);
    return o;
}

void world_output_release(struct world_output *o)
{
    free(o->text);
    free(o->error);
}
