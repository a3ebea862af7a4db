/* fuzz: what the fuzz targets are, and what they have in common.
 *
 * A target takes any bytes and must neither crash nor break a check of its own. Seeds are made by the program's
 * own encoders, so that they are never older than the formats. libfuzzer.c runs one target for as long as is
 * wanted (make fuzz); tests/unit/test_fuzz_corpus.c runs all of them over seeds, corpus and mutations of both
 * (make test).
 */
#ifndef ASSENT_TESTS_FUZZ_H
#define ASSENT_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/buf.h"

/* Where seeds go. */
struct fuzz_sink {
    void (*put)(struct fuzz_sink *to, const void *data, size_t len);
};

struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *data, size_t len);
    void (*seed)(struct fuzz_sink *to);
    unsigned mutations; /* that `make test` tries; fewer where one takes long */
};

/* Ends with a NULL name. */
const struct fuzz_target *fuzz_targets(void);
/* NULL: there is none. */
const struct fuzz_target *fuzz_target(const char *name);

/* True, or the program ends: this is what a target has found. */
#define fuzz_check(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_broken(const char *file, int line, const char *condition);

/* For seeds */

void fuzz_put(struct fuzz_sink *to, const void *data, size_t len);
void fuzz_put_text(struct fuzz_sink *to, const char *text);
/* And releases it. */
void fuzz_put_buf(struct fuzz_sink *to, struct buf *b);

/* For targets */

/* The rest of the input, or as much of it as there is of `len` bytes, in memory of exactly this size, to be
 * freed. */
uint8_t *fuzz_bytes(struct cur *c, size_t *len);
/* The input up to its first NUL, as a string, to be freed. */
char *fuzz_text(const uint8_t *data, size_t len);
/* A file with this content, mode 0600; the path is good until the next call of the same thread. */
const char *fuzz_file(const void *data, size_t len);
/* A directory in memory, where there is such a place; made once, emptied at each call. */
const char *fuzz_directory(void);
void fuzz_directory_put(const char *directory, const char *name, const void *data, size_t len);
/* libsodium's random numbers are the same from here on, every time. */
void fuzz_random_begin(uint64_t seed);

#endif
