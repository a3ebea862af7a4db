/* admin: answers the operator (txadmin): JSON questions in WIRE_ADMIN, JSON answers in WIRE_ADMIN_REPLY.
 *
 * server hands it requests. It reads driver, ledger and replog, has driver carry out what the operator decides,
 * and asks agents where only they know (show, doctor); such answers come late. A question is
 * {"verb": "…", …}; an answer {"ok": true, …} or {"ok": false, "code": …, "error": "…"}, where code is an enum
 * tx_err. The verbs are the table in admin.c; what they take and give stands at their functions.
 *
 * Each verb takes a role: an observer may ask what changes nothing, an operator all. Who may not is answered
 * WIRE_ERROR TX_EDENIED. Denials and acts are audited here, so server audits nothing of WIRE_ADMIN.
 *
 * A verb that only the leader can answer is refused elsewhere by WIRE_ERROR TX_ENOTLEADER with the leader's
 * address.
 */
#ifndef ASSENT_ADMIN_H
#define ASSENT_ADMIN_H

#include <stdint.h>

#include "coordinator/access.h"
#include "coordinator/audit.h"
#include "coordinator/driver.h"
#include "coordinator/group.h"
#include "coordinator/replog.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

struct admin;

/* All borrowed until admin_free(). */
struct admin_options {
    struct driver *driver;
    struct replog *replog;
    struct group *group;
    const char *listen, *data_dir; /* shown by status */
    uint64_t started;              /* monotonic, ms */
    struct audit *audit;
    const char *keys; /* this node's keys file, which doctor looks at; NULL: insecure */
    /* Sends an answer, now or never. */
    void (*reply)(void *ctx, const struct reply_to *to, const struct wire_message *m);
    void *ctx;
};

/* TX_ENOMEM. */
int admin_new(struct admin **out, const struct admin_options *options, struct tx_error *e);
/* Answers that are still to come are dropped; so free the driver, which may call back until then, before. */
void admin_free(struct admin *a);

/* The caller is borrowed for the call. */
void admin_request(struct admin *a, uint64_t now, uint64_t wall, const struct caller *caller,
                   const struct reply_to *from, const struct wire_admin *m);

#endif
