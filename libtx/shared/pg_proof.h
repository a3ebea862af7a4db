/* pg_proof: the text that a PostgreSQL branch's vote carries, so that «not found» at COMMIT PREPARED can be
 * told apart later: which transaction it was, on which server, and how far its log had come.
 *
 * pg_xact_status(xid) tells what became of a transaction as long as the xid is its own. After a failover to a
 * standby that lacked the end of the log, or on another server under the same name, the xid may have been given
 * out again. So the vote says whose log it stands in: the system identifier of the server, its timeline, and
 * the place in that log behind which the xid is on record. A timeline that comes from this one inherits the log
 * up to its fork: if the place lies before the fork the xid is the branch's there, too; else the branch, which
 * was prepared behind that place, is not there at all.
 *
 * Used by libtx's driver pg and by the agent's rm_pg*; calls nothing. Pure.
 */
#ifndef ASSENT_PG_PROOF_H
#define ASSENT_PG_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "libtx/shared/words.h"

enum { PG_XID_SIZE = 24, PG_SYSTEM_SIZE = 24 };

/* Columns of the question that goes with PREPARE TRANSACTION: the xid if it had one (else it has written
 * nothing so far), its xid, and the end of a record of this transaction in the log. The record is written for
 * this: work on unlogged tables alone leaves none. Every role may call all of these functions. */
#define PG_PROOF_COLUMNS                                                             \
    "pg_catalog.pg_current_xact_id_if_assigned(), pg_catalog.pg_current_xact_id(), " \
    "pg_catalog.pg_logical_emit_message(true, '', '')"
/* The name of the current file of the log, which begins with the timeline, and the system identifier. Not in
 * recovery. */
#define PG_PROOF_TIMELINE "pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())"
#define PG_PROOF_SYSTEM "(pg_catalog.pg_control_system()).system_identifier"

/* For a COMMIT in one phase, whose xid may not have reached the disk: the server's incarnation as text,
 * PostgreSQL 15 and later: when its statistics began, which every crash sets anew, but which a copy of a data
 * directory inherits, and its timeline, which every failover sets anew. «Committed» is believed in the
 * incarnation that the xid is from, and in no other. «Aborted» is true in any. */
#define PG_INCARNATION                                                                \
    "extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) || '/' ||" \
    " pg_catalog.substr(" PG_PROOF_TIMELINE ", 1, 8)"
enum { PG_INCARNATION_SIZE = 40 };

struct pg_proof {
    char xid[PG_XID_SIZE];       /* decimal, 64 bits; "": none */
    char system[PG_SYSTEM_SIZE]; /* decimal; "": not known, and then the next two are not either */
    uint32_t timeline;           /* 0: not known */
    uint64_t lsn;                /* the xid is on record up to here, PREPARE is behind; 0: not known */
};

/* "xid=… sys=… tli=… lsn=…", what is not known left out; "" without an xid. */
void pg_proof_format(const struct pg_proof *p, char out[PROOF_LIMIT + 1]);
/* False: NULL, or not such a text. */
bool pg_proof_parse(const char *text, struct pg_proof *p);

/* "0/16B3748" as a number; 0 where it is none. NULL is allowed. */
uint64_t pg_lsn_parse(const char *text);
/* The timeline in the name of a file of the log; 0 where it is none. NULL is allowed. */
uint32_t pg_timeline_parse(const char *file);

#endif
