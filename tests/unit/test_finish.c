/* test_finish: how transactions end, whatever branches and coordinator answer. finish*.c with a coordinator of
 * the test's and a driver whose branches answer by a script; thousands of scripts drawn at random, and after
 * each what must always hold is looked at. A failure prints the seed; TEST_SEED in the environment repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libtx/txn.h"
#include "tests/unit/coordinator_kit.h"

enum { SCRIPTS = 2500, BRANCHES = 3, OPS = OP_ROLLBACK_PREPARED + 1 };

enum decision { DECIDE_COMMIT, DECIDE_ABORT, DECIDE_NO_SESSION, DECIDE_NOTHING, DECISIONS };

/* One branch's script and what was done with it. */
struct script {
    enum branch_answer answers[OPS];
    unsigned busy, delay; /* BUSY so often before the answer to *_PREPARED; steps until an answer */
    unsigned waited;
    unsigned started[OPS];
};

static struct {
    enum decision decision;
    enum txn_return when;
    bool logged;
    struct script branches[BRANCHES];
    size_t n, n_direct;
} play; /* written while the coordinator's thread waits for its mutex */

static atomic_bool asked_commit, asked_abort;

static unsigned long long seed = 20240229;

static unsigned draw(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

/* the driver */

static bool script_ready(struct txn_branch *b)
{
    (void)b;
    return true;
}

static void script_start(struct txn_branch *b, enum branch_op op, uint64_t deadline_ms)
{
    struct script *s = b->link;

    (void)deadline_ms;
    s->started[op]++;
    s->waited = 0;
    /* Nobody may be told «commit» before the coordinator was asked and has said so, nor «rollback» after. */
    if (op == OP_COMMIT_PREPARED)
        assert_true(asked_commit && play.decision == DECIDE_COMMIT);
    if (op == OP_ROLLBACK_PREPARED)
        assert_false(asked_commit && play.decision != DECIDE_ABORT);
}

static bool script_step(struct txn_branch *b)
{
    struct script *s = b->link;
    bool finishing = b->op == OP_COMMIT_PREPARED || b->op == OP_ROLLBACK_PREPARED;

    if (s->waited++ < s->delay)
        return false;
    b->answer = s->answers[b->op];
    if (finishing && s->busy > 0) {
        s->busy--;
        b->answer = ANSWER_BUSY;
    }
    b->wrote = b->answer == ANSWER_YES;
    if (b->answer != ANSWER_YES && b->answer != ANSWER_READ_ONLY)
        err_set(&b->cause, TX_EROLLBACK, "as scripted");
    return true;
}

static size_t script_wants(struct txn_branch *b, struct pollfd *fd, uint64_t *until_ms)
{
    (void)b;
    (void)fd;
    *until_ms = 0;
    return 0;
}

static void script_abandon(struct txn_branch *b)
{
    b->answer = ANSWER_LOST;
    err_set(&b->cause, TX_EROLLBACK, "too late");
}

static void script_release(struct txn_branch *b)
{
    (void)b;
}

static const struct branch_driver script_driver = {script_ready,   script_start,   script_step, script_wants,
                                                   script_abandon, script_release, NULL};

/* the coordinator */

/* Remote branches are prepared by it, so to it a commit may come with them alone. */
static int decide(struct kit *k, const struct wire_message *in, struct wire_message *out)
{
    kit_answer_well(in, out);
    if (in->type == WIRE_OPEN_SESSION)
        out->session.session = k->asked[WIRE_OPEN_SESSION];
    if (in->type != WIRE_DECIDE)
        return 1;
    if (in->decide.verdict == VERDICT_ABORT) {
        asked_abort = true;
        return 1;
    }
    asked_commit = true;
    if (play.decision == DECIDE_ABORT)
        out->decided.verdict = VERDICT_ABORT;
    if (play.decision == DECIDE_NO_SESSION)
        kit_error(out, TX_ESESSION, NULL);
    return play.decision != DECIDE_NOTHING;
}

/* one script */

static enum branch_answer draw_answer(enum branch_op op)
{
    unsigned n = draw(12);

    if (op == OP_ASK && n < 4)
        return ANSWER_READ_ONLY;
    if (op == OP_ROLLBACK)
        return ANSWER_YES;
    return n == 10 ? ANSWER_NO : n == 11 ? ANSWER_LOST : ANSWER_YES;
}

static void draw_play(void)
{
    memset(&play, 0, sizeof play);
    asked_commit = asked_abort = false;
    play.decision = draw(60) == 0 ? DECIDE_NOTHING : (enum decision)(draw(6) < 4 ? 0 : 1 + draw(2));
    play.when = draw(4) == 0 ? TXN_DECISION_LOGGED : TXN_COMPLETED;
    play.logged = draw(5) == 0;
    play.n = 1 + draw(BRANCHES);
    play.n_direct = draw(3) == 0 ? draw((unsigned)play.n + 1) : play.n;
    for (size_t i = 0; i < play.n; i++) {
        struct script *s = &play.branches[i];

        s->busy = draw(8) == 0 ? draw(3) : 0;
        s->delay = draw(2);
        for (int op = OP_ASK; op < OPS; op++)
            s->answers[op] = draw_answer((enum branch_op)op);
    }
}

static void add_branches(struct txn *t)
{
    for (size_t i = 0; i < play.n; i++) {
        char name[] = {'b', (char)('0' + i), '\0'};
        struct txn_branch *b;
        struct tx_error e;

        assert_int_equal(txn_add_branch(t, i < play.n_direct ? BRANCH_DIRECT : BRANCH_REMOTE, name,
                                        &script_driver, &play.branches[i], &b, &e),
                         TX_OK);
    }
}

/* What the caller was told is what happened, as far as anybody can tell by the answers. */
static void check_branch(const struct txn_branch *b, int rc)
{
    const struct script *s = b->link;
    bool remote_decided = b->kind == BRANCH_REMOTE && b->state == BRANCH_ACTIVE && asked_commit;

    assert_int_equal(b->op, OP_NONE);
    assert_true(s->started[OP_ASK] + s->started[OP_PREPARE] <= 2);
    assert_true(s->started[OP_COMMIT] + s->started[OP_PREPARE] <= 1);
    switch (rc) {
    case TX_OK:
        assert_true(b->state == BRANCH_COMMITTED || b->state == BRANCH_READ_ONLY || remote_decided ||
                    (b->state == BRANCH_LEFT && asked_commit && play.decision == DECIDE_COMMIT));
        break;
    case TX_EROLLBACK:
        assert_true(b->state != BRANCH_COMMITTED && b->state != BRANCH_PREPARED && b->state != BRANCH_ACTIVE);
        break;
    case TX_EINDOUBT:
        assert_true(b->state != BRANCH_ROLLED_BACK && b->state != BRANCH_LEFT);
        break;
    default:
        fail_msg("unexpected result %d", rc);
    }
}

/* Every number is acknowledged when its outcome is known, or was never the coordinator's to know; resolved is
 * what was finished here.
 */
static void check_news(struct kit *k, struct tx_client *client, const struct txn *t, int rc)
{
    struct app_session *s = &client->session;
    bool acknowledged, resolved, open = false;

    if (play.decision == DECIDE_NO_SESSION && asked_commit)
        return;
    for (size_t i = 0; i < t->n_branches; i++)
        open |= t->branches[i]->state == BRANCH_LEFT || t->branches[i]->state == BRANCH_UNKNOWN;
    pthread_mutex_lock(&k->mutex);
    pthread_mutex_lock(&s->mutex);
    acknowledged =
        ranges_contains(&s->acknowledged, t->id.sequence) || ranges_contains(&k->acknowledged, t->id.sequence);
    resolved = ranges_contains(&s->resolved, t->id.sequence) || ranges_contains(&k->resolved, t->id.sequence);
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_unlock(&k->mutex);
    assert_int_equal(acknowledged, rc != TX_EINDOUBT || !asked_commit);
    if (resolved)
        assert_true(asked_commit && !open && rc != TX_EINDOUBT);
}

/* The order of the whole: a commit is asked for when all have voted yes, and an abort, if at all, when not. */
static void check_play(const struct txn *t, int rc)
{
    bool no = false;

    for (size_t i = 0; i < t->n_branches; i++) {
        const struct script *s = &play.branches[i];

        no |= (s->started[OP_PREPARE] > 0 && s->answers[OP_PREPARE] != ANSWER_YES) ||
              (s->started[OP_COMMIT_READ_ONLY] > 0 && s->answers[OP_COMMIT_READ_ONLY] != ANSWER_YES) ||
              (s->started[OP_ASK] > 0 && s->answers[OP_ASK] != ANSWER_YES &&
               s->answers[OP_ASK] != ANSWER_READ_ONLY);
        check_branch(t->branches[i], rc);
    }
    if (no) {
        assert_false(asked_commit);
        assert_int_equal(rc, TX_EROLLBACK);
    }
    if (asked_commit && play.decision == DECIDE_COMMIT)
        assert_int_equal(rc, TX_OK);
    if (asked_commit && play.decision == DECIDE_NOTHING)
        assert_int_equal(rc, TX_EINDOUBT);
    if (asked_abort)
        assert_false(asked_commit);
}

static void run_play(struct kit *k, struct tx_client *client)
{
    struct tx_error e;
    struct txn *t;
    int rc;

    assert_int_equal(txn_begin(client, &t, &e), TX_OK);
    if (t->id.sequence == 1) {
        pthread_mutex_lock(&k->mutex);
        ranges_remove(&k->acknowledged, 1, UINT64_MAX);
        ranges_remove(&k->resolved, 1, UINT64_MAX);
        pthread_mutex_unlock(&k->mutex);
    }
    pthread_mutex_lock(&k->mutex);
    draw_play();
    pthread_mutex_unlock(&k->mutex);
    if (play.logged)
        (void)txn_id(t);
    add_branches(t);
    rc = txn_commit(t, play.when, &e);
    check_play(t, rc);
    check_news(k, client, t, rc);
    assert_int_equal(txn_commit(t, play.when, &e), TX_EINVAL);
    txn_free(t);
}

static void holds_whatever_is_answered(void **state)
{
    const char *text = getenv("TEST_SEED");
    struct tx_client_options o = {.commit_timeout_ms = 100, .application_name = "test", .insecure = 1};
    struct kit *k = kit_start(decide);
    struct tx_client *client;
    struct tx_error e;

    (void)state;
    if (text != NULL)
        seed = strtoull(text, NULL, 10);
    o.coordinators = k->address;
    assert_int_equal(tx_client_open(&client, &o, &e), TX_OK);
    for (int i = 0; i < SCRIPTS; i++) {
        print_message(i % 1000 == 0 ? "seed %llu\n" : "", seed);
        run_play(k, client);
    }
    tx_client_close(client);
    kit_stop(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_whatever_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
