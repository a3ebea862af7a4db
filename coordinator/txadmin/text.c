/* text: what txadmin's verbs say to people, and read from them. See txadmin.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/txadmin/txadmin.h"

static char last_complaint[1024];

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(last_complaint, sizeof last_complaint, format, args);
    va_end(args);
    fprintf(stderr, "txadmin: %s\n", last_complaint);
}

const char *complaint(void)
{
    return last_complaint;
}

const char *text_of(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));

    return text != NULL ? text : "";
}

double number_of(const cJSON *o, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool truth_of(const cJSON *o, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, name));
}

const char *or_dash(const char *text)
{
    return *text != '\0' ? text : "-";
}

/* Room for a result that a caller uses within one printf. */
static char *scratch(size_t *size)
{
    static char texts[8][64];
    static unsigned next;

    *size = sizeof texts[0];
    return texts[next++ % 8];
}

const char *age_text(double ms)
{
    unsigned long long s = (unsigned long long)(ms / 1000);
    size_t size;
    char *out = scratch(&size);

    if (ms < 1000)
        snprintf(out, size, "%.0fms", ms);
    else if (s < 60)
        snprintf(out, size, "%llus", s);
    else if (s < 3600)
        snprintf(out, size, "%llum%02llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, size, "%lluh%02llum", s / 3600, s / 60 % 60);
    else
        snprintf(out, size, "%llud%lluh", s / 86400, s / 3600 % 24);
    return out;
}

const char *count_text(double n, const char *what)
{
    size_t size;
    char *out = scratch(&size);

    snprintf(out, size, "%.0f %s%s", n, what, n == 1 ? "" : "s");
    return out;
}

enum exit_status confirm_possible(void)
{
    if (isatty(STDIN_FILENO))
        return EXIT_DONE;
    complain("this asks before it acts, and there is no terminal to ask on; say --yes");
    return EXIT_USAGE;
}

enum exit_status confirm(const char *question)
{
    char answer[16] = "";

    printf("\n%s\nType «yes» to go on: ", question);
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0)
        return EXIT_DONE;
    complain("nothing was done");
    return EXIT_REFUSED;
}

void print_clean(const char *text)
{
    for (; *text != '\0'; text++)
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
}
