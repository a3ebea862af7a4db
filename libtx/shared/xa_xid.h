/* xa_xid: what a branch is called where X/Open XA is spoken in SQL, and the receipt that proves its commit
 * there. Used by the agent's MariaDB resource manager and by libtx's MariaDB branches; pure, no client library.
 *
 * xid: formatID 0x41535354 («ASST»); gtrid: group, session, sequence and nonce, eight bytes each, big-endian;
 * bqual: the branch's number, two bytes, big-endian (X/Open XA, «The XID»: 64 bytes each at most).
 *
 * Receipt: a row that the branch itself writes into assent.receipt (sql/setup-mariadb.sql) as its last
 * statement before XA PREPARE or XA COMMIT … ONE PHASE. It can be seen by everybody if and only if the branch
 * is committed; and by a reader at READ UNCOMMITTED, who learns from it which session the branch belongs to, as
 * long as the branch is open or prepared.
 */
#ifndef ASSENT_XA_XID_H
#define ASSENT_XA_XID_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/shared/txid.h"

enum {
    XA_FORMAT_ID = 0x41535354,
    XA_GTRID_SIZE = 32,
    XA_BQUAL_SIZE = 2,
    XA_KEY_SIZE = XA_GTRID_SIZE + XA_BQUAL_SIZE, /* of a receipt: gtrid and bqual */
    XA_XID_SQL_SIZE = 2 * XA_KEY_SIZE + 24,      /* X'…',X'…',1095979860 and NUL */
    XA_KEY_SQL_SIZE = 2 * XA_KEY_SIZE + 4,       /* X'…' and NUL */
    XA_RECEIPT_SQL_SIZE = 2 * XA_KEY_SIZE + 160,
    XA_ENDED = 30003, /* the error of XA_WHILE_IN_BRANCH */
};

/* "X'<gtrid>',X'<bqual>',1095979860", as XA START, PREPARE, COMMIT and ROLLBACK take it. */
void xa_xid_format(const struct txid *id, unsigned branch, char out[XA_XID_SQL_SIZE]);
/* A row of XA RECOVER: format and lengths as the server says them, data with its `len` bytes. False where it is
 * not exactly what xa_xid_format() makes. */
bool xa_xid_parse(unsigned long long format, unsigned long long gtrid_len, unsigned long long bqual_len,
                  const void *data, size_t len, struct txid *id, unsigned *branch);

/* "X'<gtrid><bqual>'": the receipt's key. */
void xa_xid_key(const struct txid *id, unsigned branch, char out[XA_KEY_SQL_SIZE]);
/* The key back, from its bytes in a row of assent.receipt; false: it is none of a prepared branch. */
bool xa_xid_parse_key(const void *key, size_t len, struct txid *id, unsigned *branch);
/* A receipt is written at the server's own time: CURRENT_TIMESTAMP would be whatever the application has said
 * with SET timestamp, and one that seems old is deleted early. (A server with the option sysdate-is-now knows
 * no other; the agent's test finds that.) The zone makes it exact where clocks are put back. */
#define XA_RECEIPT_INSERT                    \
    "SET STATEMENT time_zone = '+00:00' FOR" \
    " INSERT INTO assent.receipt (gid, thread, at) VALUES (%s, CONNECTION_ID(), SYSDATE(3))"
/* In front of it in BEGIN NOT ATOMIC: outside of the branch the receipt would be committed by itself, and lie.
 */
#define XA_WHILE_IN_BRANCH                                                                                   \
    "IF NOT @@in_transaction THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30003, MESSAGE_TEXT = 'ended'; " \
    "END IF; "
/* The statement that writes the receipt. */
void xa_xid_receipt(const struct txid *id, unsigned branch, char out[XA_RECEIPT_SQL_SIZE]);

#endif
