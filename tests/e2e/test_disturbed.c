/* test_disturbed: a man in the middle of all traffic between the real programs (tests/lib/middle.h), under
 * load: he flips bits, loses, doubles, delays and misplaces messages, and lets connections die without an end.
 * All or nothing it is, all the same, and nobody is told what is not so.
 */
#include "tests/lib/middle.h"

static struct middle middle;
static struct kit *const kit = &middle.kit;

enum {
    DISTURBED_MS = 1000,
    MISCHIEF = 2, /* messages in that time, to call it disturbed */
};

static int set_up(void **state)
{
    (void)state;
    middle_settle(&middle);
    return 0;
}

/* A relay's messages, in part, go another's way: into another connection of it. */
static bool cross(void *ctx, struct relay *r, struct relay_message *m)
{
    unsigned *count = ctx;

    if (++*count % 5 != 0)
        return true;
    for (unsigned other = m->connection + 8; other > 0; other--) {
        if (other != m->connection && relay_say(r, other, m->way, m->body, m->len))
            return false;
    }
    return true;
}

/* Everything that is between the first of the relays and the last, step 2: callers and agents, or peers. */
static void disturb(const struct relay_plan *plan, int first, int last, enum kit_mode mode)
{
    size_t before = middle_mischief(&middle);

    kit_load_begin(kit, mode);
    for (int i = first; i <= last; i += first < MIDDLE_FIRST_AGENT ? 2 : 1)
        relay_plan(middle.relays[i], plan);
    kit_hear(kit->load.client, &kit->load.account, DISTURBED_MS);
    if (middle_mischief(&middle) - before < MISCHIEF)
        fail_msg("%zu messages alone were disturbed", middle_mischief(&middle) - before);
    middle_plan(&middle, NULL);
    kit_load_end_mixed(kit);
}

/* Of messages, and of the lengths that nanomsg puts before them. Not of those on a socket file: nanomsg 1.1.5
 * aborts the program that hears a wrong one there, so that who may write to the file may end the program.
 */
static const struct relay_plan flips = {.flip = 150, .break_frame = 30};
static const struct relay_plan flips_alone = {.flip = 150};

static void test_bits_to_callers(void **state)
{
    (void)state;
    disturb(&flips, 0, MIDDLE_FIRST_AGENT - 2, KIT_CROWD);
}

static void test_bits_between_peers(void **state)
{
    (void)state;
    disturb(&flips, 1, MIDDLE_FIRST_AGENT - 1, KIT_DIRECT);
}

static void test_bits_to_agents(void **state)
{
    (void)state;
    disturb(&flips_alone, MIDDLE_FIRST_AGENT, MIDDLES - 1, KIT_REMOTE);
}

/* Established connections that pass nothing on any more, one way, and do not end; new ones do. */

static unsigned last[MIDDLES];

static bool swallow(void *ctx, struct relay *r, struct relay_message *m)
{
    (void)r;
    return m->connection > *(unsigned *)ctx || m->way == RELAY_TO_CALLER;
}

static void swallow_all(int first, int step, int limit)
{
    for (int i = first; i < limit; i += step) {
        const struct relay_plan plan = {.hook = swallow, .ctx = &last[i]};

        last[i] = relay_connection(middle.relays[i]);
        relay_plan(middle.relays[i], &plan);
    }
}

static void test_dead_lines_between_peers(void **state)
{
    (void)state;
    kit_load_begin(kit, KIT_DIRECT);
    for (int i = 1; i < MIDDLE_FIRST_AGENT; i += 2) {
        swallow_all(i, 2, i + 1);
        kit_load_progress(kit, KIT_LOAD_PROGRESS);
        (void)kit_await_group(kit);
    }
    kit_load_end_mixed(kit);
}

static void test_dead_lines_to_callers(void **state)
{
    (void)state;
    kit_load_begin(kit, KIT_REMOTE);
    swallow_all(0, 2, MIDDLE_FIRST_AGENT);
    kit_load_progress(kit, KIT_LOAD_PROGRESS);
    kit_load_end_mixed(kit);
}

static void test_dead_lines_to_agents(void **state)
{
    (void)state;
    kit_load_begin(kit, KIT_REMOTE);
    swallow_all(MIDDLE_FIRST_AGENT, 1, MIDDLES);
    kit_load_progress(kit, KIT_LOAD_PROGRESS);
    kit_load_end_mixed(kit);
}

static void test_rough(void **state)
{
    static const struct relay_plan plan = {.lose = 50, .twice = 200, .late = 300};

    (void)state;
    disturb(&plan, 0, MIDDLE_FIRST_AGENT - 2, KIT_CROWD);
}

static void test_rough_to_agents(void **state)
{
    static const struct relay_plan plan = {.lose = 50, .twice = 200, .late = 300};

    (void)state;
    disturb(&plan, MIDDLE_FIRST_AGENT, MIDDLES - 1, KIT_REMOTE);
}

/* Answers under other questions, of which four are open at once. */
static void test_answers_misplaced(void **state)
{
    static const struct relay_plan plan = {.misplace = 500};

    (void)state;
    kit_load_begin(kit, KIT_CROWD);
    middle_plan(&middle, &plan);
    kit_load_progress(kit, 10 * KIT_LOAD_PROGRESS);
    middle_plan(&middle, NULL);
    assert_true(middle_mischief(&middle) > 0);
    kit_load_end(kit);
}

static void test_connections_crossed(void **state)
{
    static unsigned count;
    static const struct relay_plan plan = {.hook = cross, .ctx = &count};

    (void)state;
    disturb(&plan, 0, MIDDLE_FIRST_AGENT - 2, KIT_CROWD);
}

/* The group */

static int open_group(void **state)
{
    (void)state;
    middle_open(&middle, "disturbed");
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_misplaced),    TEST(test_connections_crossed),      TEST(test_bits_to_callers),
        TEST(test_bits_between_peers),   TEST(test_bits_to_agents),           TEST(test_rough),
        TEST(test_rough_to_agents),      TEST(test_dead_lines_between_peers), TEST(test_dead_lines_to_callers),
        TEST(test_dead_lines_to_agents),
    };

    kit_main(argc, argv);
    return middle_close(&middle, cmocka_run_group_tests(tests, open_group, NULL));
}
