/* pull: see pull.h. */
#include "participant/pull.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/log.h"

enum {
    PULL_TICK_MS = 50,
    PULL_RENEW_MS = 2000,    /* the leader takes an agent for gone that is silent for 10 s */
    PULL_WORKING_MS = 5000,  /* so long after its last work somebody may be waiting for the next */
    PULL_ASK_MS = 200,       /* silence after which the leader is asked whether it is there, */
    PULL_ASK_IDLE_MS = 1200, /* where there was no work lately; it is said to be there every second */
    PULL_DOUBT_MS = 100,     /* without an answer to that, the others are asked who leads */
    PULL_SILENCE_MS = 2000,  /* silence after which it is given up, */
    PULL_ALONE_MS = 8000,    /* where there is no other */
    PULL_FIRST_PAUSE_MS = 5, /* between two questions to all; doubled up to the next, */
    PULL_PAUSE_MS = 40,
    PULL_LONG_PAUSE_MS = 500, /* and to this one where nobody leads for long */
    PULL_LONG_MS = 3000,
    /* A connection through a network that was cut waits for TCP's next attempt, which is up to two minutes
     * away. So after this time without a word, a coordinator that is asked is dialled anew. */
    PULL_REDIAL_MS = 2000,
    PULL_WHY = 128,      /* bytes of the reason why one coordinator does not lead */
    PULL_NONE_MS = 2000, /* without a leader, until it is told whom that is owed to: longer than an election */
};

static uint64_t pull_now(const struct pull *p)
{
    return uv_now(p->options.loop);
}

/* lines */

static void line_readable(uv_poll_t *handle, int status, int events);

static void line_poll_freed(uv_handle_t *handle)
{
    free(handle);
}

static void line_hang_up(struct pull_line *l)
{
    if (l->poll != NULL)
        uv_close((uv_handle_t *)l->poll, line_poll_freed);
    l->poll = NULL;
    channel_close(&l->channel);
}

static int line_dial(struct pull_line *l, struct tx_error *e)
{
    int rc = channel_dial(&l->channel, l->address, MESSAGE_LIMIT, believed_channel(&l->pull->believed), e);

    l->dialled_ms = pull_now(l->pull);
    if (rc != TX_OK)
        return rc;
    l->open = channel_state(&l->channel).open;
    l->lost = 0;
    l->poll = malloc(sizeof *l->poll);
    if (l->poll == NULL || uv_poll_init(l->pull->options.loop, l->poll, channel_fd(&l->channel)) != 0) {
        free(l->poll);
        l->poll = NULL;
        channel_close(&l->channel);
        return err_set(e, TX_ENOMEM, "no memory for a connection to %s", l->address);
    }
    l->poll->data = l;
    uv_poll_start(l->poll, UV_READABLE, line_readable);
    return TX_OK;
}

/* What its other end may still say to requests on the old connection is not heard. Where it cannot be dialled
 * now it is at the next tick. */
static void line_redial(struct pull_line *l)
{
    line_hang_up(l);
    (void)line_dial(l, NULL);
}

static struct pull_line *pull_find(const struct pull *p, const char *address)
{
    for (size_t i = 0; i < p->n_lines; i++) {
        if (strcmp(p->lines[i]->address, address) == 0)
            return p->lines[i];
    }
    return NULL;
}

/* NULL: no room, or it cannot be dialled. */
static struct pull_line *pull_add(struct pull *p, const char *address, struct tx_error *e)
{
    struct pull_line *l;

    if (p->n_lines == PULL_COORDINATORS || strlen(address) > ADDRESS_LIMIT) {
        err_set(e, TX_EINVAL, "write tcp://host:port, up to %d of them, with commas", PULL_COORDINATORS);
        return NULL;
    }
    l = calloc(1, sizeof *l);
    if (l == NULL) {
        err_set(e, TX_ENOMEM, "out of memory");
        return NULL;
    }
    l->pull = p;
    l->channel.socket = -1;
    snprintf(l->address, sizeof l->address, "%s", address);
    if (line_dial(l, e) != TX_OK) {
        free(l);
        return NULL;
    }
    p->lines[p->n_lines++] = l;
    return l;
}

/* Frees the lines to those that are gone. Never from inside a message. */
static void pull_sweep(struct pull *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_lines; i++) {
        struct pull_line *l = p->lines[i];

        if (l->gone && l != p->leader) {
            line_hang_up(l);
            free(l);
            continue;
        }
        if (l->poll == NULL)
            line_redial(l);
        p->lines[n++] = l;
    }
    p->n_lines = n;
}

/* Their memory stays: one of them may be reading. */
static void pull_hang_up(struct pull *p)
{
    for (size_t i = 0; i < p->n_lines; i++)
        line_hang_up(p->lines[i]);
    p->leader = NULL;
}

static void pull_free_lines(struct pull *p)
{
    for (size_t i = 0; i < p->n_lines; i++)
        free(p->lines[i]);
    p->n_lines = 0;
}

/* sending */

/* What is malformed to the leader is so the next time, too. */
static void pull_refused(struct pull *p, const char *why)
{
    if (p->options.refused(p->options.arg, p->n_reports, why))
        pull_wake(p);
}

/* TX_EBUSY; or as wire_encode(). */
static int pull_send_message(struct pull *p, struct pull_line *l, const struct wire_message *m)
{
    int rc;

    buf_reset(&p->out);
    if (l->poll == NULL)
        return TX_EBUSY;
    rc = wire_encode(m, &p->out);
    if (rc != TX_OK)
        return rc;
    p->request = (p->request + 1) & 0x7fffffff;
    return channel_send(&l->channel, p->request, p->out.data, p->out.len);
}

static void pull_send(struct pull *p)
{
    struct wire_message m = {.type = WIRE_PULL};
    int rc;

    m.pull.number = p->number + 1;
    p->options.fill(p->options.arg, &m.pull);
    p->n_reports = m.pull.n_reports;
    rc = pull_send_message(p, p->leader, &m);
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

static void pull_ask(struct pull *p, struct pull_line *l)
{
    struct wire_message m = {.type = WIRE_LOCATE};

    m.locate.resource = p->options.probe;
    (void)pull_send_message(p, l, &m);
}

static void pull_ask_others(struct pull *p)
{
    for (size_t i = 0; i < p->n_lines; i++) {
        if (p->lines[i] != p->leader)
            pull_ask(p, p->lines[i]);
    }
}

static void pull_turn(uv_prepare_t *handle)
{
    struct pull *p = handle->data;

    if (p->due && p->leader != NULL)
        pull_send(p);
}

void pull_wake(struct pull *p)
{
    p->due = true;
}

bool pull_connected(const struct pull *p)
{
    return p->leader != NULL;
}

/* looking for the leader */

/* Nobody is owed patience that says nothing. */
static void pull_redial(struct pull *p)
{
    uint64_t now = pull_now(p);

    for (size_t i = 0; i < p->n_lines; i++) {
        struct pull_line *l = p->lines[i];

        if (now - l->heard_ms >= PULL_REDIAL_MS && now - l->dialled_ms >= PULL_REDIAL_MS)
            line_redial(l);
    }
}

/* After longer than an election takes, one line names all: it tells an agent that is cut off from a group
 * without a majority. */
static void pull_tell_none(struct pull *p)
{
    char list[PULL_COORDINATORS * (ADDRESS_LIMIT + PULL_WHY + 8)] = "";
    uint64_t now = pull_now(p);
    size_t n = 0;

    if (p->n_lines == 1 || p->none_told || now - p->heard_ms < PULL_NONE_MS)
        return;
    for (size_t i = 0; i < p->n_lines; i++) {
        struct pull_line *l = p->lines[i];
        const char *why = *channel_why(&l->channel) != '\0'       ? channel_why(&l->channel)
                          : !channel_ready(&l->channel)           ? "the connection is lost"
                          : now - l->heard_ms >= PULL_NONE_MS / 2 ? "no answer"
                                                                  : l->said;

        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s (%.*s)", i > 0 ? ", " : "", l->address, PULL_WHY,
                              why);
    }
    log_line(LOG_WARN, "coordinator", "state=none error=\"%s\"", list);
    p->none_told = true;
}

static void pull_search(uv_timer_t *timer)
{
    struct pull *p = timer->data;
    bool long_ago = pull_now(p) - p->heard_ms >= PULL_LONG_MS;

    if (p->leader != NULL)
        return;
    pull_tell_none(p);
    pull_redial(p);
    pull_ask_others(p);
    uv_timer_start(&p->search, pull_search, long_ago ? PULL_LONG_PAUSE_MS : p->pause_ms, 0);
    p->pause_ms = p->pause_ms * 2 < PULL_PAUSE_MS ? p->pause_ms * 2 : PULL_PAUSE_MS;
}

/* Looks at once, and then soon again: another one may be about to lead. */
static void pull_begin_search(struct pull *p)
{
    p->pause_ms = PULL_FIRST_PAUSE_MS;
    uv_timer_start(&p->search, pull_search, 0, 0);
}

/* The present leader is none any more. */
static void pull_give_up(struct pull *p, const char *why)
{
    struct pull_line *l = p->leader;

    if (!p->lost_told)
        log_line(LOG_WARN, "coordinator", "state=lost address=%s error=\"%s\"", l->address, why);
    p->lost_told = true;
    snprintf(p->reason, sizeof p->reason, "%s", why);
    p->leader = NULL;
    line_redial(l);
}

static void pull_met(struct pull *p, struct pull_line *l)
{
    p->leader = l;
    p->lost_told = p->none_told = false;
    p->heard_ms = p->ready_ms = p->worked_ms = pull_now(p);
    p->sent_ms = p->asked_ms = 0;
    p->due = true;
    log_line(LOG_INFO, "coordinator", "state=connected address=%s", l->address);
    p->options.met(p->options.arg);
}

static bool pull_doubted(const struct pull *p)
{
    return p->asked_ms > p->heard_ms && pull_now(p) - p->asked_ms >= PULL_DOUBT_MS;
}

/* It has answered as leaders do. Another one that does so while the present leader is well was one before, and
 * has not noticed yet. */
static void pull_leads(struct pull *p, struct pull_line *l)
{
    if (l == p->leader || (p->leader != NULL && !pull_doubted(p)))
        return;
    if (p->leader != NULL)
        pull_give_up(p, "no answer, and another coordinator leads");
    pull_met(p, l);
}

/* receiving */

static void pull_not_leader(struct pull *p, struct pull_line *l, const struct wire_error *error)
{
    snprintf(l->said, sizeof l->said, "%s", error->leader != NULL ? "does not lead" : "knows of no leader");
    if (error->leader != NULL && pull_find(p, error->leader) == NULL)
        (void)pull_add(p, error->leader, NULL);
    if (l != p->leader)
        return;
    pull_give_up(p, error->text);
    pull_begin_search(p);
}

static void pull_error(struct pull *p, struct pull_line *l, const struct wire_error *error, uint32_t request)
{
    if (error->code == TX_ENOTFOUND || error->code == TX_EUNREACHABLE) {
        pull_leads(p, l); /* a leader's answer to the question, before it knows of this agent */
    } else if (error->code == TX_ENOTLEADER) {
        pull_not_leader(p, l, error);
    } else if (l == p->leader) {
        if (strcmp(p->reason, error->text) != 0)
            log_line(LOG_WARN, "coordinator", "state=refuses address=%s error=\"%s\"", l->address, error->text);
        snprintf(p->reason, sizeof p->reason, "%s", error->text);
        if (error->code == TX_EPROTO && request == p->pull_request)
            pull_refused(p, error->text);
    }
}

/* Who is believed no longer may have a line yet. The leader has just told this. */
static void pull_believe(struct pull *p, const struct wire_nodes *nodes)
{
    if (!believed_learn(&p->believed, nodes))
        return;
    for (size_t i = 0; i < p->n_lines; i++) {
        if (p->lines[i] != p->leader)
            line_redial(p->lines[i]);
    }
}

/* The configured ones stay, whatever they are now. */
static void pull_learn(struct pull *p, const struct wire_nodes *nodes)
{
    struct pull_line *l;

    pull_believe(p, nodes);
    for (size_t i = 0; i < p->n_lines; i++)
        p->lines[i]->gone = !p->lines[i]->configured && nodes->n > 0;
    for (size_t i = 0; i < nodes->n; i++) {
        l = pull_find(p, nodes->addresses[i]);
        if (l == NULL)
            l = pull_add(p, nodes->addresses[i], NULL);
        if (l != NULL)
            l->gone = false;
    }
}

static void pull_message(struct pull_line *l, const struct channel_message *in)
{
    struct pull *p = l->pull;
    struct wire_message m;
    struct tx_error e;

    if (wire_decode(&m, in->data, in->len, p->scratch, &e) != TX_OK) {
        log_line(LOG_WARN, "refused", "from=%s error=\"%s\"", l->address, e.msg);
        return;
    }
    l->heard_ms = pull_now(p);
    if (l == p->leader)
        p->heard_ms = l->heard_ms;
    if (m.type == WIRE_ERROR) {
        pull_error(p, l, &m.error, in->id);
    } else if (m.type == WIRE_WORK && l == p->leader) {
        pull_learn(p, &m.work.nodes);
        if (m.work.n_items > 0)
            p->worked_ms = pull_now(p);
        p->options.work(p->options.arg, &m.work);
    } else if (m.type == WIRE_LOCATED) {
        pull_leads(p, l);
    }
}

/* That nobody is spoken with is told once, and whether the next handshake will be another. */
static void line_tell_refusal(struct pull_line *l, bool refused)
{
    if (refused && !l->refusal_told)
        log_line(LOG_WARN, "coordinator", "state=refused address=%s error=\"%s\"", l->address,
                 channel_why(&l->channel));
    l->refusal_told = refused;
}

/* A line that has just been opened is used at once: to look for the leader, or for what it has forgotten. */
static void line_look(struct pull_line *l)
{
    struct channel_state state = channel_state(&l->channel);
    bool opened = state.open && (!l->open || state.lost != l->lost);

    l->open = state.open;
    l->lost = state.lost;
    if (state.open || state.refused)
        line_tell_refusal(l, !state.open);
    if (!opened)
        return;
    if (l == l->pull->leader)
        pull_wake(l->pull);
    else if (l->pull->leader == NULL)
        pull_ask(l->pull, l);
}

static void line_readable(uv_poll_t *handle, int status, int events)
{
    struct pull_line *l = handle->data;
    struct channel_message in;

    (void)status;
    (void)events;
    while (l->poll == handle && channel_receive(&l->channel, &in) == 1) {
        pull_message(l, &in);
        channel_release(&in);
    }
    if (l->poll == handle)
        line_look(l);
}

/* keeping the line */

/* Why the present leader is to be given up; NULL: it is not. */
static const char *pull_lost(struct pull *p, uint64_t now)
{
    if (channel_ready(&p->leader->channel))
        p->ready_ms = now;
    else if (now - p->ready_ms >= PULL_TICK_MS)
        return "the connection is lost";
    if (now - p->heard_ms >= (p->n_lines > 1 ? PULL_SILENCE_MS : PULL_ALONE_MS))
        return "no answer";
    return NULL;
}

static void pull_tick(uv_timer_t *timer)
{
    struct pull *p = timer->data;
    uint64_t now = pull_now(p), ask_ms;
    const char *why;

    pull_sweep(p);
    for (size_t i = 0; i < p->n_lines; i++) {
        channel_keep(&p->lines[i]->channel);
        line_look(p->lines[i]);
    }
    if (p->leader == NULL)
        return;
    why = pull_lost(p, now);
    if (why != NULL) {
        pull_give_up(p, why);
        pull_begin_search(p);
        return;
    }
    ask_ms = now - p->worked_ms < PULL_WORKING_MS ? PULL_ASK_MS : PULL_ASK_IDLE_MS;
    if (pull_doubted(p))
        pull_ask_others(p);
    else if (now - p->heard_ms >= ask_ms && p->asked_ms <= p->heard_ms) {
        p->asked_ms = now;
        pull_ask(p, p->leader);
    }
    if (now - p->sent_ms >= PULL_RENEW_MS || p->due)
        pull_send(p);
}

/* life */

/* What cannot be an address is told at the start. */
static int pull_parse(struct pull *p, const char *list, struct tx_error *e)
{
    char address[ADDRESS_LIMIT + 1];
    struct pull_line *l;
    size_t n;

    for (const char *s = list; *s != '\0'; s += n + (s[n] == ',' ? 1 : 0)) {
        n = strcspn(s, ",");
        if (n == 0 || n > ADDRESS_LIMIT)
            return err_set(e, TX_EINVAL, "«%s»: write tcp://host:port, up to %d of them, with commas", list,
                           PULL_COORDINATORS);
        memcpy(address, s, n);
        address[n] = '\0';
        l = pull_find(p, address);
        if (l == NULL)
            l = pull_add(p, address, e);
        if (l == NULL)
            return e->code;
        l->configured = true;
    }
    if (p->n_lines == 0)
        return err_set(e, TX_EINVAL, "no coordinator is named; write --coordinators tcp://host:port[,…]");
    return TX_OK;
}

int pull_open(struct pull *p, const struct pull_options *options, struct tx_error *e)
{
    int rc;

    memset(p, 0, sizeof *p);
    p->options = *options;
    buf_init(&p->out);
    believed_init(&p->believed, options->security);
    rc = pull_parse(p, options->coordinators, e);
    if (rc == TX_OK)
        p->scratch = malloc(sizeof *p->scratch);
    if (rc == TX_OK && p->scratch == NULL)
        rc = err_set(e, TX_ENOMEM, "no memory for messages");
    if (rc != TX_OK) {
        pull_hang_up(p);
        pull_free_lines(p);
        return err_wrap(e, rc, "coordinators");
    }
    uv_timer_init(options->loop, &p->tick);
    uv_timer_init(options->loop, &p->search);
    uv_prepare_init(options->loop, &p->turn);
    p->tick.data = p->search.data = p->turn.data = p;
    p->heard_ms = pull_now(p);
    uv_timer_start(&p->tick, pull_tick, PULL_TICK_MS, PULL_TICK_MS);
    uv_prepare_start(&p->turn, pull_turn);
    pull_begin_search(p);
    return TX_OK;
}

void pull_close(struct pull *p)
{
    if (p->scratch == NULL)
        return;
    pull_hang_up(p);
    uv_close((uv_handle_t *)&p->tick, NULL);
    uv_close((uv_handle_t *)&p->search, NULL);
    uv_close((uv_handle_t *)&p->turn, NULL);
}

void pull_release(struct pull *p)
{
    pull_free_lines(p);
    buf_release(&p->out);
    free(p->scratch);
}
