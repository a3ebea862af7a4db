/* fuzz_settings: what operators write behind a resource's kind: settings for MariaDB and for PostgreSQL.
 *
 * Input: a text. Checked: what is taken is complete, what is refused says why; where a password is found in it
 * by who connects, secret.h finds one too.
 */
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "libtx/shared/secret.h"
#include "participant/rm_mariadb_impl.h"
#include "tests/fuzz/targets.h"

static void try_mariadb(const char *text)
{
    struct maria_settings s;
    struct tx_error e = {0};

    if (rm_mariadb_settings_parse(&s, text, &e) == TX_OK) {
        fuzz_check(s.user != NULL && (s.host != NULL) != (s.unix_socket != NULL));
        fuzz_check(s.port >= 1 && s.port <= 65535);
        fuzz_check(s.password == NULL || secret_within(text));
    } else {
        fuzz_check((e.code == TX_EINVAL || e.code == TX_EREFUSED) && *e.msg != '\0');
    }
    rm_mariadb_settings_release(&s);
}

/* With no connections it is refused whatever the settings say, which are looked at first. */
static void try_postgresql(const char *text)
{
    const struct rm_options options = {.name = "a", .settings = text};
    struct tx_error e = {0};
    struct rm *rm;

    PQconninfoOption *parsed = PQconninfoParse(text, NULL);

    fuzz_check(rm_find("postgresql")->open(&rm, &options, &e) == TX_EINVAL && *e.msg != '\0');
    for (const PQconninfoOption *o = parsed; o != NULL && o->keyword != NULL; o++) {
        if (strstr(o->keyword, "password") != NULL && o->val != NULL && *o->val != '\0')
            fuzz_check(secret_within(text));
    }
    PQconninfoFree(parsed);
}

void fuzz_settings_run(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len);

    /* A passfile is opened; a device would be waited for. */
    if (strstr(text, "/dev") == NULL && strstr(text, "/proc") == NULL)
        try_mariadb(text);
    try_postgresql(text);
    free(text);
}

void fuzz_settings_seed(struct fuzz_sink *to)
{
    fuzz_put_text(to, "host=10.0.0.1 port=3306 user=assent password='it''s' dbname=bank ssl=on ssl-ca=/ca.pem");
    fuzz_put_text(to,
                  "unix_socket = /run/mysqld.sock user=a\\ b receipts=2d ssl-verify=no ssl-cert=c ssl-key=k");
    fuzz_put_text(to, "user=u host=h passfile=/nowhere");
    fuzz_put_text(to, "host=h dbname=bank user=u sslmode=verify-full sslrootcert='/ca pem' connect_timeout=5");
    fuzz_put_text(to, "postgresql://user@host:5432/bank?sslmode=require&application_name=a%20b");
    fuzz_put_text(to, "password=a b=c");
    fuzz_put_text(to, "postgres://user:pass@host/bank");
    fuzz_put_text(to, "postgres://user@host/bank?p%61ssfile=/x&user=u&password=secret");
    fuzz_put_text(to, "host = h password = 'secret' sslpassword=x");
}
