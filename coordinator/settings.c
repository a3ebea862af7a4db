/* settings: see settings.h. */
#include "coordinator/settings.h"

#include <string.h>

#include "libtx/shared/address.h"
#include "libtx/shared/conf.h"
#include "libtx/shared/log.h"
#include "libtx/shared/security.h"
#include "libtx/shared/words.h"

static struct settings settings;

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
    {"identity", CONF_STRING, &settings.identity, NULL, "FILE",
     "this node's key pair, which txadmin keygen makes", 0, 0, NULL},
    {"keys", CONF_STRING, &settings.keys, SECURITY_KEYS_FILE, "FILE",
     "keys to begin with; those of the group are added by txadmin key add", 0, 0, NULL},
    {"insecure", CONF_BOOL, &settings.insecure, "false", "BOOL",
     "clear text, and everybody may do everything; on a loopback address only", 0, 0, NULL},
    {"audit_log", CONF_STRING, &settings.audit_log, NULL, "FILE",
     "who did what, and who was refused [the daemon's log]", 0, 0, NULL},
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
    {"max_sessions_per_key", CONF_UINT, &settings.max_sessions_per_key, "1000", "N",
     "sessions open at once, of the keys of one name", 1, 1000000, NULL},
    {"max_transactions", CONF_UINT, &settings.max_transactions, "100000", "N",
     "transactions preparing, or decided and not finished", 1, 10000000, NULL},
    {"max_agents", CONF_UINT, &settings.max_agents, "1000", "N", "agents connected at once", 1, 100000, NULL},
    {"max_connections", CONF_UINT, &settings.max_connections, "10000", "N",
     "connections taken at once, as far as the limit of open files allows", 16, 1000000, NULL},
    {"max_lines", CONF_UINT, &settings.max_lines, "20000", "N",
     "encrypted lines open at once; the one silent for longest makes room", 1, 1000000, NULL},
    {"max_lines_per_key", CONF_UINT, &settings.max_lines_per_key, "1000", "N", "likewise, with one key", 1,
     1000000, NULL},
    {"handshake_rate", CONF_UINT, &settings.handshake_rate, "1000", "N",
     "handshakes begun in a second; more are not answered", 1, 100000, NULL},
    {"log_level", CONF_STRING, &settings.log_level, "info", "LEVEL",
     "error, warn, info or debug; the audit is written in any case", 0, 0, NULL},
    {NULL, CONF_STRING, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

static int make_addresses(struct tx_error *e)
{
    const struct address client = {"listen", settings.listen, "advertise", settings.advertise};
    const struct address peer = {"peer_listen", settings.peer_listen, "peer_advertise",
                                 settings.peer_advertise};
    int rc = address_check(&client, e);

    if (rc == TX_OK)
        rc = address_check(&peer, e);
    settings.client_address = address_told(&client);
    settings.peer_address = address_told(&peer);
    return rc;
}

static int settings_check(struct tx_error *e)
{
    if (settings.heartbeat_ms * 4 > settings.election_ms)
        return err_set(e, TX_EINVAL, "election: must be at least four times heartbeat (%u ms)",
                       settings.heartbeat_ms);
    return make_addresses(e);
}

static int load(int argc, char **argv, struct tx_error *e)
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

const struct settings *settings_load(int argc, char **argv, struct tx_error *e)
{
    return load(argc, argv, e) == TX_OK ? &settings : NULL;
}

void settings_release(void)
{
    conf_release(keys);
}
