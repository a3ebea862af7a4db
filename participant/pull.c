/* pull: see pull.h. */
#include "participant/pull.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/log.h"

enum {
    PULL_TICK_MS = 50,
    PULL_RENEW_MS = 2000,   /* the leader takes an agent for gone that is silent for 10 s */
    PULL_PROBE_MS = 1200,   /* silence after which the leader is asked whether it is there */
    PULL_SILENCE_MS = 2000, /* silence after which it is given up, */
    PULL_ALONE_MS = 8000,   /* where there is no other */
    PULL_BROKEN_MS = 150,   /* without a connection, the same */
    PULL_CONNECT_MS = 250,  /* for a connection, */
    PULL_DIAL_MS = 500,     /* and for a first answer; longer where there is no other */
    PULL_BACKOFF_MS = 100,
    PULL_BACKOFF_MAX_MS = 500,
    PULL_HOPS = 3, /* from leader to leader without a pause */
};

static uint64_t pull_now(const struct pull *p)
{
    return uv_now(p->options.loop);
}

static void pull_poll_freed(uv_handle_t *handle)
{
    free(handle);
}

static void pull_hang_up(struct pull *p)
{
    if (p->poll != NULL)
        uv_close((uv_handle_t *)p->poll, pull_poll_freed);
    p->poll = NULL;
    channel_close(&p->channel);
    p->connected = false;
}

/* Gives the present coordinator up; `leader`: who is said to lead, or NULL for the next of the list. One line
 * is logged for a loss, however many are tried until the recovery. */
static void pull_give_up(struct pull *p, const char *why, const char *leader)
{
    if (!p->lost_told && (p->connected || leader == NULL))
        log_line(LOG_WARN, "coordinator", "state=lost address=%s error=\"%s\"", p->address, why);
    p->lost_told = p->lost_told || p->connected || leader == NULL;
    pull_hang_up(p);
    snprintf(p->reason, sizeof p->reason, "%s", why);
    if (leader != NULL && p->hops++ < PULL_HOPS) {
        snprintf(p->address, sizeof p->address, "%s", leader);
        p->dial_at_ms = pull_now(p);
        return;
    }
    p->hops = 0;
    snprintf(p->address, sizeof p->address, "%s", p->addresses[p->next]);
    p->next = (p->next + 1) % p->n_addresses;
    p->dial_at_ms = pull_now(p) + p->backoff_ms;
    if (p->next == 0) /* the whole list was tried */
        p->backoff_ms = p->backoff_ms * 2 < PULL_BACKOFF_MAX_MS ? p->backoff_ms * 2 : PULL_BACKOFF_MAX_MS;
}

/* receiving */

static void pull_met(struct pull *p)
{
    if (p->connected)
        return;
    p->connected = true;
    p->lost_told = false;
    p->hops = 0;
    p->backoff_ms = PULL_BACKOFF_MS;
    log_line(LOG_INFO, "coordinator", "state=connected address=%s", p->address);
    p->options.met(p->options.arg);
}

/* What is malformed to the leader is so the next time, too. */
static void pull_refused(struct pull *p, const char *why)
{
    if (p->options.refused(p->options.arg, p->n_reports, why))
        pull_wake(p);
}

static void pull_error(struct pull *p, const struct wire_error *error, uint32_t request)
{
    if (error->code == TX_ENOTFOUND) { /* a leader's answer to the probe */
        pull_met(p);
        return;
    }
    if (error->code != TX_ENOTLEADER) {
        if (strcmp(p->reason, error->text) != 0)
            log_line(LOG_WARN, "coordinator", "state=refuses address=%s error=\"%s\"", p->address, error->text);
        snprintf(p->reason, sizeof p->reason, "%s", error->text);
        if (error->code == TX_EPROTO && request == p->pull_request)
            pull_refused(p, error->text);
        return;
    }
    if (error->leader != NULL && strcmp(error->leader, p->address) != 0)
        pull_give_up(p, "does not lead", error->leader);
    else
        pull_give_up(p, error->text, NULL);
}

/* The configured ones stay, whatever they are now. */
static void pull_learn(struct pull *p, const struct wire_nodes *nodes)
{
    size_t n = p->n_configured, k;

    for (size_t i = 0; i < nodes->n && n < PULL_COORDINATORS; i++) {
        for (k = 0; k < n && strcmp(p->addresses[k], nodes->addresses[i]) != 0; k++)
            ;
        if (k == n)
            snprintf(p->addresses[n++], sizeof p->addresses[0], "%s", nodes->addresses[i]);
    }
    p->n_addresses = n;
    p->next = p->next < n ? p->next : 0;
}

static void pull_message(struct pull *p, const struct channel_message *in)
{
    struct wire_message m;
    struct tx_error e;

    if (wire_decode(&m, in->data, in->len, p->scratch, &e) != TX_OK) {
        log_line(LOG_WARN, "refused", "from=%s error=\"%s\"", p->address, e.msg);
        return;
    }
    p->heard_ms = pull_now(p);
    if (m.type == WIRE_ERROR) {
        pull_error(p, &m.error, in->id);
    } else if (m.type == WIRE_WORK) {
        pull_met(p);
        pull_learn(p, &m.work.nodes);
        p->options.work(p->options.arg, &m.work);
    } else if (m.type == WIRE_LOCATED) {
        pull_met(p);
    }
}

static void pull_readable(uv_poll_t *handle, int status, int events)
{
    struct pull *p = handle->data;
    struct channel_message in;

    (void)status;
    (void)events;
    while (p->poll == handle && channel_receive(&p->channel, &in) == 1) {
        pull_message(p, &in);
        channel_release(&in);
    }
}

/* sending */

/* TX_EBUSY; or as wire_encode(). */
static int pull_send_message(struct pull *p, const struct wire_message *m)
{
    int rc;

    buf_reset(&p->out);
    rc = wire_encode(m, &p->out);
    if (rc != TX_OK)
        return rc;
    p->request = (p->request + 1) & 0x7fffffff;
    return channel_send(&p->channel, p->request, p->out.data, p->out.len);
}

static void pull_send(struct pull *p)
{
    struct wire_message m = {.type = WIRE_PULL};
    int rc;

    m.pull.number = p->number + 1;
    p->options.fill(p->options.arg, &m.pull);
    p->n_reports = m.pull.n_reports;
    rc = pull_send_message(p, &m);
    if (rc == TX_ETOOBIG)
        pull_refused(p, "too long for a message");
    if (rc != TX_OK) {
        p->due = true;
        return;
    }
    p->number++;
    p->pull_request = p->request;
    p->due = false;
    p->sent_ms = pull_now(p);
    p->options.sent(p->options.arg, &m.pull);
}

static void pull_probe(struct pull *p)
{
    struct wire_message m = {.type = WIRE_LOCATE};

    m.locate.resource = p->options.probe;
    p->probed_ms = pull_now(p);
    (void)pull_send_message(p, &m);
}

static void pull_turn(uv_prepare_t *handle)
{
    struct pull *p = handle->data;

    if (p->due && p->connected)
        pull_send(p);
}

void pull_wake(struct pull *p)
{
    p->due = true;
}

bool pull_connected(const struct pull *p)
{
    return p->connected;
}

/* keeping the line */

static void pull_dial(struct pull *p)
{
    struct tx_error e = {0};
    int rc = channel_dial(&p->channel, p->address, MESSAGE_LIMIT, &e);

    p->dialled_ms = p->heard_ms = p->ready_ms = pull_now(p);
    p->sent_ms = 0;
    p->probed_ms = 0;
    p->due = true;
    if (rc == TX_OK) {
        p->poll = malloc(sizeof *p->poll);
        if (p->poll != NULL && uv_poll_init(p->options.loop, p->poll, channel_fd(&p->channel)) == 0) {
            p->poll->data = p;
            uv_poll_start(p->poll, UV_READABLE, pull_readable);
            return;
        }
        free(p->poll);
        p->poll = NULL;
    }
    pull_give_up(p, rc == TX_OK ? "out of memory" : e.msg, NULL);
}

/* Why the present coordinator is to be given up; NULL: it is not. */
static const char *pull_lost(struct pull *p, uint64_t now)
{
    unsigned slow = p->n_addresses > 1 ? 1 : PULL_ALONE_MS / PULL_SILENCE_MS;
    bool ready = channel_ready(&p->channel);

    if (ready)
        p->ready_ms = now;
    if (!p->connected && !ready && now - p->dialled_ms >= PULL_CONNECT_MS * slow)
        return "cannot be reached";
    if (!p->connected && now - p->dialled_ms >= PULL_DIAL_MS * slow)
        return "no answer";
    if (p->connected && now - p->ready_ms >= PULL_BROKEN_MS && p->n_addresses > 1)
        return "the connection is lost";
    if (p->connected && now - p->heard_ms >= PULL_SILENCE_MS * slow)
        return "no answer";
    return NULL;
}

static void pull_tick(uv_timer_t *timer)
{
    struct pull *p = timer->data;
    uint64_t now = pull_now(p);
    const char *why;

    if (p->poll == NULL) {
        if (now >= p->dial_at_ms)
            pull_dial(p);
        return;
    }
    why = pull_lost(p, now);
    if (why != NULL) {
        pull_give_up(p, why, NULL);
        return;
    }
    if (now - p->heard_ms >= (p->connected ? PULL_PROBE_MS : PULL_TICK_MS) &&
        now - p->probed_ms >= PULL_PROBE_MS / 2)
        pull_probe(p);
    if (now - p->sent_ms >= PULL_RENEW_MS || p->due)
        pull_send(p);
}

static int pull_parse(struct pull *p, const char *list, struct tx_error *e)
{
    const char *s = list;
    size_t n;

    while (*s != '\0') {
        n = strcspn(s, ",");
        if (n == 0 || n > ADDRESS_LIMIT || p->n_addresses == PULL_COORDINATORS)
            return err_set(e, TX_EINVAL, "«%s»: write tcp://host:port, up to %d of them, with commas", list,
                           PULL_COORDINATORS);
        memcpy(p->addresses[p->n_addresses++], s, n);
        s += n + (s[n] == ',' ? 1 : 0);
    }
    p->n_configured = p->n_addresses;
    if (p->n_addresses == 0)
        return err_set(e, TX_EINVAL, "no coordinator is named; write --coordinators tcp://host:port[,…]");
    return TX_OK;
}

/* An address that cannot be one is told at the start, not when its turn comes. */
static int pull_check(const struct pull *p, struct tx_error *e)
{
    struct channel c;
    int rc;

    for (size_t i = 0; i < p->n_addresses; i++) {
        rc = channel_dial(&c, p->addresses[i], MESSAGE_LIMIT, e);
        if (rc != TX_OK)
            return rc;
        channel_close(&c);
    }
    return TX_OK;
}

int pull_open(struct pull *p, const struct pull_options *options, struct tx_error *e)
{
    int rc;

    memset(p, 0, sizeof *p);
    p->options = *options;
    p->channel.socket = -1;
    p->backoff_ms = PULL_BACKOFF_MS;
    buf_init(&p->out);
    rc = pull_parse(p, options->coordinators, e);
    if (rc == TX_OK)
        rc = pull_check(p, e);
    if (rc != TX_OK)
        return err_wrap(e, rc, "coordinators");
    p->scratch = malloc(sizeof *p->scratch);
    if (p->scratch == NULL)
        return err_set(e, TX_ENOMEM, "no memory for messages");
    snprintf(p->address, sizeof p->address, "%s", p->addresses[0]);
    p->next = 1 % p->n_addresses;
    uv_timer_init(options->loop, &p->tick);
    uv_prepare_init(options->loop, &p->turn);
    p->tick.data = p;
    p->turn.data = p;
    uv_timer_start(&p->tick, pull_tick, 0, PULL_TICK_MS);
    uv_prepare_start(&p->turn, pull_turn);
    return TX_OK;
}

void pull_close(struct pull *p)
{
    if (p->scratch == NULL)
        return;
    pull_hang_up(p);
    uv_close((uv_handle_t *)&p->tick, NULL);
    uv_close((uv_handle_t *)&p->turn, NULL);
}

void pull_release(struct pull *p)
{
    buf_release(&p->out);
    free(p->scratch);
}
