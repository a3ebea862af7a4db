/* caller: one question to the coordinator group: finds the leader, repeats until somebody answers. See
 * txadmin.h.
 *
 * A question may be asked twice: every verb of the coordinator allows that.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/txadmin/txadmin.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"

enum {
    NODES = 16,
    CONNECT_MS = 1000, /* for a node to be connected, before the next is tried */
    ANSWER_MS = 5000,  /* for an answer; those that need agents take up to 3 s; see caller.patient */
    PAUSE_MS = 20,     /* between two attempts to send */
    KEEP_MS = 100,     /* between two looks at a line while an answer is awaited */
    PROBE_MS = 1000,   /* between two probes of a node that is waited for patiently */
    AGAIN_MS = 200,    /* before a question is asked again that was refused for now */
};

struct node {
    char address[ADDRESS_LIMIT + 1];
    struct channel channel;
    bool dialed;
    bool outside;   /* it takes no part in any group */
    bool distrust;  /* it does not believe this program, or the other way round */
    bool has_early; /* an answer that came while something was to be sent */
    struct channel_message early;
    char said[TEXT_LIMIT + 1]; /* how the last attempt there ended; "": there was none */
};

struct caller {
    const struct channel_security *security; /* NULL: clear text */
    struct node nodes[NODES];
    size_t n, current;
    uint64_t deadline;
    uint32_t id; /* of the newest request */
    bool connected;
    bool leaderless; /* a node has said that nobody leads */
    /* A change of the group's nodes takes its time: its answer is waited for as long as allowed, and as the
     * node answers other questions. */
    bool patient;
    struct buf request, probe;
    int code; /* why it failed, an enum tx_err */
};

/* How an attempt ended. */
enum attempt { ATTEMPT_ANSWERED, ATTEMPT_NEXT, ATTEMPT_AGAIN, ATTEMPT_FAILED };

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

/* Index of the node with this address, added where it is new; c->n where there is no room. */
static size_t caller_node(struct caller *c, const char *address)
{
    size_t i;

    for (i = 0; i < c->n; i++) {
        if (strcmp(c->nodes[i].address, address) == 0)
            return i;
    }
    if (c->n == NODES || strlen(address) > ADDRESS_LIMIT)
        return c->n;
    memcpy(c->nodes[i].address, address, strlen(address) + 1);
    c->n++;
    return i;
}

static int caller_parse(struct caller *c, const char *list)
{
    char *copy = strdup(list), *rest = copy, *address;
    int rc = 0;

    while (rc == 0 && copy != NULL && (address = strsep(&rest, ", ")) != NULL) {
        if (*address == '\0' || caller_node(c, address) < c->n)
            continue;
        complain("too many coordinators, or an address is too long: %s", address);
        rc = -1;
    }
    if (rc == 0 && c->n == 0) {
        complain("no coordinator is named in «%s»", list);
        rc = -1;
    }
    free(copy);
    return rc;
}

static int caller_dial(const struct caller *c, struct node *node)
{
    struct tx_error e;

    if (node->dialed)
        return 0;
    if (channel_dial(&node->channel, node->address, MESSAGE_LIMIT, c->security, &e) != TX_OK) {
        complain("%s", e.msg);
        return -1;
    }
    node->dialed = true;
    return 0;
}

/* All at once, so that the next one to be tried is connected already. */
static int caller_dial_all(struct caller *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (caller_dial(c, &c->nodes[i]) < 0)
            return -1;
    }
    return 0;
}

static void caller_hang_up(struct caller *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->nodes[i].has_early)
            channel_release(&c->nodes[i].early);
        if (c->nodes[i].dialed)
            channel_close(&c->nodes[i].channel);
    }
}

/* One attempt */

/* Drives the handshake on; an answer that comes meanwhile is kept. */
static void attempt_wait(struct node *node)
{
    struct pollfd p = {.fd = channel_fd(&node->channel), .events = POLLIN};
    struct channel_message in;

    poll(&p, 1, PAUSE_MS);
    while (channel_receive(&node->channel, &in) == 1) {
        if (node->has_early)
            channel_release(&node->early);
        node->early = in;
        node->has_early = true;
    }
}

/* Notes why one end does not believe the other, where that is known by now. */
static bool is_distrusted(struct caller *c, struct node *node)
{
    const char *why = channel_why(&node->channel);

    node->distrust = *why != '\0';
    if (!node->distrust)
        return false;
    snprintf(node->said, sizeof node->said, "%s", why);
    c->connected = true;
    return true;
}

static bool attempt_send(struct caller *c, struct node *node, const struct buf *request)
{
    uint64_t until = now_ms() + CONNECT_MS;

    c->id = (c->id + 1) & 0x7fffffff;
    if (until > c->deadline)
        until = c->deadline;
    while (channel_send(&node->channel, c->id, request->data, request->len) != TX_OK) {
        if (now_ms() >= until)
            return false;
        attempt_wait(node);
        if (is_distrusted(c, node))
            return false;
    }
    c->connected = true;
    return true;
}

static bool next_message(struct node *node, struct channel_message *in)
{
    if (!node->has_early)
        return channel_receive(&node->channel, in) == 1;
    *in = node->early;
    node->has_early = false;
    return true;
}

/* Waits for an answer to either of two requests. */
static bool receive(struct caller *c, struct node *node, const uint32_t ids[2], uint64_t ms,
                    struct channel_message *in)
{
    uint64_t until = now_ms() + ms, now;
    struct pollfd p = {.fd = channel_fd(&node->channel), .events = POLLIN};

    if (until > c->deadline)
        until = c->deadline;
    for (;;) {
        while (next_message(node, in)) {
            if (in->id == ids[0] || in->id == ids[1])
                return true;
            channel_release(in);
        }
        now = now_ms();
        if (now >= until || is_distrusted(c, node))
            return false;
        channel_keep(&node->channel);
        poll(&p, 1, until - now < KEEP_MS ? (int)(until - now) : KEEP_MS);
    }
}

/* A node that stands still, or is gone, must not be waited for: another one leads by then. */
static bool receive_patiently(struct caller *c, struct node *node, uint32_t asked, struct channel_message *in)
{
    const uint32_t only[2] = {asked, asked};

    while (now_ms() < c->deadline) {
        uint32_t ids[2] = {asked, 0};

        if (!attempt_send(c, node, &c->probe))
            return false;
        ids[1] = c->id;
        if (!receive(c, node, ids, ANSWER_MS, in))
            return false;
        if (in->id == asked)
            return true;
        channel_release(in);
        if (receive(c, node, only, PROBE_MS, in))
            return true;
    }
    return false;
}

/* Waits for the answer to the newest request. */
static bool attempt_receive(struct caller *c, struct node *node, struct channel_message *in)
{
    const uint32_t ids[2] = {c->id, c->id};

    if (c->patient)
        return receive_patiently(c, node, c->id, in);
    return receive(c, node, ids, ANSWER_MS, in);
}

/* «tcp://a:7401: cannot be reached; tcp://b:7401: node 2 has no leader: …» */
static void list_attempts(const struct caller *c, char *text, size_t size)
{
    size_t at = 0;

    *text = '\0';
    for (size_t i = 0; i < c->n && at < size; i++) {
        const struct node *n = &c->nodes[i];

        at += (size_t)snprintf(text + at, size - at, "%s%s: %s", i > 0 ? "; " : "", n->address,
                               *n->said != '\0' ? n->said : "not asked");
    }
}

static bool is_outside(const struct node *n)
{
    return n->outside;
}

static bool is_strange(const struct node *n)
{
    return n->distrust;
}

static bool all_nodes(const struct caller *c, bool (*is)(const struct node *n))
{
    for (size_t i = 0; i < c->n; i++) {
        if (!is(&c->nodes[i]))
            return false;
    }
    return true;
}

/* It is in vain with every node that is known: complained about. */
static enum attempt next_unless_all(struct caller *c, bool (*in_vain)(const struct node *n), int code)
{
    char attempts[4 * TEXT_LIMIT];

    if (!all_nodes(c, in_vain))
        return ATTEMPT_NEXT;
    list_attempts(c, attempts, sizeof attempts);
    complain("%s", attempts);
    c->code = code;
    return ATTEMPT_FAILED;
}

static enum attempt take_error(struct caller *c, const struct wire_error *error)
{
    size_t leader;

    switch (error->code) {
    case TX_ENOTLEADER:
        snprintf(c->nodes[c->current].said, TEXT_LIMIT + 1, "%s", error->text);
        leader = error->leader != NULL ? caller_node(c, error->leader) : c->n;
        c->leaderless = c->leaderless || error->leader == NULL;
        if (leader == c->n || leader == c->current)
            return ATTEMPT_NEXT;
        c->current = leader;
        return ATTEMPT_AGAIN;
    case TX_EREFUSED:
        snprintf(c->nodes[c->current].said, TEXT_LIMIT + 1, "%s", error->text);
        c->nodes[c->current].outside = true;
        return next_unless_all(c, is_outside, TX_EREFUSED);
    case TX_EBUSY:
        snprintf(c->nodes[c->current].said, TEXT_LIMIT + 1, "%s", error->text);
        return ATTEMPT_AGAIN;
    default:
        c->code = error->code;
        complain("%s", error->text);
        return ATTEMPT_FAILED;
    }
}

/* Of a node that takes part in no group: good enough where no other one is named. */
static enum attempt take_outside(struct caller *c, cJSON **answer)
{
    struct node *node = &c->nodes[c->current];

    node->outside = true;
    snprintf(node->said, sizeof node->said, "%s", text_of(*answer, "outside"));
    if (all_nodes(c, is_outside))
        return ATTEMPT_ANSWERED;
    cJSON_Delete(*answer);
    *answer = NULL;
    return ATTEMPT_NEXT;
}

static enum attempt take_reply(struct caller *c, const struct channel_message *in, cJSON **answer)
{
    static struct wire_scratch wire_scratch;
    struct wire_message m;
    struct tx_error e;

    if (wire_decode(&m, in->data, in->len, &wire_scratch, &e) != TX_OK) {
        complain("%s sent what is no answer: %s", c->nodes[c->current].address, e.msg);
        return ATTEMPT_FAILED;
    }
    if (m.type == WIRE_ERROR)
        return take_error(c, &m.error);
    *answer = m.type == WIRE_ADMIN_REPLY ? cJSON_Parse(m.admin.json) : NULL;
    if (*answer != NULL)
        return *text_of(*answer, "outside") != '\0' ? take_outside(c, answer) : ATTEMPT_ANSWERED;
    complain("%s sent what is no answer", c->nodes[c->current].address);
    return ATTEMPT_FAILED;
}

static enum attempt caller_attempt(struct caller *c, cJSON **answer)
{
    struct node *node = &c->nodes[c->current];
    struct channel_message in;
    enum attempt result;
    bool sent;

    /* The leader's address may be a new one. */
    if (caller_dial(c, node) < 0)
        return ATTEMPT_FAILED;
    sent = attempt_send(c, node, &c->request);
    if (!sent || !attempt_receive(c, node, &in)) {
        if (node->distrust)
            return next_unless_all(c, is_strange, TX_EDENIED);
        snprintf(node->said, sizeof node->said, "%s", sent ? "no answer" : "cannot be reached");
        return ATTEMPT_NEXT;
    }
    result = take_reply(c, &in, answer);
    channel_release(&in);
    return result;
}

/* A question */

static enum exit_status give_up(const struct caller *c, const struct arguments *a)
{
    char attempts[4 * TEXT_LIMIT];

    list_attempts(c, attempts, sizeof attempts);
    if (c->connected)
        complain("no leading coordinator answered within %s%s: %s", age_text(a->timeout_ms),
                 c->leaderless ? ", for want of a majority" : "", attempts);
    else
        complain("no coordinator can be reached at %s within %s; is txcoordd running?", a->coordinators,
                 age_text(a->timeout_ms));
    return EXIT_SILENCE;
}

static enum exit_status caller_run(struct caller *c, const struct arguments *a, cJSON **answer)
{
    while (now_ms() < c->deadline) {
        switch (caller_attempt(c, answer)) {
        case ATTEMPT_ANSWERED:
            return EXIT_DONE;
        case ATTEMPT_FAILED:
            return c->code == TX_EDENIED ? EXIT_DENIED : EXIT_REFUSED;
        case ATTEMPT_NEXT:
            c->current = (c->current + 1) % c->n;
            break;
        case ATTEMPT_AGAIN:
            break;
        }
        if (c->connected)
            pause_ms(AGAIN_MS);
    }
    return give_up(c, a);
}

static int caller_encode(cJSON *question, struct buf *request)
{
    char *text = cJSON_PrintUnformatted(question);
    struct wire_message m = {.type = WIRE_ADMIN, .admin = {.json = text}};
    int rc = text != NULL ? wire_encode(&m, request) : TX_ENOMEM;

    if (rc != TX_OK)
        complain("%s", tx_strerror(rc));
    cJSON_free(text);
    cJSON_Delete(question);
    return rc;
}

void caller_print_failure(int code)
{
    cJSON *answer = cJSON_CreateObject();

    cJSON_AddFalseToObject(answer, "ok");
    cJSON_AddNumberToObject(answer, "code", code);
    cJSON_AddStringToObject(answer, "error", complaint());
    (void)caller_print_answer(answer);
}

/* The answer may be {"ok": false, …}. */
static enum exit_status caller_exchange(const struct arguments *a, cJSON *question, cJSON **answer)
{
    static struct caller c;
    enum exit_status status;

    memset(&c, 0, sizeof c);
    *answer = NULL;
    buf_init(&c.request);
    buf_init(&c.probe);
    c.code = TX_EPROTO;
    c.deadline = now_ms() + a->timeout_ms;
    /* Replies to an earlier question of this process must not be taken for this one's. */
    c.id = (uint32_t)now_ms() & 0x7fffffff;
    c.patient = strncmp(text_of(question, "verb"), "node_", 5) == 0;
    if (caller_encode(question, &c.request) != TX_OK ||
        caller_encode(caller_question("nodes"), &c.probe) != TX_OK)
        status = EXIT_REFUSED;
    else if (credentials_open(a, &c.security) != EXIT_DONE || caller_parse(&c, a->coordinators) < 0 ||
             caller_dial_all(&c) < 0)
        status = EXIT_USAGE;
    else
        status = caller_run(&c, a, answer);
    caller_hang_up(&c);
    buf_release(&c.request);
    buf_release(&c.probe);
    if (status == EXIT_SILENCE)
        c.code = TX_EUNREACHABLE;
    else if (status == EXIT_USAGE)
        c.code = TX_EINVAL;
    if (status != EXIT_DONE && a->json)
        caller_print_failure(c.code);
    return status;
}

enum exit_status caller_ask(const struct arguments *a, cJSON *question, cJSON **answer)
{
    enum exit_status status = caller_exchange(a, question, answer);

    if (status != EXIT_DONE || truth_of(*answer, "ok"))
        return status;
    if (a->json) {
        status = caller_print_answer(*answer);
    } else {
        complain("%s", text_of(*answer, "error"));
        cJSON_Delete(*answer);
        status = EXIT_REFUSED;
    }
    *answer = NULL;
    return status;
}

enum exit_status caller_print_answer(cJSON *answer)
{
    char *text = cJSON_Print(answer);
    enum exit_status status = truth_of(answer, "ok") ? EXIT_DONE : EXIT_REFUSED;

    puts(text != NULL ? text : "{}");
    /* What doctor exits with does not depend on how it prints. */
    if (status == EXIT_DONE && number_of(answer, "errors") > 0)
        status = EXIT_FINDINGS;
    cJSON_free(text);
    cJSON_Delete(answer);
    return status;
}

enum exit_status caller_print(const struct arguments *a, cJSON *question)
{
    cJSON *answer;
    enum exit_status status = caller_ask(a, question, &answer);

    return status == EXIT_DONE ? caller_print_answer(answer) : status;
}

enum exit_status caller_act(const struct arguments *a, cJSON *question, const char *done)
{
    cJSON *answer;
    enum exit_status status;

    if (a->json)
        return caller_print(a, question);
    status = caller_ask(a, question, &answer);
    if (status != EXIT_DONE)
        return status;
    printf("%s\n", done);
    if (*text_of(answer, "note") != '\0') {
        print_clean(text_of(answer, "note"));
        printf("\n");
    }
    cJSON_Delete(answer);
    return EXIT_DONE;
}

cJSON *caller_question(const char *verb)
{
    cJSON *question = cJSON_CreateObject();

    cJSON_AddStringToObject(question, "verb", verb);
    return question;
}
