/* log: one line an event on standard error, key=value. Daemons only; the library never logs. */
#ifndef ASSENT_LOG_H
#define ASSENT_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Program name in front of each line (borrowed for ever) and the most detailed level that is written. */
void log_init(const char *program, enum log_level level);
/* "error", "warn", "info", "debug"; -1 where it is none of them. */
int log_level_parse(const char *name);
/* log_line(LOG_INFO, "role", "state=leader term=%llu", term): time, level, event, then the pairs. */
void log_line(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
