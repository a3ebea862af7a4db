/* world_assent: see world.h. How the product's own programs are called. */
#include <assert.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/proxy.h"
#include "tests/lib/relay.h"
#include "tests/lib/world_impl.h"

enum { JOIN_MS = 30000 /* more than starting, or catching up, takes */ };

/* With a network, every daemon has a host of its own. */
static struct world_host *new_host(struct world *w)
{
    return w->options.network ? world_host_new(w) : NULL;
}

static void new_address(struct world *w, const struct world_host *h, char out[WORLD_NAME_SIZE])
{
    snprintf(out, WORLD_NAME_SIZE, "tcp://%.40s:%u", h != NULL ? h->address : w->address, world_port(w));
}

static struct world_process *make_on(struct world_host *h, struct world *w, const char *name,
                                     const char *const *argv, const char *const *flags)
{
    struct world_process *p = world_process_make(w, name, argv, flags);

    p->host = h;
    return p;
}

struct world_process *world_coordinator_new(struct world *w, const char *name, const char *const *flags)
{
    char program[WORLD_PATH_SIZE], data[2 * WORLD_PATH_SIZE], listen[WORLD_NAME_SIZE];
    const char *argv[WORLD_ARG_LIMIT + 1] = {world_program(w, "txcoordd", program), "--data_dir", data,
                                             "--listen", listen};
    struct world_host *h = new_host(w);

    snprintf(data, sizeof data, "%s/%s.data", w->dir, name);
    if (mkdir(data, 0700) != 0 && errno != EEXIST)
        world_fail(w, "%s: %s", data, strerror(errno));
    new_address(w, h, listen);
    if (w->coordinators[0] == 0)
        memcpy(w->coordinators, listen, sizeof listen);
    world_keys_flags(w, "node_0", argv, 5);
    return make_on(h, w, name, argv, flags);
}

/* Who stands before a node: what its callers (0) or peers (1) are told is another address than its own. */
static void put_between(struct world *w, unsigned id, int peers, const struct world_host *h, char *told,
                        const char *listen)
{
    memcpy(told, listen, WORLD_NAME_SIZE);
    if (w->options.relays) {
        new_address(w, h, told);
        w->relays[id][peers] = relay_new(told, listen);
    } else if (w->options.disorder && peers) {
        new_address(w, h, told);
        proxy_start(w, id, told, listen);
    }
}

struct relay *world_relay(const struct world *w, unsigned id, bool peers)
{
    return w->relays[id][peers];
}

void world_relays_release(struct world *w)
{
    for (unsigned id = 0; id <= WORLD_NODE_LIMIT; id++) {
        for (int i = 0; i < 2; i++) {
            if (w->relays[id][i] != NULL)
                relay_free(w->relays[id][i]);
        }
    }
}

struct world_process *world_node_new(struct world *w, unsigned id, bool listed, const char *const *flags)
{
    char program[WORLD_PATH_SIZE], data[2 * WORLD_PATH_SIZE], name[WORLD_NAME_SIZE], number[16];
    char peer_listen[WORLD_NAME_SIZE], told[WORLD_NAME_SIZE];
    struct world_host *h = new_host(w);
    char *peer = w->node_peers[id], *listen = w->node_addresses[id];
    const char *argv[WORLD_ARG_LIMIT + 1] = {world_program(w, "txcoordd", program),
                                             "--data_dir",
                                             data,
                                             "--listen",
                                             listen,
                                             "--advertise",
                                             told,
                                             "--peer_listen",
                                             peer_listen,
                                             "--peer_advertise",
                                             peer,
                                             "--node_id",
                                             number};
    size_t n = strlen(w->coordinators);

    snprintf(name, sizeof name, "node_%u", id);
    snprintf(number, sizeof number, "%u", id);
    snprintf(data, sizeof data, "%s/%s.data", w->dir, name);
    new_address(w, h, listen);
    new_address(w, h, peer_listen);
    put_between(w, id, 0, h, told, listen);
    put_between(w, id, 1, h, peer, peer_listen);
    if (listed)
        snprintf(w->coordinators + n, sizeof w->coordinators - n, "%s%s", n > 0 ? "," : "", told);
    world_keys_flags(w, name, argv, 13);
    return make_on(h, w, name, argv, flags);
}

const char *world_node_peer(const struct world *w, unsigned id)
{
    return w->node_peers[id];
}

const char *world_node_address(const struct world *w, unsigned id)
{
    return w->node_addresses[id];
}

const char *world_node_data(const struct world *w, unsigned id, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%.*s/node_%u.data", WORLD_PATH_SIZE - WORLD_NAME_SIZE, w->dir, id);
    return out;
}

void world_node_wipe(struct world *w, unsigned id)
{
    char data[WORLD_PATH_SIZE], pattern[WORLD_PATH_SIZE + 2];
    glob_t files;

    snprintf(pattern, sizeof pattern, "%s/*", world_node_data(w, id, data));
    if (glob(pattern, 0, NULL, &files) != 0)
        return;
    for (size_t i = 0; i < files.gl_pathc; i++)
        unlink(files.gl_pathv[i]);
    globfree(&files);
}

const char *world_coordinators(const struct world *w)
{
    return w->coordinators;
}

struct world_process *world_agent_new(struct world *w, const char *name, struct world_server *const *servers,
                                      size_t n, const char *const *flags)
{
    char program[WORLD_PATH_SIZE], listen[WORLD_NAME_SIZE], conninfo[WORLD_PATH_SIZE];
    char resources[WORLD_SERVER_LIMIT][2 * WORLD_PATH_SIZE];
    const char *argv[WORLD_ARG_LIMIT + 1] = {world_program(w, "txagentd", program),
                                             "--name",
                                             name,
                                             "--listen",
                                             listen,
                                             "--coordinators",
                                             w->coordinators};
    struct world_host *h = new_host(w);
    size_t argc = 7;

    new_address(w, h, listen);
    for (size_t i = 0; i < n; i++) {
        snprintf(resources[i], sizeof resources[i], "--resource.%s=%s %s", servers[i]->name,
                 servers[i]->engine->kind, world_server_conninfo(servers[i], "assent_agent", conninfo));
        argv[argc++] = resources[i];
    }
    world_keys_flags(w, "agent", argv, argc);
    return make_on(h, w, name, argv, flags);
}

static struct world_output run_admin(struct world *w, const char *const *args, const char *first)
{
    char program[WORLD_PATH_SIZE];
    const char *argv[WORLD_ARG_LIMIT + 1] = {world_program(w, "txadmin", program)};
    size_t n = 1;

    if (first != NULL)
        argv[n++] = first;
    for (; *args != NULL && n < WORLD_ARG_LIMIT; args++)
        argv[n++] = *args;
    return world_run(w, argv);
}

struct world_output world_admin(struct world *w, const char *const *args)
{
    return run_admin(w, args, NULL);
}

struct cJSON *world_admin_json(struct world *w, const char *const *args, int *code)
{
    struct world_output o = run_admin(w, args, "--json");
    cJSON *json = cJSON_Parse(o.text);

    if (json == NULL)
        world_fail(w, "txadmin %s: exit code %d, no JSON: %s%s", args[0], o.code, o.text, o.error);
    if (code != NULL)
        *code = o.code;
    world_output_release(&o);
    return json;
}

static bool is_among(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

unsigned world_resources_up(struct world *w, const char *const *names)
{
    cJSON *answer = world_admin_json(w, WORLD_ARGS("resources"), NULL), *r;
    unsigned up = 0;

    cJSON_ArrayForEach(r, cJSON_GetObjectItem(answer, "resources"))
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(r, "resource"));

        if (names == NULL || (name != NULL && is_among(names, name)))
            up += cJSON_IsTrue(cJSON_GetObjectItem(r, "alive")) && cJSON_IsTrue(cJSON_GetObjectItem(r, "up"));
    }
    cJSON_Delete(answer);
    return up;
}

/* Groups */

static void join(struct world *w, struct world_process *node, const char *const *args)
{
    struct world_output o;

    world_process_start(node, NULL);
    world_process_await(node, "event=waiting", JOIN_MS);
    o = world_admin(w, args);
    if (o.code != 0)
        world_fail(w, "%s: %s: %s", world_process_name(node), args[1], o.error);
    world_output_release(&o);
    world_process_await(node, "event=ready", JOIN_MS);
}

void world_node_begin(struct world *w, struct world_process *node, unsigned id)
{
    join(w, node, WORLD_ARGS("node", "init", "--coordinators", world_node_address(w, id)));
}

void world_node_add(struct world *w, struct world_process *node, unsigned id)
{
    char number[16];

    snprintf(number, sizeof number, "%u", id);
    join(w, node, WORLD_ARGS("node", "add", number, world_node_peer(w, id)));
}

unsigned world_group_leader(struct world *w, unsigned nodes)
{
    cJSON *answer = world_admin_json(w, WORLD_ARGS("node", "list"), NULL), *n;
    unsigned leader = 0, up = 0;

    cJSON_ArrayForEach(n, cJSON_GetObjectItem(answer, "nodes"))
    {
        const char *role = cJSON_GetStringValue(cJSON_GetObjectItem(n, "role"));
        bool alive = cJSON_IsTrue(cJSON_GetObjectItem(n, "alive"));

        if (alive && strcmp(role, "leader") == 0)
            leader = (unsigned)cJSON_GetNumberValue(cJSON_GetObjectItem(n, "node"));
        if (alive && strcmp(role, "catching up") != 0 && cJSON_IsString(cJSON_GetObjectItem(n, "address")))
            up++;
    }
    cJSON_Delete(answer);
    return up == nodes ? leader : 0;
}
