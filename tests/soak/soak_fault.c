/* soak_fault: what befalls the parts of the endurance run. One table: a kind of fault, how often it is chosen,
 * and the function that does it. Which kind, whom and for how long is random, from the seed. See soak.h.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "tests/soak/soak.h"

enum {
    PAUSE_MS = 1200, /* between two faults, at most */
    DOWN_MS = 1500,
    LONG_MS = 5000,        /* longer than a client's session, an agent's scan, a leader's term */
    AGENT_GONE_MS = 11500, /* longer than an agent may be silent */
    FAULTS_AT_ONCE = 4,
    TRIES = 20,
    CHOICES = 4,
};

/* Whom */

static unsigned nodes_up(struct soak *s)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].kind == PART_NODE && s->parts[i].state == PART_UP;
    return n;
}

static unsigned count(struct soak *s, enum part_kind kind)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].kind == kind;
    return n;
}

static bool node_may_go(struct soak *s)
{
    return s->options.nodes == 1 || nodes_up(s) > s->majority;
}

/* One that is up; NULL: none that may go. */
static struct part *pick(struct soak *s, enum part_kind kind)
{
    if (kind == PART_NODE && !node_may_go(s))
        return NULL;
    for (int i = 0; i < TRIES; i++) {
        struct part *p = stage_part(s, kind, soak_below(s, count(s, kind)));

        if (p->state == PART_UP)
            return p;
    }
    return NULL;
}

static struct part *pick_leader(struct soak *s)
{
    struct part *p = node_may_go(s) ? group_leader(s) : NULL;

    return p != NULL && p->state == PART_UP ? p : NULL;
}

/* What: each returns whether it did it */

static bool killed(struct soak *s, struct part *p, unsigned ms)
{
    if (p != NULL)
        part_kill(s, p, soak_between(s, 0, ms));
    return p != NULL;
}

static bool frozen(struct soak *s, struct part *p, unsigned from_ms, unsigned to_ms)
{
    if (p != NULL)
        part_freeze(s, p, soak_between(s, from_ms, to_ms));
    return p != NULL;
}

static bool stopped(struct soak *s, struct part *p)
{
    if (p != NULL)
        part_stop(s, p);
    return p != NULL;
}

static bool kill_node(struct soak *s)
{
    return killed(s, pick(s, PART_NODE), DOWN_MS);
}

static bool kill_leader(struct soak *s)
{
    return killed(s, pick_leader(s), DOWN_MS);
}

static bool freeze_node(struct soak *s)
{
    return frozen(s, pick(s, PART_NODE), 50, DOWN_MS);
}

static bool freeze_leader(struct soak *s)
{
    return frozen(s, pick_leader(s), 50, LONG_MS);
}

static bool stop_node(struct soak *s)
{
    return stopped(s, pick(s, PART_NODE));
}

static bool stop_leader(struct soak *s)
{
    return stopped(s, pick_leader(s));
}

static bool roll(struct soak *s)
{
    if (s->rolling > 0 || nodes_up(s) < s->options.nodes)
        return false;
    s->rolling = s->options.nodes;
    return true;
}

/* A majority of them at the same moment, killed or frozen. */
static bool fell_majority(struct soak *s)
{
    unsigned n = s->majority, ms = soak_between(s, 500, LONG_MS);

    if (nodes_up(s) < s->options.nodes)
        return false;
    for (size_t i = 0; i < s->n_parts && n > 0; i++) {
        struct part *p = &s->parts[i];

        if (p->kind != PART_NODE || p->state != PART_UP)
            continue;
        if (soak_below(s, 2) == 0)
            part_kill(s, p, ms);
        else
            part_freeze(s, p, ms);
        n--;
    }
    return true;
}

static bool kill_agent(struct soak *s)
{
    return killed(s, pick(s, PART_AGENT), DOWN_MS);
}

static bool freeze_agent(struct soak *s)
{
    return frozen(s, pick(s, PART_AGENT), 50, DOWN_MS);
}

static bool freeze_agent_long(struct soak *s)
{
    return frozen(s, pick(s, PART_AGENT), DOWN_MS, LONG_MS);
}

static bool freeze_agent_gone(struct soak *s)
{
    return frozen(s, pick(s, PART_AGENT), AGENT_GONE_MS, AGENT_GONE_MS + DOWN_MS);
}

static bool stop_agent(struct soak *s)
{
    return stopped(s, pick(s, PART_AGENT));
}

static bool kill_client(struct soak *s)
{
    return killed(s, pick(s, PART_CLIENT), DOWN_MS);
}

static bool freeze_client(struct soak *s)
{
    return frozen(s, pick(s, PART_CLIENT), 50, DOWN_MS);
}

static bool freeze_client_long(struct soak *s)
{
    return frozen(s, pick(s, PART_CLIENT), SOAK_SESSION_MS, SOAK_SESSION_MS + LONG_MS);
}

static bool stop_client(struct soak *s)
{
    return stopped(s, pick(s, PART_CLIENT));
}

/* A bank of this kind that is up; NULL: none was found. */
static struct part *pick_server(struct soak *s, bool mariadb)
{
    struct part *p;

    if (!mariadb && !s->options.mariadb)
        return pick(s, PART_SERVER);
    p = stage_part(s, PART_SERVER, mariadb ? SOAK_MARIADB : soak_below(s, SOAK_MARIADB));
    return p->state == PART_UP && world_server_is_mariadb(p->server) == mariadb ? p : NULL;
}

static bool kill_server(struct soak *s)
{
    return killed(s, pick_server(s, false), DOWN_MS);
}

static bool kill_mariadb(struct soak *s)
{
    return killed(s, pick_server(s, true), DOWN_MS);
}

/* One that ends meanwhile is none that can be killed. */
static bool kill_sessions(struct soak *s)
{
    struct part *p = pick_server(s, true);
    long long n;

    if (p == NULL)
        return false;
    n = world_sql_number(p->server, "SET @n = 0; BEGIN NOT ATOMIC "
                                    "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET @n = @n - 1;"
                                    "FOR one IN (SELECT id FROM information_schema.processlist "
                                    "WHERE user IN ('app', 'assent_agent') AND rand() < 0.4) "
                                    "DO SET @n = @n + 1; KILL one.id; END FOR; END; SELECT @n");
    soak_event(s, "KILL in %s: %lld", world_server_name(p->server), n);
    return true;
}

static bool terminate_backends(struct soak *s)
{
    struct part *p = pick_server(s, false);
    PGconn *conn = p != NULL ? world_server_connect(p->server, "postgres") : NULL;
    PGresult *r;

    if (conn == NULL)
        return false;
    r = PQexec(conn, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                     "WHERE datname = 'bank' AND pid <> pg_backend_pid() AND random() < 0.4");
    soak_event(s, "pg_terminate_backend in %s: %s", world_server_name(p->server),
               PQntuples(r) == 1 ? PQgetvalue(r, 0, 0) : PQerrorMessage(conn));
    PQclear(r);
    PQfinish(conn);
    return true;
}

static bool admin(struct soak *s, const char *const *args)
{
    struct world_output o = world_admin(s->world, args);
    int code = o.code;

    soak_event(s, "txadmin %s: %d", args[2], code);
    world_output_release(&o);
    if (code < 0 || code == 2)
        soak_violation(s, "txadmin %s ended with %d", args[2], code);
    return code == 0;
}

static bool backup(struct soak *s)
{
    char file[WORLD_PATH_SIZE + 16];

    snprintf(file, sizeof file, "%s/backup", world_dir(s->world));
    remove(file);
    return admin(s, WORLD_ARGS("--timeout", "2500ms", "backup", file));
}

/* What an operator looks at while things go wrong. */
static bool look(struct soak *s)
{
    switch (soak_below(s, 4)) {
    case 0:
        return admin(s, WORLD_ARGS("--timeout", "2500ms", "status"));
    case 1:
        return admin(s, WORLD_ARGS("--timeout", "2500ms", "transactions", "--all"));
    case 2:
        return admin(s, WORLD_ARGS("--timeout", "2500ms", "sessions"));
    default:
        return admin(s, WORLD_ARGS("--timeout", "2500ms", "resources"));
    }
}

static bool storm(struct soak *s);

static struct kind {
    const char *name;
    bool (*act)(struct soak *s);
    unsigned weight, done;
} kinds[] = {
    {"kill -9 of a coordinator", kill_node, 5, 0},
    {"kill -9 of the leader", kill_leader, 5, 0},
    {"coordinator stopped and continued", freeze_node, 3, 0},
    {"leader stopped and continued", freeze_leader, 4, 0},
    {"coordinator restarted", stop_node, 2, 0},
    {"leader restarted", stop_leader, 3, 0},
    {"all coordinators restarted in turn", roll, 2, 0},
    {"lead handed over", group_transfer, 4, 0},
    {"node removed, wiped, added", group_remove, 5, 0},
    {"node replaced", group_replace, 5, 0},
    {"majority of coordinators down", fell_majority, 2, 0},
    {"kill -9 of an agent", kill_agent, 5, 0},
    {"agent stopped and continued", freeze_agent, 3, 0},
    {"agent stopped for several scans", freeze_agent_long, 3, 0},
    {"agent stopped until it counts as gone", freeze_agent_gone, 1, 0},
    {"agent restarted", stop_agent, 2, 0},
    {"kill -9 of a client", kill_client, 6, 0},
    {"client stopped and continued", freeze_client, 3, 0},
    {"client stopped beyond its session", freeze_client_long, 3, 0},
    {"client ended", stop_client, 3, 0},
    {"kill -9 of a PostgreSQL server", kill_server, 4, 0},
    {"PostgreSQL backends terminated", terminate_backends, 4, 0},
    {"kill -9 of the MariaDB server", kill_mariadb, 3, 0},
    {"MariaDB sessions killed", kill_sessions, 3, 0},
    {"ledger backed up", backup, 2, 0},
    {"operator looked around", look, 2, 0},
    {"several at once", storm, 2, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

size_t fault_kinds(void)
{
    return KINDS;
}

const char *fault_name(size_t kind)
{
    return kinds[kind].name;
}

unsigned fault_count(size_t kind)
{
    return kinds[kind].done;
}

static struct kind *choose(struct soak *s)
{
    unsigned sum = 0, n;
    struct kind *k = kinds;

    for (size_t i = 0; i < KINDS; i++)
        sum += kinds[i].weight;
    for (n = soak_below(s, sum); n >= k->weight; k++)
        n -= k->weight;
    return k;
}

/* False: just now it cannot be done. */
static bool befall(struct soak *s, struct kind *k)
{
    bool done = k->act(s);

    k->done += done;
    return done;
}

static bool storm(struct soak *s)
{
    for (int n = 3; n > 0;) {
        struct kind *k = choose(s);

        if (k->act == storm)
            continue;
        (void)befall(s, k);
        n--;
    }
    return true;
}

/* One node after the other, each when all are up. */
static void go_on_rolling(struct soak *s)
{
    struct part *p;

    if (s->rolling == 0 || nodes_up(s) < s->options.nodes)
        return;
    do
        p = stage_part(s, PART_NODE, --s->rolling);
    while (p->state != PART_UP && s->rolling > 0);
    if (p->state == PART_UP && world_process_logged(p->process, "event=ready"))
        part_stop(s, p);
}

static unsigned parts_down(struct soak *s)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].state != PART_UP && s->parts[i].state != PART_OUT;
    return n;
}

void fault_tick(struct soak *s)
{
    uint64_t now = world_now_ms();

    if (s->calm || now < s->next_fault_ms)
        return;
    s->next_fault_ms = now + soak_below(s, PAUSE_MS);
    if (s->rolling > 0)
        go_on_rolling(s);
    else if (parts_down(s) < FAULTS_AT_ONCE)
        for (int i = 0; i < CHOICES && !befall(s, choose(s)); i++)
            continue;
}
