/* mariadb_reply: what MariaDB answered to one operation, and what it means. Pure, so that the tables can be
 * tested without a server. Used by mariadb and mariadb_query.
 */
#ifndef LIBTX_MARIADB_REPLY_H
#define LIBTX_MARIADB_REPLY_H

#include <stdbool.h>

#include "libtx/txn_branch.h"

enum { MARIADB_COLUMNS = 6, MARIADB_COLUMN_SIZE = 32 };

/* Error codes that mean something here; the last three are our own SIGNALs. */
enum {
    MARIADB_CONNECTION_LOST = 2013,
    MARIADB_NOTA = 1397,        /* XAER_NOTA */
    MARIADB_RB_ROLLBACK = 1402, /* XA_RBROLLBACK */
    MARIADB_RB_TIMEOUT = 1613,
    MARIADB_RB_DEADLOCK = 1614,
    MARIADB_READ_ONLY = 30001, /* the branch wrote nothing */
    MARIADB_FAILED = 30002,    /* a statement in it had failed */
    MARIADB_ENDED = 30003,     /* there is no transaction on the connection */
};

struct mariadb_reply {
    unsigned error; /* 0: none */
    bool rows;      /* a row came; its first columns, "" for null: */
    char column[MARIADB_COLUMNS][MARIADB_COLUMN_SIZE];
    char text[160]; /* the error's */
};

/* The error says that the session is gone, and with it the answer. */
bool mariadb_is_lost(unsigned error);
/* An answer to XA ROLLBACK that leaves nothing behind. */
bool mariadb_is_rolled_back(unsigned error);

/* What the reply to the last statement of an operation says. XAER_NOTA is never success: a branch that is
 * finished, one that never was and one that another session holds answer it alike. */
enum branch_answer mariadb_judge(enum branch_op op, const struct mariadb_reply *r);

/* «bank_b: prepare: 1142 INSERT command denied …; run sql/setup-mariadb.sql …», with code TX_EROLLBACK. */
void mariadb_explain(struct tx_error *e, const char *resource, enum branch_op op,
                     const struct mariadb_reply *r);

/* What to do about an error; NULL where the server's own text must do. */
const char *mariadb_remedy(unsigned error);

#endif
