/* doubts: see doubts.h. */
#include "tests/lib/doubts.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

enum {
    CONNECTIONS = 16,
    BATCH = 50,        /* transactions that one connection prepares at a time */
    WINDOW = 32,       /* requests under way */
    ANSWER_MS = 30000, /* for an answer, or the whole of the decisions */
    AGAIN_MS = 1000,   /* after which a request is sent again */
    STATEMENT_SIZE = 256,
    DECIDED_SESSION_MS = 120000, /* its decisions are asked for when everything is prepared */
};

/* Preparing */

struct preparing {
    struct world *world;
    PGconn *conns[CONNECTIONS];
    unsigned next, end; /* numbers of transactions that are not sent yet */
    void (*gid)(const void *arg, unsigned number, char out[GID_SIZE]);
    const void *arg;
    int row;
    char (*proofs)[PROOF_LIMIT + 1]; /* by number, as votes bring them; NULL: not wanted */
};

struct batch {
    unsigned first, n; /* numbers of transactions under way */
};

static struct batch prepare_send(struct preparing *p, PGconn *conn)
{
    char sql[BATCH * STATEMENT_SIZE], gid[GID_SIZE];
    struct batch batch = {.first = p->next};
    size_t n = 0;

    for (; batch.n < BATCH && p->next < p->end; batch.n++) {
        p->gid(p->arg, p->next++, gid);
        n += (size_t)snprintf(sql + n, sizeof sql - n,
                              "BEGIN; INSERT INTO doubts VALUES (%d); SELECT pg_current_xact_id();"
                              "PREPARE TRANSACTION '%s';",
                              p->row, gid);
    }
    if (batch.n > 0 && PQsendQuery(conn, sql) != 1)
        world_fail(p->world, "prepare: %s", PQerrorMessage(conn));
    return batch;
}

static void prepare_take(struct preparing *p, PGconn *conn, struct batch batch)
{
    unsigned number = batch.first;
    PGresult *r;

    while ((r = PQgetResult(conn)) != NULL) {
        ExecStatusType status = PQresultStatus(r);

        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            world_fail(p->world, "prepare: %s", PQresultErrorMessage(r));
        if (status == PGRES_TUPLES_OK && p->proofs != NULL)
            snprintf(p->proofs[number], sizeof p->proofs[number], "xid=%s", PQgetvalue(r, 0, 0));
        number += status == PGRES_TUPLES_OK;
        PQclear(r);
    }
}

/* Round by round, all connections at once. */
static void prepare_all(struct preparing *p, struct world_server *s)
{
    struct batch batches[CONNECTIONS];

    for (int i = 0; i < CONNECTIONS; i++) {
        p->conns[i] = world_server_connect(s, "app");
        if (p->conns[i] == NULL)
            world_fail(p->world, "cannot connect to %s", world_server_name(s));
    }
    while (p->next < p->end) {
        for (int i = 0; i < CONNECTIONS; i++)
            batches[i] = prepare_send(p, p->conns[i]);
        for (int i = 0; i < CONNECTIONS; i++)
            prepare_take(p, p->conns[i], batches[i]);
    }
    for (int i = 0; i < CONNECTIONS; i++)
        PQfinish(p->conns[i]);
}

static void new_table(struct world_server *s)
{
    world_sql(s, "SET client_min_messages = warning; DROP TABLE IF EXISTS doubts; CREATE TABLE doubts (decided "
                 "int); ALTER TABLE doubts OWNER TO app");
}

static void plain_gid(const void *arg, unsigned number, char out[GID_SIZE])
{
    snprintf(out, GID_SIZE, "%s%u", (const char *)arg, number);
}

void doubts_prepare(struct world *w, struct world_server *s, const char *prefix, unsigned n)
{
    struct preparing p = {.world = w, .next = 1, .end = n + 1, .gid = plain_gid, .arg = prefix};

    new_table(s);
    prepare_all(&p, s);
}

/* Asking the coordinator */

struct line {
    struct world *world;
    struct channel channel;
    struct wire_scratch *scratch;
    struct buf out;
};

static void line_open(struct line *l, struct world *w)
{
    struct tx_error e;

    l->world = w;
    l->scratch = malloc(sizeof *l->scratch);
    assert(l->scratch != NULL);
    buf_init(&l->out);
    if (channel_dial(&l->channel, world_coordinators(w), MESSAGE_LIMIT, world_security(w, "service"), &e) !=
        TX_OK)
        world_fail(w, "coordinator: %s", e.msg);
}

static void line_close(struct line *l)
{
    channel_close(&l->channel);
    buf_release(&l->out);
    free(l->scratch);
}

static void line_send(struct line *l, uint32_t id, const struct wire_message *m)
{
    uint64_t end = world_now_ms() + ANSWER_MS;

    buf_reset(&l->out);
    if (wire_encode(m, &l->out) != TX_OK)
        world_fail(l->world, "cannot encode a %s", wire_type_name(m->type));
    while (channel_send(&l->channel, id, l->out.data, l->out.len) != TX_OK) {
        if (world_now_ms() > end)
            world_fail(l->world, "the coordinator takes no request");
        world_sleep_ms(1);
    }
}

/* Waits for one answer of this type; its number. 0: none came. `in` is to be released. */
static uint32_t line_receive(struct line *l, enum wire_type type, struct channel_message *in,
                             struct wire_message *m)
{
    struct pollfd p = {.fd = channel_fd(&l->channel), .events = POLLIN};
    struct tx_error e;

    if (channel_receive(&l->channel, in) != 1) {
        poll(&p, 1, AGAIN_MS);
        if (channel_receive(&l->channel, in) != 1)
            return 0;
    }
    if (wire_decode(m, in->data, in->len, l->scratch, &e) != TX_OK)
        world_fail(l->world, "the coordinator's answer: %s", e.msg);
    if (m->type != type)
        world_fail(l->world, "%s instead of %s: %s", wire_type_name(m->type), wire_type_name(type),
                   m->type == WIRE_ERROR ? m->error.text : "");
    return in->id;
}

/* The first transaction of a new session. */
static struct txid open_session(struct line *l, uint64_t nonce, uint32_t timeout_ms)
{
    struct wire_message m = {.type = WIRE_OPEN_SESSION}, answer;
    struct channel_message in;
    struct txid id = {.sequence = 1, .nonce = nonce};

    m.open_session = (struct wire_open_session){
        .nonce = nonce, .session_timeout_ms = timeout_ms, .transaction_timeout_ms = 3600000, .name = "doubts"};
    for (uint64_t end = world_now_ms() + ANSWER_MS; id.session == 0 && world_now_ms() < end;) {
        line_send(l, 1, &m);
        if (line_receive(l, WIRE_SESSION, &in, &answer) == 0)
            continue;
        id.group = answer.session.group;
        id.session = answer.session.session;
        channel_release(&in);
    }
    if (id.session == 0)
        world_fail(l->world, "the coordinator opens no session");
    return id;
}

/* Transactions of a session, with the proofs of their branches, by number. */
struct decided {
    struct txid first;
    const char *resource;
    unsigned n;
    char (*proofs)[PROOF_LIMIT + 1];
};

static void send_decide(struct line *l, const struct decided *d, unsigned number)
{
    struct branch_ref branch = {
        .number = 1, .kind = BRANCH_DIRECT, .resource = d->resource, .proof = d->proofs[number]};
    struct wire_message m = {.type = WIRE_DECIDE};

    m.decide = (struct wire_decide){.id = d->first,
                                    .verdict = VERDICT_COMMIT,
                                    .wait = WAIT_DECIDED,
                                    .agents_finish = 1,
                                    .n_branches = 1,
                                    .branches = &branch};
    m.decide.id.sequence = number;
    line_send(l, number, &m);
}

/* Requests that get no answer are sent again. */
static void decide_all(struct line *l, const struct decided *d)
{
    uint64_t end = world_now_ms() + ANSWER_MS;
    bool *decided = calloc(d->n + 1, sizeof *decided);
    unsigned n = d->n, from = 1, next = 1, left = n;
    struct channel_message in;
    struct wire_message m;

    assert(decided != NULL);
    while (left > 0 && world_now_ms() < end) {
        uint32_t number;

        while (next <= n && next < from + WINDOW)
            send_decide(l, d, next++);
        number = line_receive(l, WIRE_DECIDED, &in, &m);
        if (number == 0) {
            next = from;
            continue;
        }
        if (m.decided.verdict != VERDICT_COMMIT)
            world_fail(l->world, "transaction %" PRIu32 " is not committed", number);
        channel_release(&in);
        left -= number <= n && !decided[number];
        decided[number] = true;
        while (from <= n && decided[from])
            from++;
    }
    free(decided);
    if (left > 0)
        world_fail(l->world, "%u transactions are not decided", left);
}

/* All together */

static void branch_gid(const void *arg, unsigned number, char out[GID_SIZE])
{
    struct txid id = *(const struct txid *)arg;

    id.sequence = number;
    gid_format(&id, 1, out);
}

static void prepare_session(struct line *l, struct world_server *s, const struct decided *d, int row)
{
    struct preparing p = {.world = l->world,
                          .next = 1,
                          .end = d->n + 1,
                          .gid = branch_gid,
                          .arg = &d->first,
                          .row = row,
                          .proofs = d->proofs};

    prepare_all(&p, s);
}

void doubts_make(struct world *w, struct world_server *s, const struct doubts *d)
{
    struct decided decided = {.resource = world_server_name(s), .n = d->commits},
                   undecided = {.resource = world_server_name(s), .n = d->aborts};
    struct line l;

    decided.proofs = calloc(d->commits + 1, sizeof *decided.proofs);
    assert(decided.proofs != NULL);
    new_table(s);
    line_open(&l, w);
    undecided.first = open_session(&l, 0xa000 + world_now_ms(), DOUBTS_SESSION_MS);
    prepare_session(&l, s, &undecided, 0);
    decided.first = open_session(&l, 0xc000 + world_now_ms(), DECIDED_SESSION_MS);
    prepare_session(&l, s, &decided, 1);
    decide_all(&l, &decided);
    line_close(&l);
    free(decided.proofs);
    world_sleep_ms(DOUBTS_SESSION_MS + 500);
}

bool doubts_are_resolved(struct world_server *s, const struct doubts *d)
{
    return world_prepared_count(s) == 0 &&
           world_sql_number(s, "SELECT count(*) FROM doubts WHERE decided = 1") == (long long)d->commits &&
           world_sql_number(s, "SELECT count(*) FROM doubts WHERE decided = 0") == 0;
}
