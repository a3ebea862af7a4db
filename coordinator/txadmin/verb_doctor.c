/* verb_doctor: see txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/txadmin.h"

static void print_finding(const cJSON *f)
{
    printf("  %-8s %-25s ", text_of(f, "level"), text_of(f, "check"));
    print_clean(text_of(f, "text"));
    printf("\n");
    if (*text_of(f, "remedy") == '\0' || strcmp(text_of(f, "level"), "ok") == 0)
        return;
    printf("  %-8s %-25s → ", "", "");
    print_clean(text_of(f, "remedy"));
    printf("\n");
}

static void print_subject(const cJSON *subject, bool first)
{
    const cJSON *f;

    printf("%s%s\n", first ? "" : "\n", text_of(subject, "subject"));
    cJSON_ArrayForEach(f, cJSON_GetObjectItemCaseSensitive(subject, "findings"))
    {
        print_finding(f);
    }
}

enum exit_status verb_doctor(const struct arguments *a)
{
    cJSON *answer;
    const cJSON *subject;
    enum exit_status status;
    double errors, warnings;
    bool first = true;

    if (a->json)
        return caller_print(a, caller_question("doctor"));
    status = caller_ask(a, caller_question("doctor"), &answer);
    if (status != EXIT_DONE)
        return status;
    cJSON_ArrayForEach(subject, cJSON_GetObjectItemCaseSensitive(answer, "subjects"))
    {
        print_subject(subject, first);
        first = false;
    }
    errors = number_of(answer, "errors");
    warnings = number_of(answer, "warnings");
    cJSON_Delete(answer);
    if (errors == 0 && warnings == 0)
        printf("\nAll is well.\n");
    else
        printf("\n%s, %s.\n", count_text(errors, "error"), count_text(warnings, "warning"));
    return errors > 0 ? EXIT_FINDINGS : EXIT_DONE;
}
