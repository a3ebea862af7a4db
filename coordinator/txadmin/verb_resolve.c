/* verb_resolve: the verbs resolve and forget: show what is at stake, ask, act. See txadmin.h. */
#include <stdio.h>
#include <string.h>

#include "coordinator/txadmin/txadmin.h"

/* A question about the transaction that was named. */
static cJSON *question_on(const char *verb, const struct arguments *a)
{
    cJSON *question = caller_question(verb);

    cJSON_AddStringToObject(question, "id", a->operands[0]);
    return question;
}

/* Shows the transaction and asks, unless --yes says it all. */
static enum exit_status ask_first(const struct arguments *a, const char *at_stake)
{
    cJSON *answer;
    enum exit_status status;

    if (a->yes)
        return EXIT_DONE;
    status = confirm_possible();
    if (status == EXIT_DONE)
        status = caller_ask(a, question_on("show", a), &answer);
    if (status != EXIT_DONE)
        return status;
    show_print(cJSON_GetObjectItemCaseSensitive(answer, "transaction"));
    cJSON_Delete(answer);
    return confirm(at_stake);
}

enum exit_status verb_resolve(const struct arguments *a)
{
    bool commit = strcmp(a->operands[1], "commit") == 0;
    enum exit_status status;
    cJSON *question;

    if (!commit && strcmp(a->operands[1], "abort") != 0) {
        complain("a transaction is resolved as commit or abort, not «%s»", a->operands[1]);
        return EXIT_USAGE;
    }
    status = ask_first(
        a, commit ? "This commits every branch that is prepared. A branch that was never prepared is lost:\n"
                    "its changes are not there, whatever the others have. It cannot be taken back."
                  : "This rolls every branch back. What the transaction changed is lost, in all of them.\n"
                    "It cannot be taken back.");
    if (status != EXIT_DONE)
        return status;
    question = question_on("resolve", a);
    cJSON_AddStringToObject(question, "verdict", a->operands[1]);
    return caller_act(a, question,
                      commit ? "Decided: commit. Agents finish the branches; see txadmin show."
                             : "Decided: abort. Agents finish the branches; see txadmin show.");
}

enum exit_status verb_forget(const struct arguments *a)
{
    enum exit_status status = ask_first(
        a, "This drops the heuristic outcome from the list. Do it when the data agree again: nothing will\n"
           "remind of it afterwards.");

    if (status != EXIT_DONE)
        return status;
    return caller_act(a, question_on("forget", a), "Forgotten.");
}
