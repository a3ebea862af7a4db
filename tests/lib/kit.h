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

#include "libtx/libtx_mariadb.h"
#include "libtx/libtx_pg.h"
#include "libtx/shared/channel.h"
#include "tests/lib/stock.h"
#include "tests/lib/world.h"

enum {
    KIT_ACCOUNTS = 100,
    KIT_BALANCE = 1000,
    KIT_SETTLE_MS = 30000,  /* more than any recovery takes */
    KIT_TOLD_LIMIT = 16384, /* transfers of one test */
    KIT_ID_SIZE = 96,
    KIT_NODES = 6, /* coordinators at most: a group, and one that is refused */
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

/* A client that is at work all the time. */
struct kit_load {
    struct world_process *client; /* NULL: none yet */
    struct kit_account account;
};

struct kit {
    struct world *world;
    struct world_server *bank[2];                 /* bank_a, bank_b */
    struct world_process *coordinator, *agent[2]; /* coordinator: the only one, or NULL */
    struct world_process *node[KIT_NODES + 1];    /* of a group of several, by number */
    unsigned n_nodes;
    unsigned n_clients;
    struct kit_load load;
    struct stock stock;       /* no process: there is none */
    const char *const *flags; /* of coordinators; borrowed */
    size_t disk_bytes;        /* as its options say, too */
    bool watched;
};

struct kit_options {
    const char *const *coordinator_flags, *const *agent_flags; /* NULL: none */
    bool no_agents;
    unsigned nodes; /* a group of so many; 0: a coordinator that is alone */
    bool mariadb;  /* bank_b is a MariaDB server, its branches remote ones but in KIT_DIRECT and KIT_SINGLE; not
                      with network */
    bool stock;    /* a service takes part, too: «stock» */
    bool network;  /* see world_net.h */
    bool disorder; /* see world.h */
    bool relays;   /* likewise */
    size_t disk_bytes; /* of each node's disk (world_node_disk()); 0: a directory as any other */
    bool watched;      /* world_process_fault() can be used on the nodes */
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
/* One to each bank, and their end. */
void kit_connect_both(struct kit *k, PGconn *conn[2]);
void kit_disconnect_both(PGconn *conn[2]);
/* A transaction, and a branch of it. */
txn *kit_begin(tx_client *client);
void kit_enlist(txn *t, const char *resource, PGconn *conn);
/* To bank_b on this port, a MariaDB server, as user app, mysql_close() it. NULL: not to be had. */
MYSQL *kit_connect_mariadb(unsigned port);
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
/* Nothing prepared in either bank (after a while), all money there, every receipt in both banks. With a
 * service: nothing is prepared there either, and a piece is gone for each receipt. */
void kit_assert_sound(struct kit *k);

/* The client program (kit_client.c) */

/* How a transfer's two branches work. With a service it has a third one, which takes a piece. */
enum kit_mode {
    KIT_DIRECT,
    KIT_REMOTE,
    KIT_MIXED,   /* bank_a direct, bank_b remote */
    KIT_REFUSED, /* remote; bank_b refuses to prepare; bank_a where bank_b is MariaDB */
    KIT_SINGLE,  /* one direct branch; bank_b's where that is MariaDB */
    KIT_LOGGED,  /* direct, TXN_DECISION_LOGGED */
    KIT_CROWD,   /* direct, in several threads */
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

/* Questions for outcomes to one node, as clients ask that take it for the leader (kit_ask.c) */

struct kit_asker {
    struct channel channel;
    struct channel_message message;
};

struct kit_answer {
    uint32_t number; /* of the question */
    int code;        /* TX_OK, or what was answered instead of an outcome */
    enum tx_outcome outcome;
};

/* Returns when there is a connection. */
void kit_ask_open(struct kit *k, unsigned node, struct kit_asker *a);
void kit_ask_send(struct kit_asker *a, uint32_t number, const char *transaction);
/* The next answer, in whichever order they come; false: none within a second. */
bool kit_ask_answer(struct kit_asker *a, struct kit_answer *answer);
void kit_ask_close(struct kit_asker *a);

enum { KIT_LOAD_PROGRESS = 20 /* transfers told, to call it going on */ };

/* The load (kit_load.c): while a group of coordinators has its troubles, one client makes transfers, with a
 * pause of some milliseconds. Most of it is about kit.load. */

void kit_load_begin(struct kit *k, enum kit_mode mode);
/* Hears the client until it was told of so many more. Returns how long that took, in ms. */
uint64_t kit_load_progress(struct kit *k, size_t more);
/* Hears what was told before a fault, and is on the way. */
void kit_load_drain(struct kit *k);
/* Number of transfers that it was told of. */
size_t kit_load_told(const struct kit *k);
/* Ends the client, hard, and checks what it was told: all of it was a success, and is so. */
void kit_load_end(struct kit *k);
/* The same where some of it may have been something else, which must be so as well. */
void kit_load_end_mixed(struct kit *k);

/* txadmin with these arguments ends with this code and says `part`, on either output. */
void kit_assert_admin(struct kit *k, const char *const *args, int code, const char *part);
/* Makes another node of the group the leader, and returns when the group is whole. */
void kit_make_leader(struct kit *k, unsigned id);
/* Has a node removed, ends it, and empties its data directory. */
void kit_remove_node(struct kit *k, unsigned id);

#endif
