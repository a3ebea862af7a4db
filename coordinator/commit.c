/* commit: see commit.h.
 *
 *            ASKED, votes needed             all VOTED
 *      NEW ─────────────────────▶ PREPARING ───────────▶ DECIDING
 *       │ │                         │     REFUSED,          │ │
 *       │ │ ASKED, all prepared;    │     OVERDUE, CHOSEN   │ │ LOST: those who asked ask again
 *       │ │ CHOSEN                  │   ─────────────────▶  │ └──────────────────────────────────▶ OVER
 *       │ └─────────────────────────┼──────────────────────▶│                                       ▲
 *       │                           │ PRESUMED              │ PRESUMED                              │
 *       │                           └───────────────────────┴───────────────────────────────────────┤
 *       │ STANDS (of an earlier leader's, too)              │ STANDS                                │
 *       └──────────────────────────────▶ RESOLVING ◀────────┘                                       │
 *                                            │ all REPORTED                                         │
 *                                            └──────────────▶ ENDING ───────────────────────────────┘
 *                                                                     ENDED
 *
 * The verdict is open in NEW and PREPARING only, and there any doubt makes it ABORT. From DECIDING on it is the
 * log that says what it is.
 */
#include "coordinator/commit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum guard { ALWAYS, VOTES_MISSING, VOTES_IN, BRANCHES_LEFT, BRANCHES_DONE };

static const struct transition {
    enum commit_state state;
    enum commit_event event;
    enum guard guard;
    enum commit_state next;
    unsigned actions;
    const char *reason;
} transitions[] = {
    {COMMIT_NEW, COMMIT_ASKED, VOTES_MISSING, COMMIT_PREPARING, COMMIT_DO_PREPARE,
     "remote branches vote first"},
    {COMMIT_NEW, COMMIT_ASKED, VOTES_IN, COMMIT_DECIDING, COMMIT_DO_PROPOSE, "every branch is prepared"},
    {COMMIT_NEW, COMMIT_CHOSEN, ALWAYS, COMMIT_DECIDING, COMMIT_DO_PROPOSE, "no vote can change the verdict"},
    {COMMIT_NEW, COMMIT_STANDS, BRANCHES_LEFT, COMMIT_RESOLVING, COMMIT_DO_HAND_OUT,
     "decided before this leader took over"},
    {COMMIT_NEW, COMMIT_STANDS, BRANCHES_DONE, COMMIT_ENDING, COMMIT_DO_END,
     "decided and finished before this leader took over"},

    {COMMIT_PREPARING, COMMIT_ASKED, ALWAYS, COMMIT_PREPARING, 0,
     "asked again; the answer comes with the votes"},
    {COMMIT_PREPARING, COMMIT_CHOSEN, ALWAYS, COMMIT_DECIDING, COMMIT_DO_PROPOSE, "abort while votes are out"},
    {COMMIT_PREPARING, COMMIT_VOTED, VOTES_MISSING, COMMIT_PREPARING, 0, "other votes are still out"},
    {COMMIT_PREPARING, COMMIT_VOTED, VOTES_IN, COMMIT_DECIDING, COMMIT_DO_PROPOSE, "all have voted yes"},
    {COMMIT_PREPARING, COMMIT_REFUSED, ALWAYS, COMMIT_DECIDING, COMMIT_DO_PROPOSE, "one no decides"},
    {COMMIT_PREPARING, COMMIT_OVERDUE, ALWAYS, COMMIT_DECIDING, COMMIT_DO_PROPOSE,
     "no vote in time counts as no"},
    {COMMIT_PREPARING, COMMIT_STANDS, BRANCHES_LEFT, COMMIT_RESOLVING, COMMIT_DO_ANSWER | COMMIT_DO_HAND_OUT,
     "another proposal came first"},
    {COMMIT_PREPARING, COMMIT_STANDS, BRANCHES_DONE, COMMIT_ENDING, COMMIT_DO_ANSWER | COMMIT_DO_END,
     "another proposal came first and left nothing to do"},
    {COMMIT_PREPARING, COMMIT_PRESUMED, ALWAYS, COMMIT_OVER, COMMIT_DO_ANSWER | COMMIT_DO_DROP,
     "the session is over: agents roll back what their scans find"},
    {COMMIT_PREPARING, COMMIT_REPORTED, ALWAYS, COMMIT_PREPARING, 0, "nothing to finish yet: a stray report"},

    {COMMIT_DECIDING, COMMIT_ASKED, ALWAYS, COMMIT_DECIDING, 0, "asked again; the answer comes with the log"},
    {COMMIT_DECIDING, COMMIT_CHOSEN, ALWAYS, COMMIT_DECIDING, 0, "the verdict is in the log's hands"},
    {COMMIT_DECIDING, COMMIT_VOTED, ALWAYS, COMMIT_DECIDING, 0, "a vote after the verdict"},
    {COMMIT_DECIDING, COMMIT_REFUSED, ALWAYS, COMMIT_DECIDING, 0, "a vote after the verdict"},
    {COMMIT_DECIDING, COMMIT_OVERDUE, ALWAYS, COMMIT_DECIDING, 0, "the votes do not matter any more"},
    {COMMIT_DECIDING, COMMIT_STANDS, BRANCHES_LEFT, COMMIT_RESOLVING, COMMIT_DO_ANSWER | COMMIT_DO_HAND_OUT,
     "the decision stands"},
    {COMMIT_DECIDING, COMMIT_STANDS, BRANCHES_DONE, COMMIT_ENDING, COMMIT_DO_ANSWER | COMMIT_DO_END,
     "the decision stands and no branch is left"},
    {COMMIT_DECIDING, COMMIT_PRESUMED, ALWAYS, COMMIT_OVER, COMMIT_DO_ANSWER | COMMIT_DO_DROP,
     "fenced, or acknowledged before"},
    {COMMIT_DECIDING, COMMIT_LOST, ALWAYS, COMMIT_OVER, COMMIT_DO_DROP, "those who asked ask again"},
    {COMMIT_DECIDING, COMMIT_REPORTED, ALWAYS, COMMIT_DECIDING, 0, "nothing to finish yet: a stray report"},

    {COMMIT_RESOLVING, COMMIT_ASKED, ALWAYS, COMMIT_RESOLVING, 0, "the record answers"},
    {COMMIT_RESOLVING, COMMIT_CHOSEN, ALWAYS, COMMIT_RESOLVING, 0, "the record answers"},
    {COMMIT_RESOLVING, COMMIT_VOTED, ALWAYS, COMMIT_RESOLVING, 0, "a vote after the decision"},
    {COMMIT_RESOLVING, COMMIT_REFUSED, ALWAYS, COMMIT_RESOLVING, 0, "a vote after the decision"},
    {COMMIT_RESOLVING, COMMIT_OVERDUE, ALWAYS, COMMIT_RESOLVING, 0, "the votes do not matter any more"},
    {COMMIT_RESOLVING, COMMIT_STANDS, ALWAYS, COMMIT_RESOLVING, 0, "a later proposal got the same answer"},
    {COMMIT_RESOLVING, COMMIT_REPORTED, BRANCHES_LEFT, COMMIT_RESOLVING, COMMIT_DO_COMPLETE,
     "other branches are still being finished"},
    {COMMIT_RESOLVING, COMMIT_REPORTED, BRANCHES_DONE, COMMIT_ENDING, COMMIT_DO_COMPLETE | COMMIT_DO_END,
     "every branch is finished"},
    {COMMIT_RESOLVING, COMMIT_ENDED, ALWAYS, COMMIT_OVER, COMMIT_DO_COMPLETE | COMMIT_DO_DROP,
     "an earlier leader has ended it"},

    {COMMIT_ENDING, COMMIT_ASKED, ALWAYS, COMMIT_ENDING, 0, "the record answers"},
    {COMMIT_ENDING, COMMIT_CHOSEN, ALWAYS, COMMIT_ENDING, 0, "the record answers"},
    {COMMIT_ENDING, COMMIT_VOTED, ALWAYS, COMMIT_ENDING, 0, "a vote after the decision"},
    {COMMIT_ENDING, COMMIT_REFUSED, ALWAYS, COMMIT_ENDING, 0, "a vote after the decision"},
    {COMMIT_ENDING, COMMIT_OVERDUE, ALWAYS, COMMIT_ENDING, 0, "the votes do not matter any more"},
    {COMMIT_ENDING, COMMIT_STANDS, ALWAYS, COMMIT_ENDING, 0, "a later proposal got the same answer"},
    {COMMIT_ENDING, COMMIT_REPORTED, ALWAYS, COMMIT_ENDING, 0, "reported twice"},
    {COMMIT_ENDING, COMMIT_LOST, ALWAYS, COMMIT_ENDING, COMMIT_DO_END, "the end is proposed again"},
    {COMMIT_ENDING, COMMIT_ENDED, ALWAYS, COMMIT_OVER, COMMIT_DO_DROP, "the end is logged"},
};

static bool in_state(const struct commit *c, enum commit_branch_state s)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->branches[i].state == s)
            return true;
    return false;
}

static bool guard_holds(const struct commit *c, enum guard guard)
{
    switch (guard) {
    case VOTES_MISSING:
        return in_state(c, BRANCH_PREPARING);
    case VOTES_IN:
        return !in_state(c, BRANCH_PREPARING);
    case BRANCHES_LEFT:
        return in_state(c, BRANCH_FINISHING);
    case BRANCHES_DONE:
        return !in_state(c, BRANCH_FINISHING);
    case ALWAYS:
        break;
    }
    return true;
}

static const struct transition *find_transition(const struct commit *c, enum commit_event event)
{
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++)
        if (transitions[i].state == c->state && transitions[i].event == event &&
            guard_holds(c, transitions[i].guard))
            return &transitions[i];
    return NULL;
}

void commit_init(struct commit *c, enum verdict verdict, bool agents_finish, struct commit_branch *branches,
                 size_t n)
{
    memset(c, 0, sizeof *c);
    c->verdict = verdict;
    c->agents_finish = agents_finish;
    c->branches = branches;
    c->n = n;
    c->why = "new";
}

static void set_proof(struct commit_branch *b, const char *proof)
{
    b->has_proof = proof != NULL;
    snprintf(b->proof, sizeof b->proof, "%s", proof != NULL ? proof : "");
}

void commit_branch_init(struct commit_branch *b, const struct branch_ref *ref, enum commit_branch_state state)
{
    b->number = ref->number;
    b->kind = ref->kind;
    b->state = (uint8_t)state;
    snprintf(b->resource, sizeof b->resource, "%s", ref->resource);
    set_proof(b, ref->proof);
}

unsigned commit_step(struct commit *c, enum commit_event event)
{
    const struct transition *t = find_transition(c, event);

    assert(t != NULL);
    if (c->state == COMMIT_PREPARING && t->next == COMMIT_DECIDING && event != COMMIT_VOTED)
        c->verdict = VERDICT_ABORT; /* only the last yes leaves the votes with a commit */
    c->state = t->next;
    c->why = t->reason;
    return t->actions;
}

bool commit_allowed(enum commit_state state, enum commit_event event)
{
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++)
        if (transitions[i].state == state && transitions[i].event == event)
            return true;
    return false;
}

bool commit_row(size_t i, struct commit_row *out)
{
    if (i >= sizeof transitions / sizeof *transitions)
        return false;
    *out = (struct commit_row){.state = transitions[i].state,
                               .next = transitions[i].next,
                               .event = transitions[i].event,
                               .reason = transitions[i].reason};
    return true;
}

struct commit_branch *commit_find(const struct commit *c, uint16_t number, const char *resource)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->branches[i].number == number && strcmp(c->branches[i].resource, resource) == 0)
            return &c->branches[i];
    return NULL;
}

unsigned commit_vote(struct commit *c, struct commit_branch *b, enum commit_branch_state vote,
                     const char *proof)
{
    assert(vote == BRANCH_PREPARED || vote == BRANCH_READ_ONLY || vote == BRANCH_REFUSED);
    if (c->state == COMMIT_RESOLVING && c->verdict == VERDICT_ABORT && vote != BRANCH_PREPARED)
        return commit_report(c, b); /* it holds nothing any more */
    if (c->state == COMMIT_PREPARING) {
        if (b->state != BRANCH_PREPARING)
            return 0; /* the first vote counts; this is a double of it */
        b->state = (uint8_t)vote;
        set_proof(b, proof);
    }
    return commit_step(c, vote == BRANCH_REFUSED ? COMMIT_REFUSED : COMMIT_VOTED);
}

unsigned commit_report(struct commit *c, struct commit_branch *b)
{
    if (b->state == BRANCH_FINISHING)
        b->state = BRANCH_DONE;
    return commit_step(c, COMMIT_REPORTED);
}

unsigned commit_report_direct(struct commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->branches[i].kind == BRANCH_DIRECT && c->branches[i].state == BRANCH_FINISHING)
            c->branches[i].state = BRANCH_DONE;
    return commit_step(c, COMMIT_REPORTED);
}

bool commit_completed(const struct commit *c)
{
    if (c->state != COMMIT_RESOLVING)
        return c->state == COMMIT_ENDING || c->state == COMMIT_OVER;
    for (size_t i = 0; i < c->n; i++)
        if (c->branches[i].state == BRANCH_FINISHING &&
            (c->agents_finish || c->branches[i].kind == BRANCH_REMOTE))
            return false;
    return true;
}

size_t commit_decided_branches(const struct commit *c, struct branch_ref *out)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++) {
        const struct commit_branch *b = &c->branches[i];

        if (b->state != BRANCH_READ_ONLY && b->state != BRANCH_REFUSED)
            out[n++] = (struct branch_ref){.number = b->number,
                                           .kind = b->kind,
                                           .resource = b->resource,
                                           .proof = b->has_proof ? b->proof : NULL};
    }
    return n;
}

const char *commit_state_name(enum commit_state s)
{
    static const char *const names[] = {"new", "preparing", "deciding", "resolving", "ending", "over"};

    return names[s];
}
