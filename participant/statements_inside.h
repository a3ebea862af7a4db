/* statements_inside: what statements.c (the channel, EXEC) and statements_finish.c (FINISH) share, and nobody
 * else sees.
 */
#ifndef ASSENT_STATEMENTS_INSIDE_H
#define ASSENT_STATEMENTS_INSIDE_H

#include "participant/agent.h"

/* statements.c */

void statements_send(struct statements *s, const struct reply_to *to, const struct wire_message *m);
void statements_error(struct statements *s, const struct reply_to *to, int code, const char *text);
/* Whether this agent does anything for a transaction: TX_EUNREACHABLE, TX_EREFUSED. */
int statements_admit(const struct statements *s, const struct txid *id, struct tx_error *e);
/* Whether the branch, which may be NULL, is that of whoever sent the message. TX_EDENIED: it was begun by
 * another. */
int statements_check_owner(const struct statements *s, const struct held *h, struct tx_error *e);
/* From here on it is his, where it is nobody's yet. One that no application has begun stays the coordinator's.
 */
void statements_own(const struct statements *s, struct held *h);
/* Writes the audit line. */
void statements_denied(struct statements *s, const char *act, const char *resource, const char *why);

/* statements_finish.c */

void statements_finish(struct statements *s, const struct wire_finish *f, const struct reply_to *from);

#endif
