/* fuzz_audit: lines of the audit and of the log, whatever the values are that stand in them (audit.h, log.h).
 *
 * Input: values, with NULs between. Checked: a line is one, of the pairs that were put into it and no others; a
 * log line is one, too.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/audit.h"
#include "libtx/shared/log.h"
#include "tests/fuzz/targets.h"

enum { VALUES = 4 };

static const char *const names[] = {"name", "key", "act", "what", "verdict", "outcome", "error"};

/* Behind the value at `p`; a quoted one ends at the first quotation mark without a backslash before it. */
static const char *behind_value(const char *p)
{
    if (*p != '"')
        return p + strcspn(p, " ");
    for (p++; *p != '"'; p++) {
        fuzz_check(*p != '\0');
        p += *p == '\\';
    }
    return p + 1;
}

static void check_pairs(const char *line)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);

        fuzz_check(strncmp(line, names[i], n) == 0 && line[n] == '=');
        line = behind_value(line + n + 1);
        fuzz_check(*line == (i + 1 < sizeof names / sizeof *names ? ' ' : '\0'));
        line += *line == ' ';
    }
}

static void check_one_line(const char *line)
{
    for (; *line != '\0'; line++)
        fuzz_check((unsigned char)*line >= 0x20 && *line != 0x7f);
}

static void on_log(void *arg, const char *line)
{
    (void)arg;
    check_one_line(line);
}

void fuzz_audit_run(const uint8_t *data, size_t len)
{
    char *values[VALUES], line[AUDIT_LINE];
    struct audit_entry entry = {.outcome = AUDIT_DENIED};
    struct cur c;

    cur_init(&c, data, len);
    for (int i = 0; i < VALUES; i++) {
        values[i] = fuzz_text(c.p, (size_t)(c.end - c.p));
        c.p += strlen(values[i]) + (strlen(values[i]) < (size_t)(c.end - c.p));
    }
    entry.name = values[0];
    entry.act = "add resource";
    entry.what = values[1];
    entry.more[0] = (struct audit_pair){"verdict", values[2]};
    entry.error = values[3];
    audit_format(&entry, line);
    check_one_line(line);
    check_pairs(line);
    log_divert(on_log, NULL);
    log_line(LOG_INFO, "fuzz", "name=%s error=\"%s\"", values[0], values[3]);
    log_divert(NULL, NULL);
    for (int i = 0; i < VALUES; i++)
        free(values[i]);
}

void fuzz_audit_seed(struct fuzz_sink *to)
{
    static const char plain[] = "shop\0bank_a\0commit\0it is not known",
                      odd[] = "a b\0\"x\\\" outcome=ok\0\n\r\t\x7f\0\xc3\xa4\xe2\x80\xa8\xff\xf0\x9f\x98\x80";

    fuzz_put(to, plain, sizeof plain);
    fuzz_put(to, odd, sizeof odd);
}
