/* verb_sessions: see txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/table.h"
#include "coordinator/txadmin/txadmin.h"

static void add_row(struct table *table, const cJSON *s)
{
    bool open = strcmp(text_of(s, "state"), "open") == 0;

    table_add_number(table, number_of(s, "session"));
    table_add(table, or_dash(text_of(s, "application")));
    table_add(table, text_of(s, "state"));
    table_add(table, age_text(number_of(s, "age_ms")));
    table_add(table, open ? age_text(number_of(s, "silence_ms")) : "-");
    table_add(table, age_text(number_of(s, "session_timeout_ms")));
    table_add(table, open ? "-" : age_text(number_of(s, "ended_ms")));
    table_add_number(table, number_of(s, "decisions"));
}

enum exit_status verb_sessions(const struct arguments *a)
{
    cJSON *question = caller_question("sessions"), *answer;
    struct table table;
    const cJSON *s;
    enum exit_status status;

    if (a->limit > 0)
        cJSON_AddNumberToObject(question, "limit", a->limit);
    if (a->json)
        return caller_print(a, question);
    status = caller_ask(a, question, &answer);
    if (status != EXIT_DONE)
        return status;
    table_init(&table, ">SESSION|APPLICATION|STATE|>AGE|>SILENT|>TIMEOUT|>ENDED|>DECISIONS");
    cJSON_ArrayForEach(s, cJSON_GetObjectItemCaseSensitive(answer, "sessions"))
    {
        add_row(&table, s);
    }
    if (number_of(answer, "total") == 0)
        printf("No session is open, and none is kept.\n");
    table_print(&table);
    list_rest(answer, "sessions");
    cJSON_Delete(answer);
    return EXIT_DONE;
}
