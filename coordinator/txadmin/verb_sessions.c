/* verb_sessions: see txadmin.h. */
#include <string.h>

#include "coordinator/txadmin/list.h"
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
    static const struct list list = {"sessions",
                                     ">SESSION|APPLICATION|STATE|>AGE|>SILENT|>TIMEOUT|>ENDED|>DECISIONS",
                                     add_row, "No session is open, and none is kept."};
    cJSON *question = caller_question("sessions");

    return list_print(a, question, &list);
}
