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
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "coordinator/admin.h"
#include "coordinator/driver.h"
#include "coordinator/gate.h"
#include "coordinator/group.h"
#include "coordinator/replog.h"
#include "coordinator/restore.h"
#include "coordinator/server.h"
#include "coordinator/settings.h"
#include "libtx/shared/daemon/connections.h"
#include "libtx/shared/daemon/harden.h"
#include "libtx/shared/daemon/notify.h"
#include "libtx/shared/log.h"

enum {
    TRANSFER_MS = 1000, /* for another node to take the lead, at the end of this one */
    FAREWELL_MS = 50,   /* behind it, to tell those who ask who that is */
};

static const struct settings *settings;

/* The node */

/* The process is one node, and this is all of it. */
static struct node {
    uv_loop_t loop;
    uv_signal_t terminate, interrupt, hangup;
    uv_prepare_t look;   /* whether a key was revoked */
    uv_timer_t farewell; /* while the lead is handed over, before it stops */
    bool stopping, closing, ready;
    struct audit *audit;
    struct gate gate;
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

static void drop_key(const uint8_t key[KEY_SIZE])
{
    if (node.group != NULL)
        group_drop(node.group, key);
}

/* At the end of the turn in which it was applied, before anything more is read: who has revoked his own key
 * gets the answer. */
static void on_look(uv_prepare_t *prepare)
{
    (void)prepare;
    gate_look(&node.gate, drop_key);
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
             settings->listen, replog_group(node.replog), replog_log_id(node.replog), settings->node_id,
             leader_id, settings->data_dir);
    notify("READY=1");
}

/* What `systemctl status` shows. */
static void tell_status(bool leading, uint64_t leader_id)
{
    if (leading)
        notify("STATUS=Leads its group");
    else if (leader_id != 0)
        notify("STATUS=Follows node %" PRIu64, leader_id);
    else
        notify("STATUS=Knows no leader, so nothing can be decided here");
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
        log_line(LOG_ERROR, "fatal", "error=\"%s\" data_dir=%s", e->msg, settings->data_dir);
        _exit(EXIT_FAILURE);
    }
    log_line(LOG_INFO, "restored", "file=%s group=%016" PRIx64, settings->restore, replog_group(node.replog));
    node_serve();
    log_ready(settings->node_id);
}

static void on_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id)
{
    bool leading = role == REPLOG_LEADER;

    (void)ctx;
    (void)term;
    learn_group();
    gate_settle(&node.gate, leading, leader_id != 0);
    driver_role(node.driver, uv_now(&node.loop), leading, leader_id);
    tell_status(leading, leader_id);
    if (node.restore != NULL && leading)
        restore_run(node.restore, node.replog, (uint64_t)time(NULL) * 1000, on_restored, NULL);
    else if (leader_id != 0 && (leading || leader_id != settings->node_id))
        log_ready(leader_id);
}

/* Nothing may be answered after this, not even what is in memory already: no orderly stop. */
static void on_fatal(void *ctx, const struct tx_error *e)
{
    (void)ctx;
    log_line(LOG_ERROR, "fatal", "error=\"%s\" data_dir=%s", e->msg, settings->data_dir);
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
    uv_close((uv_handle_t *)&node.hangup, NULL);
    uv_close((uv_handle_t *)&node.look, NULL);
    connections_unwatch();
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
    notify("STOPPING=1");
    log_line(LOG_INFO, "stopping", "signal=%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    if (!driver_leading(node.driver) || group_voters(node.group) < 2) {
        node_close();
        return;
    }
    uv_timer_start(&node.farewell, on_farewell, TRANSFER_MS, 0);
    replog_transfer(node.replog, 0, on_transferred, NULL);
}

static void on_hangup(uv_signal_t *handle, int number)
{
    (void)handle;
    (void)number;
    audit_reopen(node.audit);
}

static void node_release(void)
{
    driver_free(node.driver);
    admin_free(node.admin);
    audit_close(node.audit);
    gate_release(&node.gate);
    restore_free(node.restore);
    buf_release(&node.snapshot);
    uv_loop_close(&node.loop);
}

/* Starting */

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

static int log_open(struct tx_error *e)
{
    struct replog_options options = {
        .data_dir = settings->data_dir,
        .node_id = settings->node_id,
        .address = settings->peer_address != NULL ? settings->peer_address : settings->listen,
        .found = settings->peer_listen == NULL || node.restore != NULL,
        .group = node.restore != NULL ? restore_group(node.restore) : 0,
        .heartbeat_ms = settings->heartbeat_ms,
        .election_ms = settings->election_ms,
        .segment_bytes = settings->segment_size,
        .snapshot_bytes = settings->snapshot_size,
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
        .vote_timeout_ms = settings->vote_timeout_ms,
        .retention_ms = settings->retention_ms,
        .max_sessions = settings->max_sessions,
        .max_transactions = settings->max_transactions,
        .max_agents = settings->max_agents,
        .max_sessions_per_key = settings->max_sessions_per_key,
        .bootstrap = gate_file(&node.gate),
        .node_id = settings->node_id,
        .address = settings->client_address,
    };
    struct driver_ops ops = {.reply = on_reply, .propose = on_propose};
    int rc = driver_new(&node.driver, replog_group(node.replog), &options, &ops, e);

    if (rc == TX_OK && node.has_snapshot)
        rc = driver_restore(node.driver, node.snapshot.data, node.snapshot.len, e);
    buf_release(&node.snapshot);
    node.gate.driver = node.driver;
    if (replog_group(node.replog) != 0)
        gate_settle(&node.gate, false, false);
    if (rc == TX_OK)
        gate_look(&node.gate, drop_key);
    return rc;
}

static int admin_open(struct tx_error *e)
{
    struct admin_options options = {
        .driver = node.driver,
        .replog = node.replog,
        .group = node.group,
        .listen = settings->listen,
        .data_dir = settings->data_dir,
        .started = uv_now(&node.loop),
        .audit = node.audit,
        .keys = settings->insecure ? NULL : settings->keys,
        .reply = on_reply,
    };

    return admin_new(&node.admin, &options, e);
}

static void signals_open(void)
{
    connections_watch(&node.loop);
    uv_timer_init(&node.loop, &node.farewell);
    uv_signal_init(&node.loop, &node.terminate);
    uv_signal_init(&node.loop, &node.interrupt);
    uv_signal_start(&node.terminate, on_signal, SIGTERM);
    uv_signal_start(&node.interrupt, on_signal, SIGINT);
    uv_signal_init(&node.loop, &node.hangup);
    uv_signal_start(&node.hangup, on_hangup, SIGHUP);
    uv_prepare_init(&node.loop, &node.look);
    uv_prepare_start(&node.look, on_look);
}

static int line_open(struct tx_error *e)
{
    struct group_options options = {.node_id = settings->node_id,
                                    .peer_listen = settings->peer_listen,
                                    .peer_address = settings->peer_address,
                                    .clients = settings->client_address,
                                    .security = gate_nodes(&node.gate)};
    int rc = group_open(&node.group, &node.loop, &options, e);

    return rc == TX_OK ? rc : err_wrap(e, rc, "peer_listen");
}

static int gate_start(struct tx_error *e)
{
    const struct gate_options options = {
        .security = {.identity = settings->identity,
                     .keys = settings->keys,
                     .insecure = settings->insecure,
                     .purpose = "txcoordd"},
        .limits = {.sessions = settings->max_lines,
                   .per_key = settings->max_lines_per_key,
                   .handshakes = settings->handshake_rate},
        .audit = node.audit,
        .loop = &node.loop,
    };
    int rc = gate_open(&node.gate, &options, e);

    if (rc == TX_OK)
        rc = security_check_address(&node.gate.security, "listen", settings->listen, e);
    if (rc == TX_OK)
        rc = security_check_address(&node.gate.security, "advertise", settings->client_address, e);
    if (rc == TX_OK)
        rc = security_check_address(&node.gate.security, "peer_listen", settings->peer_listen, e);
    if (rc == TX_OK)
        rc = security_check_address(&node.gate.security, "peer_advertise", settings->peer_address, e);
    if (rc == TX_OK && settings->insecure)
        log_line(
            LOG_WARN, "insecure",
            "listen=%s text=\"messages are neither encrypted nor authenticated: whoever can log in to this "
            "machine can read, commit and roll back transactions\"",
            settings->listen);
    return rc;
}

static int server_open(struct tx_error *e)
{
    const struct server_options options = {.address = settings->listen,
                                           .security = gate_everybody(&node.gate),
                                           .file = gate_file(&node.gate),
                                           .audit = node.audit};
    int rc = server_new(&node.server, &node.loop, &options, e);

    return rc == TX_OK ? rc : err_wrap(e, rc, "listen");
}

/* Whoever started it is to go on, for what it waits for is a command. */
static void log_waiting(void)
{
    log_line(
        LOG_INFO, "waiting",
        "node=%u peer_address=%s text=\"waits to be added: txadmin node add %u %s; the first node of a new "
        "group: txadmin --coordinators=%s node init\"",
        settings->node_id, settings->peer_address, settings->node_id, settings->peer_address,
        settings->client_address);
    notify("READY=1\nSTATUS=Waits to be added: txadmin node add %u %s", settings->node_id,
           settings->peer_address);
}

/* Takes the addresses before the log is touched, and answers only when all is there. */
static int node_start(struct tx_error *e)
{
    int rc = audit_open(&node.audit, settings->audit_log, e);

    if (rc == TX_OK)
        rc = gate_start(e);
    if (rc == TX_OK)
        rc = server_open(e);
    if (rc != TX_OK)
        return rc;
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
        log_waiting();
    return TX_OK;

no_log:
    on_log_closed(NULL);
    return rc;
}

int main(int argc, char **argv)
{
    struct tx_error e;
    int rc;

    settings = settings_load(argc, argv, &e);
    rc = settings != NULL ? TX_OK : e.code;

    if (rc == TX_OK)
        rc = harden(harden_has_low_port(settings->listen) || harden_has_low_port(settings->peer_listen), &e);
    if (rc == TX_OK)
        rc = connections_limit(settings->max_connections, &e);
    if (rc == TX_OK)
        rc = data_dir_prepare(settings->data_dir, &e);
    if (rc == TX_OK)
        rc = restore_check(settings->data_dir, &e);
    if (rc == TX_OK && settings->restore != NULL)
        rc = restore_open(&node.restore, settings->restore, settings->data_dir, &e);
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
        harden_warn("txcoordd");
    /* Until everything is closed: by a signal, or by node_start() where it failed. */
    uv_run(&node.loop, UV_RUN_DEFAULT);
    node_release();
    if (rc == TX_OK)
        log_line(LOG_INFO, "stopped", "data_dir=%s", settings->data_dir);

out:
    if (rc != TX_OK)
        fprintf(stderr, "txcoordd: %s\n", e.msg);
    settings_release();
    return rc == TX_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
