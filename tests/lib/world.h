/* world: a small real world to try the programs in: database servers, coordinator, agents, client programs and
 * txadmin, all in one temporary directory, all gone at the end however the end comes.
 *
 * Used by tests/e2e, tests/demo and tests/bench. Everything here either works or ends in world_fail(), so
 * callers check nothing. Not thread-safe, but for world_now_ms() and world_server_connect(); start processes
 * from the main thread only: they die with the thread that started them.
 */
#ifndef ASSENT_WORLD_H
#define ASSENT_WORLD_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORLD_PATH_SIZE = 512, WORLD_LINE_SIZE = 1024 };

/* A NULL-terminated list of arguments, in place: world_admin(w, WORLD_ARGS("show", id)). */
#define WORLD_ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct world;         /* the directory and everything in it */
struct world_process; /* a program that can be started, killed and started again; owned by its world */
struct world_server;  /* a database server; owned by its world */
struct channel_security;
struct relay;

/* The world (world.c) */

struct world_options {
    const char *name; /* part of the directory's name */
    bool no_fsync;    /* servers run with fsync = off: faster, and a test may still kill -9 them */
    bool network;     /* has a network of its own, see world_net.h */
    bool insecure;    /* everything speaks in clear text; else every program has a key */
    /* What the coordinators say to each other goes through a proxy that delays, doubles, loses and reorders it,
     * see proxy.h; the program calls world_client_main() with its job. */
    bool disorder;
    bool relays; /* a man in the middle before each node, at both of its addresses, see relay.h */
    /* What world_fail() calls; does not return. NULL: message and ends of all logs to standard error, exit 1.
     */
    void (*fail)(const char *message);
};

/* Makes the directory, ${TMPDIR:-/tmp}/assent-<name>-XXXXXX. */
struct world *world_new(const struct world_options *options);
/* Ends every process. Removes the directory; or, where something failed, prints the ends of all logs and, if
 * ASSENT_KEEP is in the environment, leaves the directory there. False: a log has a sanitizer's report, and is
 * printed. */
bool world_free(struct world *w, bool failed);

const char *world_dir(const struct world *w);
/* Path of one of the built programs («txcoordd»): in $ASSENT_BUILD, else in the build tree that the running
 * program stands in. Into `out`, which is returned. */
const char *world_program(const struct world *w, const char *name, char out[WORLD_PATH_SIZE]);
/* A TCP port that is free on the loopback address, never given twice. */
unsigned world_port(struct world *w);
_Noreturn void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t world_now_ms(void); /* monotonic */
void world_sleep_ms(unsigned ms);
/* Asks every few milliseconds until it holds; false: it did not within the time. */
bool world_wait(unsigned timeout_ms, bool (*holds)(void *arg), void *arg);

/* Keys (world_keys.c) */

/* Who there is: "client", "agent" (of all resources), "service" (agent and client), "operator", "observer" and
 * "node_0" to "node_9", of which node_0 is a coordinator that is alone. The running program has the client's
 * in its environment, like every program it starts, but for txadmin (the operator's) and the example service.
 */
const char *world_identity(const struct world *w, const char *who, char out[WORLD_PATH_SIZE]);
const char *world_keys(const struct world *w, char out[WORLD_PATH_SIZE]);
/* A key pair that nobody knows yet, at <dir>/<who>.key; its public key into `text` (KEY_TEXT_SIZE bytes). */
void world_identity_make(struct world *w, const char *who, char *text);
/* How a channel of the test's own speaks, as one of these; NULL where the world is insecure. Belongs to the
 * world. */
const struct channel_security *world_security(struct world *w, const char *who);
/* Likewise in a client, as its environment says. */
const struct channel_security *world_client_security(void);

/* Processes (world_process.c) */

/* Output goes to <dir>/<name>.log, appended from start to start. argv[0] is a path. The environment has
 * ASSENT_COORDINATORS once there is a coordinator. */
struct world_process *world_process_new(struct world *w, const char *name, const char *const *argv);
/* env: one more variable, "ASSENT_CRASH=agent.prepared=kill", or NULL. */
void world_process_start(struct world_process *p, const char *env);
/* Starts it and waits until it has logged event=ready. */
void world_process_start_ready(struct world_process *p, const char *env);
/* Waits for event=ready, or for any other text, since its last start. */
void world_process_await(struct world_process *p, const char *text, unsigned timeout_ms);
bool world_process_logged(const struct world_process *p, const char *text);
unsigned world_process_log_lines(const struct world_process *p); /* since its last start */
long world_process_peak_kib(const struct world_process *p); /* of its memory, while it runs; 0: not known */
bool world_process_running(struct world_process *p);
bool world_process_stopped(struct world_process *p); /* by SIGSTOP */
void world_process_signal(struct world_process *p, int signal);
/* Waits for its end: exit code, or minus the signal that ended it. */
int world_process_wait(struct world_process *p, unsigned timeout_ms);
int world_process_stop(struct world_process *p);  /* SIGTERM, and waits; its exit code */
void world_process_kill(struct world_process *p); /* kill -9, and waits; allowed when it is not running */
int world_process_pid(struct world_process *p);   /* 0: it does not run */
const char *world_process_name(const struct world_process *p);

/* Everything it has logged since its last start; owned by the caller. */
char *world_process_output(const struct world_process *p);

/* Runs a program to its end, bounded to a minute. */
struct world_output {
    int code;           /* as world_process_wait() */
    char *text, *error; /* standard output and standard error; NUL-terminated, owned */
};
struct world_output world_run(struct world *w, const char *const *argv);
void world_output_release(struct world_output *o);

/* The product's programs (world_assent.c) */

/* Not started yet. It listens on a port of its own and keeps its data in <dir>/<name>.data. `flags` go behind
 * the usual ones; NULL: none. */
struct world_process *world_coordinator_new(struct world *w, const char *name, const char *const *flags);
/* A coordinator that can be one of several: «node_<id>». Started with an empty data directory it waits for
 * world_node_begin(), or to be added at world_node_peer(). `listed`: ASSENT_COORDINATORS names it, too. */
struct world_process *world_node_new(struct world *w, unsigned id, bool listed, const char *const *flags);
const char *world_node_peer(const struct world *w, unsigned id);
/* Starts it, begins a group with it, and returns when it is ready. */
void world_node_begin(struct world *w, struct world_process *node, unsigned id);
/* Starts it, adds it to the group that is there, and returns when it is ready. */
void world_node_add(struct world *w, struct world_process *node, unsigned id);
/* The leader's number, where so many nodes are up and none of them is catching up; 0: not so. */
unsigned world_group_leader(struct world *w, unsigned nodes);
/* The man in the middle between a node and its callers, or its peers. */
struct relay *world_relay(const struct world *w, unsigned id, bool peers);
/* Its address for clients. */
const char *world_node_address(const struct world *w, unsigned id);
/* Empties the data directory of a node that does not run. */
void world_node_wipe(struct world *w, unsigned id);
/* Its data directory. Into `out`, which is returned. */
const char *world_node_data(const struct world *w, unsigned id, char out[WORLD_PATH_SIZE]);
/* Addresses of the first coordinator made and of the nodes that are listed, as ASSENT_COORDINATORS has them. */
const char *world_coordinators(const struct world *w);
/* An agent for n servers; each is a resource called as the server is. Not started yet. */
struct world_process *world_agent_new(struct world *w, const char *name, struct world_server *const *servers,
                                      size_t n, const char *const *flags);
/* txadmin with these arguments. */
struct world_output world_admin(struct world *w, const char *const *args);
/* txadmin --json; the parsed output (cJSON_Delete() it), never NULL. `code` may be NULL. */
struct cJSON *world_admin_json(struct world *w, const char *const *args, int *code);
/* How many of these resources are up at a living agent, by what the coordinator knows; one that two agents
 * serve counts twice. NULL: of all. */
unsigned world_resources_up(struct world *w, const char *const *names);

/* Disks that are full, or broken (world_disk.c, world_fault.c) */

/* First thing in main(), before any thread: what is mounted from here on is seen by this process and its
 * children alone. As root, or as a user who may make a user namespace; otherwise exits with a message. */
void world_private_mounts(void);
/* A disk of this size in the place of a node's data directory; gone with its world. */
void world_node_disk(struct world *w, unsigned id, size_t bytes);
/* Takes all of its room but `leave` bytes; world_node_disk_free() gives it back. */
void world_node_disk_fill(struct world *w, unsigned id, size_t leave);
void world_node_disk_free(struct world *w, unsigned id);
/* Bytes of all files in a node's data directory. */
size_t world_node_bytes(const struct world *w, unsigned id);

/* A call on a file that fails, as the kernel would let it fail: seccomp's user notification, so that the
 * program is the one that is built, and the fault comes and goes while it runs. */
enum world_call {
    WORLD_WRITE = 1, /* pwrite() */
    WORLD_SYNC = 2,  /* fsync(), fdatasync() */
};

struct world_fault {
    unsigned calls;   /* enum world_call, or'ed; 0: no fault */
    const char *file; /* part of its path; a string literal */
    int error;        /* errno */
};

/* From its next start on, world_process_fault() can be used. */
void world_process_watch(struct world_process *p);
void world_process_fault(struct world_process *p, struct world_fault fault);

/* Database servers (world_server.c) */

struct world_server_options {
    bool mariadb;                       /* MariaDB; else PostgreSQL */
    unsigned max_prepared_transactions; /* [200] */
    bool no_prepared_transactions;      /* 0 of them */
    const char *const *settings;        /* more of them, "work_mem=64MB", "sync-binlog=0"; NULL: none */
};

/* Makes a server and starts it. Database bank; users postgres or root (superuser), app (owner of bank and of
 * the table accounts (id int primary key, balance bigint not null)) and assent_agent (as sql/ sets it up). No
 * passwords. Each PostgreSQL server has a system identifier of its own. `options` may be NULL. */
struct world_server *world_server_new(struct world *w, const char *name,
                                      const struct world_server_options *options);
void world_server_start(struct world_server *s); /* and waits until it accepts connections */
void world_server_stop(struct world_server *s);  /* fast shutdown */
void world_server_kill(struct world_server *s);  /* kill -9 of all its processes */
const char *world_server_name(const struct world_server *s);
unsigned world_server_port(const struct world_server *s);
bool world_server_is_mariadb(const struct world_server *s);
const char *world_server_conninfo(const struct world_server *s, const char *user, char out[WORLD_PATH_SIZE]);
/* A connection to bank of a PostgreSQL server, PQfinish() it. NULL where the server does not take it. */
PGconn *world_server_connect(const struct world_server *s, const char *user);
/* The agent's user comes into a PostgreSQL server by this line of pg_hba.conf alone, «host all assent_agent all
 * scram-sha-256»; everybody else as ever. */
void world_server_let_in(struct world_server *s, const char *line);
bool world_server_logged(const struct world_server *s, const char *text); /* since its last start */

/* `heir` is restarted where `dead`, which does not run, used to listen. */
void world_server_take_over(struct world_server *heir, struct world_server *dead);

/* Certificates (world_tls.c): tls-<name>.crt and .key in the world's directory. */

/* An authority that signs others. */
void world_tls_authority(struct world *w, const char *name);
/* One for this subject, a host's name or a user's. */
void world_tls_certificate(struct world *w, const char *authority, const char *name, const char *subject);
/* The servers' user, and no other, may read this key. */
void world_tls_give_to_servers(struct world *w, const char *name);
/* type: "crt" or "key". Into `out`, which is returned. */
const char *world_tls_file(const struct world *w, const char *name, const char *type,
                           char out[WORLD_PATH_SIZE]);

/* Standbys (world_standby.c) */

/* A copy of the data directory of `of`, which is stopped and started for it, as a server of its own. */
struct world_server *world_server_copy(struct world *w, const char *name, struct world_server *of);
/* A hot standby that streams from the primary. Made by pg_basebackup; or, `cold`, as a copy of the data
 * directory of the primary, which is stopped and started for it. `name` is also what synchronous_standby_names
 * calls it. */
struct world_server *world_standby_new(struct world *w, const char *name, struct world_server *primary,
                                       bool cold);
/* Waits until it has replayed all that the primary has written. */
void world_standby_await(struct world_server *standby, struct world_server *primary);
/* It receives no more. */
void world_standby_cut(struct world_server *standby);
/* It is the primary of a new timeline. */
void world_standby_promote(struct world_server *standby);

/* As superuser in bank, on a connection of its own. */
void world_sql(struct world_server *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first value, owned by the caller; "" for none. */
char *world_sql_text(struct world_server *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
long long world_sql_number(struct world_server *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Accounts 1…n with this balance each, and no others. */
void world_accounts(struct world_server *s, int n, long long balance);
long long world_sum_balances(struct world *w);          /* over all servers */
long long world_prepared_count(struct world_server *s); /* branches prepared in the whole server */
/* Waits until no server of this world has a prepared transaction. False: one still has. */
bool world_wait_nothing_prepared(struct world *w, unsigned timeout_ms);

/* Client programs (world_client.c) */

/* A client is the running program itself, started anew as a process of its own (libtx is not fork-safe) and
 * called to do one job. What it tells comes over a pipe. */
struct world_job {
    const char *name;                  /* NULL ends the table */
    int (*run)(int argc, char **argv); /* argv[0] is the job's name; returns the exit code */
};

/* First thing in main(): where this process was started as a client, does its job and exits; else does nothing.
 */
void world_client_main(int argc, char **argv, const struct world_job *jobs);
/* In the client: one line to the parent. */
void world_client_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* In the parent: starts a client; args[0] is the job's name. Name as in world_process_new(). */
struct world_process *world_client_start(struct world *w, const char *name, const char *env,
                                         const char *const *args);
/* The next line, without its newline; false: end of file, or nothing within the time. */
bool world_client_hear(struct world_process *p, char line[WORLD_LINE_SIZE], unsigned timeout_ms);

#endif
