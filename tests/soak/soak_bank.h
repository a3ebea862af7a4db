/* soak_bank: an application's own connection to a bank, be it PostgreSQL or MariaDB, with what the two say
 * differently. Used by soak_client; calls libpq, libmariadb and libtx for either.
 */
#ifndef ASSENT_SOAK_BANK_H
#define ASSENT_SOAK_BANK_H

#include <libpq-fe.h>
#include <mysql.h>
#include <stdbool.h>
#include <stddef.h>

#include "libtx/libtx.h"

enum { BANK_VALUE_SIZE = 32 };

/* What a client is told of a bank that is a MariaDB server: this and its port. Else it is a conninfo. */
#define BANK_MARIADB "mariadb "

/* One thread's. */
struct bank {
    const char *where; /* borrowed */
    PGconn *pg;        /* owned; NULL: not connected, or MariaDB */
    MYSQL *my;         /* owned; NULL: not connected, or PostgreSQL */
};

bool bank_is_mariadb(const char *where);
/* There is a connection that works, be it a new one. */
bool bank_connect(struct bank *b);
/* The connection becomes a direct branch. TX_* as of txn_enlist_pg() and txn_enlist_mariadb(). */
int bank_enlist(struct bank *b, txn *t, const char *resource, struct tx_error *error);
/* Runs one statement. TX_OK, or TX_ESTATEMENT. */
int bank_run(struct bank *b, const char *sql);
/* The first value that a query returns. False: it failed. */
bool bank_ask(struct bank *b, const char *sql, char value[BANK_VALUE_SIZE]);
/* Ends the connection, where there is one. */
void bank_close(struct bank *b);

#endif
