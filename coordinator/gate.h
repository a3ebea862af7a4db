/* gate: as whom this node speaks, and who is let in: the keys of the ledger, and, of what that has never
 * heard of, those of the node's keys file.
 *
 * main opens it, gives its channels what it says, and has it look after every applied entry whose lines between
 * nodes are to end, as its key was revoked; server refuses each request. Who is refused is audited.
 */
#ifndef ASSENT_GATE_H
#define ASSENT_GATE_H

#include <stdbool.h>
#include <uv.h>

#include "coordinator/audit.h"
#include "coordinator/driver.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"

struct gate {
    struct security security;
    struct channel_security everybody; /* who may call: whoever has a key */
    struct channel_security nodes;     /* coordinators alone */
    const struct driver *driver;       /* NULL: not there yet, and the file alone counts */
    struct audit *audit;
    uv_loop_t *loop;
    uint64_t version;    /* of the ledger's keys when they were looked at last */
    uint64_t settled_ms; /* uv_now() from which on who is not known is no more than that */
};

struct gate_options {
    struct security_options security;
    struct secure_limits limits;
    struct audit *audit; /* borrowed, as the loop */
    uv_loop_t *loop;
};

/* As security_open(). `g` stays where it is until gate_release(). */
int gate_open(struct gate *g, const struct gate_options *options, struct tx_error *e);
void gate_release(struct gate *g);

/* For channels and admin; NULL: insecure. */
const struct channel_security *gate_everybody(const struct gate *g);
const struct channel_security *gate_nodes(const struct gate *g);
const struct keyring *gate_file(const struct gate *g);

/* A node that has just started, or has no leader, may have heard nothing yet of the newest keys; so it says
 * nothing to whom it does not know, rather than that. */
void gate_settle(struct gate *g, bool leading, bool knows_leader);

/* Calls drop() for each key that is revoked, where the ledger's keys have changed. */
void gate_look(struct gate *g, void (*drop)(const uint8_t key[KEY_SIZE]));

#endif
