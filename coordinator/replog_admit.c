/* replog_admit: see replog_admit.h. */
#include "coordinator/replog_admit.h"

#include <inttypes.h>

#include "coordinator/replog_core.h"
#include "libtx/shared/log.h"

static void die_emptied(struct replog *r, const struct replog_message *m)
{
    struct tx_error e;

    err_set(&e, TX_EREFUSED,
            "this node's data directory is empty, but the group has begun (node %" PRIu64
            " says so): remove this node from the group and add it again",
            m->from);
    replog_core_die(r, &e);
}

/* Nothing of the group is known here but what the leader says. */
static bool admit_to_empty(struct replog *r, const struct replog_message *m)
{
    struct tx_error e;

    if (m->type != RAFT_APPEND_ENTRIES && m->type != REPLOG_MESSAGE_PIECE)
        return false;
    if (m->to_voter) {
        die_emptied(r, m);
        return false;
    }
    if (r->group != 0)
        return true;
    r->guest = true;
    r->group = m->group;
    if (wal_create(r->wal, &r->group, r->guest, &e) != 0) {
        replog_core_die(r, &e);
        return false;
    }
    log_line(LOG_INFO, "joining", "group=%016" PRIx64 " leader=%" PRIu64, r->group, m->from);
    return true;
}

bool replog_admit(struct replog *r, const struct replog_message *m)
{
    bool empty = r->guest && raft_last_index(&r->raft) == 0 && !r->installing;

    return r->group == 0 || empty ? admit_to_empty(r, m) : true;
}
