/* order: sells a piece from the store-room of examples/service.c, and writes the order down in a PostgreSQL
 * database: both, or neither.
 *
 *   order 'host=… dbname=…' PORT ITEM [N]
 *
 * Needed: a key (ASSENT_IDENTITY, role client; or ASSENT_INSECURE=1), a coordinator (ASSENT_COORDINATORS), an
 * agent that serves the database as the resource bank_a, in it the table
 *   CREATE TABLE orders (transaction text, item text, n int);  and
 *   service stock.journal 7500 &
 *   bash -c 'echo put bolt 100 > /dev/tcp/127.0.0.1/7500'
 *
 * Expected output, of this and of an order for more than there is:
 *   committed: 3 of bolt
 *   not committed: no there are not 1000 of bolt
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libtx_pg.h>

enum { LINE = 512 };

/* One request to the service, with the transaction's context in it. 0: it has put the pieces by. */
static int take(const char *port, const char *context, const char *item, int n, char answer[LINE])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    FILE *service;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    strcpy(answer, "no answer from the service\n");
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || (service = fdopen(fd, "r+")) == NULL) {
        close(fd);
        return -1;
    }
    fprintf(service, "take %s %s %d\n", context, item, n);
    fflush(service);
    (void)!fgets(answer, LINE, service);
    fclose(service);
    return strcmp(answer, "ok\n") == 0 ? 0 : -1;
}

static int write_down(PGconn *bank, const char *id, const char *item, int n)
{
    char count[16];
    const char *values[] = {id, item, count};
    PGresult *r;
    int ok;

    snprintf(count, sizeof count, "%d", n);
    r = PQexecParams(bank, "INSERT INTO orders VALUES ($1, $2, $3)", 3, NULL, values, NULL, NULL, 0);
    ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok ? 0 : -1;
}

static int order(tx_client *client, PGconn *bank, const char *port, const char *item, int n)
{
    char context[TXN_CONTEXT_SIZE], answer[LINE];
    struct tx_error e = {0};
    txn *t = NULL;
    int rc = -1;

    if (txn_begin(client, &t, &e) != 0 || txn_enlist_pg(t, "bank_a", bank, &e) != 0 ||
        txn_export(t, "stock", context, &e) != 0)
        printf("not committed: %s\n", e.msg);
    else if (take(port, context, item, n, answer) != 0)
        printf("not committed: %s", answer);
    else if (write_down(bank, txn_id(t), item, n) != 0)
        printf("not committed: %s", PQerrorMessage(bank));
    else if ((rc = txn_commit(t, TXN_COMPLETED, &e)) == 0)
        printf("committed: %d of %s\n", n, item);
    else
        printf("%s\n", e.msg); /* rolled back, or in doubt, or committed and not finished everywhere */
    txn_free(t);               /* rolls back what was not committed, in the service, too */
    return rc;
}

int main(int argc, char **argv)
{
    PGconn *bank = PQconnectdb(argc > 1 ? argv[1] : "");
    tx_client *client = NULL;
    struct tx_error e;
    int rc = -1;

    if (argc < 4)
        printf("usage: order CONNINFO PORT ITEM [N]\n");
    else if (PQstatus(bank) != CONNECTION_OK)
        printf("%s", PQerrorMessage(bank));
    else if (tx_client_open(&client, NULL, &e) != 0)
        printf("%s\n", e.msg);
    else
        rc = order(client, bank, argv[2], argv[3], argc > 4 ? atoi(argv[4]) : 1);
    tx_client_close(client);
    PQfinish(bank);
    return rc != 0;
}
