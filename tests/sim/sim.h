/* sim: a whole group with its agents, resources and applications in one process, under one seed.
 *
 * The programs are the product's own object files. What is simulated is what lies below them, and it takes the
 * place of the real thing when the simulator is linked: the event loop (sim_uv: libuv's functions), the
 * connections (sim_net: channel.h's functions), files, clocks, random numbers and threads (sim_disk, sim_posix:
 * the C library's functions, by ld's --wrap). A process is one or more fibers (sim_os). It dies at any point at
 * which it touches its world, and what it had in memory is gone with it.
 *
 *   sim_main    options, one child process a seed     sim_world    who is there, faults, the end
 *   sim_node    a coordinator                         sim_check    what must hold
 *   sim_agent   an agent, on the real agent.c         sim_cover    rows of the tables of transitions
 *   sim_app     applications, on the real libtx       sim_server   the resources
 */
#ifndef ASSENT_SIM_H
#define ASSENT_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <ucontext.h>

enum {
    SIM_NODES = 6,   /* places for coordinators, a spare one among them */
    SIM_AGENTS = 4,  /* two of them serve the first resource */
    SIM_SERVERS = 3, /* resources */
    SIM_APPS = 4,
    SIM_PROCS = SIM_NODES + SIM_AGENTS + SIM_APPS,
};

/* X(name, what it breaks, seeds within which it must be caught) */
#define SABOTAGE_LIST(X)                                                                    \
    X(NONE, "", 0)                                                                          \
    X(NO_FENCE, "a COMMIT after the session expired is accepted", 200)                      \
    X(LAST_WINS, "a later decision overrides the first", 120)                               \
    X(DROP_UNACKNOWLEDGED, "a record is dropped before its client has acknowledged it", 60) \
    X(DROP_UNRESOLVED, "a record is dropped before all branches have reported", 60)         \
    X(DECIDED_ANEW, "a number that was acknowledged is decided anew", 60)                   \
    X(LYING_DISK, "a forced write is acknowledged and not forced", 60)                      \
    X(DOUBLE_VOTE, "a vote for a leader does not survive a crash", 120)                     \
    X(NOT_FOUND_OK, "«not found» at commit is taken for success", 150)                      \
    X(PENDING_ABORT, "an agent rolls back what it is told to wait for", 60)                 \
    X(VOTE_LOST, "a branch that voted yes is not durable", 60)                              \
    X(TIMEOUT_ABORT, "a client that gets no answer takes it for an abort", 60)              \
    X(ONE_VOTE, "the leader commits without waiting for every vote", 60)                    \
    X(NO_SCAN, "agents never look for branches in doubt", 60)                               \
    X(NO_END, "records are never ended", 60)                                                \
    X(UNORDERED, "a node applies its entries otherwise than the others", 60)

enum sabotage {
#define SABOTAGE_ENUM(name, text, seeds) SABOTAGE_##name,
    SABOTAGE_LIST(SABOTAGE_ENUM)
#undef SABOTAGE_ENUM
        SABOTAGE_COUNT
};

/* X(name): counted, and injected in the first part of a run; the last ones are what came of them. */
#define FAULT_LIST(X)    \
    X(drop)              \
    X(delay)             \
    X(duplicate)         \
    X(replay)            \
    X(cut)               \
    X(one_way_cut)       \
    X(crash)             \
    X(crash_point)       \
    X(app_death)         \
    X(server_crash)      \
    X(connection_lost)   \
    X(refusal)           \
    X(late_prepare)      \
    X(slow_answer)       \
    X(unforced_lost)     \
    X(torn_write)        \
    X(disk_error)        \
    X(by_hand)           \
    X(set_back)          \
    X(stumble)           \
    X(resolve)           \
    X(node_added)        \
    X(node_removed)      \
    X(transfer)          \
    X(pause)             \
    X(late_proposal)     \
    X(snapshot)          \
    X(install)           \
    X(expired)           \
    X(fenced)            \
    X(decided_twice)     \
    X(decided_otherwise) \
    X(late_double)

enum fault {
#define FAULT_ENUM(name) FAULT_##name,
    FAULT_LIST(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_COUNT
};

enum outcome {
    OUTCOME_COMMITTED,
    OUTCOME_ROLLED_BACK,
    OUTCOME_LATE,  /* TX_ETIMEOUT: committed, and not everywhere yet */
    OUTCOME_DOUBT, /* TX_EINDOUBT */
    OUTCOME_HEURISTIC,
    OUTCOME_FAILED, /* before its end */
    OUTCOME_UNTOLD, /* the application died */
    OUTCOME_COUNT
};

enum { COVER_ROWS = 512 };

/* What the child that runs a seed leaves to its parent. */
struct tally {
    uint64_t seeds, steps, simulated_ms, messages, forced_writes, transactions;
    uint64_t faults[FAULT_COUNT], outcomes[OUTCOME_COUNT];
    uint8_t commit_rows[COVER_ROWS], agent_rows[COVER_ROWS], client_rows[COVER_ROWS];
    uint64_t digest;
    bool failed;
    char why[512];
};

struct options {
    uint64_t seed;
    unsigned nodes; /* 0: drawn */
    enum sabotage sabotage;
    bool trace;        /* every line, not the last ones alone */
    const char *story; /* file of a failed seed's last lines; NULL: none */
};

extern struct options sim_options;
extern struct tally *sim_tally;

/* sim_os: time, events, fibers */

struct proc;

struct fiber {
    ucontext_t context;
    struct proc *proc;
    void *stack;
    void *fake; /* of the address sanitizer */
    void (*entry)(void *arg);
    void *arg;
    uint64_t waits; /* how often it has waited: an old wake-up is none */
    bool waiting, ended;
    struct fiber *next;
};

enum proc_kind { PROC_NODE, PROC_AGENT, PROC_APP };

struct proc {
    enum proc_kind kind;
    unsigned number; /* of its kind, from 0 */
    char name[16];
    bool up;
    unsigned incarnation;
    unsigned crash_in;  /* dies at the so-manieth point from here; 0: not */
    bool power_cut;     /* when it died last; of one that runs: when it dies next */
    bool disk_failed;   /* and so it will stop by itself */
    uint64_t paused_us; /* until then none of its fibers runs */
    void (*main)(void *arg);
    struct fiber *fibers;
    struct loop *loop;
    void *data; /* of its kind */
};

extern uint64_t sim_now_us; /* since 1970, and since its machine was started, too */
extern struct proc sim_procs[SIM_PROCS];

uint64_t sim_random(uint64_t below);
/* So many in ten thousand. */
bool sim_chance(unsigned per_10000);
void sim_at(uint64_t delay_us, void (*fn)(void *arg, uint64_t x), void *arg, uint64_t x);
/* Runs the next event; false: there is none before `until_us`. */
bool sim_step(uint64_t until_us);
void sim_start(uint64_t seed);

struct fiber *fiber_new(struct proc *p, void (*entry)(void *arg), void *arg);
struct fiber *fiber_current(void);
/* NULL: the simulator itself runs. */
struct proc *sim_self(void);
/* Waits until fiber_wake(), or until then. */
void fiber_wait(uint64_t until_us);
void fiber_wake(struct fiber *f);
void fiber_sleep(uint64_t us);

void proc_start(struct proc *p);
/* From outside, or by itself: then it does not return. */
void proc_kill(struct proc *p);
/* A point at which the process touches the world: it may die here. */
void sim_point(const char *what);

/* One line of the story. */
void sim_tell(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What must hold does not: ends the run of this seed. */
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void sim_count(enum fault f);
/* Into the digest of the run. */
void sim_mix(uint64_t x);

/* sim_uv */

void loop_new(struct proc *p, void *uv_loop);
/* Runs fn(arg) in the process's loop, if it is still the same incarnation then. */
void loop_post(struct proc *p, uint64_t delay_us, void (*fn)(void *arg), void *arg);
void loop_wake(struct proc *p);

/* sim_net */

void net_proc_gone(struct proc *p);
bool net_readable(int fd);
void net_cut(unsigned from, unsigned to, bool cut);
void net_heal(void);
bool net_is_cut(const struct proc *from, const struct proc *to);
/* How rough it is: in ten thousand. */
struct net_weather {
    unsigned drop, duplicate, slow, replay;
};
extern struct net_weather net_weather;

/* sim_posix and sim_disk: descriptors from SIM_FD on are simulated */

enum { SIM_FD = 100000, SIM_FD_SOCKET = 0, SIM_FD_EVENT = 100000, SIM_FD_FILE = 200000 };

bool event_readable(int fd);
/* The process ends, the machine does not; or it loses power. */
void disk_close_all(unsigned node);
void disk_crash(unsigned node);
/* The next write or sync fails. */
void disk_break(unsigned node);
void disk_wipe(unsigned node);
void posix_proc_gone(struct proc *p);

/* sim_world */

void world_run(void);
bool world_calm(void); /* no faults any more */
void world_proc_gone(struct proc *p);

/* sim_cover*: how many rows of a table there are and were reached, and those that were not */

void cover_print(FILE *out, const struct tally *t);
void cover_print_agent(FILE *out, const struct tally *t);
void cover_print_client(FILE *out, const struct tally *t);

#endif
