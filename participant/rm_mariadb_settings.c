/* rm_mariadb_settings: what the operator wrote behind the kind «mariadb»; see rm_mariadb_impl.h. Called by
 * rm_mariadb.c when a resource is opened, and by rm_mariadb_io.c for the password.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/conf_value.h"
#include "libtx/shared/secret.h"
#include "participant/rm_mariadb_impl.h"

enum { KEYWORD_SIZE = 32, VALUE_SIZE = 1024, RECEIPTS_MIN_MS = 3600000 };

/* Where a keyword's value goes. */
static struct conf_key settings_key(struct maria_settings *s, const char *keyword)
{
    const struct conf_key keys[] = {
        {.name = "host", .type = CONF_STRING, .target = &s->host},
        {.name = "port", .type = CONF_UINT, .target = &s->port, .min = 1, .max = 65535},
        {.name = "unix_socket", .type = CONF_STRING, .target = &s->unix_socket},
        {.name = "user", .type = CONF_STRING, .target = &s->user},
        {.name = "password", .type = CONF_STRING, .target = &s->password},
        {.name = "passfile", .type = CONF_STRING, .target = &s->passfile},
        {.name = "dbname", .type = CONF_STRING, .target = &s->dbname},
        {.name = "ssl", .type = CONF_BOOL, .target = &s->tls},
        {.name = "ssl-ca", .type = CONF_STRING, .target = &s->ssl_ca},
        {.name = "ssl-cert", .type = CONF_STRING, .target = &s->ssl_cert},
        {.name = "ssl-key", .type = CONF_STRING, .target = &s->ssl_key},
        {.name = "ssl-verify", .type = CONF_BOOL, .target = &s->ssl_verify},
        {.name = "receipts", .type = CONF_DURATION, .target = &s->receipts_ms, .min = RECEIPTS_MIN_MS},
        {.name = NULL},
    };
    const struct conf_key *k = keys;

    while (k->name != NULL && strcmp(k->name, keyword) != 0)
        k++;
    return *k;
}

/* "keyword =", with blanks around it; *text moves behind. False: there is no such thing. */
static bool settings_keyword(const char **text, char keyword[KEYWORD_SIZE])
{
    const char *p = *text + strspn(*text, " \t\n");
    size_t n = strcspn(p, " \t\n='");

    if (n == 0 || n >= KEYWORD_SIZE)
        return false;
    memcpy(keyword, p, n);
    keyword[n] = '\0';
    p += n + strspn(p + n, " \t\n");
    if (*p != '=')
        return false;
    *text = p + 1;
    return true;
}

/* A value, quoted or not, with \\ before what is meant literally. False: without an end, or too long. */
static bool settings_value(const char **text, char value[VALUE_SIZE])
{
    const char *p = *text + strspn(*text, " \t\n");
    bool quoted = *p == '\'';
    size_t n = 0;

    for (p += quoted; *p != '\0' && (quoted ? *p != '\'' : strchr(" \t\n", *p) == NULL); p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        if (n + 1 == VALUE_SIZE)
            return false;
        value[n++] = *p;
    }
    value[n] = '\0';
    if (quoted && *p != '\'')
        return false;
    *text = p + quoted;
    return true;
}

static int settings_one(struct maria_settings *s, const char *keyword, const char *value, bool behind_password,
                        struct tx_error *e)
{
    struct conf_key k = settings_key(s, keyword);
    int rc;

    if (k.name == NULL && behind_password) /* the keyword may be a piece of it */
        return err_set(e, TX_EINVAL,
                       "the password is followed by what is no keyword; put a password with blanks into "
                       "single quotes, or into a passfile");
    if (k.name == NULL)
        return err_set(e, TX_EINVAL,
                       "«%s» is no keyword; write host, port, unix_socket, user, password, passfile, dbname, "
                       "ssl, ssl-ca, ssl-cert, ssl-key, ssl-verify or receipts",
                       keyword);
    rc = conf_value_set(&k, NULL, value, e);
    return rc == TX_OK ? rc : err_wrap(e, rc, "%s", keyword);
}

static int settings_check(const struct maria_settings *s, struct tx_error *e)
{
    char password[MARIA_USER_SIZE];

    if (s->user == NULL)
        return err_set(e, TX_EINVAL, "no user; write mariadb host=… dbname=… user=…");
    if ((s->host == NULL) == (s->unix_socket == NULL))
        return err_set(e, TX_EINVAL, "write either host or unix_socket, where the server is");
    if (s->dbname != NULL && strchr(s->dbname, '`') != NULL)
        return err_set(e, TX_EINVAL, "dbname: a name with ` is not possible");
    if (s->password != NULL && s->passfile != NULL)
        return err_set(e, TX_EINVAL, "password and passfile; one of them is enough");
    return rm_mariadb_settings_password(s, password, e);
}

int rm_mariadb_settings_parse(struct maria_settings *s, const char *text, struct tx_error *e)
{
    char keyword[KEYWORD_SIZE] = "", value[VALUE_SIZE];
    bool behind_password = false;
    int rc = TX_OK;

    *s = (struct maria_settings){.port = 3306, .ssl_verify = true, .receipts_ms = 7u * 86400000u};
    while (rc == TX_OK && text[strspn(text, " \t\n")] != '\0') {
        behind_password = strcmp(keyword, "password") == 0;
        if (!settings_keyword(&text, keyword) || !settings_value(&text, value))
            return err_set(e, TX_EINVAL,
                           "the settings are not keyword=value; write mariadb host=… dbname=… user=…, and "
                           "values with blanks in single quotes");
        rc = settings_one(s, keyword, value, behind_password, e);
    }
    s->tls = s->tls || s->ssl_ca != NULL || s->ssl_cert != NULL;
    return rc == TX_OK ? settings_check(s, e) : rc;
}

void rm_mariadb_settings_release(struct maria_settings *s)
{
    char *const strings[] = {s->host,        s->user,   s->password, s->passfile, s->dbname,
                             s->unix_socket, s->ssl_ca, s->ssl_cert, s->ssl_key};

    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        free(strings[i]);
}

int rm_mariadb_settings_password(const struct maria_settings *s, char out[MARIA_USER_SIZE], struct tx_error *e)
{
    const char *given = s->password != NULL ? s->password : getenv("MYSQL_PWD");
    int rc;
    FILE *f;

    snprintf(out, MARIA_USER_SIZE, "%s", given == NULL ? "" : given);
    if (s->passfile == NULL)
        return TX_OK;
    f = fopen(s->passfile, "re");
    if (f == NULL)
        return err_set(e, TX_EINVAL, "passfile %.100s: %s", s->passfile, strerror(errno));
    rc = secret_check_file(fileno(f), e);
    if (rc != TX_OK || fgets(out, MARIA_USER_SIZE, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    fclose(f);
    return rc == TX_OK ? rc : err_wrap(e, rc, "passfile %.100s", s->passfile);
}
