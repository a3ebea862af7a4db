/* demo_stage: two banks, their agents, a coordinator. */
#include "tests/demo/demo.h"

void stage_open(struct stage *s, const char *name, const char *const *agent_flags)
{
    struct world_options options = {.name = name};
    static const char *const names[2] = {"bank_a", "bank_b"}, *const agents[2] = {"agent_a", "agent_b"};

    s->world = world_new(&options);
    s->coordinator = world_coordinator_new(s->world, "coordinator", NULL);
    world_process_start_ready(s->coordinator, NULL);
    for (int i = 0; i < 2; i++) {
        s->bank[i] = world_server_new(s->world, names[i], NULL);
        world_accounts(s->bank[i], DEMO_ACCOUNTS, DEMO_BALANCE);
        world_sql(s->bank[i],
                  "CREATE TABLE receipts (key bigint PRIMARY KEY); ALTER TABLE receipts OWNER TO app");
        s->agent[i] = world_agent_new(s->world, agents[i], &s->bank[i], 1, agent_flags);
        world_process_start_ready(s->agent[i], NULL);
    }
}
