/* world_impl: what the files of the world share among themselves. See world.h. */
#ifndef ASSENT_WORLD_IMPL_H
#define ASSENT_WORLD_IMPL_H

#include <sys/types.h>

#include "tests/lib/world.h"
#include "tests/lib/world_net.h"

enum {
    WORLD_SERVER_LIMIT = 8,
    WORLD_NODE_LIMIT = 9,
    WORLD_HOST_LIMIT = 16,
    WORLD_PROCESS_LIMIT = 256,
    WORLD_NAME_SIZE = 64,
    WORLD_ARG_LIMIT = 64,
    WORLD_SECURITY_LIMIT = 4, /* kinds of callers that a test is itself */
};

struct world_host {
    struct world *world;
    int namespace; /* open file */
    char address[WORLD_NAME_SIZE];
};

struct world_process {
    struct world *world;
    struct world_host *host; /* NULL: in the hub, or where there is no network of the world's own */
    char name[WORLD_NAME_SIZE];
    char *argv[WORLD_ARG_LIMIT + 1]; /* owned */
    char log[WORLD_PATH_SIZE];
    long log_from; /* length of the log at the last start */
    pid_t pid;     /* 0: not running, or its end has been taken note of */
    int status;    /* of waitpid(), when it has ended */
    bool as_server_user;
    bool armed; /* started with a variable of its own */
    bool has_pipe;
    int pipe;       /* its standard output, where has_pipe; -1: closed */
    int end_signal; /* what it gets when this process dies */
    char heard[WORLD_LINE_SIZE];
    size_t n_heard;
    struct world_watch *watch; /* NULL: its calls are not watched */
};

struct world_security;
struct world_server;

/* What the kinds of servers differ in. */
struct world_engine {
    const char *kind;                                     /* as the agent calls it */
    int stop_signal;                                      /* for a fast shutdown */
    void (*make_data)(struct world *w, const char *path); /* a new installation's data directory */
    void (*define_process)(struct world_server *s, const struct world_server_options *o);
    void (*set_up)(struct world_server *s); /* users, database and accounts, once it runs */
    bool (*accepts)(const struct world_server *s);
    void (*kill)(struct world_server *s);
    void (*end)(struct world_server *s); /* by whatever it takes */
    void (*conninfo)(const struct world_server *s, const char *user, char out[WORLD_PATH_SIZE]);
    /* As superuser in bank; the first value of the first row, owned by the caller, NULL for none. */
    char *(*ask)(struct world_server *s, const char *sql);
    long long (*prepared)(struct world_server *s);
    const char *series_sql; /* rows i from 1 to %d */
};

extern const struct world_engine world_postgresql, world_mariadb;

struct world_server {
    struct world *world;
    const struct world_engine *engine;
    char name[WORLD_NAME_SIZE];
    char data[WORLD_PATH_SIZE];
    unsigned port;
    struct world_process *process;
};

struct world {
    struct world_options options;
    pid_t owner; /* the process whose world it is; not a forked copy */
    char dir[WORLD_PATH_SIZE];
    char build[WORLD_PATH_SIZE];
    char pg_bin[WORLD_PATH_SIZE]; /* of PostgreSQL; "" until its first server */
    uid_t server_uid;             /* 0: the user's own */
    gid_t server_gid;
    unsigned next_port, ports_end;
    char address[WORLD_NAME_SIZE]; /* where servers and the test itself are */
    int hub;                       /* open file; -1: no network */
    struct world_host *hosts[WORLD_HOST_LIMIT], *client_host;
    char coordinators[WORLD_PATH_SIZE];
    char node_peers[WORLD_NODE_LIMIT + 1][WORLD_NAME_SIZE]; /* by number, as the next */
    char node_addresses[WORLD_NODE_LIMIT + 1][WORLD_NAME_SIZE];
    struct world_server *servers[WORLD_SERVER_LIMIT];
    struct world_process *processes[WORLD_PROCESS_LIMIT];
    size_t n_servers, n_processes, n_hosts;
    bool disks[WORLD_NODE_LIMIT + 1];              /* of nodes, by number */
    struct relay *relays[WORLD_NODE_LIMIT + 1][2]; /* likewise: before their callers, and before their peers */
    struct world_security *securities[WORLD_SECURITY_LIMIT];
    size_t n_securities;
};

/* Makes everybody's keys, and the running program a client. */
void world_keys_open(struct world *w);
void world_keys_close(struct world *w);
/* Adds what says as whom a daemon speaks; returns the new length. */
size_t world_keys_flags(const struct world *w, const char *who, const char **argv, size_t n);
/* In a child, before it becomes this program. */
void world_keys_enter(const struct world *w, const char *program);

/* As world_process_new(); the first word of argv may come with more behind it from a second list (NULL: none).
 */
struct world_process *world_process_make(struct world *w, const char *name, const char *const *argv,
                                         const char *const *more);
void world_process_release(struct world_process *p);
/* This file or directory is the servers' user's. */
void world_server_give(struct world *w, const char *path);
/* An empty directory of the servers' user. */
void world_server_directory(struct world *w, const char *path);
/* A server without data, which its process finds in s->data when it is started. */
struct world_server *world_server_make(struct world *w, const char *name,
                                       const struct world_server_options *options);
/* As world_run(), on that host. */
struct world_output world_run_at(struct world *w, struct world_host *h, const char *const *argv);
/* Between fork and exec: has the calls of this process watched, or exits. */
void world_watch_child(const struct world_watch *watch);
/* Before and after the fork. */
void world_watch_prepare(struct world_watch *watch);
void world_watch_begin(struct world_watch *watch);
/* The process has ended. */
void world_watch_end(struct world_watch *watch);
void world_watch_free(struct world_watch *watch);
/* Ends every man in the middle. */
void world_relays_release(struct world *w);
/* Unmounts every node's disk. */
void world_disks_release(struct world *w);
/* Shuts the server down, by whatever it takes, and frees it. */
void world_server_release(struct world_server *s);
/* Goes into a network of its own, for good. One thread may run until then. */
void world_net_open(struct world *w);
void world_net_close(struct world *w);
/* In a child, before it becomes a program. */
void world_host_enter(const struct world_host *h);

#endif
