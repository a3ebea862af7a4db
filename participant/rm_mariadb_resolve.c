/* rm_mariadb_resolve: the address of a server's host name, found by the loop's threads, for the client library
 * would block on it; see rm_mariadb_impl.h. Called by rm_mariadb_conn.c.
 *
 * Where the server's certificate is to be verified the library needs the name, and looks it up once more: with
 * an answer that was had a moment ago, and is never asked for where it could not be had.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

struct maria_resolve {
    uv_getaddrinfo_t request;
    struct rm *rm;
    struct maria_conn *conn; /* NULL: gone meanwhile */
};

static bool resolve_is_number(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static bool resolve_needs_name(const struct maria_settings *s)
{
    return s->ssl_verify && s->ssl_ca != NULL;
}

/* Each attempt that failed moves on to the next address. */
static const struct addrinfo *resolve_choose(const struct addrinfo *found, unsigned turn)
{
    const struct addrinfo *a;
    unsigned n = 0;

    for (a = found; a != NULL; a = a->ai_next)
        n++;
    for (a = found, turn = n == 0 ? 0 : turn % n; turn > 0; turn--)
        a = a->ai_next;
    return a;
}

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct maria_resolve *q = request->data;
    struct maria_conn *c = q->conn;
    const struct addrinfo *chosen = status == 0 ? resolve_choose(found, q->rm->address) : NULL;
    char address[INET6_ADDRSTRLEN] = "";

    if (chosen != NULL)
        getnameinfo(chosen->ai_addr, chosen->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    uv_freeaddrinfo(found);
    q->rm->open_handles--;
    free(q);
    if (c == NULL)
        return;
    c->resolve = NULL;
    if (address[0] == '\0')
        rm_mariadb_conn_resolved(c, NULL, "its host name cannot be resolved");
    else
        rm_mariadb_conn_resolved(c, resolve_needs_name(&c->rm->settings) ? c->rm->settings.host : address,
                                 NULL);
}

bool rm_mariadb_resolve(struct maria_conn *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *host = c->rm->settings.host;
    struct maria_resolve *q;

    if (host == NULL || resolve_is_number(host))
        return false;
    q = calloc(1, sizeof *q);
    if (q == NULL)
        return false;
    q->rm = c->rm;
    q->conn = c;
    q->request.data = q;
    if (uv_getaddrinfo(c->rm->options.loop, &q->request, resolved, host, NULL, &hints) != 0) {
        free(q);
        return false;
    }
    c->rm->open_handles++;
    c->resolve = q;
    return true;
}

void rm_mariadb_resolve_cancel(struct maria_conn *c)
{
    if (c->resolve != NULL)
        c->resolve->conn = NULL;
    c->resolve = NULL;
}
