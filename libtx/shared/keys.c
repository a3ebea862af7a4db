/* keys: see keys.h. */
#include "libtx/shared/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libtx/shared/textfile.h"
#include "libtx/shared/wire.h"

enum { KEY_LINE = 1024, BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING };

static const char secret_word[] = "assent-secret-key ";

/* A key pair */

void identity_generate(struct identity *i)
{
    crypto_sign_keypair(i->public_key, i->secret_key);
}

void identity_wipe(struct identity *i)
{
    sodium_memzero(i, sizeof *i);
}

static int write_all(int fd, const char *text)
{
    size_t len = strlen(text);

    return write(fd, text, len) == (ssize_t)len && fsync(fd) == 0 ? 0 : -1;
}

int identity_write(const struct identity *i, const char *path, struct tx_error *e)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char secret[KEY_TEXT_SIZE], public[KEY_TEXT_SIZE], text[256];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), failed;

    if (fd < 0)
        return err_set(e, TX_EIO, "%s: %s%s", path, strerror(errno),
                       errno == EEXIST ? "; a key is never overwritten: choose another name, or remove it"
                                       : "");
    crypto_sign_ed25519_sk_to_seed(seed, i->secret_key);
    key_format(seed, secret);
    key_format(i->public_key, public);
    snprintf(text, sizeof text, "# The secret of the key %s. Show it to nobody.\n%s%s\n", public, secret_word,
             secret);
    failed = write_all(fd, text) < 0 ? errno : 0;
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(text, sizeof text);
    close(fd);
    if (failed == 0)
        return TX_OK;
    unlink(path);
    return err_set(e, TX_EIO, "%s: %s", path, strerror(failed));
}

/* `what` others could do whose bits are in `mask`. */
static int check_mode(int fd, const char *path, mode_t mask, const char *what, struct tx_error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, TX_EINVAL, "%s: is not a file", path);
    if ((st.st_mode & mask) != 0)
        return err_set(e, TX_EREFUSED, "%s: others than its owner may %s (mode %03o): chmod %03o %s", path,
                       what, st.st_mode & 0777U, st.st_mode & 0777U & ~mask, path);
    return TX_OK;
}

static bool parse_secret(char *text, struct identity *i)
{
    const size_t skip = sizeof secret_word - 1;
    uint8_t seed[crypto_sign_SEEDBYTES];
    char *line, *rest = text;
    bool found = false;

    while (!found && (line = strsep(&rest, "\r\n")) != NULL)
        found = strncmp(line, secret_word, skip) == 0 && key_parse(line + skip, seed);
    if (found)
        crypto_sign_seed_keypair(i->public_key, i->secret_key, seed);
    sodium_memzero(seed, sizeof seed);
    return found;
}

int identity_load(struct identity *i, const char *path, struct tx_error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc; /* it may be no file, and wait for ever */
    char text[KEY_LINE];
    ssize_t n = -1;

    if (fd < 0)
        return err_set(e, errno == EACCES ? TX_EREFUSED : TX_EIO, "%s: %s", path, strerror(errno));
    rc = check_mode(fd, path, 077, "read this secret", e);
    if (rc == TX_OK) {
        n = read(fd, text, sizeof text - 1);
        if (n < 0)
            rc = err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
    }
    close(fd);
    if (rc != TX_OK)
        return rc;
    text[n] = '\0';
    if (!parse_secret(text, i))
        rc = err_set(e, TX_EINVAL, "%s: is not a key file; make one with: txadmin keygen FILE", path);
    sodium_memzero(text, sizeof text);
    return rc;
}

/* Text */

void key_format(const uint8_t key[KEY_SIZE], char out[KEY_TEXT_SIZE])
{
    sodium_bin2base64(out, KEY_TEXT_SIZE, key, KEY_SIZE, BASE64);
}

/* libsodium takes some bytes that are no ASCII for letters. */
static bool is_ascii(const char *text)
{
    uint8_t all = 0;

    for (; *text != '\0'; text++)
        all |= (uint8_t)*text;
    return all < 0x80;
}

bool key_parse(const char *text, uint8_t key[KEY_SIZE])
{
    size_t n;

    return strlen(text) == KEY_TEXT_SIZE - 1 && is_ascii(text) &&
           sodium_base642bin(key, KEY_SIZE, text, KEY_TEXT_SIZE - 1, NULL, &n, NULL, BASE64) == 0 &&
           n == KEY_SIZE && !sodium_is_zero(key, KEY_SIZE);
}

bool key_equal(const uint8_t a[KEY_SIZE], const uint8_t b[KEY_SIZE])
{
    return memcmp(a, b, KEY_SIZE) == 0;
}

static const struct {
    unsigned role;
    const char *word;
} words[] = {
    {ROLE_CLIENT, "client"},           {ROLE_AGENT, "agent"},
    {ROLE_OPERATOR, "operator"},       {ROLE_OBSERVER, "observer"},
    {ROLE_COORDINATOR, "coordinator"},
};

void roles_format(unsigned roles, char out[ROLES_TEXT_SIZE])
{
    size_t n = 0;

    *out = '\0';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if ((roles & words[i].role) != 0)
            n += (size_t)snprintf(out + n, ROLES_TEXT_SIZE - n, "%s%s", n > 0 ? "," : "", words[i].word);
    }
}

static unsigned role_parse(const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i].word) == len && strncmp(words[i].word, word, len) == 0)
            return words[i].role;
    }
    return 0;
}

unsigned roles_parse(const char *text)
{
    unsigned roles = 0, role;
    size_t n;

    for (;; text += n + 1) {
        n = strcspn(text, ",");
        role = role_parse(text, n);
        if (role == 0)
            return 0;
        roles |= role;
        if (text[n] == '\0')
            return roles;
    }
}

bool grant_has(const char *grant, const char *name)
{
    size_t n, len = strlen(name);

    if (grant == NULL || len == 0)
        return false;
    if (strcmp(grant, "*") == 0)
        return true;
    for (;; grant += n + 1) {
        n = strcspn(grant, ",");
        if (n == len && strncmp(grant, name, n) == 0)
            return true;
        if (grant[n] == '\0')
            return false;
    }
}

int grant_check(const char *grant, struct tx_error *e)
{
    char name[NAME_LIMIT + 2];
    size_t n;

    if (strcmp(grant, "*") == 0 || *grant == '\0')
        return TX_OK;
    if (strlen(grant) > KEY_GRANT_LIMIT)
        return err_set(e, TX_EINVAL, "an agent's resources take more than %d bytes; write * for all",
                       KEY_GRANT_LIMIT);
    for (;; grant += n + 1) {
        n = strcspn(grant, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, grant);
        if (!wire_name_valid(name))
            return err_set(e, TX_EINVAL, "«%s» is no name of a resource; write them with commas, or *", name);
        if (grant[n] == '\0')
            return TX_OK;
    }
}

/* A keys file */

void key_entry_format(const struct key_entry *entry, char *out, size_t size)
{
    char roles[ROLES_TEXT_SIZE], key[KEY_TEXT_SIZE];

    roles_format(entry->roles, roles);
    key_format(entry->key, key);
    snprintf(out, size, "%s %s %s%s%s", entry->name, roles, key, *entry->grant != '\0' ? " " : "",
             entry->grant);
}

static int entry_fill(struct key_entry *out, char *const field[4], size_t n, struct tx_error *e)
{
    *out = (struct key_entry){.roles = n > 1 ? roles_parse(field[1]) : 0};
    if (n < 3)
        return err_set(e, TX_EINVAL, "write NAME ROLE[,ROLE] KEY [RESOURCE[,RESOURCE]]");
    if (!wire_name_valid(field[0]))
        return err_set(e, TX_EINVAL, "«%.80s» is no name; 1 to %d of a-z A-Z 0-9 _ . -", field[0], NAME_LIMIT);
    if (out->roles == 0)
        return err_set(e, TX_EINVAL,
                       "«%.80s»: roles are client, agent, operator, observer, coordinator, with commas",
                       field[1]);
    if (!key_parse(field[2], out->key))
        return err_set(e, TX_EINVAL, "«%.80s» is no public key; txadmin keygen prints one of %d characters",
                       field[2], KEY_TEXT_SIZE - 1);
    if (n == 4 && (out->roles & ROLE_AGENT) == 0)
        return err_set(e, TX_EINVAL, "resources are for the role agent alone");
    if (n < 4 && (out->roles & ROLE_AGENT) != 0)
        return err_set(e, TX_EINVAL, "the role agent needs the resources that it may serve, with commas, or *");
    if (n == 4 && grant_check(field[3], e) != TX_OK)
        return TX_EINVAL;
    snprintf(out->name, sizeof out->name, "%s", field[0]);
    snprintf(out->grant, sizeof out->grant, "%s", n == 4 ? field[3] : "");
    return TX_OK;
}

int key_entry_parse(const char *line, struct key_entry *out, struct tx_error *e)
{
    char copy[KEY_LINE], *rest = copy, *word, *field[4];
    size_t n = 0;

    if (strlen(line) >= sizeof copy)
        return err_set(e, TX_EINVAL, "the line is too long");
    strcpy(copy, line);
    while ((word = strsep(&rest, " \t\r\n")) != NULL) {
        if (*word == '\0')
            continue;
        if (n == 4)
            return err_set(e, TX_EINVAL, "«%.80s» is too much; resources have commas between them, no blanks",
                           word);
        field[n++] = word;
    }
    return entry_fill(out, field, n, e);
}

const struct key_entry *keyring_find(const struct keyring *r, const uint8_t key[KEY_SIZE])
{
    for (size_t i = 0; i < r->n; i++) {
        if (key_equal(r->entries[i].key, key))
            return &r->entries[i];
    }
    return NULL;
}

int keyring_add(struct keyring *r, const struct key_entry *entry, struct tx_error *e)
{
    struct key_entry *more;

    if (r->n == KEY_LIMIT)
        return err_set(e, TX_EBUSY, "more than %d keys", KEY_LIMIT);
    more = realloc(r->entries, (r->n + 1) * sizeof *more);
    if (more == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    r->entries = more;
    r->entries[r->n++] = *entry;
    return TX_OK;
}

void keyring_release(struct keyring *r)
{
    free(r->entries);
    *r = (struct keyring){0};
}

static int keyring_line(void *arg, char *line, unsigned number, struct tx_error *e)
{
    struct keyring *r = arg;
    struct key_entry entry;
    int rc;

    (void)number;
    line[strcspn(line, "#\n")] = '\0';
    if (line[strspn(line, " \t\r")] == '\0')
        return TX_OK;
    rc = key_entry_parse(line, &entry, e);
    if (rc == TX_OK && keyring_find(r, entry.key) != NULL)
        return err_set(e, TX_EINVAL, "the key of %s is there twice", entry.name);
    return rc == TX_OK ? keyring_add(r, &entry, e) : rc;
}

int keyring_load(struct keyring *r, const char *path, struct tx_error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

    *r = (struct keyring){0};
    if (f == NULL) {
        rc = err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    rc = check_mode(fd, path, 022, "write this file, and with it who is believed", e);
    if (rc == TX_OK)
        rc = textfile_each_line(f, path, keyring_line, r, e);
    fclose(f);
    if (rc != TX_OK)
        keyring_release(r);
    return rc;
}
