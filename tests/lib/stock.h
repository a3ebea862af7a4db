/* stock: the service of examples/service.c in a world, a participant of the user's, and what it knows.
 *
 * Used by kit and the tests in tests/e2e; calls world. A check that fails ends the test (cmocka).
 */
#ifndef ASSENT_STOCK_H
#define ASSENT_STOCK_H

#include <stdbool.h>

#include "libtx/libtx.h"
#include "tests/lib/world.h"

enum { STOCK_PIECES = 1000000, STOCK_LINE = 512 };

struct stock {
    struct world_process *process;
    unsigned port;
    char journal[WORLD_PATH_SIZE];
};

/* One request to the service on this port; false: no answer. */
bool stock_ask(unsigned port, const char *request, char answer[STOCK_LINE]);
/* Takes so many bolts in this transaction, which gets a branch in «stock». TX_EROLLBACK: it gave none. */
int stock_take(unsigned port, txn *t, int pieces, struct tx_error *e);

/* Starts the service, with STOCK_PIECES bolts. */
void stock_open(struct stock *s, struct world *w);
/* Waits until the coordinator has heard of it. */
void stock_await(struct world *w);
/* Puts back what is gone: a test begins with STOCK_PIECES. */
void stock_fill(const struct stock *s);
/* Bolts that are there, and promised to nobody. */
long stock_count(const struct stock *s);

/* What its journal says, whether it runs or not. */
char *stock_journal(const struct stock *s); /* owned by the caller */
/* Branches that are prepared, and neither committed nor rolled back: those that list_in_doubt names. */
unsigned stock_prepared(const struct stock *s);
/* Whether a branch of this transaction is committed, by the text of stock_journal(). */
bool stock_committed(const char *journal, const char *transaction);

#endif
