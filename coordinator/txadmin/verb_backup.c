/* verb_backup: the verb backup. See txadmin.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/txadmin/txadmin.h"

enum { ROUNDS = 1 << 16 /* pieces at most */ };

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes written; 0: it is no hexadecimal, or cannot be written. */
static size_t write_hex(FILE *f, const char *text)
{
    size_t n = strlen(text) / 2;

    for (size_t i = 0; i < n; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

        if (high < 0 || low < 0 || putc(high << 4 | low, f) == EOF)
            return 0;
    }
    return n;
}

/* Fetches piece after piece. */
static enum exit_status fetch(const struct arguments *a, FILE *f, double *index, char *warning, size_t room)
{
    double at = 0, number = 0, size = 1;

    for (int i = 0; i < ROUNDS && at < size; i++) {
        cJSON *question = caller_question("backup"), *answer;
        enum exit_status status;
        size_t n;

        cJSON_AddNumberToObject(question, "at", at);
        cJSON_AddNumberToObject(question, "number", number);
        status = caller_ask(a, question, &answer);
        if (status != EXIT_DONE)
            return status;
        number = number_of(answer, "number");
        size = number_of(answer, "size");
        *index = number_of(answer, "index");
        snprintf(warning, room, "%s", text_of(answer, "warning"));
        n = write_hex(f, text_of(answer, "data"));
        cJSON_Delete(answer);
        if (n == 0) {
            complain("cannot write the file: %s", strerror(errno));
            return EXIT_REFUSED;
        }
        at += (double)n;
    }
    return EXIT_DONE;
}

/* What is there already gets another file in its place: of a device that would be the end. */
static bool may_replace(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
        return true;
    complain("%s: is not a file", path);
    return false;
}

/* Under another name first, so that a file of this name is always whole. */
enum exit_status verb_backup(const struct arguments *a)
{
    const char *path = a->operands[0];
    size_t size = strlen(path) + sizeof ".part";
    char *part = malloc(size);
    enum exit_status status;
    char warning[512] = "";
    double index = 0;
    FILE *f;

    if (part == NULL)
        return EXIT_REFUSED;
    if (!may_replace(path)) {
        free(part);
        return EXIT_USAGE;
    }
    snprintf(part, size, "%s.part", path);
    f = fopen(part, "w");
    if (f == NULL) {
        complain("%s: %s", part, strerror(errno));
        free(part);
        return EXIT_USAGE;
    }
    status = fetch(a, f, &index, warning, sizeof warning);
    if ((fflush(f) != 0 || fsync(fileno(f)) != 0) && status == EXIT_DONE)
        status = EXIT_REFUSED;
    fclose(f);
    if (status == EXIT_DONE && rename(part, path) != 0)
        status = EXIT_REFUSED;
    if (status == EXIT_DONE)
        printf("%s is the ledger as of log index %.0f.\n", path, index);
    else if (status == EXIT_REFUSED)
        complain("%s: no backup was made", path);
    if (status != EXIT_DONE)
        unlink(part);
    else if (*warning != '\0')
        printf("Warning: %s.\n", warning);
    free(part);
    return status;
}
