/* nodes: see nodes.h. */
#include "coordinator/nodes.h"

#include <string.h>

#include "coordinator/trust.h"

static bool is_member(const struct driver *d, uint64_t id)
{
    for (size_t i = 0; i < d->n_members; i++) {
        if (d->members[i] == id)
            return true;
    }
    return false;
}

static bool remove_stranger(void *arg, const struct ledger_node *n)
{
    struct driver *d = arg;
    struct record r = {.type = RECORD_REMOVE_NODE, .node = {.id = n->id}};

    if (!is_member(d, n->id))
        (void)driver_log(d, &r);
    return true;
}

void nodes_begin(struct driver *d)
{
    if (d->n_members > 0)
        ledger_each_node(d->ledger, remove_stranger, d);
    if (d->options.address != NULL)
        driver_node_told(d, d->now, d->options.node_id, d->options.address);
}

void driver_members(struct driver *d, uint64_t now, const uint64_t *ids, size_t n)
{
    d->now = now;
    d->n_members = n < NODE_LIMIT ? n : NODE_LIMIT;
    if (n > 0)
        memcpy(d->members, ids, d->n_members * sizeof *ids);
    if (d->leading)
        nodes_begin(d);
}

/* Told again while it is being logged: logged twice, which changes nothing. */
void driver_node_told(struct driver *d, uint64_t now, uint64_t id, const char *address)
{
    const struct ledger_node *n = ledger_node(d->ledger, id);
    struct record r = {.type = RECORD_ADD_NODE, .node = {.id = id, .address = address}};

    d->now = now;
    if (!d->leading || !is_member(d, id) || (n != NULL && strcmp(n->address, address) == 0))
        return;
    (void)driver_log(d, &r);
}

struct listing {
    struct driver *d;
    size_t n;
};

static bool list_node(void *arg, const struct ledger_node *n)
{
    struct listing *l = arg;

    l->d->nodes[l->n++] = n->address;
    return l->n < NODE_LIMIT;
}

struct wire_nodes nodes_list(struct driver *d)
{
    struct listing l = {.d = d};
    struct wire_nodes nodes;

    ledger_each_node(d->ledger, list_node, &l);
    nodes = (struct wire_nodes){.n = l.n, .addresses = d->nodes};
    trust_nodes(d, &nodes);
    return nodes;
}
