/* soak: what the parts of the endurance run share: its world, the parts of it that faults befall, and what was
 * found wrong. The order of reading: soak.c, soak_fault.c, soak_client.c, soak_verdict.c.
 */
#ifndef ASSENT_SOAK_H
#define ASSENT_SOAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/world.h"
#include "tests/soak/soak_book.h"

struct cJSON;

enum {
    SOAK_NODES = 6, /* five, and one that waits to take another's place */
    SOAK_AGENTS = 4,
    SOAK_PARTS = SOAK_NODES + SOAK_AGENTS + BOOK_BANKS + BOOK_SLOTS,
    SOAK_MARIADB = 2, /* the bank that is a MariaDB server, where there is one */
    SOAK_ACCOUNTS = 200,
    SOAK_BALANCE = 100000,
    SOAK_SETTLE_MS = 60000, /* more than any recovery takes */
    SOAK_SESSION_MS = 3000, /* of a client: silence after which it is taken for dead, and */
    SOAK_TRANSACTION_MS = 6000,
    SOAK_COMMIT_MS = 8000, /* of every other client; the others are impatient, and often left in doubt: */
    SOAK_HASTY_MS = 700,
};

struct soak_options {
    unsigned nodes, clients, seconds, pause_ms;
    uint64_t seed;
    bool mariadb; /* bank_c is a MariaDB server */
    bool json, verbose;
    bool forge; /* falsifies a bank at the end, which the checks must find */
};

/* Parts: what a fault can befall */

enum part_kind {
    PART_NODE,
    PART_AGENT,
    PART_SERVER,
    PART_CLIENT,
};

enum part_state {
    PART_UP,
    PART_DOWN,     /* to be started when it is due */
    PART_FROZEN,   /* by SIGSTOP, until it is due */
    PART_STOPPING, /* got SIGTERM */
    PART_OUT,      /* a node that is no member; wiped and not running. It may be added when it is due */
};

struct part {
    enum part_kind kind;
    unsigned number;               /* of the node, agent, bank or client */
    struct world_process *process; /* owned by the world; NULL: not started yet */
    struct world_server *server;   /* of a PART_SERVER */
    enum part_state state;
    uint64_t due_ms;
    uint64_t started_ms; /* when it was started last */
    char crash[64];      /* ASSENT_CRASH that it runs with; "": none */
};

/* Of a client: since when it has not been told of a commit, though it runs, and what had been committed then.
 */
struct watch {
    uint64_t since_ms;
    unsigned own, all;
};

struct soak {
    struct soak_options options;
    struct world *world;
    struct part parts[SOAK_PARTS];
    size_t n_parts;
    struct world_process *checker;
    struct book book;
    struct watch watch[BOOK_SLOTS];
    uint64_t random;
    uint64_t started_ms, next_fault_ms, next_mend_ms, next_line_ms;
    bool calm;         /* no more faults: everything is to be up again */
    bool unsure;       /* a change of the group ended without an answer */
    unsigned rolling;  /* nodes that a rolling restart has still to come to */
    unsigned majority; /* so many nodes must be up */
    unsigned n_violations, crashes;
    uint64_t settled_ms; /* from the last fault's end to the last branch's */
    long long decisions; /* kept in the ledger at the end */
    unsigned lookups_at_end;
    char events[WORLD_PATH_SIZE]; /* the file that tells what was done when */
};

/* What is random (soak_stage.c): from the seed alone. Below n; from…to. */
uint64_t soak_random(uint64_t *state);
unsigned soak_below(struct soak *s, unsigned n);
unsigned soak_between(struct soak *s, unsigned from, unsigned to);

/* Writes down what happens; with --verbose, also prints it. */
void soak_event(struct soak *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something is wrong: counted, printed and written down. */
void soak_violation(struct soak *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same about a transaction, with its story. */
void soak_wrong(struct soak *s, unsigned slot, size_t number, const char *what);

/* The world (soak_stage.c) */

void stage_open(struct soak *s);
/* The n-th part of this kind. */
struct part *stage_part(struct soak *s, enum part_kind kind, unsigned n);
const char *part_name(const struct part *p, char out[64]);
void stage_start_clients(struct soak *s);
/* Takes note of parts that ended, and lets those come back that are due. Call it often. */
void stage_tick(struct soak *s);
/* kill -9, SIGSTOP, SIGTERM of a part that is up; it comes back after so long. */
void part_kill(struct soak *s, struct part *p, unsigned ms);
void part_freeze(struct soak *s, struct part *p, unsigned ms);
void part_stop(struct soak *s, struct part *p);
/* Everything is up, nothing has a crash point ahead of it, the group is whole. */
bool stage_is_whole(struct soak *s);

/* The group of coordinators (soak_group.c) */

/* What txadmin answers with these arguments, --json among them; an empty object where nobody answers. The
 * caller's to cJSON_Delete(). */
struct cJSON *group_ask(struct soak *s, const char *const *args);
/* A member of the group that leads it, as txadmin says; NULL: nobody does, or it is not known. */
struct part *group_leader(struct soak *s);
/* Brings the group back to so many members as it is to have. */
void group_mend(struct soak *s);
/* txadmin node VERB A B C. Its exit code. */
int group_admin(struct soak *s, const char *verb, const char *a, const char *b, const char *c);
/* A follower leaves the group, is wiped, and is added again later. */
bool group_remove(struct soak *s);
/* A follower is put out of the group, and one that was none takes its place. */
bool group_replace(struct soak *s);
bool group_transfer(struct soak *s);

/* Faults (soak_fault.c) */

void fault_tick(struct soak *s); /* the next one, when its time has come */
size_t fault_kinds(void);
const char *fault_name(size_t kind);
unsigned fault_count(size_t kind);

/* Jobs: processes of their own (soak_client.c, soak_checker.c) */

int soak_client_job(int argc, char **argv);
int soak_checker_job(int argc, char **argv);

/* The end (soak_verdict.c, soak_report.c) */

/* All checks, when everything is up again and clients have ended. */
void verdict(struct soak *s);
void verdict_story(struct soak *s, unsigned slot, size_t number);
void report_progress(struct soak *s);
void report(struct soak *s);

#endif
