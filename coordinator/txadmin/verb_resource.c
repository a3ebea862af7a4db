/* verb_resource: the verbs resources and resource. See txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/act.h"
#include "coordinator/txadmin/list.h"
#include "coordinator/txadmin/txadmin.h"
#include "libtx/shared/words.h"

static const char *state_text(const cJSON *r)
{
    if (!truth_of(r, "alive"))
        return "no agent";
    return truth_of(r, "up") ? "up" : "down";
}

/* "4000 of 10000, 2400/s" of the recovery under way; "-" where none is. */
static const char *recovery_text(const cJSON *r)
{
    static char text[96];
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(r, "recovery");

    if (!cJSON_IsObject(v))
        return "-";
    snprintf(text, sizeof text, "%.0f of %.0f, %.0f/s", number_of(v, "resolved"), number_of(v, "found"),
             number_of(v, "rate"));
    return text;
}

/* Who says what it is: an operator did, or the configuration of an agent. */
static const char *origin_text(const cJSON *r)
{
    if (!truth_of(r, "listed"))
        return "nobody";
    return truth_of(r, "declared") ? "operator" : "agent";
}

/* "agent_a +1" where another one serves it, too. */
static const char *agent_text(const cJSON *r)
{
    static char text[96];
    double others = number_of(r, "agents") - 1;

    snprintf(text, sizeof text, others > 0 ? "%s +%.0f" : "%s", text_of(r, "agent"), others);
    return or_dash(text);
}

static void add_row(struct table *table, const cJSON *r)
{
    bool told = *text_of(r, "agent") != '\0';

    table_add(table, text_of(r, "resource"));
    table_add(table, or_dash(text_of(r, "kind")));
    table_add(table, origin_text(r));
    table_add(table, state_text(r));
    table_add(table, agent_text(r));
    table_add(table, told ? age_text(number_of(r, "heard_ms")) : "-");
    table_add_number(table, number_of(r, "in_doubt"));
    table_add(table, number_of(r, "in_doubt") > 0 ? age_text(number_of(r, "oldest_ms")) : "-");
    table_add(table, recovery_text(r));
    table_add_number(table, number_of(r, "unfinished"));
    table_add(table, or_dash(text_of(r, "error")));
    table_add(table, or_dash(text_of(r, "settings")));
}

enum exit_status verb_resources(const struct arguments *a)
{
    static const struct list list = {
        "resources",
        "RESOURCE|KIND|FROM|STATE|AGENT|>HEARD|>IN "
        "DOUBT|>OLDEST|>RECOVERED|>UNFINISHED|PROBLEM|SETTINGS",
        add_row,
        "No resource is registered: txadmin resource add NAME KIND SETTINGS, or start an agent (txagentd) that "
        "serves one."};
    cJSON *question = caller_question("resources");

    return list_print(a, question, &list);
}

/* The registry */

/* A question about the resource that is named. */
static cJSON *question_on(const char *verb, const struct arguments *a)
{
    cJSON *question = caller_question(verb);

    cJSON_AddStringToObject(question, "name", a->operands[1]);
    return question;
}

/* Sends what is to be done; prints `done`, with the name in it. */
static enum exit_status act(const struct arguments *a, cJSON *question, const char *done)
{
    char text[NAME_LIMIT + 160];

    snprintf(text, sizeof text, "Resource %s is %s.", a->operands[1], done);
    return caller_act(a, question, text);
}

static enum exit_status resource_list(const struct arguments *a)
{
    return verb_resources(a);
}

static enum exit_status resource_add(const struct arguments *a)
{
    cJSON *question = question_on("add_resource", a);

    cJSON_AddStringToObject(question, "kind", a->operands[2]);
    cJSON_AddStringToObject(question, "settings", a->n_operands > 3 ? a->operands[3] : "");
    return act(a, question,
               strcmp(a->operands[2], KIND_SERVICE) == 0
                   ? "added; the service that opens a participant of this name serves it"
                   : "added; agents that are started with --serve open it");
}

static enum exit_status resource_alter(const struct arguments *a)
{
    cJSON *question = question_on("alter_resource", a);

    cJSON_AddStringToObject(question, "settings", a->operands[2]);
    return act(a, question, "altered; agents that serve it open it anew (txadmin resource test tries it)");
}

static enum exit_status resource_remove(const struct arguments *a)
{
    return act(a, question_on("remove_resource", a), "removed");
}

/* test */

static void add_check(struct table *table, const cJSON *agent, const cJSON *check)
{
    bool ok = truth_of(check, "ok");

    table_add(table, text_of(agent, "agent"));
    table_add(table, text_of(check, "check"));
    table_add(table, ok ? "ok" : "failed");
    table_add(table, or_dash(text_of(check, "text")));
    table_add(table, or_dash(ok ? "" : text_of(check, "remedy")));
}

static void print_checks(const cJSON *answer)
{
    const cJSON *agent, *check;
    struct table table;

    table_init(&table, "AGENT|CHECK|RESULT|FOUND|WHAT TO DO");
    cJSON_ArrayForEach(agent, cJSON_GetObjectItemCaseSensitive(answer, "agents"))
    {
        const cJSON *tested = cJSON_GetObjectItemCaseSensitive(agent, "tested");

        cJSON_ArrayForEach(check, cJSON_GetObjectItemCaseSensitive(tested, "checks"))
        {
            add_check(&table, agent, check);
        }
        if (*text_of(agent, "unanswered") == '\0')
            continue;
        table_add(&table, text_of(agent, "agent"));
        table_add(&table, "answer");
        table_add(&table, "failed");
        table_add(&table, text_of(agent, "unanswered"));
        table_add(&table, "-");
    }
    table_print(&table);
}

static enum exit_status resource_test(const struct arguments *a)
{
    enum { TEST_MS = 15000 }; /* an agent may have to wait for a server that does not answer */
    struct arguments patient = *a;
    enum exit_status status;
    cJSON *answer;
    double failed;

    if (!a->timeout_given)
        patient.timeout_ms = TEST_MS;
    status = caller_ask(&patient, question_on("test_resource", a), &answer);
    if (status != EXIT_DONE)
        return status;
    failed = number_of(answer, "failed");
    if (a->json) {
        status = caller_print_answer(answer);
        return status != EXIT_DONE || failed == 0 ? status : EXIT_FINDINGS;
    }
    print_checks(answer);
    cJSON_Delete(answer);
    return failed == 0 ? EXIT_DONE : EXIT_FINDINGS;
}

enum exit_status verb_resource(const struct arguments *a)
{
    static const struct act acts[] = {
        {"list", "", 1, 1, resource_list},
        {"add", " NAME KIND [\"SETTINGS\"]", 3, 4, resource_add},
        {"alter", " NAME \"SETTINGS\"", 3, 3, resource_alter},
        {"remove", " NAME", 2, 2, resource_remove},
        {"test", " NAME", 2, 2, resource_test},
        {NULL, NULL, 0, 0, NULL},
    };

    return act_run(a, "resource", acts);
}
