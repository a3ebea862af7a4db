/* verb_resources: the verbs resources and resource. See txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/list.h"
#include "coordinator/txadmin/txadmin.h"

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

static void add_row(struct table *table, const cJSON *r)
{
    bool told = *text_of(r, "agent") != '\0';

    table_add(table, text_of(r, "resource"));
    table_add(table, or_dash(text_of(r, "kind")));
    table_add(table, state_text(r));
    table_add(table, or_dash(text_of(r, "agent")));
    table_add(table, told ? age_text(number_of(r, "heard_ms")) : "-");
    table_add_number(table, number_of(r, "in_doubt"));
    table_add(table, number_of(r, "in_doubt") > 0 ? age_text(number_of(r, "oldest_ms")) : "-");
    table_add(table, recovery_text(r));
    table_add_number(table, number_of(r, "unfinished"));
    table_add(table, or_dash(text_of(r, "error")));
}

enum exit_status verb_resources(const struct arguments *a)
{
    static const struct list list = {
        "resources", "RESOURCE|KIND|STATE|AGENT|>HEARD|>IN DOUBT|>OLDEST|>RECOVERED|>UNFINISHED|PROBLEM",
        add_row, "No resource is registered. An agent (txagentd) registers those that it serves."};
    cJSON *question = caller_question("resources");

    return list_print(a, question, &list);
}

enum exit_status verb_resource(const struct arguments *a)
{
    cJSON *question, *answer;
    enum exit_status status;

    if (strcmp(a->operands[0], "remove") != 0) {
        complain("«resource %s» is nothing that can be done; usage: txadmin resource remove NAME",
                 a->operands[0]);
        return EXIT_USAGE;
    }
    question = caller_question("remove_resource");
    cJSON_AddStringToObject(question, "name", a->operands[1]);
    if (a->json)
        return caller_print(a, question);
    status = caller_ask(a, question, &answer);
    if (status != EXIT_DONE)
        return status;
    printf("Resource %s is removed.\n", a->operands[1]);
    cJSON_Delete(answer);
    return EXIT_DONE;
}
