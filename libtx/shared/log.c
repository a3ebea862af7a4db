/* log: see log.h. */
#include "libtx/shared/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *log_program = "assent";
static enum log_level log_max = LOG_INFO;

void log_init(const char *program, enum log_level level)
{
    log_program = program;
    log_max = level;
}

int log_level_parse(const char *name)
{
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcmp(level_names[i], name) == 0)
            return i;
    }
    return -1;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    struct timespec now;
    struct tm utc;
    char line[1024], when[32];
    va_list args;
    int n;

    if (level > log_max)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(line, sizeof line, "%s.%03ldZ %s %s event=%s ", when, now.tv_nsec / 1000000, log_program,
                 level_names[level], event);
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", line);
}
