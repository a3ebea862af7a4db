/* txadmin: the operator's command line: reads the arguments and runs a verb from the table. See txadmin.h. */
#include "coordinator/txadmin/txadmin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "libtx/shared/conf_value.h"
#include "libtx/shared/security.h"
#include "libtx/shared/txid.h"

struct verb {
    const char *name, *operands; /* as usage shows them */
    int min_operands, max_operands;
    const char *options; /* names of those beside the general ones, a blank behind each */
    const char *summary;
    enum exit_status (*run)(const struct arguments *a);
    const char *help;
};

static const struct verb verbs[] = {
    {"status", "", 0, 0, "", "the coordinator, its log, and what it has done", verb_status,
     "Any node of the group answers for itself; the leader counts resources and branches in doubt."},
    {"transactions", "", 0, 0, "in-doubt older resource all limit ", "transactions that are not over",
     verb_transactions,
     "Shows what is preparing, in doubt, or decided and not finished in every branch, and\n"
     "heuristic outcomes that wait to be forgotten. With --all also transactions that are\n"
     "finished in every branch and kept until their application has acknowledged that."},
    {"show", "ID", 1, 1, "", "one transaction: branches, locks held, who waits for it, what comes next",
     verb_show, "Asks the agent of each branch's resource what the branch holds there."},
    {"resources", "", 0, 0, "limit ", "databases and services, and the agents that serve them", verb_resources,
     "IN DOUBT counts the branches that are prepared there and not finished."},
    {"resource", "list|add|alter|remove|test ...", 1, 4, "limit ", "the registry of resources", verb_resource,
     "resource list                            as txadmin resources\n"
     "resource add NAME KIND [\"SETTINGS\"]      declares one; agents with --serve NAME open it\n"
     "resource alter NAME \"SETTINGS\"           gives it other settings; agents open it anew\n"
     "resource remove NAME                     takes it off the list; agents close it\n"
     "resource test NAME                       has every agent that serves it try it out\n"
     "SETTINGS are what its kind needs to open it, as one argument: \"host=db1 dbname=bank "
     "user=assent_agent\";\n"
     "see txagentd(8). A secret in them is refused; name a file at the agent (passfile=...). A service\n"
     "(KIND service) serves itself and has none.\n"
     "Remove is refused while it has branches that are not finished, and while an agent serves it by its\n"
     "own configuration (--resource.NAME). Exit status 3 of test: a check has failed."},
    {"sessions", "", 0, 0, "limit ", "applications that are connected, or were", verb_sessions,
     "SILENT is the time since the application's last message. A session that is silent\n"
     "for its timeout expires, and what it had not decided is rolled back."},
    {"resolve", "ID commit|abort", 2, 2, "yes ", "decide a transaction in doubt by hand", verb_resolve,
     "For a transaction that waits for an application which will not come back in time.\n"
     "Refused where a decision stands, and while the application still works on it.\n"
     "Shows what is known and asks before it acts."},
    {"forget", "ID", 1, 1, "yes ", "drop a heuristic outcome that has been dealt with", verb_forget,
     "A branch that was finished against its transaction's decision stays on the list\n"
     "until an operator has repaired the data and says so. Asks before it acts."},
    {"doctor", "", 0, 0, "", "look for what is wrong, and say what to do about it", verb_doctor,
     "Examines the coordinator and, through the agents, each resource's settings.\n"
     "Exit status 3: there are errors. Warnings alone: 0."},
    {"backup", "FILE", 1, 1, "", "save the ledger to a file", verb_backup,
     "For the day on which every node's data is lost: txcoordd --restore FILE. What was decided\n"
     "after the backup is not in it; see OPERATIONS on what that means before you restore."},
    {"keygen", "FILE", 1, 1, "name role resources ", "make a key pair", verb_keygen,
     "FILE gets the secret, and mode 0600; it is never overwritten. Prints the public key: with --name and\n"
     "--role as a line for a keys file, below a comment that says how to add it at run time. An agent's\n"
     "key needs --resources, those that it may serve. Asks no coordinator."},
    {"key", "list|add|revoke|show ...", 1, 5, "limit yes force ", "who may do what", verb_key,
     "key list                              the group's keys\n"
     "key add NAME ROLE KEY [RESOURCES]     a program with this key may do what ROLE may, at once\n"
     "key revoke NAME|KEY                   all keys of this name, or this one, for good; asks before it acts\n"
     "key show FILE                         the public key of a key file (asks no coordinator)\n"
     "ROLE is client, agent, operator, observer or coordinator, or several with commas between; an agent's\n"
     "key names the RESOURCES that it may serve, with commas between, or *. What a revoked client's sessions\n"
     "had not decided is rolled back. --force revokes also an operator's last key, and a coordinator's that\n"
     "leaves fewer such keys than nodes; a majority keeps its keys in any case."},
    {"node", "list|init|add|...", 1, 4, "wait ", "the coordinators of the group", verb_node,
     "node list [--wait]             who is there, who leads, and how far the others are behind;\n"
     "                               with --wait as soon as all are up and caught up\n"
     "node init                      begins a new group with the node named by --coordinators, which waits\n"
     "node add ID PEER_ADDRESS       takes in a node that runs with an empty data directory\n"
     "node remove ID                 takes out a node, which may be dead\n"
     "node transfer [ID]             hands the lead to this node, or to the one that is furthest\n"
     "node replace OLD NEW ADDRESS   takes out one that is dead and takes in another\n"
     "A node that has lost its data is removed, started with an empty data directory, and added.\n"
     "Groups have 1, 3 or 5 nodes; 2 and 4 are steps on the way, and survive no more failures\n"
     "than one node less."},
};

enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

static struct arguments arguments;
static bool wants_help, wants_version;

/* As a program's settings are, but that a flag of CONF_BOOL takes no value. The general options come first. */
static const struct conf_key options[] = {
    {"coordinators", CONF_STRING, &arguments.coordinators, NULL, "LIST", "addresses, with commas between", 0, 0,
     NULL},
    {"json", CONF_BOOL, &arguments.json, NULL, NULL, "print the coordinator's answer as it is", 0, 0, NULL},
    {"timeout", CONF_DURATION, &arguments.timeout_ms, "10s", "TIME",
     "how long to ask [10s; 2min for a change of nodes, and --wait]", 1, 3600000, NULL},
    {"identity", CONF_STRING, &arguments.identity, NULL, "FILE", "this program's key", 0, 0, NULL},
    {"keys", CONF_STRING, &arguments.keys, NULL, "FILE", "the coordinators' keys [" SECURITY_KEYS_FILE "]", 0,
     0, NULL},
    {"insecure", CONF_BOOL, &arguments.insecure, NULL, NULL, "speak in clear text, on this machine", 0, 0,
     NULL},
    {"help", CONF_BOOL, &wants_help, NULL, NULL, "print this, or a verb's help", 0, 0, NULL},
    {"version", CONF_BOOL, &wants_version, NULL, NULL, "print the version", 0, 0, NULL},
    {"in-doubt", CONF_BOOL, &arguments.in_doubt, NULL, NULL, "only those with a branch prepared, not finished",
     0, 0, NULL},
    {"older", CONF_DURATION, &arguments.older_ms, NULL, "TIME", "only those older than this", 0, 0, NULL},
    {"resource", CONF_STRING, &arguments.resource, NULL, "NAME", "only those with a branch in this resource", 0,
     0, NULL},
    {"all", CONF_BOOL, &arguments.all, NULL, NULL, "also those finished and not acknowledged", 0, 0, NULL},
    {"limit", CONF_UINT, &arguments.limit, NULL, "N", "print at most so many [all]", 1, 1000000, NULL},
    {"yes", CONF_BOOL, &arguments.yes, NULL, NULL, "act without asking", 0, 0, NULL},
    {"force", CONF_BOOL, &arguments.force, NULL, NULL, "also an operator's last key, or a node's", 0, 0, NULL},
    {"name", CONF_STRING, &arguments.name, NULL, "NAME", "whose key it is", 0, 0, NULL},
    {"role", CONF_STRING, &arguments.role, NULL, "ROLE", "what it may do", 0, 0, NULL},
    {"resources", CONF_STRING, &arguments.resources, NULL, "LIST", "what an agent may serve, or *", 0, 0, NULL},
    {"wait", CONF_BOOL, &arguments.wait, NULL, NULL, "until all nodes are up and caught up", 0, 0, NULL},
};

enum { TIMEOUT_MS = 10000, OPTION_COUNT = sizeof options / sizeof *options, GENERAL_OPTIONS = 8 };

/* Help */

/* True where the list has the name, whole. */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = list; (p = strstr(p, name)) != NULL; p += n) {
        if ((p == list || p[-1] == ' ') && p[n] == ' ')
            return true;
    }
    return false;
}

static void print_option(const struct conf_key *k)
{
    char left[40];

    snprintf(left, sizeof left, "--%s%s%s", k->name, k->argument != NULL ? " " : "",
             k->argument != NULL ? k->argument : "");
    printf("  %-22s%s\n", left, k->help);
}

static void print_general_options(void)
{
    printf("\nGeneral options:\n");
    for (int i = 0; i < GENERAL_OPTIONS; i++)
        print_option(&options[i]);
}

static void print_help(void)
{
    printf(
        "txadmin: look at the transactions of an Assent coordinator group, and decide those that are stuck\n\n"
        "usage: txadmin [OPTION...] VERB [ARGUMENT...]\n\n");
    for (int i = 0; i < VERB_COUNT; i++) {
        char left[64];

        snprintf(left, sizeof left, "%s %s", verbs[i].name, verbs[i].operands);
        printf(strlen(left) < 25 ? "  %-25s%s\n" : "  %s\n                           %s\n", left,
               verbs[i].summary);
    }
    printf("  %-25s%s\n", "help VERB", "more on a verb");
    print_general_options();
    printf(
        "\nWithout --coordinators: the environment's ASSENT_COORDINATORS, else tcp://127.0.0.1:7401. Without\n"
        "--identity, --keys, --insecure: its ASSENT_IDENTITY, ASSENT_KEYS, ASSENT_INSECURE.\n");
}

static void print_verb_help(const struct verb *v)
{
    printf("usage: txadmin [OPTION...] %s%s%s\n\n%s.\n\n%s\n", v->name, *v->operands != '\0' ? " " : "",
           v->operands, v->summary, v->help);
    if (*v->options != '\0')
        printf("\nOptions:\n");
    for (int i = GENERAL_OPTIONS; i < OPTION_COUNT; i++) {
        if (listed(v->options, options[i].name))
            print_option(&options[i]);
    }
    print_general_options();
}

/* Arguments */

static const struct verb *verb_find(const char *name)
{
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static const struct conf_key *option_find(const char *name, size_t len, const struct verb *v)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0 &&
            (i < GENERAL_OPTIONS || (v != NULL && listed(v->options, options[i].name))))
            return &options[i];
    }
    return NULL;
}

static int option_set(const struct conf_key *k, const char *value)
{
    char seconds[32];
    struct tx_error e;

    /* A bare number is seconds. */
    if (k->type == CONF_DURATION && *value != '\0' && strspn(value, "0123456789") == strlen(value) &&
        strlen(value) < sizeof seconds - 1) {
        snprintf(seconds, sizeof seconds, "%ss", value);
        value = seconds;
    }
    if (conf_value_set(k, NULL, value, &e) == TX_OK)
        return 0;
    complain("--%s: %s", k->name, e.msg);
    return -1;
}

/* Reads the option at argv[*i], and its value. */
static int option_read(int argc, char **argv, int *i, const struct verb *v)
{
    const char *name = argv[*i] + 2, *value = strchr(name, '=');
    const struct conf_key *k = option_find(name, value != NULL ? (size_t)(value - name) : strlen(name), v);

    if (k == NULL) {
        complain("unknown option %s%s%s; see txadmin help%s%s", argv[*i], v != NULL ? " for " : "",
                 v != NULL ? v->name : "", v != NULL ? " " : "", v != NULL ? v->name : "");
        return -1;
    }
    if (k->type == CONF_BOOL && value != NULL) {
        complain("--%s takes no value", k->name);
        return -1;
    }
    if (k->type == CONF_BOOL)
        return option_set(k, "on");
    if (value == NULL && *i + 1 == argc) {
        complain("--%s needs a value", k->name);
        return -1;
    }
    return option_set(k, value != NULL ? value + 1 : argv[++*i]);
}

/* A public key may begin as an option does. */
static bool is_key(const char *word)
{
    uint8_t key[KEY_SIZE];

    return key_parse(word, key);
}

/* Options may stand anywhere; the first other word is the verb. */
static int arguments_read(int argc, char **argv, const struct verb **verb, bool *help)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] == '-' && !is_key(argv[i])) {
            if (option_read(argc, argv, &i, *verb) < 0)
                return -1;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0' && !is_key(argv[i])) {
            complain("unknown option %s; see txadmin --help", argv[i]);
            return -1;
        } else if (*verb == NULL && !*help && strcmp(argv[i], "help") == 0) {
            *help = true;
        } else if (*verb == NULL) {
            *verb = verb_find(argv[i]);
            if (*verb == NULL) {
                complain("unknown verb «%s»; txadmin --help lists them", argv[i]);
                return -1;
            }
        } else if (arguments.n_operands < OPERAND_LIMIT) {
            arguments.operands[arguments.n_operands++] = argv[i];
        }
    }
    return 0;
}

static int arguments_check(const struct verb *v)
{
    struct txid id;

    if (v == NULL) {
        complain("what to do? txadmin --help lists the verbs");
        return -1;
    }
    if (arguments.n_operands < v->min_operands || arguments.n_operands > v->max_operands) {
        complain("usage: txadmin [OPTION...] %s%s%s", v->name, *v->operands != '\0' ? " " : "", v->operands);
        return -1;
    }
    if (strncmp(v->operands, "ID", 2) == 0 && !txid_parse(arguments.operands[0], &id)) {
        complain("«%s» is not a transaction's id; txadmin transactions lists them", arguments.operands[0]);
        return -1;
    }
    return 0;
}

static void arguments_default(void)
{
    const char *list = getenv("ASSENT_COORDINATORS");

    option_set(&options[0], list != NULL && *list != '\0' ? list : "tcp://127.0.0.1:7401");
    arguments.timeout_ms = 0;
}

static void arguments_release(void)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (options[i].type == CONF_STRING)
            free(*(char **)options[i].target);
    }
}

int main(int argc, char **argv)
{
    const struct verb *verb = NULL;
    int status = EXIT_USAGE;
    bool help = false;

    arguments_default();
    if (arguments_read(argc, argv, &verb, &help) < 0)
        goto out;
    arguments.timeout_given = arguments.timeout_ms != 0;
    if (!arguments.timeout_given)
        arguments.timeout_ms = TIMEOUT_MS;
    status = EXIT_DONE;
    if (wants_version)
        printf("txadmin %s\n", TX_VERSION);
    else if ((help || wants_help) && verb != NULL)
        print_verb_help(verb);
    else if (help || wants_help)
        print_help();
    else if (arguments_check(verb) < 0)
        status = EXIT_USAGE;
    else
        status = (int)verb->run(&arguments);

out:
    credentials_close();
    arguments_release();
    return status;
}
