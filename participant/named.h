/* named: the statements that an agent may be restricted to. A file has them, a line each:
 *
 *     # name = SQL
 *     debit = UPDATE accounts SET balance = balance - $2 WHERE id = $1
 *
 * and an application executes «@debit», with its values. So whoever has a client's key, and nothing but that,
 * can do in the database what stands in the file. Read once, at the agent's start. Used by main and statements.
 */
#ifndef ASSENT_NAMED_H
#define ASSENT_NAMED_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/shared/err.h"
#include "libtx/shared/words.h"

enum { NAMED_LIMIT = 4096 /* statements of a file */ };

struct named_statement {
    char name[NAME_LIMIT + 1];
    char *sql; /* owned */
};

/* Zeroed: whatever an application sends is executed. */
struct named {
    bool restricted; /* to these; none at all where there are none */
    size_t n;
    struct named_statement *list; /* owned */
};

/* What the setting says: "any", "none", or a file. TX_EIO; TX_EINVAL names file, line and what would be right;
 * TX_EBUSY; TX_ENOMEM. Nothing is left to release then. */
int named_load(struct named *t, const char *setting, struct tx_error *e);
/* What is to be executed where `statement` is asked for; borrowed from either. `t` NULL: unrestricted. NULL:
 * TX_EDENIED, with the remedy. */
const char *named_resolve(const struct named *t, const char *statement, struct tx_error *e);
void named_release(struct named *t);

#endif
