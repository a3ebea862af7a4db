/* sim_world: who is in the world, what goes wrong in it, and its end: a group is formed, agents and
 * applications work while faults are drawn, then there are none any more and everything must come to rest. */
#include "tests/sim/sim_world.h"

#include <stdio.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "libtx/shared/err.h"
#include "libtx/shared/log.h"
#include "tests/sim/sim_server.h"

enum { TICK_US = 20000, REST_US = 90000000, SETUP_US = 60000000 };

static struct {
    unsigned nodes, election_ms;
    bool calm, wanted[SIM_PROCS], stumbles[SIM_PROCS];
    uint64_t restart_us[SIM_PROCS];
    uint64_t next_id, next_fault_us, heal_us;
    enum { STABLE, ADDING, REMOVING } change;
    unsigned changing; /* the place */
    bool asked;        /* of a leader */
} world;

bool world_calm(void)
{
    return world.calm;
}

const char *world_coordinators(void)
{
    return "tcp://127.0.0.1:7401,tcp://127.0.0.2:7401,tcp://127.0.0.3:7401,tcp://127.0.0.4:7401,"
           "tcp://127.0.0.5:7401,tcp://127.0.0.6:7401";
}

unsigned world_election_ms(void)
{
    return world.election_ms;
}

static struct proc *node_at(unsigned place)
{
    return &sim_procs[place];
}

static unsigned first_of(enum proc_kind kind)
{
    return kind == PROC_NODE ? 0 : kind == PROC_AGENT ? SIM_NODES : SIM_NODES + SIM_AGENTS;
}

static unsigned count_of(enum proc_kind kind)
{
    return kind == PROC_NODE ? SIM_NODES : kind == PROC_AGENT ? SIM_AGENTS : SIM_APPS;
}

static struct proc *draw_proc(enum proc_kind kind)
{
    return &sim_procs[first_of(kind) + sim_random(count_of(kind))];
}

static struct proc *leader(void)
{
    for (unsigned i = 0; i < SIM_NODES; i++) {
        if (node_leads(node_at(i)))
            return node_at(i);
    }
    return NULL;
}

void world_proc_gone(struct proc *p)
{
    server_holder_gone(p);
    if (p->kind == PROC_APP)
        sim_count(FAULT_app_death);
}

/* processes come back */

static void want(struct proc *p)
{
    world.wanted[p - sim_procs] = true;
    if (!p->up)
        proc_start(p);
}

static void bring_back(void)
{
    for (unsigned i = 0; i < SIM_PROCS; i++) {
        struct proc *p = &sim_procs[i];

        if (p->up || !world.wanted[i] || (world.calm && p->kind == PROC_APP))
            continue;
        if (world.restart_us[i] == 0)
            world.restart_us[i] =
                sim_now_us + (world.calm ? 0 : sim_random(sim_chance(3000) ? 3000000 : 300000));
        if (sim_now_us < world.restart_us[i] && !world.stumbles[i])
            continue;
        world.stumbles[i] = false;
        world.restart_us[i] = 0;
        proc_start(p);
    }
}

void world_stumble(struct proc *p)
{
    p->crash_in = 1 + (unsigned)sim_random(12);
    world.stumbles[p - sim_procs] = true;
}

/* membership: a spare node comes in, another one goes and is wiped */

static bool is_member_place(unsigned place)
{
    return world.wanted[place] && !(world.change == ADDING && world.changing == place);
}

static void begin_change(void)
{
    unsigned place = 0;

    if (world.change != STABLE || world.nodes != 3)
        return;
    while (world.wanted[place])
        place++;
    disk_wipe(place);
    places[place] = (struct place){.id = world.next_id++};
    world.change = ADDING;
    world.changing = place;
    sim_count(FAULT_node_added);
    want(node_at(place));
}

static void begin_removal(void)
{
    unsigned place;

    do
        place = (unsigned)sim_random(SIM_NODES);
    while (!world.wanted[place] || place == world.changing);
    world.change = REMOVING;
    world.changing = place;
    sim_count(FAULT_node_removed);
}

static void end_removal(void)
{
    struct proc *p = node_at(world.changing);

    world.wanted[world.changing] = false;
    world.change = STABLE;
    proc_kill(p);
    disk_wipe(world.changing);
}

/* An operator believes what the leader has answered, not what is on its way. */
static bool change_done(const struct proc *l)
{
    bool adds = world.change == ADDING, there = node_has_member(l, places[world.changing].id, adds);

    return world.asked && (node_change_rc == TX_OK || (node_change_rc == TX_EREFUSED && there == adds));
}

static void drive_change(void)
{
    struct proc *l = leader();

    if (world.change == STABLE || l == NULL)
        return;
    if (change_done(l)) {
        world.asked = false;
        if (world.change == ADDING)
            begin_removal();
        else
            end_removal();
    } else if (!world.asked || node_change_rc != 1 || sim_chance(300)) { /* whom it was asked of may be dead */
        world.asked = true;
        node_change(l, world.change == ADDING, world.changing);
    }
}

/* faults */

static void crash(enum proc_kind kind)
{
    struct proc *p = draw_proc(kind);

    if (!p->up)
        return;
    if (sim_chance(7000)) {
        p->crash_in = 1 + (unsigned)sim_random(60);
        return;
    }
    sim_count(FAULT_crash);
    proc_kill(p);
}

static void cut(void)
{
    unsigned a = (unsigned)sim_random(SIM_PROCS), b = (unsigned)sim_random(SIM_PROCS);
    bool both = sim_chance(5000);

    sim_count(both ? FAULT_cut : FAULT_one_way_cut);
    sim_tell("network", "%s is cut from %s%s", sim_procs[a].name, sim_procs[b].name, both ? "" : " one way");
    net_cut(a, b, true);
    net_cut(b, a, both || net_is_cut(&sim_procs[b], &sim_procs[a]));
}

static void isolate(void)
{
    unsigned a = (unsigned)sim_random(SIM_NODES);

    sim_count(FAULT_cut);
    sim_tell("network", "%s is cut off", sim_procs[a].name);
    for (unsigned b = 0; b < SIM_PROCS; b++) {
        net_cut(a, b, true);
        net_cut(b, a, true);
    }
}

static void change_weather(void)
{
    bool rough = sim_chance(4000);

    net_weather = (struct net_weather){.drop = (unsigned)sim_random(rough ? 2500 : 100),
                                       .duplicate = (unsigned)sim_random(rough ? 2000 : 300),
                                       .slow = (unsigned)sim_random(rough ? 3000 : 200),
                                       .replay = (unsigned)sim_random(rough ? 300 : 30)};
}

static void pause_one(void)
{
    struct proc *p = &sim_procs[sim_random(SIM_PROCS)];

    sim_count(FAULT_pause);
    p->paused_us = sim_now_us + sim_random(4000000);
    sim_tell(p->name, "stands still");
}

static void meddle(void)
{
    if (sim_chance(3000) && leader() != NULL)
        node_resolve(leader());
    else if (sim_chance(3000) && server_set_back())
        sim_count(FAULT_set_back);
    else if (server_meddle())
        sim_count(FAULT_by_hand);
}

static void transfer(void)
{
    if (leader() == NULL)
        return;
    sim_count(FAULT_transfer);
    node_transfer(leader());
}

static void late_proposals(void)
{
    for (int i = 0; i < 4 && leader() != NULL; i++)
        node_propose_late(leader());
}

static void fault(void)
{
    unsigned draw = (unsigned)sim_random(100);

    if (draw < 3)
        disk_break((unsigned)sim_random(SIM_NODES));
    else if (draw < 16)
        crash(PROC_NODE);
    else if (draw < 28)
        crash(PROC_AGENT);
    else if (draw < 40)
        crash(PROC_APP);
    else if (draw < 48)
        server_crash((unsigned)sim_random(SIM_SERVERS), 50000 + sim_random(2000000));
    else if (draw < 58)
        cut();
    else if (draw < 64)
        isolate();
    else if (draw < 76)
        change_weather();
    else if (draw < 84)
        pause_one();
    else if (draw < 88)
        meddle();
    else if (draw < 92)
        transfer();
    else if (draw < 96)
        late_proposals();
    else
        begin_change();
}

/* the run */

static void tick(void *arg, uint64_t x)
{
    (void)arg;
    (void)x;
    bring_back();
    drive_change();
    if (!world.calm && sim_now_us >= world.next_fault_us) {
        world.next_fault_us = sim_now_us + sim_random(600000);
        fault();
    }
    if (!world.calm && sim_now_us >= world.heal_us) {
        world.heal_us = sim_now_us + 500000 + sim_random(3500000);
        net_heal();
    }
    sim_at(TICK_US, tick, NULL, 0);
}

static void run_until(uint64_t until_us)
{
    while (sim_step(until_us))
        ;
    sim_now_us = until_us;
}

static void log_to_story(void *arg, const char *line)
{
    const struct proc *p = sim_self();
    const char *event = strstr(line, "event=");

    (void)arg;
    sim_tell(p != NULL ? p->name : "?", "%s", event != NULL ? event + 6 : line);
}

static void make_procs(void)
{
    static const char *const kinds[] = {"node", "agent", "app"};
    static void (*const mains[])(void *) = {node_main, agent_main, app_main};

    for (unsigned i = 0; i < SIM_PROCS; i++) {
        struct proc *p = &sim_procs[i];

        p->kind = i < SIM_NODES ? PROC_NODE : i < SIM_NODES + SIM_AGENTS ? PROC_AGENT : PROC_APP;
        p->number = i - first_of(p->kind);
        p->main = mains[p->kind];
        snprintf(p->name, sizeof p->name, "%s-%u", kinds[p->kind], p->number + 1);
    }
}

/* The first node begins the group, the others join it, one after the other. */
static void form_group(void)
{
    uint64_t end = sim_now_us + SETUP_US;

    world.next_id = SIM_NODES + 1;
    for (unsigned i = 0; i < world.nodes; i++) {
        places[i] = (struct place){.id = i + 1, .founds = i == 0};
        disk_wipe(i);
        want(node_at(i));
        world.change = i == 0 ? STABLE : ADDING;
        world.changing = i;
        while (leader() == NULL || !node_has_member(leader(), i + 1, true)) {
            if (sim_now_us > end)
                sim_fail("liveness: the group was not formed");
            if (i > 0 && leader() != NULL && node_change_rc != 1)
                node_change(leader(), true, i);
            run_until(sim_now_us + TICK_US);
        }
    }
    world.change = STABLE;
    places[0].founds = false;
}

static void begin_calm(void)
{
    sim_tell("world", "no faults from here on");
    world.calm = true;
    net_heal();
    net_weather = (struct net_weather){0};
    for (unsigned i = 0; i < SIM_PROCS; i++)
        sim_procs[i].crash_in = 0;
}

static const char *what_is_left(void)
{
    struct proc *l = leader();
    const char *rest = check_rest(l == NULL ? NULL : node_ledger(l));

    for (unsigned i = 0; i < SIM_APPS; i++) {
        const struct proc *p = &sim_procs[first_of(PROC_APP) + i];

        if (p->up && !app_finished(p))
            return "an application has not finished";
    }
    for (unsigned i = 0; i < SIM_NODES && rest == NULL; i++) {
        if (is_member_place(i) && node_applied(node_at(i)) != node_applied(l))
            return "a node has not caught up";
    }
    return rest != NULL ? rest : world.change != STABLE ? "the membership is not settled" : NULL;
}

static void come_to_rest(void)
{
    uint64_t end = sim_now_us + REST_US;
    const char *left;

    while ((left = what_is_left()) != NULL) {
        if (sim_now_us >= end)
            sim_fail("liveness: %s", left);
        run_until(sim_now_us + 500000);
    }
    sim_tell("world", "is at rest");
}

void __wrap_crash_point(enum crash_point point);

/* The product's own points: where a process is at something that only its memory knows. */
void __wrap_crash_point(enum crash_point point)
{
    struct proc *p = sim_self();
    unsigned chance = point >= CRASH_AGENT_EXEC_DONE ? 100 : point < CRASH_COORD_COMMIT_RECEIVED ? 60 : 15;

    if (p != NULL && !world.calm && sim_chance(chance)) {
        sim_count(FAULT_stumble);
        world_stumble(p);
        p->crash_in = 1;
    }
    sim_point("a crash point");
}

void world_run(void)
{
    uint64_t begin = sim_now_us;
    unsigned draw = (unsigned)sim_random(10);

    log_divert(log_to_story, NULL);
    world.nodes = sim_options.nodes != 0 ? sim_options.nodes : draw < 2 ? 1 : draw < 8 ? 3 : 5;
    world.election_ms = sim_chance(3000) ? 60 : 300;
    make_procs();
    world.calm = true; /* until all are there */
    form_group();
    world.calm = false;
    for (unsigned i = SIM_NODES; i < SIM_PROCS; i++)
        want(&sim_procs[i]);
    run_until(sim_now_us + 1000000);
    sim_at(0, tick, NULL, 0);
    run_until(sim_now_us + 6000000 + sim_random(14000000));
    begin_calm();
    come_to_rest();
    sim_tally->simulated_ms += (sim_now_us - begin) / 1000;
}
