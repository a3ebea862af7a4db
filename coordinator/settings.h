/* settings: what txcoordd is told, by its file and its flags. Read by main.c alone, which hands on what its
 * parts need. txcoordd(8) describes each.
 */
#ifndef ASSENT_SETTINGS_H
#define ASSENT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/shared/err.h"

struct settings {
    char *data_dir, *listen, *advertise, *peer_listen, *peer_advertise, *restore, *log_level;
    char *identity, *keys, *audit_log;
    bool insecure;
    unsigned node_id;
    size_t segment_size, snapshot_size;
    unsigned heartbeat_ms, election_ms;
    unsigned vote_timeout_ms, retention_ms;
    unsigned max_sessions, max_sessions_per_key, max_transactions, max_agents;
    unsigned max_connections, max_lines, max_lines_per_key, handshake_rate;
    /* Made of the others. */
    const char *client_address; /* what applications and agents reach this node by */
    const char *peer_address;   /* and the other nodes; NULL: none is spoken to */
};

/* Reads them, and begins to log as they say. Good until settings_release(). NULL, with a message that names
 * what is wrong. */
const struct settings *settings_load(int argc, char **argv, struct tx_error *e);
void settings_release(void);

#endif
