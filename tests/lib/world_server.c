/* world_server: see world.h. Database servers of our own, in the world's directory, whatever their engine is
 * (world_postgresql.c, world_mariadb.c). */
#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { START_MS = 60000 };

/* Data directory */

/* The servers refuse to run as root. */
static void find_user(struct world *w)
{
    struct passwd *pw;

    if (geteuid() != 0 || w->server_uid != 0)
        return;
    pw = getpwnam("postgres");
    if (pw == NULL)
        pw = getpwnam("nobody");
    if (pw == NULL)
        world_fail(w, "neither user postgres nor user nobody exists to run the servers");
    w->server_uid = pw->pw_uid;
    w->server_gid = pw->pw_gid;
}

void world_server_give(struct world *w, const char *path)
{
    find_user(w);
    if (w->server_uid != 0 && chown(path, w->server_uid, w->server_gid) != 0)
        world_fail(w, "%s: %s", path, strerror(errno));
}

void world_server_directory(struct world *w, const char *path)
{
    if (mkdir(path, 0700) != 0)
        world_fail(w, "%s: %s", path, strerror(errno));
    world_server_give(w, path);
}

/* A copy of what every server of this world and engine begins with, or an installation of its own. */
static void make_data(struct world_server *s, bool own)
{
    struct world *w = s->world;
    char path[WORLD_PATH_SIZE + 16];
    struct world_output o;

    if (own) {
        s->engine->make_data(w, s->data);
        return;
    }
    snprintf(path, sizeof path, "%s/template.%s", w->dir, s->engine->kind);
    if (access(path, F_OK) != 0)
        s->engine->make_data(w, path);
    o = world_run(w, WORLD_ARGS("/bin/cp", "-a", path, s->data));
    if (o.code != 0)
        world_fail(w, "cp: %s", o.error);
    world_output_release(&o);
}

/* Start and end */

struct world_server *world_server_make(struct world *w, const char *name,
                                       const struct world_server_options *options)
{
    static const struct world_server_options defaults;
    struct world_server *s = calloc(1, sizeof *s);

    assert(s != NULL);
    if (w->n_servers == WORLD_SERVER_LIMIT)
        world_fail(w, "more than %d servers", WORLD_SERVER_LIMIT);
    if (options == NULL)
        options = &defaults;
    s->world = w;
    s->engine = options->mariadb ? &world_mariadb : &world_postgresql;
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->data, sizeof s->data, "%.*s/%s.db", WORLD_PATH_SIZE - WORLD_NAME_SIZE - 8, w->dir, s->name);
    s->port = world_port(w);
    s->engine->define_process(s, options);
    w->servers[w->n_servers++] = s;
    return s;
}

struct world_server *world_server_new(struct world *w, const char *name,
                                      const struct world_server_options *options)
{
    struct world_server *s = world_server_make(w, name, options);

    make_data(s, options != NULL && options->own_cluster);
    world_server_start(s);
    s->engine->set_up(s);
    return s;
}

void world_server_start(struct world_server *s)
{
    uint64_t end = world_now_ms() + START_MS;

    world_process_start(s->process, NULL);
    while (!s->engine->accepts(s)) {
        if (!world_process_running(s->process) || world_now_ms() > end)
            world_fail(s->world, "server %s does not start, see %s", s->name, s->process->log);
        world_sleep_ms(10);
    }
}

void world_server_stop(struct world_server *s)
{
    world_process_signal(s->process, s->engine->stop_signal);
    world_process_wait(s->process, START_MS);
}

void world_server_kill(struct world_server *s)
{
    s->engine->kill(s);
}

void world_server_release(struct world_server *s)
{
    s->engine->end(s);
    free(s);
}

/* Asking it */

const char *world_server_name(const struct world_server *s)
{
    return s->name;
}

unsigned world_server_port(const struct world_server *s)
{
    return s->port;
}

bool world_server_is_mariadb(const struct world_server *s)
{
    return s->engine == &world_mariadb;
}

const char *world_server_conninfo(const struct world_server *s, const char *user, char out[WORLD_PATH_SIZE])
{
    s->engine->conninfo(s, user, out);
    return out;
}

bool world_server_logged(const struct world_server *s, const char *text)
{
    return world_process_logged(s->process, text);
}

PGconn *world_server_connect(const struct world_server *s, const char *user)
{
    char conninfo[WORLD_PATH_SIZE];
    PGconn *conn;

    assert(s->engine == &world_postgresql);
    conn = PQconnectdb(world_server_conninfo(s, user, conninfo));
    if (PQstatus(conn) == CONNECTION_OK)
        return conn;
    PQfinish(conn);
    return NULL;
}

void world_server_let_in(struct world_server *s, const char *line)
{
    world_sql(s,
              "DO $$ BEGIN EXECUTE format('COPY (VALUES (''%s''), (''host all assent_agent all reject''),"
              " (''host all all all trust'')) TO %%L', current_setting('hba_file')); END $$",
              line);
    world_sql(s, "SELECT pg_reload_conf()");
}

static char *ask(struct world_server *s, const char *format, va_list args)
{
    char sql[4096];

    vsnprintf(sql, sizeof sql, format, args);
    return s->engine->ask(s, sql);
}

void world_sql(struct world_server *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    free(ask(s, format, args));
    va_end(args);
}

char *world_sql_text(struct world_server *s, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = ask(s, format, args);
    va_end(args);
    return text != NULL ? text : strdup("");
}

long long world_sql_number(struct world_server *s, const char *format, ...)
{
    long long number;
    va_list args;
    char *text;

    va_start(args, format);
    text = ask(s, format, args);
    va_end(args);
    number = text == NULL ? 0 : strtoll(text, NULL, 10);
    free(text);
    return number;
}

void world_accounts(struct world_server *s, int n, long long balance)
{
    char series[128];

    snprintf(series, sizeof series, s->engine->series_sql, n);
    world_sql(s, "DELETE FROM accounts");
    world_sql(s, "INSERT INTO accounts SELECT i, %lld FROM (%s) s", balance, series);
}

long long world_sum_balances(struct world *w)
{
    long long sum = 0;

    for (size_t i = 0; i < w->n_servers; i++)
        sum += world_sql_number(w->servers[i], "SELECT coalesce(sum(balance), 0) FROM accounts");
    return sum;
}

long long world_prepared_count(struct world_server *s)
{
    return s->engine->prepared(s);
}

static bool nothing_prepared(void *arg)
{
    struct world *w = arg;

    for (size_t i = 0; i < w->n_servers; i++) {
        if (world_prepared_count(w->servers[i]) != 0)
            return false;
    }
    return true;
}

bool world_wait_nothing_prepared(struct world *w, unsigned timeout_ms)
{
    return world_wait(timeout_ms, nothing_prepared, w);
}
