/* mariadb: moves money from an account in a PostgreSQL database to an account in a MariaDB database. Both
 * balances change, or neither does, whatever crashes in between.
 *
 *   mariadb 'host=… dbname=…' HOST PORT USER PASSWORD DATABASE [AMOUNT]
 *
 * Needed: a key (ASSENT_IDENTITY, with the role client; or ASSENT_INSECURE=1, on a laptop), a coordinator
 * (ASSENT_COORDINATORS, default tcp://127.0.0.1:7401), an agent that serves both
 * databases as the resources bank_a and bank_b, sql/setup-mariadb.sql run with USER among its @applications,
 * and in each
 *
 *   CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
 *   INSERT INTO accounts VALUES (1, 1000);
 *
 * Expected output of the first run, and of a run with more than there is:
 *
 *   committed: moved 10
 *
 *   not committed: bank_a: ERROR:  new row for relation "accounts" violates check constraint …
 *
 *   cc mariadb.c $(pkg-config --cflags --libs libtx libmariadb)
 */
#include <stdio.h>
#include <stdlib.h>

#include <libtx_mariadb.h>
#include <libtx_pg.h>

static int take(PGconn *conn, long amount)
{
    char sql[96];
    PGresult *res;
    int rc;

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance - %ld WHERE id = 1", amount);
    res = PQexec(conn, sql);
    rc = PQresultStatus(res) == PGRES_COMMAND_OK ? 0 : -1;
    if (rc != 0)
        printf("not committed: bank_a: %s", PQerrorMessage(conn));
    PQclear(res);
    return rc;
}

static int give(MYSQL *conn, long amount)
{
    char sql[96];

    snprintf(sql, sizeof sql, "UPDATE accounts SET balance = balance + %ld WHERE id = 1", amount);
    if (mysql_query(conn, sql) == 0)
        return 0;
    printf("not committed: bank_b: %s\n", mysql_error(conn));
    return -1;
}

static int transfer(tx_client *client, PGconn *a, MYSQL *b, long amount)
{
    struct tx_error e = {0};
    txn *t;
    int rc = txn_begin(client, &t, &e);

    if (rc != 0) {
        printf("not committed: %s\n", e.msg);
        return rc;
    }
    if ((rc = txn_enlist_pg(t, "bank_a", a, &e)) != 0 || (rc = txn_enlist_mariadb(t, "bank_b", b, &e)) != 0)
        printf("not committed: %s\n", e.msg);
    else if ((rc = take(a, amount)) == 0 && (rc = give(b, amount)) == 0) {
        rc = txn_commit(t, TXN_COMPLETED, &e);
        if (rc == 0)
            printf("committed: moved %ld\n", amount);
        else
            printf("%s\n", e.msg); /* rolled back, or in doubt, or committed and not finished everywhere */
    }
    txn_free(t); /* rolls back what was not committed */
    return rc;
}

int main(int argc, char **argv)
{
    PGconn *a = PQconnectdb(argc > 1 ? argv[1] : "");
    MYSQL *b = mysql_init(NULL);
    long amount = argc > 7 ? strtol(argv[7], NULL, 10) : 10;
    tx_client *client = NULL;
    struct tx_error e;
    int rc = 1;

    if (argc < 7)
        printf("usage: mariadb CONNINFO HOST PORT USER PASSWORD DATABASE [AMOUNT]\n");
    else if (PQstatus(a) != CONNECTION_OK)
        printf("%s", PQerrorMessage(a));
    else if (!mysql_real_connect(b, argv[2], argv[4], argv[5], argv[6], (unsigned)atoi(argv[3]), NULL, 0))
        printf("%s\n", mysql_error(b));
    else if (tx_client_open(&client, NULL, &e) != 0)
        printf("%s\n", e.msg);
    else
        rc = transfer(client, a, b, amount) != 0;
    tx_client_close(client);
    mysql_close(b);
    PQfinish(a);
    return rc;
}
