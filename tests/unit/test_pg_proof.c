/* test_pg_proof: the text of a PostgreSQL vote, there and back; and the histories of timelines. Without a
 * server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libtx/pg_system.h"
#include "participant/rm_pg.h"

static void same(const struct pg_proof *a, const struct pg_proof *b)
{
    assert_string_equal(a->xid, b->xid);
    assert_string_equal(a->system, b->system);
    assert_int_equal(a->timeline, b->timeline);
    assert_true(a->lsn == b->lsn);
}

/* What is left out is not known. */
static void comes_back_as_it_was(void **state)
{
    static const struct {
        struct pg_proof proof;
        const char *text;
    } cases[] = {
        {{.xid = "747"}, "xid=747"},
        {{.xid = "747", .system = "7710375513606715811", .timeline = 3},
         "xid=747 sys=7710375513606715811 tli=3"},
        {{.xid = "747", .system = "7710375513606715811", .timeline = 3, .lsn = 0x16B3748},
         "xid=747 sys=7710375513606715811 tli=3 lsn=0/16B3748"},
        {{.xid = "18446744073709551615",
          .system = "-9223372036854775808",
          .timeline = UINT32_MAX,
          .lsn = UINT64_MAX},
         "xid=18446744073709551615 sys=-9223372036854775808 tli=4294967295 lsn=FFFFFFFF/FFFFFFFF"},
    };
    char text[PROOF_LIMIT + 1];
    struct pg_proof p;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pg_proof_format(&cases[i].proof, text);
        assert_string_equal(text, cases[i].text);
        assert_true(pg_proof_parse(text, &p));
        same(&p, &cases[i].proof);
    }
}

/* A place in the log without its timeline tells nothing. */
static void leaves_out_what_is_no_use_alone(void **state)
{
    const struct pg_proof none = {.system = "1", .timeline = 1, .lsn = 1},
                          no_system = {.xid = "5", .timeline = 1},
                          no_timeline = {.xid = "5", .system = "1", .lsn = 1};
    char text[PROOF_LIMIT + 1];

    (void)state;
    pg_proof_format(&none, text);
    assert_string_equal(text, "");
    pg_proof_format(&no_system, text);
    assert_string_equal(text, "xid=5");
    pg_proof_format(&no_timeline, text);
    assert_string_equal(text, "xid=5");
}

static void refuses_other_texts(void **state)
{
    static const char *const texts[] = {
        "",
        "xid=",
        "xid=x",
        "xid=123456789012345678901",
        "statements=3",
        "xid=5 ",
        "xid=5 epoch=1.2",
        "xid=5 sys=1",
        "xid=5 sys=1 tli=0",
        "xid=5 sys=1 tli=1 ",
        "xid=5 sys=1 tli=1 lsn=",
        "xid=5 sys=1 tli=1 lsn=0/1 ",
        "xid=5 sys=1 tli=1 lsn=0/1 more",
        "xid=5 sys=1 tli=4294967297",
        "xid=5 sys=1 tli=01",
        "xid=5 sys=1 tli=1 lsn=0",
        "xid=5 sys=1 tli=1 lsn=//",
        "xid=5 sys=1 tli=1 lsn=0/0",
        "xid=5 sys=1 tli=1 lsn=0/01",
        "xid=5 tli=1 sys=1",
        " xid=5",
    };
    struct pg_proof p;

    (void)state;
    assert_false(pg_proof_parse(NULL, &p));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (pg_proof_parse(texts[i], &p))
            fail_msg("taken for a proof: «%s»", texts[i]);
    }
}

static void reads_places_and_timelines(void **state)
{
    (void)state;
    assert_true(pg_lsn_parse("0/16B3748") == 0x16B3748);
    assert_true(pg_lsn_parse("1A/0") == 0x1A00000000);
    assert_true(pg_lsn_parse("FFFFFFFF/FFFFFFFF") == UINT64_MAX);
    assert_true(pg_lsn_parse(NULL) == 0 && pg_lsn_parse("") == 0 && pg_lsn_parse("16B3748") == 0 &&
                pg_lsn_parse("0/1 ") == 0 && pg_lsn_parse("0/1FFFFFFFF") == 0);
    assert_true(pg_lsn_parse("-1/0") == 0 && pg_lsn_parse(" 1/0") == 0 && pg_lsn_parse("0x1/0") == 0);
    assert_int_equal(pg_timeline_parse("0000000A000000010000007F"), 10);
    assert_int_equal(pg_timeline_parse(NULL), 0);
    assert_int_equal(pg_timeline_parse(""), 0);
    assert_int_equal(pg_timeline_parse("0000000A"), 0);
    assert_int_equal(pg_timeline_parse("0000000A000000010000007F.partial"), 0);
}

static const char history[] = "1\t0/3000148\tno recovery target specified\n"
                              "\n"
                              "# a comment is no timeline: 3 0/1\n"
                              "2\t1/A0\tbefore 2026-01-01 00:00:00+00\n";

static void finds_the_fork(void **state)
{
    uint64_t fork = 0;

    (void)state;
    assert_true(rm_pg_history_fork(history, 1, &fork));
    assert_true(fork == 0x3000148);
    assert_true(rm_pg_history_fork(history, 2, &fork));
    assert_true(fork == 0x1000000A0);
    assert_false(rm_pg_history_fork(history, 3, &fork));
    assert_false(rm_pg_history_fork("", 1, &fork));
    assert_false(rm_pg_history_fork("\n\n", 1, &fork));
}

static const char *lineage(const char *system, uint32_t timeline, bool *ask, char text[TEXT_LIMIT + 1])
{
    const struct pg_proof vote = {.xid = "5", .system = "77", .timeline = 2, .lsn = 1};
    struct pg_conn c = {.timeline = timeline};

    snprintf(c.system, sizeof c.system, "%s", system);
    return rm_pg_lineage(&c, &vote, ask, text);
}

static void knows_the_same_server_from_another(void **state)
{
    const struct pg_proof old = {.xid = "5"};
    const struct pg_conn c = {.system = "77", .timeline = 9};
    char text[TEXT_LIMIT + 1];
    bool ask;

    (void)state;
    assert_null(lineage("77", 2, &ask, text));
    assert_false(ask);
    assert_null(lineage("77", 3, &ask, text));
    assert_true(ask);
    assert_null(lineage("77", 1, &ask, text));
    assert_true(ask);
    assert_non_null(lineage("78", 2, &ask, text));
    assert_false(ask);
    assert_non_null(strstr(text, "77 at the vote, 78 now"));
    assert_null(rm_pg_lineage(&c, &old, &ask, text)); /* a proof that names no server */
    assert_false(ask);
}

static void one_phase_proof_holds_an_incarnation(void **state)
{
    static const char incarnation[] = "1763675418.123456/FFFFFFFF";
    char text[PROOF_LIMIT + 1], xid[PG_XID_SIZE], epoch[PG_EPOCH_SIZE];

    (void)state;
    rm_pg_proof_format_one_phase("18446744073709551615", incarnation, text);
    assert_true(rm_pg_proof_parse_one_phase(text, xid, epoch));
    assert_string_equal(xid, "18446744073709551615");
    assert_string_equal(epoch, incarnation);
    assert_true(rm_pg_proof_parse_one_phase("xid=5 epoch=1763675418.123456", xid, epoch));
    assert_string_equal(epoch, "1763675418.123456");
    assert_true(rm_pg_proof_parse_one_phase("xid=5", xid, epoch));
    assert_string_equal(epoch, "");
    assert_false(rm_pg_proof_parse_one_phase("xid=5 epoch=x", xid, epoch));
}

static void knows_a_connections_server_for_a_while(void **state)
{
    static struct pg_systems systems;
    struct pg_system one = {.conn = &one, .pid = 7, .fd = 3, .system = "77"},
                     again = {.conn = &one, .pid = 7, .fd = 3};
    struct pg_system reconnected = {.conn = &one, .pid = 8, .fd = 3},
                     other = {.conn = &other, .pid = 7, .fd = 3};

    (void)state;
    pg_system_find(&systems, &again, 1000);
    assert_string_equal(again.system, "");
    pg_system_note(&systems, &one, 1000);
    pg_system_find(&systems, &again, 1000 + PG_SYSTEM_MS - 1);
    assert_string_equal(again.system, "77");
    pg_system_find(&systems, &reconnected, 1000);
    assert_string_equal(reconnected.system, "");
    pg_system_find(&systems, &other, 1000);
    assert_string_equal(other.system, "");
    pg_system_find(&systems, &again, 1000 + PG_SYSTEM_MS);
    assert_string_equal(again.system, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(leaves_out_what_is_no_use_alone),
        cmocka_unit_test(refuses_other_texts),
        cmocka_unit_test(reads_places_and_timelines),
        cmocka_unit_test(finds_the_fork),
        cmocka_unit_test(knows_the_same_server_from_another),
        cmocka_unit_test(one_phase_proof_holds_an_incarnation),
        cmocka_unit_test(knows_a_connections_server_for_a_while),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
