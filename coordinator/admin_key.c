/* admin_key: the verbs on keys: the list, add and revoke. What is public is all that is here of a key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"

/* keys: {limit, after} -> keys, a page, in the order in which they were added */

struct key_walk {
    struct admin_list list;
    const char *after; /* the key as text; NULL: it has been passed */
    uint64_t wall;
};

static uint64_t age(uint64_t wall, uint64_t then)
{
    return wall > then ? wall - then : 0;
}

static cJSON *key_json(const struct ledger_key *k, const char *text, uint64_t wall)
{
    char roles[ROLES_TEXT_SIZE];
    cJSON *o = cJSON_CreateObject();

    roles_format(k->roles, roles);
    cJSON_AddStringToObject(o, "name", k->name);
    cJSON_AddStringToObject(o, "roles", roles);
    cJSON_AddStringToObject(o, "key", text);
    cJSON_AddStringToObject(o, "resources", k->grant);
    cJSON_AddBoolToObject(o, "revoked", k->revoked);
    if (k->added_ms != 0)
        admin_add_number(o, "added_ms", age(wall, k->added_ms));
    if (k->revoked_ms != 0)
        admin_add_number(o, "revoked_ms", age(wall, k->revoked_ms));
    return o;
}

static bool add_key(void *arg, const struct ledger_key *k)
{
    struct key_walk *w = arg;
    char text[KEY_TEXT_SIZE];

    key_format(k->key, text);
    if (w->after == NULL)
        return admin_list_add(&w->list, admin_list_full(&w->list) ? NULL : key_json(k, text, w->wall), text);
    if (strcmp(text, w->after) == 0)
        w->after = NULL;
    return true;
}

int admin_keys(struct admin_task *t, struct tx_error *e)
{
    struct key_walk w = {.after = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "after")),
                         .wall = t->wall};

    admin_list_init(&w.list, t);
    ledger_each_key(driver_ledger(t->with->driver), add_key, &w);
    return admin_list_end(&w.list, t->answer, "keys", e);
}

/* key_add: {name, roles, key, resources} -> the same */

/* Has the answer say it. */
static int note(struct admin_task *t, const char *name, const char *value, struct tx_error *e)
{
    if (cJSON_AddStringToObject(t->answer, name, value) == NULL)
        return err_set(e, TX_ENOMEM, "no memory for the answer");
    return TX_OK;
}

/* The question as a line of a keys file, whose rules are the same. */
static int read_entry(const struct admin_task *t, struct key_entry *entry, struct tx_error *e)
{
    const cJSON *resources = cJSON_GetObjectItemCaseSensitive(t->question, "resources");
    const char *name, *roles, *key, *grant = cJSON_IsString(resources) ? resources->valuestring : "";
    char line[NAME_LIMIT + ROLES_TEXT_SIZE + KEY_TEXT_SIZE + KEY_GRANT_LIMIT + 8];
    int rc = admin_task_string(t, "name", &name, e), n;

    if (rc == TX_OK)
        rc = admin_task_string(t, "roles", &roles, e);
    if (rc == TX_OK)
        rc = admin_task_string(t, "key", &key, e);
    if (rc != TX_OK)
        return rc;
    if (strpbrk(name, " \t\r\n#") != NULL || strpbrk(roles, " \t\r\n#") != NULL ||
        strpbrk(key, " \t\r\n#") != NULL || strpbrk(grant, " \t\r\n#") != NULL)
        return err_set(e, TX_EINVAL, "name, roles, key and resources have no blanks in them");
    n = snprintf(line, sizeof line, "%s %s %s %s", name, roles, key, grant);
    if (n < 0 || (size_t)n >= sizeof line)
        return err_set(e, TX_EINVAL, "name, roles, key and resources are longer than a key's can be");
    return key_entry_parse(line, entry, e);
}

/* What it asked for stands, or somebody else was faster. */
static void on_added(void *arg, int rc, enum verdict stands)
{
    struct admin_task *t = arg;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->answer, "key"));
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->answer, "name"));
    const struct ledger_key *k = NULL;
    uint8_t key[KEY_SIZE];

    (void)stands;
    if (key_parse(text, key))
        k = ledger_key(driver_ledger(t->with->driver), key);
    if (rc == TX_OK && (k == NULL || k->revoked || strcmp(k->name, name) != 0))
        err_set(&t->error, TX_EREFUSED, "somebody else changed the keys meanwhile; see txadmin key list");
    admin_act_end(t, rc);
}

int admin_key_add(struct admin_task *t, struct tx_error *e)
{
    struct key_entry entry;
    char text[KEY_TEXT_SIZE], roles[ROLES_TEXT_SIZE];
    int rc = read_entry(t, &entry, e);

    if (rc != TX_OK)
        return rc;
    key_format(entry.key, text);
    roles_format(entry.roles, roles);
    admin_act_tell(t, "public", text);
    admin_act_tell(t, "roles", roles);
    if (*entry.grant != '\0')
        admin_act_tell(t, "resources", entry.grant);
    rc = admin_act_note(t, "key_add", "name", entry.name, e);
    if (rc == TX_OK)
        rc = note(t, "roles", roles, e);
    if (rc == TX_OK)
        rc = note(t, "key", text, e);
    if (rc == TX_OK)
        rc = note(t, "resources", entry.grant, e);
    if (rc == TX_OK)
        rc = driver_add_key(t->with->driver, t->now, t->wall, &entry, on_added, t, e);
    return admin_act_begin(t, rc);
}

/* key_revoke: {key, name (of one that was never added), force} -> key, name */

static void on_revoked(void *arg, int rc, enum verdict stands)
{
    (void)stands;
    admin_act_end(arg, rc);
}

static int read_revocation(const struct admin_task *t, uint8_t key[KEY_SIZE],
                           struct driver_revocation *revocation, struct tx_error *e)
{
    const struct ledger_key *known;
    const char *text;
    int rc = admin_task_string(t, "key", &text, e);

    if (rc != TX_OK)
        return rc;
    if (!key_parse(text, key))
        return err_set(e, TX_EINVAL, "«%.80s» is no public key", text);
    known = ledger_key(driver_ledger(t->with->driver), key);
    revocation->key = key;
    revocation->name = known != NULL
                           ? known->name
                           : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->question, "name"));
    revocation->force = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(t->question, "force"));
    if (revocation->name != NULL && !wire_name_valid(revocation->name))
        return err_set(e, TX_EINVAL, "«%.80s» is no name; 1 to %d of a-z A-Z 0-9 _ . -", revocation->name,
                       NAME_LIMIT);
    return TX_OK;
}

int admin_key_revoke(struct admin_task *t, struct tx_error *e)
{
    struct driver_revocation revocation = {0};
    uint8_t key[KEY_SIZE];
    char text[KEY_TEXT_SIZE];
    int rc = read_revocation(t, key, &revocation, e);

    if (rc != TX_OK)
        return rc;
    key_format(key, text);
    if (revocation.name != NULL)
        admin_act_tell(t, "of", revocation.name);
    if (revocation.force)
        admin_act_tell(t, "force", "yes");
    rc = admin_act_note(t, "key_revoke", "key", text, e);
    if (rc == TX_OK)
        rc = note(t, "name", revocation.name != NULL ? revocation.name : "", e);
    if (rc == TX_OK)
        rc = driver_revoke_key(t->with->driver, t->now, t->wall, &revocation, on_revoked, t, e);
    return admin_act_begin(t, rc);
}
