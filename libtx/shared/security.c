/* security: see security.h. */
#include "libtx/shared/security.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* NULL: not set, or empty. */
static const char *environment(const char *name)
{
    const char *value = secure_getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

/* A slip here must not turn encryption off, nor leave its author in the belief that it is. */
static int insecure_environment(bool *out, struct tx_error *e)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    const char *value = environment("ASSENT_INSECURE");

    for (size_t i = 0; value != NULL && i < sizeof words / sizeof *words; i++) {
        if (strcmp(value, words[i]) != 0)
            continue;
        *out = i % 2 == 1;
        return TX_OK;
    }
    return value == NULL
               ? TX_OK
               : err_set(e, TX_EINVAL, "ASSENT_INSECURE «%.40s»; write 1 or 0, true, yes, on …", value);
}

int security_environment(struct security_options *options, struct tx_error *e)
{
    bool given = options->identity != NULL || options->insecure;

    if (options->keys == NULL)
        options->keys = environment("ASSENT_KEYS");
    if (given)
        return TX_OK;
    options->identity = environment("ASSENT_IDENTITY");
    return insecure_environment(&options->insecure, e);
}

int security_open(struct security *s, const struct security_options *options, struct tx_error *e)
{
    const char *keys = options->keys != NULL ? options->keys : SECURITY_KEYS_FILE;
    int rc;

    *s = (struct security){.insecure = options->insecure};
    if (s->insecure)
        return TX_OK;
    if (sodium_init() < 0)
        return err_set(e, TX_EIO, "libsodium cannot be used on this machine");
    if (options->identity == NULL)
        return err_set(
            e, TX_EINVAL,
            "identity: %s needs a key of its own: txadmin keygen FILE makes one; or set insecure = true, "
            "on a laptop",
            options->purpose);
    rc = identity_load(&s->self, options->identity, e);
    if (rc != TX_OK)
        return err_wrap(e, rc, "identity");
    rc = keyring_load(&s->ring, keys, e);
    if (rc != TX_OK) {
        identity_wipe(&s->self);
        return err_wrap(e, rc, "keys");
    }
    return TX_OK;
}

void security_release(struct security *s)
{
    identity_wipe(&s->self);
    keyring_release(&s->ring);
}

/* «tcp://[interface;]host:port» (nn_tcp(7)). A name that merely begins as an address is none. */
static bool is_loopback(const char *host)
{
    size_t n = strcspn(host, ", "), dots = 0;

    if (memchr(host, ';', n) != NULL)
        return false;
    if (strncmp(host, "localhost:", 10) == 0 || strncmp(host, "[::1]:", 6) == 0)
        return true;
    n = strspn(host, "0123456789.");
    for (size_t i = 0; i < n; i++)
        dots += host[i] == '.';
    return strncmp(host, "127.", 4) == 0 && dots == 3 && host[n] == ':';
}

bool security_is_local(const char *address)
{
    if (strncmp(address, "ipc://", 6) == 0 || strncmp(address, "inproc://", 9) == 0)
        return true;
    return strncmp(address, "tcp://", 6) == 0 && is_loopback(address + 6);
}

/* Whoever opens what is no address at all says so, and better. */
static bool is_address(const char *text, size_t n)
{
    const char *scheme = strstr(text, "://");

    return scheme != NULL && (size_t)(scheme - text) < n;
}

int security_check_address(const struct security *s, const char *setting, const char *addresses,
                           struct tx_error *e)
{
    if (!s->insecure || addresses == NULL)
        return TX_OK;
    for (const char *a = addresses; *a != '\0';) {
        size_t n = strcspn(a, ", ");

        if (is_address(a, n) && !security_is_local(a))
            return err_set(
                e, TX_EREFUSED,
                "%s: insecure is for this machine alone, and «%.*s» is not a loopback address: give keys "
                "(txadmin keygen) and leave insecure out",
                setting, (int)n, a);
        a += n;
        a += strspn(a, ", ");
    }
    return TX_OK;
}
