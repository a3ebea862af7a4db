/* world_client: see world.h. Client programs: the running program again, with a job for its argument. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

static const char client_flag[] = "--client";

void world_client_main(int argc, char **argv, const struct world_job *jobs)
{
    if (argc < 3 || strcmp(argv[1], client_flag) != 0)
        return;
    for (; jobs->name != NULL; jobs++) {
        if (strcmp(jobs->name, argv[2]) == 0)
            exit(jobs->run(argc - 2, argv + 2));
    }
    fprintf(stderr, "no job is called %s\n", argv[2]);
    exit(2);
}

/* One write, so that a line is either told or not told, whenever the client is killed. */
void world_client_tell(const char *format, ...)
{
    char line[WORLD_LINE_SIZE];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n > (int)sizeof line - 2)
        n = (int)sizeof line - 2;
    line[n++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        exit(3);
}

struct world_process *world_client_start(struct world *w, const char *name, const char *env,
                                         const char *const *args)
{
    static const char self[] = "/proc/self/exe";
    struct world_process *p = world_process_make(w, name, WORLD_ARGS(self, client_flag), args);

    p->has_pipe = true;
    p->host = w->client_host;
    world_process_start(p, env);
    return p;
}

void world_clients_at(struct world *w, struct world_host *h)
{
    w->client_host = h;
}

/* Moves the first whole line out of what has been heard. */
static bool take_line(struct world_process *p, char line[WORLD_LINE_SIZE])
{
    char *newline = memchr(p->heard, '\n', p->n_heard);
    size_t n;

    if (newline == NULL)
        return false;
    n = (size_t)(newline - p->heard);
    memcpy(line, p->heard, n);
    line[n] = 0;
    p->n_heard -= n + 1;
    memmove(p->heard, newline + 1, p->n_heard);
    return true;
}

bool world_client_hear(struct world_process *p, char line[WORLD_LINE_SIZE], unsigned timeout_ms)
{
    uint64_t now = world_now_ms(), end = now + timeout_ms;
    struct pollfd fd = {.fd = p->pipe, .events = POLLIN};
    ssize_t n;

    while (!take_line(p, line)) {
        now = world_now_ms();
        if (now > end || poll(&fd, 1, (int)(end - now)) <= 0)
            return false;
        n = read(p->pipe, p->heard + p->n_heard, sizeof p->heard - p->n_heard);
        if (n <= 0)
            return false;
        p->n_heard += (size_t)n;
    }
    return true;
}
