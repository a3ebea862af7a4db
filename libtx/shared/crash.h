/* crash: named points of the protocol at which a test lets a process die or stop.
 *
 * Nothing of it is in a release build. In a build with -DASSENT_CRASH_POINTS the environment variable
 * ASSENT_CRASH, "name[:n]=kill|stop", makes the n-th passage (default the first) of that point send SIGKILL or
 * SIGSTOP to the process. The list below is all of them; tests/e2e walks through it.
 */
#ifndef ASSENT_CRASH_H
#define ASSENT_CRASH_H

/* X(symbol, "process.point"): each once, in the order in which a commit passes them. */
#define CRASH_POINT_LIST(X)                             \
    X(CLIENT_BEFORE_PREPARE, "client.before_prepare")   \
    X(CLIENT_ONE_PREPARED, "client.one_prepared")       \
    X(CLIENT_ALL_PREPARED, "client.all_prepared")       \
    X(CLIENT_COMMIT_SENT, "client.commit_sent")         \
    X(CLIENT_DECIDED, "client.decided")                 \
    X(CLIENT_ONE_COMMITTED, "client.one_committed")     \
    X(CLIENT_ALL_COMMITTED, "client.all_committed")     \
    X(CLIENT_ONE_PHASE_SENT, "client.one_phase_sent")   \
    X(COORD_COMMIT_RECEIVED, "coord.commit_received")   \
    X(COORD_PREPARE_SENT, "coord.prepare_sent")         \
    X(COORD_ALL_VOTED, "coord.all_voted")               \
    X(COORD_BEFORE_WRITE, "coord.before_write")         \
    X(COORD_WRITTEN, "coord.written")                   \
    X(COORD_SYNCED, "coord.synced")                     \
    X(COORD_APPLIED, "coord.applied")                   \
    X(COORD_ANSWERED, "coord.answered")                 \
    X(COORD_COMMIT_WORK_SENT, "coord.commit_work_sent") \
    X(COORD_BEFORE_END, "coord.before_end")             \
    X(COORD_SESSION_OPENED, "coord.session_opened")     \
    X(COORD_BEFORE_EXPIRE, "coord.before_expire")       \
    X(COORD_SNAPSHOT_WRITTEN, "coord.snapshot_written") \
    X(COORD_SNAPSHOT_RENAMED, "coord.snapshot_renamed") \
    X(COORD_SEGMENT_RECYCLED, "coord.segment_recycled") \
    X(AGENT_EXEC_DONE, "agent.exec_done")               \
    X(AGENT_BEFORE_PREPARE, "agent.before_prepare")     \
    X(AGENT_PREPARED, "agent.prepared")                 \
    X(AGENT_VOTED, "agent.voted")                       \
    X(AGENT_BEFORE_COMMIT, "agent.before_commit")       \
    X(AGENT_COMMITTED, "agent.committed")               \
    X(AGENT_REPORTED, "agent.reported")                 \
    X(AGENT_BEFORE_ROLLBACK, "agent.before_rollback")   \
    X(AGENT_ROLLED_BACK, "agent.rolled_back")           \
    X(AGENT_SCANNED, "agent.scanned")

enum crash_point {
#define CRASH_POINT_ENUM(symbol, name) CRASH_##symbol,
    CRASH_POINT_LIST(CRASH_POINT_ENUM)
#undef CRASH_POINT_ENUM
        CRASH_POINT_COUNT
};

#ifdef ASSENT_CRASH_POINTS
void crash_point(enum crash_point point);
#else
#define crash_point(point) ((void)0)
#endif

#endif
