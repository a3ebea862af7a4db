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
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "coordinator/admin.h"
#include "coordinator/driver.h"
#include "coordinator/replog.h"
#include "coordinator/server.h"
#include "libtx/shared/conf.h"
#include "libtx/shared/log.h"

/* --- Settings --------------------------------------------------------------------------------------------- */

static struct settings {
    char *data_dir, *listen, *log_level;
    unsigned node_id;
    size_t segment_size, snapshot_size;
    unsigned vote_timeout_ms, retention_ms;
    unsigned max_sessions, max_transactions, max_agents;
} settings;

static const struct conf_key keys[] = {
    {"data_dir", CONF_STRING, &settings.data_dir, "/var/lib/assent", "DIR",
     "where the log of decisions is kept; made if it is missing", 0, 0, NULL},
    {"listen", CONF_STRING, &settings.listen, "tcp://127.0.0.1:7401", "URL",
     "address for applications, agents and txadmin", 0, 0, NULL},
    {"node_id", CONF_UINT, &settings.node_id, "1", "N", "this node's number in its group", 1, 65535, NULL},
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
    return TX_OK;
}

/* --- The node --------------------------------------------------------------------------------------------- */

/* The process is one node, and this is all of it. */
static struct node {
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    bool stopping;
    struct server *server;
    struct replog *replog;
    struct driver *driver;
    struct admin *admin;
    struct buf snapshot; /* recovered by replog_open(), until there is a driver to restore */
    bool has_snapshot;
} node;

/* --- What the log calls ----------------------------------------------------------------------------------- */

static int on_apply(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e)
{
    (void)ctx;
    return driver_apply(node.driver, uv_now(&node.loop), index, data, len, e);
}

/* The first time comes from inside replog_open(), when the group's name, which the driver needs, is not known
 * to us yet: the bytes wait. */
static int on_restore(void *ctx, const void *data, size_t len, struct tx_error *e)
{
    (void)ctx;
    if (node.driver != NULL)
        return driver_restore(node.driver, data, len, e);
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

static void on_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id)
{
    bool leading = role == REPLOG_LEADER;

    (void)ctx;
    driver_role(node.driver, uv_now(&node.loop), leading,
                leader_id == settings.node_id ? settings.listen : NULL);
    if (leading)
        log_line(LOG_INFO, "ready", "listen=%s group=%016" PRIx64 " node=%u term=%" PRIu64 " data_dir=%s",
                 settings.listen, replog_group(node.replog), settings.node_id, term, settings.data_dir);
}

/* Nothing may be answered after this, not even what is in memory already: no orderly stop. */
static void on_fatal(void *ctx, const struct tx_error *e)
{
    (void)ctx;
    log_line(LOG_ERROR, "fatal", "error=\"%s\" data_dir=%s", e->msg, settings.data_dir);
    _exit(EXIT_FAILURE);
}

/* --- What the driver calls -------------------------------------------------------------------------------- */

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

/* --- Stopping --------------------------------------------------------------------------------------------- */

static void on_log_closed(void *arg)
{
    (void)arg;
    server_close(node.server);
    node.server = NULL;
}

/* No new request is read, but what the last write decides is still answered. */
static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    if (node.stopping)
        return;
    node.stopping = true;
    log_line(LOG_INFO, "stopping", "signal=%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    server_stop(node.server);
    uv_close((uv_handle_t *)&node.terminate, NULL);
    uv_close((uv_handle_t *)&node.interrupt, NULL);
    replog_close(node.replog, on_log_closed, NULL);
}

static void node_release(void)
{
    driver_free(node.driver);
    admin_free(node.admin);
    buf_release(&node.snapshot);
    uv_loop_close(&node.loop);
}

/* --- Starting --------------------------------------------------------------------------------------------- */

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
        .address = settings.listen,
        .segment_bytes = settings.segment_size,
        .snapshot_bytes = settings.snapshot_size,
    };
    struct replog_callbacks callbacks = {
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
        .listen = settings.listen,
        .data_dir = settings.data_dir,
        .started = uv_now(&node.loop),
        .reply = on_reply,
    };

    return admin_new(&node.admin, &options, e);
}

static void signals_open(void)
{
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&node.loop, &node.terminate);
    uv_signal_init(&node.loop, &node.interrupt);
    uv_signal_start(&node.terminate, on_signal, SIGTERM);
    uv_signal_start(&node.interrupt, on_signal, SIGINT);
}

/* Takes the address before the log is touched, and answers only when all is there. */
static int node_start(struct tx_error *e)
{
    int rc = server_new(&node.server, &node.loop, settings.listen, e);

    if (rc != TX_OK)
        return err_wrap(e, rc, "listen");
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
    server_start(node.server, node.driver, node.admin);
    signals_open();
    return TX_OK;

no_log:
    on_log_closed(NULL);
    return rc;
}

static void warn_if_exposed(void)
{
    if (is_local(settings.listen))
        return;
    log_line(LOG_WARN, "exposed",
             "listen=%s text=\"messages are neither encrypted nor authenticated: whoever reaches this address "
             "can read, commit and roll back transactions; keep it inside a trusted network\"",
             settings.listen);
}

int main(int argc, char **argv)
{
    struct tx_error e;
    int rc = settings_load(argc, argv, &e);

    if (rc == TX_OK)
        rc = data_dir_prepare(settings.data_dir, &e);
    if (rc != TX_OK)
        goto out;
    buf_init(&node.snapshot);
    uv_loop_init(&node.loop);
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
