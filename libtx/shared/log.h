/* log: one line an event, key=value: on a daemon's standard error, or to whoever embeds a participant. Nothing
 * is written before log_init() or log_divert(), so the library is silent by itself. */
#ifndef ASSENT_LOG_H
#define ASSENT_LOG_H

/* LOG_AUDIT is no degree of detail: it is written whatever level is asked for. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_AUDIT };

/* Program name in front of each line (borrowed for ever) and the most detailed level that is written. */
void log_init(const char *program, enum log_level level);
/* From here on lines of this thread, up to LOG_INFO, and LOG_AUDIT, go to `sink`, without a newline, and not to
 * standard error; NULL: no longer. */
void log_divert(void (*sink)(void *arg, const char *line), void *arg);
/* "error", "warn", "info", "debug"; -1 where it is none of them ("audit" neither: nothing turns that off). */
int log_level_parse(const char *name);
/* log_line(LOG_INFO, "role", "state=leader term=%llu", term): time, level, event, then the pairs. */
void log_line(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
