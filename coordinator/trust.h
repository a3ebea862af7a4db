/* trust: as whom this node speaks, and whom it believes: the keys of the ledger, and, of what that has never
 * heard of, those of the node's keys file.
 *
 * main opens it, gives its channels what it says, and tells it of every applied entry, after which nobody is
 * heard any more whose key was revoked. Who is refused is audited.
 */
#ifndef ASSENT_TRUST_H
#define ASSENT_TRUST_H

#include <uv.h>

#include "coordinator/audit.h"
#include "coordinator/driver.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"

struct trust {
    struct security security;
    struct channel_security everybody; /* who may call: whoever has a key */
    struct channel_security nodes;     /* coordinators alone */
    const struct driver *driver;       /* NULL: not there yet, and the file alone counts */
    struct audit *audit;
    uv_loop_t *loop;
    uint64_t version; /* of the ledger's keys when they were looked at last */
};

struct trust_options {
    struct security_options security;
    struct secure_limits limits;
    struct audit *audit; /* borrowed, as the loop */
    uv_loop_t *loop;
};

/* As security_open(). `t` stays where it is until trust_release(). */
int trust_open(struct trust *t, const struct trust_options *options, struct tx_error *e);
void trust_release(struct trust *t);

/* For channels and admin; NULL: insecure. */
const struct channel_security *trust_everybody(const struct trust *t);
const struct channel_security *trust_nodes(const struct trust *t);
const struct keyring *trust_file(const struct trust *t);

/* Calls drop() for each key that is revoked, where the ledger's keys have changed. */
void trust_look(struct trust *t, void (*drop)(const uint8_t key[KEY_SIZE]));

#endif
