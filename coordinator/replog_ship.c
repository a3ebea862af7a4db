/* replog_ship: see replog_ship.h. */
#include "coordinator/replog_ship.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_net.h"
#include "libtx/shared/log.h"

enum {
    WINDOW = 4 * REPLOG_MESSAGE_CHUNK, /* bytes on their way to a node */
    TICK_MS = 50,
    AGAIN_MS = 200,     /* without an answer for so long: sent again */
    GIVE_UP_MS = 10000, /* libraft asks again when the node is there again */
    FILE_LIMIT = 1 << 30,
};

struct replog_cargo {
    unsigned refs;
    uint64_t index;
    uint8_t *data;
    size_t len;
};

/* The leader's end */

static void drop_cargo(struct replog_cargo *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    free(c->data);
    free(c);
}

static void drop_ship(struct replog *r, struct replog_ship *s)
{
    drop_cargo(s->cargo);
    *s = r->ships.items[--r->ships.n];
    if (r->ships.n == 0)
        uv_timer_stop(&r->ships.timer);
}

static struct replog_ship *find_ship(struct replog *r, uint64_t to)
{
    for (size_t i = 0; i < r->ships.n; i++) {
        if (r->ships.items[i].to == to)
            return &r->ships.items[i];
    }
    return NULL;
}

/* As much as may be on its way. */
static void pump(struct replog *r, struct replog_ship *s, size_t window)
{
    struct replog_message m = {.type = REPLOG_MESSAGE_PIECE, .to = s->to};
    const struct replog_cargo *c = s->cargo;
    size_t len;

    while (s->next < c->len && s->next < s->acked + window) {
        len = c->len - s->next < REPLOG_MESSAGE_CHUNK ? c->len - s->next : REPLOG_MESSAGE_CHUNK;
        m.piece = (struct replog_piece){.term = r->ships.term,
                                        .index = c->index,
                                        .total = c->len,
                                        .offset = s->next,
                                        .data = c->data + s->next,
                                        .len = len};
        s->next += len;
        replog_net_send(r, &m, s->address);
    }
    s->sent_ms = uv_now(r->loop);
}

static void on_tick(uv_timer_t *timer)
{
    struct replog *r = timer->data;
    uint64_t now = uv_now(r->loop);
    struct replog_ship *s;

    for (size_t i = r->ships.n; i-- > 0;) {
        s = &r->ships.items[i];
        if (now - s->progress_ms > GIVE_UP_MS) {
            log_line(LOG_WARN, "snapshot_stalled", "node=%" PRIu64, s->to);
            drop_ship(r, s);
        } else if (s->cargo == NULL) {
            wal_read_snapshot(r->wal);
        } else if (now - s->sent_ms >= AGAIN_MS) {
            s->next = s->acked;
            pump(r, s, REPLOG_MESSAGE_CHUNK);
        }
    }
}

void replog_ship_send(struct replog *r, uint64_t to, const char *address)
{
    struct replog_ship *s;

    if (r->ships.term != raft_current_term(&r->raft))
        replog_ship_stop(r);
    if (find_ship(r, to) != NULL || r->ships.n == REPLOG_MESSAGE_NODES || r->closing)
        return;
    r->ships.term = raft_current_term(&r->raft);
    s = &r->ships.items[r->ships.n++];
    *s = (struct replog_ship){.to = to, .progress_ms = uv_now(r->loop)};
    snprintf(s->address, sizeof s->address, "%s", address);
    /* Refused where one is being read: then on_tick() asks again. */
    wal_read_snapshot(r->wal);
    if (r->ships.n == 1)
        uv_timer_start(&r->ships.timer, on_tick, TICK_MS, TICK_MS);
}

void replog_ship_read(void *ctx, uint64_t index, uint8_t *data, size_t len)
{
    struct replog_cargo *c = data == NULL ? NULL : calloc(1, sizeof *c);
    struct replog *r = ctx;

    /* Without memory, or a file: on_tick() tries again. */
    if (c == NULL) {
        free(data);
        return;
    }
    *c = (struct replog_cargo){.refs = 1, .index = index, .data = data, .len = len};
    for (size_t i = 0; i < r->ships.n; i++) {
        struct replog_ship *s = &r->ships.items[i];

        if (s->cargo != NULL)
            continue;
        s->cargo = c;
        c->refs++;
        log_line(LOG_INFO, "snapshot_send", "node=%" PRIu64 " index=%" PRIu64 " bytes=%zu", s->to, index, len);
        pump(r, s, WINDOW);
    }
    drop_cargo(c);
}

void replog_ship_acked(struct replog *r, const struct replog_message *m)
{
    struct replog_ship *s = find_ship(r, m->from);

    if (s == NULL || s->cargo == NULL || m->ack.term != r->ships.term || m->ack.index != s->cargo->index)
        return;
    if (m->ack.received > s->acked && m->ack.received <= s->cargo->len) {
        s->acked = m->ack.received;
        s->progress_ms = uv_now(r->loop);
        if (s->next < s->acked)
            s->next = s->acked;
        if (s->acked == s->cargo->len)
            drop_ship(r, s);
        else
            pump(r, s, WINDOW);
    } else if (m->ack.received == 0 && s->acked > 0) {
        /* It has begun again, and forgot what it had. */
        s->acked = s->next = 0;
    }
}

void replog_ship_stop(struct replog *r)
{
    while (r->ships.n > 0)
        drop_ship(r, &r->ships.items[0]);
}

/* The follower's end */

void replog_ship_forget_arrival(struct replog *r)
{
    buf_release(&r->arrival.file);
    snapshot_release(&r->arrival.snapshot);
    r->arrival.from = 0;
}

static void answer(struct replog *r, const struct replog_message *m, uint64_t received)
{
    struct replog_message a = {.type = REPLOG_MESSAGE_PIECE_ACK, .to = m->from};

    a.ack = (struct replog_piece_ack){m->piece.term, m->piece.index, received};
    replog_net_send(r, &a, m->address);
}

static bool same_arrival(const struct replog_arrival *a, const struct replog_message *m)
{
    return a->from == m->from && a->index == m->piece.index && a->total == m->piece.total;
}

/* As if it had come in one message. */
static void deliver(struct replog *r, const struct replog_message *m)
{
    struct snapshot *s = &r->arrival.snapshot;
    struct raft_message message = {
        .type = RAFT_INSTALL_SNAPSHOT, .server_id = m->from, .server_address = m->address};
    struct raft_install_snapshot *i = &message.install_snapshot;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = &message}};

    i->term = m->piece.term;
    i->last_index = s->index;
    i->last_term = s->term;
    i->conf_index = s->config_index;
    /* libraft frees it, or hands it back: the state itself stays in `arrival`. */
    i->data.base = raft_malloc(1);
    if (i->data.base == NULL || replog_core_decode_config(&s->config, &i->conf) != 0)
        replog_core_die_raft(r, RAFT_NOMEM, "snapshot from the leader");
    else
        replog_core_step(r, &event);
}

static bool is_usable(const struct replog *r, const struct replog_message *m)
{
    const struct snapshot *s = &r->arrival.snapshot;

    return s->index == m->piece.index && s->term > 0 && s->term <= m->piece.term &&
           s->config_index <= s->index && s->index > r->applied &&
           replog_message_check_config(s->config.data, s->config.len);
}

static void complete(struct replog *r, const struct replog_message *m)
{
    struct replog_arrival *a = &r->arrival;
    int rc = snapshot_decode(a->file.data, a->file.len, r->identity.group, &a->snapshot);

    if (rc != 0 || !is_usable(r, m))
        log_line(LOG_WARN, "snapshot_unusable", "node=%" PRIu64 " index=%" PRIu64 " damaged=%d", m->from,
                 m->piece.index, rc != 0);
    else
        deliver(r, m);
    if (!r->installing)
        replog_ship_forget_arrival(r);
}

static void complain_of_size(struct replog *r, const struct replog_message *m)
{
    if (replog_net_may_complain(r, m->from))
        log_line(LOG_ERROR, "snapshot_too_large",
                 "node=%" PRIu64 " bytes=%" PRIu64 " limit=%d text=\"this node cannot catch up: the ledger is "
                 "larger than a snapshot that is sent may be\"",
                 m->from, m->piece.total, FILE_LIMIT);
}

/* Starts with a piece from the beginning; one of a newer term takes another's place, and so does the same
 * node's next one. */
static bool begin(struct replog *r, const struct replog_message *m)
{
    struct replog_arrival *a = &r->arrival;

    if (m->piece.total > FILE_LIMIT)
        complain_of_size(r, m);
    if (m->piece.offset != 0 || m->piece.total > FILE_LIMIT)
        return false;
    if (a->from != 0 && a->from != m->from && a->term >= m->piece.term)
        return false;
    replog_ship_forget_arrival(r);
    a->from = m->from;
    a->term = m->piece.term;
    a->index = m->piece.index;
    a->total = m->piece.total;
    return true;
}

void replog_ship_arrived(struct replog *r, const struct replog_message *m)
{
    const struct replog_piece *p = &m->piece;
    struct replog_arrival *a = &r->arrival;

    if (p->term < raft_current_term(&r->raft) || r->installing || r->leading_term != 0)
        return;
    if (p->index <= r->applied) {
        answer(r, m, p->total); /* it is not needed any more */
        return;
    }
    if (!same_arrival(a, m) && !begin(r, m)) {
        answer(r, m, 0);
        return;
    }
    if (p->offset == a->file.len)
        buf_put_bytes(&a->file, p->data, p->len);
    if (a->file.failed) {
        log_line(LOG_WARN, "snapshot_memory", "bytes=%" PRIu64, p->total);
        replog_ship_forget_arrival(r);
        return;
    }
    answer(r, m, a->file.len);
    if (a->file.len == p->total)
        complete(r, m);
}
