/* fuzz_ledger: snapshots of a ledger, which come from the disk or from another node (ledger.h).
 *
 * Input: a snapshot; magic and group are put right. Checked: what is taken is written as it came, unless it is
 * of an older version; restores to the same again; takes records; and can be restored as a backup.
 */
#include "tests/fuzz/fuzz_ledger.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/targets.h"

/* Magic (u32), version (u32), group (u64), as ledger_snapshot.c has them. */
enum { AT_VERSION = 4, AT_GROUP = 8, SNAPSHOT_HEAD = 16 };

static bool ask_decision(void *arg, const struct decision *d)
{
    const struct ledger *l = arg;

    fuzz_check(ledger_decision(l, d->id.session, d->id.sequence) == d);
    fuzz_check(d->id.group == ledger_group(l) && d->n_branches <= BRANCH_LIMIT);
    fuzz_check(ledger_session(l, d->id.session) != NULL);
    fuzz_check(ledger_branch_standing(l, &d->id) <= STANDING_LOST);
    fuzz_check(ledger_outcome(l, &d->id) <= STANDING_FOREIGN);
    return true;
}

static bool ask_session(void *arg, const struct session *s)
{
    fuzz_check(ledger_session(arg, s->id) == s);
    return true;
}

void fuzz_ledger_check(const struct ledger *l)
{
    struct ledger *other = ledger_new(ledger_group(l));
    struct buf first, second;

    buf_init(&first);
    buf_init(&second);
    ledger_snapshot(l, &first);
    fuzz_check(other != NULL && ledger_restore(other, first.data, first.len, NULL) == 0);
    ledger_snapshot(other, &second);
    fuzz_check(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    ledger_each_session(l, ask_session, (void *)(uintptr_t)l);
    ledger_each_decision(l, ask_decision, (void *)(uintptr_t)l);
    buf_release(&first);
    buf_release(&second);
    ledger_free(other);
}

bool fuzz_ledger_apply(struct ledger *l, const void *data, size_t len)
{
    static struct record_reader reader;
    struct ledger_result result;
    struct record r;
    int rc = record_open(&reader, data, len, NULL);

    while (rc == 0 && (rc = record_next(&reader, &r, NULL)) == 1)
        rc = ledger_apply(l, 1000, &r, &result);
    return rc == 0;
}

struct ledger *fuzz_ledger_sample(void)
{
    struct ledger *l = ledger_new(FUZZ_GROUP);
    struct buf entry;

    buf_init(&entry);
    record_begin(&entry);
    fuzz_ledger_entry(&entry);
    fuzz_check(l != NULL && fuzz_ledger_apply(l, entry.data, entry.len));
    buf_release(&entry);
    return l;
}

/* As the first and only piece of a backup. */
static void restore_as_backup(const uint8_t *data, size_t len)
{
    const struct record r = {.type = RECORD_RESTORE, .restore = {0, len, (uint32_t)len, data}};
    struct ledger *l = ledger_new(FUZZ_GROUP);
    struct ledger_result result;

    fuzz_check(l != NULL && ledger_apply(l, 1, &r, &result) == 0);
    fuzz_ledger_check(l);
    ledger_free(l);
}

static void use_restored(struct ledger *l, const uint8_t *data, size_t len)
{
    struct buf again, entry;

    buf_init(&again);
    ledger_snapshot(l, &again);
    if (memcmp(again.data, data, AT_GROUP) == 0)
        fuzz_check(again.len == len && memcmp(again.data, data, len) == 0);
    buf_release(&again);
    fuzz_ledger_check(l);
    restore_as_backup(data, len);
    buf_init(&entry);
    record_begin(&entry);
    fuzz_ledger_entry(&entry);
    fuzz_check(fuzz_ledger_apply(l, entry.data, entry.len));
    buf_release(&entry);
    fuzz_ledger_check(l);
}

void fuzz_ledger_run(const uint8_t *data, size_t len)
{
    struct ledger *l = ledger_new(FUZZ_GROUP);
    struct tx_error e = {0};
    struct buf head;
    uint8_t *exact;
    struct cur c;

    buf_init(&head);
    fuzz_check(l != NULL);
    ledger_snapshot(l, &head);
    cur_init(&c, data, len);
    exact = fuzz_bytes(&c, &len);
    if (len >= SNAPSHOT_HEAD) {
        memcpy(exact, head.data, AT_VERSION);
        memcpy(exact + AT_GROUP, head.data + AT_GROUP, SNAPSHOT_HEAD - AT_GROUP);
    }
    if (ledger_restore(l, exact, len, &e) == 0)
        use_restored(l, exact, len);
    else
        fuzz_check((e.code == TX_ECORRUPT || e.code == TX_EPROTO) && *e.msg != '\0');
    buf_release(&head);
    free(exact);
    ledger_free(l);
}

void fuzz_ledger_seed(struct fuzz_sink *to)
{
    struct ledger *l = ledger_new(FUZZ_GROUP), *sample = fuzz_ledger_sample();
    struct buf b;

    buf_init(&b);
    ledger_snapshot(l, &b);
    fuzz_put_buf(to, &b);
    ledger_snapshot(sample, &b);
    fuzz_put_buf(to, &b);
    ledger_free(l);
    ledger_free(sample);
}
