/* verb_status: see txadmin.h. */
#include <stdio.h>

#include "coordinator/txadmin/txadmin.h"

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static void print_node(const cJSON *s)
{
    printf("Coordinator   node %.0f, %s", number_of(s, "node"), text_of(s, "role"));
    if (*text_of(s, "leader") == '\0')
        printf(" (no leader is known)");
    printf(", up %s, version %s\n", age_text(number_of(s, "uptime_ms")), text_of(s, "version"));
    printf("Group         %s\n", text_of(s, "group"));
    printf("Listens on    %s\n", text_of(s, "listen"));
    if (*text_of(s, "leader") != '\0')
        printf("Leader        %s\n", text_of(s, "leader"));
    printf("Data          %s\n", text_of(s, "data_dir"));
}

static void print_log(const cJSON *log)
{
    printf("Log           term %.0f, applied %.0f of %.0f, snapshot at %.0f, %.1f MiB on disk\n",
           number_of(log, "term"), number_of(log, "applied_index"), number_of(log, "last_index"),
           number_of(log, "snapshot_index"), number_of(log, "bytes") / (1 << 20));
}

static void print_ledger(const cJSON *ledger, const cJSON *counters)
{
    printf("Sessions      %.0f open, %.0f ended and kept; %.0f opened and %.0f expired since it started\n",
           number_of(ledger, "open_sessions"),
           number_of(ledger, "sessions") - number_of(ledger, "open_sessions"),
           number_of(counters, "sessions_opened"), number_of(counters, "sessions_expired"));
    printf("Transactions  %.0f in flight, %s kept; %.0f committed, %.0f aborted, %.0f recovered since it "
           "started\n",
           number_of(counters, "in_flight"), count_text(number_of(ledger, "decisions"), "decision"),
           number_of(counters, "committed"), number_of(counters, "aborted"), number_of(counters, "recovered"));
}

/* Of all resources together. */
static void print_recovery(const cJSON *v)
{
    double rate = number_of(v, "rate"), remaining = number_of(v, "remaining");

    if (!cJSON_IsObject(v))
        return;
    printf("Recovery      %.0f of %.0f resolved, %.0f remaining", number_of(v, "resolved"),
           number_of(v, "found"), remaining);
    if (rate > 0)
        printf(", %.0f/s, about %s to go", rate, age_text(remaining / rate * 1000));
    printf("\n");
}

static void print_resources(const cJSON *resources, const cJSON *ledger)
{
    printf("Resources     %.0f, of which %.0f served and up\n", number_of(resources, "total"),
           number_of(resources, "up"));
    if (number_of(resources, "in_doubt") > 0)
        printf("In doubt      %.0f prepared and not finished, the oldest for %s\n",
               number_of(resources, "in_doubt"), age_text(number_of(resources, "oldest_ms")));
    else
        printf("In doubt      no branch\n");
    print_recovery(member(resources, "recovery"));
    if (number_of(ledger, "heuristic") > 0)
        printf("Heuristic     %s to be dealt with: see txadmin transactions\n",
               count_text(number_of(ledger, "heuristic"), "outcome"));
}

enum exit_status verb_status(const struct arguments *a)
{
    cJSON *s;
    enum exit_status status;

    if (a->json)
        return caller_print(a, caller_question("status"));
    status = caller_ask(a, caller_question("status"), &s);
    if (status != EXIT_DONE)
        return status;
    print_node(s);
    print_log(member(s, "log"));
    print_ledger(member(s, "ledger"), member(s, "counters"));
    print_resources(member(s, "resources"), member(s, "ledger"));
    if (cJSON_GetArraySize(member(s, "nodes")) > 1) {
        printf("\n");
        nodes_print(s);
    } else if (*text_of(s, "warning") != '\0') {
        printf("\nWarning: %s.\n", text_of(s, "warning"));
    }
    cJSON_Delete(s);
    return EXIT_DONE;
}
