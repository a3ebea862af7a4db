/* rm_pg_lineage: whether an xid of a vote still means the same transaction on the PostgreSQL server that
 * answers now; see rm_pg.h. Called by rm_pg_finish.c, when a branch to be committed is not there.
 *
 * same system identifier, same timeline   yes
 * other system identifier                 no: it is another database
 * other timeline                          the history of the present one tells where it left the vote's (its
 *                                         fork). The vote's place in the log lies before: the xid was on record
 *                                         and is never given out again, so yes. Behind, or no fork: no
 *
 * Votes of the time before these were taken name no server, and are taken for this one's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "participant/rm_pg.h"

/* For snprintf: an LSN as PostgreSQL writes it. */
#define LSN "%" PRIX32 "/%" PRIX32
#define LSN_PARTS(lsn) (uint32_t)((lsn) >> 32), (uint32_t)(lsn)

const char *rm_pg_lineage(const struct pg_conn *c, const struct pg_proof *vote, bool *ask,
                          char text[TEXT_LIMIT + 1])
{
    *ask = false;
    if (vote->system[0] == '\0')
        return NULL;
    if (strcmp(vote->system, c->system) != 0) {
        snprintf(text, TEXT_LIMIT + 1,
                 "not prepared: another database answers under this name (system identifier %s at the vote, %s "
                 "now)",
                 vote->system, c->system);
        return text;
    }
    *ask = vote->timeline != c->timeline;
    return NULL;
}

/* The file needs rights that an agent's role should not have, so sql/setup-postgresql.sql makes a function that
 * reads just this one. */
void rm_pg_lineage_question(const struct pg_conn *c, char sql[96])
{
    if (c->rm->superuser)
        snprintf(sql, 96, "SELECT pg_catalog.pg_read_file('pg_wal/%08" PRIX32 ".history')", c->timeline);
    else
        snprintf(sql, 96, "SELECT assent.timeline_history()");
}

bool rm_pg_history_fork(const char *history, uint32_t timeline, uint64_t *lsn)
{
    uint32_t parent, high, low;

    for (const char *line = history; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += strspn(line, "\n");
        if (sscanf(line, "%" SCNu32 " %8" SCNx32 "/%8" SCNx32, &parent, &high, &low) == 3 &&
            parent == timeline) {
            *lsn = (uint64_t)high << 32 | low;
            return true;
        }
    }
    return false;
}

static const char *lineage_of_fork(const struct pg_conn *c, const struct pg_proof *vote, uint64_t fork,
                                   char text[TEXT_LIMIT + 1])
{
    if (vote->lsn != 0 && vote->lsn <= fork)
        return NULL;
    if (vote->lsn == 0)
        snprintf(text, TEXT_LIMIT + 1,
                 "not prepared; the server failed over from timeline %" PRIu32 " to %" PRIu32 " at " LSN
                 " since it was, and nothing tells whether the new one ever had it",
                 vote->timeline, c->timeline, LSN_PARTS(fork));
    else
        snprintf(text, TEXT_LIMIT + 1,
                 "lost in a failover: it was prepared on timeline %" PRIu32 " behind " LSN
                 ", and the server that answers now left that at " LSN " for timeline %" PRIu32,
                 vote->timeline, LSN_PARTS(vote->lsn), LSN_PARTS(fork), c->timeline);
    return text;
}

const char *rm_pg_lineage_answer(const struct pg_conn *c, const struct pg_proof *vote, const PGresult *r,
                                 bool *again, char text[TEXT_LIMIT + 1])
{
    const char *history = rm_pg_value(r, 0);
    uint64_t fork;

    *again = false;
    if (history != NULL && rm_pg_history_fork(history, vote->timeline, &fork))
        return lineage_of_fork(c, vote, fork, text);
    if (history != NULL || rm_pg_is_sqlstate(r, "58P01"))
        snprintf(text, TEXT_LIMIT + 1,
                 "not prepared: it was on timeline %" PRIu32 ", and the server that answers now is on %" PRIu32
                 ", which does not come from that",
                 vote->timeline, c->timeline);
    else if (rm_pg_is_sqlstate(r, "42501") || rm_pg_is_sqlstate(r, "42883") || rm_pg_is_sqlstate(r, "3F000"))
        snprintf(
            text, TEXT_LIMIT + 1,
            "not prepared; the server failed over from timeline %" PRIu32 " to %" PRIu32
            " since it was, and the agent may not ask where (run sql/setup-postgresql.sql in this database)",
            vote->timeline, c->timeline);
    else {
        *again = true;
        rm_pg_error_text(r, text, TEXT_LIMIT + 1);
    }
    return text;
}
