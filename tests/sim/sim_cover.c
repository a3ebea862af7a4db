/* sim_cover: see sim_cover.h. */
#include "tests/sim/sim_cover.h"

static const char *const event_names[] = {"asked",  "chosen", "voted",    "refused",  "overdue",
                                          "stands", "lost",   "presumed", "reported", "ended"};

unsigned __real_commit_step(struct commit *c, enum commit_event event);
unsigned __wrap_commit_step(struct commit *c, enum commit_event event);
unsigned __real_commit_report(struct commit *c, struct commit_branch *b);
unsigned __wrap_commit_report(struct commit *c, struct commit_branch *b);
unsigned __real_commit_report_direct(struct commit *c);
unsigned __wrap_commit_report_direct(struct commit *c);

/* A vote or a report may come through as another event than it was called with; state and reason tell the row.
 */
void cover_commit(enum commit_state before, enum commit_event event, const struct commit *c)
{
    struct commit_row row;

    for (size_t i = 0; commit_row(i, &row); i++) {
        bool votes = (event == COMMIT_VOTED || event == COMMIT_REFUSED) && row.event == COMMIT_REPORTED;

        if (row.state == before && row.next == c->state && row.reason == c->why &&
            (row.event == event || votes))
            sim_tally->commit_rows[i] = 1;
    }
}

unsigned __wrap_commit_step(struct commit *c, enum commit_event event)
{
    enum commit_state before = c->state;
    unsigned actions = __real_commit_step(c, event);

    cover_commit(before, event, c);
    return actions;
}

unsigned __wrap_commit_report(struct commit *c, struct commit_branch *b)
{
    enum commit_state before = c->state;
    unsigned actions = __real_commit_report(c, b);

    cover_commit(before, COMMIT_REPORTED, c);
    return actions;
}

unsigned __wrap_commit_report_direct(struct commit *c)
{
    enum commit_state before = c->state;
    unsigned actions = __real_commit_report_direct(c);

    cover_commit(before, COMMIT_REPORTED, c);
    return actions;
}

void cover_print(FILE *out, const struct tally *t)
{
    struct commit_row row;
    size_t n = 0, reached = 0;

    for (; commit_row(n, &row); n++) {
        reached += t->commit_rows[n];
        if (!t->commit_rows[n])
            fprintf(out, "  not reached  commit: %s, %s: %s\n", commit_state_name(row.state),
                    event_names[row.event], row.reason);
    }
    fprintf(out, "commit.c          %zu of %zu rows\n", reached, n);
}
