/* verb_key: the verbs keygen and key: who may do what. See txadmin.h. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/txadmin/act.h"
#include "coordinator/txadmin/list.h"
#include "coordinator/txadmin/txadmin.h"
#include "libtx/shared/keys.h"

enum { LINE_SIZE = 1024 };

/* What is done here, without a coordinator */

static enum exit_status fail(const struct arguments *a, enum exit_status status, const struct tx_error *e)
{
    complain("%s", e->msg);
    if (a->json)
        caller_print_failure(e->code);
    return status;
}

/* The public key; and the line for a keys file, where it is one (else NULL). */
static enum exit_status print_key(const struct arguments *a, const char *key, const char *line)
{
    cJSON *answer;

    if (a->json) {
        answer = cJSON_CreateObject();
        cJSON_AddTrueToObject(answer, "ok");
        cJSON_AddStringToObject(answer, "key", key);
        if (line != NULL)
            cJSON_AddStringToObject(answer, "line", line);
        return caller_print_answer(answer);
    }
    if (line != NULL)
        printf("# for a keys file; or at run time: txadmin key add %s %s %s%s%s\n", a->name, a->role, key,
               a->resources != NULL ? " " : "", a->resources != NULL ? a->resources : "");
    printf("%s\n", line != NULL ? line : key);
    return EXIT_DONE;
}

/* NAME ROLE KEY [RESOURCES] as the keys file has them; the rules are those of one. */
static int make_line(const char *const field[4], char out[LINE_SIZE], struct tx_error *e)
{
    struct key_entry entry;
    int n = snprintf(out, LINE_SIZE, "%s %s %s%s%s", field[0], field[1], field[2], field[3] != NULL ? " " : "",
                     field[3] != NULL ? field[3] : "");
    int rc = n >= 0 && n < LINE_SIZE ? key_entry_parse(out, &entry, e)
                                     : err_set(e, TX_EINVAL, "name, role and resources are too long");

    if (rc == TX_OK)
        key_entry_format(&entry, out, LINE_SIZE);
    return rc;
}

/* What is wrong is found before the file is made. */
enum exit_status verb_keygen(const struct arguments *a)
{
    struct identity identity;
    struct tx_error e;
    char key[KEY_TEXT_SIZE], line[LINE_SIZE];
    const bool whole = a->name != NULL && a->role != NULL;
    int rc = TX_OK;

    if (sodium_init() < 0)
        return fail(a, EXIT_REFUSED, &(struct tx_error){TX_EIO, "libsodium cannot be used on this machine"});
    if (!whole && (a->name != NULL || a->role != NULL || a->resources != NULL))
        return fail(a, EXIT_USAGE, &(struct tx_error){TX_EINVAL, "a line takes --name and --role together"});
    identity_generate(&identity);
    key_format(identity.public_key, key);
    if (whole)
        rc = make_line((const char *const[]){a->name, a->role, key, a->resources}, line, &e);
    if (rc != TX_OK)
        return fail(a, EXIT_USAGE, &e);
    rc = identity_write(&identity, a->operands[0], &e);
    identity_wipe(&identity);
    return rc == TX_OK ? print_key(a, key, whole ? line : NULL) : fail(a, EXIT_REFUSED, &e);
}

static enum exit_status key_show(const struct arguments *a)
{
    struct identity identity;
    struct tx_error e;
    char key[KEY_TEXT_SIZE];
    int rc;

    if (sodium_init() < 0)
        return fail(a, EXIT_REFUSED, &(struct tx_error){TX_EIO, "libsodium cannot be used on this machine"});
    rc = identity_load(&identity, a->operands[1], &e);
    if (rc != TX_OK)
        return fail(a, EXIT_REFUSED, &e);
    key_format(identity.public_key, key);
    identity_wipe(&identity);
    return print_key(a, key, NULL);
}

/* list */

static void add_row(struct table *table, const cJSON *k)
{
    bool revoked = truth_of(k, "revoked");

    table_add(table, text_of(k, "name"));
    table_add(table, or_dash(text_of(k, "roles")));
    table_add(table, text_of(k, "key"));
    table_add(table, revoked ? "revoked" : "active");
    table_add(table, cJSON_HasObjectItem(k, "added_ms") ? age_text(number_of(k, "added_ms")) : "-");
    table_add(table, revoked ? age_text(number_of(k, "revoked_ms")) : "-");
    table_add(table, or_dash(text_of(k, "resources")));
}

static enum exit_status key_list(const struct arguments *a)
{
    static const struct list list = {
        "keys", "NAME|ROLES|KEY|STATE|>ADDED|>REVOKED|RESOURCES", add_row,
        "No key is known: the coordinators are insecure, or their keys files are empty."};

    return list_print(a, caller_question("keys"), &list);
}

/* add */

static enum exit_status key_add(const struct arguments *a)
{
    const char *resources = a->n_operands > 4 ? a->operands[4] : NULL;
    char line[LINE_SIZE], done[LINE_SIZE];
    struct tx_error e;
    cJSON *question;

    if (make_line((const char *const[]){a->operands[1], a->operands[2], a->operands[3], resources}, line, &e) !=
        TX_OK)
        return fail(a, EXIT_USAGE, &e);
    question = caller_question("key_add");
    cJSON_AddStringToObject(question, "name", a->operands[1]);
    cJSON_AddStringToObject(question, "roles", a->operands[2]);
    cJSON_AddStringToObject(question, "key", a->operands[3]);
    cJSON_AddStringToObject(question, "resources", resources != NULL ? resources : "");
    snprintf(done, sizeof done, "%s may do what %s may.", a->operands[1], a->operands[2]);
    return caller_act(a, question, done);
}

/* revoke */

/* Leaves of the list what is to be revoked: the key that is named, or all of the name that are active. */
static void keep_named(cJSON *keys, const char *named, bool is_key)
{
    cJSON *k = keys->child, *next;

    for (; k != NULL; k = next) {
        bool wanted = strcmp(text_of(k, is_key ? "key" : "name"), named) == 0;

        next = k->next;
        if (!wanted || (truth_of(k, "revoked") && !is_key))
            cJSON_Delete(cJSON_DetachItemViaPointer(keys, k));
    }
}

static enum exit_status revoke_one(const struct arguments *a, const char *key, const char *name)
{
    cJSON *question = caller_question("key_revoke");
    char done[LINE_SIZE];

    cJSON_AddStringToObject(question, "key", key);
    if (a->force)
        cJSON_AddTrueToObject(question, "force");
    snprintf(done, sizeof done, "Revoked: %s%s%s", name, *name != '\0' ? " " : "", key);
    return caller_act(a, question, done);
}

static enum exit_status revoke_all(const struct arguments *a, const cJSON *keys)
{
    enum exit_status status = EXIT_DONE;
    const cJSON *k;

    cJSON_ArrayForEach(k, keys)
    {
        if (status == EXIT_DONE)
            status = revoke_one(a, text_of(k, "key"), text_of(k, "name"));
    }
    return status;
}

/* Shows what goes, and asks, unless --yes says it all. */
static enum exit_status ask_first(const struct arguments *a, const cJSON *keys)
{
    struct table table;
    const cJSON *k;

    if (a->yes)
        return EXIT_DONE;
    table_init(&table, "NAME|ROLES|KEY|STATE|>ADDED|>REVOKED|RESOURCES");
    cJSON_ArrayForEach(k, keys)
    {
        add_row(&table, k);
    }
    table_print(&table);
    return confirm(
        "Who has these keys is let in no more, at once and for good. What a client's sessions have not\n"
        "decided is rolled back.");
}

/* A key that no coordinator has heard of can be revoked, too: no keys file brings it in afterwards. */
static void add_unheard(cJSON *keys, const char *key)
{
    cJSON *k = cJSON_CreateObject();

    cJSON_AddStringToObject(k, "key", key);
    cJSON_AddItemToArray(keys, k);
}

static enum exit_status fetch_all(const struct arguments *a, cJSON **answer)
{
    cJSON *question = caller_question("keys");
    struct arguments unlimited = *a;
    enum exit_status status;

    unlimited.limit = 0;
    status = list_fetch(&unlimited, question, "keys", answer);
    cJSON_Delete(question);
    return status;
}

static enum exit_status key_revoke(const struct arguments *a)
{
    enum exit_status status = a->yes ? EXIT_DONE : confirm_possible();
    const char *named = a->operands[1];
    uint8_t key[KEY_SIZE];
    bool is_key = key_parse(named, key);
    cJSON *answer, *keys;

    if (status == EXIT_DONE)
        status = fetch_all(a, &answer);
    if (status != EXIT_DONE)
        return status;
    keys = cJSON_GetObjectItemCaseSensitive(answer, "keys");
    keep_named(keys, named, is_key);
    if (cJSON_GetArraySize(keys) == 0 && is_key)
        add_unheard(keys, named);
    if (cJSON_GetArraySize(keys) == 0)
        status = fail(a, EXIT_REFUSED,
                      &(struct tx_error){TX_ENOTFOUND, "no active key has this name; see txadmin key list"});
    else
        status = ask_first(a, keys);
    if (status == EXIT_DONE)
        status = revoke_all(a, keys);
    cJSON_Delete(answer);
    return status;
}

enum exit_status verb_key(const struct arguments *a)
{
    static const struct act acts[] = {
        {"list", "", 1, 1, key_list},
        {"add", " NAME ROLE[,ROLE] KEY [RESOURCES]", 4, 5, key_add},
        {"revoke", " NAME|KEY", 2, 2, key_revoke},
        {"show", " FILE", 2, 2, key_show},
        {NULL, NULL, 0, 0, NULL},
    };

    return act_run(a, "key", acts);
}
