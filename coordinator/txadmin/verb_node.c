/* verb_node: the verb node: the group's coordinators. See txadmin.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/txadmin/act.h"
#include "coordinator/txadmin/table.h"
#include "coordinator/txadmin/txadmin.h"

enum { CHANGE_MS = 120000 /* a new node has to catch up before it is a member */ };

/* list */

static void add_row(struct table *table, const cJSON *n)
{
    bool told = cJSON_HasObjectItem(n, "last_index");

    table_add_number(table, number_of(n, "node"));
    table_add(table, text_of(n, "role"));
    table_add(table, truth_of(n, "alive") ? "up" : "down");
    table_add(table, or_dash(text_of(n, "address")));
    table_add(table, or_dash(text_of(n, "peer_address")));
    if (told) {
        table_add_number(table, number_of(n, "last_index"));
        table_add_number(table, number_of(n, "lag"));
    } else {
        table_add(table, "-");
        table_add(table, "-");
    }
}

void nodes_print(const cJSON *answer)
{
    struct table table;
    const cJSON *n;

    table_init(&table, ">NODE|ROLE|STATE|ADDRESS|PEER ADDRESS|>LAST INDEX|>LAG");
    cJSON_ArrayForEach(n, cJSON_GetObjectItemCaseSensitive(answer, "nodes"))
    {
        add_row(&table, n);
    }
    table_print(&table);
    if (*text_of(answer, "warning") != '\0')
        printf("Warning: %s.\n", text_of(answer, "warning"));
}

static enum exit_status list(const struct arguments *a)
{
    cJSON *answer;
    enum exit_status status;

    if (a->json)
        return caller_print(a, caller_question("nodes"));
    status = caller_ask(a, caller_question("nodes"), &answer);
    if (status != EXIT_DONE)
        return status;
    nodes_print(answer);
    cJSON_Delete(answer);
    return EXIT_DONE;
}

/* Changes */

/* False: complained about. */
static bool parse_id(const char *text, double *id)
{
    char *end;

    errno = 0;
    *id = (double)strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *id >= 1)
        return true;
    complain("«%s» is no node's number", text);
    return false;
}

static enum exit_status change(const struct arguments *a, const char *verb, const char *node,
                               const char *address)
{
    struct arguments patient = *a;
    cJSON *question, *answer;
    enum exit_status status;
    double id = 0;

    if (node != NULL && !parse_id(node, &id))
        return EXIT_USAGE;
    if (!patient.timeout_given)
        patient.timeout_ms = CHANGE_MS;
    question = caller_question(verb);
    cJSON_AddNumberToObject(question, "node", id);
    if (address != NULL)
        cJSON_AddStringToObject(question, "address", address);
    if (a->json)
        return caller_print(&patient, question);
    status = caller_ask(&patient, question, &answer);
    if (status != EXIT_DONE)
        return status;
    if (*text_of(answer, "warning") != '\0')
        printf("Warning: %s.\n", text_of(answer, "warning"));
    cJSON_Delete(answer);
    return EXIT_DONE;
}

static enum exit_status add(const struct arguments *a)
{
    enum exit_status status = change(a, "node_add", a->operands[1], a->operands[2]);

    if (status == EXIT_DONE && !a->json)
        printf("Node %s is a member.\n", a->operands[1]);
    return status;
}

static enum exit_status remove_node(const struct arguments *a)
{
    enum exit_status status = change(a, "node_remove", a->operands[1], NULL);

    if (status == EXIT_DONE && !a->json)
        printf("Node %s is no member any more. Stop it, and remove its data directory.\n", a->operands[1]);
    return status;
}

static enum exit_status transfer(const struct arguments *a)
{
    enum exit_status status = change(a, "node_transfer", a->n_operands > 1 ? a->operands[1] : NULL, NULL);

    if (status == EXIT_DONE && !a->json)
        printf("The lead is handed over.\n");
    return status;
}

/* Whether this coordinator is there and waits; else complained about. */
static enum exit_status check_waits(const struct arguments *a, char *address)
{
    struct arguments one = *a;
    enum exit_status status;
    cJSON *answer;
    bool waits;

    one.coordinators = address;
    status = caller_ask(&one, caller_question("nodes"), &answer);
    if (status != EXIT_DONE) {
        complain("a group is begun where every coordinator that is named runs, and waits");
        return status;
    }
    waits = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(answer, "nodes")) == 0;
    cJSON_Delete(answer);
    if (waits)
        return EXIT_DONE;
    complain("%s belongs to a group already: add other nodes to that one (txadmin node add)", address);
    return EXIT_REFUSED;
}

static enum exit_status begin_at(const struct arguments *a, char *address)
{
    struct arguments one = *a;
    enum exit_status status;
    cJSON *answer;

    one.coordinators = address;
    if (a->json)
        return caller_print(&one, caller_question("node_init"));
    status = caller_ask(&one, caller_question("node_init"), &answer);
    if (status != EXIT_DONE)
        return status;
    printf("Group %s is begun; node %.0f is its first member.\n", text_of(answer, "group"),
           number_of(answer, "node"));
    cJSON_Delete(answer);
    return EXIT_DONE;
}

/* The first one named begins the group. Two groups where there should be one would each decide for themselves:
 * none of the others may belong to one. */
static enum exit_status init(const struct arguments *a)
{
    char *copy = strdup(a->coordinators), *rest = copy, *first = NULL, *address;
    enum exit_status status = EXIT_DONE;

    while (status == EXIT_DONE && copy != NULL && (address = strsep(&rest, ", ")) != NULL) {
        if (*address == '\0')
            continue;
        first = first == NULL ? address : first;
        status = check_waits(a, address);
    }
    if (status == EXIT_DONE && first == NULL) {
        complain("no coordinator is named in «%s»", a->coordinators);
        status = EXIT_USAGE;
    }
    if (status == EXIT_DONE)
        status = begin_at(a, first);
    free(copy);
    return status;
}

/* Out before in: so the majority is never of more nodes than there are. */
static enum exit_status replace(const struct arguments *a)
{
    enum exit_status status;

    if (strcmp(a->operands[1], a->operands[2]) == 0) {
        complain(
            "a node that has lost its data comes back in three steps: node remove %s; start it, with an empty "
            "data directory; node add %s %s",
            a->operands[1], a->operands[1], a->operands[3]);
        return EXIT_USAGE;
    }
    status = change(a, "node_remove", a->operands[1], NULL);
    if (status != EXIT_DONE) {
        complain("where node %s is removed already: txadmin node add %s %s", a->operands[1], a->operands[2],
                 a->operands[3]);
        return status;
    }
    status = change(a, "node_add", a->operands[2], a->operands[3]);
    if (status == EXIT_DONE && !a->json)
        printf("Node %s is a member in the place of node %s.\n", a->operands[2], a->operands[1]);
    else if (status != EXIT_DONE)
        complain("node %s is removed; when node %s runs with an empty data directory: txadmin node add %s %s",
                 a->operands[1], a->operands[2], a->operands[2], a->operands[3]);
    return status;
}

enum exit_status verb_node(const struct arguments *a)
{
    static const struct act acts[] = {
        {"list", "", 1, 1, list},
        {"init", "", 1, 1, init},
        {"add", " ID PEER_ADDRESS", 3, 3, add},
        {"remove", " ID", 2, 2, remove_node},
        {"transfer", " [ID]", 1, 2, transfer},
        {"replace", " OLD_ID NEW_ID PEER_ADDRESS", 4, 4, replace},
        {NULL, NULL, 0, 0, NULL},
    };

    return act_run(a, "node", acts);
}
