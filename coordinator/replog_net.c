/* replog_net: see replog_net.h. */
#include "coordinator/replog_net.h"

#include <inttypes.h>
#include <stdlib.h>

#include "coordinator/replog_core.h"
#include "libtx/shared/log.h"

enum {
    MESSAGE_BYTES = 512 << 10, /* of entries in a message, where there is more than one */
    COMPLAIN_MS = 60000,
    NOBODY = 0, /* no node has this number */
};

/* Out */

static const struct raft_server *find_server(const struct replog *r, uint64_t id)
{
    const struct raft_configuration *c = &r->raft.configuration;

    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id)
            return &c->servers[i];
    }
    return NULL;
}

void replog_net_send(struct replog *r, struct replog_message *m, const char *address)
{
    const struct raft_server *server = find_server(r, m->to);
    struct buf b;

    m->group = r->identity.group;
    m->log = r->identity.log;
    m->from = r->raft.id;
    m->address = r->raft.address;
    m->to_voter = server != NULL && server->role == RAFT_VOTER;
    buf_init(&b);
    replog_message_encode(&b, m);
    /* Without memory it is a message lost. */
    if (!b.failed && r->cb.send != NULL)
        r->cb.send(r->cb.ctx, m->to, address, b.data, b.len);
    buf_release(&b);
}

/* Points a->entries at the log's entries behind a->prev_log_index: as many of `n` as fit. */
static void fill_entries(struct replog *r, struct raft_append_entries *a, unsigned n)
{
    size_t bytes = 0;

    a->n_entries = 0;
    while (a->n_entries < n) {
        const struct replog_entry *e = replog_log_at(&r->log, a->prev_log_index + 1 + a->n_entries);

        bytes += e->len;
        if (a->n_entries > 0 && bytes > MESSAGE_BYTES)
            break;
        a->entries[a->n_entries++] = (struct raft_entry){
            .term = e->term, .type = (enum raft_entry_type)e->type, .buf = {e->data, e->len}};
    }
}

/* Where the entries sent to this node end; a node that is new here takes the place of one with its remainder.
 */
static uint64_t *end_of_sent(struct replog *r, uint64_t id)
{
    struct replog_sent *s = &r->sent[id % REPLOG_MESSAGE_NODES];

    if (s->id != id)
        *s = (struct replog_sent){.id = id};
    return &s->end;
}

/* More than fits into one message goes in several, as if libraft had said so. But where they do not go on from
 * the last ones, it is looking for where the follower's log ends, and will say all but the first again, once
 * for each answer: so the first is enough. */
static void send_append_entries(struct replog *r, struct replog_message *m, const char *address)
{
    struct raft_append_entries *a = &m->raft.append_entries;
    unsigned left = a->n_entries, room = left < REPLOG_MESSAGE_ENTRIES ? left : REPLOG_MESSAGE_ENTRIES;
    uint64_t *end = end_of_sent(r, m->to);
    bool goes_on = a->prev_log_index == *end;

    a->entries = NULL;
    if (left > 0) {
        a->entries = calloc(room, sizeof *a->entries);
        if (a->entries == NULL)
            return;
    }
    do {
        fill_entries(r, a, left < room ? left : room);
        replog_net_send(r, m, address);
        left -= a->n_entries;
        if (a->n_entries > 0) {
            a->prev_log_term = a->entries[a->n_entries - 1].term;
            a->prev_log_index += a->n_entries;
        }
    } while (left > 0 && goes_on);
    *end = a->prev_log_index;
    free(a->entries);
}

void replog_net_send_all(struct replog *r, const struct raft_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct replog_message m = {.type = messages[i].type, .to = messages[i].server_id, .raft = messages[i]};

        if (m.type == RAFT_INSTALL_SNAPSHOT) {
            replog_ship_send(r, m.to, messages[i].server_address);
        } else if (m.type == RAFT_APPEND_ENTRIES) {
            send_append_entries(r, &m, messages[i].server_address);
        } else {
            replog_net_send(r, &m, messages[i].server_address);
        }
    }
}

/* In */

bool replog_net_may_complain(struct replog *r, uint64_t from)
{
    uint64_t now = uv_now(r->loop), *last = &r->warned_ms[from % REPLOG_MESSAGE_NODES];

    if (*last != 0 && now - *last < COMPLAIN_MS)
        return false;
    *last = now;
    return true;
}

/* One leader a term: a second one is not of this protocol. */
static bool from_possible_leader(const struct replog *r, uint64_t term)
{
    return r->leading_term == 0 || term != r->leading_term;
}

/* What a node says whose log ends before what it has acknowledged. */
static bool is_from_emptied(struct replog *r, const struct replog_message *m)
{
    const struct raft_append_entries_result *a = &m->raft.append_entries_result;
    raft_index match;

    return m->type == RAFT_APPEND_ENTRIES_RESULT && raft_state(&r->raft) == RAFT_LEADER &&
           a->term == raft_current_term(&r->raft) && a->rejected != 0 &&
           raft_match_index(&r->raft, m->from, &match) == 0 && a->rejected >= match &&
           a->last_log_index < match;
}

/* A follower's log never ends before what it acknowledged; libraft aborts at one that says so. */
static bool is_possible_result(struct replog *r, const struct replog_message *m)
{
    const struct raft_append_entries_result *a = &m->raft.append_entries_result;
    raft_index match;

    if (raft_state(&r->raft) != RAFT_LEADER || a->term != raft_current_term(&r->raft) || a->rejected == 0 ||
        raft_match_index(&r->raft, m->from, &match) != 0)
        return true;
    /* Else it is late, or from one that was emptied. */
    return a->rejected > match && a->last_log_index >= match;
}

/* A vote for a term that was not asked for. */
static bool is_possible_vote(struct replog *r, const struct replog_message *m)
{
    const struct raft_request_vote_result *v = &m->raft.request_vote_result;

    return !v->vote_granted || v->term <= raft_current_term(&r->raft) + (v->pre_vote ? 1 : 0);
}

static bool is_possible(struct replog *r, const struct replog_message *m)
{
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        return from_possible_leader(r, m->raft.append_entries.term);
    case RAFT_APPEND_ENTRIES_RESULT:
        return is_possible_result(r, m);
    case RAFT_REQUEST_VOTE_RESULT:
        return is_possible_vote(r, m);
    default:
        return true;
    }
}

/* Entries [from, to) of a message as a message of their own. */
static void step_entries(struct replog *r, const struct raft_message *whole, unsigned from, unsigned to)
{
    struct raft_message part = *whole;
    struct raft_append_entries *a = &part.append_entries;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = &part}};
    void *batch = NULL;

    if (from > 0) {
        a->prev_log_index += from;
        a->prev_log_term = whole->append_entries.entries[from - 1].term;
    }
    a->entries = whole->append_entries.entries + from;
    a->n_entries = to - from;
    if (a->n_entries > 0) {
        batch = raft_malloc(1);
        if (batch == NULL)
            return;
    }
    /* libraft frees the batch unless it takes entries, and so does replog_core then. Their bytes are the
     * message's, and are copied when they are taken. */
    for (unsigned i = 0; i < a->n_entries; i++)
        a->entries[i].batch = batch;
    r->receiving = true;
    replog_core_step(r, &event);
    r->receiving = false;
}

/* What is committed stands in the log of every leader (Raft paper, 5.4.3), so a message that is late begins
 * anew behind it. libraft does not compare entries that are only in its snapshot, and where nothing stands
 * before a message's first entry it would append what it has applied long ago. */
static void skip_committed(const struct replog *r, struct raft_append_entries *a)
{
    uint64_t skip;

    /* One of an older term is refused whatever it says. */
    if (a->prev_log_index >= r->commit || r->installing || a->term < raft_current_term(&r->raft))
        return;
    skip = r->commit - a->prev_log_index;
    skip = skip < a->n_entries ? skip : a->n_entries;
    a->entries += skip;
    a->n_entries -= (unsigned)skip;
    a->prev_log_index = r->commit;
    a->prev_log_term =
        r->commit < r->log.first ? r->raft.trail.snapshot.term : replog_log_at(&r->log, r->commit)->term;
}

/* A configuration goes alone: libraft takes the index of a message's first new entry for the configuration's.
 * And what is committed before it must have been applied, or a rollback would go too far back. */
static void receive_entries(struct replog *r, const struct raft_message *whole)
{
    struct raft_message m = *whole;
    const struct raft_append_entries *a = &m.append_entries;
    unsigned from = 0, i;

    skip_committed(r, &m.append_entries);
    for (i = 0; i < a->n_entries && !r->fatal; i++) {
        if (a->entries[i].type != RAFT_CHANGE)
            continue;
        if (i > from)
            step_entries(r, &m, from, i);
        if (!r->fatal)
            step_entries(r, &m, i, i + 1);
        from = i + 1;
    }
    if (!r->fatal && (from < i || a->n_entries == 0))
        step_entries(r, &m, from, i);
}

/* A removed node does not hear of its removal in the log: libraft stops sending at once. */
static void answer_stranger(struct replog *r, const struct replog_message *m)
{
    struct replog_message answer = {.type = REPLOG_MESSAGE_REMOVED, .to = m->from};

    if (r->role != REPLOG_LEADER || find_server(r, m->from) != NULL ||
        r->raft.configuration_uncommitted_index != 0)
        return;
    answer.removed_index = r->raft.configuration_committed_index;
    replog_net_send(r, &answer, m->address);
}

static void receive_removed(struct replog *r, const struct replog_message *m)
{
    const struct raft *raft = &r->raft;

    if (r->removed || r->leading_term != 0 || m->removed_index <= raft->configuration_committed_index ||
        m->removed_index <= raft->configuration_uncommitted_index)
        return;
    r->removed = true;
    log_line(LOG_WARN, "removed", "by=%" PRIu64 " index=%" PRIu64 " hint=\"%s\"", m->from, m->removed_index,
             "this node is not a member of its group any more: stop it");
}

static void receive_raft(struct replog *r, struct replog_message *m)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = &m->raft}};

    if (m->type == RAFT_APPEND_ENTRIES) {
        receive_entries(r, &m->raft);
        return;
    }
    if (m->type == RAFT_REQUEST_VOTE)
        answer_stranger(r, m);
    replog_core_step(r, &event);
}

static void dispatch(struct replog *r, struct replog_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES || m->type == REPLOG_MESSAGE_PIECE)
        r->removed = false;
    switch (m->type) {
    case REPLOG_MESSAGE_PIECE:
        replog_ship_arrived(r, m);
        break;
    case REPLOG_MESSAGE_PIECE_ACK:
        replog_ship_acked(r, m);
        break;
    case REPLOG_MESSAGE_REMOVED:
        receive_removed(r, m);
        break;
    default:
        receive_raft(r, m);
        break;
    }
}

static bool receive(struct replog *r, struct replog_message *m)
{
    if (!replog_admit_same_log(r, m)) {
        replog_admit_stranger(r, m);
        return false;
    }
    if (m->to != r->raft.id || m->from == r->raft.id) {
        if (replog_net_may_complain(r, m->from))
            log_line(LOG_WARN, "message_misdirected", "node=%" PRIu64 " address=%s to=%" PRIu64, m->from,
                     m->address, m->to);
        return false;
    }
    if (m->type != REPLOG_MESSAGE_STRANGER && is_possible(r, m) && replog_admit(r, m)) {
        replog_change_heard(r, m->from);
        dispatch(r, m);
    } else if (is_from_emptied(r, m)) {
        replog_change_emptied(r, m->from);
    }
    return true;
}

bool replog_net_receive(struct replog *r, const void *data, size_t len)
{
    struct replog_message m;
    bool taken;

    if (r->fatal || r->closing || (!r->started && r->identity.group != 0))
        return false;
    if (!replog_message_decode(data, len, &m)) {
        if (replog_net_may_complain(r, NOBODY))
            log_line(LOG_WARN, "message_malformed", "bytes=%zu", len);
        return false;
    }
    taken = receive(r, &m);
    replog_message_release(&m);
    return taken;
}
