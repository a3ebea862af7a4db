/* group: see group.h. */
#include "coordinator/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/log.h"

enum {
    GROUP_GREET_MS = 250,
    GROUP_SILENCE_MS = 2000, /* after which a node is taken for gone, by operators alone */
    GROUP_COMPLAIN_MS = 60000,
};

struct group {
    struct group_options options;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct peers *peers;
    struct replog *replog; /* NULL: not started, or stopped */
    struct driver *driver;
    struct group_node nodes[PEER_NODES];
    size_t n;
    uint64_t impersonated_ms;          /* when that was logged last */
    uint64_t strangers, complained_ms; /* when those of another group were told of last, and how many */
};

static struct group_node *node_of(struct group *g, uint64_t id)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->nodes[i].id == id)
            return &g->nodes[i];
    }
    return NULL;
}

/* What the others say */

static bool on_receive(void *ctx, uint64_t from, const void *data, size_t len)
{
    struct group *g = ctx;
    struct group_node *n;

    if (g->replog == NULL || !replog_receive(g->replog, data, len))
        return false;
    n = node_of(g, from);
    if (n != NULL)
        n->heard_ms = uv_now(g->loop);
    return true;
}

static bool on_greeted(void *ctx, const struct peer_greeting *p)
{
    struct group *g = ctx;
    struct group_node *n = node_of(g, p->id);

    if (g->replog == NULL || n == NULL || p->group != replog_group(g->replog) ||
        p->log != replog_log_id(g->replog))
        return false;
    n->heard_ms = uv_now(g->loop);
    n->greeted = true;
    n->last_index = p->last_index;
    snprintf(n->address, sizeof n->address, "%s", p->address);
    driver_node_told(g->driver, n->heard_ms, p->id, p->clients);
    return true;
}

static void on_impersonated(void *ctx, uint64_t id, const uint8_t key[KEY_SIZE])
{
    struct group *g = ctx;
    char text[KEY_TEXT_SIZE];

    if (uv_now(g->loop) - g->impersonated_ms < GROUP_SILENCE_MS)
        return;
    g->impersonated_ms = uv_now(g->loop);
    key_format(key, text);
    log_line(LOG_WARN, "impersonated",
             "node=%" PRIu64 " key=%s text=\"another key speaks as this node; where the node has a new key, "
             "revoke its old one: txadmin key revoke\"",
             id, text);
}

/* A coordinator whose data are gone begins a new group where it is alone, and nothing else may tell of it. */
static void complain_of_strangers(struct group *g)
{
    struct driver_counters n;

    driver_count(g->driver, &n);
    if (n.strangers == g->strangers ||
        (g->complained_ms != 0 && uv_now(g->loop) - g->complained_ms < GROUP_COMPLAIN_MS))
        return;
    g->complained_ms = uv_now(g->loop);
    log_line(LOG_ERROR, "other_group",
             "group=%016" PRIx64 " here_group=%016" PRIx64 " count=%" PRIu64
             " text=\"agents or applications speak of transactions of another group: was the data directory of "
             "this coordinator lost, or is its disk not mounted? Then stop it and bring the data back; nothing "
             "of that group is decided here\"",
             n.stranger_group, replog_group(g->replog), n.strangers - g->strangers);
    g->strangers = n.strangers;
}

static void complain_of_namesakes(struct group *g)
{
    struct driver_namesake n;

    while (driver_take_namesake(g->driver, &n))
        log_line(LOG_WARN, "agent_refused",
                 "agent=%s address=%s error=\"another agent uses this name, too; give each a name of its own\"",
                 n.name, n.address);
}

static void on_timer(uv_timer_t *timer)
{
    struct group *g = timer->data;
    struct replog_status status;
    struct peer_greeting p = {
        .group = replog_group(g->replog), .log = replog_log_id(g->replog), .clients = g->options.clients};

    replog_status(g->replog, &status);
    p.last_index = status.last_index;
    for (size_t i = 0; i < g->n; i++) {
        if (g->nodes[i].id != g->options.node_id)
            peer_greet(g->peers, g->nodes[i].id, g->nodes[i].address, &p);
        else
            g->nodes[i].last_index = status.last_index;
    }
    complain_of_strangers(g);
    complain_of_namesakes(g);
}

/* What the log says */

void group_send(void *group, uint64_t to, const char *address, const void *data, size_t len)
{
    struct group *g = group;

    peer_send(g->peers, to, address, data, len);
}

static struct group_node node_make(struct group *g, const struct replog_member *m)
{
    const struct group_node *old = node_of(g, m->id);
    struct group_node n = {.id = m->id, .voter = m->voter};
    bool self = m->id == g->options.node_id && g->options.peer_address != NULL;

    snprintf(n.address, sizeof n.address, "%s", self ? g->options.peer_address : m->address);
    if (old != NULL) {
        n.heard_ms = old->heard_ms;
        n.greeted = old->greeted;
        n.last_index = old->last_index;
    }
    return n;
}

void group_members(void *group, const struct replog_member *members, size_t n)
{
    struct group *g = group;
    struct group_node nodes[PEER_NODES];
    uint64_t ids[PEER_NODES];

    n = n < PEER_NODES ? n : PEER_NODES;
    for (size_t i = 0; i < n; i++) {
        nodes[i] = node_make(g, &members[i]);
        ids[i] = members[i].id;
    }
    if (n > 0)
        memcpy(g->nodes, nodes, n * sizeof *nodes);
    g->n = n;
    peers_keep(g->peers, ids, n);
    if (g->driver != NULL)
        driver_members(g->driver, uv_now(g->loop), ids, n);
}

/* For admin */

bool group_has_line(const struct group *g)
{
    return g->options.peer_listen != NULL;
}

struct peer_traffic group_traffic(const struct group *g)
{
    return peers_traffic(g->peers);
}

const struct group_node *group_nodes(const struct group *g, size_t *n)
{
    *n = g->n;
    return g->nodes;
}

const struct group_node *group_find(const struct group *g, uint64_t id)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->nodes[i].id == id)
            return &g->nodes[i];
    }
    return NULL;
}

size_t group_voters(const struct group *g)
{
    size_t voters = 0;

    for (size_t i = 0; i < g->n; i++)
        voters += g->nodes[i].voter;
    return voters;
}

bool group_alive(const struct group *g, const struct group_node *n)
{
    return n->id == g->options.node_id ||
           (n->heard_ms != 0 && uv_now(g->loop) - n->heard_ms <= GROUP_SILENCE_MS);
}

const char *group_state(const struct group *g, const struct group_node *n)
{
    if (!group_alive(g, n))
        return "down";
    return n->id == g->options.node_id || uv_now(g->loop) - n->heard_ms <= 3 * GROUP_GREET_MS ? "up" : "silent";
}

void group_describe(const struct group *g, char *text, size_t size)
{
    size_t voters = group_voters(g), reachable = 0, at = 0;

    *text = '\0';
    for (size_t i = 0; i < g->n; i++) {
        const struct group_node *n = &g->nodes[i];

        if (!n->voter)
            continue;
        reachable += group_alive(g, n);
        if (!group_alive(g, n) && at < size)
            at += (size_t)snprintf(text + at, size - at, "node %" PRIu64 " (%s) is unreachable, ", n->id,
                                   n->address);
    }
    if (at < size)
        snprintf(text + at, size - at, "%zu of %zu reachable, %zu needed", reachable, voters, voters / 2 + 1);
}

/* Life */

int group_open(struct group **out, uv_loop_t *loop, const struct group_options *options, struct tx_error *e)
{
    struct group *g = calloc(1, sizeof *g);
    struct peer_options peer = {.node_id = options->node_id,
                                .listen = options->peer_listen,
                                .address = options->peer_address,
                                .receive = on_receive,
                                .greeted = on_greeted,
                                .impersonated = on_impersonated,
                                .ctx = g,
                                .security = options->security};
    int rc;

    if (g == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    g->options = *options;
    g->loop = loop;
    rc = peers_open(&g->peers, loop, &peer, e);
    if (rc != TX_OK) {
        free(g);
        return rc;
    }
    uv_timer_init(loop, &g->timer);
    g->timer.data = g;
    *out = g;
    return TX_OK;
}

void group_start(struct group *g, struct replog *replog, struct driver *driver)
{
    g->replog = replog;
    g->driver = driver;
    uv_timer_start(&g->timer, on_timer, GROUP_GREET_MS, GROUP_GREET_MS);
}

void group_stop(struct group *g)
{
    g->replog = NULL;
    g->driver = NULL;
    uv_timer_stop(&g->timer);
    peers_stop(g->peers);
}

void group_drop(struct group *g, const uint8_t key[KEY_SIZE])
{
    peers_drop(g->peers, key);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void group_close(struct group *g)
{
    group_stop(g);
    peers_close(g->peers);
    uv_close((uv_handle_t *)&g->timer, on_closed);
}
