/* Tests of ledger: every record in every situation of a transaction, and the rules that need more than one. */
#include <stdio.h>

#include "tests/unit/ledger_kit.h"

enum { NONCE = 7 };

/* Every record in every situation */

/* One letter a record; all are of transaction 1 in session 1. */
static const char events[] = "oxcdCAaPpkermzRf";

static void event(struct kit *k, char letter)
{
    switch (letter) {
    case 'o': /* the client opens its session: again and again, until it has the answer */
        kit_open(k, NONCE);
        break;
    case 'x':
        kit_do(k, RECORD_EXPIRE_SESSION, 1, 0);
        break;
    case 'c':
        kit_do(k, RECORD_CLOSE_SESSION, 1, 0);
        break;
    case 'd':
        kit_do(k, RECORD_DROP_SESSION, 1, 0);
        break;
    case 'C':
        kit_decide(k, 1, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
        break;
    case 'A':
        kit_decide(k, 1, 1, VERDICT_ABORT, ORIGIN_CLIENT, 2);
        break;
    case 'a': /* nothing was prepared */
        kit_decide(k, 1, 1, VERDICT_ABORT, ORIGIN_COORDINATOR, 0);
        break;
    case 'P':
        kit_decide(k, 1, 1, VERDICT_COMMIT, ORIGIN_OPERATOR, 2);
        break;
    case 'p':
        kit_decide(k, 1, 1, VERDICT_ABORT, ORIGIN_OPERATOR, 2);
        break;
    case 'k':
        kit_acknowledge(k, 1, 1, 1);
        break;
    case 'e':
        kit_do(k, RECORD_END, 1, 1);
        break;
    case 'r':
        kit_heuristic(k, 1, 1, 1, HEURISTIC_ROLLBACK);
        break;
    case 'm':
        kit_heuristic(k, 1, 1, 1, HEURISTIC_COMMIT);
        break;
    case 'z':
        kit_heuristic(k, 1, 1, 1, HEURISTIC_HAZARD);
        break;
    case 'R':
        kit_heuristic(k, 1, 1, 2, HEURISTIC_ROLLBACK);
        break;
    case 'f':
        kit_do(k, RECORD_FORGET, 1, 1);
        break;
    default:
        fail_msg("no event %c", letter);
    }
}

/* The whole situation as text:
 * session  o(pen) c(losed) x (expired), upper case: retention is over; G: gone, and something stands in; -:
 * none record   C(ommit) A(bort), e(nded), k (acknowledged), r m z: heuristic rollback, commit, hazard; -: none
 * then     how it stands for a branch, and for who asks: c(ommit) a(bort) o(pen) f(orgotten) x (foreign) */
static void describe(const struct kit *k, char out[32])
{
    static const char standings[] = "caofx", states[] = "ocx", over_states[] = "?CX", heuristics[] = " mrz";
    const struct txid id = {GROUP, 1, 1, NONCE};
    const struct session *s = ledger_session(k->l, 1);
    const struct decision *d = ledger_decision(k->l, 1, 1);
    char session[2] = "-", record[8] = "-";
    size_t n = 0;

    if (s != NULL)
        session[0] = s->nonce == 0 ? 'G' : (s->retention_over ? over_states : states)[s->state];
    if (d != NULL) {
        record[n++] = d->verdict == VERDICT_COMMIT ? 'C' : 'A';
        if (d->ended)
            record[n++] = 'e';
        if (d->acknowledged)
            record[n++] = 'k';
        if (d->heuristic != HEURISTIC_NONE)
            record[n++] = heuristics[d->heuristic];
        record[n] = '\0';
    }
    snprintf(out, 32, "%s:%s:%c%c", session, record, standings[ledger_branch_standing(k->l, &id)],
             standings[ledger_outcome(k->l, &id)]);
}

/* What a DECIDE was answered: C, A or N(one), 1: the first, F: fenced. */
static void describe_result(const struct kit *k, char out[8])
{
    snprintf(out, 8, "%c%s%s", "NCA"[k->result.verdict], k -> result.first ? "1" : "",
             k->result.fenced ? "F" : "");
}

static void situation(struct kit *k, const char *script)
{
    kit_init(k);
    for (; *script != '\0'; script++)
        event(k, *script);
}

/* What each record does in each situation. «x=…»: the situation afterwards; a record that is not listed changes
 * nothing. «C>C1»: a DECIDE's answer. */
static const struct row {
    const char *script, *before, *after;
} rows[] = {
    {"", "-:-:xx", "o=o:-:oo C>AF A>A a>A P>AF p>A"},
    {"o", "o:-:oo",
     "x=x:-:aa c=-:-:af C=o:C:cc>C1 A=o:A:aa>A1 a=o:A:aa>A1 P=o:C:cc>C1 p=o:A:aa>A1 k=o:-:af "
     "r=o:Aer:aa m=o:Aem:aa z=o:Aez:aa R=o:Aer:aa"},
    {"oC", "o:C:cc",
     "x=x:C:cc c=c:C:cc C>C A>C a>C P>C p>C k=o:Ck:cc e=o:Ce:cc r=o:Cr:cc m=o:Cm:cc z=o:Cz:cc "
     "R=o:Cr:cc"},
    {"oA", "o:A:aa",
     "x=x:A:aa c=c:A:aa C>A A>A a>A P>A p>A k=o:Ak:aa e=o:Ae:aa r=o:Ar:aa m=o:Am:aa z=o:Az:aa "
     "R=o:Ar:aa"},
    {"oCe", "o:Ce:cc",
     "x=x:Ce:cc c=c:Ce:cc C>C A>C a>C P>C p>C k=o:-:af r=o:Cer:cc m=o:Cem:cc z=o:Cez:cc "
     "R=o:Cer:cc"},
    {"oAe", "o:Ae:aa",
     "x=x:-:aa c=-:-:af C>A A>A a>A P>A p>A k=o:-:af r=o:Aer:aa m=o:Aem:aa z=o:Aez:aa R=o:Aer:aa"},
    {"oCk", "o:Ck:cc",
     "x=x:Ck:cc c=c:Ck:cc C>C A>C a>C P>C p>C e=o:-:af r=o:Ckr:cc m=o:Ckm:cc z=o:Ckz:cc "
     "R=o:Ckr:cc"},
    {"oAk", "o:Ak:aa",
     "x=x:Ak:aa c=c:Ak:aa C>A A>A a>A P>A p>A e=o:-:af r=o:Akr:aa m=o:Akm:aa z=o:Akz:aa "
     "R=o:Akr:aa"},
    {"oCek", "o:-:af", "x=x:-:af c=-:-:af C>N A>N a>N P>N p>N r=o:Aekr:af m=o:Aekm:af z=o:Aekz:af R=o:Aekr:af"},
    {"ok", "o:-:af", "x=x:-:af c=-:-:af C>N A>N a>N P>N p>N r=o:Aekr:af m=o:Aekm:af z=o:Aekz:af R=o:Aekr:af"},
    {"oCr", "o:Cr:cc", "x=x:Cr:cc c=c:Cr:cc C>C A>C a>C P>C p>C k=o:Ckr:cc e=o:Cer:cc f=o:C:cc"},
    {"oCz", "o:Cz:cc",
     "x=x:Cz:cc c=c:Cz:cc C>C A>C a>C P>C p>C k=o:Ckz:cc e=o:Cez:cc r=o:Cr:cc m=o:Cm:cc "
     "R=o:Cr:cc f=o:C:cc"},
    {"oCer", "o:Cer:cc", "x=x:Cer:cc c=c:Cer:cc C>C A>C a>C P>C p>C k=o:Cekr:cc f=o:Ce:cc"},
    {"oCerk", "o:Cekr:cc", "x=x:Cekr:cc c=c:Cekr:cc C>C A>C a>C P>C p>C f=o:-:af"},
    {"oCrk", "o:Ckr:cc", "x=x:Ckr:cc c=c:Ckr:cc C>C A>C a>C P>C p>C e=o:Cekr:cc f=o:Ck:cc"},
    {"oCzR", "o:Cr:cc", "x=x:Cr:cc c=c:Cr:cc C>C A>C a>C P>C p>C k=o:Ckr:cc e=o:Cer:cc m=o:Cm:cc f=o:Ce:cc"},
    {"oCzRk", "o:Ckr:cc", "x=x:Ckr:cc c=c:Ckr:cc C>C A>C a>C P>C p>C e=o:Cekr:cc m=o:Ckm:cc f=o:-:af"},
    {"or", "o:Aer:aa", "x=x:Aer:aa c=c:Aer:aa C>A A>A a>A P>A p>A k=o:Aekr:aa f=o:Ae:aa"},
    {"okr", "o:Aekr:af", "x=x:Aekr:af c=c:Aekr:af C>N A>N a>N P>N p>N f=o:-:af"},
    {"ox", "x:-:aa",
     "d=-:-:af C>AF A=x:A:aa>A1 a>A P>AF p=x:A:aa>A1 k=x:-:af r=x:Aer:aa m=x:Aem:aa "
     "z=x:Aez:aa R=x:Aer:aa"},
    {"oc", "-:-:af", "C>N A>N a>N P>N p>N r=G:Aer:af m=G:Aem:af z=G:Aez:af R=G:Aer:af"},
    {"oxk", "x:-:af", "d=-:-:af C>N A>N a>N P>N p>N r=x:Aekr:af m=x:Aekm:af z=x:Aekz:af R=x:Aekr:af"},
    {"oxd", "-:-:af", "C>N A>N a>N P>N p>N r=G:Aer:af m=G:Aem:af z=G:Aez:af R=G:Aer:af"},
    {"oCx", "x:C:cc",
     "d=X:C:cc C>C A>C a>C P>C p>C k=x:Ck:cc e=x:Ce:cc r=x:Cr:cc m=x:Cm:cc z=x:Cz:cc R=x:Cr:cc"},
    {"oCc", "c:C:cc",
     "d=C:C:cc C>C A>C a>C P>C p>C k=c:Ck:cc e=c:Ce:cc r=c:Cr:cc m=c:Cm:cc z=c:Cz:cc R=c:Cr:cc"},
    {"oCex", "x:Ce:cc", "d=-:-:af C>C A>C a>C P>C p>C k=x:-:af r=x:Cer:cc m=x:Cem:cc z=x:Cez:cc R=x:Cer:cc"},
    {"oCec", "c:Ce:cc", "d=-:-:af C>C A>C a>C P>C p>C k=-:-:af r=c:Cer:cc m=c:Cem:cc z=c:Cez:cc R=c:Cer:cc"},
    {"oAex", "x:-:aa",
     "d=-:-:af C>AF A=x:A:aa>A1 a>A P>AF p=x:A:aa>A1 k=x:-:af r=x:Aer:aa m=x:Aem:aa "
     "z=x:Aez:aa R=x:Aer:aa"},
    {"oAx", "x:A:aa",
     "d=X:A:aa C>A A>A a>A P>A p>A k=x:Ak:aa e=x:-:aa r=x:Ar:aa m=x:Am:aa z=x:Az:aa R=x:Ar:aa"},
    {"oAc", "c:A:aa",
     "d=C:A:aa C>A A>A a>A P>A p>A k=c:Ak:aa e=-:-:af r=c:Ar:aa m=c:Am:aa z=c:Az:aa R=c:Ar:aa"},
    {"oCxk", "x:Ck:cc", "d=X:Ck:cc C>C A>C a>C P>C p>C e=x:-:af r=x:Ckr:cc m=x:Ckm:cc z=x:Ckz:cc R=x:Ckr:cc"},
    {"oCxd", "X:C:cc", "C>C A>C a>C P>C p>C e=-:-:af r=X:Cr:cc m=X:Cm:cc z=X:Cz:cc R=X:Cr:cc"},
    {"oCexd", "-:-:af", "C>N A>N a>N P>N p>N r=G:Aer:af m=G:Aem:af z=G:Aez:af R=G:Aer:af"},
    {"oCrx", "x:Cr:cc", "d=X:Cr:cc C>C A>C a>C P>C p>C k=x:Ckr:cc e=x:Cer:cc f=x:Ck:cc"},
    {"oCerx", "x:Cer:cc", "d=X:Cer:cc C>C A>C a>C P>C p>C k=x:Cekr:cc f=x:-:af"},
    {"oCerc", "c:Cer:cc", "d=C:Cer:cc C>C A>C a>C P>C p>C k=c:Cekr:cc f=-:-:af"},
    {"oCzx", "x:Cz:cc",
     "d=X:Cz:cc C>C A>C a>C P>C p>C k=x:Ckz:cc e=x:Cez:cc r=x:Cr:cc m=x:Cm:cc R=x:Cr:cc "
     "f=x:Ck:cc"},
    {"oCerxd", "X:Cer:cc", "C>C A>C a>C P>C p>C f=-:-:af"},
    {"oxr", "x:Aer:aa", "d=X:Aer:aa C>A A>A a>A P>A p>A k=x:Aekr:aa f=x:-:af"},
    {"oxA", "x:A:aa",
     "d=X:A:aa C>A A>A a>A P>A p>A k=x:Ak:aa e=x:-:aa r=x:Ar:aa m=x:Am:aa z=x:Az:aa R=x:Ar:aa"},
    {"oxdr", "G:Aer:af", "C>N A>N a>N P>N p>N f=-:-:af"},
    {"oxrd", "X:Aer:aa", "C>A A>A a>A P>A p>A f=-:-:af"},
    {"okxr", "x:Aekr:af", "d=X:Aekr:af C>N A>N a>N P>N p>N f=x:-:af"},
};

/* The entry of `letter` in a row, copied without letter; false: not listed. */
static bool row_entry(const struct row *row, char letter, char out[64])
{
    const char *at = row->after;

    while (at != NULL && *at != letter) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL || *at == '\0')
        return false;
    snprintf(out, 64, "%.*s", (int)strcspn(at + 1, " "), at + 1);
    return true;
}

static void assert_event(const struct row *row, char letter, bool restore)
{
    char entry[64] = "", expected[32], answer[8] = "", got[32], got_answer[8];
    struct kit k;

    if (!row_entry(row, letter, entry) || sscanf(entry, "=%31[^>]", expected) != 1)
        snprintf(expected, sizeof expected, "%s", row->before);
    if (strchr(entry, '>') != NULL)
        snprintf(answer, sizeof answer, "%s", strchr(entry, '>') + 1);
    situation(&k, row->script);
    if (restore)
        kit_restore(&k);
    event(&k, letter);
    describe(&k, got);
    describe_result(&k, got_answer);
    if (strcmp(got, expected) != 0 || (answer[0] != '\0' && strcmp(got_answer, answer) != 0))
        fail_msg("'%s' then '%c': %s %s, expected %s %s", row->script, letter, got, got_answer, expected,
                 answer);
    kit_release(&k);
}

static void test_every_record_in_every_situation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kit k;
        char got[32];

        situation(&k, rows[i].script);
        describe(&k, got);
        assert_string_equal(got, rows[i].before);
        kit_release(&k);
        for (const char *letter = events; *letter != '\0'; letter++) {
            assert_event(&rows[i], *letter, false);
            assert_event(&rows[i], *letter, true);
        }
    }
}

/* A record told twice leaves what it leaves told once, in any situation: its proposer may repeat it. */
static void test_every_record_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (const char *letter = events; *letter != '\0'; letter++) {
            struct kit once, twice;

            situation(&once, rows[i].script);
            event(&once, *letter);
            situation(&twice, rows[i].script);
            event(&twice, *letter);
            event(&twice, *letter);
            kit_assert_same(once.l, twice.l);
            kit_release(&once);
            kit_release(&twice);
        }
    }
}

/* Sessions */

static void test_open_session(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    assert_int_equal(kit_open(&k, 11), 1);
    assert_int_equal(kit_open(&k, 12), 2);
    assert_int_equal(kit_open(&k, 11), 1);
    assert_int_equal(kit_counts(&k).sessions, 2);
    assert_int_equal(ledger_session(k.l, 1)->opened_ms, 1001);
    kit_do(&k, RECORD_EXPIRE_SESSION, 1, 0);
    assert_int_equal(kit_open(&k, 11), 3);
    assert_int_equal(kit_counts(&k).open_sessions, 2);
    assert_int_equal(kit_counts(&k).next_session, 4);
    assert_int_equal(ledger_session(k.l, 1)->ended_ms, 1004);
    assert_string_equal(ledger_session(k.l, 3)->name, "application");
    assert_int_equal(ledger_session(k.l, 3)->session_timeout_ms, 30000);
    assert_int_equal(ledger_session(k.l, 3)->transaction_timeout_ms, 60000);
    kit_release(&k);
}

static void test_foreign(void **state)
{
    const struct txid right = {GROUP, 1, 1, NONCE}, group = {GROUP + 1, 1, 1, NONCE},
                      later = {GROUP, 2, 1, NONCE}, none = {GROUP, 0, 1, NONCE},
                      nonce = {GROUP, 1, 1, NONCE + 1};
    struct kit k;

    (void)state;
    situation(&k, "oC");
    assert_int_equal(ledger_branch_standing(k.l, &right), STANDING_COMMIT);
    assert_int_equal(ledger_branch_standing(k.l, &group), STANDING_FOREIGN);
    assert_int_equal(ledger_branch_standing(k.l, &later), STANDING_FOREIGN);
    assert_int_equal(ledger_branch_standing(k.l, &none), STANDING_FOREIGN);
    assert_int_equal(ledger_branch_standing(k.l, &nonce), STANDING_FOREIGN);
    assert_int_equal(ledger_outcome(k.l, &group), STANDING_FOREIGN);
    assert_int_equal(ledger_outcome(k.l, &nonce), STANDING_FOREIGN);
    kit_release(&k);
}

/* Nothing is known of a gone session's nonce, whether or not something stands in for it. */
static void test_gone_session_takes_any_nonce(void **state)
{
    const struct txid other = {GROUP, 1, 2, NONCE + 1};
    struct kit k;

    (void)state;
    situation(&k, "oxd");
    assert_int_equal(ledger_branch_standing(k.l, &other), STANDING_ABORT);
    event(&k, 'r');
    assert_int_equal(ledger_branch_standing(k.l, &other), STANDING_ABORT);
    assert_int_equal(ledger_outcome(k.l, &other), STANDING_FORGOTTEN);
    kit_restore(&k);
    assert_int_equal(ledger_branch_standing(k.l, &other), STANDING_ABORT);
    assert_int_equal(ledger_decision(k.l, 1, 1)->id.nonce, 0);
    /* It fences like any session that is gone, and takes no acknowledgements. */
    kit_acknowledge(&k, 1, 2, 2);
    assert_int_equal(ledger_session(k.l, 1)->acknowledged->n, 0);
    kit_decide(&k, 1, 2, VERDICT_ABORT, ORIGIN_CLIENT, 2);
    assert_int_equal(k.result.verdict, VERDICT_NONE);
    assert_int_equal(kit_counts(&k).decisions, 1);
    event(&k, 'f');
    assert_int_equal(kit_counts(&k).sessions, 0);
    kit_release(&k);
}

/* A heuristic outcome told under a number not given out yet must not take the number. */
static void test_session_never_opened(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    for (const char *letter = events + 1; *letter != '\0'; letter++)
        event(&k, *letter);
    kit_heuristic(&k, 0, 1, 1, HEURISTIC_COMMIT);
    assert_int_equal(kit_counts(&k).sessions, 0);
    assert_int_equal(kit_counts(&k).decisions, 0);
    assert_int_equal(kit_open(&k, NONCE), 1);
    kit_release(&k);
}

/* DROP takes what has ended and leaves the rest, and the session with it. */
static void test_drop_session(void **state)
{
    const struct txid dropped = {GROUP, 1, 1, NONCE};
    struct kit k;

    (void)state;
    situation(&k, "oCe");
    kit_decide(&k, 1, 2, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    kit_do(&k, RECORD_EXPIRE_SESSION, 1, 0);
    kit_do(&k, RECORD_DROP_SESSION, 1, 0);
    assert_null(ledger_decision(k.l, 1, 1));
    assert_non_null(ledger_decision(k.l, 1, 2));
    assert_int_equal(ledger_session(k.l, 1)->n_decisions, 1);
    assert_int_equal(ledger_outcome(k.l, &dropped), STANDING_FORGOTTEN);
    /* It was COMMIT: a late double must not be told ABORT now. */
    kit_decide(&k, 1, 1, VERDICT_COMMIT, ORIGIN_CLIENT, 2);
    assert_int_equal(k.result.verdict, VERDICT_NONE);
    assert_false(k.result.first || k.result.fenced);
    kit_do(&k, RECORD_END, 1, 2);
    assert_null(ledger_session(k.l, 1));
    kit_release(&k);
}

/* Decisions */

static void test_decision_content(void **state)
{
    const struct decision *d;
    struct txid expected = {GROUP, 1, 1, NONCE};
    struct kit k;

    (void)state;
    situation(&k, "oC");
    kit_restore(&k);
    d = ledger_decision(k.l, 1, 1);
    assert_true(txid_equal(&d->id, &expected));
    assert_int_equal(d->verdict, VERDICT_COMMIT);
    assert_int_equal(d->origin, ORIGIN_CLIENT);
    assert_false(d->agents_finish);
    assert_null(d->reason);
    assert_int_equal(d->index, 2);
    assert_int_equal(d->at_ms, 1002);
    assert_int_equal(d->n_branches, 2);
    assert_int_equal(d->branches[1].number, 2);
    assert_int_equal(d->branches[1].kind, BRANCH_REMOTE);
    assert_string_equal(d->branches[0].resource, "bank_a");
    assert_string_equal(d->branches[0].proof, "proof");
    assert_null(d->branches[1].proof);
    kit_decide(&k, 1, 2, VERDICT_ABORT, ORIGIN_RECOVERY, 0);
    assert_string_equal(ledger_decision(k.l, 1, 2)->reason, "no vote");
    assert_int_equal(ledger_decision(k.l, 1, 2)->origin, ORIGIN_RECOVERY);
    kit_release(&k);
}

/* Both ways of finding the records of a range. */
static void test_acknowledge_ranges(void **state)
{
    const struct range wide[] = {{1, UINT64_MAX}}, few[] = {{2, 3}, {9, 9}};
    struct kit k;

    (void)state;
    for (int way = 0; way < 2; way++) {
        kit_init(&k);
        kit_open(&k, NONCE);
        for (uint64_t sequence = 1; sequence <= 10; sequence++) {
            kit_decide(&k, 1, sequence, VERDICT_COMMIT, ORIGIN_CLIENT, 1);
            if (sequence != 3)
                kit_do(&k, RECORD_END, 1, sequence);
        }
        kit_apply(&k, (struct record){.type = RECORD_ACKNOWLEDGE,
                                      .session = 1,
                                      .acknowledge = {way == 0 ? 1 : 2, way == 0 ? wide : few}});
        assert_int_equal(kit_counts(&k).decisions, way == 0 ? 1 : 8);
        assert_true(ledger_decision(k.l, 1, 3)->acknowledged);
        kit_do(&k, RECORD_END, 1, 3);
        assert_null(ledger_decision(k.l, 1, 3));
        kit_release(&k);
    }
}

/* Heuristic outcomes */

static void test_heuristic_texts(void **state)
{
    const struct decision *d;
    struct kit k;

    (void)state;
    situation(&k, "oCzm");
    kit_heuristic(&k, 1, 1, 9, HEURISTIC_HAZARD);
    kit_apply(&k, (struct record){.type = RECORD_HEURISTIC,
                                  .session = 1,
                                  .sequence = 1,
                                  .heuristic = {9, HEURISTIC_HAZARD, "bank_a", "again"}});
    kit_restore(&k);
    d = ledger_decision(k.l, 1, 1);
    assert_int_equal(d->heuristic, HEURISTIC_COMMIT);
    assert_int_equal(d->n_branches, 3);
    assert_int_equal(d->branches[0].heuristic, HEURISTIC_COMMIT);
    assert_string_equal(d->branches[0].heuristic_text, "by hand");
    assert_string_equal(d->branches[0].proof, "proof");
    assert_int_equal(d->branches[1].heuristic, HEURISTIC_NONE);
    assert_int_equal(d->branches[2].number, 9);
    assert_int_equal(d->branches[2].heuristic, HEURISTIC_HAZARD);
    assert_string_equal(d->branches[2].resource, "bank_a");
    assert_string_equal(d->branches[2].heuristic_text, "by hand");
    assert_int_equal(kit_counts(&k).heuristic, 1);
    kit_do(&k, RECORD_FORGET, 1, 1);
    d = ledger_decision(k.l, 1, 1);
    assert_int_equal(d->heuristic, HEURISTIC_NONE);
    assert_null(d->branches[0].heuristic_text);
    assert_int_equal(kit_counts(&k).heuristic, 0);
    kit_release(&k);
}

/* ◆ A record whose other branch may still be prepared outlives the operator's forgetting, or that branch would
 * be told ABORT. */
static void test_forget_keeps_what_others_need(void **state)
{
    const struct txid id = {GROUP, 1, 1, NONCE};
    struct kit k;

    (void)state;
    situation(&k, "oCrkf");
    assert_int_equal(ledger_branch_standing(k.l, &id), STANDING_COMMIT);
    event(&k, 'e');
    assert_null(ledger_decision(k.l, 1, 1));
    kit_release(&k);
}

static void test_heuristic_when_full(void **state)
{
    struct kit k;

    (void)state;
    situation(&k, "oC");
    for (uint16_t branch = 1; branch <= BRANCH_LIMIT + 5; branch++)
        kit_heuristic(&k, 1, 1, branch, HEURISTIC_HAZARD);
    assert_int_equal(ledger_decision(k.l, 1, 1)->n_branches, BRANCH_LIMIT);
    kit_heuristic(&k, 1, 1, BRANCH_LIMIT, HEURISTIC_COMMIT);
    assert_int_equal(ledger_decision(k.l, 1, 1)->heuristic, HEURISTIC_COMMIT);
    kit_release(&k);
}

/* Resources and walks */

static void test_resources(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    kit_resource(&k, RECORD_ADD_RESOURCE, "bank_a", "postgresql");
    kit_resource(&k, RECORD_ADD_RESOURCE, "bank_b", "postgresql");
    kit_resource(&k, RECORD_ADD_RESOURCE, "bank_a", "mariadb");
    assert_int_equal(kit_counts(&k).resources, 2);
    assert_string_equal(ledger_resource(k.l, "bank_a")->kind, "mariadb");
    assert_int_equal(ledger_resource(k.l, "bank_a")->added_ms, 1001);
    kit_restore(&k);
    assert_string_equal(ledger_resource(k.l, "bank_a")->kind, "mariadb");
    kit_resource(&k, RECORD_REMOVE_RESOURCE, "bank_a", NULL);
    kit_resource(&k, RECORD_REMOVE_RESOURCE, "bank_c", NULL);
    assert_null(ledger_resource(k.l, "bank_a"));
    assert_int_equal(kit_counts(&k).resources, 1);
    kit_release(&k);
}

struct walk {
    uint64_t seen[8];
    size_t n, stop_at;
};

static bool walk_note(struct walk *w, uint64_t v)
{
    w->seen[w->n++] = v;
    return w->n != w->stop_at;
}

static bool walk_session(void *arg, const struct session *s)
{
    return walk_note(arg, s->id);
}

static bool walk_decision(void *arg, const struct decision *d)
{
    return walk_note(arg, d->id.sequence);
}

static bool walk_resource(void *arg, const struct ledger_resource *r)
{
    return walk_note(arg, (uint64_t)r->name[0]);
}

static void assert_walk(const struct walk *w, const char *expected)
{
    assert_int_equal(w->n, strlen(expected));
    for (size_t i = 0; i < w->n; i++)
        assert_int_equal(w->seen[i], expected[i]);
}

static void test_walks(void **state)
{
    struct kit k;

    (void)state;
    kit_init(&k);
    for (uint64_t nonce = 1; nonce <= 3; nonce++)
        kit_open(&k, nonce);
    for (uint64_t sequence = 'c'; sequence >= 'a'; sequence--)
        kit_decide(&k, 2, sequence, VERDICT_COMMIT, ORIGIN_CLIENT, 1);
    kit_resource(&k, RECORD_ADD_RESOURCE, "z", "postgresql");
    kit_resource(&k, RECORD_ADD_RESOURCE, "a", "postgresql");
    for (size_t stop_at = 0; stop_at < 2; stop_at++) {
        struct walk sessions = {.stop_at = stop_at}, decisions = sessions, resources = sessions;

        kit_restore(&k);
        ledger_each_session(k.l, walk_session, &sessions);
        ledger_each_decision(k.l, walk_decision, &decisions);
        ledger_each_resource(k.l, walk_resource, &resources);
        assert_walk(&sessions, stop_at == 0 ? "\1\2\3" : "\1");
        assert_walk(&decisions, stop_at == 0 ? "cba" : "c");
        assert_walk(&resources, stop_at == 0 ? "za" : "z");
    }
    assert_int_equal(ledger_group(k.l), GROUP);
    kit_release(&k);
    ledger_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_record_in_every_situation),
        cmocka_unit_test(test_every_record_twice),
        cmocka_unit_test(test_open_session),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_gone_session_takes_any_nonce),
        cmocka_unit_test(test_session_never_opened),
        cmocka_unit_test(test_drop_session),
        cmocka_unit_test(test_decision_content),
        cmocka_unit_test(test_acknowledge_ranges),
        cmocka_unit_test(test_heuristic_texts),
        cmocka_unit_test(test_forget_keeps_what_others_need),
        cmocka_unit_test(test_heuristic_when_full),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
