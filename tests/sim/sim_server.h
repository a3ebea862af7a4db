/* sim_server: the resources. Each is a database server that can prepare, as PostgreSQL does it: work on a
 * connection, a table of what is prepared, the outcome of every transaction id for ever. What is prepared or
 * committed survives its crash, what is not is rolled back, as it is when the connection's other end dies.
 *
 * A request is executed some time after it was sent, and answered some time after that. A connection that
 * breaks loses one of the two: nobody can tell which.
 */
#ifndef ASSENT_SIM_SERVER_H
#define ASSENT_SIM_SERVER_H

#include "libtx/shared/txid.h"
#include "participant/rm.h"
#include "tests/sim/sim.h"

enum work_state { WORK_ACTIVE, WORK_PREPARED, WORK_COMMITTED, WORK_ROLLED_BACK };

/* One transaction of a server. */
struct work_item {
    unsigned server, number; /* of the branch */
    uint64_t xid;
    struct txid id;
    char gid[GID_SIZE];
    enum work_state state;
    bool wrote, one_phase;
    bool after_vote; /* rolled back although it was prepared */
    uint64_t prepared_us;
    struct proc *holder; /* whose connection it is */
    unsigned incarnation;
    struct work_item *next;
};

enum server_op {
    SERVER_WORK,
    SERVER_PREPARE,
    SERVER_PROVE,
    SERVER_ONE_PHASE,
    SERVER_ABANDON,
    SERVER_LOOK,
    SERVER_COMMIT,
    SERVER_ROLLBACK,
    SERVER_STATUS,
    SERVER_LIST
};

/* A request under way. */
struct server_request {
    enum server_op op;
    unsigned server;
    uint64_t epoch;
    struct work_item *work; /* may be NULL for those by gid */
    char gid[GID_SIZE], proof[64];
    struct proc *from;
    unsigned incarnation;
    bool cancelled, answer_lost;
    enum rm_outcome outcome;
    char answer[64]; /* the proof; "": none */
    const char *text;
    void (*at_server)(struct server_request *r); /* SERVER_LIST: takes what there is at that moment */
    void (*done)(struct server_request *r);
    void *arg, *callback;
};

const char *server_name(unsigned server);
bool server_up(unsigned server);
struct work_item *server_begin(unsigned server, const struct txid *id, unsigned number);
/* Sends it; done() comes once, in the loop of the process that asks, or just so where it has none. */
struct server_request *server_ask(unsigned server, enum server_op op, struct work_item *work, const char *gid,
                                  const char *proof);
void server_send(struct server_request *r);

void server_crash(unsigned server, uint64_t down_us);
/* The process died: its connections end soon. */
void server_holder_gone(struct proc *p);
/* An operator finishes a prepared branch by hand; false: there is none. */
bool server_meddle(void);
/* A branch that was finished is prepared again, as after a restore. */
bool server_set_back(void);
size_t server_prepared(unsigned server);
/* By chance one that is prepared anywhere; false: none. */
bool server_pick_prepared(struct txid *id);
/* The next one by gid that begins with prefix, behind `after`. */
const struct work_item *server_next(unsigned server, const char *prefix, const char *after);
/* Agents whose resource comes or goes. */
void agent_server_changed(unsigned server);

/* sim_check */

void check_work(const struct work_item *w);
void check_meddled(const struct txid *id);

#endif
