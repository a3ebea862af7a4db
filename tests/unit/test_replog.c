/* Tests of replog with a group of one: what was committed is applied again, in order, after every kind of end.
 */
#include "tests/unit/wal_kit.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <signal.h>

#include "coordinator/replog.h"
#include "libtx/shared/log.h"

enum { SEGMENT = 16384, SNAPSHOT = 32768, ENTRY = 100 };

/* A state machine that remembers how many entries it applied; the n-th entry says n. */
struct machine {
    char dir[KIT_PATH];
    uv_loop_t loop;
    struct replog *r;
    struct replog_options options;
    struct tx_error error;
    uint64_t value;    /* entries applied, those of the snapshot included */
    uint64_t restored; /* value that the snapshot brought */
    uint64_t applied_here;
    uint64_t next; /* to be proposed */
    uint64_t last_index;
    unsigned committed, refused, unknown, leader, fatal, restores;
    uint64_t goal; /* stop the loop when value is this */
    bool refuse_apply, closed;
};

static int on_apply(void *ctx, uint64_t index, const void *data, size_t len, struct tx_error *e)
{
    struct machine *m = ctx;
    uint64_t n;

    assert_int_equal(len, ENTRY);
    assert_true(index > m->last_index);
    m->last_index = index;
    if (m->refuse_apply)
        return err_set(e, TX_ECORRUPT, "the machine does not like it");
    memcpy(&n, data, sizeof n);
    assert_int_equal(n, m->value + 1);
    m->value = n;
    m->applied_here++;
    return 0;
}

static int on_restore(void *ctx, const void *data, size_t len, struct tx_error *e)
{
    struct machine *m = ctx;
    struct cur c;

    (void)e;
    cur_init(&c, data, len);
    m->value = m->restored = cur_u64(&c);
    assert_true(cur_done(&c));
    m->restores++;
    return 0;
}

static void on_snapshot(void *ctx, struct buf *out)
{
    buf_put_u64(out, ((struct machine *)ctx)->value);
}

static void on_role(void *ctx, enum replog_role role, uint64_t term, uint64_t leader_id)
{
    struct machine *m = ctx;

    assert_int_equal(role, REPLOG_LEADER);
    assert_int_equal(term, 1);
    assert_int_equal(leader_id, 1);
    m->leader++;
    uv_stop(&m->loop);
}

static void on_fatal(void *ctx, const struct tx_error *e)
{
    struct machine *m = ctx;

    m->fatal++;
    m->error = *e;
    uv_stop(&m->loop);
}

static void on_end(void *arg, enum replog_result result, uint64_t index)
{
    struct machine *m = arg;

    assert_int_equal(m->fatal, 0);
    if (result == REPLOG_COMMITTED) {
        /* The entry has been applied just before. */
        assert_int_equal(index, m->last_index);
        m->committed++;
    }
    m->refused += result == REPLOG_REFUSED;
    m->unknown += result == REPLOG_UNKNOWN;
    if (m->goal != 0 && m->value == m->goal)
        uv_stop(&m->loop);
}

static void on_closed(void *arg)
{
    ((struct machine *)arg)->closed = true;
}

static struct replog_options machine_options(const char *dir)
{
    return (struct replog_options){.data_dir = dir,
                                   .node_id = 1,
                                   .address = "tcp://127.0.0.1:7402",
                                   .found = true,
                                   .segment_bytes = SEGMENT,
                                   .snapshot_bytes = SNAPSHOT};
}

static void machine_init(struct machine *m)
{
    memset(m, 0, sizeof *m);
    kit_mkdir(m->dir);
    assert_int_equal(uv_loop_init(&m->loop), 0);
    m->options = machine_options(m->dir);
}

static void machine_release(struct machine *m)
{
    assert_int_equal(uv_loop_close(&m->loop), 0);
    kit_rmdir(m->dir);
}

static int machine_open(struct machine *m)
{
    const struct replog_callbacks callbacks = {.ctx = m,
                                               .apply = on_apply,
                                               .restore = on_restore,
                                               .snapshot = on_snapshot,
                                               .role = on_role,
                                               .fatal = on_fatal};

    m->value = m->restored = m->applied_here = m->last_index = m->goal = 0;
    m->committed = m->refused = m->unknown = m->leader = m->fatal = m->restores = 0;
    m->closed = false;
    return replog_open(&m->r, &m->loop, &m->options, &callbacks, &m->error);
}

/* Opens, and leads. */
static void machine_start(struct machine *m)
{
    if (machine_open(m) != 0)
        fail_msg("open: %s", m->error.msg);
    uv_run(&m->loop, UV_RUN_DEFAULT);
    assert_int_equal(m->fatal, 0);
    assert_int_equal(m->leader, 1);
    m->next = m->value + 1;
}

static void machine_stop(struct machine *m)
{
    replog_close(m->r, on_closed, m);
    uv_run(&m->loop, UV_RUN_DEFAULT);
    assert_true(m->closed);
}

static void propose_one(struct machine *m, replog_propose_cb cb)
{
    uint8_t *data = calloc(1, ENTRY);

    assert_non_null(data);
    memcpy(data, &m->next, sizeof m->next);
    m->next++;
    replog_propose(m->r, data, ENTRY, cb, m);
}

static void propose(struct machine *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        propose_one(m, on_end);
}

/* Proposes n at once, and waits for them. */
static void commit(struct machine *m, size_t n)
{
    m->goal = m->value + n;
    propose(m, n);
    uv_run(&m->loop, UV_RUN_DEFAULT);
    assert_int_equal(m->fatal, 0);
    assert_int_equal(m->value, m->goal);
}

/* The tests */

static void leads_alone(void **state)
{
    struct replog_status s;
    struct machine m;
    uint64_t group;

    (void)state;
    machine_init(&m);
    assert_int_equal(machine_open(&m), 0);
    replog_status(m.r, &s);
    assert_int_equal(s.role, REPLOG_FOLLOWER);
    propose(&m, 2); /* it does not lead yet */
    uv_run(&m.loop, UV_RUN_DEFAULT);
    assert_int_equal(m.refused, 2);
    assert_int_equal(m.leader, 1);
    replog_status(m.r, &s);
    assert_int_equal(s.role, REPLOG_LEADER);
    assert_int_equal(s.leader_id, 1);
    assert_int_equal(s.node_id, 1);
    assert_int_equal(s.term, 1);
    assert_int_equal(s.applied_index, 2); /* the configuration and the no-op */
    group = replog_group(m.r);
    assert_int_not_equal(group, 0);
    machine_stop(&m);
    machine_start(&m);
    assert_int_equal(replog_group(m.r), group);
    machine_stop(&m);
    machine_release(&m);
}

static void applied_again(void **state)
{
    struct machine m;

    (void)state;
    machine_init(&m);
    m.options.snapshot_bytes = (size_t)1 << 30;
    machine_start(&m);
    for (size_t n = 1; n < 30; n++)
        commit(&m, n);
    assert_int_equal(m.committed, 435);
    machine_stop(&m);
    for (uint64_t i = 0; i < 3; i++) {
        machine_start(&m);
        assert_int_equal(m.value, 435 + i * 50);
        assert_int_equal(m.restores, 0);
        commit(&m, 50);
        machine_stop(&m);
    }
    machine_release(&m);
}

/* All proposals of a loop turn share a write, and so do all that come while it runs. */
static void shares_writes(void **state)
{
    struct replog_status before, after;
    struct machine m;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    replog_status(m.r, &before);
    commit(&m, 100);
    replog_status(m.r, &after);
    assert_int_equal(after.forced_writes - before.forced_writes, 1);
    assert_int_equal(after.appends - before.appends, 100);
    machine_stop(&m);
    machine_release(&m);
}

static void snapshot_and_rest(void **state)
{
    struct replog_status s;
    struct machine m;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    for (int i = 0; i < 200; i++)
        commit(&m, 5);
    replog_status(m.r, &s);
    assert_true(s.snapshots > 2);
    machine_stop(&m);
    for (uint64_t i = 0; i < 3; i++) {
        machine_start(&m);
        assert_int_equal(m.value, 1000 + i * 10);
        assert_int_equal(m.restores, 1);
        assert_true(m.restored > 500 && m.restored < 1000);
        assert_int_equal(m.restored + m.applied_here, m.value);
        commit(&m, 10);
        machine_stop(&m);
    }
    machine_release(&m);
}

static void disk_is_bounded(void **state)
{
    struct replog_status s;
    struct machine m;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    for (int i = 0; i < 300; i++) {
        commit(&m, 40);
        replog_status(m.r, &s);
        /* Two snapshots' worth of log and the spares, whatever has been written: here 40 times as much as is
         * between two snapshots. */
        assert_true(s.log_bytes <= 2 * SNAPSHOT + 6 * SEGMENT);
    }
    assert_true(s.snapshots > 20);
    assert_true((kit_count(m.dir, "log-") + kit_count(m.dir, "spare-")) * SEGMENT <=
                2 * SNAPSHOT + 6 * SEGMENT);
    assert_true(kit_count(m.dir, "snapshot-") <= 2);
    machine_stop(&m);
    machine_release(&m);
}

/* A proposal that is answered by another proposal, from its callback: the way a busy coordinator works. */
static struct machine *chained;

static void on_chain(void *arg, enum replog_result result, uint64_t index)
{
    on_end(arg, result, index);
    if (result == REPLOG_COMMITTED && chained->next <= 500)
        propose_one(chained, on_chain);
}

static void proposes_from_callback(void **state)
{
    struct machine m;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    chained = &m;
    m.goal = 500;
    for (int i = 0; i < 3; i++)
        propose_one(&m, on_chain);
    uv_run(&m.loop, UV_RUN_DEFAULT);
    assert_int_equal(m.committed, 500);
    machine_stop(&m);
    machine_release(&m);
}

/* Closing in the middle: each proposal has its end, and what was told as committed is there. */
static void every_proposal_ends(void **state)
{
    struct machine m;
    unsigned told;

    (void)state;
    machine_init(&m);
    for (int turns = 0; turns < 6; turns++) {
        machine_start(&m);
        propose(&m, 20);
        for (int i = 0; i < turns; i++)
            uv_run(&m.loop, UV_RUN_NOWAIT);
        propose(&m, 20);
        machine_stop(&m);
        assert_int_equal(m.committed + m.refused + m.unknown, 40);
        told = (unsigned)m.value;
        machine_start(&m);
        assert_true(m.value >= told);
        machine_stop(&m);
    }
    machine_release(&m);
}

static void close_in_callback_cb(void *arg, enum replog_result result, uint64_t index)
{
    struct machine *m = arg;

    on_end(arg, result, index);
    replog_close(m->r, on_closed, m);
}

static void close_in_callback(void **state)
{
    struct machine m;
    uint8_t *data;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    data = calloc(1, ENTRY);
    assert_non_null(data);
    data[0] = 1;
    replog_propose(m.r, data, ENTRY, close_in_callback_cb, &m);
    uv_run(&m.loop, UV_RUN_DEFAULT);
    assert_true(m.closed);
    assert_int_equal(m.committed, 1);
    machine_release(&m);
}

static void machine_refuses_entry(void **state)
{
    struct machine m;

    (void)state;
    machine_init(&m);
    machine_start(&m);
    commit(&m, 3);
    m.refuse_apply = true;
    propose(&m, 5);
    uv_run(&m.loop, UV_RUN_DEFAULT);
    assert_int_equal(m.fatal, 1);
    assert_int_equal(m.error.code, TX_ECORRUPT);
    assert_non_null(strstr(m.error.msg, "does not like it"));
    assert_int_equal(m.committed, 3);
    machine_stop(&m);
    machine_release(&m);
}

static void disk_full(void **state)
{
    struct rlimit limit;
    struct machine m;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    machine_init(&m);
    machine_start(&m);
    commit(&m, 10);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 7000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 5 && m.fatal == 0; i++) {
        m.goal = m.value + 10;
        propose(&m, 10);
        uv_run(&m.loop, UV_RUN_DEFAULT);
    }
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(m.fatal, 1);
    assert_int_equal(m.error.code, TX_EIO);
    assert_int_equal(m.committed, m.value);
    propose(&m, 1);
    machine_stop(&m);
    assert_int_equal(m.fatal, 1);
    m.goal = m.value;
    machine_start(&m);
    assert_true(m.value >= 10);
    machine_stop(&m);
    machine_release(&m);
}

/* kill -9 */

static int ack_pipe;

static void on_acked(void *arg, enum replog_result result, uint64_t index)
{
    struct machine *m = arg;

    (void)index;
    if (result == REPLOG_COMMITTED && write(ack_pipe, &m->value, sizeof m->value) != sizeof m->value)
        _exit(3);
}

static void on_tick(uv_timer_t *timer)
{
    struct machine *m = timer->data;

    for (int i = 0; i < 7; i++)
        propose_one(m, on_acked);
}

/* The child's program: proposes without end, and tells each one that it was told of. */
static int propose_until_killed(const char *dir, int fd)
{
    struct machine m = {.options = machine_options(dir)};
    uv_timer_t timer;

    ack_pipe = fd;
    if (uv_loop_init(&m.loop) != 0)
        return 2;
    machine_start(&m);
    uv_timer_init(&m.loop, &timer);
    timer.data = &m;
    uv_timer_start(&timer, on_tick, 0, 1);
    return uv_run(&m.loop, UV_RUN_DEFAULT);
}

/* `crash`: where it is to kill itself, or NULL. */
static pid_t start_child(const char *dir, const char *crash, int *acks)
{
    char fd[16];
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    snprintf(fd, sizeof fd, "%d", fds[1]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (crash != NULL)
            setenv("ASSENT_CRASH", crash, 1);
        execl("/proc/self/exe", "test_replog", "--propose", dir, fd, (char *)NULL);
        _exit(6);
    }
    close(fds[1]);
    *acks = fds[0];
    return pid;
}

/* The last acknowledgement, when at least `enough` has come or nobody writes any more. */
static uint64_t read_acks(int fd, uint64_t last, uint64_t enough)
{
    uint64_t value = 0;

    while (last < enough && read(fd, &value, sizeof value) == sizeof value)
        last = value;
    return last;
}

static void killed(void **state)
{
    uint64_t acked = 0;
    struct machine m;
    int acks, status;
    pid_t pid;

    (void)state;
    machine_init(&m);
    for (uint64_t round = 0; round < 8; round++) {
        pid = start_child(m.dir, NULL, &acks);
        acked = read_acks(acks, acked, acked + 100 + 137 * round);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        acked = read_acks(acks, acked, UINT64_MAX);
        close(acks);
        machine_start(&m);
        assert_true(m.value >= acked);
        acked = m.value;
        machine_stop(&m);
    }
    assert_true(acked > 4000);
    machine_release(&m);
}

/* At each point of a write, a snapshot and a recycling, once early and once late in the log's life. */
static void killed_at_crash_points(void **state)
{
    static const char *const points[] = {
        "coord.before_write=kill",
        "coord.before_write:40=kill",
        "coord.written=kill",
        "coord.written:40=kill",
        "coord.synced=kill",
        "coord.synced:40=kill",
        "coord.snapshot_written=kill",
        "coord.snapshot_written:3=kill",
        "coord.snapshot_renamed=kill",
        "coord.snapshot_renamed:3=kill",
        "coord.segment_recycled=kill",
        "coord.segment_recycled:2=kill",
        "coord.segment_recycled:5=kill",
        "coord.segment_recycled:6=kill",
    };
    uint64_t acked = 0;
    struct machine m;
    int acks, status;
    pid_t pid;

    (void)state;
    machine_init(&m);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        pid = start_child(m.dir, points[i], &acks);
        acked = read_acks(acks, acked, UINT64_MAX);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        close(acks);
        machine_start(&m);
        assert_true(m.value >= acked);
        commit(&m, 10);
        acked = m.value;
        machine_stop(&m);
    }
    machine_release(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leads_alone),
        cmocka_unit_test(applied_again),
        cmocka_unit_test(shares_writes),
        cmocka_unit_test(snapshot_and_rest),
        cmocka_unit_test(disk_is_bounded),
        cmocka_unit_test(proposes_from_callback),
        cmocka_unit_test(every_proposal_ends),
        cmocka_unit_test(close_in_callback),
        cmocka_unit_test(machine_refuses_entry),
        cmocka_unit_test(disk_full),
        cmocka_unit_test(killed),
        cmocka_unit_test(killed_at_crash_points),
    };

    log_init("test_replog", LOG_ERROR);
    if (argc == 4 && strcmp(argv[1], "--propose") == 0)
        return propose_until_killed(argv[2], atoi(argv[3]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
