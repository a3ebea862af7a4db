/* access: see access.h. */
#include "coordinator/access.h"

#include <stdio.h>
#include <string.h>

/* Requests, and the roles of which one is needed. What is not here is nobody's to ask. */
static const struct rule {
    unsigned roles;
    const char *act;
} rules[] = {
    [WIRE_OPEN_SESSION] = {ROLE_CLIENT, "open a session"},
    [WIRE_DECIDE] = {ROLE_CLIENT, "commit"},
    [WIRE_HEARTBEAT] = {ROLE_CLIENT, "keep a session open"},
    [WIRE_CLOSE_SESSION] = {ROLE_CLIENT, "close a session"},
    [WIRE_OUTCOME] = {ROLE_CLIENT, "ask for an outcome"},
    [WIRE_LOCATE] = {ROLE_CLIENT | ROLE_AGENT, "look for an agent"},
    [WIRE_PULL] = {ROLE_AGENT, "pull work"},
    [WIRE_ADMIN] = {ROLE_OPERATOR | ROLE_OBSERVER, "ask what operators ask"},
};

bool access_caller(const struct ledger *l, const struct keyring *file, const uint8_t key[KEY_SIZE],
                   struct caller *out)
{
    const struct ledger_key *known = ledger_key(l, key);
    const struct key_entry *entry = known == NULL && file != NULL ? keyring_find(file, key) : NULL;

    if (known != NULL && !known->revoked)
        *out = (struct caller){known->key, known->name, known->roles, known->grant};
    else if (entry != NULL)
        *out = (struct caller){entry->key, entry->name, entry->roles, entry->grant};
    else
        return false;
    return true;
}

const char *access_name(const struct ledger *l, const uint8_t key[KEY_SIZE])
{
    const struct ledger_key *known = ledger_key(l, key);

    return known != NULL ? known->name : NULL;
}

static const char *with_article(const char *role)
{
    return strchr("aeiou", *role) != NULL ? "an" : "a";
}

/* «an operator's or an observer's» */
static void say_roles(unsigned roles, char *out, size_t size)
{
    size_t at = 0;

    *out = '\0';
    for (unsigned role = 1; role <= ROLES_ALL && at < size; role *= 2) {
        char name[ROLES_TEXT_SIZE];

        if ((roles & role) == 0)
            continue;
        roles_format(role, name);
        at +=
            (size_t)snprintf(out + at, size - at, "%s%s %s's", at > 0 ? " or " : "", with_article(name), name);
    }
}

int access_check_verb(const struct caller *c, const char *act, unsigned roles, struct tx_error *e)
{
    char has[ROLES_TEXT_SIZE], needed[128];

    if (c->key == NULL || (c->roles & roles) != 0)
        return TX_OK;
    roles_format(c->roles, has);
    say_roles(roles, needed, sizeof needed);
    return err_set(e, TX_EDENIED, "%s \"%s\" may not %s; %s key is needed", has, c->name, act, needed);
}

bool access_owns(const struct ledger *l, const struct caller *c, const struct session *s)
{
    const struct ledger_key *owner;

    if (c->key == NULL || !ledger_session_owned(s) || key_equal(s->owner, c->key))
        return true;
    owner = ledger_key(l, s->owner);
    return owner != NULL && strcmp(owner->name, c->name) == 0;
}

/* One that the ledger does not know passes: there is nothing that it could reveal or change. */
static int check_session(const struct ledger *l, const struct caller *c, uint64_t session, const char *act,
                         struct tx_error *e)
{
    const struct session *s = ledger_session(l, session);

    if (s == NULL || access_owns(l, c, s))
        return TX_OK;
    return err_set(e, TX_EDENIED,
                   "client \"%s\" may not %s: session %llu is another's; the key that opened it is needed, or "
                   "another key of its name",
                   c->name, act, (unsigned long long)session);
}

static int check_resource(const struct caller *c, const char *resource, struct tx_error *e)
{
    if (grant_has(c->grant, resource))
        return TX_OK;
    return err_set(e, TX_EDENIED,
                   "agent \"%s\" may not serve resource %s; an operator grants it with a key that names it: "
                   "txadmin key add",
                   c->name, resource);
}

static int check_pull(const struct caller *c, const struct wire_pull *m, struct tx_error *e)
{
    int rc = TX_OK;

    for (size_t i = 0; i < m->n_resources && rc == TX_OK; i++)
        rc = check_resource(c, m->resources[i].name, e);
    for (size_t i = 0; i < m->n_reports && rc == TX_OK; i++)
        rc = check_resource(c, m->reports[i].resource, e);
    return rc;
}

int access_check(const struct ledger *l, const struct caller *c, const struct wire_message *m,
                 struct tx_error *e)
{
    static const struct rule none = {0, NULL};
    const struct rule *rule = (size_t)m->type < sizeof rules / sizeof *rules ? &rules[m->type] : &none;
    int rc;

    if (c->key == NULL)
        return TX_OK;
    if (rule->act == NULL)
        return err_set(e, TX_EDENIED, "a coordinator takes no %s from anybody", wire_type_name(m->type));
    rc = access_check_verb(c, rule->act, rule->roles, e);
    if (rc != TX_OK)
        return rc;
    switch (m->type) {
    case WIRE_DECIDE:
        return check_session(l, c, m->decide.id.session, rule->act, e);
    case WIRE_HEARTBEAT:
    case WIRE_CLOSE_SESSION:
        return check_session(l, c, m->heartbeat.session, rule->act, e);
    case WIRE_OUTCOME:
        return check_session(l, c, m->outcome.id.session, rule->act, e);
    case WIRE_PULL:
        return check_pull(c, &m->pull, e);
    default:
        return TX_OK;
    }
}
