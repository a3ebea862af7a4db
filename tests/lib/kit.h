/* kit: what the end-to-end tests share: two banks, their agents and a coordinator, kept up from test to test,
 * and a client program that transfers money and tells what it was told.
 *
 * Used by tests/e2e; calls world. A check that fails ends the test (cmocka).
 */
#ifndef ASSENT_KIT_H
#define ASSENT_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libtx/libtx_pg.h"
#include "tests/lib/world.h"

enum {
    KIT_ACCOUNTS = 100,
    KIT_BALANCE = 1000,
    KIT_SETTLE_MS = 30000,  /* more than any recovery takes */
    KIT_TOLD_LIMIT = 16384, /* transfers of one test */
    KIT_ID_SIZE = 96,
    KIT_NODES = 5, /* coordinators at most */
};

struct kit {
    struct world *world;
    struct world_server *bank[2];                 /* bank_a, bank_b */
    struct world_process *coordinator, *agent[2]; /* coordinator: the only one, or NULL */
    struct world_process *node[KIT_NODES + 1];    /* of a group of several, by number */
    unsigned n_nodes;
    unsigned n_clients;
    const char *const *flags; /* of coordinators; borrowed */
};

struct kit_options {
    const char *const *coordinator_flags, *const *agent_flags; /* NULL: none */
    bool no_agents;
    unsigned nodes; /* a group of so many; 0: a coordinator that is alone */
    bool mariadb;   /* bank_b is a MariaDB server, and all its branches are remote ones */
};

/* First in main(): does the client's job where this process is one. ASSENT_TEST in the environment, a name with
 * * and ?, picks tests. */
void kit_main(int argc, char **argv);
/* The group's set-up. `options` may be NULL. */
void kit_open(struct kit *k, const char *name, const struct kit_options *options);
/* After the group: takes everything down. `failed` is what cmocka returned; returns the exit code. */
int kit_close(struct kit *k, int failed);
/* A group of several: makes node `id`, not yet a member. */
void kit_new_node(struct kit *k, unsigned id, bool listed);
/* Starts a node that is no member, and has it added. */
void kit_add_node(struct kit *k, unsigned id);
/* Waits until every member is up and as far as the leader; returns the leader's number. */
unsigned kit_await_group(struct kit *k);
/* Before a test: starts whatever does not run, or still waits for its crash point, and empties the receipts. */
void kit_settle(struct kit *k);

/* Waits until the coordinator has heard of both agents, and both can reach their banks. */
void kit_await_agents(struct kit *k);

/* A client in this process, closed by the test. Session and transactions last 2 and 4 seconds. */
tx_client *kit_client(struct kit *k);
/* A connection to bank 0 or 1, a PostgreSQL server, as role app. */
PGconn *kit_connect(struct kit *k, int bank);
/* Executes, and fails the test where it does not succeed. */
void kit_exec(PGconn *conn, const char *sql);
/* One side of a transfer: the money, and a receipt. */
void kit_move(PGconn *conn, const char *receipt, int amount);
/* Number of receipts of this name in both banks together: 0 or 2 where all is well. */
long long kit_receipts(struct kit *k, const char *receipt);
/* All receipts of a bank, sorted, with blanks between them; owned by the caller. */
char *kit_all_receipts(struct kit *k, int bank);
/* The connection is idle and answers. */
void kit_assert_usable(PGconn *conn);
/* Nothing prepared in either bank (after a while), all money there, every receipt in both banks. */
void kit_assert_sound(struct kit *k);

/* The client program (kit_client.c) */

/* How a transfer's two branches work. */
enum kit_mode {
    KIT_DIRECT,
    KIT_REMOTE,
    KIT_MIXED,   /* bank_a direct, bank_b remote */
    KIT_REFUSED, /* remote; bank_b refuses to prepare; bank_a where bank_b is MariaDB */
    KIT_SINGLE,  /* one direct branch */
    KIT_LOGGED,  /* direct, TXN_DECISION_LOGGED */
    KIT_CROWD,   /* direct, in several threads */
};

/* What a client was told of one transfer. */
struct kit_told {
    char id[KIT_ID_SIZE]; /* the transaction's; also the receipt's name */
    int rc;               /* of txn_commit(); 1: it told of no answer */
};

struct kit_account {
    struct kit_told told[KIT_TOLD_LIMIT];
    size_t n;
};

/* Starts a client that makes `count` transfers. env: "ASSENT_CRASH=…" or NULL. */
struct world_process *kit_start_transfers(struct kit *k, enum kit_mode mode, int count, const char *env);
/* The same, but one transfer, and session and transaction last for an hour: what it leaves behind stays. */
struct world_process *kit_start_patient(struct kit *k, const char *env);
/* Hears what the client tells until it ends, or for so long. */
void kit_hear(struct world_process *client, struct kit_account *account, unsigned timeout_ms);
/* kit_assert_sound(), and: what was told is what happened, and is what an answer to a question asked now says.
 */
void kit_assert_told(struct kit *k, const struct kit_account *account);

#endif
