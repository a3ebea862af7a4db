/* admin_act: the verbs by which an operator decides: resolve and forget; and what they share with the other
 * acts (admin_resource.c, admin_key.c, admin_node.c): their beginning, their end, and their lines in the audit.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/admin_task.h"

static const char *asked_string(const struct admin_task *t, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t->answer, name));
}

/* Begins an act that driver has accepted. */
int admin_act_begin(struct admin_task *t, int rc)
{
    if (rc == TX_OK)
        admin_task_hold(t);
    return rc;
}

void admin_act_end(struct admin_task *t, int rc)
{
    if (rc != TX_OK && t->error.code == TX_OK)
        err_set(&t->error, rc, "%s: leadership changed meanwhile; look, and ask again", tx_strerror(rc));
    admin_task_release(t);
}

/* The audit */

void admin_act_tell(struct admin_task *t, const char *name, const char *value)
{
    cJSON_AddStringToObject(t->noted, name, value);
}

void admin_act_audit(const struct admin_task *t, enum audit_outcome outcome)
{
    struct audit_entry entry = {.name = t->asker.known ? t->asker.name : NULL,
                                .key = t->asker.known ? t->asker.key : NULL,
                                .act = t->verb->name,
                                .outcome = outcome,
                                .error = t->error.code != TX_OK ? t->error.msg : NULL};
    const cJSON *note;
    size_t n = 0;

    cJSON_ArrayForEach(note, t->noted)
    {
        if (strcmp(note->string, "what") == 0)
            entry.what = note->valuestring;
        else if (n < AUDIT_MORE)
            entry.more[n++] = (struct audit_pair){note->string, note->valuestring};
    }
    audit_write(t->with->audit, t->now, &entry);
}

/* resolve: {id, verdict: "commit" | "abort"} -> id, asked, verdict (what stands) */

static void on_resolved(void *arg, int rc, enum verdict stands)
{
    struct admin_task *t = arg;

    if (rc == TX_OK) {
        cJSON_AddStringToObject(t->answer, "verdict", verdict_name(stands));
        if (strcmp(asked_string(t, "asked"), verdict_name(stands)) != 0)
            err_set(&t->error, TX_EREFUSED, "it was decided meanwhile, and %s stands", verdict_name(stands));
    }
    admin_act_end(t, rc);
}

static int parse_verdict(const char *text, enum verdict *out, struct tx_error *e)
{
    if (strcmp(text, "commit") == 0)
        *out = VERDICT_COMMIT;
    else if (strcmp(text, "abort") == 0)
        *out = VERDICT_ABORT;
    else
        return err_set(e, TX_EINVAL, "a verdict is commit or abort, not «%s»", text);
    return TX_OK;
}

/* Notes in the answer what is asked for. */
int admin_act_note(struct admin_task *t, const char *verb, const char *name, const char *value,
                   struct tx_error *e)
{
    return cJSON_AddStringToObject(t->answer, "verb", verb) != NULL &&
                   cJSON_AddStringToObject(t->answer, name, value) != NULL
               ? TX_OK
               : err_set(e, TX_ENOMEM, "no memory for the answer");
}

int admin_resolve(struct admin_task *t, struct tx_error *e)
{
    enum verdict verdict = VERDICT_NONE;
    const char *text = "";
    char id_text[TXID_TEXT_SIZE];
    struct txid id;
    int rc = admin_task_id(t, &id, e);

    if (rc == TX_OK)
        rc = admin_task_string(t, "verdict", &text, e);
    if (rc == TX_OK) {
        admin_act_tell(t, "verdict", text);
        rc = parse_verdict(text, &verdict, e);
    }
    if (rc != TX_OK)
        return rc;
    txid_format(&id, id_text);
    rc = admin_act_note(t, "resolve", "id", id_text, e);
    if (rc != TX_OK || cJSON_AddStringToObject(t->answer, "asked", text) == NULL)
        return err_set(e, TX_ENOMEM, "no memory for the answer");
    rc = driver_resolve(t->with->driver, t->now, t->wall, &id, verdict, on_resolved, t, e);
    return admin_act_begin(t, rc);
}

/* forget: {id} -> id */

static void on_done(void *arg, int rc, enum verdict stands)
{
    (void)stands;
    admin_act_end(arg, rc);
}

int admin_forget(struct admin_task *t, struct tx_error *e)
{
    char id_text[TXID_TEXT_SIZE];
    struct txid id;
    int rc = admin_task_id(t, &id, e);

    if (rc != TX_OK)
        return rc;
    txid_format(&id, id_text);
    rc = admin_act_note(t, "forget", "id", id_text, e);
    if (rc != TX_OK)
        return rc;
    return admin_act_begin(t, driver_forget(t->with->driver, t->now, t->wall, &id, on_done, t, e));
}
