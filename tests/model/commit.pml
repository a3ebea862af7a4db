/* The commit protocol of docs/architecture.md: one transaction of one session, its branches, and everything that can
 * happen to it. README.md says what is left out and why; `check` runs every configuration.
 *
 *   -DN=2|3       branches
 *   -DREMOTE=n    the last n of them are worked in through an agent; the others are direct
 *   -DPARALLEL    parallel commit: stage while preparing
 *   -DSTALE       a node that lags behind answers, too: a follower, or a leader that does not know it was deposed
 *   -DBY_HAND     somebody finishes a prepared branch by hand, once
 *   -DLIVE        for liveness: what was told is lost with the process that heard it, until crashes stop
 *   -DBREAK_x     breaks rule x, with -DBROKEN
 *
 * Messages are facts. Once sent, one may be taken at any later time, any number of times, by whoever leads, or
 * never. So loss, delay, reordering and doubles need no code of their own.
 */
#ifndef N
#define N 2
#endif
#ifndef REMOTE
#define REMOTE 0
#endif

#if N == 2
#define ALL(p)  (p(0) && p(1))
#define SOME(p) (p(0) || p(1))
#else
#define ALL(p)  (p(0) && p(1) && p(2))
#define SOME(p) (p(0) || p(1) || p(2))
#endif
hidden byte k;
#define EACH(set) k = 0; do :: k < N -> set; k++ :: else -> break od; k = 0

mtype = { NONE, COMMIT, ABORT, STAGED,                                         /* records and verdicts */
          OPEN, CLOSED, EXPIRED, FORGOTTEN,                                    /* sessions, and what is known */
          ACTIVE, PREPARING, PREPARED, COMMITTED, ROLLED_BACK, EMPTY,          /* a branch in its database */
          YES, NO, LOST,                                                       /* votes */
          VOTING, ASKING, CARRYING_OUT, ROLLING_BACK, OVER, IN_DOUBT, DEAD,    /* the client */
          VOTES, DECIDING, RESOLVING };                                        /* the leader's flight */

/* The ledger: what the applied log amounts to (coordinator/ledger.c). `known`: the session is there and its retention
 * time is not over (ledger_known_session). */
mtype log_record = NONE;
mtype log_session = OPEN;
bool log_ended, log_acknowledged;
bool log_known = true;
#ifdef STALE /* a prefix of it */
mtype stale_record = NONE;
mtype stale_session = OPEN;
bool stale_acknowledged;
bool stale_known = true;
#endif
bool heuristic; /* of a branch; the record then waits for an operator */

/* In the log of some nodes, not yet committed. */
bool propose_commit, propose_abort, propose_end;
#ifdef PARALLEL
bool propose_timeout; /* an ABORT because of the transaction's timeout */
#else
#define propose_timeout propose_abort
#endif

/* The leader's memory, lost by failover (coordinator/flights.c, commit.c). */
mtype flight = NONE;
bool asked_votes;

/* The databases, what the agents' scans saw, what agents were told, and what they told. */
mtype db[N] = PREPARING;
mtype vote[N] = NONE; /* a direct branch's at its client, a remote one's at its agent */
bool seen[N], do_commit[N], do_rollback[N], reported[N];

/* The client, and its messages. */
mtype client = VOTING;
bool ask_commit, ask_abort, tell_acknowledged, tell_resolved, tell_close;

#ifdef PARALLEL
bool tell_stage, client_staged, recovering;
mtype looked[N] = NONE; /* YES: prepared; NO: not, and never will be */
#endif

/* For the properties only. */
mtype told = NONE;  /* the application, or who comes back for it */
mtype stood = NONE; /* the first verdict that stood */
bool by_hand;
bool calm; /* no more crashes */

#define DIRECT(i) ((i) < N - REMOTE)

/* ledger_branch_standing(), ledger_outcome() */
#define presumed(l) (!l##_known || l##_session != OPEN || l##_acknowledged)
#ifdef BREAK_STAGED_IS_PRESUMED
#define stands(l) (l##_record == COMMIT || l##_record == ABORT)
#define STAGED_OUTCOME(l) (l##_session == OPEN -> OPEN : ABORT)
#else
#define stands(l) (l##_record != NONE)
#define STAGED_OUTCOME(l) OPEN
#endif
#define standing(l) (stands(l) -> l##_record : (presumed(l) -> ABORT : OPEN))

#ifdef BREAK_FORGOTTEN_IS_ABORT
#define NOT_KNOWN ABORT
#else
#define NOT_KNOWN FORGOTTEN
#endif
#ifdef BREAK_NO_RECORD_IS_ABORT
#define NOT_YET ABORT
#else
#define NOT_YET OPEN
#endif
#define without_record(l) \
    ((!l##_known || l##_acknowledged) -> NOT_KNOWN : (l##_session == OPEN -> NOT_YET : ABORT))
#define outcome(l) (l##_record == STAGED -> STAGED_OUTCOME(l) : (l##_record != NONE -> l##_record : without_record(l)))

/* Properties 1 and 2, after every change of a branch or of what was told. */
#define IS_COMMITTED(i)   (db[i] == COMMITTED)
#define IS_ROLLED_BACK(i) (db[i] == ROLLED_BACK)
inline properties()
{
    assert(by_hand || !(SOME(IS_COMMITTED) && SOME(IS_ROLLED_BACK)));
    assert(by_hand || !(told == COMMIT && SOME(IS_ROLLED_BACK)));
    assert(by_hand || !(told == ABORT && SOME(IS_COMMITTED)))
}

/* Holds besides; a broken rule has to break a property. */
#ifdef BROKEN
#define PRESUMABLY(what) skip
#else
#define PRESUMABLY(what) assert(what)
#endif

inline tell(v)
{
    assert(told == NONE || told == v); /* property 4 */
    told = v;
    properties()
}

/* The log */

/* ledger_decision_may_go(), and what follows from it */
#ifdef BREAK_DROP_UNRESOLVED
#define MAY_GO_RESOLVED true
#else
#define MAY_GO_RESOLVED log_ended
#endif
#ifdef BREAK_DROP_UNACKNOWLEDGED
#define MAY_GO_ANSWERED true
#elif defined(BREAK_NO_RETENTION)
#define MAY_GO_ANSWERED (log_acknowledged || log_session != OPEN)
#else
#define MAY_GO_ANSWERED (log_acknowledged || !log_known || (log_record == ABORT && log_session != OPEN))
#endif

inline settle()
{
    if
    :: (log_record == COMMIT || log_record == ABORT) && MAY_GO_RESOLVED && MAY_GO_ANSWERED && !heuristic ->
        /* What is wrong though nobody broke the protocol stays visible. */
        assert(!by_hand || log_record == ABORT || ALL(IS_COMMITTED));
        log_record = NONE;
        log_ended = false;
        flight = (flight == RESOLVING -> NONE : flight)
    :: else
    fi;
    log_known = log_known && !(log_session == CLOSED && log_record == NONE)
}

inline make_record(v)
{
    assert(stood == NONE || stood == v); /* property 4: the register is written once */
    stood = v;
    log_record = v
}

#ifdef BREAK_NO_FENCE
#define FENCED false
#else
#define FENCED (log_session != OPEN)
#endif

/* apply_decide() and flights_decided() */
inline apply_decide(v)
{
    if
    :: log_record == COMMIT || log_record == ABORT ->
#ifdef BREAK_LAST_WINS
        make_record(v)
#else
        skip
#endif
    :: log_record == STAGED ->
#ifdef BREAK_FENCE_HITS_STAGED
        make_record((log_session == OPEN -> v : ABORT))
#else
        make_record(v)
#endif
#ifndef BREAK_DECIDED_ANEW
    :: log_record == NONE && log_known && log_acknowledged
#else
    :: false
#endif
    :: else ->
        if
        :: log_known && (v == ABORT || !FENCED) -> make_record(v)
        :: else
        fi
    fi;
    flight = ((log_record == COMMIT || log_record == ABORT) && !log_ended -> RESOLVING : NONE);
    settle()
}

/* flights_session_over(): what waits for votes is presumed aborted. */
inline session_over()
{
    flight = (flight == VOTES -> NONE : flight);
    settle()
}

#ifdef PARALLEL
/* The leader proposed it when no stage stood. One may stand by now, and the application have been told COMMIT: then only
 * the client, or who has looked at the branches, may still abort. */
inline apply_timeout()
{
    if
#ifndef BREAK_TIMEOUT_HITS_STAGED
    :: log_record == STAGED -> flight = NONE
#endif
    :: else -> apply_decide(ABORT)
    fi
}
#endif

active proctype Log()
{
end:
    do
    :: d_step { propose_commit -> propose_commit = false; apply_decide(COMMIT) }
    :: d_step { propose_abort -> propose_abort = false; apply_decide(ABORT) }
#ifdef PARALLEL
    :: d_step { propose_timeout -> propose_timeout = false; apply_timeout() }
#endif
    :: d_step { propose_end ->
            propose_end = false;
            log_ended = log_ended || log_record == COMMIT || log_record == ABORT;
            flight = NONE;
            settle() }
    :: d_step { tell_acknowledged && log_known && !log_acknowledged -> log_acknowledged = true; settle() }
    :: d_step { tell_close && log_session == OPEN -> log_session = CLOSED; session_over() }
    /* It needs no proof that the client is dead; for liveness, a client that lives is heard in the end. */
#ifndef BREAK_NEVER_EXPIRES
    :: d_step { log_session == OPEN && (!calm || client == DEAD) -> log_session = EXPIRED; session_over() }
#endif
    :: d_step { log_session != OPEN && log_known -> log_known = false; settle() }
#ifdef PARALLEL
    :: d_step { tell_stage && log_record == NONE && log_session == OPEN && log_known && !log_acknowledged ->
            log_record = STAGED }
#endif
#ifdef STALE
    :: d_step { stale_record != log_record || stale_session != log_session || stale_known != log_known ||
                stale_acknowledged != log_acknowledged ->
            stale_record = log_record;
            stale_session = log_session;
            stale_known = log_known;
            stale_acknowledged = log_acknowledged }
#endif
    od
}

/* The leader */

#define VOTED_YES(i)      (DIRECT(i) || vote[i] == YES)
#define VOTED_NO(i)       (!DIRECT(i) && vote[i] == NO)
#define RESOLVED(i)       (reported[i] || (DIRECT(i) && tell_resolved) || VOTED_NO(i))
#define SEEN(i)           seen[i]
#ifdef PARALLEL
#define LOOKED_YES(i)     (looked[i] == YES)
#define LOOKED_NO(i)      (looked[i] == NO)
#endif

active proctype Leader()
{
end:
    do
    /* decide_request() */
    :: d_step { ask_commit && flight == NONE && standing(log) == OPEN && REMOTE > 0 ->
            flight = VOTES; asked_votes = true }
    :: d_step { ask_commit && flight == NONE && (standing(log) == OPEN && REMOTE == 0 || standing(log) == STAGED) ->
            flight = DECIDING; propose_commit = true }
    :: d_step { ask_abort && (flight == NONE || flight == VOTES) &&
                (standing(log) == OPEN || standing(log) == STAGED) ->
            flight = DECIDING; propose_abort = true }
    /* commit_vote(), and COMMIT_OVERDUE: no vote in time counts as no. */
    :: d_step { flight == VOTES && ALL(VOTED_YES) -> flight = DECIDING; propose_commit = true }
#ifdef BREAK_SILENCE_IS_YES
    :: d_step { flight == VOTES && !SOME(VOTED_NO) -> flight = DECIDING; propose_commit = true }
#else
    :: d_step { flight == VOTES && (SOME(VOTED_NO) || !calm) -> flight = DECIDING; propose_abort = true }
#endif
    /* found.c, abort_old(): prepared for longer than the transaction's timeout. */
#ifndef BREAK_NO_TIMEOUT
    :: d_step { SOME(SEEN) && flight == NONE && standing(log) == OPEN -> flight = DECIDING; propose_timeout = true }
#endif
    /* flights_adopt() */
#ifndef BREAK_NO_ADOPTION
    :: d_step { flight == NONE && (log_record == COMMIT || log_record == ABORT) && !log_ended -> flight = RESOLVING }
#endif
    :: d_step { flight == RESOLVING && ALL(RESOLVED) && !propose_end -> propose_end = true }
    /* The record of an abort may name fewer branches: those that scans had found. */
    :: d_step { flight == RESOLVING && log_record == ABORT && !propose_end && !calm -> propose_end = true }
#ifdef PARALLEL
    /* Recovery of what is staged; it may start at any time. */
#ifndef BREAK_NO_RECOVERY
    :: d_step { SOME(SEEN) && standing(log) == STAGED && !recovering -> recovering = true }
    :: d_step { log_session == EXPIRED && standing(log) == STAGED && !recovering -> recovering = true }
#endif
#ifdef BREAK_SOME_PREPARED
    :: d_step { recovering && flight == NONE && standing(log) == STAGED && SOME(LOOKED_YES) ->
#else
    :: d_step { recovering && flight == NONE && standing(log) == STAGED && ALL(LOOKED_YES) ->
#endif
            flight = DECIDING; propose_commit = true }
    :: d_step { recovering && flight == NONE && standing(log) == STAGED && SOME(LOOKED_NO) ->
            flight = DECIDING; propose_abort = true }
#ifdef BREAK_ABORT_UNSEEN
    :: d_step { SOME(SEEN) && flight == NONE && standing(log) == STAGED -> flight = DECIDING; propose_abort = true }
#endif
#endif
    od
}

/* A branch: its database, the client's connection to it, and agents. */

inline commit_prepared(i)
{
    db[i] = COMMITTED;
    properties()
}

inline roll_back(i)
{
    db[i] = ROLLED_BACK;
    properties()
}

#ifdef LIVE
#define FORGET(i) seen[i] = false; do_commit[i] = false; do_rollback[i] = false
#else
#define FORGET(i) skip
#endif

proctype Database(byte i)
{
end:
    do
    /* A PREPARE on its way succeeds or fails, whoever has given up on it; its answer may be lost. */
    :: d_step { db[i] == PREPARING ->
            db[i] = PREPARED; vote[i] = (vote[i] == NONE && !(DIRECT(i) && client == DEAD) -> YES : vote[i]) }
    :: d_step { db[i] == PREPARING ->
            vote[i] = (vote[i] == NONE && !(DIRECT(i) && client == DEAD) -> NO : vote[i]); roll_back(i) }
    :: d_step { DIRECT(i) && vote[i] == NONE && client == VOTING && !calm -> vote[i] = LOST }
    /* A remote branch: its agent prepares it, or takes the application for gone. After a restart it looks. */
    :: d_step { !DIRECT(i) && db[i] == ACTIVE && asked_votes -> db[i] = PREPARING }
    :: d_step { !DIRECT(i) && db[i] == ACTIVE && (!calm || client != VOTING && client != ASKING) ->
            vote[i] = NO; roll_back(i) }
    :: d_step { !DIRECT(i) && vote[i] == LOST && db[i] == PREPARED -> vote[i] = YES }
    :: d_step { !DIRECT(i) && vote[i] == LOST && db[i] == ROLLED_BACK -> vote[i] = NO }
    /* The client finishes its branches itself. */
    :: d_step { DIRECT(i) && client == CARRYING_OUT && db[i] == PREPARED -> commit_prepared(i) }
    :: d_step { DIRECT(i) && client == ROLLING_BACK && db[i] == PREPARED && vote[i] == YES -> roll_back(i) }
#ifdef BREAK_PHASE_TWO_EARLY
    :: d_step { client == ASKING && told == COMMIT && db[i] == PREPARED -> commit_prepared(i) }
#endif
#ifdef BY_HAND
    :: d_step { !by_hand && db[i] == PREPARED -> by_hand = true; roll_back(i) }
    :: d_step { !by_hand && db[i] == PREPARED -> by_hand = true; commit_prepared(i) }
#endif
    od
}

#ifdef BREAK_SCAN_ENDS
#define SCANS(i) (!reported[i])
#else
#define SCANS(i) true
#endif

/* do_commit, do_rollback: the leader, or who thinks that he leads, tells agents what stands. */
proctype Agent(byte i)
{
end:
    do
    :: d_step { db[i] == PREPARED && !seen[i] && SCANS(i) -> seen[i] = true }
    :: d_step { (seen[i] || flight == RESOLVING && !reported[i]) && standing(log) == COMMIT && !do_commit[i] ->
            do_commit[i] = true }
    :: d_step { (seen[i] || flight == RESOLVING && !reported[i]) && standing(log) == ABORT && !do_rollback[i] ->
            do_rollback[i] = true }
#ifdef BREAK_PRESUME_OPEN
    :: d_step { seen[i] && log_record == NONE && !do_rollback[i] -> do_rollback[i] = true }
#endif
#ifdef STALE
    :: d_step { seen[i] && standing(stale) == COMMIT && !do_commit[i] -> do_commit[i] = true }
    :: d_step { seen[i] && standing(stale) == ABORT && !do_rollback[i] -> do_rollback[i] = true }
#endif
    /* COMMIT PREPARED; not found: pg_xact_status() tells what became of it (rm_pg_finish.c). */
    :: d_step { do_commit[i] && db[i] == PREPARED -> commit_prepared(i); reported[i] = true; FORGET(i) }
    :: d_step { do_commit[i] && db[i] == COMMITTED && (!reported[i] || seen[i]) -> reported[i] = true; FORGET(i) }
    :: d_step { do_commit[i] && db[i] == ROLLED_BACK && !reported[i] ->
            PRESUMABLY(by_hand);
#ifndef BREAK_NOT_FOUND_IS_SUCCESS
            heuristic = heuristic || log_record != NONE;
#endif
            reported[i] = true; FORGET(i) }
#ifdef BREAK_PREPARE_EMPTY
    :: d_step { do_commit[i] && db[i] == EMPTY -> db[i] = ROLLED_BACK; properties(); reported[i] = true }
#endif
    /* ROLLBACK PREPARED; not found: never prepared, rolled back, or its PREPARE is still on its way. */
    :: d_step { do_rollback[i] && (db[i] == PREPARED || db[i] == ACTIVE) ->
            roll_back(i); reported[i] = true; FORGET(i) }
    :: d_step { do_rollback[i] && db[i] != PREPARED && db[i] != ACTIVE && (!reported[i] || seen[i]) ->
            /* A commit of which the record has gone may be found to be over (reports.c, was_forgotten()). */
            PRESUMABLY(db[i] != COMMITTED || by_hand || !log_known || log_acknowledged);
            heuristic = heuristic || (db[i] == COMMITTED && log_record != NONE);
            reported[i] = true; FORGET(i) }
#ifdef PARALLEL
    /* First the backend is ended, if it has not prepared by then; then the agent looks. */
    :: d_step { recovering && looked[i] == NONE && db[i] == PREPARED -> looked[i] = YES }
    :: d_step { recovering && looked[i] == NONE && (db[i] == COMMITTED || db[i] == ROLLED_BACK) -> looked[i] = NO }
#ifdef BREAK_BACKEND_LIVES
    :: d_step { recovering && looked[i] == NONE && db[i] == PREPARING -> looked[i] = NO }
#else
    :: d_step { recovering && looked[i] == NONE && db[i] == PREPARING ->
            looked[i] = NO; vote[i] = (client == VOTING && vote[i] == NONE -> LOST : vote[i]); roll_back(i) }
#endif
#ifdef BREAK_PREPARE_EMPTY
    :: d_step { recovering && looked[i] == NONE && db[i] == ROLLED_BACK -> db[i] = EMPTY; looked[i] = NO }
    :: d_step { recovering && looked[i] == NONE && db[i] == EMPTY -> looked[i] = YES }
#endif
#endif
    od
}

/* The client */

#define DIRECT_YES(i)     (!DIRECT(i) || vote[i] == YES)
#define DIRECT_NO(i)      (DIRECT(i) && vote[i] == NO)
#define DIRECT_LOST(i)    (DIRECT(i) && vote[i] == LOST)
#define DIRECT_VOTED(i)   (!DIRECT(i) || vote[i] != NONE)
#define DIRECT_DONE(i)    (!DIRECT(i) || db[i] == COMMITTED)
#define DIRECT_UNDONE(i)  (DIRECT(i) && db[i] == PREPARED)
#define NOT_NO(i)         (!DIRECT(i) || vote[i] == YES || vote[i] == LOST)

/* What it need not remember any more: fewer states. */
inline client_over(state)
{
    client = state;
    EACH(vote[k] = (DIRECT(k) -> NONE : vote[k]))
}

inline acknowledge(resolved)
{
    tell_acknowledged = true;
    tell_resolved = resolved;
    client_over(OVER)
}

#ifdef STALE
#define ANSWERED(v) (outcome(log) == v || outcome(stale) == v)
#else
#define ANSWERED(v) (outcome(log) == v)
#endif

active proctype Client()
{
end:
    do
    /* finish_step_vote() */
#if defined(BREAK_ASK_EARLY)
    :: d_step { client == VOTING && SOME(DIRECT_YES) -> client = ASKING; ask_commit = true }
#elif defined(BREAK_LOST_IS_YES)
    :: d_step { client == VOTING && ALL(NOT_NO) -> client = ASKING; ask_commit = true }
#else
    :: d_step { client == VOTING && ALL(DIRECT_YES) -> client = ASKING; ask_commit = true }
#endif
#ifndef PARALLEL
    :: d_step { client == VOTING && ALL(DIRECT_VOTED) && (SOME(DIRECT_NO) || SOME(DIRECT_LOST)) ->
            client = ROLLING_BACK; ask_abort = SOME(DIRECT_LOST); tell(ABORT) }
#else
    :: d_step { client == VOTING && !client_staged && log_record == STAGED -> client_staged = true }
    /* Staged and all branches prepared = committed. */
#ifdef BREAK_TELL_UNSTAGED
    :: d_step { client == VOTING && ALL(DIRECT_YES) ->
#else
    :: d_step { client == VOTING && client_staged && ALL(DIRECT_YES) ->
#endif
            client = ASKING; ask_commit = true; tell(COMMIT) }
    /* One no, and it can never be committed. A vote that is lost may have been a yes: the log tells. */
    :: d_step { client == VOTING && SOME(DIRECT_NO) -> client = ROLLING_BACK; ask_abort = true; tell(ABORT) }
#ifdef BREAK_LOST_IS_NO
    :: d_step { client == VOTING && SOME(DIRECT_LOST) -> client = ROLLING_BACK; ask_abort = true; tell(ABORT) }
#else
    :: d_step { client == VOTING && SOME(DIRECT_LOST) -> client = ASKING; ask_abort = true }
#endif
#endif
    /* finish_step_decide() */
    :: d_step { client == ASKING && ANSWERED(COMMIT) -> client = CARRYING_OUT; tell(COMMIT) }
    :: d_step { client == ASKING && ANSWERED(ABORT) -> client = ROLLING_BACK; tell(ABORT) }
#ifdef BREAK_ANSWER_BEFORE_LOG
    :: d_step { client == ASKING && propose_commit -> client = CARRYING_OUT; tell(COMMIT) }
#endif
#ifdef BREAK_CLIENT_GIVES_UP
    :: d_step { client == ASKING -> client = ROLLING_BACK; tell(ABORT) }
#endif
    :: d_step { client == ASKING && (!calm || ANSWERED(FORGOTTEN)) -> client_over(IN_DOUBT) }
    /* finish_release(); branches may be left to agents (DECISION_LOGGED, or the connection is gone) */
    :: d_step { client == CARRYING_OUT -> acknowledge(ALL(DIRECT_DONE)) }
    :: d_step { client == ROLLING_BACK -> acknowledge(!SOME(DIRECT_UNDONE) && !SOME(DIRECT_LOST)) }
    :: d_step { client == OVER && !tell_close -> tell_close = true }
    /* Asks twice: on any node, after any failover, or as another process after a crash. */
    :: d_step { (client == OVER || client == IN_DOUBT || client == DEAD) && told != COMMIT && ANSWERED(COMMIT) ->
            tell(COMMIT) }
    :: d_step { (client == OVER || client == IN_DOUBT || client == DEAD) && told != ABORT && ANSWERED(ABORT) ->
            tell(ABORT) }
    od
}

/* What goes wrong */

inline restart_agent(i)
{
    FORGET(i);
    reported[i] = false;
    vote[i] = (!DIRECT(i) && vote[i] != NONE -> LOST : vote[i])
}

#ifdef PARALLEL
#define FORGETFUL recovering
#else
#define FORGETFUL false
#endif

inline failover()
{
    flight = NONE;
#ifdef LIVE
    tell_resolved = false;
    asked_votes = false;
    ask_commit = ask_commit && client == ASKING; /* who still waits asks again */
    ask_abort = ask_abort && (client == ASKING || client == ROLLING_BACK);
    EACH(reported[k] = false);
#endif
#ifdef PARALLEL
    recovering = false;
    EACH(looked[k] = NONE);
#endif
}

#ifdef BREAK_LOST_PROPOSAL_WAITS
#define PROPOSAL_LOST skip
#else
#define PROPOSAL_LOST failover()
#endif

active proctype Crashes()
{
end:
    do
#ifdef LIVE
    :: d_step { !calm && client != DEAD ->
            ask_commit = false; ask_abort = false;
            tell_acknowledged = false; tell_resolved = false; tell_close = false;
            client_over(DEAD) }
#else
    :: d_step { !calm && client != OVER && client != DEAD -> client_over(DEAD) }
#endif
    /* Failover: the leader's memory is lost; what it proposed is lost, or committed later. */
    :: d_step { !calm && (flight != NONE || FORGETFUL) -> failover() }
    :: d_step { !calm && propose_commit -> propose_commit = false; PROPOSAL_LOST }
    :: d_step { !calm && propose_abort -> propose_abort = false; PROPOSAL_LOST }
#ifdef PARALLEL
    :: d_step { !calm && propose_timeout -> propose_timeout = false; PROPOSAL_LOST }
#endif
    :: d_step { !calm && propose_end -> propose_end = false; PROPOSAL_LOST }
#ifdef LIVE
    :: d_step { !calm && (seen[0] || do_commit[0] || do_rollback[0] || reported[0]) -> restart_agent(0) }
    :: d_step { !calm && (seen[1] || do_commit[1] || do_rollback[1] || reported[1]) -> restart_agent(1) }
#if N > 2
    :: d_step { !calm && (seen[2] || do_commit[2] || do_rollback[2] || reported[2]) -> restart_agent(2) }
#endif
#endif
    :: calm -> break
    od
}

#define IS_SETTLED(i) (db[i] == COMMITTED || db[i] == ROLLED_BACK)

#ifdef LIVE
active proctype Calm()
{
    calm = true;
    do
    :: timeout /* what has come to rest stays so for ever */
    od
}

/* Property 3. */
ltl settled { <> ALL(IS_SETTLED) }
/* The client, if it stays, has an answer; and the ledger is empty in the end, unless a client neither acknowledges
 * nor goes, or a hazard waits for an operator. */
ltl answered { <> (told != NONE || client == DEAD || client == IN_DOUBT) }
ltl forgotten { <> (client == IN_DOUBT || [] (log_record == NONE)) }
#else
/* Nothing left to do, and still in doubt? */
active proctype Stuck()
{
end:
    timeout -> assert(ALL(IS_SETTLED))
}
#endif

init
{
    atomic {
        EACH(db[k] = (DIRECT(k) -> PREPARING : ACTIVE));
#ifdef PARALLEL
        tell_stage = true;
#endif
        run Database(0); run Agent(0);
        run Database(1); run Agent(1);
#if N > 2
        run Database(2); run Agent(2);
#endif
    }
}
