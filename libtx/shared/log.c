/* log: see log.h. */
#include "libtx/shared/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"error", "warn", "info", "debug", "audit"};
static const char *log_program = "assent";
static int log_max = -1;
/* Of a thread, since a program may embed several participants, and they know nothing of each other. */
static _Thread_local void (*log_sink)(void *arg, const char *line);
static _Thread_local void *log_sink_arg;

void log_init(const char *program, enum log_level level)
{
    log_program = program;
    log_max = (int)level;
}

void log_divert(void (*sink)(void *arg, const char *line), void *arg)
{
    log_sink_arg = arg;
    log_sink = sink;
}

int log_level_parse(const char *name)
{
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcmp(level_names[i], name) == 0)
            return i;
    }
    return -1;
}

/* A server's error, say, may have several lines, and what a terminal takes for a command. */
static void make_one_line(char *line)
{
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = ' ';
    }
}

static bool is_written(enum log_level level)
{
    int most = log_sink != NULL ? (int)LOG_INFO : log_max;

    return most >= 0 && (level == LOG_AUDIT || (int)level <= most);
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    struct timespec now;
    struct tm utc;
    char line[1024], when[32];
    va_list args;
    int n;

    if (!is_written(level))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(line, sizeof line, "%s.%03ldZ %s %s event=%s ", when, now.tv_nsec / 1000000, log_program,
                 level_names[level], event);
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    make_one_line(line);
    if (log_sink != NULL)
        log_sink(log_sink_arg, line);
    else
        fprintf(stderr, "%s\n", line);
}
