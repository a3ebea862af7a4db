/* middle: see middle.h. */
#include "tests/lib/middle.h"

#include <stdio.h>

/* An agent tells its clients where it listens; so the man in the middle takes that socket file's place. */
static void open_agent(struct middle *m, int i)
{
    static const char *const names[2] = {"agent_a", "agent_b"};
    char told[WORLD_PATH_SIZE], moved[WORLD_PATH_SIZE + 8];
    struct kit *k = &m->kit;

    snprintf(told, sizeof told, "ipc://%.80s/%s.socket", world_dir(k->world), names[i]);
    snprintf(moved, sizeof moved, "%s.moved", told);
    k->agent[i] = world_agent_new(k->world, names[i], &k->bank[i], 1,
                                  WORLD_ARGS("--scan_interval", "500ms", "--listen", told));
    world_process_start_ready(k->agent[i], NULL);
    if (rename(told + 6, moved + 6) != 0)
        fail_msg("%s cannot be moved", told);
    m->relays[MIDDLE_FIRST_AGENT + i] = relay_new(told, moved);
}

void middle_open(struct middle *m, const char *name)
{
    const struct kit_options options = {.nodes = MIDDLE_NODES, .relays = true, .no_agents = true};

    kit_open(&m->kit, name, &options);
    for (unsigned id = 1; id <= MIDDLE_NODES; id++) {
        m->relays[2 * id - 2] = world_relay(m->kit.world, id, false);
        m->relays[2 * id - 1] = world_relay(m->kit.world, id, true);
    }
    for (int i = 0; i < 2; i++)
        open_agent(m, i);
}

int middle_close(struct middle *m, int failed)
{
    failed = kit_close(&m->kit, failed);
    for (int i = MIDDLE_FIRST_AGENT; i < MIDDLES; i++) {
        if (m->relays[i] != NULL)
            relay_free(m->relays[i]);
    }
    return failed;
}

void middle_settle(struct middle *m)
{
    middle_plan(m, NULL);
    if (m->kit.load.client != NULL)
        world_process_kill(m->kit.load.client); /* of a test that failed */
    kit_settle(&m->kit);
}

struct world_process *middle_daemon(struct middle *m, int relay)
{
    return relay < MIDDLE_FIRST_AGENT ? m->kit.node[1 + relay / 2] : m->kit.agent[relay - MIDDLE_FIRST_AGENT];
}

void middle_plan(struct middle *m, const struct relay_plan *plan)
{
    for (int i = 0; i < MIDDLES; i++)
        relay_plan(m->relays[i], plan);
}

size_t middle_mischief(struct middle *m)
{
    size_t n = 0;

    for (int i = 0; i < MIDDLES; i++)
        n += relay_mischief(m->relays[i]);
    return n;
}
