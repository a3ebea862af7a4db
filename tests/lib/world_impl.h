/* world_impl: what the files of the world share among themselves. See world.h. */
#ifndef ASSENT_WORLD_IMPL_H
#define ASSENT_WORLD_IMPL_H

#include <sys/types.h>

#include "tests/lib/world.h"

enum {
    WORLD_SERVER_LIMIT = 8,
    WORLD_NODE_LIMIT = 9,
    WORLD_PROCESS_LIMIT = 256,
    WORLD_NAME_SIZE = 64,
    WORLD_ARG_LIMIT = 64
};

struct world_process {
    struct world *world;
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
};

struct world_server;

/* What the kinds of servers differ in. */
struct world_engine {
    const char *kind; /* as the agent calls it */
    int stop_signal;  /* for a fast shutdown */
    /* Makes a data directory that every server of the world begins with. */
    void (*make_template)(struct world *w, const char *path);
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
    char coordinators[WORLD_PATH_SIZE];
    char node_peers[WORLD_NODE_LIMIT + 1][WORLD_NAME_SIZE]; /* by number */
    struct world_server *servers[WORLD_SERVER_LIMIT];
    struct world_process *processes[WORLD_PROCESS_LIMIT];
    size_t n_servers, n_processes;
};

/* As world_process_new(); the first word of argv may come with more behind it from a second list (NULL: none).
 */
struct world_process *world_process_make(struct world *w, const char *name, const char *const *argv,
                                         const char *const *more);
void world_process_release(struct world_process *p);
/* An empty directory that the servers' user owns. */
void world_server_directory(struct world *w, const char *path);
/* Shuts the server down, by whatever it takes, and frees it. */
void world_server_release(struct world_server *s);

#endif
