/* server: see server.h. */
#include "coordinator/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "libtx/shared/log.h"

enum {
    SERVER_BATCH = 512,      /* messages read in one loop turn; what is left wakes the loop again */
    SERVER_TICK_MS = 50,     /* between two driver_tick() */
    SERVER_REPORT_MS = 1000, /* between two log lines about malformed messages */
};

struct server {
    struct server_options options;
    uv_loop_t *loop;
    struct channel channel;
    struct driver *driver;
    struct admin *admin;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    int open_handles; /* those above that uv_close() has not finished with */
    struct buf out;   /* reused by every reply */
    struct wire_scratch scratch;
    uint64_t malformed, reported_at; /* not logged yet; when the last log line was written */
};

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Answers */

void server_reply(void *server, const struct reply_to *to, const struct wire_message *m)
{
    static const struct wire_message too_big = {
        .type = WIRE_ERROR,
        .error = {.code = TX_ETOOBIG, .text = "the answer is larger than a message may be"},
    };
    struct server *s = server;
    int rc;

    buf_reset(&s->out);
    rc = wire_encode(m, &s->out);
    if (rc == TX_ETOOBIG || (rc == TX_OK && s->out.len > MESSAGE_LIMIT)) {
        log_line(LOG_WARN, "answer-too-big", "type=%s bytes=%zu", wire_type_name(m->type), s->out.len);
        buf_reset(&s->out);
        rc = wire_encode(&too_big, &s->out);
    }
    if (rc != TX_OK)
        return;
    /* A reply that finds no room is dropped: whoever asked asks again. */
    (void)channel_reply(&s->channel, to, s->out.data, s->out.len);
}

/* Requests */

static void server_report_malformed(struct server *s, const char *why)
{
    uint64_t now = uv_now(s->loop);

    s->malformed++;
    if (s->reported_at != 0 && now - s->reported_at < SERVER_REPORT_MS)
        return;
    log_line(LOG_WARN, "malformed", "count=%" PRIu64 " last=\"%s\"", s->malformed, why);
    s->malformed = 0;
    s->reported_at = now;
}

static void server_refuse(struct server *s, const struct reply_to *to, const char *why)
{
    struct wire_message m = {.type = WIRE_ERROR, .error = {.code = TX_EPROTO, .text = why}};

    server_report_malformed(s, why);
    server_reply(s, to, &m);
}

static void server_dispatch(struct server *s, const struct caller *caller, const struct reply_to *from,
                            const struct wire_message *m)
{
    switch (m->type) {
    case WIRE_OPEN_SESSION:
    case WIRE_DECIDE:
    case WIRE_HEARTBEAT:
    case WIRE_CLOSE_SESSION:
    case WIRE_OUTCOME:
    case WIRE_LOCATE:
    case WIRE_PULL:
        driver_request(s->driver, uv_now(s->loop), wall_ms(), caller, from, m);
        return;
    case WIRE_ADMIN:
        admin_request(s->admin, uv_now(s->loop), wall_ms(), caller, from, &m->admin);
        return;
    default:
        server_refuse(s, from, "not a request that a coordinator serves");
    }
}

static void server_deny(struct server *s, const struct caller *caller, const struct reply_to *to,
                        const struct wire_message *m, const char *why)
{
    struct wire_message denied = {.type = WIRE_ERROR, .error = {.code = TX_EDENIED, .text = why}};
    const struct audit_entry entry = {.name = caller->name,
                                      .key = caller->key,
                                      .act = wire_type_name(m->type),
                                      .outcome = AUDIT_DENIED,
                                      .error = why};

    audit_write(s->options.audit, uv_now(s->loop), &entry);
    server_reply(s, to, &denied);
}

/* Whose key it is, and what he may, is looked up each time: what was revoked has no effect from then on. Its
 * lines stay, and are told so at each request: were they cut, whoever was revoked would wait for answers.
 */
static void server_request(struct server *s, const struct channel_message *in, const struct wire_message *m)
{
    const struct ledger *l = driver_ledger(s->driver);
    struct caller caller = {.key = in->key};
    struct tx_error e;

    if (in->key != NULL && !access_caller(l, s->options.file, in->key, &caller)) {
        caller.name = access_name(l, in->key);
        server_deny(s, &caller, &in->origin, m, "this key is not known, or was revoked");
    } else if (m->type != WIRE_ADMIN && access_check(l, &caller, m, &e) != TX_OK) /* admin audits its verbs */
        server_deny(s, &caller, &in->origin, m, e.msg);
    else
        server_dispatch(s, &caller, &in->origin, m);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct server *s = poll->data;
    struct channel_message in;
    struct wire_message m;
    struct tx_error e;

    (void)status;
    (void)events;
    for (int i = 0; i < SERVER_BATCH && channel_receive(&s->channel, &in) == 1; i++) {
        if (wire_decode(&m, in.data, in.len, &s->scratch, &e) == TX_OK)
            server_request(s, &in, &m);
        else
            server_refuse(s, &in.origin, e.msg);
        channel_release(&in);
    }
}

/* The beat */

static void on_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;

    driver_tick(s->driver, uv_now(s->loop), wall_ms());
    audit_tick(s->options.audit, uv_now(s->loop));
}

/* A turn runs timers, prepare, poll (messages, and what the log's threads finished), check. Flushing in both
 * leaves nothing lying while the loop sleeps, and gathers all that one poll brought. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct server *s = prepare->data;

    driver_flush(s->driver, uv_now(s->loop));
}

static void on_check(uv_check_t *check)
{
    struct server *s = check->data;

    driver_flush(s->driver, uv_now(s->loop));
}

/* Life */

int server_new(struct server **out, uv_loop_t *loop, const struct server_options *options, struct tx_error *e)
{
    struct server *s = calloc(1, sizeof *s);
    int rc;

    if (s == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    s->options = *options;
    s->loop = loop;
    rc = channel_listen(&s->channel, options->address, MESSAGE_LIMIT, options->security, e);
    if (rc != TX_OK)
        goto fail;
    rc = uv_poll_init(loop, &s->poll, channel_fd(&s->channel));
    if (rc != 0) {
        rc = err_set(e, TX_EIO, "cannot watch the message socket: %s", uv_strerror(rc));
        goto fail;
    }
    uv_timer_init(loop, &s->timer);
    uv_prepare_init(loop, &s->prepare);
    uv_check_init(loop, &s->check);
    s->poll.data = s->timer.data = s->prepare.data = s->check.data = s;
    s->open_handles = 4;
    buf_init(&s->out);
    *out = s;
    return TX_OK;

fail:
    channel_close(&s->channel);
    free(s);
    return rc;
}

void server_start(struct server *s, struct driver *driver, struct admin *admin)
{
    s->driver = driver;
    s->admin = admin;
    uv_poll_start(&s->poll, UV_READABLE, on_readable);
    uv_timer_start(&s->timer, on_tick, SERVER_TICK_MS, SERVER_TICK_MS);
    uv_prepare_start(&s->prepare, on_prepare);
    uv_check_start(&s->check, on_check);
}

void server_stop(struct server *s)
{
    uv_poll_stop(&s->poll);
    uv_timer_stop(&s->timer);
    uv_prepare_stop(&s->prepare);
    uv_check_stop(&s->check);
}

static void on_closed(uv_handle_t *handle)
{
    struct server *s = handle->data;

    if (--s->open_handles > 0)
        return;
    channel_close(&s->channel);
    buf_release(&s->out);
    free(s);
}

void server_close(struct server *s)
{
    server_stop(s);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    uv_close((uv_handle_t *)&s->prepare, on_closed);
    uv_close((uv_handle_t *)&s->check, on_closed);
}
