/* failover: how long the group is away when its leader goes. `make bench-failover`.
 *
 * Two PostgreSQL servers, an agent each, three coordinators, all real processes; a client that commits all the
 * time. The leader is killed, frozen, stopped, or told to hand the lead over, again and again, in each way in
 * which branches can work; measured is the time from the fault to the first commit of a transaction that began
 * behind it, and the longest that a commit took which was under way at the fault. Counted is what must not
 * happen: anything lost, half, in doubt, rolled back, or answered in two ways.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/conf.h"
#include "tests/failover/failover.h"

enum { ACCOUNTS = 100, BALANCE = 1000000 };

static struct settings {
    char *modes, *faults, *election, *heartbeat;
    unsigned rounds;
    bool json;
} set;

static const struct conf_key keys[] = {
    {"rounds", CONF_UINT, &set.rounds, "20", "N", "failovers for each mode and fault", 1, FAILOVER_ROUNDS_MAX,
     NULL},
    {"modes", CONF_STRING, &set.modes, "direct,remote,mixed", "LIST",
     "how branches work: direct, remote, mixed, or logged (direct, TXN_DECISION_LOGGED)", 0, 0, NULL},
    {"faults", CONF_STRING, &set.faults, "kill,freeze,stop,transfer", "LIST",
     "kill -9, SIGSTOP or SIGTERM of the leader, txadmin node transfer", 0, 0, NULL},
    {"election", CONF_STRING, &set.election, "300ms", "TIME", "the coordinators' setting", 0, 0, NULL},
    {"heartbeat", CONF_STRING, &set.heartbeat, "50ms", "TIME", "the coordinators' setting", 0, 0, NULL},
    {"json", CONF_BOOL, &set.json, "false", "BOOL", "print JSON", 0, 0, NULL},
    {NULL, CONF_STRING, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

/* The names of a comma-separated list, as indexes of `names`. 0: one of them is no such name, which is said. */
static size_t parse_list(const char *key, char *list, const char *const *names, size_t n_names, unsigned *out)
{
    size_t n = 0;

    for (char *save, *name = strtok_r(list, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
        unsigned i = 0;

        while (i < n_names && strcmp(names[i], name) != 0)
            i++;
        if (i == n_names || n == n_names) {
            fprintf(stderr, "failover: %s: «%s» is no such name, or one too many\n", key, name);
            return 0;
        }
        out[n++] = i;
    }
    return n;
}

static void stage_open(struct stage *s)
{
    static const char *const names[2] = {"bank_a", "bank_b"}, *const agents[2] = {"agent_a", "agent_b"};
    struct world_options options = {.name = "failover"};

    s->world = world_new(&options);
    for (unsigned id = 1; id <= FAILOVER_NODES; id++)
        s->node[id] = world_node_new(s->world, id, true, s->flags);
    world_node_begin(s->world, s->node[1], 1);
    for (unsigned id = 2; id <= FAILOVER_NODES; id++)
        world_node_add(s->world, s->node[id], id);
    for (int i = 0; i < 2; i++) {
        s->bank[i] = world_server_new(s->world, names[i], NULL);
        world_accounts(s->bank[i], ACCOUNTS, BALANCE);
        world_sql(s->bank[i],
                  "CREATE TABLE receipts (key bigint PRIMARY KEY); ALTER TABLE receipts OWNER TO app");
        s->agent[i] = world_agent_new(s->world, agents[i], &s->bank[i], 1, NULL);
        world_process_start_ready(s->agent[i], NULL);
    }
}

/* Mode by mode; false where something happened that must not. */
static bool measure(const unsigned *modes, size_t n_modes, const unsigned *faults, size_t n_faults)
{
    static struct cell cells[FAILOVER_MODES * FAILOVER_FAULTS];
    const char *flags[] = {"--election", set.election, "--heartbeat", set.heartbeat, NULL};
    struct stage s = {.flags = flags};
    size_t n = 0;
    bool sound = true;

    stage_open(&s);
    if (!set.json)
        failover_print_head();
    for (size_t m = 0; m < n_modes; m++) {
        for (size_t f = 0; f < n_faults; f++, n++) {
            cells[n] =
                (struct cell){.mode = (enum failover_mode)modes[m], .fault = (enum failover_fault)faults[f]};
            cell_measure(&s, &cells[n], set.rounds);
            sound = cell_sound(&cells[n]) && sound;
            if (!set.json)
                failover_print_row(&cells[n]);
        }
    }
    if (set.json)
        failover_print_json(cells, n);
    else
        failover_print_foot(set.election, set.heartbeat);
    if (world_sum_balances(s.world) != 2LL * ACCOUNTS * BALANCE)
        sound = false;
    world_free(s.world, !sound);
    return sound;
}

int main(int argc, char **argv)
{
    static const struct world_job jobs[] = {{"failover", failover_job}, {NULL, NULL}};
    unsigned modes[FAILOVER_MODES], faults[FAILOVER_FAULTS];
    size_t n_modes, n_faults;
    struct tx_error e;
    bool sound;

    world_client_main(argc, argv, jobs);
    if (conf_load(keys, "failover",
                  "Measures how long a group of three coordinators is away when its leader goes.", NULL, argc,
                  argv, &e) != TX_OK) {
        fprintf(stderr, "failover: %s\n", e.msg);
        return 2;
    }
    n_modes = parse_list("modes", set.modes, failover_mode_names, FAILOVER_MODES, modes);
    n_faults = parse_list("faults", set.faults, failover_fault_names, FAILOVER_FAULTS, faults);
    if (n_modes == 0 || n_faults == 0)
        return 2;
    sound = measure(modes, n_modes, faults, n_faults);
    if (!sound)
        fprintf(stderr, "failover: something happened that must not\n");
    conf_release(keys);
    return sound ? 0 : 1;
}
