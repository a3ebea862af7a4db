/* libfuzzer: the fuzz targets under libFuzzer; see make fuzz, and README.md. The program's name says which
 * target it is: fuzz-TARGET. As `fuzz-TARGET --seeds DIRECTORY` it writes the target's seeds there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct fuzz_target *target;

struct directory_sink {
    struct fuzz_sink sink; /* the first member */
    const char *directory;
    unsigned n;
};

static void write_seed(struct fuzz_sink *sink, const void *data, size_t len)
{
    struct directory_sink *to = (struct directory_sink *)sink;
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/seed-%03u", to->directory, to->n++);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(2);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = strrchr((*argv)[0], '/');
    struct directory_sink to = {.sink = {write_seed}};

    name = name == NULL ? (*argv)[0] : name + 1;
    target = strncmp(name, "fuzz-", 5) == 0 ? fuzz_target(name + 5) : NULL;
    if (target == NULL) {
        fprintf(stderr, "%s: there is no such target; they are:", name);
        for (const struct fuzz_target *t = fuzz_targets(); t->name != NULL; t++)
            fprintf(stderr, " fuzz-%s", t->name);
        fprintf(stderr, "\n");
        exit(2);
    }
    if (*argc == 3 && strcmp((*argv)[1], "--seeds") == 0) {
        to.directory = (*argv)[2];
        target->seed(&to.sink);
        exit(0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    target->run(data, len);
    return 0;
}
