/* replog_change: see replog_change.h. */
#include "coordinator/replog_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_net.h"
#include "libtx/shared/log.h"

enum {
    SILENCE = 20,          /* election timeouts that a node may be silent while it catches up */
    ROUND_MS = 3600000,    /* a round of catching up, as long as it says something */
    MIN_SILENCE_MS = 2000, /* it may be restoring a large snapshot */
    ANSWER_MS = 2000,      /* those that are to stay have so long to show that they are there */
    PROBE_BYTES = 8,
};

static void finish(struct replog *r, int rc, const char *why)
{
    replog_change_cb done = r->change.done;
    void *arg = r->change.arg;

    log_line(rc == TX_OK ? LOG_INFO : LOG_WARN, "group_change", "node=%" PRIu64 " code=%d why=\"%s\"",
             r->change.id, rc, why == NULL ? "" : why);
    r->change.stage = REPLOG_CHANGE_NONE;
    r->change.done = NULL;
    if (done != NULL)
        done(arg, rc, why);
}

static const struct raft_server *find(const struct replog *r, uint64_t id)
{
    const struct raft_configuration *c = &r->raft.configuration;

    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id)
            return &c->servers[i];
    }
    return NULL;
}

static unsigned count_voters(const struct raft_configuration *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->n; i++)
        n += c->servers[i].role == RAFT_VOTER;
    return n;
}

/* Configurations */

/* The present one, in which this node has the role, or is not there for -1. */
static int make_configuration(struct replog *r, uint64_t id, int role, struct raft_configuration *out)
{
    const struct raft_configuration *c = &r->raft.configuration;
    int rv = 0;

    raft_configuration_init(out);
    for (unsigned i = 0; i < c->n && rv == 0; i++) {
        if (c->servers[i].id != id)
            rv = raft_configuration_add(out, c->servers[i].id, c->servers[i].address, c->servers[i].role);
    }
    if (rv == 0 && role >= 0)
        rv = raft_configuration_add(out, id, r->change.address, role);
    return rv;
}

/* Appends it; replog_change_committed() goes on. A raft error code. */
static int propose(struct replog *r, int role, enum replog_change_stage stage)
{
    uint64_t id = stage == REPLOG_CHANGE_REMOVING ? r->change.leaving : r->change.id;
    struct raft_configuration c;
    struct raft_buffer b;
    int rv = make_configuration(r, id, role, &c);

    if (rv == 0)
        rv = raft_configuration_encode(&c, &b);
    raft_configuration_close(&c);
    if (rv != 0)
        return rv;
    r->change.stage = stage;
    r->change.index = raft_last_index(&r->raft) + 1;
    return replog_core_submit(r, RAFT_CHANGE, b.base, b.len);
}

static void propose_or_finish(struct replog *r, int role, enum replog_change_stage stage)
{
    int rv = propose(r, role, stage);

    if (rv != 0)
        finish(r, rv == RAFT_NOTLEADER ? TX_ENOTLEADER : TX_EREFUSED, raft_strerror(rv));
}

static void catch_up(struct replog *r)
{
    struct raft_event event = {.type = RAFT_CATCH_UP, .catch_up = {.server_id = r->change.id}};

    r->change.stage = REPLOG_CHANGE_CATCHING_UP;
    r->change.heard_ms = uv_now(r->loop);
    raft_set_max_catch_up_round_duration(&r->raft, ROUND_MS);
    replog_core_step(r, &event);
}

/* On the way */

static void tell_removed(struct replog *r)
{
    struct replog_message m = {.type = REPLOG_MESSAGE_REMOVED, .to = r->change.leaving};

    if (m.to == r->raft.id)
        return;
    m.removed_index = r->change.index;
    replog_net_send(r, &m, r->change.leaving_address);
}

/* The newcomer is to be no member: so the change ends. */
static void withdraw(struct replog *r, int rc, const char *why)
{
    r->change.rc = rc;
    r->change.why = why;
    propose_or_finish(r, -1, REPLOG_CHANGE_WITHDRAWING);
}

void replog_change_committed(struct replog *r, uint64_t index)
{
    if (r->change.stage == REPLOG_CHANGE_NONE || r->change.index != index ||
        r->change.term != raft_current_term(&r->raft))
        return;
    switch (r->change.stage) {
    case REPLOG_CHANGE_JOINING:
        if (r->leading_term == r->change.term)
            catch_up(r);
        break;
    case REPLOG_CHANGE_CLEARING:
        propose_or_finish(r, RAFT_SPARE, REPLOG_CHANGE_JOINING);
        break;
    case REPLOG_CHANGE_PROMOTING:
        finish(r, TX_OK, NULL);
        break;
    case REPLOG_CHANGE_REMOVING:
        tell_removed(r);
        if (r->change.id == r->change.leaving)
            finish(r, TX_OK, NULL);
        else
            propose_or_finish(r, RAFT_VOTER, REPLOG_CHANGE_PROMOTING);
        break;
    case REPLOG_CHANGE_WITHDRAWING:
        finish(r, r->change.rc, r->change.why);
        break;
    default:
        break;
    }
}

void replog_change_heard(struct replog *r, uint64_t from)
{
    if (r->change.stage == REPLOG_CHANGE_CATCHING_UP && from == r->change.id)
        r->change.heard_ms = uv_now(r->loop);
}

/* libraft sees it at its next timeout. */
static void stop_catching_up(struct replog *r)
{
    raft_set_max_catch_up_round_duration(&r->raft, 0);
}

void replog_change_stranger(struct replog *r, uint64_t from)
{
    if (r->change.stage != REPLOG_CHANGE_CATCHING_UP || from != r->change.id)
        return;
    r->change.stranger = true;
    stop_catching_up(r);
}

/* Nothing that it says now is of use to libraft, which forgets what a node had only with the node itself. */
void replog_change_emptied(struct replog *r, uint64_t from)
{
    if (r->change.stage != REPLOG_CHANGE_CATCHING_UP || from != r->change.id || r->change.emptied)
        return;
    r->change.emptied = true;
    log_line(LOG_WARN, "newcomer_emptied", "node=%" PRIu64 " text=\"it has lost its data, and begins again\"",
             from);
    stop_catching_up(r);
}

/* Has an entry of no meaning written, for rest_answers(). */
static void ask_rest(struct replog *r)
{
    void *data = calloc(1, PROBE_BYTES);

    if (data == NULL) {
        finish(r, TX_ENOMEM, "out of memory");
        return;
    }
    r->change.stage = REPLOG_CHANGE_ASKING;
    r->change.heard_ms = uv_now(r->loop);
    r->change.index = raft_last_index(&r->raft) + 1;
    (void)replog_core_submit(r, RAFT_BARRIER, data, PROBE_BYTES); /* lost with the lead, which is seen, too */
}

/* A majority of those that stay has the entry of r->change.index: which did not exist before the request, so
 * that they are there now, and not only a moment ago. */
static bool rest_answers(struct replog *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned voters = 0, answer = 0;
    raft_index match;

    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role != RAFT_VOTER || c->servers[i].id == r->change.leaving)
            continue;
        voters++;
        if (c->servers[i].id == r->raft.id)
            match = r->raft.last_stored;
        else if (raft_match_index(&r->raft, c->servers[i].id, &match) != 0)
            continue;
        answer += match >= r->change.index;
    }
    return answer > voters / 2;
}

static void settle_asking(struct replog *r)
{
    static const char nobody_answers[] =
        "no majority of the nodes that would be left answers; nothing was changed: bring one back first";

    if (rest_answers(r))
        propose_or_finish(r, -1, REPLOG_CHANGE_REMOVING);
    else if (uv_now(r->loop) - r->change.heard_ms <= ANSWER_MS)
        return;
    else if (r->change.id == r->change.leaving)
        finish(r, TX_EREFUSED, nobody_answers);
    else
        withdraw(r, TX_EREFUSED, nobody_answers);
}

static void begin_again_or_withdraw(struct replog *r)
{
    if (r->change.stranger) {
        withdraw(r, TX_EREFUSED,
                 "the new node has data of another group, or of this one before it was restored; stop it, "
                 "empty its data directory, start it, and add it again");
    } else if (r->change.emptied) {
        r->change.emptied = false;
        propose_or_finish(r, -1, REPLOG_CHANGE_CLEARING);
    } else {
        withdraw(r, TX_ETIMEOUT, "the new node did not catch up; it is not a member");
    }
}

static void settle_catch_up(struct replog *r)
{
    uint64_t silence = (uint64_t)r->election_ms * SILENCE;
    int status;

    if (raft_catch_up(&r->raft, r->change.id, &status) != 0)
        return;
    if (status == RAFT_CATCH_UP_FINISHED && r->change.leaving != 0)
        ask_rest(r);
    else if (status == RAFT_CATCH_UP_FINISHED)
        propose_or_finish(r, RAFT_VOTER, REPLOG_CHANGE_PROMOTING);
    else if (status == RAFT_CATCH_UP_ABORTED)
        begin_again_or_withdraw(r);
    if (status == RAFT_CATCH_UP_FINISHED || status == RAFT_CATCH_UP_ABORTED)
        return;
    if (silence < MIN_SILENCE_MS)
        silence = MIN_SILENCE_MS;
    if (uv_now(r->loop) - r->change.heard_ms > silence)
        stop_catching_up(r);
}

/* libraft asks the other node to take over as soon as it acknowledges anything, and only once; one that lacks
 * an entry ignores that. So it is told to when nothing is missing. */
static void settle_levelling(struct replog *r)
{
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer = {.server_id = r->change.id}};
    raft_index match = 0;

    if (r->leading_term != r->change.term) {
        finish(r, TX_EUNKNOWN, "this node does not lead any more");
    } else if (raft_match_index(&r->raft, r->change.id, &match) == 0 && match == raft_last_index(&r->raft)) {
        r->change.stage = REPLOG_CHANGE_TRANSFERRING;
        replog_core_step(r, &event);
    } else if (uv_now(r->loop) - r->change.heard_ms > 2 * (uint64_t)r->election_ms) {
        finish(r, TX_ETIMEOUT, "the other node is too far behind; this node still leads");
    }
}

/* Leadership has gone, or is to stay. */
static void settle_transfer(struct replog *r)
{
    const char *address;
    raft_id leader;

    if (r->leading_term == r->change.term) {
        if (raft_transferee(&r->raft) == 0)
            finish(r, TX_ETIMEOUT, "the other node did not take over in time; this node still leads");
        return;
    }
    raft_leader(&r->raft, &leader, &address);
    if (leader == 0)
        return;
    if (leader == r->change.id)
        finish(r, TX_OK, NULL);
    else if (leader == r->raft.id)
        finish(r, TX_EREFUSED, "the other node was not elected; this node leads again");
    else
        finish(r, TX_EREFUSED, "another node took over");
}

void replog_change_settle(struct replog *r)
{
    if (r->change.stage == REPLOG_CHANGE_NONE || r->fatal)
        return;
    if (r->change.stage == REPLOG_CHANGE_LEVELLING)
        settle_levelling(r);
    else if (r->change.stage == REPLOG_CHANGE_TRANSFERRING)
        settle_transfer(r);
    else if (r->leading_term != r->change.term && r->change.stage == REPLOG_CHANGE_ASKING &&
             r->change.id == r->change.leaving)
        finish(r, TX_ENOTLEADER, "this node does not lead any more; nothing was changed");
    else if (r->leading_term != r->change.term)
        finish(r, TX_EUNKNOWN, "this node does not lead any more; see who is a member");
    else if (r->change.stage == REPLOG_CHANGE_ASKING)
        settle_asking(r);
    else if (r->change.stage == REPLOG_CHANGE_CATCHING_UP)
        settle_catch_up(r);
}

void replog_change_abandon(struct replog *r)
{
    if (r->change.stage != REPLOG_CHANGE_NONE)
        finish(r, TX_EUNKNOWN, "this node is being stopped");
}

/* Requests */

/* 0: r->change is the caller's now. */
static int begin(struct replog *r, uint64_t id, replog_change_cb done, void *arg)
{
    if (r->fatal || r->closing || r->role != REPLOG_LEADER) {
        done(arg, TX_ENOTLEADER, "this node does not lead its group");
        return TX_ENOTLEADER;
    }
    if (r->change.stage != REPLOG_CHANGE_NONE || r->raft.configuration_uncommitted_index != 0 ||
        raft_transferee(&r->raft) != 0) {
        done(arg, TX_EBUSY, "another change of the group is under way");
        return TX_EBUSY;
    }
    r->change = (struct replog_change){
        .id = id, .term = raft_current_term(&r->raft), .done = done, .arg = arg, .heard_ms = uv_now(r->loop)};
    return 0;
}

/* Why nobody can take this one's place; NULL: somebody can. */
static const char *judge_replaced(const struct replog *r, uint64_t id)
{
    const struct raft_server *server = find(r, id);

    if (server == NULL || server->role != RAFT_VOTER)
        return "there is no member with this number, whose place it could take";
    if (id == r->raft.id)
        return "the node whose place it is to take leads the group; hand the lead over first";
    return NULL;
}

/* Why this node cannot be added; NULL: it can. */
static const char *judge_newcomer(const struct replog *r, const struct replog_newcomer *n)
{
    const struct raft_configuration *c = &r->raft.configuration;

    if (n->id == 0 || strlen(n->address) == 0 || strlen(n->address) > REPLOG_MESSAGE_ADDRESS)
        return "not a node number, or not an address";
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t id = c->servers[i].id;

        if (id == n->id && c->servers[i].role == RAFT_VOTER)
            return "there is a member with this number";
        if (id != n->id && id != n->replaces && strcmp(c->servers[i].address, n->address) == 0)
            return "there is a member at this address";
    }
    if (n->replaces != 0)
        return judge_replaced(r, n->replaces);
    return count_voters(c) >= REPLOG_VOTERS ? "a group has five nodes at most" : NULL;
}

/* 0 for nobody. */
static void set_leaving(struct replog *r, uint64_t id)
{
    r->change.leaving = id;
    if (id != 0)
        snprintf(r->change.leaving_address, sizeof r->change.leaving_address, "%s", find(r, id)->address);
}

void replog_add(struct replog *r, const struct replog_newcomer *n, replog_change_cb done, void *arg)
{
    const char *why;

    if (begin(r, n->id, done, arg) != 0)
        return;
    why = judge_newcomer(r, n);
    if (why != NULL) {
        finish(r, TX_EREFUSED, why);
        return;
    }
    snprintf(r->change.address, sizeof r->change.address, "%s", n->address);
    set_leaving(r, n->replaces);
    if (find(r, n->id) != NULL)
        propose_or_finish(r, -1, REPLOG_CHANGE_CLEARING);
    else
        propose_or_finish(r, RAFT_SPARE, REPLOG_CHANGE_JOINING);
}

void replog_remove(struct replog *r, uint64_t id, replog_change_cb done, void *arg)
{
    const struct raft_server *server;

    if (begin(r, id, done, arg) != 0)
        return;
    server = find(r, id);
    if (server == NULL) {
        finish(r, TX_EREFUSED, "there is no member with this number");
        return;
    }
    if (server->role == RAFT_VOTER && count_voters(&r->raft.configuration) == 1) {
        finish(r, TX_EREFUSED, "it is the last node of its group");
        return;
    }
    set_leaving(r, id);
    if (server->role == RAFT_VOTER)
        ask_rest(r);
    else
        propose_or_finish(r, -1, REPLOG_CHANGE_REMOVING);
}

/* The voter that has most of the log; libraft would take any. */
static uint64_t best_follower(struct replog *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    raft_index best = 0, match;
    uint64_t id = 0;

    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == r->raft.id || c->servers[i].role != RAFT_VOTER ||
            raft_match_index(&r->raft, c->servers[i].id, &match) != 0)
            continue;
        if (id == 0 || match > best) {
            id = c->servers[i].id;
            best = match;
        }
    }
    return id;
}

void replog_transfer(struct replog *r, uint64_t id, replog_change_cb done, void *arg)
{
    const struct raft_server *server;

    if (begin(r, id, done, arg) != 0)
        return;
    if (id == 0)
        r->change.id = id = best_follower(r);
    if (id == 0) {
        finish(r, TX_EREFUSED, "there is no other voting member");
        return;
    }
    server = find(r, id);
    if (server == NULL || server->role != RAFT_VOTER || id == r->raft.id) {
        finish(r, TX_EREFUSED, "not another voting member of the group");
        return;
    }
    r->change.stage = REPLOG_CHANGE_LEVELLING;
    replog_core_settle(r);
}

bool replog_change_refuses(const struct replog *r)
{
    return r->change.stage == REPLOG_CHANGE_LEVELLING || r->change.stage == REPLOG_CHANGE_TRANSFERRING;
}
