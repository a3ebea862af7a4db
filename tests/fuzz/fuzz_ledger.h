/* fuzz_ledger: ledgers for the fuzz targets. */
#ifndef ASSENT_TESTS_FUZZ_LEDGER_H
#define ASSENT_TESTS_FUZZ_LEDGER_H

#include "coordinator/ledger.h"
#include "tests/fuzz/fuzz.h"

enum { FUZZ_GROUP = 7 };

/* Whatever is in it, its snapshot restores to the same, byte for byte; and nobody's question is too much. */
void fuzz_ledger_check(const struct ledger *l);
/* A ledger with something of everything in it; with an entry of such records. */
struct ledger *fuzz_ledger_sample(void);
void fuzz_ledger_entry(struct buf *entry);
/* Applies an entry; false where it is damaged, and what stood before the damage is applied. */
bool fuzz_ledger_apply(struct ledger *l, const void *data, size_t len);

#endif
