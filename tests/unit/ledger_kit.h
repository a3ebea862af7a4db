/* ledger_kit: short words for the ledger's tests: one call a record. Each record goes through the codec, as it
 * does in a daemon. */
#ifndef ASSENT_TESTS_LEDGER_KIT_H
#define ASSENT_TESTS_LEDGER_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/ledger.h"

enum { GROUP = 0x6001 };

struct kit {
    struct ledger *l;
    uint64_t index;
    struct ledger_result result; /* of the last record */
};

static inline void kit_init(struct kit *k)
{
    *k = (struct kit){.l = ledger_new(GROUP)};
    assert_non_null(k->l);
}

static inline void kit_release(struct kit *k)
{
    ledger_free(k->l);
}

static inline void kit_apply(struct kit *k, struct record r)
{
    static struct record_reader reader;
    struct record read;
    struct buf entry;

    k->index++;
    if (r.at_ms == 0)
        r.at_ms = 1000 + k->index;
    buf_init(&entry);
    record_begin(&entry);
    record_append(&entry, &r);
    assert_false(entry.failed);
    assert_int_equal(record_open(&reader, entry.data, entry.len, NULL), 0);
    assert_int_equal(record_next(&reader, &read, NULL), 1);
    assert_int_equal(ledger_apply(k->l, k->index, &read, &k->result), 0);
    assert_int_equal(record_next(&reader, &read, NULL), 0);
    buf_release(&entry);
}

/* owner 0: nobody's. Else the number of a key, for kit_key(), too. */
static inline uint64_t kit_open_as(struct kit *k, uint64_t nonce, uint8_t owner)
{
    kit_apply(k, (struct record){.type = RECORD_OPEN_SESSION,
                                 .open_session = {nonce, 30000, 60000, "application", {owner}}});
    return k->result.session;
}

static inline uint64_t kit_open(struct kit *k, uint64_t nonce)
{
    return kit_open_as(k, nonce, 0);
}

/* ADD_KEY where there are roles, else REVOKE_KEY. */
static inline void kit_key(struct kit *k, uint8_t number, const char *name, unsigned roles, const char *grant)
{
    kit_apply(k, (struct record){.type = roles != 0 ? RECORD_ADD_KEY : RECORD_REVOKE_KEY,
                                 .key = {{number}, name, (uint8_t)roles, grant}});
}

static inline const struct ledger_key *kit_known(const struct kit *k, uint8_t number)
{
    const uint8_t key[KEY_SIZE] = {number};

    return ledger_key(k->l, key);
}

/* CLOSE, EXPIRE, DROP: of a session; END, FORGET: of a transaction. */
static inline void kit_do(struct kit *k, enum record_type type, uint64_t session, uint64_t sequence)
{
    kit_apply(k, (struct record){.type = type, .session = session, .sequence = sequence});
}

static inline void kit_decide(struct kit *k, uint64_t session, uint64_t sequence, enum verdict verdict,
                              enum origin origin, size_t n_branches)
{
    static const struct branch_ref branches[] = {{1, BRANCH_DIRECT, "bank_a", "proof", NULL},
                                                 {2, BRANCH_REMOTE, "bank_b", NULL, NULL}};

    kit_apply(k, (struct record){.type = RECORD_DECIDE,
                                 .session = session,
                                 .sequence = sequence,
                                 .decide = {.verdict = (uint8_t)verdict,
                                            .origin = (uint8_t)origin,
                                            .reason = verdict == VERDICT_ABORT ? "no vote" : NULL,
                                            .n_branches = n_branches,
                                            .branches = branches}});
}

static inline void kit_acknowledge(struct kit *k, uint64_t session, uint64_t from, uint64_t to)
{
    const struct range range = {from, to};

    kit_apply(k, (struct record){.type = RECORD_ACKNOWLEDGE, .session = session, .acknowledge = {1, &range}});
}

static inline void kit_heuristic(struct kit *k, uint64_t session, uint64_t sequence, uint16_t branch,
                                 enum heuristic kind)
{
    kit_apply(
        k, (struct record){.type = RECORD_HEURISTIC,
                           .session = session,
                           .sequence = sequence,
                           .heuristic = {branch, (uint8_t)kind, branch == 2 ? "bank_b" : "bank_a", "by hand"}});
}

static inline void kit_resource(struct kit *k, enum record_type type, const char *name, const char *kind)
{
    kit_apply(k, (struct record){.type = type, .resource = {.name = name, .kind = kind}});
}

/* kind NULL: ALTER_RESOURCE. */
static inline void kit_declare(struct kit *k, const char *name, const char *kind, const char *settings)
{
    kit_apply(k, (struct record){.type = kind != NULL ? RECORD_DECLARE_RESOURCE : RECORD_ALTER_RESOURCE,
                                 .resource = {name, kind, settings}});
}

static inline void kit_node(struct kit *k, enum record_type type, uint64_t id, const char *address)
{
    kit_apply(k, (struct record){.type = type, .node = {id, address}});
}

static inline struct ledger_counts kit_counts(const struct kit *k)
{
    struct ledger_counts counts;

    ledger_count(k->l, &counts);
    return counts;
}

/* Both have the same snapshot. */
static inline void kit_assert_same(const struct ledger *a, const struct ledger *b)
{
    struct buf one, two;

    buf_init(&one);
    buf_init(&two);
    ledger_snapshot(a, &one);
    ledger_snapshot(b, &two);
    assert_false(one.failed || two.failed);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    buf_release(&one);
    buf_release(&two);
}

/* Puts the ledger through a snapshot: what is restored says the same again. */
static inline void kit_restore(struct kit *k)
{
    struct ledger *fresh = ledger_new(GROUP);
    struct buf snapshot;

    buf_init(&snapshot);
    ledger_snapshot(k->l, &snapshot);
    assert_int_equal(ledger_restore(fresh, snapshot.data, snapshot.len, NULL), 0);
    kit_assert_same(k->l, fresh);
    ledger_free(k->l);
    k->l = fresh;
    buf_release(&snapshot);
}

#endif
