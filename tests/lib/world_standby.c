/* world_standby: see world.h. PostgreSQL's streaming replication, failover, and servers in others' places.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/world_impl.h"

enum { CATCH_UP_MS = 60000 };

static void run_as_server(struct world *w, const char *name, const char *const *argv)
{
    struct world_process *p = world_process_new(w, name, argv);

    p->as_server_user = true;
    world_process_start(p, NULL);
    if (world_process_wait(p, CATCH_UP_MS) != 0)
        world_fail(w, "%s failed, see %s", name, p->log);
}

static void append(struct world_server *s, const char *file, const char *text)
{
    char path[2 * WORLD_PATH_SIZE], script[3 * WORLD_PATH_SIZE], name[2 * WORLD_NAME_SIZE];

    snprintf(path, sizeof path, "%s/%s", s->data, file);
    snprintf(name, sizeof name, "%s-append", s->name);
    snprintf(script, sizeof script, "printf '%%s\\n' \"$1\" >> '%s'", path);
    run_as_server(s->world, name, WORLD_ARGS("/bin/sh", "-c", script, "sh", text));
}

static void copy_data(struct world_server *s, struct world_server *of)
{
    struct world_output o;

    world_server_stop(of);
    o = world_run(s->world, WORLD_ARGS("/bin/cp", "-a", of->data, s->data));
    if (o.code != 0)
        world_fail(s->world, "cp: %s", o.error);
    world_output_release(&o);
    world_server_start(of);
}

struct world_server *world_server_copy(struct world *w, const char *name, struct world_server *of)
{
    struct world_server *s = world_server_make(w, name, NULL);

    copy_data(s, of);
    world_server_start(s);
    return s;
}

static void copy_cold(struct world_server *s, struct world_server *primary, const char *conninfo)
{
    char line[2 * WORLD_PATH_SIZE];

    copy_data(s, primary);
    snprintf(line, sizeof line, "primary_conninfo = '%s'", conninfo);
    append(s, "postgresql.auto.conf", line);
    append(s, "standby.signal", "");
}

static void copy_hot(struct world_server *s, const char *conninfo)
{
    char program[WORLD_PATH_SIZE + 16], name[2 * WORLD_NAME_SIZE];

    world_server_directory(s->world, s->data);
    snprintf(program, sizeof program, "%s/pg_basebackup", s->world->pg_bin);
    snprintf(name, sizeof name, "%s-basebackup", s->name);
    run_as_server(s->world, name,
                  WORLD_ARGS(program, "-R", "-c", "fast", "-X", "stream", "-D", s->data, "-d", conninfo));
}

struct world_server *world_standby_new(struct world *w, const char *name, struct world_server *primary,
                                       bool cold)
{
    struct world_server *s = world_server_make(w, name, NULL);
    char conninfo[WORLD_PATH_SIZE];

    snprintf(conninfo, sizeof conninfo, "host=127.0.0.1 port=%u user=postgres application_name=%s",
             primary->port, name);
    if (cold)
        copy_cold(s, primary, conninfo);
    else
        copy_hot(s, conninfo);
    world_server_start(s);
    world_standby_await(s, primary);
    return s;
}

struct catching_up {
    struct world_server *standby;
    long long target;
};

static bool has_caught_up(void *arg)
{
    struct catching_up *c = arg;

    return world_sql_number(c->standby, "SELECT coalesce(pg_last_wal_replay_lsn() - '0/0', 0)::bigint") >=
           c->target;
}

void world_standby_await(struct world_server *standby, struct world_server *primary)
{
    struct catching_up c = {standby,
                            world_sql_number(primary, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")};

    if (!world_wait(CATCH_UP_MS, has_caught_up, &c))
        world_fail(standby->world, "%s does not catch up with %s", standby->name, primary->name);
}

static bool receives_no_more(void *arg)
{
    return world_sql_number(arg, "SELECT count(*) FROM pg_stat_wal_receiver") == 0;
}

void world_standby_cut(struct world_server *standby)
{
    world_sql(standby, "ALTER SYSTEM SET primary_conninfo = ''");
    world_sql(standby, "SELECT pg_reload_conf()");
    if (!world_wait(CATCH_UP_MS, receives_no_more, standby))
        world_fail(standby->world, "%s goes on receiving", standby->name);
}

void world_standby_promote(struct world_server *standby)
{
    if (world_sql_number(standby, "SELECT pg_promote()::int") != 1)
        world_fail(standby->world, "%s cannot be promoted", standby->name);
}

void world_server_take_over(struct world_server *heir, struct world_server *dead)
{
    char **arg = heir->process->argv, port[32];

    world_server_stop(heir);
    while (*arg != NULL && strncmp(*arg, "port=", 5) != 0)
        arg++;
    if (*arg == NULL)
        world_fail(heir->world, "%s has no port", heir->name);
    heir->port = dead->port;
    snprintf(port, sizeof port, "port=%u", heir->port);
    free(*arg);
    *arg = strdup(port);
    world_server_start(heir);
}
