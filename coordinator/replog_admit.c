/* replog_admit: see replog_admit.h. */
#include "coordinator/replog_admit.h"

#include <inttypes.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_net.h"
#include "libtx/shared/log.h"

enum { CLAIM_MS = 10000 /* after which another node's claim is forgotten */ };

static void die_emptied(struct replog *r, const struct replog_message *m)
{
    struct tx_error e;

    err_set(&e, TX_EREFUSED,
            "this node's data directory is empty, but the group has begun (node %" PRIu64
            " says so): remove this node from the group and add it again",
            m->from);
    replog_core_die(r, &e);
}

int replog_admit_founding(const struct replog *r, struct tx_error *e)
{
    const struct replog_claim *c = &r->claim;

    if (c->heard_ms == 0 || uv_now(r->loop) - c->heard_ms > CLAIM_MS)
        return 0;
    return err_set(e, TX_EREFUSED,
                   "node %" PRIu64 " takes this node for a member of its group %016" PRIx64
                   ": has this node lost its data? Then remove it from that group and add it again; only where "
                   "that group is to be given up, stop its nodes first",
                   c->by, c->group);
}

/* Nothing of the group is known here but what the leader says. */
static bool admit_to_empty(struct replog *r, const struct replog_message *m)
{
    struct tx_error e;

    if (m->to_voter)
        r->claim = (struct replog_claim){m->from, m->group, uv_now(r->loop)};
    if (m->type != RAFT_APPEND_ENTRIES && m->type != REPLOG_MESSAGE_PIECE)
        return false;
    if (m->to_voter) {
        die_emptied(r, m);
        return false;
    }
    if (r->identity.group != 0)
        return true;
    r->guest = true;
    r->term = 1;
    r->identity = (struct wal_identity){m->group, m->log};
    if (wal_create(r->wal, &r->identity, r->guest, &e) != 0) {
        replog_core_die(r, &e);
        return false;
    }
    log_line(LOG_INFO, "joining", "group=%016" PRIx64 " log=%016" PRIx64 " leader=%" PRIu64, m->group, m->log,
             m->from);
    replog_core_start(r);
    return !r->fatal;
}

/* Which of the two logs is the one to go on with only people know. */
static void complain(const struct replog *r, const struct replog_message *m)
{
    bool restored = m->group == r->identity.group;

    log_line(LOG_ERROR, "refused",
             "node=%" PRIu64 " address=%s group=%016" PRIx64 " log=%016" PRIx64 " here_group=%016" PRIx64
             " here_log=%016" PRIx64 " error=\"%s\"",
             m->from, m->address, m->group, m->log, r->identity.group, r->identity.log,
             restored
                 ? "that node and this one have different logs of one group, which was restored from a backup: "
                   "stop whichever is from before the restore, empty its data directory, and add it again"
                 : "that node and this one are of different groups: see which of them has the wrong address, "
                   "or the wrong data directory");
}

void replog_admit_stranger(struct replog *r, const struct replog_message *m)
{
    struct replog_message answer = {.type = REPLOG_MESSAGE_STRANGER, .to = m->from};

    r->strangers++;
    if (replog_net_may_complain(r, m->from))
        complain(r, m);
    replog_change_stranger(r, m->from);
    if (m->type != REPLOG_MESSAGE_STRANGER)
        replog_net_send(r, &answer, m->address);
}

bool replog_admit_same_log(const struct replog *r, const struct replog_message *m)
{
    return r->identity.group == 0 || (m->group == r->identity.group && m->log == r->identity.log);
}

bool replog_admit(struct replog *r, const struct replog_message *m)
{
    bool empty = r->guest && raft_last_index(&r->raft) == 0 && !r->installing;

    return r->identity.group == 0 || empty ? admit_to_empty(r, m) : true;
}
