/* clients: the keys of those who may execute statements here, as the coordinator that leads tells them.
 *
 * Every WORK that brings them brings all of them. Until the first has come nobody is believed, and nobody can
 * be told from a stranger. Used by agent and statements.
 */
#ifndef ASSENT_CLIENTS_H
#define ASSENT_CLIENTS_H

#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/keys.h"
#include "libtx/shared/wire.h"

struct client_key;

/* All zero: none told yet. */
struct clients {
    uint64_t version; /* the coordinator's; 0: not told yet */
    struct client_key *table;
};

/* Takes what a WORK brings; one that brings none changes nothing. `gone` is told of each key that is believed
 * no more; it may ask for names, and finds the new ones. TX_ENOMEM: nothing has changed. */
int clients_take(struct clients *c, const struct wire_work *work,
                 void (*gone)(void *arg, const uint8_t key[KEY_SIZE]), void *arg, struct tx_error *e);
/* The name of whoever has this key; borrowed until the next clients_take(). NULL: is none of them. */
const char *clients_name(const struct clients *c, const uint8_t key[KEY_SIZE]);
void clients_release(struct clients *c);

#endif
