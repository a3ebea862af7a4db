/* world_mariadb: see world.h. MariaDB as an engine of the world's servers. Called by world_server.c. */
#include <mysql.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { START_MS = 60000 };

static const char redo_size[] = "--innodb-log-file-size=8M";

/* The first of these places that has it. */
static void find_program(struct world *w, const char *name, char out[WORLD_PATH_SIZE])
{
    static const char *const places[] = {"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin",
                                         "/usr/libexec"};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(out, WORLD_PATH_SIZE, "%s/%s", places[i], name);
        if (access(out, X_OK) == 0)
            return;
    }
    world_fail(w, "no MariaDB server is installed (no %s found)", name);
}

static void make_data(struct world *w, const char *path)
{
    char program[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE + 32], temporary[WORLD_PATH_SIZE + 32];
    struct world_process *p;

    find_program(w, "mariadb-install-db", program);
    world_server_directory(w, path);
    snprintf(data, sizeof data, "--datadir=%s", path);
    snprintf(temporary, sizeof temporary, "--tmpdir=%s", path); /* in $TMPDIR its user may not write */
    p = world_process_new(w, "install-db",
                          WORLD_ARGS(program, "--no-defaults", data, temporary,
                                     "--auth-root-authentication-method=normal", "--skip-test-db",
                                     "--skip-name-resolve", redo_size, "--innodb-flush-method=nosync"));
    p->as_server_user = true;
    world_process_start(p, NULL);
    if (world_process_wait(p, START_MS) != 0)
        world_fail(w, "mariadb-install-db failed, see %s", p->log);
}

static void define_process(struct world_server *s, const struct world_server_options *o)
{
    char program[WORLD_PATH_SIZE], data[WORLD_PATH_SIZE + 32], temporary[WORLD_PATH_SIZE + 32], port[32];
    char settings[WORLD_ARG_LIMIT][WORLD_PATH_SIZE];
    const char *more[WORLD_ARG_LIMIT] = {NULL};

    if (s->world->options.network)
        world_fail(s->world, "MariaDB servers are on the loopback address, which other hosts cannot reach");
    find_program(s->world, "mariadbd", program);
    snprintf(data, sizeof data, "--datadir=%s", s->data);
    snprintf(temporary, sizeof temporary, "--tmpdir=%s", s->data);
    snprintf(port, sizeof port, "--port=%u", s->port);
    for (size_t i = 0; o->settings != NULL && o->settings[i] != NULL && i + 1 < WORLD_ARG_LIMIT; i++) {
        snprintf(settings[i], sizeof settings[i], "--%s", o->settings[i]);
        more[i] = settings[i];
    }
    s->process = world_process_make(
        s->world, s->name,
        WORLD_ARGS(program, "--no-defaults", data, temporary, port, "--bind-address=127.0.0.1",
                   "--socket=socket", "--pid-file=pid", "--skip-name-resolve", "--innodb-buffer-pool-size=32M",
                   redo_size, "--innodb-buffer-pool-load-at-startup=off",
                   "--innodb-buffer-pool-dump-at-shutdown=off", "--performance-schema=off",
                   "--max-connections=200", "--lock-wait-timeout=30", "--innodb-lock-wait-timeout=10",
                   s->world->options.no_fsync ? "--innodb-flush-method=nosync" : "--innodb-flush-method=fsync"),
        more);
    s->process->as_server_user = true;
}

static void kill_all(struct world_server *s)
{
    world_process_kill(s->process);
}

static void conninfo(const struct world_server *s, const char *user, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "host=127.0.0.1 port=%u dbname=bank user=%s", s->port, user);
}

/* NULL: not to be had. */
static MYSQL *connect_as(const struct world_server *s, const char *database, const char *user)
{
    MYSQL *my = mysql_init(NULL);

    mysql_options(my, MYSQL_OPT_CONNECT_TIMEOUT, &(unsigned){10});
    mysql_options(my, MYSQL_OPT_PROTOCOL, &(unsigned){MYSQL_PROTOCOL_TCP});
    if (mysql_real_connect(my, "127.0.0.1", user, "", database, s->port, NULL, CLIENT_MULTI_STATEMENTS) != NULL)
        return my;
    mysql_close(my);
    return NULL;
}

static bool accepts(const struct world_server *s)
{
    MYSQL *my = connect_as(s, NULL, "root");

    if (my != NULL)
        mysql_close(my);
    return my != NULL;
}

/* All the results of the statements in it; the last one's value. */
static char *ask_in(struct world_server *s, const char *database, const char *sql)
{
    MYSQL *my = connect_as(s, database, "root");
    char *value = NULL;
    MYSQL_RES *rows;
    MYSQL_ROW row;
    int rc = 1;

    if (my == NULL)
        world_fail(s->world, "%s: cannot connect", s->name);
    for (rc = mysql_query(my, sql); rc == 0; rc = mysql_next_result(my)) {
        free(value);
        value = NULL;
        rows = mysql_store_result(my);
        row = rows == NULL ? NULL : mysql_fetch_row(rows);
        if (row != NULL && row[0] != NULL)
            value = strdup(row[0]);
        mysql_free_result(rows);
    }
    if (rc > 0)
        world_fail(s->world, "%s: %s: %s", s->name, sql, mysql_error(my));
    mysql_close(my);
    return value;
}

static char *ask(struct world_server *s, const char *sql)
{
    return ask_in(s, "bank", sql);
}

static long long prepared(struct world_server *s)
{
    MYSQL *my = connect_as(s, NULL, "root");
    MYSQL_RES *rows;
    long long n;

    if (my == NULL || mysql_query(my, "XA RECOVER") != 0)
        world_fail(s->world, "%s: XA RECOVER: %s", s->name, my == NULL ? "cannot connect" : mysql_error(my));
    rows = mysql_store_result(my);
    n = (long long)mysql_num_rows(rows);
    mysql_free_result(rows);
    mysql_close(my);
    return n;
}

/* What a user does: his user and database by hand, the agent's user by the script that we give him. */
static void set_up(struct world_server *s)
{
    char program[WORLD_PATH_SIZE], source[WORLD_PATH_SIZE + 64], port[32];
    struct world_output o;

    free(ask_in(s, NULL,
                "CREATE USER app@'127.0.0.1'; CREATE DATABASE bank; GRANT ALL ON bank.* TO app@'127.0.0.1';"
                "CREATE TABLE bank.accounts (id int PRIMARY KEY, balance bigint NOT NULL)"));
    find_program(s->world, "mariadb", program);
    snprintf(port, sizeof port, "--port=%u", s->port);
    snprintf(source, sizeof source, "SOURCE %s/../../sql/setup-mariadb.sql", s->world->build);
    o = world_run(s->world, WORLD_ARGS(program, "--no-defaults", "--host=127.0.0.1", port, "--user=root",
                                       "--init-command=SET @agent = 'assent_agent@127.0.0.1', @applications = "
                                       "'app@127.0.0.1', @databases = 'bank'",
                                       "-e", source));
    if (o.code != 0)
        world_fail(s->world, "sql/setup-mariadb.sql: %s", o.error);
    world_output_release(&o);
}

const struct world_engine world_mariadb = {
    .kind = "mariadb",
    .stop_signal = SIGTERM,
    .make_data = make_data,
    .define_process = define_process,
    .set_up = set_up,
    .accepts = accepts,
    .kill = kill_all,
    .end = kill_all,
    .conninfo = conninfo,
    .ask = ask,
    .prepared = prepared,
    .series_sql = "SELECT seq AS i FROM seq_1_to_%d",
};
