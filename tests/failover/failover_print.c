/* failover_print: the table of the failover measurement, and the same as JSON. Called by failover.c. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/failover/failover.h"

const char *const failover_mode_names[FAILOVER_MODES] = {"direct", "remote", "mixed", "logged"};
const char *const failover_fault_names[FAILOVER_FAULTS] = {"kill", "freeze", "stop", "transfer"};

static const char *const fault_texts[FAILOVER_FAULTS] = {"kill -9", "SIGSTOP", "SIGTERM", "node transfer"};

struct figures {
    double min, median, p90, max;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct figures figures_of(const double *values, size_t n)
{
    double sorted[FAILOVER_ROUNDS_MAX];
    struct figures f = {0, 0, 0, 0};

    if (n == 0)
        return f;
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    f.min = sorted[0];
    f.median = n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    f.p90 = sorted[(n * 9 + 9) / 10 - 1];
    f.max = sorted[n - 1];
    return f;
}

void failover_print_head(void)
{
    printf("%-7s %-14s %3s | %-33s | %9s | %9s %8s | %5s %5s %8s %7s %9s %7s\n", "", "", "",
           "first new commit after, ms", "in flight", "commits", "of them", "lost", "half", "in doubt",
           "rolled", "otherwise", "other");
    printf("%-7s %-14s %3s | %8s %8s %7s %7s | %9s | %9s %8s | %5s %5s %8s %7s %9s %7s\n", "mode", "fault", "n",
           "min", "median", "p90", "max", "max, ms", "", "in fl.", "", "", "", "back", "answered", "errors");
}

void failover_print_row(const struct cell *c)
{
    struct figures first = figures_of(c->first_ms, c->n), slowest = figures_of(c->slowest_ms, c->n);

    printf("%-7s %-14s %3zu | %8.1f %8.1f %7.1f %7.1f | %9.1f | %9zu %8zu | %5zu %5zu %8zu %7zu %9zu %7zu\n",
           failover_mode_names[c->mode], fault_texts[c->fault], c->n, first.min, first.median, first.p90,
           first.max, slowest.max, c->committed, c->in_flight, c->lost, c->half, c->in_doubt, c->rolled_back,
           c->otherwise, c->failures);
    fflush(stdout);
}

void failover_print_foot(const char *election, const char *heartbeat)
{
    printf(
        "\nFirst new commit: from the fault to the end of the first commit whose transaction began behind it. "
        "In "
        "flight: the longest\nthat a commit took which was under way at the fault. %d threads are at work.\n\n"
        "What bounds it: after kill -9 and SIGSTOP the others wait for one to two election timeouts (%s; the "
        "leader says\nevery %s that it is there), and the slower of the two decides. Clients then ask every 40 "
        "ms at most who leads;\nagents likewise. With SIGTERM and node transfer there is no election to wait "
        "for.\n",
        FAILOVER_THREADS, election, heartbeat);
}

static cJSON *json_figures(struct figures f)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddNumberToObject(o, "min", f.min);
    cJSON_AddNumberToObject(o, "median", f.median);
    cJSON_AddNumberToObject(o, "p90", f.p90);
    cJSON_AddNumberToObject(o, "max", f.max);
    return o;
}

static cJSON *json_cell(const struct cell *c)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "mode", failover_mode_names[c->mode]);
    cJSON_AddStringToObject(o, "fault", failover_fault_names[c->fault]);
    cJSON_AddNumberToObject(o, "failovers", (double)c->n);
    cJSON_AddItemToObject(o, "first_new_commit_ms", json_figures(figures_of(c->first_ms, c->n)));
    cJSON_AddItemToObject(o, "slowest_in_flight_ms", json_figures(figures_of(c->slowest_ms, c->n)));
    cJSON_AddNumberToObject(o, "committed", (double)c->committed);
    cJSON_AddNumberToObject(o, "in_flight", (double)c->in_flight);
    cJSON_AddNumberToObject(o, "asked_again", (double)c->asked_again);
    cJSON_AddNumberToObject(o, "lost", (double)c->lost);
    cJSON_AddNumberToObject(o, "half", (double)c->half);
    cJSON_AddNumberToObject(o, "in_doubt", (double)c->in_doubt);
    cJSON_AddNumberToObject(o, "rolled_back", (double)c->rolled_back);
    cJSON_AddNumberToObject(o, "answered_otherwise", (double)c->otherwise);
    cJSON_AddNumberToObject(o, "other_errors", (double)c->failures);
    return o;
}

void failover_print_json(const struct cell *cells, size_t n)
{
    cJSON *list = cJSON_CreateArray();
    char *text;

    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(list, json_cell(&cells[i]));
    text = cJSON_Print(list);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(list);
}
