/* pg_status: see pg_status.h. */
#include "libtx/pg_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/call.h"
#include "libtx/pg_query.h"
#include "libtx/shared/pg_proof.h"

enum {
    STATUS_CONNECT_MS = 3000, /* for one attempt */
    STATUS_PAUSE_MS = 100,    /* between attempts, and while the server is still at it */
    STATUS_OPTIONS = 64,      /* connection parameters that libpq can have */
};

struct pg_status {
    PQconninfoOption *options; /* owns the strings of the next two */
    const char *keywords[STATUS_OPTIONS + 1], *values[STATUS_OPTIONS + 1];
    char sql[640], incarnation[PG_COLUMN_SIZE];
    PGconn *conn; /* NULL: between two attempts */
    bool connected;
    PostgresPollingStatusType polling;
    uint64_t again_ms; /* the next attempt, or the end of this one */
    struct pg_query query;
};

int pg_status_start(struct pg_status **out, const PGconn *lost, const char *xid, const char *incarnation)
{
    struct pg_status *s = calloc(1, sizeof *s);
    size_t n = 0;

    if (s == NULL)
        return TX_ENOMEM;
    s->options = PQconninfo((PGconn *)(uintptr_t)lost);
    for (PQconninfoOption *o = s->options; o != NULL && o->keyword != NULL && n < STATUS_OPTIONS; o++) {
        if (o->val == NULL || *o->val == '\0')
            continue;
        s->keywords[n] = o->keyword;
        s->values[n++] = o->val;
    }
    snprintf(s->incarnation, sizeof s->incarnation, "%s", incarnation);
    snprintf(s->sql, sizeof s->sql,
             "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'recovery'"
             " ELSE pg_catalog.pg_xact_status('%.20s'::pg_catalog.xid8) END%s",
             xid, *incarnation != '\0' ? ", " PG_INCARNATION : "");
    *out = s;
    return TX_OK;
}

static void status_drop(struct pg_status *s, uint64_t now)
{
    PQfinish(s->conn);
    s->conn = NULL;
    s->connected = false;
    s->again_ms = now + STATUS_PAUSE_MS;
}

static void status_connect(struct pg_status *s, uint64_t now)
{
    s->conn = PQconnectStartParams(s->keywords, s->values, 0);
    s->polling = PGRES_POLLING_WRITING;
    s->again_ms = now + STATUS_CONNECT_MS;
    if (s->conn != NULL && PQstatus(s->conn) == CONNECTION_BAD)
        status_drop(s, now);
}

/* Goes on connecting, and asks when it is done. */
static void status_go_on(struct pg_status *s, uint64_t now)
{
    s->polling = PQconnectPoll(s->conn);
    if (s->polling == PGRES_POLLING_FAILED) {
        status_drop(s, now);
    } else if (s->polling == PGRES_POLLING_OK) {
        s->connected = true;
        pg_query_start(&s->query, s->conn, s->sql);
    }
}

/* True: the answer settles it. 22023: this server, which is no standby, has never given out the xid, so what
 * was done under it is not there. */
static bool status_judge(const struct pg_status *s, enum branch_answer *answer)
{
    const struct pg_reply *r = &s->query.reply;

    if (strcmp(r->sqlstate, "22023") == 0 || strcmp(r->column[0], "aborted") == 0)
        *answer = ANSWER_NO;
    else if (strcmp(r->column[0], "committed") == 0)
        *answer =
            *s->incarnation != '\0' && strcmp(r->column[1], s->incarnation) == 0 ? ANSWER_YES : ANSWER_LOST;
    else if (r->rows && *r->column[0] == '\0')
        *answer = ANSWER_LOST; /* so old that its status is gone */
    else
        return false; /* in progress, standby, connection lost again: later */
    return true;
}

/* A connection is watched by poll() alone, so a step before something has come costs nothing but this. */
static bool status_ready(const struct pg_status *s)
{
    short events = s->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    struct pollfd fd = {PQsocket(s->conn), events, 0};

    return poll(&fd, 1, 0) != 0;
}

bool pg_status_step(struct pg_status *s, enum branch_answer *answer)
{
    uint64_t now = call_now_ms();

    if (s->conn == NULL && now >= s->again_ms)
        status_connect(s, now);
    if (s->conn == NULL)
        return false;
    if (!s->connected && status_ready(s))
        status_go_on(s, now);
    if (s->connected && pg_query_step(&s->query)) {
        if (status_judge(s, answer))
            return true;
        status_drop(s, now);
    }
    if (s->conn != NULL && now >= s->again_ms)
        status_drop(s, now);
    return false;
}

size_t pg_status_wants(struct pg_status *s, struct pollfd *fd, uint64_t *until_ms)
{
    if (s->again_ms < *until_ms)
        *until_ms = s->again_ms;
    if (s->conn == NULL)
        return 0;
    if (s->connected)
        pg_query_wants(&s->query, fd);
    else
        *fd = (struct pollfd){PQsocket(s->conn), s->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
    return 1;
}

void pg_status_free(struct pg_status *s)
{
    if (s == NULL)
        return;
    PQfinish(s->conn);
    PQconninfoFree(s->options);
    free(s);
}
