/* mariadb_status: see mariadb_status.h. MariaDB manual, «Using the Non-blocking Library».
 *
 * connect ─▶ is the session gone? ─┬─▶ no: a pause, asked again
 *                                  └─▶ the receipt; where there is none, how far the pruner has come
 * Whatever fails on the way begins anew after a pause.
 */
#include "libtx/mariadb_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/call.h"
#include "libtx/mariadb_query.h"

enum {
    STATUS_CONNECT_MS = 3000, /* for one attempt */
    STATUS_PAUSE_MS = 100,    /* between attempts, and while the session is still there */
    STATUS_UPTIME_SLACK = 2,  /* seconds */
    STATUS_MARK_SLACK = 60,   /* likewise: clocks here and there do not run alike */
};

enum status_phase {
    IN_PAUSE, /* no connection */
    IN_CONNECTING,
    IN_SESSION, /* asks for the session */
    IN_WAITING, /* for it to end */
    IN_RECEIPT,
};

struct mariadb_status {
    MYSQL *lost, *conn; /* conn: NULL but when connected or connecting */
    const struct mariadb_origin *origin;
    enum status_phase phase;
    int waits;         /* IN_CONNECTING: MYSQL_WAIT_… */
    uint64_t again_ms; /* the next attempt or question, or the end of this one */
    struct mariadb_query query;
    char key[XA_KEY_SQL_SIZE];
};

int mariadb_status_start(struct mariadb_status **out, MYSQL *lost, const struct mariadb_origin *origin,
                         const char key[XA_KEY_SQL_SIZE])
{
    struct mariadb_status *s = calloc(1, sizeof *s);

    if (s == NULL)
        return TX_ENOMEM;
    s->lost = lost;
    s->origin = origin;
    strcpy(s->key, key);
    *out = s;
    return TX_OK;
}

/* connecting */

static void status_drop(struct mariadb_status *s, uint64_t now)
{
    if (s->conn != NULL) {
        mariadb_break(s->conn);
        mysql_close(s->conn);
    }
    s->conn = NULL;
    s->phase = IN_PAUSE;
    s->again_ms = now + STATUS_PAUSE_MS;
}

/* The options that say how to reach this server and whom to believe. */
static void status_options(const struct mariadb_status *s)
{
    static const enum mysql_option texts[] = {
        MYSQL_OPT_SSL_KEY,          MYSQL_OPT_SSL_CERT,
        MYSQL_OPT_SSL_CA,           MYSQL_OPT_SSL_CAPATH,
        MYSQL_OPT_SSL_CIPHER,       MYSQL_OPT_SSL_CRL,
        MYSQL_OPT_SSL_CRLPATH,      MYSQL_OPT_TLS_VERSION,
        MARIADB_OPT_TLS_PEER_FP,    MARIADB_OPT_TLS_PEER_FP_LIST,
        MARIADB_OPT_TLS_PASSPHRASE, MYSQL_PLUGIN_DIR,
        MYSQL_DEFAULT_AUTH,
    };
    unsigned seconds = STATUS_CONNECT_MS / 1000, protocol;
    my_bool verify;

    (void)mysql_options(s->conn, MYSQL_OPT_NONBLOCK, NULL);
    (void)mysql_options(s->conn, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    if (mysql_get_optionv(s->lost, MYSQL_OPT_PROTOCOL, &protocol) == 0)
        (void)mysql_options(s->conn, MYSQL_OPT_PROTOCOL, &protocol);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *value = NULL;

        if (mysql_get_optionv(s->lost, texts[i], &value) == 0 && value != NULL)
            (void)mysql_optionsv(s->conn, texts[i], value);
    }
    if (s->origin->tls && mysql_get_optionv(s->lost, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify) == 0)
        (void)mysql_options(s->conn, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    if (s->origin->tls)
        (void)mysql_options(s->conn, MYSQL_OPT_SSL_ENFORCE, &(my_bool){1});
}

static void status_ask(struct mariadb_status *s, uint64_t now)
{
    char sql[256];

    s->phase = IN_SESSION;
    s->again_ms = now + STATUS_CONNECT_MS;
    snprintf(sql, sizeof sql,
             "SELECT @@server_id, (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %lu),"
             " (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME')",
             s->origin->thread);
    mariadb_query_start(&s->query, s->conn, sql);
}

static void status_connected(struct mariadb_status *s, const MYSQL *connected, uint64_t now)
{
    if (connected == NULL)
        status_drop(s, now);
    else
        status_ask(s, now);
}

static void status_connect(struct mariadb_status *s, uint64_t now)
{
    const MYSQL *to = s->lost;
    MYSQL *connected = NULL;

    s->conn = mysql_init(NULL);
    s->again_ms = now + STATUS_CONNECT_MS;
    if (s->conn == NULL) {
        status_drop(s, now);
        return;
    }
    status_options(s);
    s->phase = IN_CONNECTING;
    s->waits = mysql_real_connect_start(&connected, s->conn, to->host, to->user, to->passwd, NULL, to->port,
                                        to->unix_socket, 0);
    if (s->waits == 0)
        status_connected(s, connected, now);
}

static void status_watch(const struct mariadb_status *s, struct pollfd *fd)
{
    short events = 0;

    if ((s->waits & MYSQL_WAIT_READ) != 0)
        events |= POLLIN;
    if ((s->waits & MYSQL_WAIT_WRITE) != 0)
        events |= POLLOUT;
    *fd = (struct pollfd){mysql_get_socket(s->conn), events, 0};
}

static void status_go_on(struct mariadb_status *s, uint64_t now)
{
    MYSQL *connected = NULL;
    struct pollfd fd;
    int ready = 0;

    status_watch(s, &fd);
    if (poll(&fd, 1, 0) <= 0)
        return;
    if ((fd.revents & POLLIN) != 0)
        ready |= MYSQL_WAIT_READ;
    if ((fd.revents & (POLLOUT | POLLERR | POLLHUP)) != 0)
        ready |= s->waits & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE);
    s->waits = mysql_real_connect_cont(&connected, s->conn, ready);
    if (s->waits == 0)
        status_connected(s, connected, now);
}

/* answers */

/* The number is another session's where the server was started since. */
static bool status_is_gone(const struct mariadb_status *s, uint64_t now)
{
    const struct mariadb_reply *r = &s->query.reply;
    uint64_t elapsed = (now - s->origin->enlisted_ms) / 1000;

    return strcmp(r->column[1], "0") == 0 || strtoull(r->column[2], NULL, 10) + STATUS_UPTIME_SLACK < elapsed;
}

/* The row with the empty key is the pruner's mark: how old a receipt can be without having been deleted. Old
 * ones go after days, but a clock that was wrong for a while makes one old at once. */
static void status_ask_receipt(struct mariadb_status *s, uint64_t now)
{
    unsigned long long elapsed = (now - s->origin->enlisted_ms) / 1000 + STATUS_MARK_SLACK;
    char sql[XA_KEY_SQL_SIZE + 256];

    s->phase = IN_RECEIPT;
    snprintf(sql, sizeof sql,
             "SELECT COUNT(*), (SELECT COUNT(*) FROM assent.receipt WHERE gid = ''"
             " AND at >= SYSDATE(3) - INTERVAL %llu SECOND) FROM assent.receipt WHERE gid = %s",
             elapsed, s->key);
    mariadb_query_start(&s->query, s->conn, sql);
}

static void status_take_session(struct mariadb_status *s, uint64_t now)
{
    const struct mariadb_reply *r = &s->query.reply;

    if (!r->rows || strcmp(r->column[0], s->origin->server_id) != 0) {
        status_drop(s, now);
    } else if (!status_is_gone(s, now)) {
        s->phase = IN_WAITING;
        s->again_ms = now + STATUS_PAUSE_MS;
    } else {
        status_ask_receipt(s, now);
    }
}

/* True: the answer settles it. */
static bool status_judge(struct mariadb_status *s, enum branch_answer *answer, uint64_t now)
{
    const struct mariadb_reply *r = &s->query.reply;

    if (r->rows && strcmp(r->column[0], "0") != 0)
        *answer = ANSWER_YES;
    else if (r->rows)
        *answer = strcmp(r->column[1], "0") == 0 ? ANSWER_NO : ANSWER_LOST;
    else if (mariadb_remedy(r->error) != NULL)
        *answer = ANSWER_LOST;
    else
        status_drop(s, now);
    return s->phase == IN_RECEIPT;
}

bool mariadb_status_step(struct mariadb_status *s, enum branch_answer *answer)
{
    uint64_t now = call_now_ms();

    if (s->phase == IN_PAUSE && now >= s->again_ms)
        status_connect(s, now);
    if (s->phase == IN_CONNECTING)
        status_go_on(s, now);
    if (s->phase == IN_WAITING && now >= s->again_ms)
        status_ask(s, now);
    if (s->phase == IN_SESSION && mariadb_query_step(&s->query))
        status_take_session(s, now);
    if (s->phase == IN_RECEIPT && mariadb_query_step(&s->query) && status_judge(s, answer, now))
        return true;
    if (s->phase != IN_PAUSE && s->phase != IN_WAITING && now >= s->again_ms)
        status_drop(s, now);
    return false;
}

size_t mariadb_status_wants(struct mariadb_status *s, struct pollfd *fd, uint64_t *until_ms)
{
    if (s->again_ms < *until_ms)
        *until_ms = s->again_ms;
    if (s->phase == IN_PAUSE || s->phase == IN_WAITING)
        return 0;
    if (s->phase == IN_CONNECTING)
        status_watch(s, fd);
    else
        mariadb_query_wants(&s->query, fd);
    return 1;
}

void mariadb_status_free(struct mariadb_status *s)
{
    if (s == NULL)
        return;
    status_drop(s, 0);
    free(s);
}
