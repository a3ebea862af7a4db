/* transfer: moves money from an account in one PostgreSQL database to an account in another. Both balances
 * change, or neither does, whatever crashes in between.
 *
 *   transfer 'host=… dbname=…' 'host=… dbname=…' [AMOUNT]
 *
 * Needed: a key (ASSENT_IDENTITY, with the role client; or ASSENT_INSECURE=1, on a laptop), a coordinator
 * (ASSENT_COORDINATORS, default tcp://127.0.0.1:7401), an agent that serves both
 * databases as the resources bank_a and bank_b, and in each of them
 *
 *   CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
 *   INSERT INTO accounts VALUES (1, 1000);
 *
 * Expected output of the first run, and of a run with more than there is:
 *
 *   committed: moved 10
 *   bank_a: 990
 *   bank_b: 1010
 *
 *   not committed: bank_a: ERROR:  new row for relation "accounts" violates check constraint …
 *   bank_a: 990
 *   bank_b: 1010
 */
#include <stdio.h>
#include <stdlib.h>

#include <libtx_pg.h>

/* Adds `amount` to the balance of account 1. 0, or -1 with a message. */
static int add(const char *resource, PGconn *conn, long amount)
{
    char text[32];
    const char *values[] = {text};
    PGresult *res;
    int rc;

    snprintf(text, sizeof text, "%ld", amount);
    res = PQexecParams(conn, "UPDATE accounts SET balance = balance + $1 WHERE id = 1", 1, NULL, values, NULL,
                       NULL, 0);
    rc = PQresultStatus(res) == PGRES_COMMAND_OK ? 0 : -1;
    if (rc != 0)
        printf("not committed: %s: %s", resource, PQerrorMessage(conn));
    PQclear(res);
    return rc;
}

/* The transaction: both databases are enlisted, both are changed, and one commit ends it. */
static int transfer(tx_client *client, PGconn *a, PGconn *b, long amount)
{
    struct tx_error e = {0};
    txn *t;
    int rc = txn_begin(client, &t, &e);

    if (rc != 0) {
        printf("not committed: %s\n", e.msg);
        return rc;
    }
    if ((rc = txn_enlist_pg(t, "bank_a", a, &e)) != 0 || (rc = txn_enlist_pg(t, "bank_b", b, &e)) != 0)
        printf("not committed: %s\n", e.msg);
    else if ((rc = add("bank_a", a, -amount)) == 0 && (rc = add("bank_b", b, amount)) == 0) {
        rc = txn_commit(t, TXN_COMPLETED, &e);
        if (rc == 0)
            printf("committed: moved %ld\n", amount);
        else
            printf("%s\n", e.msg); /* rolled back, or in doubt, or committed and not finished everywhere */
    }
    txn_free(t); /* rolls back what was not committed */
    return rc;
}

static void show(const char *resource, PGconn *conn)
{
    PGresult *res = PQexec(conn, "SELECT balance FROM accounts WHERE id = 1");

    printf("%s: %s\n", resource, PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : PQerrorMessage(conn));
    PQclear(res);
}

int main(int argc, char **argv)
{
    PGconn *a = PQconnectdb(argc > 1 ? argv[1] : ""), *b = PQconnectdb(argc > 2 ? argv[2] : "");
    long amount = argc > 3 ? strtol(argv[3], NULL, 10) : 10;
    tx_client *client = NULL;
    struct tx_error e;
    int rc = 1;

    if (PQstatus(a) != CONNECTION_OK || PQstatus(b) != CONNECTION_OK)
        printf("%s%s", PQerrorMessage(a), PQerrorMessage(b));
    else if (tx_client_open(&client, NULL, &e) != 0)
        printf("%s\n", e.msg);
    else {
        rc = transfer(client, a, b, amount) != 0;
        show("bank_a", a);
        show("bank_b", b);
    }
    tx_client_close(client);
    PQfinish(a);
    PQfinish(b);
    return rc;
}
