/* pg_reply: what PostgreSQL answered to one operation, and what it means. Pure, so that the tables can be
 * tested without a server. Used by pg and pg_query.
 */
#ifndef LIBTX_PG_REPLY_H
#define LIBTX_PG_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "libtx/txn_branch.h"

enum { PG_COLUMNS = 5, PG_COLUMN_SIZE = 64 };

struct pg_reply {
    bool lost; /* the connection is gone */
    bool rows; /* a row came; its first columns, "" for null: */
    char column[PG_COLUMNS][PG_COLUMN_SIZE];
    char tag[32];     /* of the last command that succeeded: "PREPARE TRANSACTION" */
    char sqlstate[6]; /* of the first error; "" for none */
    char text[160];   /* its message */
};

/* The first line of a message of libpq's or the server's, cut to size. NULL is allowed, and empty. */
void pg_first_line(char *out, size_t size, const char *text);

/* What the reply says to an operation. A vote is yes on the exact tag alone: PREPARE TRANSACTION in a failed
 * transaction answers «success» with the tag ROLLBACK (PostgreSQL 15 manual, PREPARE TRANSACTION, Notes). */
enum branch_answer pg_judge(enum branch_op op, const struct pg_reply *r);

/* «bank_a: prepare: 40001 could not serialize access …; retry the transaction», with code TX_EROLLBACK. */
void pg_explain(struct tx_error *e, const char *resource, enum branch_op op, const struct pg_reply *r);

/* What to do about an error at this operation; NULL where the server's own text must do. */
const char *pg_remedy(enum branch_op op, const char *sqlstate);

#endif
