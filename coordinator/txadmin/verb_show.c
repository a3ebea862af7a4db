/* verb_show: see txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/table.h"
#include "coordinator/txadmin/txadmin.h"

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static bool is_none(const char *text)
{
    return *text == '\0' || strcmp(text, "none") == 0;
}

static void print_line(const char *label, const char *text)
{
    fputs(label, stdout);
    print_clean(text);
    putchar('\n');
}

static void print_head(const cJSON *t)
{
    printf("Transaction  %s\n", text_of(t, "id"));
    printf("State        %s\n", text_of(t, "state"));
    if (is_none(text_of(t, "verdict")))
        printf("Verdict      none yet\n");
    else
        printf("Verdict      %s, decided by %s\n", text_of(t, "verdict"), text_of(t, "origin"));
    if (*text_of(t, "reason") != '\0')
        print_line("Reason       ", text_of(t, "reason"));
    if (!is_none(text_of(t, "heuristic")))
        printf("Outcome      %s\n", text_of(t, "heuristic"));
    printf("Age          %s\n", age_text(number_of(t, "age_ms")));
    printf("Session      %.0f (%s)%s%s\n", number_of(t, "session"),
           *text_of(t, "session_state") != '\0' ? text_of(t, "session_state") : "not known",
           *text_of(t, "application") != '\0' ? ", application " : "", text_of(t, "application"));
}

/* Since when it is prepared: the agent's look just now knows better than its last scan. */
static const char *prepared_text(const cJSON *branch)
{
    const cJSON *inspection = member(branch, "inspection");
    double ms = number_of(branch, "prepared_ms");

    if (inspection != NULL && !truth_of(inspection, "prepared"))
        return "no";
    if (ms > 0)
        return age_text(ms);
    if (inspection == NULL)
        return "-";
    return *text_of(inspection, "prepared_at") != '\0' ? text_of(inspection, "prepared_at") : "yes";
}

static void add_problem(struct table *table, const cJSON *branch)
{
    const char *problem = text_of(branch, "problem"), *unanswered = text_of(branch, "unanswered");
    char text[600];

    snprintf(text, sizeof text, "%s%s%s", problem, *problem != '\0' && *unanswered != '\0' ? "; " : "",
             unanswered);
    table_add(table, or_dash(text));
}

/* A table with an empty line before it; nothing where it has no rows. */
static void print_section(struct table *table)
{
    if (!table_empty(table))
        printf("\n");
    table_print(table);
}

static void print_branches(const cJSON *branches)
{
    struct table table;
    const cJSON *b;

    table_init(&table, ">BRANCH|RESOURCE|KIND|STATE|PREPARED|OWNER|PROBLEM");
    cJSON_ArrayForEach(b, branches)
    {
        table_add_number(&table, number_of(b, "branch"));
        table_add(&table, text_of(b, "resource"));
        table_add(&table, text_of(b, "kind"));
        table_add(&table, is_none(text_of(b, "heuristic")) ? text_of(b, "state") : text_of(b, "heuristic"));
        table_add(&table, prepared_text(b));
        table_add(&table, or_dash(text_of(member(b, "inspection"), "owner")));
        add_problem(&table, b);
    }
    print_section(&table);
}

static void print_locks(const cJSON *branches)
{
    struct table table;
    const cJSON *b, *lock;

    table_init(&table, "LOCKED IN|TYPE|OBJECT|MODE");
    cJSON_ArrayForEach(b, branches)
    {
        cJSON_ArrayForEach(lock, member(member(b, "inspection"), "locks"))
        {
            table_add(&table, text_of(b, "resource"));
            table_add(&table, or_dash(text_of(lock, "type")));
            table_add(&table, or_dash(text_of(lock, "relation")));
            table_add(&table, text_of(lock, "mode"));
        }
    }
    print_section(&table);
}

static void print_blocked(const cJSON *branches)
{
    struct table table;
    const cJSON *b, *s;

    table_init(&table, "BLOCKED IN|>PID|USER|APPLICATION|>WAITING|QUERY");
    cJSON_ArrayForEach(b, branches)
    {
        cJSON_ArrayForEach(s, member(member(b, "inspection"), "blocked"))
        {
            table_add(&table, text_of(b, "resource"));
            table_add_number(&table, number_of(s, "pid"));
            table_add(&table, or_dash(text_of(s, "user")));
            table_add(&table, or_dash(text_of(s, "application")));
            table_add(&table, age_text(number_of(s, "waiting_ms")));
            table_add(&table, or_dash(text_of(s, "query")));
        }
    }
    print_section(&table);
}

void show_print(const cJSON *transaction)
{
    const cJSON *branches = member(transaction, "branches");

    print_head(transaction);
    print_branches(branches);
    print_locks(branches);
    print_blocked(branches);
    if (*text_of(transaction, "next") != '\0')
        print_line("\nNext: ", text_of(transaction, "next"));
}

enum exit_status verb_show(const struct arguments *a)
{
    cJSON *question = caller_question("show"), *answer;
    enum exit_status status;

    cJSON_AddStringToObject(question, "id", a->operands[0]);
    if (a->json)
        return caller_print(a, question);
    status = caller_ask(a, question, &answer);
    if (status != EXIT_DONE)
        return status;
    show_print(member(answer, "transaction"));
    cJSON_Delete(answer);
    return EXIT_DONE;
}
