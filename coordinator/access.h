/* access: who may do what. The roles that a request takes, and whose session a client may speak for.
 *
 * Pure. server resolves the caller of every message, and asks here before it dispatches; driver is told the
 * caller; admin asks for its verbs. docs/security.md has the same table for people.
 */
#ifndef ASSENT_ACCESS_H
#define ASSENT_ACCESS_H

#include <stdbool.h>

#include "coordinator/ledger.h"
#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"
#include "libtx/shared/wire.h"

/* By whom a request comes. Borrowed from the ledger or a keyring: good until the next record is applied. */
struct caller {
    const uint8_t *key; /* KEY_SIZE bytes; NULL: nobody was asked (insecure), and everything is permitted */
    const char *name;
    unsigned roles;
    const char *grant;
};

/* Whose key it is: the ledger says, or, of a key that it has never heard of, the node's own keys file. False:
 * it is revoked, or nobody knows it. */
bool access_caller(const struct ledger *l, const struct keyring *file, const uint8_t key[KEY_SIZE],
                   struct caller *out);

/* What the key is called in the ledger, though it may be revoked; NULL: it has never heard of it. */
const char *access_name(const struct ledger *l, const uint8_t key[KEY_SIZE]);

/* May the caller send this request? TX_EDENIED; the message names what is missing and who may grant it. Of an
 * admin's request it says only whether any verb may be asked: see access_check_verb(). */
int access_check(const struct ledger *l, const struct caller *c, const struct wire_message *m,
                 struct tx_error *e);
/* May it `act` ("resolve"), which takes one of these roles? TX_EDENIED. */
int access_check_verb(const struct caller *c, const char *act, unsigned roles, struct tx_error *e);

/* The session is the caller's: opened with its key, or another key of its name, or by nobody who was asked. */
bool access_owns(const struct ledger *l, const struct caller *c, const struct session *s);

#endif
