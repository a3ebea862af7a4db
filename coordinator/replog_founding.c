/* replog_founding: see replog_founding.h. */
#include "coordinator/replog_founding.h"

#include <inttypes.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_net.h"
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

static bool is_leaders(const struct replog_message *m)
{
    return m->type == RAFT_APPEND_ENTRIES || m->type == REPLOG_MESSAGE_PIECE;
}

/* There is an entry behind the founders'. */
static bool tells_of_entries(const struct replog_message *m)
{
    const struct raft_append_entries *a = &m->raft.append_entries;

    if (m->type == RAFT_REQUEST_VOTE)
        return m->raft.request_vote.last_log_index > 1;
    if (m->type == RAFT_APPEND_ENTRIES)
        return a->prev_log_index > 1 || a->n_entries > 0 || a->leader_commit > 1;
    return m->type == REPLOG_MESSAGE_PIECE;
}

static bool admit_to_founder(struct replog *r, const struct replog_message *m)
{
    raft_term term = raft_current_term(&r->raft);
    struct tx_error e;

    if (tells_of_entries(m)) {
        die_emptied(r, m);
        return false;
    }
    if (!is_leaders(m) || m->raft.append_entries.term < term)
        return true;
    if (m->raft.append_entries.term > term || raft_voted_for(&r->raft) != m->from) {
        die_emptied(r, m);
        return false;
    }
    if (wal_set_stage(r->wal, WAL_STAGE_MEMBER, &e) != 0) {
        replog_core_die(r, &e);
        return false;
    }
    r->stage = WAL_STAGE_MEMBER;
    return true;
}

/* Nothing of the group is known here but what the leader says. */
static bool admit_to_empty(struct replog *r, const struct replog_message *m)
{
    struct tx_error e;

    if (!is_leaders(m))
        return false;
    if (m->to_voter) {
        die_emptied(r, m);
        return false;
    }
    if (r->group != 0)
        return true;
    if (wal_create(r->wal, m->group, WAL_STAGE_GUEST, &r->group, &e) != 0) {
        replog_core_die(r, &e);
        return false;
    }
    r->stage = WAL_STAGE_GUEST;
    log_line(LOG_INFO, "joining", "group=%016" PRIx64 " leader=%" PRIu64, r->group, m->from);
    return true;
}

bool replog_founding_admit(struct replog *r, const struct replog_message *m)
{
    uint64_t mine = replog_founding_hash(r);

    if (r->group == 0 || (r->stage == WAL_STAGE_GUEST && raft_last_index(&r->raft) == 0 && !r->installing))
        return admit_to_empty(r, m);
    if (r->stage == WAL_STAGE_FOUNDER && !admit_to_founder(r, m))
        return false;
    if (m->type != RAFT_REQUEST_VOTE || mine == 0 || m->founders == 0 || m->founders == mine)
        return true;
    if (replog_net_first_refusal(r, m))
        log_line(LOG_ERROR, "founders_differ", "node=%" PRIu64 " hint=\"%s\"", m->from,
                 "its configuration names other founders, or other addresses, than this node's");
    return false;
}

uint64_t replog_founding_hash(const struct replog *r)
{
    return replog_log_last(&r->log) == 1 ? r->founding.founders : 0;
}

/* Remembers the node, and says whether all other voters have been heard now. */
static bool heard_all(struct replog *r, uint64_t from)
{
    struct replog_founding *f = &r->founding;
    const struct raft_configuration *c = &r->raft.configuration;
    size_t missing = 0;

    if (f->term != raft_current_term(&r->raft))
        f->n = 0;
    f->term = raft_current_term(&r->raft);
    for (size_t i = 0; i < f->n; i++) {
        if (f->heard[i] == from)
            from = 0;
    }
    if (from != 0 && f->n < REPLOG_MESSAGE_NODES)
        f->heard[f->n++] = from;
    for (unsigned i = 0; i < c->n; i++) {
        bool heard = c->servers[i].id == r->raft.id;

        for (size_t j = 0; j < f->n; j++)
            heard = heard || f->heard[j] == c->servers[i].id;
        missing += !heard;
    }
    return missing == 0;
}

bool replog_founding_hold_vote(struct replog *r, const struct replog_message *m)
{
    const struct raft_request_vote_result *v = &m->raft.request_vote_result;
    struct replog_founding *f = &r->founding;
    struct raft_message vote = m->raft;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = &vote}};

    if (raft_last_index(&r->raft) != 1 || raft_state(&r->raft) != RAFT_CANDIDATE)
        return false;
    if (!v->vote_granted || v->pre_vote || v->term != raft_current_term(&r->raft))
        return false;
    if (!heard_all(r, m->from))
        return true;
    for (size_t i = 0; i < f->n && !r->fatal; i++) {
        vote.server_id = f->heard[i];
        replog_core_step(r, &event);
    }
    f->n = 0;
    return true;
}

bool replog_founding_waits(const struct replog *r)
{
    return r->raft.configuration.n > 1 && replog_log_last(&r->log) == 1;
}

void replog_founding_answered(struct replog *r, const struct replog_message *m)
{
    const struct raft_append_entries_result *a = &m->raft.append_entries_result;
    struct tx_error e;

    if (r->fatal || r->leading_term == 0 || a->term != r->leading_term || a->rejected != 0 ||
        r->noop_index != 0 || !replog_founding_waits(r))
        return;
    if (!heard_all(r, m->from))
        return;
    if (wal_set_stage(r->wal, WAL_STAGE_MEMBER, &e) != 0) {
        replog_core_die(r, &e);
        return;
    }
    r->stage = WAL_STAGE_MEMBER;
    log_line(LOG_INFO, "founded", "group=%016" PRIx64 " nodes=%u", r->group, r->raft.configuration.n);
    replog_core_submit_noop(r);
}
