/* client: see client.h, and libtx.h for the public functions. */
#include "libtx/client.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "libtx/settings.h"

enum {
    DEFAULT_CONNECT_MS = 5000,
    DEFAULT_SESSION_MS = 30000,
    DEFAULT_TRANSACTION_MS = 60000,
    DEFAULT_COMMIT_MS = 30000,
};

struct client_memory {
    struct client_memory *next;
    const void *driver;
    _Alignas(max_align_t) char bytes[];
};

/* opening and closing */

static uint32_t client_or(unsigned value, unsigned otherwise)
{
    return value != 0 ? value : otherwise;
}

/* The program's name becomes a valid one; what the application asks for must be valid as it is. */
static int client_set_name(char out[NAME_LIMIT + 1], const char *wanted, struct tx_error *e)
{
    const char *name = wanted != NULL ? wanted : program_invocation_short_name;
    size_t n = strnlen(name, NAME_LIMIT + 1);

    if (wanted != NULL && !wire_name_valid(wanted))
        return err_set(e, TX_EINVAL, "application_name «%.80s»: write 1 to %d of a-z A-Z 0-9 _ . -", wanted,
                       NAME_LIMIT);
    if (n > NAME_LIMIT)
        n = NAME_LIMIT;
    memcpy(out, name, n);
    out[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        char one[2] = {out[i], '\0'};

        if (!wire_name_valid(one))
            out[i] = '_';
    }
    if (n == 0)
        strcpy(out, "application");
    return TX_OK;
}

static int client_configure(struct tx_client *c, const struct tx_client_options *o, struct tx_error *e)
{
    struct app_session *s = &c->session;
    const struct settings settings = {o->coordinators, o->identity, o->keys, o->insecure};
    int rc = client_set_name(s->name, o->application_name, e);

    if (rc != TX_OK)
        return rc;
    s->connect_timeout_ms = client_or(o->connect_timeout_ms, DEFAULT_CONNECT_MS);
    s->session_timeout_ms = client_or(o->session_timeout_ms, DEFAULT_SESSION_MS);
    s->transaction_timeout_ms = client_or(o->transaction_timeout_ms, DEFAULT_TRANSACTION_MS);
    c->transaction_timeout_ms = s->transaction_timeout_ms;
    c->commit_timeout_ms = client_or(o->commit_timeout_ms, DEFAULT_COMMIT_MS);
    rc = settings_security(&settings, &c->security, e);
    if (rc == TX_OK)
        rc = calls_new(&c->calls, settings_coordinators(o->coordinators), &c->security, e);
    s->calls = c->calls;
    return rc;
}

static void client_free(struct tx_client *c)
{
    struct client_memory *m;

    while ((m = c->memories) != NULL) {
        c->memories = m->next;
        free(m);
    }
    calls_free(c->calls);
    security_release(&c->security);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

int tx_client_open(tx_client **out, const struct tx_client_options *options, struct tx_error *error)
{
    static const struct tx_client_options defaults;
    struct tx_client *c = calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return err_set(error, TX_ENOMEM, "out of memory");
    pthread_mutex_init(&c->mutex, NULL);
    rc = client_configure(c, options != NULL ? options : &defaults, error);
    if (rc == TX_OK)
        rc = session_open(&c->session, error);
    if (rc != TX_OK) {
        client_free(c);
        return rc;
    }
    *out = c;
    return TX_OK;
}

void tx_client_close(tx_client *client)
{
    if (client == NULL)
        return;
    session_close(&client->session);
    client_free(client);
}

void *client_memory(struct tx_client *client, const void *driver, size_t size)
{
    struct client_memory *m = client->memories;

    while (m != NULL && m->driver != driver)
        m = m->next;
    if (m != NULL)
        return m->bytes;
    m = calloc(1, sizeof *m + size);
    if (m == NULL)
        return NULL;
    m->driver = driver;
    m->next = client->memories;
    client->memories = m;
    return m->bytes;
}

/* outcomes */

int tx_client_outcome(tx_client *client, const char *id, enum tx_outcome *outcome, struct tx_error *error)
{
    struct wire_message m = {.type = WIRE_OUTCOME};
    uint64_t deadline = call_now_ms() + client->commit_timeout_ms;
    const struct wire_message *reply;
    struct call call;
    int rc;

    if (id == NULL || !txid_parse(id, &m.outcome.id))
        return err_set(error, TX_EINVAL, "«%.100s» is no transaction id", id != NULL ? id : "");
    rc = call_sync(&call, client->calls, &m, NULL, WIRE_OUTCOME_IS, deadline, &reply, error);
    if (rc == TX_OK)
        *outcome = (enum tx_outcome)reply->outcome_is.outcome;
    else
        err_wrap(error, rc, "outcome of %s", id);
    call_end(&call);
    return rc;
}

/* what is known of resources */

/* NULL: not noted, and with `add` not to be, for all places are taken. The mutex is held. */
static struct note *client_note(struct tx_client *c, const char *resource, bool add)
{
    struct note *n;

    for (size_t i = 0; i < c->n_notes; i++) {
        if (strcmp(c->notes[i].resource, resource) == 0)
            return &c->notes[i];
    }
    if (!add || c->n_notes == NOTE_LIMIT)
        return NULL;
    n = &c->notes[c->n_notes++];
    strcpy(n->resource, resource);
    return n;
}

bool client_expects_write(struct tx_client *client, const char *resource)
{
    struct note *n;
    bool wrote;

    pthread_mutex_lock(&client->mutex);
    n = client_note(client, resource, false);
    wrote = n != NULL && n->wrote;
    pthread_mutex_unlock(&client->mutex);
    return wrote;
}

void client_note_write(struct tx_client *client, const char *resource, bool wrote)
{
    struct note *n;

    pthread_mutex_lock(&client->mutex);
    n = client_note(client, resource, true);
    if (n != NULL)
        n->wrote = wrote;
    pthread_mutex_unlock(&client->mutex);
}

static struct peer *client_noted_agent(struct tx_client *client, const char *resource)
{
    struct note *n;
    struct peer *p;

    pthread_mutex_lock(&client->mutex);
    n = client_note(client, resource, false);
    p = n != NULL ? n->agent : NULL;
    pthread_mutex_unlock(&client->mutex);
    return p;
}

static void client_note_agent(struct tx_client *client, const char *resource, struct peer *agent)
{
    struct note *n;

    pthread_mutex_lock(&client->mutex);
    n = client_note(client, resource, agent != NULL);
    if (n != NULL)
        n->agent = agent;
    pthread_mutex_unlock(&client->mutex);
}

void client_forget_agent(struct tx_client *client, const char *resource)
{
    client_note_agent(client, resource, NULL);
}

int client_locate(struct tx_client *client, const char *resource, uint64_t deadline_ms, struct peer **agent,
                  struct tx_error *e)
{
    struct wire_message m = {.type = WIRE_LOCATE, .locate = {resource}};
    const struct wire_message *reply;
    struct call call;
    int rc;

    *agent = client_noted_agent(client, resource);
    if (*agent != NULL)
        return TX_OK;
    rc = call_sync(&call, client->calls, &m, NULL, WIRE_LOCATED, deadline_ms, &reply, e);
    if (rc == TX_OK)
        rc = calls_agent(client->calls, reply->located.address, reply->located.key, agent, e);
    if (rc == TX_OK)
        client_note_agent(client, resource, *agent);
    else
        err_wrap(e, rc, "find an agent of %s", resource);
    call_end(&call);
    return rc;
}
