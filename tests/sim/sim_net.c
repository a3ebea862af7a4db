/* sim_net: connections, in the place of channel.c. Requests and replies are packets, each with a fate of its
 * own: lost, late, doubled, or kept and delivered again long after. A connection to a process that listens
 * comes up after a moment; a cut loses what is sent and tells nobody, the death of the process ends the
 * connection.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/channel.h"
#include "tests/sim/sim.h"

enum { CONNECT_US = 3000, HEADER = 12, ADDRESS_SIZE = 32 };

struct packet {
    struct packet *next;
    uint64_t to; /* socket's serial number */
    uint64_t from;
    uint32_t id;
    char address[ADDRESS_SIZE]; /* where a late double of a request goes when the process is another one by
                                   then; "" */
    size_t len;
    uint8_t data[];
};

struct socket_end {
    bool open, listens;
    struct proc *proc;
    char address[ADDRESS_SIZE];
    uint64_t peer, up_us; /* the listener that it is connected to, since then */
    struct packet *first, **last;
};

struct net_weather net_weather;

static struct {
    struct socket_end **sockets; /* by serial number */
    uint64_t n, cap;
    uint64_t listeners[SIM_PROCS * 4];
    size_t n_listeners;
    bool cut[SIM_PROCS][SIM_PROCS];
} net;

/* sockets */

static struct socket_end *end_at(uint64_t serial)
{
    struct socket_end *s = serial < net.n ? net.sockets[serial] : NULL;

    return s != NULL && s->open ? s : NULL;
}

static struct socket_end *end_of(int fd)
{
    return fd >= SIM_FD + SIM_FD_SOCKET && fd < SIM_FD + SIM_FD_EVENT ? end_at((uint64_t)(fd - SIM_FD)) : NULL;
}

static uint64_t find_listener(const char *address)
{
    for (size_t i = 0; i < net.n_listeners; i++) {
        if (strcmp(net.sockets[net.listeners[i]]->address, address) == 0)
            return net.listeners[i] + 1;
    }
    return 0;
}

static int end_new(struct channel *c, const char *address, bool listens)
{
    struct socket_end *s = calloc(1, sizeof *s);

    assert(s != NULL && strlen(address) < sizeof s->address);
    if (net.n == net.cap) {
        net.cap = net.cap == 0 ? 256 : net.cap * 2;
        net.sockets = realloc(net.sockets, net.cap * sizeof(struct socket_end *));
        assert(net.sockets != NULL);
    }
    s->open = true;
    s->listens = listens;
    s->proc = sim_self();
    s->last = &s->first;
    strcpy(s->address, address);
    net.sockets[net.n] = s;
    *c = (struct channel){.socket = SIM_FD + (int)net.n};
    if (listens) {
        assert(net.n_listeners < sizeof net.listeners / sizeof *net.listeners);
        net.listeners[net.n_listeners++] = net.n;
    }
    net.n++;
    return TX_OK;
}

static void end_close(uint64_t serial)
{
    struct socket_end *s = net.sockets[serial];

    for (struct packet *p = s->first, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    for (size_t i = 0; i < net.n_listeners; i++) {
        if (net.listeners[i] == serial)
            net.listeners[i--] = net.listeners[--net.n_listeners];
    }
    free(s);
    net.sockets[serial] = NULL;
}

void net_proc_gone(struct proc *p)
{
    for (uint64_t i = 0; i < net.n; i++) {
        if (net.sockets[i] != NULL && net.sockets[i]->proc == p)
            end_close(i);
    }
}

bool net_readable(int fd)
{
    struct socket_end *s = end_of(fd);

    return s != NULL && s->first != NULL;
}

/* the weather */

static unsigned index_of(const struct proc *p)
{
    return (unsigned)(p - sim_procs);
}

void net_cut(unsigned from, unsigned to, bool cut)
{
    net.cut[from][to] = cut;
}

void net_heal(void)
{
    memset(net.cut, 0, sizeof net.cut);
}

bool net_is_cut(const struct proc *from, const struct proc *to)
{
    return net.cut[index_of(from)][index_of(to)];
}

static uint64_t draw_delay(void)
{
    if (sim_chance(net_weather.slow)) {
        sim_count(FAULT_delay);
        return sim_random(sim_chance(1000) ? 4000000 : 80000);
    }
    return 60 + sim_random(500);
}

static void arrive(void *arg, uint64_t x)
{
    struct packet *p = arg;
    struct socket_end *s = end_at(p->to);
    uint64_t listener = s == NULL && p->address[0] != '\0' ? find_listener(p->address) : 0;

    (void)x;
    if (listener != 0)
        s = end_at(listener - 1);
    if (s == NULL) {
        free(p);
        return;
    }
    p->next = NULL;
    *s->last = p;
    s->last = &p->next;
    sim_mix(p->len ^ p->to << 20 ^ p->from << 32);
    if (s->proc->loop != NULL)
        loop_wake(s->proc);
    else
        for (struct fiber *f = s->proc->fibers; f != NULL; f = f->next)
            fiber_wake(f);
}

static void post(const struct packet *p, uint64_t delay, bool twice)
{
    struct packet *copy = malloc(sizeof *p + p->len);
    const struct socket_end *to = end_at(p->to);

    assert(copy != NULL);
    memcpy(copy, p, sizeof *p + p->len);
    if (twice && to != NULL && to->listens)
        snprintf(copy->address, sizeof copy->address, "%s", to->address);
    sim_at(delay, arrive, copy, 0);
}

static void transmit(const struct proc *from, const struct proc *to, const struct packet *p)
{
    sim_tally->messages++;
    if (net_is_cut(from, to))
        return;
    if (sim_chance(net_weather.drop)) {
        sim_count(FAULT_drop);
        return;
    }
    post(p, draw_delay(), false);
    if (sim_chance(net_weather.duplicate)) {
        sim_count(FAULT_duplicate);
        post(p, draw_delay(), true);
    }
    if (sim_chance(net_weather.replay)) {
        sim_count(FAULT_replay);
        post(p, 500000 + sim_random(9000000), true);
    }
}

static struct packet *packet_new(uint64_t from, uint64_t to, uint32_t id, const void *data, size_t len)
{
    struct packet *p = malloc(sizeof *p + len);

    assert(p != NULL);
    *p = (struct packet){.to = to, .from = from, .id = id, .len = len};
    memcpy(p->data, data, len);
    return p;
}

/* channel.h */

int channel_dial(struct channel *c, const char *address, size_t max_bytes,
                 const struct channel_security *security, struct tx_error *e)
{
    (void)max_bytes;
    (void)security;
    (void)e;
    return end_new(c, address, false);
}

int channel_listen(struct channel *c, const char *address, size_t max_bytes,
                   const struct channel_security *security, struct tx_error *e)
{
    (void)max_bytes;
    (void)security;
    if (find_listener(address) != 0)
        return err_set(e, TX_EIO, "%s is taken", address);
    return end_new(c, address, true);
}

void channel_close(struct channel *c)
{
    if (end_of(c->socket) != NULL)
        end_close((uint64_t)(c->socket - SIM_FD));
    c->socket = -1;
}

int channel_fd(const struct channel *c)
{
    return c->socket;
}

bool channel_connected(const struct channel *c)
{
    struct socket_end *s = end_of(c->socket);
    uint64_t listener = s == NULL || s->listens ? 0 : find_listener(s->address);

    if (listener == 0) {
        if (s != NULL)
            s->peer = 0;
        return false;
    }
    if (s->peer != listener) {
        if (net_is_cut(s->proc, net.sockets[listener - 1]->proc) ||
            net_is_cut(net.sockets[listener - 1]->proc, s->proc))
            return false;
        s->peer = listener;
        s->up_us = sim_now_us + sim_random(CONNECT_US);
    }
    return sim_now_us >= s->up_us;
}

bool channel_ready(struct channel *c)
{
    return channel_connected(c);
}

void channel_keep(struct channel *c)
{
    (void)channel_connected(c);
}

const char *channel_why(const struct channel *c)
{
    (void)c;
    return "";
}

struct channel_state channel_state(const struct channel *c)
{
    return (struct channel_state){.open = c->socket >= 0};
}

void channel_drop(struct channel *c, const uint8_t key[KEY_SIZE])
{
    (void)c;
    (void)key;
}

int channel_send(struct channel *c, uint32_t id, const void *data, size_t len)
{
    uint64_t self = (uint64_t)(c->socket - SIM_FD);
    struct socket_end *s = end_of(c->socket);
    struct packet *p;

    if (s == NULL || !channel_connected(c))
        return TX_EBUSY;
    sim_point("a send");
    p = packet_new(self, s->peer - 1, id, data, len);
    transmit(s->proc, net.sockets[s->peer - 1]->proc, p);
    free(p);
    sim_point("a request sent");
    return TX_OK;
}

int channel_reply(struct channel *c, const struct reply_to *to, const void *data, size_t len)
{
    uint64_t self = (uint64_t)(c->socket - SIM_FD), dest;
    struct socket_end *s = end_of(c->socket), *d;
    struct packet *p;
    uint32_t id;

    assert(to->len == HEADER);
    memcpy(&dest, to->header, sizeof dest);
    memcpy(&id, to->header + sizeof dest, sizeof id);
    d = end_at(dest);
    if (s == NULL || d == NULL)
        return TX_OK;
    sim_point("an answer");
    p = packet_new(self, dest, id, data, len);
    transmit(s->proc, d->proc, p);
    free(p);
    sim_point("an answer sent");
    return TX_OK;
}

int channel_receive(struct channel *c, struct channel_message *m)
{
    struct socket_end *s = end_of(c->socket);
    struct packet *p = s != NULL ? s->first : NULL;

    if (p == NULL)
        return 0;
    s->first = p->next;
    if (s->first == NULL)
        s->last = &s->first;
    memset(m, 0, sizeof *m);
    m->data = p->data;
    m->len = p->len;
    m->id = p->id;
    m->chunk = p;
    m->origin.len = HEADER;
    memcpy(m->origin.header, &p->from, sizeof p->from);
    memcpy(m->origin.header + sizeof p->from, &p->id, sizeof p->id);
    sim_point("a message received");
    return 1;
}

void channel_release(struct channel_message *m)
{
    free(m->chunk);
    m->chunk = m->data = NULL;
}
