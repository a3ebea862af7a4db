/* relay: see relay.h. One thread and one mutex each; the thread has it while it works, not while it waits. */
#include "tests/lib/relay.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/sp.h"
#include "tests/lib/world.h"

enum {
    LINES = 64,
    MESSAGE_MAX = 17 << 20,
    LATE_MS = 100,
    LATE_LIMIT = 4096,
    RECORD_LIMIT = 65536,
    IDLE_MS = 200,
};

/* What has come from one end, and is to go to the other. */
struct flow {
    int from, to;
    bool opened; /* the first bytes have passed */
    uint8_t *data;
    size_t len, cap;
};

struct line {
    unsigned connection;                          /* 0: free */
    struct flow flow[2];                          /* by enum relay_way */
    uint8_t number[SP_HEADER], before[SP_HEADER]; /* of the last request, and of another one before it */
};

struct late {
    uint64_t due_ms;
    struct relay_message message;
};

struct relay {
    pthread_mutex_t mutex;
    pthread_t thread;
    char listen[WORLD_PATH_SIZE], target[WORLD_PATH_SIZE];
    int listener, wake;
    bool ends, records;
    unsigned seed, n_connections;
    size_t mischief;
    struct relay_plan plan;
    struct line lines[LINES];
    struct late late[LATE_LIMIT]; /* in no order */
    size_t n_late;
    struct relay_message *recorded;
    size_t n_recorded;
};

static bool chance(struct relay *r, unsigned of_thousand)
{
    return of_thousand > 0 && (unsigned)rand_r(&r->seed) % 1000 < of_thousand;
}

static void *copy(const void *data, size_t len)
{
    void *c = malloc(len + 1);

    assert(c != NULL);
    memcpy(c, data, len);
    return c;
}

/* Lines */

static struct line *line_find(struct relay *r, unsigned connection)
{
    for (size_t i = 0; i < LINES; i++) {
        if (connection != 0 && r->lines[i].connection == connection)
            return &r->lines[i];
    }
    return NULL;
}

static void line_end(struct line *l)
{
    close(l->flow[0].from);
    close(l->flow[0].to);
    free(l->flow[0].data);
    free(l->flow[1].data);
    memset(l, 0, sizeof *l);
}

static void line_begin(struct relay *r)
{
    int caller = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC), server;
    struct line *l = NULL;

    for (size_t i = 0; i < LINES && l == NULL; i++)
        l = r->lines[i].connection == 0 ? &r->lines[i] : NULL;
    server = l != NULL ? sp_socket_connect(r->target) : -1;
    if (server < 0) {
        close(caller);
        return;
    }
    l->connection = ++r->n_connections;
    l->flow[RELAY_TO_SERVER] = (struct flow){.from = caller, .to = server};
    l->flow[RELAY_TO_CALLER] = (struct flow){.from = server, .to = caller};
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    struct sp s = {.fd = fd};

    return sp_write(&s, data, len);
}

static bool line_write(struct relay *r, struct line *l, const struct relay_message *m)
{
    uint8_t frame[9];

    sp_frame(r->listen, m->len, frame);
    if (chance(r, r->plan.break_frame)) {
        size_t at = sp_frame_size(r->listen) - 1 - (unsigned)rand_r(&r->seed) % 3;

        frame[at] ^= (uint8_t)(1U << (rand_r(&r->seed) % 8));
        r->mischief++;
    }
    return write_all(l->flow[m->way].to, frame, sp_frame_size(r->listen)) &&
           write_all(l->flow[m->way].to, m->body, m->len);
}

bool relay_say(struct relay *r, unsigned connection, enum relay_way way, const void *body, size_t len)
{
    const struct relay_message m = {.way = way, .connection = connection, .len = len, .body = (uint8_t *)body};
    struct line *l = line_find(r, connection);

    return l != NULL && line_write(r, l, &m);
}

/* Messages */

static void keep(struct relay *r, const struct relay_message *m)
{
    struct relay_message *k = &r->recorded[r->n_recorded];

    if (!r->records || r->n_recorded == RECORD_LIMIT)
        return;
    *k = *m;
    k->body = copy(m->body, m->len);
    r->n_recorded++;
}

static void delay(struct relay *r, const struct relay_message *m)
{
    struct late *late = &r->late[r->n_late];

    r->mischief++;
    if (r->n_late == LATE_LIMIT)
        return; /* lost, as with a router */
    late->due_ms = world_now_ms() + (unsigned)rand_r(&r->seed) % LATE_MS;
    late->message = *m;
    late->message.body = copy(m->body, m->len);
    r->n_late++;
}

static void note_number(struct line *l, const struct relay_message *m)
{
    if (m->way != RELAY_TO_SERVER || m->len < SP_HEADER || memcmp(l->number, m->body, SP_HEADER) == 0)
        return;
    memcpy(l->before, l->number, SP_HEADER);
    memcpy(l->number, m->body, SP_HEADER);
}

/* The same answer to another question. */
static bool misplace(struct relay *r, struct line *l, const struct relay_message *m)
{
    const uint8_t *other = memcmp(l->number, m->body, SP_HEADER) != 0 ? l->number : l->before;
    struct relay_message wrong = *m;
    bool written;

    wrong.body = copy(m->body, m->len);
    memcpy(wrong.body, other, SP_HEADER);
    written = line_write(r, l, &wrong);
    free(wrong.body);
    r->mischief++;
    return written;
}

static void flip(struct relay *r, struct relay_message *m)
{
    m->body[(size_t)rand_r(&r->seed) % m->len] ^= (uint8_t)(1U << (rand_r(&r->seed) % 8));
    r->mischief++;
}

/* False: the line is to end. */
static bool pass(struct relay *r, struct line *l, struct relay_message *m)
{
    const struct relay_plan *plan = &r->plan;
    bool written = true;

    keep(r, m);
    note_number(l, m);
    if (plan->hook != NULL && !plan->hook(plan->ctx, r, m)) {
        r->mischief++;
        return true;
    }
    if (m->len >= SP_HEADER && m->way == RELAY_TO_CALLER && chance(r, plan->misplace))
        written = misplace(r, l, m);
    if (m->len > 0 && chance(r, plan->flip))
        flip(r, m);
    if (chance(r, plan->lose)) {
        r->mischief++;
        return written;
    }
    if (chance(r, plan->twice))
        delay(r, m);
    if (chance(r, plan->late)) {
        delay(r, m);
        return written;
    }
    return written && line_write(r, l, m);
}

static void send_late(struct relay *r)
{
    uint64_t now = world_now_ms();

    for (size_t i = r->n_late; i > 0; i--) {
        struct late *late = &r->late[i - 1];
        struct line *l;

        if (late->due_ms > now)
            continue;
        l = line_find(r, late->message.connection);
        if (l != NULL && !line_write(r, l, &late->message))
            line_end(l);
        free(late->message.body);
        *late = r->late[--r->n_late];
    }
}

/* Flows */

static bool flow_read(struct flow *f)
{
    ssize_t n;

    if (f->cap - f->len < 65536) {
        f->cap = f->cap * 2 + 65536;
        f->data = realloc(f->data, f->cap);
        assert(f->data != NULL);
    }
    n = recv(f->from, f->data + f->len, f->cap - f->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    f->len += n > 0 ? (size_t)n : 0;
    return n > 0 && f->len < MESSAGE_MAX;
}

/* The first bytes of a connection; how many of them, 0: they are not there yet. */
static size_t flow_opening(struct flow *f)
{
    if (f->opened || f->len < SP_HEAD)
        return 0;
    f->opened = true;
    return write_all(f->to, f->data, SP_HEAD) ? SP_HEAD : 0;
}

/* Passes on all that is whole. */
static bool flow_pass(struct relay *r, struct line *l, enum relay_way way)
{
    struct flow *f = &l->flow[way];
    size_t at = flow_opening(f), frame = sp_frame_size(r->listen);
    bool goes = true;

    while (goes && f->opened && f->len - at >= frame) {
        uint64_t len = sp_frame_length(r->listen, f->data + at);
        struct relay_message m = {.way = way, .connection = l->connection, .len = len};

        if (f->len - at - frame < len)
            break;
        m.body = f->data + at + frame;
        goes = pass(r, l, &m);
        at += frame + len;
    }
    memmove(f->data, f->data + at, f->len - at);
    f->len -= at;
    return goes;
}

static void line_turn(struct relay *r, unsigned connection, enum relay_way way)
{
    struct line *l = line_find(r, connection);

    if (l != NULL && !(flow_read(&l->flow[way]) && flow_pass(r, l, way)))
        line_end(l);
}

/* The thread */

struct watch {
    size_t n;
    struct pollfd fds[2 + 2 * LINES];
    unsigned connections[2 + 2 * LINES];
    enum relay_way ways[2 + 2 * LINES];
};

static void watch_add(struct watch *w, int fd, unsigned connection, enum relay_way way)
{
    w->fds[w->n] = (struct pollfd){.fd = fd, .events = POLLIN};
    w->connections[w->n] = connection;
    w->ways[w->n++] = way;
}

static int wait_for_all(struct relay *r, struct watch *w)
{
    int timeout_ms;

    w->n = 0;
    watch_add(w, r->listener, 0, RELAY_TO_SERVER);
    watch_add(w, r->wake, 0, RELAY_TO_SERVER);
    for (size_t i = 0; i < LINES; i++) {
        for (int way = 0; r->lines[i].connection != 0 && way < 2; way++)
            watch_add(w, r->lines[i].flow[way].from, r->lines[i].connection, (enum relay_way)way);
    }
    timeout_ms = r->n_late > 0 ? 1 : IDLE_MS;
    pthread_mutex_unlock(&r->mutex);
    timeout_ms = poll(w->fds, w->n, timeout_ms);
    pthread_mutex_lock(&r->mutex);
    return timeout_ms;
}

static void *work(void *arg)
{
    struct relay *r = arg;
    struct watch w;

    pthread_mutex_lock(&r->mutex);
    while (!r->ends) {
        int n = wait_for_all(r, &w);

        if (n > 0 && w.fds[0].revents != 0)
            line_begin(r);
        for (size_t i = 2; n > 0 && i < w.n; i++) {
            if (w.fds[i].revents != 0)
                line_turn(r, w.connections[i], w.ways[i]);
        }
        send_late(r);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

/* From outside */

struct relay *relay_new(const char *listen, const char *target)
{
    struct relay *r = calloc(1, sizeof *r);

    assert(r != NULL);
    snprintf(r->listen, sizeof r->listen, "%s", listen);
    snprintf(r->target, sizeof r->target, "%s", target);
    r->listener = sp_socket_listen(listen);
    r->wake = eventfd(0, EFD_CLOEXEC);
    r->seed = (unsigned)world_now_ms();
    r->recorded = calloc(RECORD_LIMIT, sizeof *r->recorded);
    pthread_mutex_init(&r->mutex, NULL);
    if (r->listener < 0 || r->wake < 0 || r->recorded == NULL ||
        pthread_create(&r->thread, NULL, work, r) != 0) {
        fprintf(stderr, "relay at %s: %s\n", listen, strerror(errno));
        exit(3);
    }
    return r;
}

static void forget(struct relay *r)
{
    for (size_t i = 0; i < r->n_recorded; i++)
        free(r->recorded[i].body);
    r->n_recorded = 0;
}

void relay_free(struct relay *r)
{
    pthread_mutex_lock(&r->mutex);
    r->ends = true;
    (void)eventfd_write(r->wake, 1);
    pthread_mutex_unlock(&r->mutex);
    pthread_join(r->thread, NULL);
    relay_cut(r);
    forget(r);
    for (size_t i = 0; i < r->n_late; i++)
        free(r->late[i].message.body);
    free(r->recorded);
    close(r->listener);
    close(r->wake);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

const char *relay_address(const struct relay *r)
{
    return r->listen;
}

void relay_plan(struct relay *r, const struct relay_plan *plan)
{
    static const struct relay_plan none;

    pthread_mutex_lock(&r->mutex);
    r->plan = plan != NULL ? *plan : none;
    pthread_mutex_unlock(&r->mutex);
}

size_t relay_mischief(struct relay *r)
{
    size_t n;

    pthread_mutex_lock(&r->mutex);
    n = r->mischief;
    pthread_mutex_unlock(&r->mutex);
    return n;
}

void relay_record(struct relay *r)
{
    pthread_mutex_lock(&r->mutex);
    forget(r);
    r->records = true;
    pthread_mutex_unlock(&r->mutex);
}

const struct relay_message *relay_recorded(struct relay *r, size_t *n)
{
    pthread_mutex_lock(&r->mutex);
    r->records = false;
    *n = r->n_recorded;
    pthread_mutex_unlock(&r->mutex);
    return r->recorded;
}

bool relay_send(struct relay *r, unsigned connection, enum relay_way way, const void *body, size_t len)
{
    bool sent;

    pthread_mutex_lock(&r->mutex);
    sent = relay_say(r, connection, way, body, len);
    pthread_mutex_unlock(&r->mutex);
    return sent;
}

unsigned relay_connection(struct relay *r)
{
    unsigned last = 0;

    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < LINES; i++)
        last = r->lines[i].connection > last ? r->lines[i].connection : last;
    pthread_mutex_unlock(&r->mutex);
    return last;
}

void relay_cut(struct relay *r)
{
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < LINES; i++) {
        if (r->lines[i].connection != 0)
            line_end(&r->lines[i]);
    }
    pthread_mutex_unlock(&r->mutex);
}
