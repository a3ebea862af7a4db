/* admin_node: the verbs about the group's nodes: nodes, node_init, node_add, node_remove, node_transfer. A
 * change is refused where it would end in a group that cannot work, and the refusal says what to do instead. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/admin_task.h"
#include "libtx/shared/security.h"

enum { NODE_ID_LIMIT = 65535 };

/* nodes: {} -> nodes, leader, warning */

static const char *role_of(const struct admin_task *t, const struct group_node *n)
{
    if (n->id == driver_leader_id(t->with->driver))
        return "leader";
    return n->voter ? "follower" : "catching up";
}

static cJSON *node_object(const struct admin_task *t, const struct group_node *n,
                          const struct replog_status *log)
{
    const struct ledger_node *known = ledger_node(driver_ledger(t->with->driver), n->id);
    cJSON *o = cJSON_CreateObject();

    admin_add_number(o, "node", n->id);
    cJSON_AddStringToObject(o, "role", role_of(t, n));
    cJSON_AddBoolToObject(o, "alive", group_alive(t->with->group, n));
    cJSON_AddStringToObject(o, "state", group_state(t->with->group, n));
    cJSON_AddStringToObject(o, "peer_address", n->address);
    admin_add_text(o, "address", known != NULL ? known->address : NULL);
    if (n->id == log->node_id || n->greeted) {
        admin_add_number(o, "last_index", n->id == log->node_id ? log->last_index : n->last_index);
        admin_add_number(
            o, "lag",
            n->id != log->node_id && log->last_index > n->last_index ? log->last_index - n->last_index : 0);
    }
    if (n->id != log->node_id && n->heard_ms != 0)
        admin_add_number(o, "heard_ms", t->now - n->heard_ms);
    return o;
}

const char *admin_outside(const struct replog *r, const char **remedy)
{
    struct replog_status log;

    replog_status(r, &log);
    if (replog_group(r) == 0) {
        *remedy = "begin a group with it (txadmin node init), or have a group take it in (txadmin node add, "
                  "there)";
        return "this node belongs to no group yet";
    }
    *remedy = "stop it; ask the other nodes";
    return log.removed ? "this node is no member of its group any more" : NULL;
}

const char *admin_group_warning(const struct group *g)
{
    size_t n, alive = 0, voters = group_voters(g);
    const struct group_node *nodes = group_nodes(g, &n);

    for (size_t i = 0; i < n; i++)
        alive += nodes[i].voter && group_alive(g, &nodes[i]);
    if (alive <= voters / 2 && voters > 0)
        return "no majority: nothing can be committed until more of its nodes are up";
    if (voters > 1 && alive == voters / 2 + 1 && alive < voters)
        return "no node more may fail: bring back or replace the one that is down";
    if (voters % 2 == 0 && voters > 0)
        return "an even number of nodes survives no more failures than one node less: add or remove one";
    return NULL;
}

void admin_add_nodes(struct admin_task *t)
{
    size_t n;
    const struct group_node *nodes = group_nodes(t->with->group, &n);
    cJSON *list = cJSON_AddArrayToObject(t->answer, "nodes");
    const char *remedy, *outside = admin_outside(t->with->replog, &remedy);
    struct replog_status log;
    char warning[TEXT_LIMIT + 1];

    replog_status(t->with->replog, &log);
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(list, node_object(t, &nodes[i], &log));
    if (outside != NULL)
        snprintf(warning, sizeof warning, "%s: %s", outside, remedy);
    admin_add_text(t->answer, "warning", outside != NULL ? warning : admin_group_warning(t->with->group));
}

int admin_nodes(struct admin_task *t, struct tx_error *e)
{
    (void)e;
    admin_add_nodes(t);
    return TX_OK;
}

/* node_init: {} -> node, group */

int admin_node_init(struct admin_task *t, struct tx_error *e)
{
    struct replog_status log;
    char group[17];
    int rc = replog_found(t->with->replog, e);

    if (rc != TX_OK)
        return rc;
    replog_status(t->with->replog, &log);
    snprintf(group, sizeof group, "%016" PRIx64, replog_group(t->with->replog));
    admin_add_number(t->answer, "node", log.node_id);
    cJSON_AddStringToObject(t->answer, "group", group);
    admin_act_tell(t, "group", group);
    return TX_OK;
}

/* Changes */

static void on_changed(void *arg, int rc, const char *why)
{
    struct admin_task *t = arg;

    if (rc != TX_OK)
        err_set(&t->error, rc, "%s", why != NULL ? why : tx_strerror(rc));
    else if (admin_group_warning(t->with->group) != NULL)
        cJSON_AddStringToObject(t->answer, "warning", admin_group_warning(t->with->group));
    admin_task_release(t);
}

/* Notes what is asked for, and holds the task until on_changed(). */
static void change_begin(struct admin_task *t, const char *verb, uint64_t id)
{
    cJSON_AddStringToObject(t->answer, "verb", verb);
    admin_add_number(t->answer, "node", id);
    admin_task_hold(t);
}

static int get_id(const struct admin_task *t, uint64_t *id, struct tx_error *e)
{
    *id = admin_task_number(t, "node", 0);
    if (*id == 0 || *id > NODE_ID_LIMIT)
        return err_set(e, TX_EINVAL, "a node's number is 1 to %d", NODE_ID_LIMIT);
    return TX_OK;
}

/* Those that stay must be able to go on. (replog looks more closely.) */
static int may_remove(const struct admin_task *t, uint64_t id, struct tx_error *e)
{
    const struct group *g = t->with->group;
    const struct group_node *n = group_find(g, id);
    size_t count, alive = 0, voters = group_voters(g);
    const struct group_node *nodes = group_nodes(g, &count);

    if (n == NULL)
        return err_set(e, TX_ENOTFOUND, "node %" PRIu64 " is no member of this group", id);
    if (n->voter && voters == 1)
        return err_set(e, TX_EREFUSED, "node %" PRIu64 " is the group's last", id);
    if (id == driver_leader_id(t->with->driver))
        return err_set(e, TX_EREFUSED, "node %" PRIu64 " leads the group; first: txadmin node transfer", id);
    for (size_t i = 0; i < count; i++)
        alive += nodes[i].voter && nodes[i].id != id && group_alive(g, &nodes[i]);
    if (n->voter && alive <= (voters - 1) / 2)
        return err_set(
            e, TX_EREFUSED,
            "of the %zu nodes left only %zu would be up, and that is no majority; bring one back first",
            voters - 1, alive);
    return TX_OK;
}

/* node_add: {node, address, replaces: a member whose place it takes} -> node, warning */

/* Asked for once more, after it was done. */
static bool is_done(const struct group *g, const struct replog_newcomer *new)
{
    const struct group_node *n = group_find(g, new->id);

    return n != NULL && n->voter && strcmp(n->address, new->address) == 0 &&
           (new->replaces == 0 || group_find(g, new->replaces) == NULL);
}

static int check_address(const struct admin_task *t, const char *address, struct tx_error *e)
{
    if (strlen(address) > ADDRESS_LIMIT || strstr(address, "://") == NULL)
        return err_set(e, TX_EINVAL, "«%s» is no address; write the new node's peer address, tcp://host:port",
                       address);
    if (t->with->keys == NULL && !security_is_local(address))
        return err_set(e, TX_EREFUSED,
                       "insecure is for this machine alone, and «%s» is not a loopback address: give keys "
                       "(txadmin keygen) and leave insecure out",
                       address);
    return TX_OK;
}

static int may_add(const struct admin_task *t, const struct replog_newcomer *new, struct tx_error *e)
{
    const struct group *g = t->with->group;
    const struct group_node *n = group_find(g, new->id);
    size_t count;
    int rc = check_address(t, new->address, e);

    (void)group_nodes(g, &count);
    if (rc != TX_OK)
        return rc;
    if (is_done(g, new))
        return TX_OK;
    /* One without a vote is taken in anew: its addition was broken off. */
    if (n != NULL && n->voter)
        return err_set(e, TX_EREFUSED,
                       "node %" PRIu64 " is a member already, at %s; if it has lost its data, remove it first",
                       new->id, n->address);
    if (!group_has_line(g))
        return err_set(e, TX_EREFUSED,
                       "this node has no peer_listen, so no other can reach it; set it, and restart txcoordd");
    if (new->replaces != 0)
        return may_remove(t, new->replaces, e);
    if (n == NULL && count >= REPLOG_VOTERS)
        return err_set(e, TX_EREFUSED,
                       "a group has %d nodes at most: more make every commit slower and no safer",
                       REPLOG_VOTERS);
    return TX_OK;
}

int admin_node_add(struct admin_task *t, struct tx_error *e)
{
    struct replog_newcomer new = {.replaces = admin_task_number(t, "replaces", 0)};
    char replaced[24];
    int rc = get_id(t, &new.id, e);

    if (rc == TX_OK)
        rc = admin_task_string(t, "address", &new.address, e);
    if (rc == TX_OK) {
        admin_act_tell(t, "address", new.address);
        if (new.replaces != 0) {
            snprintf(replaced, sizeof replaced, "%" PRIu64, new.replaces);
            admin_act_tell(t, "replaces", replaced);
        }
        rc = may_add(t, &new, e);
    }
    if (rc != TX_OK)
        return rc;
    change_begin(t, "node_add", new.id);
    if (is_done(t->with->group, &new)) {
        on_changed(t, TX_OK, NULL);
        return TX_OK;
    }
    replog_add(t->with->replog, &new, on_changed, t);
    return TX_OK;
}

/* node_remove: {node} -> node, warning */

int admin_node_remove(struct admin_task *t, struct tx_error *e)
{
    uint64_t id;
    int rc = get_id(t, &id, e);

    if (rc == TX_OK)
        rc = may_remove(t, id, e);
    if (rc != TX_OK)
        return rc;
    change_begin(t, "node_remove", id);
    replog_remove(t->with->replog, id, on_changed, t);
    return TX_OK;
}

/* node_transfer: {node: number, or 0 for the best} -> node */

static int may_transfer(const struct admin_task *t, uint64_t id, struct tx_error *e)
{
    const struct group *g = t->with->group;
    const struct group_node *n = group_find(g, id);

    if (group_voters(g) < 2)
        return err_set(e, TX_EREFUSED, "there is no other node that could lead");
    if (id == 0)
        return TX_OK;
    if (n == NULL)
        return err_set(e, TX_ENOTFOUND, "node %" PRIu64 " is no member of this group", id);
    if (id == driver_leader_id(t->with->driver))
        return err_set(e, TX_EREFUSED, "node %" PRIu64 " leads the group already", id);
    if (!n->voter || !group_alive(g, n))
        return err_set(e, TX_EREFUSED, "node %" PRIu64 " is %s", id, n->voter ? "down" : "still catching up");
    return TX_OK;
}

int admin_node_transfer(struct admin_task *t, struct tx_error *e)
{
    uint64_t id = admin_task_number(t, "node", 0);
    int rc = may_transfer(t, id, e);

    if (rc != TX_OK)
        return rc;
    change_begin(t, "node_transfer", id);
    replog_transfer(t->with->replog, id, on_changed, t);
    return TX_OK;
}
