/* soak_bank: see soak_bank.h. */
#include "tests/soak/soak_bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx_mariadb.h"
#include "libtx/libtx_pg.h"

enum { CONNECT_S = 5 };

bool bank_is_mariadb(const char *where)
{
    return strncmp(where, BANK_MARIADB, strlen(BANK_MARIADB)) == 0;
}

/* libtx ends a connection that it could not finish a branch on, and the next call then fails. */
static bool connect_mariadb(struct bank *b)
{
    unsigned port = (unsigned)atoi(b->where + strlen(BANK_MARIADB));

    if (b->my != NULL && mysql_ping(b->my) == 0)
        return true;
    bank_close(b);
    b->my = mysql_init(NULL);
    if (b->my == NULL)
        return false;
    mysql_options(b->my, MYSQL_OPT_CONNECT_TIMEOUT, &(unsigned){CONNECT_S});
    mysql_options(b->my, MYSQL_OPT_PROTOCOL, &(unsigned){MYSQL_PROTOCOL_TCP});
    if (mysql_real_connect(b->my, "127.0.0.1", "app", "", "bank", port, NULL, 0) != NULL)
        return true;
    bank_close(b);
    return false;
}

bool bank_connect(struct bank *b)
{
    if (bank_is_mariadb(b->where))
        return connect_mariadb(b);
    if (b->pg != NULL && PQstatus(b->pg) == CONNECTION_OK)
        return true;
    PQfinish(b->pg);
    b->pg = PQconnectdb(b->where);
    return PQstatus(b->pg) == CONNECTION_OK;
}

int bank_enlist(struct bank *b, txn *t, const char *resource, struct tx_error *error)
{
    if (b->my != NULL)
        return txn_enlist_mariadb(t, resource, b->my, error);
    return txn_enlist_pg(t, resource, b->pg, error);
}

static bool ask_mariadb(struct bank *b, const char *sql, char value[BANK_VALUE_SIZE])
{
    MYSQL_RES *rows;
    MYSQL_ROW row;
    bool ok;

    if (mysql_query(b->my, sql) != 0)
        return false;
    rows = mysql_store_result(b->my);
    ok = mysql_errno(b->my) == 0;
    row = rows != NULL ? mysql_fetch_row(rows) : NULL;
    snprintf(value, BANK_VALUE_SIZE, "%s", row != NULL && row[0] != NULL ? row[0] : "");
    mysql_free_result(rows);
    return ok;
}

bool bank_ask(struct bank *b, const char *sql, char value[BANK_VALUE_SIZE])
{
    ExecStatusType status;
    PGresult *r;

    if (b->my != NULL)
        return ask_mariadb(b, sql, value);
    r = PQexec(b->pg, sql);
    status = PQresultStatus(r);
    snprintf(value, BANK_VALUE_SIZE, "%s", PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

int bank_run(struct bank *b, const char *sql)
{
    char value[BANK_VALUE_SIZE];

    return bank_ask(b, sql, value) ? TX_OK : TX_ESTATEMENT;
}

void bank_close(struct bank *b)
{
    PQfinish(b->pg);
    if (b->my != NULL)
        mysql_close(b->my);
    b->pg = NULL;
    b->my = NULL;
}
