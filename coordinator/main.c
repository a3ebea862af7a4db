/* txcoordd: the coordinator daemon. Read from the bottom up it is the order of starting and stopping.
 *
 * Owns the loop and wires the parts together: the replicated log calls the driver back with what is committed,
 * the driver proposes to the log, the server feeds both driver and admin.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "coordinator/admin.h"
#include "coordinator/driver.h"
#include "coordinator/group.h"
#include "coordinator/replog.h"
#include "coordinator/restore.h"
#include "coordinator/server.h"
#include "libtx/shared/address.h"
#include "libtx/shared/conf.h"
#include "libtx/shared/log.h"

enum {
    TRANSFER_MS = 1000, /* for another node to take the lead, at the end of this one */
    FAREWELL_MS = 50,   /* behind it, to tell those who ask who that is */
    FILES_MIN = 256,    /* open files; nanomsg gives up with less than its own, and connections come on top */
};

/* Settings */

static struct settings {
    char *data_dir, *listen, *advertise, *peer_listen, *peer_advertise, *restore, *log_level;
    unsigned node_id;
    size_t segment_size, snapshot_size;
    unsigned heartbeat_ms, election_ms;
    unsigned vote_timeout_ms, retention_ms;
    unsigned max_sessions, max_transactions, max_agents;
} settings;

static const struct conf_key keys[] = {
    {"data_dir", CONF_STRING, &settings.data_dir, "/var/lib/assent", "DIR",
     "where the log of decisions is kept; made if it is missing", 0, 0, NULL},
    {"listen", CONF_STRING, &settings.listen, "tcp://127.0.0.1:7401", "URL",
     "address for applications, agents and txadmin", 0, 0, NULL},
    {"advertise", CONF_STRING, &settings.advertise, NULL, "URL",
     "what applications and agents are told to reach this node by [listen]", 0, 0, NULL},
    {"node_id", CONF_UINT, &settings.node_id, "1", "N", "this node's number in its group", 1, 65535, NULL},
    {"peer_listen", CONF_STRING, &settings.peer_listen, NULL, "URL",
     "address for the other nodes of its group; none: a group of one that nobody can join", 0, 0, NULL},
    {"peer_advertise", CONF_STRING, &settings.peer_advertise, NULL, "URL",
     "what the other nodes reach this one by [peer_listen]", 0, 0, NULL},
    {"restore", CONF_STRING, &settings.restore, NULL, "FILE",
     "begin the group anew from a backup of txadmin's; data_dir must be empty", 0, 0, NULL},
    {"heartbeat", CONF_DURATION, &settings.heartbeat_ms, "50ms", "TIME", "between two of a leader's heartbeats",
     5, 5000, NULL},
    {"election", CONF_DURATION, &settings.election_ms, "300ms", "TIME",
     "silence of a leader, once to twice as long, after which another is elected", 50, 60000, NULL},
    {"segment_size", CONF_SIZE, &settings.segment_size, "8M", "SIZE", "of one file of the log", 2 << 20,
     1UL << 30, NULL},
    {"snapshot_size", CONF_SIZE, &settings.snapshot_size, "16M", "SIZE",
     "log written since the last snapshot that makes the next one due", 64 << 10, 1UL << 30, NULL},
    {"vote_timeout", CONF_DURATION, &settings.vote_timeout_ms, "10s", "TIME",
     "wait for an agent's vote before the transaction is rolled back", 100, 600000, NULL},
    {"retention", CONF_DURATION, &settings.retention_ms, "1d", "TIME",
     "how long commits that nobody acknowledged are remembered", 1000, 30 * 86400000UL, NULL},
    {"max_sessions", CONF_UINT, &settings.max_sessions, "10000", "N", "sessions open at once", 1, 1000000,
     NULL},
    {"max_transactions", CONF_UINT, &settings.max_transactions, "100000", "N",
     "transactions preparing, or decided and not finished", 1, 10000000, NULL},
    {"max_agents", CONF_UINT, &settings.max_agents, "1000", "N", "agents connected at once", 1, 100000, NULL},
    {"log_level", CONF_STRING, &settings.log_level, "info", "LEVEL", "error, warn, info or debug", 0, 0, NULL},
    {NULL, CONF_STRING, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

static struct address client_addresses(void)
{
    return (struct address){"listen", settings.listen, "advertise", settings.advertise};
}

static struct address peer_addresses(void)
{
    return (struct address){"peer_listen", settings.peer_listen, "peer_advertise", settings.peer_advertise};
}

static const char *client_address(void)
{
    const struct address a = client_addresses();

    return address_told(&a);
}

/* NULL: no other node is spoken to. */
static const char *peer_address(void)
{
    const struct address a = peer_addresses();

    return address_told(&a);
}

static int settings_check(struct tx_error *e)
{
    const struct address client = client_addresses(), peer = peer_addresses();
    int rc;

    if (settings.heartbeat_ms * 4 > settings.election_ms)
        return err_set(e, TX_EINVAL, "election: must be at least four times heartbeat (%u ms)",
                       settings.heartbeat_ms);
    rc = address_check(&client, e);
    if (rc == TX_OK)
        rc = address_check(&peer, e);
    return rc;
}

static int settings_load(int argc, char **argv, struct tx_error *e)
{
    int rc = conf_load(keys, "txcoordd", "coordinator of distributed transactions", "/etc/assent/txcoordd.conf",
                       argc, argv, e);
    int level;

    if (rc != TX_OK)
        return rc;
    level = log_level_parse(settings.log_level);
    if (level < 0)
        return err_set(e, TX_EINVAL, "log_level: «%s» is none of error, warn, info, debug", settings.log_level);
    log_init("txcoordd", (enum log_level)level);
    return settings_check(e);
}

/* The node */

/* The process is one node, and this is all of it. */
static struct node {
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    uv_timer_t farewell; /* while the lead is handed over, before it stops */
    bool stopping, closing, ready;
    struct server *server;
    struct group *group;
    struct restore *restore; /* NULL: none */
    struct replog *replog;
    struct driver *driver;
    struct admin *admin;
    struct buf snapshot; /* recovered by replog_open(), until there is a driver to restore */
    bool has_snapshot;
} node;

/* What the log calls */

/* A node that waits learns its group's name with the first that a leader sends, or when it is told to begin
 * one. */
static void learn_group(void)
{
    uint64_t group = replog_group(node.replog);

    if (group != 0 && ledger_group(driver_ledger(node.driver)) == 0)
        driver_name(node.driver, group);
}

static int on_apply(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e)
{
    (void)ctx;
    learn_group();
    return driver_apply(node.driver, uv_now(&node.loop), index, data, len, e);
}

/* The first time comes from inside replog_open(), when the group's name, which the driver needs, is not known
 * to us yet: the bytes wait. */
static int on_restore(void *ctx, const void *data, size_t len, struct tx_error *e)
{
    (void)ctx;
    if (node.driver != NULL) {
        learn_group();
        return driver_restore(node.driver, data, len, e);
    }
    buf_reset(&node.snapshot);
    buf_put_bytes(&node.snapshot, data, len);
    if (node.snapshot.failed)
        return err_set(e, TX_ENOMEM, "no memory for a snapshot of %zu bytes", len);
    node.has_snapshot = true;
    return TX_OK;
}

static void on_snapshot(void *ctx, struct buf *out)
{
    (void)ctx;
    driver_snapshot(node.driver, out);
}

static void log_ready(uint64_t leader_id)
{
    if (node.ready)
        return;
    node.ready = true;
    log_line(LOG_INFO, "ready",
             "listen=%s group=%016" PRIx64 " log=%016" PRIx64 " node=%u leader=%" PRIu64 " data_dir=%s",
             settings.listen, replog_group(node.replog), replog_log_id(node.replog), settings.node_id,
             leader_id, settings.data_dir);
}

static void node_serve(void)
{
    group_start(node.group, node.replog, node.driver);
    server_start(node.server, node.driver, node.admin);
}

/* The node serves from the moment at which all of the backup stands. */
static void on_restored(void *arg, int rc, const struct tx_error *e)
{
    (void)arg;
    if (rc != TX_OK) {
        log_line(LOG_ERROR, "fatal", "error=\"%s\" data_dir=%s", e->msg, settings.data_dir);
        _exit(EXIT_FAILURE);
    }
    log_line(LOG_INFO, "restored", "file=%s group=%016" PRIx64, settings.restore, replog_group(node.replog));
    node_serve();
    log_ready(settings.node_id);
}

static void on_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id)
{
    bool leading = role == REPLOG_LEADER;

    (void)ctx;
    (void)term;
    learn_group();
    driver_role(node.driver, uv_now(&node.loop), leading, leader_id);
    if (node.restore != NULL && leading)
        restore_run(node.restore, node.replog, (uint64_t)time(NULL) * 1000, on_restored, NULL);
    else if (leader_id != 0 && (leading || leader_id != settings.node_id))
        log_ready(leader_id);
}

/* Nothing may be answered after this, not even what is in memory already: no orderly stop. */
static void on_fatal(void *ctx, const struct tx_error *e)
{
    (void)ctx;
    log_line(LOG_ERROR, "fatal", "error=\"%s\" data_dir=%s", e->msg, settings.data_dir);
    _exit(EXIT_FAILURE);
}

/* What the driver calls */

static void on_proposed(void *arg, enum replog_result result, uint64_t index)
{
    (void)index;
    driver_proposed(node.driver, uv_now(&node.loop), (uintptr_t)arg, result == REPLOG_COMMITTED);
}

static void on_propose(void *ctx, uint8_t *entry, size_t len, uint64_t ticket)
{
    (void)ctx;
    replog_propose(node.replog, entry, len, on_proposed, (void *)(uintptr_t)ticket);
}

static void on_reply(void *ctx, const struct reply_to *to, const struct wire_message *m)
{
    (void)ctx;
    if (node.server != NULL)
        server_reply(node.server, to, m);
}

/* Stopping */

static void on_log_closed(void *arg)
{
    (void)arg;
    if (node.group != NULL)
        group_close(node.group);
    node.group = NULL;
    server_close(node.server);
    node.server = NULL;
}

/* No new request is read, but what the last write decides is still answered. */
static void node_close(void)
{
    if (node.closing)
        return;
    node.closing = true;
    server_stop(node.server);
    group_stop(node.group);
    uv_close((uv_handle_t *)&node.farewell, NULL);
    uv_close((uv_handle_t *)&node.terminate, NULL);
    uv_close((uv_handle_t *)&node.interrupt, NULL);
    replog_close(node.replog, on_log_closed, NULL);
}

static void on_farewell(uv_timer_t *timer)
{
    (void)timer;
    node_close();
}

/* Whoever asks in the next moments is told who leads now. */
static void on_transferred(void *arg, int rc, const char *why)
{
    (void)arg;
    if (node.closing)
        return;
    if (rc != TX_OK)
        log_line(LOG_WARN, "transfer", "error=\"%s\"", why != NULL ? why : tx_strerror(rc));
    uv_timer_start(&node.farewell, on_farewell, rc == TX_OK ? FAREWELL_MS : 0, 0);
}

/* A leader hands the lead over before it stops, so that nobody has to wait for an election. */
static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    if (node.stopping)
        return;
    node.stopping = true;
    log_line(LOG_INFO, "stopping", "signal=%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    if (!driver_leading(node.driver) || group_voters(node.group) < 2) {
        node_close();
        return;
    }
    uv_timer_start(&node.farewell, on_farewell, TRANSFER_MS, 0);
    replog_transfer(node.replog, 0, on_transferred, NULL);
}

static void node_release(void)
{
    driver_free(node.driver);
    admin_free(node.admin);
    restore_free(node.restore);
    buf_release(&node.snapshot);
    uv_loop_close(&node.loop);
}

/* Starting */

/* Every connection is one, and so is every file that the log needs next: the node takes all it may have. */
static int files_prepare(struct tx_error *e)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_set(e, TX_EIO, "limit of open files: %s", strerror(errno));
    if (files.rlim_max < FILES_MIN)
        return err_set(e, TX_EIO,
                       "limit of open files: %lu are too few, for each connection is one; allow %d at least "
                       "(ulimit -n, LimitNOFILE)",
                       (unsigned long)files.rlim_max, FILES_MIN);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_set(e, TX_EIO, "limit of open files: cannot raise it to %lu: %s",
                       (unsigned long)files.rlim_max, strerror(errno));
    return TX_OK;
}

static int data_dir_prepare(const char *path, struct tx_error *e)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_set(e, TX_EIO, "data_dir %s: cannot create it: %s", path, strerror(errno));
    if (stat(path, &st) < 0)
        return err_set(e, TX_EIO, "data_dir %s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return err_set(e, TX_EIO, "data_dir %s: is not a directory", path);
    if (access(path, R_OK | W_OK | X_OK) < 0)
        return err_set(e, TX_EIO, "data_dir %s: cannot write to it: %s", path, strerror(errno));
    return TX_OK;
}

static bool is_local(const char *address)
{
    static const char *const local[] = {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"};

    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        if (strncmp(address, local[i], strlen(local[i])) == 0)
            return true;
    }
    return false;
}

static int log_open(struct tx_error *e)
{
    struct replog_options options = {
        .data_dir = settings.data_dir,
        .node_id = settings.node_id,
        .address = peer_address() != NULL ? peer_address() : settings.listen,
        .found = settings.peer_listen == NULL || node.restore != NULL,
        .group = node.restore != NULL ? restore_group(node.restore) : 0,
        .heartbeat_ms = settings.heartbeat_ms,
        .election_ms = settings.election_ms,
        .segment_bytes = settings.segment_size,
        .snapshot_bytes = settings.snapshot_size,
    };
    struct replog_callbacks callbacks = {
        .ctx = node.group,
        .send = group_send,
        .members = group_members,
        .apply = on_apply,
        .restore = on_restore,
        .snapshot = on_snapshot,
        .role = on_role,
        .fatal = on_fatal,
    };

    return replog_open(&node.replog, &node.loop, &options, &callbacks, e);
}

static int driver_open(struct tx_error *e)
{
    struct driver_options options = {
        .vote_timeout_ms = settings.vote_timeout_ms,
        .retention_ms = settings.retention_ms,
        .max_sessions = settings.max_sessions,
        .max_transactions = settings.max_transactions,
        .max_agents = settings.max_agents,
        .node_id = settings.node_id,
        .address = client_address(),
    };
    struct driver_ops ops = {.reply = on_reply, .propose = on_propose};
    int rc = driver_new(&node.driver, replog_group(node.replog), &options, &ops, e);

    if (rc == TX_OK && node.has_snapshot)
        rc = driver_restore(node.driver, node.snapshot.data, node.snapshot.len, e);
    buf_release(&node.snapshot);
    return rc;
}

static int admin_open(struct tx_error *e)
{
    struct admin_options options = {
        .driver = node.driver,
        .replog = node.replog,
        .group = node.group,
        .listen = settings.listen,
        .data_dir = settings.data_dir,
        .started = uv_now(&node.loop),
        .reply = on_reply,
    };

    return admin_new(&node.admin, &options, e);
}

static void signals_open(void)
{
    uv_timer_init(&node.loop, &node.farewell);
    uv_signal_init(&node.loop, &node.terminate);
    uv_signal_init(&node.loop, &node.interrupt);
    uv_signal_start(&node.terminate, on_signal, SIGTERM);
    uv_signal_start(&node.interrupt, on_signal, SIGINT);
}

static int line_open(struct tx_error *e)
{
    struct group_options options = {.node_id = settings.node_id,
                                    .peer_listen = settings.peer_listen,
                                    .peer_address = peer_address(),
                                    .clients = client_address()};
    int rc = group_open(&node.group, &node.loop, &options, e);

    return rc == TX_OK ? rc : err_wrap(e, rc, "peer_listen");
}

/* Takes the addresses before the log is touched, and answers only when all is there. */
static int node_start(struct tx_error *e)
{
    int rc = server_new(&node.server, &node.loop, settings.listen, e);

    if (rc != TX_OK)
        return err_wrap(e, rc, "listen");
    rc = line_open(e);
    if (rc == TX_OK)
        rc = log_open(e);
    if (rc != TX_OK)
        goto no_log;
    rc = driver_open(e);
    if (rc == TX_OK)
        rc = admin_open(e);
    if (rc != TX_OK) {
        replog_close(node.replog, on_log_closed, NULL);
        return rc;
    }
    if (node.restore == NULL)
        node_serve();
    signals_open();
    if (replog_group(node.replog) == 0)
        log_line(
            LOG_INFO, "waiting",
            "node=%u peer_address=%s text=\"waits to be added: txadmin node add %u %s; the first node of a new "
            "group: txadmin --coordinators=%s node init\"",
            settings.node_id, peer_address(), settings.node_id, peer_address(), client_address());
    return TX_OK;

no_log:
    on_log_closed(NULL);
    return rc;
}

static void warn_if_exposed(void)
{
    if (is_local(settings.listen) && (settings.peer_listen == NULL || is_local(settings.peer_listen)))
        return;
    log_line(LOG_WARN, "exposed",
             "listen=%s peer_listen=%s text=\"messages are neither encrypted nor authenticated: whoever "
             "reaches this address "
             "can read, commit and roll back transactions; keep it inside a trusted network\"",
             settings.listen, settings.peer_listen != NULL ? settings.peer_listen : "none");
}

int main(int argc, char **argv)
{
    struct tx_error e;
    int rc = settings_load(argc, argv, &e);

    if (rc == TX_OK)
        rc = files_prepare(&e);
    if (rc == TX_OK)
        rc = data_dir_prepare(settings.data_dir, &e);
    if (rc == TX_OK)
        rc = restore_check(settings.data_dir, &e);
    if (rc == TX_OK && settings.restore != NULL)
        rc = restore_open(&node.restore, settings.restore, settings.data_dir, &e);
    if (rc != TX_OK)
        goto out;
    buf_init(&node.snapshot);
    uv_loop_init(&node.loop);
    /* A broken connection is an error of a send, a file over the limit one of a write; neither is a signal's
     * business. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    rc = node_start(&e);
    if (rc == TX_OK)
        warn_if_exposed();
    /* Until everything is closed: by a signal, or by node_start() where it failed. */
    uv_run(&node.loop, UV_RUN_DEFAULT);
    node_release();
    if (rc == TX_OK)
        log_line(LOG_INFO, "stopped", "data_dir=%s", settings.data_dir);

out:
    if (rc != TX_OK)
        fprintf(stderr, "txcoordd: %s\n", e.msg);
    conf_release(keys);
    return rc == TX_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
