/* rm_mariadb_evidence: what a MariaDB server knows of a branch; see rm_mariadb_impl.h. Called by
 * rm_mariadb_finish.c and rm_mariadb_inspect.c.
 *
 * XA RECOVER comes first: a branch that is committed or rolled back meanwhile leaves it before its receipt
 * becomes visible or goes. The look at READ UNCOMMITTED comes before the one at READ COMMITTED: what neither
 * sees was gone at the first of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "participant/rm_mariadb_impl.h"

enum { AT_RECOVER, AT_UNCOMMITTED, AT_RECEIPT, AT_READ_COMMITTED, AT_COMMITTED };

/* Seconds by which «now minus uptime» can differ from one moment to another. */
enum { EVIDENCE_UPTIME_SLACK = 2 };

void rm_mariadb_evidence_sql(struct maria_evidence_sql *q, const char *key)
{
    snprintf(q->receipt, sizeof q->receipt,
             "SELECT r.thread, UNIX_TIMESTAMP(r.at), p.USER FROM assent.receipt r"
             " LEFT JOIN information_schema.PROCESSLIST p ON p.ID = r.thread WHERE r.gid = %s",
             key);
    snprintf(q->committed, sizeof q->committed, "SELECT 1 FROM assent.receipt WHERE gid = %s", key);
    q->sql[AT_RECOVER] = "XA RECOVER";
    q->sql[AT_UNCOMMITTED] = "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED";
    q->sql[AT_RECEIPT] = q->receipt;
    q->sql[AT_READ_COMMITTED] = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
    q->sql[AT_COMMITTED] = q->committed;
}

/* The number may be another session's since the server was restarted. */
static void evidence_session(const struct maria_conn *c, const struct maria_reply *reply, unsigned i,
                             struct maria_evidence *v)
{
    const char *thread = rm_mariadb_value(reply, i, 0), *at = rm_mariadb_value(reply, i, 1);
    const char *user = rm_mariadb_value(reply, i, 2);

    v->written = thread != NULL;
    if (thread == NULL || at == NULL)
        return;
    v->thread = strtoull(thread, NULL, 10);
    v->connected = user != NULL && strtoull(at, NULL, 10) + EVIDENCE_UPTIME_SLACK >= c->server_since;
    v->own = v->connected && strcmp(user, c->rm->user) == 0;
}

bool rm_mariadb_evidence(const struct maria_conn *c, const struct maria_reply *reply, unsigned last,
                         const char *gid, struct maria_evidence *v)
{
    memset(v, 0, sizeof *v);
    if (reply->n <= last || rm_mariadb_failure(reply) != NULL)
        return false;
    v->listed = gid != NULL && rm_mariadb_listed(reply, last - (AT_COMMITTED - AT_RECOVER), gid);
    evidence_session(c, reply, last - (AT_COMMITTED - AT_RECEIPT), v);
    v->committed = rm_mariadb_value(reply, last, 0) != NULL;
    return true;
}
