/* fuzz_record: entries of the log, and what becomes of a ledger that applies them (record.h, ledger.h).
 *
 * Input: an entry; its version counts from 1 modulo the versions there are, for nothing else is worth trying.
 * Checked: what is read can be written again, to the same bytes where the version is this program's; the
 * ledger's snapshot restores to the same; what stands for a transaction never changes.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz_ledger.h"
#include "tests/fuzz/targets.h"

enum { STANDING_MAX = 256 };

/* The verdicts that DECIDE has brought. An operator may decide otherwise, and a restored backup may not know.
 */
struct decided {
    uint64_t session, sequence;
    enum verdict verdict;
};

struct standings {
    size_t n;
    bool off;
    struct decided all[STANDING_MAX];
};

static void note_verdict(struct standings *s, const struct record *r, const struct ledger_result *result)
{
    size_t i = 0;

    if (r->type == RECORD_RESTORE || (r->type == RECORD_DECIDE && r->decide.origin == ORIGIN_OPERATOR))
        s->off = true;
    if (r->type != RECORD_DECIDE || result->verdict == VERDICT_NONE || s->off)
        return;
    while (i < s->n && (s->all[i].session != r->session || s->all[i].sequence != r->sequence))
        i++;
    if (i < s->n)
        fuzz_check(s->all[i].verdict == result->verdict && !result->first);
    else if (i < STANDING_MAX && result->first)
        s->all[s->n++] = (struct decided){r->session, r->sequence, result->verdict};
}

static void apply(struct ledger *l, uint64_t index, const struct record *r, struct standings *standings)
{
    const struct session *s = ledger_session(l, r->session);
    bool open = s != NULL && s->state == SESSION_OPEN;
    struct ledger_result result;

    fuzz_check(ledger_apply(l, index, r, &result) == 0);
    if (r->type == RECORD_DECIDE && r->decide.origin != ORIGIN_OPERATOR && !open) /* the fence */
        fuzz_check(!result.first || result.verdict == VERDICT_ABORT);
    note_verdict(standings, r, &result);
}

/* Of the newest version only: what an older one did not have is written, too. */
static void read_entry(struct ledger *l, const uint8_t *data, size_t len)
{
    static struct record_reader reader;
    struct standings *standings = calloc(1, sizeof *standings);
    struct tx_error e = {0};
    const uint8_t *from;
    struct record r;
    struct buf again;
    int rc;

    fuzz_check(standings != NULL && record_open(&reader, data, len, &e) == 0);
    buf_init(&again);
    for (uint64_t index = 1;; index++) {
        from = reader.cur.p;
        rc = record_next(&reader, &r, &e);
        if (rc != 1)
            break;
        buf_reset(&again);
        record_append(&again, &r);
        fuzz_check(!again.failed);
        if (reader.version == RECORD_VERSION)
            fuzz_check(again.len == (size_t)(reader.cur.p - from) && memcmp(again.data, from, again.len) == 0);
        apply(l, index, &r, standings);
    }
    fuzz_check(rc == 0 || (rc == TX_ECORRUPT && e.code == rc && *e.msg != '\0'));
    buf_release(&again);
    free(standings);
}

void fuzz_record_run(const uint8_t *data, size_t len)
{
    struct ledger *l = ledger_new(FUZZ_GROUP);
    uint8_t *exact;
    struct cur c;

    fuzz_check(l != NULL);
    cur_init(&c, data, len);
    exact = fuzz_bytes(&c, &len);
    if (len > 0) {
        exact[0] = (uint8_t)(1 + (exact[0] + RECORD_VERSION - 1) % RECORD_VERSION);
        read_entry(l, exact, len);
    }
    fuzz_ledger_check(l);
    free(exact);
    ledger_free(l);
}

void fuzz_ledger_entry(struct buf *entry)
{
    static const struct range ranges[] = {{1, 2}, {5, 5}};
    static const struct branch_ref branches[] = {{1, BRANCH_DIRECT, "a", "xid=7", NULL},
                                                 {2, BRANCH_REMOTE, "b", NULL, NULL}};
    static const struct record records[] = {
        {.type = RECORD_ADD_KEY, .key = {{1}, "shop", ROLE_CLIENT, ""}},
        {.type = RECORD_ADD_KEY, .key = {{2}, "bank", ROLE_AGENT, "a,b"}},
        {.type = RECORD_ADD_NODE, .node = {1, "tcp://h:1"}},
        {.type = RECORD_ADD_NODE, .node = {2, "tcp://h:2"}},
        {.type = RECORD_REMOVE_NODE, .node = {.id = 2}},
        {.type = RECORD_ADD_RESOURCE, .resource = {.name = "a", .kind = "postgresql"}},
        {.type = RECORD_DECLARE_RESOURCE, .resource = {"b", "mariadb", "host=h"}},
        {.type = RECORD_ALTER_RESOURCE, .resource = {.name = "a", .settings = "host=k"}},
        {.type = RECORD_REMOVE_RESOURCE, .resource = {.name = "c"}},
        {.type = RECORD_OPEN_SESSION, .open_session = {1, 30000, 60000, "shop", {1}}},
        {.type = RECORD_OPEN_SESSION, .open_session = {2, 30000, 60000, "shop", {0}}},
        {.type = RECORD_OPEN_SESSION, .open_session = {3, 30000, 60000, "shop", {0}}},
        {.type = RECORD_DECIDE,
         .session = 1,
         .sequence = 1,
         .decide = {VERDICT_COMMIT, ORIGIN_CLIENT, 0, NULL, 2, branches}},
        {.type = RECORD_DECIDE,
         .session = 1,
         .sequence = 2,
         .decide = {VERDICT_ABORT, ORIGIN_COORDINATOR, 1, "a vote no", 2, branches}},
        {.type = RECORD_DECIDE,
         .session = 2,
         .sequence = 9,
         .decide = {VERDICT_COMMIT, ORIGIN_OPERATOR, 0, "resolve", 1, branches}},
        {.type = RECORD_END, .session = 1, .sequence = 2},
        {.type = RECORD_HEURISTIC,
         .session = 1,
         .sequence = 1,
         .heuristic = {2, HEURISTIC_ROLLBACK, "b", "rolled back by hand"}},
        {.type = RECORD_ACKNOWLEDGE, .session = 1, .acknowledge = {2, ranges}},
        {.type = RECORD_CLOSE_SESSION, .session = 3},
        {.type = RECORD_EXPIRE_SESSION, .session = 2},
        {.type = RECORD_DROP_SESSION, .session = 2},
    };

    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        record_append(entry, &records[i]);
}

/* What comes too late: a second decision, and one behind the fence. */
static void seed_late(struct fuzz_sink *to)
{
    static const struct branch_ref branch = {1, BRANCH_DIRECT, "a", "xid=7", NULL};
    static const struct record records[] = {
        {.type = RECORD_OPEN_SESSION, .open_session = {1, 30000, 60000, "shop", {0}}},
        {.type = RECORD_DECIDE,
         .session = 1,
         .sequence = 1,
         .decide = {VERDICT_COMMIT, ORIGIN_CLIENT, 0, NULL, 1, &branch}},
        {.type = RECORD_DECIDE,
         .session = 1,
         .sequence = 1,
         .decide = {VERDICT_ABORT, ORIGIN_RECOVERY, 0, "", 0, NULL}},
        {.type = RECORD_EXPIRE_SESSION, .session = 1},
        {.type = RECORD_DECIDE,
         .session = 1,
         .sequence = 2,
         .decide = {VERDICT_COMMIT, ORIGIN_CLIENT, 0, NULL, 1, &branch}},
        {.type = RECORD_END, .session = 1, .sequence = 1},
        {.type = RECORD_DROP_SESSION, .session = 1},
    };
    struct buf entry;

    buf_init(&entry);
    record_begin(&entry);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        record_append(&entry, &records[i]);
    fuzz_put_buf(to, &entry);
}

void fuzz_record_seed(struct fuzz_sink *to)
{
    struct ledger *l = fuzz_ledger_sample();
    struct buf entry, state;
    struct record r = {.type = RECORD_REVOKE_KEY, .key = {{1}, "shop", 0, NULL}};

    buf_init(&entry);
    record_begin(&entry);
    fuzz_ledger_entry(&entry);
    fuzz_put(to, entry.data, entry.len);
    record_append(&entry, &r);
    record_append(&entry, &(struct record){.type = RECORD_FORGET, .session = 1, .sequence = 1});
    fuzz_put_buf(to, &entry);
    buf_init(&state);
    ledger_snapshot(l, &state);
    record_begin(&entry);
    r = (struct record){.type = RECORD_RESTORE, .restore = {0, state.len, (uint32_t)state.len, state.data}};
    record_append(&entry, &r);
    fuzz_put_buf(to, &entry);
    buf_release(&state);
    ledger_free(l);
    seed_late(to);
}
