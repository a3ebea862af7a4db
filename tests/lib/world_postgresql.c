/* world_postgresql: see world.h. PostgreSQL as an engine of the world's servers. Called by world_server.c. */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { START_MS = 60000, CHILD_LIMIT = 512 };

/* Installation and data directory */

static bool take_bin(struct world *w, const char *dir)
{
    char path[WORLD_PATH_SIZE + 16];

    snprintf(path, sizeof path, "%s/initdb", dir);
    if (access(path, X_OK) != 0)
        return false;
    snprintf(w->pg_bin, sizeof w->pg_bin, "%s", dir);
    return true;
}

/* Debian keeps the servers' programs out of PATH, one directory a version; elsewhere pg_config knows. */
static void find_postgresql(struct world *w)
{
    char line[WORLD_PATH_SIZE] = "";
    int newest = 0;
    glob_t found;
    FILE *f;

    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            int version = atoi(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"));

            if (version > newest && take_bin(w, found.gl_pathv[i]))
                newest = version;
        }
        globfree(&found);
    }
    if (newest == 0 && (f = popen("pg_config --bindir", "r")) != NULL) {
        if (fgets(line, sizeof line, f) != NULL)
            line[strcspn(line, "\n")] = 0;
        pclose(f);
    }
    if (newest == 0 && !take_bin(w, line))
        world_fail(w, "no PostgreSQL server is installed (no initdb found)");
}

/* initdb trusts those who come from the loopback address. */
static void allow_hosts(struct world *w, const char *data)
{
    char path[WORLD_PATH_SIZE + 32];
    FILE *f;

    snprintf(path, sizeof path, "%s/pg_hba.conf", data);
    f = fopen(path, "a");
    if (f == NULL || fprintf(f, "host all all %s/24 trust\n", w->address) < 0 || fclose(f) != 0)
        world_fail(w, "%s: %s", path, strerror(errno));
}

static void make_data(struct world *w, const char *path)
{
    char initdb[WORLD_PATH_SIZE + 16];
    struct world_process *p;

    world_server_directory(w, path);
    snprintf(initdb, sizeof initdb, "%s/initdb", w->pg_bin);
    p = world_process_new(w, "initdb",
                          WORLD_ARGS(initdb, "-D", path, "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8",
                                     "--locale=C", "--no-instructions"));
    p->as_server_user = true;
    world_process_start(p, NULL);
    if (world_process_wait(p, START_MS) != 0)
        world_fail(w, "initdb failed, see %s", p->log);
    allow_hosts(w, path);
}

/* Processes */

static void define_process(struct world_server *s, const struct world_server_options *o)
{
    unsigned slots = o->no_prepared_transactions ? 0 : o->max_prepared_transactions;
    char program[WORLD_PATH_SIZE + 16], port[32], listen[WORLD_NAME_SIZE + 32], max[48];
    const char *more[WORLD_ARG_LIMIT] = {NULL};
    size_t n = 0;

    if (s->world->pg_bin[0] == '\0')
        find_postgresql(s->world);
    snprintf(program, sizeof program, "%s/postgres", s->world->pg_bin);
    snprintf(port, sizeof port, "port=%u", s->port);
    snprintf(listen, sizeof listen, "listen_addresses=%s", s->world->address);
    snprintf(max, sizeof max, "max_prepared_transactions=%u",
             slots == 0 && !o->no_prepared_transactions ? 200 : slots);
    for (size_t i = 0; o->settings != NULL && o->settings[i] != NULL && n + 2 < WORLD_ARG_LIMIT; i++) {
        more[n++] = "-c";
        more[n++] = o->settings[i];
    }
    /* Its shared memory is in files of the data directory, so that a killed server leaves none behind. */
    s->process = world_process_make(
        s->world, s->name,
        WORLD_ARGS(program, "-D", s->data, "-c", port, "-c", max, "-c", listen, "-c",
                   "unix_socket_directories=", "-c", s->world->options.no_fsync ? "fsync=off" : "fsync=on",
                   "-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=64MB", "-c",
                   "max_connections=200", "-c", "log_line_prefix=%m [%p] %q%u ", "-c", "jit=off"),
        more);
    s->process->as_server_user = true;
    s->process->end_signal = SIGQUIT; /* immediate shutdown: the postmaster takes its children along */
}

/* State and parent of a process; false where it is gone. */
static bool read_stat(pid_t pid, char *state, pid_t *parent)
{
    char path[64];
    bool ok;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (f == NULL)
        return false;
    ok = fscanf(f, "%*d (%*[^)]) %c %d", state, parent) == 2;
    fclose(f);
    return ok;
}

static size_t list_children(pid_t of, pid_t children[CHILD_LIMIT])
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    while (proc != NULL && (entry = readdir(proc)) != NULL && n < CHILD_LIMIT) {
        pid_t pid = (pid_t)atoi(entry->d_name), parent;
        char state;

        if (pid > 0 && read_stat(pid, &state, &parent) && parent == of)
            children[n++] = pid;
    }
    if (proc != NULL)
        closedir(proc);
    return n;
}

/* Each backend is a session of its own, so the process group has the postmaster alone in it. Stopped first, it
 * can neither start more of them nor tell them to go. */
static void kill_all(struct world_server *s)
{
    pid_t children[CHILD_LIMIT], parent;
    uint64_t end = world_now_ms() + START_MS;
    size_t n;
    char state;

    world_process_signal(s->process, SIGSTOP);
    n = list_children(s->process->pid, children);
    for (size_t i = 0; i < n; i++)
        kill(children[i], SIGKILL);
    world_process_kill(s->process);
    for (size_t i = 0; i < n; i++) {
        while (read_stat(children[i], &state, &parent) && state != 'Z' && world_now_ms() < end)
            world_sleep_ms(1);
    }
}

/* A killed postmaster leaves a few bytes of System V shared memory, named in the seventh line of its pid file.
 */
static void remove_shared_memory(const struct world_server *s)
{
    char path[WORLD_PATH_SIZE + 32], line[WORLD_LINE_SIZE];
    int number = 0, id;
    FILE *f;

    snprintf(path, sizeof path, "%s/postmaster.pid", s->data);
    f = fopen(path, "r");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        if (++number == 7 && sscanf(line, "%*u %d", &id) == 1)
            shmctl(id, IPC_RMID, NULL);
    }
    fclose(f);
}

static void end(struct world_server *s)
{
    if (world_process_running(s->process)) {
        kill(s->process->pid, SIGCONT);
        kill(s->process->pid, SIGQUIT);
        for (uint64_t until = world_now_ms() + 10000;
             world_process_running(s->process) && world_now_ms() < until;)
            world_sleep_ms(2);
    }
    remove_shared_memory(s);
}

/* SQL */

static void conninfo(const struct world_server *s, const char *user, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "host=%s port=%u dbname=bank user=%s", s->world->address, s->port, user);
}

static bool accepts(const struct world_server *s)
{
    char text[WORLD_NAME_SIZE + 32];

    snprintf(text, sizeof text, "host=%s port=%u", s->world->address, s->port);
    return PQping(text) == PQPING_OK;
}

/* Runs it in that database as that user. */
static char *ask_in(struct world_server *s, const char *database, const char *user, const char *sql)
{
    char text[WORLD_PATH_SIZE], *value = NULL;
    PGresult *r;
    PGconn *conn;

    snprintf(text, sizeof text, "host=%s port=%u dbname=%s user=%s", s->world->address, s->port, database,
             user);
    conn = PQconnectdb(text);
    r = PQexec(conn, sql);
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0)
        value = strdup(PQgetvalue(r, 0, 0));
    else if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        world_fail(s->world, "%s: %s: %s", s->name, sql, PQerrorMessage(conn));
    PQclear(r);
    PQfinish(conn);
    return value;
}

static char *ask(struct world_server *s, const char *sql)
{
    return ask_in(s, "bank", "postgres", sql);
}

static long long prepared(struct world_server *s)
{
    char *text = ask(s, "SELECT count(*) FROM pg_prepared_xacts");
    long long n = strtoll(text, NULL, 10);

    free(text);
    return n;
}

/* What a user does: his role and database by hand, the agent's role by the script that we give him. */
static void set_up(struct world_server *s)
{
    char psql[WORLD_PATH_SIZE + 16], script[WORLD_PATH_SIZE + 64], text[WORLD_PATH_SIZE];
    struct world_output o;

    free(ask_in(s, "postgres", "postgres", "CREATE ROLE app LOGIN"));
    free(ask_in(s, "postgres", "postgres", "CREATE DATABASE bank OWNER app"));
    free(ask_in(s, "bank", "app", "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL)"));
    snprintf(psql, sizeof psql, "%s/psql", s->world->pg_bin);
    snprintf(script, sizeof script, "%s/../../sql/setup-postgresql.sql", s->world->build);
    conninfo(s, "postgres", text);
    o = world_run(s->world, WORLD_ARGS(psql, "-X", "-q", "-v", "applications=app", "-f", script, "-d", text));
    if (o.code != 0)
        world_fail(s->world, "%s: %s", script, o.error);
    world_output_release(&o);
}

const struct world_engine world_postgresql = {
    .kind = "postgresql",
    .stop_signal = SIGINT,
    .make_data = make_data,
    .renew = world_identity_renew,
    .define_process = define_process,
    .set_up = set_up,
    .accepts = accepts,
    .kill = kill_all,
    .end = end,
    .conninfo = conninfo,
    .ask = ask,
    .prepared = prepared,
    .series_sql = "SELECT i FROM generate_series(1, %d) i",
};
