/* targets: the list of fuzz targets, a file tests/fuzz/fuzz_NAME.c each. */
#ifndef ASSENT_TESTS_FUZZ_TARGETS_H
#define ASSENT_TESTS_FUZZ_TARGETS_H

#include "tests/fuzz/fuzz.h"

/* X(name, mutations that `make test` tries) */
#define FUZZ_TARGET_LIST(X) \
    X(wire, 20000)          \
    X(driver, 5000)         \
    X(record, 10000)        \
    X(ledger, 10000)        \
    X(backup, 5000)         \
    X(wal, 2000)            \
    X(replog, 20000)        \
    X(peer, 500)            \
    X(conf, 5000)           \
    X(settings, 10000)      \
    X(named, 5000)          \
    X(names, 20000)         \
    X(keys, 5000)           \
    X(audit, 10000)         \
    X(secure, 500)

#define FUZZ_TARGET_DECLARE(name, mutations)                 \
    void fuzz_##name##_run(const uint8_t *data, size_t len); \
    void fuzz_##name##_seed(struct fuzz_sink *to);
FUZZ_TARGET_LIST(FUZZ_TARGET_DECLARE)
#undef FUZZ_TARGET_DECLARE

#endif
