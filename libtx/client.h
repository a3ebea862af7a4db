/* client: what all transactions of one tx_client share: its settings, the calls to coordinators and agents, the
 * session, and what it has learnt about resources.
 *
 * Used by txn, finish, remote and the drivers; uses session, call and settings.
 */
#ifndef LIBTX_CLIENT_H
#define LIBTX_CLIENT_H

#include <pthread.h>
#include <stdbool.h>

#include "libtx/call.h"
#include "libtx/session.h"
#include "libtx/shared/security.h"

enum { NOTE_LIMIT = 64 }; /* resources that a client remembers something about */

/* What earlier transactions showed of a resource. Nothing but speed depends on it. */
struct note {
    char resource[NAME_LIMIT + 1];
    bool wrote;         /* the last branch on it did */
    struct peer *agent; /* where its agent listens; NULL: to be asked */
};

struct client_memory;

struct tx_client {
    struct security security;
    struct calls *calls;
    struct app_session session;
    uint32_t transaction_timeout_ms, commit_timeout_ms;
    pthread_mutex_t mutex; /* guards the notes and memories */
    struct note notes[NOTE_LIMIT];
    size_t n_notes;
    struct client_memory *memories; /* drivers' */
};

/* Whether the branch on this resource is expected to write. */
bool client_expects_write(struct tx_client *client, const char *resource);
void client_note_write(struct tx_client *client, const char *resource, bool wrote);

/* What the driver that this address stands for remembers of this client's connections: so many bytes, zero at
 * first, as long as the client lives. The mutex is held. NULL: out of memory. */
void *client_memory(struct tx_client *client, const void *driver, size_t size);

/* The agent of a resource: the one noted, or the coordinator is asked. TX_ENOTFOUND: there is none. */
int client_locate(struct tx_client *client, const char *resource, uint64_t deadline_ms, struct peer **agent,
                  struct tx_error *e);
/* The noted agent does not answer: ask again the next time. */
void client_forget_agent(struct tx_client *client, const char *resource);

#endif
