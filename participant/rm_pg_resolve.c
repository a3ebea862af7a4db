/* rm_pg_resolve: the addresses of a server's host name, found by the loop's threads, for libpq would block on
 * it; see rm_pg.h. Called by rm_pg_conn.c.
 *
 * Only what the settings themselves say is looked up: one host by name. Socket directories and numbers need no
 * look-up; a list of hosts, or a host out of a service file, is left to libpq.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_pg.h"

enum { RESOLVE_ADDRESSES = 8 };

struct pg_resolve {
    uv_getaddrinfo_t request;
    struct rm *rm;
    struct pg_conn *conn; /* NULL: gone meanwhile */
    char host[256];
};

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword != NULL; options++) {
        if (strcmp(options->keyword, keyword) == 0)
            return options->val == NULL || *options->val == '\0' ? NULL : options->val;
    }
    return NULL;
}

static bool is_number(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

/* The one name to look up; false: none. */
static bool host_to_resolve(const char *settings, char *out, size_t size)
{
    PQconninfoOption *options = PQconninfoParse(settings, NULL);
    const char *host = options == NULL ? NULL : option_value(options, "host");
    bool wanted = host != NULL && option_value(options, "hostaddr") == NULL && *host != '/' && *host != '@' &&
                  strchr(host, ',') == NULL && !is_number(host) && strlen(host) < size;

    if (wanted)
        strcpy(out, host);
    PQconninfoFree(options);
    return wanted;
}

static void list_add(char *list, size_t size, const char *item)
{
    if (*list != '\0')
        strncat(list, ",", size - strlen(list) - 1);
    strncat(list, item, size - strlen(list) - 1);
}

/* libpq tries addresses in their order, each with a host of its own. */
static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct pg_resolve *q = request->data;
    char hosts[RESOLVE_ADDRESSES * 257] = "", addresses[RESOLVE_ADDRESSES * (INET6_ADDRSTRLEN + 1)] = "";
    char one[INET6_ADDRSTRLEN];
    int n = 0;

    for (const struct addrinfo *a = found; status == 0 && a != NULL && n < RESOLVE_ADDRESSES; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, one, sizeof one, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        list_add(hosts, sizeof hosts, q->host);
        list_add(addresses, sizeof addresses, one);
        n++;
    }
    uv_freeaddrinfo(found);
    q->rm->open_handles--;
    if (q->conn != NULL) {
        q->conn->resolve = NULL;
        rm_pg_conn_resolved(q->conn, hosts, addresses, n > 0 ? NULL : "its host name cannot be resolved");
    }
    free(q);
}

bool rm_pg_resolve(struct pg_conn *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct pg_resolve *q = calloc(1, sizeof *q);

    if (q == NULL)
        return false;
    q->rm = c->rm;
    q->conn = c;
    q->request.data = q;
    if (!host_to_resolve(c->rm->settings, q->host, sizeof q->host) ||
        uv_getaddrinfo(c->rm->options.loop, &q->request, resolved, q->host, NULL, &hints) != 0) {
        free(q);
        return false;
    }
    c->rm->open_handles++;
    c->resolve = q;
    return true;
}

void rm_pg_resolve_cancel(struct pg_conn *c)
{
    if (c->resolve != NULL)
        c->resolve->conn = NULL;
    c->resolve = NULL;
}
